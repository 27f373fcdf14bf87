"""`birdplane train --seeds`: the same pipeline from several seeds, one run after the other, and their spread."""

from __future__ import annotations

import json as text
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from birdplane.cli.session import resume_here, runs_option, train_in_processes
from birdplane.errors import UsageError
from birdplane.text import plain as harmless

if TYPE_CHECKING:
    from birdplane.groups import Group
    from birdplane.pipeline import Pipeline
    from birdplane.runs import Run


def new_group(
    pipeline: Pipeline, name: str | None, stem: str, runs: Path | None, count: int, processes: int
) -> Group:
    """Make the run folders of a group. Raises as `groups.create` does."""
    from birdplane import groups
    from birdplane.runs import runs_folder

    return groups.create(runs_folder(runs), name, stem, pipeline, count, processes)


def whole_group(name: str, runs: Path | None) -> Group | None:
    """Return the group of that name, with the run folders made that were missing; None where there is none.

    Raises:
        UsageError: all of its runs are done.
    """
    from birdplane import groups
    from birdplane.pipeline import Pipeline
    from birdplane.runs import runs_folder

    group = groups.find(runs_folder(runs), name)
    if group is None:
        return None
    first = group.runs[0]
    if group.missing:
        pipeline = Pipeline.from_toml(first.pipeline_toml(), str(first.path / "pipeline.toml"))
        group = groups.completed(group, pipeline, first.processes())
    if all(run.status().state == "done" for run in group.runs):
        raise UsageError(
            f"all {len(group.runs)} runs of {group.name!r} are done; `birdplane compare` shows them"
        )
    return group


def train_group(group: Group, runs: Path | None, *, fresh: bool, plain: bool, json: bool) -> None:
    """Train the runs of a group that are not done, in the order of their seeds, and print mean and spread.

    What stops or fails ends the command: the group goes on with `birdplane resume`.

    Raises:
        BirdplaneError: a training failed; a `fresh` group in which none began is removed.
        SystemExit: 130 or 143 after a signal.
    """
    left = f"all that are left: birdplane resume {group.name}{runs_option(runs)}"
    try:
        for run in group.runs:
            if run.status().state == "done":
                continue
            if not json:
                with suppress(OSError):  # where nobody reads it any more, the runs go on all the same
                    typer.echo(harmless(f"{run.name}, one of {len(group.runs)}:"))
            if not _trained(run, runs, plain=plain, json=json):
                break
        else:
            _print(group, runs, json=json)
            return
    except BaseException:
        if not (fresh and _forgotten(group)) and not json:
            typer.echo(left)
        raise
    if not json:
        typer.echo(left)


def _trained(run: Run, runs: Path | None, *, plain: bool, json: bool) -> bool:
    """Train or go on with one run; return whether it is done, not stopped."""
    if run.processes() > 1:
        train_in_processes(run, run.processes(), str(run.path), None, plain=plain, json=json)
        return run.status().state == "done"
    return resume_here(run, runs, plain=plain, json=json)


def _forgotten(group: Group) -> bool:
    """Remove the folders of a group in which no training ever began; return whether that is so."""
    from birdplane.events import Start

    if any(next(iter(run.events([Start])), None) is not None for run in group.runs):
        return False
    for run in group.runs:
        if run.in_place():
            shutil.rmtree(run.path, ignore_errors=True)
    return True


def _print(group: Group, runs: Path | None, *, json: bool) -> None:
    from birdplane.cli.comparing import print_group, record
    from birdplane.comparing import FIGURES, column

    found = column(group)
    if json:
        whole = record(found)
        line = {
            "event": "group",
            "name": group.name,
            "seeds": list(group.seeds),
            "runs": [run.name for run in group.runs],
            **{key: whole["figures"][key] for key in FIGURES},
        }
        print(text.dumps(line), flush=True)
        return
    typer.echo()
    print_group(found)
    typer.echo(f"beside others: birdplane compare {group.name} OTHER{runs_option(runs)}")
