"""What the tests of the screens share: an app on a fixed clock, driven by keys, its picture compared as text.

A test writes its scenario as an async function and hands it to `drive`:

    def test_help_opens(drive, app, golden):
        async def scenario(pilot):
            await pilot.press("question_mark")
            await golden(pilot, "help-80x24")

        drive(app(first="build"), scenario, (80, 24))

`BIRDPLANE_GOLDEN=write` writes the golden texts anew instead of comparing.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import math
import os
import pty
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from birdplane.events import Alert, Checkpoint, End, Epoch, Event, Progress, Start
from birdplane.runs import Run
from birdplane.tui.app import BirdplaneApp, open_draft
from birdplane.tui.asking import Helper
from birdplane.tui.settings import Settings
from birdplane.tui.state import Cockpit, Draft

#: The moment at which all tests of the screens play.
NOW = 1_780_000_000.0
SIZES = ((60, 16), (80, 24), (140, 45))
_GOLDEN = Path(__file__).parent / "golden"
_PATIENCE = 20.0


@pytest.fixture(params=SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def size(request: pytest.FixtureRequest) -> tuple[int, int]:
    """Each of the three sizes of a terminal that the screens are made for."""
    found: tuple[int, int] = request.param
    return found


@pytest.fixture(autouse=True)
def _fixed_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The clock stands still, in UTC; no settings of the person who runs the tests, no SSH, a UTF-8 locale."""
    monkeypatch.setattr(time, "time", lambda: NOW)
    for name in ("SSH_CONNECTION", "SSH_TTY", "NO_COLOR", "BIRDPLANE_RUNS", "LC_ALL", "LC_CTYPE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANG", "C.UTF-8")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.setenv("BIRDPLANE_CONFIG", str(tmp_path / "no-settings.toml"))
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """The folder of this test's runs."""
    return tmp_path / "runs"


@pytest.fixture(scope="session")
def helper() -> Iterator[Helper]:
    """The helper process that all tests share: started at the first question, as importing torch takes seconds."""
    shared = Helper()
    yield shared
    shared.close()


@pytest.fixture
def written_run(runs: Path) -> Callable[..., Run]:
    """A function that writes a run as training would have left it, ten minutes ago, without training.

    `written_run("demo-1", epochs=8, done=5, ended="stopped", toml=...)`; without `ended` it looks crashed, unless
    the test holds its lock.
    """

    def write(
        name: str = "demo-1",
        *,
        epochs: int = 8,
        done: float | None = None,
        ended: str = "",
        reason: str = "",
        toml: str = 'seed = 0\n[dataset]\nuse = "sketches"\n',
        rate: float = 1.0,
    ) -> Run:
        run = Run.create(runs, name, pipeline_toml=toml)
        for event in story(epochs, epochs if done is None else done, rate):
            run.append(event)
        if ended:
            run.append(End(time=NOW - 1, epoch=epochs, step=1, status=ended, reason=reason))
        run.close()
        os.utime(run.path / "events.jsonl", (NOW - 1, NOW - 1))
        return run

    return write


