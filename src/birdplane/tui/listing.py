"""The list of runs as rows of a table: which are shown, in which order, in which words. Knows no terminal."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from birdplane.errors import BirdplaneError, UsageError
from birdplane.runs import LIVE, Run, RunSummary
from birdplane.text import ago, duration, plain


@dataclass(frozen=True)
class Column:
    """A column: how it is headed, what it says of a run, and what it is sorted by.

    `falling` says that the first press sorts the greatest to the top. `left` is for words, `width` in cells.
    """

    title: str
    words: Callable[[RunSummary, float], str]
    by: Callable[[RunSummary], Any]
    falling: bool = True
    left: bool = False
    width: int = 8


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f} %"


def _epochs(run: RunSummary) -> str:
    return "" if run.epochs is None else f"{run.epoch or 0} of {run.epochs}"


COLUMNS = (
    Column("run", lambda run, _: plain(run.name), lambda run: run.name, falling=False, left=True, width=6),
    Column("state", lambda run, _: run.state, lambda run: run.state, falling=False, left=True, width=9),
    Column("epoch", lambda run, _: _epochs(run), lambda run: run.epoch, width=10),
    Column("best", lambda run, _: _percent(run.best_accuracy), lambda run: run.best_accuracy),
    Column(
        "changed",
        lambda run, now: ago(now - run.updated) if run.updated else "",
        # Runs that train all change now: in turns they would pass one another below the cursor.
        lambda run: math.inf if run.state in LIVE else run.updated,
        width=12,
    ),
    Column("last", lambda run, _: _percent(run.validation_accuracy), lambda run: run.validation_accuracy),
    Column("loss", lambda run, _: _figure(run.train_loss), lambda run: run.train_loss, falling=False),
    Column(
        "val. loss",
        lambda run, _: _figure(run.validation_loss),
        lambda run: run.validation_loss,
        falling=False,
        width=10,
    ),
    Column(
        "took",
        lambda run, _: "" if run.seconds is None else duration(max(0.0, run.seconds)),
        lambda run: run.seconds,
        width=11,
    ),
    Column(
        "why", lambda run, _: plain(run.reason), lambda run: run.reason, falling=False, left=True, width=120
    ),
)
#: The list begins with what changed last on top.
CHANGED = next(index for index, column in enumerate(COLUMNS) if column.title == "changed")


def ordered(runs: Iterable[RunSummary], column: int, falling: bool) -> list[RunSummary]:
    """Return the runs in the order of a column; those without a value there come last either way."""
    by = COLUMNS[column].by
    known = [run for run in runs if by(run) is not None]
    rest = [run for run in runs if by(run) is None]
    return [*sorted(known, key=lambda run: (by(run), run.name), reverse=falling), *rest]


def matching(runs: Iterable[RunSummary], text: str) -> list[RunSummary]:
    """Return the runs in whose name or state each of the words occurs."""
    words = text.lower().split()
    return [run for run in runs if all(word in f"{run.name} {run.state}".lower() for word in words)]


def delete(run: Run) -> None:
    """Remove a run's folder for good; for a moment its lock is held, so that nobody begins to train it.

    Raises:
        UsageError: it is being trained.
        BirdplaneError: it cannot be removed.
    """
    if run.status().live:
        raise UsageError(f"{run.name} is being trained: stop it first")
    with run.lock():
        # Out of sight in one step: what is left after a crash here is no run any more.
        aside = run.path.with_name(f".{run.name}.{os.getpid()}.deleted")
        try:
            run.path.rename(aside)
        except OSError as error:
            raise BirdplaneError(f"cannot delete {run.name}: {error.strerror or error}") from error
    shutil.rmtree(aside, ignore_errors=True)
