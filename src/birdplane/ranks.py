"""Several processes of one training on this machine: started, watched and ended together. Imports no torch.

Each is a `birdplane resume RUN` with torchrun's environment variables; by `RANK` it knows whether it leads. The
process that starts them only watches: what one of them does not survive ends all, and is told in the run.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from birdplane import processes
from birdplane.errors import BirdplaneError, UsageError
from birdplane.events import End
from birdplane.runs import Run, RunLocked

#: The exit code of a process that is well itself, but lost another one.
LOST_EXIT_CODE = 75

#: Where the processes find one another, and the process that watches them, in their environment.
_STORE = "BIRDPLANE_RANKS_STORE"
_WATCHER = "BIRDPLANE_RANKS_WATCHER"
_LOOK_SECONDS = 0.05
#: What the others may take to tell what happened in their own words, once one has left.
_GRACE_SECONDS = 5.0
_OUTPUT_LIMIT = 4000


@dataclass(frozen=True)
class Place:
    """Which of the processes of a training this one is: `rank` of `size`, `local_rank` of `local_size` here.

    `store` is the file over which they find one another; None where torchrun's address is for that. `watched` says
    whether birdplane itself started them, and tells in the run what became of them.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int
    store: str | None = None
    watched: bool = False

    @property
    def leads(self) -> bool:
        """Whether it writes the run, draws, and listens to requests and signals."""
        return self.rank == 0


def given(environment: Mapping[str, str] = os.environ) -> Place | None:
    """Return the place that torchrun or `train_together` gave this process; None where it trains alone.

    Raises:
        UsageError: the variables are there, but not whole or not numbers that fit one another.
    """
    if "RANK" not in environment or "WORLD_SIZE" not in environment:
        return None
    rank, size = _number(environment, "RANK"), _number(environment, "WORLD_SIZE")
    if (rank, size) == (0, 1):
        return None
    local_rank = _number(environment, "LOCAL_RANK")
    local_size = _number(environment, "LOCAL_WORLD_SIZE") if "LOCAL_WORLD_SIZE" in environment else size
    if not (0 <= rank < size and 0 <= local_rank < local_size <= size):
        raise UsageError(
            f"RANK={rank}, WORLD_SIZE={size}, LOCAL_RANK={local_rank}, LOCAL_WORLD_SIZE={local_size} in the "
            "environment do not fit one another; start several processes with torchrun, or with --nproc"
        )
    return Place(rank, size, local_rank, local_size, environment.get(_STORE), _WATCHER in environment)


def _number(environment: Mapping[str, str], name: str) -> int:
    text = environment.get(name, "")
    if not text.isascii() or not text.isdigit():
        raise UsageError(
            f"{name}={text!r} in the environment: expected a number, as RANK and WORLD_SIZE are there; "
            "start several processes with torchrun, or with --nproc"
        )
    return int(text)


def check_count(count: int, batch_size: int, source: str) -> None:
    """Check the number of processes, as far as that goes without looking for GPUs.

    Raises:
        UsageError: it is less than 1, or a batch has fewer pictures.
    """
    if count < 1:
        raise UsageError(f"--nproc: {count} processes cannot train; at least 1")
    if count > batch_size:
        raise UsageError(
            f"{source}: training.batch_size: a batch of {batch_size} cannot be shared by {count} processes "
            f"(mend: --nproc {batch_size}, or --set training.batch_size={count})"
        )


# --- in each of the processes -----------------------------------------------------------------------------


def follow_watcher() -> None:
    """See to it that this process ends when the one that watches it does, however that ends."""
    word = os.environ.get(_WATCHER, "")
    pid, _, started = word.partition(":")
    if pid.isdigit():
        processes.end_with(int(pid), started)


# --- in the process that watches them ---------------------------------------------------------------------


def train_together(run: Run, count: int, arguments: Sequence[str]) -> int:
    """Train a run in `count` processes here; return the exit code of the leading one.

    SIGINT and SIGTERM are passed on to it, which saves and stops them all; a second one ends them at once. A closed
    terminal ends nothing.

    Args:
        run: to begin with or to go on with.
        count: of processes, 2 or more.
        arguments: of `birdplane` for each process.

    Raises:
        BirdplaneError: a process could not be started or was lost; it is told in the run, which can be resumed.
        SystemExit: 130 or 143 at once, after a second signal.
    """
    try:
        folder = Path(tempfile.mkdtemp(prefix="birdplane-ranks-"))
    except OSError as error:
        raise BirdplaneError(
            f"--nproc: no folder for temporary files can be written; set TMPDIR to one: {error.strerror or error}"
        ) from error
    ranks = _Ranks(run, count, folder)
    try:
        with ranks.passing_signals_on():
            ranks.start(arguments)
            ranks.watch()
        return ranks.outcome()
    finally:
        ranks.kill()
        shutil.rmtree(folder, ignore_errors=True)


