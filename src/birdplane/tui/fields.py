"""One widget for each kind of parameter: a line to type in, or a row of options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from rich.cells import cell_len
from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.geometry import Size
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget
from textual.widgets import Input

from birdplane.params import Parameter
from birdplane.text import plain
from birdplane.tui.values import ABSENT, kind_of, parse, shown, shown_default


class Edited(Message):
    """A person gave a parameter another value; `ABSENT` where it is left to its default.

    Whoever takes the value says so with `taken`: until then the field shows no other.
    """

    def __init__(self, field: Editor, name: str, value: Any) -> None:
        super().__init__()
        self.name = name
        self.value = value
        self.field = field

    def taken(self) -> None:
        """Say that what is shown from now on knows of the value."""
        self.field.awaited -= 1


class Editor:
    """What both kinds of field are: they belong to somebody, and tell when a person changes them.

    Args:
        parameter: whose value the field holds.
        owner: whose parameter that is.
    """

    def __init__(self, parameter: Parameter, owner: object) -> None:
        self._parameter = parameter
        self.owner = owner
        #: How many values were told and are not taken yet.
        self.awaited = 0

    def _edited(self, value: Any) -> Edited:
        self.awaited += 1
        return Edited(self, self._parameter.name, value)


class Line(Input, Editor):
    """A field to type in. What is typed is handed on as it stands, right or wrong.

    Args:
        parameter: whose value it holds.
        owner: whose parameter that is.
        value: that value, or `ABSENT`.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+d", "default", "Default", id="default"),
        Binding("up", "app.focus_previous", show=False),
        Binding("down", "app.focus_next", show=False),
    ]
    DEFAULT_CSS = """
    Line, Line:focus { height: 1; max-width: 60; border: none; padding: 0 1; background: $surface-lighten-1; }
    Line:focus { background: $primary-muted; }
    """

    def __init__(self, parameter: Parameter, owner: object, value: Any) -> None:
        Editor.__init__(self, parameter, owner)
        placeholder = plain(shown_default(parameter))
        self._last = plain(shown(value))
        Input.__init__(self, self._last, placeholder=placeholder, select_on_focus=False)

    def show(self, value: Any) -> None:
        """Show a value that was not typed here; what is typed and means the same stays as it is."""
        # A value from before the last letters were typed would take them away again.
        ahead = self.awaited or self.value != self._last
        if not ahead and not _same(parse(self.value, self._parameter), value):
            self.value = self._last = plain(shown(value))

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        # What was put here by the program is not what a person typed, nor what it was shortened to for the screen.
        if event.value != self._last:
            self._last = event.value
            self.post_message(self._edited(parse(event.value, self._parameter)))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.app.action_focus_next()

    def action_default(self) -> None:
        """Leave the parameter to its default."""
        self.value = ""


def _same(left: Any, right: Any) -> bool:
    """Tell whether two values mean the same: 0 and 0.0 do, 1 and yes do not."""
    return isinstance(left, bool) is isinstance(right, bool) and bool(left == right)


class Options(Widget, Editor, can_focus=True):
    """A row of options, of which one holds; it takes as many lines as its width asks for.

    Args:
        parameter: whose value it holds.
        owner: whose parameter that is.
        value: that value, or `ABSENT`.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "step(-1)", show=False),
        Binding("right,space,enter", "step(1)", "Next option", key_display="space"),
        Binding("up", "app.focus_previous", show=False),
        Binding("down", "app.focus_next", show=False),
        Binding("d,ctrl+d,backspace,delete", "default", "Default", id="default", key_display="d"),
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = {"options--chosen", "options--other", "options--wrong"}
    DEFAULT_CSS = """
    Options { height: auto; }
    Options > .options--chosen { text-style: bold; }
    Options:focus > .options--chosen { background: $primary; color: $text; }
    Options > .options--other { color: $text-muted; }
    Options > .options--wrong { color: $text-error; text-style: bold; }
    """

    value: reactive[Any] = reactive(None, layout=True)

    def __init__(self, parameter: Parameter, owner: object, value: Any) -> None:
        Widget.__init__(self)
        Editor.__init__(self, parameter, owner)
        self._choices = _options(parameter)
        self.set_reactive(Options.value, value)

    def show(self, value: Any) -> None:
        """Show a value that was not chosen here."""
        if not self.awaited:
            self.value = value

    @property
    def _chosen(self) -> int | None:
        """The option that holds; None where the value is none of them."""
        value = self.value
        if value is ABSENT and not self._parameter.required and self._parameter.default is not None:
            value = self._parameter.default
        return next((i for i, (_, option) in enumerate(self._choices) if _same(option, value)), None)

    def _labels(self) -> list[tuple[str, str]]:
        """Return the words to show, each with the class of its style."""
        chosen = self._chosen
        labels = [
            (f"{'●' if i == chosen else ' '} {label}", "chosen" if i == chosen else "other")
            for i, (label, _) in enumerate(self._choices)
        ]
        if chosen is None and self.value is not ABSENT:
            labels.append((f"  {plain(shown(self.value))}", "wrong"))
        return labels

    def _lines(self, width: int) -> list[list[tuple[int, int, str, str]]]:
        """Return the lines: of each label its position, its column, its text and its style."""
        lines: list[list[tuple[int, int, str, str]]] = [[]]
        column = 0
        for position, (label, style) in enumerate(self._labels()):
            text = f"{label} "
            if column and column + cell_len(text) > width:
                lines.append([])
                column = 0
            lines[-1].append((position, column, text, style))
            column += cell_len(text) + 1
        return lines

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return len(self._lines(width))

    def render(self) -> Content:
        lines = [
            Content(" ").join(
                Content.styled(text, self.get_visual_style(f"options--{style}")) for _, _, text, style in line
            )
            for line in self._lines(self.content_size.width)
        ]
        return Content("\n").join(lines)

    def on_click(self, event: events.Click) -> None:
        lines = self._lines(self.content_size.width)
        offset = event.get_content_offset(self)
        if offset is None or offset.y >= len(lines):
            return
        for position, column, text, _ in lines[offset.y]:
            if column <= offset.x < column + cell_len(text) and position < len(self._choices):
                self._take(self._choices[position][1])

    def action_step(self, by: int) -> None:
        """Choose the next option, or the one before."""
        if self._choices:
            chosen = self._chosen
            at = (chosen + by if chosen is not None else 0) % len(self._choices)
            self._take(self._choices[at][1])

    def action_default(self) -> None:
        """Leave the parameter to its default."""
        self._take(ABSENT)

    def _take(self, value: Any) -> None:
        self.value = value
        self.post_message(self._edited(value))


def _options(parameter: Parameter) -> list[tuple[str, Any]]:
    if kind_of(parameter) == "switch":
        found: Sequence[tuple[str, Any]] = [("no", False), ("yes", True)]
    else:
        found = [(plain(str(choice)), choice) for choice in parameter.choices]
    optional = not parameter.required and parameter.default is None
    # None cannot be given in a file: it is what holds where nothing is given.
    return [("none", ABSENT), *found] if optional else list(found)


Field = Line | Options


def field_for(parameter: Parameter, owner: object, value: Any) -> Field:
    """Return the widget for a parameter of an owner and its value (`ABSENT`: not given)."""
    return (Options if kind_of(parameter) in ("choice", "switch") else Line)(parameter, owner, value)
