"""A run that has told of a million events is listed and watched as quickly as any, and told more in the same time."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from birdplane.events import Epoch, Progress, Start, to_json
from birdplane.runs import Run

_PROGRESS = Progress(
    time=1.0, epoch=0, step=0, count=10, mean=0.5123, min=0.5, max=0.6, last=0.55, accuracy=0.5,
    learning_rate=0.1, samples_per_second=1000.0, wait=0.01, memory=500_000_000,
)  # fmt: skip
_EPOCH = Epoch(
    time=1.0, epoch=0, step=0, train_loss=0.5, train_accuracy=0.5, validation_loss=0.5,
    validation_accuracy=0.7, train_seconds=1.0, validation_seconds=0.1, best_accuracy=0.7,
)  # fmt: skip


def _record(folder: Path, count: int) -> Run:
    """Make a run of so many events, one in a hundred an epoch, that crashed."""
    run = Run.create(folder, "long", pipeline_toml="seed = 0\n")
    begin = to_json(Start(time=1.0, epoch=0, step=0, epochs=count // 100 + 1, steps_per_epoch=1000))
    # Each has its own time, epoch and step, put into a line made once: a million calls would take half a minute.
    lines = {
        kind: to_json(kind).replace('"time": 1.0, "epoch": 0, "step": 0', "%s")
        for kind in (_PROGRESS, _EPOCH)
    }
    with (run.path / "events.jsonl").open("w", encoding="utf-8") as file:
        file.write(begin + "\n")
        for at in range(1, count):
            is_epoch = at % 100 == 0
            number = at // 100 + (not is_epoch)
            line = lines[_EPOCH if is_epoch else _PROGRESS]
            file.write(line % f'"time": {1 + at / 10}, "epoch": {number}, "step": {at * 10}' + "\n")
    _, second = run.tail().poll(1000)[:2]
    assert (second.epoch, second.step) == (1, 10)
    return run


def _seconds(*arguments: str | Path, first_line: bool = False) -> float:
    """Return how long a command takes, or until its first line is there."""
    begun = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "birdplane", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    if first_line:
        assert process.stdout.readline()
        taken = time.monotonic() - begun
        process.kill()
        process.communicate()
        return taken
    process.communicate(timeout=120)
    return time.monotonic() - begun


def _reading(run: Run) -> float:
    """Return how long the lines of a record take to be read."""
    begun = time.monotonic()
    assert sum(1 for _ in (run.path / "events.jsonl").open("rb")) > 1000
    return time.monotonic() - begun


def _opened(folder: Path, count: int) -> dict[str, float]:
    """Return what a record of so many events adds to the seconds that `runs` and `watch` take."""
    run = _record(folder / "many", count)
    few = _record(folder / "few", 1001)
    reading = _reading(run)

    def added(*arguments: str, first_line: bool = False) -> float:
        """Return by how much the long record is slower, each at its best of some turns."""
        command, *options = arguments
        turns = [
            [_seconds(command, *_place(command, of), *options, first_line=first_line) for of in (run, few)]
            for _ in range(4)
        ]
        long, short = (min(column) for column in zip(*turns, strict=True))
        return long - short

    return {"reading": reading, "runs": added("runs"), "watch": added("watch", "--plain", first_line=True)}


def _place(command: str, run: Run) -> list[str | Path]:
    return ["--runs", run.path.parent] if command == "runs" else [run.path]


def _assert_quick(found: dict[str, float]) -> None:
    print(", ".join(f"{name} {seconds:.2f} s" for name, seconds in found.items()))
    for command in ("runs", "watch"):
        assert found[command] < 0.5 + found["reading"], found


@pytest.mark.alone
def test_a_long_record_opens_as_quickly_as_a_short_one(tmp_path: Path) -> None:
    _assert_quick(_opened(tmp_path, 50_000))


@pytest.mark.alone
@pytest.mark.long
def test_a_record_of_a_million_events_opens_in_under_half_a_second(tmp_path: Path) -> None:
    _assert_quick(_opened(tmp_path, 1_000_000))


def _appending(run: Run, times: int = 2000) -> float:
    """Return the seconds that one more event takes: the median of many."""
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        run.append(_PROGRESS)
        taken.append(time.perf_counter() - begun)
    run.close()
    return statistics.median(taken)


def _appended(folder: Path, count: int) -> None:
    few, many = _record(folder / "few", 1001), _record(folder / "many", count)
    pairs = [(_appending(few), _appending(many)) for _ in range(5)]
    short, long = (min(column) for column in zip(*pairs, strict=True))
    print(f"an event takes {1e6 * short:.1f} µs in a short record and {1e6 * long:.1f} in a long one")
    assert long < 2 * short


@pytest.mark.alone
def test_appending_to_a_long_record_takes_no_longer(tmp_path: Path) -> None:
    _appended(tmp_path, 50_000)


@pytest.mark.alone
@pytest.mark.long
def test_appending_to_a_record_of_a_million_events_takes_no_longer(tmp_path: Path) -> None:
    _appended(tmp_path, 1_000_000)


def test_a_long_record_is_watched_to_its_end(tmp_path: Path) -> None:
    run = _record(tmp_path, 20_000)
    command = [sys.executable, "-m", "birdplane", "watch", str(run.path), "--plain"]
    watched = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    epochs = [line.split()[0] for line in watched.stdout.splitlines() if line[:5].strip().isdecimal()]
    assert epochs == [str(number) for number in range(1, 200)]
    assert watched.returncode == 1
    assert "run 'long' is crashed: the process " in watched.stderr
