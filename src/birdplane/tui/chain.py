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

from birdplane.text import plain

Mark = Literal["right", "wrong", "open"]
#: A sign and its style for each mark.
_SIGNS: dict[Mark, tuple[str, str]] = {
    "right": ("✓", "$text-success"),
    "wrong": ("✗", "$text-error bold"),
    "open": ("○", "$text-warning"),
}
_LABEL = 11


@dataclass(frozen=True)
class Line:
    """What a line of the chain shows.

    Args:
        label: the step's name, such as `Model`; empty for a transform, which stands below its heading.
        text: what was picked.
        shape: what leaves it.
        values: what the numbers of that are.
        mark: whether it is right.
        faint: whether the text says that nothing was picked.
        settled: whether the shape is that of the draft as it is now.
    """

    label: str
    text: str
    shape: str = ""
    values: str = ""
    mark: Mark = "right"
    faint: bool = False
    settled: bool = True


class Chain(OptionList):
    """The lines, and a cursor. `Moved` tells where it is; `Opened` that the component there is to be changed."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "cursor_down", show=False),
        Binding("k", "cursor_up", show=False),
        Binding("enter,space", "select", "Pick", tooltip="another component", id="choose"),
        Binding("tab", "screen.form", "Form", tooltip="the parameters of this step", id="form"),
    ]
    DEFAULT_CSS = """
    Chain, Chain:focus {
        height: 1fr; max-height: 100%; border: none; padding: 0;
        background: transparent; background-tint: transparent;
        scrollbar-color: $surface-lighten-2; scrollbar-size-vertical: 1;
    }
    Chain > .option-list--option { padding: 0 1; }
    Chain > .option-list--option-highlighted { background: $surface-lighten-1; text-style: none; }
    Chain:focus > .option-list--option-highlighted {
        background: $primary-muted; color: $foreground; text-style: bold;
    }
    """

    class Opened(Message):
        """Another component is wanted for the step under the cursor."""

    class Moved(Message):
        """The cursor is at another step."""

    def __init__(self) -> None:
        super().__init__(markup=False)
        self._shown: tuple[Line, ...] = ()
        self._cells = 0

    @property
    def cursor(self) -> int:
        """Which line the cursor is at."""
        return self.highlighted or 0

    def show(self, lines: Sequence[Line], cursor: int) -> None:
        """Show the lines, only those that changed anew, with the cursor at one of them."""
        before, width = self._shown, self._room
        self._shown, redraw = tuple(lines), width != self._cells
        self._cells = width
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
        sign, style = _SIGNS[line.mark]
        label = set_cell_size(line.label, _LABEL) if line.label else "  "
        room = self._cells - 2 - cell_len(label)
        columns = _columns(self._shown, self._cells)
        leaves = "".join(
            f"  {set_cell_size(plain(text), width)}"
            for text, width in zip((line.shape, line.values), columns, strict=True)
            if width
        )
        text = _cut(plain(line.text), room - cell_len(leaves))
        return Content.assemble(
            (f"{sign} ", style),
            (label, "$foreground 60%" if line.label else ""),
            (text, "$foreground 60%" if line.faint else ""),
            (leaves, "$foreground 60%" if line.settled else "$foreground 30%"),
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
        if self._room != self._cells:
            self.show(self._shown, self.cursor)


def _columns(lines: Sequence[Line], width: int) -> tuple[int, int]:
    """Return the widths of the columns at the right: the shapes, and where there is room their meaning."""
    shapes = min(max((cell_len(plain(line.shape)) for line in lines), default=0), 20)
    values = min(max((cell_len(plain(line.values)) for line in lines), default=0), 20)
    taken = 2 + _LABEL + 15 + 2 + shapes
    return (shapes if taken <= width + 2 else 0, values if taken + values + 2 <= width else 0)


def _cut(text: str, width: int) -> str:
    """Return the text in exactly so many cells."""
    if width <= 0 or cell_len(text) <= width:
        return set_cell_size(text, max(0, width))
    return set_cell_size(set_cell_size(text, width - 1) + "…", width)
