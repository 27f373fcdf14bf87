"""Checks of datasets: on a few of their pictures, as many as take no time to decode."""

from __future__ import annotations

from collections.abc import Sequence
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np
import torch

from birdplane.availability import lacking
from birdplane.data import Pictures
from birdplane.errors import described
from birdplane.testing.checking import CheckSkipped, Subject, fail, require, skip
from birdplane.testing.describing import COMPONENT

_LOOKED_AT = 12  # pictures of each split
_COMPARED = 48  # pictures of each split that are looked for in the other
_NO_ITEMS = "its items are not pictures: see the check items-are-pictures"
_LABELS = 100_000  # labels that are read at once, where they are told by themselves


def _splits(subject: Subject) -> tuple[str, ...]:
    return ("train", "test") if "split" in subject.wants else ("",)


def _at_hand(subject: Subject) -> None:
    """Skip where the pictures would have to be downloaded."""
    if any(p.required and name not in subject.parameters for name, p in subject.signature.parameters.items()):
        return  # which is told when it is built
    values = subject.signature.validate(subject.parameters)
    lack = lacking(subject.record.resolve(), values)
    if lack is not None:
        skip(f"the pictures are not at hand: expected in {str(lack.place)!r}")


def _host(split: str) -> dict[str, Any]:
    return {"split": split} if split else {}


def _built(subject: Subject, split: str) -> Any:
    _at_hand(subject)
    dataset = subject.built(split, **_host(split))
    try:
        empty = len(dataset) == 0
    except Exception as error:
        raise CheckSkipped("it has no length: see the check builds") from error
    return skip("it has no pictures: see the check builds") if empty else dataset


def _chosen(dataset: Any, most: int = _LOOKED_AT) -> list[int]:
    """Return some indices: the first, the last, and others, the same each time."""
    count = len(dataset)
    if count <= most:
        return list(range(count))
    drawn = np.random.default_rng(0).choice(np.arange(1, count - 1), size=most - 2, replace=False)
    return [0, *sorted(drawn.tolist()), count - 1]


def builds(subject: Subject) -> None:
    """It can be built for each split, and has pictures in it and two classes or more, of different names."""
    _at_hand(subject)
    told_classes = []
    for split in _splits(subject):
        dataset = subject.kept(f"built {split}", lambda: subject.create(**_host(split)))  # noqa: B023 - called here
        require(len(dataset) > 0, f"there are no pictures in {split or 'it'}")
        classes = getattr(dataset, "classes", None)
        if classes is not None:
            names = [str(name) for name in classes]
            require(len(names) >= 2, f"it has {len(names)} classes")
            require(len(set(names)) == len(names), f"two classes have one name: {', '.join(names[:10])}")
            told_classes.append(names)
    require(all(names == told_classes[0] for names in told_classes), "the splits differ in their classes")


def items_are_pictures(subject: Subject) -> None:
    """Each item is a PIL image or a uint8 array (C, H, W), with its label; all pictures are of one size."""
    for split in _splits(subject):
        dataset = _built(subject, split)
        Pictures(_Items(dataset)).decode(_chosen(dataset))


def labels_are_of_its_classes(subject: Subject) -> None:
    """Each label is an integer from 0 to below the number of classes."""
    for split in _splits(subject):
        dataset = _built(subject, split)
        classes = getattr(dataset, "classes", None)
        named = [(index, _label(dataset, index)) for index in _chosen(dataset)]
        if hasattr(dataset, "labels"):
            known = np.asarray(dataset.labels(np.arange(min(len(dataset), _LABELS))))
            require(known.dtype.kind in "iu", f"labels(indices) are {known.dtype}, not integers")
            named += enumerate(known.tolist())
        for index, label in named:
            whole = isinstance(label, int | np.integer) and not isinstance(label, bool)
            require(whole, f"the label of item {index} is {label!r}, no integer")
            most = len(classes) if classes is not None else int(label) + 1
            require(0 <= label < most, f"item {index} has the label {label}, and there are {most} classes")


