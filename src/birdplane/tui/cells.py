"""Text that is not ours in a given number of cells: class names of any length and script, file names, messages."""

from __future__ import annotations

from rich.cells import cell_len, set_cell_size

from birdplane.text import plain

#: The style of what is less important: `$text-muted` has no colour of its own inside a line, only as a widget's.
MUTED = "$foreground 60%"


def cut(text: str, width: int, mark: str = "…") -> str:
    """Return the text without control and escape codes, in at most `width` cells; `mark` says that it was cut."""
    clean = plain(text)
    if cell_len(clean) <= width:
        return clean
    room = width - cell_len(mark)
    if room <= 0:
        return mark[: max(0, width)]
    # `set_cell_size` may pad where a wide character does not fit any more.
    return set_cell_size(clean, room).rstrip() + mark


def left(text: str, width: int) -> str:
    """Return the text in exactly `width` cells, padded on its right."""
    return set_cell_size(cut(text, width), width)


def right(text: str, width: int) -> str:
    """Return the text in exactly `width` cells, padded on its left: for numbers."""
    shown = cut(text, width)
    return " " * (width - cell_len(shown)) + shown


def bar(share: float, width: int, ascii_only: bool = False) -> tuple[str, str]:
    """Return a line of `width` cells for a share from 0 to 1, as its strong and its weak part."""
    share = min(1.0, max(0.0, share)) if share == share else 0.0
    strong = round(share * width)
    filled, rail = ("=", "-") if ascii_only else ("━", "─")
    return filled * strong, rail * (width - strong)
