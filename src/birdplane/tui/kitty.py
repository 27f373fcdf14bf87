"""Pictures by kitty's graphics protocol.

A picture is sent once; what is drawn are placeholder characters whose colour says which picture, so that it moves and
goes away with its text.
"""

from __future__ import annotations

import base64
import random
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich.segment import Segment
from rich.style import Style

if TYPE_CHECKING:
    from birdplane.tui.blocks import Picture

_CHUNK = 4096
_KEPT = 512


class _NoTerminal:
    """A stream that says it is no terminal, and is otherwise the one that it stands for."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def isatty(self) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def load_marks() -> tuple[str, Sequence[int]] | None:
    """Return the placeholder character and the marks for row and column, or None where they cannot be had.

    The package asks the terminal itself as soon as it is imported, and would take our input: not where it sees none.
    """
    stdout = sys.__stdout__
    sys.__stdout__ = _NoTerminal(stdout)  # type: ignore[assignment, misc]
    try:
        from textual_image.renderable import tgp

        return chr(tgp._PLACEHOLDER), tgp._NUMBER_TO_DIACRITIC
    except Exception:  # whatever another version of it does: half blocks are there
        return None
    finally:
        sys.__stdout__ = stdout  # type: ignore[misc]


class Kitty:
    """Draws pictures by sending them with `write` and returning placeholders for them."""

    def __init__(self, write: Callable[[str], None], placeholder: str, marks: Sequence[int]) -> None:
        self._write = write
        self._placeholder = placeholder
        self._marks = marks
        self._next = random.randrange(1 << 16, 1 << 23)
        self._sent: OrderedDict[tuple[Picture, int, int], int] = OrderedDict()

    def rows(self, picture: Picture, columns: int, rows: int) -> list[list[Segment]] | None:
        """Return a picture as rows of segments of a cell each; None where it is too large or empty."""
        if not picture.rgb or max(columns, rows) > len(self._marks):
            return None
        number = self._number(picture, columns, rows)
        style = Style(color=f"rgb({number >> 16},{number >> 8 & 255},{number & 255})")
        return [
            [
                Segment(f"{self._placeholder}{chr(self._marks[row])}{chr(self._marks[column])}", style)
                for column in range(columns)
            ]
            for row in range(rows)
        ]

    def _number(self, picture: Picture, columns: int, rows: int) -> int:
        key = (picture, columns, rows)
        if key in self._sent:
            self._sent.move_to_end(key)
            return self._sent[key]
        self._next += 1
        number = self._sent[key] = self._next
        for part in sent(picture, number, columns, rows):
            self._write(part)
        if len(self._sent) > _KEPT:
            _, oldest = self._sent.popitem(last=False)
            self._write(_forgotten(oldest))
        return number

    def forget(self) -> None:
        """Let the terminal forget all pictures."""
        self._write("".join(_forgotten(number) for number in self._sent.values()))
        self._sent.clear()


def sent(picture: Picture, number: int, columns: int, rows: int) -> Iterator[str]:
    """Yield the escape sequences that hand a picture to the terminal, to be shown in so many cells."""
    data = base64.b64encode(picture.rgb).decode()
    head = f"a=T,U=1,q=2,f=24,i={number},s={picture.width},v={picture.height},c={columns},r={rows},"
    for begin in range(0, len(data), _CHUNK):
        more = int(begin + _CHUNK < len(data))
        yield f"\x1b_G{head if begin == 0 else 'q=2,'}m={more};{data[begin : begin + _CHUNK]}\x1b\\"


def _forgotten(number: int) -> str:
    return f"\x1b_Ga=d,d=I,q=2,i={number}\x1b\\"
