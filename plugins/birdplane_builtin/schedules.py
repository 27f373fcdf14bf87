"""The schedules: each returns a pure function of the step, 0 to `total_steps - 1`, to a factor of the rate.

The warm-up that two of them have takes W = round(warmup * total_steps) steps: step s of them has the factor
(s + 1) / W, so no step is lost at 0 and the last of them is at 1.
"""

from __future__ import annotations

from collections.abc import Callable
from math import cos, pi
from typing import Annotated

from annotated_types import Ge, Le
from typing_extensions import Doc

Share = Annotated[float, Ge(0), Le(1)]
Warmup = Annotated[Share, Doc("The share of the run in which the rate climbs to its full value, in a line.")]
Final = Annotated[Share, Doc("The factor of the last step.")]


def constant(*, total_steps: int, warmup: Warmup = 0.0) -> Callable[[int], float]:
    """1 throughout, after the warm-up."""
    climb = round(warmup * total_steps)

    def factor(step: int) -> float:
        return (step + 1) / climb if step < climb else 1.0

    return factor


def one_cycle(
    *,
    total_steps: int,
    start: Annotated[Share, Doc("The factor of the first step.")] = 0.1,
    peak: Annotated[Share, Doc("How far into the run the rate is highest.")] = 0.25,
    final: Final = 0.0,
) -> Callable[[int], float]:
    """A triangle: up in a line from `start` to 1, then down in a line to `final`.

    With x = step / (total_steps - 1), from 0 to 1: start + (1 - start) * x / peak before the peak, and
    final + (1 - final) * (1 - x) / (1 - peak) after it. The first step has exactly `start` (1 where the peak
    is 0), the last exactly `final` (1 where the peak is 1), and a run of one step 1.
    """
    last = total_steps - 1

    def factor(step: int) -> float:
        if last < 1:
            return 1.0
        share = step / last
        if share < peak:
            return start + (1 - start) * (share / peak)
        if peak < 1:
            return final + (1 - final) * ((1 - share) / (1 - peak))
        return 1.0

    return factor


def cosine(*, total_steps: int, warmup: Warmup = 0.0, final: Final = 0.0) -> Callable[[int], float]:
    """Half a cosine from 1 down to `final`, after the warm-up.

    With t = (step - W) / (total_steps - 1 - W), from 0 to 1: final + (1 - final) * (1 + cos(pi * t)) / 2. The
    first step after the warm-up has exactly 1 and the last of the run exactly `final`; a run of one step, or
    one with no more than one step after the warm-up, ends at 1.
    """
    climb = round(warmup * total_steps)
    descent = total_steps - 1 - climb

    def factor(step: int) -> float:
        if step < climb:
            return (step + 1) / climb
        if descent < 1:
            return 1.0
        return final + (1 - final) * (1 + cos(pi * ((step - climb) / descent))) / 2

    return factor
