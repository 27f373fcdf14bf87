"""The pictures of one split, by index: whatever a dataset gives, as uint8 arrays of one size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from birdplane import reporting
from birdplane.data.pixels import pixels_of, size_of
from birdplane.data.resident import AT_ONCE, Kept, decode_all
from birdplane.errors import BirdplaneError


class Pictures:
    """One split of a dataset: uint8 pictures and their labels, by index.

    Args:
        dataset: what a dataset's target returned.
        indices: the part of it that belongs to this split; all of it where None.

    Raises:
        BirdplaneError: there is nothing in it, or it is not a dataset of labelled pictures.
    """

    def __init__(self, dataset: Any, indices: np.ndarray | None = None) -> None:
        self.dataset = dataset
        self._indices = indices
        self._decoded: Kept | None = None
        #: How many classes there are, once that is known: labels are held to it.
        self.classes: int | None = None
        if len(self) == 0:
            raise BirdplaneError("dataset: there are no pictures in it")
        self.shape: tuple[int, int, int] = tuple(self.decode([0])[0].shape[1:])

    def __len__(self) -> int:
        return len(self.dataset) if self._indices is None else len(self._indices)

    @property
    def nbytes(self) -> int:
        channels, height, width = self.shape
        return len(self) * channels * height * width

    def decode(self, indices: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Return (images uint8 (n, C, H, W), labels int64 (n,)) of some pictures.

        Raises:
            BirdplaneError: an item is not (picture, integer), pictures differ in size, or a label is of no class.
        """
        wanted = np.asarray(indices) if self._indices is None else self._indices[np.asarray(indices)]
        images, labels = self._read(wanted)
        if self.classes is not None and len(labels) and not 0 <= labels.min() <= labels.max() < self.classes:
            wrong = np.flatnonzero((labels < 0) | (labels >= self.classes))[0]
            raise BirdplaneError(
                f"dataset: picture {wanted[wrong]} has the label {labels[wrong]}, "
                f"but there are {self.classes} classes, counted from 0"
            )
        return images, labels

    def _read(self, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if hasattr(self.dataset, "images") and hasattr(self.dataset, "labels"):
            return self.dataset.images(wanted), np.asarray(self.dataset.labels(wanted), dtype=np.int64)
        items = [_item(self.dataset, int(index)) for index in wanted]
        images = [image for image, _ in items]
        for index, image in zip(wanted, images, strict=True):
            if image.shape != images[0].shape:
                raise BirdplaneError(
                    f"dataset: picture {index} is {size_of(image)}, picture {wanted[0]} is {size_of(images[0])}: "
                    "all must have one size"
                )
        return np.stack(images), np.array([label for _, label in items], dtype=np.int64)

    def item(self, position: int) -> Any:
        """Return what the dataset itself gives for a picture: usually (PIL image, label)."""
        return self.dataset[position if self._indices is None else int(self._indices[position])]

    def labels(self) -> np.ndarray:
        """Return all labels, int64 (n,); no picture is decoded where the dataset tells labels by themselves."""
        count = len(self)
        if hasattr(self.dataset, "images") and hasattr(self.dataset, "labels"):
            wanted = np.arange(count) if self._indices is None else self._indices
            return np.asarray(self.dataset.labels(wanted), dtype=np.int64)
        if self._decoded is not None:
            return self._decoded.labels.cpu().numpy()
        labels = np.empty(count, dtype=np.int64)
        with reporting.task("reading labels", count, "pictures") as advance:
            for start in range(0, count, AT_ONCE):
                stop = min(start + AT_ONCE, count)
                labels[start:stop] = self.decode(range(start, stop))[1]
                advance(stop - start)
        return labels

    def decoded(self, device: torch.device) -> Kept:
        """Return all pictures on a device, decoded at the first call and kept."""
        if self._decoded is None or self._decoded.images.device != device:
            self._decoded = decode_all(self, device)
        return self._decoded

    def part(self, positions: Tensor) -> Pictures:
        """Return the split of just those positions."""
        chosen = positions.numpy()
        part = Pictures(self.dataset, chosen if self._indices is None else self._indices[chosen])
        part.classes = self.classes
        return part


def _item(dataset: Any, index: int) -> tuple[np.ndarray, int]:
    item = dataset[index]
    try:
        picture, label = item
        label = int(label)
    except (TypeError, ValueError) as error:
        raise BirdplaneError(
            f"dataset: item {index} is not (picture, integer) but {type(item).__name__}"
        ) from error
    return pixels_of(picture, index), label
