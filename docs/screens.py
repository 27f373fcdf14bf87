"""Draw the screens of the cockpit: `make docs-assets` writes `docs/assets/screens/*.svg`.

The program itself is driven by keys, without a terminal, over runs that are trained here in a moment. Its clock goes
on by a fixed time a step, and by nothing else: the same code draws the same bytes on the same machine. What stands
in the cells is drawn one by one: blocks as pixels, dots as dots and lines as lines, which no reader's font can tear
apart, and nothing is fetched from elsewhere.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import os
import re
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

from PIL import Image
from rich.segment import Segment
from rich.style import Style

# Sums in another order differ, and so would the pictures; settings of the person who draws them do not count.
os.environ.update(
    OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="", TZ="UTC", LANG="C.UTF-8", COLORTERM="truecolor"
)
os.environ.update(TERM="xterm-256color", BIRDPLANE_CONFIG=os.devnull)
for _name in ("SSH_CONNECTION", "SSH_TTY", "NO_COLOR", "LC_ALL", "LC_CTYPE"):
    os.environ.pop(_name, None)

ASSETS = Path(__file__).parent / "assets" / "screens"
COLUMNS, ROWS = 100, 30
_CELL_W, _CELL_H, _SIZE, _MARGIN, _TITLE = 8.4, 18, 14, 12, 30
_NOW = 1_780_000_000.0
_STEP_SECONDS = 0.04
_PATIENCE = 120.0
_FONTS = "ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono','Liberation Mono',monospace"
_MEMORY = 412_000_000
#: Left, top, width and height of what a character fills, in shares of its cell.
_BOXES = {
    "█": (0, 0, 1, 1),
    "▌": (0, 0, 0.5, 1),
    "▐": (0.5, 0, 0.5, 1),
    "▎": (0, 0, 0.25, 1),
    "▏": (0, 0, 0.125, 1),
    "▊": (0, 0, 0.75, 1),
    "▔": (0, 0, 1, 0.125),
    **{"▁▂▃▄▅▆▇"[n]: (0, 1 - (n + 1) / 8, 1, (n + 1) / 8) for n in range(7)},
    "─": (0, 0.47, 1, 0.07),
    "━": (0, 0.43, 1, 0.16),
    "│": (0.45, 0, 0.1, 1),
}
_DOTS = {1: (0, 0), 2: (0, 1), 4: (0, 2), 8: (1, 0), 16: (1, 1), 32: (1, 2), 64: (0, 3), 128: (1, 3)}

Look = tuple[str, str, bool, bool, bool]


# --- drawing ----------------------------------------------------------------------------------------------


def draw(lines: list[list[Segment]], title: str) -> str:
    """Return the SVG of a screen's cells."""
    cells = [list(_cells(line)) for line in lines]
    paper = Counter(look[1] for row in cells for _, look in row).most_common(1)[0][0]
    width, height = COLUMNS * _CELL_W + 2 * _MARGIN, len(cells) * _CELL_H + _MARGIN + _TITLE
    shapes = [shape for number, row in enumerate(cells) for shape in _row(row, number, paper)]
    dots = "".join(
        f'<circle cx="{_MARGIN + 6 + 18 * i}" cy="15" r="5" fill="{colour}"/>'
        for i, colour in enumerate(("#e0685d", "#e3b04b", "#69b36b"))
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
            f'width="{width:.0f}" role="img">',
            f"<title>{escape(title)}</title>",
            "<style>text{white-space:pre}.b{font-weight:bold}.i{font-style:italic}"
            ".u{text-decoration:underline}.d{fill:none;stroke-width:2.5;stroke-linecap:round}</style>",
            f'<rect x=".5" y=".5" width="{width - 1:.0f}" height="{height - 1:.0f}" rx="9" fill="{paper}" '
            f'stroke="#39424f"/>{dots}',
            f'<g font-family="{_FONTS}" font-size="{_SIZE}" transform="translate({_MARGIN} {_TITLE})">',
            *shapes,
            _pictures(cells),
            "</g></svg>",
        ]
    )


def _cells(line: list[Segment]) -> Iterator[tuple[str, Look]]:
    for text, style, control in line:
        if not control:
            look = _look(style or Style())
            yield from ((character, look) for character in text)


def _look(style: Style) -> Look:
    """Return ink, paper and whether it is bold, italic, underlined."""
    ink, paper = _hex(style.color, "#e0e0e0"), _hex(style.bgcolor, "#121212")
    if style.reverse:
        ink, paper = paper, ink
    return ink, paper, bool(style.bold), bool(style.italic), bool(style.underline)


def _hex(colour: Any, otherwise: str) -> str:
    return otherwise if colour is None or colour.is_default else str(colour.get_truecolor().hex)


