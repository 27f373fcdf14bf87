"""The transforms. Each works on a whole batch, `images_NCHW`, on whatever device it lies.

The random ones draw for each picture by itself, from the generator they are given and from nothing else.
None waits for a GPU, none alters the batch it is given, and all keep its memory layout (contiguous or
channels-last).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Le
from typing_extensions import Doc

from birdplane import BirdplaneError, UsageError

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image
    from torch import Tensor

Fill = Literal["zero", "edge", "reflect", "wrap"]
_PAD_MODES: dict[Fill, str] = {
    "zero": "constant",
    "edge": "replicate",
    "reflect": "reflect",
    "wrap": "circular",
}
Share = Annotated[float, Ge(0), Le(1)]


class ToTensor:
    """uint8 pictures, 0 to 255, as float32, 0 to 1: bit for bit what torchvision's `ToTensor` makes of them.

    (torchvision's newer `v2.ToDtype(float32, scale=True)` multiplies by 1/255 where this divides by 255, and
    differs from both in the last bit of some values.)

    A batch (N, C, H, W) or one picture of it (C, H, W) keeps its shape; a PIL picture, height x width x channel,
    becomes (C, H, W).

    Raises:
        UsageError: the pictures are not uint8.
    """

    def __call__(self, images_NCHW: Tensor | Image) -> Tensor:
        import torch

        if not isinstance(images_NCHW, torch.Tensor):
            images_NCHW = _channels_first(images_NCHW)
        if images_NCHW.dtype != torch.uint8:
            raise UsageError(
                f"to-tensor makes floats of uint8 (0 to 255), and the pictures are {_name(images_NCHW.dtype)}"
                "; use it once, before the transforms that need floats"
            )
        # A divisor on the device: CUDA turns a division by a Python number into a product with its
        # reciprocal, which is not the same in the last bit.
        return images_NCHW.to(torch.float32).div_(torch.full((), 255.0, device=images_NCHW.device))


def _channels_first(picture: Image) -> Tensor:
    """Return a PIL picture as uint8 (C, H, W); one without colours has one channel."""
    import numpy as np
    import torch

    pixels = torch.from_numpy(np.array(picture))
    return (pixels if pixels.ndim == 3 else pixels[:, :, None]).permute(2, 0, 1).contiguous()


class Normalize:
    """Each channel shifted and scaled: (x - mean) / std, as torchvision's `Normalize` computes it.

    Where `mean` and `std` are not given, `fit` measures them.

    Attributes:
        fitted: whether both are known.

    Raises:
        UsageError: only one of the two is given, they differ in length, or a `std` is not above 0.
    """

    def __init__(
        self,
        *,
        mean: Annotated[
            list[float] | None, Doc("Mean of each channel; left out: measured on the training pictures.")
        ] = None,
        std: Annotated[
            list[float] | None,
            Doc("Standard deviation of each channel; left out: measured on the training pictures."),
        ] = None,
    ) -> None:
        if (mean is None) != (std is None):
            raise UsageError("normalize: give both mean and std, or neither, to have them measured")
        if mean is not None and std is not None:
            _check_statistics(mean, std)
        self.mean = mean
        self.std = std
        self._constants: dict[tuple[torch.device, torch.dtype], tuple[Tensor, Tensor]] = {}

    def __repr__(self) -> str:
        return f"Normalize(mean={self.mean}, std={self.std})"

    @property
    def fitted(self) -> bool:
        return self.mean is not None

    def fit(self, batches: Iterable[Tensor]) -> dict[str, list[float]]:
        """Measure mean and standard deviation of each channel in one pass, in float64, over all pixels.

        The deviation is the population's (divided by the number of pixels, not by one less). No more than one
        batch is held. Batches are merged as Chan, Golub and LeVeque do (1979), which loses no digits to a
        large mean.

        Returns:
            `{"mean": [...], "std": [...]}`, one value a channel.

        Raises:
            UsageError: a channel is the same in every pixel, or the pictures are not floats.
            BirdplaneError: there are no pictures.
        """
        import torch

        count = 0
        mean_C: Tensor | float = 0.0
        squares_C: Tensor | float = 0.0  # sum of squared deviations from the mean
        for batch in batches:
            for images in torch.split(batch, 256):
                pixels, part_mean_C, part_squares_C = _moments(images)
                total = count + pixels
                delta_C = part_mean_C - mean_C
                mean_C = mean_C + delta_C * (pixels / total)
                squares_C = squares_C + part_squares_C + delta_C.square() * (count * pixels / total)
                count = total
        if isinstance(mean_C, float) or isinstance(squares_C, float):
            raise BirdplaneError("there are no training pictures to measure mean and std on")
        mean, std = mean_C.tolist(), (squares_C / count).sqrt().tolist()
        for channel, (middle, value) in enumerate(zip(mean, std, strict=True)):
            if not value > 1e-13 * abs(middle):  # less is the rounding of the mean
                raise UsageError(
                    f"channel {channel} of the training pictures is the same in every pixel, so "
                    "its standard deviation is 0 and it cannot be scaled; give mean and std yourself"
                )
        return {"mean": mean, "std": std}

    def __call__(self, images_NCHW: Tensor) -> Tensor:
        mean_C11, std_C11 = self._on(images_NCHW)
        return images_NCHW.sub(mean_C11).div_(std_C11)

    def _on(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and std in the pictures' type and place; kept, because a copy to a GPU waits for it."""
        import torch

        key = (images.device, images.dtype)
        if key not in self._constants:
            if self.mean is None or self.std is None:
                raise BirdplaneError(
                    "normalize does not know mean and std yet; give them, or measure them with fit()"
                )
            if not images.is_floating_point():
                raise UsageError(_needs_floats(images))
            if len(self.mean) not in (1, images.shape[1]):
                raise UsageError(
                    f"mean and std are for {len(self.mean)} channels, the pictures have {images.shape[1]}"
                )
            mean, std = (
                torch.tensor(values, dtype=images.dtype, device=images.device).view(-1, 1, 1)
                for values in (self.mean, self.std)
            )
            self._constants[key] = mean, std
        return self._constants[key]


