"""Curves as dots. A column of dots is one integer, so that a curve of any length costs some hundred of them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from birdplane.tui.axes import Axis
from birdplane.tui.curves import Series

#: Which columns of a curve are drawn, so that curves differ without colour: (drawn, left out) in turns.
PATTERNS: tuple[tuple[int, ...], ...] = ((1, 0), (1, 1), (4, 2), (1, 3), (6, 2, 1, 2), (2, 2))

_BIT = (
    (0x40, 0x04, 0x02, 0x01),  # the left dots of a braille cell, from the lowest
    (0x80, 0x20, 0x10, 0x08),
)
_LEFT = [sum(bit for at, bit in enumerate(_BIT[0]) if four >> at & 1) for four in range(16)]
_RIGHT = [sum(bit for at, bit in enumerate(_BIT[1]) if four >> at & 1) for four in range(16)]


def braille(left: int, right: int) -> str:
    """Return the cell of two columns of four dots each, the lowest bit being the lowest dot."""
    return chr(0x2800 + _LEFT[left] + _RIGHT[right])


#: The same by two hexadecimal digits.
BRAILLE = {(f"{left:x}", f"{right:x}"): braille(left, right) for left in range(16) for right in range(16)}


def pattern_mask(pattern: Sequence[int], length: int) -> list[bool]:
    """Return which of so many columns are drawn."""
    period = [index % 2 == 0 for index, count in enumerate(pattern) for _ in range(count)]
    return [period[column % len(period)] for column in range(length)]


class Trace:
    """One series drawn into `width` columns of `height` dots. New points redraw only the columns they touch.

    `columns[c]` has a bit for each dot, the lowest bit being the lowest dot; `shown[c]` says whether the pattern
    lets the column be seen. Where points are few, those that hold one always are.
    """

    def __init__(
        self,
        series: Series,
        x: Axis,
        y: Axis,
        width: int,
        height: int,
        smoothed: bool = False,
        pattern: Sequence[int] = PATTERNS[0],
    ) -> None:
        self.series = series
        self.shown = pattern_mask(pattern, width)
        self._x = x
        self._column, self._row = x.rounded(width - 1), y.rounded(height - 1)
        self._smoothed = smoothed
        self.columns = [0] * width
        # What is drawn: (column, row of its last point), and where the points of the last column begin.
        self._filled: list[tuple[int, int]] = []
        self._done = self._last_begin = 0

    def draw(self) -> int | None:
        """Draw the points that are new; return the first column that may have changed, or None."""
        xs, values = self.series.xs, self.series.values(self._smoothed)
        if self._done == len(xs):
            return None
        begin = self._done
        if self._filled:
            # The last column may have got more points: it is drawn anew, with the line that leads to it.
            self._filled.pop()
            begin = self._last_begin
        first = self._filled[-1][0] + 1 if self._filled else 0
        self.columns[first:] = [0] * (len(self.columns) - first)
        while begin < len(xs):
            begin = self._draw_column(xs, values, begin)
        self._done = len(xs)
        if len(xs) < len(self.columns) / 4:
            for column, _ in self._filled:
                self.shown[column] = True
        return first

    def _draw_column(self, xs: list[float], values: list[float], begin: int) -> int:
        column = self._column(xs[begin])
        end = self._first_after(column, xs, begin)
        first = last = low = high = self._row(values[begin])
        if end > begin + 1:
            last = self._row(values[end - 1])
            low, high = map(self._row, self.series.extremes(begin, end, self._smoothed))
        if self._filled:
            self._join(*self._filled[-1], column, first)
        self.columns[column] |= _span(low, high)
        self._filled.append((column, last))
        self._last_begin = begin
        return end

    def _join(self, column: int, row: int, to_column: int, to_row: int) -> None:
        """Draw the straight line between two points, without the first."""
        steps = to_column - column
        before = row
        for step in range(1, steps + 1):
            after = row + round((to_row - row) * step / steps)
            # One dot of overlap would make a steep line twice as thick.
            begin = before + (after > before) - (after < before)
            self.columns[column + step] |= _span(min(begin, after), max(begin, after))
            before = after

    def _first_after(self, column: int, xs: list[float], begin: int) -> int:
        if column >= len(self.columns) - 1:
            return len(xs)
        edge = self._x.low + (column + 0.5) / (len(self.columns) - 1) * (self._x.high - self._x.low)
        end = bisect_right(xs, edge, begin)
        # Rounding may put the edge on either side of a point.
        while end > begin + 1 and self._column(xs[end - 1]) > column:
            end -= 1
        while end < len(xs) and self._column(xs[end]) <= column:
            end += 1
        return max(end, begin + 1)


def _span(low: int, high: int) -> int:
    return ((1 << (high - low + 1)) - 1) << low
