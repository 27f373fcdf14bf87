"""The Results screen, with a real helper and a real run: scores, matrix, pictures, predictions, and troubles."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from birdplane.pipeline import Pipeline
from birdplane.runs import Run
from birdplane.tui.app import BirdplaneApp
from birdplane.tui.asking import Helper
from birdplane_builtin.sketches import Sketches

Until = Callable[..., Awaitable[None]]
Golden = Callable[[Pilot[Any], str], Awaitable[None]]
Made = Callable[..., BirdplaneApp]
Drive = Callable[..., None]
TextOf = Callable[[Pilot[Any]], str]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny: Callable[..., Pipeline]) -> Run:
    """A run that learned little: it makes mistakes of both kinds."""
    from birdplane.training import train

    sizes = ("seed=3", "dataset.train=60", "dataset.test=40", "dataset.size=16", "dataset.difficulty=1.0")
    pipeline = tiny(*sizes, "training.epochs=1", "training.batch_size=16", "optimizer.lr=0.02")
    run = Run.create(tmp_path_factory.mktemp("trained"), "trained", pipeline_toml=pipeline.to_toml())
    for _ in train(pipeline, run):
        pass
    return run


async def settled(pilot: Pilot[Any], until: Until) -> None:
    """Wait until both splits are scored and the surest mistakes are there."""
    screen: Any = pilot.app.screen
    await until(pilot, lambda: len(screen._scores) == 2 and screen._examples is not None)
    await until(pilot, "60 pictures")


def test_it_opens_with_scores_matrix_and_mistakes(
    drive: Drive, app: Made, trained: Run, until: Until, golden: Golden, size: tuple[int, int]
) -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        await settled(pilot, until)
        await golden(pilot, f"results-{size[0]}x{size[1]}")

    drive(app(first="results", run=trained), scenario, size)


def test_a_cell_opens_its_pictures(
    drive: Drive, app: Made, trained: Run, until: Until, golden: Golden, size: tuple[int, int]
) -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        screen: Any = pilot.app.screen
        await settled(pilot, until)
        await pilot.press("left", "left", "up", "up")
        await until(pilot, "airplane recognised: ")
        await pilot.press("enter")
        await until(pilot, "it is airplane")
        await until(pilot, lambda: screen._examples is not None)
        await golden(pilot, f"results-cell-{size[0]}x{size[1]}")
        first = screen._examples["items"][0]["index"]
        await pilot.press("right")
        await until(pilot, lambda: screen._examples["items"][0]["index"] != first)
        await pilot.press("escape")
        await until(pilot, "airplane recognised: ")

    drive(app(first="results", run=trained), scenario, size)


def test_the_training_pictures_are_judged_too(
    drive: Drive, app: Made, trained: Run, until: Until, golden: Golden
) -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        await settled(pilot, until)
        await pilot.press("s")
        await until(pilot, "of 30 (")
        await pilot.press("m")
        await until(pilot, "Mistakes, the surest first   1-")
        await pilot.press("escape", "s")
        await until(pilot, "of 20 (")

    drive(app(first="results", run=trained), scenario)


def test_a_file_is_predicted_by_its_path(
    drive: Drive, app: Made, trained: Run, until: Until, golden: Golden, tmp_path: Path
) -> None:
    Sketches(split="test", size=40)[1][0].save(tmp_path / "my[b]bird.png")

    async def scenario(pilot: Pilot[Any]) -> None:
        await settled(pilot, until)
        await pilot.press("p")
        field: Any = pilot.app.screen.query_one("Input")
        await until(pilot, "Tab completes")
        field.value = str(tmp_path / "my")
        field.cursor_position = len(field.value)
        await until(pilot, lambda: field._suggestion.endswith("my[b]bird.png"))
        await pilot.press("tab", "enter")
        await until(pilot, "% sure")
        await until(pilot, "bird.png")
        await pilot.press("escape")
        await until(pilot, "taken for")

    drive(app(first="results", run=trained), scenario, (140, 45))


def test_a_file_that_is_no_picture_is_named(
    drive: Drive, app: Made, trained: Run, until: Until, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("no picture")

    async def scenario(pilot: Pilot[Any]) -> None:
        await settled(pilot, until)
        await pilot.press("p")
        field: Any = pilot.app.screen.query_one("Input")
        field.value = str(tmp_path / "notes.txt")
        await pilot.press("enter")
        await until(pilot, "no picture format is recognised")
        await until(pilot, "taken for")

    drive(app(first="results", run=trained), scenario, (140, 45))


def test_without_a_run_it_says_how_to_get_one(drive: Drive, app: Made, until: Until, golden: Golden) -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "No run is open")
        await golden(pilot, "results-no-run-80x24")

    drive(app(first="results"), scenario)


def test_without_a_checkpoint_it_says_so(
    drive: Drive, app: Made, runs: Path, tiny: Callable[..., Pipeline], until: Until, golden: Golden
) -> None:
    run = Run.create(runs, "new", pipeline_toml=tiny().to_toml())

    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "it has no checkpoint yet")
        await golden(pilot, "results-no-checkpoint-80x24")

    drive(app(first="results", run=run), scenario)


def test_missing_pictures_of_a_run_are_told(
    drive: Drive, app: Made, trained: Run, tmp_path: Path, until: Until
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(trained.path, copy)
    text = (copy / "pipeline.toml").read_text()
    begin, end = text.index("[dataset]"), text.index("[[transforms]]")
    dataset = f'[dataset]\nuse = "cifar2"\nsource = "{tmp_path / "gone.tar.gz"}"\n\n'
    (copy / "pipeline.toml").write_text(text[:begin] + dataset + text[end:])

    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "the run's pictures are not on this machine")

    drive(app(first="results", run=Run(copy)), scenario, (140, 45))


def test_a_helper_that_dies_is_told_and_replaced(drive: Drive, app: Made, trained: Run, until: Until) -> None:
    made, own = app(first="results", run=trained), Helper()
    made.cockpit.helper = own

    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, lambda: own.pid is not None)
        assert own.pid is not None
        os.kill(own.pid, signal.SIGKILL)
        await until(pilot, "killed by signal 9")
        await pilot.press("r")
        await settled(pilot, until)

    try:
        drive(made, scenario)
    finally:
        own.close()


# The matrix alone.


def matrix_of(names: list[str], size: tuple[int, int], keys: list[str], text_of: TextOf) -> str:
    import asyncio

    from textual.app import App, ComposeResult

    from birdplane.tui.matrix import ConfusionMatrix

    shown = []

    class Shown(App[None]):
        def compose(self) -> ComposeResult:
            yield ConfusionMatrix()

    async def play() -> None:
        program = Shown()
        async with program.run_test(size=size) as pilot:
            matrix = program.query_one(ConfusionMatrix)
            matrix.styles.width = "100%"
            matrix.styles.max_height = "100%"
            count = len(names)
            matrix.show(names, [[row * count + column for column in range(count)] for row in range(count)])
            for key in keys:
                matrix.move(*{"down": (1, 0), "right": (0, 1), "up": (-1, 0), "left": (0, -1)}[key])
            await pilot.pause()
            shown.append(text_of(pilot) + matrix.words())

    asyncio.run(play())
    return shown[0]


def test_many_classes_follow_the_cursor(text_of: TextOf) -> None:
    names = [f"class{number}" for number in range(100)]
    text = matrix_of(names, (60, 10), ["up"] * 99 + ["left"] * 99 + ["down"] * 50 + ["right"] * 70, text_of)
    assert "class50 taken for class70: 5,070" in text
    assert "class70" in text.splitlines()[0]
    assert "class1 " not in text


def test_names_of_any_kind_leave_the_matrix_aligned(text_of: TextOf) -> None:
    from rich.cells import cell_len

    names = ["[bold]x[/]", "鸟" * 90, "\x1b[31mred", "n" * 200]
    lines = matrix_of(names, (100, 10), [], text_of).splitlines()
    assert len({cell_len(line) for line in lines[1:5]}) == 1
    assert "[bold]x[/]" in lines[1]
    assert all("\x1b" not in line for line in lines)
