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
    print_warning,
    showing_preparation,
)
from birdplane.errors import BirdplaneError, UsageError
from birdplane.text import plain

if TYPE_CHECKING:
    from birdplane.exporting.using import ExportedModel
    from birdplane.inspection import Evaluation, Prediction, TrainedModel
    from birdplane.judging import Calibration

_SHOWN = 5  # bars a picture
_FEW = 12  # classes up to which the whole confusion matrix is printed
_CONFUSED = 15  # its most frequent mistakes, where it is not
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
    """Score a run's model on both splits: loss, accuracy, which class is taken for which, and whether its
    probabilities are to be believed.

    Precision is the share of right ones among the pictures that are taken for a class, recall that among the pictures
    of it, F1 the harmonic mean of both. What is said with a probability of 80 % should be right in 80 of 100 cases:
    the calibration error is how far that is off, on average (Guo et al., 2017; 15 bins).
    """
    model = opened(run, runs, checkpoint, device)
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


def opened(run: str, runs: Path | None, checkpoint: Which, device: str) -> TrainedModel:
    """Return the model of a run that is named on the command line.

    Raises:
        UsageError: there is no such run, or no such device.
        BirdplaneError: the run has no whole checkpoint.
    """
    from birdplane.runs import Run, runs_folder

    # Before torch, which takes seconds to import: a wrong name is told at once.
    found = Run.open(runs_folder(runs), run)
    from birdplane.inspection import TrainedModel

    try:
        model = TrainedModel(found, checkpoint.value, device)
    except UsageError as error:
        message = str(error)
        raise UsageError(message.replace("training.device", "--device", 1)) from error
    for unusable in model.damaged:
        print_warning(f"{unusable}; the one before is taken")
    return model


def _print_evaluation(found: Evaluation, classes: tuple[str, ...]) -> None:
    print_heading(f"{found.split}: {found.count:,} pictures")
    print_facts(
        [
            ("  loss", f"{found.loss:.4f}"),
            ("  accuracy", percent(found.accuracy)),
            ("  calibration error", percent(found.calibration.expected_error)),
        ]
    )
    print()
    few = len(classes) <= _FEW
    rows = []
    for score, counts in zip(found.per_class, found.confusion, strict=True):
        cells = [str(count) for count in counts] if few else [str(score.pictures)]
        shares = [_share(share) for share in (score.recall, score.precision, score.f1)]
        rows.append([f"  {score.name}", *cells, *shares])
    print_table(
        rows, ["  it is, taken for", *(classes if few else ["pictures"]), "recall", "precision", "F1"]
    )
    print()
    if not few:
        _print_confused(found, classes)
    _print_calibration(found.calibration)


def _share(share: float | None) -> str:
    return "-" if share is None else percent(share)


def _print_confused(found: Evaluation, classes: tuple[str, ...]) -> None:
    from birdplane.judging import confused

    cells = confused(found.confusion)[:_CONFUSED]
    if cells:
        rows = [[f"  {classes[label]}", classes[taken], str(count)] for label, taken, count in cells]
        print_table(rows, ["  it is", "taken for", "pictures"])
        print()


def _print_calibration(found: Calibration) -> None:
    rows = []
    for one in found.bins:
        if one.count:
            limits = f"{100 * one.low:3.0f} to {100 * one.high:3.0f} %"
            rows.append([f"  {limits}", str(one.count), _share(one.confidence), _share(one.accuracy)])
    print_table(rows, ["  said with", "pictures", "on average", "right"])
    print()


@app.command()
def predict(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="The run's name, or its folder; or an exported file.")
    ],
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE...", help="Pictures, or folders of pictures.")
    ],
    checkpoint: Checkpoint = Which.BEST,
    device: Device = "auto",
    runs: Runs = None,
    json: Json = False,
) -> None:
    """Say what a run's model sees in pictures of any size; also that of a file that `birdplane export` wrote."""
    exported = _exported_file(run, runs)
    files, failures = _files(images)
    predictions: list[Prediction] = []
    if files:
        model = _loaded(exported) if exported else opened(run, runs, checkpoint, device)
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


def _exported_file(name: str, runs: Path | None) -> Path | None:
    """Return the exported file of a name; None for a run's.

    Raises:
        UsageError: there is neither.
    """
    from birdplane.exporting import SUFFIXES
    from birdplane.runs import Run, runs_folder

    if Path(name).suffix.lower() in SUFFIXES.values() and Path(name).is_file():
        return Path(name)
    Run.open(runs_folder(runs), name)
    return None


def _loaded(file: Path) -> ExportedModel:
    from birdplane.exporting.using import load

    return load(file)


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
