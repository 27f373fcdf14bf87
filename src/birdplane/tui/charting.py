"""What screens with two charts share: scale, smoothing, one crosshair for both, and which of them is in view."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.screen import Screen

from birdplane.tui.chart import Chart
from birdplane.tui.pace import Pace
from birdplane.tui.state import Cockpit

#: From here on two charts stand side by side.
WIDE = 110
CHART_BINDINGS: list[BindingType] = [
    Binding("l", "log", "Log", tooltip="equal factors on the loss axis", id="log"),
    Binding("m", "smooth", "Smooth", tooltip="exponential means of the noisy curves", id="smooth"),
    Binding("v", "view", "View", tooltip="both charts, or one", id="view"),
    Binding("left", "move(-1)", "Move the crosshair, which reads the values", show=False),
    Binding("right", "move(1)", "Move the crosshair, which reads the values", show=False),
    Binding("down", "move(-10)", "Move it ten columns", show=False),
    Binding("up", "move(10)", "Move it ten columns", show=False),
    Binding("home", "move(-9999)", "To the first and the last value", show=False),
    Binding("end", "move(9999)", "To the first and the last value", show=False),
]
_VIEWS = ("both", "loss", "accuracy")


class ChartScreen(Screen[None]):
    """A screen over a container `#charts`, in which the charts `#loss` and `#accuracy` appear by `show_charts`."""

    DEFAULT_CSS = """
    ChartScreen {
        #charts { layout: vertical; height: 1fr; padding: 0 1; }
        #charts > Chart { margin: 1 0 0 0; }
        &.-wide #charts { layout: horizontal; }
        &.-wide #charts > #loss { margin: 1 3 0 0; }
        &.-low #charts > Chart { margin: 0; }
    }
    """
    HORIZONTAL_BREAKPOINTS = [
        (0, "-narrow"),
        (60, "-usual"),
        (WIDE, "-wide"),
    ]
    VERTICAL_BREAKPOINTS = [(0, "-small"), (16, "-low"), (20, "-high")]
    #: From this height on two charts stand one above the other.
    STACKED = 20
    BINDINGS: ClassVar[list[BindingType]] = CHART_BINDINGS

    def __init__(self) -> None:
        super().__init__()
        self._view = "both"
        self._log, self._smoothed = False, True

    @property
    def cockpit(self) -> Cockpit:
        """The state that the screens share."""
        found: Cockpit = self.app.cockpit  # type: ignore[attr-defined]
        return found

    def charts(self) -> list[Chart]:
        return list(self.query(Chart))

    def draw_frames(self, tick: Callable[[], bool]) -> None:
        """Call `tick` for every frame from now on, as often as the settings and the processors allow.

        It tells whether it drew anything.
        """
        pace = Pace(self.cockpit.settings.refresh)

        def frame() -> None:
            self.set_timer(pace.wait(tick()), frame)

        self.set_timer(pace.wait(), frame)

    async def show_charts(self, *charts: Chart) -> None:
        """Replace what stands in `#charts`."""
        container = self.query_one("#charts", Container)
        await container.remove_children()
        await container.mount(*charts)
        self._rescale()
        self._arrange()

    def grow(self, total: float | None) -> None:
        """Draw what is new."""
        for chart in self.charts():
            chart.grow(total)

    def on_resize(self) -> None:
        self._arrange()

    def action_log(self) -> None:
        """Equal factors instead of equal steps on the loss axis, and back."""
        self._log = not self._log
        self._rescale()

    def action_smooth(self) -> None:
        """Exponential means instead of the values, and back."""
        self._smoothed = not self._smoothed
        self._rescale()

    def _rescale(self) -> None:
        for chart in self.charts():
            chart.set_scale(log=self._log and chart.id == "loss", smoothed=self._smoothed)

    def action_view(self) -> None:
        """Both charts, only the loss, only the accuracy."""
        views = _VIEWS if self._room_for_both() else _VIEWS[1:]
        at = views.index(self._view) if self._view in views else 0
        self._view = views[(at + 1) % len(views)]
        self._arrange()

    def _room_for_both(self) -> bool:
        return self.size.height >= self.STACKED or self.size.width >= WIDE

    def _arrange(self) -> None:
        both = self._room_for_both() and self._view == "both"
        shown = "loss" if self._view == "both" else self._view
        for chart in self.charts():
            chart.display = both or chart.id == shown

    def action_move(self, columns: int) -> None:
        """Move the crosshair by so many columns; it appears at the end of the curves."""
        shown = [chart for chart in self.charts() if chart.display]
        end = max((chart.end for chart in shown), default=0.0)
        if end:
            here = shown[0].cross
            x = end if here is None else here + columns * shown[0].step
            self._point(min(end, max(0.0, x)))

    def unpoint(self) -> bool:
        """Take the crosshair away; return whether there was one."""
        pointed = any(chart.cross is not None for chart in self.charts())
        self._point(None)
        return pointed

    def on_chart_pointed(self, message: Chart.Pointed) -> None:
        self._point(message.x)

    def _point(self, x: float | None) -> None:
        for chart in self.charts():
            chart.point(x)
