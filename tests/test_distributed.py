"""Several processes train as one: the same losses, one record, and no loss that is not told and mended.

Two processes on two cores, over gloo. What a process does to the job, and the job to the record, is done for real.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from birdplane import BirdplaneError, Pipeline, UsageError, checkpoint
from birdplane.data import share_of
from birdplane.distributed import Team
from birdplane.events import Alert, End, Epoch, Progress, Start
from birdplane.inspection import TrainedModel
from birdplane.ranks import Place, check_count, given, train_together
from birdplane.runs import Run, list_runs
from birdplane.training import train

Tiny = Callable[..., Pipeline]
Started = Callable[..., subprocess.Popen[str]]
PATIENCE = 60.0

#: A convolutional net on pictures that are changed at random; the last batch of an epoch has one picture, so that
#: one of two processes has none. Steps are many, so that there is time to meet a run in the middle.
SHARED = (
    "dataset.train=49",
    "transforms=[{use='to-tensor'}, {use='normalize'}, {use='random-shift'}, {use='random-flip'}]",
    "model.use=convolutional",
    "optimizer.momentum=0.9",
    "optimizer.lr=0.01",
    "schedule.use=cosine",
    "training.average=0.9",
    "training.epochs=40",
    "training.checkpoint_steps=20",
)
#: What makes other numbers in shares than in a whole batch, and must resume exactly all the same.
OWN = (
    "dataset.train=49",
    "transforms=[{use='to-tensor'}, {use='normalize'}, {use='random-shift'}]",
    "model.use=resnet",
    "model.widths=[2, 2]",
    "model.blocks=1",
    "optimizer.use=adam",
    "training.epochs=40",
    "training.checkpoint_steps=20",
)
#: After `--`, as torchrun would take `--run` for an abbreviation of its own.
TORCHRUN = (
    "--nproc-per-node", "2", "--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", "-m", "--",
)  # fmt: skip


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the runs."""
    folder = tmp_path / "runs"
    monkeypatch.setenv("BIRDPLANE_RUNS", str(folder))
    monkeypatch.setenv("BIRDPLANE_DISABLE_PLUGINS", "*")
    return folder


@pytest.fixture
def started(runs: Path) -> Iterator[Started]:
    """Start `python -m MODULE ARGUMENTS...` as a process of its own; none outlives the test."""
    processes: list[subprocess.Popen[str]] = []

    def start(*arguments: str | Path, module: str = "birdplane") -> subprocess.Popen[str]:
        command = [sys.executable, "-m", module, *map(str, arguments)]
        processes.append(
            subprocess.Popen(
                command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
            )
        )
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def pipeline_file(tmp_path: Path, tiny: Tiny) -> Callable[..., Path]:
    """A function that writes the tiny pipeline, with overrides, into a file."""

    def write(*assignments: str) -> Path:
        path = tmp_path / "tiny.toml"
        path.write_text(tiny(*assignments).to_toml(), encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny: Tiny) -> Callable[..., Run]:
    """A function to a run by two processes that nothing disturbed, made once for each pipeline."""
    made: dict[tuple[str, ...], Run] = {}

    def make(*assignments: str) -> Run:
        if assignments not in made:
            folder = tmp_path_factory.mktemp("whole")
            run = Run.create(folder, "whole", pipeline_toml=tiny(*assignments).to_toml())
            run.keep_processes(2)
            done = subprocess.run(
                [sys.executable, "-m", "birdplane", "resume", str(run.path), "--plain"],
                capture_output=True,
                text=True,
                timeout=2 * PATIENCE,
            )
            assert (done.returncode, done.stderr) == (0, "")
            made[assignments] = run
        return made[assignments]

    return make


def until(happens: Callable[[], Any], process: subprocess.Popen[str] | None = None) -> None:
    """Wait until something is so, but not for ever, and not for a process that has left."""
    deadline = time.monotonic() + PATIENCE
    while not happens():
        assert time.monotonic() < deadline, "it never happened"
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.01)


