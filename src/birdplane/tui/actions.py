"""Every action of the cockpit that has a name, so that the settings may give it other keys."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Collection, Iterator

from textual.binding import Binding
from textual.dom import DOMNode

from birdplane.errors import UsageError, nearest

#: The modules that bind keys.
_MODULES = (
    "app",
    "build",
    "chain",
    "charting",
    "compare",
    "data",
    "fields",
    "results",
    "runs",
    "shifts",
    "train",
)


def names() -> frozenset[str]:
    """Return the names of all actions, as the settings have them."""
    return frozenset(binding.id for binding in _bindings() if binding.id)


def _bindings() -> Iterator[Binding]:
    for name in _MODULES:
        module = importlib.import_module(f"birdplane.tui.{name}")
        for _, found in inspect.getmembers(module, inspect.isclass):
            if issubclass(found, DOMNode) and found.__module__ == module.__name__:
                yield from (binding for binding in found.BINDINGS if isinstance(binding, Binding))


def check_keys(keys: Collection[str]) -> None:
    """Raise `UsageError`, which names the first of them, where the settings give keys to what is no action."""
    known = names()
    for name in keys:
        if name not in known:
            hint = nearest(name, known)
            where = "docs/cockpit.md lists them" if not hint else ""
            raise UsageError(f"the settings: keys: there is no action {name!r}{hint or f' ({where})'}")
