"""The list of runs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from birdplane import durable
from birdplane.eventlog import Summary, summarise
from birdplane.runs.status import State, Status, modified, status_of


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """A line in the list of runs. Times are in seconds since 1970; `seconds` is the last session's length.

    `state` is `broken`, with a reason, where the folder cannot be read. `train_loss` is that of the last
    epoch or, before the first epoch is over, of the last progress. `processes` is how many train it together.
    """

    name: str
    path: Path
    state: State
    reason: str = ""
    epoch: int | None = None
    epochs: int | None = None
    step: int | None = None
    train_loss: float | None = None
    validation_loss: float | None = None
    validation_accuracy: float | None = None
    best_accuracy: float | None = None
    started: float | None = None
    updated: float | None = None
    seconds: float | None = None
    processes: int | None = None


def list_runs(folder: Path, *, now: Callable[[], float] = time.time) -> list[RunSummary]:
    """Return a summary of every run in `folder`, those last updated first; none if there is no such folder.

    A run that cannot be read is listed as `broken`, with the reason. Never raises for what is in the folder.

    Raises:
        BirdplaneError: the folder itself cannot be read.
    """
    try:
        os.scandir(folder).close()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise durable.trouble(error, "read", folder) from error
    return Listing(folder).poll(now=now)


@dataclass
class Listing:
    """The list of runs for a screen that shows it again and again: files that did not change are not read."""

    folder: Path
    _known: dict[Path, tuple[tuple[int, int, int], Summary]] = field(default_factory=dict)

    def poll(self, *, now: Callable[[], float] = time.time) -> list[RunSummary]:
        """Return the list as it is now. See `list_runs`."""
        try:
            paths = [Path(entry.path) for entry in os.scandir(self.folder) if not entry.name.startswith(".")]
        except OSError:
            return []
        found = [self._summary(path, now) for path in paths if _looks_like_a_run(path)]
        return sorted(found, key=lambda run: (-(run.updated or 0.0), run.name))

    def _summary(self, path: Path, now: Callable[[], float]) -> RunSummary:
        updated = modified(path / "events.jsonl") or modified(path) or None
        try:
            if not (path / "pipeline.toml").is_file():
                return RunSummary(
                    name=path.name,
                    path=path,
                    state="broken",
                    reason="pipeline.toml is missing",
                    updated=updated,
                )
            events = self._events(path)
            status = status_of(path, events.last, now)
        except Exception as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            return RunSummary(name=path.name, path=path, state="broken", reason=reason, updated=updated)
        return _line(path, status, events, updated)

    def _events(self, path: Path) -> Summary:
        file = path / "events.jsonl"
        try:
            stat = file.stat()
        except FileNotFoundError:
            return Summary()
        signature = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
        known = self._known.get(path)
        if known is None or known[0] != signature:
            known = self._known[path] = (signature, summarise(file))
        return known[1]


def _looks_like_a_run(path: Path) -> bool:
    try:
        return any((path / name).exists() for name in ("pipeline.toml", "events.jsonl", "process.json"))
    except PermissionError:
        return True  # it may be one: that it cannot be read is told as of any


def _count(value: object) -> int | None:
    return value if type(value) is int else None


def _line(path: Path, status: Status, events: Summary, updated: float | None) -> RunSummary:
    start, epoch, progress = events.start, events.epoch, events.progress
    steps = [event.step for event in (start, epoch, progress) if event]
    last = events.last
    return RunSummary(
        name=path.name,
        path=path,
        state=status.state,
        reason=status.reason,
        epoch=epoch.epoch if epoch else None,
        epochs=start.epochs if start else None,
        step=max(steps, default=None),
        train_loss=epoch.train_loss if epoch else progress.mean if progress else None,
        validation_loss=epoch.validation_loss if epoch else None,
        validation_accuracy=epoch.validation_accuracy if epoch else None,
        best_accuracy=events.best_accuracy,
        started=events.first.time if events.first else None,
        updated=last.time if last else updated,
        seconds=max(0.0, last.time - start.time) if last and start else None,
        processes=_count(start.facts.get("processes", 1)) if start else None,
    )
