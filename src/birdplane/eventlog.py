"""`events.jsonl`: one writer appends a line for each event, any number of readers follow.

A later start from step S makes void what was told before it of steps after S: a run that was killed goes on
from its last checkpoint and tells of the steps since then again. The writer takes such lines out (`rewrite`)
before it appends the start; readers notice, and apply the same rule to files in which that was not done.
Imports nothing heavy.
"""

from __future__ import annotations

import contextlib
import heapq
import mmap
import os
import re
import threading
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from birdplane import durable
from birdplane.events import (
    Alert,
    Checkpoint,
    End,
    Epoch,
    Event,
    Progress,
    Start,
    from_json,
    to_json,
)

#: The kinds that a later start from an earlier step makes void.
_VOIDABLE = (Progress, Epoch, Checkpoint, Alert)
_VOIDABLE_NAMES = frozenset(kind.event.encode() for kind in _VOIDABLE)
#: What is worth waiting for the disk: it is rare, and what a resumed run stands on.
_WEIGHTY = (Start, Checkpoint, End)
#: The beginning of a line as `to_json` writes it, which spares most lines the parsing.
_KIND = re.compile(rb'\{"event": "([a-z_-]+)"')
_HEAD = re.compile(rb'\{"event": "([a-z_-]+)", "time": [0-9.e+-]+, "epoch": [0-9]+, "step": ([0-9]+)[,}]')
_START, _EPOCH, _PROGRESS = (b'{"event": "%s"' % kind.event.encode() for kind in (Start, Epoch, Progress))
_BLOCK = 1 << 20


# --- writing ----------------------------------------------------------------------------------------------


class EventWriter:
    """Appends lines through a descriptor that stays open. Safe to use from several threads of one process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None
        self._lock = threading.Lock()

    def append(self, event: Event) -> None:
        """Add the event: one write, in constant time, and for starts, checkpoints and ends a flush.

        Raises:
            OSError: it could not be written; no half line stays.
        """
        # A lone surrogate, from a file name that is no UTF-8, becomes its own JSON escape.
        line = to_json(event).encode("utf-8", "backslashreplace") + b"\n"
        with self._lock:
            if self._descriptor is None:
                self._descriptor = self._open()
            _write_line(self._descriptor, line)
            if isinstance(event, _WEIGHTY):
                durable.sync_file(self._descriptor)

    def sync(self) -> None:
        """Wait until all that was appended is on the disk.

        Raises:
            OSError: it could not be written.
        """
        with self._lock:
            if self._descriptor is not None:
                durable.sync_file(self._descriptor)

    def close(self) -> None:
        """Close the file; the next `append` opens it again."""
        with self._lock:
            descriptor, self._descriptor = self._descriptor, None
            if descriptor is not None:
                os.close(descriptor)

    def _open(self) -> int:
        existed = self.path.exists()
        if existed and not ends_with_newline(self.path):
            _cut_torn_line(self.path)
        descriptor = durable.open_to_append(self.path)
        if not existed:
            durable.sync_folder(self.path.parent)
        return descriptor


def _write_line(descriptor: int, line: bytes) -> None:
    before = os.fstat(descriptor).st_size
    try:
        durable.write_all(descriptor, line)
    except OSError:
        # A disk that fills up takes a part.
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, before)
        raise


def ends_with_newline(path: Path) -> bool:
    """Tell whether the file is empty or its last line whole."""
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _cut_torn_line(path: Path) -> None:
    """Cut the file after its last whole line. Readers have not gone beyond it."""
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            begin = max(0, end - _BLOCK)
            file.seek(begin)
            newline = file.read(end - begin).rfind(b"\n")
            if newline >= 0:
                end = begin + newline + 1
                break
            end = begin
        file.truncate(end)


def rewrite(path: Path, step: int) -> None:
    """Take out what a start from `step`, and the starts in the file, make void, and torn or broken lines.

    In one step: a kill leaves the old file or the new one. A file with nothing to take out is not touched.

    Raises:
        OSError: it could not be written; the file is as it was.
    """
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    with path.open("rb") as old:
        bounds = _bounds(old, step)
        if all(_stands(line, bound) for line, bound in _with(bounds, old)):
            return
        try:
            with beside.open("xb") as new:
                new.writelines(line for line, bound in _with(bounds, old) if _stands(line, bound))
                new.flush()
                durable.sync_file(new.fileno())
        except BaseException:
            with contextlib.suppress(OSError):
                beside.unlink()
            raise
    durable.replace(beside, path)
    durable.sync_folder(path.parent)


def _bounds(file: BinaryIO, step: int) -> list[tuple[int, int]]:
    """Return (number of lines, last step that stands in them): the least of the starts that come after."""
    starts: list[tuple[int, int]] = []
    lines = 0
    for line in file:
        lines += 1
        kind, at = _kind_and_step(line)
        if kind == Start.event.encode():
            starts.append((lines, at))
    spans, end = [], lines
    for number, at in reversed(starts):
        spans.append((end - number + 1, step))
        step, end = min(step, at), number - 1
    return [(end, step), *reversed(spans)]


def _with(bounds: list[tuple[int, int]], file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    file.seek(0)
    for count, bound in bounds:
        for _ in range(count):
            yield file.readline(), bound


def _stands(line: bytes, bound: int) -> bool:
    kind, step = _kind_and_step(line)
    return kind != b"" and line.endswith(b"\n") and not (kind in _VOIDABLE_NAMES and step > bound)


def _kind_and_step(line: bytes) -> tuple[bytes, int]:
    """Return a line's kind and step: no kind for a broken line, `?` for a kind that is not known here."""
    if (head := _HEAD.match(line)) and line.endswith(b"}\n"):
        return head[1], int(head[2])
    try:
        event = from_json(line.decode())
    except ValueError:
        return b"", 0
    return (event.event.encode(), event.step) if event else (b"?", 0)


