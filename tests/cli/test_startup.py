"""What a command imports: the lists, and everything else that is only read, must be there at once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from birdplane.runs import Run

_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
_HEAVY = ("torch", "torchvision", "numpy", "textual", "PIL", "tomlkit")
#: What is quick, but not needed to print a help text.
_UNNEEDED = ("pydantic", "pluggy", "birdplane.components", "birdplane.registry", "birdplane.pipeline")
_PROGRAM = f"""
import atexit, sys
watched = {_HEAVY + _UNNEEDED!r}
atexit.register(lambda: print("imported:", *[name for name in watched if name in sys.modules], file=sys.stderr))
from birdplane.cli import main
main()
"""


def _imported(*arguments: str | Path, folder: Path) -> tuple[int, set[str]]:
    """Run a command in a new process; return its exit code and which of the heavy modules it has imported."""
    ran = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *arguments], cwd=folder, capture_output=True, text=True, timeout=60
    )
    return ran.returncode, set(ran.stderr.rpartition("imported:")[2].split())


def test_the_list_of_commands_imports_next_to_nothing(tmp_path: Path) -> None:
    assert _imported("--help", folder=tmp_path) == (0, set())


@pytest.mark.parametrize("arguments", [["--version"], ["train", "--help"], ["check", "-h"]], ids=" ".join)
def test_help_imports_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    code, modules = _imported(*arguments, folder=tmp_path)
    assert (code, modules & set(_HEAVY)) == (0, set())


@pytest.mark.parametrize("arguments", [["list"], ["list-plugins"], ["show", "book"], ["runs"]], ids=" ".join)
def test_lists_import_nothing_heavy(arguments: list[str], tmp_path: Path, tiny_run: Run) -> None:
    (tmp_path / "runs").symlink_to(tiny_run.path.parent)
    code, modules = _imported(*arguments, folder=tmp_path)
    assert (code, modules & set(_HEAVY)) == (0, set())


@pytest.mark.parametrize("name", ["fully-connected", "cifar2", "normalize", "cross-entropy", "adam"])
def test_showing_a_component_of_birdplanes_own_imports_no_torch(name: str, tmp_path: Path) -> None:
    code, modules = _imported("show", name, folder=tmp_path)
    assert code == 0
    assert not modules & {"torch", "torchvision", "numpy"}


@pytest.mark.parametrize("command", ["check", "train"])
def test_a_pipeline_with_a_problem_is_refused_without_torch(command: str, tmp_path: Path) -> None:
    code, modules = _imported(command, "book", "--set", "model.hiden=[3]", folder=tmp_path)
    assert code == 2
    assert not modules & {"torch", "torchvision", "numpy"}
    assert not list(tmp_path.iterdir())


def test_pictures_that_are_not_at_hand_are_told_without_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BIRDPLANE_CACHE", str(tmp_path / "cache"))
    code, modules = _imported("check", "book", folder=tmp_path)
    assert code == 0
    assert "torch" not in modules


def test_a_run_that_is_not_there_is_told_without_torch(tmp_path: Path) -> None:
    code, modules = _imported("evaluate", "nobody", folder=tmp_path)
    assert code == 2
    assert "torch" not in modules


@pytest.mark.parametrize(
    ("chosen", "seen"),
    [
        ({}, "50000"),
        ({"GOMP_SPINCOUNT": "7"}, "7"),
        ({"OMP_WAIT_POLICY": "active"}, "None"),
    ],
)
def test_threads_that_wait_give_way_unless_somebody_has_chosen_otherwise(
    chosen: dict[str, str], seen: str
) -> None:
    program = (
        "import os\nfrom birdplane.cli import main\ntry: main()\n"
        "finally: print(os.environ.get('GOMP_SPINCOUNT'))"
    )
    environment = {name: value for name, value in os.environ.items() if name not in _WAITING} | chosen
    ran = subprocess.run(
        [sys.executable, "-c", program, "--version"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.stdout.split()[-1] == seen
