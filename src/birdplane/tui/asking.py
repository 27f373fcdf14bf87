"""The screens' side of the helper process: questions go out, answers come back, and nothing ever blocks.

    try:
        answer = await self.app.cockpit.helper.ask("rehearse", document=draft.document, source=draft.source)
    except HelperTrouble as trouble:
        ...  # show str(trouble), with a key that asks again

The process is started at the first question, or by `start()`. Where it died, the next question starts another.
What can be asked stands in `birdplane.answers`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import queue
import re
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

from birdplane.cache import cache_folder
from birdplane.errors import BirdplaneError

Kind = Literal["usage", "failed", "internal", "cancelled", "dead", "slow"]
#: A question of which nothing was heard for so many seconds is given up, and the helper with it.
PATIENCE_SECONDS = 60.0
#: Fetching has its own retries, and waits between them.
_PATIENCE_OF = {"fetch": 300.0}
#: What the helper says on stderr is kept up to so many bytes, and of a reason so many characters are shown.
_LOG_BYTES = 1 << 20
_REASON_LENGTH = 160
_EXCEPTION = re.compile(r"[\w.]*(?:Error|Exception|Interrupt|Exit)\b")
#: A question that was taken back and still keeps the helper busy after so many seconds costs it its life.
_GRACE_SECONDS = 10.0


class HelperTrouble(Exception):  # noqa: N818 - it reads as what it is
    """No answer came: the message is a sentence for people.

    `kind` is `usage` or `failed` where the helper refused for a reason, such as a misfit in the pipeline, that asking
    again will not change; `internal`, `dead` or `slow` where asking again may help.
    """

    def __init__(self, message: str, kind: Kind) -> None:
        super().__init__(message)
        self.kind = kind

    @property
    def passing(self) -> bool:
        """Whether the same question may well be answered the next time."""
        return self.kind in ("internal", "dead", "slow")


@dataclass(frozen=True)
class Progress:
    """How far the helper is with a long answer; `total` may be unknown, `unit` is `B` or a plural noun."""

    title: str
    done: int
    total: int | None
    unit: str


Listener = Callable[[Progress], None]


class _Question:
    """A question that is out, and the loop that waits for its answer."""

    def __init__(self, aside: bool, on_progress: Listener | None) -> None:
        self.aside = aside
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()
        self.on_progress = on_progress

    def settle(self, value: Any) -> None:
        """Hand over the answer or the exception; called in any thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self.loop.call_soon_threadsafe(self._settle, value)

    def _settle(self, value: Any) -> None:
        if self.future.done():
            return
        if isinstance(value, Exception):
            self.future.set_exception(value)
        else:
            self.future.set_result(value)

    def tell(self, progress: Progress) -> None:
        if self.on_progress is not None:
            with contextlib.suppress(RuntimeError):
                self.loop.call_soon_threadsafe(self._tell, progress)

    def _tell(self, progress: Progress) -> None:
        if self.on_progress is not None and not self.future.done():
            self.on_progress(progress)


