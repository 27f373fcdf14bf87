"""A run that was stopped or killed and goes on ends, bit for bit, as one that was never stopped."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from birdplane import Loss, Pipeline, UsageError, checkpoint
from birdplane.events import Alert, Checkpoint, End, Epoch, Event, Progress, Start
from birdplane.inspection import TrainedModel
from birdplane.plugins import Plugin, Plugins, installed
from birdplane.registry import Catalog
from birdplane.runs import Run
from birdplane.training import resume, train

Tiny = Callable[..., Pipeline]
Children = Callable[..., subprocess.Popen[str]]

#: Everything that has a state, or looks as if it had one.
SETTINGS = {
    "sgd": (),
    "momentum": ("optimizer.momentum=0.9", "optimizer.nesterov=true"),
    "dropout-adamw": ("model.dropout=0.5", "optimizer.use=adamw", "schedule.use=one-cycle"),
    "convolutional-augmented-averaged": (
        "transforms=[{use='to-tensor'}, {use='normalize'}, {use='random-shift'}, {use='random-flip'}]",
        "model.use=convolutional",
        "model.dropout=0.3",
        "optimizer.momentum=0.9",
        "schedule.use=cosine",
        "training.average=0.8",
        "training.channels_last=true",
    ),
    "batch-norm-streamed": (
        "model.use=resnet",
        "model.widths=[2, 2]",
        "model.blocks=1",
        "training.memory_limit=1",
        "training.decay_norm_and_bias=false",
        "optimizer.use=adam",
    ),
    "swift-muon-bfloat16": (
        "transforms=[{use='to-tensor'}, {use='normalize'}, {use='random-flip'}, {use='random-crop', padding=1}]",
        "model.use=swift",
        "model.widths=[8, 8]",
        "model.depths=[1, 1]",
        "model.mirror=true",
        "optimizer.use=muon",
        "schedule.use=one-cycle",
        "training.precision=bfloat16",
        "training.channels_last=true",
        "training.drop_last=true",
    ),
    "by-sample": ("transforms=[{use='random-rotation'}, {use='color-jitter'}, {use='to-tensor'}]",),
    "incomplete-batches": ("dataset.train=57", "training.validate_every=2", "training.holdout=0.2"),
}


class StopAfter:
    """Asks to stop at the n-th poll."""

    def __init__(self, polls: int) -> None:
        self._left = polls

    def poll(self) -> list[Literal["pause", "resume", "stop"]]:
        self._left -= 1
        return ["stop"] if self._left == 0 else []


@pytest.fixture(autouse=True)
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are looked at after every step."""
    monkeypatch.setattr("birdplane.training.trainer._SUMMARY_SECONDS", 0.0)


@pytest.fixture
def new_run(tmp_path: Path) -> Callable[..., tuple[Pipeline, Run]]:
    def make(pipeline: Pipeline, name: str) -> tuple[Pipeline, Run]:
        return pipeline, Run.create(tmp_path, name, pipeline_toml=pipeline.to_toml())

    return make


def last_checkpoint(run: Run) -> checkpoint.Checkpoint:
    found, damaged = checkpoint.newest(run.checkpoints)
    assert found is not None
    assert damaged == []
    return found


def assert_same_end(run: Run, other: Run) -> None:
    """Compare weights, optimizer, averages, best weights and counters bit for bit, and all epochs' figures."""
    left, right = last_checkpoint(run), last_checkpoint(other)
    assert left.step == right.step
    assert left.tensors.keys() == right.tensors.keys()
    for group, tensors in left.tensors.items():
        assert tensors.keys() == right.tensors[group].keys()
        for name, tensor in tensors.items():
            assert torch.equal(tensor, right.tensors[group][name]), f"{group}: {name}"
    for key in ("position", "best", "optimizer", "fitted"):
        assert left.state[key] == right.state[key]
    assert figures(run) == figures(other)


def figures(run: Run) -> list[dict[str, Any]]:
    """All of the epochs' figures but the times."""
    timed = {"time", "train_seconds", "validation_seconds"}
    return [
        {name: value for name, value in dataclasses.asdict(event).items() if name not in timed}
        for event in run.events([Epoch])
    ]


def steps_told(run: Run) -> int:
    return sum(event.count for event in run.events([Progress]) if isinstance(event, Progress))


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
def test_a_run_stopped_in_the_middle_of_an_epoch_ends_as_one_that_was_not(
    tiny: Tiny,
    new_run: Callable[..., tuple[Pipeline, Run]],
    monkeypatch: pytest.MonkeyPatch,
    settings: tuple[str, ...],
) -> None:
    monkeypatch.setattr("birdplane.assembly.MIB", 100)  # bytes: with memory_limit=1, pictures are streamed
    pipeline = tiny(*settings)
    list(train(*(whole := new_run(pipeline, "whole"))))
    list(train(*(parts := new_run(pipeline, "parts")), StopAfter(2)))
    assert last_checkpoint(parts[1]).state["position"]["epoch_step"] == 2
    list(resume(parts[1], StopAfter(5)))
    list(resume(parts[1]))
    assert parts[1].status().state == "done"
    assert_same_end(parts[1], whole[1])
    assert steps_told(parts[1]) == steps_told(whole[1])


