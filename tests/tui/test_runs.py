"""The Runs screen: every run with its figures; sorted, filtered, opened, compared, deleted."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import DataTable

from birdplane.comparing import differing, settings
from birdplane.errors import UsageError
from birdplane.runs import Run
from birdplane.tui.chart import Chart
from birdplane.tui.listing import delete

BOOK = """seed = 0
[dataset]
use = "cifar2"
[[transforms]]
use = "normalize"
[model]
use = "fully-connected"
hidden = [512]
[optimizer]
use = "sgd"
lr = 0.01
"""


@pytest.fixture
def several(written_run: Callable[..., Run]) -> list[Run]:
    """Five runs: done, stopped, failed, crashed and one that is no run."""
    found = [
        written_run("swift-1", epochs=20, ended="done", rate=0.4, toml=BOOK.replace("[512]", "[64]")),
        written_run("book-1", epochs=100, done=61, ended="stopped", rate=0.08, toml=BOOK),
        written_run(
            "book-2", epochs=100, done=12, ended="failed", reason="out of memory", rate=0.05, toml=BOOK
        ),
        written_run("demo-1", done=3.5),
    ]
    (found[0].path.parent / "torn-1").mkdir()
    (found[0].path.parent / "torn-1" / "events.jsonl").write_text("")
    os.utime(found[0].path.parent / "torn-1" / "events.jsonl", (1, 1))
    return found


def names(pilot: Pilot[Any]) -> list[str]:
    table: DataTable[Any] = pilot.app.screen.query_one("#runs", DataTable)
    return [str(table.get_row_at(row)[1]) for row in range(table.row_count)]


def cursor(pilot: Pilot[Any]) -> str:
    table: DataTable[Any] = pilot.app.screen.query_one("#runs", DataTable)
    return str(table.get_row_at(table.cursor_row)[1])


async def to_run(pilot: Pilot[Any], name: str) -> None:
    for _ in range(10):
        shown, here = names(pilot), cursor(pilot)
        if here == name:
            return
        await pilot.press("up" if here in shown and shown.index(here) > shown.index(name) else "down")
    raise AssertionError(f"{name} is not in {names(pilot)}")


def test_the_table(
    app: Any, drive: Any, until: Any, golden: Any, several: list[Run], size: tuple[int, int]
) -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "crashed")
        await golden(pilot, f"runs-{size[0]}x{size[1]}")

    drive(app("runs"), scenario, size)


def test_no_runs_at_all(app: Any, drive: Any, until: Any, golden: Any) -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "There are no runs yet")
        await golden(pilot, "runs-none-80x24")

    drive(app("runs"), scenario)


def test_sorting_goes_through_the_columns_and_back(
    app: Any, drive: Any, until: Any, several: list[Run]
) -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "crashed")
        screen: Any = pilot.app.screen
        while "run↑" not in str(screen._heading(0)):
            await pilot.press("s")
        assert names(pilot) == ["book-1", "book-2", "demo-1", "swift-1", "torn-1"]
        await pilot.press("S")
        assert names(pilot) == ["torn-1", "swift-1", "demo-1", "book-2", "book-1"]

    drive(app("runs"), scenario)


def test_typing_after_a_slash_filters_and_escape_shows_all(
    app: Any, drive: Any, until: Any, several: list[Run]
) -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "crashed")
        await pilot.press("slash", *"book")
        assert sorted(names(pilot)) == ["book-1", "book-2"]
        await pilot.press("space", *"fail", "enter")
        assert names(pilot) == ["book-2"]
        await pilot.press("escape")
        assert len(names(pilot)) == 5

    drive(app("runs"), scenario)


def test_enter_opens_a_run_on_the_train_screen(app: Any, drive: Any, until: Any, several: list[Run]) -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "crashed")
        await to_run(pilot, "book-1")
        await pilot.press("enter")
        await until(pilot, "● stopped")
        assert pilot.app.cockpit.run.name == "book-1"  # type: ignore[attr-defined]

    drive(app("runs"), scenario)


def test_a_new_run_appears_and_the_cursor_stays_on_its_own(
    app: Any, drive: Any, until: Any, several: list[Run], written_run: Callable[..., Run]
) -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "crashed")
        await to_run(pilot, "book-2")
        written_run("aaa-9", ended="done")
        await until(pilot, "aaa-9")
        assert cursor(pilot) == "book-2"

    drive(app("runs"), scenario)


def test_marked_runs_are_compared_by_curves_and_only_the_settings_that_differ(
    app: Any, drive: Any, until: Any, golden: Any, several: list[Run], size: tuple[int, int]
) -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "crashed")
        for name in ("swift-1", "book-1"):
            await pilot.press("home")
            await to_run(pilot, name)
            await pilot.press("space")
        await pilot.press("c")
        await until(pilot, "model.hidden")
        await until(pilot, lambda: all(chart.end > 60 for chart in pilot.app.screen.query(Chart)))
        await golden(pilot, f"compare-{size[0]}x{size[1]}")
        await pilot.press("escape")
        await until(pilot, "2 marked")

    drive(app("runs"), scenario, size)


def test_deleting_asks_for_another_key(
    app: Any, drive: Any, until: Any, golden: Any, several: list[Run]
) -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "crashed")
        await to_run(pilot, "book-2")
        await pilot.press("x")
        await until(pilot, "Delete book-2")
        await golden(pilot, "runs-delete-80x24")
        await pilot.press("x")
        assert several[2].path.exists()
        await pilot.press("x", "y")
        await until(pilot, "deleted book-2")
        await until(pilot, lambda: "book-2" not in names(pilot))
        assert not several[2].path.exists()

    drive(app("runs"), scenario)


def test_a_run_that_trains_is_never_deleted(app: Any, drive: Any, until: Any, several: list[Run]) -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        with several[3].lock():
            await until(pilot, "running")
            await to_run(pilot, "demo-1")
            await pilot.press("x")
            await until(pilot, "still training")
            with pytest.raises(UsageError, match="being trained"):
                delete(Run(several[3].path))
        assert several[3].path.exists()

    drive(app("runs"), scenario)


def test_a_name_with_markup_is_only_text(app: Any, drive: Any, until: Any, several: list[Run]) -> None:
    strange = several[0].path.with_name("[red]x[bold] \x1b[31m日本語")
    several[0].path.rename(strange)

    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "[red]x[bold]")
        await until(pilot, "日本語")

    drive(app("runs"), scenario)


def test_settings_that_are_the_same_are_left_out(runs: Path) -> None:
    one = Run.create(runs, "one", pipeline_toml=BOOK)
    two = Run.create(runs, "two", pipeline_toml=BOOK.replace("0.01", "0.1").replace("[512]", "[512, 128]"))
    assert differing([settings(one), settings(two)]) == [
        ("model.hidden", ["[512]", "[512, 128]"]),
        ("optimizer.lr", ["0.01", "0.1"]),
    ]


def test_a_transform_more_is_one_row_not_a_shift_of_all(runs: Path) -> None:
    more = BOOK.replace(
        "[[transforms]]", '[[transforms]]\nuse = "random-crop"\npadding = 4\n[[transforms]]', 1
    )
    one, two = (Run.create(runs, name, pipeline_toml=toml) for name, toml in (("one", BOOK), ("two", more)))
    assert differing([settings(one), settings(two)]) == [
        ("transforms", ["normalize", "random-crop > normalize"]),
        ("transforms.random-crop.padding", ["-", "4"]),
    ]


def test_a_pipeline_that_cannot_be_read_is_compared_as_empty(runs: Path) -> None:
    assert settings(Run.create(runs, "one", pipeline_toml="not = [toml")) == {}
