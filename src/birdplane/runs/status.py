"""How it stands with a run, and why: from its events, the process that trains it, and how that ended."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from birdplane import durable
from birdplane.events import End, Event, Heartbeat
from birdplane.processes import signal_name
from birdplane.runs.holder import Holder, identity, read_holder

State = Literal[
    "new", "preparing", "running", "paused", "done", "stopped", "failed", "crashed", "unknown", "broken"
]
#: The states of a run that a process is known to train now.
LIVE: tuple[State, ...] = ("preparing", "running", "paused")

#: A run on another host whose files are older than this many seconds is said to be unknown, not running.
SILENCE_SECONDS = 60.0

#: The file with stdout and stderr of the training process.
LOG = "log.txt"
#: What a line of a log has that tells of trouble.
_TROUBLE = re.compile(
    r"(?i)error|exception|fatal|fault|killed|abort|terminate|out of memory|no space|interrupt"
)


@dataclass(frozen=True)
class Status:
    """How it stands with a run, and in a sentence why; `pid` where a process on this machine trains it."""

    state: State
    reason: str = ""
    pid: int | None = None

    @property
    def live(self) -> bool:
        """Whether a process is known to train it now."""
        return self.state in LIVE


def status_of(folder: Path, last: Event | None, now: Callable[[], float]) -> Status:
    """Return how it stands with the run in `folder`, of whose events this is the last. See `Run.status`."""
    holder = read_holder(folder)
    state = holder.state(identity(folder)) if holder else "dead"
    ended = last if isinstance(last, End) else None
    # A process that has only just taken over has not told of its start: the end is that of the one before.
    if ended is not None and not (holder and state == "live" and ended.time < holder.since):
        return _ended(ended)
    if holder and state == "live":
        # What ended is the process before; this one has not told anything yet.
        return Status(*_doing(None if ended else last), holder.pid)
    if holder and state == "elsewhere":
        return _elsewhere(folder, holder, last, now)
    exit_code = _exit_code(folder, holder)
    if last is None and holder is None and exit_code is None:
        return Status("new")
    return Status("crashed", _crash_reason(log_tail(folder / LOG), holder, exit_code))


def _ended(end: End) -> Status:
    state: State
    match end.status:
        case "done" | "stopped" | "failed" as state:
            return Status(state, end.reason)
        case other:
            return Status("unknown", f"the run ended as {other!r}, which this version does not know")


def _elsewhere(folder: Path, holder: Holder, last: Event | None, now: Callable[[], float]) -> Status:
    heard = max(last.time if last else 0.0, holder.since, modified(folder / "events.jsonl"))
    where = f"on host {holder.machine.host}"
    silent = now() - heard
    if silent < SILENCE_SECONDS:
        return Status(_doing(last)[0], where)
    return Status("unknown", f"{where}, not heard of for {silent:.0f} s")


def _doing(last: Event | None) -> tuple[State, str]:
    """Return the state of a run that is trained, by the last that was told of it, and a word for what it does."""
    if last is None:
        return "preparing", ""
    if not isinstance(last, Heartbeat):
        return "running", ""
    if last.state == "preparing":
        return "preparing", last.what
    return ("paused", "") if last.state == "paused" else ("running", last.state)


def record_exit(folder: Path, pid: int, returncode: int) -> None:
    """Write `exit.json`. See `Run.record_exit`."""
    path = folder / "exit.json"
    try:
        durable.replace_file(path, json.dumps({"pid": pid, "returncode": returncode}).encode() + b"\n")
    except OSError as error:
        raise durable.trouble(error, "write", path) from error


def _exit_code(folder: Path, holder: Holder | None) -> int | None:
    try:
        record = json.loads((folder / "exit.json").read_bytes())
        if holder is not None and record["pid"] != holder.pid:
            return None
        return int(record["returncode"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None


def _crash_reason(log: list[str], holder: Holder | None, exit_code: int | None) -> str:
    """Say in one line why the process may have gone: what its parent saw, else what the log's end says."""
    last = log[-1].strip()[:200] if log else ""
    if exit_code is not None and exit_code < 0:
        name = signal_name(-exit_code)
        memory = " (perhaps for want of memory)" if name == "SIGKILL" else ""
        return f"killed by {name}{memory}" + (f"; last in its log: {last}" if last else "")
    fatal = next((line.strip()[:200] for line in log if line.startswith("Fatal Python error")), "")
    # Who saw no end can tell only what was said of it: the figures of an epoch are no reason.
    said = fatal or next((line.strip()[:200] for line in log[::-1] if _TROUBLE.search(line)), "")
    if exit_code is not None:
        return f"it left with exit code {exit_code}" + (f"; last in its log: {fatal or last}" if last else "")
    if said:
        return f"the process is gone; last in its log: {said}"
    if holder is None:
        return "the process left without a word (told to at once, or it could not write any more: is the disk full?)"
    return "the process is gone without a word (killed, or the machine went down)"


def log_tail(log: Path, lines: int = 10) -> list[str]:
    """Return the last lines of a log that are not empty; none if there is no such file."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 400 * lines))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    # A progress bar's carriage returns are no lines.
    found = [line.rpartition("\r")[2].rstrip() for line in text.replace("\r\n", "\n").split("\n")]
    return [line for line in found if line][-lines:]


def modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
