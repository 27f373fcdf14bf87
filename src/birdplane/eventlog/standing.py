"""Which events still count: a later start from step S makes void what was told before it of steps after S."""

from __future__ import annotations

from collections.abc import Iterable

from birdplane.events import Alert, Checkpoint, Epoch, Event, Progress

_VOIDABLE = (Progress, Epoch, Checkpoint, Alert)
#: The kinds that a later start from an earlier step makes void, as `events.jsonl` names them.
VOIDABLE_NAMES = frozenset(kind.event.encode() for kind in _VOIDABLE)


def standing(events: Iterable[Event], step: int) -> list[Event]:
    """Return the events that still count when training starts again from `step`."""
    return [event for event in events if not void(event, step)]


def void(event: Event, bound: float) -> bool:
    """Tell whether a start from step `bound` makes the event void."""
    return isinstance(event, _VOIDABLE) and event.step > bound
