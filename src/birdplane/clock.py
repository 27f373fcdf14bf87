"""The time of day, for records: it never goes back."""

from __future__ import annotations

import time


class Clock:
    """Seconds since 1970, as `time.time()` has them, as long as that does not go back.

    Where the system's clock is set back, this one goes on from where it was: what is measured between two of its
    times is never negative, and records stay in their order. Set forward, or after a sleep, it follows.
    """

    def __init__(self) -> None:
        self._ahead = 0.0
        self._told, self._at = time.time(), time.monotonic()

    def __call__(self) -> float:
        now, at = time.time() + self._ahead, time.monotonic()
        if now < self._told:
            due = self._told + (at - self._at)
            self._ahead += due - now
            now = due
        self._told, self._at = now, at
        return now
