"""A split as batches: kept on the device, or streamed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from birdplane.data.chain import Chain
from birdplane.data.order import WHOLE, Share, permutation, share_of
from birdplane.data.pictures import Pictures
from birdplane.data.resident import AT_ONCE, Batch, Kept
from birdplane.errors import BirdplaneError
from birdplane.workers import decoded_by_workers

MIB = 2**20


@dataclass(frozen=True)
class Layout:
    """How batches reach the model: where, in which floating type, and whether in NHWC memory."""

    device: torch.device
    dtype: torch.dtype = torch.float32
    channels_last: bool = False

    def finish(self, images_NCHW: Tensor) -> Tensor:
        """Bring a transformed batch into the type and memory layout."""
        if images_NCHW.is_floating_point():
            images_NCHW = images_NCHW.to(self.dtype)
        memory = torch.channels_last if self.channels_last else torch.contiguous_format
        return images_NCHW.contiguous(memory_format=memory)


class Batches:
    """A split as batches of transformed pictures, on the device.

    A split that fits in `memory_limit` bytes is decoded once, and what the chain leaves before its first random
    step is kept on the device where it fits in four times that (floats of the same pictures); a larger one is
    decoded batch by batch, by `workers` processes.

    Args:
        pictures: the split.
        chain: the transforms, measured already.
        layout: of the batches.
        batch_size: pictures a batch.
        seed: of the order.
        training: shuffled, with random transforms; else in order and without.
        drop_last: leave out the incomplete batch at the end.
    """

    def __init__(
        self,
        pictures: Pictures,
        chain: Chain,
        layout: Layout,
        batch_size: int,
        *,
        seed: int = 0,
        training: bool = False,
        drop_last: bool = False,
        memory_limit: int = 2048 * MIB,
        workers: int = 0,
    ) -> None:
        if drop_last and len(pictures) < batch_size:
            raise BirdplaneError(
                f"training.batch_size: {batch_size} is more than the {len(pictures)} pictures, and "
                "training.drop_last leaves out incomplete batches"
            )
        self._pictures = pictures
        self._chain = chain
        self._layout = layout
        self._batch_size = batch_size
        self._seed = seed
        self._training = training
        self._workers = workers
        self.steps = len(pictures) // batch_size if drop_last else -(-len(pictures) // batch_size)
        self.resident = pictures.nbytes <= memory_limit
        self._kept: Kept | None = None
        self._memory_limit = memory_limit

    def __len__(self) -> int:
        return self.steps

    def raw(self, size: int = 1000) -> Iterator[Tensor]:
        """Yield the stored pictures in order, uint8 on the device, untransformed, for measuring."""
        kept = self._pictures.decoded(self._layout.device) if self.resident else None
        for start in range(0, len(self._pictures), size):
            stop = min(start + size, len(self._pictures))
            if kept is not None:
                yield kept.images[start:stop]
            else:
                yield torch.from_numpy(self._pictures.decode(range(start, stop))[0]).to(self._layout.device)

    def size_at(self, step: int) -> int:
        """Return how many pictures the batch of a step has: the last of an epoch may have fewer."""
        return min(self._batch_size, len(self._pictures) - step * self._batch_size)

    def epoch(self, epoch: int = 0, start: int = 0, share: Share = WHOLE) -> Iterator[Batch]:
        """Yield the batches (images_NCHW, labels_N) of an epoch from step `start` on, or a share of each.

        A share may be empty. Pictures in memory are changed at random as the whole batch is, and then divided, so
        that a share has what it has in the batch; streamed ones are decoded and changed share by share.
        """
        count = len(self._pictures)
        order = permutation(self._seed, epoch, count) if self._training else torch.arange(count)
        if self.resident:
            yield from self._from_memory(order, epoch, start, share)
        else:
            yield from self._streamed(order, epoch, start, share)

    def _slices(self, order: Tensor, start: int) -> Iterator[Tensor]:
        for step in range(start, self.steps):
            yield order[step * self._batch_size : (step + 1) * self._batch_size]

    def _position(self, epoch: int, step: int) -> tuple[int, int] | None:
        return (epoch, step) if self._training else None

    def _from_memory(self, order: Tensor, epoch: int, start: int, share: Share) -> Iterator[Batch]:
        whole = self._whole_from_memory(order, epoch, start, share)
        if share == WHOLE or not self._changed_whole:
            yield from whole
            return
        for step, (images, labels) in enumerate(whole, start):
            own = share_of(self.size_at(step), share)
            yield self._layout.finish(images[own]), labels[own]

    @property
    def _changed_whole(self) -> bool:
        """Whether a share is taken from the batch after its random changes, not before."""
        return self._training and self._chain.fixed < len(self._chain)

    def _whole_from_memory(self, order: Tensor, epoch: int, start: int, share: Share) -> Iterator[Batch]:
        kept = self._keep_prepared()
        unfinished = not kept.prepared or self._chain.fixed < len(self._chain)
        for step, indices in enumerate(self._slices(order.to(self._layout.device), start), start):
            if share != WHOLE and not self._changed_whole:
                indices = indices[share_of(len(indices), share)]
                if not len(indices):
                    yield self._nothing(kept.labels)
                    continue
            images, labels = kept.gather(indices)
            if unfinished:
                if not kept.prepared:
                    images = self._chain.prepare(images)
                images = self._layout.finish(self._chain.finish(images, self._position(epoch, step)))
            yield images, labels

    def _nothing(self, labels: Tensor) -> Batch:
        """Return an empty batch of the shape that leaves the chain."""
        blank = torch.zeros((1, *self._pictures.shape), dtype=torch.uint8, device=labels.device)
        return self._layout.finish(self._chain(blank))[:0], labels[:0]

    def _streamed(self, order: Tensor, epoch: int, start: int, share: Share) -> Iterator[Batch]:
        device = self._layout.device
        shares = _Shares(order.numpy(), self._batch_size, range(start, self.steps), share)
        decoded: Iterable[tuple[np.ndarray, np.ndarray]]
        if self._workers:
            decoded = decoded_by_workers(self._pictures.decode, shares, self._workers)
        else:
            decoded = map(self._pictures.decode, shares)
        for step, (images, labels) in enumerate(decoded, start):
            own = share_of(self.size_at(step), share)
            count = own.stop - own.start
            position = self._position(epoch, step)
            # Each share draws for itself: with the others' seed, they would all be changed alike.
            drawn = position if position is None or share == WHOLE else (*position, *share)
            batch = torch.from_numpy(images).to(device, non_blocking=True)
            transformed = self._layout.finish(self._chain(batch, drawn))
            yield transformed[:count], torch.from_numpy(labels).to(device)[:count]

    def _keep_prepared(self) -> Kept:
        if self._kept is None:
            self._kept = self._prepared(self._pictures.decoded(self._layout.device))
        return self._kept

    def _prepared(self, raw: Kept) -> Kept:
        """Return what the fixed part of the chain leaves of all pictures; the pictures where that is too much."""
        sample = self._layout.finish(self._chain.prepare(raw.images[:1]))
        if self._chain.fixed == 0 or sample.nbytes * len(raw.images) > 4 * self._memory_limit:
            return raw
        prepared = torch.empty((len(raw.images), *sample.shape[1:]), dtype=sample.dtype, device=sample.device)
        if self._layout.channels_last:
            # Stored as NHWC: rows gathered from it are channels-last batches without a copy.
            prepared = prepared.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
        for start in range(0, len(prepared), AT_ONCE):
            prepared[start : start + AT_ONCE] = self._chain.prepare(raw.images[start : start + AT_ONCE])
        return Kept(prepared, raw.labels, prepared=True)


@dataclass(frozen=True)
class _Shares:
    """The indices of a share of each batch, in the order of the steps; each worker goes through them by itself.

    A share that has nothing takes one picture, so that its chain has something to work on, and drops it.
    """

    order: np.ndarray
    batch_size: int
    steps: range
    share: Share

    def __iter__(self) -> Iterator[list[int]]:
        for step in self.steps:
            indices = self.order[step * self.batch_size : (step + 1) * self.batch_size]
            own = indices[share_of(len(indices), self.share)]
            yield (own if len(own) else indices[:1]).tolist()
