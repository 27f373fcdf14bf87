"""Pictures by sixels, drawn over the half blocks that stand for them.

A sixel picture is no text: it is sent whole, and the terminal forgets what text is written over. So the half blocks
are drawn as ever, and the sixels after them, in the same update; whatever covers a picture, or draws a part of a line
anew, leaves half blocks at worst.

To encode them takes some ten milliseconds each, so that is done in a thread, for what is in view alone, and kept.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from textual.strip import Strip

if TYPE_CHECKING:
    from rich.console import Console

    from birdplane.tui.blocks import Picture

#: A picture, and the columns and rows that it fills.
Place = tuple["Picture", int, int]

_KEPT = 1024
_MOST_COLOURS = 256
#: The end of the last band of six lines, and of the picture. The first would move the cursor, and may scroll.
_END_OF_BAND, _END = "-", "\x1b\\"
_HEAD = re.compile(r'\x1bP[\d;]*q"[\d;]*')
_COLOUR = re.compile(r"(#\d+);2;\d+;\d+;\d+")


class Sixels:
    """Makes pictures into sixels, and keeps them.

    Args:
        encoded: makes a PIL image with a palette into the escape sequence, see `load_encoder`.
        cell: width and height of a cell in pixels. May be set anew, for another font.
        colours: how many a picture may have.
    """

    def __init__(
        self, encoded: Callable[[Any], str], cell: tuple[int, int], colours: int | None = None
    ) -> None:
        self._encoded = encoded
        self.cell = cell
        self._colours = min(colours or _MOST_COLOURS, _MOST_COLOURS)
        self._kept: OrderedDict[tuple[Place, tuple[int, int]], str] = OrderedDict()

    def find(self, place: Place) -> str | None:
        """Return the escape sequence for a picture; None where it is not made yet, nothing where it cannot be."""
        key = (place, self.cell)
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def make(self, places: Iterable[Place]) -> dict[tuple[Place, tuple[int, int]], str]:
        """Encode pictures, to be handed to `keep`; takes long enough to be done in a thread."""
        cell = self.cell
        return {(place, cell): self._sequence(place, cell) for place in places}

    def keep(self, made: dict[tuple[Place, tuple[int, int]], str]) -> None:
        """Have what `make` returned found from now on."""
        self._kept.update(made)
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)

    def _sequence(self, place: Place, cell: tuple[int, int]) -> str:
        from PIL import Image

        picture, columns, rows = place
        try:
            image = Image.frombytes("RGB", (picture.width, picture.height), picture.rgb)
            # Few pixels become many: their colours are chosen before, and every pixel stays one.
            image = image.quantize(self._colours, Image.Quantize.FASTOCTREE)
            image = image.resize((columns * cell[0], rows * cell[1]), Image.Resampling.NEAREST)
            sequence = self._encoded(image)
        except Exception:  # whatever another version of the encoder does: half blocks are there
            return ""
        return _tidied(sequence)


def _tidied(sequence: str) -> str:
    """Return sixels with all colours at their beginning: xterm spoils the lines among which one is defined."""
    head = _HEAD.match(sequence)
    if head is None:
        return ""
    colours = "".join(found[0] for found in _COLOUR.finditer(sequence))
    pixels = _COLOUR.sub(r"\1", sequence[head.end() :])
    return head[0] + colours + pixels.removesuffix(_END).removesuffix(_END_OF_BAND) + _END


class Overlaid(Strip):
    """A line of text over which something is drawn once it is written; what is cut from it is the text alone.

    Args:
        strip: the text.
        over: the escape sequences.
    """

    __slots__ = ("_over",)

    def __init__(self, strip: Strip, over: str) -> None:
        super().__init__(list(strip), strip.cell_length)
        self._over = over

    def render(self, console: Console) -> str:
        return super().render(console) + self._over


def placed(sequence: str, column: int, up: int) -> str:
    """Return what draws sixels from that column of the screen on, counted from 0, and so many rows further up."""
    above = f"\x1b[{up}A" if up else ""
    return f"\x1b7{above}\x1b[{column + 1}G{sequence}\x1b8"


def load_encoder() -> Callable[[Any], str] | None:
    """Return what makes a PIL image into sixels, or None where it cannot be had."""
    try:
        from textual_image._sixel import image_to_sixels
    except Exception:  # whatever another version of it does: half blocks are there
        return None
    encoded: Callable[[Any], str] = image_to_sixels
    return encoded
