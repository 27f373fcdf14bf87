"""What the cockpit costs: its first paint, what it takes from training, what it sends, how soon a key is answered.

The cockpit runs on a terminal of its own, which is read as fast as it writes. While a net trains in one process,
the cockpit is opened and closed in turns; a window of the training without it is compared with the next one
with it, on the Train screen, by the seconds of the run's own `epoch` events. The speed of a machine that others share
changes by more than the cockpit takes, from second to second; so Linux is asked besides how long the threads that
train stood ready and had to wait for a core. The keys are pressed while the larger net trains, which keeps all cores
busy.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import math
import os
import pty
import random
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory
from typing import Any

import psutil

import turns
from birdplane.events import Epoch
from birdplane.runs import Run
from turns import Lap, Report, Runner, Spread, Table

EMPTY, COCKPIT = "empty Textual program", "birdplane tui"
HEADLESS, ATTACHED = "headless", "attached"
_SIZE = (120, 40)
_PATIENCE = 60.0
_POINTS = 100_000
#: What both programs have painted as soon as their first picture is there.
_PAINTED = rb"5 Runs"
_EMPTY_PROGRAM = (
    "from textual.app import App; from textual.widgets import Static; "
    "E = type('E', (App,), {'compose': lambda self: [Static('5 Runs')]}); E().run()"
)
_BIRDPLANE = "from birdplane.__main__ import main; main()"
_PIPELINE = """\
seed = 0
[dataset]
use = "sketches"
train = {train}
test = 64
size = {size}
[[transforms]]
use = "to-tensor"
[model]
use = "fully-connected"
hidden = {hidden}
[loss]
use = "cross-entropy"
[optimizer]
use = "sgd"
lr = 0.001
[training]
epochs = 100000
batch_size = {batch_size}
device = "cpu"
checkpoint_seconds = 3600.0
"""
#: Of each net: what is put into the pipeline: about 1,000 and about 20 steps a second on two cores. An epoch
#: takes a fraction of a second.
NETS: dict[str, dict[str, Any]] = {
    "a small net": {"train": 3200, "size": 16, "hidden": [256], "batch_size": 32},
    "a larger net": {"train": 1280, "size": 32, "hidden": [2048, 1024], "batch_size": 256},
}
#: The keys in the order they are pressed, and what shows that each was answered.
KEYS = {
    "left, the crosshair": ("\x1b[D", rb"epoch +\d+\.\d\d"),
    "?, the help": ("?", rb"five screens"),
    "?, back": ("?", rb"accuracy %"),
    "5, the runs": ("5", rb"changed"),
    "2, back": ("2", rb"accuracy %"),
}


class Terminal:
    """A program on a terminal of its own; a thread reads what it writes, as a terminal would."""

    def __init__(self, words: list[str]) -> None:
        self._near, far = pty.openpty()
        fcntl.ioctl(far, termios.TIOCSWINSZ, struct.pack("HHHH", _SIZE[1], _SIZE[0], 0, 0))
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SSH_")}
        environment |= {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8"}
        environment |= {"BIRDPLANE_CONFIG": os.devnull}
        self._written = bytearray()
        self._more = threading.Condition()
        self.process = psutil.Popen(
            [sys.executable, *words],
            stdin=far,
            stdout=far,
            stderr=far,
            env=environment,
            start_new_session=True,
        )
        os.close(far)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        chunk = b"begin"
        while chunk:
            try:
                chunk = os.read(self._near, 65536)
            except OSError:  # how Linux says that nobody holds the other end any more
                return
            with self._more:
                self._written += chunk
                self._more.notify_all()

    @property
    def written(self) -> int:
        """How many bytes the program has written so far."""
        return len(self._written)

    def press(self, keys: str) -> None:
        os.write(self._near, keys.encode())

    def until(self, pattern: bytes, begin: int = 0) -> None:
        """Wait until the program has written this, from that byte on."""
        deadline = time.monotonic() + _PATIENCE
        with self._more:
            while not re.search(pattern, self._written[begin:]):
                if not self._more.wait(deadline - time.monotonic()):
                    raise SystemExit(f"{pattern!r} was not painted; last: {bytes(self._written[-500:])!r}")

    def seconds_of_the_processor(self) -> float:
        """Return what the program and those that it started have used."""
        times = [one.cpu_times() for one in (self.process, *self.process.children(recursive=True))]
        return sum(one.user + one.system for one in times)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        # First the reader: the next terminal gets the same number, and would lose its first bytes to this one.
        self._reader.join(_PATIENCE)
        os.close(self._near)


@contextmanager
def on_a_terminal(*words: str) -> Iterator[Terminal]:
    opened = Terminal(list(words))
    try:
        yield opened
    finally:
        opened.close()


# The first paint.


def painters(folder: Path) -> dict[str, Runner]:
    def painter(*words: str) -> Runner:
        def paint() -> Lap:
            began = time.perf_counter()
            with on_a_terminal(*words) as terminal:
                terminal.until(_PAINTED)
                return Lap(time.perf_counter() - began)

        return paint

    runs = str(folder / "none")
    return {
        EMPTY: painter("-c", _EMPTY_PROGRAM),
        COCKPIT: painter("-c", _BIRDPLANE, "tui", "--runs", runs),
    }


def paint_table(laps: dict[str, list[Lap]]) -> Table:
    made = Table(["first paint", "milliseconds", "times the empty program"])
    for name, taken in laps.items():
        milliseconds = Spread.of(1000 * lap.seconds for lap in taken).text(0)
        made.rows.append([name, milliseconds, turns.ratios(taken, laps[EMPTY]).text()])
    return made


# Training with the cockpit and without.


class Training:
    """A net that trains in a process of its own until it is closed, and the cockpit that watches it."""

    def __init__(self, folder: Path, net: str, window: float) -> None:
        self._window = window
        self._runs, name = folder / "runs", net.replace(" ", "-")
        pipeline = folder / f"{name}.toml"
        pipeline.write_text(_PIPELINE.format(**NETS[net]), encoding="utf-8")
        self._run = Run(self._runs / name)
        self._steps = NETS[net]["train"] // NETS[net]["batch_size"]
        words = ["train", str(pipeline), "--plain", "--runs", str(self._runs), "--run", name]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _BIRDPLANE, *words], stdout=subprocess.DEVNULL, start_new_session=True
        )
        #: The share of a core that the cockpit took, round by round.
        self.shares: list[float] = []
        #: How long the threads that train waited for a core, added up, in each second: with the cockpit and without.
        self.waits: dict[str, list[float]] = {HEADLESS: [], ATTACHED: []}

    def wait(self) -> None:
        """Wait until an epoch is over."""
        deadline = time.monotonic() + _PATIENCE
        while not any(isinstance(event, Epoch) for event in self._events()):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{self._run.path}: it does not train")
            time.sleep(0.1)

    def _events(self) -> list[Any]:
        return list(self._run.events()) if (self._run.path / "events.jsonl").exists() else []

    def headless(self) -> Lap:
        return Lap(self._seconds_a_step(HEADLESS))

    def attached(self) -> Lap:
        """Return the seconds a step, and the bytes a second that the cockpit wrote meanwhile."""
        with self.watched() as terminal:
            before, used, began = terminal.written, terminal.seconds_of_the_processor(), time.perf_counter()
            seconds = self._seconds_a_step(ATTACHED)
            passed = time.perf_counter() - began
            self.shares.append((terminal.seconds_of_the_processor() - used) / passed)
            return Lap(seconds, (terminal.written - before) / passed)

    def _seconds_a_step(self, which: str) -> float:
        """Let the window pass; return the mean over the epochs that lay in it whole, at least one."""
        begin, before = time.time(), _on_cores(self._process.pid)
        time.sleep(self._window)
        self.waits[which].append(_waited(before, _on_cores(self._process.pid), time.time() - begin))
        while not (whole := self._epochs_since(begin)):
            if time.time() - begin > _PATIENCE:
                raise SystemExit(f"{self._run.path}: no epoch within {_PATIENCE:.0f} s")
            time.sleep(0.05)
        return sum(whole) / (self._steps * len(whole))

    def _epochs_since(self, begin: float) -> list[float]:
        """Return the seconds that the epochs trained which began since then and are over."""
        return [
            event.train_seconds
            for event in self._events()
            if isinstance(event, Epoch)
            and event.time - event.train_seconds - event.validation_seconds >= begin
        ]

    @contextmanager
    def watched(self) -> Iterator[Terminal]:
        """The cockpit on the Train screen, once it has drawn what there is and settled."""
        with on_a_terminal("-c", _BIRDPLANE, "tui", self._run.name, "--runs", str(self._runs)) as terminal:
            terminal.until(rb"running")
            terminal.until(rb"accuracy %")
            time.sleep(min(1.0, self._window))
            yield terminal

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


def _on_cores(pid: int) -> dict[str, tuple[int, int]]:
    """Return of each thread for how many nanoseconds it ran, and for how many it was ready to; none but on Linux."""
    found = {}
    for file in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with suppress(OSError):  # the thread has just ended
            ran, waited, _ = file.read_text().split()
            found[file.parent.name] = int(ran), int(waited)
    return found


def _waited(before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]], seconds: float) -> float:
    """Return the waits of the threads that were busy, added up: each of them holds up the others."""
    passed = [
        (ran - before[name][0], waited - before[name][1])
        for name, (ran, waited) in after.items()
        if name in before
    ]
    return sum(waited for ran, waited in passed if ran > 2e8 * seconds) / (1e9 * seconds)


@contextmanager
def training(folder: Path, net: str, window: float) -> Iterator[Training]:
    begun = Training(folder, net, window)
    try:
        begun.wait()
        yield begun
    finally:
        begun.close()


@dataclass
class Watched:
    """What was seen of a training: laps, shares of a core and waits for one, round by round."""

    laps: dict[str, list[Lap]]
    shares: list[float]
    waits: dict[str, list[float]]


def speed_table(watched: dict[str, Watched]) -> Table:
    made = Table(
        [
            "training",
            "steps a second, headless",
            "with the cockpit",
            "its share of the headless speed",
            "its threads' waits for a core, headless",
            "their waits with the cockpit",
            "kB a second to the terminal",
            "share of a core",
        ]
    )
    for net, seen in watched.items():
        laps = seen.laps
        digits = 0 if laps[HEADLESS][0].seconds < 0.01 else 1
        speeds = [Spread.of(1 / lap.seconds for lap in laps[which]).text(digits) for which in laps]
        kept = turns.ratios(laps[HEADLESS], laps[ATTACHED]).text(3)
        waits = [f"{Spread.of(100 * wait for wait in seen.waits[which]).text(2)} %" for which in laps]
        sent = Spread.of(lap.figure / 1000 for lap in laps[ATTACHED]).text(1)
        made.rows.append([net, *speeds, kept, *waits, sent, Spread.of(seen.shares).text(3)])
    made.notes.append(
        "The waits are those of all threads that train, added up, in each second. By how much longer they are with "
        "the cockpit is the most that it takes by wanting a core."
    )
    return made


# Keys.


def pressed(terminal: Terminal, times: int) -> dict[str, list[float]]:
    """Return of each key the seconds until its answer was written, without those of the first round."""
    chance = random.Random(0)
    taken: dict[str, list[float]] = {name: [] for name in KEYS}
    for number in range(times + 1):
        turns.say(f"keys, round {number} of {times}")
        for name, (keys, pattern) in KEYS.items():
            # At any moment between two frames, and never before the last answer is painted whole.
            time.sleep(chance.uniform(0.1, 0.25))
            begin, began = terminal.written, time.perf_counter()
            terminal.press(keys)
            terminal.until(pattern, begin)
            taken[name].append(time.perf_counter() - began)
            if pattern.startswith(rb"epoch"):
                time.sleep(0.1)
                terminal.press("\x1b")  # takes the crosshair away; Textual waits whether more comes
                time.sleep(0.2)
    return {name: seconds[1:] for name, seconds in taken.items()}


def percentile_95(seconds: list[float]) -> float:
    return quantiles(seconds, n=20, method="inclusive")[-1] if len(seconds) > 1 else seconds[0]


def key_table(taken: dict[str, list[float]], cores: float) -> Table:
    made = Table(["key to paint", "milliseconds", "95th percentile", "presses"])
    for name, seconds in {**taken, "all": [one for each in taken.values() for one in each]}.items():
        spread = Spread.of(1000 * one for one in seconds).text(0)
        made.rows.append([name, spread, f"{1000 * percentile_95(seconds):.0f}", str(len(seconds))])
    made.notes.append(f"Meanwhile {100 * cores:.0f} % of all cores were busy.")
    return made


# The chart.


def redrawn(points: int, times: int) -> list[float]:
    """Return the seconds that a chart of two curves with so many points each takes to be drawn anew."""
    from textual.app import App, ComposeResult

    from birdplane.tui.chart import Chart
    from birdplane.tui.curves import Series

    loss, held_out = Series("train"), Series("validation")
    for step in range(points):
        loss.append(step / 1000, math.exp(-step / 3e4) + 0.1 * math.sin(step * 12.9898))
        held_out.append(step / 1000, math.exp(-step / 5e4) + 0.1 * math.cos(step * 78.233))
    chart = Chart("loss", (loss, held_out))

    class Page(App[None]):
        def compose(self) -> ComposeResult:
            yield chart

    async def draw() -> list[float]:
        taken = []
        async with Page().run_test(size=_SIZE) as pilot:
            chart.grow(points / 1000)
            for _ in range(times + 1):
                await pilot.pause()
                began = time.perf_counter()
                chart.redraw()
                taken.append(time.perf_counter() - began)
        return taken[1:]

    return asyncio.run(draw())


def chart_table(seconds: list[float]) -> Table:
    made = Table(["chart", "milliseconds", "times drawn"])
    milliseconds = Spread.of(1000 * one for one in seconds).text(1)
    made.rows.append([f"two curves of {_POINTS:,} points, drawn anew", milliseconds, str(len(seconds))])
    return made


def measure(folder: Path, asked: argparse.Namespace) -> tuple[list[Table], dict[str, Any]]:
    painting = argparse.Namespace(rounds=asked.rounds if asked.quick else 2 * asked.rounds, quick=asked.quick)
    paints = turns.in_turns(painters(folder), painting)
    # The quick setting trains the small net alone: each net loads torch anew.
    nets, window = (list(NETS)[:1], 0.8) if asked.quick else (list(NETS), 3.0)
    watched, keys, busy = {}, {}, 0.0
    for net in nets:
        with training(folder, net, window) as begun:
            laps = turns.in_turns({HEADLESS: begun.headless, ATTACHED: begun.attached}, asked)
            waits = {which: each[-asked.rounds :] for which, each in begun.waits.items()}
            watched[net] = Watched(laps, begun.shares[-asked.rounds :], waits)
            if net == nets[-1]:
                with begun.watched() as terminal:
                    psutil.cpu_percent()
                    keys = pressed(terminal, 1 if asked.quick else 15)
                    busy = psutil.cpu_percent() / 100
    turns.say("chart")
    drawn = redrawn(_POINTS, 3 if asked.quick else 30)
    tables = [paint_table(paints), speed_table(watched), key_table(keys, busy), chart_table(drawn)]
    return tables, {
        "paints": paints,
        "training": {net: asdict(seen) for net, seen in watched.items()},
        "keys": keys,
        "busy": busy,
        "chart": drawn,
    }


def main() -> None:
    asked = turns.parsed(turns.parser(__doc__, rounds=10))
    # Ended from outside, it still ends what it started.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    with TemporaryDirectory() as folder:
        tables, figures = measure(Path(folder), asked)
    terminal = f"{_SIZE[0]}x{_SIZE[1]}"
    facts = turns.facts(["torch", "textual"], terminal=terminal, rounds=str(asked.rounds))
    Report("cockpit", tables, figures, facts).tell(asked)


if __name__ == "__main__":
    main()
