"""A chart of curves in braille dots: real axes, a log scale, smoothing, a crosshair that reads values.

It draws anew only what changed, and asks Textual to send only that: some bytes a frame while a run trains.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from birdplane.tui.axes import Axis, log_labels, tick_labels, x_axis, y_axis
from birdplane.tui.curves import Series
from birdplane.tui.raster import BRAILLE, PATTERNS, Trace, braille, pattern_mask

#: What stands for the dots of a series where there is no braille.
_MARKS = "*o+x#%"
_LABEL_WIDTH = 7
_MOST_TICKS = 9
_Cell = tuple[str, str]
_BLANK: _Cell = (" ", "")


class Chart(Widget):
    """Curves over a common `x`.

    Args:
        title: what is measured, with its unit.
        series: the curves, the one that matters most last: it is drawn over the others.
        digits: of the values that the crosshair reads.
        bounds: where the values cannot go beyond, such as 0 and 100 for percent.
        x_label: what `x` counts.
        names: whether the legend names the curves; `sample_of` is for who does it elsewhere.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "chart--title",
        "chart--axis",
        "chart--grid",
        "chart--cross",
        "chart--broken",
        *(f"chart--{number}" for number in range(1, len(PATTERNS) + 1)),
    }
    DEFAULT_CSS = """
    Chart {
        width: 1fr; height: 1fr; min-height: 4;
        & > .chart--title { color: $foreground; text-style: bold; }
        & > .chart--axis { color: $text-muted; }
        & > .chart--grid { color: $foreground 22%; }
        & > .chart--cross { color: $foreground 55%; }
        & > .chart--broken { color: $text-error; text-style: bold; }
        & > .chart--1 { color: $foreground 60%; }
        & > .chart--2 { color: $text-accent; }
        & > .chart--3 { color: $text-success; }
        & > .chart--4 { color: $text-primary; }
        & > .chart--5 { color: $text-error; }
        & > .chart--6 { color: $text-secondary; }
    }
    """

    class Pointed(Message):
        """The mouse points at `x`."""

        def __init__(self, x: float) -> None:
            super().__init__()
            self.x = x

    def __init__(
        self,
        title: str,
        series: Sequence[Series],
        *,
        digits: int = 4,
        bounds: tuple[float, float] | None = None,
        x_label: str = "epoch",
        names: bool = True,
        id: str | None = None,
    ) -> None:
        super().__init__(id=id)
        self._title, self._digits, self._bounds, self._x_label = title, digits, bounds, x_label
        self._names = names
        self._series = list(series)
        self._total: float | None = None
        self._log = self._smoothed = False
        self._cross: float | None = None
        self._x, self._y = Axis(0, 1), Axis(0, 1)
        self._width, self._rows, self._dots = 1, 1, (2, 4)
        self._traces: list[Trace] = []
        self._grid: list[list[_Cell]] = []
        self._revisions: list[int] = []
        self._broken = 0
        self._styles: dict[str, Style] = {}

    # What others ask of it.

    @property
    def x(self) -> Axis:
        """The axis as it is drawn."""
        return self._x

    @property
    def cross(self) -> float | None:
        """Where the crosshair stands, or None."""
        return self._cross

    @property
    def step(self) -> float:
        """How far one column is on the axis."""
        return (self._x.high - self._x.low) / max(1, self._width - 1)

    @property
    def end(self) -> float:
        """Where the longest of the curves ends."""
        return max((one.end for one in self._series), default=0.0)

    def style_of(self, index: int) -> Style:
        """Return the colour of the series of that index."""
        return self._style(str(index % len(PATTERNS) + 1))

    def grow(self, total: float | None) -> None:
        """Draw what is new in the series; `total` is where the axis is known to end."""
        self._total = total
        if not self._grid:
            return
        x = x_axis(self._series, total)
        y = self._y_axis()
        if (x, y) != (self._x, self._y) or self._revisions != [one.revision for one in self._series]:
            self.redraw()
            return
        firsts = [first for trace in self._traces if (first := trace.draw()) is not None]
        broken = sum(len(one.broken) for one in self._series)
        if firsts:
            self._put_plot(min(firsts) // self._dots[0])
        elif broken != self._broken:
            self._mark_broken(0, self._width)
        if firsts or broken != self._broken:
            self._put_line(0, self._heading())
        self._broken = broken

    def set_scale(self, *, log: bool, smoothed: bool) -> None:
        """Choose equal factors or equal steps on the y axis, and means or the values themselves."""
        if (log, smoothed) != (self._log, self._smoothed):
            self._log, self._smoothed = log, smoothed
            self.redraw()

    def point(self, x: float | None) -> None:
        """Move the crosshair, or take it away."""
        if x == self._cross:
            return
        columns = [self._cross_column()]
        self._cross = x
        columns.append(self._cross_column())
        if self._grid:
            for column in {column for column in columns if column is not None}:
                self._put_plot(column, column + 1)
            self._put_line(0, self._heading())

    # Drawing.

    @property
    def _ascii(self) -> bool:
        return bool(getattr(self.app, "ascii_only", False))

    def _measure(self) -> None:
        """Note how much room there is: asked of Textual for every cell it would take most of the time."""
        width, height = self.size
        self._width, self._rows = max(1, width - _LABEL_WIDTH - 2), max(1, height - 3)
        self._dots = (1, 1) if self._ascii else (2, 4)

    def _y_axis(self) -> Axis:
        return y_axis(self._series, self._rows, self._bounds, log=self._log, smoothed=self._smoothed)

    def on_resize(self) -> None:
        self._grid = []
        self.redraw()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._styles.clear()

    def redraw(self) -> None:
        """Draw everything anew; what comes out the same is not sent again."""
        if self.size.width <= _LABEL_WIDTH + 4 or self.size.height < 4:
            self._grid = []
            return
        self._measure()
        if not self._grid:
            self._grid = [[_BLANK] * self.size.width for _ in range(self.size.height)]
            self.refresh()
        self._x = x_axis(self._series, self._total)
        self._y = self._y_axis()
        self._revisions = [one.revision for one in self._series]
        across, down = self._dots
        size = (self._width * across, self._rows * down)
        self._traces = [
            Trace(one, self._x, self._y, *size, self._smoothed, PATTERNS[index % len(PATTERNS)])
            for index, one in enumerate(self._series)
        ]
        for trace in self._traces:
            trace.draw()
        self._put_line(0, self._heading())
        for row, line in enumerate(self._margin(), 1):
            self._put(row, 0, line)
        self._put_plot(0)
        for offset, line in enumerate(self._foot()):
            self._put_line(1 + self._rows + offset, line)

    def _put_plot(self, first: int, last: int | None = None) -> None:
        """Bring a range of the plot's columns up to date."""
        last = self._width if last is None else last
        ticks = self._tick_rows()
        cross = self._cross_column()
        rows = [[("┈", "grid") if row in ticks else _BLANK] * (last - first) for row in range(self._rows)]
        if cross is not None and first <= cross < last:
            for cells in rows:
                cells[cross - first] = ("│", "cross")
        for column in range(first, last):
            for row, cell in self._passed(column):
                rows[row][column - first] = cell
        for row, cells in enumerate(rows, 1):
            self._put(row, _LABEL_WIDTH + 2 + first, cells)
        self._mark_broken(first, last)

    def _passed(self, column: int) -> Iterator[tuple[int, _Cell]]:
        """Yield the rows in which curves pass a column, and their dots there.

        A cell has one colour, so it is that of one curve: the last that is told of.
        """
        across = self._dots[0]
        at = column * across
        # A digit is the dots of one cell, the top one first.
        digits = f"0{self._rows}{'x' if across == 2 else 'b'}"
        for index, trace in enumerate(self._traces):
            left = trace.columns[at] if trace.shown[at] else 0
            right = trace.columns[at + 1] if across == 2 and trace.shown[at + 1] else 0
            if not left | right:
                continue
            kind = str(index % len(PATTERNS) + 1)
            mark = _MARKS[index % len(_MARKS)] if across == 1 else ""
            for row, dots in enumerate(zip(format(left, digits), format(right, digits), strict=True)):
                if dots != ("0", "0"):
                    yield row, (mark or BRAILLE[dots], kind)

    def _mark_broken(self, first: int, last: int) -> None:
        """Put a cross on top of each column with values that are not finite."""
        places = (self._x.place(x) for one in self._series for x in one.broken)
        for column in {round(place * (self._width - 1)) for place in places}:
            if first <= column < last:
                self._put(1, _LABEL_WIDTH + 2 + column, [("x" if self._ascii else "×", "broken")])

    def _cross_column(self) -> int | None:
        if self._cross is None or not self._grid:
            return None
        return round(self._x.place(self._cross) * (self._width - 1))

    def _tick_rows(self) -> dict[int, float]:
        """Return the rows that have a number, and the number."""
        ticks = self._y.ticks(max(2, min(_MOST_TICKS, (self._rows + 1) // 2)))
        return {self._rows - 1 - round(self._y.place(tick) * (self._rows - 1)): tick for tick in ticks}

    def _margin(self) -> list[list[_Cell]]:
        rows = self._tick_rows()
        values = list(rows.values())
        labels = dict(zip(rows, (log_labels if self._y.log else tick_labels)(values), strict=True))
        return [
            [
                *_cells(labels.get(row, "").rjust(_LABEL_WIDTH), "axis"),
                *_cells(" ┤" if row in labels else " │", "axis"),
            ]
            for row in range(self._rows)
        ]

    def _foot(self) -> list[list[_Cell]]:
        ticks = self._x.ticks(max(2, self._width // 9))
        places = [round(self._x.place(tick) * (self._width - 1)) for tick in ticks]
        line = ["─"] * self._width
        for place in places:
            line[place] = "┴"
        text = [" "] * self.size.width
        for place, label in zip(places, tick_labels(ticks), strict=True):
            begin = min(_LABEL_WIDTH + 2 + place - (len(label) - 1) // 2, len(text) - len(label))
            text[begin : begin + len(label)] = label
        text[: len(self._x_label)] = self._x_label
        corner = " " * (_LABEL_WIDTH + 1) + "└"
        return [_cells(corner + "".join(line), "axis"), _cells("".join(text), "axis")]

    def _heading(self) -> list[_Cell]:
        legend: list[_Cell] = []
        if self._cross is not None:
            legend += _cells(f"{self._x_label} {self._cross:.2f}".ljust(len(self._x_label) + 7), "axis")
        room = self.size.width - len(self._title) - 2
        for index, one in enumerate(self._series):
            words = f"{sample_of(index, self._ascii)} {self._reading(one)}"
            entry = [*_cells("  ", ""), *_cells(words, str(index % len(PATTERNS) + 1))]
            if len(legend) + len(entry) <= room:
                legend += entry
        smoothed = self._smoothed and any(one.inertia for one in self._series)
        manner = ", log" * self._y.log + ", smoothed" * smoothed
        title = self._title + (manner if len(manner) + len(legend) <= room else "")
        return [*_cells(title.ljust(self.size.width - len(legend)), "title"), *legend]

    def _reading(self, series: Series) -> str:
        found = series.nearest(series.end if self._cross is None else self._cross, self._smoothed)
        value = f"{found[1]:.{self._digits}f}" if found else "-"
        broken = f" ({len(series.broken)} not finite)" if series.broken else ""
        return f"{series.name} {value}{broken}" if self._names else f"{value}{broken}"

    # Cells to strips.

    def _put_line(self, row: int, cells: list[_Cell]) -> None:
        self._put(row, 0, [*cells, *[_BLANK] * (self.size.width - len(cells))][: self.size.width])

    def _put(self, row: int, begin: int, cells: list[_Cell]) -> None:
        """Set cells, and have those redrawn that are others than before."""
        if not 0 <= row < len(self._grid):
            return
        line = self._grid[row]
        old = line[begin : begin + len(cells)]
        cells = cells[: len(old)]
        if old == cells:
            return
        different = [at for at, (was, now) in enumerate(zip(old, cells, strict=True)) if was != now]
        line[begin : begin + len(cells)] = cells
        first, last = different[0], different[-1]
        self.refresh(Region(begin + first, row, last - first + 1, 1))

    def render_line(self, y: int) -> Strip:
        if y >= len(self._grid):
            return Strip.blank(self.size.width, self.rich_style)
        segments: list[Segment] = []
        text, kind = "", ""
        for character, of in [*self._grid[y], ("", "end")]:
            # A blank takes the colour of what is before it: to change colours twice costs some 40 bytes.
            if of != kind and character != " ":
                if text:
                    segments.append(Segment(text, self._style(kind)))
                text, kind = "", of
            text += character
        return Strip(segments, self.size.width)

    def _style(self, kind: str) -> Style:
        found = self._styles.get(kind)
        if found is None:
            found = self.get_component_rich_style(f"chart--{kind}") if kind else self.rich_style
            self._styles[kind] = found
        return found

    # The mouse.

    def on_click(self, event: events.Click) -> None:
        column = event.x - _LABEL_WIDTH - 2
        if 0 <= column < self._width:
            self.post_message(self.Pointed(self._x.low + column * self.step))


def sample_of(index: int, ascii_only: bool) -> str:
    """Return a bit of the line that the series of that index is drawn with."""
    if ascii_only:
        return _MARKS[index % len(_MARKS)] * 3
    mask = pattern_mask(PATTERNS[index % len(PATTERNS)], 8)
    return "".join(braille(2 * mask[at], 2 * mask[at + 1]) for at in range(0, 8, 2))


def _cells(text: str, kind: str) -> list[_Cell]:
    return [(character, kind) for character in text]
