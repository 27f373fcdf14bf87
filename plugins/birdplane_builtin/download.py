"""Getting a file over HTTP once: resumed, verified, and put in place only when it is whole.

Imports nothing heavy: what needs urllib or filelock imports it when it is called.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urlsplit

from birdplane import durable
from birdplane.errors import BirdplaneError
from birdplane.reporting import task

if TYPE_CHECKING:
    from http.client import HTTPResponse

_CHUNK = 1 << 18
_TIMEOUT_SECONDS = 30.0
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0
#: Attempts in a row that may bring nothing new before an address is given up.
_FRUITLESS_ATTEMPTS = 5
_WORTH_RETRYING = frozenset({408, 425, 429, 500, 502, 503, 504})
_OTHER_WAYS = "dataset.source=PATH or URL takes a file you already have or a mirror"


def local_path(source: str) -> Path | None:
    """Return the path that `source`, a path or a `file://` URL, names; None for any other URL."""
    scheme, separator, rest = source.partition("://")
    if not separator:
        return Path(os.path.expanduser(source))  # noqa: PTH111 - never raises
    if scheme.lower() != "file":
        return None
    from urllib.request import url2pathname

    # What stands before the first slash is a host: none, or this one.
    return Path(url2pathname(f"/{rest.partition('/')[2]}"))


def fetch(
    urls: Sequence[str], destination: Path, *, size: int | None = None, sha256: str | None = None
) -> Path:
    """Download the file to `destination` from the first of `urls` that gives it; return where it lies.

    A download that was cut off goes on where it stopped, in this call or a later one: until it is verified
    the file is called `destination` + `.part`. Processes that want the same file wait for each other. A
    `file://` URL is verified and returned as the path that it names.

    Args:
        urls: `http`, `https` or `file` addresses of the same file.
        size: of the file in bytes, where it is known.
        sha256: of the file in hexadecimal, where it is known.

    Raises:
        BirdplaneError: no address gives a file of that size and checksum, or it cannot be stored.
    """
    expected = _Expected(size, sha256)
    with locked(destination):
        if destination.exists() and mismatch(destination, size=size, sha256=sha256) is None:
            return destination
        failures = []
        for url in urls:
            try:
                return _obtain(url, destination, expected)
            except _RefusedError as failure:
                failures.append(f"{_shown(url)} {failure}")
    raise BirdplaneError(f"cannot download {destination.name}: {'; '.join(failures)}; {_OTHER_WAYS}")


def mismatch(path: Path, *, size: int | None = None, sha256: str | None = None) -> str | None:
    """Say how the file differs from what is expected, as the end of a sentence about it; None if it does not.

    Raises:
        BirdplaneError: the file cannot be read.
    """
    found = path.stat().st_size
    if size is not None and found != size:
        return f"has {found:,} bytes instead of {size:,}"
    if sha256 is not None and (digest := sha256_of(path)) != sha256.lower():
        return f"has the SHA-256 {digest} instead of {sha256.lower()}"
    return None


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of the file, in hexadecimal.

    Raises:
        BirdplaneError: the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file, task(f"verifying {path.name}", path.stat().st_size, "B") as advance:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
                advance(len(chunk))
    except OSError as error:
        raise BirdplaneError(f"{path}: cannot be read: {error.strerror or error}") from error
    return digest.hexdigest()


def is_verified(path: Path, sha256: str, ledger: Path) -> bool:
    """Whether the file has this SHA-256; hashed only if its size or time changed since `ledger` noted it.

    `ledger` is a small JSON file, made when it is not there. A file that is not there is not verified.

    Raises:
        BirdplaneError: the file is there and cannot be read.
    """
    try:
        stamp = _stamp(path, sha256)
    except FileNotFoundError:
        return False
    if _notes(ledger).get(str(path)) == stamp:
        return True
    if sha256_of(path) != sha256.lower():
        return False
    note_verified(path, sha256, ledger)
    return True


def note_verified(path: Path, sha256: str, ledger: Path) -> None:
    """Let `is_verified` trust the file as it is now."""
    notes = {**_notes(ledger), str(path): _stamp(path, sha256)}
    # A ledger that cannot be written costs the next start a second, nothing else.
    with contextlib.suppress(OSError):
        ledger.parent.mkdir(parents=True, exist_ok=True)
        durable.replace_file(ledger, json.dumps(notes, indent=1).encode())


def write_in_place(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let `write` fill a file beside `path`, and give it that name once it is on the disk, whole.

    Raises:
        OSError: it cannot be written.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            write(file)
        _put_in_place(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes from preparing `path` at the same time; its folder is made if need be.

    Raises:
        BirdplaneError: the folder cannot be written.
    """
    import filelock

    lock = filelock.FileLock(f"{path}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            with task(f"waiting for the process that prepares {path.name}"):
                lock.acquire()
    except OSError as error:
        raise cannot_store(path.parent, error) from error
    try:
        yield
    finally:
        lock.release()


def cannot_store(folder: Path, error: OSError) -> BirdplaneError:
    """Return the error for a cache folder that does not take what is written to it."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return BirdplaneError(
            f"{folder}: the disk is full; make room, or set BIRDPLANE_CACHE to a folder on another disk"
        )
    return BirdplaneError(
        f"{folder}: cannot be written ({error.strerror or error}); "
        "set BIRDPLANE_CACHE to a folder you may write"
    )


class _RefusedError(Exception):
    """This address does not give the file, and asking it again is of no use."""


class _CutOffError(Exception):
    """The transfer stopped early; another attempt may go on from there, after `pause` seconds at least."""

    def __init__(self, reason: str, pause: float = 0.0) -> None:
        super().__init__(reason)
        self.pause = pause


class _UnreachableError(_CutOffError):
    """Nobody answers: not worth waiting for, unless the same address did answer before."""


@dataclass(frozen=True)
class _Expected:
    size: int | None
    sha256: str | None


@dataclass(frozen=True)
class _Part:
    """What has come so far, and beside it what the server said of the version that it belongs to."""

    path: Path

    @property
    def note(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")

    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def remember(self, url: str, headers: Any) -> None:
        """Note the version that the server sends, if it has a name that `If-Range` takes."""
        etag = headers.get("ETag", "")
        validator = etag if etag.startswith('"') else headers.get("Last-Modified", "")
        self.note.write_text(json.dumps({"url": url, "validator": validator}), encoding="utf-8")

    def validator(self, url: str) -> str:
        """Return the name of the version that this address began to send, or an empty string."""
        noted = _notes(self.note)
        return str(noted.get("validator", "")) if noted.get("url") == url else ""


def _obtain(url: str, destination: Path, expected: _Expected) -> Path:
    place = local_path(url)
    if place is not None:
        if not place.is_file():
            raise _RefusedError("is not a file")
        if problem := mismatch(place, size=expected.size, sha256=expected.sha256):
            raise _RefusedError(problem)
        return place
    if not url.lower().startswith(("http://", "https://")):
        raise _RefusedError("is not an http, https or file address")
    part = _Part(destination.with_name(f"{destination.name}.part"))
    try:
        _require_room(destination.parent, expected, part)
        _download(url, part, expected)
        _put_in_place(part.path, destination)
        part.discard()
    except OSError as error:
        raise cannot_store(destination.parent, error) from error
    return destination


def _require_room(folder: Path, expected: _Expected, part: _Part) -> None:
    needed = (expected.size or 0) - part.size()
    if needed > shutil.disk_usage(folder).free:
        raise OSError(errno.ENOSPC, "no space left")


def _download(url: str, part: _Part, expected: _Expected) -> None:
    """Fill `part` until it is the expected file."""
    with task(f"downloading {part.path.name.removesuffix('.part')}", expected.size, "B") as advance:
        shown = 0

        def show() -> None:
            nonlocal shown
            size = part.size()
            advance(size - shown)
            shown = size

        while True:
            had = part.size()
            _complete(url, part, expected, show)
            problem = mismatch(part.path, size=expected.size, sha256=expected.sha256)
            if problem is None:
                return
            part.discard()
            if had == 0:
                raise _RefusedError(problem)
            show()


def _complete(url: str, part: _Part, expected: _Expected, show: Callable[[], None]) -> None:
    """Ask again after each cut-off until the file is whole, or nothing new comes any more."""
    fruitless, farthest, answered = 0, part.size(), False
    while True:
        try:
            _transfer(url, part, expected, show)
            return
        except _CutOffError as cut:
            size = part.size()
            answered = answered or size > farthest
            fruitless = 0 if size > farthest else fruitless + 1
            farthest = max(farthest, size)
            if fruitless == _FRUITLESS_ATTEMPTS or (isinstance(cut, _UnreachableError) and not answered):
                raise _RefusedError(str(cut)) from cut
            time.sleep(max(cut.pause, min(_FIRST_PAUSE_SECONDS * 2**fruitless, _LONGEST_PAUSE_SECONDS)))


def _transfer(url: str, part: _Part, expected: _Expected, show: Callable[[], None]) -> None:
    """Ask once, for what is missing; the answer is appended to `part`."""
    offset, validator = _resume_point(url, part, expected)
    show()
    if offset and offset == expected.size:
        return
    response = _ask(url, offset, validator, part)
    if response is None:
        return
    with response:
        if response.status == 206 and _range_start(response) != offset:
            part.discard()
            raise _CutOffError("answers with another range than it was asked for")
        if offset and response.status != 206:
            part.discard()
            offset = 0
        total = None if response.length is None else offset + response.length
        if expected.size is not None and total not in (None, expected.size):
            raise _RefusedError(f"has {total:,} bytes instead of {expected.size:,}")
        part.remember(url, response.headers)
        limit = total if total is not None else expected.size
        _append(response, part, limit, show)
    if limit is not None and part.size() < limit:
        raise _CutOffError(f"stops after {part.size():,} of {limit:,} bytes")


def _resume_point(url: str, part: _Part, expected: _Expected) -> tuple[int, str]:
    """Return how many bytes of `part` can be kept, and the version's name for `If-Range`, if it has one.

    Without that name the bytes are kept only where a checksum will tell if they belonged to another version.
    """
    validator = part.validator(url)
    too_long = expected.size is not None and part.size() > expected.size
    if too_long or not (validator or expected.sha256):
        part.discard()
    return part.size(), validator


def _ask(url: str, offset: int, validator: str, part: _Part) -> HTTPResponse | None:
    """Open the address from `offset` on; None if the server says that nothing is missing."""
    import http.client
    import urllib.error
    import urllib.request

    headers = {"User-Agent": "birdplane", "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
        if validator:
            headers["If-Range"] = validator
    try:
        request = urllib.request.Request(url, headers=headers)
        response: HTTPResponse = urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)
        return response
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416 and offset:
                if error.headers.get("Content-Range", "").strip() == f"bytes */{offset}":
                    return None
                part.discard()
                raise _CutOffError("does not go on where it stopped") from error
            reason = f"answers {error.code} {error.reason}".strip()
            if error.code in _WORTH_RETRYING:
                raise _CutOffError(reason, _retry_after(error.headers.get("Retry-After"))) from error
            raise _RefusedError(reason) from error
    except urllib.error.URLError as error:
        raise _connection_failure(error.reason, url) from error
    except (http.client.InvalidURL, ValueError) as error:
        raise _RefusedError("is not an address that can be asked") from error
    except (http.client.HTTPException, OSError) as error:
        raise _CutOffError(_network_reason(error)) from error


def _append(response: HTTPResponse, part: _Part, limit: int | None, show: Callable[[], None]) -> None:
    size = part.size()
    with part.path.open("ab") as file:
        while chunk := _read(response):
            size += len(chunk)
            if limit is not None and size > limit:
                raise _RefusedError(f"sends more than {limit:,} bytes")
            file.write(chunk)
            file.flush()
            show()


def _read(response: HTTPResponse) -> bytes:
    import http.client

    try:
        return response.read1(_CHUNK)
    except (http.client.HTTPException, OSError, ValueError) as error:
        raise _CutOffError(_network_reason(error)) from error


def _range_start(response: HTTPResponse) -> int | None:
    unit, _, rest = response.headers.get("Content-Range", "").strip().partition(" ")
    start = rest.partition("-")[0]
    return int(start) if unit == "bytes" and start.isdecimal() else None


def _retry_after(value: str | None) -> float:
    """Return the seconds of a `Retry-After` header; its other form, a date, is taken as no answer."""
    return min(float(value), _LONGEST_PAUSE_SECONDS) if value and value.isdecimal() else 0.0


def _connection_failure(reason: object, url: str) -> Exception:
    import ssl

    if isinstance(reason, ssl.SSLCertVerificationError):
        return _RefusedError(f"has no certificate that can be trusted ({reason.verify_message})")
    if isinstance(reason, socket.gaierror):
        return _UnreachableError(f"cannot be reached: no address for {urlsplit(url).hostname} (no network?)")
    if isinstance(reason, ConnectionRefusedError):
        return _UnreachableError("refuses the connection")
    if isinstance(reason, OSError) and reason.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH):
        return _UnreachableError("cannot be reached (no network?)")
    if isinstance(reason, OSError):
        return _CutOffError(_network_reason(reason))
    return _RefusedError(f"cannot be reached: {reason}")


def _network_reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"does not answer within {_TIMEOUT_SECONDS:g} s"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return f"breaks the connection ({' '.join(text.split())})"


def _shown(url: str) -> str:
    """Return the address without a password that it may carry."""
    scheme, separator, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}"


def _stamp(path: Path, sha256: str) -> list[Any]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, sha256.lower()]


def _notes(path: Path) -> dict[str, Any]:
    """Return the JSON object in the file; an empty one if it is not there or damaged."""
    try:
        notes = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return notes if isinstance(notes, dict) else {}


def _put_in_place(part: Path, destination: Path) -> None:
    with part.open("rb+") as file:
        durable.sync_file(file.fileno())
    durable.replace(part, destination)
    durable.sync_folder(destination.parent)
