"""Processes, in what differs between systems: telling them apart, ending with one another, signals."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

#: A number of Linux: by which signal a process is told that its parent has died.
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Machine:
    """Where process numbers mean the same: the host, its boot, and the namespace of process numbers.

    `boot` and `namespace` are empty where the system does not tell (macOS, Windows).
    """

    host: str
    boot: str = ""
    namespace: str = ""


def this_machine() -> Machine:
    """Return the machine that this process runs on."""
    boot = namespace = ""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        with contextlib.suppress(OSError):
            namespace = str(Path("/proc/self/ns/pid").readlink())
    return Machine(socket.gethostname(), boot, namespace)


def process_started(pid: int) -> str | None:
    """Return a word for when the process `pid` began, or None if there is no such live process.

    A number that was given to a later process gets another word. On Linux it counts from the boot, so that
    setting the clock changes nothing. A process that is dead but not yet collected by its parent is not live.
    """
    if pid <= 0:
        return None
    if sys.platform == "linux":
        return _process_started_linux(pid)
    else:
        return _process_started_elsewhere(pid)


def end_with(pid: int, started: str) -> None:
    """See to it that this process is killed when the process `pid`, which began at `started`, is gone.

    Linux does so itself; elsewhere a thread looks twice a second.
    """
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if process_started(pid) != started:  # it was gone before that
            os._exit(1)
    else:
        end_when_gone(pid, started)


def end_when_gone(pid: int, started: str) -> None:
    """As `end_with`, by a thread that looks twice a second.

    Linux itself would look at the end of the thread that started this process: here that may be any.
    """
    threading.Thread(target=_watch, args=(pid, started), name="watch-parent", daemon=True).start()


def _watch(pid: int, started: str) -> None:
    while process_started(pid) == started:
        time.sleep(0.5)
    os._exit(1)


def _process_started_elsewhere(pid: int) -> str | None:
    import psutil  # type: ignore[import-untyped, unused-ignore]

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else repr(process.create_time())
    except psutil.AccessDenied:
        return "hidden"
    except psutil.Error:
        return None


def _process_started_linux(pid: int) -> str | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    # The second field is the program's name, which may hold spaces and brackets.
    words = stat.rpartition(b")")[2].split()
    return None if words[0] in (b"Z", b"X", b"x") else words[19].decode()


#: How often a thread looks before it sleeps. Measured on two cores: as quick as the usual 300,000 where nothing else
#: runs, and 1.6 times as quick beside three busy programs.
_SPINS = "50000"


def wait_briefly() -> None:
    """Let torch's threads spin for some ten microseconds only, unless somebody has chosen otherwise.

    They wait for one another after every operation, by default for about a millisecond without giving way: where
    other programs want the cores too, that is time taken from the very thread they wait for. GNU's OpenMP reads it
    when torch is loaded, here and in the processes that are started.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)


def signal_name(number: int) -> str:
    """Return the name of a signal, such as `SIGKILL`; `signal 99` where it has none here."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


@contextlib.contextmanager
def handling(handle: Callable[[int, FrameType | None], None], *numbers: signal.Signals) -> Iterator[None]:
    """Inside the block, call `handle` on these signals; a closed terminal (SIGHUP, where it is) ends nothing."""
    before = {number: signal.signal(number, handle) for number in numbers}
    if hasattr(signal, "SIGHUP"):
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
