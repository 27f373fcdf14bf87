"""`birdplane report`: all about a run in one HTML file that opens without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from birdplane.cli import app
from birdplane.cli.inspecting import Checkpoint, Device, Which, opened
from birdplane.cli.options import RunName, Runs
from birdplane.cli.screen import showing_preparation
from birdplane.errors import UsageError
from birdplane.text import plain, size


@app.command()
def report(
    run: RunName,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Where to write it (else RUN.html, right here)."),
    ] = None,
    mistakes: Annotated[
        int, typer.Option("--mistakes", min=0, max=500, help="Show at most so many mistakes.")
    ] = 24,
    probe: Annotated[
        bool, typer.Option("--probe/--no-probe", help="Look at moved and changed pictures, too.")
    ] = True,
    checkpoint: Checkpoint = Which.BEST,
    device: Device = "auto",
    runs: Runs = None,
) -> None:
    """Write all about a run into one HTML file: curves, scores, mistakes with their pictures, settings.

    It opens in any browser without a network, runs no script and can be sent to anybody as it is. A file of that name
    is replaced.
    """
    from birdplane.runs import Run, runs_folder

    found = Run.open(runs_folder(runs), run)
    file = output or Path(f"{found.name}.html")
    _require_place(file)
    model = opened(run, runs, checkpoint, device)
    from birdplane import durable
    from birdplane.htmlreport.gathering import gather
    from birdplane.htmlreport.page import page

    with showing_preparation():
        told = gather(found, model, checkpoint.value, mistakes=mistakes, probed=probe)
    data = page(told).encode()
    try:
        durable.replace_file(file, data)
    except OSError as error:
        raise durable.trouble(error, "write", file) from error
    print(f"{plain(str(file))}: {size(len(data))}; open it in a browser")


def _require_place(file: Path) -> None:
    """Before all is looked at, which takes long."""
    if file.is_dir():
        raise UsageError(f"--output: {str(file)!r} is a folder; name a file in it")
    if not file.parent.is_dir():
        raise UsageError(f"--output: there is no folder {str(file.parent)!r}")