@pytest.mark.parametrize("polls", range(1, 12))
def test_it_makes_no_difference_after_which_step_a_run_is_stopped(
    tiny: Tiny, new_run: Callable[..., tuple[Pipeline, Run]], polls: int
) -> None:
    pipeline = tiny("model.dropout=0.2", "optimizer.momentum=0.9")
    list(train(*(whole := new_run(pipeline, "whole"))))
    list(train(*(parts := new_run(pipeline, "parts")), StopAfter(polls)))
    list(resume(parts[1]))
    assert_same_end(parts[1], whole[1])


def test_a_resumed_run_tells_from_where_it_goes_on(
    tiny: Tiny, new_run: Callable[..., tuple[Pipeline, Run]]
) -> None:
    pipeline, run = new_run(tiny(), "r")
    list(train(pipeline, run, StopAfter(6)))
    (start,) = [event for event in resume(run) if isinstance(event, Start)]
    assert (start.epoch, start.step) == (1, 6)
    assert len(list(run.events([Start]))) == 2
    assert [event.status for event in run.events([End])] == ["stopped", "done"]  # type: ignore[attr-defined]


def test_a_run_that_was_stopped_before_its_first_checkpoint_begins_anew(
    tiny: Tiny, new_run: Callable[..., tuple[Pipeline, Run]]
) -> None:
    list(train(*(whole := new_run(tiny(), "whole"))))
    pipeline, run = new_run(tiny(), "parts")
    for event in train(pipeline, run):
        if isinstance(event, Epoch):
            break  # as a crash leaves it: an epoch told, nothing saved
    assert last_checkpoint_or_none(run) is None
    list(resume(run))
    assert_same_end(run, whole[1])


def last_checkpoint_or_none(run: Run) -> checkpoint.Checkpoint | None:
    return checkpoint.newest(run.checkpoints)[0]


@pytest.mark.parametrize("damage", ["cut", "flipped", "gone"])
def test_a_damaged_newest_checkpoint_is_passed_over_and_reported(
    tiny: Tiny, new_run: Callable[..., tuple[Pipeline, Run]], damage: str
) -> None:
    pipeline = tiny("training.checkpoint_steps=3", "optimizer.momentum=0.9")
    list(train(*(whole := new_run(pipeline, "whole"))))
    _, run = new_run(pipeline, "parts")
    list(train(pipeline, run, StopAfter(7)))
    newest, before = sorted((path for path in run.checkpoints.iterdir()), reverse=True)[:2]
    weights = newest / "model.safetensors"
    content = bytearray(weights.read_bytes())
    if damage == "cut":
        weights.write_bytes(content[:-1])
    elif damage == "flipped":
        content[-1] ^= 1
        weights.write_bytes(content)
    else:
        weights.unlink()
    left = newest / "state.json"
    kept = left.read_bytes()
    events = []
    for event in resume(run):
        events.append(event)
        if isinstance(event, Start):  # set aside, not removed, as long as nothing is better
            assert (run.checkpoints / f".{newest.name}.damaged" / "state.json").read_bytes() == kept
    assert sorted(path.name for path in run.checkpoints.iterdir()) == ["00000009", "00000012"]
    (start,) = [event for event in events if isinstance(event, Start)]
    assert start.step == int(before.name)
    (alert,) = [event for event in events if isinstance(event, Alert) and event.kind == "checkpoint"]
    assert f"the checkpoint {str(newest)!r} is damaged: model.safetensors " in alert.message
    assert alert.message.endswith("; going on from the one before")
    assert_same_end(run, whole[1])
    assert [event.epoch for event in run.events([Epoch])] == [1, 2, 3]
    assert steps_told(run) == 12


def test_where_every_checkpoint_is_damaged_a_run_begins_anew_and_says_so(
    tiny: Tiny, new_run: Callable[..., tuple[Pipeline, Run]]
) -> None:
    pipeline = tiny("training.checkpoint_steps=3")
    list(train(*(whole := new_run(pipeline, "whole"))))
    _, run = new_run(pipeline, "parts")
    list(train(pipeline, run, StopAfter(7)))
    names = sorted(path.name for path in run.checkpoints.iterdir())
    for name in names:
        (run.checkpoints / name / "model.safetensors").unlink()
    told = []
    for event in resume(run):
        if isinstance(event, Start):
            assert event.step == 0
            assert sorted(path.name for path in run.checkpoints.iterdir()) == [f".{n}.damaged" for n in names]
        if isinstance(event, Alert) and event.kind == "checkpoint":
            told.append(event.message)
    assert [f"/{name}' is damaged: model.safetensors is missing; going on from the beginning" in message
            for name, message in zip(reversed(names), told, strict=True)] == [True, True]  # fmt: skip
    assert_same_end(run, whole[1])


