"""`control.jsonl`: what is asked of a run. Anybody appends, the process that trains it reads."""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Literal, get_args

from birdplane import durable
from birdplane.eventlog import ends_with_newline, read_lines

Action = Literal["pause", "resume", "stop"]


def ask(path: Path, action: Action) -> None:
    """Append a request to the file. See `Run.request`."""
    if action not in get_args(Action):
        raise ValueError(f"{action!r} is no request: {', '.join(get_args(Action))}")
    line = json.dumps({"request": action, "time": time.time()}).encode() + b"\n"
    try:
        descriptor = durable.open_to_append(path)
        try:
            torn = not ends_with_newline(path)
            durable.write_all(descriptor, b"\n" * torn + line)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise durable.trouble(error, "write", path) from error


class Requests:
    """Reads what is asked of a run. See `Run.requests`."""

    def __init__(self, path: Path, begin: int | None) -> None:
        self._path = path
        self._inode = _inode(path)
        self._offset = size(path) if begin is None else begin

    def poll(self) -> list[Action]:
        """Return what was asked since the last call, in order; what is no request is left out.

        With nothing new it costs one look at the file's size. Trouble in reading counts as nothing new.
        """
        try:
            stat = self._path.stat()
            if stat.st_size == self._offset and stat.st_ino == self._inode:
                return []
            if stat.st_size < self._offset or self._inode not in (None, stat.st_ino):
                self._offset = 0
            self._inode = stat.st_ino
            with self._path.open("rb", buffering=0) as file:
                data, _ = read_lines(file, self._offset, stat.st_size, None)
        except OSError:
            return []
        self._offset += len(data)
        return [action for line in data.splitlines() if (action := _action(line)) is not None]


def _action(line: bytes) -> Action | None:
    with contextlib.suppress(ValueError, RecursionError):
        record = json.loads(line)
        action = record.get("request") if isinstance(record, dict) else None
        if isinstance(action, str) and action in get_args(Action):
            return action  # type: ignore[return-value]
    return None


def size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None
