"""The Data screen, with a real helper: what is seen at three sizes, by each key, and whenever something is wrong."""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from birdplane.tui.app import BirdplaneApp
from birdplane.tui.asking import Helper

SMALL = """
[dataset]
use = "sketches"
train = 90
test = 20
size = 16
[[transforms]]
use = "to-tensor"
[[transforms]]
use = "normalize"
[[transforms]]
use = "random-flip"
[model]
use = "fully-connected"
[loss]
use = "cross-entropy"
[optimizer]
use = "sgd"
"""

Until = Callable[..., Awaitable[None]]
Golden = Callable[[Pilot[Any], str], Awaitable[None]]
Made = Callable[..., BirdplaneApp]
Drive = Callable[..., None]
TextOf = Callable[[Pilot[Any]], str]


@pytest.fixture
def draft(tmp_path: Path) -> Callable[[str], Path]:
    """A function from the text of a pipeline to its file."""

    def write(text: str = SMALL) -> Path:
        path = tmp_path / "draft.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


async def settled(pilot: Pilot[Any], until: Until) -> None:
    """Wait until pictures and statistics are there."""
    screen: Any = pilot.app.screen
    await until(pilot, lambda: screen._page is not None and screen._statistics is not None)
    await until(pilot, "90")


def test_it_opens_with_pictures_counts_and_statistics(
    drive: Drive, app: Made, draft: Any, until: Until, golden: Golden, size: tuple[int, int]
) -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        await settled(pilot, until)
        await golden(pilot, f"data-{size[0]}x{size[1]}")

    drive(app(first="data", draft=draft()), scenario, size)


def test_the_chain_is_gone_through_step_by_step(
    drive: Drive, app: Made, draft: Any, until: Until, golden: Golden
) -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        await settled(pilot, until)
        await pilot.press("down", "down")
        await until(pilot, "shown as black to white")
        await until(pilot, lambda: pilot.app.screen._shown.stage == 2)  # type: ignore[attr-defined]
        await golden(pilot, "data-normalized-80x24")
        await pilot.press("down", "down", "down")
        await until(pilot, "r draws anew")
        await pilot.press("up", "up", "up")
        await until(pilot, "as stored")

    drive(app(first="data", draft=draft()), scenario)


def test_random_transforms_are_drawn_anew(drive: Drive, app: Made, draft: Any, until: Until) -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        screen: Any = pilot.app.screen
        await settled(pilot, until)
        await pilot.press("r")
        assert screen._view.draw == 0
        await pilot.press("down", "down", "down")
        await until(pilot, "r draws anew")
        before = screen._pictures
        await pilot.press("r")
        await until(pilot, lambda: screen._shown.draw == 1)
        assert screen._pictures != before

    drive(app(first="data", draft=draft()), scenario)


def test_pages_splits_and_classes_are_turned_through(
    drive: Drive, app: Made, draft: Any, until: Until, golden: Golden
) -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        await settled(pilot, until)
        await until(pilot, "1-6 of 90")
        await pilot.press("right")
        await until(pilot, "7-12 of 90")
        await pilot.press("end")
        await until(pilot, "85-90 of 90")
        await pilot.press("right", "home", "left")
        await until(pilot, "1-6 of 90")
        await pilot.press("c")
        await until(pilot, "1-6 of 45")
        await pilot.press("s")
        await until(pilot, "1-6 of 10")
        await pilot.press("c")
        await until(pilot, lambda: pilot.app.screen._shown.label == 1)  # type: ignore[attr-defined]
        await settled_again(pilot, until)
        await golden(pilot, "data-birds-80x24")
        await pilot.press("c")
        await until(pilot, "1-6 of 20")

    async def settled_again(pilot: Pilot[Any], until: Until) -> None:
        await until(pilot, "20 validation")

    drive(app(first="data", draft=draft()), scenario)


def test_where_there_is_no_room_the_figures_take_the_place(
    drive: Drive, app: Made, draft: Any, until: Until, golden: Golden
) -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        await settled(pilot, until)
        await pilot.press("i")
        await until(pilot, "std. deviation")
        await golden(pilot, "data-figures-60x16")
        await pilot.press("i")
        await until(pilot, "measured on")
        await pilot.press("i")
        await until(pilot, "▀")

    drive(app(first="data", draft=draft()), scenario, (60, 16))


