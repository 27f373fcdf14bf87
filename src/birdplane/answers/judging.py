"""Answers about a trained run: its scores, what it confuses, which pictures, and what it makes of others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from birdplane import checkpoint, reporting
from birdplane.answers.desk import Desk
from birdplane.answers.looking import Split, decoded, side_of, thumbnails
from birdplane.data import Pictures
from birdplane.inspection import TrainedModel, read_picture
from birdplane.judging import calibrate, count_confusion
from birdplane.runs import Run


@dataclass(frozen=True)
class _Judged:
    """What a model makes of a split: the mean loss, `labels` (N,) and `probabilities` (N, K) on the CPU."""

    loss: float
    labels: Tensor
    probabilities: Tensor

    @property
    def predicted(self) -> Tensor:
        return self.probabilities.argmax(dim=1)

    def told(self) -> dict[str, Any]:
        labels_N, predicted_N = self.labels.numpy(), self.predicted.numpy()
        right_N = labels_N == predicted_N
        return {
            "count": len(right_N),
            "loss": self.loss,
            "accuracy": int(right_N.sum()) / len(right_N),
            "confusion": count_confusion(labels_N, predicted_N, self.probabilities.shape[1]),
            "calibration_error": calibrate(self.probabilities.amax(dim=1).numpy(), right_N).expected_error,
        }


def evaluate(desk: Desk, *, run: str, splits: Sequence[Split] = ("train", "validation")) -> dict[str, Any]:
    """The scores of a run's best weights.

    Returns:
        `classes`; `step`, that of the checkpoint; `splits`: for each that was asked for, `count`, `loss`, `accuracy`,
        `confusion[true][predicted]` and `calibration_error`, the expected one.
    """
    model, key = opened(desk, run)
    scores = {split: _judged(desk, model, key, split).told() for split in splits}
    return {"classes": list(model.classes), "step": key[1], "splits": scores}


def examples(
    desk: Desk,
    *,
    run: str,
    split: Split = "validation",
    cell: tuple[int, int] | None = None,
    offset: int = 0,
    count: int = 16,
    side: int = 32,
) -> dict[str, Any]:
    """Pictures of a cell of the confusion matrix, (true, predicted), the surest first; without one, the mistakes
    of which the model is surest.

    Returns:
        `total` there are; `items`: `index`, `label`, `predicted`, `probabilities` by class; `thumbnails`.
    """
    model, key = opened(desk, run)
    judged = _judged(desk, model, key, split)
    predicted = judged.predicted
    places = _wanted(judged, cell).nonzero()[:, 0]
    surest = judged.probabilities[places].max(dim=1).values if len(places) else torch.empty(0)
    page = places[surest.argsort(descending=True, stable=True)][offset : offset + count].tolist()
    pictures = pictures_of(desk, model, split)
    images, _ = decoded(pictures, page)
    items = [
        {
            "index": place,
            "label": int(judged.labels[place]),
            "predicted": int(predicted[place]),
            "probabilities": judged.probabilities[place].tolist(),
        }
        for place in page
    ]
    shown = thumbnails(images, side)
    return {"classes": list(model.classes), "total": len(places), "items": items, **shown}


def _wanted(judged: _Judged, cell: tuple[int, int] | None) -> Tensor:
    if cell is None:
        return judged.predicted != judged.labels
    return (judged.labels == cell[0]) & (judged.predicted == cell[1])


def predict(desk: Desk, *, run: str, path: str, side: int = 32) -> dict[str, Any]:
    """What a run's model makes of a picture file: `label` (a number), `probabilities` by class, `classes`, and its
    `thumbnails`: one, as the model is given it."""
    model, _ = opened(desk, run)
    file = Path(path).expanduser()
    picture = torch.from_numpy(read_picture(file, tuple(model.state["stored_shape"])))[None]
    probabilities = model.probabilities(picture)[0]
    return {
        "file": str(file),
        "classes": list(model.classes),
        "label": int(probabilities.argmax()),
        "probabilities": probabilities.tolist(),
        **thumbnails(picture, side),
    }


def opened(desk: Desk, run: str) -> tuple[TrainedModel, tuple[str, int]]:
    """Return the run's model of its newest checkpoint, and a key that changes with it."""
    folder = Run(Path(run))
    known = checkpoint.steps(folder.checkpoints)
    key = (str(folder.path.resolve()), known[-1] if known else -1)
    return desk.models.get(key, lambda: TrainedModel(folder)), key


def pictures_of(desk: Desk, model: TrainedModel, split: Split) -> Pictures:
    """Return the pictures of a split of the run's own dataset."""
    return side_of(desk.splits(model.assembly.pipeline), split)


def _judged(desk: Desk, model: TrainedModel, key: tuple[str, int], split: Split) -> _Judged:
    made: _Judged = desk.answers.get((*key, split), lambda: _judge(desk, model, split))
    return made


@torch.no_grad()
def _judge(desk: Desk, model: TrainedModel, split: Split) -> _Judged:
    pictures, assembly = pictures_of(desk, model, split), model.assembly
    loss, labels, shares = 0.0, [], []
    with reporting.task(f"looking at the {split} pictures", len(pictures), "pictures") as advance:
        for images, labels_N in assembly.batches(pictures).epoch():
            desk.pulse()
            outputs_NK = assembly.outputs(images)
            loss += assembly.loss(outputs_NK, labels_N).item() * len(labels_N)
            labels.append(labels_N.cpu())
            shares.append(assembly.probabilities(outputs_NK).float().cpu())
            advance(len(labels_N))
    return _Judged(loss / len(pictures), torch.cat(labels), torch.cat(shares))
