"""Printing: text that is not ours, JSON, tables, and the progress of long preparations."""

from __future__ import annotations

import math
import os
import shutil
import sys
import textwrap
import time
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from birdplane import reporting
from birdplane.text import duration, plain


def print_json(value: Any) -> None:
    """Print a value as JSON, all in ASCII, which passes through any terminal; what is not finite becomes null."""
    import json

    print(json.dumps(_finite(value), indent=2, default=str))


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value


def print_table(rows: Sequence[Sequence[str]], header: Sequence[str]) -> None:
    """Print columns, each as wide as its widest cell, the last one unbounded; plain text, safe to pipe.

    On a terminal the header is bold, and the last column is wrapped below itself.
    """
    table = [[plain(cell) for cell in row] for row in [header, *rows]]
    widths = [max(columns(row[column]) for row in table) for column in range(len(header) - 1)]
    indent = sum(widths) + 2 * len(widths)
    for number, row in enumerate(table):
        line = "".join(
            cell + " " * (width + 2 - columns(cell)) for cell, width in zip(row, widths, strict=False)
        )
        lines = [(line + row[-1]).rstrip()]
        if sys.stdout.isatty():
            lines = _wrapped(line, row[-1], indent, bold=number == 0)
        print("\n".join(lines))


def _wrapped(line: str, last: str, indent: int, *, bold: bool) -> list[str]:
    room = shutil.get_terminal_size().columns - indent
    parts = textwrap.wrap(last, room) if room >= 24 else [last]
    lines = [(line + (parts[0] if parts else "")).rstrip(), *(" " * indent + part for part in parts[1:])]
    return [f"\x1b[1m{text}\x1b[0m" for text in lines] if bold and "NO_COLOR" not in os.environ else lines


def columns(text: str) -> int:
    """Return how many columns of a terminal a text takes: Chinese and the like are two wide."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


def print_facts(facts: Sequence[tuple[str, str]]) -> None:
    """Print a name and a sentence a line, the sentences below one another."""
    width = max((columns(name) for name, _ in facts), default=0)
    for name, text in facts:
        print(f"{name}{' ' * (width - columns(name))}  {plain(text)}".rstrip())


def print_heading(text: str) -> None:
    """Print a line that stands above others: bold on a terminal."""
    bold = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    print(f"\x1b[1m{plain(text)}\x1b[0m" if bold else plain(text))


def say(*lines: str) -> None:
    """Print lines after the work is done, which is no failure where the terminal has gone in the meantime."""
    try:
        print(*lines, sep="\n", flush=True)
    except BrokenPipeError:
        raise
    except OSError:  # what Python would still flush has nowhere to go
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_error(message: str) -> None:
    """Print a person's mistake, or what failed, as one line on stderr."""
    with suppress(OSError):  # a log on a full disk, a terminal that was closed: the exit code tells too
        print(f"error: {plain(message)}", file=sys.stderr)


def print_warning(message: str) -> None:
    """Print what a person should know, as one line on stderr."""
    with suppress(OSError):
        print(f"warning: {plain(message)}", file=sys.stderr)


def bar(share: float, width: int = 24) -> str:
    """Return a bar for a share from 0 to 1, of block characters where the output can have them."""
    eighths = round(max(0.0, min(1.0, share)) * width * 8)
    blocks = "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()
    return (blocks if shows("█▏") else "#" * round(eighths / 8)).ljust(width)


def shows(characters: str) -> bool:
    """Tell whether the encoding of stdout has these characters."""
    try:
        characters.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def percent(share: float) -> str:
    """Return a share from 0 to 1 as `53.00 %`."""
    return f"{100 * share:.2f} %"


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
            self._write(f"\r\x1b[K{plain(title)}  {_amount(done, total, unit, now - self._began)}")

    def clear(self) -> None:
        if self._visible:
            self._write("\r\x1b[K")
            self._visible = False

    def _write(self, text: str) -> None:
        with suppress(OSError):  # a terminal that was closed does not end what is being prepared
            sys.stderr.write(text)
            sys.stderr.flush()


def _amount(done: int, total: int | None, unit: str, seconds: float) -> str:
    rate = done / max(seconds, 1e-9)
    left = f", {duration((total - done) / rate)} left" if total and rate > 0 else ""
    if unit == "B":
        of = f" of {total / 1e6:.1f}" if total else ""
        return f"{done / 1e6:.1f}{of} MB  {rate / 1e6:.1f} MB/s{left}"
    of = f" of {total}" if total else ""
    return f"{done}{of} {unit}{left}"
