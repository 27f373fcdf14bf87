"""Options and arguments that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Runs = Annotated[
    Path | None,
    typer.Option(
        "--runs",
        readable=False,  # not looked at by Typer, which would draw a box around what is one line elsewhere
        help="The folder of the runs (else BIRDPLANE_RUNS, else ./runs).",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="The run's name, or its folder.")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Override a key, such as training.epochs=3; may be repeated."
    ),
]
