"""The heat map of Results, with a real helper and a real run: what is shown, another fill, and troubles."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from birdplane.inspection import TrainedModel
from birdplane.probing import Probe
from birdplane.probing.measuring import probe
from birdplane.runs import Run
from birdplane.tui.app import BirdplaneApp

Until = Callable[..., Awaitable[None]]
Golden = Callable[[Pilot[Any], str], Awaitable[None]]
Made = Callable[..., BirdplaneApp]
Drive = Callable[..., None]


async def opened(pilot: Pilot[Any], until: Until) -> None:
    """Go to the heat map, and wait until it is there."""
    await until(pilot, lambda: len(pilot.app.screen._scores) == 2)  # type: ignore[attr-defined]
    await pilot.press("h")
    await until(pilot, "a shift of 4 pixels costs")


def measured(run: Run, fill: str) -> Probe:
    return probe(TrainedModel(run, device="cpu"), "x", reach=7, fill=fill)


def test_the_heat_map_has_the_accuracies_of_a_probe(
    drive: Drive, app: Made, tiny_run: Run, until: Until, golden: Golden, size: tuple[int, int]
) -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        await opened(pilot, until)
        await golden(pilot, f"shifts-{size[0]}x{size[1]}")
        found = pilot.app.screen._found  # type: ignore[attr-defined]
        expected = measured(tiny_run, "edge")
        assert [tuple(row) for row in found["accuracy"]] == list(expected.accuracy)
        await pilot.press("escape")
        await until(pilot, "taken for")

    drive(app(first="results", run=tiny_run), scenario, size)


def test_a_key_fills_the_gaps_in_the_next_way(drive: Drive, app: Made, tiny_run: Run, until: Until) -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        await opened(pilot, until)
        await pilot.press("f")
        await until(pilot, "gaps filled by black")
        await until(pilot, "a shift of 4 pixels costs")
        found = pilot.app.screen._found  # type: ignore[attr-defined]
        assert [tuple(row) for row in found["accuracy"]] == list(measured(tiny_run, "zero").accuracy)

    drive(app(first="results", run=tiny_run), scenario)


def test_a_run_that_cannot_be_looked_at_is_told_and_tried_again(
    drive: Drive, app: Made, tiny_run: Run, tmp_path: Path, until: Until
) -> None:
    copy = Path(shutil.copytree(tiny_run.path, tmp_path / "copy"))

    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, lambda: len(pilot.app.screen._scores) == 2)  # type: ignore[attr-defined]
        shutil.rmtree(copy / "checkpoints")
        await pilot.press("h")
        await until(pilot, "it has no checkpoint yet")
        shutil.copytree(tiny_run.path / "checkpoints", copy / "checkpoints")
        await pilot.press("r")
        await until(pilot, "a shift of 4 pixels costs")

    drive(app(first="results", run=Run(copy)), scenario)
