"""What a list of runs shows of a file of events, without reading all of it."""

from __future__ import annotations

import contextlib
import heapq
import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from birdplane.eventlog.lines import BLOCK, lines_backwards
from birdplane.eventlog.standing import void
from birdplane.events import Epoch, Event, Progress, Start, from_json

#: The beginnings of lines that are searched for.
_START, _EPOCH, _PROGRESS = (b'{"event": "%s"' % kind.event.encode() for kind in (Start, Epoch, Progress))


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The last of each that a file of events tells; None where it does not. Void events do not count.

    `first` is the run's very first start, `last` the last event of all.
    """

    first: Start | None = None
    start: Start | None = None
    epoch: Epoch | None = None
    progress: Progress | None = None
    last: Event | None = None
    best_accuracy: float | None = None


def summarise(path: Path) -> Summary:
    """Return the summary of a file, read from its end; an empty one if there is no such file.

    What lies far from the end (the last start of a long session; the best accuracy, where the last epoch does
    not tell it) is searched for without reading line by line.

    Raises:
        OSError: the file is there but cannot be read.
    """
    try:
        with path.open("rb") as file:
            return _Backwards(file).summary()
    except FileNotFoundError:
        return Summary()


def last_event(path: Path) -> Event | None:
    """Return the last event of a file, at the cost of reading a line or two; None where there is none.

    Raises:
        OSError: the file is there but cannot be read.
    """
    try:
        with path.open("rb") as file:
            lines = lines_backwards(file, file.seek(0, os.SEEK_END))
            return next((event for _, line in lines if (event := _event(line)) is not None), None)
    except FileNotFoundError:
        return None


def _event(line: bytes) -> Event | None:
    """Return the event of a line; None for what is none, or none that this version knows."""
    try:
        return from_json(line.decode())
    except ValueError:
        return None


class _Backwards:
    #: How many bytes from the end are read line by line.
    _NEAR = 2 * BLOCK

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = file.seek(0, os.SEEK_END)
        self._bound = float("inf")
        self._last: Event | None = None
        self._start: Start | None = None
        self._epoch: Epoch | None = None
        self._progress: Progress | None = None
        self._best: float | None = None
        self._best_known = False
        #: How lines begin of which there is no need to know more.
        self._known: tuple[bytes, ...] = ()

    def summary(self) -> Summary:
        position = self._size
        for position, line in lines_backwards(self._file, self._size):
            self._take(line)
            if (self._epochs_known() and self._progress) or self._size - position > self._NEAR:
                break
        if not (self._epochs_known() and self._start) and position > 0:
            self._search(position)
        return Summary(
            first=self._first(),
            start=self._start,
            epoch=self._epoch,
            progress=self._progress,
            last=self._last,
            best_accuracy=self._best,
        )

    def _epochs_known(self) -> bool:
        return self._epoch is not None and self._best_known

    def _search(self, end: int) -> None:
        """Go through the starts and epochs before `end`, backwards, as far as need be."""
        kinds = [kind for kind in (_START, _EPOCH) if kind not in self._known]
        with mmap.mmap(self._file.fileno(), end, access=mmap.ACCESS_READ) as content:
            found = (_found_backwards(content, kind, end) for kind in kinds)
            for _, line in heapq.merge(*found, reverse=True):
                self._take(line)
                if self._start and self._epochs_known():
                    return

    def _take(self, line: bytes) -> None:
        if line.startswith(self._known):
            return
        event = _event(line)
        if event is None or void(event, self._bound):
            return
        self._last = self._last or event
        if isinstance(event, Start):
            self._start = self._start or event
            self._bound = min(self._bound, event.step)
        elif isinstance(event, Progress):
            if self._progress is None:
                self._progress = event
                self._known += (_PROGRESS,)
        elif isinstance(event, Epoch):
            self._take_epoch(event)

    def _take_epoch(self, epoch: Epoch) -> None:
        if self._epoch is None:
            self._epoch = epoch
            self._best = epoch.best_accuracy
            self._best_known = self._best is not None
            if self._best_known:
                self._known += (_EPOCH,)
        accuracy = epoch.validation_accuracy
        if not self._best_known and accuracy is not None and (self._best is None or accuracy > self._best):
            self._best = accuracy

    def _first(self) -> Start | None:
        self._file.seek(0)
        for line in self._file.read(BLOCK).split(b"\n"):
            with contextlib.suppress(ValueError):
                event = from_json(line.decode()) if line.startswith(_START) else None
                if isinstance(event, Start):
                    return event
        return None


def _found_backwards(content: mmap.mmap, begins: bytes, end: int) -> Iterator[tuple[int, bytes]]:
    while (end := content.rfind(begins, 0, end)) >= 0:
        content.seek(end)
        yield end, content.readline()
