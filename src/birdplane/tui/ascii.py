"""Terminals that know no UTF-8: what is drawn is translated to ASCII on its way out."""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from unicodedata import normalize

from rich.cells import cell_len
from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

_DRAWN = {
    **dict.fromkeys("─━╌┄╍┅┉╴╶╸╺▔▁", "-"),
    **dict.fromkeys("│┃╎┆┊╏┇┋▏▎▍▕▌▐", "|"),
    **dict.fromkeys("┌┐└┘├┤┬┴┼╭╮╰╯╋┏┓┗┛┣┫┳┻╷╵", "+"),
    **dict.fromkeys("█▓▒▉▊▋▀▄▆▇▅▃▂", "#"),
    **dict.fromkeys("░·┈", "."),
    **dict.fromkeys("●•▪■◆", "*"),
    **dict.fromkeys("○□◇", "o"),
    "✓": "+",
    "✗": "x",
    "×": "x",
    "…": ".",
    "→": ">",
    "←": "<",
    "↑": "^",
    "↓": "v",
    "▲": "^",
    "▼": "v",
    "▶": ">",
    "◀": "<",
    "⏎": "E",
    "“": '"',
    "”": '"',
    "‘": "'",
    "’": "'",
    "–": "-",
    "—": "-",
    "\u00a0": " ",
}
_TABLE = str.maketrans(_DRAWN)


def ascii_only() -> bool:
    """Tell whether the locale rules out UTF-8. A locale that is not set says nothing, and Windows has Unicode."""
    if sys.platform == "win32":
        return False
    named = next((value for key in ("LC_ALL", "LC_CTYPE", "LANG") if (value := os.environ.get(key))), "")
    return bool(named) and "utf8" not in named.lower().replace("-", "")


class AsciiFilter(LineFilter):
    """Replaces each character beyond ASCII by one, or two, that take as much room."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [
            segment
            if segment.text.isascii()
            else Segment(translated(segment.text), segment.style, segment.control)
            for segment in segments
        ]


@lru_cache(4096)
def translated(text: str) -> str:
    """Return the text in ASCII, as wide as before: `é` as `e`, what has no likeness as `?`."""
    return "".join(map(_likeness, text.translate(_TABLE)))


def _likeness(character: str) -> str:
    if character.isascii():
        return character
    width = cell_len(character)
    base = normalize("NFKD", character)[:1]
    return base if width == 1 and base.isascii() else "?" * width