# --- reading ----------------------------------------------------------------------------------------------


class _Parser:
    """Lines to events of the wanted kinds, without parsing what is not wanted."""

    def __init__(self, kinds: Collection[type[Event]] | None) -> None:
        self._wanted = None if kinds is None else frozenset(kind.event.encode() for kind in kinds)
        self.skipped = 0

    def parse(self, line: bytes) -> Event | None:
        if self._wanted is not None and (head := _KIND.match(line)) and head[1] not in self._wanted:
            return None
        if not line.strip():
            return None
        try:
            event = from_json(line.decode())
        except ValueError:
            self.skipped += 1
            return None
        if event is None or self._wanted is None or event.event.encode() in self._wanted:
            return event
        return None


class EventReader:
    """An iterator over the events of a file as it is when the iterating begins. See `Run.events`."""

    def __init__(self, path: Path, kinds: Collection[type[Event]] | None = None) -> None:
        self._path = path
        self._parser = _Parser(kinds)

    @property
    def skipped(self) -> int:
        """How many lines so far were no events."""
        return self._parser.skipped

    def __iter__(self) -> Iterator[Event]:
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            return
        with file:
            for line in file:
                if line.endswith(b"\n") and (event := self._parser.parse(line)) is not None:
                    yield event


class Tail:
    """Reads what is new in a file of events.

    `restarts` counts how often the file was found rewritten: then `poll` begins again with the first event,
    and what it gave before is to be forgotten (`History` does so).
    """

    def __init__(self, path: Path, kinds: Collection[type[Event]] | None = None) -> None:
        self._path = path
        self._parser = _Parser(kinds)
        self._inode: int | None = None
        self._offset = 0
        self._size = 0
        self._settled = True
        self._last_line = b""
        self.restarts = 0

    @property
    def skipped(self) -> int:
        """How many lines so far were no events."""
        return self._parser.skipped

    @property
    def behind(self) -> int:
        """How many bytes the last `poll` left for the next, because of its limit."""
        return 0 if self._settled else self._size - self._offset

    def poll(self, limit: int | None = None) -> list[Event]:
        """Return the events that are new since the last call: whole lines only.

        With nothing new it costs one look at the file's size. `limit` is about how many bytes to read in one
        call, so that a screen stays awake over a long file: call again while `behind` is not 0.

        Raises:
            OSError: the file is there but cannot be read.
        """
        try:
            stat = self._path.stat()
            if self._settled and (stat.st_ino, stat.st_size) == (self._inode, self._size):
                return []
            with self._path.open("rb", buffering=0) as file:
                lines = self._read(file, limit)
        except FileNotFoundError:
            if self._inode is not None:
                self._restart(None)
            return []
        return [event for line in lines if (event := self._parser.parse(line)) is not None]

    def _read(self, file: BinaryIO, limit: int | None) -> list[bytes]:
        stat = os.fstat(file.fileno())
        if self._inode is None:
            self._inode = stat.st_ino
        elif stat.st_ino != self._inode or stat.st_size < self._offset or not self._continues(file):
            self._restart(stat.st_ino)
        data, exhausted = read_lines(file, self._offset, stat.st_size, limit)
        self._offset += len(data)
        self._size, self._settled = stat.st_size, exhausted
        if data:
            self._last_line = data[data.rfind(b"\n", 0, -1) + 1 :]
        return data.splitlines()

    def _continues(self, file: BinaryIO) -> bool:
        # A file that replaced another may have been given the number of one before it.
        file.seek(self._offset - len(self._last_line))
        return file.read(len(self._last_line)) == self._last_line

    def _restart(self, inode: int | None) -> None:
        self._inode = inode
        self._offset = self._size = 0
        self._settled = True
        self._last_line = b""
        self.restarts += 1


def read_lines(file: BinaryIO, begin: int, end: int, limit: int | None) -> tuple[bytes, bool]:
    """Return the whole lines between two offsets, and whether those are all.

    With a limit they are about so many bytes, but one line at least if there is one.
    """
    file.seek(begin)
    data = b""
    while begin + len(data) < end:
        more = file.read(min(limit or end, end - begin - len(data)))
        data += more
        if not more or (limit is not None and b"\n" in more):
            break
    return data[: data.rfind(b"\n") + 1], begin + len(data) >= end


