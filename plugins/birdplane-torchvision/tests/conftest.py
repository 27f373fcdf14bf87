"""birdplane in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# Started in the background, a shell's children ignore Ctrl-C, and theirs with them.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Before torch is imported: sums in another order differ.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def birdplane(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """A function that runs `birdplane ARGUMENTS` to its end in a folder of the test's own."""

    def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "birdplane", *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, "BIRDPLANE_CACHE": str(tmp_path / "cache"), **environment},
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run
