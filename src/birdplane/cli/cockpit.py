"""`birdplane tui`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from birdplane.cli import app


@app.command()
def tui(
    run: Annotated[str | None, typer.Argument(help="A run to watch.")] = None,
    pipeline: Annotated[
        str | None,
        typer.Option("--pipeline", help="A pipeline file or recipe to begin with. [default: demo]"),
    ] = None,
    runs: Annotated[
        Path | None,
        typer.Option("--runs", help="The folder of the runs. [default: BIRDPLANE_RUNS or ./runs]"),
    ] = None,
) -> None:
    """Open the cockpit: assemble, train, watch, look at results."""
    from birdplane.tui.start import open_cockpit

    open_cockpit(run, pipeline, runs)
