"""A tiny pipeline, and birdplane in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

TINY = """
[dataset]
use = "sketches"
train = 64
test = 32
size = 8
difficulty = 0.2
[[transforms]]
use = "to-tensor"
[[transforms]]
use = "normalize"
[model]
use = "fully-connected"
hidden = [8]
[loss]
use = "cross-entropy"
[optimizer]
use = "sgd"
lr = 0.1
[training]
epochs = 3
batch_size = 16
device = "cpu"
"""


@pytest.fixture(scope="session")
def tiny() -> str:
    """A pipeline that is trained in no time: 4 steps an epoch."""
    return TINY


@pytest.fixture(scope="session")
def birdplane() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """A function that starts `birdplane ARGUMENTS` in a folder."""

    started: list[subprocess.Popen[str]] = []

    def start(folder: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "birdplane", *arguments],
            cwd=folder,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