class RandomShift:
    """Each picture moved by its own whole number of pixels, -`pixels` to `pixels`, down and to the right."""

    def __init__(
        self,
        *,
        pixels: Annotated[int, Ge(0), Doc("The furthest a picture moves, in each direction.")] = 4,
        fill: Annotated[
            Fill,
            Doc(
                "What comes in at the border: zero, the edge's pixels repeated, the picture reflected, "
                "or the far side."
            ),
        ] = "zero",
    ) -> None:
        self.pixels = pixels
        self.fill = fill

    def __call__(self, images_NCHW: Tensor, generator: torch.Generator) -> Tensor:
        return _shift(images_NCHW, self.pixels, self.fill, generator)


class RandomCrop:
    """Each picture padded on all four sides and cut back to its size at a place of its own.

    The same distribution as `random-shift`, by the name that it has in most papers.
    """

    def __init__(
        self,
        *,
        padding: Annotated[int, Ge(0), Doc("Pixels added on each side before the cut.")] = 4,
        fill: Annotated[
            Fill,
            Doc("What is added: zero, the edge's pixels repeated, the picture reflected, or the far side."),
        ] = "reflect",
    ) -> None:
        self.padding = padding
        self.fill = fill

    def __call__(self, images_NCHW: Tensor, generator: torch.Generator) -> Tensor:
        return _shift(images_NCHW, self.padding, self.fill, generator)


class RandomFlip:
    """Each picture mirrored, left to right, with probability `p`."""

    def __init__(
        self, *, p: Annotated[Share, Doc("The share of the pictures that is mirrored.")] = 0.5
    ) -> None:
        self.p = p

    def __call__(self, images_NCHW: Tensor, generator: torch.Generator) -> Tensor:
        import torch

        chosen_N = torch.rand(len(images_NCHW), generator=generator, device=images_NCHW.device) < self.p
        return torch.where(chosen_N[:, None, None, None], images_NCHW.flip(3), images_NCHW)


