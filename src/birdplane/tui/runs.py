"""The Runs screen: every run there is, with its figures; open, compare, delete."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from typing import ClassVar

from rich.cells import cell_len
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.coordinate import Coordinate
from textual.screen import Screen
from textual.widgets import DataTable, Input, Static

from birdplane.errors import BirdplaneError
from birdplane.runs import LIVE, Listing, Run, RunSummary
from birdplane.text import plain
from birdplane.tui.bar import TopBar
from birdplane.tui.cells import cut
from birdplane.tui.confirm import Confirm
from birdplane.tui.keybar import KeyBar
from birdplane.tui.listing import CHANGED, COLUMNS, delete, matching, ordered
from birdplane.tui.monitor import is_alive
from birdplane.tui.raster import PATTERNS
from birdplane.tui.state import Cockpit

_REFRESH_SECONDS = 1.0
_LONGEST_NAME = 40
_LEAST_REASON = 12
_EMPTY = """There are no runs yet.

1   builds a pipeline, and t there trains it
"""


class RunTable(DataTable[Text]):
    """A table of runs, whose keys go from run to run and never sideways: all of its columns are in view."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "screen.open", "Open", tooltip="watch it, or look at how it went", id="open"),
        Binding("home", "scroll_top", show=False),
        Binding("end", "scroll_bottom", show=False),
        Binding("left,right", "pass", show=False),
    ]

    def action_pass(self) -> None:
        """Do nothing."""


