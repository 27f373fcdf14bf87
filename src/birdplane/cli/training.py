"""`birdplane train`, `resume` and `watch`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from birdplane.cli import app
from birdplane.cli.options import Runs, Set
from birdplane.cli.session import (
    Signals,
    forget_if_nothing_happened,
    resume_here,
    suggest,
    take_part,
    train_here,
    train_in_processes,
)
from birdplane.errors import BirdplaneError, UsageError

if TYPE_CHECKING:
    from birdplane.pipeline import Pipeline
    from birdplane.ranks import Place
    from birdplane.runs import Run
    from birdplane.training import Trainer

Plain = Annotated[bool, typer.Option("--plain", help="A line an epoch, and nothing that moves.")]
Json = Annotated[bool, typer.Option("--json", help="Print the events as JSON lines.")]
Nproc = Annotated[
    int | None,
    typer.Option(
        "--nproc", metavar="N", help="Train in N processes that share each batch: one a GPU, or on the CPU."
    ),
]

#: How many bytes of a record `watch` reads at a time.
_PIECE = 1 << 20


@app.command()
def train(
    pipeline: Annotated[str, typer.Argument(help="A pipeline file, or a recipe's name.")] = "demo",
    assignments: Set = None,
    name: Annotated[
        str | None, typer.Option("--run", help="The run's name. [default: the pipeline's, numbered]")
    ] = None,
    runs: Runs = None,
    nproc: Nproc = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            "--seeds",
            metavar="N",
            help="Train N runs, of the seeds from the pipeline's on; then mean and spread.",
        ),
    ] = None,
    plain: Plain = False,
    json: Json = False,
) -> None:
    """Train a pipeline and record it as a run.

    Ctrl-C saves a checkpoint and leaves; `birdplane resume` goes on to the very same result. Of several seeds, the
    runs are NAME-s0, NAME-s1, ..., and `birdplane resume NAME` goes on with all that are not done.
    """
    from birdplane.runs import Run, runs_folder

    def created(processes: int) -> tuple[Run, Pipeline]:
        chosen = _sound(pipeline, assignments, processes)
        run = Run.create(runs_folder(runs), name, Path(pipeline).stem, pipeline_toml=chosen.to_toml())
        if processes > 1:
            run.keep_processes(processes)
        return run, chosen

    if (place := _place(nproc)) is not None:
        if seeds is not None:
            raise UsageError(
                "--seeds: processes that are started already train one run; leave it out, or use --nproc"
            )
        take_part(place, lambda: created(place.size)[0], runs, plain=plain, json=json)
        return
    if seeds is not None:
        from birdplane.cli.seeds import new_group, train_group

        processes = 1 if nproc is None else nproc
        chosen = _sound(pipeline, assignments, processes)
        group = new_group(chosen, name, Path(pipeline).stem, runs, seeds, processes)
        train_group(group, runs, fresh=True, plain=plain, json=json)
        return
    run, chosen = created(1 if nproc is None else nproc)
    try:
        if run.processes() > 1:
            train_in_processes(run, run.processes(), run.name, runs, plain=plain, json=json)
            return

        def begin(signals: Signals) -> Trainer:
            from birdplane.training import train

            return train(chosen, run, signals)

        trained = train_here(begin, run, runs, plain=plain, json=json)
    except BaseException:
        forget_if_nothing_happened(run)
        raise
    if trained and not json:
        suggest(run, runs)


@app.command()
def resume(
    run: Annotated[str, typer.Argument(help="A run's name or folder.")],
    runs: Runs = None,
    nproc: Nproc = None,
    plain: Plain = False,
    json: Json = False,
) -> None:
    """Go on with a run that was stopped or has crashed, or let a paused one go on; or with a group of several seeds.

    It goes on in as many processes as it had, unless --nproc says otherwise: then it is not bit-exact.
    """
    from birdplane.runs import Run, runs_folder

    if (place := _place(nproc)) is not None:
        take_part(place, lambda: _resumed(runs, run, place.size), runs, plain=plain, json=json)
        return
    from birdplane.cli.seeds import train_group, whole_group

    if (group := whole_group(run, runs)) is not None:
        if nproc is not None:
            raise UsageError(
                "--nproc: the runs of a group go on in as many processes as they had; leave it out"
            )
        train_group(group, runs, fresh=False, plain=plain, json=json)
        return
    opened = Run.open(runs_folder(runs), run)
    status = opened.status()
    if status.state == "paused":
        opened.request("resume")
        typer.echo(f"{opened.name} goes on")
        return
    processes = opened.processes() if nproc is None else nproc
    _resumed(runs, run, processes)
    if processes > 1:
        train_in_processes(opened, processes, run, runs, plain=plain, json=json)
        return
    if resume_here(opened, runs, plain=plain, json=json) and not json:
        suggest(opened, runs)


@app.command()
def watch(
    run: Annotated[str, typer.Argument(help="A run's name or folder.")],
    runs: Runs = None,
    plain: Plain = False,
    json: Json = False,
) -> None:
    """Show a run from its beginning and follow it to its end; Ctrl-C leaves it training."""
    from birdplane.cli import display
    from birdplane.events import End
    from birdplane.runs import Run, runs_folder

    opened = Run.open(runs_folder(runs), run)
    opened.note_place()
    shown = display.choose(opened.name, plain_text=plain, json_lines=json)
    tail = opened.tail(shown.lasting)
    status = None
    try:
        while True:
            # In pieces: the first lines of a long record are there at once, and it is never held whole.
            events = tail.poll(_PIECE)
            for event in events:
                shown.show(event)
            if tail.behind:
                continue
            if events and isinstance(events[-1], End):
                return
            if not events and status is not None and not status.live:
                opened.check_in_place()
                reason = status.reason or f"`birdplane resume {opened.name}` trains it"
                raise BirdplaneError(f"run {opened.name!r} is {status.state}: {reason}")
            tail.want(None)
            # Looked at before the next poll, which then finds all that a process told that is gone by now.
            status = None if events else opened.status()
            if status is None or status.live:
                time.sleep(0.1)
    except KeyboardInterrupt:
        shown.close()
        typer.echo(f"{opened.name} is not affected; `birdplane watch {opened.name}` comes back")
    finally:
        shown.close()


def _place(nproc: int | None) -> Place | None:
    """Return this process's place among several that train together; None where it trains or starts them itself."""
    from birdplane.ranks import given

    place = given()
    if place is not None and nproc is not None:
        raise UsageError(f"--nproc: {place.size} processes are started already; leave it out")
    return place


