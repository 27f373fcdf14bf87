"""What the Data screen says: which pictures these are, class counts as bars, channel statistics as a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len
from textual.content import Content

from birdplane.text import plain
from birdplane.tui.blocks import Picture
from birdplane.tui.cells import MUTED, bar, cut, left, right
from birdplane.tui.facts import fitted
from birdplane.tui.picture import Tile

Page = dict[str, Any]
"""The helper's answer to `pictures`."""

#: Widths of a thumbnail in cells, which are pixels.
SIDES = (16, 32, 64)
_SPLITS = {"train": "training pictures", "validation": "validation pictures"}
_WIDEST = 52  # cells of the figures: a table is not read across a whole screen
_MOST_CLASSES = 12
_CHANNELS = {1: ("grey",), 3: ("red", "green", "blue")}


@dataclass(frozen=True)
class View:
    """What is looked at: a split, a class or all of them, from which picture on, after which step of the chain, with
    which draw of the random transforms, and how large."""

    split: str = "train"
    label: int | None = None
    offset: int = 0
    stage: int = 0
    draw: int = 0
    side: int = SIDES[0]


def title_line(name: str, page: Page | None, view: View, visible: int | None, width: int) -> Content:
    """Return the dataset, and of which pictures how many are seen; `visible` is None where they are hidden."""
    parts: list[Content | str] = [Content.styled(cut(name, 40), "bold")]
    if page is None:
        return fitted(parts, width)
    total = page["total"]
    place = f"{total:,}"
    if visible is not None and total:
        place = f"{view.offset + 1:,}-{min(total, view.offset + visible):,} of {total:,}"
    label = "all classes" if view.label is None else cut(page["classes"][view.label], 24)
    return fitted([*parts, place, _SPLITS[view.split], label], width)


def chain_line(stages: Sequence[str], current: int, width: int, ascii_only: bool = False) -> Content:
    """Return the stages in their order, the current one marked; where they do not fit, those around it."""
    names = [cut(name, 24) for name in stages]
    first = 0
    while first < current and sum(cell_len(name) + 3 for name in names[first : current + 2]) > width - 6:
        first += 1
    parts = [
        Content.styled(f" {name} ", "reverse" if number == current else "")
        for number, name in enumerate(names)
    ]
    separator = Content.styled(">" if ascii_only else "›", "$foreground 30%")
    return separator.join(parts[first:]).truncate(width, ellipsis=True)


def mapping_line(page: Page, view: View, note: str, width: int) -> Content:
    """Return the shape and type of the numbers, and how they became colours; a note takes its place."""
    if note:
        return Content.styled(cut(f" {note}", width), "$text-error")
    words = [f" {shape_words(page['shape'], page['values'])}", page["mapping"]]
    return fitted([*words, *(["r draws anew"] if page["random"][view.stage] else [])], width)


def tiles_of(page: Page, pictures: Sequence[Picture]) -> list[Tile]:
    """Return the pictures with the names of their classes below."""
    classes, width = page["classes"], pictures[0].width if pictures else 1
    names = [classes[label] if 0 <= label < len(classes) else f"label {label}" for label in page["labels"]]
    return [
        Tile(picture, below=[[(cut(name, width), "muted")]])
        for picture, name in zip(pictures, names, strict=False)
    ]


def figure_lines(found: dict[str, Any], view: View, width: int, ascii_only: bool = False) -> list[Content]:
    """Return counts by class, and the statistics of the channels by stage."""
    width = min(_WIDEST, width)
    counts, train = found["counts"][view.split], sum(found["counts"]["train"])
    share = f" of {train:,}" if found["measured"] < train else ""
    lines = [
        Content.styled(f"{sum(counts):,} {_SPLITS[view.split]}", MUTED),
        *class_lines(found["classes"], counts, view.label, width, ascii_only),
        *channel_lines(found["stages"], view.stage, width),
        Content(""),
        Content.styled(f"measured on {found['measured']:,}{share}\ntraining pictures", MUTED),
    ]
    if found["skipped"]:
        lines.append(Content.styled(f"{found['skipped']:,} cannot be read", "$text-warning"))
    return lines


def class_lines(
    classes: Sequence[str], counts: Sequence[int], chosen: int | None, width: int, ascii_only: bool = False
) -> list[Content]:
    """Return a bar for each class; the chosen one is marked. Of many classes, those around the chosen one."""
    figures = max((len(f"{count:,}") for count in counts), default=1)
    names = min(max((cell_len(plain(name)) for name in classes), default=1), max(6, width - figures - 10))
    most = max([1, *counts])
    room = width - names - figures - 2
    first = max(0, min((chosen or 0) - _MOST_CLASSES // 2, len(classes) - _MOST_CLASSES))
    lines = []
    for label in range(first, min(len(classes), first + _MOST_CLASSES)):
        strong, weak = bar(counts[label] / most, room, ascii_only)
        style = "bold" if label == chosen else ""
        lines.append(
            Content.assemble(
                (left(classes[label], names), style),
                " ",
                (strong, "$text-accent"),
                (weak, "$foreground 20%"),
                (right(f"{counts[label]:,}", figures + 1), style),
            )
        )
    if len(classes) > _MOST_CLASSES:
        lines.append(Content.styled(f"{len(classes)} classes in all", MUTED))
    return lines


def channel_lines(stages: Sequence[dict[str, Any]], current: int, width: int) -> list[Content]:
    """Return two tables, mean and standard deviation: a line a stage, a column a channel."""
    most = max(len(stage["mean"]) for stage in stages)
    names = _CHANNELS.get(most, tuple(f"c{number}" for number in range(1, most + 1)))[:3]
    column, digits = (8, 4) if width >= 38 else (6, 2)
    first = width - column * len(names)
    lines: list[Content] = []
    for title, key in (("mean", "mean"), ("std. deviation" if first > 14 else "std", "std")):
        heading = left(title, first) + "".join(right(name, column) for name in names)
        lines += [Content(""), Content.styled(heading, MUTED)]
        for number, stage in enumerate(stages):
            values = "".join(right(figure(value, digits), column) for value in stage[key][: len(names)])
            style = "bold $text-accent" if number == current else ""
            lines.append(Content.styled(left(cut(stage["name"], first - 1), first) + values, style))
    return lines


def figure(value: float, digits: int) -> str:
    """Return a number with as many digits as fit beside others: `156.8`, `0.6151`, never `-0.00`."""
    if not math.isfinite(value):
        return str(value)
    whole = len(str(int(abs(value))))
    text = f"{value:.{max(0, digits + 1 - whole)}f}"
    return text.removeprefix("-") if not text.strip("-0.") else text


def shape_words(shape: Sequence[int], values: str) -> str:
    """Return `3 x 32 x 32 float32`."""
    return f"{' x '.join(str(side) for side in shape)} {values}"
