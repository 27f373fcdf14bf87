"""The models: an expression of a net. Layers are made in birdplane's order, so that their weights begin alike."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from math import prod

from birdplane.plain import Plain, literal

_ACTIVATIONS = {
    "tanh": "nn.Tanh()",
    "relu": "nn.ReLU()",
    "leaky-relu": "nn.LeakyReLU()",
    "elu": "nn.ELU()",
    "gelu": "nn.GELU()",
    "silu": "nn.SiLU()",
    "sigmoid": "nn.Sigmoid()",
}
_NN = "from torch import nn"
_FUNCTIONAL = "from torch.nn import functional"
Shape = tuple[int, int, int]

_BASIC_BLOCK = '''
class BasicBlock(nn.Module):
    """Two convolutions around a shortcut (He et al., 2015)."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = nn.Identity()
        if stride != 1 or inputs != outputs:
            narrowed = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(narrowed, nn.BatchNorm2d(outputs))

    def forward(self, images):
        return functional.relu(self.body(images) + self.shortcut(images))


def resnet():
    """Return a small residual net."""
    net = NET
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return net
'''

_RESIDUAL_BLOCK = '''
class ResidualBlock(nn.Module):
    """x + relu(batch_norm(conv(x)))."""

    def __init__(self, width):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.batch_norm = nn.BatchNorm2d(width)
        nn.init.kaiming_normal_(self.conv.weight, nonlinearity="relu")
        nn.init.constant_(self.batch_norm.weight, 0.5)
        nn.init.zeros_(self.batch_norm.bias)

    def forward(self, images):
        return functional.relu(self.batch_norm(self.conv(images))) + images
'''

_SWIFT = '''
class Swift(nn.Module):  # whitened 4x4 patches, convolutions, the maximum over the picture, a linear layer
    def __init__(self):
        super().__init__()
        self.patches = nn.Module()
        self.patches.register_buffer("weight", torch.randn(PATTERNS, CHANNELS, 4, 4).repeat(2, 1, 1, 1))
        self.stages = nn.Sequential()
        stages = STAGES
        for inputs, outputs, pooling in stages:
            conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
            nn.init.dirac_(conv.weight.data[:inputs])  # it begins as the identity
            layers = {"conv": conv, "pool": nn.MaxPool2d(pooling), "norm": nn.BatchNorm2d(outputs)}
            self.stages.append(nn.Sequential(OrderedDict(layers, gelu=nn.GELU())))
        self.head = nn.Linear(WIDTH, CLASSES)

    def calibrate(self, images):
        """Measure the commonest patterns of patches; each is made as loud as the others, and has both signs."""
        patches = functional.unfold(images[:1000], 4, stride=2).transpose(1, 2).flatten(0, 1)
        variances, directions = torch.linalg.eigh((patches.T @ patches / len(patches)).double())
        patterns = (directions / (variances + 5e-4).sqrt()).T.flip(0)[:PATTERNS].reshape(-1, CHANNELS, 4, 4)
        self.patches.weight.copy_(torch.cat([patterns, -patterns]))

    FORWARD
        features = functional.gelu(functional.conv2d(images, self.patches.weight, stride=2, padding=1))
        return self.head(self.stages(features).amax((2, 3)))