def _sound(pipeline: str, assignments: list[str] | None, processes: int) -> Pipeline:
    """Return the pipeline that is to be trained, in that many processes.

    Raises:
        UsageError: there is none, it has problems, or its batches cannot be shared by so many.
    """
    from birdplane.pipeline import Pipeline
    from birdplane.ranks import check_count

    chosen = Pipeline.load(pipeline).override(assignments or [])
    chosen.require_sound()
    check_count(processes, chosen.training.batch_size, chosen.source)
    return chosen


def _resumed(runs: Path | None, name: str, processes: int) -> Run:
    """Return a run that can go on, in that many processes.

    Raises:
        UsageError: there is no such run, it is done, or its batches cannot be shared by so many.
    """
    from birdplane.pipeline import Pipeline
    from birdplane.ranks import check_count
    from birdplane.runs import Run, runs_folder

    run = Run.open(runs_folder(runs), name)
    status = run.status()
    if status.state == "done":
        raise UsageError(
            f"run {run.name!r} is done; to train for longer, start a new run with more training.epochs"
        )
    if processes != 1:
        pipeline = Pipeline.from_toml(run.pipeline_toml(), str(run.path / "pipeline.toml"))
        pipeline.require_sound()
        check_count(processes, pipeline.training.batch_size, pipeline.source)
    if processes != run.processes() and not status.live:  # whoever trains it now keeps its number
        run.keep_processes(processes)
    return run
