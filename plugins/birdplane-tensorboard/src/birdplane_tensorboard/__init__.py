"""Writes every training run as TensorBoard files: scalars, pictures, hyper-parameters."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from birdplane import hookimpl

if TYPE_CHECKING:
    from birdplane_tensorboard.tracker import Tracker

#: The runs that this process trains now, by their folders. A run enters with its start and leaves with its end.
_trackers: dict[Path, Tracker] = {}


@hookimpl
def birdplane_event(run: Any, event: Any) -> None:
    """Write the event to the run's TensorBoard file. Where training writes no folder, nothing is written."""
    if run is None:
        return
    tracker_class = _tracker_class()
    if event.event == "start":
        if (before := _trackers.pop(run.path, None)) is not None:
            before.close()
        tracker = _trackers[run.path] = tracker_class(run, event)
        tracker.begin()
    elif run.path in _trackers:
        try:
            _trackers[run.path].tell(event)
        finally:
            if event.event == "end":
                _trackers.pop(run.path).close()


def _tracker_class() -> type[Tracker]:
    """Import what is needed to write. The module itself is loaded by every command and needs none of it."""
    variable = "CRC32C_SW_MODE"
    before = os.environ.get(variable)
    from birdplane_tensorboard.tracker import Tracker

    # tensorboardX sets it, and it would go on to every process that the training starts.
    if before is None:
        os.environ.pop(variable, None)
    return Tracker
