"""Whether a pipeline's pictures are at hand, without touching them and without torch."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from birdplane.errors import BirdplaneError
from birdplane.pipeline import Pipeline


@dataclass(frozen=True)
class Missing:
    """Pictures that are not here: `place` is where they are expected, `size` the bytes to fetch, if known."""

    place: Path
    size: int | None

    def __str__(self) -> str:
        if self.size:
            return f"training downloads {self.size / 1e6:.0f} MB to {self.place}"
        return f"the pictures are not at hand: expected in {str(self.place)!r}"


def missing(pipeline: Pipeline) -> Missing | None:
    """Return what a sound pipeline lacks; None where the data is there or its dataset cannot tell.

    A dataset's target tells by an attribute `availability`, called with those of its parameters that it takes;
    it returns an object with `ready`, `place` and `size`.

    Raises:
        BirdplaneError: the dataset cannot be loaded, or knows that what was asked for cannot be.
    """
    choice = pipeline.choice("dataset")
    registry = pipeline.catalog["dataset"]
    target = registry.target(choice.use)
    values = registry.signature(choice.use).validate(choice.parameters)
    try:
        return lacking(target, values)
    except BirdplaneError as error:
        raise type(error)(f"{pipeline.source}: dataset: {error}") from error


def lacking(target: Callable[..., Any], parameters: Mapping[str, Any]) -> Missing | None:
    """Return what a dataset of these parameters lacks, defaults included; None where it cannot tell.

    Raises:
        BirdplaneError: the dataset knows that what was asked for cannot be.
    """
    tell = getattr(target, "availability", None)
    if tell is None:
        return None
    taken = inspect.signature(tell).parameters
    told = tell(**{name: value for name, value in parameters.items() if name in taken})
    return None if told.ready else Missing(Path(told.place), told.size)
