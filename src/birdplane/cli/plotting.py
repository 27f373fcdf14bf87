"""Curves as lines of text: braille dots where the output has them, else ASCII marks. Needs no screen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from birdplane.cli.screen import shows

if TYPE_CHECKING:
    from birdplane.tui.axes import Axis
    from birdplane.tui.curves import Series

_LABEL = 7
_MARKS = "*o+x#%"


def plotted(
    curves: Sequence[tuple[str, Sequence[tuple[float, float]]]],
    *,
    width: int = 60,
    rows: int = 10,
    bounds: tuple[float, float] | None = None,
) -> list[str]:
    """Return curves over a common axis as lines, with a line for their names at the end.

    Each differs from the others by which of its columns are drawn, or by its mark. What stands beyond `bounds` is
    drawn at the border.

    Args:
        curves: pairs of a name and points (x, y), ordered by x; all finite.
        width, rows: of the plot, in characters, without axes.
        bounds: the ends of the vertical axis; else round numbers around all points.
    """
    from birdplane.tui.axes import Axis, tick_labels, y_axis
    from birdplane.tui.curves import Series

    dots = shows("⠿")
    every = []
    for name, points in curves:
        series = Series(name)
        for x, y in points:
            series.append(x, y)
        every.append(series)
    xs = [x for series in every for x in series.xs]
    across = Axis(min(xs), max(xs))
    up = Axis(*bounds) if bounds else y_axis(every, rows)
    cells = (_dotted if dots else _marked)(every, across, up, width, rows)
    ticks = up.ticks(max(2, rows // 2))
    labels = dict(zip((_row(up, tick, rows) for tick in ticks), tick_labels(ticks), strict=True))
    bar, corner, line = "│└─" if shows("│└─") else "|+-"
    lines = [
        f"{labels.get(row, '').rjust(_LABEL)} {bar}{''.join(text).rstrip()}" for row, text in enumerate(cells)
    ]
    lines.append(f"{' ' * _LABEL} {corner}{line * width}")
    lines.append(_below(across, width))
    samples = [f"{_sample(index, dots)} {series.name}" for index, series in enumerate(every)]
    return [*lines, f"{' ' * _LABEL}  {'   '.join(samples)}"]


def _row(up: Axis, value: float, rows: int) -> int:
    return rows - 1 - min(rows - 1, int(up.place(value) * rows))


def _dotted(every: Sequence[Series], across: Axis, up: Axis, width: int, rows: int) -> list[list[str]]:
    from birdplane.tui.raster import PATTERNS, Trace, braille

    columns = [0] * (2 * width)
    for index, series in enumerate(every):
        pattern = PATTERNS[index % len(PATTERNS)]
        trace = Trace(series, across, up, 2 * width, 4 * rows, pattern=pattern)
        trace.draw()
        for column, (bits, drawn) in enumerate(zip(trace.columns, trace.shown, strict=True)):
            columns[column] |= bits if drawn else 0
    return [
        [
            braille(columns[2 * at] >> 4 * low & 15, columns[2 * at + 1] >> 4 * low & 15)
            if (columns[2 * at] | columns[2 * at + 1]) >> 4 * low & 15
            else " "
            for at in range(width)
        ]
        for low in range(rows - 1, -1, -1)
    ]


def _marked(every: Sequence[Series], across: Axis, up: Axis, width: int, rows: int) -> list[list[str]]:
    from birdplane.tui.raster import PATTERNS, Trace

    cells = [[" "] * width for _ in range(rows)]
    for index, series in enumerate(every):
        trace = Trace(series, across, up, width, rows, pattern=PATTERNS[0])
        trace.draw()
        for column, bits in enumerate(trace.columns):
            for row in range(rows):
                if bits >> row & 1:
                    cells[rows - 1 - row][column] = _MARKS[index % len(_MARKS)]
    return cells


def _below(across: Axis, width: int) -> str:
    from birdplane.tui.axes import tick_labels

    ticks = across.ticks(7)
    line = [" "] * (width + _LABEL + 10)
    for tick, label in zip(ticks, tick_labels(ticks), strict=True):
        place = across.place(tick)
        begin = max(0, _LABEL + 2 + round(place * (width - 1)) - len(label) // 2)
        line[begin : begin + len(label)] = label
    return "".join(line).rstrip()


def _sample(index: int, dots: bool) -> str:
    if not dots:
        return _MARKS[index % len(_MARKS)] * 3
    from birdplane.tui.raster import PATTERNS, braille, pattern_mask

    mask = pattern_mask(PATTERNS[index % len(PATTERNS)], 8)
    return "".join(braille(2 * mask[at], 2 * mask[at + 1]) for at in range(0, 8, 2))
