"""timm's models by birdplane's commands: listed, trained on real pictures, evaluated, asked, resumed, checked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., "subprocess.CompletedProcess[str]"]

PIPELINE = """
[dataset]
use = "image-folder"
path = {path}
size = 32
[[transforms]]
use = "timm/preprocess"
model = "resnet18"
size = 32
crop = false
[model]
use = "timm/resnet18"
[loss]
use = "cross-entropy"
[optimizer]
use = "adamw"
lr = 0.001
[training]
epochs = 1
batch_size = 32
device = "cpu"
"""


def test_over_a_thousand_models_are_listed_by_a_pattern(birdplane: Command) -> None:
    done = birdplane("list", "models", "timm/*")
    assert done.returncode == 0, done.stderr
    names = [line.split()[0] for line in done.stdout.splitlines() if line.startswith("timm/")]
    assert len(names) > 1000
    assert "timm/resnet18" in names


def test_a_model_trains_on_real_pictures_and_is_used_like_any_other(
    birdplane: Command, airplanes_and_birds: Path, tmp_path: Path
) -> None:
    pipeline = tmp_path / "pipeline.toml"
    pipeline.write_text(PIPELINE.format(path=json.dumps(str(airplanes_and_birds))))
    trained = birdplane("train", pipeline, "--run", "r", "--json")
    assert trained.returncode == 0, trained.stderr
    events = [json.loads(line) for line in trained.stdout.splitlines()]
    (epoch,) = [event for event in events if event["event"] == "epoch"]
    assert 0 < epoch["train_loss"] < 2

    evaluated = birdplane("evaluate", "r", "--json")
    assert evaluated.returncode == 0, evaluated.stderr
    assert json.loads(evaluated.stdout)["splits"][1]["accuracy"] == pytest.approx(
        epoch["validation_accuracy"]
    )

    picture = next((airplanes_and_birds / "test" / "bird").iterdir())
    predicted = birdplane("predict", "r", picture, "--json")
    assert predicted.returncode == 0, predicted.stderr
    (prediction,) = json.loads(predicted.stdout)
    assert prediction["label"] in ("airplane", "bird")
    assert sum(prediction["probabilities"].values()) == pytest.approx(1)


@pytest.mark.long
def test_a_run_that_was_stopped_goes_on(
    birdplane: Command, airplanes_and_birds: Path, tmp_path: Path
) -> None:
    pipeline = tmp_path / "pipeline.toml"
    pipeline.write_text(PIPELINE.format(path=json.dumps(str(airplanes_and_birds))))
    small = ("--set", "model.use=timm/resnet10t", "--set", "training.epochs=200")
    command = [sys.executable, "-m", "birdplane", "train", pipeline, "--run", "r", "--json", *small]
    environment = {**os.environ, "BIRDPLANE_CACHE": str(tmp_path / "cache")}
    with subprocess.Popen(
        [*map(str, command)], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    ) as training:
        assert training.stdout is not None
        assert any(json.loads(line)["event"] == "epoch" for line in training.stdout)
        assert birdplane("stop", "r").returncode == 0
        training.stdout.read()
    kept = tmp_path / "runs" / "r" / "pipeline.toml"
    done = json.loads(birdplane("runs", "--json").stdout)[0]["epoch"]
    kept.write_text(kept.read_text().replace("epochs = 200", f"epochs = {done + 1}"))
    resumed = birdplane("resume", "r", "--json")
    assert resumed.returncode == 0, resumed.stderr
    events = [json.loads(line) for line in resumed.stdout.splitlines()]
    assert [event["epoch"] for event in events if event["event"] == "epoch"][-1] == done + 1


def test_pictures_that_are_too_small_are_refused_before_training_with_the_mend(
    birdplane: Command, tmp_path: Path
) -> None:
    done = birdplane("train", "demo", "--set", "model.use=timm/crossvit_9_240")
    assert done.returncode != 0
    assert 'mend: as the last transform, { use = "timm/preprocess", model = "crossvit_9_240" }' in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.long
def test_the_plugin_passes_birdplanes_conformance_checks(birdplane: Command) -> None:
    done = birdplane("check-plugin", "timm")
    assert done.returncode == 0, done.stdout + done.stderr
