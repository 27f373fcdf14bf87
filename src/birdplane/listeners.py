"""Tells plugins of a training's events, so that none of them can end it or hold it up.

Each plugin hears of events in a thread of its own, and the training waits for it: for a moment, as almost every hook
is done by then. One that is not done is told of, and hears of the rest as it comes to them, while the training goes
on. To tell of it alone would not do: a tracker whose server does not answer may wait for minutes, or for ever.
"""

from __future__ import annotations

import contextlib
import queue
import sys
import threading
import time
from typing import Any

from birdplane.faults import told
from birdplane.guard import Notes, guarded
from birdplane.plugins import Plugin, Plugins

HOOK = "birdplane_event"
#: Seconds that the training waits for a plugin to hear of an event, and of the first one, at which it may import
#: what it needs.
PATIENCE = 1.0
FIRST_PATIENCE = 10.0
#: Seconds for those that are behind, once the training is over.
_LAST_PATIENCE = 10.0
#: The share of the time that is worth telling, and the seconds after which it can be judged.
_SHARE = 0.1
_JUDGED_AFTER = 3.0
#: More events than this are not kept for a plugin that is behind.
_MOST_WAITING = 1000


class Listeners:
    """The plugins that listen to one training.

    Args:
        plugins: those that are installed.
        run: what the hooks are given as `run`.
    """

    def __init__(self, plugins: Plugins, run: Any) -> None:
        self._listeners = [_Listener(plugins, plugin, run) for plugin in plugins.listening(HOOK)]

    def tell(self, event: Any) -> list[str]:
        """Tell every plugin of an event; return what is wrong with one, each sentence once a training."""
        return [sentence for listener in self._listeners for sentence in listener.tell(event)]

    def finish(self) -> list[str]:
        """Wait a little for the plugins that are behind; return what they did not hear of."""
        deadline = time.monotonic() + _LAST_PATIENCE
        return [sentence for listener in self._listeners for sentence in listener.finish(deadline)]


class _Listener:
    """One plugin, and the thread in which it hears of events."""

    def __init__(self, plugins: Plugins, plugin: Plugin, run: Any) -> None:
        self._plugins = plugins
        self._plugin = plugin
        self._run = run
        self._events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._idle = threading.Event()
        self._idle.set()
        self._failures: list[str] = []
        self._complaints: set[str] = set()
        self._thread: threading.Thread | None = None
        self._began = time.monotonic()
        self._spent = 0.0
        self._heard = 0
        self._dropped = 0

    def tell(self, event: Any) -> list[str]:
        if self._idle.is_set():
            sentences = self._hear(event)
        else:  # it is behind
            sentences = []
            if self._events.qsize() < _MOST_WAITING:
                self._events.put(event)
            else:
                self._dropped += 1
        return [*self._failed(), *sentences]

    def finish(self, deadline: float) -> list[str]:
        if self._idle.wait(max(0.0, deadline - time.monotonic())) and not self._dropped:
            return self._failed()
        missed = self._events.qsize() + self._dropped
        return [
            *self._failed(),
            *self._once(
                "behind", f"was still busy when the training ended, and did not hear of {missed} events"
            ),
        ]

    def _hear(self, event: Any) -> list[str]:
        """Let it hear of an event, and wait for it for a moment."""
        patience = PATIENCE if self._heard else FIRST_PATIENCE
        began = time.monotonic()
        with guarded(keep_prints=False) as notes:
            self._idle.clear()
            self._events.put(event)
            self._start()
            done = self._idle.wait(patience)
        seconds = time.monotonic() - began
        if not done:
            _lead_prints_away(self._thread)
            return self._once(
                "slow",
                f"takes more than {patience:g} s to hear of an event; the training does not wait for it any longer",
            )
        if self._heard:
            self._spent += seconds
        self._heard += 1
        return [*self._noted(notes), *self._judged(seconds)]

    def _noted(self, notes: Notes) -> list[str]:
        return [
            sentence for note in notes for sentence in self._once(note, f"{note} (while hearing of an event)")
        ]

    def _judged(self, seconds: float) -> list[str]:
        if self._heard == 1:
            self._began = time.monotonic()
            return []
        elapsed = time.monotonic() - self._began
        share = self._spent / max(elapsed, 1e-9)
        if elapsed < _JUDGED_AFTER or share < _SHARE:
            return []
        return self._once("slow", f"takes {100 * share:.0f} % of the time of the training to hear of events")

    def _failed(self) -> list[str]:
        failures, self._failures = self._failures, []
        return [sentence for failure in failures for sentence in self._once("fails", failure)]

    def _once(self, what: str, sentence: str) -> list[str]:
        if what in self._complaints:
            return []
        self._complaints.add(what)
        return [f"{self._plugin} {sentence}"]

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._work, name=f"plugin {self._plugin.name}", daemon=True
            )
            self._thread.start()

    def _work(self) -> None:
        while True:
            event = self._events.get()
            try:
                self._plugins.call(self._plugin, HOOK, run=self._run, event=event)
            except BaseException as error:
                self._failures.append(f"failed on an event: {told(error)}")
            if self._events.empty():
                self._idle.set()


# --- what a plugin prints while nobody waits for it -------------------------------------------------------


class _Split:
    """stdout, but to stderr in the threads of plugins: what is printed as JSON lines must stay that."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.threads: set[int] = set()

    def _chosen(self) -> Any:
        return sys.stderr if threading.get_ident() in self.threads else self._stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._chosen(), name)


def _lead_prints_away(thread: threading.Thread | None) -> None:
    split = sys.stdout
    if not isinstance(split, _Split):
        split = sys.stdout = _Split(sys.stdout)  # type: ignore[assignment, unused-ignore]
    if thread is not None and thread.ident is not None:
        with contextlib.suppress(AttributeError):
            split.threads.add(thread.ident)