def trains(run: Run, beyond: int = 0) -> Callable[[], bool]:
    return lambda: max((event.step for event in run.events([Progress])), default=0) > beyond


def left(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out, err


def ranks_of(watcher: subprocess.Popen[str]) -> dict[int, psutil.Process]:
    """The processes that train, by rank, and what they have started by itself."""
    found = psutil.Process(watcher.pid).children(recursive=True)
    return {int(process.environ()["RANK"]): process for process in found if "RANK" in process.environ()}


def gone(processes: list[psutil.Process]) -> bool:
    """Whether none is left; one that its parent has not collected yet is gone."""
    return not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes)


def newest(run: Run) -> checkpoint.Checkpoint:
    found, damaged = checkpoint.newest(run.checkpoints)
    assert found is not None
    assert damaged == []
    return found


def figures(run: Run) -> list[dict[str, Any]]:
    timed = {"time", "train_seconds", "validation_seconds"}
    return [
        {name: value for name, value in dataclasses.asdict(event).items() if name not in timed}
        for event in run.events([Epoch])
    ]


def assert_same_end(run: Run, other: Run) -> None:
    """Compare all tensors of the last checkpoints bit for bit, and all epochs' figures."""
    mine, theirs = newest(run), newest(other)
    assert mine.step == theirs.step
    assert mine.tensors.keys() == theirs.tensors.keys()
    for group, tensors in mine.tensors.items():
        for name, tensor in tensors.items():
            assert torch.equal(tensor, theirs.tensors[group][name]), f"{group}: {name}"
    for key in ("position", "best", "optimizer", "fitted"):
        assert mine.state[key] == theirs.state[key]
    assert figures(run) == figures(other)


def difference(run: Run, other: Run) -> float:
    """The largest difference of a loss, relative to it, over all epochs of two runs."""
    pairs = [
        (mine[key], theirs[key])
        for mine, theirs in zip(figures(run), figures(other), strict=True)
        for key in ("train_loss", "validation_loss")
    ]
    return max(abs(mine - theirs) / abs(theirs) for mine, theirs in pairs)


# Shares.


@pytest.mark.parametrize("of", [1, 2, 3, 7])
def test_shares_are_disjoint_cover_the_batch_and_differ_by_one_at_most(of: int) -> None:
    for count in range(1, 30):
        shares = [range(count)[share_of(count, (number, of))] for number in range(of)]
        assert [index for share in shares for index in share] == list(range(count))
        assert len(shares[0]) - min(map(len, shares)) <= 1
        assert len(shares[0]) == max(map(len, shares)) > 0


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param((), id="kept"),
        pytest.param(("transforms=[{use='to-tensor'}, {use='random-shift'}]",), id="changed-at-random"),
        pytest.param(("transforms=[{use='random-rotation'}, {use='to-tensor'}]",), id="by-sample"),
        pytest.param(("training.memory_limit=1",), id="streamed"),
    ],
)
def test_the_shares_of_a_batch_are_the_batch(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, settings: tuple[str, ...]
) -> None:
    monkeypatch.setattr("birdplane.assembly.MIB", 100)  # bytes: with memory_limit=1, pictures are streamed
    trainer = train(tiny("dataset.train=49", "training.epochs=1", *settings))
    list(trainer)
    batches = trainer._parts.train
    wholes = list(batches.epoch(3))
    shares = [list(batches.epoch(3, share=(number, 3))) for number in range(3)]
    assert [len(labels) for _, labels in shares[2]] == [5, 5, 5, 0]
    for (images, labels), *parts in zip(wholes, *shares, strict=True):
        assert torch.equal(torch.cat([part[0] for part in parts]), images)
        assert torch.equal(torch.cat([part[1] for part in parts]), labels)


# As one.