def _row(row: list[tuple[str, Look]], number: int, paper: str) -> Iterator[str]:
    """Yield the shapes of a row: first what is behind, then boxes, dots and words."""
    top = number * _CELL_H
    at = 0
    for (colour, picture), run in groupby(row, lambda cell: (cell[1][1], cell[0] == "▀")):
        long = len(list(run))
        if colour != paper and not picture:
            yield _rect(at * _CELL_W, top, long * _CELL_W, _CELL_H, colour)
        at += long
    at = 0
    for (look, kind), run in groupby(row, lambda cell: (cell[1], _kind(cell[0]))):
        text = "".join(character for character, _ in run)
        if kind == "words":
            yield from _words(text, at, top, look)
        elif kind == "dots" and text.strip("\u2800"):
            yield f'<path class="d" stroke="{look[0]}" d="{_dots(text, at, top)}"/>'
        elif kind in _BOXES:
            left, down, wide, high = _BOXES[kind]
            x, w = (at + left) * _CELL_W, (len(text) - 1 + wide) * _CELL_W
            for n in [0] if wide == 1 else range(len(text)):
                width = w if wide == 1 else wide * _CELL_W
                yield _rect(x + n * _CELL_W, top + down * _CELL_H, width, high * _CELL_H, look[0])
        at += len(text)


def _kind(character: str) -> str:
    if character in _BOXES or character == "▀":
        return character
    return "dots" if 0x2800 <= ord(character) <= 0x28FF else "words"


def _rect(x: float, y: float, width: float, height: float, colour: str) -> str:
    size = f'width="{width:.1f}" height="{height:.4g}"'
    return f'<rect x="{x:.1f}" y="{y:.5g}" {size} fill="{colour}" shape-rendering="crispEdges"/>'


def _dots(text: str, column: int, top: float) -> str:
    places = [
        f"M{(column + n + 0.25 + 0.5 * x) * _CELL_W:.1f} {top + (y + 0.5) * _CELL_H / 4:.1f}h0"
        for n, character in enumerate(text)
        for bit, (x, y) in _DOTS.items()
        if (ord(character) - 0x2800) & bit
    ]
    return "".join(places)


def _words(text: str, column: int, top: float, look: Look) -> Iterator[str]:
    """Yield each group of words by itself, at its column: a font with other widths must not tear a table apart."""
    kinds = " ".join(name for name, on in zip("biu", look[2:], strict=True) if on)
    kind = f' class="{kinds}"' if kinds else ""
    for word in re.finditer(r"\S+(?: \S+)*", text):
        place = f'x="{(column + word.start()) * _CELL_W:.1f}" y="{top + 13}"'
        length = f'textLength="{len(word[0]) * _CELL_W:.1f}"'
        yield f'<text {place} {length} fill="{look[0]}"{kind}>{escape(word[0])}</text>'


def _pictures(cells: list[list[tuple[str, Look]]]) -> str:
    """Return the half blocks of all thumbnails as one picture of two pixels a cell, clear elsewhere."""
    pixels = Image.new("RGBA", (COLUMNS, 2 * len(cells)))
    for y, row in enumerate(cells):
        for x, (character, (ink, paper, *_)) in enumerate(row):
            if character == "▀":
                pixels.putpixel((x, 2 * y), (*bytes.fromhex(ink[1:]), 255))
                pixels.putpixel((x, 2 * y + 1), (*bytes.fromhex(paper[1:]), 255))
    if pixels.getbbox() is None:
        return ""
    data = io.BytesIO()
    pixels.save(data, "PNG", optimize=True)
    size = f'width="{COLUMNS * _CELL_W:.0f}" height="{len(cells) * _CELL_H}" preserveAspectRatio="none"'
    text = base64.b64encode(data.getvalue()).decode()
    return f'<image {size} style="image-rendering:pixelated" href="data:image/png;base64,{text}"/>'


# --- what is drawn ----------------------------------------------------------------------------------------


class Clock:
    """Stands still, but for a fixed time a training step and next to nothing whenever it is looked at."""

    sleep = staticmethod(time.sleep)

    def __init__(self) -> None:
        self.now = _NOW

    def time(self) -> float:
        return self.now

    def perf_counter(self) -> float:
        self.now += 0.0002
        return self.now

    monotonic = perf_counter


def training_run(clock: Clock, runs: Path, name: str, *overrides: str) -> tuple[Any, Any]:
    """Return a new run of the demo, with fewer pictures, and its trainer."""
    from birdplane.pipeline import Pipeline
    from birdplane.runs import Run
    from birdplane.training import train

    pipeline = Pipeline.load("demo").override(["dataset.train=1500", "dataset.test=500", *overrides])
    run = Run.create(runs, name, pipeline_toml=pipeline.to_toml())
    return run, iter(train(pipeline, run))


