"""What could make a resumed run's numbers differ in their last bits is told when it differs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from birdplane import Pipeline, checkpoint
from birdplane.runs import Run

Tiny = Callable[..., Pipeline]


@pytest.fixture(scope="module")
def killed(forge: Any, tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that was killed after some checkpoints."""
    pipeline = tiny("training.epochs=12", "training.checkpoint_steps=5")
    run = Run.create(tmp_path_factory.mktemp("runs"), "killed", pipeline_toml=pipeline.to_toml())
    process = forge.start("resume", run.path, "--plain")
    while len(checkpoint.steps(run.checkpoints)) < 2 and not process.gone:
        pass
    assert process.kill().code == -9
    return run


def _of(run: Run, folder: Path, **changed: Any) -> Run:
    """Copy a run, as one whose newest checkpoint was written where some of its environment was otherwise."""
    copy = Run(folder / "copy")
    shutil.copytree(run.path, copy.path)
    saved, _ = checkpoint.newest(copy.checkpoints)
    assert saved is not None
    environment = saved.state["environment"]
    assert environment.keys() >= changed.keys()
    state = {**saved.state, "environment": {**environment, **changed}}
    checkpoint.save(copy.checkpoints, saved.step, tensors=saved.tensors, state=state)
    return copy


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("birdplane", "0.0.1"),
        ("torch", "2.0.0"),
        ("device_name", "NVIDIA H100"),
        ("instructions", "none that there are"),
        ("threads", 7),
        ("precision", "bfloat16"),
        ("processes", 2),
    ],
)
def test_what_differs_on_resume_is_named_as_not_bit_exact(
    forge: Any, killed: Run, tmp_path: Path, key: str, value: object
) -> None:
    run = _of(killed, tmp_path, **{key: value})
    left = forge.run("resume", run.path, "--plain")
    assert left.code == 0, left.out
    (warning,) = [line for line in left.out.splitlines() if "not bit-exact" in line]
    assert f"not bit-exact: {key} was {value}, is " in warning


def test_where_nothing_differs_nothing_is_said(forge: Any, killed: Run, tmp_path: Path) -> None:
    left = forge.run("resume", _of(killed, tmp_path).path, "--plain")
    assert left.code == 0, left.out
    assert "not bit-exact" not in left.out


def test_another_number_of_threads_is_told(forge: Any, killed: Run, tmp_path: Path) -> None:
    script = """
import sys
import torch
torch.set_num_threads(2)
from birdplane.cli import main
sys.argv = ["birdplane", "resume", sys.argv[2], "--plain"]
main()
"""
    left = forge.run("-c", script, _of(killed, tmp_path).path)
    assert left.code == 0, left.out
    assert "not bit-exact: threads was 1, is 2" in left.out
