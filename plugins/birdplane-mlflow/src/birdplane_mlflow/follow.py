"""`python -m birdplane_mlflow.follow RUN`: follow a run's folder and tell MLflow, until the run or its process ends.

The first thing that goes wrong is printed, in one line; all of it goes to stderr, which is the run's mlflow.log.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import filelock

from birdplane.events import End, Epoch, Event, Progress, Start
from birdplane.runs import Run

if TYPE_CHECKING:
    from birdplane_mlflow.record import Record

#: Seconds between looks at the folder, between deliveries, and before the next try after one that failed.
_LOOK, _EVERY, _RETRY_AFTER = 0.1, 1.0, 60.0
#: Seconds for the messenger of an earlier session of the same run to end.
_PREDECESSOR = 120.0


@dataclass
class Told:
    """What the run's folder says: the newest start, its end, and every epoch with what else there is at its end."""

    start: Start | None = None
    end: End | None = None
    epochs: dict[int, tuple[Epoch, dict[str, float]]] = field(default_factory=dict)
    _latest: dict[str, float] = field(default_factory=dict)

    def take(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Start):
                self.start, self.end = event, None
            elif isinstance(event, Progress):
                self._latest = {
                    "learning_rate": event.learning_rate,
                    "samples_per_second": event.samples_per_second,
                }
            elif isinstance(event, Epoch):
                self.epochs[event.epoch] = event, self._latest
                self._latest = {}
            elif isinstance(event, End):
                self.end = event


def follow(path: Path) -> int:
    """Tell MLflow of the run at `path`; return 0, or 1 where the last delivery failed."""
    gone = threading.Event()
    threading.Thread(target=_wait_for_the_end_of_stdin, args=(gone,), daemon=True).start()
    run = Run(path)
    tail = run.tail([Start, Progress, Epoch, End])
    told = Told()
    record: Record | None = None
    due, complained = 0.0, False
    while True:
        last = gone.is_set()  # looked at before the folder is
        told.take(tail.poll())
        last = last or told.end is not None
        if told.start is not None and (last or time.monotonic() >= due):
            try:
                record = record or _record(run)
                record.deliver(told.start, told.epochs, told.end)
                due = time.monotonic() + _EVERY
            except Exception as error:
                traceback.print_exc()
                if not complained:
                    print(" ".join(str(error).split())[:300] or type(error).__name__, flush=True)
                complained, due = True, time.monotonic() + _RETRY_AFTER
                if last:
                    return 1
        if last:
            return 0
        time.sleep(_LOOK)


def _record(run: Run) -> Record:
    from birdplane_mlflow.record import Record

    return Record(run)


def _wait_for_the_end_of_stdin(gone: threading.Event) -> None:
    sys.stdin.read()
    gone.set()


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    with filelock.FileLock(folder / ".mlflow.lock", timeout=_PREDECESSOR):
        sys.exit(follow(folder))
