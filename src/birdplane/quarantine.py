"""New plugins are tried in a process of their own, before they are first imported here.

What ends a process (`os._exit`, a crash in compiled code) or never returns cannot be caught where it happens. A
plugin that came through is vouched for, in a file in birdplane's cache, until its version or its files change; so
is the verdict on one that did not. Where that file cannot be written, a plugin is tried at every start: a third
of a second is less than a command that hangs.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import birdplane
from birdplane.cache import cache_folder
from birdplane.durable import replace_file
from birdplane.errors import BirdplaneError, UsageError
from birdplane.guard import loading
from birdplane.processes import signal_name

#: Seconds that a new plugin may take to be imported; 0: no plugin is tried apart.
LIMIT_VARIABLE = "BIRDPLANE_PLUGIN_SECONDS"
DEFAULT_LIMIT = 10.0

_FILE = "plugins.json"
_FORMAT = 1
_MOST_VERDICTS = 500
_MOST_FILES = 200
#: Seconds for Python and birdplane themselves, which a cold disk makes long.
_START_SECONDS = 60.0
_PROGRAM = (
    "import json, sys; job = json.loads(sys.stdin.readline()); sys.path[:] = job['path']; "
    "from birdplane.quarantine import serve; serve(job)"
)

Stamp = tuple[int, int] | None


@dataclass(frozen=True)
class Candidate:
    """A plugin that is to be imported: the name and the value of its entry point, its package and version."""

    name: str
    value: str
    package: str

    @property
    def module(self) -> str:
        return self.value.partition(":")[0].partition("[")[0].strip()


@dataclass(frozen=True)
class Verdict:
    """What came of trying a plugin. `reason` is empty where it may be imported.

    `files` are the plugin's own files that were read for it, each with its time in nanoseconds and its size;
    `limit` is how long it was waited for, where that is why it is bad.
    """

    reason: str = ""
    files: dict[str, Stamp] = field(default_factory=dict)
    limit: float | None = None

    def holds(self, files: dict[str, Stamp], limit: float) -> bool:
        """Tell whether it is still right for a plugin whose module is found in `files`."""
        if self.limit is not None and limit > self.limit:
            return False
        return files.items() <= self.files.items() and all(
            _stamp(path) == stamp for path, stamp in self.files.items()
        )


def chosen_limit() -> float:
    """Return the seconds that a new plugin may take.

    Raises:
        UsageError: the variable holds no number of seconds.
    """
    text = os.environ.get(LIMIT_VARIABLE, "").strip()
    try:
        limit = float(text) if text else DEFAULT_LIMIT
    except ValueError:
        limit = -1.0
    if not 0 <= limit < float("inf"):
        raise UsageError(
            f"{LIMIT_VARIABLE}: {text!r} is no number of seconds, such as 10 (0: do not try plugins apart)"
        )
    return limit


class Quarantine:
    """Says of plugins whether they may be imported here, and tries apart those that it does not know.

    Args:
        file: where verdicts are kept; None keeps none.
        limit: the seconds that one plugin may take.
    """

    def __init__(self, file: Path | None, limit: float) -> None:
        self.limit = limit
        self._file = file

    @classmethod
    def usual(cls) -> Quarantine:
        """The one whose verdicts are in birdplane's cache, with the limit of the variable."""
        return cls(_usual_file(), chosen_limit())

    def reasons(self, candidates: Sequence[Candidate]) -> list[str]:
        """Return for each plugin why it must not be imported, or an empty string."""
        if not self.limit or not candidates or not sys.executable:
            return [""] * len(candidates)
        known = self._read()
        keys = [_key(one) for one in candidates]
        files = [own_files(one.module) for one in candidates]
        verdicts = [known.get(key) for key in keys]
        new = [
            number
            for number, (verdict, own) in enumerate(zip(verdicts, files, strict=True))
            # What is not found cannot do anything: importing it says so.
            if own and (verdict is None or not verdict.holds(own, self.limit))
        ]
        if new:
            found = tried([candidates[number] for number in new], self.limit)
            for number, verdict in zip(new, found, strict=True):
                verdicts[number] = verdict
                known.pop(keys[number], None)
                if verdict is not None:
                    verdict.files.update(files[number])
                    known[keys[number]] = verdict
            self._write(known)
        return [
            verdict.reason if verdict and own else "" for verdict, own in zip(verdicts, files, strict=True)
        ]

    def forget_bad(self) -> None:
        """Let the plugins that did not come through be tried again."""
        self._write({key: verdict for key, verdict in self._read().items() if not verdict.reason})

    def _read(self) -> dict[str, Verdict]:
        """Return the verdicts that were kept; what cannot be read counts as none."""
        if self._file is None:
            return {}
        try:
            kept = json.loads(self._file.read_bytes())
            if kept["format"] != _FORMAT:
                return {}
            return {key: _from_json(record) for key, record in kept["verdicts"].items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return {}

    def _write(self, verdicts: dict[str, Verdict]) -> None:
        if self._file is None:
            return
        newest = dict(list(verdicts.items())[-_MOST_VERDICTS:])
        records = {
            key: {"reason": verdict.reason, "files": verdict.files, "limit": verdict.limit}
            for key, verdict in newest.items()
        }
        with contextlib.suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self._file, json.dumps({"format": _FORMAT, "verdicts": records}).encode())


