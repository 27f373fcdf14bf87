"""MLflow's own client finds in the store what the run's folder says, whatever happened in between."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from birdplane.events import Alert, Checkpoint, End, Epoch, Start
from birdplane.runs import Run

Starting = Callable[..., "subprocess.Popen[str]"]

_METRICS = (
    "train_loss",
    "train_accuracy",
    "validation_loss",
    "validation_accuracy",
    "best_accuracy",
    "train_seconds",
    "validation_seconds",
)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny: str) -> Path:
    """A folder with a pipeline, in which the trainings of this session share MLflow's store of its own: sqlite."""
    made = tmp_path_factory.mktemp("mlflow")
    (made / "tiny.toml").write_text(tiny, encoding="utf-8")
    return made


@pytest.fixture(scope="session")
def client(folder: Path) -> Iterator[Any]:
    """MLflow's client of that store."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow.tracking import MlflowClient

        yield MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")


def settled(client: Any, run: Run) -> Any:
    """The run's counterpart, once MLflow knows of its end: the last is delivered after the training."""
    deadline = time.monotonic() + 60
    while True:
        with contextlib.suppress(OSError):
            found = counterpart(client, run)
            if found.info.status != "RUNNING":
                return found
        assert time.monotonic() < deadline, (run.path / "mlflow.log").read_text(encoding="utf-8")
        time.sleep(0.05)


def finished(process: subprocess.Popen[str], code: int = 0) -> str:
    output, _ = process.communicate(timeout=120)
    assert process.returncode == code, output
    return output


@pytest.fixture(scope="session")
def trained(birdplane: Starting, folder: Path) -> Run:
    """A run that `birdplane train` has made, with MLflow's defaults."""
    finished(birdplane(folder, "train", "tiny.toml", "--run", "one", "--plain"))
    run = Run.open(folder / "runs", "one")
    deadline = time.monotonic() + 60
    while not (run.path / "mlflow.json").is_file():
        assert time.monotonic() < deadline, (run.path / "mlflow.log").read_text(encoding="utf-8")
        time.sleep(0.05)
    return run


def counterpart(client: Any, run: Run) -> Any:
    return client.get_run(json.loads((run.path / "mlflow.json").read_text(encoding="utf-8"))["run_id"])


def assert_same_numbers(client: Any, run: Run) -> None:
    found = counterpart(client, run)
    for name in _METRICS:
        history = client.get_metric_history(found.info.run_id, name)
        told = [(epoch.epoch, getattr(epoch, name)) for epoch in run.events([Epoch])]
        assert sorted((metric.step, metric.value) for metric in history) == told, name


def test_the_numbers_are_those_of_events_jsonl(trained: Run, client: Any) -> None:
    assert settled(client, trained).info.status == "FINISHED"
    assert_same_numbers(client, trained)


def test_the_pipeline_is_there_as_parameters_and_as_a_file(trained: Run, client: Any, folder: Path) -> None:
    found = counterpart(client, trained)
    parameters = found.data.params
    assert parameters["optimizer.lr"] == "0.1"
    assert parameters["model.hidden"] == "[8]"
    assert parameters["transforms.1.use"] == "normalize"
    artifacts = client.list_artifacts(found.info.run_id)
    assert [artifact.path for artifact in artifacts] == ["pipeline.toml"]
    kept = Path(client.download_artifacts(found.info.run_id, "pipeline.toml", str(folder)))
    assert kept.read_text(encoding="utf-8") == trained.pipeline_toml()


