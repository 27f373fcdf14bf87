"""A model of torchvision's, fitted to birdplane's pictures and classes. Imports torch and torchvision."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torchvision import models

from birdplane import BirdplaneError, UsageError
from birdplane.errors import nearest
from birdplane.reporting import task
from birdplane_torchvision import zoo

_SUFFIX = ".safetensors"
#: The sides that are tried when pictures are too small, in pixels.
_SIDES = (32, 48, 64, 96, 128, 160, 192, 224, 256, 299)
#: What only the training of the originals needed: a second answer from the middle of the net.
_AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")


@dataclass(frozen=True)
class Wanted:
    """Which model, and for what: `input_shape` is (channels, height, width)."""

    name: str
    input_shape: tuple[int, int, int]
    num_classes: int


def built(wanted: Wanted, *, pretrained: bool = False, weights: Path | None = None) -> nn.Module:
    """Build the model, with random weights (torch's global generator), torchvision's own, or those of a file.

    Raises:
        UsageError: it cannot take such pictures, or has no weights to be had.
        BirdplaneError: the weights cannot be downloaded or read, or do not fit.
    """
    if pretrained and weights is not None:
        raise UsageError(
            f"torchvision/{wanted.name}: give pretrained or weights, not both: both say where it starts from"
        )
    if wanted.input_shape[0] not in (1, 3):
        raise UsageError(
            f"torchvision/{wanted.name} takes pictures of 3 channels, or grey ones; "
            f"these have {wanted.input_shape[0]}"
        )
    _check_pictures(wanted)
    if pretrained:
        origin = f"the weights of {wanted.name}"
        tensors: Mapping[str, Tensor] = _downloaded(wanted.name)
    elif weights is not None:
        origin = str(weights)
        tensors = _read(weights.expanduser())
    model = _created(wanted, wanted.input_shape[1:], ported=pretrained)
    if pretrained or weights is not None:
        _load(model, tensors, wanted, origin)
    return model


def recommended(name: str) -> Any:
    """Return the weights that torchvision recommends for a model, as its own enumeration has them.

    Raises:
        UsageError: there is no such model, or it has none.
    """
    if name not in zoo.modules():
        raise UsageError(f"torchvision has no classifier {name!r}{nearest(name, zoo.modules())}")
    found = list(models.get_model_weights(name))
    if not found:
        raise UsageError(f"torchvision offers no weights for {name!r}")
    return models.get_model_weights(name)["DEFAULT"]


def _created(wanted: Wanted, side: tuple[int, int], *, ported: bool = False) -> nn.Module:
    options: dict[str, Any] = {"num_classes": wanted.num_classes}
    module = zoo.modules()[wanted.name]
    if module == "vision_transformer":
        if side[0] != side[1]:
            raise ValueError("it takes square pictures")
        options["image_size"] = side[0]
    elif module == "maxvit":
        options["input_size"] = side
    elif module in ("googlenet", "inception"):
        # In training these yield further answers beside the logits, unless told otherwise.
        options |= {"aux_logits": False, "init_weights": True, "transform_input": ported}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model: nn.Module = models.get_model(wanted.name, weights=None, **options)
    if wanted.input_shape[0] == 1:
        model.register_forward_pre_hook(_in_colour)
    return model


def _in_colour(model: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    return (inputs[0].expand(-1, 3, -1, -1),)


# Whether it can take the pictures.


def _check_pictures(wanted: Wanted) -> None:
    _, height, width = wanted.input_shape
    reason = _unfit(wanted, height, width)
    if reason is None:
        return
    fitting = next(
        (side for side in _SIDES if side > min(height, width) and _unfit(wanted, side, side) is None), None
    )
    if fitting is None:
        raise UsageError(f"torchvision/{wanted.name} cannot take pictures of {width}x{height}: {reason}")
    raise UsageError(
        f"torchvision/{wanted.name} cannot take pictures of {width}x{height}, but {fitting}x{fitting} (mend: as the "
        f'last transform, {{ use = "torchvision/preprocess", model = "{wanted.name}", size = {fitting} }})'
    )


def _unfit(wanted: Wanted, height: int, width: int) -> str | None:
    """Say why the model cannot take pictures of this size; None if it can. Nothing is computed: shapes alone."""
    if zoo.modules()[wanted.name] == "regnet":
        # They reckon their widths with tensors, which have no values there; and they take any size.
        return None
    try:
        with torch.device("meta"), torch.no_grad():
            outputs = _created(wanted, (height, width)).eval()(
                torch.empty(2, wanted.input_shape[0], height, width)
            )
    except Exception as error:
        return f"{type(error).__name__}: {_one_line(error)}".removesuffix(": ")
    return None if tuple(outputs.shape) == (2, wanted.num_classes) else f"it yields {tuple(outputs.shape)}"


# Its weights.


def _downloaded(name: str) -> Mapping[str, Tensor]:
    """Return torchvision's weights: its files are in torch's format, of which only tensors are read."""
    found = recommended(name)
    try:
        # torch says there where it downloads to, and standard output is the command's own.
        with task(f"downloading the weights of {name}"), redirect_stdout(StringIO()):
            tensors: Mapping[str, Tensor] = found.get_state_dict(
                progress=False, check_hash=True, weights_only=True
            )
    except Exception as error:  # the network, the disk, a damaged file, or what is no tensor
        raise BirdplaneError(
            f"pretrained: the weights of {name} cannot be had from {found.url}: {_one_line(error)}; "
            "give a file by weights, or leave pretrained out"
        ) from error
    return {key: value for key, value in tensors.items() if not key.startswith(_AUXILIARY)}


def _read(file: Path) -> Mapping[str, Tensor]:
    if file.suffix != _SUFFIX:
        raise UsageError(
            f"weights: {str(file)!r} is no {_SUFFIX} file; birdplane reads no other, and no pickle"
        )
    if not file.is_file():
        raise UsageError(f"weights: there is no file {str(file)!r}")
    try:
        tensors: Mapping[str, Tensor] = safetensors.torch.load_file(file)
    except (OSError, safetensors.SafetensorError) as error:
        raise BirdplaneError(f"{file}: is damaged, or is no safetensors file: {_one_line(error)}") from error
    return tensors


def _load(model: nn.Module, tensors: Mapping[str, Tensor], wanted: Wanted, origin: str) -> None:
    """Put the weights into the model; where they are for other classes, all but the last layer's.

    Raises:
        BirdplaneError: a tensor is missing, of no use, or of another shape.
    """
    own = model.state_dict()
    last = {key for key, value in own.items() if key in tensors and _other_classes(value, tensors[key])}
    fitting = {key: value for key, value in tensors.items() if key not in last}
    try:
        result = model.load_state_dict(fitting, strict=False)
    except RuntimeError as error:
        raise BirdplaneError(
            f"{origin} does not fit torchvision/{wanted.name}: {_one_line(error)}"
        ) from error
    lacking = [*(key for key in result.missing_keys if key not in last), *result.unexpected_keys]
    if lacking or len(last) > 2:
        named = ", ".join((lacking or sorted(last))[:3])
        raise BirdplaneError(
            f"{origin} does not fit torchvision/{wanted.name}: it lacks, or has too many, or has in another shape: "
            f"{named}"
        )


def _other_classes(own: Tensor, given: Tensor) -> bool:
    return own.shape != given.shape and own.ndim > 0 and own.shape[1:] == given.shape[1:]


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else text[:199] + "…"
