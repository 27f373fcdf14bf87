"""What a plugin's code may change of the process, set back after it, and told.

Prints and logging, the working folder, signal handlers, the environment, `sys.path`, warning filters and the global
random states belong to the command that runs, and to the other plugins.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from birdplane.errors import BirdplaneError
from birdplane.text import plain

#: Characters of what is printed, and of a reason, that are kept.
_KEPT = 400
_SIGNALS = tuple(signal.valid_signals())
#: What birdplane's own variables begin with.
_OURS = "BIRDPLANE_"
#: Seeds from here on are hardly ever written by a person.
_SMALL = 2**40


class Loading:
    """One thread loads the plugins at a time, and once: what a plugin was given from within would lack all plugins
    that come after it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._entered = False

    def __enter__(self) -> None:
        self._lock.acquire()
        if self._entered:
            self._lock.release()
            raise BirdplaneError("a plugin must not ask for components or plugins while it is imported")
        self._entered = True

    def __exit__(self, *_: object) -> None:
        self._entered = False
        self._lock.release()


loading = Loading()


class Notes(list[str]):
    """What was noticed of a plugin's code, a sentence each."""

    def add(self, sentence: str) -> None:
        if sentence not in self:
            self.append(sentence)


def one_line(text: object) -> str:
    """Return what came from a plugin as one short line; also of an object that cannot be printed."""
    try:
        line = " ".join(plain(str(text)).split())
    except BaseException:
        return "its text cannot be shown"
    return line if len(line) <= _KEPT else line[: _KEPT - 3] + "..."


@contextlib.contextmanager
def guarded(*, keep_prints: bool = True, libraries: bool = False) -> Iterator[Notes]:
    """Run a plugin's code; afterwards set back what it changed, also where it raises, and note that.

    What it prints is kept as a note, and reaches neither stdout nor stderr; without `keep_prints` it goes to stderr.
    So does what it logs or prints later, through a stream that it took hold of here. With `libraries`, what those
    change for themselves when they are imported is let be: filters of warnings, `sys.path` and new variables.

    Raises:
        KeyboardInterrupt: a person pressed Ctrl-C meanwhile, whatever became of the exception in the plugin.
    """
    notes, process = Notes(), os.getpid()
    with contextlib.ExitStack() as stack:
        for restored in (_interrupt, _signals, _randomness, _folder, _variables):
            stack.enter_context(restored(notes))
        if not libraries:
            for restored in (_warnings, _new_variables, _search_path):
                stack.enter_context(restored(notes))
        stack.enter_context(_logging())
        stack.enter_context(_prints(notes) if keep_prints else contextlib.redirect_stdout(sys.stderr))
        try:
            yield notes
        finally:
            if os.getpid() != process:
                os._exit(0)  # a copy that the plugin forked must not run the command a second time


def is_main_thread() -> bool:
    """Tell whether this is the thread that signals are handled in."""
    return threading.current_thread() is threading.main_thread()


# --- prints and logging -----------------------------------------------------------------------------------


class _Kept(io.RawIOBase):
    """Keeps the beginning of what is written; once released, hands everything on to stderr."""

    def __init__(self) -> None:
        self.data = b""
        self.released = False

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        count = len(data)
        if self.released:
            with contextlib.suppress(Exception):  # stderr may be closed
                sys.stderr.write(bytes(data).decode("utf-8", "replace"))
        elif len(self.data) < 4 * _KEPT:
            self.data += bytes(data)
        return count


@contextlib.contextmanager
def _prints(notes: Notes) -> Iterator[None]:
    kept = _Kept()
    stream = io.TextIOWrapper(kept, "utf-8", "replace", write_through=True)  # type: ignore[type-var]
    before = sys.stdout, sys.stderr
    with _descriptor():
        sys.stdout = sys.stderr = stream
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before
            kept.released = True
            with contextlib.suppress(Exception):
                # What was printed past us, while that still leads to stderr.
                real: Any = sys.__stdout__
                if real is not None:
                    real.flush()
    text = one_line(kept.data.decode("utf-8", "replace"))
    if text:
        notes.add(f"prints: {text}")


@contextlib.contextmanager
def _descriptor() -> Iterator[None]:
    """Lead what is not printed by Python code, such as a child process's output, from stdout to stderr.

    Only where the streams are Python's own: under a cockpit or a test that has replaced them, others draw on the
    same descriptors meanwhile.
    """
    saved = None
    ours = _own_stdout()
    if ours is not None:
        with contextlib.suppress(OSError):
            ours.flush()
            saved = os.dup(1)
            os.dup2(2, 1)
    try:
        yield
    finally:
        if saved is not None:
            with contextlib.suppress(OSError):
                os.dup2(saved, 1)
            os.close(saved)


def _own_stdout() -> Any:
    return sys.stdout if sys.stdout is sys.__stdout__ and is_main_thread() else None


@contextlib.contextmanager
def _logging() -> Iterator[None]:
    """Set the root logger back: `basicConfig` in a library changes what every program prints."""
    module = sys.modules.get("logging")
    handlers = list(module.root.handlers) if module else []
    level = module.root.level if module else None
    disabled = module.root.manager.disable if module else 0
    try:
        yield
    finally:
        module = sys.modules.get("logging")
        if module is not None:
            module.root.handlers[:] = handlers
            module.root.setLevel(module.WARNING if level is None else level)
            module.disable(disabled)


