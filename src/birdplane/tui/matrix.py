"""The confusion matrix: a row for what pictures are, a column for what they are taken for, a cursor on a cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from textual.events import Click
from textual.geometry import Size
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from birdplane.text import plain
from birdplane.tui.cells import cut, left, right

_LEVELS = 5
_WIDEST_NAME = 20
_SHARE = 10  # cells of the share of right answers, at the end of each row
_HEAD = 1  # lines above the rows


class ConfusionMatrix(Widget):
    """Counts by (true class, predicted class), shaded by their share of the row; what is seen follows the cursor.

    Posts `Opened` when a cell is clicked that is under the cursor already, `Moved` when the cursor went elsewhere.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "confusion-matrix--head",
        "confusion-matrix--name",
        "confusion-matrix--cursor",
        *(f"confusion-matrix--level{level}" for level in range(_LEVELS)),
    }
    DEFAULT_CSS = """
    ConfusionMatrix {
        width: auto;
        height: auto;
        & > .confusion-matrix--head { color: $foreground 60%; }
        & > .confusion-matrix--name { color: $foreground; }
        & > .confusion-matrix--cursor { text-style: bold reverse; }
        & > .confusion-matrix--level0 { color: $foreground 40%; }
        & > .confusion-matrix--level1 { background: $accent 10%; }
        & > .confusion-matrix--level2 { background: $accent 20%; }
        & > .confusion-matrix--level3 { background: $accent 32%; }
        & > .confusion-matrix--level4 { background: $accent 46%; }
    }
    """

    class Moved(Message):
        """The cursor is on another cell."""

    class Opened(Message):
        """The pictures of the cell under the cursor are wanted."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._labels: Sequence[str] = ()
        self._counts: Sequence[Sequence[int]] = ()
        self.cursor = (0, 0)

    def show(self, classes: Sequence[str], counts: Sequence[Sequence[int]]) -> None:
        """Show these counts; the cursor goes to the most frequent mistake where the classes are others."""
        if list(classes) != list(self._labels):
            self.cursor = _worst(counts)
        self._labels, self._counts = classes, counts
        self.refresh(layout=True)

    def move(self, down: int, across: int) -> None:
        """Move the cursor; it stops at the edges."""
        row, column = self.cursor
        last = len(self._labels) - 1
        self.cursor = (min(last, max(0, row + down)), min(last, max(0, column + across)))
        self.refresh()
        self.post_message(self.Moved())

    def words(self) -> str:
        """Return what the cell under the cursor says, with the classes' whole names."""
        if not self._labels:
            return ""
        row, column = self.cursor
        count, total = self._counts[row][column], sum(self._counts[row])
        truth, taken = plain(self._labels[row]), plain(self._labels[column])
        share = f" ({100 * count / total:.1f} %)" if total else ""
        if row != column:
            return f"{truth} taken for {taken}: {count:,} of {total:,}{share}"
        all_taken = sum(line[column] for line in self._counts)
        precision = f"; precision {100 * count / all_taken:.1f} %" if all_taken else ""
        return f"{truth} recognised: {count:,} of {total:,}{share}{precision}"

    # Measures.

    @property
    def _name_width(self) -> int:
        return min(_WIDEST_NAME, max((cell_len(plain(name)) for name in self._labels), default=1)) + 1

    @property
    def _cell_width(self) -> int:
        most = max((count for row in self._counts for count in row), default=0)
        longest = max((cell_len(plain(name)) for name in self._labels), default=1)
        few = len(self._labels) <= 4
        return max(len(f"{most:,}") + 2, min(longest, 16 if few else 8) + 2)

    def get_content_width(self, container: Size, viewport: Size) -> int:
        return self._name_width + self._cell_width * len(self._labels) + _SHARE

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return len(self._labels) + _HEAD if self._labels else 0

    def _window(self) -> tuple[range, range]:
        """Return the rows and the columns that are seen: those around the cursor."""
        count, (row, column) = len(self._labels), self.cursor
        rows = max(1, min(count, self.size.height - _HEAD))
        across = (self.size.width - self._name_width - _SHARE) // self._cell_width
        columns = max(1, min(count, across))
        top = min(count - rows, max(0, row - rows // 2))
        begin = min(count - columns, max(0, column - columns // 2))
        return range(top, top + rows), range(begin, begin + columns)

    # Drawing.

    def render_line(self, y: int) -> Strip:
        if not self._labels:
            return Strip.blank(self.size.width, self.rich_style)
        rows, columns = self._window()
        if y == 0:
            segments = self._header(columns)
        elif y - _HEAD < len(rows):
            segments = self._row(rows[y - _HEAD], columns)
        else:
            segments = []
        return Strip(segments).adjust_cell_length(self.size.width, self.rich_style)

    def _header(self, columns: range) -> list[Segment]:
        style = self.get_component_rich_style("confusion-matrix--head")
        width = self._cell_width
        names = "".join(right(" " + cut(self._labels[column], width - 2) + " ", width) for column in columns)
        return [Segment(left("", self._name_width) + names + right("right", _SHARE), style)]

    def _row(self, row: int, columns: range) -> list[Segment]:
        counts, total = self._counts[row], sum(self._counts[row])
        name = left(cut(self._labels[row], self._name_width - 1), self._name_width)
        segments = [Segment(name, self.get_component_rich_style("confusion-matrix--name"))]
        for column in columns:
            share = counts[column] / total if total else 0.0
            level = 0 if not counts[column] else 1 + min(_LEVELS - 2, int(share * (_LEVELS - 1)))
            kind = "cursor" if (row, column) == self.cursor else f"level{level}"
            text = right(f"{counts[column]:,} ", self._cell_width)
            segments.append(Segment(text, self.get_component_rich_style(f"confusion-matrix--{kind}")))
        share_right = f"{100 * counts[row] / total:.1f} %" if total else "-"
        segments.append(Segment(right(share_right, _SHARE), self.rich_style))
        return segments

    def on_click(self, event: Click) -> None:
        rows, columns = self._window()
        row, column = event.y - _HEAD, (event.x - self._name_width) // self._cell_width
        if not (0 <= row < len(rows) and 0 <= column < len(columns) and event.x >= self._name_width):
            return
        clicked = (rows[row], columns[column])
        if clicked == self.cursor:
            self.post_message(self.Opened())
        self.move(clicked[0] - self.cursor[0], clicked[1] - self.cursor[1])


def _worst(counts: Sequence[Sequence[int]]) -> tuple[int, int]:
    """Return the cell of the most frequent mistake; the first cell where there is none."""
    mistakes = [
        (count, -row, -column)
        for row, line in enumerate(counts)
        for column, count in enumerate(line)
        if row != column and count
    ]
    _, row, column = max(mistakes, default=(0, 0, 0))
    return -row, -column
