"""A run is a folder: this is the handle on it. Training writes through it, everything else reads through it.

    <runs>/<name>/
      pipeline.toml   what was asked for
      events.jsonl    what happened, one JSON object a line
      control.jsonl   what was asked of the run: pause, resume, stop
      process.json    who trains it: process, its start, host; there while it is trained, and after a crash
      exit.json       how that process ended, where whoever started it could tell
      log.txt         stdout and stderr of the training process
      checkpoints/    see `birdplane.checkpoint`

Imports no torch, and nothing else that takes long: a list of runs must be there at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, get_args

from birdplane import durable
from birdplane.errors import BirdplaneError, UsageError, nearest
from birdplane.eventlog import (
    EventReader,
    EventWriter,
    History,
    Summary,
    Tail,
    ends_with_newline,
    read_lines,
    rewrite,
    summarise,
)
from birdplane.events import End, Event, Heartbeat

if TYPE_CHECKING:
    import filelock

State = Literal["new", "running", "paused", "done", "stopped", "failed", "crashed", "unknown", "broken"]
Action = Literal["pause", "resume", "stop"]

#: A run on another host whose files are older than this many seconds is said to be unknown, not running.
SILENCE_SECONDS = 60.0

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}(?<!\.)")
#: Names that Windows keeps for devices, whatever comes after a dot.
_DEVICES = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?", re.IGNORECASE)


def runs_folder(given: Path | None = None) -> Path:
    """Return the folder that holds the runs: the given one, else `BIRDPLANE_RUNS`, else `runs` right here."""
    return given or Path(os.environ.get("BIRDPLANE_RUNS") or "runs")


# --- what a reader is told --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Status:
    """How it stands with a run, and in a sentence why; `pid` where a process on this machine trains it."""

    state: State
    reason: str = ""
    pid: int | None = None

    @property
    def live(self) -> bool:
        """Whether a process is known to train it now."""
        return self.state in ("running", "paused")


@dataclass(frozen=True)
class Holder:
    """The process that trains a run, or did until it died. `since` is in seconds since 1970."""

    pid: int
    started: str
    machine: durable.Machine
    since: float
    folder: tuple[int, int]

    def state(self, folder: tuple[int, int]) -> Literal["live", "dead", "elsewhere"]:
        """Tell whether it lives; `elsewhere` means on another host or in another container: not to be known.

        `folder` identifies the run folder as it is now: a copy of the folder is not what the process trains.
        """
        here = durable.this_machine()
        if self.machine.host != here.host:
            return "elsewhere"
        if self.machine.boot != here.boot:
            return "dead"
        if self.machine.namespace != here.namespace:
            return "elsewhere"
        alive = folder == self.folder and durable.process_started(self.pid) == self.started
        return "live" if alive else "dead"


class RunLocked(BirdplaneError):  # noqa: N818 - it reads as what it is
    """Another process trains this run. `holder` is None where it could not be told which."""

    def __init__(self, message: str, holder: Holder | None) -> None:
        super().__init__(message)
        self.holder = holder


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """A line in the list of runs. Times are in seconds since 1970; `seconds` is the last session's length.

    `state` is `broken`, with a reason, where the folder cannot be read. `train_loss` is that of the last
    epoch or, before the first epoch is over, of the last progress.
    """

    name: str
    path: Path
    state: State
    reason: str = ""
    epoch: int | None = None
    epochs: int | None = None
    step: int | None = None
    train_loss: float | None = None
    validation_loss: float | None = None
    validation_accuracy: float | None = None
    best_accuracy: float | None = None
    started: float | None = None
    updated: float | None = None
    seconds: float | None = None


# --- the handle -------------------------------------------------------------------------------------------


class Run:
    """A run folder. Making one touches nothing; see `create` and `open`.

    One process at a time writes: it holds `lock()`, calls `append`, and reads `requests()`. Any number read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._writer = EventWriter(self.path / "events.jsonl")
        self._control_from: int | None = None

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name or self.path.resolve().name

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def log(self) -> Path:
        """The file with stdout and stderr of the training process."""
        return self.path / "log.txt"

    @classmethod
    def create(cls, folder: Path, name: str | None = None, stem: str = "run", *, pipeline_toml: str) -> Run:
        """Make a new run in `folder`. Without a name it is `<stem>-1`, `<stem>-2`, ...: the next one free.

        The folder appears in one step with its pipeline in it, flushed to the disk, or not at all.

        Raises:
            UsageError: the name is not allowed or taken.
            BirdplaneError: the folder cannot be written.
        """
        check_name(stem if name is None else name)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            beside = folder / f".{name or stem}.{os.getpid()}-{threading.get_ident()}.new"
            durable.remove_folder(beside)
            try:
                beside.mkdir()
                durable.write_file(beside / "pipeline.toml", pipeline_toml.encode())
                durable.sync_folder(beside)
                return cls(_take(beside, folder, name, stem))
            except BaseException:
                durable.remove_folder(beside)
                raise
        except OSError as error:
            raise durable.trouble(error, "make a run in", folder) from error

    @classmethod
    def open(cls, folder: Path, name_or_path: str | os.PathLike[str]) -> Run:
        """Return the run of that name in `folder`, or the one at that path.

        Raises:
            UsageError: there is none; the message has the nearest name.
        """
        word = os.fspath(name_or_path)
        places = [folder / word, Path(word)] if word else []
        for path in places:
            if _is_run(path):
                return cls(path)
        if any(os.path.isdir(path) for path in places):  # noqa: PTH112 - never raises
            raise UsageError(f"{word!r} is not a run: it has no pipeline.toml")
        hint = nearest(word, _names(folder)) or "; `birdplane runs` lists them"
        raise UsageError(f"there is no run {word!r} in {str(folder)!r}{hint}")

    def pipeline_toml(self) -> str:
        """Return the text of the pipeline file.

        Raises:
            BirdplaneError: it cannot be read.
        """
        path = self.path / "pipeline.toml"
        try:
            return path.read_text(encoding="utf-8")
        except OSError as error:
            raise durable.trouble(error, "read", path) from error
        except UnicodeDecodeError as error:
            raise BirdplaneError(f"cannot read {str(path)!r}: it is not UTF-8 text") from error

    # writing

    def lock(self) -> RunLock:
        """Return the right to train this run: a context manager, also with `acquire()` and `release()`.

        The system frees it when the holder dies, however it dies. Between hosts it holds as far as the shared
        file system keeps `flock`: NFS 4 does; where a file system has none, filelock's lock file stands in,
        and after a crash on another host it may have to be removed by hand (`<run>/.lock`).

        Raises (on entering):
            RunLocked: another process has it; told at once.
            BirdplaneError: the folder cannot be written.
        """
        return RunLock(self)

    def append(self, event: Event) -> None:
        """Add one line to `events.jsonl`: one write, in constant time.

        Starts, checkpoints and ends are on the disk when it returns; the rest survives a kill, but not a
        power cut before the next of those or `sync`. Append an epoch, and the progress up to it, and call
        `sync`, before the checkpoint of that step is saved: then a run that resumes from it lacks neither.

        Raises:
            BirdplaneError: it could not be written; no half line stays.
        """
        try:
            self._writer.append(event)
        except OSError as error:
            raise durable.trouble(error, "write", self._writer.path) from error

    def sync(self) -> None:
        """Wait until all events so far are on the disk.

        Raises:
            BirdplaneError: they could not be written.
        """
        try:
            self._writer.sync()
        except OSError as error:
            raise durable.trouble(error, "write", self._writer.path) from error

    def rewind(self, step: int) -> None:
        """Take out of `events.jsonl` what a start from `step` makes void; call it before appending the start.

        Progress, epochs, checkpoints and alerts of later steps go, and so do torn and broken lines. A kill
        leaves the old file or the new one. Readers notice and read anew.

        Raises:
            BirdplaneError: it could not be written; the file is as it was.
        """
        self._writer.close()
        path = self._writer.path
        try:
            rewrite(path, step)
        except FileNotFoundError:
            return
        except OSError as error:
            raise durable.trouble(error, "rewrite", path) from error

    def close(self) -> None:
        """Close the file that `append` holds open; the next `append` opens it again."""
        self._writer.close()

    # reading

    def events(self, kinds: Collection[type[Event]] | None = None) -> EventReader:
        """Return an iterator over all events as they stand in the file, or over those of some kinds.

        A torn last line is the end of the file; kinds that this version does not know are left out; broken
        lines are left out and counted in the iterator's `skipped`.
        """
        return EventReader(self.path / "events.jsonl", kinds)

    def history(self) -> History:
        """Return the events that count, growing with the run: see `History`."""
        return History(self.tail())

    def tail(self, kinds: Collection[type[Event]] | None = None) -> Tail:
        """Return a reader of what is new: see `Tail`."""
        return Tail(self.path / "events.jsonl", kinds)

    def summary(self) -> Summary:
        """Return what a list of runs shows, read from the file's end.

        Raises:
            OSError: the file is there but cannot be read.
        """
        return summarise(self.path / "events.jsonl")

    def log_tail(self, lines: int = 10) -> list[str]:
        """Return the last lines of `log.txt` that are not empty; none if there is no such file."""
        try:
            with self.log.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - 400 * lines))
                text = file.read().decode("utf-8", "replace")
        except OSError:
            return []
        # A progress bar's carriage returns are no lines.
        found = [line.rpartition("\r")[2].rstrip() for line in text.replace("\r\n", "\n").split("\n")]
        return [line for line in found if line][-lines:]

    def holder(self) -> Holder | None:
        """Return who trains the run or did when it crashed, alive or not; None after an orderly end."""
        try:
            record = json.loads((self.path / "process.json").read_bytes())
            host, boot, namespace = (str(record.get(key, "")) for key in ("host", "boot", "namespace"))
            device, inode = record.get("folder") or (0, 0)
            return Holder(
                pid=int(record["pid"]),
                started=str(record["started"]),
                machine=durable.Machine(host, boot, namespace),
                since=float(record["since"]),
                folder=(int(device), int(inode)),
            )
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return None

    def status(self, *, now: Callable[[], float] = time.time) -> Status:
        """Return how it stands with the run. Costs no more than reading the end of `events.jsonl`.

        Raises:
            OSError: the events are there but cannot be read.
        """
        return _status(self, self.summary(), now)

    def record_exit(self, pid: int, returncode: int) -> None:
        """Note how the training process ended: for whoever started it and waited, as nobody else can know.

        `returncode` is as `subprocess.Popen` has it: a signal is negative.

        Raises:
            BirdplaneError: it could not be written.
        """
        path = self.path / "exit.json"
        try:
            durable.replace_file(path, json.dumps({"pid": pid, "returncode": returncode}).encode() + b"\n")
        except OSError as error:
            raise durable.trouble(error, "write", path) from error

    # control

    def request(self, action: Action) -> None:
        """Ask the training process to pause, resume or stop. Nothing happens if no process trains the run.

        Raises:
            ValueError: there is no such request.
            BirdplaneError: it could not be written.
        """
        if action not in get_args(Action):
            raise ValueError(f"{action!r} is no request: {', '.join(get_args(Action))}")
        path = self.path / "control.jsonl"
        line = json.dumps({"request": action, "time": time.time()}).encode() + b"\n"
        try:
            descriptor = durable.open_to_append(path)
            try:
                torn = not ends_with_newline(path)
                durable.write_all(descriptor, b"\n" * torn + line)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise durable.trouble(error, "write", path) from error

    def requests(self) -> Requests:
        """Return a reader of what is asked from now on or, under `lock()`, since that was taken."""
        return Requests(self.path / "control.jsonl", self._control_from)


