"""The pipeline as a vertical chain: a line a step, with its tick or cross and the shape that leaves it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from rich.cells import cell_len, set_cell_size
from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from birdplane.cli.screen import plain

Mark = Literal["right", "wrong", "open", "none"]
#: A sign and its style for each mark, and the sign where there is no UTF-8.
_SIGNS: dict[Mark, tuple[str, str, str]] = {
    "right": ("✓", "+", "$text-success"),
    "wrong": ("✗", "x", "$text-error bold"),
    "open": ("○", "o", "$text-warning"),
    "none": (" ", " ", ""),
}
_LABEL = 12


@dataclass(frozen=True)
class Line:
    """What a line of the chain shows.

    Args:
        label: the step's name, such as `Model`; empty for a transform, which stands below its heading.
        text: what was picked.
        leaves: the shape that leaves it.
        mark: whether it is right.
        faint: whether the text says that nothing was picked.
    """

    label: str
    text: str
    leaves: str = ""
    mark: Mark = "none"
    faint: bool = False


class Chain(OptionList):
    """The lines, and a cursor. `Moved` tells where it is; `Opened` that the component there is to be changed."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "cursor_down", show=False),
        Binding("k", "cursor_up", show=False),
        Binding("enter,space", "select", "Choose", id="choose"),
    ]
    DEFAULT_CSS = """
    Chain, Chain:focus {
        height: 1fr; max-height: 100%; border: none; padding: 0; background: transparent; background-tint: transparent;
        scrollbar-size-vertical: 1;
    }
    Chain > .option-list--option { padding: 0 1; }
    Chain > .option-list--option-highlighted { background: $surface-lighten-1; text-style: none; }
    Chain:focus > .option-list--option-highlighted { background: $primary-muted; color: $foreground; text-style: bold; }
    """

    class Opened(Message):
        """Another component is wanted for the step under the cursor."""

    class Moved(Message):
        """The cursor is at another step."""

    def __init__(self) -> None:
        super().__init__(markup=False)
        self._lines: tuple[Line, ...] = ()
        self._width = 0

    @property
    def cursor(self) -> int:
        """Which line the cursor is at."""
        return self.highlighted or 0

    def show(self, lines: Sequence[Line], cursor: int) -> None:
        """Show the lines, only those that changed anew, with the cursor at one of them."""
        before, width = self._lines, self._room
        self._lines, redraw = tuple(lines), width != self._width
        self._width = width
        prompts = [self._prompt(line) for line in lines]
        if len(before) != len(lines):
            self.set_options(Option(prompt) for prompt in prompts)
        else:
            for position, prompt in enumerate(prompts):
                if redraw or before[position] != lines[position]:
                    self.replace_option_prompt_at_index(position, prompt)
        cursor = max(0, min(cursor, len(lines) - 1))
        if self.highlighted != cursor:
            self.highlighted = cursor

    @property
    def _room(self) -> int:
        return max(20, self.scrollable_content_region.width - 2)

    def _prompt(self, line: Line) -> Content:
        sign, plain_sign, style = _SIGNS[line.mark]
        if getattr(self.app, "ascii_only", False):
            sign = plain_sign
        leaves = plain(line.leaves)
        indent = 2 if not line.label else 0
        label = set_cell_size(line.label, _LABEL if not indent else indent)
        room = self._width - 2 - cell_len(label)
        shape = min(cell_len(leaves), max(0, room - 8))
        text = set_cell_size(plain(line.text), max(0, room - (shape + 1 if shape else 0)))
        return Content.assemble(
            (f"{sign} ", style),
            (label, "$text-muted"),
            (text, "$text-muted" if line.faint else ""),
            (f" {set_cell_size(leaves, shape)}" if shape else "", "$text-muted"),
        )

    async def _on_click(self, event: events.Click) -> None:
        """A click goes to a step, a second one opens the picker: OptionList's own opens it at once."""
        event.prevent_default()
        clicked = event.style.meta.get("option")
        if clicked is not None:
            self.highlighted = clicked
            if event.chain == 2:
                self.action_select()

    def on_option_list_option_highlighted(self, event: Any) -> None:
        event.stop()
        self.post_message(self.Moved())

    def on_option_list_option_selected(self, event: Any) -> None:
        event.stop()
        self.post_message(self.Opened())

    def on_resize(self) -> None:
        if self._room != self._width:
            self.show(self._lines, self.cursor)