class Cutout:
    """A square hole of zeros in each picture, around a pixel of its own (DeVries and Taylor, 2017).

    The middle may be any pixel, so a hole may overhang the border. Of an even size, the middle is the lower
    right of the four. After `normalize`, zero is the mean colour.
    """

    def __init__(
        self, *, size: Annotated[int, Ge(0), Doc("The hole's side in pixels; 0 for none.")] = 8
    ) -> None:
        self.size = size

    def __call__(self, images_NCHW: Tensor, generator: torch.Generator) -> Tensor:
        import torch

        if self.size == 0:
            return images_NCHW
        count, _, height, width = images_NCHW.shape
        device = images_NCHW.device
        middle_rows_N = torch.randint(height, (count,), generator=generator, device=device)
        middle_columns_N = torch.randint(width, (count,), generator=generator, device=device)
        # What overhangs is written to the border instead: the hole reaches it, because its middle is inside.
        side_S = torch.arange(self.size, device=device) - self.size // 2
        rows_NS = (middle_rows_N[:, None] + side_S).clamp_(0, height - 1)
        columns_NS = (middle_columns_N[:, None] + side_S).clamp_(0, width - 1)
        each_N = torch.arange(count, device=device)
        cut_NCHW = images_NCHW.clone()
        cut_NCHW[each_N[:, None, None], :, rows_NS[:, :, None], columns_NS[:, None, :]] = (
            images_NCHW.new_zeros(())
        )
        return cut_NCHW


def color_jitter(
    *,
    brightness: Annotated[float, Ge(0), Doc("Factor drawn from 1 - this (at least 0) to 1 + this.")] = 0.2,
    contrast: Annotated[float, Ge(0), Doc("Factor drawn from 1 - this (at least 0) to 1 + this.")] = 0.2,
    saturation: Annotated[float, Ge(0), Doc("Factor drawn from 1 - this (at least 0) to 1 + this.")] = 0.2,
    hue: Annotated[float, Ge(0), Le(0.5), Doc("Turn of the colour wheel, drawn from -this to this.")] = 0.0,
) -> Any:
    """torchvision's `v2.ColorJitter`, by picture. It clamps floats to 0..1: use it before `normalize`."""
    from torchvision.transforms import v2

    return v2.ColorJitter(brightness=brightness, contrast=contrast, saturation=saturation, hue=hue)


def random_rotation(
    *,
    degrees: Annotated[float, Ge(0), Le(180), Doc("The angle is drawn from -this to this.")] = 10.0,
    interpolation: Annotated[
        Literal["nearest", "bilinear"], Doc("How pixels between pixels are found.")
    ] = "bilinear",
    fill: Annotated[float, Doc("What comes in at the corners, in the pictures' own units.")] = 0.0,
) -> Any:
    """torchvision's `v2.RandomRotation`, picture by picture; the size stays."""
    from torchvision.transforms import InterpolationMode, v2

    return v2.RandomRotation(degrees, interpolation=InterpolationMode(interpolation), fill=fill)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _needs_floats(images: Tensor) -> str:
    return f"normalize needs floats, and the pictures are {_name(images.dtype)}; put to-tensor before it"


def _check_statistics(mean: list[float], std: list[float]) -> None:
    if len(mean) != len(std) or not mean:
        raise UsageError(
            f"normalize: mean and std need one value a channel each; mean has {len(mean)}, std {len(std)}"
        )
    for value in std:
        if not value > 0:
            raise UsageError(f"normalize: std is {value:g}; a standard deviation is above 0")


def _moments(images_NCHW: Tensor) -> tuple[int, Tensor, Tensor]:
    """Return the number of pixels and each channel's mean and sum of squared deviations, in float64."""
    import torch

    if not images_NCHW.is_floating_point():
        raise UsageError(_needs_floats(images_NCHW))
    if images_NCHW.device.type == "mps":  # has no float64
        images_NCHW = images_NCHW.cpu()
    pixels_CX = images_NCHW.to(torch.float64).transpose(0, 1).flatten(1)
    mean_C = pixels_CX.mean(1)
    return pixels_CX.shape[1], mean_C, (pixels_CX - mean_C[:, None]).square_().sum(1)


