"""Processes that are really killed, and whose system calls really fail."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from birdplane.plugins import DISABLE_VARIABLE


@dataclass(frozen=True)
class Fault:
    """The nth call that writes, flushes, renames or creates at a path that contains `within` fails with `code`.

    For a code of 0 the process is killed there. A negative nth: that call and all later ones.
    """

    within: str
    nth: int
    code: int = 0


@dataclass(frozen=True)
class Left:
    """How a process ended (a signal is negative), what it printed, and its calls that a fault counted."""

    code: int
    out: str
    calls: list[str]


class Process:
    """A process of the forge's."""

    def __init__(self, forge: Forge, pid: int, log: Path) -> None:
        self.pid = pid
        self._forge = forge
        self._log = log
        self._left: Left | None = None

    @property
    def gone(self) -> bool:
        """Whether it has ended; it is still to be waited for."""
        if self._left is not None:
            return True
        stat = Path(f"/proc/{self.pid}/stat").read_bytes()
        return stat.rpartition(b")")[2].split()[0] in (b"Z", b"X")

    def kill(self, number: int = signal.SIGKILL) -> Left:
        """Send it a signal, SIGKILL unless told otherwise, and wait for its end."""
        if self._left is None:
            os.kill(self.pid, number)
        return self.wait()

    def wait(self) -> Left:
        """Wait for its end."""
        if self._left is None:
            answer = self._forge.ask({"wait": self.pid})
            self._left = Left(answer["code"], self._log.read_text(errors="replace"), answer["calls"])
        return self._left


class Forge:
    """Starts `birdplane` commands and scripts as processes forked from one that has imported torch already."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._count = 0
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("forge.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", DISABLE_VARIABLE: "*"},
        )
        assert self._process.stdout is not None
        #: Whether system calls can be made to fail here.
        self.faults = bool(json.loads(self._process.stdout.readline())["faults"])

    def start(self, *arguments: str | Path, fault: Fault | None = None, **environment: str) -> Process:
        """Start `birdplane ARGUMENTS`, or `-c SCRIPT ARGUMENTS`."""
        if fault is not None and not self.faults:
            pytest.skip("the kernel does not let one process answer for another's system calls")
        self._count += 1
        log = self._logs / f"{self._count}.txt"
        request: dict[str, Any] = {
            "start": list(map(str, arguments)),
            "log": str(log),
            "environment": environment,
            "fault": vars(fault) if fault else None,
        }
        return Process(self, self.ask(request)["pid"], log)

    def run(self, *arguments: str | Path, fault: Fault | None = None, **environment: str) -> Left:
        """Start it and wait for its end."""
        return self.start(*arguments, fault=fault, **environment).wait()

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Say something to the forge and return its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)


@pytest.fixture(scope="session")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forge]:
    """What starts processes. It is started once: importing torch takes seconds."""
    if sys.platform != "linux":
        pytest.skip("processes are forked from one that has imported torch, which is sound on Linux alone")
    made = Forge(tmp_path_factory.mktemp("forge"))
    yield made
    made.close()


@pytest.fixture
def fault() -> type[Fault]:
    """The class of what can go wrong in a process of the forge's, as a test module cannot import it from here."""
    return Fault
