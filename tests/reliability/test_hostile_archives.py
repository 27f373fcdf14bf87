"""Archives made to do harm: refused in one line wherever birdplane reads one, and nothing is written beside."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import stat
import struct
import sys
import tarfile
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from birdplane.cli import main
from birdplane.plugins import DISABLE_VARIABLE

TERABYTES = 4 << 40
_META = "cifar-10-batches-bin/batches.meta.txt"
_BATCH = "cifar-10-batches-bin/data_batch_1.bin"
Member = tuple[tarfile.TarInfo, bytes]


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", content: bytes = b"x") -> Member:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    info.size = len(content) if kind == tarfile.REGTYPE else 0
    return info, content


def tar(*members: Member, form: int = tarfile.PAX_FORMAT) -> bytes:
    """Return a gzipped tar of members, with one that is wanted after them."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", format=form) as archive:
        for info, content in [*members, member(_META, content=b"airplane\nbird\n")]:
            archive.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return out.getvalue()


def claiming(size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """Return a tar of which one member says that it has `size` bytes."""
    info = tarfile.TarInfo(_BATCH)
    info.size, info.type = size, kind
    return gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20))


def expanding() -> bytes:
    """Return a tar that really unpacks to 600 MB, from less than one."""
    info = tarfile.TarInfo(_BATCH)
    info.size = 600 << 20
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb") as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        for _ in range(600):
            file.write(bytes(1 << 20))
    return out.getvalue()


def crowded() -> bytes:
    """Return a tar of a million folders; it is refused long before the last."""
    info = tarfile.TarInfo("m")
    info.type = tarfile.DIRTYPE
    packed = gzip.compress(info.tobuf(tarfile.GNU_FORMAT) * 10_000, 9)
    return packed * 100


def sparse() -> bytes:
    """Return a tar of a file with holes, of terabytes, in the old form of GNU."""
    info = tarfile.TarInfo(_BATCH)
    info.type, info.size = tarfile.GNUTYPE_SPARSE, 512
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[386:398] = b"%011o\0" % 0
    block[398:410] = b"%011o\0" % 512
    block[483:495] = b"\x80" + TERABYTES.to_bytes(11, "big")
    block[148:156] = b"%06o\0 " % (sum(block[:148]) + 8 * 32 + sum(block[156:]))
    return gzip.compress(bytes(block) + bytes(1024))


#: What is in a tar, and words of the line that refuses it.
TARS: dict[str, tuple[Callable[[], bytes], str]] = {
    "climbing": (lambda: tar(member("../../escaped")), "climbs out"),
    "climbing inside": (lambda: tar(member("in/../../escaped")), "climbs out"),
    "climbing by backslashes": (lambda: tar(member("in\\..\\..\\escaped")), "climbs out"),
    "absolute": (lambda: tar(member("/tmp/escaped")), "an absolute path"),
    "with a drive": (lambda: tar(member("C:/escaped")), "an absolute path"),
    "symbolic link": (
        lambda: tar(member("l", tarfile.SYMTYPE, "/etc"), member("l/escaped")),
        "a link to '/etc'",
    ),
    "hard link": (lambda: tar(member(_BATCH, tarfile.LNKTYPE, "/etc/passwd")), "a link to '/etc/passwd'"),
    "block device": (lambda: tar(member(_BATCH, tarfile.BLKTYPE)), "neither a file nor a folder"),
    "character device": (lambda: tar(member(_BATCH, tarfile.CHRTYPE)), "neither a file nor a folder"),
    "fifo": (lambda: tar(member(_BATCH, tarfile.FIFOTYPE)), "neither a file nor a folder"),
    "holes": (sparse, "neither a file nor a folder"),
    "claiming terabytes": (lambda: claiming(TERABYTES), "unpacks to more than"),
    "claiming less than nothing": (lambda: claiming(-1), "the archive has no"),
    "expanding": (expanding, "unpacks to more than"),
    "crowded": (crowded, "more than 10,000 members"),
    "long name": (lambda: tar(member("n" * (1 << 20))), "has no 'cifar-10-batches-bin/"),
    "name of escape codes": (lambda: tar(member("../\x1b[31m\nred")), "climbs out"),
    "nested": (
        lambda: tar(member("inner.tar.gz", content=tar(member("../escaped")))),
        "has no 'cifar-10-batches",
    ),
    "gzip in gzip": (lambda: gzip.compress(gzip.compress(bytes(1 << 20))), "cut short or damaged"),
    "header claiming terabytes": (lambda: claiming(TERABYTES, tarfile.XHDTYPE), "cut short or damaged"),
}


