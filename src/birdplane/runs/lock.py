"""One process at a time trains a run."""

from __future__ import annotations

import contextlib
import time
from types import TracebackType
from typing import TYPE_CHECKING

from birdplane import durable
from birdplane.errors import BirdplaneError
from birdplane.runs.control import size
from birdplane.runs.holder import Holder, identity, this_process

if TYPE_CHECKING:
    import filelock

    from birdplane.runs.run import Run


class RunLocked(BirdplaneError):  # noqa: N818 - it reads as what it is
    """Another process trains this run. `holder` is None where it could not be told which."""

    def __init__(self, message: str, holder: Holder | None) -> None:
        super().__init__(message)
        self.holder = holder


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
            self._run._control_from = size(path / "control.jsonl")
            self._run._folder = identity(path)
            (path / "exit.json").unlink(missing_ok=True)
            durable.replace_file(path / "process.json", this_process(path))
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


def _refusal(run: Run) -> RunLocked:
    # Whoever has just won may not have written its name yet.
    holder = run.holder()
    for _ in range(20):
        if holder is not None and holder.state(identity(run.path)) != "dead":
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
