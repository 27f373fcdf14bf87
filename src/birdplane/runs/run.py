"""The handle on a run folder."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from birdplane import durable
from birdplane.errors import BirdplaneError, UsageError, nearest
from birdplane.eventlog import (
    EventReader,
    EventWriter,
    History,
    Summary,
    Tail,
    last_event,
    rewrite,
    summarise,
)
from birdplane.events import End, Event
from birdplane.runs.control import Action, Requests, ask
from birdplane.runs.holder import Holder, identity, read_holder
from birdplane.runs.lock import RunLock
from birdplane.runs.naming import check_name, is_run, names, take_name
from birdplane.runs.status import LOG, Status, log_tail, record_exit, status_of


class Run:
    """A run folder. Making one touches nothing; see `create` and `open`.

    One process at a time writes: it holds `lock()`, calls `append`, and reads `requests()`. Any number read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._writer = EventWriter(self.path / "events.jsonl")
        self._control_from: int | None = None
        #: What identifies the folder that was made or locked, wherever it is by now.
        self._folder: tuple[int, int] | None = None

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
        return self.path / LOG

    @classmethod
    def create(
        cls,
        folder: Path,
        name: str | None = None,
        stem: str = "run",
        *,
        pipeline_toml: str,
        also: Mapping[str, bytes] | None = None,
    ) -> Run:
        """Make a new run in `folder`. Without a name it is `<stem>-1`, `<stem>-2`, ...: the next one free.

        The folder appears in one step with its pipeline in it, and other files by their names, flushed to the disk,
        or not at all.

        Raises:
            UsageError: the name is not allowed or taken.
            BirdplaneError: the folder cannot be written.
        """
        check_name(stem if name is None else name)
        try:
            durable.make_folder(folder)
            beside = folder / f".{name or stem}.{os.getpid()}-{threading.get_ident()}.new"
            durable.remove_folder(beside)
            try:
                beside.mkdir()
                for file, data in {**(also or {}), "pipeline.toml": pipeline_toml.encode()}.items():
                    durable.write_file(beside / file, data)
                durable.sync_folder(beside)
                made = cls(take_name(beside, folder, name, stem))
                made._folder = identity(made.path)
                return made
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
            BirdplaneError: it cannot be looked into.
        """
        word = os.fspath(name_or_path)
        places = [folder / word, Path(word)] if word else []
        for path in places:
            try:
                if is_run(path):
                    return cls(path)
            except PermissionError as error:
                raise durable.trouble(error, "read", path) from error
        if any(os.path.isdir(path) for path in places):  # noqa: PTH112 - never raises
            raise UsageError(f"{word!r} is not a run: it has no pipeline.toml")
        hint = nearest(word, names(folder)) or "; `birdplane runs` lists them"
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

    def end(self, event: End) -> None:
        """Append the last event, also on a full disk: there `process.json` makes room, which is not needed any more.

        Raises:
            BirdplaneError: it could not be written.
        """
        try:
            self.append(event)
        except BirdplaneError:
            with contextlib.suppress(OSError):
                (self.path / "process.json").unlink()
            self.append(event)

    def note_place(self) -> None:
        """Remember which folder it is, for `check_in_place`; one that is made or locked is remembered anyway."""
        with contextlib.suppress(OSError):
            self._folder = identity(self.path)

    def check_in_place(self) -> None:
        """Check that the folder is still where it was.

        Raises:
            BirdplaneError: it was deleted, or moved elsewhere, and with it went what is written from now on.
        """
        if not self.in_place():
            raise self.gone()

    def gone(self) -> BirdplaneError:
        """Return the one line for a folder that is not `in_place` any more."""
        return BirdplaneError(
            f"the run's folder {str(self.path)!r} is gone: it was deleted or moved while it was trained; if "
            "it was moved, `birdplane resume` and its new place goes on from the last checkpoint"
        )

    def in_place(self) -> bool:
        """Tell whether the folder that was made or locked is still where it was."""
        try:
            return self._folder is None or identity(self.path) == self._folder
        except FileNotFoundError:
            return False
        except OSError:
            return True  # a network's file system may be away for a while

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
        return log_tail(self.log, lines)

    def holder(self) -> Holder | None:
        """Return who trains the run or did when it crashed, alive or not; None after an orderly end."""
        return read_holder(self.path)

    def status(self, *, now: Callable[[], float] = time.time) -> Status:
        """Return how it stands with the run. Costs no more than reading the last line of `events.jsonl`.

        Raises:
            OSError: the events are there but cannot be read.
        """
        return status_of(self.path, last_event(self.path / "events.jsonl"), now)

    def record_exit(self, pid: int, returncode: int) -> None:
        """Note how the training process ended: for whoever started it and waited, as nobody else can know.

        `returncode` is as `subprocess.Popen` has it: a signal is negative.

        Raises:
            BirdplaneError: it could not be written.
        """
        record_exit(self.path, pid, returncode)

    # several processes

    def keep_processes(self, count: int) -> None:
        """Note in how many processes the run is trained, so that it goes on in as many.

        Raises:
            BirdplaneError: it could not be written.
        """
        path = self.path / "processes.json"
        try:
            durable.replace_file(path, json.dumps({"processes": count}).encode() + b"\n")
        except OSError as error:
            raise durable.trouble(error, "write", path) from error

    def processes(self) -> int:
        """Return in how many processes the run is trained: 1 where nothing else was noted."""
        try:
            count = json.loads((self.path / "processes.json").read_bytes())["processes"]
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            return 1
        return count if type(count) is int and count > 0 else 1

    # control

    def request(self, action: Action) -> None:
        """Ask the training process to pause, resume or stop. Nothing happens if no process trains the run.

        Raises:
            ValueError: there is no such request.
            BirdplaneError: it could not be written.
        """
        ask(self.path / "control.jsonl", action)

    def requests(self) -> Requests:
        """Return a reader of what is asked from now on or, under `lock()`, since that was taken."""
        return Requests(self.path / "control.jsonl", self._control_from)
