"""A dataset divided into what trains and what validates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from birdplane.data.order import mix
from birdplane.data.pictures import Pictures
from birdplane.errors import BirdplaneError

_HELD_OUT_SHARE = 0.2  # of a dataset that knows no test split


@dataclass(frozen=True)
class Splits:
    """What a dataset is divided into, and the names of its classes.

    `skipped` are pictures that the dataset left out, as pairs of a name and a reason.
    """

    train: Pictures
    validation: Pictures
    classes: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...] = ()


def split(make: Callable[..., Any], knows_split: bool, seed: int, holdout: float) -> Splits:
    """Build a dataset's splits.

    Args:
        make: builds the dataset; called with `split=` where `knows_split`.
        knows_split: whether the dataset divides itself; otherwise four fifths train, drawn by the seed.
        seed: the pipeline's.
        holdout: share of the training pictures that validates; 0 takes the test split for that.
    """
    if knows_split:
        dataset = make(split="train")
        train = Pictures(dataset)
        validation = None if holdout else Pictures(make(split="test"))
    else:
        dataset = make()
        train, validation = _divide(Pictures(dataset), mix(seed, 1), _HELD_OUT_SHARE)
    if holdout or validation is None:
        train, validation = _divide(train, mix(seed, 2), holdout)
    skipped = [*getattr(dataset, "skipped", ()), *(getattr(validation.dataset, "skipped", ()))]
    classes = _classes(dataset, train)
    train.classes = validation.classes = len(classes)
    return Splits(train, validation, classes, tuple(dict.fromkeys(map(tuple, skipped))))


def _divide(pictures: Pictures, seed: int, share: float) -> tuple[Pictures, Pictures]:
    count = round(len(pictures) * share)
    if not 0 < count < len(pictures):
        raise BirdplaneError(f"dataset: {len(pictures)} pictures cannot be divided with {share:g} held out")
    order = torch.randperm(len(pictures), generator=torch.Generator().manual_seed(seed))
    return pictures.part(order[count:].sort().values), pictures.part(order[:count].sort().values)


def _classes(dataset: Any, train: Pictures) -> tuple[str, ...]:
    classes = getattr(dataset, "classes", None)
    if classes is None:
        labels = {int(train.decode([index])[1][0]) for index in range(len(train))}
        if min(labels) < 0 or len(labels) < 2:
            raise BirdplaneError(
                f"dataset: the labels are {sorted(labels)[:5]}: expected 0, 1, ... of two classes or more"
            )
        return tuple(str(label) for label in range(max(labels) + 1))
    names = tuple(str(name) for name in classes)
    if len(names) < 2:
        raise BirdplaneError(f"dataset: it has {len(names)} classes; a classifier needs two or more")
    return names