def past_runs(clock: Clock, runs: Path) -> None:
    """Train a run to its end, stop one, and let one crash, some time ago."""

    def begun(name: str, minutes: float, *overrides: str) -> tuple[Any, Any]:
        clock.now = _NOW - 60 * minutes
        return training_run(clock, runs, name, *overrides)

    run, events = begun("demo-1", 95, "model.width=8", "training.epochs=4")
    for _ in events:
        pass
    _touch(run, clock)
    run, events = begun("linear-1", 40, "model.use=fully-connected", "training.epochs=12")
    for event in events:
        if event.event == "epoch" and event.epoch == 3:
            run.request("stop")
    _touch(run, clock)
    run, events = begun("wide-1", 12, "model.width=48")
    with closing(events):
        _advance(events, 1.5)
    run.record_exit(os.getpid(), -9)
    _touch(run, clock)
    clock.now = _NOW


def _advance(events: Iterator[Any], epochs: float) -> None:
    """Take events until so many epochs are over."""
    steps = 1.0
    for event in events:
        steps = getattr(event, "steps_per_epoch", steps)
        if event.event == "progress" and event.step >= epochs * steps:
            return


def _touch(run: Any, clock: Clock) -> None:
    os.utime(run.path / "events.jsonl", (clock.now, clock.now))


def shoot(folder: Path, runs: Path, clock: Clock) -> None:
    """Train, and draw the screens."""
    from birdplane.tui.app import BirdplaneApp, open_draft
    from birdplane.tui.asking import Helper
    from birdplane.tui.settings import Settings
    from birdplane.tui.state import Cockpit, Draft

    helper = Helper()

    def picture(first: str, run: Any, steps: Callable[[Any], Awaitable[None]]) -> None:
        cockpit = Cockpit(runs, Settings(refresh=30.0, animations=False), Draft(*open_draft("demo")), run)
        cockpit.helper = helper
        app = BirdplaneApp(cockpit, first)

        async def play() -> None:
            async with app.run_test(size=(COLUMNS, ROWS)) as pilot:
                await pilot.pause()
                await steps(pilot)
                await _settle(pilot)
                text = draw([list(strip) for strip in _strips(pilot)], f"The screen {first} of birdplane tui")
                (folder / f"{first}.svg").write_text(text + "\n", encoding="utf-8")

        asyncio.run(asyncio.wait_for(play(), 2 * _PATIENCE))
        print(f"wrote {folder / first}.svg")

    with closing(helper):
        past_runs(clock, runs)
        run, events = training_run(clock, runs, "demo-2")
        _advance(events, 4.6)
        _touch(run, clock)
        picture("train", run, lambda pilot: _until(pilot, "● running", "epoch 5 of 8"))
        picture("runs", run, lambda pilot: _until(pilot, "linear-1", "crashed"))
        for _ in events:
            pass
        picture(
            "results", run, lambda pilot: _until(pilot, "1,500 pictures", "Mistakes, the surest first   1-")
        )
        picture("build", None, _at_the_model)
        picture("data", None, lambda pilot: _until(pilot, "measured on", "4,000"))


async def _at_the_model(pilot: Any) -> None:
    await _until(pilot, "✓ it fits", "38,386 parameters")
    await pilot.press(*["down"] * 5)
    await _until(pilot, "Chapter 8's net")


async def _until(pilot: Any, *shown: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not all(text in _text(pilot) for text in shown):
        if time.monotonic() > deadline:
            raise SystemExit(f"waited in vain for {shown} on\n{_text(pilot)}")
        await pilot.pause(0.05)


async def _settle(pilot: Any) -> None:
    """Let what follows a change some moments later, such as the footer, catch up."""
    before, now = "", _text(pilot)
    while now != before:
        await pilot.pause(0.5)
        before, now = now, _text(pilot)


def _strips(pilot: Any) -> list[list[Segment]]:
    found: list[list[Segment]] = pilot.app.screen._compositor.render_strips()
    return found


def _text(pilot: Any) -> str:
    return "\n".join("".join(segment.text for segment in line).rstrip() for line in _strips(pilot))


def main() -> None:
    """Draw all screens."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", type=Path, default=ASSETS, help="the folder to write")
    folder = parser.parse_args().to
    folder.mkdir(parents=True, exist_ok=True)
    time.tzset()
    clock = Clock()
    time.time = clock.time  # before birdplane's modules take hold of it

    import birdplane.tui.train
    from birdplane.optimization import Optimization
    from birdplane.training import meter, saving, trainer

    step = Optimization.step

    def timed_step(self: Any, *arguments: Any) -> Any:
        clock.now += _STEP_SECONDS
        return step(self, *arguments)

    Optimization.step = timed_step  # type: ignore[method-assign]
    for module in (meter, saving, trainer):
        module.time = clock  # type: ignore[assignment]
    birdplane.tui.train.memory_of = lambda pid: _MEMORY
    with tempfile.TemporaryDirectory() as scratch:
        shoot(folder, Path(scratch) / "runs", clock)


if __name__ == "__main__":
    main()