class _Process:
    """One helper process, and the threads that talk with it: the screens never wait for a pipe."""

    def __init__(self, command: Sequence[str]) -> None:
        # Streams named one by one: inside a Textual program the standard ones are stand-ins without a number.
        # A session of its own: neither ctrl+c nor ctrl+z of the terminal are meant for it.
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self.questions: dict[int, _Question] = {}
        self.heard = {False: time.monotonic(), True: time.monotonic()}
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._last_words: deque[str] = deque(maxlen=20)
        self._log = _Log(self._process.pid)
        self._reason = ""
        self._errors = threading.Thread(target=self._note_errors, daemon=True)
        for thread in (
            self._errors,
            threading.Thread(target=self._write, daemon=True),
            threading.Thread(target=self._read, daemon=True),
        ):
            thread.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return not self._reason and self._process.poll() is None

    def send(self, message: dict[str, Any]) -> None:
        self._outbox.put(json.dumps(message, default=str).encode() + b"\n")

    def kill(self, reason: str) -> None:
        """End it now; questions that are out get the reason."""
        self._reason = self._reason or reason
        self._process.kill()

    def close(self, seconds: float = 1.0) -> None:
        """Let it end, which it does when its stdin closes; kill it where it does not."""
        self._reason = self._reason or "the helper was closed"
        self._outbox.put(None)
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _write(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError), self._process.stdin as pipe:
            while (line := self._outbox.get()) is not None:
                pipe.write(line)
                pipe.flush()

    def _note_errors(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as pipe:
            while line := pipe.readline(4096):  # a line without end is cut: memory stays what it is
                self._log.append(line)
                text = line.decode("utf-8", "replace").strip()
                if text:
                    self._last_words.append(text)
        self._log.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as pipe:
            for line in pipe:
                try:
                    reply = json.loads(line)
                except ValueError:  # a torn last line
                    continue
                if isinstance(reply, dict):
                    self._take(reply)
        code = self._process.wait()
        self._outbox.put(None)
        self._errors.join(1)
        trouble = HelperTrouble(self._reason or self._epitaph(code), "dead")
        self._reason = self._reason or str(trouble)
        while self.questions:
            with contextlib.suppress(KeyError):
                self.questions.popitem()[1].settle(trouble)

    def _take(self, reply: dict[str, Any]) -> None:
        question = self.questions.get(reply.get("id", -1))
        if question is None:
            return
        self.heard[question.aside] = time.monotonic()
        if "progress" in reply:
            question.tell(Progress(**reply["progress"]))
            return
        self.questions.pop(reply["id"], None)
        question.settle(self._trouble(**reply) if "error" in reply else reply["answer"])

    def _trouble(self, error: str, kind: Kind, **rest: Any) -> HelperTrouble:
        # What is meant for people is told in full; what a component raised may be of any length.
        return HelperTrouble(self._shortened(error) if kind == "internal" else error, kind)

    def _epitaph(self, code: int) -> str:
        how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        words = list(self._last_words)
        reason = self._shortened(_reason(words), more=len(words) > 1) if words else ""
        return f"the helper process ended ({how})" + (f": {reason}" if reason else "")

    def _shortened(self, text: str, more: bool = False) -> str:
        """Return a reason in one short line, with the place of the whole where this is not all of it."""
        line = " ".join(text.split())
        short = line if len(line) <= _REASON_LENGTH else line[: _REASON_LENGTH - 1].rstrip() + "…"
        place = self._log.place if more or short != line else None
        return f"{short} (all of it: {place})" if place else short


def _reason(words: list[str]) -> str:
    """Return the line that says why: the last one that names an exception, else the last one of all."""
    named = [line for line in words if _EXCEPTION.match(line)]
    return (named or words)[-1]


class _Log:
    """What a helper says on stderr, kept in `helper.log` in the cache folder; the file is begun with the first line.

    Where it cannot be written there is none, and `place` is None.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._left = _LOG_BYTES
        self._file: BinaryIO | None = None
        self._failed = False
        self.place: Path | None = None

    def append(self, line: bytes) -> None:
        if self._failed or self._left <= 0:
            return
        try:
            file = self._file or self._opened()
            file.write(line[: self._left])
            file.flush()
            self._left -= len(line)
        except (OSError, BirdplaneError):
            self._failed, self.place = True, None

    def _opened(self) -> BinaryIO:
        path = cache_folder() / "helper.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        long = path.is_file() and path.stat().st_size > _LOG_BYTES
        self._file, self.place = path.open("wb" if long else "ab"), path
        self._file.write(f"--- helper {self._pid}, {time.strftime('%Y-%m-%d %H:%M:%S')}\n".encode())
        return self._file

    def close(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()


class Helper:
    """Asks the helper process. One for all screens, as `cockpit.helper`; all methods return at once.

    Args:
        command: what runs as the helper.
        patience: seconds without a sign of life after which a question is given up.
    """

    def __init__(self, command: Sequence[str] | None = None, patience: float = PATIENCE_SECONDS) -> None:
        self._command = list(command or [sys.executable, "-m", "birdplane.helper"])
        self._patience = patience
        self._numbers = itertools.count(1)
        self._process: _Process | None = None
        #: Questions that were taken back but are not answered yet, and when.
        self._withdrawn: dict[int, float] = {}

    @property
    def pid(self) -> int | None:
        """The live helper's process, if there is one."""
        return self._process.pid if self._process is not None and self._process.alive else None

    def start(self) -> None:
        """Start the process where none is alive, and let it import what takes seconds; call it after first paint."""
        with contextlib.suppress(HelperTrouble):  # the first real question tells
            self._running().send({"id": next(self._numbers), "ask": "warm"})

    async def ask(
        self, question: str, *, on_progress: Listener | None = None, **values: Any
    ) -> dict[str, Any]:
        """Return the helper's answer. Cancel the task that waits, and the helper stops working on it.

        Args:
            question: one of `birdplane.answers.QUESTIONS`.
            on_progress: called in the screens' loop while a download or the like goes on.
            **values: what the question is about; anything that is JSON.

        Raises:
            HelperTrouble: there is no answer, and why.
        """
        process, number = self._running(), next(self._numbers)
        asked = _Question(question in _PATIENCE_OF, on_progress)
        process.questions[number] = asked
        process.send({"id": number, "ask": question, **values})
        if not process.alive:
            raise HelperTrouble("the helper process ended before it could be asked", "dead")
        try:
            answer: dict[str, Any] = await self._patiently(process, asked, _PATIENCE_OF.get(question))
            return answer
        except asyncio.CancelledError:
            if process.questions.get(number) is asked:
                self._withdrawn[number] = time.monotonic()
                process.send({"cancel": number})
            raise
        finally:
            asked.future.cancel()  # where it is not settled yet: nobody will look at it any more

    async def _patiently(self, process: _Process, asked: _Question, patience: float | None) -> Any:
        patience = patience if patience is not None else self._patience
        began = time.monotonic()
        while True:
            silent = time.monotonic() - max(began, process.heard[asked.aside])
            done, _ = await asyncio.wait([asked.future], timeout=max(0.01, patience - silent))
            if done:
                return asked.future.result()
            if time.monotonic() - max(began, process.heard[asked.aside]) >= patience:
                reason = f"the helper process said nothing for {patience:.0f} s"
                process.kill(reason)
                raise HelperTrouble(reason, "slow")

    def _running(self) -> _Process:
        """Return the live process; start one where there is none, or where it is busy with what nobody wants."""
        process = self._process
        if process is not None:
            now = time.monotonic()
            self._withdrawn = {n: t for n, t in self._withdrawn.items() if n in process.questions}
            if any(now - since > _GRACE_SECONDS for since in self._withdrawn.values()):
                process.kill("the helper process was busy with a question that was taken back")
            if process.alive:
                return process
        self._withdrawn.clear()
        try:
            self._process = _Process(self._command)
        except OSError as error:
            raise HelperTrouble(f"the helper process cannot be started: {error}", "dead") from error
        return self._process

    def close(self) -> None:
        """End the process; for when the screens are left. It would end with them anyway."""
        if self._process is not None:
            self._process.close()
            self._process = None