def check_name(name: str) -> None:
    """Check the name of a new run.

    Raises:
        UsageError: it is not allowed; the message says what is.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot name a run: letters, digits, '.', '_' and '-' are allowed, "
            "the first a letter or digit, the last no '.', at most 100"
        )
    if _DEVICES.fullmatch(name):
        raise UsageError(f"{name!r} cannot name a run: Windows keeps that name for a device")


def _take(beside: Path, folder: Path, name: str | None, stem: str) -> Path:
    """Give the folder `beside` its final name: nobody else can get the same one."""
    if name is not None:
        try:
            durable.rename_folder(beside, folder / name)
        except FileExistsError as error:
            raise UsageError(
                f"the run {name!r} exists already in {str(folder)!r}; go on with `birdplane resume {name}`, "
                "or choose another name"
            ) from error
        return folder / name
    number = _last_number(folder, stem)
    while True:
        number += 1
        with contextlib.suppress(FileExistsError):
            durable.rename_folder(beside, folder / f"{stem}-{number}")
            return folder / f"{stem}-{number}"


def _last_number(folder: Path, stem: str) -> int:
    numbered = re.compile(re.escape(stem) + r"-([1-9][0-9]{0,8})", re.IGNORECASE)
    found = (numbered.fullmatch(entry) for entry in os.listdir(folder))  # noqa: PTH208 - names, not paths
    return max((int(match[1]) for match in found if match), default=0)


def _names(folder: Path) -> list[str]:
    with contextlib.suppress(OSError):
        return sorted(path.name for path in folder.iterdir() if _is_run(path))
    return []


def _is_run(path: Path) -> bool:
    # Not `Path.is_file`, which raises for a name that is too long.
    return os.path.isfile(path / "pipeline.toml")  # noqa: PTH113


def _identity(folder: Path) -> tuple[int, int]:
    stat = folder.stat()
    return stat.st_dev, stat.st_ino


# --- one writer -------------------------------------------------------------------------------------------


class RunLock:
    """The right to train a run. See `Run.lock`."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._lock: filelock.BaseFileLock | None = None

    def __enter__(self) -> Run:
        self.acquire()
        return self._run

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def acquire(self) -> None:
        """Take it, and tell in `process.json` who has it.

        Raises:
            RunLocked: another process has it.
            BirdplaneError: the folder cannot be written.
        """
        import filelock

        path = self._run.path
        lock = filelock.FileLock(path / ".lock", thread_local=False)
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout:
            raise _refusal(self._run) from None
        except OSError as error:
            raise durable.trouble(error, "lock", path) from error
        try:
            # What was asked before is not meant for this process; what is asked from here on is.
            self._run._control_from = _size(path / "control.jsonl")
            (path / "exit.json").unlink(missing_ok=True)
            durable.replace_file(path / "process.json", _this_process(path))
        except OSError as error:
            lock.release()
            raise durable.trouble(error, "write", path / "process.json") from error
        except BaseException:
            lock.release()
            raise
        self._lock = lock

    def release(self) -> None:
        """Give it back: close the events and take `process.json` away. Does nothing if it is not held."""
        lock, self._lock = self._lock, None
        if lock is None:
            return
        self._run.close()
        self._run._control_from = None
        try:
            with contextlib.suppress(OSError):
                (self._run.path / "process.json").unlink()
        finally:
            lock.release()