class History:
    """The events that count, in order, in `events`; it grows with the file.

    `revision` changes whenever earlier events were taken away or the file was read anew: time to redraw.
    """

    def __init__(self, tail: Tail) -> None:
        self._tail = tail
        self._restarts = tail.restarts
        self.events: list[Event] = []
        self.revision = 0

    @property
    def skipped(self) -> int:
        """How many lines so far were no events."""
        return self._tail.skipped

    @property
    def behind(self) -> int:
        """How many bytes the last `poll` left for the next, because of its limit."""
        return self._tail.behind

    def poll(self, limit: int | None = None) -> list[Event]:
        """Read on, bring `events` up to date, and return what was added to its end. See `Tail.poll`.

        Raises:
            OSError: the file is there but cannot be read.
        """
        new = self._tail.poll(limit)
        if self._tail.restarts != self._restarts:
            self._restarts = self._tail.restarts
            self.events.clear()
            self.revision += 1
        added: list[Event] = []
        for event in new:
            if isinstance(event, Start):
                self._void_after(event.step)
                added = standing(added, event.step)
            self.events.append(event)
            added.append(event)
        return added

    def _void_after(self, step: int) -> None:
        kept = standing(self.events, step)
        if len(kept) < len(self.events):
            self.events[:] = kept
            self.revision += 1


def standing(events: Iterable[Event], step: int) -> list[Event]:
    """Return the events that still count when training starts again from `step`."""
    return [event for event in events if not _void(event, step)]


def _void(event: Event, bound: float) -> bool:
    return isinstance(event, _VOIDABLE) and event.step > bound


# --- summaries --------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The last of each that a file of events tells; None where it does not. Void events do not count.

    `first` is the run's very first start, `last` the last event of all, `ended` the same if it is an end.
    """

    first: Start | None = None
    start: Start | None = None
    epoch: Epoch | None = None
    progress: Progress | None = None
    ended: End | None = None
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


class _Backwards:
    #: How many bytes from the end are read line by line.
    _NEAR = 2 * _BLOCK

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

    def summary(self) -> Summary:
        position = self._size
        for position, line in _lines_backwards(self._file, self._size):
            self._take(line)
            if self._complete() or self._size - position > self._NEAR:
                break
        if not self._complete() and position > 0:
            self._search(position)
        return Summary(
            first=self._first(),
            start=self._start,
            epoch=self._epoch,
            progress=self._progress,
            ended=self._last if isinstance(self._last, End) else None,
            last=self._last,
            best_accuracy=self._best,
        )

    def _complete(self) -> bool:
        return bool(self._start and self._epoch and self._best_known and self._progress)

    def _search(self, end: int) -> None:
        """Go through the starts and epochs before `end`, backwards, as far as need be."""
        with mmap.mmap(self._file.fileno(), end, access=mmap.ACCESS_READ) as content:
            both = (_found_backwards(content, kind, end) for kind in (_START, _EPOCH))
            for _, line in heapq.merge(*both, reverse=True):
                self._take(line)
                if self._start and self._epoch and self._best_known:
                    return

    def _take(self, line: bytes) -> None:
        if self._progress and line.startswith(_PROGRESS):
            return
        try:
            event = from_json(line.decode())
        except ValueError:
            return
        if event is None or _void(event, self._bound):
            return
        self._last = self._last or event
        if isinstance(event, Start):
            self._start = self._start or event
            self._bound = min(self._bound, event.step)
        elif isinstance(event, Progress):
            self._progress = self._progress or event
        elif isinstance(event, Epoch):
            self._take_epoch(event)

    def _take_epoch(self, epoch: Epoch) -> None:
        if self._epoch is None:
            self._epoch = epoch
            self._best = epoch.best_accuracy
            self._best_known = self._best is not None
        accuracy = epoch.validation_accuracy
        if not self._best_known and accuracy is not None and (self._best is None or accuracy > self._best):
            self._best = accuracy

    def _first(self) -> Start | None:
        self._file.seek(0)
        for line in self._file.read(_BLOCK).split(b"\n"):
            with contextlib.suppress(ValueError):
                event = from_json(line.decode()) if line.startswith(_START) else None
                if isinstance(event, Start):
                    return event
        return None


def _lines_backwards(file: BinaryIO, size: int) -> Iterator[tuple[int, bytes]]:
    """Yield a file's whole lines, last first, without their newlines, each with a position not before it."""
    end, block = size, 1 << 14
    rest = b""
    torn = True
    while end > 0:
        begin = max(0, end - block)
        file.seek(begin)
        head, *lines = (file.read(end - begin) + rest).split(b"\n")
        if torn and lines:
            # What follows the last newline is no whole line.
            lines.pop()
            torn = False
        for line in reversed(lines):
            yield end, line
        end, rest, block = begin, head, min(2 * block, _BLOCK)
        if torn:
            rest = b""
    if not torn:
        yield 0, rest


def _found_backwards(content: mmap.mmap, begins: bytes, end: int) -> Iterator[tuple[int, bytes]]:
    while (end := content.rfind(begins, 0, end)) >= 0:
        content.seek(end)
        yield end, content.readline()
