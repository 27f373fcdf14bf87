"""A sheet of training pictures, a row for each class."""

from __future__ import annotations

import io
import time
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from birdplane import datasets

#: So many items are looked at for pictures of every class; single items may each be a file to decode.
_LOOK_AT_BATCHED, _LOOK_AT_SINGLE = 20_000, 400
#: Seconds for that: the training waits.
_LOOKING = 0.5
_MOST_CLASSES = 20
_SIDE, _GAP, _LABEL_WIDTH, _FONT_SIZE = 64, 4, 120, 13


def training_pictures(
    section: dict[str, Any], classes: list[str], count: int
) -> tuple[bytes, tuple[int, int], str]:
    """Return (PNG, (width, height), description) of up to `count` training pictures of each class.

    `section` is a pipeline's `[dataset]`, `classes` its classes' names. Of many classes the first twenty are shown.
    """
    parameters = {key: value for key, value in section.items() if key != "use"}
    dataset = datasets.create(section["use"], split="train", **parameters)
    classes = classes[:_MOST_CLASSES]
    rows = _indices(dataset, len(classes), count)
    width = _LABEL_WIDTH + count * (_SIDE + _GAP) + _GAP
    sheet = Image.new("RGB", (width, len(classes) * (_SIDE + _GAP) + _GAP), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(_FONT_SIZE)
    for row, name in enumerate(classes):
        top = _GAP + row * (_SIDE + _GAP)
        draw.text((_GAP, top + (_SIDE - _FONT_SIZE) // 2), _fitting(name, draw, font), "black", font)
        for column, index in enumerate(rows[row]):
            picture, _ = dataset[index]
            sheet.paste(_cell(picture), (_LABEL_WIDTH + column * (_SIDE + _GAP), top))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    names = ", ".join(classes)
    return buffer.getvalue(), sheet.size, f"Training pictures, a row for each class: {names}"


def _indices(dataset: Any, classes: int, count: int) -> list[list[int]]:
    """Return the indices of up to `count` pictures of each class, looking evenly through the dataset."""
    batched = hasattr(dataset, "images") and hasattr(dataset, "labels")
    looked_at = min(len(dataset), _LOOK_AT_BATCHED if batched else _LOOK_AT_SINGLE)
    places = [place * len(dataset) // looked_at for place in range(looked_at)]
    labels = dataset.labels(places) if batched else (dataset[place][1] for place in places)
    rows: list[list[int]] = [[] for _ in range(classes)]
    missing = classes * count
    deadline = time.monotonic() + _LOOKING
    for place, label in zip(places, labels, strict=True):
        if label < classes and len(rows[label]) < count:
            rows[label].append(place)
            missing -= 1
        if not missing or time.monotonic() > deadline:
            break
    return rows


def _cell(picture: Image.Image) -> Image.Image:
    # Enlarged by repeating pixels: the net sees no smoothing either.
    small = max(picture.size) <= _SIDE
    how = Image.Resampling.NEAREST if small else Image.Resampling.BILINEAR
    return picture.convert("RGB").resize((_SIDE, _SIDE), how)


def _fitting(name: str, draw: ImageDraw.ImageDraw, font: Any) -> str:
    """Shorten a class's name to the space that there is for it."""
    space = _LABEL_WIDTH - 2 * _GAP
    if draw.textlength(name, font) <= space:
        return name
    while name and draw.textlength(f"{name}...", font) > space:
        name = name[:-1]
    return f"{name}..."
