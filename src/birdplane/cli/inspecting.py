"""`birdplane evaluate` and `predict`: what a trained model is worth, and what it makes of pictures."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from birdplane.cli import app
from birdplane.cli.options import Json, RunName, Runs
from birdplane.cli.screen import (
    bar,
    percent,
    print_error,
    print_facts,
    print_heading,
    print_json,
    print_table,
    showing_preparation,
)
from birdplane.errors import BirdplaneError, UsageError
from birdplane.text import plain

if TYPE_CHECKING:
    from birdplane.inspection import Evaluation, Prediction, TrainedModel

_SHOWN = 5  # bars a picture
_SPLITS: tuple[Literal["train", "validation"], ...] = ("train", "validation")


class Which(StrEnum):
    """Which weights of a run are used."""

    BEST = "best"
    LAST = "last"


Checkpoint = Annotated[
    Which, typer.Option("--checkpoint", help="The weights that validated best, or the newest ones.")
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps.")]


@app.command()
def evaluate(
    run: RunName,
    checkpoint: Checkpoint = Which.BEST,
    device: Device = "auto",
    runs: Runs = None,
    json: Json = False,
) -> None:
    """Score a run's model on both splits: loss, accuracy, and which class is taken for which."""
    model = _opened(run, runs, checkpoint, device)
    with showing_preparation():
        evaluations = [model.evaluate(split) for split in _SPLITS]
    if json:
        print_json(
            {
                "run": run,
                "checkpoint": str(checkpoint),
                "device": str(model.assembly.device),
                "precision": model.assembly.precision,
                "classes": list(model.classes),
                "splits": [asdict(evaluation) for evaluation in evaluations],
            }
        )
        return
    for evaluation in evaluations:
        _print_evaluation(evaluation, model.classes)


def _opened(run: str, runs: Path | None, checkpoint: Which, device: str) -> TrainedModel:
    from birdplane.runs import Run, runs_folder

    # Before torch, which takes seconds to import: a wrong name is told at once.
    found = Run.open(runs_folder(runs), run)
    from birdplane.inspection import TrainedModel

    try:
        return TrainedModel(found, checkpoint.value, device)
    except UsageError as error:
        message = str(error)
        raise UsageError(message.replace("training.device", "--device", 1)) from error


def _print_evaluation(found: Evaluation, classes: tuple[str, ...]) -> None:
    print_heading(f"{found.split}: {found.count:,} pictures")
    print_facts([("  loss", f"{found.loss:.4f}"), ("  accuracy", percent(found.accuracy))])
    print()
    rows = []
    for name, counts in zip(classes, found.confusion, strict=True):
        right = counts[classes.index(name)]
        share = percent(right / sum(counts)) if sum(counts) else ""
        rows.append([f"  {name}", *(str(count) for count in counts), share])
    print_table(rows, ["  it is, taken for", *classes, "right"])
    print()


@app.command()
def predict(
    run: RunName,
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE...", help="Pictures, or folders of pictures.")
    ],
    checkpoint: Checkpoint = Which.BEST,
    device: Device = "auto",
    runs: Runs = None,
    json: Json = False,
) -> None:
    """Say what a run's model sees in pictures of any size."""
    from birdplane.runs import Run, runs_folder

    Run.open(runs_folder(runs), run)
    files, failures = _files(images)
    predictions: list[Prediction] = []
    if files:
        model = _opened(run, runs, checkpoint, device)
        for file in files:
            try:
                prediction = model.predict([file])[0]
            except BirdplaneError as error:
                failures.append(str(error))
                continue
            predictions.append(prediction)
            if not json:
                _print_prediction(prediction)
    if json:
        print_json([_record(prediction) for prediction in predictions])
    for failure in failures:
        print_error(failure)
    if failures:
        raise typer.Exit(1)


def _files(given: list[Path]) -> tuple[list[Path], list[str]]:
    """Return the files, with the pictures of a folder in its place, and what is wrong with some folders."""
    files: list[Path] = []
    failures: list[str] = []
    for path in given:
        if not path.is_dir():
            files.append(path)
            continue
        try:
            pictures = _pictures(path)
        except OSError as error:
            failures.append(f"{path}: cannot be read: {error.strerror or error}")
            continue
        if not pictures:
            failures.append(f"{path}: there are no pictures in this folder")
        files += pictures
    return files, failures


def _pictures(folder: Path) -> list[Path]:
    """Return the files of a folder whose names are those of pictures, sorted."""
    from PIL import Image

    known = {
        ending
        for ending, picture_format in Image.registered_extensions().items()
        if picture_format in Image.OPEN
    }
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in known and not path.name.startswith(".") and path.is_file()
    )


def _record(prediction: Prediction) -> dict[str, Any]:
    return asdict(prediction)


def _print_prediction(prediction: Prediction) -> None:
    print_heading(f"{prediction.file}: {prediction.label}")
    shares = sorted(prediction.probabilities.items(), key=lambda item: -item[1])
    width = max(len(plain(name)) for name, _ in shares[:_SHOWN])
    for name, share in shares[:_SHOWN]:
        print(f"  {plain(name):{width}}  {bar(share)} {percent(share):>8}")
    if len(shares) > _SHOWN:
        rest = sum(share for _, share in shares[_SHOWN:])
        print(f"  and {len(shares) - _SHOWN} others, {percent(rest)} together")
