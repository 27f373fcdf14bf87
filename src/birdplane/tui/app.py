"""The cockpit's program: five screens over one state, and the keys that hold everywhere."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult, SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen

from birdplane.errors import BirdplaneError, UsageError, nearest
from birdplane.text import plain
from birdplane.tui.ascii import AsciiFilter, ascii_only
from birdplane.tui.bar import LEAST_HEIGHT, LEAST_WIDTH, TopBar
from birdplane.tui.drawing import Drawing
from birdplane.tui.keyorder import OrderedKeys

if TYPE_CHECKING:
    from birdplane.tui.state import Cockpit

#: The screens, in the order of their keys 1 to 5.
SCREENS = ("build", "train", "data", "results", "runs")


def _made(name: str) -> Callable[[], Screen[None]]:
    """Return what makes a screen; its module is imported when it is first shown.

    Where that fails, the screen says why: Textual would show nothing at all.
    """
    title = name.capitalize()

    def make() -> Screen[None]:
        try:
            module = importlib.import_module(f"birdplane.tui.{name}")
            screen: Screen[None] = getattr(module, f"{title}Screen")()
        except Exception as error:
            from birdplane.tui.unavailable import UnavailableScreen

            return UnavailableScreen(title, error)
        return screen

    return make


class BirdplaneApp(OrderedKeys):
    """The cockpit. `run()` returns a line for the terminal that is left behind, or None.

    Args:
        cockpit: the state that the screens share, reached as `self.app.cockpit`; or what makes it, called after
            the first paint: what it imports takes longer than Textual itself.
        first: the screen to begin with.
    """

    cockpit: Cockpit

    CSS_PATH: ClassVar[str] = "app.tcss"
    TITLE = "birdplane"
    MODES: ClassVar[dict[str, Callable[[], Screen[None]]]] = {name: _made(name) for name in SCREENS}  # type: ignore[assignment]
    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Binding(str(number), f"show('{name}')", name.capitalize(), id=f"show-{name}", show=False)
            for number, name in enumerate(SCREENS, 1)
        ),
        Binding("question_mark", "help", "Help", key_display="?", id="help"),
        Binding("q", "leave", "Leave", id="leave"),
        Binding("ctrl+p", "command_palette", "Palette", show=False, priority=True, id="palette"),
        Binding("colon", "command_palette", "Palette", show=False),
    ]

    def __init__(self, cockpit: Cockpit | Callable[[], Cockpit], first: str = "build") -> None:
        super().__init__()
        #: What kept the cockpit from being made.
        self.trouble: BirdplaneError | None = None
        self._first = first
        self.drawing = Drawing(self)
        self._make: Callable[[], Cockpit] | None = None
        self.ascii_only = ascii_only()
        if self.ascii_only:
            self._filters.append(AsciiFilter())
        if callable(cockpit):
            self._make = cockpit
        else:
            self._take(cockpit)

    def _take(self, cockpit: Cockpit) -> None:
        self.cockpit = cockpit
        settings = cockpit.settings
        self.set_keymap(settings.keys)
        if settings.keys:
            # Looking for the actions imports every screen: only for those who set keys.
            from birdplane.tui.actions import check_keys

            check_keys(settings.keys)
        self.animation_level = "full" if settings.animations else "none"
        self.theme = self._known_theme(settings.theme) or self.theme

    def compose(self) -> ComposeResult:
        # What is painted first, until the first screen is there.
        yield TopBar(self._first.capitalize())

    def _known_theme(self, name: str) -> str:
        if name and name not in self.available_themes:
            hint = nearest(name, self.available_themes)
            allowed = ", ".join(sorted(self.available_themes))
            raise UsageError(f"the settings: theme: there is no {name!r}{hint} (allowed: {allowed})")
        return name

    def on_mount(self) -> None:
        self._leave_on_signals()
        self._take_resizes_in_turn()
        self.call_after_refresh(self._open)

    def _open(self) -> None:
        try:
            if self._make is not None:
                self._take(self._make())
        except BirdplaneError as error:
            self.trouble = error
            self.exit()
        else:
            self.action_show(self._first)
            self.drawing.begin()
            # What was imported stays: the collector need not look through it, up to 30 ms, while a key waits.
            if not self.is_headless:
                gc.freeze()

    def write(self, sequence: str) -> None:
        """Send an escape sequence to the terminal, after what was sent before."""
        if self._driver is not None:
            self._driver.write(sequence)

    def _leave_on_signals(self) -> None:
        """Give the terminal back as it was when the program is ended from outside."""
        for name, code in (("SIGTERM", 143), ("SIGHUP", 129)):
            number = getattr(signal, name, None)
            # Not on Windows, and not where the program runs beside the main thread.
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                if number is not None:
                    asyncio.get_running_loop().add_signal_handler(number, partial(self._end, code))

    def _take_resizes_in_turn(self) -> None:
        """Let the event loop call what Textual calls at a resize.

        A handler of the system's may be interrupted by itself: of two sizes the older one is told last then, and
        holds.
        """
        number = getattr(signal, "SIGWINCH", None)
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            if number is not None and callable(handle := signal.getsignal(number)):
                asyncio.get_running_loop().add_signal_handler(number, partial(handle, number, None))

    def _end(self, code: int) -> None:
        self.exit(return_code=code)
        # A terminal that is gone takes no farewell: then without. Not by the event loop, which may have ended.
        farewell = threading.Timer(2.0, os._exit, (code,))
        farewell.daemon = True
        farewell.start()

    def on_unmount(self) -> None:
        # As editors do: a tmux that was resized would leave rows of the last picture above the prompt.
        if self._driver is not None and not self.is_headless:
            self.drawing.forget()
            self.write("\x1b[H\x1b[2J")

    def on_resize(self) -> None:
        self.call_after_refresh(self._fit)
        self.drawing.fit()

    def _fit(self) -> None:
        """Where there is room for a line only, show that."""
        tiny = self.size.width < LEAST_WIDTH or self.size.height < LEAST_HEIGHT
        for screen in self.screen_stack:
            for bar in screen.query(TopBar):
                bar.fit(tiny)

    def action_show(self, name: str) -> None:
        """Go to one of the five screens."""
        self.switch_mode(name)
        self.call_after_refresh(self._fit)

    def action_help(self) -> None:
        """Show what can be done here."""
        from birdplane.tui.help import HelpScreen

        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen(self.screen))

    def action_leave(self) -> None:
        """Leave the cockpit, after a question where the draft would be lost; a run that trains goes on."""
        if not self.cockpit.is_unsaved:
            self._leave()
            return
        from birdplane.tui.confirm import Confirm

        if not isinstance(self.screen, Confirm):
            name = plain(Path(self.cockpit.draft.source).name)
            question = f"The changes of {name} are not saved. Leave?"
            self.push_screen(Confirm(question), lambda yes: self._leave() if yes else None)

    async def action_quit(self) -> None:
        """Leave by the key that Textual has for it, in the same way."""
        self.action_leave()

    def action_help_quit(self) -> None:
        """Say how to leave, to whoever presses what ends a program elsewhere."""
        self.notify("q leaves; a run that trains goes on", timeout=3)

    def _leave(self) -> None:
        """Leave; the line left behind says how to come back to a run that trains."""
        from birdplane.runs import runs_folder

        run = self.cockpit.run
        if run is None or not self.cockpit.is_training(run):
            self.exit()
            return
        where = "" if self.cockpit.runs == runs_folder() else f" --runs {shlex.quote(str(self.cockpit.runs))}"
        state = "stays paused" if run.status().state == "paused" else "goes on training"
        self.exit(f"{run.name} {state}; come back with: birdplane tui {run.name}{where}")

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """Offer every action of the screen in the palette, then the screens and what holds everywhere."""
        from birdplane.tui.help import own_bindings, palette_words

        for active in own_bindings(screen):
            words = palette_words(active)
            act = partial(self.run_action, active.binding.action, active.node)
            yield SystemCommand(active.binding.description, words, act)
        for name in SCREENS:
            yield SystemCommand(
                name.capitalize(), f"Go to the screen {name}", partial(self.action_show, name)
            )
        yield SystemCommand("Theme", "Choose other colours", self.action_change_theme)
        yield SystemCommand("Help", "The keys that work here", self.action_help)
        yield SystemCommand("Leave", "Leave; a run that trains goes on", self.action_leave)


def run_cockpit(make: Callable[[], Cockpit], first: str) -> None:
    """Run the cockpit in this terminal until it is left.

    Raises:
        BirdplaneError: it could not be made.
    """
    # Exported by a shell they tell what size the terminal had then, and Textual would believe them, not the terminal.
    for name in ("COLUMNS", "LINES"):
        os.environ.pop(name, None)
    app = BirdplaneApp(make, first)
    app.drawing.listen()
    try:
        line = app.run()
    finally:
        if hasattr(app, "cockpit"):
            app.cockpit.helper.close()
    if app.trouble is not None:
        raise app.trouble
    if line:
        print(line)
    if app.return_code:
        sys.exit(app.return_code)


def terminal_trouble() -> str:
    """Return why no cockpit can be drawn here, or an empty string."""
    # Textual draws on stderr and reads stdin; without a terminal there it blanks or hangs.
    missing = [name for name in ("stdin", "stdout", "stderr") if not getattr(sys, name).isatty()]
    if missing:
        return f"{' and '.join(missing)} {'are' if len(missing) > 1 else 'is'} not a terminal"
    return "TERM is 'dumb'" if os.environ.get("TERM") == "dumb" else ""


def open_draft(source: str | Path | None) -> tuple[dict[str, object], str]:
    """Return the document and the name of a pipeline file or recipe; the demo where none is named."""
    from birdplane.pipeline import Pipeline

    pipeline = Pipeline.load(source or "demo")
    return pipeline.document, pipeline.source
