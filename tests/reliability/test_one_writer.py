"""Of two processes that start to train one run at the same time, one does, and the other is told."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from birdplane import Pipeline
from birdplane.runs import Run, list_runs

Tiny = Callable[..., Pipeline]


@pytest.fixture
def endless(tiny: Tiny) -> str:
    """A pipeline whose training ends only when it is asked to."""
    return tiny("training.epochs=1000000").to_toml()


def _until_it_trains(run: Run, process: Any) -> None:
    deadline = time.monotonic() + 60
    while (status := run.status()).state != "running":
        assert not process.gone
        assert time.monotonic() < deadline
        time.sleep(0.002)
    assert status.pid == process.pid


def _started_in_pairs(forge: Any, folder: Path, pipeline: str, times: int) -> None:
    """Start two processes at once on one run, again and again: one trains it, the other leaves at once."""
    for number in range(times):
        run = Run.create(folder, pipeline_toml=pipeline)
        pair = [forge.start("resume", run.path, "--plain") for _ in range(2)]
        deadline = time.monotonic() + 60
        while not any(process.gone for process in pair):
            assert time.monotonic() < deadline, number
            time.sleep(0.002)
        loser, winner = sorted(pair, key=lambda process: not process.gone)
        refused = loser.wait()
        assert refused.code == 1, refused.out
        (line,) = refused.out.splitlines()
        told = re.search(r"is being trained by (pid (\d+) on host|another process)", line)
        assert told, line
        assert told[2] in (None, str(winner.pid))
        _until_it_trains(run, winner)
        assert winner.kill().code == -9
        starts = [json.loads(text)["event"] for text in (run.path / "events.jsonl").read_bytes().splitlines()]
        assert starts.count("start") == 1


def test_of_two_processes_started_at_once_one_trains(forge: Any, tmp_path: Path, endless: str) -> None:
    _started_in_pairs(forge, tmp_path, endless, 3)


@pytest.mark.long
def test_of_a_hundred_pairs_started_at_once_one_trains_each_time(
    forge: Any, tmp_path: Path, endless: str
) -> None:
    _started_in_pairs(forge, tmp_path, endless, 100)


def test_within_two_seconds_a_kill_is_known_and_the_lock_is_free(
    forge: Any, tmp_path: Path, endless: str
) -> None:
    run = Run.create(tmp_path, pipeline_toml=endless)
    for _ in range(2):
        process = forge.start("resume", run.path, "--plain")
        _until_it_trains(run, process)
        process.kill()
        killed = time.monotonic()
        (line,) = list_runs(tmp_path)
        assert (line.state, time.monotonic() - killed < 2) == ("crashed", True)
        assert line.reason.startswith("the process ")
    with run.lock():
        pass