def _usual_file() -> Path | None:
    try:
        return cache_folder() / _FILE
    except BirdplaneError:
        return None


def _from_json(record: Any) -> Verdict:
    reason, limit = record["reason"], record["limit"]
    if not isinstance(reason, str) or not isinstance(limit, float | int | None):
        raise ValueError("not a verdict")
    return Verdict(
        reason, {path: tuple(stamp) if stamp else None for path, stamp in record["files"].items()}, limit
    )


# --- which plugin it is -----------------------------------------------------------------------------------


def _key(candidate: Candidate) -> str:
    python = f"{sys.prefix} {sys.hexversion:x}"
    return "\n".join([candidate.name, candidate.value, candidate.package, python, birdplane.__version__])


def own_files(module: str) -> dict[str, Stamp]:
    """Return the files of a module and of the packages around it, with time and size, importing none of them.

    Empty where there is no such module.
    """
    found: dict[str, Stamp] = {}
    parent, path = "", None
    for part in module.split("."):
        parent = f"{parent}.{part}" if parent else part
        spec = _spec(parent, path)
        if spec is None:
            return {}
        origin = spec.origin if spec.has_location and spec.origin else f"({parent})"
        found[origin] = _stamp(origin)
        path = spec.submodule_search_locations
    return found


def _spec(name: str, path: Any) -> Any:
    """Find a module as an import would; `importlib.util.find_spec` would import the packages around it."""
    for finder in sys.meta_path:
        try:
            spec = finder.find_spec(name, path)
        except Exception:  # a finder that somebody has installed
            continue
        if spec is not None:
            return spec
    return None


def _stamp(path: str) -> Stamp:
    try:
        facts = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    return facts.st_mtime_ns, facts.st_size


# --- trying, in this process ------------------------------------------------------------------------------


def tried(candidates: Sequence[Candidate], limit: float) -> list[Verdict | None]:
    """Try plugins one after another in a child process, which is started anew after each that ends or outlasts it.

    Where a child ends, the plugin that it was at is tried once more by itself: one before it may have done it.
    None stands for a plugin that no child could be started for.
    """
    verdicts: dict[int, Verdict | None] = {}
    alone = False
    while len(verdicts) < len(candidates):
        rest = [number for number in range(len(candidates)) if number not in verdicts]
        try:
            child = _Child([candidates[number] for number in (rest[:1] if alone else rest)], limit)
        except OSError:
            verdicts |= dict.fromkeys(rest)
            break
        try:
            done, ending = child.watch()
        finally:
            child.end()
        for number, files in zip(rest, done, strict=False):
            verdicts[number] = Verdict(files=files)
        if ending is None:
            alone = False
        elif not ending.begun:
            verdicts |= dict.fromkeys(rest[len(done) :])
        elif ending.outlasted or not done:
            at = rest[len(done)]
            verdicts[at] = Verdict(ending.reason, limit=limit if ending.outlasted else None)
            alone = False
        else:
            alone = True
    return [verdicts[number] for number in range(len(candidates))]


@dataclass(frozen=True)
class _Ending:
    """How a child ended before it was done."""

    reason: str
    begun: bool
    outlasted: bool = False


