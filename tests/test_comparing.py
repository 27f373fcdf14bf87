"""Groups of seeds, and when a difference between runs is more than chance."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from birdplane import Pipeline, UsageError, groups
from birdplane.comparing import (
    Column,
    Figure,
    Outcome,
    column,
    differences,
    differing,
    figure,
    settings,
    standard_error,
)
from birdplane.runs import Run

Tiny = Callable[..., Pipeline]


def outcome_of(accuracy: float, loss: float = 0.5) -> Outcome:
    return Outcome(
        run="x",
        state="done",
        epochs=2,
        of=2,
        best_accuracy=accuracy,
        final_accuracy=accuracy,
        final_loss=loss,
        train_loss=loss,
        seconds=1.0,
        losses=[(1.0, 2 * loss), (2.0, loss)],
        accuracies=[(1.0, accuracy / 2), (2.0, accuracy)],
    )


def column_of(name: str, *accuracies: float) -> Column:
    return Column(name, {}, tuple(outcome_of(accuracy) for accuracy in accuracies))


# Groups.


def test_the_runs_of_a_group_differ_by_their_seed_alone(tiny: Tiny, tmp_path: Path) -> None:
    group = groups.create(tmp_path, "g", "stem", tiny("seed=7"), 3)
    assert [run.name for run in group.runs] == ["g-s7", "g-s8", "g-s9"]
    assert differing([settings(run) for run in group.runs]) == [("seed", ["7", "8", "9"])]
    found = groups.find(tmp_path, "g")
    assert found is not None
    assert [run.path for run in found.runs] == [run.path for run in group.runs]
    by_path = groups.find(Path("elsewhere"), str(tmp_path / "g"))
    assert by_path is not None
    assert by_path.seeds == (7, 8, 9)


def test_a_group_without_a_name_takes_the_next_number_that_no_run_has(tiny: Tiny, tmp_path: Path) -> None:
    text = tiny().to_toml()
    Run.create(tmp_path, None, "demo", pipeline_toml=text)
    assert groups.create(tmp_path, None, "demo", tiny(), 2).name == "demo-2"
    assert Run.create(tmp_path, None, "demo", pipeline_toml=text).name == "demo-3"
    assert groups.create(tmp_path, None, "demo", tiny(), 2).name == "demo-4"


def test_a_group_takes_no_name_that_is_taken(tiny: Tiny, tmp_path: Path) -> None:
    groups.create(tmp_path, "g", "stem", tiny(), 2)
    with pytest.raises(UsageError, match=r"the run 'g-s1' exists already .* `birdplane resume g`"):
        groups.create(tmp_path, "g", "stem", tiny("seed=1"), 2)
    Run.create(tmp_path, "single", pipeline_toml=tiny().to_toml())
    with pytest.raises(UsageError, match="the run 'single' exists already"):
        groups.create(tmp_path, "single", "stem", tiny(), 2)


@pytest.mark.parametrize(("count", "seed"), [(1, 0), (0, 0), (1001, 0), (2, 2**63 - 1)])
def test_too_few_or_too_many_seeds_are_refused(tiny: Tiny, tmp_path: Path, count: int, seed: int) -> None:
    with pytest.raises(UsageError, match="--seeds: "):
        groups.create(tmp_path, "g", "stem", tiny(f"seed={seed}"), count)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_a_group_that_is_missing_is_made_anew_of_any_other(tiny: Tiny, tmp_path: Path) -> None:
    text = groups.create(tmp_path, "g", "stem", tiny("model.hidden=[5]"), 3).runs[1].pipeline_toml()
    shutil.rmtree(tmp_path / "g-s1")
    found = groups.find(tmp_path, "g")
    assert found is not None
    assert found.missing == (1,)
    whole = groups.completed(found, Pipeline.from_toml(found.runs[0].pipeline_toml(), "x"))
    assert [run.name for run in whole.runs] == ["g-s0", "g-s1", "g-s2"]
    assert whole.runs[1].pipeline_toml() == text


def test_copies_and_broken_records_belong_to_no_group(tiny: Tiny, tmp_path: Path) -> None:
    groups.create(tmp_path, "g", "stem", tiny(), 2)
    shutil.copytree(tmp_path / "g-s0", tmp_path / "h-s0")
    shutil.copytree(tmp_path / "g-s0", tmp_path / "g-s5")
    assert groups.find(tmp_path, "h") is None
    found = groups.find(tmp_path, "g")
    assert found is not None
    assert found.seeds == (0, 1)
    for text in (b"", b"[]", b'{"group": "g"}', b'{"group": "g", "seeds": 3}', b"\xff", b"[" * 100_000):
        (tmp_path / "g-s1" / "group.json").write_bytes(text)
        found = groups.find(tmp_path, "g")
        assert found is not None
        assert found.missing == (1,)


def test_a_run_of_the_name_comes_before_a_group(tiny: Tiny, tmp_path: Path) -> None:
    groups.create(tmp_path, "g", "stem", tiny(), 2)
    Run.create(tmp_path, "g", pipeline_toml=tiny().to_toml())
    assert groups.find(tmp_path, "g") is None
    assert groups.find(tmp_path, "") is None
    assert groups.find(tmp_path / "none", "g") is None


# Settings.


def test_what_only_one_run_has_stands_in_its_section() -> None:
    first = {"seed": "0", "model": "fully-connected", "model.hidden": "[8]", "training.epochs": "3"}
    other = {"seed": "0", "model": "swift", "model.widths": "[4]", "training.epochs": "4"}
    assert differing([first, other]) == [
        ("model", ["fully-connected", "swift"]),
        ("model.hidden", ["[8]", "-"]),
        ("model.widths", ["-", "[4]"]),
        ("training.epochs", ["3", "4"]),
    ]


# Figures.


def test_mean_and_spread_are_those_of_a_sample() -> None:
    found = figure([1.0, 2.0, 3.0, 6.0])
    assert found is not None
    assert (found.mean, found.count) == (3.0, 4)
    assert found.spread == pytest.approx(math.sqrt((4 + 1 + 0 + 9) / 3))
    assert figure([2.0]) == Figure(2.0, None, 1)
    assert figure([math.nan]) is None


def test_a_standard_error_is_welchs_and_one_run_is_taken_to_spread_as_the_others() -> None:
    assert standard_error(Figure(0, 3.0, 9), Figure(0, 4.0, 4)) == pytest.approx(math.sqrt(1 + 4))
    assert standard_error(Figure(0, None, 1), Figure(0, 2.0, 4)) == pytest.approx(math.sqrt(4 + 1))
    assert standard_error(Figure(0, 2.0, 4), Figure(0, None, 1)) == pytest.approx(math.sqrt(1 + 4))
    assert standard_error(Figure(0, None, 1), Figure(0, None, 1)) is None


def test_a_difference_is_larger_than_chance_beyond_twice_its_standard_error() -> None:
    spread = (0.70, 0.72, 0.74)  # a spread of 0.02: twice the standard error is 0.0327
    verdicts = {
        shift: next(
            one.verdict
            for one in differences([column_of("a", *spread), column_of("b", *(x + shift for x in spread))])
            if one.figure == "best_accuracy"
        )
        for shift in (0.0, 0.032, 0.034, -0.034)
    }
    assert verdicts == {0.0: "within", 0.032: "within", 0.034: "larger", -0.034: "larger"}
    assert {one.verdict for one in differences([column_of("a", 0.5), column_of("b", 0.9)])} == {"unknown"}


def test_the_curve_of_a_group_is_the_mean_over_the_epochs_that_all_have() -> None:
    both = column_of("g", 0.6, 0.8)
    assert both.curve("accuracies") == [(1.0, pytest.approx(0.35)), (2.0, pytest.approx(0.7))]
    assert column_of("none").curve("losses") == []


def test_what_came_of_a_run_is_what_its_record_says(tiny_run: Run) -> None:
    (found,) = column(tiny_run).outcomes
    summary = tiny_run.summary()
    assert (found.state, found.epochs, found.of) == ("done", 3, 3)
    assert found.best_accuracy == summary.best_accuracy
    assert summary.epoch is not None
    assert found.final_loss == summary.epoch.validation_loss
    assert [epoch for epoch, _ in found.losses] == [1.0, 2.0, 3.0]
    assert found.seconds > 0


def test_the_record_of_a_group_names_all_of_its_seeds(tiny: Tiny, tmp_path: Path) -> None:
    group = groups.create(tmp_path, "g", "stem", tiny(), 2)
    for run in group.runs:
        assert json.loads((run.path / "group.json").read_text()) == {"group": "g", "seeds": [0, 1]}
