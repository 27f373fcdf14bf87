"""A question before something is lost: answered with another key than the one that asked."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Static

from birdplane.tui.modal import Modal


class Confirm(Modal[bool]):
    """Asks in a line at the bottom; `y` is yes, every other key and a click elsewhere is no.

    Args:
        question: what will happen, as a sentence.
    """

    DEFAULT_CSS = """
    Confirm {
        align: center bottom;
        background: transparent;
        Static { width: 100%; height: auto; padding: 0 1; background: $warning-muted; color: $text-warning; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("y", "yes", "Yes")]

    def __init__(self, question: str) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        yield Static(Content(f"{self._question}   y: yes   any other key: no"), markup=False)

    def action_yes(self) -> None:
        self.dismiss(True)

    def on_key(self, event: events.Key) -> None:
        if event.key != "y":
            event.stop()
            self.dismiss(False)

    def on_click(self) -> None:
        self.dismiss(False)