def entry(name: str, mode: int = 0) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = (mode | 0o644) << 16 if mode else 0
    return info


def zipped(*members: tuple[zipfile.ZipInfo, bytes]) -> bytes:
    """Return a zip of two classes with a sound picture each, and the members."""
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w") as archive:
        warnings.simplefilter("ignore")
        for name in ("airplane/1.png", "airplane/2.png", "bird/1.png", "bird/2.png"):
            archive.writestr(name, picture())
        for info, content in members:
            archive.writestr(info, content)
    return out.getvalue()


def picture() -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", (8, 8), "white").save(out, "png")
    return out.getvalue()


def lying(size: int) -> bytes:
    """Return a zip of which one picture says that it unpacks to another size than it does."""
    content = bytes(2 << 20)
    whole = zipped((entry("bird/bomb.png"), content))
    return whole.replace(struct.pack("<I", len(content)), struct.pack("<I", size))


#: What is in a zip, and words of the line that refuses it.
ZIPS: dict[str, tuple[Callable[[], bytes], str]] = {
    "climbing": (lambda: zipped((entry("../escaped.png"), b"x")), "climbs out"),
    "climbing inside": (lambda: zipped((entry("bird/../../escaped.png"), b"x")), "climbs out"),
    "climbing by backslashes": (lambda: zipped((entry("bird\\..\\..\\escaped.png"), b"x")), "climbs out"),
    "absolute": (lambda: zipped((entry("/tmp/escaped.png"), b"x")), "an absolute path"),
    "with a drive": (lambda: zipped((entry("C:\\escaped.png"), b"x")), "an absolute path"),
    "symbolic link": (lambda: zipped((entry("bird/l.png", stat.S_IFLNK), b"/etc/passwd")), "a link"),
    "block device": (lambda: zipped((entry("bird/d.png", stat.S_IFBLK), b"")), "neither a file nor a folder"),
    "character device": (
        lambda: zipped((entry("bird/d.png", stat.S_IFCHR), b"")),
        "neither a file nor a folder",
    ),
    "fifo": (lambda: zipped((entry("bird/p.png", stat.S_IFIFO), b"")), "neither a file nor a folder"),
    "socket": (lambda: zipped((entry("bird/s.png", stat.S_IFSOCK), b"")), "neither a file nor a folder"),
    "twice": (lambda: zipped((entry("bird/1.png"), b"other")), "there twice"),
    "claiming gigabytes": (lambda: lying(0xFFFFFFF0), "unpacks to 4,294,967,280 bytes"),
    "claiming little": (lambda: lying(9), "is damaged"),
    "expanding": (lambda: zipped((entry("bird/b.png"), bytes(600 << 20))), "unpacks to 629,145,600 bytes"),
    "nested": (
        lambda: zipped((entry("bird/inner.png"), zipped((entry("../e.png"), b"")))),
        "no picture format",
    ),
    "name of escape codes": (lambda: zipped((entry("../\x1b[31m\nred.png"), b"x")), "climbs out"),
}


def tree(root: Path) -> dict[str, Any]:
    """Return every file and folder below, with what would show that it was touched."""
    return {
        str(path): (path.lstat().st_mtime_ns, path.lstat().st_size, path.lstat().st_mode)
        for path in [root, *root.rglob("*")]
    }


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder inside a folder that is looked at afterwards; the cache is elsewhere."""
    folder = tmp_path / "outside" / "work"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("BIRDPLANE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv(DISABLE_VARIABLE, "*")
    return folder


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run `birdplane check demo` with overrides, which must fail, and return its one line on stderr."""

    def run(*assignments: str) -> str:
        words = [word for text in ("training.device=cpu", *assignments) for word in ("--set", text)]
        monkeypatch.setattr(sys, "argv", ["birdplane", "check", "demo", *words])
        with pytest.raises(SystemExit) as left:
            main()
        assert left.value.code in (1, 2)
        (line,) = capsys.readouterr().err.splitlines()
        assert "fault in birdplane" not in line
        assert not any(ord(character) < 32 for character in line)
        return line

    return run


