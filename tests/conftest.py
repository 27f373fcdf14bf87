"""What tests of every kind share: the real pictures, if they are here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import filelock
import pytest

_SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture(scope="session")
def real_pictures() -> Path:
    """The zip of CIFAR-10's pictures: `train/<class>/*.jpg`, 5,000 a class, and `test/<class>/*.jpg`, 500."""
    path = _SHARED / "data" / "cifar10-images.zip"
    if not path.is_file():
        pytest.skip(
            f"the real pictures are absent: there is no {path.name} in shared/data beside the checkout"
        )
    return path


@pytest.fixture(scope="session")
def cifar2_archive(real_pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """An archive in CIFAR-10's binary layout with the real airplanes and birds, and its SHA-256.

    10,000 pictures to train and 1,000 to test. It takes some seconds to make and is made once a session, also
    where that is spread over several processes.
    """
    script = _SHARED / "bin" / "make_cifar10_archive.py"
    if not script.is_file():
        pytest.skip(f"the real pictures cannot be packed: there is no {script.name} in shared/bin")
    spread = "PYTEST_XDIST_WORKER" in os.environ
    folder = tmp_path_factory.getbasetemp().parent if spread else tmp_path_factory.mktemp("cifar2")
    archive, digest = folder / "cifar2-binary.tar.gz", folder / "cifar2-binary.sha256"
    with filelock.FileLock(folder / "cifar2-binary.lock"):
        if not digest.is_file():
            command = [sys.executable, str(script), str(archive), "--classes", "airplane", "bird"]
            made = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
            digest.write_text(made.stdout.strip(), encoding="ascii")
    return archive, digest.read_text(encoding="ascii")
