"""What a trained model does with pictures: outputs, scores, predictions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from birdplane import checkpoint
from birdplane.assembly import Assembly, build_splits, pick_device, usable_precision
from birdplane.data import Batches
from birdplane.errors import BirdplaneError, UsageError
from birdplane.pictures import BrokenPictureError, decode_picture
from birdplane.pipeline import Pipeline
from birdplane.runs import Run

Which = Literal["best", "last"]


@torch.no_grad()
def score(assembly: Assembly, batches: Batches) -> tuple[float, float]:
    """Return (mean loss, share of right answers) over a split, with the model in evaluation mode."""
    assembly.model.eval()
    # Sums on the device and in float64: one wait at the end, and no digits lost over many batches.
    wide = torch.float32 if assembly.device.type == "mps" else torch.float64
    loss = torch.zeros((), dtype=wide, device=assembly.device)
    correct = torch.zeros((), dtype=torch.int64, device=assembly.device)
    count = 0
    for images, labels in batches.epoch():
        outputs = assembly.outputs(images)
        loss += assembly.loss(outputs, labels).to(wide) * len(labels)
        correct += (outputs.argmax(dim=1) == labels).sum()
        count += len(labels)
    return loss.item() / count, correct.item() / count


@dataclass(frozen=True)
class Evaluation:
    """A split's score: mean loss, accuracy, and `confusion[true][predicted]` counts."""

    split: str
    count: int
    loss: float
    accuracy: float
    confusion: list[list[int]]


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

    Raises:
        BirdplaneError: the run has no whole checkpoint yet, or it does not fit the installed components.
    """

    def __init__(self, run: Run, which: Which = "best", device: str = "auto") -> None:
        pipeline = Pipeline.from_toml(run.pipeline_toml(), str(run.path / "pipeline.toml"))
        pipeline.require_sound()
        saved, damaged = checkpoint.newest(run.checkpoints)
        if saved is None:
            reason = f": {damaged[0]}" if damaged else ": it has no checkpoint yet"
            raise BirdplaneError(f"run {run.name!r} cannot be used{reason}")
        self.state: dict[str, Any] = saved.state
        place = pick_device(device)
        precision, _ = usable_precision(saved.state["environment"]["precision"], place)
        self.assembly = Assembly(pipeline, saved.state["classes"], place, precision)
        self.assembly.build_chain(None, saved.state["fitted"])
        self.assembly.build_model(tuple(saved.state["input_shape"]))
        order = ("best", "average", "model") if which == "best" else ("average", "model")
        group = next(name for name in order if name in saved.tensors)
        checkpoint.load_tensors(self.assembly.model.state_dict(), saved.tensors[group])
        self.assembly.model.eval()

    @property
    def classes(self) -> tuple[str, ...]:
        return self.assembly.classes

    def evaluate(self, split: Literal["train", "validation"]) -> Evaluation:
        """Score a split of the run's own dataset, without random transforms."""
        splits = build_splits(self.assembly.pipeline)
        pictures = splits.train if split == "train" else splits.validation
        batches = self.assembly.batches(pictures)
        loss, _ = score(self.assembly, batches)
        confusion = torch.zeros(len(self.classes), len(self.classes), dtype=torch.int64)
        with torch.no_grad():
            for images, labels in batches.epoch():
                predicted = self.assembly.outputs(images).argmax(dim=1).cpu()
                confusion.index_put_(
                    (labels.cpu(), predicted), torch.ones(len(labels), dtype=torch.int64), accumulate=True
                )
        right = int(confusion.diagonal().sum())
        return Evaluation(split, len(pictures), loss, right / len(pictures), confusion.tolist())

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
