"""The line on top of every screen: where one is; in a terminal too small for more, the run in a line."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from textual.content import Content
from textual.widgets import Static

if TYPE_CHECKING:
    from birdplane.runs import Run

_NAMES = ("Build", "Train", "Data", "Results", "Runs")
_LOOK_SECONDS = 1.0
#: Fewer cells than these show a line instead of a screen.
LEAST_WIDTH, LEAST_HEIGHT = 60, 16


class TopBar(Static):
    """`1 Build  2 Train  ...`, the current one marked; a click goes there.

    On a screen of the class `-tiny`, where it alone is shown, it tells of the open run instead.

    Args:
        current: the name of the screen that it stands on, such as `"Build"`.
    """

    def __init__(self, current: str) -> None:
        super().__init__(_names(current), id="top-bar", markup=False)
        self._current = current
        self._tiny = False

    def on_mount(self) -> None:
        self.set_interval(_LOOK_SECONDS, self._look)

    def fit(self, tiny: bool) -> None:
        """Change between the names of the screens and the line about the run."""
        self.screen.set_class(tiny, "-tiny")
        if tiny != self._tiny:
            self._tiny = tiny
            self.update(_names(self._current))
            self._look()

    def _look(self) -> None:
        if self._tiny and self.screen.is_current:
            own = getattr(self.screen, "line", None)
            if own is not None:  # of a screen that is about something else than the run
                self._show(own())
                return
            run: Run | None = self.app.cockpit.run  # type: ignore[attr-defined]
            self.run_worker(lambda: self._tell(run), thread=True, group="bar", exit_on_error=False)

    def _tell(self, run: Run | None) -> None:
        line = one_line(run)
        with contextlib.suppress(RuntimeError):  # the program was left in the meantime
            self.app.call_from_thread(self._show, line)

    def _show(self, line: str) -> None:
        if self._tiny:
            self.update(Content(line).truncate(max(1, self.app.size.width), ellipsis=True))


def one_line(run: Run | None) -> str:
    """Return state, epoch, loss and accuracy of a run in a line."""
    from birdplane.text import plain
    from birdplane.tui.facts import number, percent

    if run is None:
        return f"no run is open; more from {LEAST_WIDTH}x{LEAST_HEIGHT} cells on; q leaves"
    try:
        summary, status = run.summary(), run.status()
    except OSError as error:
        return f"{plain(run.name)} cannot be read: {error.strerror or error}"
    epoch, start, progress = summary.epoch, summary.start, summary.progress
    parts = [plain(run.name), status.state]
    if start is not None:
        parts.append(f"epoch {epoch.epoch if epoch else 0}/{start.epochs}")
    if epoch is not None:
        loss = epoch.train_loss if epoch.validation_loss is None else epoch.validation_loss
        parts += [f"loss {number(loss)}", percent(epoch.validation_accuracy)]
    elif progress is not None:
        parts += [f"loss {number(progress.mean)}", percent(progress.accuracy)]
    return " ".join(parts)


def _names(current: str) -> Content:
    parts = [Content.styled(" birdplane ", "bold")]
    for number, name in enumerate(_NAMES, 1):
        style = "bold reverse" if name == current else ""
        action = f"@click=app.show('{name.lower()}')"
        parts.append(Content.from_markup(f"[{style} {action}] {number} {name} [/]"))
    return Content("").join(parts)
