"""Asking for a file by its path, completed as one types."""

from __future__ import annotations

import asyncio
import os
from itertools import islice
from pathlib import Path
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.suggester import Suggester
from textual.widgets import Input, Static

from birdplane.tui.cells import cut
from birdplane.tui.modal import Modal

_MOST_ENTRIES = 5000
_HINT = "Tab completes, or lists what there is; Enter takes it, Esc goes back"


class PathSuggester(Suggester):
    """Completes the last part of a path to the first file or folder, by name, that begins so."""

    def __init__(self) -> None:
        super().__init__(use_cache=False, case_sensitive=True)

    async def get_suggestion(self, value: str) -> str | None:
        # In a thread: a folder on a slow disk must not hold up the keys.
        return await asyncio.to_thread(completed, value)


def completed(value: str) -> str | None:
    """Return the path completed by one part; a folder ends in its separator. None where nothing begins so."""
    folder, begin = os.path.split(value)
    if not begin:
        return None
    try:
        with os.scandir(Path(folder or ".").expanduser()) as entries:
            names = list(islice(entries, _MOST_ENTRIES))
        found = sorted(
            (entry for entry in names if entry.name.startswith(begin)), key=lambda entry: entry.name
        )
        if not found:
            return None
        name = found[0].name + (os.sep if found[0].is_dir() else "")
    except (OSError, ValueError):
        return None
    return value[: len(value) - len(begin)] + name if name.isprintable() else None


def choices(value: str) -> list[str]:
    """Return the files and folders, by name, with which a path could go on; none where its folder cannot be read."""
    folder, begin = os.path.split(value)
    try:
        with os.scandir(Path(folder or ".").expanduser()) as entries:
            found = [
                entry.name + (os.sep if entry.is_dir() else "")
                for entry in islice(entries, _MOST_ENTRIES)
                if entry.name.startswith(begin) and (begin or not entry.name.startswith("."))
            ]
    except (OSError, ValueError):
        return []
    return sorted(found)


class PathPrompt(Modal[str | None]):
    """One line at the bottom in which a path is typed; gives it back, or None.

    Args:
        label: what it is asked for.
        start: what stands in it at first.
    """

    HELP = (
        "Type the path of a file. Tab or the right arrow takes the completion, Enter the path, Esc nothing."
    )
    DEFAULT_CSS = """
    PathPrompt {
        align: left bottom;
        background: transparent;
        & > Vertical { height: 3; background: $panel; padding: 0 1; }
        & Input { background: $panel; padding: 0; }
        & .hint { color: $text-muted; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", "Cancel", show=False),
        Binding("tab", "complete", "Complete", show=False, priority=True),
    ]

    def __init__(self, label: str, start: str = "") -> None:
        super().__init__()
        self._label, self._start = label, start

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(self._label, markup=False)
            yield Input(self._start, suggester=PathSuggester(), compact=True)
            yield Static(_HINT, classes="hint", markup=False)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value.strip() or None)

    def action_complete(self) -> None:
        """Take the completion."""
        field = self.query_one(Input)
        before = field.value
        field.action_cursor_right()
        if field.value == before:
            self._tell_choices(before)

    @work(exclusive=True)
    async def _tell_choices(self, value: str) -> None:
        """Say what there is to go on with, where nothing can be completed."""
        names = await asyncio.to_thread(choices, value)
        said = "   ".join(names) if names else "nothing here is called that"
        self.query_one(".hint", Static).update(Content(cut(said, self.size.width - 2)))

    def on_input_changed(self) -> None:
        self.query_one(".hint", Static).update(_HINT)
