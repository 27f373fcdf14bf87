"""Drawings of a report as SVG inside the page: curves, calibration, bars, the map of a probe.

Colours and letters come from the page's style sheet, by class, so that they follow its light or dark scheme.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from math import isfinite

from birdplane.judging import Calibration
from birdplane.probing import Probe, scale
from birdplane.probing.drawing import colour_of, ink_on, place, signed
from birdplane.text import plain
from birdplane.tui.axes import Axis, tick_labels, y_axis
from birdplane.tui.curves import Series

_WIDTH, _HEIGHT = 440, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 14, 12, 34
#: Columns of a curve that are told apart; of more points, each column's least and greatest are drawn.
_COLUMNS = 400
_DOTTED = 15  # points up to which each is marked
_PROBED_WIDEST = 21  # cells across; of more, cells bear no numbers


def text(value: object) -> str:
    """Return text from anywhere, safe within a page: one line, without control codes, escaped."""
    return escape(plain(str(value)), quote=True)


def curves(
    title: str,
    lines: Sequence[tuple[str, Sequence[tuple[float, float]]]],
    *,
    percent: bool = False,
    mark: float | None = None,
) -> str:
    """Return curves over epochs, the first one in the style `train`, the second in `validation`.

    Args:
        title: what it shows, for those who do not see it.
        lines: pairs of a name and points (epoch, value), ordered; what is not finite is left out.
        percent: values are shares from 0 to 1, and told in percent.
        mark: an epoch that a line stands at.
    """
    every = []
    for name, points in lines:
        series = Series(name)
        for x, y in points:
            series.append(x, 100 * y if percent else y)
        every.append(series)
    xs = [x for series in every for x in series.xs]
    across = Axis(min(xs, default=0), max(max(xs, default=1), min(xs, default=0) + 1))
    up = y_axis(every, 12, (0, 100) if percent else None)
    parts = [*_frame(across, up, _whole(across.ticks(8)), up.ticks(6), "epoch")]
    if mark is not None and across.low <= mark <= across.high:
        x = _x(across, mark)
        parts.append(f'<path class="mark" d="M{x:.1f} {_TOP}V{_HEIGHT - _BOTTOM}"/>')
    for series, kind in zip(every, ("train", "validation"), strict=False):
        points = [(_x(across, x), _y(up, y)) for x, y in zip(series.xs, series.ys, strict=True)]
        way = "L".join(f"{x:.1f} {y:.1f}" for x, y in _thinned(points))
        if way:
            parts.append(f'<path class="curve {kind}" d="M{way}"/>')
        if len(points) <= _DOTTED:
            parts += [f'<circle class="dot {kind}" cx="{x:.1f}" cy="{y:.1f}" r="2.6"/>' for x, y in points]
    return _svg(title, _WIDTH, _HEIGHT, parts)


def reliability(found: Calibration) -> str:
    """Return how often what is said with a probability is right, a bar a bin, and below how often that is said."""
    side, below, gap = 300, 54, 14
    unit = Axis(0, 100)
    width, height = _LEFT + side + _RIGHT, _TOP + side + gap + below + _BOTTOM
    most = max((one.count for one in found.bins), default=0) or 1
    bottom, floor = _TOP + side, _TOP + side + gap + below
    parts = [*_grid(unit, unit, side, side)]
    for one in found.bins:
        if not one.count or one.accuracy is None or one.confidence is None:
            continue
        x, wide = _LEFT + one.low * side + 1, (one.high - one.low) * side - 2
        right, said = one.accuracy, one.confidence
        if not isfinite(said):
            continue
        high, low = max(right, said), min(right, said)
        kind = "over" if said > right else "under"
        parts += [
            _box("right", x, bottom - low * side, wide, low * side),
            _box(kind, x, bottom - high * side, wide, (high - low) * side),
            _box("count", x, floor - below * one.count / most, wide, below * one.count / most),
        ]
    parts.append(f'<path class="mark" d="M{_LEFT} {bottom}L{_LEFT + side} {_TOP}"/>')
    parts.append(f'<path class="axis" d="M{_LEFT} {floor}H{_LEFT + side}"/>')
    parts.append(_words(_LEFT - 7, floor - below + 6, f"{most:,}", "end"))
    for tick in (0, 20, 40, 60, 80, 100):
        parts.append(_words(_LEFT + tick / 100 * side, floor + 14, f"{tick}"))
    parts.append(_words(_LEFT + side / 2, floor + 29, "said with, %"))
    return _svg("Calibration: how often what is said with a probability is right", width, height, parts)


def bar(share: float | None, kind: str = "validation") -> str:
    """Return a bar for a share from 0 to 1."""
    long = 100 * min(1.0, max(0.0, share)) if share is not None and isfinite(share) else 0.0
    return (
        '<svg class="bar" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="rail" width="100" height="6"/><rect class="fill {kind}" width="{long:.1f}" height="6"/></svg>'
    )


def shift_map(probe: Probe) -> str:
    """Return the accuracy at each shift as a map."""
    cell, left, top = 28, 34, 4
    ends, count = scale([probe]), len(probe.offsets)
    numbered = count <= _PROBED_WIDEST
    every = 1 if numbered else -(-count // 12)
    parts = []
    for row, dy in enumerate(probe.offsets):
        if row % every == 0 or dy == 0:
            middle = (row + 0.5) * cell
            parts.append(_words(left - 7, top + middle + 4, signed(dy), "end"))
            parts.append(_words(left + middle, top + count * cell + 15, signed(dy)))
        for column, value in enumerate(probe.accuracy[row]):
            colour = colour_of(place(value, ends))
            x, y = left + column * cell, top + row * cell
            parts.append(f'<rect x="{x}" y="{y}" width="{cell}" height="{cell}" fill="{_hex(colour)}"/>')
            if numbered:
                parts.append(
                    f'<text class="cell" x="{x + cell / 2:g}" y="{y + cell / 2 + 4:g}" fill="{_hex(ink_on(colour))}">'
                    f"{100 * value:.0f}</text>"
                )
    middle = probe.offsets.index(0) * cell
    parts.append(
        f'<rect class="centre" x="{left + middle}" y="{top + middle}" width="{cell}" height="{cell}"/>'
    )
    parts.append(_words(left + count * cell / 2, top + count * cell + 31, "pixels to the right, and down"))
    size = left + count * cell + 4, top + count * cell + 38
    return _svg("Accuracy in percent, by where the pictures were moved to", *size, parts)


# The parts of a drawing.


def _svg(title: str, width: float, height: float, parts: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {width:g} {height:g}" role="img"><title>{text(title)}</title>{"".join(parts)}</svg>'


def _frame(
    across: Axis, up: Axis, ticks_x: Sequence[float], ticks_y: Sequence[float], below: str
) -> Iterator[str]:
    """Yield lines at round values, their numbers and what they count."""
    bottom = _HEIGHT - _BOTTOM
    for tick, label in zip(ticks_y, tick_labels(ticks_y), strict=True):
        y = _y(up, tick)
        yield f'<path class="grid" d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"/>'
        yield _words(_LEFT - 7, y + 4, label, "end")
    for tick, label in zip(ticks_x, tick_labels(ticks_x), strict=True):
        x = _x(across, tick)
        yield f'<path class="grid" d="M{x:.1f} {bottom}v4"/>'
        yield _words(x, bottom + 16, label)
    yield f'<path class="axis" d="M{_LEFT} {bottom}H{_WIDTH - _RIGHT}"/>'
    yield _words(_WIDTH - _RIGHT, bottom + 30, below, "end")


def _grid(across: Axis, up: Axis, width: float, height: float) -> Iterator[str]:
    for tick in up.ticks(6):
        y = _TOP + height * (1 - up.place(tick))
        yield f'<path class="grid" d="M{_LEFT} {y:.1f}h{width:g}"/>'
        yield _words(_LEFT - 7, y + 4, f"{tick:.0f}", "end")
    for tick in across.ticks(6):
        x = _LEFT + width * across.place(tick)
        yield f'<path class="grid" d="M{x:.1f} {_TOP}v{height:g}"/>'


def _words(x: float, y: float, words: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text(words)}</text>'


def _box(kind: str, x: float, y: float, width: float, height: float) -> str:
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"/>'


def _x(across: Axis, value: float) -> float:
    return _LEFT + across.place(value) * (_WIDTH - _LEFT - _RIGHT)


def _y(up: Axis, value: float) -> float:
    return _TOP + (1 - up.place(value)) * (_HEIGHT - _TOP - _BOTTOM)


def _whole(ticks: Sequence[float]) -> list[float]:
    """Epochs have no halves."""
    return [tick for tick in ticks if abs(tick - round(tick)) < 1e-9]


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return points of which no more are to be seen: of each column the highest and the lowest, in their order."""
    if len(points) <= 2 * _COLUMNS:
        return list(points)
    kept = []
    size = -(-len(points) // _COLUMNS)
    for begin in range(0, len(points), size):
        part = points[begin : begin + size]
        kept += sorted({min(part, key=lambda point: point[1]), max(part, key=lambda point: point[1])})
    return kept


def _hex(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
