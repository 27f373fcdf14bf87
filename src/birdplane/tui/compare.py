"""Several runs over each other: their validation curves, and only the settings in which they differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.widgets import DataTable, Static

from birdplane.comparing import differing, settings
from birdplane.runs import Run
from birdplane.text import plain
from birdplane.tui import facts
from birdplane.tui.bar import TopBar
from birdplane.tui.cells import cut
from birdplane.tui.chart import Chart, sample_of
from birdplane.tui.charting import ChartScreen
from birdplane.tui.curves import Series
from birdplane.tui.keybar import KeyBar
from birdplane.tui.monitor import Monitor

#: Epochs are few: a smoothing that is milder than that of single steps.
_INERTIA = 0.6
_LEAST_VALUE = 8


class CompareScreen(ChartScreen):
    """Curves of up to six runs, live ones growing, above a table of what was set differently.

    Args:
        runs: the runs, in the order of their columns.
    """

    HELP = (
        "The validation curves of the marked runs over each other, and below only the settings that differ."
    )
    DEFAULT_CSS = """
    CompareScreen {
        #differences { height: auto; max-height: 40%; margin: 1 0 0 0; background: $background; }
        #differences { scrollbar-size-horizontal: 0; scrollbar-size-vertical: 1; }
        #differences:focus { background-tint: transparent; }
        #differences > .datatable--header { background: $background; color: $text-muted; text-style: none; }
        #same { height: 1; padding: 0 1; color: $text-muted; display: none; }
        &.-low #differences { margin: 0; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "back", "Back", id="back")]

    def __init__(self, runs: Sequence[Run]) -> None:
        super().__init__()
        self._monitors = [Monitor(run) for run in runs]
        self._smoothed = False
        for monitor in self._monitors:
            for series in monitor.series:
                series.inertia = _INERTIA

    def compose(self) -> ComposeResult:
        yield TopBar("Runs")
        yield Container(id="charts")
        yield DataTable(id="differences", cursor_type="none", show_cursor=False, cell_padding=1)
        yield Static("They were set the same.", id="same", markup=False)
        yield KeyBar()

    async def on_mount(self) -> None:
        losses: list[Series] = [monitor.validation_loss for monitor in self._monitors]
        accuracies = [monitor.validation_accuracy for monitor in self._monitors]
        await self.show_charts(
            Chart("validation loss", losses, names=False, id="loss"),
            Chart("validation accuracy %", accuracies, digits=2, bounds=(0, 100), names=False, id="accuracy"),
        )
        self._fill()
        self.draw_frames(self._tick)
        self._tick()

    def on_resize(self) -> None:
        super().on_resize()
        self._fill()

    def _fill(self) -> None:
        table: DataTable[Text] = self.query_one("#differences", DataTable)
        charts = self.charts()
        if not charts:
            return
        table.clear(columns=True)
        ascii_only = bool(getattr(self.app, "ascii_only", False))
        chart = charts[0]
        table.add_column("")
        for index, monitor in enumerate(self._monitors):
            sample = (f"{sample_of(index, ascii_only)} ", Style(color=chart.style_of(index).color))
            table.add_column(Text.assemble(sample, plain(monitor.run.name)))
        rows = differing([settings(monitor.run) for monitor in self._monitors])
        keys = max((cell_len(plain(key)) for key, _ in rows), default=0)
        share = max(_LEAST_VALUE, (self.size.width - keys - 4) // len(self._monitors) - 2)
        for key, values in rows:
            table.add_row(Text(plain(key), "dim"), *(Text(cut(value, share)) for value in values))
        self.query_one("#same").display = not rows

    def _tick(self) -> bool:
        if not self.is_current:
            return False
        try:
            changed = [monitor.poll() for monitor in self._monitors]
        except OSError as error:
            self.notify(plain(str(error)), severity="error", markup=False)
            self.action_back()
            return False
        if any(monitor.behind for monitor in self._monitors):
            self.call_later(self._tick)
        elif any(changed):
            self.grow(max((facts.epochs_of(monitor) for monitor in self._monitors), default=0.0) or None)
        return any(changed)

    def action_back(self) -> None:
        """Return to the list."""
        self.dismiss()
