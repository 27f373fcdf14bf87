"""Records every training run in MLflow, in a store on disk or on a server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from birdplane import hookimpl

if TYPE_CHECKING:
    from birdplane_mlflow.messenger import Messenger

#: The runs that this process trains now, by their folders. A run enters with its start and leaves with its end.
_messengers: dict[Path, Messenger] = {}


@hookimpl
def birdplane_event(run: Any, event: Any) -> None:
    """At a run's start, start the process that tells MLflow of it; later, tell what it complains of.

    Where training writes no folder, nothing is recorded.
    """
    if run is None:
        return
    if event.event == "start":
        from birdplane_mlflow.messenger import Messenger

        _messengers[run.path] = Messenger(run.path)
    elif event.event == "end" and run.path in _messengers:
        _messengers.pop(run.path).finish()
    elif run.path in _messengers:
        _messengers[run.path].complain()
