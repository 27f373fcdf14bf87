"""The cockpit's program: five screens over one state, and the keys that hold everywhere."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from textual.app import App
from textual.binding import Binding, BindingType
from textual.screen import Screen

from birdplane.tui.state import Cockpit

#: The screens, in the order of their keys 1 to 5.
SCREENS = ("build", "train", "data", "results", "runs")


def _made(name: str) -> Callable[[], Screen[None]]:
    """Return what makes a screen; its module is imported when it is first shown."""

    def make() -> Screen[None]:
        module = importlib.import_module(f"birdplane.tui.{name}")
        screen: Screen[None] = getattr(module, f"{name.capitalize()}Screen")()
        return screen

    return make


class BirdplaneApp(App[str]):
    """The cockpit. `run()` returns a line for the terminal that is left behind, or None.

    Args:
        cockpit: the state that the screens share, reached as `self.app.cockpit`.
        first: the screen to begin with.
    """

    CSS_PATH: ClassVar[str] = "app.tcss"
    TITLE = "birdplane"
    MODES: ClassVar[dict[str, Callable[[], Screen[None]]]] = {name: _made(name) for name in SCREENS}  # type: ignore[assignment]
    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Binding(str(number), f"show('{name}')", name.capitalize(), id=name, show=False)
            for number, name in enumerate(SCREENS, 1)
        ),
        Binding("question_mark", "help", "Help", key_display="?", id="help"),
        Binding("q", "leave", "Leave", id="leave"),
    ]

    def __init__(self, cockpit: Cockpit, first: str = "build") -> None:
        super().__init__()
        self.cockpit = cockpit
        self._first = first
        settings = cockpit.settings
        self.set_keymap(settings.keys)
        self.animation_level = "full" if settings.animations else "none"
        if settings.theme in self.available_themes:
            self.theme = settings.theme

    def on_mount(self) -> None:
        self.switch_mode(self._first)

    def action_show(self, name: str) -> None:
        """Go to one of the five screens."""
        self.switch_mode(name)

    def action_help(self) -> None:
        """Show what can be done here."""
        from birdplane.tui.help import HelpScreen

        self.push_screen(HelpScreen(self.screen))

    def action_leave(self) -> None:
        """Leave the cockpit; a run that trains goes on, and the line left behind says how to come back."""
        run = self.cockpit.run
        if run is not None and run.status().live:
            self.exit(f"{run.name} goes on training; come back with: birdplane tui {run.name}")
        else:
            self.exit()


def run_cockpit(cockpit: Cockpit, first: str) -> None:
    """Run the cockpit in this terminal until it is left."""
    try:
        line = BirdplaneApp(cockpit, first).run()
    finally:
        cockpit.helper.close()
    if line:
        print(line)


def terminal_trouble() -> str:
    """Return why no cockpit can be drawn here, or an empty string."""
    # Textual draws on stderr and reads stdin; without a terminal there it blanks or hangs.
    missing = [name for name in ("stdin", "stdout", "stderr") if not getattr(sys, name).isatty()]
    return f"{' and '.join(missing)} is not a terminal" if missing else ""


def open_draft(source: str | Path | None) -> tuple[dict[str, object], str]:
    """Return the document and the name of a pipeline file or recipe; the demo where none is named."""
    from birdplane.pipeline import Pipeline

    pipeline = Pipeline.load(source or "demo")
    return pipeline.document, pipeline.source
