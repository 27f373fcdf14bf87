"""The cockpit in a real terminal: tmux on a socket of its own, keys sent, the pane read until a deadline."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from birdplane.runs import Run

pytestmark = [
    pytest.mark.skipif(shutil.which("tmux") is None, reason="there is no tmux here"),
    pytest.mark.alone,
]

#: Trained for minutes, an epoch about a second, so that there is time to look, leave and come back.
LASTING = """
seed = 3
[dataset]
use = "sketches"
train = 640
test = 64
size = 16
[[transforms]]
use = "to-tensor"
[model]
use = "convolutional"
[loss]
use = "cross-entropy"
[optimizer]
use = "sgd"
[training]
epochs = 5000
batch_size = 64
device = "cpu"
checkpoint_seconds = 1.0
"""
_BIRDPLANE = f"{sys.executable} -m birdplane"
_STARTING = 60.0


class Terminal:
    """A shell in a tmux of its own."""

    def __init__(self, folder: Path, environment: dict[str, str], size: tuple[int, int] = (80, 24)) -> None:
        self._socket = f"birdplane-{os.getpid()}-{id(self)}"
        self._environment = {**os.environ, **environment}
        self._environment.pop("TMUX", None)
        shell = "bash --norc --noprofile"
        width, height = map(str, size)
        self._tmux(
            "-u", "-f", "/dev/null", "new-session", "-d", "-x", width, "-y", height, "-c", str(folder), shell
        )

    def _tmux(self, *words: str) -> str:
        command = ["tmux", "-L", self._socket, *words]
        done = subprocess.run(
            command, env=self._environment, capture_output=True, text=True, check=True, timeout=20
        )
        return done.stdout

    def press(self, *keys: str) -> None:
        self._tmux("send-keys", *keys)

    def command(self, line: str) -> None:
        self._tmux("send-keys", "-l", line)
        self.press("Enter")

    def resize(self, width: int, height: int) -> None:
        self._tmux("resize-window", "-x", str(width), "-y", str(height))

    @property
    def text(self) -> str:
        return self._tmux("capture-pane", "-p")

    def until(self, condition: str | Callable[[str], bool], seconds: float = 60.0) -> str:
        """Wait until the pane holds a text, or satisfies a condition; return what it holds."""
        holds = (lambda text: condition in text) if isinstance(condition, str) else condition
        deadline = time.monotonic() + seconds
        while not holds(text := self.text):
            assert time.monotonic() < deadline, f"waited {seconds} s in vain for {condition!r} in\n{text}"
            time.sleep(0.05)
        return text

    def cockpit(self) -> psutil.Process:
        """Return the process of the cockpit in this terminal."""
        shell = psutil.Process(int(self._tmux("display-message", "-p", "#{pane_pid}")))
        return next(child for child in shell.children() if "tui" in child.cmdline())

    def close(self) -> None:
        subprocess.run(["tmux", "-L", self._socket, "kill-server"], capture_output=True, timeout=20)


@pytest.fixture
def terminal(tmp_path: Path, runs: Path) -> Iterator[Callable[..., Terminal]]:
    """A function that opens a terminal of a size; afterwards it is closed, and what trains in `runs` is ended."""
    opened: list[Terminal] = []

    def open_one(size: tuple[int, int] = (80, 24), **environment: str) -> Terminal:
        surroundings = {"BIRDPLANE_RUNS": str(runs), "OMP_NUM_THREADS": "1", **environment}
        opened.append(Terminal(tmp_path, surroundings, size))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()
    for folder in runs.glob("*"):
        status = Run(folder).status()
        if status.pid is not None:
            os.kill(status.pid, signal.SIGKILL)


@pytest.fixture
def lasting(tmp_path: Path) -> Path:
    """The file of a pipeline that trains for minutes."""
    path = tmp_path / "lasting.toml"
    path.write_text(LASTING, encoding="utf-8")
    return path


def _steps(text: str) -> int:
    """Return the epoch that a screen's text tells of."""
    words = text.replace(",", "").split()
    return int(words[words.index("epoch") + 1]) if "epoch" in words and "of" in words else 0