def test_two_processes_have_the_losses_of_one(tiny: Tiny, whole: Callable[..., Run], tmp_path: Path) -> None:
    pipeline = tiny(*SHARED)
    alone = Run.create(tmp_path, "alone", pipeline_toml=pipeline.to_toml())
    list(train(pipeline, alone))
    together = whole(*SHARED)
    assert len(figures(together)) == 40
    assert [event["step"] for event in figures(alone)] == [event["step"] for event in figures(together)]
    assert difference(together, alone) < 1e-4  # float32 rounding, grown over 160 steps
    first = [figures(run)[0] for run in (alone, together)]
    assert first[0]["train_loss"] == pytest.approx(first[1]["train_loss"], rel=1e-6)


def test_a_run_by_several_processes_says_so(whole: Callable[..., Run]) -> None:
    run = whole(*SHARED)
    (start,) = [event for event in run.events([Start]) if isinstance(event, Start)]
    assert start.facts["processes"] == 2
    assert run.processes() == 2
    assert [summary.processes for summary in list_runs(run.path.parent)] == [2]
    assert newest(run).state["environment"]["processes"] == 2


def test_only_the_leading_process_tells(whole: Callable[..., Run]) -> None:
    run = whole(*SHARED)
    assert [event.epoch for event in run.events([Epoch])] == list(range(1, 41))
    assert sum(event.count for event in run.events([Progress]) if isinstance(event, Progress)) == 160
    assert len(list(run.events([Start]))) == len(list(run.events([End]))) == 1
    assert sorted(path.name for path in run.path.iterdir()) == [
        ".lock", "checkpoints", "events.jsonl", "pipeline.toml", "processes.json",
    ]  # fmt: skip


def test_the_model_of_several_processes_is_used_as_any(whole: Callable[..., Run]) -> None:
    run = whole(*SHARED)
    best = max(event["validation_accuracy"] for event in figures(run))
    assert TrainedModel(run).evaluate("validation").accuracy == best


@pytest.mark.long
@pytest.mark.parametrize("recipe", ["fully-connected", "convolutional"])
def test_an_epoch_of_a_real_size_has_the_losses_of_one_process(
    recipe: str, whole: Callable[..., Run], tiny: Tiny, tmp_path: Path
) -> None:
    settings = ("dataset.train=10000", "dataset.test=2000", "dataset.size=32", "training.epochs=1")
    settings += ("training.batch_size=64", "optimizer.lr=0.01")
    if recipe == "fully-connected":
        settings += ("model.hidden=[512]", "model.activation=tanh")
    else:
        settings += ("model.use=convolutional",)
        settings += ("transforms=[{use='to-tensor'}, {use='normalize'}, {use='random-flip'}]",)
    pipeline = tiny(*settings)
    alone = Run.create(tmp_path, "alone", pipeline_toml=pipeline.to_toml())
    list(train(pipeline, alone))
    print(recipe, difference(whole(*settings), alone))
    assert difference(whole(*settings), alone) < 1e-5


# What happens to one happens to all, and is told.


def test_a_process_that_is_killed_ends_the_job_which_goes_on_to_the_same_weights(
    started: Started, pipeline_file: Callable[..., Path], whole: Callable[..., Run], runs: Path
) -> None:
    run = Run(runs / "r")
    watcher = started("train", pipeline_file(*SHARED), "--run", "r", "--nproc", "2", "--plain")
    until(trains(run, 60), watcher)
    ranks = ranks_of(watcher)
    assert sorted(ranks) == [0, 1]
    ranks[1].kill()
    began = time.monotonic()
    code, _, err = left(watcher)
    assert time.monotonic() - began < 10
    reason = f"process 1 of 2 (pid {ranks[1].pid}) was killed by SIGKILL (perhaps for want of memory)"
    assert (code, err) == (1, f"error: {reason}; `birdplane resume r` goes on\n")
    assert gone(list(ranks.values()))
    assert (run.status().state, run.status().reason) == ("failed", reason)

    code, _, err = left(started("resume", "r", "--plain"))
    assert (code, err) == (0, "")
    starts = [event for event in run.events([Start]) if isinstance(event, Start)]
    assert starts[-1].step >= 40
    assert starts[-1].facts["processes"] == 2
    assert [event for event in run.events([Alert]) if event.kind == "environment"] == []  # type: ignore[attr-defined]
    assert_same_end(run, whole(*SHARED))


