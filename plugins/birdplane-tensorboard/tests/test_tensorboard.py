"""TensorBoard's own reader finds in the files what events.jsonl says, whatever happened in between."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import (
    STORE_EVERYTHING_SIZE_GUIDANCE,
    EventAccumulator,
)
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from birdplane import Pipeline
from birdplane.events import Alert, Checkpoint, Epoch, Progress, Start
from birdplane.runs import Run

Start_ = Callable[..., "subprocess.Popen[str]"]

_BY_STEP = {
    "train/loss": "mean",
    "train/accuracy": "accuracy",
    "train/learning_rate": "learning_rate",
    "speed/samples_per_second": "samples_per_second",
    "speed/waiting_for_data": "wait",
}
_BY_EPOCH = {
    "epoch/train_loss": "train_loss",
    "epoch/train_accuracy": "train_accuracy",
    "epoch/validation_loss": "validation_loss",
    "epoch/validation_accuracy": "validation_accuracy",
    "epoch/best_accuracy": "best_accuracy",
    "epoch/number": "epoch",
    "speed/train_seconds": "train_seconds",
    "speed/validation_seconds": "validation_seconds",
}


def read(folder: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder), STORE_EVERYTHING_SIZE_GUIDANCE)
    accumulator.Reload()
    return accumulator


def scalars(accumulator: EventAccumulator, tag: str) -> list[tuple[int, float]]:
    return [(scalar.step, scalar.value) for scalar in accumulator.Scalars(tag)]


def told(run: Run, kind: type, field: str) -> list[tuple[int, float]]:
    """What events.jsonl has, as the 32 bits in which TensorBoard keeps a number."""
    return [(event.step, float(np.float32(getattr(event, field)))) for event in run.events([kind])]


def assert_same_numbers(run: Run, accumulator: EventAccumulator) -> None:
    for tags, kind in ((_BY_STEP, Progress), (_BY_EPOCH, Epoch)):
        for tag, field in tags.items():
            assert scalars(accumulator, tag) == told(run, kind, field), tag


def hparams(accumulator: EventAccumulator) -> dict[str, Any]:
    contents = accumulator.PluginTagToContent("hparams").items()
    return {tag.rpartition("/")[2]: HParamsPluginData.FromString(content) for tag, content in contents}


@pytest.fixture(scope="session")
def trained(birdplane: Start_, tiny: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that `birdplane train` has made."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "tiny.toml").write_text(tiny, encoding="utf-8")
    process = birdplane(folder, "train", "tiny.toml", "--run", "one", "--plain")
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    return Run.open(folder / "runs", "one")


def train_here(tiny: str, folder: Path, name: str = "here") -> Run:
    from birdplane.training import train

    pipeline = Pipeline.from_toml(tiny)
    run = Run.create(folder, name, pipeline_toml=pipeline.to_toml())
    for _ in train(pipeline, run):
        pass
    return run


def test_the_numbers_are_those_of_events_jsonl(trained: Run) -> None:
    accumulator = read(trained.path / "tensorboard")
    assert_same_numbers(trained, accumulator)
    assert [value for _, value in scalars(accumulator, "epoch/number")] == [1, 2, 3]


def test_the_training_pictures_are_shown_with_the_names_of_their_classes(trained: Run) -> None:
    accumulator = read(trained.path / "tensorboard")
    shown = accumulator.Images("pictures/training")
    assert len(shown) == 1
    with Image.open(io.BytesIO(shown[0].encoded_image_string)) as sheet:
        assert sheet.size == (shown[0].width, shown[0].height)
        columns = np.asarray(sheet)[:, 120:].reshape(sheet.height, -1)
    assert len(np.unique(columns)) > 50, "there are no pictures on the sheet"
    description = accumulator.SummaryMetadata("pictures/training").summary_description
    assert description.endswith("airplane, bird")


def test_the_pipeline_is_in_the_table_of_hyperparameters(trained: Run) -> None:
    found = hparams(read(trained.path / "tensorboard"))
    start = found["session_start_info"].session_start_info
    assert start.group_name == "one"
    assert start.hparams["optimizer.lr"].number_value == 0.1
    assert start.hparams["model.hidden"].string_value == "[8]"
    assert start.hparams["transforms.1.use"].string_value == "normalize"
    assert start.hparams["training.channels_last"].bool_value is False
    experiment = found["experiment"].experiment
    assert {info.name for info in experiment.hparam_infos} == set(start.hparams)
    tags = {metric.name.tag for metric in experiment.metric_infos}
    assert tags <= set(_BY_EPOCH)
    assert found["session_end_info"].session_end_info.status == 1  # STATUS_SUCCESS


def test_after_kill_9_and_resume_each_step_is_there_once(
    birdplane: Start_, tiny: str, tmp_path: Path
) -> None:
    (tmp_path / "tiny.toml").write_text(tiny, encoding="utf-8")
    settings = ("training.epochs=150", "training.checkpoint_steps=101")
    sets = [word for setting in settings for word in ("--set", setting)]
    process = birdplane(tmp_path, "train", "tiny.toml", "--run", "killed", "--plain", *sets)
    run = Run(tmp_path / "runs" / "killed")
    deadline = time.monotonic() + 120
    while not beyond_a_checkpoint(run):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()
    process.communicate()

    live = read(run.path / "tensorboard")
    # An event is told to plugins after it was written: one at most is between the two.
    written, arrived = told(run, Epoch, "epoch"), scalars(live, "epoch/number")
    assert arrived in (written, written[:-1]), "the kill lost what was told"
    before = scalars(live, "epoch/number")[-1][0]
    process = birdplane(tmp_path, "resume", "killed", "--plain")
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output

    resumed_at = [event.step for event in run.events([Start])][-1]
    assert 0 < resumed_at < before, "nothing was told again"
    assert [event.epoch for event in run.events([Epoch])] == list(range(1, 151))
    assert_same_numbers(run, read(run.path / "tensorboard"))
    live.Reload()  # one that was looking all the time
    assert [value for _, value in scalars(live, "epoch/number")] == list(range(1, 151))
    # And every record in the files, for readers that know nothing of restarts.
    times = Counter(
        (value.tag, event.step)
        for file in (run.path / "tensorboard").iterdir()
        for event in EventFileLoader(str(file)).Load()
        for value in event.summary.value
    )
    assert set(times.values()) == {1}


def beyond_a_checkpoint(run: Run) -> bool:
    if not run.path.is_dir():
        return False
    with contextlib.suppress(OSError):
        saved = [event.step for event in run.events([Checkpoint])]
        return bool(saved) and [event.step for event in run.events([Epoch])][-1] > saved[-1] + 20
    return False


def test_a_torn_record_is_cut_off_when_the_run_goes_on(tmp_path: Path) -> None:
    from birdplane_tensorboard.files import EventFile, event_files
    from tensorboardX.proto.summary_pb2 import Summary

    first = EventFile(tmp_path, 0)
    for step in (1, 2, 3):
        first.write(step=step, summary=Summary(value=[Summary.Value(tag="a", simple_value=step)]))
    first.close()
    (path,) = event_files(tmp_path)
    os.truncate(path, path.stat().st_size - 3)
    second = EventFile(tmp_path, 2)
    second.write(step=3, summary=Summary(value=[Summary.Value(tag="a", simple_value=30)]))
    second.close()
    assert scalars(read(tmp_path), "a") == [(1, 1.0), (2, 2.0), (3, 30.0)]
    assert [len(list(EventFileLoader(str(file)).Load())) for file in event_files(tmp_path)] == [3, 3]


def test_a_variable_puts_the_files_elsewhere_and_keeps_runs_apart(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BIRDPLANE_TENSORBOARD", str(tmp_path / "all"))
    runs = [train_here(tiny, tmp_path / folder, "same") for folder in ("a", "b")]
    assert not (runs[0].path / "tensorboard").exists()
    for run, name in zip(runs, ("same", "same-2"), strict=True):
        assert_same_numbers(run, read(tmp_path / "all" / name))


def test_a_wrong_setting_is_told_in_an_alert_and_the_numbers_are_written(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BIRDPLANE_TENSORBOARD_PICTURES", "many")
    run = train_here(tiny, tmp_path)
    assert_same_numbers(run, read(run.path / "tensorboard"))
    alerts = [event.message for event in run.events([Alert])]
    assert len([message for message in alerts if "BIRDPLANE_TENSORBOARD_PICTURES is 'many'" in message]) == 1


def test_no_pictures_are_shown_where_none_are_wanted(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BIRDPLANE_TENSORBOARD_PICTURES", "0")
    run = train_here(tiny, tmp_path)
    assert read(run.path / "tensorboard").Tags()["images"] == []


def test_a_folder_that_cannot_be_written_does_not_end_the_training(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BIRDPLANE_TENSORBOARD", str(tmp_path / "file" / "folder"))
    run = train_here(tiny, tmp_path / "runs")
    assert len(list(run.events([Epoch]))) == 3
    alerts = [event.message for event in run.events([Alert])]
    assert len([message for message in alerts if "tensorboard" in message and "failed" in message]) == 1


def test_importing_the_plugin_imports_nothing_heavy() -> None:
    program = "import birdplane_tensorboard, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "tensorboardX", "PIL"} & set(done.stdout.split())
