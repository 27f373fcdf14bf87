"""Whether a pipeline's pictures are at hand, without touching them and without torch."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path

from birdplane.errors import BirdplaneError
from birdplane.pipeline import Pipeline


@dataclass(frozen=True)
class Missing:
    """Pictures that are not here: `place` is where they are expected, `size` the bytes to fetch, if known."""

    place: Path
    size: int | None

    def __str__(self) -> str:
        fetch = f"; training downloads {self.size / 1e6:.0f} MB" if self.size else ""
        return f"the pictures are not at hand: expected in {str(self.place)!r}{fetch}"


def missing(pipeline: Pipeline) -> Missing | None:
    """Return what a sound pipeline lacks; None where the data is there or its dataset cannot tell.

    A dataset's target tells by an attribute `availability`, called with those of its parameters that it takes;
    it returns an object with `ready`, `place` and `size`.

    Raises:
        BirdplaneError: the dataset cannot be loaded, or knows that what was asked for cannot be.
    """
    choice = pipeline.choice("dataset")
    registry = pipeline.catalog["dataset"]
    tell = getattr(registry.get(choice.use).resolve(), "availability", None)
    if tell is None:
        return None
    values = registry.signature(choice.use).validate(choice.parameters)
    taken = inspect.signature(tell).parameters
    try:
        told = tell(**{name: value for name, value in values.items() if name in taken})
    except BirdplaneError as error:
        raise type(error)(f"{pipeline.source}: dataset: {error}") from error
    return None if told.ready else Missing(Path(told.place), told.size)
