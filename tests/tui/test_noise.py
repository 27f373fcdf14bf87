"""Text that is not ours, from logs, events, folders and class names, does nothing to the screens but stand there."""

from __future__ import annotations

import random
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rich.cells import cell_len
from textual.pilot import Pilot

from birdplane.events import Alert, Checkpoint, Start
from birdplane.pipeline import Pipeline
from birdplane.runs import Run
from birdplane.training import train

#: ANSI, markup, wide letters, right-to-left with an override, and more letters than any screen is wide.
ODD = (
    "\x1b[31mred\x1b[2J\x9b5n",
    "[red]x[/] [@click=app.quit]y[/]",
    "日本語の鳥",
    "\u202eמטוס \u200fطائرة",
    "w" * 200,
)
_INGREDIENTS = (
    b"\x1b[2J\x1b[31m",
    b"\x1b]52;c;aGk=\x07",
    b"\x1bP+q\x1b\\",
    b"\xe6\x97",
    b"\xf0\x9f\xa6",
    b"\x9b5n",
    b"[red]x[/]",
    b"\r\n",
    b"\x00\x07\x08\x0b\x7f",
    "飛行機\u202e".encode(),
)
_FOLDER_OF_PICTURES = """
[dataset]
use = "image-folder"
path = "{path}"
size = 8
[[transforms]]
use = "to-tensor"
[model]
use = "fully-connected"
hidden = [4]
[loss]
use = "cross-entropy"
[optimizer]
use = "sgd"
[training]
epochs = 1
batch_size = 4
device = "cpu"
"""


def noise(size: int) -> bytes:
    """Return so many bytes of everything that a terminal, a parser of markup or a decoder may trip over."""
    chance = random.Random(1)
    found = bytearray()
    while len(found) < size:
        found += chance.choice(_INGREDIENTS) + chance.randbytes(40)
    return bytes(found[:size])


def assert_intact(pilot: Pilot[Any]) -> None:
    """The screen is there from edge to edge, and nothing in it would be a command to a terminal."""
    strips = pilot.app.screen._compositor.render_strips()
    lines = ["".join(segment.text for segment in strip) for strip in strips]
    assert "1 Build  2 Train" in lines[0]
    for line in lines:
        assert not [one for one in line if unicodedata.category(one) in ("Cc", "Cf")], ascii(line)
        assert cell_len(line) == pilot.app.size.width, ascii(line)


@pytest.fixture
def odd_run(written_run: Callable[..., Run]) -> Run:
    """A crashed run with odd names wherever events and the pipeline can hold them, and 1 MB of noise in its log."""
    settings = "".join(f'"key {number}" = {name!a}\n' for number, name in enumerate(("plain", *ODD[2:])))
    run = written_run(toml=f'seed = 0\n[dataset]\nuse = "sketches"\n{settings}')
    moment: dict[str, Any] = {"time": time.time() - 2, "epoch": 8, "step": 400}
    run.append(Start(**moment, epochs=9, steps_per_epoch=50, facts={"classes": ODD, "device": ODD[0]}))
    for name in ODD:
        run.append(Checkpoint(**moment, path=f"checkpoints/{name}", best=True, seconds=0.1))
        run.append(Alert(**moment, kind=name, message=f"the class {name} is never predicted"))
    run.close()
    run.log.write_bytes(noise(1_000_000))
    return run


def test_a_noisy_log_and_odd_events_leave_the_train_screen_intact(
    app: Any, drive: Any, until: Any, odd_run: Run, size: tuple[int, int]
) -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "crashed:")
        assert_intact(pilot)
        await pilot.press("left", "l", "question_mark")
        await until(pilot, "Watch the run that is open")
        await pilot.press("question_mark")
        await until(pilot, "crashed:")
        assert_intact(pilot)

    drive(app("train", run=odd_run), scenario, size)


def test_odd_names_reasons_and_settings_leave_the_runs_and_their_comparison_intact(
    app: Any, drive: Any, until: Any, odd_run: Run, written_run: Callable[..., Run], size: tuple[int, int]
) -> None:
    for number, name in enumerate(ODD):
        run = written_run(f"odd-{number}", ended="failed", reason=f"no picture of {name}")
        run.path.rename(run.path.with_name(name.replace("/", "|")))

    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "[red]x")
        assert_intact(pilot)
        for _ in ODD:
            await pilot.press("down")
            assert_intact(pilot)
        await pilot.press(*["up"] * len(ODD), "space", "space", "space", "c")
        await until(pilot, lambda: type(pilot.app.screen).__name__ == "CompareScreen")
        await until(pilot, "┴")
        for strip in pilot.app.screen._compositor.render_strips():
            line = "".join(segment.text for segment in strip)
            assert not [one for one in line if unicodedata.category(one) in ("Cc", "Cf")], ascii(line)

    drive(app("runs"), scenario, size)


@pytest.fixture(scope="module")
def odd_pictures(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    """A pipeline's file, and its trained run, over folders of pictures whose names, the classes, are odd."""
    folder = tmp_path_factory.mktemp("odd")
    for number, name in enumerate(ODD):
        (folder / "pictures" / name.replace("/", "|")).mkdir(parents=True)
        for picture in range(5):
            path = folder / "pictures" / name.replace("/", "|") / f"{picture}.png"
            Image.new("RGB", (8, 8), (40 * number, 50 * picture, 90)).save(path)
    file = folder / "odd.toml"
    file.write_text(_FOLDER_OF_PICTURES.format(path=folder / "pictures"), encoding="utf-8")
    pipeline = Pipeline.load(file)
    run = Run.create(folder / "runs", "odd", pipeline_toml=pipeline.to_toml())
    for _ in train(pipeline, run):
        pass
    return file, run


def test_odd_classes_leave_the_data_and_results_intact(
    app: Any, drive: Any, until: Any, odd_pictures: tuple[Path, Run], size: tuple[int, int]
) -> None:
    file, run = odd_pictures

    async def scenario(pilot: Pilot[Any]) -> None:
        screen: Any = pilot.app.screen
        await until(pilot, lambda: screen._page is not None and screen._statistics is not None)
        assert_intact(pilot)
        for _ in ODD:
            await pilot.press("c")
            await until(pilot, lambda: True)
            assert_intact(pilot)
        await pilot.press("4")
        await until(pilot, lambda: type(pilot.app.screen).__name__ == "ResultsScreen")
        screen = pilot.app.screen
        await until(pilot, lambda: screen._examples is not None and len(screen._scores) == 2)
        assert_intact(pilot)
        for key in ("down", "right", "down", "right", "enter"):
            await pilot.press(key)
            await until(pilot, lambda: True)
            assert_intact(pilot)

    drive(app("data", run=run, draft=file), scenario, size)