@pytest.mark.long
@pytest.mark.parametrize("victim", ["leader", "other", "watcher"])
@pytest.mark.parametrize("settings", [SHARED, OWN], ids=["convolutional", "batch-norm"])
def test_whichever_process_is_killed_nothing_is_left_and_the_run_goes_on_exactly(
    victim: str,
    settings: tuple[str, ...],
    started: Started,
    pipeline_file: Callable[..., Path],
    whole: Callable[..., Run],
    runs: Path,
) -> None:
    run = Run(runs / "r")
    watcher = started("train", pipeline_file(*settings), "--run", "r", "--nproc", "2", "--plain")
    until(trains(run, 60), watcher)
    ranks = ranks_of(watcher)
    {"leader": ranks[0], "other": ranks[1], "watcher": psutil.Process(watcher.pid)}[victim].kill()
    code, _, err = left(watcher)
    until(lambda: gone(list(ranks.values())))
    assert code == (-signal.SIGKILL if victim == "watcher" else 1)
    assert run.status().state == ("crashed" if victim == "watcher" else "failed")
    if victim == "leader":
        assert f"process 0 of 2 (pid {ranks[0].pid}) was killed by SIGKILL" in err
    assert left(started("resume", "r", "--plain"))[0] == 0
    assert_same_end(run, whole(*settings))


@pytest.mark.long
@pytest.mark.parametrize("count", [3, 4])
def test_more_processes_than_two_go_on_exactly_too(
    count: int, started: Started, pipeline_file: Callable[..., Path], runs: Path
) -> None:
    path = pipeline_file(*SHARED, "model.dropout=0.3")
    assert left(started("train", path, "--run", "whole", "--nproc", str(count), "--plain"))[0] == 0
    watcher = started("train", path, "--run", "r", "--nproc", str(count), "--plain")
    until(trains(Run(runs / "r"), 60), watcher)
    ranks_of(watcher)[count - 1].kill()
    assert left(watcher)[0] == 1
    assert left(started("resume", "r", "--plain"))[0] == 0
    assert_same_end(Run(runs / "r"), Run(runs / "whole"))


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_all_with_a_checkpoint(
    number: signal.Signals,
    started: Started,
    pipeline_file: Callable[..., Path],
    whole: Callable[..., Run],
    runs: Path,
) -> None:
    run = Run(runs / "r")
    watcher = started("train", pipeline_file(*SHARED), "--run", "r", "--nproc", "2", "--plain")
    until(trains(run, 60), watcher)
    ranks = ranks_of(watcher)
    watcher.send_signal(number)
    code, out, err = left(watcher)
    assert (code, err) == (128 + number, "")
    assert out.splitlines()[-1] == "go on with: birdplane resume r"
    assert gone(list(ranks.values()))
    assert run.status().state == "stopped"
    assert newest(run).step == max(event.step for event in run.events([Progress]))
    assert left(started("resume", "r", "--plain"))[0] == 0
    assert_same_end(run, whole(*SHARED))


@pytest.mark.long
def test_a_second_ctrl_c_ends_all_at_once(
    started: Started, pipeline_file: Callable[..., Path], runs: Path
) -> None:
    run = Run(runs / "r")
    watcher = started("train", pipeline_file("training.epochs=1000000"), "--run", "r", "--nproc", "2")
    until(trains(run, 60), watcher)
    ranks = ranks_of(watcher)
    os.kill(ranks[0].pid, signal.SIGSTOP)  # it cannot answer the first
    began = time.monotonic()
    watcher.send_signal(signal.SIGINT)
    watcher.send_signal(signal.SIGTERM)
    code, _, err = left(watcher)
    assert time.monotonic() - began < 2
    assert code in (130, 143)
    assert err == ""
    assert gone(list(ranks.values()))


