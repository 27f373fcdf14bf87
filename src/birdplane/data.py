"""Pictures to batches: decoded once and kept on the device, or streamed; either way (seed, epoch, step) -> batch."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from birdplane import reporting
from birdplane.errors import BirdplaneError

MIB = 2**20
_DECODE = 500  # pictures decoded between two progress reports
_HELD_OUT_SHARE = 0.2  # of a dataset that knows no test split
Batch = tuple[Tensor, Tensor]


# Order and randomness are functions of the seed and the position alone.


def mix(*parts: int) -> int:
    """Return a seed, 0 to 2**63 - 1, that depends on every one of the non-negative integers."""
    digest = hashlib.blake2b(struct.pack(f"<{len(parts)}Q", *parts), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def permutation(seed: int, epoch: int, count: int) -> Tensor:
    """Return the order in which an epoch visits `count` pictures: int64, on the CPU."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(mix(seed, epoch)))


# Pictures of one split.


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
        self._decoded: _Kept | None = None
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
                    f"dataset: picture {index} is {_size(image)}, picture {wanted[0]} is {_size(images[0])}: "
                    "all must have one size"
                )
        return np.stack(images), np.array([label for _, label in items], dtype=np.int64)

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
            for start in range(0, count, _DECODE):
                stop = min(start + _DECODE, count)
                labels[start:stop] = self.decode(range(start, stop))[1]
                advance(stop - start)
        return labels

    def decoded(self, device: torch.device) -> _Kept:
        """Return all pictures on a device, decoded at the first call and kept."""
        if self._decoded is None or self._decoded.images.device != device:
            self._decoded = _decode_all(self, device)
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
    return _pixels(picture, index), label


def _pixels(picture: Any, index: int) -> np.ndarray:
    """Return a PIL image, or a uint8 CHW tensor or array, as uint8 (C, H, W)."""
    if hasattr(picture, "convert"):
        mode = picture.mode if picture.mode in ("L", "RGB") else "RGB"
        pixels = np.asarray(picture.convert(mode))
        return np.ascontiguousarray(pixels[None] if mode == "L" else pixels.transpose(2, 0, 1))
    pixels = np.asarray(picture)
    if pixels.dtype != np.uint8 or pixels.ndim != 3:
        raise BirdplaneError(
            f"dataset: picture {index} is {type(picture).__name__} of {pixels.dtype} {pixels.shape}: expected a "
            "PIL image, or uint8 (channels, height, width)"
        )
    return pixels


def _size(image: np.ndarray) -> str:
    channels, height, width = image.shape
    return f"{width}x{height} with {channels} channels"


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


# The chain of transforms.


@dataclass(frozen=True)
class Step:
    """One transform of the chain: `key` is where it stands, such as `transforms.1 (normalize)`."""

    key: str
    apply: Callable[..., Any]
    random: bool = False
    per_sample: bool = False


class Chain:
    """The transforms in their order. Random ones are applied in training alone."""

    def __init__(self, steps: Sequence[Step], seed: int) -> None:
        self._steps = tuple(steps)
        self._seed = seed
        fixed = next((i for i, step in enumerate(steps) if step.random), len(steps))
        #: How many steps come before the first random one: their result can be kept.
        self.fixed = fixed

    def __len__(self) -> int:
        return len(self._steps)

    def prepare(self, images_NCHW: Tensor) -> Tensor:
        """Apply the steps before the first random one."""
        for step in self._steps[: self.fixed]:
            images_NCHW = _apply(step, images_NCHW)
        return images_NCHW

    def finish(self, images_NCHW: Tensor, position: tuple[int, int] | None) -> Tensor:
        """Apply the steps from the first random one on.

        `position` is (epoch, step) in training; None, in evaluation, leaves the random ones out.
        """
        for number, step in enumerate(self._steps[self.fixed :], self.fixed):
            if not step.random:
                images_NCHW = _apply(step, images_NCHW)
            elif position is not None:
                images_NCHW = _apply(step, images_NCHW, mix(self._seed, *position, number + 1))
        return images_NCHW

    def __call__(self, images_NCHW: Tensor, position: tuple[int, int] | None = None) -> Tensor:
        return self.finish(self.prepare(images_NCHW), position)

    def trace(self, images_NCHW: Tensor, position: tuple[int, int]) -> Iterator[tuple[Step, Tensor]]:
        """Yield each step and what it leaves of a batch in training, for showing how a batch changes."""
        for number, step in enumerate(self._steps, 1):
            images_NCHW = _apply(
                step, images_NCHW, mix(self._seed, *position, number) if step.random else None
            )
            yield step, images_NCHW


