"""The line at the foot of every screen: the keys that work here, in one widget.

A widget for each key, as Textual's own footer has it, takes half the time of a change of screens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from textual import events
from textual.app import RenderResult
from textual.binding import Binding
from textual.content import Content
from textual.screen import Screen
from textual.widget import Widget

_GAP = 1


@dataclass(frozen=True)
class _Key:
    key: str
    shown: str
    what: str
    action: str
    enabled: bool

    @property
    def width(self) -> int:
        return Content(self.shown).cell_length + 1 + Content(self.what).cell_length


class KeyBar(Widget, can_focus=False):
    """Keys and what they do, as many as fit, the help in any case; a click does what the key does."""

    ALLOW_SELECT = False
    DEFAULT_CSS = """
    KeyBar { dock: bottom; height: 1; background: $footer-background; color: $footer-description-foreground; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._keys: tuple[_Key, ...] = ()

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, self._look)
        self._look(self.screen)

    def _look(self, screen: Screen[Any]) -> None:
        """Take over what can be done now, and draw it only where that is something else than before."""
        if screen is not self.screen or not self.is_attached:
            return
        seen: dict[str, _Key] = {}
        for _, binding, enabled, _ in screen.active_bindings.values():
            if binding.show and binding.action not in seen:
                shown = self._shown(binding)
                seen[binding.action] = _Key(binding.key, shown, binding.description, binding.action, enabled)
        if (keys := tuple(seen.values())) != self._keys:
            self._keys = keys
            self.refresh()

    def _shown(self, binding: Binding) -> str:
        """Return the key as Textual shows it; a letter that stands for its sign would be taken for the key."""
        shown = self.app.get_key_display(binding)
        return "enter" if shown == "⏎" and getattr(self.app, "ascii_only", False) else shown

    def _fitting(self) -> list[_Key]:
        """Return those that there is room for, in their order."""
        room = self.size.width - sum(key.width + _GAP for key in self._keys if key.action == "help")
        fitting = []
        for key in self._keys:
            if key.action == "help":
                fitting.append(key)
            elif key.width <= room:
                fitting.append(key)
                room -= key.width + _GAP
            else:
                room = 0
        return fitting

    def render(self) -> RenderResult:
        parts = []
        for key in self._fitting():
            colour = "$footer-key-foreground" if key.enabled else "$footer-description-foreground"
            words = f" {key.what}"
            parts.append(
                Content.assemble((key.shown, f"{colour} bold"), (words, "" if key.enabled else "dim"))
            )
        return Content(" " * _GAP).join(parts)

    def on_mouse_down(self, event: events.MouseDown) -> None:
        begin = 0
        for key in self._fitting():
            if begin <= event.x < begin + key.width:
                if key.enabled:
                    self.app.simulate_key(key.key)
                else:
                    self.app.bell()
                return
            begin += key.width + _GAP
