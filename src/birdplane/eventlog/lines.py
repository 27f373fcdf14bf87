"""Whole lines of a file that somebody else may be appending to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

BLOCK = 1 << 20


def ends_with_newline(path: Path) -> bool:
    """Tell whether the file is empty or its last line whole."""
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


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


def lines_backwards(file: BinaryIO, size: int) -> Iterator[tuple[int, bytes]]:
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
        end, rest, block = begin, head, min(2 * block, BLOCK)
        if torn:
            rest = b""
    if not torn:
        yield 0, rest
