"""`birdplane tui`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from birdplane.cli import app
from birdplane.errors import UsageError


@app.command()
def tui(
    run: Annotated[str | None, typer.Argument(help="A run to watch.")] = None,
    pipeline: Annotated[
        str | None, typer.Option("--pipeline", help="A pipeline file or recipe to begin with. [default: demo]")
    ] = None,
    runs: Annotated[
        Path | None, typer.Option("--runs", help="The folder of the runs. [default: BIRDPLANE_RUNS or ./runs]")
    ] = None,
) -> None:
    """Open the cockpit: assemble, train, watch, look at results."""
    from birdplane.tui.app import open_draft, run_cockpit, terminal_trouble

    trouble = terminal_trouble()
    if trouble:
        raise UsageError(f"the cockpit needs a terminal: {trouble}; `birdplane train` and `watch` work anywhere")
    from birdplane.runs import Run, runs_folder
    from birdplane.tui.settings import load
    from birdplane.tui.state import Cockpit, Draft

    folder = runs_folder(runs)
    opened = Run.open(folder, run) if run else None
    settings = load()
    run_cockpit(Cockpit(folder, settings, Draft(*open_draft(pipeline)), opened), "train" if opened else "build")