def _this_process(folder: Path) -> bytes:
    machine = durable.this_machine()
    record = {
        "pid": os.getpid(),
        "started": durable.process_started(os.getpid()),
        "host": machine.host,
        "boot": machine.boot,
        "namespace": machine.namespace,
        "since": time.time(),
        "folder": _identity(folder),
    }
    return json.dumps(record).encode() + b"\n"


def _refusal(run: Run) -> RunLocked:
    # Whoever has just won may not have written its name yet.
    holder = run.holder()
    for _ in range(20):
        if holder is not None and holder.state(_identity(run.path)) != "dead":
            break
        time.sleep(0.005)
        holder = run.holder()
    else:
        return RunLocked(f"the run {run.name!r} is being trained by another process", None)
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder.since))
    return RunLocked(
        f"the run {run.name!r} is being trained by pid {holder.pid} on host {holder.machine.host} "
        f"since {since}; `birdplane watch {run.name}` shows it, `birdplane stop {run.name}` ends it",
        holder,
    )


# --- status -----------------------------------------------------------------------------------------------


def _status(run: Run, summary: Summary, now: Callable[[], float]) -> Status:
    holder = run.holder()
    state = holder.state(_identity(run.path)) if holder else "dead"
    last, ended = summary.last, summary.ended
    # A process that has only just taken over has not told of its start: the end is that of the one before.
    if ended is not None and not (holder and state == "live" and ended.time < holder.since):
        return _ended(ended)
    if holder and state == "live":
        paused = isinstance(last, Heartbeat) and last.state == "paused"
        what = last.state if isinstance(last, Heartbeat) and not paused else ""
        return Status("paused" if paused else "running", what, holder.pid)
    if holder and state == "elsewhere":
        return _elsewhere(run, holder, last, now)
    exit_code = _exit_code(run, holder)
    if last is None and holder is None and exit_code is None:
        return Status("new")
    return Status("crashed", _crash_reason(run, exit_code))


