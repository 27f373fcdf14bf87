"""TensorBoard's event files: framed records, one write each, and taking out what a resumed run tells again.

A record is its length (8 bytes), a checksum of that (4), the bytes of an `Event`, and a checksum of these (4).
"""

from __future__ import annotations

import os
import re
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.record_writer import masked_crc32c

from birdplane import durable

_PREFIX = "events.out.tfevents."
_END_INFO = "_hparams_/session_end_info"
_HEADER, _FOOTER = 12, 4


def event_files(folder: Path) -> list[Path]:
    """Return the event files of a folder in the order in which TensorBoard reads them."""
    return sorted(folder.glob(f"{_PREFIX}*"))


class EventFile:
    """A new event file in `folder`, for what happens from `step` on.

    What earlier files say of later steps is taken out of them first. Every record is one write to the system,
    without a buffer: a kill loses none. `continues` tells whether there were earlier files.

    Raises:
        OSError: the folder cannot be written.
    """

    def __init__(self, folder: Path, step: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        earlier = event_files(folder)
        for path in earlier:
            rewind(path, step)
        self.continues = bool(earlier)
        self._descriptor: int | None = durable.open_to_append(folder / _name(earlier))
        self.write(file_version="brain.Event:2")
        if self.continues:
            # A TensorBoard that has read the earlier files already forgets these steps by this record.
            self.write(step=step + 1, session_log=SessionLog(status=SessionLog.START))

    def write(self, *, wall_time: float | None = None, **fields: Any) -> None:
        """Append one `Event` with these fields. Raises `OSError` where it could not be written."""
        if self._descriptor is None:
            return
        event = Event(wall_time=time.time() if wall_time is None else wall_time, **fields)
        durable.write_all(self._descriptor, _framed(event.SerializeToString()))

    def sync(self) -> None:
        """Wait until all is on the disk."""
        if self._descriptor is not None:
            durable.sync_file(self._descriptor)

    def close(self) -> None:
        """Close the file; what is written after that is ignored."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _name(earlier: list[Path]) -> str:
    """Return a name that sorts after the earlier ones: TensorBoard reads in that order, clocks may go back."""
    seconds = int(time.time())
    for path in earlier:
        if found := re.match(r"(\d+)\.", path.name.removeprefix(_PREFIX)):
            seconds = max(seconds, int(found[1]) + 1)
    return f"{_PREFIX}{seconds:010d}.{socket.gethostname()}.{os.getpid()}"


def _framed(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    checks = (struct.pack("<I", masked_crc32c(part)) for part in (length, data))
    return length + next(checks) + data + next(checks)


def rewind(path: Path, step: int) -> None:
    """Cut a file before its first record of a step after `step`, or of the session's end, or that is torn.

    Within a file the steps only grow, so that what stands is a beginning of it.
    """
    with path.open("r+b") as file:
        end = 0
        for after, event in _records(file):
            ends = any(value.tag == _END_INFO for value in event.summary.value)
            if event.step > step or ends:
                break
            end = after
        if end < file.seek(0, os.SEEK_END):
            file.truncate(end)


def _records(file: BinaryIO) -> Iterator[tuple[int, Any]]:
    """Yield (where the record ends, its `Event`) of every whole record, as far as the file can be read."""
    at = 0
    while len(header := file.read(_HEADER)) == _HEADER:
        length = int.from_bytes(header[:8], "little")
        if header[8:] != struct.pack("<I", masked_crc32c(header[:8])):
            return
        rest = file.read(length + _FOOTER)
        if len(rest) < length + _FOOTER:
            return
        at += _HEADER + length + _FOOTER
        yield at, Event.FromString(rest[:length])