# --- the process ------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _interrupt(notes: Notes) -> Iterator[None]:
    """Tell a person's Ctrl-C from a KeyboardInterrupt that the plugin's own code raises: only the former comes by
    the signal, and it must end the command even where the plugin swallows it."""
    before = signal.getsignal(signal.SIGINT) if is_main_thread() else None
    escaped: BaseException | None = None
    if not callable(before):
        yield
        return

    def press(number: int, frame: FrameType | None) -> None:
        nonlocal escaped
        try:
            before(number, frame)
        except BaseException as error:
            escaped = error
            raise

    signal.signal(signal.SIGINT, press)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if escaped is not None:
            raise escaped


@contextlib.contextmanager
def _signals(notes: Notes) -> Iterator[None]:
    before = [signal.getsignal(number) for number in _SIGNALS]
    try:
        yield
    finally:
        for number, handler in zip(_SIGNALS, before, strict=True):
            if signal.getsignal(number) is not handler and signal.getsignal(number) != handler:
                notes.add(f"changes the handler of {signal.Signals(number).name}, which was set back")
                if handler is not None and is_main_thread():
                    signal.signal(number, handler)


@contextlib.contextmanager
def _folder(notes: Notes) -> Iterator[None]:
    before = _working_folder()
    try:
        yield
    finally:
        if before is not None and _working_folder() != before:
            notes.add("changes the working folder, which was set back")
            with contextlib.suppress(OSError):
                os.chdir(before)


def _working_folder() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109
    except OSError:
        return None


@contextlib.contextmanager
def _variables(notes: Notes) -> Iterator[None]:
    """Set back what was set, and what is birdplane's. What else is new stays: libraries tell themselves things so."""
    before = dict(os.environ)
    try:
        yield
    finally:
        now = dict(os.environ)
        changed = [name for name, value in before.items() if now.get(name) != value]
        ours = [name for name in now if name not in before and name.startswith(_OURS)]
        for name in changed:
            os.environ[name] = before[name]
        for name in ours:
            del os.environ[name]
        for name in sorted([*changed, *ours]):
            notes.add(f"changes the variable {name}, which was set back")


@contextlib.contextmanager
def _new_variables(notes: Notes) -> Iterator[None]:
    before = set(os.environ)
    try:
        yield
    finally:
        for name in sorted(set(os.environ) - before):
            if not name.startswith(_OURS):
                notes.add(f"sets the variable {name}")


@contextlib.contextmanager
def _search_path(notes: Notes) -> Iterator[None]:
    """Keep in front what was there: an entry put before it could hide anybody's modules. New ones stay, behind."""
    before = list(sys.path)
    try:
        yield
    finally:
        if sys.path != before:
            added = [entry for entry in sys.path if entry not in before]
            sys.path[:] = [*before, *added]
            notes.add(
                "changes sys.path; what it added was put last"
                if added
                else "changes sys.path, which was set back"
            )


@contextlib.contextmanager
def _warnings(notes: Notes) -> Iterator[None]:
    heavy = _loaded_heavy()
    with warnings.catch_warnings():
        before = list(warnings.filters)
        try:
            yield
        finally:
            # numpy and torch set filters of their own when they are imported, which is no fault of the plugin's.
            if list(warnings.filters) != before and _loaded_heavy() == heavy:
                notes.add("changes the filters of warnings, which were set back")


def _loaded_heavy() -> set[str]:
    return {"torch", "numpy"} & sys.modules.keys()


# --- randomness -------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _randomness(notes: Notes) -> Iterator[None]:
    restore = [_of_python(), _of_numpy(), _of_torch()]
    try:
        yield
    finally:
        changed = [set_back() for set_back in restore]
        if any(changed):
            notes.add("changes the global random state, which was set back")


def _of_python() -> Callable[[], bool]:
    before = random.getstate()

    def set_back() -> bool:
        changed = random.getstate() != before
        if changed:
            random.setstate(before)
        return changed

    return set_back


def _of_numpy() -> Callable[[], bool]:
    module = sys.modules.get("numpy.random")
    before = module.get_state() if module else None

    def set_back() -> bool:
        numpy_random = sys.modules.get("numpy.random")
        if numpy_random is None:
            return False
        if before is not None:
            now = numpy_random.get_state()
            changed = now[2:] != before[2:] or bool((now[1] != before[1]).any())
            if changed:
                numpy_random.set_state(before)
            return changed
        # It came with the plugin: there is no state to return to, but one that is not drawn from the system, as
        # every program that seeds nothing has it, shows that it was seeded.
        generator = getattr(getattr(numpy_random.mtrand, "_rand", None), "_bit_generator", None)
        seeded = generator is not None and getattr(generator, "_seed_seq", True) is None
        if seeded:
            numpy_random.seed()
        return seeded

    return set_back


def _of_torch() -> Callable[[], bool]:
    before = _torch_state()

    def set_back() -> bool:
        now = _torch_state()
        if now is None:
            return False
        torch = sys.modules["torch"]
        if before is not None:
            changed = not torch.equal(now, before)
            if changed:
                torch.set_rng_state(before)
            return changed
        # It came with the plugin, and seeded itself with 64 bits of the system's: a small seed is somebody's.
        seeded: bool = torch.initial_seed() < _SMALL
        if seeded:
            torch.default_generator.seed()
        return seeded

    return set_back


def _torch_state() -> Any:
    """Return the state of torch's global generator; None where torch is not, or only half, imported."""
    read = getattr(sys.modules.get("torch"), "get_rng_state", None)
    return read() if read is not None else None