@pytest.mark.long
def test_stop_and_pause_reach_all(started: Started, pipeline_file: Callable[..., Path], runs: Path) -> None:
    run = Run(runs / "r")
    watcher = started("train", pipeline_file("training.epochs=1000000"), "--run", "r", "--nproc", "2")
    until(trains(run, 60), watcher)
    ranks = ranks_of(watcher)
    run.request("pause")
    until(lambda: run.status().state == "paused", watcher)
    steps = max(event.step for event in run.events())
    run.request("resume")
    until(trains(run, steps), watcher)
    run.request("stop")
    code, _, err = left(watcher)
    assert (code, err) == (0, "")
    assert run.status().state == "stopped"
    assert gone(list(ranks.values()))


@pytest.mark.long
def test_a_process_that_hangs_ends_the_job_within_a_minute(
    started: Started, pipeline_file: Callable[..., Path], runs: Path
) -> None:
    run = Run(runs / "r")
    watcher = started("train", pipeline_file("training.epochs=1000000"), "--run", "r", "--nproc", "2")
    until(trains(run, 60), watcher)
    ranks = ranks_of(watcher)
    os.kill(ranks[1].pid, signal.SIGSTOP)
    began = time.monotonic()
    _, err = watcher.communicate(timeout=90)
    print("seconds until the end:", time.monotonic() - began)
    assert time.monotonic() - began < 60
    assert watcher.returncode == 1
    assert "the processes lost one another: one did not answer" in err
    assert gone(list(ranks.values()))
    assert run.status().state == "failed"


