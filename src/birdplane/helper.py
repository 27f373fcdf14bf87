"""The screens' helper: `python -m birdplane.helper` answers questions in a process of its own.

One JSON object a line. A question on stdin: `{"id": 1, "ask": "rehearse", ...values}`, answered on stdout by
`{"id": 1, "answer": {...}}` or `{"id": 1, "error": "one sentence", "kind": "usage" | "failed" | "internal" |
"cancelled"}`, and before that by any number of `{"id": 1, "progress": {"title", "done", "total", "unit"}}`.
`{"cancel": 1}` takes a question back. Numbers that are not finite are written `NaN` and `Infinity`, as Python does.
What can be asked stands in `birdplane.answers`; where pictures are not at hand, the answer to any question that
needs them is `{"missing": {"place": ..., "size": bytes or null}}`.

Questions are answered one after another, only `fetch`, which may take minutes, besides them. The process ends when
its stdin is closed. What components print goes to stderr; nothing they raise ends the process.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, BinaryIO

from birdplane import reporting
from birdplane.answers import QUESTIONS
from birdplane.answers.desk import Desk, PicturesMissing
from birdplane.errors import BirdplaneError, UsageError, described, message_of, nearest

#: Niceness: training, at 0, keeps its speed while pictures are looked at.
_NICENESS = 10
_PROGRESS_SECONDS = 0.1
#: What is answered besides the other questions, in a thread of its own.
_ASIDE = frozenset({"fetch"})


class _Cancelled(BaseException):
    """The question was taken back. Not an Exception: components that swallow those must not swallow it."""


class _Board:
    """Which questions were taken back, and which of them each thread answers."""

    def __init__(self) -> None:
        self._cancelled: set[Any] = set()
        self._current = threading.local()

    def cancel(self, number: Any) -> None:
        self._cancelled.add(number)

    def begin(self, number: Any) -> None:
        self._current.number = number

    def done(self, number: Any) -> None:
        self._cancelled.discard(number)

    def pulse(self) -> None:
        """Raise where the question that this thread answers was taken back."""
        if getattr(self._current, "number", None) in self._cancelled:
            raise _Cancelled


class Helper:
    """Answers questions and hands each answer to `send`."""

    def __init__(self, send: Callable[[dict[str, Any]], None]) -> None:
        self._send = send
        self._board = _Board()
        self._desk = Desk(self._board.pulse)
        self._lanes: dict[bool, queue.SimpleQueue[dict[str, Any]]] = {
            aside: queue.SimpleQueue() for aside in (False, True)
        }

    def receive(self, line: bytes) -> None:
        """Take one line from the screens; returns at once."""
        try:
            question = json.loads(line)
            if "cancel" in question:
                self._board.cancel(question["cancel"])
            else:
                self._lanes[question["ask"] in _ASIDE].put(question)
        except (ValueError, TypeError, KeyError, RecursionError):
            self._send(
                {"id": None, "error": "not a question: a JSON object with `id` and `ask`", "kind": "usage"}
            )

    def work(self, aside: bool) -> None:
        """Answer the questions of a lane, for ever."""
        while True:
            self.answer(self._lanes[aside].get())

    def answer(self, question: dict[str, Any]) -> None:
        """Answer one question; nothing that a component does escapes."""
        number = question.pop("id", None)
        self._board.begin(number)
        try:
            with reporting.listening(self._reporter(number)):
                self._board.pulse()
                reply: dict[str, Any] = {"answer": self._answered(**question)}
        except _Cancelled:
            reply = {"error": "cancelled", "kind": "cancelled"}
        except PicturesMissing as error:
            reply = {"answer": {"missing": {"place": str(error.lack.place), "size": error.lack.size}}}
        except BirdplaneError as error:
            kind = "usage" if isinstance(error, UsageError) else "failed"
            reply = {"error": message_of(error), "kind": kind}
        except BaseException as error:  # a component may even raise SystemExit
            traceback.print_exc()
            reply = {"error": described(error), "kind": "internal"}
        self._board.done(number)
        self._send({"id": number, **reply})

    def _answered(self, ask: str, **values: Any) -> Any:
        if ask not in QUESTIONS:
            raise UsageError(f"there is no question {ask!r}{nearest(ask, QUESTIONS)}")
        module, _, name = QUESTIONS[ask].partition(":")
        return getattr(importlib.import_module(module), name)(self._desk, **values)

    def _reporter(self, number: Any) -> reporting.Listener:
        told = 0.0

        def report(title: str, done: int, total: int | None, unit: str) -> None:
            nonlocal told
            self._board.pulse()
            now = time.monotonic()
            if done == 0 or done == total or now - told >= _PROGRESS_SECONDS:
                told = now
                progress = {"title": title, "done": done, "total": total, "unit": unit}
                self._send({"id": number, "progress": progress})

        return report


def _take_streams() -> tuple[BinaryIO, BinaryIO]:
    """Keep stdin and stdout for the conversation; components that read find nothing, what they print is log."""
    questions, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return questions, answers


def _step_back() -> None:
    """Take few threads, and those at low priority: training is what the machine is for."""
    threads = "1" if (os.cpu_count() or 1) <= 2 else "2"
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, threads)
    if hasattr(os, "nice"):
        with contextlib.suppress(OSError):
            os.nice(_NICENESS)


def _sender(answers: BinaryIO) -> Callable[[dict[str, Any]], None]:
    lock = threading.Lock()

    def send(reply: dict[str, Any]) -> None:
        line = json.dumps(reply, default=str).encode() + b"\n"
        try:
            with lock:
                answers.write(line)
                answers.flush()
        except OSError:  # nobody listens any more
            os._exit(0)

    return send


def main() -> None:
    """Answer until stdin is closed."""
    questions, answers = _take_streams()
    _step_back()
    helper = Helper(_sender(answers))

    def listen() -> None:
        for line in questions:
            helper.receive(line)
        # At once, also in the middle of an answer: whoever asked is gone, and nothing half-done is left behind.
        os._exit(0)

    threading.Thread(target=listen, name="questions", daemon=True).start()
    threading.Thread(target=helper.work, args=(True,), name="aside", daemon=True).start()
    helper.work(False)


if __name__ == "__main__":
    main()