@pytest.fixture
def untouched(tmp_path: Path, place: Path) -> Iterator[Callable[[Path], None]]:
    """Compare the tree outside the archive before and after; the cache may hold nothing unpacked."""
    before: dict[str, Any] = {}

    def watch(archive: Path) -> None:
        before.update(tree(tmp_path / "outside"))

    escaped = {path for path in ("/tmp/escaped", "/tmp/escaped.png") if os.path.lexists(path)}
    yield watch
    assert tree(tmp_path / "outside") == before
    cache = tmp_path / "cache"
    kept = [path.name for path in cache.rglob("*") if path.is_file()] if cache.exists() else []
    assert not [name for name in kept if not name.endswith((".lock", "verified.json"))], kept
    assert escaped == {path for path in ("/tmp/escaped", "/tmp/escaped.png") if os.path.lexists(path)}


#: What takes seconds to make; every day there is one that only claims to be so large.
_SLOW = [pytest.param("expanding", marks=pytest.mark.long)]


@pytest.mark.parametrize("kind", [*(kind for kind in TARS if kind != "expanding"), *_SLOW])
def test_a_hostile_tar_given_as_the_data_is_refused(
    kind: str, place: Path, check: Callable[..., str], untouched: Callable[[Path], None]
) -> None:
    make, words = TARS[kind]
    path = place / "data.tar.gz"
    path.write_bytes(make())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    untouched(path)
    began = time.monotonic()
    line = check("dataset=cifar2", f"dataset.source={path}", f"dataset.sha256={digest}")
    assert words in line, line
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("kind", ["climbing", "symbolic link", "fifo", "claiming terabytes"])
def test_a_hostile_zip_or_tar_of_the_other_kind_is_refused_as_well(
    kind: str, place: Path, check: Callable[..., str], untouched: Callable[[Path], None]
) -> None:
    """An archive is what its bytes say: a zip where a tar is expected, a tar where pictures are."""
    make, words = ZIPS.get(kind) or ZIPS["claiming gigabytes"]
    path = place / "data.tar.gz"
    path.write_bytes(make())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    (place / "pictures.tar.gz").write_bytes(TARS[kind][0]())
    untouched(path)
    line = check("dataset=cifar2", f"dataset.source={path}", f"dataset.sha256={digest}")
    assert words in line or "unpacks to more than" in line, line
    assert "neither a folder nor a zip" in check(
        "dataset=image-folder", f"dataset.path={place}/pictures.tar.gz"
    )


@pytest.mark.parametrize("kind", [*(kind for kind in ZIPS if kind != "expanding"), *_SLOW])
def test_a_hostile_zip_of_pictures_is_refused(
    kind: str, place: Path, check: Callable[..., str], untouched: Callable[[Path], None]
) -> None:
    make, words = ZIPS[kind]
    path = place / "pictures.zip"
    path.write_bytes(make())
    untouched(path)
    line = check("dataset=image-folder", f"dataset.path={path}", "dataset.size=8")
    assert words in line, line


@pytest.mark.long
def test_a_zip_of_millions_of_members_is_refused(
    place: Path, check: Callable[..., str], untouched: Callable[[Path], None]
) -> None:
    path = place / "pictures.zip"
    path.write_bytes(crowded_zip(2_100_000))
    untouched(path)
    assert "more than 2,000,000 members" in check("dataset=image-folder", f"dataset.path={path}")


def crowded_zip(count: int) -> bytes:
    """Return a zip whose list has so many names for one and the same empty file."""
    local = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 0, 0, 33, 0, 0, 0, 1, 0) + b"a"
    listed = b"".join(
        struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 0, 0, 33, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0)
        + b"%09d" % at
        for at in range(count)
    )
    end = len(local) + len(listed)
    more = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, len(listed), len(local))
    where = struct.pack("<4sIQI", b"PK\6\7", 0, end, 1)
    last = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return local + listed + more + where + last
