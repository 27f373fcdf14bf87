"""Keys in the order in which they were pressed, also across a change of the focus."""

from __future__ import annotations

from textual import events
from textual.app import App
from textual.timer import Timer

_MOVES = ("tab", "shift+tab")
#: Seconds after which the keys are let go where a Tab was swallowed on its way.
_PATIENCE_SECONDS = 2.0


class OrderedKeys(App[str]):
    """A program that hands out no key while a Tab is on its way.

    Textual gives each key to the widget that has the focus at that moment, and a Tab changes the focus only once it
    has passed through the queues of all the widgets around: what is typed right after it would go to the old one.
    """

    _held: list[events.Key] | None = None
    _patience: Timer | None = None
    _waits = False

    async def on_event(self, event: events.Event) -> None:
        if not isinstance(event, events.Key):
            await super().on_event(event)
        elif event.is_forwarded:
            await super().on_event(event)
            if event.key in _MOVES and not self._waits:
                await self._let_go()
        elif self._held is not None:
            self._held.append(event)
        else:
            await self._hand_out(event)

    async def _hand_out(self, event: events.Key) -> None:
        if event.key in _MOVES:
            self._held = []
            self._patience = self.set_timer(_PATIENCE_SECONDS, self._let_go)
        await super().on_event(event)
        if event.key in _MOVES and not event.is_forwarded:  # a binding with priority took it
            await self._let_go()

    def hold_keys(self) -> None:
        """Hold what is typed after the Tab that is being dealt with, until `release_keys`."""
        self._waits = self._held is not None

    def release_keys(self) -> None:
        """Hand out what was held: the focus is where it belongs."""
        if self._waits:
            self.call_later(self._let_go)

    async def _let_go(self) -> None:
        if self._patience is not None:
            self._patience.stop()
        held, self._held, self._patience, self._waits = self._held or [], None, None, False
        while held:
            await self._hand_out(held.pop(0))
            held = self._kept_back(held)

    def _kept_back(self, rest: list[events.Key]) -> list[events.Key]:
        """Return what may still be handed out: nothing after another Tab, which holds the rest."""
        if self._held is None:
            return rest
        self._held += rest
        return []
