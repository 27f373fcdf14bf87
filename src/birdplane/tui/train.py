"""The Train screen: a run as it trains, or as it was; everything is read from the run's folder."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Static

from birdplane.errors import BirdplaneError
from birdplane.runs import Action, Run, Status
from birdplane.text import plain
from birdplane.tui import facts
from birdplane.tui.bar import TopBar
from birdplane.tui.cells import cut
from birdplane.tui.chart import Chart
from birdplane.tui.charting import CHART_BINDINGS, ChartScreen
from birdplane.tui.keybar import KeyBar
from birdplane.tui.monitor import Monitor, is_alive, memory_of

#: Seconds between two looks at the process, and at least between two changes of the figures: what flickers is not
#: read.
_LOOK_SECONDS = 0.8
_FIGURES_SECONDS = 0.5
_EMPTY = """No run is open.

5   opens one from the list of runs
1   builds a pipeline, and t there trains it

`birdplane train` in another terminal makes one that can be watched here.
"""
_ASKED: dict[Action, str] = {
    "pause": "asked to pause: it holds still after this step, p lets it go on",
    "resume": "asked to go on",
    "stop": "asked to stop: it saves a checkpoint first, r goes on from there",
}


@dataclass
class _Seen:
    """What the last look at the process found; `state` is also `starting`, between the launch and the lock."""

    status: Status = field(default_factory=lambda: Status("new"))
    state: str = ""
    memory: int | None = None
    log: list[str] = field(default_factory=list)


class TrainScreen(ChartScreen, inherit_bindings=False):
    """Curves, figures and sentences about the run that is open, and the keys that steer it."""

    HELP = (
        "Watch the run that is open: its loss and accuracy on the pictures it trains on and on those it never sees. "
        "Leaving the screen or the program does not stop it."
    )
    DEFAULT_CSS = """
    TrainScreen {
        #facts { height: auto; padding: 0 1; margin-top: 1; }
        #notes { height: auto; max-height: 40%; padding: 0 1; }
        #empty { height: 1fr; content-align: center middle; padding: 0 2; color: $text-muted; display: none; }
        &.-low #facts { margin: 0; }
        .-empty { display: none; }
        &.-without-run { #facts, #charts, #notes { display: none; } #empty { display: block; } }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p", "pause", "Pause", tooltip="hold still after this step", id="pause"),
        Binding("p", "go_on", "Go on", tooltip="with the next step, after a pause", id="go-on"),
        Binding("s", "stop", "Stop", tooltip="save and end; Resume goes on exactly there", id="stop"),
        Binding("r", "resume", "Resume", tooltip="from the last checkpoint", id="resume"),
        Binding("d", "detach", "Detach", tooltip="leave; training goes on", id="detach"),
        *CHART_BINDINGS,
        Binding("enter", "results", "Results", tooltip="what the model gets right and wrong", id="results"),
        Binding("escape", "unpoint", "Take the crosshair away", show=False),
        *Screen.BINDINGS,
    ]

    def __init__(self) -> None:
        super().__init__()
        self._monitor: Monitor | None = None
        self._seen = _Seen()
        self._looking = False
        self._said = ""
        self._figures_due = 0.0
        self._lines = 0

    def compose(self) -> ComposeResult:
        yield TopBar("Train")
        yield Static(_EMPTY, id="empty", markup=False)
        yield Static(id="facts", markup=False)
        yield Container(id="charts")
        yield Static(id="notes", markup=False)
        yield KeyBar()

    def on_mount(self) -> None:
        self.draw_frames(self._tick)
        self.set_interval(_LOOK_SECONDS, self._look)

    async def on_screen_resume(self) -> None:
        await self._open(self.cockpit.run)

    async def _open(self, run: Run | None) -> None:
        self.set_class(run is None, "-without-run")
        known = self._monitor
        if run is None:
            self._monitor = None
        elif known is None or known.run.path != run.path:
            self._monitor = monitor = Monitor(run)
            self._seen, self._said = _Seen(), ""
            await self.show_charts(
                Chart("loss", (monitor.train_loss, monitor.validation_loss), id="loss"),
                Chart(
                    "accuracy %",
                    (monitor.train_accuracy, monitor.validation_accuracy),
                    digits=2,
                    bounds=(0, 100),
                    id="accuracy",
                ),
            )
        self._look()
        self._tick()

    # What is seen.

    def on_resize(self) -> None:
        super().on_resize()
        self._show_figures()

    def _tick(self) -> bool:
        """Read what is new, in a slice that does not hold up the keys, and draw it; return whether there was any."""
        monitor = self._monitor
        if monitor is None or not self.is_current:
            return False
        try:
            changed = monitor.poll()
        except OSError as error:
            self._say(f"the run cannot be read: {error.strerror or error}")
            return False
        if monitor.behind:
            self.call_later(self._tick)
            self._show_figures()
            return True
        if changed:
            self.grow(float(monitor.start.epochs) if monitor.start else None)
        if time.monotonic() >= self._figures_due:
            self._show_figures()
        return changed

    def _look(self) -> None:
        """Look at the process in a thread: files on a slow disk must not hold up the screen."""
        if self._monitor is None or self._looking or not self.is_current:
            return
        self._looking = True
        run = self._monitor.run
        self.run_worker(
            lambda: self._look_at(run), thread=True, group="look", exit_on_error=False, name=run.name
        )

    def _look_at(self, run: Run) -> None:
        try:
            seen = self._found(run)
        except OSError as error:
            seen = _Seen(Status("broken", error.strerror or str(error)), "broken")
        finally:
            self._looking = False
        with contextlib.suppress(RuntimeError):  # the program was left in the meantime
            self.app.call_from_thread(self._take, run, seen)

    def _found(self, run: Run) -> _Seen:
        if not run.path.is_dir():
            return _Seen(Status("broken", "its folder is gone"), "broken")
        status = run.status()
        started = self.cockpit.started.get(run.path)
        if not status.live and started is not None and is_alive(started):
            return _Seen(Status("new", "the training process loads PyTorch"), "starting")
        if status.live:
            return _Seen(status, status.state, memory_of(status.pid) if status.pid else None)
        ended_well = status.state in ("done", "stopped")
        return _Seen(status, status.state, log=[] if ended_well else run.log_tail(6))

    def _take(self, run: Run, seen: _Seen) -> None:
        if self._monitor is None or self._monitor.run is not run:
            return
        changed = seen.state != self._seen.state
        self._seen = seen
        if changed:
            self._said = ""
            self.refresh_bindings()
            self._show_figures()
        else:
            self._figures_due = (
                0.0  # with the next frame: two changes of the screen cost twice as much as one
            )

    def _show_figures(self) -> None:
        monitor = self._monitor
        if monitor is None:
            return
        self._figures_due = time.monotonic() + _FIGURES_SECONDS
        lines = self._facts(monitor)
        # To arrange the screen anew takes longer than to draw it: only where a line comes or goes.
        self._update("#facts", lines, layout=len(lines) != self._lines)
        self._lines = len(lines)
        self._update("#notes", self._notes(monitor), layout=True)

    def _update(self, selector: str, lines: list[Content], *, layout: bool) -> None:
        widget, content = self.query_one(selector, Static), Content("\n").join(lines)
        if widget.content != content:
            widget.update(content, layout=layout)
            widget.set_class(not len(content), "-empty")

    def _facts(self, monitor: Monitor) -> list[Content]:
        status, width = self._seen.status, max(20, self.size.width - 2)
        ascii_only = bool(getattr(self.app, "ascii_only", False))
        epoch, left = facts.epoch_words(monitor), facts.left_words(monitor, status)
        bar = facts.progress_bar(monitor, 24 if width >= 76 else 0, ascii_only)
        name = Content.styled(plain(monitor.run.name), "bold")
        reading = f"reading, {100 * monitor.behind:.0f} % to go" if monitor.behind else ""
        first: list[Content | str] = [
            name,
            facts.state_words(self._seen.state),
            bar,
            epoch,
            left,
            reading,
            facts.step_words(monitor),
        ]
        second = [
            *facts.pace_words(monitor, status),
            self._memory_words(monitor),
            facts.best_words(monitor),
            *facts.setting_words(monitor),
        ]
        lines = [facts.fitted(first, width), facts.fitted(second, width)]
        return [line for line in lines if len(line)]

    def _memory_words(self, monitor: Monitor) -> str:
        if not self._seen.status.live:
            return ""
        return facts.memory_words(self._seen.memory or monitor.memory, monitor.gpu_memory)

    def _notes(self, monitor: Monitor) -> list[Content]:
        """Return what is worth knowing: the state, the alerts, and below them the log, which may say anything."""
        status, state = self._seen.status, self._seen.state
        notes = [Content.styled(self._said, "$text-accent")] if self._said else []
        tail: list[str] = []
        if status.state in ("crashed", "failed", "broken"):
            mend = f"; r goes on from step {monitor.saved.step:,}" if monitor.saved else "; r tries again"
            mend = mend if status.state != "broken" else ""
            notes.append(Content.styled(f"{status.state}: {plain(status.reason)}{mend}", "$text-error"))
            tail = self._seen.log[-4:] if self.size.height >= 20 else []
        elif state == "new":
            notes.append(Content("it has not begun: r starts it"))
        elif state == "paused":
            notes.append(Content("paused: p goes on, s saves and ends it"))
        elif status.state == "stopped":
            notes.append(Content("stopped and saved: r goes on from there"))
        elif status.reason and status.state != "done":
            notes.append(Content(plain(status.reason)))
        room, width = (1 if self.size.height < 20 else 3), max(20, self.size.width - 2)
        alerts = [
            Content.assemble(("! ", "$text-warning bold"), plain(alert.message))
            for alert in monitor.alerts[-room:]
        ]
        lines = [Content.styled(f"  {cut(line, width - 2)}", "$text-muted") for line in tail]
        return [*notes, *alerts, *lines]

    def _say(self, sentence: str) -> None:
        self._said = plain(sentence)
        self._show_figures()

    # What the keys do.

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("pause", "go_on", "stop", "resume"):
            live, state = self._seen.status.live, self._seen.state
            if action in ("pause", "go_on") and (state == "paused") != (action == "go_on"):
                return False
            fits = (
                live if action != "resume" else not live and state in ("new", "stopped", "failed", "crashed")
            )
            return self._monitor is not None and fits
        if action in ("detach", "log", "smooth", "view", "results", "move", "unpoint"):
            return self._monitor is not None
        return True

    def action_pause(self) -> None:
        """Hold still after this step."""
        self._ask("pause")

    def action_go_on(self) -> None:
        """Train on after a pause."""
        self._ask("resume")

    def action_stop(self) -> None:
        """Save a checkpoint and end the process."""
        self._ask("stop")

    def _ask(self, action: Action) -> None:
        if self._monitor is None:
            return
        try:
            self._monitor.run.request(action)
        except BirdplaneError as error:
            self._say(str(error))
        else:
            self._say(_ASKED[action])

    def action_resume(self) -> None:
        """Train on in a new process, from the last checkpoint."""
        monitor, state = self._monitor, self._seen.state
        if monitor is None or state not in ("new", "stopped", "failed", "crashed"):
            return
        try:
            self.cockpit.start(monitor.run)
        except BirdplaneError as error:
            self._say(str(error))
        else:
            self._say("a training process is started")
            self._look()

    def action_detach(self) -> None:
        """Leave the program; the run goes on."""
        self.app.action_leave()  # type: ignore[attr-defined]

    def action_unpoint(self) -> None:
        """Take the crosshair away."""
        self.unpoint()

    def action_results(self) -> None:
        """Look at what the model of this run gets right and wrong."""
        self.app.action_show("results")  # type: ignore[attr-defined]