class _Ranks:
    """The processes, the leading one first."""

    def __init__(self, run: Run, count: int, folder: Path) -> None:
        self._run = run
        self._count = count
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        #: The first that left with anything but 0, unless for the loss of another.
        self._culprit: int | None = None
        self._signal: int | None = None

    def start(self, arguments: Sequence[str]) -> None:
        command = [sys.executable, "-m", "birdplane", *arguments]
        for rank in range(self._count):
            environment = {**os.environ, **self._variables(rank)}
            with contextlib.ExitStack() as stack:
                # One table and one record: the others are heard only where something is wrong with them.
                out = None if rank == 0 else stack.enter_context(self._output(rank).open("wb"))
                try:
                    self._processes.append(
                        subprocess.Popen(
                            command,
                            stdin=subprocess.DEVNULL,
                            stdout=out,
                            stderr=out,
                            env=environment,
                            # A Ctrl-C in the terminal would reach all of them, and by way of this process again.
                            start_new_session=True,
                        )
                    )
                except OSError as error:
                    raise BirdplaneError(f"cannot start process {rank} of {self._count}: {error}") from error

    def _variables(self, rank: int) -> dict[str, str]:
        variables = {
            "RANK": str(rank),
            "WORLD_SIZE": str(self._count),
            "LOCAL_RANK": str(rank),
            "LOCAL_WORLD_SIZE": str(self._count),
            _STORE: str(self._folder / "store"),
            _WATCHER: f"{os.getpid()}:{processes.process_started(os.getpid()) or ''}",
        }
        if "OMP_NUM_THREADS" not in os.environ:
            variables["OMP_NUM_THREADS"] = str(max(1, _processors() // self._count))
        if "GLOO_SOCKET_IFNAME" not in os.environ and (loopback := _loopback()):
            variables["GLOO_SOCKET_IFNAME"] = loopback  # nobody else's business, and there without a network
        return variables

    def _output(self, rank: int) -> Path:
        return self._folder / f"{rank}.txt"

    @contextmanager
    def passing_signals_on(self) -> Iterator[None]:
        with processes.handling(self._handle, signal.SIGINT, signal.SIGTERM):
            yield

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._signal is not None:
            self.kill()
            raise SystemExit(128 + number)
        self._signal = number
        if self._processes and self._processes[0].poll() is None:
            self._processes[0].send_signal(number)

    def watch(self) -> None:
        """Wait until all have left, or one is lost and the others had their time to say so."""
        deadline: float | None = None
        while True:
            codes = [process.poll() for process in self._processes]
            for rank, code in enumerate(codes):
                if self._culprit is None and code not in (None, 0, LOST_EXIT_CODE):
                    self._culprit = rank
            if None not in codes:
                return
            now = time.monotonic()
            if deadline is None and (codes[0] is not None or any(codes)):
                deadline = now + _GRACE_SECONDS
            if deadline is not None and now > deadline:
                return
            time.sleep(_LOOK_SECONDS)

    def kill(self) -> None:
        """End those that are left, and their decoding workers with them."""
        for process in self._processes:
            if process.poll() is None:
                with contextlib.suppress(OSError):
                    if hasattr(os, "killpg"):
                        os.killpg(process.pid, signal.SIGKILL)
                    else:
                        process.kill()
        for process in self._processes:
            process.wait()

    def outcome(self) -> int:
        """Return the leading process's exit code, where it is in order or was told by itself.

        Raises:
            BirdplaneError: a process was lost.
        """
        code = self._processes[0].poll()
        self.kill()
        if self._signal is not None and code in (-self._signal, 128 + self._signal):
            return 128 + self._signal
        if code is not None and code >= 0 and code != LOST_EXIT_CODE:
            return code
        reason = self._reason(code)
        _tell(self._run, reason)
        raise BirdplaneError(f"{reason}; `birdplane resume {self._run.name}` goes on")

    def _reason(self, code: int | None) -> str:
        if self._culprit is None:
            return (
                "the processes lost one another: one did not answer"
                if code == LOST_EXIT_CODE
                else "the leading process did not leave"
            )
        process = self._processes[self._culprit]
        which = f"process {self._culprit} of {self._count} (pid {process.pid})"
        last = self._last_words(self._culprit)
        if process.returncode < 0:
            name = processes.signal_name(-process.returncode)
            memory = " (perhaps for want of memory)" if name == "SIGKILL" else ""
            return f"{which} was killed by {name}{memory}" + (f"; its last words: {last}" if last else "")
        return f"{which} failed: {last or f'it left with exit code {process.returncode}'}"

    def _last_words(self, rank: int) -> str:
        """Return the last line of what a process other than the leading one printed."""
        try:
            text = self._output(rank).read_bytes()[-_OUTPUT_LIMIT:].decode("utf-8", "replace")
        except OSError:
            return ""
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return lines[-1].removeprefix("error: ")[:300] if lines else ""


def _tell(run: Run, reason: str) -> None:
    """Put an end into the record of a run whose processes could not do so any more."""
    with contextlib.suppress(BirdplaneError, OSError, RunLocked):
        if run.status().state != "crashed":
            return
        with run.lock():
            last = run.summary().last
            run.append(
                End(
                    time=max(time.time(), last.time if last else 0.0),
                    epoch=last.epoch if last else 0,
                    step=last.step if last else 0,
                    status="failed",
                    reason=reason,
                )
            )


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _loopback() -> str | None:
    try:
        names = [name for _, name in socket.if_nameindex()]
    except (OSError, AttributeError):
        return None
    return next((name for name in names if name in ("lo", "lo0")), None)
