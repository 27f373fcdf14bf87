"""`kill -9` at any instant: the run goes on to the very same weights, and tells of every epoch once.

The commands are `birdplane resume RUN`, as the cockpit starts a training; each is a process, and the kill a kill.
"""

from __future__ import annotations

import json
import os
import random
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from birdplane import Pipeline, checkpoint
from birdplane.runs import Run

Tiny = Callable[..., Pipeline]

_AUGMENTED = (
    "transforms=[{use='to-tensor'}, {use='normalize'}, {use='random-shift'}, {use='random-flip'}]",
    "training.checkpoint_steps=7",
    "training.epochs=40",
)
#: Shuffled, augmented, with dropout, and with all the state that there can be.
NETS = {
    "convolutional": (
        *_AUGMENTED, "model.use=convolutional", "model.dropout=0.3", "optimizer.use=adamw",
        "schedule.use=one-cycle", "training.average=0.9", "training.channels_last=true",
    ),
    "fully-connected": (
        *_AUGMENTED, "model.dropout=0.5", "optimizer.momentum=0.9", "optimizer.nesterov=true",
        "schedule.use=cosine",
    ),
}  # fmt: skip
#: For every day: the same, in less time.
FEWER = ("training.epochs=16",)
#: More than the one MiB that memory_limit leaves it: decoded by workers, batch by batch.
STREAMED = (
    "dataset.size=64", "dataset.train=96", "training.memory_limit=1", "training.checkpoint_steps=2",
    "training.epochs=6", "transforms=[{use='to-tensor'}, {use='random-shift'}, {use='random-flip'}]",
    "model.dropout=0.5", "optimizer.momentum=0.9",
)  # fmt: skip


