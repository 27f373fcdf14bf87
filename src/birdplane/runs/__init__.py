"""A run is a folder: this is the handle on it. Training writes through it, everything else reads through it.

    <runs>/<name>/
      pipeline.toml   what was asked for
      events.jsonl    what happened, one JSON object a line
      control.jsonl   what was asked of the run: pause, resume, stop
      process.json    who trains it: process, its start, host; there while it is trained, and after a crash
      exit.json       how that process ended, where whoever started it could tell
      processes.json  in how many processes it is trained, where that is more than one
      group.json      see `birdplane.groups`
      log.txt         stdout and stderr of the training process
      checkpoints/    see `birdplane.checkpoint`

Imports no torch, and nothing else that takes long: a list of runs must be there at once.
"""

from __future__ import annotations

from birdplane.runs.control import Action, Requests
from birdplane.runs.holder import Holder
from birdplane.runs.listing import Listing, RunSummary, list_runs
from birdplane.runs.lock import RunLock, RunLocked
from birdplane.runs.naming import check_name, runs_folder
from birdplane.runs.run import Run
from birdplane.runs.status import LIVE, State, Status

__all__ = [
    "FORMAT",
    "LIVE",
    "Action",
    "Holder",
    "Listing",
    "Requests",
    "Run",
    "RunLock",
    "RunLocked",
    "RunSummary",
    "State",
    "Status",
    "check_name",
    "list_runs",
    "runs_folder",
]

#: That of run folders. It grows when a version writes what an earlier one would go on from wrongly.
FORMAT = 1
