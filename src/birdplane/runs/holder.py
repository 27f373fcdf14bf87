"""`process.json`: the process that trains a run, and whether it lives."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from birdplane import processes


@dataclass(frozen=True)
class Holder:
    """The process that trains a run, or did until it died. `since` is in seconds since 1970."""

    pid: int
    started: str
    machine: processes.Machine
    since: float
    folder: tuple[int, int]

    def state(self, folder: tuple[int, int]) -> Literal["live", "dead", "elsewhere"]:
        """Tell whether it lives; `elsewhere` means on another host or in another container: not to be known.

        `folder` identifies the run folder as it is now: a copy of the folder is not what the process trains.
        """
        here = processes.this_machine()
        if self.machine.host != here.host:
            return "elsewhere"
        if self.machine.boot != here.boot:
            return "dead"
        if self.machine.namespace != here.namespace:
            return "elsewhere"
        alive = folder == self.folder and processes.process_started(self.pid) == self.started
        return "live" if alive else "dead"


def read_holder(folder: Path) -> Holder | None:
    """Return who trains the run in `folder` or did when it crashed; None where nobody is noted."""
    try:
        record = json.loads((folder / "process.json").read_bytes())
        host, boot, namespace = (str(record.get(key, "")) for key in ("host", "boot", "namespace"))
        device, inode = record.get("folder") or (0, 0)
        return Holder(
            pid=int(record["pid"]),
            started=str(record["started"]),
            machine=processes.Machine(host, boot, namespace),
            since=float(record["since"]),
            folder=(int(device), int(inode)),
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def this_process(folder: Path) -> bytes:
    machine = processes.this_machine()
    record = {
        "pid": os.getpid(),
        "started": processes.process_started(os.getpid()),
        "host": machine.host,
        "boot": machine.boot,
        "namespace": machine.namespace,
        "since": time.time(),
        "folder": identity(folder),
    }
    return json.dumps(record).encode() + b"\n"


def identity(folder: Path) -> tuple[int, int]:
    stat = folder.stat()
    return stat.st_dev, stat.st_ino
