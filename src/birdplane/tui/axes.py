"""Axes: where they begin and end, and which round numbers stand at them. Knows no terminal."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from birdplane.tui.curves import Series

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
#: Beyond this the length of an axis could be infinite.
_MOST = 1e300
_ENDS = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0, 10.0)


@dataclass(frozen=True)
class Axis:
    """From `low` to `high`; `log` says that equal steps are equal factors."""

    low: float
    high: float
    log: bool = False

    def place(self, value: float) -> float:
        """Return where a value stands: 0 at `low`, 1 at `high`, never beyond."""
        if self.log:
            if value <= self.low:
                return 0.0
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return min(1.0, max(0.0, share))

    def rounded(self, most: int) -> Callable[[float], int]:
        """Return what tells where a value stands among `most + 1` dots: 0 at `low`, `most` at `high`, never beyond.

        It is `place` for thousands of values: what is the same for all of them is worked out once.
        """
        low, high, log = self.low, self.high, self.log
        length = math.log(high / low) if log else high - low

        def rounded(value: float) -> int:
            if value <= low:
                return 0
            if value >= high:
                return most
            return int((math.log(value / low) if log else value - low) / length * most + 0.5)

        return rounded

    def ticks(self, most: int) -> list[float]:
        """Return round numbers on the axis, at most so many; its ends, where it has fewer than two of them."""
        found = self._round(most)
        return found if len(found) > 1 else [self.low, self.high]

    def _round(self, most: int) -> list[float]:
        if self.log and self.high / self.low > 5:
            return _log_ticks(self.low, self.high, most)
        step = _round_step(self.high - self.low, max(1, most - 1))
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [number * step for number in range(first, last + 1)]


def _round_step(length: float, parts: int) -> float:
    """Return the least round step that divides a length into at most so many parts."""
    power = 10.0 ** math.floor(math.log10(length / parts))
    return next((step * power for step in _STEPS if length / (step * power) <= parts + 1e-9), 10 * power)


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for within in ((1, 2, 3, 5), (1, 2, 5), (1, 3), (1,)):
        found = [part * 10.0**power for power in powers for part in within]
        ticks = [tick for tick in found if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]
        if len(ticks) <= most:
            return ticks
    return ticks[:: math.ceil(len(ticks) / most)]


def x_axis(series: Sequence[Series], total: float | None) -> Axis:
    """Return an axis from 0 that ends at a round number a good way beyond the data: so it grows in jumps.

    It never ends beyond `total`, and ends there once most of it is in sight.
    """
    end = max((one.end for one in series), default=0.0)
    if end <= 0:
        return Axis(0.0, 1.0)
    power = 10.0 ** math.floor(math.log10(end))
    high = next(part * power for part in _ENDS if part * power >= end)
    if total and (high > 0.7 * total or end > total):
        high = max(total, end)
    return Axis(0.0, high)


def y_axis(
    series: Sequence[Series],
    rows: int,
    bounds: tuple[float, float] | None = None,
    *,
    log: bool = False,
    smoothed: bool = False,
) -> Axis:
    """Return an axis with round ends around all the data, within `bounds` where there are natural ones."""
    drawn = [one.range(smoothed) for one in series if len(one)]
    if not drawn:
        return Axis(*(bounds or (0.0, 1.0)))
    low, high = max(min(one.low for one in drawn), -_MOST), min(max(one.high for one in drawn), _MOST)
    if log and high > 0:
        least = min(one.low_positive for one in drawn)
        return Axis(_round_down(least), max(_round_up(high), 1.5 * _round_down(least)), True)
    if high - low < 1e-9 * max(1.0, abs(high)):
        low, high = low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1)
    if 0 < low < 0.25 * high:
        low = 0.0
    step = _round_step(high - low, max(2, rows // 2))
    low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    if bounds:
        low, high = max(low, bounds[0]), min(high, bounds[1])
    return Axis(low, high) if high > low else Axis(*(bounds or (0.0, 1.0)))


def _round_down(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value))
    return max(part for part in (1.0, 2.0, 5.0) if part * power <= value * (1 + 1e-9)) * power


def _round_up(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value))
    return next(part for part in (1.0, 2.0, 5.0, 10.0) if part * power >= value * (1 - 1e-9)) * power


def tick_labels(ticks: Sequence[float]) -> list[str]:
    """Return the numbers with the digits that tell them apart, and no more."""
    for digits in range(7):
        labels = [f"{tick:.{digits}f}" for tick in ticks]
        if all(
            abs(float(label) - tick) < 1e-9 * max(1.0, abs(tick))
            for label, tick in zip(labels, ticks, strict=True)
        ):
            break
    return labels if max(map(len, labels), default=0) <= 7 else [f"{tick:.0e}" for tick in ticks]


def log_labels(ticks: Sequence[float]) -> list[str]:
    """Return each number in its own shortest form."""
    return [f"{tick:g}" if 1e-4 <= tick < 1e6 else f"{tick:.0e}" for tick in ticks]