def _apply(step: Step, images_NCHW: Tensor, seed: int | None = None) -> Tensor:
    try:
        if step.per_sample:
            return _by_sample(step, images_NCHW, seed)
        if seed is None:
            result = step.apply(images_NCHW)
        else:
            result = step.apply(images_NCHW, torch.Generator(images_NCHW.device).manual_seed(seed))
    except BirdplaneError as error:
        raise type(error)(f"{step.key}: {error}") from error
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        shape = tuple(images_NCHW.shape)
        raise BirdplaneError(
            f"{step.key}: fails on a batch {shape}: {' '.join(str(error).split())}"
        ) from error
    if not isinstance(result, Tensor) or result.ndim != 4 or len(result) != len(images_NCHW):
        came = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
        raise BirdplaneError(
            f"{step.key}: expected {len(images_NCHW)} pictures (N, C, H, W) back, got {came}"
        )
    return result


def _by_sample(step: Step, images_NCHW: Tensor, seed: int | None) -> Tensor:
    """Apply a transform of single pictures: PIL images as long as they are uint8, CHW tensors afterwards."""
    as_pil = images_NCHW.dtype is torch.uint8
    with _seeded(seed):
        results = [step.apply(_to_pil(image) if as_pil else image) for image in images_NCHW.cpu()]
    tensors = [r if isinstance(r, Tensor) else torch.from_numpy(_pixels(r, i)) for i, r in enumerate(results)]
    sizes = {tuple(tensor.shape) for tensor in tensors}
    if len(sizes) > 1:
        raise BirdplaneError(
            f"it leaves pictures of different shapes: {', '.join(map(str, sorted(sizes)[:3]))}"
        )
    return torch.stack(tensors).to(images_NCHW.device)


def _to_pil(image_CHW: Tensor) -> Any:
    from PIL import Image

    pixels = image_CHW.numpy()
    return Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))


@contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    if seed is None:
        yield
        return
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


