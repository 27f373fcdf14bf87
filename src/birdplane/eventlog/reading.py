"""Any number of readers, which follow the file as it grows."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import BinaryIO

from birdplane.eventlog.lines import read_lines
from birdplane.eventlog.standing import standing
from birdplane.events import Event, Start, from_json

#: The beginning of a line as `to_json` writes it, which spares most lines the parsing.
_KIND = re.compile(rb'\{"event": "([a-z_-]+)"')


class _Parser:
    """Lines to events of the wanted kinds, without parsing what is not wanted."""

    def __init__(self, kinds: Collection[type[Event]] | None) -> None:
        self.skipped = 0
        self.want(kinds)

    def want(self, kinds: Collection[type[Event]] | None) -> None:
        self._wanted = None if kinds is None else frozenset(kind.event.encode() for kind in kinds)

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

    def want(self, kinds: Collection[type[Event]] | None) -> None:
        """Give events of these kinds alone from now on; None: all."""
        self._parser.want(kinds)

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