def _shift(images_NCHW: Tensor, pixels: int, fill: Fill, generator: torch.Generator) -> Tensor:
    """Move each picture by its own draw from -pixels..pixels in both directions."""
    import torch

    if pixels == 0:
        return images_NCHW
    device = images_NCHW.device
    top_N, left_N = torch.randint(2 * pixels + 1, (2, len(images_NCHW)), generator=generator, device=device)
    last = not images_NCHW.is_contiguous() and images_NCHW.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if last else torch.contiguous_format
    padded_NCHW = _pad(images_NCHW, pixels, fill).contiguous(memory_format=layout)
    cut = _cut_windows if device.type == "cpu" else _cut_by_coordinates
    height, width = images_NCHW.shape[2:]
    return cut(padded_NCHW, top_N, left_N, height, width).contiguous(memory_format=layout)


def _cut_by_coordinates(
    padded_NCHW: Tensor, top_N: Tensor, left_N: Tensor, height: int, width: int
) -> Tensor:
    """Cut height x width pixels out of each picture, from (top, left) on."""
    import torch

    count, channels = padded_NCHW.shape[:2]
    device = padded_NCHW.device
    return padded_NCHW[
        torch.arange(count, device=device)[:, None, None, None],
        torch.arange(channels, device=device)[:, None, None],
        (top_N[:, None] + torch.arange(height, device=device))[:, None, :, None],
        (left_N[:, None] + torch.arange(width, device=device))[:, None, None, :],
    ]


def _cut_windows(padded_NCHW: Tensor, top_N: Tensor, left_N: Tensor, height: int, width: int) -> Tensor:
    """Do the same, faster on a CPU: a window is one row of a view of the memory in which every row begins one
    number after the last, so that one `index_select` copies whole windows.

    A crop of (512, 3, 32, 32) in float32 on one core: 2.2 ms in all, where coordinates take 12 and a loop
    over the 81 places 4.7. (Some GPUs would write such a view out in full.)
    """
    import torch

    count, channels = padded_NCHW.shape[:2]
    last = not padded_NCHW.is_contiguous()
    if last:  # as stored: (N, H, W * C), where a column is C numbers wide
        stored = padded_NCHW.permute(0, 2, 3, 1).flatten(2)
        window, column = [height, width * channels], channels
    else:
        stored = padded_NCHW
        window, column = [channels, height, width], 1
    picture, *strides = stored.stride()
    reach = sum((size - 1) * stride for size, stride in zip(window, strides, strict=True))
    windows = stored.as_strided((stored.numel() - reach, *window), (1, *strides))
    start_N = torch.arange(0, picture * count, picture) + top_N * strides[-2] + left_N * column
    cut = windows.index_select(0, start_N)
    return cut.view(count, height, width, channels).permute(0, 3, 1, 2) if last else cut


def _pad(images_NCHW: Tensor, pixels: int, fill: Fill) -> Tensor:
    """Add `pixels` on all four sides."""
    from torch.nn.functional import pad

    height, width = images_NCHW.shape[2:]
    most = min(height, width) - (fill == "reflect")
    if pixels > most:
        raise UsageError(
            f"pictures of {height}x{width} pixels can be moved by {most} pixels at most with fill {fill!r}, "
            f"not by {pixels}"
        )
    sides = (pixels,) * 4
    if images_NCHW.is_floating_point() or images_NCHW.device.type == "cpu" or fill == "zero":
        return pad(images_NCHW, sides, mode=_PAD_MODES[fill])
    # GPUs mirror and repeat floats only; those of 16 bits hold 0 to 255 exactly.
    return pad(images_NCHW.half(), sides, mode=_PAD_MODES[fill]).to(images_NCHW.dtype)