def batches_agree_with_items(subject: Subject) -> None:
    """`images(indices)` and `labels(indices)`, where it has them, are what the single items are, in that order."""
    for split in _splits(subject):
        dataset = _built(subject, split)
        if not (hasattr(dataset, "images") and hasattr(dataset, "labels")):
            continue
        wanted = np.array(_chosen(dataset)[::-1])
        images, labels = np.asarray(dataset.images(wanted)), np.asarray(dataset.labels(wanted))
        require(images.dtype == np.uint8, f"images(indices) are {images.dtype}, not uint8")
        require(images.ndim == 4, f"images(indices) are {images.shape}, not (n, C, H, W)")
        single, single_labels = _from_items(dataset, wanted.tolist())
        require(images.shape == single.shape, f"images are {images.shape}, the items {single.shape}")
        require(
            np.array_equal(labels, single_labels), f"the labels are {labels}, of the items {single_labels}"
        )
        for at, index in enumerate(wanted):
            same = np.array_equal(images[at], single[at])
            require(same, f"picture {index} by images() is not that of item {index}")


def splits_differ(subject: Subject) -> None:
    """Where it takes `split`, the pictures to test on are not those to learn from."""
    splits = _splits(subject)
    if len(splits) < 2:
        return
    train, test = (_built(subject, split) for split in splits)
    indices = range(min(_COMPARED, len(train), len(test)))
    known = {image.tobytes() for image in _from_items(train, indices)[0]}
    again = sum(image.tobytes() in known for image in _from_items(test, indices)[0])
    require(
        2 * again <= len(indices), f"{again} of the first {len(indices)} test pictures are training pictures"
    )


def repeats(subject: Subject) -> None:
    """The same index gives the same picture and label each time, also of one built anew."""
    split = _splits(subject)[0]
    dataset = _built(subject, split)
    indices = _chosen(dataset)
    first = _from_items(dataset, indices)
    _compare(first, _from_items(dataset, indices), "asked again, an item is another")
    anew = subject.create(**_host(split))
    require(len(anew) == len(dataset), f"built anew it has {len(anew)} pictures, before {len(dataset)}")
    _compare(first, _from_items(anew, indices), "built anew, an item is another")


def survives_spawn(subject: Subject) -> None:
    """It can be sent to a decoding worker, a new process, and gives the same pictures there."""
    split = _splits(subject)[0]
    dataset = _built(subject, split)
    _from_items(dataset, [0])
    pictures = Pictures(dataset)
    try:
        ForkingPickler.dumps(pictures)  # or the process that is not given it would write a traceback
    except Exception as error:
        fail(f"it cannot be sent to a process: {described(error)}")
    indices = _chosen(pictures.dataset, 4)
    loader = torch.utils.data.DataLoader(
        _Decoded(pictures),
        batch_size=None,
        sampler=[indices],
        num_workers=1,
        collate_fn=_unchanged,
        multiprocessing_context="spawn",
        timeout=120,
    )
    _compare(pictures.decode(indices), next(iter(loader)), "in a process of its own, an item is another")


class _Decoded(torch.utils.data.Dataset[Any]):
    def __init__(self, pictures: Pictures) -> None:
        self._pictures = pictures

    def __getitem__(self, indices: list[int]) -> tuple[np.ndarray, np.ndarray]:
        return self._pictures.decode(indices)


def _unchanged(batch: Any) -> Any:
    return batch


class _Items:
    """A dataset without its ways to give batches."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Any:
        return self._dataset[index]


def _from_items(dataset: Any, indices: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return pictures and labels; for checks of more than whether items are pictures."""
    try:
        return Pictures(_Items(dataset)).decode(indices)
    except Exception as error:
        raise CheckSkipped(_NO_ITEMS) from error


def _label(dataset: Any, index: int) -> Any:
    try:
        _, label = dataset[index]
    except (TypeError, ValueError) as error:
        raise CheckSkipped(_NO_ITEMS) from error
    return label


def _compare(
    one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray], otherwise: str
) -> None:
    if not (np.array_equal(one[0], other[0]) and np.array_equal(one[1], other[1])):
        fail(otherwise)


DATASET = (
    *COMPONENT,
    builds,
    items_are_pictures,
    labels_are_of_its_classes,
    batches_agree_with_items,
    splits_differ,
    repeats,
    survives_spawn,
)
