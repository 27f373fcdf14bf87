"""How many numbers nets learn, as the pictures grow: all inputs meet all outputs, or a small window slides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from birdplane.assembly import created
from birdplane.errors import BirdplaneError
from birdplane.pipeline import Choice, Pipeline
from birdplane.registry import models

#: Sides of the square pictures, in pixels: CIFAR-10's 32, ImageNet's usual 224.
SIDES = (16, 32, 64, 128, 224)
_CHANNELS, _CLASSES = 3, 2
_NETS: dict[str, tuple[str, dict[str, Any]]] = {
    "fully-connected 512": ("fully-connected", {"hidden": [512]}),
    "convolutional 16": ("convolutional", {"width": 16}),
    "resnet": ("resnet", {}),
}


@dataclass(frozen=True)
class Layer:
    """One layer's name and kind, and how many parameters it has at each side."""

    name: str
    kind: str
    parameters: tuple[int | None, ...]


@dataclass(frozen=True)
class Growth:
    """One net: how many parameters it has at each side, None where it cannot be built, and which layers have them."""

    net: str
    parameters: tuple[int | None, ...]
    layers: tuple[Layer, ...]
    trouble: str = ""


@dataclass(frozen=True)
class ParametersExperiment:
    """The nets at pictures of `channels` channels and `sides` x `sides` pixels, for `classes` classes."""

    channels: int
    classes: int
    sides: tuple[int, ...]
    nets: tuple[Growth, ...]


def explain(pipeline: Pipeline | None = None, sides: Sequence[int] = SIDES) -> ParametersExperiment:
    """Count the parameters of the chapter's nets, or of a pipeline's model, at each side.

    Nets are built without memory for their weights, so that a very large one costs nothing.

    Raises:
        UsageError: the pipeline has problems.
    """
    if pipeline is None:
        nets = tuple(
            _growth(name, lambda shape, use=use, own=own: _made(use, own, shape), sides)
            for name, (use, own) in _NETS.items()
        )
    else:
        pipeline.require_sound()
        choice = pipeline.choice("model")
        nets = (_growth(choice.use, lambda shape: _of(pipeline, choice, shape), sides),)
    return ParametersExperiment(_CHANNELS, _CLASSES, tuple(sides), nets)


def _made(use: str, parameters: dict[str, Any], shape: tuple[int, int, int]) -> Any:
    return models.create(use, input_shape=shape, num_classes=_CLASSES, **parameters)


def _of(pipeline: Pipeline, choice: Choice, shape: tuple[int, int, int]) -> Any:
    return created(pipeline, "model", choice, "model", input_shape=shape, num_classes=_CLASSES)


def _growth(net: str, build: Any, sides: Sequence[int]) -> Growth:
    counts: list[int | None] = []
    layers: dict[tuple[str, str], list[int | None]] = {}
    trouble = ""
    for index, side in enumerate(sides):
        found: dict[tuple[str, str], int] | None = None
        try:
            with torch.random.fork_rng(devices=[]), torch.device("meta"):
                found = _layers(build((_CHANNELS, side, side)))
        except BirdplaneError as error:
            trouble = str(error)
        counts.append(sum(found.values()) if found is not None else None)
        for key, count in (found or {}).items():
            layers.setdefault(key, [None] * len(sides))[index] = count
    told = tuple(Layer(name, kind, tuple(numbers)) for (name, kind), numbers in layers.items())
    return Growth(net, tuple(counts), told, trouble)


def _layers(model: torch.nn.Module) -> dict[tuple[str, str], int]:
    """Return the number of parameters that belong to each module itself; shared ones to the first that has them."""
    seen: set[int] = set()
    found = {}
    for name, module in model.named_modules():
        own = [one for one in module.parameters(recurse=False) if id(one) not in seen]
        seen.update(map(id, own))
        if own:
            found[name or "itself", type(module).__name__] = sum(one.numel() for one in own)
    return found
