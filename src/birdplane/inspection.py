"""What a trained model does with pictures: outputs, scores, predictions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from birdplane import checkpoint, reporting
from birdplane.assembly import Assembly, build_splits, pick_device, usable_precision
from birdplane.data import Batches, Pictures, Splits
from birdplane.distributed import Team
from birdplane.errors import BirdplaneError, UsageError
from birdplane.judging import BINS, Calibration, ClassScore, calibrate, count_confusion, score_classes
from birdplane.pictures import BrokenPictureError, decode_picture
from birdplane.pipeline import Pipeline
from birdplane.runs import Run

Which = Literal["best", "last"]
Split = Literal["train", "validation"]


@torch.no_grad()
def score(assembly: Assembly, batches: Batches, team: Team | None = None) -> tuple[float, float]:
    """Return (mean loss, share of right answers) over a split, with the model in evaluation mode.

    A team shares the pictures; all of it get the same figures.
    """
    team = team or Team()
    team.same_buffers(assembly.model)
    assembly.model.eval()
    # Sums on the device and in float64: one wait at the end, and no digits lost over many batches.
    wide = torch.float32 if assembly.device.type == "mps" else torch.float64
    loss = torch.zeros((), dtype=wide, device=assembly.device)
    correct = torch.zeros((), dtype=torch.int64, device=assembly.device)
    count = 0
    for images, labels in batches.epoch(share=team.share):
        if not len(labels):
            continue
        outputs = assembly.outputs(images)
        loss += assembly.loss(outputs, labels).to(wide) * len(labels)
        correct += (outputs.argmax(dim=1) == labels).sum()
        count += len(labels)
    total, right, pictures = team.added(loss, correct, torch.tensor(count, device=assembly.device))
    return total / pictures, right / pictures


@dataclass(frozen=True)
class Evaluation:
    """A split's score: mean loss, accuracy, `confusion[true][predicted]` counts, the scores of classes, and how well
    the probabilities agree with how often they are right."""

    split: str
    count: int
    loss: float
    accuracy: float
    confusion: list[list[int]]
    per_class: tuple[ClassScore, ...]
    calibration: Calibration


@dataclass(frozen=True)
class Judged:
    """What a model makes of each picture of a split, in its order.

    Attributes:
        split: its name.
        loss: the mean.
        labels, predicted: int64 (N,), what pictures are and what they are taken for.
        confidences: float32 (N,), the probability of what they are taken for.
    """

    split: Split
    loss: float
    labels: np.ndarray
    predicted: np.ndarray
    confidences: np.ndarray

    @property
    def right(self) -> np.ndarray:
        """Which are told right: booleans (N,)."""
        right: np.ndarray = self.labels == self.predicted
        return right


@dataclass(frozen=True)
class Mistake:
    """A picture that is taken for something else.

    `index` is its place in the split, `confidence` the probability of what it is taken for, `pixels` the picture as
    it is stored, uint8 (C, H, W).
    """

    index: int
    label: str
    predicted: str
    confidence: float
    probabilities: dict[str, float]
    pixels: np.ndarray


@dataclass(frozen=True)
class Prediction:
    """What a model makes of one picture: probabilities by class, which sum to 1."""

    file: str
    label: str
    probabilities: dict[str, float]


class TrainedModel:
    """A run's model with everything needed to use it.

    Args:
        run: the run's folder.
        which: `"best"` for the weights that validated best, `"last"` for the newest.
        device: as in `[training]`.

    Attributes:
        damaged: what is wrong with the checkpoints that were passed over, the newest first.

    Raises:
        BirdplaneError: the run has no whole checkpoint yet, or it does not fit the installed components.
    """

    def __init__(self, run: Run, which: Which = "best", device: str = "auto") -> None:
        pipeline = Pipeline.from_toml(run.pipeline_toml(), str(run.path / "pipeline.toml"))
        pipeline.require_sound()
        saved, damaged = checkpoint.newest(run.checkpoints, checkpoint.OF_A_TRAINING)
        if saved is None:
            reason = f": {damaged[0]}" if damaged else ": it has no checkpoint yet"
            raise BirdplaneError(f"run {run.name!r} cannot be used{reason}")
        self.damaged = damaged
        self.state: dict[str, Any] = saved.state
        place = pick_device(device)
        precision, _ = usable_precision(saved.state["environment"]["precision"], place)
        self.assembly = Assembly(pipeline, saved.state["classes"], place, precision)
        self.assembly.build_chain(None, saved.state["fitted"])
        self.assembly.build_model(tuple(saved.state["input_shape"]))
        order = ("best", "average", "model") if which == "best" else ("average", "model")
        group = next(name for name in order if name in saved.tensors)
        of = saved.state["best"] if group == "best" else saved.state["position"]
        #: How many steps the weights had been trained for.
        self.step = int(of["step"])
        checkpoint.load_tensors(self.assembly.model.state_dict(), saved.tensors[group])
        self.assembly.model.eval()

    @property
    def classes(self) -> tuple[str, ...]:
        return self.assembly.classes

    @cached_property
    def _splits(self) -> Splits:
        return build_splits(self.assembly.pipeline)

    def _pictures(self, split: Split) -> Pictures:
        return self._splits.train if split == "train" else self._splits.validation

    def evaluate(self, split: Split) -> Evaluation:
        """Score a split of the run's own dataset, without random transforms."""
        return self.summed_up(self.judge(split))

    @torch.no_grad()
    def judge(self, split: Split) -> Judged:
        """Look at every picture of a split of the run's own dataset, without random transforms."""
        pictures, assembly = self._pictures(split), self.assembly
        loss, labels, predicted, confidences = 0.0, [], [], []
        with reporting.task(f"looking at the {split} pictures", len(pictures), "pictures") as advance:
            for images, labels_N in assembly.batches(pictures).epoch():
                outputs_NK = assembly.outputs(images)
                loss += assembly.loss(outputs_NK, labels_N).item() * len(labels_N)
                # Of equally probable classes the one that counts as right in training.
                predicted_N = outputs_NK.argmax(dim=1)
                shares_N = assembly.probabilities(outputs_NK).float().gather(1, predicted_N[:, None])[:, 0]
                labels.append(labels_N.cpu())
                predicted.append(predicted_N.cpu())
                confidences.append(shares_N.cpu())
                advance(len(labels_N))
        return Judged(
            split,
            loss / len(pictures),
            torch.cat(labels).numpy(),
            torch.cat(predicted).numpy(),
            torch.cat(confidences).numpy(),
        )

    def summed_up(self, judged: Judged, bins: int = BINS) -> Evaluation:
        """Return the scores of a split that was judged; `bins` are those of the calibration."""
        confusion = count_confusion(judged.labels, judged.predicted, len(self.classes))
        right_N = judged.right
        return Evaluation(
            judged.split,
            len(right_N),
            judged.loss,
            int(right_N.sum()) / len(right_N),
            confusion,
            score_classes(self.classes, confusion),
            calibrate(judged.confidences, right_N, bins),
        )

    def mistakes(
        self, judged: Judged, count: int, wanted: Callable[[Judged], np.ndarray] | None = None
    ) -> list[Mistake]:
        """Return the mistakes of which the model is surest, at most `count`, the surest first.

        Args:
            judged: what came of `judge`.
            wanted: returns which pictures may be among them, as booleans; else all may.
        """
        wrong_N = ~judged.right if wanted is None else ~judged.right & wanted(judged)
        places = np.flatnonzero(wrong_N)
        # What is not a number is sure of nothing.
        order = np.argsort(-np.nan_to_num(judged.confidences[places]), kind="stable")
        chosen = places[order][:count].tolist()
        if not chosen:
            return []
        images, _ = self._pictures(judged.split).decode(chosen)
        shares_NK = self.probabilities(torch.from_numpy(np.ascontiguousarray(images))).tolist()
        return [
            Mistake(
                index=place,
                label=self.classes[judged.labels[place]],
                predicted=self.classes[judged.predicted[place]],
                confidence=float(judged.confidences[place]),
                probabilities=dict(zip(self.classes, shares_K, strict=True)),
                pixels=pixels,
            )
            for place, pixels, shares_K in zip(chosen, images, shares_NK, strict=True)
        ]

    @torch.no_grad()
    def probabilities(self, images_NCHW: Tensor) -> Tensor:
        """Return probabilities_NK, float32 on the CPU, of stored pictures: uint8 (N, C, H, W)."""
        assembly = self.assembly
        batch = assembly.layout.finish(assembly.chain(images_NCHW.to(assembly.device)))
        return assembly.probabilities(assembly.outputs(batch)).float().cpu()

    def predict(self, files: list[Path]) -> list[Prediction]:
        """Return a prediction a file. Pictures of any size and mode are made RGB (or grey), and their
        centre is resized to the size that the run's dataset has.

        Raises:
            BirdplaneError: a file is missing or not a picture.
        """
        found = []
        for file in files:
            picture = torch.from_numpy(read_picture(file, self._stored_shape()))[None]
            shares = self.probabilities(picture)[0].tolist()
            best = max(range(len(shares)), key=shares.__getitem__)
            found.append(
                Prediction(str(file), self.classes[best], dict(zip(self.classes, shares, strict=True)))
            )
        return found

    def _stored_shape(self) -> tuple[int, int, int]:
        shape: tuple[int, int, int] = tuple(self.state["stored_shape"])
        return shape


def read_picture(file: Path, shape: tuple[int, int, int]) -> np.ndarray:
    """Read a picture file as uint8 of `shape` (channels, height, width).

    Raises:
        UsageError: there is no such file.
        BirdplaneError: it is not a picture that Pillow reads.
    """
    channels, height, width = shape
    if file.is_dir():
        raise UsageError(f"{file}: is a folder; name the pictures in it")
    if not file.exists():
        raise UsageError(f"{file}: there is no such file")
    try:
        picture = decode_picture(file, (width, height))
    except BrokenPictureError as error:
        raise BirdplaneError(f"{file}: cannot be read: {error}") from error
    pixels = np.asarray(picture.convert("L") if channels == 1 else picture)
    return np.ascontiguousarray(pixels[None] if channels == 1 else pixels.transpose(2, 0, 1))