def test_an_alert_that_was_told_is_not_told_again(
    tiny: Tiny, new_run: Callable[..., tuple[Pipeline, Run]]
) -> None:
    pipeline, run = new_run(
        tiny(
            "dataset.train=32", "dataset.difficulty=1.0", "model.hidden=[128]", "model.activation=relu",
            "training.epochs=40", "optimizer.use=adam", "optimizer.lr=0.01",
        ),
        "r",
    )  # fmt: skip
    list(train(pipeline, run, StopAfter(60)))
    told = any(isinstance(event, Alert) and event.kind == "overfitting" for event in run.events())
    list(resume(run))
    kinds = [event.kind for event in run.events([Alert]) if isinstance(event, Alert)]
    assert told
    assert kinds.count("overfitting") == 1


def test_a_run_that_was_done_when_it_was_killed_only_says_so(
    tiny: Tiny, new_run: Callable[..., tuple[Pipeline, Run]]
) -> None:
    pipeline, run = new_run(tiny(), "r")
    for event in train(pipeline, run):
        if isinstance(event, Checkpoint) and event.step == 12:
            break
    before = last_checkpoint(run)
    events = [event for event in resume(run) if not isinstance(event, Start)]
    assert isinstance(events[-1], End)
    assert events[-1].status == "done"
    assert not any(isinstance(event, Progress | Epoch) for event in events)
    after = last_checkpoint(run).tensors["model"]
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.tensors["model"].items())


def test_another_environment_is_told_not_passed_over_in_silence(
    tiny: Tiny, new_run: Callable[..., tuple[Pipeline, Run]]
) -> None:
    pipeline, run = new_run(tiny(), "r")
    list(train(pipeline, run, StopAfter(2)))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        alerts = [event for event in resume(run) if isinstance(event, Alert)]
    finally:
        torch.set_num_threads(threads)
    assert [alert.kind for alert in alerts] == ["environment"]
    assert alerts[0].message == f"not bit-exact: threads was {threads}, is {threads + 1}"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (("training.batch_size=8",), "training.batch_size was 16, is 8"),
        (("optimizer.momentum=0.9",), "optimizer.momentum was 0.0, is 0.9"),
        (
            ("dataset.difficulty=0.25", "seed=4"),
            "dataset.difficulty was {difficulty}, is 0.25; seed was {seed}, is 4",
        ),
        (("schedule.use=cosine",), "schedule.use was constant, is cosine"),
        (("training.epochs=4",), ""),
        (("training.workers=1", "training.checkpoint_steps=3"), ""),
    ],
)
def test_a_pipeline_that_was_changed_in_the_meantime_is_told(
    tiny: Tiny, new_run: Callable[..., tuple[Pipeline, Run]], settings: tuple[str, ...], told: str
) -> None:
    pipeline, run = new_run(tiny(), "r")
    list(train(pipeline, run, StopAfter(6)))
    changed = pipeline.override(settings)
    (run.path / "pipeline.toml").write_text(changed.to_toml())
    alerts = [e.message for e in resume(run) if isinstance(e, Alert) and e.kind == "environment"]
    before = pipeline.complete()
    words = told.format(difficulty=before["dataset"]["difficulty"], seed=before["seed"])
    assert alerts == ([f"not bit-exact: {words}"] if told else [])


def test_a_run_whose_component_is_no_longer_installed_is_refused(tmp_path: Path, tiny: Tiny) -> None:
    text = tiny().to_toml().replace('use = "fully-connected"', 'use = "zoo/net"')
    run = Run.create(tmp_path, "r", pipeline_toml=text)
    with pytest.raises(UsageError, match=r"pipeline\.toml: model\.use: no model is called 'zoo/net'"):
        resume(run)


def test_the_model_of_a_run_is_the_one_that_validated_best(
    tiny: Tiny, new_run: Callable[..., tuple[Pipeline, Run]]
) -> None:
    pipeline, run = new_run(tiny("training.epochs=8", "optimizer.lr=0.5"), "r")
    list(train(pipeline, run, StopAfter(9)))
    events: list[Event] = list(resume(run))
    best = max(event.validation_accuracy or 0 for event in run.events([Epoch]) if isinstance(event, Epoch))
    assert TrainedModel(run).evaluate("validation").accuracy == best
    last = [event for event in events if isinstance(event, Epoch)][-1]
    assert TrainedModel(run, "last").evaluate("validation").accuracy == last.validation_accuracy
    assert TrainedModel(run, "last").evaluate("validation").loss == last.validation_loss