def _ended(end: End) -> Status:
    state: State
    match end.status:
        case "done" | "stopped" | "failed" as state:
            return Status(state, end.reason)
        case other:
            return Status("unknown", f"the run ended as {other!r}, which this version does not know")


def _elsewhere(run: Run, holder: Holder, last: Event | None, now: Callable[[], float]) -> Status:
    heard = max(last.time if last else 0.0, holder.since, _modified(run.path / "events.jsonl"))
    where = f"on host {holder.machine.host}"
    silent = now() - heard
    if silent < SILENCE_SECONDS:
        paused = isinstance(last, Heartbeat) and last.state == "paused"
        return Status("paused" if paused else "running", where)
    return Status("unknown", f"{where}, not heard of for {silent:.0f} s")


def _exit_code(run: Run, holder: Holder | None) -> int | None:
    try:
        record = json.loads((run.path / "exit.json").read_bytes())
        if holder is not None and record["pid"] != holder.pid:
            return None
        return int(record["returncode"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None


def _crash_reason(run: Run, exit_code: int | None) -> str:
    """Say in one line why the process may have gone: what its parent saw, else what the log's end says."""
    log = run.log_tail()
    last = log[-1].strip()[:200] if log else ""
    if exit_code is not None and exit_code < 0:
        try:
            name = signal.Signals(-exit_code).name
        except ValueError:
            name = f"signal {-exit_code}"
        memory = " (perhaps for want of memory)" if name == "SIGKILL" else ""
        return f"killed by {name}{memory}" + (f"; last in its log: {last}" if last else "")
    fatal = next((line.strip()[:200] for line in log if line.startswith("Fatal Python error")), "")
    if exit_code is not None:
        return f"it left with exit code {exit_code}" + (f"; last in its log: {fatal or last}" if last else "")
    if last:
        return f"the process is gone; last in its log: {fatal or last}"
    return "the process is gone without a word (killed, or the machine went down)"


# --- control ----------------------------------------------------------------------------------------------


class Requests:
    """Reads what is asked of a run. See `Run.requests`."""

    def __init__(self, path: Path, begin: int | None) -> None:
        self._path = path
        self._inode = _inode(path)
        self._offset = _size(path) if begin is None else begin

    def poll(self) -> list[Action]:
        """Return what was asked since the last call, in order; what is no request is left out.

        With nothing new it costs one look at the file's size. Trouble in reading counts as nothing new.
        """
        try:
            stat = self._path.stat()
            if stat.st_size == self._offset and stat.st_ino == self._inode:
                return []
            if stat.st_size < self._offset or self._inode not in (None, stat.st_ino):
                self._offset = 0
            self._inode = stat.st_ino
            with self._path.open("rb", buffering=0) as file:
                data, _ = read_lines(file, self._offset, stat.st_size, None)
        except OSError:
            return []
        self._offset += len(data)
        return [action for line in data.splitlines() if (action := _action(line)) is not None]


def _action(line: bytes) -> Action | None:
    with contextlib.suppress(ValueError, RecursionError):
        record = json.loads(line)
        action = record.get("request") if isinstance(record, dict) else None
        if isinstance(action, str) and action in get_args(Action):
            return action  # type: ignore[return-value]
    return None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


# --- the list of runs -------------------------------------------------------------------------------------


def list_runs(folder: Path, *, now: Callable[[], float] = time.time) -> list[RunSummary]:
    """Return a summary of every run in `folder`, those last updated first; none if there is no such folder.

    A run that cannot be read is listed as `broken`, with the reason. Never raises for what is in the folder.
    """
    return Listing(folder).poll(now=now)


@dataclass
class Listing:
    """The list of runs for a screen that shows it again and again: files that did not change are not read."""

    folder: Path
    _known: dict[Path, tuple[tuple[int, int, int], Summary]] = field(default_factory=dict)

    def poll(self, *, now: Callable[[], float] = time.time) -> list[RunSummary]:
        """Return the list as it is now. See `list_runs`."""
        try:
            paths = [Path(entry.path) for entry in os.scandir(self.folder) if not entry.name.startswith(".")]
        except OSError:
            return []
        found = [self._summary(path, now) for path in paths if _looks_like_a_run(path)]
        return sorted(found, key=lambda run: (-(run.updated or 0.0), run.name))

    def _summary(self, path: Path, now: Callable[[], float]) -> RunSummary:
        updated = _modified(path / "events.jsonl") or _modified(path) or None
        try:
            if not (path / "pipeline.toml").is_file():
                return RunSummary(
                    name=path.name,
                    path=path,
                    state="broken",
                    reason="pipeline.toml is missing",
                    updated=updated,
                )
            events = self._events(path)
            status = _status(Run(path), events, now)
        except Exception as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            return RunSummary(name=path.name, path=path, state="broken", reason=reason, updated=updated)
        return _line(path, status, events, updated)

    def _events(self, path: Path) -> Summary:
        file = path / "events.jsonl"
        try:
            stat = file.stat()
        except FileNotFoundError:
            return Summary()
        signature = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
        known = self._known.get(path)
        if known is None or known[0] != signature:
            known = self._known[path] = (signature, summarise(file))
        return known[1]


def _looks_like_a_run(path: Path) -> bool:
    return any((path / name).exists() for name in ("pipeline.toml", "events.jsonl", "process.json"))


def _line(path: Path, status: Status, events: Summary, updated: float | None) -> RunSummary:
    start, epoch, progress = events.start, events.epoch, events.progress
    steps = [event.step for event in (start, epoch, progress) if event]
    last = events.last
    return RunSummary(
        name=path.name,
        path=path,
        state=status.state,
        reason=status.reason,
        epoch=epoch.epoch if epoch else None,
        epochs=start.epochs if start else None,
        step=max(steps, default=None),
        train_loss=epoch.train_loss if epoch else progress.mean if progress else None,
        validation_loss=epoch.validation_loss if epoch else None,
        validation_accuracy=epoch.validation_accuracy if epoch else None,
        best_accuracy=events.best_accuracy,
        started=events.first.time if events.first else None,
        updated=last.time if last else updated,
        seconds=last.time - start.time if last and start else None,
    )
