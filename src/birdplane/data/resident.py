"""A split that is kept in the memory of the device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from birdplane import reporting
from birdplane.data.pixels import size_of
from birdplane.errors import BirdplaneError

if TYPE_CHECKING:
    from birdplane.data.pictures import Pictures

#: (images_NCHW, labels_N)
Batch = tuple[Tensor, Tensor]
#: How many pictures are decoded between two progress reports.
AT_ONCE = 500


class Kept:
    """A split in memory: as it was stored, or as the fixed part of the chain leaves it."""

    def __init__(self, images_NCHW: Tensor, labels_N: Tensor, prepared: bool) -> None:
        self.images = images_NCHW
        self.labels = labels_N
        self.prepared = prepared
        self._channels_last = not images_NCHW.is_contiguous()
        self._rows = images_NCHW.permute(0, 2, 3, 1) if self._channels_last else images_NCHW

    def gather(self, indices: Tensor) -> Batch:
        """Return the batch of these pictures."""
        images, labels = self._rows.index_select(0, indices), self.labels.index_select(0, indices)
        return (images.permute(0, 3, 1, 2) if self._channels_last else images), labels


def decode_all(pictures: Pictures, device: torch.device) -> Kept:
    """Return all pictures of a split, as they are stored, on a device.

    Raises:
        BirdplaneError: see `Pictures.decode`.
    """
    images = np.empty((len(pictures), *pictures.shape), dtype=np.uint8)
    labels = np.empty(len(pictures), dtype=np.int64)
    with reporting.task("decoding", len(pictures), "pictures") as advance:
        for start in range(0, len(images), AT_ONCE):
            stop = min(start + AT_ONCE, len(images))
            part, labels[start:stop] = pictures.decode(range(start, stop))
            if part.shape[1:] != images.shape[1:]:
                raise BirdplaneError(
                    f"dataset: picture {start} is {size_of(part[0])}, picture 0 is {size_of(images[0])}: "
                    "all must have one size"
                )
            images[start:stop] = part
            advance(stop - start)
    return Kept(torch.from_numpy(images).to(device), torch.from_numpy(labels).to(device), prepared=False)
