"""birdplane in a process of its own, and some real pictures, if they are here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

# Started in the background, a shell's children ignore Ctrl-C, and theirs with them.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Before torch is imported: sums in another order differ.
os.environ.setdefault("OMP_NUM_THREADS", "1")

_SHARED = Path(__file__).parents[4] / "shared"


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


@pytest.fixture(scope="session")
def airplanes_and_birds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of real pictures, 32x32: 150 airplanes and 150 birds to learn from, 50 and 50 to test on."""
    archive = _SHARED / "data" / "cifar10-images.zip"
    if not archive.is_file():
        pytest.skip(
            f"the real pictures are absent: there is no {archive.name} in shared/data beside the checkout"
        )
    folder = tmp_path_factory.mktemp("pictures")
    with zipfile.ZipFile(archive) as packed:
        for split, count in (("train", 150), ("test", 50)):
            for name in ("airplane", "bird"):
                inside = sorted(
                    n for n in packed.namelist() if f"{split}/{name}/" in n and n.endswith(".jpg")
                )
                (folder / split / name).mkdir(parents=True)
                for member in inside[:count]:
                    (folder / split / name / Path(member).name).write_bytes(packed.read(member))
    return folder