def test_a_pipeline_of_more_parameters_than_one_call_takes_is_there_whole(
    trained: Run, folder: Path, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from birdplane_mlflow.record import Record

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
    monkeypatch.chdir(folder)
    turns = "".join(f'[[transforms]]\nuse = "random-flip"\nprobability = 0.{n:03}\n' for n in range(120))
    run = Run.create(folder / "runs", "many", pipeline_toml=trained.pipeline_toml() + turns)
    (start,) = trained.events([Start])
    (end,) = trained.events([End])
    Record(run).deliver(start, {}, end)
    parameters = counterpart(client, run).data.params
    assert parameters["optimizer.lr"] == "0.1"
    told = [value for name, value in parameters.items() if name.endswith(".probability")]
    assert len(set(told)) == 120


def test_a_run_says_in_tags_what_it_is(trained: Run, client: Any) -> None:
    import birdplane

    found = counterpart(client, trained)
    assert found.info.run_name == "one"
    assert found.data.tags["birdplane.run"] == "one"
    assert found.data.tags["birdplane.version"] == birdplane.__version__
    assert found.data.tags["birdplane.classes"] == "airplane, bird"
    assert client.get_experiment(found.info.experiment_id).name == "birdplane"


def test_after_kill_9_and_resume_each_epoch_is_there_once(
    birdplane: Starting, trained: Run, folder: Path, client: Any
) -> None:
    settings = ("training.epochs=400", "training.checkpoint_steps=401")
    sets = [word for setting in settings for word in ("--set", setting)]
    name = {"MLFLOW_EXPERIMENT_NAME": "killed runs"}
    process = birdplane(folder, "train", "tiny.toml", "--run", "killed", "--plain", *sets, **name)
    run = Run(folder / "runs" / "killed")
    deadline = time.monotonic() + 120
    while not beyond_a_checkpoint(run):
        assert process.poll() is None, finished(process)
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.communicate()
    while not (run.path / "mlflow.json").is_file():  # the messenger delivers what it knows and ends
        assert time.monotonic() < deadline
        time.sleep(0.02)
    first = counterpart(client, run)
    assert first.info.status == "RUNNING"
    assert client.get_experiment(first.info.experiment_id).name == "killed runs"

    finished(birdplane(folder, "resume", "killed", "--plain", **name))
    assert [event.epoch for event in run.events([Start])][-1] > 0, "it began anew"
    again = settled(client, run)
    assert again.info.run_id == first.info.run_id
    assert again.info.status == "FINISHED"
    for metric in ("train_loss", "validation_accuracy"):
        history = client.get_metric_history(again.info.run_id, metric)
        told = [(epoch.epoch, getattr(epoch, metric)) for epoch in run.events([Epoch])]
        assert sorted((point.step, point.value) for point in history) == told
        assert len(told) == 400


def beyond_a_checkpoint(run: Run) -> bool:
    with contextlib.suppress(OSError, IndexError):
        saved = [event.epoch for event in run.events([Checkpoint])][-1]
        return [event.epoch for event in run.events([Epoch])][-1] > saved + 20
    return False


@pytest.mark.long
def test_a_training_that_fails_or_is_stopped_is_said_to_be_so(
    birdplane: Starting, trained: Run, folder: Path, client: Any
) -> None:
    diverging = ("--set", "optimizer.lr=1e38", "--set", "training.epochs=20")
    endless = ("--set", "training.epochs=1000000")
    failing = birdplane(folder, "train", "tiny.toml", "--run", "diverges", "--plain", *diverging)
    stopping = birdplane(folder, "train", "tiny.toml", "--run", "stopped", "--plain", *endless)
    finished(failing, 1)
    run = Run(folder / "runs" / "stopped")
    deadline = time.monotonic() + 60
    while not (run.path / "mlflow.json").is_file():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    run.request("stop")
    finished(stopping)
    assert settled(client, Run(folder / "runs" / "diverges")).info.status == "FAILED"
    found = settled(client, run)
    assert found.info.status == "KILLED"
    assert "asked to stop" in found.data.tags["birdplane.reason"]


def test_without_a_server_the_training_goes_on_and_says_so_once(birdplane: Starting, folder: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}"}
    endless = ("--set", "training.epochs=1000000")
    process = birdplane(folder, "train", "tiny.toml", "--run", "alone", "--plain", *endless, **environment)
    run = Run(folder / "runs" / "alone")
    deadline = time.monotonic() + 60
    while not (messages := about_mlflow(run)):
        assert process.poll() is None, finished(process)
        assert time.monotonic() < deadline
        time.sleep(0.05)
    run.request("stop")
    finished(process)
    assert about_mlflow(run) == messages
    assert len(messages) == 1
    assert f"port={port}" in messages[0] or f":{port}" in messages[0]
    assert [event.status for event in run.events([End])] == ["stopped"]


def about_mlflow(run: Run) -> list[str]:
    return [event.message for event in run.events([Alert]) if "MLflow cannot" in event.message]


def test_importing_the_plugin_imports_nothing_heavy() -> None:
    program = "import birdplane_mlflow, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "mlflow", "sqlalchemy"} & set(done.stdout.split())
