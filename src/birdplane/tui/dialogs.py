"""Small questions: a name to save under, and whether a file is to be overwritten."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, Static

from birdplane.text import plain
from birdplane.tui.modal import Modal


class SaveAs(Modal[Path | None]):
    """Ask for the name of a pipeline file; a name that is taken must be confirmed.

    Args:
        name: what is proposed.
        own: the file that the draft came from: to save there again is no surprise.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "cancel", "Back")]
    DEFAULT_CSS = """
    SaveAs { align: center middle; background: $background 60%; }
    SaveAs > Vertical { width: 90%; max-width: 76; height: auto; background: $surface; padding: 1 2; }
    SaveAs Input, SaveAs Input:focus { height: 1; border: none; padding: 0 1; background: $surface-lighten-1; }
    SaveAs .title { text-style: bold; margin-bottom: 1; }
    SaveAs .foot { height: auto; color: $text-muted; margin-top: 1; padding: 0 1; }
    SaveAs .foot.-asking { color: $text-warning; text-style: bold; }
    """

    def __init__(self, name: str, own: Path | None) -> None:
        super().__init__()
        self._proposed = name
        self._own = own
        self._confirming = ""

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(Content("Save the pipeline as"), classes="title")
            yield Input(plain(self._proposed), placeholder="a name", compact=True)
            yield Static("", classes="foot")

    def on_mount(self) -> None:
        self._tell("")

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._tell("")

    def _tell(self, question: str) -> None:
        self._confirming = question and str(self._path())
        foot = self.query_one(".foot", Static)
        foot.set_class(bool(question), "-asking")
        where = f"in {Path.cwd()}   " if not self._path().is_absolute() else ""
        foot.update(Content(plain(question or f"{where}enter saves   esc goes back")))

    def _path(self) -> Path:
        typed = self.query_one(Input).value.strip()
        path = Path(typed).expanduser() if typed else Path(self._proposed)
        return path if path.suffix == ".toml" else path.with_name(f"{path.name}.toml")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        path = self._path()
        if path.is_dir():
            self._tell(f"{path} is a folder: give the name of a file")
        elif path.exists() and path != self._own and self._confirming != str(path):
            self._tell(f"{path} is there already: enter again overwrites it, esc goes back")
        else:
            self.dismiss(path)

    def action_cancel(self) -> None:
        self.dismiss(None)
