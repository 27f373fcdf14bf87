"""Pictures as one of timm's models was trained on them."""

from __future__ import annotations

from math import floor
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge
from typing_extensions import Doc

from birdplane import UsageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Preprocess:
    """Resize, cut and normalize a batch on its device, as timm's own data config for the model says.

    It takes bytes, or floats from 0 to 1, of any size, and leaves float32 (or the floats' own type). With `crop`
    and no `size` it is timm's transform for evaluation: the shorter side is resized to `side / crop_pct`, and the
    middle is kept. Pictures with one channel are normalized by the mean of the config's three.

    Attributes:
        input_size: (height, width) of what it leaves.
        mean, std: of each channel.

    Raises:
        UsageError: timm has no such model, or the pictures have another number of channels.
    """

    def __init__(
        self,
        *,
        model: Annotated[
            str, Doc("The model, such as resnet18, or with its weights' tag, resnet18.a1_in1k.")
        ],
        size: Annotated[
            int | None, Ge(1), Doc("Another height and width than the model was trained on, in pixels.")
        ] = None,
        crop: Annotated[
            bool, Doc("Cut the border off, as timm does to evaluate; otherwise all is kept.")
        ] = True,
    ) -> None:
        from birdplane_timm.building import config_of

        name, _, tag = model.removeprefix("timm/").partition(".")
        config = config_of(name, tag or None)
        self.input_size: tuple[int, int] = (size, size) if size else config.input_size[1:]
        self.mean = list(config.mean)
        self.std = list(config.std)
        self._mode = "bilinear" if config.interpolation == "bilinear" else "bicubic"
        self._squash = config.crop_mode == "squash"
        self._share = config.crop_pct if crop else 1.0
        self._constants: dict[tuple[torch.device, torch.dtype, int], tuple[Tensor, Tensor]] = {}

    def __repr__(self) -> str:
        return f"Preprocess(input_size={self.input_size}, mean={self.mean}, std={self.std})"

    def __call__(self, images_NCHW: Tensor) -> Tensor:
        import torch
        from torch.nn.functional import interpolate

        images = images_NCHW if images_NCHW.is_floating_point() else images_NCHW.to(torch.float32) / 255
        size = self._resized(images.shape[2], images.shape[3])
        if size != tuple(images.shape[2:]):
            images = interpolate(images, size, mode=self._mode, antialias=True, align_corners=False)
            if self._mode == "bicubic":  # it overshoots at edges
                images = images.clamp(0, 1)
        mean_C11, std_C11 = self._statistics(images)
        return self._middle(images).sub(mean_C11).div(std_C11)

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        rows, columns = (floor(side / self._share) for side in self.input_size)
        if self._squash:
            return rows, columns
        scale = max(rows / height, columns / width)
        # One of the two is exact; the other may not come out short by rounding.
        return max(rows, int(height * scale)), max(columns, int(width * scale))

    def _middle(self, images_NCHW: Tensor) -> Tensor:
        rows, columns = self.input_size
        top = round((images_NCHW.shape[2] - rows) / 2)
        left = round((images_NCHW.shape[3] - columns) / 2)
        return images_NCHW[:, :, top : top + rows, left : left + columns]

    def _statistics(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and std in the pictures' type and place; kept, because a copy to a GPU waits for it."""
        import torch

        channels = images.shape[1]
        key = (images.device, images.dtype, channels)
        if key not in self._constants:
            if channels not in (1, len(self.mean)):
                raise UsageError(
                    f"the model is for pictures of {len(self.mean)} channels; these have {channels}"
                )
            both = (self.mean, self.std)
            if channels == 1:
                both = tuple([sum(values) / len(values)] for values in both)  # type: ignore[assignment]
            mean, std = (
                torch.tensor(values, dtype=images.dtype, device=images.device).view(-1, 1, 1)
                for values in both
            )
            self._constants[key] = mean, std
        return self._constants[key]