class _Child:
    """A process that tries plugins. It has a session of its own, so that all that it starts can be ended."""

    def __init__(self, candidates: Sequence[Candidate], limit: float) -> None:
        self._candidates = candidates
        self._limit = limit
        self._messages: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        job = {"path": sys.path, "limit": limit, "points": [[one.name, one.value] for one in candidates]}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            # A plugin that starts birdplane while it is imported must not have itself tried, without end.
            env={**os.environ, LIMIT_VARIABLE: "0"},
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(OSError):
            self._process.stdin.write(json.dumps(job).encode() + b"\n")
            self._process.stdin.close()
        threading.Thread(target=self._read, args=[self._process.stdout], daemon=True).start()

    def _read(self, stream: IO[bytes]) -> None:
        with contextlib.suppress(OSError, ValueError), stream:
            for line in stream:
                self._messages.put(json.loads(line))
        self._messages.put(None)

    def watch(self) -> tuple[list[dict[str, Stamp]], _Ending | None]:
        """Return the files of each plugin that came through, and how the child ended at the next one, if it did."""
        done: list[dict[str, Stamp]] = []
        begun = False
        deadline = time.monotonic() + _START_SECONDS
        while len(done) < len(self._candidates):
            try:
                message = self._messages.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                return done, self._outlasted(begun)
            if message is None:
                return done, self._ended(begun, deadline)
            deadline = time.monotonic() + self._limit
            begun = "begin" in message
            if not begun:
                done.append({path: tuple(stamp) for path, stamp in message["files"].items()})
        return done, None

    def _outlasted(self, begun: bool) -> _Ending:
        return _Ending(f"did not finish importing within {self._limit:g} s", begun, outlasted=True)

    def _ended(self, begun: bool, deadline: float) -> _Ending:
        """Its messages have ended: so has the process, or it has become another program."""
        try:
            code = self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            return self._outlasted(begun)
        how = signal_name(-code) if code < 0 else f"exit status {code}"
        return _Ending(f"ends the process when imported ({how})", begun)

    def end(self) -> None:
        """End the child and all that it has started."""
        with contextlib.suppress(OSError):
            if sys.platform == "win32":
                self._process.kill()
            else:
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


# --- trying, in the child ---------------------------------------------------------------------------------


def serve(job: dict[str, Any]) -> None:
    """Be the child: import each plugin, ask for its components, let it add commands; tell of the beginning and end
    of each. What it raises is of no interest here: that can be caught where it is used."""
    import faulthandler

    messages = os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    process = os.getpid()

    def tell(message: dict[str, Any]) -> None:
        os.write(messages, json.dumps(message).encode() + b"\n")

    with open(os.devnull, "w", encoding="utf-8") as unread:  # noqa: PTH123
        for name, value in job["points"]:
            # Should birdplane be killed meanwhile: this ends even a loop in compiled code.
            faulthandler.dump_traceback_later(job["limit"] + 5, exit=True, file=unread)
            point = importlib.metadata.EntryPoint(name, value, "birdplane")
            tell({"begin": name})
            with contextlib.suppress(BaseException), loading:
                _start(point)
            if os.getpid() != process:
                os._exit(0)  # a copy that the plugin has forked
            tell({"files": _files_of(point.module)})
    os._exit(0)


def _start(point: importlib.metadata.EntryPoint) -> None:
    """Do what every start of birdplane does with a plugin."""
    import itertools

    from birdplane.faults import MOST_COMPONENTS

    module = point.load()
    components = getattr(module, "birdplane_components", None)
    if callable(components):
        with contextlib.suppress(Exception):
            list(itertools.islice(components(), MOST_COMPONENTS + 1))
    commands = getattr(module, "birdplane_commands", None)
    if callable(commands):
        import typer

        commands(typer.Typer())


def _files_of(module: str) -> dict[str, Stamp]:
    """Return the files of a plugin that were read when it was imported."""
    top = module.partition(".")[0]
    found: dict[str, Stamp] = {}
    for name, loaded in list(sys.modules.items()):
        path = getattr(loaded, "__file__", None)
        if name.partition(".")[0] == top and isinstance(path, str) and len(found) < _MOST_FILES:
            stamp = _stamp(path)
            if stamp is not None:
                found[path] = stamp
    return found