# Real processes.

TRAINING = """
import sys
from pathlib import Path
import birdplane.training
birdplane.training.trainer._SUMMARY_SECONDS = 0.0
from birdplane.events import Checkpoint
from birdplane.pipeline import Pipeline
from birdplane.runs import Run
run = Run(Path(sys.argv[1]))
for event in birdplane.training.train(Pipeline.from_toml(run.pipeline_toml()), run):
    print(event.event, event.step, flush=True)
"""


@pytest.fixture
def children() -> Iterator[Children]:
    """Start Python children that run a script; none outlives the test."""
    started: list[subprocess.Popen[str]] = []

    def start(script: str, *arguments: str | Path) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, "-c", script, *map(str, arguments)], stdout=subprocess.PIPE, text=True
        )
        started.append(child)
        return child

    yield start
    for child in started:
        child.kill()
        child.communicate()


def test_a_run_that_was_killed_ends_as_one_that_was_not_and_tells_each_epoch_once(
    tiny: Tiny, new_run: Callable[..., tuple[Pipeline, Run]], children: Children
) -> None:
    pipeline = tiny(
        "transforms=[{use='to-tensor'}, {use='normalize'}, {use='random-shift'}, {use='random-flip'}]",
        "model.use=convolutional", "model.dropout=0.3", "optimizer.use=adamw", "schedule.use=one-cycle",
        "training.average=0.9", "training.epochs=16", "training.checkpoint_steps=7",
    )  # fmt: skip
    _, run = new_run(pipeline, "killed")
    child = children(TRAINING, run.path)
    list(train(*(whole := new_run(pipeline, "whole"))))
    assert child.stdout is not None
    for line in child.stdout:
        if line.startswith("epoch 48"):
            child.send_signal(signal.SIGKILL)  # four steps an epoch: the last checkpoint is of step 42
            break
    child.wait()
    assert run.status().state == "crashed"
    assert last_checkpoint(run).step % 7 == 0
    events = list(resume(run))
    (start,) = [event for event in events if isinstance(event, Start)]
    assert start.step >= 42
    assert [event.epoch for event in run.events([Epoch])] == list(range(1, 17))
    assert steps_told(run) == 64
    assert_same_end(run, whole[1])


def test_a_run_killed_while_it_saves_goes_on_from_a_whole_checkpoint(
    tiny: Tiny, new_run: Callable[..., tuple[Pipeline, Run]], children: Children
) -> None:
    pipeline = tiny("training.epochs=500", "training.checkpoint_steps=1", "optimizer.momentum=0.9")
    _, run = new_run(pipeline, "killed")
    child = children(TRAINING, run.path)
    deadline = time.monotonic() + 60
    while len(checkpoint.steps(run.checkpoints)) < 2 or not list(run.checkpoints.glob(".*.new")):
        assert time.monotonic() < deadline
        assert child.poll() is None
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    saved = last_checkpoint(run)
    events = iter(resume(run, StopAfter(3)))
    start = next(event for event in events if isinstance(event, Start))
    assert start.step == saved.step
    assert [event for event in events if isinstance(event, Alert)] == []


def test_another_version_of_a_package_that_brought_a_part_is_told(
    tiny: Tiny, new_run: Callable[..., tuple[Pipeline, Run]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def plugins(version: str) -> Catalog:
        zoo = Loss(name="own", target=torch.nn.CrossEntropyLoss)
        ours = [plugin for plugin in installed().found if plugin.is_builtin]
        theirs = Plugin("zoo", "zoo_module", "birdplane-zoo", version, "ok", components=(zoo,))
        return Catalog(lambda: Plugins((*ours, theirs), installed()._manager))

    pipeline, run = new_run(tiny("loss.use=zoo/own", catalog=plugins("1.0")), "r")
    (start,) = [e for e in train(pipeline, run, StopAfter(2)) if isinstance(e, Start)]
    assert start.facts["origins"]["loss"] == {
        "name": "zoo/own",
        "plugin": "zoo",
        "package": "birdplane-zoo",
        "version": "1.0",
    }
    assert start.facts["origins"]["transforms.1"]["package"] == "birdplane"
    monkeypatch.setattr("birdplane.pipeline.catalog", lambda: plugins("2.0"))
    alerts = [event for event in resume(run) if isinstance(event, Alert)]
    assert [alert.message for alert in alerts] == ["not bit-exact: birdplane-zoo was 1.0, is 2.0"]
