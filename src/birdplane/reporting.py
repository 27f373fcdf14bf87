"""How long-running preparation (a download, decoding) tells whoever watches how far it is.

A component calls `task`; the command line, the screen's helper or nobody listens. Imports nothing heavy, so that
any plugin can use it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol


class Listener(Protocol):
    """Draws or records the tasks of this process."""

    def __call__(self, title: str, done: int, total: int | None, unit: str) -> None: ...


def _silence(title: str, done: int, total: int | None, unit: str) -> None:
    return


_listener: ContextVar[Listener] = ContextVar("listener", default=_silence)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Send the reports of the tasks inside the block to `listener`."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


@contextmanager
def also(listener: Listener) -> Iterator[None]:
    """Send the reports of the tasks inside the block to `listener` too, besides whoever listens already."""
    before = _listener.get()

    def both(title: str, done: int, total: int | None, unit: str) -> None:
        before(title, done, total, unit)
        listener(title, done, total, unit)

    with listening(both):
        yield


@contextmanager
def task(title: str, total: int | None = None, unit: str = "") -> Iterator[Callable[[int], None]]:
    """Report a task of `total` units; yields `advance(n)`, to be called after every n more units.

    `unit` is `"B"` for bytes, else a plural noun such as `"pictures"`.
    """
    done = 0
    listener = _listener.get()
    listener(title, 0, total, unit)

    def advance(n: int = 1) -> None:
        nonlocal done
        done += n
        listener(title, done, total, unit)

    yield advance
