"""One training in front of a person: begun, shown, stopped by signals, and what is said at its end."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Literal

import typer

from birdplane.cli.leaving import LeaveAtOnce, importing, second_ends_it
from birdplane.cli.screen import say
from birdplane.processes import handling

if TYPE_CHECKING:
    from birdplane.cli.display import Display
    from birdplane.ranks import Place
    from birdplane.runs import Requests, Run
    from birdplane.training import Trainer


def train_here(
    begin: Callable[[Signals], Trainer], run: Run, runs: Path | None, *, plain: bool, json: bool
) -> bool:
    """Train in this process what `begin` returns, which may import torch; return whether it is done, not stopped.

    Raises:
        SystemExit: 130 or 143 after a signal.
    """
    _announce_import(json)
    with importing():
        signals = Signals(run)
        return _follow_events(begin(signals), run, runs, signals, plain=plain, json=json)


def resume_here(run: Run, runs: Path | None, *, plain: bool, json: bool) -> bool:
    """Go on with a run in this process. See `train_here`."""

    def begin(signals: Signals) -> Trainer:
        from birdplane.training import resume

        return resume(run, signals)

    return train_here(begin, run, runs, plain=plain, json=json)


def train_in_processes(
    run: Run, processes: int, name: str, runs: Path | None, *, plain: bool, json: bool
) -> None:
    """Start a run's processes and leave as the leading one does."""
    from birdplane import cli
    from birdplane.ranks import train_together

    before = ["--debug"] if cli._debug else []
    flags = [*(["--plain"] if plain else []), *(["--json"] if json else [])]
    where = ["--runs", str(runs)] if runs else []
    if code := train_together(run, processes, [*before, "resume", name, *where, *flags]):
        raise typer.Exit(code)


def take_part(place: Place, find: Callable[[], Run], runs: Path | None, *, plain: bool, json: bool) -> None:
    """Train as one of several processes; the leading one finds the run."""
    from birdplane.ranks import LOST_EXIT_CODE, follow_watcher

    follow_watcher()
    run = find() if place.leads else None
    signals = Signals(run, alone=False)
    try:
        with signals.listening():
            if run is not None:
                _announce_import(json)
            from birdplane.distributed import Team
            from birdplane.pipeline import Pipeline
            from birdplane.training import follow, resume

            team = Team(place)
            team.join()
            text = team.agreed(run.pipeline_toml() if run is not None else None)
            if run is None:
                for _ in follow(Pipeline.from_toml(text, "pipeline.toml"), team):
                    pass
                trained = False
            else:
                trained = _follow_events(
                    resume(run, signals, team), run, runs, signals, plain=plain, json=json
                )
            team.leave()
    except BaseException as error:
        if not place.watched and run is not None:
            forget_if_nothing_happened(run)
        if place.watched and getattr(error, "exit_code", 0) == LOST_EXIT_CODE:
            raise typer.Exit(LOST_EXIT_CODE) from error  # whoever watches says which one was lost, and why
        raise
    if run is not None and trained and not json:
        suggest(run, runs)


class Signals:
    """The run's own requests, and a stop once SIGINT or SIGTERM has come.

    Before the training has `begun` there is nothing to save, and the first signal ends it where it stands, such as
    in a download. The second signal ends the process at once; what is on the disk is whole at any instant. Where it
    is not alone, it only takes note of them: a Ctrl-C may reach it twice, and whoever started it ends it if need be.
    """

    def __init__(self, run: Run | None, *, alone: bool = True) -> None:
        self._run = run
        self._alone = alone
        self._requests: Requests | None = None
        self.received: int | None = None
        self.begun = False
        self._leaving = False

    def poll(self) -> list[Literal["pause", "resume", "stop"]]:
        if self.received is not None:
            return ["stop"]
        # Not before the first question: the run is locked by then, and what was asked of an earlier process is void.
        if self._requests is None and self._run is not None:
            self._requests = self._run.requests()
        return self._requests.poll() if self._requests is not None else []

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._leaving:
            return  # a third must not cut short what is said after the second
        if self.received is not None and self._alone:
            self._leaving = True
            raise LeaveAtOnce(128 + number)
        self.received = number
        if self._alone and not self.begun:
            from birdplane.training import StoppedEarly

            raise StoppedEarly

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle the signals inside the block. A closed terminal (SIGHUP) does not end a training."""
        with (
            handling(self._handle, signal.SIGINT, signal.SIGTERM),
            second_ends_it() if self._alone else nullcontext(),
        ):
            yield


def _announce_import(json: bool) -> None:
    """Say something before torch is imported: that takes seconds."""
    if sys.stdout.isatty() and not json:
        sys.stdout.write("starting PyTorch ...\r")
        sys.stdout.flush()


def _follow_events(
    trainer: Trainer, run: Run, runs: Path | None, signals: Signals, *, plain: bool, json: bool
) -> bool:
    """Train to the end and draw it; return whether it is done, not stopped.

    Raises:
        SystemExit: 130 or 143 after a signal.
    """
    from birdplane.cli import display
    from birdplane.cli.screen import showing_preparation
    from birdplane.events import Start
    from birdplane.training import StoppedEarly

    shown: Display = display.choose(run.name, plain_text=plain, json_lines=json, outlives=True)
    status = ""
    try:
        with signals.listening(), showing_preparation():
            try:
                for event in trainer:
                    signals.begun = signals.begun or isinstance(event, Start)
                    shown.show(event)
                    status = getattr(event, "status", status)
            except LeaveAtOnce:
                shown.close()
                if signals.begun and not json:
                    say(f"left at once; go on with: birdplane resume {run.name}{runs_option(runs)}")
                raise
    except StoppedEarly:
        status = "stopped"
    finally:
        shown.close()
    if signals.received is not None and status != "done":
        if signals.begun and not json:
            say(f"go on with: birdplane resume {run.name}{runs_option(runs)}")
        raise typer.Exit(128 + signals.received)
    return status == "done"


def forget_if_nothing_happened(run: Run) -> None:
    """Remove a run folder of this command in which training never began: there is nothing in it to keep."""
    import shutil

    from birdplane.events import Start

    if run.in_place() and next(iter(run.events([Start])), None) is None:
        shutil.rmtree(run.path, ignore_errors=True)


def runs_option(runs: Path | None) -> str:
    """Return the option by which another command finds the run too."""
    return f" --runs {shlex.quote(str(runs))}" if runs else ""


def suggest(run: Run, runs: Path | None) -> None:
    commands = {
        f"birdplane evaluate {run.name}{runs_option(runs)}": "where it is right and wrong",
        f"birdplane predict {run.name}{runs_option(runs)} IMAGE": "what it sees in a picture of yours",
        "birdplane tui": "all of it on one screen",
        "birdplane list": "everything that can be combined",
    }
    width = max(map(len, commands))
    lines = (f"  {command:<{width}}  {purpose}" for command, purpose in commands.items())
    say(f"the run is in {run.path}; next:", *lines)
