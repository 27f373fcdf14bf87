"""probe, on runs that were trained for the tests."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from birdplane.cli import probing
from birdplane.probing import Change, Cost, Probe
from birdplane.runs import Run

Birdplane = Callable[..., Any]
SHORT = ("--shift", "4", "--step", "4", "--device", "cpu")


@pytest.fixture
def two_runs(tiny_run: Run, tmp_path: Path) -> Path:
    for name in ("one", "two"):
        shutil.copytree(tiny_run.path, tmp_path / "runs" / name)
    return tmp_path / "runs"


def test_a_map_has_a_number_for_each_position(birdplane: Birdplane, tiny_run: Run) -> None:
    ran = birdplane("probe", tiny_run.path, *SHORT)
    assert ran.code == 0
    name, across, *rows = ran.out.splitlines()[:5]
    assert name == "tiny"
    assert across.split() == ["-4", "0", "+4"]
    assert [re.sub(r"[ ░▒▓█]+", " ", row).split()[0] for row in rows] == ["-4", "0", "+4"]
    assert all(len(re.findall(r"\d+", row)) == 4 for row in rows)


def test_what_a_shift_costs_is_told_in_points(birdplane: Birdplane, tiny_run: Run) -> None:
    ran = birdplane("probe", tiny_run.path, *SHORT)
    found = birdplane("probe", tiny_run.path, *SHORT, "--json").json["runs"][0]
    cost = found["costs"][0]["cost"]
    assert "what a shift of 4 pixels costs" in ran.out
    assert ran.out.splitlines()[-1] == f"  tiny  {round(100 * cost, 1) + 0.0:.1f} points"
    assert "the pixels at the edge, repeated" in ran.out


def test_several_runs_are_shown_beside_each_other(
    birdplane: Birdplane, two_runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    ran = birdplane("probe", "one", "two", "--runs", two_runs, *SHORT)
    assert ran.out.splitlines()[0].split() == ["one", "two"]
    (header,) = [line for line in ran.out.splitlines() if line.startswith("accuracy  ")]
    assert header.split() == ["accuracy", "one", "two"]


def test_maps_that_do_not_fit_beside_each_other_come_below(
    birdplane: Birdplane, two_runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    lines = birdplane("probe", "one", "two", "--runs", two_runs, *SHORT).out.splitlines()
    assert lines[0] == "one"
    assert "two" in lines[1:]


def test_json_has_the_whole_grid(birdplane: Birdplane, tiny_run: Run) -> None:
    found = birdplane("probe", tiny_run.path, "--shift", "3", "--step", "1", "--fill", "wrap", "--json").json
    (run,) = found["runs"]
    assert run["offsets"] == [-3, -2, -1, 0, 1, 2, 3]
    assert [len(row) for row in run["accuracy"]] == [7] * 7
    assert run["accuracy"][3][3] == run["unmoved"]
    assert (run["run"], run["fill"], run["pictures"], found["checkpoint"]) == ("tiny", "wrap", 32, "best")
    assert {change["kind"] for change in run["changes"]} == {"flip", "brightness", "noise"}


def test_pictures_of_the_maps_are_written(birdplane: Birdplane, tiny_run: Run, tmp_path: Path) -> None:
    png, svg = tmp_path / "map.png", tmp_path / "map.svg"
    ran = birdplane("probe", tiny_run.path, *SHORT, "--png", png, "--svg", svg)
    assert ran.code == 0
    with Image.open(png) as image:
        assert image.format == "PNG"
        assert min(image.size) > 200
    assert svg.read_text(encoding="utf-8").startswith("<svg")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--fill", "refect"], "error: --fill: there is no 'refect'; did you mean 'reflect'?"),
        (["--shift", "8"], "error: shift: pictures of 8x8 can be moved by 7 pixels, not by 8"),
        (["--svg", "nowhere/map.svg"], "error: nowhere/map.svg: there is no folder 'nowhere'"),
        (["--device", "tpu9"], "error: --device: 'tpu9' is no device"),
    ],
)
def test_what_cannot_be_is_one_line(
    birdplane: Birdplane, tiny_run: Run, arguments: list[str], said: str
) -> None:
    ran = birdplane("probe", tiny_run.path, *arguments)
    assert ran.code == 2
    assert ran.err.startswith(said)
    assert len(ran.err.splitlines()) == 1


def test_a_wrong_name_is_told_before_any_run_is_probed(birdplane: Birdplane, two_runs: Path) -> None:
    ran = birdplane("probe", "one", "twoo", "--runs", two_runs)
    assert ran.code == 2
    assert "'two'" in ran.err
    assert ran.out == ""


def made_up() -> Probe:
    values = ((0.5, 0.62, 0.72), (0.84, 1.0, 0.93), (0.5, 0.62, 0.72))
    changes = (Change("flip", "upside down", 0.5),)
    return Probe("one", 10, 10, "edge", (-4, 0, 4), values, (Cost(4, 0.6, 0.4),), changes)


def test_a_terminal_without_unicode_gets_ascii(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "out").open("w", encoding="ascii") as out:
        monkeypatch.setattr(sys, "stdout", out)
        probing._print_maps([made_up()])
    monkeypatch.undo()
    lines = (tmp_path / "out").read_text(encoding="ascii").splitlines()
    assert lines[3].split() == ["0", "+84", "#100", "#93"]
    assert lines[4].split() == ["+4", "50", ".62", ":72"]


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
@pytest.mark.parametrize(("colours", "expected"), [("truecolor", True), ("", False)])
def test_a_terminal_that_has_all_colours_gets_them(
    colours: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("COLORTERM", colours)
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "w", encoding="utf-8") as terminal, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", terminal)
        probing._print_maps([made_up()])
    printed = ""
    # What was printed comes in pieces, and its end as an error, or empty.
    with contextlib.suppress(OSError):
        while piece := os.read(ours, 10_000).decode():
            printed += piece
    os.close(ours)
    assert ("\x1b[48;2;" in printed) is expected
    bare = re.sub(r"\x1b\[[0-9;]*m", "", printed)
    assert re.findall(r"\d+", bare.splitlines()[3]) == ["0", "84", "100", "93"]


def test_json_is_nothing_but_json(birdplane: Birdplane, tiny_run: Run) -> None:
    ran = birdplane("probe", tiny_run.path, "--shift", "0", "--json")
    assert json.loads(ran.out)["runs"][0]["costs"] == []