'''
_FORWARD = "def forward(self, images):"
_MIRRORED = """
    def forward(self, images, mirrored=False):
        if not self.training and not mirrored:  # a picture and its mirror image are judged together
            return (self(images, True) + self(images.flip(3), True)) / 2
"""


def fully_connected(
    *, input_shape: Shape, num_classes: int, hidden: list[int], activation: str, dropout: float
) -> Plain:
    sizes = [prod(input_shape), *hidden, num_classes]
    layers = ["nn.Flatten()"]
    for inputs, outputs in pairwise(sizes[:-1]):
        layers += [f"nn.Linear({inputs}, {outputs})", _ACTIVATIONS[activation]]
        layers += [f"nn.Dropout({literal(dropout)})"] if dropout else []
    layers.append(f"nn.Linear({sizes[-2]}, {sizes[-1]})")
    return Plain(use=_sequential(layers), imports=(_NN,), draws=bool(dropout))


def convolutional(
    *, input_shape: Shape, num_classes: int, width: int, activation: str, dropout: float
) -> Plain:
    channels, height, width_px = input_shape
    narrow, act = width // 2, _ACTIVATIONS[activation]
    drop = [f"nn.Dropout2d({literal(dropout)})"] if dropout else []
    layers = [
        f"nn.Conv2d({channels}, {width}, 3, padding=1)",
        act,
        "nn.MaxPool2d(2)",
        *drop,
        f"nn.Conv2d({width}, {narrow}, 3, padding=1)",
        act,
        "nn.MaxPool2d(2)",
        *drop,
        "nn.Flatten()",
        f"nn.Linear({narrow * (height // 4) * (width_px // 4)}, 32)",
        act,
        f"nn.Linear(32, {num_classes})",
    ]
    return Plain(use=_sequential(layers), imports=(_NN,), draws=bool(dropout))


def resnet(*, input_shape: Shape, num_classes: int, widths: list[int], blocks: int, dropout: float) -> Plain:
    layers = [
        f"nn.Conv2d({input_shape[0]}, {widths[0]}, 3, padding=1, bias=False)",
        f"nn.BatchNorm2d({widths[0]})",
        "nn.ReLU(inplace=True)",
    ]
    inputs = widths[0]
    for stage, width in enumerate(widths):
        layers.append(f"BasicBlock({inputs}, {width}, {2 if stage else 1})")
        layers += [f"*(BasicBlock({width}, {width}, 1) for _ in range({blocks - 1}))"] if blocks > 1 else []
        inputs = width
    layers += ["nn.AdaptiveAvgPool2d(1)", "nn.Flatten()"]
    layers += [f"nn.Dropout({literal(dropout)})"] if dropout else []
    layers.append(f"nn.Linear({inputs}, {num_classes})")
    code = _BASIC_BLOCK.strip().replace("NET", _sequential(layers).replace("\n", "\n    "))
    return Plain(use="resnet()", code=code, imports=(_NN, _FUNCTIONAL), draws=bool(dropout))


def residual(*, input_shape: Shape, num_classes: int, width: int, blocks: int) -> Plain:
    channels, height, width_px = input_shape
    layers = [
        f"nn.Conv2d({channels}, {width}, 3, padding=1)",
        "nn.ReLU()",
        "nn.MaxPool2d(2)",
        f"*(ResidualBlock({width}) for _ in range({blocks}))",
        "nn.MaxPool2d(2)",
        "nn.Flatten()",
        f"nn.Linear({width * (height // 4) * (width_px // 4)}, 32)",
        "nn.ReLU()",
        f"nn.Linear(32, {num_classes})",
    ]
    return Plain(use=_sequential(layers), code=_RESIDUAL_BLOCK.strip(), imports=(_NN, _FUNCTIONAL))


def swift(
    *,
    input_shape: Shape,
    num_classes: int,
    widths: list[int],
    depths: list[int],
    patterns: int,
    mirror: bool,
) -> Plain:
    channels, height, width = input_shape
    kept, size = min(patterns, 16 * channels), min(height, width) // 2
    stages, inputs = [], 2 * kept
    for outputs, depth in zip(widths, depths, strict=True):
        for index in range(depth):
            pools = index == 0 and size >= 2
            stages.append((inputs, outputs, 2 if pools else 1))
            inputs, size = outputs, size // 2 if pools else size
    given = {
        "PATTERNS": str(kept),
        "CHANNELS": str(channels),
        "STAGES": _listed(stages),
        "WIDTH": str(inputs),
        "CLASSES": str(num_classes),
        "FORWARD": _MIRRORED.strip() if mirror else _FORWARD,
    }
    code = _SWIFT.strip()
    for name, text in given.items():
        code = code.replace(name, text)
    imports = ("from collections import OrderedDict", _NN, _FUNCTIONAL)
    return Plain(use="Swift()", code=code, imports=imports)


def _listed(stages: Iterable[tuple[int, int, int]]) -> str:
    """Return the stages: inputs, outputs, and by how much they are pooled; a line each if there are many."""
    texts = [literal(stage) for stage in stages]
    line = f"[{', '.join(texts)}]"
    return (
        line
        if len(line) <= 93
        else "\n            ".join(["[", *(f"{text}," for text in texts)]) + "\n        ]"
    )


def _sequential(layers: Iterable[str]) -> str:
    return "\n".join(["nn.Sequential(", *(f"    {layer}," for layer in layers), ")"])