class Whole:
    """A run that nobody disturbed, what it ended with and how long it took: what all others are held against."""

    def __init__(self, forge: Any, folder: Path, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.folder = folder
        self._forge = forge
        self._count = 0
        self.run = self.new()
        begun = time.monotonic()
        left = forge.run("resume", self.run.path, "--plain")
        self.seconds = time.monotonic() - begun
        assert left.code == 0, left.out
        self.epochs = _told(self.run, "epoch")
        self.steps = sum(line["count"] for line in _told(self.run, "progress"))

    def new(self) -> Run:
        """Make another run of the same pipeline."""
        self._count += 1
        return Run.create(self.folder, f"r{self._count}", pipeline_toml=self.pipeline.to_toml())

    def train(self, run: Run) -> Any:
        """Start a process that trains a run."""
        return self._forge.start("resume", run.path, "--plain")

    def assert_same_end(self, run: Run) -> None:
        """Compare weights, optimizer, averages, counters and all epochs' figures, bit for bit."""
        left = self.train(run).wait()
        assert left.code == 0, left.out
        assert run.status().state == "done"
        mine, theirs = _last(run), _last(self.run)
        assert mine.step == theirs.step
        assert mine.tensors.keys() == theirs.tensors.keys() >= {"model", "optimizer", "best"}
        for group, tensors in theirs.tensors.items():
            assert tensors.keys() == mine.tensors[group].keys()
            for name, tensor in tensors.items():
                assert torch.equal(mine.tensors[group][name], tensor), f"{group}: {name}"
        for key in ("position", "best", "optimizer", "fitted"):
            assert mine.state[key] == theirs.state[key]
        assert _untimed(_told(run, "epoch")) == _untimed(self.epochs)
        assert sum(line["count"] for line in _told(run, "progress")) == self.steps


def _told(run: Run, kind: str) -> list[dict[str, Any]]:
    """What stands in the file, read as the plain JSON lines that it is."""
    lines = map(json.loads, (run.path / "events.jsonl").read_bytes().splitlines())
    return [line for line in lines if line["event"] == kind]


def _untimed(epochs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    timed = {"time", "train_seconds", "validation_seconds"}
    return [{key: value for key, value in line.items() if key not in timed} for line in epochs]


def _last(run: Run) -> checkpoint.Checkpoint:
    found, damaged = checkpoint.newest(run.checkpoints)
    assert found is not None
    assert damaged == []
    return found


@pytest.fixture(scope="module")
def whole(forge: Any, tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Whole]:
    """A function from settings to the undisturbed run of them, trained once."""
    made: dict[tuple[str, ...], Whole] = {}

    def get(settings: tuple[str, ...]) -> Whole:
        if settings not in made:
            made[settings] = Whole(forge, tmp_path_factory.mktemp("whole"), tiny(*settings))
        return made[settings]

    return get


def killed(process: Any) -> bool:
    """Kill a process; return whether it was not done before, which is the only other end that it may have."""
    left = process.kill()
    assert left.code in (0, -9), left.out
    return bool(left.code == -9)


# --- when to kill -----------------------------------------------------------------------------------------


def _at_random(whole: Whole, dice: random.Random) -> Run:
    """Train a new run, and kill it at an instant drawn from the whole of the time that it takes."""
    while True:
        run = whole.new()
        process = whole.train(run)
        time.sleep(dice.uniform(0.0, whole.seconds))
        if killed(process):
            return run


def _inside_a_checkpoint(whole: Whole, dice: random.Random) -> Run:
    """Train a new run, and kill it inside the writing of a checkpoint: what it had begun is left behind."""
    while True:
        run = whole.new()
        process = whole.train(run)
        least = dice.randrange(0, whole.steps - 20)
        while not process.gone and not _writing(run, beyond=least):
            time.sleep(0.0002)
        time.sleep(dice.uniform(0.0, 0.003))
        if killed(process) and _writing(run, beyond=0):
            return run


def _writing(run: Run, beyond: int) -> bool:
    """Whether a checkpoint of a later step is not yet in its place."""
    try:
        names = os.listdir(run.checkpoints)  # noqa: PTH208 - names, and often
    except FileNotFoundError:
        return False
    return any(name.endswith(".new") and int(name[1:-4]) >= beyond for name in names)


def _killed(whole: Whole, number: int, inside: int) -> None:
    """Kill so many new runs, so many of them inside a checkpoint's writing, and let each go on to its end."""
    dice = random.Random(5)
    for trial in range(number):
        run = (_inside_a_checkpoint if trial < inside else _at_random)(whole, dice)
        begun = time.monotonic()
        state = run.status().state
        assert state == "crashed" or (state == "new" and not (run.path / "process.json").exists())
        assert time.monotonic() - begun < 2
        whole.assert_same_end(run)


@pytest.mark.parametrize("net", NETS)
def test_a_killed_run_ends_as_one_that_was_not_and_tells_each_epoch_once(
    whole: Callable[..., Whole], net: str
) -> None:
    _killed(whole((*NETS[net], *FEWER)), 2, inside=1)


@pytest.mark.long
@pytest.mark.parametrize("net", NETS)
def test_of_fifty_killed_runs_fifty_end_as_one_that_was_not(whole: Callable[..., Whole], net: str) -> None:
    _killed(whole(NETS[net]), 25, inside=8)


# --- workers ----------------------------------------------------------------------------------------------


def _swapped(whole: Whole, number: int) -> None:
    """Kill runs with 0 and with 2 decoding workers in turn; each goes on with the other number."""
    dice = random.Random(6)
    for trial in range(number):
        workers = (0, 2)[trial % 2]
        while True:
            run = whole.new()
            _with_workers(run, workers)
            process = whole.train(run)
            least = dice.randrange(1, 20)
            while not process.gone and max(checkpoint.steps(run.checkpoints), default=0) < least:
                time.sleep(0.001)
            if killed(process):
                break
        _with_workers(run, 2 - workers)
        whole.assert_same_end(run)


def _with_workers(run: Run, number: int) -> None:
    path = run.path / "pipeline.toml"
    text, count = re.subn(r"(?m)^workers = \d+$", f"workers = {number}", path.read_text())
    assert count == 1
    path.write_text(text)


def test_a_killed_run_may_go_on_with_another_number_of_workers(whole: Callable[..., Whole]) -> None:
    _swapped(whole((*STREAMED, "training.epochs=4")), 2)


@pytest.mark.long
def test_ten_of_ten_runs_whose_workers_are_swapped_end_the_same(whole: Callable[..., Whole]) -> None:
    _swapped(whole(STREAMED), 10)


# --- again and again --------------------------------------------------------------------------------------


def _again_and_again(whole: Whole, kills: int) -> None:
    """Kill one run so often, each time after some more steps or before the first."""
    dice = random.Random(7)
    run = whole.new()
    for _ in range(kills):
        process = whole.train(run)
        before = max(checkpoint.steps(run.checkpoints), default=0)
        if dice.random() < 0.3:
            time.sleep(dice.uniform(0.0, 0.5))
        else:
            while not process.gone and max(checkpoint.steps(run.checkpoints), default=0) <= before:
                time.sleep(0.001)
        assert process.kill().code == -9, "it was done before it was killed often enough"
    whole.assert_same_end(run)


def test_a_run_that_is_killed_again_and_again_ends_as_one_that_was_not(whole: Callable[..., Whole]) -> None:
    _again_and_again(whole((*NETS["convolutional"], *FEWER)), 3)


@pytest.mark.long
def test_a_run_that_is_killed_twenty_times_ends_as_one_that_was_not(whole: Callable[..., Whole]) -> None:
    _again_and_again(whole((*NETS["convolutional"], "training.epochs=150")), 20)


# --- one call after the other -----------------------------------------------------------------------------


def _killed_at_a_call(whole: Whole, forge: Any, fault: Callable[..., Any], nth: int) -> None:
    run = whole.new()
    left = forge.start("resume", run.path, "--plain", fault=fault(str(run.path), nth)).wait()
    assert (left.code, len(left.calls)) == (-9, nth), left.out
    whole.assert_same_end(run)


def test_a_run_killed_at_a_system_call_goes_on(whole: Callable[..., Whole], forge: Any, fault: Any) -> None:
    for nth in (20, 61):
        _killed_at_a_call(whole((*NETS["fully-connected"], *FEWER)), forge, fault, nth)


@pytest.mark.long
def test_wherever_among_its_first_system_calls_a_run_is_killed_it_goes_on(
    whole: Callable[..., Whole], forge: Any, fault: Any
) -> None:
    """Its lock, the first lines of its record, two checkpoints and the removal of a third are among them."""
    for nth in range(1, 81):
        _killed_at_a_call(whole(NETS["fully-connected"]), forge, fault, nth)