def story(epochs: int, done: float, rate: float = 1.0) -> Iterator[Event]:
    """Yield what training tells of `done` epochs of 50 steps, two seconds each; `rate` says how fast it learns."""
    facts = {"device": "cpu", "precision": "float32", "parameters": 38386, "classes": ["airplane", "bird"]}
    yield Start(time=NOW - 600, epoch=0, step=0, epochs=epochs, steps_per_epoch=50, facts=facts)
    for step in range(5, int(done * 50) + 1, 5):
        at = step / 50
        loss = 0.05 + 0.65 * math.exp(-rate * at) + 0.02 * math.sin(step)
        moment: dict[str, Any] = {"time": NOW - 600 + 2 * at, "epoch": (step - 1) // 50 + 1, "step": step}
        yield Progress(
            **moment,
            count=5,
            mean=loss,
            min=0.9 * loss,
            max=1.1 * loss,
            last=loss,
            accuracy=1 - 0.6 * loss,
            learning_rate=0.01,
            samples_per_second=1600,
            wait=0.02,
        )
        if step % 50 == 0:
            held_out = 0.15 + 0.5 * math.exp(-rate * at)
            yield Epoch(
                **moment,
                train_loss=loss,
                train_accuracy=1 - 0.6 * loss,
                validation_loss=held_out,
                validation_accuracy=1 - held_out / 2,
                train_seconds=1.8,
                validation_seconds=0.2,
                best_accuracy=1 - held_out / 2,
            )
            yield Checkpoint(**moment, path=f"checkpoints/{step}", best=True, seconds=0.1)
    if done >= 5:
        yield Alert(
            time=NOW - 590,
            epoch=5,
            step=250,
            kind="spike",
            message="the training loss jumped from 0.1 to 0.5",
        )


class BareTerminal:
    """A terminal that does nothing by itself, with the cockpit in it: what it writes is read and answered by hand."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._unread = b""

    def write(self, data: bytes) -> None:
        """Send keys, or answers."""
        os.write(self._descriptor, data)

    def read_until(self, wanted: bytes) -> bytes:
        """Return what the cockpit wrote since the last call, up to and with `wanted`."""
        deadline = time.monotonic() + 60
        while wanted not in self._unread:
            assert time.monotonic() < deadline, self._unread[-3000:]
            if select.select([self._descriptor], [], [], 0.1)[0]:
                with contextlib.suppress(OSError):
                    self._unread += os.read(self._descriptor, 65536)
        before, _, self._unread = self._unread.partition(wanted)
        return before + wanted


@contextlib.contextmanager
def _bare_terminal(
    *words: str, pixels: tuple[int, int] = (0, 0), **environment: str
) -> Iterator[BareTerminal]:
    command = [sys.executable, "-m", "birdplane", "tui", *words]
    surroundings = {name: value for name, value in os.environ.items() if name not in ("TMUX", "STY")}
    surroundings.update(TERM="xterm-kitty", COLORTERM="truecolor", **environment)
    pid, descriptor = pty.fork()
    if pid == 0:
        os.execve(command[0], command, surroundings)
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, *pixels))
    try:
        yield BareTerminal(descriptor)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(descriptor)


@pytest.fixture
def bare_terminal() -> Callable[..., contextlib.AbstractContextManager[BareTerminal]]:
    """`with bare_terminal("--runs", ..., pixels=(1000, 600), TMUX="1") as terminal`: 100 columns, 30 rows."""
    return _bare_terminal


@pytest.fixture
def app(runs: Path, tiny_file: Path, helper: Helper) -> Callable[..., BirdplaneApp]:
    """A function that makes an app: `app(first="train", run=run, draft="demo")`; the draft is the tiny pipeline."""

    def make(first: str = "build", *, run: Run | None = None, draft: str | None = None) -> BirdplaneApp:
        settings = Settings(refresh=30.0, animations=False)
        opened = Draft(*open_draft(draft or tiny_file))
        cockpit = Cockpit(runs, settings, opened, run)
        cockpit.helper = helper
        return BirdplaneApp(cockpit, first)

    return make


@pytest.fixture
def drive() -> Callable[..., None]:
    """`drive(app, scenario, size)`: run the app without a terminal and let the scenario press its keys."""

    def run(
        app: BirdplaneApp,
        scenario: Callable[[Pilot[Any]], Awaitable[None]],
        size: tuple[int, int] = (80, 24),
    ) -> None:
        async def play() -> None:
            async with app.run_test(size=size) as pilot:
                await pilot.pause()
                await scenario(pilot)

        asyncio.run(asyncio.wait_for(play(), 60))

    return run


@pytest.fixture
def text_of() -> Callable[[Pilot[Any]], str]:
    """`text_of(pilot)`: the screen as text, a line a row."""
    return _text


@pytest.fixture
def until() -> Callable[..., Awaitable[None]]:
    """`await until(pilot, condition)`: let the app go on until the condition holds; a string is waited for on it."""

    async def wait(pilot: Pilot[Any], condition: Callable[[], bool] | str) -> None:
        deadline = time.monotonic() + _PATIENCE
        holds = (lambda: condition in _text(pilot)) if isinstance(condition, str) else condition
        while not holds():
            assert time.monotonic() < deadline, f"waited in vain for {condition!r} on\n{_text(pilot)}"
            await pilot.pause(0.01)
        await _settle(pilot)

    return wait


@pytest.fixture
def golden() -> Callable[[Pilot[Any], str], Awaitable[None]]:
    """`await golden(pilot, name)`: the screen's text is, or soon becomes, that of `golden/<name>.txt`."""

    async def compare(pilot: Pilot[Any], name: str) -> None:
        path = _GOLDEN / f"{name}.txt"
        if os.environ.get("BIRDPLANE_GOLDEN") == "write":
            path.write_text(_text(pilot), encoding="utf-8")
        expected = path.read_text(encoding="utf-8") if path.is_file() else ""
        # What other processes answer arrives when it does: the screen has a while to become what it should be.
        deadline = time.monotonic() + _PATIENCE
        while (text := _text(pilot)) != expected and time.monotonic() < deadline:
            await pilot.pause(0.05)
        assert text == expected, f"{path} differs; BIRDPLANE_GOLDEN=write writes it anew\n{text}"

    return compare


async def _settle(pilot: Pilot[Any]) -> None:
    """Let the footer, which Textual makes anew some moments after the keys change, catch up."""
    before, now = "", _text(pilot)
    while now != before:
        await pilot.pause(0.04)
        before, now = now, _text(pilot)


def _text(pilot: Pilot[Any]) -> str:
    lines = pilot.app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in line).rstrip() for line in lines).rstrip() + "\n"
