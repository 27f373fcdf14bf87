"""Answers for those who look at a dataset: its pictures at any stage of the chain, and its statistics."""

from __future__ import annotations

import base64
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from birdplane import reporting
from birdplane.answers.desk import Desk, chain_key
from birdplane.assembly import Assembly
from birdplane.data import MIB, Pictures, Splits
from birdplane.errors import UsageError
from birdplane.pipeline import Pipeline

Split = Literal["train", "validation"]
#: Statistics come from at most so many pictures a split, evenly spread: the third digit does not move any more.
_SAMPLED = 10_000
_AT_ONCE = 500


def pictures(
    desk: Desk,
    *,
    document: dict[str, Any],
    source: str = "draft",
    split: Split = "train",
    label: int | None = None,
    offset: int = 0,
    count: int = 32,
    stage: int = 0,
    draw: int = 0,
    side: int = 32,
) -> dict[str, Any]:
    """Some pictures, as they are after the first `stage` transforms; 0 is as they are stored.

    Args:
        label: only those of this class.
        offset: how many of the split, or of the class, come before the first one.
        draw: what random transforms draw, as an epoch's first batch; another number draws anew.
        side: pictures are made smaller, never larger, so that they fit in a square of so many pixels.

    Returns:
        `classes`, `stages` (names, `["stored", "to-tensor", ...]`), `random` (for each, whether anything up to it is
        drawn), `total` pictures that the filter leaves, `indices`, `labels`, `shape` (channels, height, width before
        they were made smaller), `values` (their type), `mapping` (how numbers became colours), and
        `thumbnails`, see `thumbnails`.
    """
    pipeline = desk.looking_at(document, source)
    splits = desk.splits(pipeline)
    chosen = side_of(splits, split)
    indices, total = _selected(chosen, label, offset, count)
    images, labels = decoded(chosen, indices)
    batch = images
    if stage and indices:
        *_, (_, batch) = desk.viewed(pipeline, splits, stage).chain.trace(batch, (draw, 0))
    return {
        "classes": list(splits.classes),
        "stages": ["stored", *(choice.use for choice in pipeline.transforms)],
        "random": _drawn(pipeline),
        "total": total,
        "indices": indices,
        "labels": labels,
        "shape": list(batch.shape[1:]),
        "values": str(batch.dtype).removeprefix("torch."),
        **thumbnails(batch, side),
    }


def side_of(splits: Splits, split: Split) -> Pictures:
    """Return one of the two sides; refuse any other name."""
    if split not in ("train", "validation"):
        raise UsageError(f"split: should be 'train' or 'validation', not {split!r}")
    return splits.train if split == "train" else splits.validation


def decoded(pictures: Pictures, positions: list[int]) -> tuple[Tensor, list[int]]:
    """Return stored pictures, uint8 (n, C, H, W), and their labels; of none, if none are wanted."""
    if not positions:
        return torch.empty((0, *pictures.shape), dtype=torch.uint8), []
    images, labels = pictures.decode(positions)
    return torch.from_numpy(np.ascontiguousarray(images)), [int(label) for label in labels]


def _selected(pictures: Pictures, label: int | None, offset: int, count: int) -> tuple[list[int], int]:
    """Return the positions in the split of a page, and how many the filter leaves in all."""
    if label is None:
        total = len(pictures)
        return list(range(min(offset, total), min(offset + count, total))), total
    places = np.flatnonzero(pictures.labels() == label)
    return [int(place) for place in places[offset : offset + count]], len(places)


def _drawn(pipeline: Pipeline) -> list[bool]:
    random: list[bool] = [False]
    for choice in pipeline.transforms:
        record: Any = pipeline.catalog["transform"].get(choice.use)
        random.append(random[-1] or record.random)
    return random


def thumbnails(images_NCHW: Tensor, side: int) -> dict[str, Any]:
    """Pictures of any type as RGB for a screen: `thumbnails` has `width`, `height` and `rgb`, base64 of
    uint8 (N, height, width, 3); `mapping` says in words how numbers became colours."""
    colours, mapping = _to_colours(images_NCHW)
    height, width = images_NCHW.shape[2:]
    largest = max(height, width)
    if largest > side and len(colours):
        size = (max(1, round(height * side / largest)), max(1, round(width * side / largest)))
        colours = torch.nn.functional.interpolate(colours, size=size, mode="area")
    rgb = colours.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    packed = base64.b64encode(rgb.numpy().tobytes()).decode()
    shown = {"width": colours.shape[3], "height": colours.shape[2], "rgb": packed}
    return {"thumbnails": shown, "mapping": mapping}


