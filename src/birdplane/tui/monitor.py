"""What is known of a run that is being watched, read from its folder bit by bit. Knows no terminal."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path

from birdplane.events import Alert, Checkpoint, Epoch, Event, Heartbeat, Progress, Start
from birdplane.runs import Run
from birdplane.tui.curves import Series

#: How much of a long file is read at a time: some ten milliseconds' worth.
SLICE = 1 << 17
#: The time left is judged by the last so many seconds of training.
_RECENT_SECONDS = 30.0


class Monitor:
    """The curves and the last facts of a run; `poll` brings them up to date."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._history = run.history()
        self._revision = self._history.revision
        self.train_loss = Series("train")
        self.train_accuracy = Series("train")
        self.validation_loss = Series("validation", inertia=0)
        self.validation_accuracy = Series("validation", inertia=0)
        self._forget()

    def _forget(self) -> None:
        self.start: Start | None = None
        self.progress: Progress | None = None
        self.epoch: Epoch | None = None
        self.saved: Checkpoint | None = None
        self.alerts: list[Alert] = []
        self.step = 0
        #: Bytes, as last told: of the process, and what it keeps of its GPU.
        self.memory: int | None = None
        self.gpu_memory: int | None = None
        self._recent: deque[tuple[float, int]] = deque()
        self._told_this_epoch = False
        for series in self.series:
            series.clear()

    @property
    def series(self) -> tuple[Series, Series, Series, Series]:
        return self.train_loss, self.validation_loss, self.train_accuracy, self.validation_accuracy

    @property
    def behind(self) -> float:
        """The share of the file that is still to be read."""
        size = _size(self.run.path / "events.jsonl")
        return min(1.0, self._history.behind / size) if size else 0.0

    @property
    def best_accuracy(self) -> float | None:
        return self.epoch.best_accuracy if self.epoch else None

    @property
    def total_steps(self) -> int | None:
        return self.start.epochs * self.start.steps_per_epoch if self.start else None

    def poll(self, limit: int = SLICE) -> bool:
        """Read on, about `limit` bytes; return whether there was anything new.

        Raises:
            OSError: the file is there but cannot be read.
        """
        new = self._history.poll(limit)
        if self._history.revision != self._revision:
            self._revision = self._history.revision
            self._forget()
            for event in self._history.events:
                self._take(event)
            return True
        for event in new:
            self._take(event)
        return bool(new)

    def seconds_left(self) -> float | None:
        """Return how long the rest will take at the pace of late, or None where that cannot be told."""
        if len(self._recent) < 2 or self.total_steps is None:
            return None
        (began, first), (now, last) = self._recent[0], self._recent[-1]
        if now <= began or last <= first:
            return None
        return max(0, self.total_steps - last) * (now - began) / (last - first)

    def _take(self, event: Event) -> None:
        self.step = max(self.step, event.step)
        if isinstance(event, Progress | Heartbeat):
            self.memory, self.gpu_memory = event.memory, event.gpu_reserved
        if isinstance(event, Progress):
            self._take_progress(event)
        elif isinstance(event, Epoch):
            self._take_epoch(event)
        elif isinstance(event, Start):
            self.start, self.step = event, event.step
            self._recent.clear()
        elif isinstance(event, Alert):
            self.alerts.append(event)
        elif isinstance(event, Checkpoint):
            self.saved = event
        elif isinstance(event, Heartbeat) and event.state == "paused":
            self._recent.clear()

    def _take_progress(self, event: Progress) -> None:
        x = self._place(event)
        self.train_loss.append(x, event.mean)
        self.train_accuracy.append(x, 100 * event.accuracy)
        self.progress, self._told_this_epoch = event, True
        self._note_pace(event)

    def _take_epoch(self, event: Epoch) -> None:
        x = self._place(event)
        # An epoch so short that no progress was told in it is a point of its own.
        if not self._told_this_epoch:
            self.train_loss.append(x, event.train_loss)
            self.train_accuracy.append(x, 100 * event.train_accuracy)
        self.validation_loss.append(x, event.validation_loss)
        accuracy = event.validation_accuracy
        self.validation_accuracy.append(x, None if accuracy is None else 100 * accuracy)
        self.epoch, self._told_this_epoch = event, False
        self._note_pace(event)

    def _place(self, event: Event) -> float:
        """Return how many epochs are over at an event; never less than before, whatever the file says."""
        steps = self.start.steps_per_epoch if self.start else 1
        return max(event.step / max(1, steps), *(series.end for series in self.series))

    def _note_pace(self, event: Event) -> None:
        self._recent.append((event.time, event.step))
        while event.time - self._recent[0][0] > _RECENT_SECONDS and len(self._recent) > 2:
            self._recent.popleft()


def memory_of(pid: int) -> int | None:
    """Return how many bytes of memory a process has, or None where it is gone or not ours to look at."""
    import psutil

    try:
        return int(psutil.Process(pid).memory_info().rss)
    except (psutil.Error, OSError):
        return None


def is_alive(pid: int) -> bool:
    """Tell whether there is a process of that number."""
    import psutil

    return bool(psutil.pid_exists(pid))


def _size(path: Path) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116 - as cheap as can be
    except OSError:
        return 0
