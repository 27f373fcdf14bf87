"""The benchmarks run to their end in a tiny setting; what their figures are is not tested here."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_FOLDER = Path(__file__).parents[1] / "benchmarks"
_PEERS = ("lightning", "skorch", "ignite")


def _run(script: str, *arguments: str) -> str:
    """Run a script in the tiny setting, with one thread each so that tests beside it are not slowed."""
    done = subprocess.run(
        [sys.executable, str(_FOLDER / script), "--quick", *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def _figures(script: str, *arguments: str) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(_run(script, "--json", *arguments))
    return report


def _cells(report: dict[str, Any], table: int = 0) -> dict[str, list[str]]:
    return {row[0]: row[1:] for row in report["tables"][table]["rows"]}


@pytest.fixture(scope="module")
def epoch() -> dict[str, Any]:
    return _figures("epoch.py", "--accuracy")


def test_every_loop_that_is_installed_has_a_row_and_the_others_are_named(epoch: dict[str, Any]) -> None:
    rows, notes = _cells(epoch), " ".join(epoch["tables"][0]["notes"])
    for peer in _PEERS:
        here = importlib.util.find_spec(peer) is not None
        assert (peer in rows) == here
        assert (f"left out: {peer}" in notes or f", {peer}" in notes) != here
    assert {"tutorial idiom", "book's loop", "resident tensors, by hand", "birdplane"} <= set(rows)


def test_all_loops_do_the_same_work(epoch: dict[str, Any]) -> None:
    losses = {name: float(cells[-1]) for name, cells in _cells(epoch).items()}
    assert max(losses.values()) - min(losses.values()) < 0.1, losses


def test_the_accuracies_of_both_precisions_are_compared(epoch: dict[str, Any]) -> None:
    assert set(_cells(epoch, 1)) == {"float32", "bfloat16"}


def test_a_report_says_where_when_and_with_what_it_was_measured(epoch: dict[str, Any]) -> None:
    facts = epoch["facts"]
    assert {"on", "threads of torch", "Python", "torch", "torchvision", "date"} <= set(facts)
    assert "sketches" in facts["pictures"]


@pytest.mark.long
def test_time_to_accuracy_compares_the_recipes_with_the_whole_of_book_conv() -> None:
    report = _figures("time_to_accuracy.py", "--all")
    assert set(_cells(report)) == {"fast", "best"}
    assert "All 2 epochs" in report["tables"][0]["notes"][0]


@pytest.mark.long
def test_startup_finds_what_the_commands_import_and_writes_it_down(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    shutil.copy(_FOLDER / "README.md", readme)
    imports = _figures("startup.py", "--write", str(readme))["figures"]["imports"]
    assert imports["empty Typer program"] == []
    assert imports["birdplane --help"] == []
    assert all("torch" not in found for found in imports.values())
    assert readme.read_text("utf-8").count("| birdplane --help |") == 1


@pytest.mark.long
def test_the_gpu_benchmark_says_so_where_there_is_no_gpu() -> None:
    torch = pytest.importorskip("torch")
    told = _run("gpu.py")
    assert ("birdplane, bfloat16" in told) if torch.cuda.is_available() else (told.count("\n") == 1)


@pytest.mark.long
def test_display_compares_drawing_with_throwing_away() -> None:
    assert set(_cells(_figures("display.py"))) == {
        "events thrown away",
        "recorded",
        "recorded, plain lines",
        "recorded, drawn live",
    }


@pytest.mark.long
def test_checkpoints_have_a_share_of_the_time() -> None:
    for run in _figures("checkpoints.py")["figures"]["runs"]:
        assert len(run["checkpoints"]) >= 1
        assert 0 < run["share"] < 1


@pytest.mark.long
def test_several_processes_have_the_losses_of_one() -> None:
    differences = _figures("processes.py")["figures"]["differences"]
    assert differences.keys() == {"book", "book-conv"}
    assert max(differences.values()) < 1e-5


@pytest.mark.long
def test_the_cockpit_is_painted_attached_and_answers_every_key() -> None:
    report = _figures("cockpit.py")
    assert set(_cells(report)) == {"empty Textual program", "birdplane tui"}
    assert list(_cells(report, 1)) == ["a small net"]
    assert all(0 < times[0] < 10 for times in report["figures"]["keys"].values())
    (seen,) = report["figures"]["training"].values()
    assert all(0 <= wait < 10 for waits in seen["waits"].values() for wait in waits)
    assert len(report["figures"]["chart"]) == 3


def test_a_table_replaces_the_one_between_the_lines_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(_FOLDER))
    turns = importlib.import_module("turns")
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- a -->\nold\n<!-- /a -->\nafter\n<!-- b -->\n<!-- /b -->\n", "utf-8")
    for text in ("first", "second"):
        turns.write_between(readme, "a", text)
    assert readme.read_text("utf-8") == (
        "before\n<!-- a -->\n\nsecond\n\n<!-- /a -->\nafter\n<!-- b -->\n<!-- /b -->\n"
    )
    with pytest.raises(SystemExit, match="<!-- c -->"):
        turns.write_between(readme, "c", "text")


def test_quick_figures_are_kept_out_of_the_readme() -> None:
    command = [sys.executable, str(_FOLDER / "startup.py"), "--quick", "--write"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--quick" in done.stderr


def test_every_script_has_its_place_in_the_readme() -> None:
    text = (_FOLDER / "README.md").read_text("utf-8")
    scripts = [path for path in _FOLDER.glob("*.py") if path.name not in ("turns.py", "loops.py")]
    for script in scripts:
        name = script.stem.replace("_", "-")
        assert f"`{script.name}`" in text
        assert f"<!-- {name} -->\n" in text
        assert f"<!-- /{name} -->\n" in text
