"""Pipeline files as they are saved, and the command line that is the same as a draft."""

from __future__ import annotations

import shlex
import tomllib
from itertools import permutations
from pathlib import Path

import pytest

from birdplane.errors import BirdplaneError
from birdplane.pipeline import Pipeline
from birdplane.registry import catalog
from birdplane.tui.command import command_line, overrides
from birdplane.tui.saving import nearby, save, text_of
from birdplane.tui.steps import steps

COMMENTED = """# my birds
seed = 3  # lucky

[dataset]
use = "sketches"  # drawn

[[transforms]]
use = "to-tensor"

# measured
[[transforms]]
use = "normalize"

[model]
use = "convolutional"
width = 16  # narrow
[loss]
use = "cross-entropy"
[optimizer]
use = "sgd"  # plain
"""


def _changed(*assignments: str) -> dict[str, object]:
    return Pipeline.from_toml(COMMENTED).override(assignments).document


def test_a_persons_comments_are_kept_where_they_still_apply() -> None:
    document = _changed("model.width=32", "loss.use=nll", "training.epochs=3")
    text = text_of(document, COMMENTED)
    assert tomllib.loads(text) == document
    for comment in ("# my birds", "# lucky", "# drawn", "# measured", "# narrow", "# plain"):
        assert comment in text


@pytest.mark.parametrize(
    "change",
    [
        ["transforms=[]"],
        ['transforms=["normalize", "to-tensor", "random-flip"]'],
        ['transforms=[{use = "normalize", mean = [0.5]}]'],
        ['model={use = "fully-connected"}', "seed=0"],
        ["schedule.use=cosine", "output.use=none"],
    ],
)
def test_whatever_is_changed_the_file_holds_the_draft(change: list[str], tmp_path: Path) -> None:
    source, target = tmp_path / "from.toml", tmp_path / "to.toml"
    source.write_text(COMMENTED)
    document = _changed(*change)
    save(document, target, str(source))
    kept = [(step.key, step.use, dict(step.given)) for step in steps(document)]
    read = Pipeline.load(target).document
    assert [(step.key, step.use, dict(step.given)) for step in steps(read)] == kept
    assert read.get("seed") == document.get("seed")


def test_an_unchanged_file_stays_as_it_is_to_the_letter() -> None:
    assert text_of(_changed(), COMMENTED) == COMMENTED


def test_a_text_that_is_no_toml_any_more_is_written_anew() -> None:
    assert tomllib.loads(text_of(_changed(), "[model\n")) == _changed()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BirdplaneError, match="cannot be written"):
        save(_changed(), tmp_path / "file" / "x.toml", "demo")


def test_pipeline_files_are_found_and_others_not(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "a.toml").write_text(COMMENTED)
    (tmp_path / "below" / "b.toml").write_text(COMMENTED)
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    assert nearby(tmp_path) == [Path("a.toml"), Path("below/b.toml")]


@pytest.mark.parametrize(("start", "end"), list(permutations(catalog()["recipe"].names(), 2)))
def test_the_overrides_make_any_pipeline_out_of_any_other(start: str, end: str) -> None:
    base, wanted = Pipeline.load(start), Pipeline.load(end)
    made = base.override(overrides(wanted.document, base.document))
    assert made.complete() == wanted.complete()


def test_the_command_line_holds_only_what_differs_and_survives_a_shell() -> None:
    base = Pipeline.load("demo")
    document = base.override(["model.activation='; rm -rf *'", "transforms.2.p=0.25", "seed=4"]).document
    line = command_line(document, "my birds.toml", base.document)
    words = shlex.split(line)
    assert words[:3] == ["birdplane", "train", "my birds.toml"]
    assert words[3::2] == ["--set"] * 3
    assert base.override(words[4::2]).document == document


def test_a_parameter_that_went_away_is_left_to_its_default() -> None:
    base = Pipeline.load("demo")
    document = base.document
    del document["model"]["width"]
    assert base.override(overrides(document, base.document)).document == document
