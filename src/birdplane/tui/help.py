"""`?`: what this screen is for and which keys it knows."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import ActiveBinding, Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Static

from birdplane.tui.modal import Modal

_EVERYWHERE = (
    ("1 to 5", "the five screens"),
    ("ctrl+p :", "every action by name"),
    ("?", "this help"),
    ("q", "leave; a run that trains goes on"),
)
_GLYPHS = {
    "left": "←",
    "right": "→",
    "up": "↑",
    "down": "↓",
    "escape": "Esc",
    "enter": "Enter",
    "space": "Space",
}


class HelpScreen(Modal[None]):
    """The keys of the screen below.

    Args:
        screen: the screen that the help is for; its attribute `HELP` says what it is for.
    """

    DEFAULT_CSS = """
    HelpScreen {
        align: center middle;
        #help { width: 64; max-width: 100%; height: auto; max-height: 100%; background: $surface; padding: 1 2; }
        #help Static { height: auto; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,q,enter", "close", "Close", show=False),
        Binding("down,j", "scroll(1)", "Down", show=False),
        Binding("up,k", "scroll(-1)", "Up", show=False),
    ]

    def __init__(self, screen: Screen[Any]) -> None:
        super().__init__()
        self._purpose = str(getattr(screen, "HELP", ""))
        self._keys = _keys_of(screen)

    def compose(self) -> ComposeResult:
        width = max(len(key) for key, _ in [*self._keys, *_EVERYWHERE]) + 3
        lines = [_line(key, words, width) for key, words in self._keys]
        everywhere = [_line(key, words, width) for key, words in _EVERYWHERE]
        purpose = [Content(self._purpose), Content("")] if self._purpose else []
        with VerticalScroll(id="help"):
            yield Static(Content("\n").join([*purpose, *lines, Content(""), *everywhere]), markup=False)

    def action_close(self) -> None:
        self.dismiss()

    def action_scroll(self, lines: int) -> None:
        self.query_one("#help").scroll_relative(y=lines, animate=False)


def _line(key: str, words: str, width: int) -> Content:
    return Content.assemble((key.ljust(width), "$text-accent"), words)


def _keys_of(screen: Screen[Any]) -> list[tuple[str, str]]:
    """Return (keys, what they do)."""
    found: dict[str, list[str]] = {}
    for active in own_bindings(screen):
        found.setdefault(_words(active), []).append(_shown(active.binding))
    return [(" ".join(dict.fromkeys(keys)), words) for words, keys in found.items()]


def own_bindings(screen: Screen[Any]) -> list[ActiveBinding]:
    """Return the bindings of the screen and of the widget that has the focus.

    Not those of the program, and none that every Textual widget has, such as scrolling.
    """
    return [
        active
        for active in screen.active_bindings.values()
        if active.node is not screen.app and active.binding.description and not _is_textuals(active)
    ]


def _is_textuals(active: ActiveBinding) -> bool:
    for kind in type(active.node).__mro__:
        if kind.__module__.startswith("textual."):
            theirs = (binding for binding in vars(kind).get("BINDINGS", []) if isinstance(binding, Binding))
            if any(
                (b.action, b.description) == (active.binding.action, active.binding.description)
                for b in theirs
            ):
                return True
    own = (binding.action for binding in Screen.BINDINGS if isinstance(binding, Binding))
    return active.binding.system or active.binding.action in own


def palette_words(active: ActiveBinding) -> str:
    """Return what the palette says below an action: its key, and what it does."""
    words = active.tooltip or active.binding.tooltip
    key = _shown(active.binding)
    return f"{key}   {words}" if words else key


def _words(active: ActiveBinding) -> str:
    words = active.tooltip or active.binding.tooltip
    return f"{active.binding.description}: {words}" if words else active.binding.description


def _shown(binding: Binding) -> str:
    if binding.key_display:
        return binding.key_display
    key = binding.key
    return _GLYPHS.get(key, "/" if key == "slash" else key)
