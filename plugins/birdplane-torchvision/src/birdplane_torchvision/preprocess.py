"""Pictures as the weights of one of torchvision's models were trained on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge
from typing_extensions import Doc

if TYPE_CHECKING:
    from torch import Tensor


class Preprocess:
    """Resize, cut and normalize a batch on its device, as the recommended weights of the model say.

    It takes bytes, or floats from 0 to 1, of any size, and leaves floats. Grey pictures become three equal
    channels.

    Raises:
        UsageError: torchvision has no such classifier.
    """

    def __init__(
        self,
        *,
        model: Annotated[str, Doc("The model, such as resnet18.")],
        size: Annotated[
            int | None,
            Ge(1),
            Doc("Another height and width, in pixels; nothing is cut off then but to make it square."),
        ] = None,
    ) -> None:
        from birdplane_torchvision.building import recommended

        self._preset = recommended(model.removeprefix("torchvision/")).transforms()
        if size is not None:
            self._preset.resize_size = self._preset.crop_size = [size]

    def __repr__(self) -> str:
        return " ".join(repr(self._preset).split())

    def __call__(self, images_NCHW: Tensor) -> Tensor:
        result: Tensor = self._preset(images_NCHW.expand(-1, 3, -1, -1))
        return result
