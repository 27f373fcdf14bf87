"""`birdplane eject`: a pipeline as one plain PyTorch script."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from birdplane.cli import app
from birdplane.cli.options import Json, Runs, Set
from birdplane.cli.screen import print_json, showing_preparation
from birdplane.errors import UsageError
from birdplane.text import plain

if TYPE_CHECKING:
    from birdplane.pipeline import Pipeline
    from birdplane.runs import Run


@app.command()
def eject(
    pipeline: Annotated[
        str, typer.Argument(metavar="PIPELINE|RUN", help="A pipeline file, a recipe's name, or a run's.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", metavar="FILE", help="The script to write. [default: the pipeline's name, .py]"
        ),
    ] = None,
    assignments: Set = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there already.")] = False,
    runs: Runs = None,
    json: Json = False,
) -> None:
    """Write a pipeline, or a run's, as one plain PyTorch script that comes to the same numbers without birdplane."""
    chosen, run = _chosen(pipeline, runs)
    chosen = chosen.override(assignments or [])
    chosen.require_sound()
    path = output or Path(f"{_file_name(Path(pipeline).stem)}.py")
    if path.suffix != ".py":
        raise UsageError(f"--output: {str(path)!r} should end in .py")
    _refuse_overwriting([path, path.with_suffix(".npz")], force)

    # After what can be told at once: torch takes seconds to import.
    from birdplane.durable import replace_file, trouble
    from birdplane.ejecting import eject, known_of

    fitted, precision = known_of(run) if run is not None and not assignments else (None, None)
    with showing_preparation():
        script = eject(chosen, path.stem, fitted=fitted, precision=precision)
    files = [path.with_name(name) for name in script.files]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for file, content in zip(files, script.files.values(), strict=True):
            replace_file(file, content)
        replace_file(path, script.text.encode("utf-8"))
    except OSError as error:
        raise trouble(error, "write", path) from error
    if json:
        print_json({"script": str(path), "files": [str(file) for file in files]})
        return
    for file in (path, *files):
        print(plain(str(file)))


def _chosen(name: str, runs: Path | None) -> tuple[Pipeline, Run | None]:
    """Return the pipeline of a file or a recipe, else that of a run.

    Raises:
        UsageError: nothing has that name.
    """
    from birdplane.pipeline import Pipeline
    from birdplane.runs import Run, runs_folder

    try:
        return Pipeline.load(name), None
    except UsageError as error:
        try:
            run = Run.open(runs_folder(runs), name)
        except UsageError:
            raise error from None
    return Pipeline.from_toml(run.pipeline_toml(), run.name), run


def _file_name(stem: str) -> str:
    """Return a name that Python could import."""
    return re.sub(r"\W+", "_", stem).strip("_") or "script"


def _refuse_overwriting(paths: list[Path], force: bool) -> None:
    for path in paths:
        if path.exists() and not force:
            raise UsageError(f"{path} is there already: --force replaces it, --output names another")