def _to_colours(images_NCHW: Tensor) -> tuple[Tensor, str]:
    """Return three channels of 0 to 255, as floats."""
    channels = images_NCHW.shape[1]
    if channels != 3:
        images_NCHW = images_NCHW[:, :1].expand(-1, 3, -1, -1)
    partly = "" if channels in (1, 3) else f", the first of {channels} channels"
    values = images_NCHW.detach().cpu().float()
    if images_NCHW.dtype == torch.uint8 or not values.numel():
        return values, "as stored" + partly
    finite = torch.isfinite(values)
    low, high = (float(values[finite].min()), float(values[finite].max())) if finite.any() else (0.0, 1.0)
    values = values.nan_to_num(nan=low, posinf=high, neginf=low)
    if low >= 0 and high <= 1:
        return values * 255, "0 to 1 shown as black to white" + partly
    spread = (high - low) or 1.0
    return (values - low) * (255 / spread), f"{low:.2f} to {high:.2f} shown as black to white{partly}"


def statistics(desk: Desk, *, document: dict[str, Any], source: str = "draft") -> dict[str, Any]:
    """Class counts and channel statistics.

    Returns:
        `classes`; `counts`: `{"train": [...], "validation": [...]}`; `shape` as stored; `stages`: for each, `name`,
        `random`, `shape`, `values`, `mean` and `std` by channel, of training pictures as training sees them;
        `measured` of `train` pictures were looked at for these; `skipped` cannot be read and are left out.
    """
    pipeline = desk.looking_at(document, source)
    splits = desk.splits(pipeline)
    found: dict[str, Any] = desk.answers.get(
        ("statistics", chain_key(pipeline)), lambda: _statistics(desk, pipeline, splits)
    )
    return found


def _statistics(desk: Desk, pipeline: Pipeline, splits: Splits) -> dict[str, Any]:
    sides = {"train": splits.train, "validation": splits.validation}
    counts = {name: _counts(part, len(splits.classes)) for name, part in sides.items()}
    assembly = desk.viewed(pipeline, splits)
    stages, measured = _channels(desk, pipeline, assembly, splits.train)
    return {
        "classes": list(splits.classes),
        "counts": counts,
        "shape": list(splits.train.shape),
        "stages": stages,
        "measured": measured,
        "skipped": len(splits.skipped),
    }


def _counts(pictures: Pictures, classes: int) -> list[int]:
    labels = pictures.labels()
    within = labels[(labels >= 0) & (labels < classes)]
    return [int(count) for count in np.bincount(within, minlength=classes)]


def _channels(
    desk: Desk, pipeline: Pipeline, assembly: Assembly, train: Pictures
) -> tuple[list[dict[str, Any]], int]:
    """Return the statistics of each stage, and over how many pictures."""
    chosen = np.unique(np.linspace(0, len(train) - 1, min(len(train), _SAMPLED)).astype(np.int64))
    names = ["stored", *(choice.use for choice in pipeline.transforms)]
    moments: list[_Moments] = [_Moments() for _ in names]
    kept = train.nbytes <= pipeline.training.memory_limit * MIB and len(chosen) == len(train)
    with reporting.task("measuring", len(chosen), "pictures") as advance:
        for number, start in enumerate(range(0, len(chosen), _AT_ONCE)):
            desk.pulse()
            part = torch.from_numpy(chosen[start : start + _AT_ONCE])
            raw = _stored(train, part, kept)
            moments[0].add(raw)
            for moment, (_, left) in zip(moments[1:], assembly.chain.trace(raw, (0, number)), strict=True):
                moment.add(left)
            advance(len(part))
    drawn = _drawn(pipeline)
    stages = [
        {"name": name, "random": random, **moment.told()}
        for name, random, moment in zip(names, drawn, moments, strict=True)
    ]
    return stages, len(chosen)


def _stored(train: Pictures, positions: Tensor, kept: bool) -> Tensor:
    """Return pictures as they are stored: out of memory, where all of them are wanted and fit in it."""
    if kept:
        return train.decoded(torch.device("cpu")).images[positions]
    return torch.from_numpy(np.ascontiguousarray(train.decode(positions.tolist())[0]))


class _Moments:
    """Mean and standard deviation of each channel, batch by batch, in float64."""

    def __init__(self) -> None:
        self._count = 0
        self._sum: Tensor | None = None
        self._squares: Tensor | None = None
        self._shape: list[int] = []
        self._values = ""

    def add(self, images_NCHW: Tensor) -> None:
        pixels_CX = images_NCHW.detach().cpu().double().transpose(0, 1).flatten(1)
        total, squares = pixels_CX.sum(1), pixels_CX.square().sum(1)
        same = self._sum is not None and self._sum.shape == total.shape
        self._sum = self._sum + total if same and self._sum is not None else total
        self._squares = self._squares + squares if same and self._squares is not None else squares
        self._count = (self._count if same else 0) + pixels_CX.shape[1]
        self._shape = list(images_NCHW.shape[1:])
        self._values = str(images_NCHW.dtype).removeprefix("torch.")

    def told(self) -> dict[str, Any]:
        assert self._sum is not None
        assert self._squares is not None
        mean = self._sum / self._count
        std = (self._squares / self._count - mean.square()).clamp_min(0).sqrt()
        return {"mean": mean.tolist(), "std": std.tolist(), "shape": self._shape, "values": self._values}
