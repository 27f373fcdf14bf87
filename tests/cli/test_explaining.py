"""explain: its charts and tables, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from birdplane.cli.explaining import TOPICS
from birdplane.cli.plotting import plotted

Birdplane = Callable[..., Any]
#: Arguments with which a topic takes no time.
QUICK = {
    "normalize": ["demo", "--set", "dataset.train=64", "--set", "dataset.test=16", "--set", "dataset.size=8"],
    "shapes": ["demo", "--set", "dataset.train=64", "--set", "dataset.test=16"],
}


@pytest.mark.parametrize(
    ("topic", "said"),
    [
        ("loss", "cross-entropy is 6.9, and pushes with 0.999"),
        ("softmax", "value from 88.7 on, slope from 88.7 on"),
        ("normalize", "64 training pictures of demo"),
        ("parameters", "fully-connected 512  394,754  1,574,402"),
        ("shapes", "random-flip (random: in training alone)"),
    ],
)
def test_each_topic_is_told(birdplane: Birdplane, topic: str, said: str) -> None:
    ran = birdplane("explain", topic, *QUICK.get(topic, []))
    assert (ran.code, ran.err) == (0, "")
    assert said in ran.out


@pytest.mark.parametrize("topic", TOPICS)
def test_each_topic_has_its_figures_as_json(birdplane: Birdplane, topic: str) -> None:
    found = birdplane("explain", topic, *QUICK.get(topic, []), "--json").json
    assert found.pop("topic") == topic
    assert all(found.values())


def test_json_tells_infinite_from_no_number(birdplane: Birdplane) -> None:
    last = birdplane("explain", "softmax", "--json").json["rows"][-1]["found"]["softmax"]
    assert last == {"value": "-inf", "slope": "nan"}


def test_the_parameters_of_a_pipelines_model_need_no_pictures(
    birdplane: Birdplane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BIRDPLANE_CACHE", str(tmp_path / "empty"))
    ran = birdplane("explain", "parameters", "book-deep")
    assert ran.code == 0
    assert "3,737,474" in ran.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["lose"], "error: there is nothing on 'lose'; did you mean 'loss'? (topics: "),
        (["loss", "book"], "error: explain loss takes no pipeline"),
        (["softmax", "--set", "seed=1"], "error: explain softmax takes no pipeline"),
        (["parameters", "--set", "seed=1"], "error: explain parameters: --set needs a pipeline"),
        (["shapes", "bok"], "error: "),
        (["shapes", "demo", "--set", "model.width=x"], "error: demo: model.width"),
    ],
)
def test_what_cannot_be_is_one_line(birdplane: Birdplane, arguments: list[str], said: str) -> None:
    ran = birdplane("explain", *arguments)
    assert ran.code == 2
    assert ran.err.startswith(said)
    assert len(ran.err.splitlines()) == 1


def test_pictures_that_are_not_here_are_told_without_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BIRDPLANE_CACHE", str(tmp_path / "empty"))
    program = (
        "import atexit, sys; atexit.register(lambda: print('torch' in sys.modules))\n"
        "from birdplane.cli import main; main()"
    )
    command = [sys.executable, "-c", program, "explain", "shapes", "book"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 1
    assert ran.stderr.startswith("error: book: dataset: its pictures are not here yet: ")
    assert ran.stdout.strip() == "False"


class TestPlot:
    LINE = [(float(x), float(x)) for x in range(11)]

    def test_a_straight_line_goes_from_corner_to_corner(self) -> None:
        lines = plotted([("up", self.LINE)], width=20, rows=5)
        plot = [line[9:].ljust(20) for line in lines[:5]]
        assert plot[0][-1] != " "
        assert plot[4][0] != " "
        assert plot[0][:10].strip() == ""

    def test_the_axes_bear_the_ends_of_the_values(self) -> None:
        lines = plotted([("up", self.LINE)], width=40, rows=6)
        assert lines[0].split()[0] == "10"
        assert lines[5].split()[0].startswith("0")
        assert lines[7].split()[0] == "0"
        assert lines[7].split()[-1] == "10"
        assert lines[-1].endswith(" up")

    def test_what_is_beyond_the_bounds_is_drawn_at_the_border(self) -> None:
        lines = plotted([("up", self.LINE)], width=20, rows=5, bounds=(0.0, 5.0))
        assert lines[0][9:].strip() != ""

    def test_without_braille_each_curve_has_its_mark(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        down = [(x, 10 - y) for x, y in self.LINE]
        with (tmp_path / "out").open("w", encoding="ascii") as out:
            monkeypatch.setattr(sys, "stdout", out)
            lines = plotted([("up", self.LINE), ("down", down)], width=20, rows=5)
            monkeypatch.undo()
        assert "\n".join(lines).isascii()
        assert lines[0][9] == "o"
        assert lines[0].endswith("*")