def missing(tmp_path: Path) -> str:
    source = str(tmp_path / "nowhere" / "cifar.tar.gz")
    return SMALL.replace(
        'use = "sketches"\ntrain = 90\ntest = 20\nsize = 16', f'use = "cifar2"\nsource = "{source}"'
    )


def test_missing_pictures_are_named_with_their_place(
    drive: Drive, app: Made, draft: Any, until: Until, text_of: TextOf, tmp_path: Path
) -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "not on this machine yet")
        shown = text_of(pilot)
        assert "cifar2" in shown
        assert "nowhere" in shown
        assert "g   get them" in shown

    drive(app(first="data", draft=draft(missing(tmp_path))), scenario, (140, 45))


def test_offline_the_drawn_pictures_take_their_place(
    drive: Drive, app: Made, draft: Any, until: Until, tmp_path: Path
) -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "not on this machine yet")
        await pilot.press("o")
        await until(pilot, "of 4,000")
        assert pilot.app.cockpit.draft.document["dataset"] == {"use": "sketches"}  # type: ignore[attr-defined]

    drive(app(first="data", draft=draft(missing(tmp_path))), scenario)


def test_a_download_that_fails_says_why_and_can_be_tried_again(
    drive: Drive, app: Made, draft: Any, until: Until, tmp_path: Path
) -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "not on this machine yet")
        await pilot.press("g")
        await until(pilot, "try again")
        await pilot.press("r")
        await until(pilot, "not on this machine yet")

    drive(app(first="data", draft=draft(missing(tmp_path))), scenario)


def test_a_wrong_draft_is_told_in_a_sentence(
    drive: Drive, app: Made, draft: Any, until: Until, golden: Golden
) -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "did you mean 'sketches'?")
        await golden(pilot, "data-wrong-80x24")

    drive(app(first="data", draft=draft(SMALL.replace("sketches", "scetches"))), scenario)


def test_a_step_that_fails_leaves_what_was_seen(
    drive: Drive, app: Made, draft: Any, until: Until, text_of: TextOf
) -> None:
    text = SMALL.replace('[[transforms]]\nuse = "to-tensor"\n', "")

    async def scenario(pilot: Pilot[Any]) -> None:
        screen: Any = pilot.app.screen
        await until(pilot, "needs floats")
        await pilot.press("down")
        await until(pilot, lambda: bool(screen._note))
        assert "▀" in text_of(pilot)
        assert screen._view.stage == 0

    drive(app(first="data", draft=draft(text)), scenario, (140, 45))


def test_a_helper_that_dies_is_told_and_replaced(drive: Drive, app: Made, draft: Any, until: Until) -> None:
    made, own = app(first="data", draft=draft()), Helper()
    made.cockpit.helper = own

    async def scenario(pilot: Pilot[Any]) -> None:
        screen: Any = pilot.app.screen
        await until(pilot, lambda: own.pid is not None)
        assert own.pid is not None
        os.kill(own.pid, signal.SIGKILL)
        await until(pilot, "killed by signal 9")
        await pilot.press("r")
        await until(pilot, lambda: screen._page is not None)

    try:
        drive(made, scenario)
    finally:
        own.close()


def test_names_of_any_kind_leave_the_layout_whole(
    drive: Drive, app: Made, draft: Any, until: Until, golden: Golden, tmp_path: Path
) -> None:
    from birdplane_builtin.sketches import Sketches

    names = ["[bold red]markup[/]", "鸟" * 60, "مطار الطيور", "n" * 200]
    for number, name in enumerate(names):
        folder = tmp_path / "pictures" / name
        folder.mkdir(parents=True)
        for index in range(3):
            Sketches(split="train", size=16)[3 * number + index][0].save(folder / f"{index}.png")
    dataset = f'use = "image-folder"\npath = "{tmp_path / "pictures"}"\nsize = 16'
    text = SMALL.replace('use = "sketches"\ntrain = 90\ntest = 20\nsize = 16', dataset)

    async def scenario(pilot: Pilot[Any]) -> None:
        screen: Any = pilot.app.screen
        await until(pilot, lambda: screen._statistics is not None)
        await golden(pilot, "data-names-80x24")

    drive(app(first="data", draft=draft(text)), scenario)
