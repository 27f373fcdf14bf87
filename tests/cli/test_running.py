"""runs, stop and pause, on run folders that this test writes."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from birdplane.events import End, Epoch, Heartbeat, Start
from birdplane.runs import Run

Birdplane = Callable[..., Any]


def _start(now: float) -> Start:
    return Start(time=now, epoch=0, step=0, epochs=3, steps_per_epoch=5)


def _epoch(now: float, number: int, accuracy: float) -> Epoch:
    return Epoch(
        time=now,
        epoch=number,
        step=5 * number,
        train_loss=0.25,
        train_accuracy=0.9,
        validation_loss=0.5,
        validation_accuracy=accuracy,
        train_seconds=1.0,
        validation_seconds=0.1,
        best_accuracy=0.75,
    )


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = Run.create(tmp_path / "runs", "one", pipeline_toml="")
    now = time.time()
    made.append(_start(now - 4000))
    made.append(_epoch(now - 3990, 1, 0.75))
    made.append(_epoch(now - 3980, 2, 0.7))
    made.close()
    return made


@contextmanager
def _training(run: Run, *, obeys: bool = True) -> Iterator[None]:
    """Stand in for a process that trains the run: it holds the lock and does what it is asked."""
    over = threading.Event()
    held = threading.Event()

    def live() -> None:
        with run.lock():
            requests = run.requests()
            run.append(_start(time.time()))
            held.set()
            while not over.wait(0.01):
                for action in requests.poll() if obeys else []:
                    if action == "pause":
                        run.append(Heartbeat(time=time.time(), epoch=1, step=5, state="paused"))
                    if action == "stop":
                        run.append(
                            End(time=time.time(), epoch=1, step=5, status="stopped", reason="asked to")
                        )
                        return

    thread = threading.Thread(target=live)
    thread.start()
    assert held.wait(10)
    try:
        yield
    finally:
        over.set()
        thread.join()


class TestRuns:
    def test_says_how_to_make_one_where_there_is_none(self, birdplane: Birdplane, tmp_path: Path) -> None:
        ran = birdplane("runs", "--runs", tmp_path / "none")
        assert ran.code == 0
        assert "birdplane train demo" in ran.out

    def test_shows_state_epoch_and_accuracies(self, birdplane: Birdplane, run: Run) -> None:
        run.append(End(time=time.time() - 3900, epoch=2, step=10, status="stopped", reason="asked to"))
        (line,) = birdplane("runs", "--runs", run.path.parent).out.splitlines()[1:]
        for word in (
            "one",
            "stopped",
            "2 of 3",
            "75.00 %",
            "70.00 %",
            "0.2500",
            "1:40 min",
            "1 h ago",
            "asked to",
        ):
            assert word in line

    def test_json_has_every_field(self, birdplane: Birdplane, run: Run) -> None:
        (record,) = birdplane("runs", "--runs", run.path.parent, "--json").json
        assert record["name"] == "one"
        assert record["path"] == str(run.path)
        assert record["best_accuracy"] == 0.75

    def test_a_damaged_folder_is_listed_as_broken(self, birdplane: Birdplane, run: Run) -> None:
        (run.path / "pipeline.toml").unlink()
        assert "broken" in birdplane("runs", "--runs", run.path.parent).out

    def test_the_folder_may_come_from_the_environment(
        self, birdplane: Birdplane, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("BIRDPLANE_RUNS", str(run.path.parent))
        assert "one" in birdplane("runs").out


class TestStop:
    def test_waits_until_the_run_has_stopped(self, birdplane: Birdplane, run: Run) -> None:
        with _training(run):
            ran = birdplane("stop", "one", "--runs", run.path.parent)
        assert (ran.code, ran.out) == (0, "one: stopped (asked to)\n")

    def test_says_that_the_run_does_not_answer(self, birdplane: Birdplane, run: Run) -> None:
        with _training(run, obeys=False):
            ran = birdplane("stop", run.path, "--timeout", "0.2")
        assert ran.code == 1
        assert "not answered in 0.2 s" in ran.err

    def test_only_asks_where_told_so(self, birdplane: Birdplane, run: Run) -> None:
        with _training(run, obeys=False):
            ran = birdplane("stop", run.path, "--timeout", "0")
        assert (ran.code, ran.out) == (0, "one: asked to stop\n")

    def test_says_that_nothing_trains_it(self, birdplane: Birdplane, run: Run) -> None:
        run.append(End(time=time.time(), epoch=3, step=15, status="done"))
        ran = birdplane("stop", "one", "--runs", run.path.parent)
        assert ran.code == 1
        assert ran.err == "error: there is nothing to stop: the run 'one' is done\n"
        assert not (run.path / "control.jsonl").exists()

    def test_a_wrong_name_is_answered_with_the_nearest(self, birdplane: Birdplane, run: Run) -> None:
        ran = birdplane("stop", "onne", "--runs", run.path.parent)
        assert ran.code == 2
        assert "did you mean 'one'?" in ran.err


class TestPause:
    def test_waits_until_the_run_holds_still(self, birdplane: Birdplane, run: Run) -> None:
        with _training(run):
            first = birdplane("pause", run.path)
            second = birdplane("pause", run.path)
        assert first.code == second.code == 0
        assert "birdplane resume one" in first.out
        assert "paused already" in second.out


@pytest.mark.alone
def test_a_run_in_another_process_pauses_and_stops(
    birdplane: Birdplane, tiny_run: Run, tmp_path: Path
) -> None:
    pipeline = tmp_path / "endless.toml"
    pipeline.write_text(tiny_run.pipeline_toml().replace("epochs = 3", "epochs = 1000000"))
    program = "from birdplane.cli import main; main()"
    command = [
        sys.executable,
        "-c",
        program,
        "train",
        pipeline,
        "--run",
        "live",
        "--runs",
        tmp_path,
        "--plain",
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait_for_an_epoch(tmp_path / "live")
            paused = birdplane("pause", "live", "--runs", tmp_path)
            state = Run(tmp_path / "live").status().state
            stopped = birdplane("stop", "live", "--runs", tmp_path)
            process.wait(30)
        finally:
            process.kill()
    assert (paused.code, state) == (0, "paused")
    assert stopped.code == 0
    assert stopped.out.startswith("live: stopped")
    assert Run(tmp_path / "live").status().state == "stopped"


def _wait_for_an_epoch(folder: Path) -> None:
    deadline = time.monotonic() + 60
    while not (folder.is_dir() and Run(folder).summary().epoch):
        assert time.monotonic() < deadline
        time.sleep(0.05)
