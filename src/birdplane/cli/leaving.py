"""Leaving when told to: while torch is imported, and in the midst of a call that does not return."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from birdplane.processes import handling

#: How long a second signal is left to Python itself, which answers between two of its own instructions, and how often
#: it is reminded meanwhile: two that came between the same two instructions it takes for one.
_PATIENCE_SECONDS = 0.5
_REMINDER_SECONDS = 0.05
_ENDING = (signal.SIGINT, signal.SIGTERM)

#: The end of the pipe that the system's numbers of signals go into, or -1.
_listening = -1


class LeaveAtOnce(SystemExit):
    """Leave without waiting for torch to be taken down, which takes up to a second; nothing is left to write."""


@contextmanager
def importing() -> Iterator[None]:
    """While torch is imported, let SIGTERM leave in order, and a closed terminal (SIGHUP) end nothing."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise LeaveAtOnce(128 + number)

    with handling(leave, signal.SIGTERM):
        yield


@contextmanager
def second_ends_it() -> Iterator[None]:
    """Inside the block, end the process within a second of the second SIGINT or SIGTERM, whatever it is doing.

    A handler in Python runs between two of its instructions: not during a step that takes long, or a flush to a disk
    that does not answer. Here the system itself writes the signal's number into a pipe, and a thread reads it. What
    is on the disk is whole at any instant.
    """
    global _listening
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    over = threading.Event()
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    _listening = writer
    thread = threading.Thread(target=_count, args=(reader, over), name="second signal", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        signal.set_wakeup_fd(before)
        _listening = -1
        os.write(writer, b"\0")  # a child may hold the other end open: its closing would not wake the thread
        thread.join()
        os.close(writer)
        os.close(reader)


def _count(reader: int, over: threading.Event) -> None:
    received = 0
    while not over.is_set():
        for number in os.read(reader, 64):
            received += number in _ENDING
            if received == 2:
                _end(number, over)
                return


def _end(number: int, over: threading.Event) -> None:
    """End the process, unless it is `over` in time by what Python does at the signal."""
    main = threading.main_thread().ident
    assert main is not None, "what runs has been started"
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if over.wait(_REMINDER_SECONDS):
            return
        signal.pthread_kill(main, number)
    os._exit(128 + number)


def _deaf() -> None:
    """In a child that was forked, such as a decoding worker: its signals are none of this process's."""
    if _listening >= 0:
        with suppress(ValueError, OSError):
            signal.set_wakeup_fd(-1)
            os.close(_listening)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_deaf)
