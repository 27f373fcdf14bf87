"""A model of timm's, fitted to birdplane's pictures and classes. Imports torch and timm."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import timm
import torch
from timm.models import PretrainedCfg, get_pretrained_cfg
from torch import Tensor, nn

from birdplane import BirdplaneError, UsageError
from birdplane.errors import nearest
from birdplane_timm import hub, zoo

#: The sides that are tried when pictures are too small, in pixels, besides the one that timm names.
_SIDES = (32, 48, 64, 96, 128, 160, 192, 224, 256, 288, 320, 384, 448, 512)


@dataclass(frozen=True)
class Wanted:
    """Which model, and for what: `input_shape` is (channels, height, width)."""

    name: str
    tag: str | None
    input_shape: tuple[int, int, int]
    num_classes: int
    drop_rate: float = 0.0
    drop_path_rate: float | None = None


def built(wanted: Wanted, *, pretrained: bool = False, weights: Path | None = None) -> nn.Module:
    """Build the model, with random weights (torch's global generator), timm's own, or those of a file.

    Raises:
        UsageError: it cannot take such pictures, has no such parameter, or has no weights to be had.
        BirdplaneError: the weights cannot be downloaded or read, or do not fit.
    """
    if pretrained and weights is not None:
        raise UsageError(
            f"timm/{wanted.name}: give pretrained or weights, not both: both say where it starts from"
        )
    config = config_of(wanted.name, wanted.tag)
    _check_pictures(wanted, config)
    if weights is not None:
        return _loaded(wanted, config, hub.checked_file(weights.expanduser()))
    if pretrained:
        return _loaded(wanted, config, hub.pretrained_file(_full_name(wanted.name, wanted.tag), config))
    return _created(wanted, config, num_classes=wanted.num_classes)


def config_of(name: str, tag: str | None = None) -> PretrainedCfg:
    """Return what timm knows of the pictures and weights of a model; nothing is downloaded.

    Raises:
        UsageError: there is no such model, or it has no such tag.
    """
    if name not in zoo.modules():
        raise UsageError(f"timm has no model {name!r}{nearest(name, zoo.modules())}")
    if tag is not None:
        full = timm.list_models(f"{name}.*", include_tags=True)
        tags = sorted(other.partition(".")[2] for other in full if "." in other)
        if tag not in tags:
            allowed = f" (allowed: {', '.join(tags)})" if tags else ", and no others by a tag"
            raise UsageError(f"timm has no weights {tag!r} for {name!r}{nearest(tag, tags)}{allowed}")
    return get_pretrained_cfg(_full_name(name, tag)) or PretrainedCfg()


def _full_name(name: str, tag: str | None) -> str:
    return f"{name}.{tag}" if tag else name


def _options(wanted: Wanted, config: PretrainedCfg, side: tuple[int, int]) -> dict[str, Any]:
    options: dict[str, Any] = {"in_chans": wanted.input_shape[0]}
    if config.fixed_input_size:
        options["img_size"] = side
    # Only what was asked for: not every model takes these.
    if wanted.drop_rate:
        options["drop_rate"] = wanted.drop_rate
    if wanted.drop_path_rate is not None:
        options["drop_path_rate"] = wanted.drop_path_rate
    return options


def _created(
    wanted: Wanted, config: PretrainedCfg, *, side: tuple[int, int] | None = None, **more: Any
) -> nn.Module:
    options = _options(wanted, config, side or (wanted.input_shape[1], wanted.input_shape[2]))
    with _quiet():
        model: nn.Module = timm.create_model(_full_name(wanted.name, wanted.tag), **options, **more)
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """What timm and torch warn of while a model is built is about their own insides."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# Whether it can take the pictures.


def _check_pictures(wanted: Wanted, config: PretrainedCfg) -> None:
    channels, height, width = wanted.input_shape
    reason = _unfit(wanted, config, height, width)
    if reason is None:
        return
    _check_parameters(wanted, reason)
    native = config.input_size[1:]
    sides = sorted({(side, side) for side in _SIDES if side > min(height, width)} | {native})
    fitting = next((side for side in sides if _unfit(wanted, config, *side) is None), None)
    if fitting is None:
        raise UsageError(f"timm/{wanted.name} is no classifier of pictures of {channels} channels: {reason}")
    size = f", size = {fitting[0]}" if fitting != native else ""
    raise UsageError(
        f"timm/{wanted.name} cannot take pictures of {width}x{height}, but {fitting[1]}x{fitting[0]} (mend: as the "
        f'last transform, {{ use = "timm/preprocess", model = "{wanted.name}"{size} }})'
    )


def _unfit(wanted: Wanted, config: PretrainedCfg, height: int, width: int) -> str | None:
    """Say why the model cannot take pictures of this size; None if it can. Nothing is computed: shapes alone."""
    try:
        with torch.device("meta"), torch.no_grad():
            model = _created(wanted, config, side=(height, width), num_classes=wanted.num_classes).eval()
            outputs = model(torch.empty(2, wanted.input_shape[0], height, width))
    except Exception as error:
        return f"{type(error).__name__}: {_one_line(error)}".removesuffix(": ")
    if not isinstance(outputs, Tensor):
        return f"it yields {type(outputs).__name__}"
    if tuple(outputs.shape) != (2, wanted.num_classes):
        return f"of two pictures it makes {tuple(outputs.shape)}, not {(2, wanted.num_classes)}"
    return None


def _check_parameters(wanted: Wanted, reason: str) -> None:
    for parameter in ("drop_rate", "drop_path_rate"):
        if f"unexpected keyword argument '{parameter}'" in reason:
            raise UsageError(f"{parameter}: timm/{wanted.name} has no such parameter; leave it out")


# Its weights.


def _loaded(wanted: Wanted, config: PretrainedCfg, file: Path) -> nn.Module:
    """Build the model with the file's weights; where it has other classes, with a new last layer.

    It is built with as many classes as the file has, so that every tensor of the file must find its place.
    """
    classes = _classes_in(file, config)
    overlay = {"file": str(file), "num_classes": classes}
    try:
        model = _created(wanted, config, num_classes=classes, pretrained=True, pretrained_cfg_overlay=overlay)
        if classes != wanted.num_classes:
            model.reset_classifier(wanted.num_classes)  # type: ignore[operator]
    except (RuntimeError, ValueError, KeyError, AttributeError, TypeError, AssertionError) as error:
        raise BirdplaneError(
            f"{file}: these weights do not fit timm/{wanted.name}: {_one_line(error)}"
        ) from error
    return model


def _classes_in(file: Path, config: PretrainedCfg) -> int:
    """Return how many classes the weights are for: what the last layer has, if it goes by timm's own name."""
    named = config.classifier
    key = f"{named if isinstance(named, str) else next(iter(named or ()), '')}.weight"
    try:
        with safetensors.safe_open(file, framework="pt") as tensors:
            if key in tensors.keys():  # noqa: SIM118 - it is no mapping
                return int(tensors.get_slice(key).get_shape()[0])
    except (OSError, safetensors.SafetensorError) as error:
        raise BirdplaneError(f"{file}: is damaged, or is no safetensors file: {_one_line(error)}") from error
    return config.num_classes


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else text[:199] + "…"
