"""`birdplane runs`, `stop` and `pause`: they read and write run folders, and nothing else."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from birdplane import durable
from birdplane.cli import app
from birdplane.cli.options import Json, RunName, Runs
from birdplane.cli.screen import percent, print_json, print_table
from birdplane.errors import BirdplaneError
from birdplane.text import ago, duration, plain

if TYPE_CHECKING:
    from birdplane.runs import Run, RunSummary, Status

Timeout = Annotated[
    float, typer.Option("--timeout", metavar="SECONDS", min=0, help="How long to wait for it; 0: only ask.")
]

_LOOK_SECONDS = 0.1


@app.command("runs")
def list_all(runs: Runs = None, json: Json = False) -> None:
    """List the runs, those that changed last first."""
    from birdplane.runs import list_runs, runs_folder

    folder = runs_folder(runs)
    found = list_runs(folder)
    if json:
        print_json([_record(run) for run in found])
    elif found:
        header = ["run", "state", "epoch", "best", "accuracy", "train loss", "took", "changed", "why"]
        print_table([_row(run, time.time()) for run in found], header)
    else:
        print(f"There are no runs in {str(folder)!r} yet; `birdplane train demo` makes one.")


def _record(run: RunSummary) -> dict[str, object]:
    from dataclasses import asdict

    return {**asdict(run), "path": str(run.path)}


def _row(run: RunSummary, now: float) -> list[str]:
    return [
        run.name,
        run.state,
        "" if run.epochs is None else f"{run.epoch or 0} of {run.epochs}",
        _share(run.best_accuracy),
        _share(run.validation_accuracy),
        "" if run.train_loss is None else f"{run.train_loss:.4f}",
        "" if run.seconds is None else duration(max(0.0, run.seconds)),
        "" if run.updated is None else ago(now - run.updated),
        run.reason,
    ]


def _share(value: float | None) -> str:
    return "" if value is None else percent(value)


@app.command()
def stop(run: RunName, runs: Runs = None, timeout: Timeout = 60.0) -> None:
    """Stop a run that is being trained; it saves first, and `birdplane resume` goes on exactly there."""
    found, status = _live(run, runs, "stop")
    found.request("stop")
    status = _awaited(found, status, timeout, "stop")
    if status.live:
        print(f"{found.name}: asked to stop")
    else:
        print(plain(f"{found.name}: {_told(status)}"))


@app.command()
def pause(run: RunName, runs: Runs = None, timeout: Timeout = 60.0) -> None:
    """Let a run that is being trained hold still, with all it has in memory, until `birdplane resume`."""
    found, status = _live(run, runs, "pause")
    if status.state == "paused":
        print(f"{found.name}: it is paused already")
        return
    found.request("pause")
    status = _awaited(found, status, timeout, "pause")
    if status.state == "paused":
        print(f"{found.name}: paused; `birdplane resume {found.name}` lets it go on")
    elif status.live:
        print(f"{found.name}: asked to pause")
    else:
        raise BirdplaneError(f"the run {found.name!r} ended before it could pause: {_told(status)}")


def _live(name: str, runs: Path | None, action: str) -> tuple[Run, Status]:
    """Return a run that a process trains.

    Raises:
        UsageError: there is no such run.
        BirdplaneError: nothing trains it.
    """
    from birdplane.runs import Run, runs_folder

    run = Run.open(runs_folder(runs), name)
    status = _status(run)
    if not status.live:
        raise BirdplaneError(f"there is nothing to {action}: the run {run.name!r} is {_told(status)}")
    return run, status


def _status(run: Run) -> Status:
    try:
        return run.status()
    except OSError as error:
        raise durable.trouble(error, "read", error.filename or run.path) from error


def _awaited(run: Run, status: Status, timeout: float, action: Literal["stop", "pause"]) -> Status:
    """Return the status once the run has obeyed, or at once where no waiting is wanted.

    Raises:
        BirdplaneError: the time is over; the request stands.
    """
    deadline = time.monotonic() + timeout
    while timeout and status.live and not (action == "pause" and status.state == "paused"):
        if time.monotonic() >= deadline:
            raise BirdplaneError(
                f"the run {run.name!r} was asked to {action} and has not answered in {timeout:g} s; it may still: it "
                f"looks between two steps (`birdplane watch {run.name}`)"
            )
        time.sleep(_LOOK_SECONDS)
        status = _status(run)
    return status


def _told(status: Status) -> str:
    return status.state + (f" ({status.reason})" if status.reason else "")
