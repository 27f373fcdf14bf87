"""What a person calls a kind of component, and what every list tells of a component."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from birdplane.errors import UsageError, nearest
from birdplane.kinds import KIND_NAMES, PLURALS

if TYPE_CHECKING:
    from birdplane.components import Registered


def kind_called(word: str) -> str:
    """Return the kind that a person's word means, in the singular or plural.

    Raises:
        UsageError: there is no such kind.
    """
    folded = word.casefold()
    for kind, plural in PLURALS.items():
        if folded in (kind, plural):
            return kind
    raise UsageError(
        f"no kind of component is called {word!r}{nearest(word, KIND_NAMES)} (kinds: {', '.join(KIND_NAMES)})"
    )


def brief(entry: Registered) -> dict[str, Any]:
    """Return what the JSON of every list has of a component."""
    return {
        "kind": entry.component.kind,
        "name": entry.name,
        "summary": entry.component.summary,
        "plugin": entry.provenance.plugin,
        "package": entry.provenance.package,
        "version": entry.provenance.version,
    }
