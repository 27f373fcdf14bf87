"""mistakes and report, on a run that was trained for the tests."""

from __future__ import annotations

import base64
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from birdplane.cli.mistakes import drawn
from birdplane.inspection import TrainedModel
from birdplane.runs import Run

Birdplane = Callable[..., Any]


class Terminal(io.StringIO):
    """A terminal of some encoding, as far as printing goes."""

    def __init__(self, encoding: str) -> None:
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def isatty(self) -> bool:
        return True


class TestMistakes:
    def test_are_a_table_where_there_is_no_terminal(self, birdplane: Birdplane, tiny_run: Run) -> None:
        ran = birdplane("mistakes", tiny_run.path, "--split", "train", "-n", "3")
        heading, which, _, header, *rows = ran.out.splitlines()
        found = TrainedModel(tiny_run)
        judged = found.judge("train")
        wrong = int((~judged.right).sum())
        assert heading == f"train: {wrong} of 64 pictures are taken for something else"
        assert which == "3 of them, the surest first"
        assert header.split() == ["picture", "it", "is", "taken", "for", "with"]
        assert [int(row.split()[0]) for row in rows] == [one.index for one in found.mistakes(judged, 3)]

    def test_json_has_each_with_its_picture(self, birdplane: Birdplane, tiny_run: Run) -> None:
        found = birdplane("mistakes", tiny_run.path, "--split", "train", "--json", "-n", "2").json
        assert (found["pictures"], len(found["shown"])) == (64, 2)
        judged = TrainedModel(tiny_run).judge("train")
        assert found["mistakes"] == int((~judged.right).sum())
        for shown in found["shown"]:
            assert shown["label"] != shown["predicted"]
            data = base64.b64decode(shown["picture"].removeprefix("data:image/png;base64,"))
            assert Image.open(io.BytesIO(data)).size == (8, 8)

    def test_of_and_as_choose_a_cell_of_the_confusion_matrix(
        self, birdplane: Birdplane, tiny_run: Run
    ) -> None:
        counts = TrainedModel(tiny_run).evaluate("train").confusion
        for of, taken, count in (("bird", "airplane", counts[1][0]), ("airplane", "bird", counts[0][1])):
            found = birdplane(
                "mistakes", tiny_run.path, "--split", "train", "--of", of, "--as", taken, "--json"
            ).json
            assert found["mistakes"] == count
            assert {(one["label"], one["predicted"]) for one in found["shown"]} <= {(of, taken)}

    def test_a_class_that_is_not_there_is_named_with_the_nearest(
        self, birdplane: Birdplane, tiny_run: Run
    ) -> None:
        ran = birdplane("mistakes", tiny_run.path, "--of", "brid")
        assert ran.code == 2
        assert ran.err.startswith("error: --of: there is no class 'brid'")
        assert "'bird'" in ran.err
        assert len(ran.err.splitlines()) == 1

    def test_none_are_no_table(self, birdplane: Birdplane, tiny_run: Run) -> None:
        ran = birdplane("mistakes", tiny_run.path, "--of", "bird", "--as", "bird")
        assert ran.out == "validation: 0 of 32 pictures are taken for something else\n"

    @pytest.mark.parametrize(("width", "rows"), [(200, 1), (40, 3)])
    def test_are_drawn_beside_each_other_as_far_as_they_fit(
        self, width: int, rows: int, tiny_run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "stdout", Terminal("utf-8"))
        monkeypatch.setenv("COLORTERM", "truecolor")
        monkeypatch.setenv("TERM", "xterm-256color")
        monkeypatch.delenv("NO_COLOR", raising=False)
        model = TrainedModel(tiny_run)
        found = model.mistakes(model.judge("train"), 3)
        lines = drawn(found, width)
        assert sum("▀" in line for line in lines) == 4 * rows
        assert "\n".join(lines).count("▀") == 3 * 4 * 8
        r, g, b = found[0].pixels[:, 0, 0]
        assert lines[0].startswith(f"\x1b[38;2;{r};{g};{b};48;2;")
        assert sum(f"{found[0].index}: {found[0].label}" in line for line in lines) == 1

    def test_are_characters_where_there_are_no_half_blocks(
        self, tiny_run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "stdout", Terminal("ascii"))
        model = TrainedModel(tiny_run)
        text = "\n".join(drawn(model.mistakes(model.judge("train"), 2), 80))
        assert text.isascii()
        assert "\x1b" not in text


class TestReport:
    def test_is_one_file_named_after_its_run(
        self, birdplane: Birdplane, tiny_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        ran = birdplane("report", tiny_run.path, "--no-probe")
        assert ran.out.startswith("tiny.html: ")
        assert [file.name for file in tmp_path.iterdir()] == ["tiny.html"]
        text = (tmp_path / "tiny.html").read_text(encoding="utf-8")
        assert text.startswith("<!DOCTYPE html>")
        assert 'id="mistakes"' in text
        assert 'id="probe"' not in text

    def test_has_as_many_mistakes_as_are_asked_for_and_the_probe(
        self, birdplane: Birdplane, tiny_run: Run, tmp_path: Path
    ) -> None:
        file = tmp_path / "a.html"
        assert birdplane("report", tiny_run.path, "-o", file, "--mistakes", "1").code == 0
        text = file.read_text(encoding="utf-8")
        assert text.count("<img") == 1
        assert 'id="probe"' in text

    @pytest.mark.parametrize(("place", "said"), [("none/a.html", "there is no folder"), (".", "is a folder")])
    def test_a_place_that_cannot_be_is_told_before_anything_is_looked_at(
        self, place: str, said: str, birdplane: Birdplane, tiny_run: Run, tmp_path: Path
    ) -> None:
        ran = birdplane("report", tiny_run.path, "--output", tmp_path / place)
        assert ran.code == 2
        assert ran.err.startswith("error: --output: ")
        assert said in ran.err