class RunsScreen(Screen[None]):
    """The table of runs; it renews itself once a second and keeps the cursor on its run."""

    HELP = (
        "Every run in the folder, whoever started it. Open one to watch it or to look at its results; mark "
        "several to see their curves over each other and the settings in which they differ."
    )
    DEFAULT_CSS = """
    RunsScreen {
        #runs { height: 1fr; margin-top: 1; background: $background; scrollbar-size-horizontal: 0; }
        #runs:focus { background-tint: transparent; }
        #runs > .datatable--header { background: $background; color: $text-muted; text-style: none; }
        #runs > .datatable--cursor { background: $accent 25%; color: $foreground; text-style: bold; }
        #filtering { height: 1; padding: 0 1; display: none; background: $surface; }
        #filtering Static { width: auto; color: $text-muted; }
        #filter { width: 1fr; height: 1; border: none; padding: 0 1; background: $surface; }
        #told { height: auto; padding: 0 1; color: $text-accent; }
        #empty { height: 1fr; content-align: center middle; color: $text-muted; display: none; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "Open", id="open", priority=False),
        Binding("space", "mark", "Mark", tooltip="for comparing or deleting", id="mark"),
        Binding("c", "compare", "Compare", tooltip="the marked runs", id="compare"),
        Binding("s", "sort", "Sort", tooltip="by the next column", id="sort"),
        Binding("S", "reverse", "Reverse", tooltip="the order", id="reverse", show=False),
        Binding("slash", "filter", "Filter", tooltip="by name or state", key_display="/", id="filter"),
        Binding("x", "delete", "Delete", tooltip="after a question", id="delete"),
        Binding("escape", "clear", "Clear", tooltip="the filter and the marks"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._listing: Listing | None = None
        self._runs: list[RunSummary] = []
        self._shown: list[RunSummary] = []
        self._marked: list[str] = []
        self._column, self._falling = CHANGED, True
        self._reading = False
        #: The widths of the columns that are in view.
        self._widths: list[int] = []
        self._possible = (False, False, False)
        # What was just done is to be read until the next key.
        self._answered = False

    @property
    def cockpit(self) -> Cockpit:
        found: Cockpit = self.app.cockpit  # type: ignore[attr-defined]
        return found

    def compose(self) -> ComposeResult:
        yield TopBar("Runs")
        yield Static(_EMPTY, id="empty", markup=False)
        yield RunTable(id="runs", cursor_type="row", zebra_stripes=False, cell_padding=1)
        yield Static(id="told", markup=False)
        with Horizontal(id="filtering"):
            yield Static("filter", markup=False)
            yield Input(placeholder="part of a name or a state", id="filter", compact=True)
        yield KeyBar()

    @property
    def _table(self) -> DataTable[Text]:
        return self.query_one("#runs", DataTable)

    def on_mount(self) -> None:
        self._listing = Listing(self.cockpit.runs)
        self.query_one("#told").display = False
        self._table.focus()
        self.set_interval(_REFRESH_SECONDS, self._read)

    def on_screen_resume(self) -> None:
        self._read()

    # The list.

    def _read(self) -> None:
        """Read the folder in a thread: a slow disk must not hold up the keys."""
        if self._reading or not self.is_current or self._listing is None:
            return
        self._reading = True
        self.run_worker(self._read_listing, thread=True, group="listing", exit_on_error=False)

    def _read_listing(self) -> None:
        try:
            runs = [self._as_started(run) for run in self._listing.poll()] if self._listing else []
        finally:
            self._reading = False
        with contextlib.suppress(RuntimeError):  # the program was left in the meantime
            self.app.call_from_thread(self._take, runs)

    def _as_started(self, run: RunSummary) -> RunSummary:
        """Return a run as prepared while the process that was started for it loads PyTorch."""
        started = self.cockpit.started.get(run.path) if run.state == "new" else None
        return replace(run, state="preparing") if started is not None and is_alive(started) else run

    def _take(self, runs: list[RunSummary]) -> None:
        self._runs = runs
        names = {run.name for run in runs}
        self._marked = [name for name in self._marked if name in names]
        self.query_one("#empty").display = not runs
        self._table.display = bool(runs)
        self._show()

    def _show(self) -> None:
        text = self.query_one("#filter", Input).value
        shown = ordered(matching(self._runs, text), self._column, self._falling)
        now = time.time()
        widths = self._fitting(shown)
        is_same = widths == self._widths and [run.name for run in shown] == [run.name for run in self._shown]
        self._widths = widths
        rows = {run.name: self._cells(run, now) for run in shown}
        if is_same:
            for at, cells in enumerate(rows.values()):
                for column, cell in enumerate(cells):
                    if self._table.get_cell_at(Coordinate(at, column)) != cell:
                        self._table.update_cell_at(Coordinate(at, column), cell)
        else:
            self._replace(rows)
        self._shown = shown
        possible = (bool(self._runs), len(self._marked) > 1, self._is_narrowed)
        if possible != self._possible:
            # Not always: the footer is made anew.
            self._possible = possible
            self.refresh_bindings()

    def _replace(self, rows: dict[str, list[Text]]) -> None:
        """Fill the table anew, with the cursor on the run that it was on, or else where it stood."""
        here = self._here()
        row = self._table.cursor_row
        self._table.clear(columns=True)
        self._table.add_column(" ", key="mark", width=1)
        for index, width in enumerate(self._widths):
            self._table.add_column(self._heading(index), key=COLUMNS[index].title, width=width)
        for name, cells in rows.items():
            self._table.add_row(*cells, key=name)
        if here is not None and here.name in rows:
            row = list(rows).index(here.name)
        self._table.move_cursor(row=max(0, min(row, len(rows) - 1)), animate=False)

    def _fitting(self, shown: list[RunSummary]) -> list[int]:
        """Return the widths of as many columns as fit, none of them cut off; the last one takes what is left."""
        longest = max((cell_len(plain(run.name)) for run in shown), default=0)
        room = self.size.width - 4  # the mark, and a scrollbar
        widths: list[int] = []
        for column in COLUMNS:
            width = min(_LONGEST_NAME, longest) if not widths else 0
            width = max(width, column.width)
            if column is COLUMNS[-1]:
                width = min(width, room - 2) if room - 2 >= _LEAST_REASON else width
            if widths and width + 2 > room:
                break
            widths.append(width)
            room -= width + 2
        return widths

    def on_resize(self) -> None:
        if self._runs:
            self._show()

    @property
    def _is_narrowed(self) -> bool:
        return bool(self._marked) or bool(self.query_one("#filtering").display)

    def _cells(self, run: RunSummary, now: float) -> list[Text]:
        mark = "*" if run.name in self._marked else " "
        columns = COLUMNS[: len(self._widths)]
        words = [
            cut(column.words(run, now), width) for column, width in zip(columns, self._widths, strict=True)
        ]
        return [
            Text(mark, "bold"),
            *(
                Text(text, justify="left" if column.left else "right", no_wrap=True)
                for column, text in zip(columns, words, strict=True)
            ),
        ]

    def _heading(self, index: int) -> Text:
        arrow = ("↓" if self._falling else "↑") if index == self._column else ""
        column = COLUMNS[index]
        title = f"{column.title}{arrow}"
        return Text(title if column.left else title.rjust(column.width))

    def _here(self) -> RunSummary | None:
        row = self._table.cursor_row
        return self._shown[row] if 0 <= row < len(self._shown) else None

    def _chosen(self) -> list[RunSummary]:
        """Return the marked runs, or the one under the cursor."""
        by_name = {run.name: run for run in self._runs}
        here = self._here()
        return [by_name[name] for name in self._marked] or ([here] if here else [])

    def _tell(self, sentence: str) -> None:
        told = self.query_one("#told", Static)
        told.update(Content(plain(sentence)))
        told.display = bool(sentence)

    # What the keys do.

    def on_key(self) -> None:
        self._answered = False

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("open", "mark", "delete", "sort", "reverse", "filter"):
            return bool(self._runs)
        if action == "compare":
            return len(self._marked) > 1
        if action == "clear":
            return self._is_narrowed
        return True

    def action_open(self) -> None:
        """Show the run under the cursor on the Train screen."""
        run = self._here()
        if run is None:
            return
        if run.state == "broken":
            self._tell(f"{run.name} cannot be opened: {run.reason}")
            return
        self.cockpit.run = Run(run.path)
        self.app.action_show("train")  # type: ignore[attr-defined]

    def on_data_table_row_selected(self) -> None:
        self.action_open()

    def on_data_table_row_highlighted(self) -> None:
        here = self._here()
        if here is not None and not self._marked and not self._answered:
            # The column `why` is beyond the edge of a narrow terminal.
            self._tell(f"{here.state}: {here.reason}" if here.reason else "")

    def on_data_table_header_selected(self, event: DataTable.HeaderSelected) -> None:
        if event.column_index:
            self._sort_by(event.column_index - 1)

    def action_mark(self) -> None:
        """Mark the run for comparing or deleting, or take its mark away."""
        run = self._here()
        if run is None:
            return
        if run.name in self._marked:
            self._marked.remove(run.name)
        else:
            self._marked.append(run.name)
        self._tell(f"{len(self._marked)} marked; c compares, Esc unmarks" if self._marked else "")
        self._show()
        self._table.action_cursor_down()

    def action_compare(self) -> None:
        """Lay the curves of the marked runs over each other."""
        from birdplane.tui.compare import CompareScreen

        chosen = self._chosen()
        if len(chosen) > len(PATTERNS):
            self._tell(f"{len(PATTERNS)} runs can be told apart at most; {len(chosen)} are marked")
            return
        self.app.push_screen(CompareScreen([Run(run.path) for run in chosen]))

    def action_sort(self) -> None:
        """Sort by the next column."""
        self._sort_by((self._column + 1) % max(1, len(self._widths)))

    def action_reverse(self) -> None:
        """Turn the order round."""
        self._sort_by(self._column)

    def _sort_by(self, column: int) -> None:
        self._falling = not self._falling if column == self._column else COLUMNS[column].falling
        self._column = column
        for index, (_, drawn) in enumerate(list(self._table.columns.items())[1:]):
            drawn.label = self._heading(index)
        self._table.refresh()
        self._show()

    def action_filter(self) -> None:
        """Show only the runs whose name or state has what is typed."""
        self.query_one("#filtering").display = True
        self.query_one("#filter", Input).focus()
        self._show()

    def on_input_changed(self) -> None:
        self._show()

    def on_input_submitted(self) -> None:
        self.query_one("#filtering").display = bool(self.query_one("#filter", Input).value)
        self._table.focus()
        self._show()

    def action_clear(self) -> None:
        """Show all runs again, unmarked."""
        self.query_one("#filter", Input).value = ""
        self.query_one("#filtering").display = False
        self._marked.clear()
        self._tell("")
        self._table.focus()
        self._show()

    def action_delete(self) -> None:
        """Remove the marked runs, or the one under the cursor, after a question."""
        chosen = self._chosen()
        live = [run.name for run in chosen if run.state in LIVE]
        if live:
            self._tell(f"{', '.join(live)}: still training; stop it first (Enter, s)")
        elif chosen:
            names = ", ".join(run.name for run in chosen)
            question = Confirm(plain(f"Delete {names} with all checkpoints?"))
            self.app.push_screen(question, lambda yes: self._delete(chosen) if yes else None)

    def _delete(self, chosen: list[RunSummary]) -> None:
        self.run_worker(lambda: self._delete_all(chosen), thread=True, group="delete", exit_on_error=False)

    def _delete_all(self, chosen: list[RunSummary]) -> None:
        trouble = ""
        for run in chosen:
            try:
                delete(Run(run.path))
            except (BirdplaneError, OSError) as error:
                trouble = str(error)
        with contextlib.suppress(RuntimeError):
            self.app.call_from_thread(self._after_delete, chosen, trouble)

    def _after_delete(self, chosen: list[RunSummary], trouble: str) -> None:
        open_now = self.cockpit.run
        if open_now is not None and not open_now.path.exists():
            self.cockpit.run = None
        self._answered = True
        self._tell(trouble or f"deleted {', '.join(run.name for run in chosen)}")
        self._read()