def _curve(text: str) -> str:
    return "".join(character for character in text if "\u2801" <= character <= "\u28ff")


def test_a_run_is_trained_left_found_again_killed_and_resumed(
    terminal: Callable[..., Terminal], lasting: Path, runs: Path
) -> None:
    """The whole life of a run by keys alone. One test, as PyTorch takes seconds to load for each process."""
    # Some shells export what size the terminal had when they began.
    first = terminal(COLUMNS="80", LINES="24")
    first.command("stty -a > before")
    first.command(f"{_BIRDPLANE} tui --pipeline {lasting.name}")
    first.until("t trains it", _STARTING)

    first.press("t")
    first.until("2 Train")
    drawn = first.until(lambda text: "running" in text and len(_curve(text)) > 30, _STARTING)
    first.until(lambda text: _curve(text) != _curve(drawn))
    epoch = _steps(drawn)

    first.press("d")
    left = first.until("goes on training")
    assert "birdplane tui lasting-1" in left
    first.command("stty -a > after; echo finished")
    first.until("\nfinished")
    assert (lasting.parent / "before").read_text() == (lasting.parent / "after").read_text()
    run = Run(runs / "lasting-1")
    assert run.status().state == "running"

    first.command(f"clear; {_BIRDPLANE} tui lasting-1")
    again = first.until(lambda text: "running" in text and len(_curve(text)) > 30, _STARTING)
    assert _steps(again) >= epoch
    assert "validation" in again

    for size in ((140, 45), (60, 16), (100, 30)):
        first.resize(*size)
        first.until(
            lambda text, width=size[0]: "running" in text and "┴" in text and _widest(text) > width - 25
        )

    pid = run.status().pid
    assert pid is not None
    killed = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    first.until("crashed:", 10)
    assert time.monotonic() - killed < 2.0
    first.press("r")
    first.until("starting", 5)
    first.until("running", _STARTING)

    first.cockpit().send_signal(signal.SIGHUP)
    first.until(_is_at_prompt)
    assert run.status().state == "running"


def _is_at_prompt(text: str) -> bool:
    """Tell whether nothing but the shell's prompt is left on the screen."""
    lines = text.split("\n")
    return "┴" not in text and any(line.startswith("bash-") for line in lines)


def _widest(text: str) -> int:
    return max(len(line) for line in text.splitlines())


@pytest.mark.long
def test_a_run_of_the_command_line_is_watched_paused_and_stopped(
    terminal: Callable[..., Terminal], lasting: Path, runs: Path
) -> None:
    elsewhere, here = terminal(), terminal()
    elsewhere.command(f"{_BIRDPLANE} train {lasting.name} --run mine --plain")
    deadline = time.monotonic() + _STARTING
    while not (runs / "mine" / "events.jsonl").is_file():
        assert time.monotonic() < deadline, elsewhere.text
        time.sleep(0.05)
    here.command(f"{_BIRDPLANE} tui mine")
    here.until(lambda text: "running" in text and len(_curve(text)) > 10, _STARTING)
    here.press("p")
    here.until("● paused")
    here.press("p")
    here.until("● running")
    here.press("s")
    here.until("stopped and saved")
    elsewhere.until("stopped after")
    here.press("q")
    here.until(_is_at_prompt)


@pytest.mark.long
def test_the_first_paint_takes_at_most_a_third_longer_than_an_empty_programs() -> None:
    empty = (
        "from textual.app import App; from textual.widgets import Static; "
        "E = type('E', (App,), {'compose': lambda self: [Static('5 Runs')]}); E().run()"
    )
    commands = ([sys.executable, "-c", empty], [sys.executable, "-m", "birdplane", "tui"])
    # In turns, and the least of ten each: other programs on the machine only ever add.
    times = [[_seconds_to_paint(command) for command in commands] for _ in range(10)]
    empty_program, cockpit = (min(turn[which] for turn in times) for which in (0, 1))
    assert cockpit <= 1.3 * empty_program


