"""What a model makes of pictures, as tiles: the picture, and beside it a bar for each probable class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.cells import cell_len

from birdplane.text import plain
from birdplane.tui.blocks import unpack
from birdplane.tui.cells import bar, cut, left, right
from birdplane.tui.picture import Line, Shape, Tile, cells_of

BESIDE = 21  # cells of the text beside a picture
_PERCENT = 6


def shape_of(answer: Mapping[str, Any], beside: int = BESIDE) -> Shape:
    """Return what a tile of an answer's pictures takes; the text beside needs some lines however small they are."""
    columns, rows = cells_of(answer["thumbnails"])
    return Shape(columns, max(4, rows), beside=beside, gap=1)


def example_tiles(answer: Mapping[str, Any], beside: int = BESIDE, ascii_only: bool = False) -> list[Tile]:
    """Return the tiles of the helper's answer to `examples`."""
    classes, lines = answer["classes"], shape_of(answer).rows
    tiles = []
    for picture, item in zip(unpack(answer["thumbnails"]), answer["items"], strict=True):
        truth = name_of(classes, item["label"])
        right_one = item["label"] == item["predicted"]
        head: Line = [("it is ", "muted"), (cut(truth, beside - 6), "" if right_one else "strong")]
        bars = bar_lines(classes, item["probabilities"], beside, lines - 2, ascii_only)
        tiles.append(Tile(picture, beside=[head, (), *bars]))
    return tiles


def prediction_tile(answer: Mapping[str, Any], beside: int, ascii_only: bool = False) -> Tile:
    """Return the tile of the helper's answer to `predict`."""
    [picture] = unpack(answer["thumbnails"])
    lines = bar_lines(answer["classes"], answer["probabilities"], beside, shape_of(answer).rows, ascii_only)
    return Tile(picture, beside=lines)


def bar_lines(
    classes: Sequence[str], probabilities: Sequence[float], width: int, most: int, ascii_only: bool = False
) -> list[Line]:
    """Return a bar for each of the most probable classes, at most `most`, the most probable one first."""
    order = sorted(range(len(probabilities)), key=lambda label: -probabilities[label])[: max(1, most)]
    names = min(max(cell_len(plain(classes[label])) for label in order), width - _PERCENT - 6)
    lines: list[Line] = []
    for place, label in enumerate(order):
        strong, weak = bar(probabilities[label], width - names - _PERCENT - 1, ascii_only)
        lines.append(
            [
                (left(classes[label], names) + " ", "" if place == 0 else "muted"),
                (strong, "bar"),
                (weak, "rail"),
                (right(share_words(probabilities[label]), _PERCENT), "" if place == 0 else "muted"),
            ]
        )
    return lines


def share_words(share: float) -> str:
    """Return `99 %`; what is not quite all or nothing does not look as if it were."""
    if share != share:
        return "nan"
    if 0.99 < share < 1:
        return ">99 %" if share >= 0.995 else "99 %"
    if 0 < share < 0.005:
        return "<1 %"
    return f"{100 * share:.0f} %"


def name_of(classes: Sequence[str], label: int) -> str:
    return classes[label] if 0 <= label < len(classes) else f"label {label}"