@pytest.mark.long
def test_what_one_process_cannot_do_is_told_in_its_words(
    started: Started,
    pipeline_file: Callable[..., Path],
    runs: Path,
    write_plugin: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = """
    from birdplane import Loss, hookimpl
    def picky():
        import os, torch
        steps = [0]
        def loss(outputs, labels):
            steps[0] += 1
            if steps[0] > 9 and os.environ["RANK"] == "1":
                raise torch.OutOfMemoryError("there is none")
            return torch.nn.functional.cross_entropy(outputs, labels)
        return loss
    @hookimpl
    def birdplane_components():
        return [Loss(name="picky", target=picky)]
    """
    monkeypatch.delenv("BIRDPLANE_DISABLE_PLUGINS")
    added = write_plugin(tmp_path / "plugins", "picky", source)
    monkeypatch.setenv("PYTHONPATH", str(added), prepend=os.pathsep)
    path = tmp_path / "tiny.toml"
    path.write_text(pipeline_file().read_text().replace('use = "cross-entropy"', 'use = "picky/picky"'))
    path.write_text(path.read_text().replace("label_smoothing = 0.0\n", ""))
    code, _, err = left(started("train", path, "--run", "r", "--nproc", "2", "--plain"))
    reason = "process 1 of 2 failed: out of memory at step 7: try --set training.batch_size=8"
    assert code == 1
    assert "out of memory at step" in err, err
    assert "try --set training.batch_size=8" in err
    assert Run(runs / "r").status().state == "failed"
    assert reason.split(" at step")[0].split("failed: ")[1] in Run(runs / "r").status().reason


@pytest.mark.long
def test_a_loss_that_is_not_finite_is_told_once(
    started: Started, pipeline_file: Callable[..., Path], runs: Path
) -> None:
    path = pipeline_file("optimizer.lr=1e30", "model.activation=relu")
    code, _, err = left(started("train", path, "--run", "r", "--nproc", "2", "--plain"))
    assert code == 1
    assert len(err.splitlines()) == 1
    assert "the loss is " in err
    assert Run(runs / "r").status().state == "failed"
    assert len(list(Run(runs / "r").events([End]))) == 1


# Other numbers of processes, and torchrun.


@pytest.mark.long
def test_another_number_of_processes_goes_on_and_says_that_it_is_not_exact(
    started: Started, pipeline_file: Callable[..., Path], runs: Path
) -> None:
    path = pipeline_file(*SHARED)
    watcher = started("train", path, "--run", "r", "--nproc", "2", "--plain")
    until(trains(Run(runs / "r"), 60), watcher)
    watcher.send_signal(signal.SIGTERM)
    assert left(watcher)[0] == 143
    code, out, err = left(started("resume", "r", "--nproc", "1", "--plain"))
    assert (code, err) == (0, "")
    assert "  ! not bit-exact: processes was 2, is 1" in out.splitlines()
    assert Run(runs / "r").processes() == 1


def test_torchrun_starts_the_processes_itself(
    started: Started, pipeline_file: Callable[..., Path], whole: Callable[..., Run], runs: Path
) -> None:
    path = pipeline_file(*SHARED)
    command = (*TORCHRUN, "birdplane", "train", path, "--run", "r", "--plain")
    code, out, err = left(started(*command, module="torch.distributed.run"))
    assert code == 0, err
    assert out.count("done after") == 1
    assert_same_end(Run(runs / "r"), whole(*SHARED))


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_what_ends_a_process_of_torchruns_ends_the_job_which_goes_on_without_it(
    number: signal.Signals,
    started: Started,
    pipeline_file: Callable[..., Path],
    whole: Callable[..., Run],
    runs: Path,
) -> None:
    path = pipeline_file(*SHARED)
    command = (*TORCHRUN, "birdplane", "train", path, "--run", "r", "--plain")
    run = Run(runs / "r")
    agent = started(*command, module="torch.distributed.run")
    until(trains(run, 60), agent)
    ranks = ranks_of(agent)
    if number == signal.SIGKILL:
        ranks[1].kill()
    else:
        os.killpg(agent.pid, number)  # as a terminal does
    began = time.monotonic()
    agent.communicate(timeout=PATIENCE)
    assert time.monotonic() - began < 60
    until(lambda: gone(list(ranks.values())))
    assert run.status().state == ("failed" if number == signal.SIGKILL else "stopped")
    assert left(started("resume", "r", "--plain"))[0] == 0
    assert_same_end(run, whole(*SHARED))


@pytest.mark.long
def test_of_two_machines_one_has_the_run_and_what_ends_the_other_ends_the_job_which_goes_on_exactly(
    started: Started,
    pipeline_file: Callable[..., Path],
    whole: Callable[..., Run],
    runs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two agents of torchrun, as on two machines: they have nothing in common but an address."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as two processes of one machine have them
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    run, path = Run(runs / "r"), pipeline_file(*SHARED)

    def agents(*arguments: str | Path) -> list[subprocess.Popen[str]]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        made = []
        for number, folder in enumerate((runs, tmp_path / "elsewhere")):
            monkeypatch.setenv("BIRDPLANE_RUNS", str(folder))
            place = ("--nnodes", "2", "--node-rank", str(number), "--nproc-per-node", "1")
            address = ("--master-addr", "127.0.0.1", "--master-port", port)
            command = (*place, *address, "-m", "--", "birdplane", *arguments, "--plain")
            made.append(started(*command, module="torch.distributed.run"))
        return made

    both = agents("train", path, "--run", "r")
    until(trains(run, 60), both[0])
    ranks = [ranks_of(agent)[number] for number, agent in enumerate(both)]
    ranks[1].kill()
    began = time.monotonic()
    assert [bool(left(agent)[0]) for agent in both] == [True, True]
    assert time.monotonic() - began < 60
    until(lambda: gone(ranks))
    assert run.status().state == "failed"
    assert "another process of this training is gone or does not answer" in run.status().reason
    assert [left(agent)[0] for agent in agents("resume", "r")] == [0, 0]
    assert not (tmp_path / "elsewhere").exists()
    assert_same_end(run, whole(*SHARED))


# Bad input.


@pytest.mark.parametrize(
    ("count", "message"),
    [
        (0, "--nproc: 0 processes cannot train; at least 1"),
        (-3, "--nproc: -3 processes cannot train; at least 1"),
        (
            17,
            "tiny.toml: training.batch_size: a batch of 16 cannot be shared by 17 processes "
            "(mend: --nproc 16, or --set training.batch_size=17)",
        ),
    ],
)
def test_a_number_of_processes_that_cannot_be_is_refused(count: int, message: str) -> None:
    with pytest.raises(UsageError) as refusal:
        check_count(count, 16, "tiny.toml")
    assert str(refusal.value) == message


def test_a_refused_number_leaves_no_run(
    started: Started, pipeline_file: Callable[..., Path], runs: Path
) -> None:
    code, out, err = left(started("train", pipeline_file(), "--nproc", "0"))
    assert (code, out, err) == (2, "", "error: --nproc: 0 processes cannot train; at least 1\n")
    assert not runs.exists()


@pytest.mark.parametrize(
    "variables",
    [
        {"RANK": "2", "WORLD_SIZE": "2", "LOCAL_RANK": "0"},
        {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "x"},
        {"RANK": "0", "WORLD_SIZE": "2"},
        {"RANK": "-1", "WORLD_SIZE": "2", "LOCAL_RANK": "0"},
        {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "1"},
    ],
)
def test_an_environment_that_makes_no_sense_is_refused_in_one_line(variables: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=r"in the environment.*torchrun") as refusal:
        given(variables)
    assert "\n" not in str(refusal.value)


def test_without_torchruns_variables_or_with_one_process_it_trains_alone() -> None:
    assert given({}) is None
    assert given({"RANK": "0", "WORLD_SIZE": "1"}) is None
    assert given({"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}) == Place(1, 2, 1, 2)


def test_each_process_has_a_gpu_of_its_own_or_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    team = Team(Place(1, 2, 1, 2))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UsageError) as refusal:
        team.device("auto", torch.device("cuda:0"))
    assert str(refusal.value) == (
        "training.device: 2 processes on this machine need 2 GPUs, and there is 1 "
        "(mend: --nproc 1, or --set training.device=cpu)"
    )
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert team.device("auto", torch.device("cuda:0")) == torch.device("cuda:1")
    with pytest.raises(UsageError, match="'cuda:0' is one GPU"):
        team.device("cuda:0", torch.device("cuda:0"))
    with pytest.raises(UsageError, match="not on mps"):
        team.device("auto", torch.device("mps"))
    assert team.device("cpu", torch.device("cpu")) == torch.device("cpu")


def test_a_number_of_processes_that_was_not_kept_well_is_one(tmp_path: Path, tiny: Tiny) -> None:
    run = Run.create(tmp_path, "r", pipeline_toml=tiny().to_toml())
    assert run.processes() == 1
    for text in ("", "{", "[]", '{"processes": "2"}', '{"processes": 0}', '{"processes": true}'):
        (run.path / "processes.json").write_text(text)
        assert run.processes() == 1
    run.keep_processes(3)
    assert json.loads((run.path / "processes.json").read_text()) == {"processes": 3}
    assert run.processes() == 3


@pytest.mark.long
def test_a_run_that_somebody_trains_is_not_started_a_second_time(
    started: Started, pipeline_file: Callable[..., Path], runs: Path, tiny: Tiny
) -> None:
    run = Run.create(runs, "r", pipeline_toml=tiny("training.epochs=1000000").to_toml())
    with run.lock():
        code, _, err = left(started("resume", "r", "--nproc", "2"))
    assert code == 1
    assert f"the run 'r' is being trained by pid {os.getpid()}" in err
    assert len(err.splitlines()) == 1


def test_a_process_that_cannot_be_started_is_told(
    tmp_path: Path, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run.create(tmp_path, "r", pipeline_toml=tiny().to_toml())
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nowhere"))
    with pytest.raises(BirdplaneError, match=r"cannot start process 0 of 2: .*No such file"):
        train_together(run, 2, ["resume", str(run.path)])
