"""What the screens share that live on the helper's answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from textual.screen import Screen
from textual.worker import Worker, WorkerState

from birdplane.tui.asking import HelperTrouble, Progress
from birdplane.tui.messages import Waiting
from birdplane.tui.state import Cockpit


class InquiringScreen(Screen[None]):
    """Asks in workers, shows how far a long answer is, and never loses the screen over an answer."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: Waiting | None = None
        self._keys: tuple[bool, ...] = ()

    @property
    def cockpit(self) -> Cockpit:
        found: Cockpit = self.app.cockpit  # type: ignore[attr-defined]
        return found

    @property
    def ascii_only(self) -> bool:
        """Whether only ASCII characters can be shown."""
        return bool(getattr(self.app, "ascii_only", False))

    @property
    def line_width(self) -> int:
        """The cells of a line between the margins."""
        return max(10, self.size.width - 2)

    def refresh_keys(self) -> None:
        """Show which keys do something, where that changed: the footer is made anew, which takes longer than a page
        of pictures."""
        bindings = (binding for bindings in self._bindings.key_to_bindings.values() for binding in bindings)
        keys = tuple(bool(self.check_action(binding.action.partition("(")[0], ())) for binding in bindings)
        if keys != self._keys:
            self._keys = keys
            self.refresh_bindings()

    def work(self, work: Callable[[], Any], group: str) -> None:
        """Run a coroutine function; what the group was at before is cancelled, and the helper stops it."""
        self.run_worker(work, group=group, exclusive=True, exit_on_error=False)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """Say it where an answer was not what it should be: a fault of ours, but no reason to lose the screen."""
        if event.state is WorkerState.ERROR:
            error = event.worker.error
            self.fail(HelperTrouble(f"{type(error).__name__}: {error}", "internal"))

    def progress(self, progress: Progress) -> None:
        """Take a report on the answer that is waited for."""
        if self._waiting is None:
            self._waiting = Waiting("")
        self._waiting.take(progress)
        self.show_waiting()

    def fail(self, trouble: HelperTrouble) -> None:
        """Show that no answer came; to be overridden."""

    def show_waiting(self) -> None:
        """Show how far the helper is; to be overridden."""
