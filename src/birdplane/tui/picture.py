"""Pictures in a terminal: a half block is two pixels, one above the other, in its two colours; exact, not scaled.

Where there are no colours or no such character, a ramp of ASCII characters stands for the brightness.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

from rich.cells import cell_len
from rich.color import Color, ColorType
from rich.color_triplet import ColorTriplet
from rich.segment import Segment
from rich.style import Style
from textual.app import App
from textual.geometry import Size
from textual.strip import Strip
from textual.widget import Widget

_RAMP = " .:-=+*#%@"
Line = Sequence[tuple[str, str]]
"""One line of text beside or below a picture: pairs of a text and the name of its style, see `PictureGrid`."""


@dataclass(frozen=True)
class Picture:
    """A picture as the helper sends it: `rgb` holds height x width x 3 bytes."""

    width: int
    height: int
    rgb: bytes


def unpack(thumbnails: Mapping[str, Any]) -> list[Picture]:
    """Return the pictures of an answer's `thumbnails`."""
    width, height = int(thumbnails["width"]), int(thumbnails["height"])
    pixels, size = base64.b64decode(thumbnails["rgb"]), width * height * 3
    return (
        [Picture(width, height, pixels[at : at + size]) for at in range(0, len(pixels), size)] if size else []
    )


def cells_of(thumbnails: Mapping[str, Any]) -> tuple[int, int]:
    """Return the columns and rows that each picture of an answer's `thumbnails` takes, at least one."""
    return max(1, int(thumbnails["width"])), max(1, -(-int(thumbnails["height"]) // 2))


@lru_cache(maxsize=4096)
def _colour(rgb: bytes) -> Color:
    # What Color.from_rgb makes, but for a name that nobody reads and that takes half of the time.
    return Color("", ColorType.TRUECOLOR, None, ColorTriplet(*rgb))


def half_blocks(picture: Picture, background: Color | None = None) -> list[list[Segment]]:
    """Return a picture as rows of segments; below an odd last row of pixels is the background."""
    rows, stride, pixels = [], picture.width * 3, picture.rgb
    for top in range(0, picture.height, 2):
        upper = pixels[top * stride : (top + 1) * stride]
        lower = pixels[(top + 1) * stride : (top + 2) * stride]
        rows.append(
            [
                Segment(
                    "▀",
                    Style.from_color(
                        _colour(upper[x : x + 3]), _colour(lower[x : x + 3]) if lower else background
                    ),
                )
                for x in range(0, stride, 3)
            ]
        )
    return rows


def ascii_ramp(picture: Picture) -> list[list[Segment]]:
    """Return a picture as rows of characters, the denser the brighter, each for two pixels one above the other."""
    rows = []
    light = [
        (299 * r + 587 * g + 114 * b) // 1000
        for r, g, b in zip(picture.rgb[::3], picture.rgb[1::3], picture.rgb[2::3], strict=True)
    ]
    for top in range(0, picture.height, 2):
        upper = light[top * picture.width : (top + 1) * picture.width]
        lower = light[(top + 1) * picture.width : (top + 2) * picture.width] or upper
        shades = (
            (above + below) * (len(_RAMP) - 1) // 510 for above, below in zip(upper, lower, strict=True)
        )
        rows.append([Segment("".join(_RAMP[shade] for shade in shades))])
    return rows


def shows_colour(app: App[Any]) -> bool:
    """Tell whether pictures can be drawn in colour; sixteen colours are too few to know a bird by."""
    if getattr(app, "ascii_only", False) or app.no_color:
        return False
    return app.console.color_system in ("256", "truecolor", "windows")


@dataclass(frozen=True)
class Tile:
    """A picture with lines of text: `beside` it, and `below` it."""

    picture: Picture
    below: Sequence[Line] = ()
    beside: Sequence[Line] = ()


@dataclass(frozen=True)
class Shape:
    """What every tile of a grid takes: the cells of the picture, of the texts, and the lines between two rows."""

    columns: int
    rows: int
    below: int = 0
    beside: int = 0
    gap: int = 0

    @property
    def width(self) -> int:
        return self.columns + (self.beside + 1 if self.beside else 0)

    @property
    def space(self) -> int:
        """Cells between two tiles side by side."""
        return 2 if self.beside else 1

    @property
    def height(self) -> int:
        return self.rows + self.below


class PictureGrid(Widget):
    """Tiles in rows and columns, as many as fit. Styles of texts: `muted`, `strong`, `bar`, `rail`, `wrong`."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        f"picture-grid--{name}" for name in ("muted", "strong", "bar", "rail", "wrong")
    }
    DEFAULT_CSS = """
    PictureGrid {
        width: 1fr;
        height: 1fr;
        & > .picture-grid--muted { color: $text-muted; }
        & > .picture-grid--strong { text-style: bold; }
        & > .picture-grid--bar { color: $text-accent; }
        & > .picture-grid--rail { color: $foreground 20%; }
        & > .picture-grid--wrong { color: $text-warning; }
    }
    """

    def __init__(self, shape: Shape, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._shape = shape
        self._tiles: Sequence[Tile] = ()
        self._strips: list[Strip] | None = None

    @property
    def shape(self) -> Shape:
        return self._shape

    def across(self, width: int | None = None) -> int:
        """How many tiles stand side by side."""
        return max(
            1, ((width or self.size.width) + self._shape.space) // (self._shape.width + self._shape.space)
        )

    def down(self, height: int | None = None) -> int:
        """How many rows of tiles there are."""
        return max(
            1, ((height or self.size.height) + self._shape.gap) // (self._shape.height + self._shape.gap)
        )

    @property
    def capacity(self) -> int:
        """How many tiles fit."""
        return self.across() * self.down()

    def show(self, tiles: Sequence[Tile], shape: Shape | None = None) -> None:
        """Draw these tiles; those that do not fit are left out."""
        self._tiles = tiles
        self._shape = shape or self._shape
        self._redraw()

    def _redraw(self) -> None:
        self._strips = None
        self.refresh()

    def on_resize(self) -> None:
        self._redraw()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._strips = None

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        rows = -(-len(self._tiles) // self.across(width)) if self._tiles else 0
        return max(0, rows * (self._shape.height + self._shape.gap) - self._shape.gap)

    def render_line(self, y: int) -> Strip:
        if self._strips is None:
            self._strips = self._drawn()
        return self._strips[y] if y < len(self._strips) else Strip.blank(self.size.width, self.rich_style)

    def _drawn(self) -> list[Strip]:
        strips: list[Strip] = []
        across, width = self.across(), self.size.width
        for begin in range(0, min(len(self._tiles), across * self.down()), across):
            if strips:
                strips += [Strip.blank(width, self.rich_style)] * self._shape.gap
            drawn = [self._tile(tile) for tile in self._tiles[begin : begin + across]]
            strips += [self._row(list(lines)) for lines in zip(*drawn, strict=True)]
        return strips

    def _row(self, parts: list[list[Segment]]) -> Strip:
        gap = Segment(" " * self._shape.space, self.rich_style)
        segments: list[Segment] = []
        for part in parts:
            segments += [*part, gap]
        return Strip(segments).adjust_cell_length(self.size.width, self.rich_style)

    def _tile(self, tile: Tile) -> list[list[Segment]]:
        shape, base = self._shape, self.rich_style
        if shows_colour(self.app):
            pixels = half_blocks(tile.picture, base.bgcolor)
        else:
            pixels = [[Segment(s.text, base) for s in row] for row in ascii_ramp(tile.picture)]
        lines = []
        for number in range(shape.rows):
            line = self._fitted(pixels[number] if number < len(pixels) else [], shape.columns)
            if shape.beside:
                text = tile.beside[number] if number < len(tile.beside) else ()
                line += [Segment(" ", base), *self._text(text, shape.beside)]
            lines.append(line)
        captions = [*tile.below, *[()] * shape.below][: shape.below]
        return lines + [self._text(caption, shape.width) for caption in captions]

    def _text(self, line: Line, width: int) -> list[Segment]:
        return self._fitted([Segment(text, self._style(name)) for text, name in line if text], width)

    def _style(self, name: str) -> Style:
        return self.get_component_rich_style(f"picture-grid--{name}") if name else self.rich_style

    def _fitted(self, segments: list[Segment], width: int) -> list[Segment]:
        """Return segments of exactly `width` cells."""
        taken = sum(1 if segment.text == "▀" else cell_len(segment.text) for segment in segments)
        if taken == width:
            return segments
        return list(Strip(segments, taken).adjust_cell_length(width, self.rich_style))
