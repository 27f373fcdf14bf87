"""A small convolutional net that learns in seconds on a CPU: the model of the recipes `fast` and `best`.

Measured by `benchmarks/time_to_accuracy.py` on cifar2, 10,000 training and 1,000 test pictures, all settings chosen
on held-out training pictures: `fast` 0.926, the mean of 5 seeds (0.923 at least), in 0.06 of the time of
`book-conv`'s 100 epochs; `best` 0.953, the mean of 3 seeds (0.950 at least), in 0.64 of it. The times are those of
2 cores with bfloat16 in hardware.

What makes it quick, and where that comes from:

- The first convolution is not learned. It whitens patches of the training pictures, measured once by
  `calibrate`, and is taken with both signs (tysam-code/hlb-CIFAR10; KellerJordan/cifar10-airbench). Here its
  patches are 4x4 and 2 pixels apart, so that nothing after it works at the full size of the pictures.
- Convolution, max-pooling, batch norm, GELU, in this order, and convolutions that begin as the identity
  (airbench, after Zagoruyko and Komodakis, 2017, "DiracNets").
- A picture and its mirror image are judged together where predictions are made (airbench).
- Narrow layers and more epochs, rather than wide layers and fewer, in the same time.
- The recipes' optimizer, Muon: see `muon.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

_CALIBRATION_PICTURES = 1000  # 225,000 patches of 32x32 pictures, for a matrix of 48x48
_WHITENING_FLOOR = 5e-4  # added to variances: what is hardly there is not made as loud as the rest


class Swift(nn.Module):
    """Whitened patches, stages of convolutions, the maximum over the picture, one linear layer.

    Args:
        input_shape: (channels, height, width) of the pictures, at least 8x8 pixels.
        num_classes: how many logits.
        widths: channels of each stage; each halves the size while it can, as the patches have already.
        depths: convolutions of each stage.
        patterns: patterns of patches that are kept, the most frequent first; each gives two channels.
        mirror: outside training, average with the mirrored picture's logits: where left and right are alike.

    Raises:
        ValueError: a picture is smaller than 8x8, or `widths` and `depths` differ in length.
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, int, int],
        num_classes: int,
        widths: Sequence[int] = (32, 64, 64),
        depths: Sequence[int] = (2, 2, 1),
        patterns: int = 16,
        mirror: bool = False,
    ) -> None:
        super().__init__()
        channels, height, width = input_shape
        if min(height, width) < 8:
            raise ValueError(f"pictures are {height}x{width} pixels; at least 8x8 are needed")
        self.mirror = mirror
        self.patches = Patches(channels, min(patterns, 16 * channels))
        size = min(height, width) // 2
        inputs = self.patches.outputs
        stages: list[nn.Module] = []
        for outputs, depth in zip(widths, depths, strict=True):
            for index in range(depth):
                pools = index == 0 and size >= 2
                stages.append(ConvBlock(inputs, outputs, pools=pools))
                size = size // 2 if pools else size
                inputs = outputs
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(inputs, num_classes)

    def calibrate(self, images_NCHW: Tensor) -> None:
        """Measure the patterns of patches on some transformed training pictures, before the first step."""
        self.patches.calibrate(images_NCHW)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        logits_NK = self._logits(images_NCHW)
        if self.mirror and not self.training:
            logits_NK = (logits_NK + self._logits(images_NCHW.flip(3))) / 2
        return logits_NK

    def _logits(self, images_NCHW: Tensor) -> Tensor:
        features_NCHW: Tensor = self.stages(self.patches(images_NCHW))
        logits_NK: Tensor = self.head(features_NCHW.amax((2, 3)))
        return logits_NK


class Patches(nn.Module):
    """A fixed convolution, 4x4 pixels, every 2, onto the principal patterns of patches; GELU of both signs.

    Until it is calibrated, the patterns are random.
    """

    weight: Tensor

    def __init__(self, channels: int, patterns: int) -> None:
        super().__init__()
        self.outputs = 2 * patterns
        weight = torch.randn(patterns, channels, 4, 4) / (16 * channels) ** 0.5
        self.register_buffer("weight", torch.cat([weight, -weight]))

    @torch.no_grad()
    def calibrate(self, images_NCHW: Tensor) -> None:
        """Make each pattern's response one of variance 1, uncorrelated with the others'."""
        _, channels, height, width = self.weight.shape
        some_NCHW = images_NCHW[:_CALIBRATION_PICTURES].float()
        patches_PX = functional.unfold(some_NCHW, (height, width), stride=2).transpose(1, 2).flatten(0, 1)
        moments_XX = (patches_PX.T @ patches_PX / len(patches_PX)).double().cpu()
        variances, directions_XX = torch.linalg.eigh(moments_XX)
        patterns_PX = (directions_XX / (variances + _WHITENING_FLOOR).sqrt()).T.flip(0)[: self.outputs // 2]
        weight = patterns_PX.reshape(-1, channels, height, width)
        self.weight.copy_(torch.cat([weight, -weight]))

    def forward(self, images_NCHW: Tensor) -> Tensor:
        return functional.gelu(functional.conv2d(images_NCHW, self.weight, stride=2, padding=1))


class ConvBlock(nn.Module):
    """A 3x3 convolution, max-pooling if asked for, batch norm, GELU."""

    def __init__(self, inputs: int, outputs: int, *, pools: bool) -> None:
        super().__init__()
        self.pools = pools
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        with torch.no_grad():
            nn.init.dirac_(self.conv.weight[:inputs])

    def forward(self, images_NCHW: Tensor) -> Tensor:
        features_NCHW: Tensor = self.conv(images_NCHW)
        if self.pools:
            features_NCHW = functional.max_pool2d(features_NCHW, 2)
        return functional.gelu(self.norm(features_NCHW))
