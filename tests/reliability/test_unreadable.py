"""What cannot be read just now is not taken for damaged or absent: nothing is thrown away, and a line says so."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from birdplane import Pipeline, checkpoint
from birdplane.events import Epoch
from birdplane.runs import Run

Tiny = Callable[..., Pipeline]

COMMAND = """
import sys
from birdplane.cli import main
sys.argv = ["birdplane", *sys.argv[2:]]
main()
"""
#: Root may read everything; without two of its capabilities it is a user like any other.
WITHOUT_PRIVILEGES = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
header = (ctypes.c_uint32 * 2)(0x20080522, 0)
held = (ctypes.c_uint32 * 6)()
assert libc.capget(header, held) == 0
for place in (0, 1):
    held[place] &= ~0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
assert libc.capset(header, held) == 0
"""
FEW_FILES = """
import os, resource
lowest = os.open(os.devnull, os.O_RDONLY)
os.close(lowest)
resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, lowest))
"""
LITTLE_MEMORY = """
import resource
with open("/proc/self/statm") as file:
    size = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + 20 * 2**20, -1))
"""
NEWEST = """
import sys
from birdplane import checkpoint
try:
    print("found", checkpoint.newest(Path(sys.argv[2])))
except Exception as error:
    print(f"{type(error).__name__}: {error}")
"""


@pytest.fixture(scope="module")
def stopped(forge: Any, tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that was killed in its middle, with two checkpoints."""
    pipeline = tiny("training.epochs=12", "training.checkpoint_steps=5", "optimizer.momentum=0.9")
    run = Run.create(tmp_path_factory.mktemp("runs"), "r", pipeline_toml=pipeline.to_toml())
    process = forge.start("resume", run.path, "--plain")
    while len(checkpoint.steps(run.checkpoints)) < 2 and not process.gone:
        pass
    assert process.kill().code == -9
    return run


@pytest.fixture
def run(stopped: Run, tmp_path: Path) -> Iterator[Run]:
    """A copy of it."""
    copy = Run(tmp_path / "runs" / "r")
    shutil.copytree(stopped.path, copy.path)
    yield copy
    for path in (copy.path.parent, copy.path, copy.checkpoints, *copy.checkpoints.iterdir()):
        path.chmod(0o755)


def content(run: Run) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}


def newest_of(run: Run) -> Path:
    return run.checkpoints / f"{checkpoint.steps(run.checkpoints)[-1]:08d}"


def end(run: Run) -> dict[str, torch.Tensor]:
    found, damaged = checkpoint.newest(run.checkpoints)
    assert found is not None
    assert damaged == []
    return {
        f"{group}.{name}": value for group, named in found.tensors.items() for name, value in named.items()
    }


PLACES: dict[str, Callable[[Run], Path]] = {
    "runs": lambda run: run.path.parent,
    "run": lambda run: run.path,
    "pipeline": lambda run: run.path / "pipeline.toml",
    "events": lambda run: run.path / "events.jsonl",
    "checkpoints": lambda run: run.checkpoints,
    "checkpoint": newest_of,
    "weights": lambda run: newest_of(run) / "model.safetensors",
}
COMMANDS: dict[str, tuple[str, ...]] = {
    "runs": ("runs", "run", "events"),
    "resume": tuple(PLACES),
    "watch": ("runs", "run", "events"),
    "stop": ("runs", "run", "events"),
    "evaluate": ("runs", "run", "pipeline", "checkpoints", "checkpoint", "weights"),
}


@pytest.mark.parametrize(
    ("command", "place"), [(command, place) for command, places in COMMANDS.items() for place in places]
)
def test_what_may_not_be_read_is_told_in_one_line_and_nothing_is_thrown_away(
    forge: Any, run: Run, command: str, place: str
) -> None:
    before = content(run)
    path = PLACES[place](run)
    mode = path.stat().st_mode
    path.chmod(0)
    name = () if command == "runs" else ("r",)
    left = forge.run("-c", WITHOUT_PRIVILEGES + COMMAND, command, *name, "--runs", run.path.parent)
    path.chmod(mode)
    if command == "runs" and place != "runs":
        assert left.code == 0, left.out
        (line,) = [line for line in left.out.splitlines() if line.startswith("r ")]
        assert "broken" in line
        assert line.endswith("Permission denied")
    else:
        assert left.code == 1, left.out
        (line,) = [line for line in left.out.splitlines() if line.startswith("error: ")]
        assert "a fault in birdplane" not in line
        assert "permission denied" in line.lower()
        assert str(path if place != "weights" else path.parent) in line
    after = content(run)
    changed = {path.name for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    # Of what was taken up and not gone on with, its record tells.
    assert changed <= {"events.jsonl", "process.json", ".lock"}
    assert after[run.path / "events.jsonl"].startswith(before[run.path / "events.jsonl"])


def test_once_it_may_be_read_again_the_run_goes_on_to_the_weights_of_one_that_always_could(
    forge: Any, stopped: Run, run: Run
) -> None:
    assert forge.run("resume", stopped.path, "--plain").code == 0
    newest_of(run).chmod(0)
    left = forge.run("-c", WITHOUT_PRIVILEGES + COMMAND, "resume", run.path, "--plain")
    assert left.code == 1, left.out
    newest_of(run).chmod(0o755)
    left = forge.run("resume", run.path, "--plain")
    assert left.code == 0, left.out
    assert "damaged" not in left.out
    mine, theirs = end(run), end(stopped)
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    assert [event.epoch for event in run.events([Epoch])] == list(range(1, 13))


def test_where_no_more_files_may_be_open_no_checkpoint_is_taken_for_absent_or_damaged(
    forge: Any, run: Run
) -> None:
    left = forge.run("-c", FEW_FILES + NEWEST, run.checkpoints)
    assert left.out == f"BirdplaneError: cannot read {str(run.checkpoints)!r}: Too many open files\n"


def test_a_checkpoint_that_is_too_large_for_the_memory_is_not_taken_for_damaged(
    forge: Any, tmp_path: Path
) -> None:
    for step in (1, 2):
        checkpoint.save(tmp_path, step, tensors={"model": {"weight": torch.zeros(20 << 20)}}, state={})
    left = forge.run("-c", LITTLE_MEMORY + NEWEST, tmp_path)
    assert left.out.startswith(("MemoryError: ", "RuntimeError: ")), left.out
