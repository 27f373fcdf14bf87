"""The data behind the curves: points that only ever grow, and what can be asked of them. Knows no terminal."""

from __future__ import annotations

import math
from bisect import bisect_left


class Range:
    """The least and the greatest of the values so far, and the least above 0, for a log scale."""

    __slots__ = ("high", "low", "low_positive")

    def __init__(self) -> None:
        self.low, self.high, self.low_positive = math.inf, -math.inf, math.inf

    def take(self, value: float) -> None:
        if value < self.low:
            self.low = value
        if value > self.high:
            self.high = value
        if 0 < value < self.low_positive:
            self.low_positive = value


class Blocks:
    """The least and the greatest of stretches of a list that only ever grows: those of whole blocks are kept."""

    #: Values a block.
    SIZE = 64
    __slots__ = ("_highs", "_lows")

    def __init__(self) -> None:
        self._lows: list[float] = []
        self._highs: list[float] = []

    def between(self, values: list[float], begin: int, end: int) -> tuple[float, float]:
        """Return the least and the greatest of `values[begin:end]`, of which there is one at least."""
        first, last = -(-begin // self.SIZE), end // self.SIZE
        if first >= last:
            here = values[begin:end]
            return min(here), max(here)
        for at in range(len(self._lows) * self.SIZE, last * self.SIZE, self.SIZE):
            block = values[at : at + self.SIZE]
            self._lows.append(min(block))
            self._highs.append(max(block))
        edges = values[begin : first * self.SIZE] + values[last * self.SIZE : end]
        return min(self._lows[first:last] + edges), max(self._highs[first:last] + edges)


class Series:
    """Points in the order of `x`; what is not finite is kept apart, so that it can be marked.

    Args:
        name: what the legend says.
        inertia: how much of the smoothed value is carried on to the next point, from 0 (not at all) to 1.
    """

    def __init__(self, name: str, inertia: float = 0.9) -> None:
        self.name = name
        self.inertia = inertia
        #: Counts up whenever points were taken away, so that whoever draws begins anew.
        self.revision = 0
        self.clear()
        self.revision = 0

    def clear(self) -> None:
        """Forget all points."""
        self.revision += 1
        self.xs: list[float] = []
        self.ys: list[float] = []
        self.broken: list[float] = []
        self._range, self._smooth_range = Range(), Range()
        self._blocks, self._smooth_blocks = Blocks(), Blocks()
        self._smooth: list[float] = []
        self._carried = 0.0

    def __len__(self) -> int:
        return len(self.xs)

    @property
    def end(self) -> float:
        """The greatest `x` so far, 0 without points."""
        return max(self.xs[-1] if self.xs else 0.0, self.broken[-1] if self.broken else 0.0)

    def append(self, x: float, y: float | None) -> None:
        """Add a point that is not before the last one; None is no point."""
        if y is None:
            return
        if not math.isfinite(y):
            self.broken.append(x)
            return
        self.xs.append(x)
        self.ys.append(y)
        self._range.take(y)

    def values(self, smoothed: bool) -> list[float]:
        """Return the values as they are, or their exponential mean, begun without a bias towards 0."""
        if not smoothed or not self.inertia:
            return self.ys
        keep, carried = self.inertia, self._carried
        for index in range(len(self._smooth), len(self.ys)):
            carried = keep * carried + (1 - keep) * self.ys[index]
            value = carried / (1 - keep ** (index + 1))
            self._smooth.append(value)
            self._smooth_range.take(value)
        self._carried = carried
        return self._smooth

    def range(self, smoothed: bool) -> Range:
        """Return between what the values lie; of no use without any."""
        return self._range if self.values(smoothed) is self.ys else self._smooth_range

    def extremes(self, begin: int, end: int, smoothed: bool) -> tuple[float, float]:
        """Return the least and the greatest of the values of some points, of which there is one at least."""
        values = self.values(smoothed)
        return (self._blocks if values is self.ys else self._smooth_blocks).between(values, begin, end)

    def nearest(self, x: float, smoothed: bool = False) -> tuple[float, float] | None:
        """Return the point closest to `x`, or None where there are none."""
        if not self.xs:
            return None
        index = min(bisect_left(self.xs, x), len(self.xs) - 1)
        if index and x - self.xs[index - 1] < self.xs[index] - x:
            index -= 1
        return self.xs[index], self.values(smoothed)[index]
