"""A headless Chromium, driven over its DevTools protocol through two pipes: what a page asks for and complains of.

Nothing but the standard library. Run as a program, it takes a picture of a page:

    python tests/browser.py PAGE.html PICTURE.png [--width 1280] [--height 900] [--dark] [--print]
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_SECONDS = 60.0
_LOADED = """
JSON.stringify([...document.images].map(image => ({
  complete: image.complete, width: image.naturalWidth, height: image.naturalHeight, alt: image.alt})))
"""


def found() -> str | None:
    """Return the browser's program, or None where there is none or it cannot be driven here."""
    return (
        next((path for name in _NAMES if (path := shutil.which(name))), None) if os.name == "posix" else None
    )


class Browser:
    """One browser with one page. As a context: it is ended, with all its processes, on the way out.

    Attributes:
        requests: every URL that was asked for since the last `open`, in order.
        complaints: what the console, or the page by an exception, told since then.
    """

    def __init__(self, program: str) -> None:
        self._program = program
        self._number = 0
        self._rest = b""
        self.requests: list[str] = []
        self.complaints: list[str] = []

    def __enter__(self) -> Browser:
        self._home = tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True)
        given, self._to = os.pipe()
        self._from, answers = os.pipe()

        def places() -> None:
            # The browser reads from descriptor 3 and writes to 4, whatever these are here.
            pair = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (given, answers)]
            for end, place in zip(pair, (3, 4), strict=True):
                os.dup2(end, place)

        self._process = subprocess.Popen(
            [
                self._program,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--hide-scrollbars",
                "--no-first-run",
                "--disable-background-networking",
                "--remote-debugging-pipe",
                f"--user-data-dir={self._home.name}",
                "about:blank",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            close_fds=False,
            preexec_fn=places,
        )
        os.close(given)
        os.close(answers)
        self._session = ""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session = ""
        with contextlib.suppress(OSError, TimeoutError, EOFError):
            self.call("Browser.close")
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._to)
        os.close(self._from)
        self._home.cleanup()

    def open(self, url: str) -> None:
        """Go to a page, and wait until all of it is loaded and what it had to say was heard."""
        self.requests, self.complaints = [], []
        self._arrived = False
        self.call("Page.navigate", url=url)
        deadline = time.monotonic() + _SECONDS
        while not self._arrived:
            self._take(deadline)
        # What was told before the answer to a question has been read once that is here.
        self.call("Runtime.evaluate", expression="new Promise(requestAnimationFrame)", awaitPromise=True)

    def images(self) -> list[dict[str, Any]]:
        """Return what became of every picture: complete, natural width and height, alt."""
        answer = self.call("Runtime.evaluate", expression=_LOADED, returnByValue=True)
        pictures: list[dict[str, Any]] = json.loads(answer["result"]["value"])
        return pictures

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        return answer["result"].get("value")

    def look(self, *, width: int, height: int = 900, dark: bool = False, printed: bool = False) -> None:
        """Be a screen, or paper, of that size in pixels and that scheme of colours."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media="print" if printed else "screen", features=[scheme])

    def picture(self, *, whole: bool = True) -> bytes:
        """Return the page as PNG: all of it, or what the screen shows."""
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        return base64.b64decode(answer["data"])

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Ask the browser something, and return its answer.

        Raises:
            RuntimeError: it refuses.
            TimeoutError, EOFError: it does not answer.
        """
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._to, data) :]
        deadline = time.monotonic() + _SECONDS
        while True:
            answer = self._take(deadline)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                result: dict[str, Any] = answer["result"]
                return result

    def _take(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._from], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError("the browser does not answer")
            data = os.read(self._from, 1 << 20)
            if not data:
                raise EOFError("the browser has left")
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        self._hear(message.get("method", ""), message.get("params", {}))
        return message

    def _hear(self, method: str, told: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(told["request"]["url"])
        elif method == "Page.loadEventFired":
            self._arrived = True
        elif method == "Log.entryAdded":
            self.complaints.append(f"{told['entry']['level']}: {told['entry']['text']}")
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(told["exceptionDetails"].get("text")))
        elif method == "Runtime.consoleAPICalled":
            self.complaints.append(f"{told['type']}: {told['args']}")


def main() -> None:
    """Take a picture of a page, as the arguments say."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("page", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=900)
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--print", action="store_true", dest="printed")
    parser.add_argument("--top", action="store_true", help="only what the screen shows")
    given = parser.parse_args()
    program = found()
    if program is None:
        raise SystemExit("there is no Chromium here")
    with Browser(program) as browser:
        browser.look(width=given.width, height=given.height, dark=given.dark, printed=given.printed)
        browser.open(given.page.resolve().as_uri())
        given.picture.write_bytes(browser.picture(whole=not given.top))


if __name__ == "__main__":
    main()
