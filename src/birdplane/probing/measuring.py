"""Measuring: stored pictures are changed, then go the whole way through the run's transforms and model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from birdplane import reporting
from birdplane.assembly import build_splits
from birdplane.data import Pictures, mix
from birdplane.errors import UsageError, nearest
from birdplane.inspection import TrainedModel
from birdplane.probing import FILLS, Change, Cost, Probe, around, offsets, told_distances

#: Pictures that are looked at where nothing else is said: the standard error of an accuracy of 80 % is 0.9 points.
PICTURES = 2000
_BRIGHTNESS = (0.25, 0.5, 0.75, 1.25, 1.5, 2.0)
_NOISE = (4, 8, 16, 32, 64)  # standard deviations, of 255 grey levels
_FLIPS = {"mirrored, left to right": (3,), "upside down": (2,), "turned by half a turn": (2, 3)}
_Changed = Callable[[Tensor], Tensor]


def probe(
    model: TrainedModel,
    run: str,
    *,
    reach: int = 8,
    step: int = 2,
    fill: str = "edge",
    pictures: int = PICTURES,
    seed: int = 0,
    validation: Pictures | None = None,
) -> Probe:
    """Measure the accuracy on changed validation pictures of the run's own dataset.

    Pictures are changed as they are stored, uint8, before the first transform. The same noise is drawn for every
    run whose pictures have the same size, whatever the device.

    Args:
        model: the run's model.
        run: what the probe is called.
        reach: the furthest shift, in pixels, in each direction.
        step: pixels from one position of the grid to the next.
        fill: one of `FILLS`, for the gaps that a shift leaves.
        pictures: at most so many, evenly spread over the split.
        seed: of the noise.
        validation: the run's validation pictures, where they are at hand already.

    Raises:
        UsageError: the shift is as large as the pictures, or a number or the fill is not allowed.
        BirdplaneError: the pictures are missing or damaged.
    """
    if fill not in FILLS:
        raise UsageError(f"fill: there is no {fill!r}{nearest(fill, FILLS)} (allowed: {', '.join(FILLS)})")
    if reach < 0 or step < 1 or pictures < 1:
        raise UsageError("a probe needs a shift of 0 or more, a step of 1 or more and 1 picture or more")
    if validation is None:
        validation = build_splits(model.assembly.pipeline).validation
    height, width = validation.shape[1:]
    if reach >= min(height, width):
        most = min(height, width) - 1
        raise UsageError(f"shift: pictures of {width}x{height} can be moved by {most} pixels, not by {reach}")
    count = min(pictures, len(validation))
    chosen = torch.linspace(0, len(validation) - 1, count, dtype=torch.float64).round().long()
    grid = offsets(reach, step)
    places = {(dx, dy) for dy in grid for dx in grid}
    places |= {place for distance in told_distances(reach) for place in around(distance)}
    right = _right(model, run, validation.part(chosen), sorted(places), fill, reach, seed)
    share = {name: number / count for name, number in right.items()}
    unmoved = share[0, 0]
    return Probe(
        run=run,
        pictures=count,
        available=len(validation),
        fill=fill,
        offsets=grid,
        accuracy=tuple(tuple(share[dx, dy] for dx in grid) for dy in grid),
        costs=tuple(_cost(distance, share, unmoved) for distance in told_distances(reach)),
        changes=tuple(Change(kind, what, share[kind, what]) for kind, what, _ in _changes(0)),
    )


def _cost(distance: int, share: dict[Any, float], unmoved: float) -> Cost:
    accuracy = sum(share[place] for place in around(distance)) / len(around(distance))
    return Cost(distance, accuracy, unmoved - accuracy)


def _right(
    model: TrainedModel,
    run: str,
    pictures: Pictures,
    places: list[tuple[int, int]],
    fill: str,
    reach: int,
    seed: int,
) -> dict[Any, int]:
    """Return how many pictures are told right, by place (dx, dy) and by (kind, what) of a change."""
    right: dict[Any, Tensor] = {}
    total = len(pictures) * (len(places) + len(list(_changes(0))))
    size = _batch_size(pictures)
    with reporting.task(f"probing {run}", total, "pictures") as advance:
        for number, start in enumerate(range(0, len(pictures), size)):
            images, labels = pictures.decode(range(start, min(start + size, len(pictures))))
            images_NCHW = torch.from_numpy(images).to(model.assembly.device)
            labels_N = torch.from_numpy(labels).to(model.assembly.device)
            for name, changed in _versions(images_NCHW, places, fill, reach, mix(seed, number)):
                hits = _hits(model, changed, labels_N)
                right[name] = right[name] + hits if name in right else hits
                advance(len(labels))
    return {name: int(hits) for name, hits in right.items()}


def _batch_size(pictures: Pictures) -> int:
    """As in evaluation: 512 pictures of 32x32, so that activations stay within the caches."""
    _, height, width = pictures.shape
    return max(1, min(512, 512 * 32 * 32 // (height * width)))


def _versions(
    images_NCHW: Tensor, places: list[tuple[int, int]], fill: str, reach: int, seed: int
) -> Iterator[tuple[Any, Tensor]]:
    height, width = images_NCHW.shape[2:]
    wide_NCHW = padded(images_NCHW, reach, fill)
    for dx, dy in places:
        top, left = reach - dy, reach - dx
        yield (dx, dy), wide_NCHW[:, :, top : top + height, left : left + width].contiguous()
    for kind, what, change in _changes(seed):
        yield (kind, what), change(images_NCHW)


@torch.no_grad()
def _hits(model: TrainedModel, images_NCHW: Tensor, labels_N: Tensor) -> Tensor:
    assembly = model.assembly
    outputs_NK = assembly.outputs(assembly.layout.finish(assembly.chain(images_NCHW)))
    return (outputs_NK.argmax(dim=1) == labels_N).sum()


def padded(images_NCHW: Tensor, pixels: int, fill: str) -> Tensor:
    """Return pictures with `pixels` more on all four sides, of the same type; `fill` is one of `FILLS`.

    By index, not by `torch.nn.functional.pad`: that mirrors and repeats bytes on no GPU.
    """
    height, width = images_NCHW.shape[2:]
    device = images_NCHW.device
    rows, columns = (_source(length, pixels, fill).to(device) for length in (height, width))
    wide = images_NCHW.index_select(2, rows.clamp(0, height - 1)).index_select(3, columns.clamp(0, width - 1))
    if fill == "zero" and pixels:
        inside = wide.new_zeros(height + 2 * pixels, width + 2 * pixels)
        inside[pixels : pixels + height, pixels : pixels + width] = 1
        wide = wide * inside
    return wide


def _source(length: int, pixels: int, fill: str) -> Tensor:
    """Return, for each row (or column) of the padded picture, which of the picture's comes there."""
    places = torch.arange(-pixels, length + pixels)
    if fill == "wrap":
        return places % length
    if fill == "reflect":
        return (length - 1) - ((length - 1) - places.abs()).abs()
    return places.clamp(0, length - 1)


def _changes(seed: int) -> Iterator[tuple[str, str, _Changed]]:
    """Yield kind, words and function of every change; of noise, the seed is of the batch it is for."""
    for what, dims in _FLIPS.items():
        yield "flip", what, partial(torch.flip, dims=dims)
    for factor in _BRIGHTNESS:
        yield "brightness", f"x {factor:g}", partial(_lit, factor=factor)
    for std in _NOISE:
        yield "noise", f"of {std} levels", partial(_noisy, std=std, seed=mix(seed, std))


def _lit(images_NCHW: Tensor, factor: float) -> Tensor:
    return _bytes(images_NCHW.float() * factor)


def _noisy(images_NCHW: Tensor, std: float, seed: int) -> Tensor:
    # Drawn on the CPU: another device would draw other numbers of the same seed.
    noise = torch.randn(images_NCHW.shape, generator=torch.Generator().manual_seed(seed))
    return _bytes(images_NCHW.float() + std * noise.to(images_NCHW.device))


def _bytes(images: Tensor) -> Tensor:
    return images.round().clamp(0, 255).to(torch.uint8)
