"""Each event is recorded, and then told to the plugins, before it is anybody else's."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator

from birdplane.events import Alert, End, Event
from birdplane.listeners import Listeners
from birdplane.runs import Run


def recorded(events: Generator[Event], run: Run) -> Iterator[Event]:
    """Yield the events once they are recorded. What cannot be recorded ends the training where it stands."""
    event = next(events, None)
    while event is not None:
        failing = isinstance(event, End) and event.status == "failed"
        try:
            if isinstance(event, End):
                run.end(event)
            else:
                run.append(event)
        except Exception as error:
            if not failing:
                event = events.throw(error)
                continue
            # The reason is raised next, and matters more than that it could not be written down.
        yield event
        event = next(events, None)


def told(
    events: Iterator[Event], listeners: Listeners, run: Run | None, alert: Callable[[str, str], Alert]
) -> Iterator[Event]:
    """Yield the events, tell the plugins of each, and yield an alert of what is wrong with a plugin."""
    for event in events:
        yield event
        complaints = listeners.tell(event)
        if isinstance(event, End):
            complaints += listeners.finish()
        for complaint in complaints:
            warning = alert("plugin", complaint)
            if run is not None and not isinstance(event, End):  # which is the last line of a run
                run.append(warning)
            yield warning
