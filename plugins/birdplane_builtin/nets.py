"""The networks behind `models.py`. This module imports torch, so only the factories there import it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "leaky-relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "sigmoid": nn.Sigmoid,
}


def fully_connected(sizes: Sequence[int], activation: str, dropout: float) -> nn.Sequential:
    """Linear layers between the sizes, from inputs to classes, an activation after each but the last.

    Modules are made in the order in which they are run, so that a seed gives the weights that it gives a
    Sequential written by hand.
    """
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in pairwise(sizes[:-1]):
        layers += [nn.Linear(inputs, outputs), ACTIVATIONS[activation]()]
        if dropout:
            layers.append(nn.Dropout(dropout))
    layers.append(nn.Linear(sizes[-2], sizes[-1]))
    return nn.Sequential(*layers)


def convolutional(
    input_shape: tuple[int, int, int], num_classes: int, width: int, activation: str, dropout: float
) -> nn.Sequential:
    """Two convolutions, each with an activation and a pooling to half the size, then two linear layers."""
    channels, height, width_px = input_shape
    narrow = width // 2
    act = ACTIVATIONS[activation]
    drop = [nn.Dropout2d(dropout)] if dropout else []
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1),
        act(),
        nn.MaxPool2d(2),
        *drop,
        nn.Conv2d(width, narrow, 3, padding=1),
        act(),
        nn.MaxPool2d(2),
        *drop,
        nn.Flatten(),
        nn.Linear(narrow * (height // 4) * (width_px // 4), 32),
        act(),
        nn.Linear(32, num_classes),
    )


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch norm around a shortcut (He et al., 2015, figure 5 left).

    Where the size or the width changes, the shortcut is a 1x1 convolution with batch norm (option B there).
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, images_NCHW: Tensor) -> Tensor:
        return functional.relu(self.body(images_NCHW) + self.shortcut(images_NCHW))


def resnet(
    channels: int, num_classes: int, widths: Sequence[int], blocks: int, dropout: float
) -> nn.Sequential:
    """A 3x3 convolution, one stage of basic blocks a width, the mean over the picture, one linear layer.

    Every stage but the first halves height and width, rounding up.
    """
    layers: list[nn.Module] = [
        nn.Conv2d(channels, widths[0], 3, padding=1, bias=False),
        nn.BatchNorm2d(widths[0]),
        nn.ReLU(inplace=True),
    ]
    inputs = widths[0]
    for stage, width in enumerate(widths):
        for block in range(blocks):
            layers.append(BasicBlock(inputs, width, stride=2 if stage and not block else 1))
            inputs = width
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    if dropout:
        layers.append(nn.Dropout(dropout))
    net = nn.Sequential(*layers, nn.Linear(inputs, num_classes))
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return net


class ResidualBlock(nn.Module):
    """x + relu(batch_norm(conv(x))): chapter 8's residual block, with its initial values."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.batch_norm = nn.BatchNorm2d(width)
        nn.init.kaiming_normal_(self.conv.weight, nonlinearity="relu")
        nn.init.constant_(self.batch_norm.weight, 0.5)
        nn.init.zeros_(self.batch_norm.bias)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        return functional.relu(self.batch_norm(self.conv(images_NCHW))) + images_NCHW


def residual(input_shape: tuple[int, int, int], num_classes: int, width: int, blocks: int) -> nn.Sequential:
    """Chapter 8's deep net: a convolution, a pooling, many residual blocks, a pooling, two linear layers."""
    channels, height, width_px = input_shape
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        *(ResidualBlock(width) for _ in range(blocks)),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(width * (height // 4) * (width_px // 4), 32),
        nn.ReLU(),
        nn.Linear(32, num_classes),
    )
