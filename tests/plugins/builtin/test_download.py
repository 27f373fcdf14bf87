from __future__ import annotations

import errno
import hashlib
import http.server
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import platformdirs
import pytest

from birdplane import reporting
from birdplane.cache import cache_folder
from birdplane.errors import BirdplaneError
from birdplane_builtin import download
from birdplane_builtin.download import fetch, is_verified, local_path

CONTENT = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
SIZE = len(CONTENT)

Answer = Callable[["Handler"], None]


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers as the server's plan says, one entry a request, and serves properly when that is used up."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.server.requests.append(dict(self.headers))
        answer = self.server.plan.pop(0) if self.server.plan else serve
        answer(self)

    def log_message(self, *_: object) -> None:
        return


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.etag = '"one"'
        self.plan: list[Answer] = []
        self.requests: list[dict[str, str]] = []

    def handle_error(self, *_: object) -> None:
        """A client that hangs up early is part of the tests."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/pictures.tar.gz"


def serve(handler: Handler, *, cut: int | None = None, ranges: bool = True) -> None:
    """Send what is asked for; with `cut`, only so many bytes of it."""
    content, etag = handler.server.content, handler.server.etag
    wanted = handler.headers.get("Range")
    start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and ranges else 0
    if handler.headers.get("If-Range", etag) != etag:
        start = 0
    if start >= len(content):
        handler.send_response(416)
        handler.send_header("Content-Range", f"bytes */{len(content)}")
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return
    handler.send_response(206 if start else 200)
    if start:
        handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
    if etag:
        handler.send_header("ETag", etag)
    handler.send_header("Content-Length", str(len(content) - start))
    handler.end_headers()
    body = content[start:]
    handler.wfile.write(body if cut is None else body[:cut])
    if cut is not None:
        handler.close_connection = True


def cut_after(count: int) -> Answer:
    return lambda handler: serve(handler, cut=count)


def ignore_range(handler: Handler) -> None:
    serve(handler, ranges=False)


def status(code: int) -> Answer:
    def answer(handler: Handler) -> None:
        handler.send_error(code)

    return answer


def without_end(handler: Handler) -> None:
    """Send more than the file, without saying how much it will be."""
    handler.send_response(200)
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.wfile.write(CONTENT + b"more")
    handler.close_connection = True


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_FIRST_PAUSE_SECONDS", 0.0)
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "pictures.tar.gz"


def test_a_file_is_downloaded_and_nothing_else_is_left(server: Server, destination: Path) -> None:
    assert fetch([server.url], destination, size=SIZE, sha256=SHA256) == destination
    assert destination.read_bytes() == CONTENT
    assert not [path.name for path in destination.parent.iterdir() if ".part" in path.name]


def test_a_file_that_is_there_is_not_asked_for_again(server: Server, destination: Path) -> None:
    fetch([server.url], destination, size=SIZE, sha256=SHA256)
    fetch([server.url], destination, size=SIZE, sha256=SHA256)
    assert len(server.requests) == 1


def test_a_file_that_was_damaged_in_its_place_is_downloaded_again(server: Server, destination: Path) -> None:
    destination.parent.mkdir()
    destination.write_bytes(b"something else")
    fetch([server.url], destination, size=SIZE, sha256=SHA256)
    assert destination.read_bytes() == CONTENT


def test_a_download_that_is_cut_off_goes_on_where_it_stopped(server: Server, destination: Path) -> None:
    server.plan = [cut_after(100_000), cut_after(50_000)]
    fetch([server.url], destination, size=SIZE, sha256=SHA256)
    assert destination.read_bytes() == CONTENT
    assert [request.get("Range") for request in server.requests] == [None, "bytes=100000-", "bytes=150000-"]
    assert server.requests[1]["If-Range"] == '"one"'


def test_a_download_that_failed_goes_on_in_a_later_call(server: Server, destination: Path) -> None:
    server.plan = [cut_after(100_000), status(404)]
    with pytest.raises(BirdplaneError):
        fetch([server.url], destination, size=SIZE, sha256=SHA256)
    fetch([server.url], destination, size=SIZE, sha256=SHA256)
    assert server.requests[-1]["Range"] == "bytes=100000-"
    assert destination.read_bytes() == CONTENT


def test_a_server_that_ignores_ranges_is_read_from_the_start(server: Server, destination: Path) -> None:
    server.plan = [cut_after(100_000), ignore_range]
    fetch([server.url], destination, size=SIZE, sha256=SHA256)
    assert destination.read_bytes() == CONTENT


def test_a_server_that_has_another_version_by_now_is_read_from_the_start(
    server: Server, destination: Path
) -> None:
    old, server.content = server.content, b"old" * 100_000
    server.plan = [cut_after(1000), status(404)]
    with pytest.raises(BirdplaneError):
        fetch([server.url], destination)
    server.content, server.etag = old, '"two"'
    fetch([server.url], destination)
    assert server.requests[-1]["If-Range"] == '"one"'
    assert destination.read_bytes() == CONTENT


def test_bytes_of_an_unnamed_version_are_kept_only_if_a_checksum_will_tell(
    server: Server, destination: Path
) -> None:
    server.etag = ""
    server.plan = [cut_after(1000), cut_after(1000)]
    fetch([server.url], destination)
    assert [request.get("Range") for request in server.requests] == [None, None, None]
    destination.unlink()
    server.requests.clear()
    server.plan = [cut_after(1000)]
    fetch([server.url], destination, sha256=SHA256)
    assert [request.get("Range") for request in server.requests] == [None, "bytes=1000-"]


def test_a_part_that_turns_out_to_be_whole_is_put_in_place(server: Server, destination: Path) -> None:
    destination.parent.mkdir()
    destination.with_name("pictures.tar.gz.part").write_bytes(CONTENT)
    fetch([server.url], destination, sha256=SHA256)
    assert server.requests[0]["Range"] == f"bytes={SIZE}-"
    assert destination.read_bytes() == CONTENT


@pytest.mark.parametrize("left", [b"wrong", CONTENT + b"more"], ids=["other bytes", "more than there is"])
def test_a_part_that_does_not_belong_to_the_file_is_started_over(
    server: Server, destination: Path, left: bytes
) -> None:
    destination.parent.mkdir()
    destination.with_name("pictures.tar.gz.part").write_bytes(left)
    fetch([server.url], destination, sha256=SHA256)
    assert destination.read_bytes() == CONTENT


def test_a_wrong_checksum_is_told_and_nothing_is_kept(server: Server, destination: Path) -> None:
    server.content = b"x" + CONTENT[1:]
    with pytest.raises(BirdplaneError) as caught:
        fetch([server.url], destination, size=SIZE, sha256=SHA256)
    message = str(caught.value)
    assert SHA256 in message
    assert hashlib.sha256(server.content).hexdigest() in message
    assert "dataset.source" in message
    assert "\n" not in message
    assert [path.name for path in destination.parent.iterdir()] == ["pictures.tar.gz.lock"]


def test_a_wrong_size_is_told_before_anything_is_downloaded(server: Server, destination: Path) -> None:
    with pytest.raises(BirdplaneError, match="has 1,024,000 bytes instead of 7"):
        fetch([server.url], destination, size=7, sha256=SHA256)


def test_a_server_that_does_not_stop_is_left(server: Server, destination: Path) -> None:
    server.plan = [without_end]
    with pytest.raises(BirdplaneError, match="sends more than 1,024,000 bytes"):
        fetch([server.url], destination, size=SIZE, sha256=SHA256)


def test_an_address_without_the_file_is_told_with_the_other_ways(server: Server, destination: Path) -> None:
    server.plan = [status(404)]
    with pytest.raises(BirdplaneError) as caught:
        fetch([server.url], destination)
    assert str(caught.value) == (
        f"cannot download pictures.tar.gz: {server.url} answers 404 Not Found; dataset.source=PATH or URL "
        "takes a file you already have or a mirror"
    )


def test_the_next_address_is_asked_when_one_fails(server: Server, destination: Path) -> None:
    server.plan = [status(404)]
    fetch([server.url, f"{server.url}?mirror"], destination, sha256=SHA256)
    assert destination.read_bytes() == CONTENT


def test_a_busy_server_is_asked_again(server: Server, destination: Path) -> None:
    server.plan = [status(503), status(429), status(500)]
    fetch([server.url], destination, sha256=SHA256)
    assert len(server.requests) == 4


def test_a_server_that_brings_nothing_new_is_given_up(server: Server, destination: Path) -> None:
    server.plan = [cut_after(1000)] + [cut_after(0)] * 20
    with pytest.raises(BirdplaneError, match="stops after 1,000 of 1,024,000 bytes"):
        fetch([server.url], destination, sha256=SHA256)
    assert len(server.requests) == 1 + download._FRUITLESS_ATTEMPTS


def test_a_server_that_is_not_there_is_told_at_once(destination: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/file"
        with pytest.raises(BirdplaneError, match="refuses the connection"):
            fetch([url], destination)


def test_a_missing_network_is_told_at_once(destination: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_address(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", no_address)
    with pytest.raises(
        BirdplaneError, match=r"no address for pictures\.example \(no network\?\).*dataset\.source"
    ):
        fetch(["http://pictures.example/file"], destination)


def test_a_password_in_an_address_is_not_shown(destination: Path) -> None:
    with pytest.raises(BirdplaneError) as caught:
        fetch(["http://me:secret@127.0.0.1:1/file"], destination)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["ftp://host/file", "http://[", "http://", "https://a b/"])
def test_an_address_that_cannot_be_asked_is_told(url: str, destination: Path) -> None:
    with pytest.raises(BirdplaneError, match="cannot download"):
        fetch([url], destination)


def test_a_file_address_is_verified_and_used_where_it_is(tmp_path: Path, destination: Path) -> None:
    own = tmp_path / "my own.tar.gz"
    own.write_bytes(CONTENT)
    assert fetch([own.as_uri()], destination, sha256=SHA256) == own
    with pytest.raises(BirdplaneError, match="instead of"):
        fetch([own.as_uri()], destination, sha256="0" * 64)


def test_a_full_disk_is_told_before_the_download(
    server: Server, destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(destination.parent.parent)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(BirdplaneError, match="the disk is full; make room, or set BIRDPLANE_CACHE"):
        fetch([server.url], destination, size=SIZE)
    assert server.requests == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="takes a device that is always full")
def test_a_disk_that_fills_up_during_the_download_is_told(server: Server, destination: Path) -> None:
    destination.parent.mkdir()
    destination.with_name("pictures.tar.gz.part").symlink_to("/dev/full")
    with pytest.raises(BirdplaneError, match="the disk is full; make room, or set BIRDPLANE_CACHE"):
        fetch([server.url], destination, sha256=SHA256)


def test_a_cache_folder_that_cannot_be_written_is_told(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BirdplaneError, match=r"cannot be written.*BIRDPLANE_CACHE"):
        fetch([server.url], tmp_path / "file" / "cache" / "pictures.tar.gz")


def test_a_cache_folder_without_permission_is_told_by_name(tmp_path: Path) -> None:
    error = download.cannot_store(tmp_path, PermissionError(errno.EACCES, "Permission denied"))
    assert str(error) == (
        f"{tmp_path}: cannot be written (Permission denied); set BIRDPLANE_CACHE to a folder you may write"
    )


def test_two_processes_download_once(server: Server, destination: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from birdplane_builtin.download import fetch;"
        "fetch([sys.argv[1]], Path(sys.argv[2]), sha256=sys.argv[3])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", program, server.url, str(destination), SHA256]
    processes = [subprocess.Popen(command, env=environment) for _ in range(2)]
    assert [process.wait(timeout=60) for process in processes] == [0, 0]
    assert len(server.requests) == 1
    assert destination.read_bytes() == CONTENT


def test_progress_ends_at_the_size_of_the_file_also_after_starting_over(
    server: Server, destination: Path
) -> None:
    server.plan = [cut_after(100_000), ignore_range]
    seen: list[tuple[int, int | None, str]] = []

    def listen(title: str, done: int, total: int | None, unit: str) -> None:
        if title == "downloading pictures.tar.gz":
            seen.append((done, total, unit))

    with reporting.listening(listen):
        fetch([server.url], destination, size=SIZE, sha256=SHA256)
    assert seen[0] == (0, SIZE, "B")
    assert seen[-1] == (SIZE, SIZE, "B")


def test_a_file_is_hashed_again_only_if_it_changed(tmp_path: Path) -> None:
    path, ledger = tmp_path / "file", tmp_path / "ledger.json"
    path.write_bytes(CONTENT)
    hashed = []

    def listen(title: str, done: int, total: int | None, unit: str) -> None:
        if done == 0:
            hashed.append(title)

    with reporting.listening(listen):
        assert is_verified(path, SHA256, ledger)
        assert is_verified(path, SHA256.upper(), ledger)
        assert len(hashed) == 1
        os.utime(path, ns=(0, 0))
        assert is_verified(path, SHA256, ledger)
        assert len(hashed) == 2
        path.write_bytes(b"x" + CONTENT[1:])
        assert not is_verified(path, SHA256, ledger)
        assert not is_verified(tmp_path / "absent", SHA256, ledger)


def test_a_damaged_ledger_is_made_anew(tmp_path: Path) -> None:
    path, ledger = tmp_path / "file", tmp_path / "ledger.json"
    path.write_bytes(CONTENT)
    ledger.write_text("[torn")
    assert is_verified(path, SHA256, ledger)
    assert str(path) in ledger.read_text()


def test_the_cache_folder_is_the_one_that_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BIRDPLANE_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path


def test_without_a_home_the_cache_folder_has_to_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BIRDPLANE_CACHE", raising=False)
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda *_, **__: "~/.cache/birdplane")
    with pytest.raises(BirdplaneError, match="BIRDPLANE_CACHE"):
        cache_folder()


def test_a_path_and_a_file_address_are_local_and_others_are_not(tmp_path: Path) -> None:
    assert local_path(str(tmp_path)) == tmp_path
    assert local_path((tmp_path / "a b").as_uri()) == tmp_path / "a b"
    assert local_path("https://example.org/file") is None
