"""Where a new user hesitated, and what is said or done there now; the screens' own tests have the rest."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.app import App
from textual.binding import Binding
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Input

from birdplane.errors import UsageError
from birdplane.events import Alert, Heartbeat
from birdplane.pipeline import Problem
from birdplane.runs import Run
from birdplane.tui.actions import _bindings as all_bindings
from birdplane.tui.actions import check_keys, names
from birdplane.tui.axes import Axis
from birdplane.tui.confirm import Confirm
from birdplane.tui.knowledge import Knowledge
from birdplane.tui.paths import PathPrompt, choices
from birdplane.tui.picker import Item, Picker, news_of
from birdplane.tui.signatures import ScreenCatalog
from birdplane.tui.wording import verdict


def _change(pilot: Pilot[Any]) -> None:
    draft = pilot.app.cockpit.draft  # type: ignore[attr-defined]
    draft.change({**draft.document, "seed": 7})


@pytest.mark.parametrize("key", ["q", "ctrl+q"])
def test_leaving_asks_where_the_draft_would_be_lost(
    app: Any, drive: Any, until: Any, key: str, size: tuple[int, int]
) -> None:
    made = app()

    async def scenario(pilot: Pilot[Any]) -> None:
        _change(pilot)
        await pilot.press(key)
        await until(pilot, "not saved")
        await pilot.press("n")
        await until(pilot, lambda: not isinstance(pilot.app.screen, Confirm))
        assert made._exit is False
        await pilot.press(key)
        await until(pilot, "not saved")
        await pilot.press("y")

    drive(made, scenario, size)
    assert made._exit is True


def test_leaving_does_not_ask_where_nothing_is_lost(app: Any, drive: Any) -> None:
    unchanged, kept = app(), app()

    async def leave(pilot: Pilot[Any]) -> None:
        await pilot.press("q")

    async def leave_after_training(pilot: Pilot[Any]) -> None:
        _change(pilot)
        kept.cockpit._trained = kept.cockpit.draft.document
        await pilot.press("q")

    drive(unchanged, leave)
    drive(kept, leave_after_training)
    assert unchanged._exit is kept._exit is True


def test_keys_for_what_is_no_action_are_named_with_the_nearest() -> None:
    assert {"train", "pause", "results-open", "leave", "default"} <= names()
    check_keys({"train": "ctrl+t"})
    with pytest.raises(UsageError, match=r"keys: there is no action 'trian'; did you mean 'train'\?"):
        check_keys({"trian": "ctrl+t"})


def test_alerts_stay_in_view_beside_a_noisy_log(
    app: Any, drive: Any, until: Any, text_of: Any, written_run: Callable[..., Run]
) -> None:
    run = written_run(done=3.5)
    run.append(Alert(time=time.time(), epoch=3, step=170, kind="overfitting", message="it learns by heart"))
    run.close()
    run.log.write_text("noise without an end, " * 200 + "\n" + "more of it\n" * 5, encoding="utf-8")

    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "r goes on from step")
        await until(pilot, "more of it")
        assert "it learns by heart" in text_of(pilot)

    drive(app(first="train", run=run), scenario)


def test_a_paused_run_says_which_key_goes_on(
    app: Any, drive: Any, until: Any, text_of: Any, written_run: Callable[..., Run]
) -> None:
    run = written_run(done=3.5)

    async def scenario(pilot: Pilot[Any]) -> None:
        run.append(Heartbeat(time=time.time(), epoch=4, step=175, state="paused"))
        await until(pilot, "paused: p goes on")
        await until(pilot, "p Go on")
        assert "p Pause" not in text_of(pilot)
        assert "pictures/s" not in text_of(pilot)

    with run.lock():
        drive(app(first="train", run=run), scenario)


def test_what_is_typed_right_after_a_picker_opens_is_what_enter_takes() -> None:
    items = [Item(name, name, f"what {name} is") for name in ("demo", "book", "fast")]
    taken: list[str | None] = []

    async def play() -> None:
        async with App[None]().run_test(size=(80, 24)) as pilot:
            picker = Picker("Open", items)
            await pilot.app.push_screen(picker, taken.append)
            picker.query_one(Input).value = "fast"
            picker.on_resize(None)  # type: ignore[arg-type]
            await pilot.pause()
            assert [item.name for item in picker._shown] == ["fast"]
            assert "what fast is" in str(picker.query_one(".about").render())
            await pilot.press("enter")
            await pilot.pause()

    asyncio.run(asyncio.wait_for(play(), 60))
    assert taken == ["fast"]


def test_a_plugin_installed_meanwhile_is_announced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = ScreenCatalog()
    assert news_of(catalog) == []
    folder = tmp_path / "birdplane_late-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: birdplane-late\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[birdplane]\nlate = late\n")
    monkeypatch.syspath_prepend(tmp_path)
    (sentence,) = news_of(catalog)
    assert "late (of birdplane-late) was installed meanwhile" in sentence


def test_tab_lists_what_there_is_where_nothing_can_be_completed(
    tmp_path: Path, app: Any, drive: Any, until: Any
) -> None:
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    for name in ("bird.jpg", "plane.jpg"):
        (folder / name).touch()
    assert choices(f"{folder}/") == ["bird.jpg", "more/", "plane.jpg"]
    assert choices(f"{folder}/pl") == ["plane.jpg"]
    assert choices(f"{folder}/nowhere/") == []

    async def scenario(pilot: Pilot[Any]) -> None:
        await pilot.app.push_screen(PathPrompt("Which?", f"{folder}/"))
        await pilot.press("tab")
        await until(pilot, "bird.jpg   more/   plane.jpg")

    drive(app(first="runs"), scenario)


def test_no_column_of_the_runs_is_cut_off(
    app: Any, drive: Any, until: Any, text_of: Any, written_run: Callable[..., Run], size: tuple[int, int]
) -> None:
    written_run("a-run-with-a-longer-name", ended="done")
    titles = ["run", "state", "epoch", "best", "changed", "last", "loss", "val. loss", "took", "why"]

    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "a-run-with-a-longer-name")
        await until(pilot, "⏎ Open")
        heading = next(line for line in text_of(pilot).splitlines() if " state " in line)
        shown = heading.replace("↓", "").replace("val. loss", "val.loss").split()
        assert shown == [title.replace(" ", "") for title in titles][: len(shown)]
        table = pilot.app.screen.query_one("#runs")
        assert table.max_scroll_x == 0

    drive(app(first="runs"), scenario, size)


def test_a_wrong_value_can_be_set_back_with_one_key(app: Any, drive: Any, until: Any) -> None:
    made = app()

    async def scenario(pilot: Pilot[Any]) -> None:
        draft = made.cockpit.draft
        await until(pilot, "Training")
        draft.change({**draft.document, "training": {**draft.document.get("training", {}), "epochs": 0}})
        pilot.app.screen._changed()  # type: ignore[attr-defined]
        await until(pilot, "f  back to")
        await pilot.press("f")
        assert "epochs" not in draft.document.get("training", {})

    drive(made, scenario)


#: What every keyboard and every connection brings through.
_PLAIN = {
    "enter",
    "escape",
    "space",
    "tab",
    "up",
    "down",
    "left",
    "right",
    "full_stop",
    "slash",
    "colon",
    "question_mark",
}


def test_every_action_is_reached_by_keys_that_get_through_everywhere() -> None:
    keys: dict[str, set[str]] = {}
    textuals = {binding.action for binding in Screen.BINDINGS if isinstance(binding, Binding)}
    for binding in all_bindings():
        # Emptying a field leaves it to its default.
        if binding.description and binding.action not in {"default", *textuals}:
            keys.setdefault(binding.action, set()).update(binding.key.split(","))
    assert {"save", "command_palette", "leave", "mend", "copy"} <= set(keys)
    # A page further is what an arrow does, too.
    lacking = {
        action
        for action, found in keys.items()
        if not any(key in _PLAIN or len(key) == 1 for key in found)
        and not action.startswith(("page(", "move("))
    }
    assert lacking == set()


def test_the_palette_opens_by_a_colon_and_a_colon_can_be_typed(app: Any, drive: Any, until: Any) -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "Training")
        await pilot.press("colon")
        await until(pilot, lambda: type(pilot.app.screen).__name__ == "CommandPalette")
        await pilot.press("escape")
        await until(pilot, lambda: type(pilot.app.screen).__name__ == "BuildScreen")
        await pilot.press("o")
        await until(pilot, "type to filter")
        await pilot.press("colon")
        assert pilot.app.screen.query_one(Input).value == ":"

    drive(app(), scenario)


def test_a_file_is_saved_without_a_control_key(app: Any, drive: Any, until: Any) -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "Training")
        await pilot.press("s")
        await until(pilot, lambda: type(pilot.app.screen).__name__ == "SaveAs")

    drive(app(), scenario)


def test_the_chain_stands_still_while_the_form_is_filled_in(
    app: Any, drive: Any, until: Any, text_of: Any
) -> None:
    def places(pilot: Pilot[Any]) -> list[int]:
        return [line.index("Optimizer") for line in text_of(pilot).splitlines() if "Optimizer" in line]

    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "Optimizer")
        before = places(pilot)
        await pilot.press("tab")
        await until(pilot, lambda: isinstance(pilot.app.focused, Input))
        assert places(pilot) == before

    drive(app(), scenario)


def test_the_filter_of_a_picker_stays_where_it_is_while_the_list_gets_shorter() -> None:
    async def play() -> None:
        async with App[None]().run_test(size=(80, 24)) as pilot:
            await pilot.app.push_screen(Picker("Pick", [Item(name, name, "") for name in ("ab", "ac", "bc")]))
            await pilot.pause()
            field = pilot.app.screen.query_one(Input)
            before = field.region
            await pilot.press("c", "b")
            await pilot.pause()
            assert field.region == before

    asyncio.run(asyncio.wait_for(play(), 60))


def test_runs_that_train_at_once_do_not_pass_one_another_under_the_cursor(
    app: Any, drive: Any, until: Any, written_run: Callable[..., Run]
) -> None:
    first, second = written_run("one", done=2), written_run("two", done=2)
    written_run("three", ended="done")

    def shown(pilot: Pilot[Any]) -> list[str]:
        return [run.name for run in pilot.app.screen._shown]  # type: ignore[attr-defined]

    async def scenario(pilot: Pilot[Any]) -> None:
        for late in (first, second):
            os.utime(late.path / "events.jsonl", (time.time(), time.time()))
            pilot.app.screen._read()  # type: ignore[attr-defined]
            await until(pilot, lambda: shown(pilot) == ["two", "one", "three"])

    with first.lock(), second.lock():
        drive(app(first="runs"), scenario)


def test_a_run_that_was_just_started_is_not_called_new(app: Any, drive: Any, until: Any, runs: Path) -> None:
    run = Run.create(runs, "begun", pipeline_toml="seed = 0\n")
    made = app(first="runs")
    made.cockpit.started[run.path] = os.getpid()

    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "preparing")

    drive(made, scenario)


def test_figures_of_an_epoch_are_no_reason_for_a_crash(written_run: Callable[..., Run]) -> None:
    run = written_run(done=3.5)
    run.log.write_text("epoch   train loss  accuracy\n    1       0.6812   57.53 %\n", encoding="utf-8")
    assert "without a word" in run.status().reason
    run.log.write_text("OSError: no space left on device\n    1       0.6812   57.53 %\n", encoding="utf-8")
    assert run.status().reason.endswith("last in its log: OSError: no space left on device")


@pytest.mark.parametrize(
    ("low", "high"), [(0.38, 0.41), (0.0, 0.7), (1.0, 1e6), (49.5, 50.4), (0.7, 0.70001)]
)
@pytest.mark.parametrize("most", [2, 3, 4])
@pytest.mark.parametrize("log", [False, True])
def test_every_axis_has_two_numbers_at_least(low: float, high: float, most: int, log: bool) -> None:
    ticks = Axis(low or 0.001, high, log).ticks(most)
    assert 2 <= len(ticks) <= most + 1
    assert all(low - 1e-9 <= tick <= high * (1 + 1e-9) for tick in ticks)


def test_a_mend_has_a_line_of_its_own_where_it_does_not_fit_beside_what_is_wrong() -> None:
    known = Knowledge()
    known.problems = [Problem("output.use", "the loss wants something else")]
    beside = verdict(known, "set output.use=auto", 100).plain
    assert "\n" not in beside
    assert verdict(known, "set output.use=auto", 60).plain == beside.replace("    f ", "\n f ")


def test_values_that_are_compared_are_cut_where_one_sees_it(
    app: Any, drive: Any, until: Any, text_of: Any, written_run: Callable[..., Run]
) -> None:
    for name in ("one", "two"):
        toml = f'seed = 0\n[dataset]\nuse = "sketches"\n[model]\nuse = "{name}-{"x" * 60}"\n'
        written_run(name, ended="done", toml=toml)

    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "⏎ Open")
        await pilot.press("space", "space", "c")
        await until(pilot, "xx…")
        row = next(line for line in text_of(pilot).splitlines() if "xx…" in line)
        assert row.count("xx…") == 2

    drive(app(first="runs"), scenario)


def test_whoever_presses_ctrl_c_is_told_how_to_leave(app: Any, drive: Any, until: Any) -> None:
    made = app()

    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "Training")
        await pilot.press("ctrl+c")
        await until(pilot, lambda: any("q leaves" in told.message for told in made._notifications))
        assert made._exit is False

    drive(made, scenario)


def test_there_is_nothing_to_detach_from_where_no_run_is_open(
    app: Any, drive: Any, until: Any, text_of: Any
) -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "No run is open")
        assert "Detach" not in text_of(pilot)
        await pilot.press("d")
        assert pilot.app._exit is False

    drive(app(first="train"), scenario)
