"""Pictures on a screen, as tiles in a grid, with text beside and below them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region, Size
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget
from textual.worker import Worker

from birdplane.tui.blocks import Picture, ascii_ramp, half_blocks, shrunk
from birdplane.tui.drawing import Drawing
from birdplane.tui.graphics import DETAIL, shows_colour
from birdplane.tui.sixel import Overlaid, Place, Sixels, placed

Line = Sequence[tuple[str, str]]
"""One line of text beside or below a picture: pairs of a text and the name of its style, see `PictureGrid`."""


def cells_of(thumbnails: Mapping[str, Any]) -> tuple[int, int]:
    """Return the columns and rows that each picture of an answer's `thumbnails` takes, at least one.

    Where it has a `side`, pictures are larger than what they are drawn in: so many columns at most.
    """
    width, height = int(thumbnails["width"]), int(thumbnails["height"])
    share = min(1.0, int(thumbnails.get("side", width + height)) / max(1, width, height))
    return max(1, round(share * width)), max(1, -(-round(share * height) // 2))


def detail_of(app: Any) -> int:
    """Return how many times as large as their cells pictures are to be asked for."""
    drawing = _drawing_of(app)
    return DETAIL if drawing is not None and drawing.in_full else 1


def _drawing_of(app: Any) -> Drawing | None:
    """Return what draws in full in a program; none in one that is not the cockpit."""
    return getattr(app, "drawing", None)


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

    class Resized(Message):
        """Another number of tiles may fit by now."""

    def __init__(self, shape: Shape, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._shape = shape
        self._tiles: Sequence[Tile] = ()
        self._strips: list[Strip] | None = None
        self._encoding: Worker[None] | None = None

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
        self.post_message(self.Resized())

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

    def render_lines(self, crop: Region) -> list[Strip]:
        strips = super().render_lines(crop)
        sixels = self._sixels
        if sixels is None or crop.size != self.size:
            return strips
        left, lacking = self.content_region.x, False
        for top, places in self._places():
            over = ""
            for number, place in enumerate(places):
                sequence = sixels.find(place)
                lacking = lacking or sequence is None
                if sequence:
                    column = left + number * (self._shape.width + self._shape.space)
                    over += placed(sequence, column, self._shape.rows - 1)
            last = top + self._shape.rows - 1
            if over and last < len(strips):
                strips[last] = Overlaid(strips[last], over)
        if lacking and (self._encoding is None or self._encoding.is_finished):
            self._encoding = self.run_worker(self._encode(), group="sixels", exit_on_error=False)
        return strips

    @property
    def _sixels(self) -> Sixels | None:
        drawing = _drawing_of(self.app)
        return drawing.sixels if drawing is not None else None

    def _places(self) -> Iterator[tuple[int, list[Place]]]:
        """Yield the first line of each row of tiles, and its pictures with the cells that they fill."""
        across = self.across()
        for row in range(min(self.down(), -(-len(self._tiles) // across))):
            pictures = [tile.picture for tile in self._tiles[row * across : (row + 1) * across]]
            yield (
                row * (self._shape.height + self._shape.gap),
                [(picture, *self._cells(picture)) for picture in pictures],
            )

    async def _encode(self) -> None:
        """Make the sixels that are lacking, a row of tiles at a time, as long as they are in view."""
        while (sixels := self._sixels) is not None and self.is_attached and self.screen.is_current:
            for top, places in self._places():
                if lacking := [place for place in places if sixels.find(place) is None]:
                    sixels.keep(await asyncio.to_thread(sixels.make, lacking))
                    self.refresh(Region(0, top, self.size.width, self._shape.rows))
                    break
            else:
                return

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
        drawing = _drawing_of(self.app)
        kitty = drawing.kitty if drawing is not None else None
        if kitty is not None and (drawn := kitty.rows(tile.picture, *self._cells(tile.picture))):
            pixels = drawn
        elif shows_colour(self.app):
            columns, rows = self._cells(tile.picture)
            pixels = half_blocks(shrunk(tile.picture, columns, 2 * rows), base.bgcolor)
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

    def _cells(self, picture: Picture) -> tuple[int, int]:
        """Return the cells that a picture fills of those of its tile, in its own proportions."""
        shape = self._shape
        share = min(shape.columns / max(1, picture.width), 2 * shape.rows / max(1, picture.height))
        return max(1, round(share * picture.width)), max(1, round(share * picture.height / 2))

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
