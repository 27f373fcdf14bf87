"""A list to pick from: what is typed filters it, arrows move, Enter takes, Esc leaves everything as it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from birdplane.plugins import GROUP
from birdplane.registry import Registry
from birdplane.text import plain
from birdplane.tui.modal import Modal
from birdplane.tui.signatures import ScreenCatalog

#: More lines than anybody reads; a model zoo has thousands.
_MOST = 400


@dataclass(frozen=True)
class Item:
    """One thing to pick: what the picker returns, and the columns of its line."""

    value: str
    name: str
    summary: str = ""
    origin: str = ""


def items_of(registry: Registry) -> list[Item]:
    """Return everything that a registry holds."""
    return [
        Item(entry.name, entry.name, entry.component.summary, str(entry.provenance)) for entry in registry
    ]


def trouble_of(catalog: ScreenCatalog) -> list[str]:
    """Return a sentence for each plugin that brings nothing, though it should, or less than it should."""
    whole = [
        f"{plugin.name} (of {plugin.package or 'no package'}) is {plugin.status}: {plugin.reason}"
        for plugin in catalog.plugins().trouble()
    ]
    whole += [
        f"{plugin.name} (of {plugin.package or 'no package'}) {note}"
        for plugin in catalog.plugins().ok()
        for note in plugin.notes
        if note.startswith(("imports ", "takes "))
    ]
    return whole + [
        f"{part.plugin} (of {part.provenance.package or 'no package'}) is broken in part: {part.reason}"
        for part in catalog.trouble()
    ]


def news_of(catalog: ScreenCatalog) -> list[str]:
    """Return a sentence for each plugin that was installed after this program was begun."""
    known = {plugin.name for plugin in catalog.plugins().found}
    return [
        f"{point.name} (of {point.dist.name if point.dist else 'no package'}) was installed meanwhile: "
        "it is there when the cockpit is begun again"
        for point in entry_points(group=GROUP)
        if point.name not in known
    ]


def matching(items: Sequence[Item], typed: str) -> list[Item]:
    """Return the items in which every typed word occurs, those first whose name begins with what was typed."""
    words = typed.casefold().split()

    def rank(item: Item) -> int | None:
        name = item.name.casefold()
        everything = f"{name} {item.summary.casefold()} {item.origin.casefold()}"
        if all(word in everything for word in words):
            first = words[0] if words else ""
            return 0 if name.startswith(first) else 1 if first in name else 2
        return 3 if _scattered(typed.casefold().replace(" ", ""), name) else None

    ranked = [(found, item) for item in items if (found := rank(item)) is not None]
    return [item for _, item in sorted(ranked, key=lambda pair: pair[0])]


def _scattered(letters: str, name: str) -> bool:
    """Tell whether the letters occur in the name in their order."""
    rest = iter(name)
    return len(letters) > 1 and all(letter in rest for letter in letters)


class Picker(Modal[str | None]):
    """Ask for one of the items; the result is its value, or None.

    Args:
        title: what is asked for.
        items: what there is.
        current: the value that holds now.
        trouble: sentences about what should be in the list and is not.
        free: called with what is typed; returns a further item, such as a path that is typed in full, or None.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "Back"),
        Binding("up", "move('cursor_up')", show=False),
        Binding("down", "move('cursor_down')", show=False),
        Binding("pageup", "move('page_up')", show=False),
        Binding("pagedown", "move('page_down')", show=False),
    ]
    DEFAULT_CSS = """
    Picker { align: center top; background: $background 60%; }
    Picker > Vertical {
        width: 90%; max-width: 110; height: auto; max-height: 90%; background: $surface; padding: 1 2;
        margin-top: 2;
    }
    Picker .title { height: 1; text-style: bold; margin-bottom: 1; }
    Picker Input, Picker Input:focus { height: 1; border: none; padding: 0 1; background: $surface-lighten-1; }
    Picker OptionList, Picker OptionList:focus {
        height: auto; max-height: 20; border: none; padding: 0; margin-top: 1; background: transparent;
        background-tint: transparent; scrollbar-size-vertical: 1;
    }
    Picker OptionList > .option-list--option { padding: 0 1; }
    Picker OptionList > .option-list--option-highlighted { background: $primary-muted; color: $foreground; }
    Picker .trouble { height: auto; max-height: 4; color: $text-error; padding: 0 1; margin-top: 1; }
    Picker .about { height: auto; max-height: 2; padding: 0 1; margin-top: 1; }
    Picker .foot { height: 1; color: $text-muted; padding: 0 1; margin-top: 1; }
    Picker.-vertical-low > Vertical { padding: 0 2; max-height: 100%; margin-top: 0; }
    Picker.-vertical-low .title, Picker.-vertical-low .foot, Picker.-vertical-low .about { margin: 0; }
    Picker.-vertical-low .about { max-height: 1; }
    Picker.-vertical-low OptionList { max-height: 9; margin: 0; }
    """
    VERTICAL_BREAKPOINTS = [(0, "-vertical-low"), (20, "-vertical-high")]

    def __init__(
        self,
        title: str,
        items: Sequence[Item],
        current: str = "",
        trouble: Sequence[str] = (),
        free: Callable[[str], Item | None] | None = None,
    ) -> None:
        super().__init__()
        self._question = title
        self._items = items
        self._current = current
        self._trouble = trouble
        self._free = free
        self._shown: list[Item] = []

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(Content(plain(self._question)), classes="title")
            yield Input(placeholder="type to filter", compact=True)
            options = OptionList(markup=False)
            options.can_focus = False
            yield options
            yield Static("", classes="about")
            if self._trouble:
                yield Static(Content("\n".join(plain(text) for text in self._trouble)), classes="trouble")
            yield Static("", classes="foot")

    def on_mount(self) -> None:
        self._fill("")

    def on_resize(self, event: events.Resize) -> None:
        # With what is typed by then: keys may come before the first layout.
        self.call_after_refresh(lambda: self._fill(self.query_one(Input).value))

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._fill(event.value)

    def _fill(self, typed: str) -> None:
        found = matching(self._items, typed)
        extra = self._free(typed) if self._free and typed.strip() else None
        self._shown = [*found[:_MOST], *([extra] if extra else [])]
        options = self.query_one(OptionList)
        room = max(20, self.query_one(Input).size.width - 3)
        options.set_options(Option(prompt) for prompt in _lines(self._shown, self._current, room))
        current = next((i for i, item in enumerate(self._shown) if item.value == self._current), 0)
        options.highlighted = (0 if typed else current) if self._shown else None
        more = f", the first {_MOST} shown" if len(found) > _MOST else ""
        count = f"{len(found)} of {len(self._items)}{more}"
        words = f"{count}   enter takes it" if self._shown else "nothing is called that"
        self.query_one(".foot", Static).update(Content(f"{words}   esc goes back"))

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        event.stop()
        # In full: the lines have no room for it.
        about = self._shown[event.option_index].summary if event.option_index < len(self._shown) else ""
        self.query_one(".about", Static).update(Content(plain(about)))

    def action_move(self, action: str) -> None:
        """Move the cursor of the list, while the keyboard stays with the filter."""
        getattr(self.query_one(OptionList), f"action_{action}")()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self._take(self.query_one(OptionList).highlighted)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self._take(event.option_index)

    def _take(self, position: int | None) -> None:
        if position is not None and position < len(self._shown):
            self.dismiss(self._shown[position].value)

    def action_cancel(self) -> None:
        self.dismiss(None)


def _lines(items: Sequence[Item], current: str, width: int) -> list[Content]:
    """Return the items' lines: name, summary and origin in columns; the summary gives way first."""
    names = min(max((cell_len(plain(item.name)) for item in items), default=0), width // 2)
    origins = min(max((cell_len(plain(item.origin)) for item in items), default=0), width // 3)
    summaries = width - names - origins - 4
    return [_line(item, item.value == current, names, summaries, origins) for item in items]


def _line(item: Item, is_current: bool, names: int, summaries: int, origins: int) -> Content:
    name, summary, origin = plain(item.name), plain(item.summary), plain(item.origin)
    parts = [Content.styled(set_cell_size(name, names), "bold $text-accent" if is_current else "bold")]
    if summaries >= 12:
        parts.append(Content(_cut(summary, summaries)))
    parts.append(Content.styled(_cut(origin, origins), "$foreground 60%"))
    return Content("  ").join(parts)


def _cut(text: str, width: int) -> str:
    return set_cell_size(text if cell_len(text) <= width else set_cell_size(text, width - 1) + "…", width)
