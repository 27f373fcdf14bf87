"""`birdplane train`, `resume` and `watch`."""

from __future__ import annotations

import shlex
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from birdplane.cli import app
from birdplane.cli.options import Runs
from birdplane.errors import BirdplaneError, UsageError

if TYPE_CHECKING:
    from birdplane.cli.display import Display
    from birdplane.runs import Requests, Run
    from birdplane.training import Trainer

Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Override a key, such as training.epochs=3; may be repeated."
    ),
]
Plain = Annotated[bool, typer.Option("--plain", help="A line an epoch, and nothing that moves.")]
Json = Annotated[bool, typer.Option("--json", help="Print the events as JSON lines.")]


@app.command()
def train(
    pipeline: Annotated[str, typer.Argument(help="A pipeline file, or a recipe's name.")] = "demo",
    assignments: Set = None,
    name: Annotated[
        str | None, typer.Option("--run", help="The run's name. [default: the pipeline's, numbered]")
    ] = None,
    runs: Runs = None,
    plain: Plain = False,
    json: Json = False,
) -> None:
    """Train a pipeline and record it as a run.

    Ctrl-C saves a checkpoint and leaves; `birdplane resume` goes on to the very same result.
    """
    from birdplane.pipeline import Pipeline
    from birdplane.runs import Run, runs_folder

    chosen = Pipeline.load(pipeline).override(assignments or [])
    chosen.require_sound()
    run = Run.create(runs_folder(runs), name, Path(pipeline).stem, pipeline_toml=chosen.to_toml())
    try:
        _announce_import(json)
        from birdplane.training import train

        trained = _follow(
            train(chosen, run, signals := _Signals(run)), run, runs, signals, plain=plain, json=json
        )
    except BaseException:
        _forget_if_nothing_happened(run)
        raise
    if trained and not json:
        _suggest(run, runs)


@app.command()
def resume(
    run: Annotated[str, typer.Argument(help="A run's name or folder.")],
    runs: Runs = None,
    plain: Plain = False,
    json: Json = False,
) -> None:
    """Go on with a run that was stopped or has crashed, or let a paused one go on."""
    from birdplane.runs import Run, runs_folder

    opened = Run.open(runs_folder(runs), run)
    status = opened.status()
    if status.state == "paused":
        opened.request("resume")
        typer.echo(f"{opened.name} goes on")
        return
    if status.state == "done":
        raise UsageError(
            f"run {opened.name!r} is done; to train for longer, start a new run with more training.epochs"
        )
    _announce_import(json)
    from birdplane.training import resume

    trainer = resume(opened, signals := _Signals(opened))
    if _follow(trainer, opened, runs, signals, plain=plain, json=json) and not json:
        _suggest(opened, runs)


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
    shown = display.choose(opened.name, plain_text=plain, json_lines=json)
    tail = opened.tail()
    try:
        while True:
            events = tail.poll()
            for event in events:
                shown.show(event)
            if events and isinstance(events[-1], End):
                return
            if not events and not (status := opened.status()).live:
                raise BirdplaneError(f"run {opened.name!r} is {status.state}: {status.reason}")
            time.sleep(0.1)
    except KeyboardInterrupt:
        shown.close()
        typer.echo(f"{opened.name} is not affected; `birdplane watch {opened.name}` comes back")
    finally:
        shown.close()


class LeaveAtOnce(SystemExit):
    """Leave without waiting for torch to be taken down, which takes up to a second; nothing is left to write."""


class _Signals:
    """The run's own requests, and a stop once SIGINT or SIGTERM has come.

    The second signal ends the process at once; what is on the disk is whole at any instant.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._requests: Requests | None = None
        self.received: int | None = None

    def poll(self) -> list[Literal["pause", "resume", "stop"]]:
        if self.received is not None:
            return ["stop"]
        # Not before the first question: the run is locked by then, and what was asked of an earlier process is void.
        self._requests = self._requests or self._run.requests()
        return self._requests.poll()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            raise LeaveAtOnce(128 + number)
        self.received = number

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle the signals inside the block. A closed terminal (SIGHUP) does not end a training."""
        handlers = {signal.SIGINT: self._handle, signal.SIGTERM: self._handle}
        if hasattr(signal, "SIGHUP"):
            handlers[signal.SIGHUP] = signal.SIG_IGN  # type: ignore[assignment]
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _announce_import(json: bool) -> None:
    """Say something before torch is imported: that takes seconds."""
    if sys.stdout.isatty() and not json:
        sys.stdout.write("starting PyTorch ...\r")
        sys.stdout.flush()


def _follow(
    trainer: Trainer, run: Run, runs: Path | None, signals: _Signals, *, plain: bool, json: bool
) -> bool:
    """Train to the end and draw it; return whether it is done, not stopped.

    Raises:
        SystemExit: 130 or 143 after a signal.
    """
    from birdplane.cli import display
    from birdplane.cli.screen import showing_preparation

    shown: Display = display.choose(run.name, plain_text=plain, json_lines=json)
    status = ""
    try:
        with signals.listening(), showing_preparation():
            for event in trainer:
                shown.show(event)
                status = getattr(event, "status", status)
    finally:
        shown.close()
    if signals.received is not None and status != "done":
        if not json:
            typer.echo(f"go on with: birdplane resume {run.name}{_where(runs)}")
        raise typer.Exit(128 + signals.received)
    return status == "done"


def _forget_if_nothing_happened(run: Run) -> None:
    """Remove a run folder of this command in which training never began: there is nothing in it to keep."""
    import shutil

    from birdplane.events import Start

    if next(iter(run.events([Start])), None) is None:
        shutil.rmtree(run.path, ignore_errors=True)


def _where(runs: Path | None) -> str:
    """Return the option by which another command finds the run too."""
    return f" --runs {shlex.quote(str(runs))}" if runs else ""


def _suggest(run: Run, runs: Path | None) -> None:
    commands = {
        f"birdplane evaluate {run.name}{_where(runs)}": "where it is right and wrong",
        f"birdplane predict {run.name}{_where(runs)} IMAGE": "what it sees in a picture of yours",
        "birdplane tui": "all of it on one screen",
        "birdplane list": "everything that can be combined",
    }
    width = max(map(len, commands))
    typer.echo(f"the run is in {run.path}; next:")
    for command, purpose in commands.items():
        typer.echo(f"  {command:<{width}}  {purpose}")
