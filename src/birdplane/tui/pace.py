"""How often to draw: as often as the settings say, less often where that would take too much from training."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

#: Of all processors' time. Training in step on every core loses what one of them gives away.
SHARE = 0.006
_SLOWEST = 1.0
#: Where there is nothing new to draw; what comes then is seen that much later.
_IDLE = 0.5
_INERTIA = 0.8


class Pace:
    """The seconds between two frames.

    Args:
        rate: frames a second at most.
        budget: the share of one processor that may be used; the usual one is 0.6 % of all there are.
        used: tells the seconds of processor time that this process has used so far.
    """

    def __init__(
        self, rate: float, budget: float | None = None, used: Callable[[], float] = time.process_time
    ) -> None:
        self._shortest = 1 / rate
        self._budget = SHARE * _processors() if budget is None else budget
        self._used = used
        self._before = used()
        self._cost = 0.0
        self._rest = 0.0

    def wait(self, drawn: bool = True) -> float:
        """Return how long to wait for the next frame; to be called once a frame, with whether it drew anything."""
        now = self._used()
        self._cost = _INERTIA * self._cost + (1 - _INERTIA) * (now - self._before)
        self._before = now
        # Even a frame that finds nothing takes a millisecond: where nothing happens they become fewer and fewer.
        self._rest = 0.0 if drawn else min(_IDLE, max(self._shortest, 1.2 * self._rest))
        return max(self._shortest, self._rest, min(_SLOWEST, self._cost / self._budget))


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
