"""What is found out about a pipeline before it is trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from birdplane import BirdplaneError, Pipeline, UsageError, availability
from birdplane.rehearsal import rehearse

SKETCHES = """
[dataset]
use = "sketches"
train = 40
test = 10
size = 16
[[transforms]]
use = "to-tensor"
[model]
use = "convolutional"
[loss]
use = "cross-entropy"
[optimizer]
use = "sgd"
[training]
batch_size = 8
device = "cpu"
"""


@pytest.fixture
def pipeline() -> Pipeline:
    return Pipeline.from_toml(SKETCHES, "mine.toml")


def test_layers_are_told_in_their_order_with_their_shapes(pipeline: Pipeline) -> None:
    layers = rehearse(pipeline).layers
    assert [layer.kind for layer in layers][:3] == ["Conv2d", "Tanh", "MaxPool2d"]
    assert layers[2].shape == (16, 8, 8)
    assert layers[-1].shape == (2,)


def test_what_the_optimizer_keeps_is_counted(pipeline: Pipeline) -> None:
    weights = rehearse(pipeline).memory.weights
    assert rehearse(pipeline).memory.optimizer == 0
    assert rehearse(pipeline.override(["optimizer.momentum=0.9"])).memory.optimizer == weights
    assert rehearse(pipeline.override(["optimizer=adamw"])).memory.optimizer >= 2 * weights


def test_the_moving_average_is_counted(pipeline: Pipeline) -> None:
    memory = rehearse(pipeline.override(["training.average=0.9"])).memory
    assert memory.copies == 2 * memory.weights


def test_pictures_that_are_streamed_take_no_memory(pipeline: Pipeline) -> None:
    found = rehearse(pipeline.override(["dataset.train=1000000", "training.memory_limit=1"]))
    assert not found.resident
    assert found.memory.pictures == 10 * 3 * 16 * 16 * (1 + 4)
    assert found.steps_per_epoch == 125_000


def test_compiling_is_left_out(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch, "compile", lambda model: pytest.fail("it compiles"))
    assert rehearse(pipeline.override(["training.compile=true"])).parameters > 0


def test_a_step_is_tried_so_that_its_trouble_is_told_before_training(pipeline: Pipeline) -> None:
    import torch

    from birdplane.registry import Catalog

    catalog = Catalog()
    catalog["loss"].register("stuck", lambda: lambda outputs, labels: torch.zeros(()))
    stuck = Pipeline(pipeline.override(["loss=stuck"]).document, "mine.toml", catalog)
    with pytest.raises(UsageError, match=r"mine\.toml: training: a step fails: RuntimeError: .*grad"):
        rehearse(stuck)


def test_a_problem_is_raised_before_anything_is_built(pipeline: Pipeline) -> None:
    with pytest.raises(UsageError, match=r"mine\.toml: model\.width"):
        rehearse(pipeline.override(["model.width=0"]))


class TestAvailability:
    def test_a_dataset_that_needs_nothing_lacks_nothing(self, pipeline: Pipeline) -> None:
        assert availability.missing(pipeline) is None

    def test_a_download_that_has_not_been_made_is_told(
        self, pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("BIRDPLANE_CACHE", str(tmp_path))
        lack = availability.missing(pipeline.override(["dataset=cifar2"]))
        assert lack is not None
        assert lack.place.is_relative_to(tmp_path)
        assert "170 MB" in str(lack)
        assert list(tmp_path.iterdir()) == []

    def test_what_cannot_be_is_raised(self, pipeline: Pipeline) -> None:
        with pytest.raises(BirdplaneError, match="sha256"):
            availability.missing(pipeline.override(["dataset=cifar2", "dataset.sha256=abc"]))
