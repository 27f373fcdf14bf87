"""`birdplane export`: a run's model as one file that needs no birdplane."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from birdplane.cli import app
from birdplane.cli.inspecting import Checkpoint, Which
from birdplane.cli.options import Json, RunName, Runs
from birdplane.cli.screen import print_facts, print_heading, print_json, showing_preparation
from birdplane.errors import UsageError, nearest
from birdplane.text import size

if TYPE_CHECKING:
    from birdplane.exporting.writing import Written


@app.command()
def export(
    run: RunName,
    format: Annotated[
        str | None,
        typer.Option("--format", help="torch, a torch.export program (.pt2), or onnx. [default: torch]"),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", help="The file to write. [default: RUN.pt2 or RUN.onnx]"),
    ] = None,
    given: Annotated[
        str,
        typer.Option(
            "--input", help="How pictures are given to it: uint8 from 0 to 255, or float32 from 0 to 1."
        ),
    ] = "uint8",
    checkpoint: Checkpoint = Which.BEST,
    runs: Runs = None,
    json: Json = False,
) -> None:
    """Write a run's model as one file, from pictures to probabilities, for programs without birdplane.

    The transforms that are not random are inside, what they measured too, and the names of the classes. The file is
    compared with the run's own predictions before it is written.
    """
    from birdplane import exporting
    from birdplane.runs import Run, runs_folder

    found = Run.open(runs_folder(runs), run)
    chosen, file = exporting.target(found.name, format, output)
    if given not in exporting.INPUTS:
        raise UsageError(
            f"--input: there is no {given!r}{nearest(given, exporting.INPUTS)} "
            f"(allowed: {', '.join(exporting.INPUTS)})"
        )
    if chosen == "onnx":
        exporting.require_onnx()  # before torch, which takes seconds to import
    from birdplane.exporting.writing import export as write

    with showing_preparation():
        written = write(found, chosen, file, checkpoint.value, "float32" if given == "float32" else "uint8")
    if json:
        print_json({**asdict(written), "file": str(written.file), "checkpoint": str(checkpoint)})
    else:
        _print(written)


def _print(written: Written) -> None:
    facts = written.facts
    channels, height, width = facts.shape
    reach = "0 to 1" if facts.input == "float32" else "0 to 255"
    source = (
        "of its validation split"
        if written.checked_on == "validation"
        else "of noise: its own are not at hand"
    )
    print_heading(f"{written.file}: {size(written.bytes)}")
    print_facts(
        [
            ("  takes", f"images: {facts.input}, {reach}, (any number, {channels}, {height}, {width})"),
            (
                "  gives",
                f"probabilities: float32, (as many, {len(facts.classes)}): {', '.join(facts.classes)}",
            ),
            ("  checked", f"on {written.pictures} pictures {source}"),
            ("  largest difference", f"{written.difference:.1e}, of a probability, from the run's own"),
        ]
    )
