"""Signals at the moments that are hard: a call that does not return, the import of torch, a terminal that is gone."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from birdplane.plugins import DISABLE_VARIABLE
from birdplane.runs import Run

PATIENCE = 60.0
COMMAND = """
import sys
from birdplane.cli import main
sys.argv = ["birdplane", *sys.argv[2:]]
main()
"""
LONG_CALL = "torch.linalg.eigvals(torch.rand(3000, 3000))"
#: A model whose second step is one call of torch's that takes minutes.
SLUGGISH = f"""
import torch
from pathlib import Path
from torch import nn
from birdplane.registry import catalog
class Sluggish(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.calls = nn.Linear(192, 2), 0
    def forward(self, images):
        self.calls += self.training
        if self.calls == 6:
            Path(sys.argv[-1] + "/busy").touch()
            {LONG_CALL}
        return self.linear(images.flatten(1))
catalog()["model"].register("sluggish", Sluggish)
"""
#: A call that no signal interrupts, of a mutex that somebody else holds until a file is there, and then a second one.
ONE_CALL = """
def one_call(folder):
    import ctypes, threading, time
    libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(128)
    libc.pthread_mutex_lock(mutex)
    def release():
        while not (folder / "return").exists():
            time.sleep(0.001)
        libc.pthread_mutex_unlock(mutex)
    threading.Thread(target=release, daemon=True).start()
    libc.pthread_mutex_lock(mutex)
    time.sleep(1000)
"""


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def until(happens: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not happens():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.005)


def pending(pid: int) -> bool:
    """Whether a signal is on its way to a process."""
    text = Path(f"/proc/{pid}/status").read_text()
    return any(int(bits, 16) for bits in re.findall(r"^S\w+Pnd:\s*(\w+)", text, re.MULTILINE))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_ends_a_training_within_a_second_also_in_a_call_that_does_not_return(
    forge: Any, tiny_file: Path, runs: Path, number: int
) -> None:
    runs.mkdir()
    settings = ("--set", "model={use='sluggish'}", "--set", "training.checkpoint_steps=2")
    script = "import sys\n" + SLUGGISH + COMMAND
    process = forge.start("-c", script, "train", tiny_file, "--run", "r", *settings, "--runs", runs)
    until((runs / "busy").exists)
    os.kill(process.pid, number)
    time.sleep(0.3)
    assert not process.gone
    began = time.monotonic()
    left = process.kill(number)
    assert time.monotonic() - began < 1.0
    assert left.code == 128 + number
    run = Run(runs / "r")
    assert run.status().state == "crashed"
    left = forge.run("-c", script.replace("== 6", "== -1"), "resume", "r", "--runs", runs)
    assert left.code == 0, left.out
    assert "going on from epoch 2, step 4" in left.out


def test_the_second_signal_says_how_the_run_goes_on_where_there_is_time_to(
    forge: Any, tiny_file: Path, runs: Path
) -> None:
    runs.mkdir()
    settings = ("--set", "model={use='sluggish'}", "--set", "training.checkpoint_steps=2")
    waiting = SLUGGISH.replace(LONG_CALL, "__import__('time').sleep(1000)")
    script = "import sys\n" + waiting + COMMAND
    process = forge.start("-c", script, "train", tiny_file, "--run", "r", *settings, "--runs", runs)
    until((runs / "busy").exists)
    os.kill(process.pid, signal.SIGINT)
    until(lambda: not pending(process.pid))  # two of a kind that wait are one
    began = time.monotonic()
    left = process.kill(signal.SIGINT)
    assert time.monotonic() - began < 1.0
    assert left.code == 130
    assert left.out.splitlines()[-1] == f"left at once; go on with: birdplane resume r --runs {runs}"


def test_two_signals_within_one_call_which_python_takes_for_one_are_still_two(
    forge: Any, tiny_file: Path, runs: Path
) -> None:
    runs.mkdir()
    settings = ("--set", "model={use='sluggish'}", "--set", "training.checkpoint_steps=2")
    script = "import sys\n" + SLUGGISH.replace(LONG_CALL, "one_call(Path(sys.argv[-1]))") + ONE_CALL + COMMAND
    process = forge.start("-c", script, "train", tiny_file, "--run", "r", *settings, "--runs", runs)
    until((runs / "busy").exists)
    for _ in range(2):
        os.kill(process.pid, signal.SIGINT)
        until(lambda: not pending(process.pid))
    (runs / "return").touch()
    left = process.wait()
    assert left.code == 130
    assert left.out.splitlines()[-1] == f"left at once; go on with: birdplane resume r --runs {runs}"


def started(*arguments: str | Path, **streams: Any) -> subprocess.Popen[bytes]:
    environment = {**os.environ, DISABLE_VARIABLE: "*", "TERM": "xterm"}
    command = [sys.executable, "-m", "birdplane", *map(str, arguments)]
    return subprocess.Popen(command, env=environment, start_new_session=True, **streams)


def imports_torch(process: subprocess.Popen[bytes]) -> Callable[[], bool]:
    mapped = Path(f"/proc/{process.pid}/maps")
    if not mapped.exists():
        pytest.skip("this system does not tell which libraries a process has loaded")
    return lambda: "libtorch" in mapped.read_text()


def test_while_torch_is_imported_a_hang_up_is_ignored_and_a_termination_leaves_nothing_behind(
    tiny_file: Path, runs: Path
) -> None:
    endless = ("--set", "training.epochs=1000000", "--runs", runs)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with (
        started("train", tiny_file, "--run", "hung-up", *endless, **quiet) as first,
        started("train", tiny_file, "--run", "ended", *endless, **quiet) as second,
    ):
        try:
            until(imports_torch(second))
            second.send_signal(signal.SIGTERM)
            until(imports_torch(first))
            first.send_signal(signal.SIGHUP)
            assert (second.wait(PATIENCE), second.stderr.read()) == (143, b"")  # type: ignore[union-attr]
            until(lambda: Run(runs / "hung-up").summary().epoch)
            first.send_signal(signal.SIGTERM)
            assert first.wait(PATIENCE) == 143
        finally:
            first.kill()
            second.kill()
    assert Run(runs / "hung-up").status().state == "stopped"
    assert not (runs / "ended").exists()


def test_a_training_whose_terminal_is_gone_ends_in_order(tiny_file: Path, runs: Path) -> None:
    master, slave = pty.openpty()
    many = ("--set", "training.epochs=2000", "--runs", runs)
    with started("train", tiny_file, "--run", "r", *many, stdin=slave, stdout=slave, stderr=slave) as process:
        os.close(slave)
        try:
            seen = b""
            while b"pictures/s" not in seen:
                assert select.select([master], [], [], PATIENCE)[0]
                seen += os.read(master, 65536)
            os.close(master)
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()
    assert Run(runs / "r").status().state == "done"


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (("--run", "r", "--plain"), ["r"]),
        (("--run", "r", "--json"), ["r"]),
        (("--run", "r", "--seeds", "2"), ["r-s0", "r-s1"]),
    ],
)
def test_a_training_that_nobody_reads_any_more_goes_on_to_its_end(
    tiny_file: Path, runs: Path, options: tuple[str, ...], names: list[str]
) -> None:
    """As one that was started over a connection without a terminal, when that is lost."""
    many = ("--set", "training.epochs=500", "--runs", runs)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with started("train", tiny_file, *options, *many, **pipes) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            assert process.stdout.readline()
            process.stdout.close()
            process.stderr.close()
            process.wait(PATIENCE)
        finally:
            process.kill()
    for name in names:
        assert Run(runs / name).status().state == "done"
        assert Run(runs / name).summary().epoch.epoch == 500  # type: ignore[union-attr]