def _seconds_to_paint(command: list[str]) -> float:
    begin = time.monotonic()
    with _in_a_pty(command) as (_, read):
        painted = b""
        while b"5 Runs" not in painted:
            assert time.monotonic() - begin < 60, painted
            painted += read(0.1)
        return time.monotonic() - begin


@contextmanager
def _in_a_pty(command: list[str]) -> Iterator[tuple[int, Callable[[float], bytes]]]:
    """Run a command in a bare terminal; yield its descriptor, and what reads as much as comes within so long."""
    pid, descriptor = pty.fork()
    if pid == 0:
        os.execve(command[0], command, {**os.environ, "TERM": "xterm-256color"})
    _size(descriptor, 80, 24)

    def read(seconds: float) -> bytes:
        ready = select.select([descriptor], [], [], seconds)[0]
        with suppress(OSError):  # how Linux says that the program has left
            return os.read(descriptor, 65536) if ready else b""
        return b""

    try:
        yield descriptor, read
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(descriptor)


def _size(descriptor: int, width: int, height: int) -> None:
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))


@pytest.mark.long
def test_1000_resizes_in_10_seconds_leave_the_screen_intact(written_run: Callable[..., Run]) -> None:
    run = written_run(ended="done")
    command = [sys.executable, "-m", "birdplane", "tui", str(run.path)]
    with _in_a_pty(command) as (descriptor, read):
        _read_until(read, b"accuracy")
        for number in range(1000):
            _size(descriptor, 10 + number * 37 % 150, 3 + number * 17 % 50)
            read(0.01)
        _size(descriptor, 80, 24)
        os.write(descriptor, b"?")
        _read_until(read, b"the five screens")
        os.write(descriptor, b"qq")
        _read_until(read, b"\x1b[?1049l")


def test_of_two_resizes_the_later_one_holds_also_where_it_comes_while_the_other_is_told(
    written_run: Callable[..., Run],
) -> None:
    run = written_run(ended="done")
    program = (
        "import fcntl, shutil, struct, termios\n"
        "real = shutil.get_terminal_size\n"
        "def size(*arguments):\n"
        "    found = real(*arguments)\n"
        "    if found == (50, 10): fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 80, 0, 0))\n"
        "    return found\n"
        "shutil.get_terminal_size = size\n"
        "from birdplane.cli import main; main()"
    )
    with _in_a_pty([sys.executable, "-c", program, "tui", str(run.path)]) as (descriptor, read):
        _read_until(read, b"accuracy")
        _size(descriptor, 50, 10)
        os.write(descriptor, b"?")
        _read_until(read, b"the five screens")
        os.write(descriptor, b"qq")
        _read_until(read, b"\x1b[?1049l")


@pytest.mark.long
def test_a_terminal_that_vanishes_takes_the_cockpit_with_it(
    terminal: Callable[..., Terminal], written_run: Callable[..., Run]
) -> None:
    run, gone = written_run(ended="done"), terminal()
    gone.command(f"{_BIRDPLANE} tui {run.path}")
    gone.until("accuracy", _STARTING)
    process = gone.cockpit()
    gone.close()
    process.wait(10)


def _read_until(read: Callable[[float], bytes], wanted: bytes) -> None:
    seen, deadline = b"", time.monotonic() + 30
    while wanted not in seen:
        assert time.monotonic() < deadline, seen[-2000:]
        seen += read(0.1)


def test_without_a_terminal_it_says_what_to_use_instead(runs: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "birdplane", "tui"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "needs a terminal" in done.stderr
    assert "birdplane train" in done.stderr


def test_a_dumb_terminal_is_told_the_same(terminal: Callable[..., Terminal]) -> None:
    dumb = terminal()
    dumb.command(f"TERM=dumb {_BIRDPLANE} tui")
    assert "needs a terminal" in dumb.until("error:", 30)
