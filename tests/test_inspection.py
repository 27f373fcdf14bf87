"""What a trained model does with pictures: scores and predictions that agree with one another."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from birdplane import BirdplaneError, Pipeline, UsageError
from birdplane.assembly import build_splits
from birdplane.events import Epoch
from birdplane.inspection import TrainedModel, read_picture
from birdplane.runs import Run
from birdplane.training import train

Tiny = Callable[..., Pipeline]


@pytest.fixture(scope="module")
def model(tiny_run: Run) -> TrainedModel:
    return TrainedModel(tiny_run)


def test_an_evaluation_agrees_with_the_epoch_that_validated_best(model: TrainedModel, tiny_run: Run) -> None:
    epochs = [event for event in tiny_run.events([Epoch]) if isinstance(event, Epoch)]
    best = max(epochs, key=lambda event: (event.validation_accuracy or 0, -(event.validation_loss or 0)))
    found = model.evaluate("validation")
    assert (found.split, found.count) == ("validation", 32)
    assert (found.loss, found.accuracy) == (best.validation_loss, best.validation_accuracy)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_the_confusion_counts_every_picture_under_its_true_class(model: TrainedModel, split: str) -> None:
    found = model.evaluate(split)  # type: ignore[arg-type]
    pictures = getattr(build_splits(model.assembly.pipeline), split)
    labels = pictures.decode(range(len(pictures)))[1]
    assert [sum(row) for row in found.confusion] == [int((labels == label).sum()) for label in (0, 1)]
    assert found.accuracy == (found.confusion[0][0] + found.confusion[1][1]) / found.count


def test_probabilities_are_those_of_the_model_on_transformed_pictures(model: TrainedModel) -> None:
    pictures = torch.from_numpy(build_splits(model.assembly.pipeline).validation.decode(range(5))[0])
    shares = model.probabilities(pictures)
    with torch.no_grad():
        expected = torch.softmax(model.assembly.model(model.assembly.chain(pictures)), dim=1)
    assert torch.equal(shares, expected)
    assert torch.allclose(shares.sum(dim=1), torch.ones(5))


def test_a_prediction_names_the_likeliest_class_and_the_share_of_every_class(
    model: TrainedModel, tmp_path: Path
) -> None:
    pictures = build_splits(model.assembly.pipeline).validation.decode(range(6))[0]
    files = []
    for number, image in enumerate(pictures):
        files.append(tmp_path / f"{number}.png")
        Image.fromarray(image.transpose(1, 2, 0)).save(files[-1])
    shares = model.probabilities(torch.from_numpy(pictures))
    for prediction, file, share in zip(model.predict(files), files, shares.tolist(), strict=True):
        assert prediction.file == str(file)
        assert list(prediction.probabilities) == ["airplane", "bird"]
        assert list(prediction.probabilities.values()) == pytest.approx(share, abs=1e-6)
        assert prediction.label == max(prediction.probabilities, key=prediction.probabilities.__getitem__)


@pytest.mark.parametrize(
    ("size", "mode"), [((8, 8), "RGB"), ((50, 20), "L"), ((3, 90), "RGBA"), ((9, 9), "P")]
)
def test_a_picture_of_any_size_and_mode_is_predicted(
    model: TrainedModel, tmp_path: Path, size: tuple[int, int], mode: str
) -> None:
    file = tmp_path / "picture.png"
    Image.new("RGB", size, (200, 30, 90)).convert(mode).save(file)
    (prediction,) = model.predict([file])
    assert sum(prediction.probabilities.values()) == pytest.approx(1)


def test_a_picture_is_cut_to_its_centre_not_squeezed(tmp_path: Path) -> None:
    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, 8:16] = 255
    Image.fromarray(wide).save(tmp_path / "wide.png")
    assert read_picture(tmp_path / "wide.png", (3, 8, 8)).min() == 255


def test_what_cannot_be_read_is_told_with_the_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.png: there is no such file"):
        read_picture(tmp_path / "none.png", (3, 8, 8))
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(BirdplaneError, match=r"text\.png: "):
        read_picture(tmp_path / "text.png", (3, 8, 8))
    with pytest.raises(BirdplaneError, match=f"{tmp_path.name}: "):
        read_picture(tmp_path, (3, 8, 8))


def test_a_run_without_a_checkpoint_cannot_be_used(tiny: Tiny, tmp_path: Path) -> None:
    run = Run.create(tmp_path, "fresh", pipeline_toml=tiny().to_toml())
    with pytest.raises(BirdplaneError, match="run 'fresh' cannot be used: it has no checkpoint yet"):
        TrainedModel(run)


def test_a_run_whose_only_checkpoint_is_damaged_cannot_be_used(tiny_run: Run, tmp_path: Path) -> None:
    shutil.copytree(tiny_run.path, tmp_path / "copy")
    run = Run(tmp_path / "copy")
    for path in run.checkpoints.iterdir():
        (path / "state.json").write_text("{}")
    with pytest.raises(
        BirdplaneError, match=r"run 'copy' cannot be used: the checkpoint .* is damaged: state\.json"
    ):
        TrainedModel(run)


def test_averaged_weights_are_what_is_used(tiny: Tiny, tmp_path: Path) -> None:
    pipeline = tiny("training.average=0.9")
    run = Run.create(tmp_path, "averaged", pipeline_toml=pipeline.to_toml())
    last = [event for event in train(pipeline, run) if isinstance(event, Epoch)][-1]
    assert TrainedModel(run, "last").evaluate("validation").loss == last.validation_loss


def test_mistakes_are_the_wrong_ones_the_surest_first_with_their_pictures(model: TrainedModel) -> None:
    judged = model.judge("train")
    found = model.mistakes(judged, 1000)
    assert sorted(mistake.index for mistake in found) == np.flatnonzero(~judged.right).tolist()
    sure = [mistake.confidence for mistake in found]
    assert sure == sorted(sure, reverse=True)
    stored, labels = build_splits(model.assembly.pipeline).train.decode([one.index for one in found])
    for mistake, pixels, label in zip(found, stored, labels, strict=True):
        assert np.array_equal(mistake.pixels, pixels)
        assert mistake.label == model.classes[label] != mistake.predicted
        assert mistake.probabilities[mistake.predicted] == pytest.approx(mistake.confidence, abs=1e-6)
    assert [mistake.index for mistake in model.mistakes(judged, 2)] == [one.index for one in found[:2]]


def test_only_the_mistakes_that_are_wanted_are_returned(model: TrainedModel) -> None:
    judged = model.judge("train")
    birds = model.mistakes(judged, 1000, lambda judged: judged.labels == 1)
    assert {mistake.label for mistake in birds} <= {"bird"}
    assert len(birds) == model.evaluate("train").confusion[1][0]
