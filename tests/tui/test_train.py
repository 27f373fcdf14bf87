"""The Train screen: a run's curves, figures and sentences, and the keys that steer it."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from birdplane.events import Heartbeat, Start
from birdplane.runs import Run
from birdplane.tui.chart import Chart


@pytest.fixture
def live(written_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """A run in the middle of its fourth epoch, which this very process seems to train, with 612 MB of memory."""
    monkeypatch.setattr("birdplane.tui.train.memory_of", lambda pid: 612_000_000)
    run = written_run("demo-1", done=3.5)
    with run.lock():
        yield run


def requests_of(run: Run) -> list[str]:
    lines = (run.path / "control.jsonl").read_text().splitlines()
    return [json.loads(line)["request"] for line in lines]


def test_a_live_run(app: Any, drive: Any, until: Any, golden: Any, live: Run, size: tuple[int, int]) -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "● running")
        await until(pilot, "epoch 4 of 8")
        await golden(pilot, f"train-live-{size[0]}x{size[1]}")

    drive(app("train", run=live), scenario, size)


def test_the_memory_of_a_gpu_stands_beside_that_of_the_process(
    app: Any, drive: Any, until: Any, live: Run
) -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        moment: dict[str, Any] = {"time": time.time(), "epoch": 4, "step": 180}
        live.append(Heartbeat(**moment, state="validating", memory=1, gpu_reserved=1_400_000_000))
        await until(pilot, "612 MB memory, GPU 1.4 GB")

    drive(app("train", run=live), scenario)


def test_a_run_that_is_prepared_says_what_is_done_and_how_far(
    app: Any, drive: Any, until: Any, text_of: Any, written_run: Callable[..., Run]
) -> None:
    run = written_run(done=0)
    moment: dict[str, Any] = {"time": time.time(), "epoch": 0, "step": 0}
    run.append(Heartbeat(**moment, state="preparing", what="decoding, 512 of 1,000 pictures"))

    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "● preparing")
        await until(pilot, "decoding, 512 of 1,000 pictures")
        assert "pictures/s" not in text_of(pilot)

    with run.lock():
        drive(app("train", run=run), scenario)


def test_a_crashed_run_says_why_and_shows_its_log(
    app: Any, drive: Any, until: Any, golden: Any, written_run: Callable[..., Run], size: tuple[int, int]
) -> None:
    run = written_run(done=3.5)
    run.log.write_text("Traceback:\n[b]boom[/b] \x1b[31mred\x1b[0m [link\n", encoding="utf-8")
    run.record_exit(4242, -9)

    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "crashed: killed by SIGKILL")
        assert "\x1b" not in pilot.app.screen.query_one("#notes").content.plain
        await golden(pilot, f"train-crashed-{size[0]}x{size[1]}")

    drive(app("train", run=run), scenario, size)


@pytest.mark.parametrize(("ended", "reason"), [("done", ""), ("stopped", ""), ("failed", "out of memory")])
def test_a_run_that_ended_says_how(
    app: Any, drive: Any, until: Any, golden: Any, written_run: Callable[..., Run], ended: str, reason: str
) -> None:
    run = written_run(ended=ended, reason=reason)

    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, f"● {ended}")
        await golden(pilot, f"train-{ended}-80x24")

    drive(app("train", run=run), scenario)


def test_without_a_run_it_says_how_to_get_one(
    app: Any, drive: Any, until: Any, golden: Any, size: tuple[int, int]
) -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "q Leave")
        await golden(pilot, f"train-none-{size[0]}x{size[1]}")

    drive(app("train"), scenario, size)


def test_p_pauses_and_lets_go_on_and_s_stops(app: Any, drive: Any, until: Any, live: Run) -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "● running")
        await pilot.press("p")
        await until(pilot, "asked to pause")
        live.append(Heartbeat(time=time.time(), epoch=4, step=175, state="paused"))
        await until(pilot, "● paused")
        await pilot.press("p")
        await until(pilot, "asked to go on")
        await pilot.press("s")
        await until(pilot, "asked to stop")
        assert requests_of(live) == ["pause", "resume", "stop"]

    drive(app("train", run=live), scenario)


def test_r_starts_a_process_only_where_none_trains(
    app: Any, drive: Any, until: Any, written_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []
    monkeypatch.setattr("birdplane.tui.state.launch", lambda run: started.append(run.name) or 2**22 + 1)
    stopped, done = written_run("one", done=3, ended="stopped"), written_run("two", ended="done")

    async def resume(pilot: Pilot[Any]) -> None:
        await until(pilot, "● ")
        await until(pilot, lambda: "Log" in pilot.app.screen.active_bindings["l"].binding.description)
        await pilot.press("r")
        await pilot.pause()

    drive(app("train", run=stopped), resume)
    assert started == ["one"]
    drive(app("train", run=done), resume)
    assert started == ["one"]


def test_curves_grow_as_the_run_is_written(app: Any, drive: Any, until: Any, live: Run, text_of: Any) -> None:
    last = [event for event in live.events() if event.event == "progress"][-1]

    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "epoch 4 of 8")
        before = pilot.app.screen.query_one("#loss", Chart).end
        live.append(replace(last, step=195, mean=0.5, time=last.time + 1))
        await until(pilot, lambda: pilot.app.screen.query_one("#loss", Chart).end > before)

    drive(app("train", run=live), scenario)


def test_a_resumed_run_forgets_what_was_made_void(app: Any, drive: Any, until: Any, live: Run) -> None:
    start = next(iter(live.events([Start])))

    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "epoch 4 of 8")
        live.append(replace(start, epoch=2, step=100))
        await until(pilot, "epoch 3 of 8")
        assert pilot.app.screen.query_one("#loss", Chart).end == pytest.approx(2.0)

    drive(app("train", run=live), scenario)


def test_scale_smoothing_view_and_crosshair(
    app: Any, drive: Any, until: Any, text_of: Any, live: Run
) -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "epoch 4 of 8")
        assert "loss, smoothed" in text_of(pilot)
        await pilot.press("l", "m")
        await until(pilot, "loss, log ")
        await pilot.press("v")
        await until(pilot, lambda: "accuracy %" not in text_of(pilot))
        await pilot.press("left", "left", "down")
        await until(pilot, "epoch 2.")
        await pilot.press("home")
        await until(pilot, "epoch 0.00")
        await pilot.press("escape")
        await until(pilot, lambda: "epoch 0.00" not in text_of(pilot))

    drive(app("train", run=live), scenario)


def test_the_mouse_moves_the_crosshair(app: Any, drive: Any, until: Any, text_of: Any, live: Run) -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "epoch 4 of 8")
        await pilot.click("#loss", offset=(30, 3))
        charts = list(pilot.app.screen.query(Chart))
        assert charts[0].cross is not None
        assert charts[0].cross == charts[1].cross

    drive(app("train", run=live), scenario)


def test_d_leaves_a_line_that_says_how_to_come_back(app: Any, drive: Any, until: Any, live: Run) -> None:
    cockpit = app("train", run=live)

    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "● running")
        await pilot.press("d")

    drive(cockpit, scenario)
    assert "birdplane tui demo-1" in cockpit.return_value


def test_names_and_reasons_with_markup_and_escapes_are_shown_as_they_are(
    app: Any, drive: Any, until: Any, runs: Path, text_of: Any, written_run: Callable[..., Run]
) -> None:
    run = written_run(ended="failed", reason="[red]x[/] \x1b[2J 日本語 \u202eabc [@click=app.quit]")

    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "failed: [red]x[/]")
        assert "[@click=app.quit]" in text_of(pilot)
        assert "\u202e" not in text_of(pilot)

    drive(app("train", run=run), scenario)


def test_a_run_whose_folder_is_removed_is_told(
    app: Any, drive: Any, until: Any, written_run: Callable[..., Run]
) -> None:
    run = written_run(ended="done")

    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "● done")
        shutil.rmtree(run.path)
        await until(pilot, "its folder is gone")

    drive(app("train", run=run), scenario)


def test_values_that_are_not_finite_are_marked(app: Any, drive: Any, until: Any, live: Run) -> None:
    last = [event for event in live.events() if event.event == "progress"][-1]

    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "epoch 4 of 8")
        live.append(replace(last, step=180, mean=math.nan, time=last.time + 1))
        await until(pilot, "(1 not finite)")
        await until(pilot, "×")

    drive(app("train", run=live), scenario)


def test_a_broken_events_file_is_told(
    app: Any, drive: Any, until: Any, written_run: Callable[..., Run]
) -> None:
    run = written_run(ended="done")
    (run.path / "events.jsonl").unlink()
    (run.path / "events.jsonl").mkdir()

    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "cannot be read")

    drive(app("train", run=run), scenario)


@pytest.mark.long
def test_resizes_of_every_kind_do_no_harm(app: Any, drive: Any, until: Any, live: Run) -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "epoch 4 of 8")
        for number in range(200):
            await pilot.resize_terminal(20 + (number * 37) % 150, 5 + (number * 17) % 50)
        await pilot.resize_terminal(80, 24)
        await until(pilot, "epoch 4 of 8")

    drive(app("train", run=live), scenario)
