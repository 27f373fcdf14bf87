"""Printing: text that is not ours, JSON, tables, and the progress of long preparations."""

from __future__ import annotations

import json
import math
import sys
import time
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from birdplane import reporting


def plain(text: str) -> str:
    """Return text from a file, a plugin or a picture's name as one line without control or escape codes."""
    return "".join(
        character if unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp") else " "
        for character in text
    )


def print_json(value: Any) -> None:
    """Print a value as JSON; what is not finite becomes null."""
    print(json.dumps(_finite(value), indent=2, ensure_ascii=False, default=str))


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value


def print_table(rows: Sequence[Sequence[str]], header: Sequence[str]) -> None:
    """Print columns, each as wide as its widest cell, the last one unbounded; plain text, safe to pipe."""
    table = [[plain(cell) for cell in row] for row in [header, *rows]]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    for row in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@contextmanager
def showing_preparation() -> Iterator[None]:
    """Show downloads and decoding that take longer than a moment: one line, rewritten on a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    bar = _Bar()
    with reporting.listening(bar):
        try:
            yield
        finally:
            bar.clear()


class _Bar:
    """Draws the current task on stderr, at most ten times a second, once it has lasted half a second."""

    def __init__(self) -> None:
        self._title = ""
        self._began = 0.0
        self._drawn = 0.0
        self._visible = False

    def __call__(self, title: str, done: int, total: int | None, unit: str) -> None:
        now = time.monotonic()
        if title != self._title or done == 0:
            self.clear()
            self._title, self._began = title, now
        if total is not None and done >= total:
            self.clear()
        elif now - self._began > 0.5 and now - self._drawn > 0.1:
            self._drawn, self._visible = now, True
            sys.stderr.write(f"\r\x1b[K{plain(title)}  {_amount(done, total, unit, now - self._began)}")
            sys.stderr.flush()

    def clear(self) -> None:
        if self._visible:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._visible = False


def _amount(done: int, total: int | None, unit: str, seconds: float) -> str:
    rate = done / max(seconds, 1e-9)
    left = f", {duration((total - done) / rate)} left" if total and rate > 0 else ""
    if unit == "B":
        of = f" of {total / 1e6:.1f}" if total else ""
        return f"{done / 1e6:.1f}{of} MB  {rate / 1e6:.1f} MB/s{left}"
    of = f" of {total}" if total else ""
    return f"{done}{of} {unit}{left}"


def duration(seconds: float) -> str:
    """Return seconds as a person says them: `0.4 s`, `12 s`, `3:05 min`, `1:02:10 h`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d} min"
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d} h"
