"""One writer: a line is appended in one write; what a later start makes void is taken out in one step."""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from birdplane import durable
from birdplane.eventlog.lines import BLOCK, ends_with_newline
from birdplane.eventlog.standing import VOIDABLE_NAMES
from birdplane.events import Checkpoint, End, Event, Start, from_json, to_json

#: What is worth waiting for the disk: it is rare, and what a resumed run stands on.
_WEIGHTY = (Start, Checkpoint, End)
#: A line as `to_json` writes it, which spares most lines the parsing.
_HEAD = re.compile(rb'\{"event": "([a-z_-]+)", "time": [0-9.e+-]+, "epoch": [0-9]+, "step": ([0-9]+)[,}]')


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


def _cut_torn_line(path: Path) -> None:
    """Cut the file after its last whole line. Readers have not gone beyond it."""
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            begin = max(0, end - BLOCK)
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
    return kind != b"" and line.endswith(b"\n") and not (kind in VOIDABLE_NAMES and step > bound)


def _kind_and_step(line: bytes) -> tuple[bytes, int]:
    """Return a line's kind and step: no kind for a broken line, `?` for a kind that is not known here."""
    if (head := _HEAD.match(line)) and line.endswith(b"}\n"):
        return head[1], int(head[2])
    try:
        event = from_json(line.decode())
    except ValueError:
        return b"", 0
    return (event.event.encode(), event.step) if event else (b"?", 0)
