"""The form of a step: generated from its parameters, nothing of it written by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from textual import events
from textual.app import ComposeResult
from textual.containers import Grid, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from birdplane.params import Parameter
from birdplane.text import plain
from birdplane.tui.fields import Field, Options, field_for
from birdplane.tui.values import ABSENT, hint

#: How many rows are made without looking at the keyboard in between.
_AT_ONCE = 5


class Note(Static):
    """Below a field: what it is for, what it may hold, and what is wrong with what it holds."""

    def __init__(self, parameter: Parameter) -> None:
        help_text = plain(parameter.help)
        self._about = Content.styled(
            "\n".join(part for part in (help_text, plain(hint(parameter))) if part), "dim"
        )
        super().__init__(self._about, classes="note")
        self._wrong = ""

    def show(self, wrong: str) -> None:
        """Show what is wrong; nothing where it is right."""
        if wrong != self._wrong:
            self._wrong = wrong
            trouble = Content.styled(plain(wrong) + "\n", "$text-error") if wrong else Content("")
            self.update(trouble + self._about)


class Row(Grid):
    """One parameter: its name, its field, its note."""

    def __init__(self, parameter: Parameter, owner: object, value: Any) -> None:
        self.parameter = parameter
        self.editor: Field = field_for(parameter, owner, value)
        super().__init__(classes="-options" if isinstance(self.editor, Options) else "")
        self.note = Note(parameter)
        self._label = Static(Content(plain(parameter.name)), classes="label")

    def compose(self) -> ComposeResult:
        yield self._label
        yield self.editor
        yield self.note

    def show(self, value: Any, wrong: str) -> None:
        self.editor.show(value)
        self.note.show(wrong)
        self.set_class(bool(wrong), "-wrong")
        self.set_class(value is not ABSENT, "-given")


class Form(VerticalScroll, can_focus=False):
    """The fields of one component. `Edited` tells of what is typed and chosen in them."""

    DEFAULT_CSS = """
    Form { padding: 0 2 0 2; scrollbar-size-vertical: 1; scrollbar-color: $surface-lighten-2; }
    Form > Row {
        grid-size: 2; grid-columns: 20 1fr; grid-rows: auto; height: auto; margin-bottom: 1;
    }
    Form.-slim > Row { grid-columns: 16 1fr; }
    Form.-slim > Row > .note { padding: 0 0 0 2; }
    Form.-slim > Row.-options { layout: vertical; }
    Form.-slim > Row > Options { padding: 0 0 0 1; }
    Form > Row > .label { height: 1; color: $text-muted; }
    Form > Row.-given > .label { color: $foreground; text-style: bold; }
    Form > Row.-wrong > .label { color: $text-error; }
    Form > Row > .note { height: auto; column-span: 2; padding: 0 1 0 21; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._names: tuple[Parameter, ...] = ()
        self._identity: object = None

    async def show(
        self,
        owner: object,
        parameters: Sequence[Parameter],
        given: Mapping[str, Any],
        wrong: Mapping[str, str],
    ) -> None:
        """Show the fields of a component.

        Args:
            owner: what the fields belong to; as long as it and their names stay the same the widgets stay, and the
                cursor.
            parameters: the fields.
            given: the values that are given.
            wrong: what is wrong, a sentence for each name.
        """
        identity = owner, frozenset(parameter.name for parameter in parameters)
        if identity != self._identity:
            self._identity = identity
            await self._fill([Row(p, owner, given.get(p.name, ABSENT)) for p in parameters])
        for row in self.query_children(Row):
            row.show(given.get(row.parameter.name, ABSENT), wrong.get(row.parameter.name, ""))

    async def _fill(self, rows: list[Row]) -> None:
        """Put other rows in the place of those that are here: the first ones at once, the others a few at a time, so
        that a key pressed meanwhile does not wait for all of them."""
        async with self.batch():
            await self.remove_children()
            await self.mount_all(rows[:_AT_ONCE])
        self.scroll_home(animate=False)
        for begin in range(_AT_ONCE, len(rows), _AT_ONCE):
            await self.mount_all(rows[begin : begin + _AT_ONCE])

    @property
    def fields(self) -> list[Field]:
        return [row.editor for row in self.query_children(Row)]

    def enter(self) -> bool:
        """Put the cursor into the first field that is wrong, else the first; return whether there is one."""
        rows = list(self.query_children(Row))
        if not rows:
            return False
        editor = next((row for row in rows if row.has_class("-wrong")), rows[0]).editor
        self.screen.set_focus(editor)
        if self.screen.focused is not editor:  # the form comes into view only with the next layout
            editor.focus()
        return True

    def on_resize(self, event: events.Resize) -> None:
        self.set_class(event.size.width < 64, "-slim")