# Batches.


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
        self._kept: _Kept | None = None
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

    def epoch(self, epoch: int = 0, start: int = 0) -> Iterator[Batch]:
        """Yield the batches (images_NCHW, labels_N) of an epoch from step `start` on."""
        count = len(self._pictures)
        order = permutation(self._seed, epoch, count) if self._training else torch.arange(count)
        if self.resident:
            yield from self._from_memory(order, epoch, start)
        else:
            yield from self._streamed(order, epoch, start)

    def _slices(self, order: Tensor, start: int) -> Iterator[Tensor]:
        for step in range(start, self.steps):
            yield order[step * self._batch_size : (step + 1) * self._batch_size]

    def _position(self, epoch: int, step: int) -> tuple[int, int] | None:
        return (epoch, step) if self._training else None

    def _from_memory(self, order: Tensor, epoch: int, start: int) -> Iterator[Batch]:
        kept = self._keep_prepared()
        unfinished = not kept.prepared or self._chain.fixed < len(self._chain)
        for step, indices in enumerate(self._slices(order.to(self._layout.device), start), start):
            images, labels = kept.gather(indices)
            if unfinished:
                if not kept.prepared:
                    images = self._chain.prepare(images)
                images = self._layout.finish(self._chain.finish(images, self._position(epoch, step)))
            yield images, labels

    def _streamed(self, order: Tensor, epoch: int, start: int) -> Iterator[Batch]:
        device = self._layout.device
        slices = (indices.tolist() for indices in self._slices(order, start))
        decoded: Iterable[tuple[np.ndarray, np.ndarray] | BirdplaneError]
        if not self._workers:
            decoded = map(self._pictures.decode, slices)
        else:
            decoded = torch.utils.data.DataLoader(
                _Decoding(self._pictures),
                batch_size=None,
                sampler=slices,
                num_workers=self._workers,
                collate_fn=_unchanged,
                prefetch_factor=4,
            )
        for step, found in enumerate(decoded, start):
            if isinstance(found, BirdplaneError):
                raise found
            images, labels = found
            batch = torch.from_numpy(images).to(device, non_blocking=True)
            transformed = self._chain(batch, self._position(epoch, step))
            yield self._layout.finish(transformed), torch.from_numpy(labels).to(device)

    def _keep_prepared(self) -> _Kept:
        if self._kept is None:
            self._kept = self._prepared(self._pictures.decoded(self._layout.device))
        return self._kept

    def _prepared(self, raw: _Kept) -> _Kept:
        """Return what the fixed part of the chain leaves of all pictures; the pictures where that is too much."""
        sample = self._layout.finish(self._chain.prepare(raw.images[:1]))
        if self._chain.fixed == 0 or sample.nbytes * len(raw.images) > 4 * self._memory_limit:
            return raw
        prepared = torch.empty((len(raw.images), *sample.shape[1:]), dtype=sample.dtype, device=sample.device)
        if self._layout.channels_last:
            # Stored as NHWC: rows gathered from it are channels-last batches without a copy.
            prepared = prepared.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
        for start in range(0, len(prepared), _DECODE):
            prepared[start : start + _DECODE] = self._chain.prepare(raw.images[start : start + _DECODE])
        return _Kept(prepared, raw.labels, prepared=True)


class _Kept:
    """A split in memory: as it was stored, or as the fixed part of the chain leaves it."""

    def __init__(self, images_NCHW: Tensor, labels_N: Tensor, prepared: bool) -> None:
        self.images = images_NCHW
        self.labels = labels_N
        self.prepared = prepared
        self._channels_last = not images_NCHW.is_contiguous()
        self._rows = images_NCHW.permute(0, 2, 3, 1) if self._channels_last else images_NCHW

    def gather(self, indices: Tensor) -> Batch:
        images = self._rows.index_select(0, indices)
        return images.permute(0, 3, 1, 2) if self._channels_last else images, self.labels.index_select(
            0, indices
        )


def _decode_all(pictures: Pictures, device: torch.device) -> _Kept:
    images = np.empty((len(pictures), *pictures.shape), dtype=np.uint8)
    labels = np.empty(len(pictures), dtype=np.int64)
    with reporting.task("decoding", len(pictures), "pictures") as advance:
        for start in range(0, len(images), _DECODE):
            stop = min(start + _DECODE, len(images))
            part, labels[start:stop] = pictures.decode(range(start, stop))
            if part.shape[1:] != images.shape[1:]:
                raise BirdplaneError(
                    f"dataset: picture {start} is {_size(part[0])}, picture 0 is {_size(images[0])}: "
                    "all must have one size"
                )
            images[start:stop] = part
            advance(stop - start)
    return _Kept(torch.from_numpy(images).to(device), torch.from_numpy(labels).to(device), prepared=False)


class _Decoding(torch.utils.data.Dataset[Any]):
    """What a decoding worker runs: a list of indices to the arrays of a batch.

    What a person should be told is returned: raised, it would arrive as the text of a traceback.
    """

    def __init__(self, pictures: Pictures) -> None:
        self._pictures = pictures

    def __getitem__(self, indices: list[int]) -> tuple[np.ndarray, np.ndarray] | BirdplaneError:
        try:
            return self._pictures.decode(indices)
        except BirdplaneError as error:
            return error


def _unchanged(batch: Any) -> Any:
    return batch
