"""doctor, on this installation and on ones that are broken on purpose."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from birdplane.diagnosis import satisfies

Birdplane = Callable[..., Any]


def test_this_installation_is_sound(
    birdplane: Birdplane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BIRDPLANE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BIRDPLANE_RUNS", str(tmp_path / "runs"))
    (tmp_path / "cache" / "cifar10").mkdir(parents=True)
    (tmp_path / "cache" / "cifar10" / "archive").write_bytes(bytes(2000))
    ran = birdplane("doctor", "--json")
    found = ran.json
    assert (ran.code, found["sound"], found["trouble"]) == (0, True, [])
    assert {"torch", "torchvision", "birdplane", "textual", "numpy"} <= set(found["versions"])
    assert found["devices"][-1]["name"] == "cpu"
    assert isinstance(found["devices"][-1]["bfloat16"], bool)
    assert found["cache"]["contents"] == [{"name": "cifar10", "bytes": 2000}]
    assert found["runs"]["exists"] is False
    assert found["plugins"][0]["name"] == "builtin"


def _module(folder: Path, name: str, text: str) -> None:
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text(text)


def _doctor(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = "from birdplane.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", program, "doctor", *arguments],
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_torchvision_that_does_not_fit_is_explained_with_the_mend(tmp_path: Path) -> None:
    _module(tmp_path, "torchvision", "raise RuntimeError('operator torchvision::nms does not exist')")
    ran = _doctor(tmp_path)
    assert ran.returncode == 1
    assert "do not fit each other" in ran.stdout
    assert "operator torchvision::nms does not exist" in ran.stdout
    assert "pip install --upgrade --force-reinstall 'torch>=" in ran.stdout
    assert "Traceback" not in ran.stdout + ran.stderr


def test_what_the_metadata_says_of_the_pair_is_told_too(tmp_path: Path) -> None:
    _module(tmp_path, "torchvision", "__version__ = '0.26.0'")
    info = tmp_path / "torchvision-0.26.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: torchvision\nVersion: 0.26.0\n"
        "Requires-Dist: numpy\nRequires-Dist: torch==1.2.3\n"
    )
    (trouble,) = json.loads(_doctor(tmp_path, "--json").stdout)["trouble"]
    assert "torchvision 0.26.0 does not fit torch" in trouble["what"]
    assert "it was built for torch 1.2.3" in trouble["what"]


def test_it_runs_where_torch_cannot_be_imported(tmp_path: Path) -> None:
    _module(tmp_path, "torch", "raise ImportError('libcudart.so.99: cannot open shared object file')")
    ran = _doctor(tmp_path, "--json")
    found = json.loads(ran.stdout)
    assert ran.returncode == 1
    (trouble,) = found["trouble"]
    assert trouble["what"].startswith("torch cannot be imported: ImportError: libcudart.so.99")
    assert "pip install" in trouble["mend"]


def test_a_torch_that_kills_its_process_is_survived(tmp_path: Path) -> None:
    _module(tmp_path, "torch", "import os, signal; os.kill(os.getpid(), signal.SIGILL)")
    ran = _doctor(tmp_path)
    assert ran.returncode == 1
    assert "SIGILL" in ran.stdout
    assert "this processor lacks instructions" in ran.stdout


@pytest.mark.parametrize(
    ("version", "bounds", "expected"),
    [
        ("2.15.0+cu132", "==2.15.0", True),
        ("2.15.0", "==2.15", True),
        ("2.14.1", "==2.15.0", False),
        ("2.15", ">=2.11,<3", True),
        ("3.0", ">=2.11,<3", False),
        ("2.9", ">=2.11", False),
        ("2.9", "!=2.9", False),
        ("2.9.4", "~=2.9.1", True),
        ("2.10.0", "~=2.9.1", False),
        ("2.10.0", "==2.10.*", True),
        ("2.10.0", "", True),
        ("2.10.0", "what is this", True),
    ],
)
def test_versions_are_compared_by_their_numbers(version: str, bounds: str, expected: bool) -> None:
    assert satisfies(version, bounds) is expected
