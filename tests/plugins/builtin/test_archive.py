from __future__ import annotations

import gzip
import io
import os
import pickle
import stat
import tarfile
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from birdplane.errors import BirdplaneError
from birdplane_builtin.archive import MemberError, ZipFolder, is_zip, read_members

LIMIT = 1 << 20


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size
    return info


def write_tar(path: Path, *members: tuple[tarfile.TarInfo, bytes], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def write_zip(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def read(path: Path, *names: str, limit: int = LIMIT) -> dict[str, bytes]:
    return dict(read_members(path, names, limit=limit))


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_members_of_a_tar_are_read_by_name(tmp_path: Path, mode: str) -> None:
    path = write_tar(
        tmp_path / "a.tar",
        (member("./in/a.bin"), b"aa"),
        (member("in/b.bin"), b"b" * 5000),
        (member("in/c.bin"), b"c"),
        mode=mode,
    )
    assert read(path, "in/a.bin", "in/c.bin") == {"in/a.bin": b"aa", "in/c.bin": b"c"}


def test_members_of_a_zip_are_read_by_name(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", ("in/a.bin", b"aa"), ("in/b.bin", b"b"))
    assert read(path, "in/b.bin") == {"in/b.bin": b"b"}


def test_a_member_that_is_not_there_is_told_by_name(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar.gz", (member("a"), b"a"))
    with pytest.raises(BirdplaneError, match=r"a\.tar\.gz: the archive has no 'b'"):
        read(path, "a", "b")


@pytest.mark.parametrize(
    ("info", "reason"),
    [
        (member("../up"), "climbs out"),
        (member("in/../../up"), "climbs out"),
        (member("in\\..\\..\\up"), "climbs out"),
        (member("/etc/passwd"), "an absolute path"),
        (member("C:/windows"), "an absolute path"),
        (member("soft", tarfile.SYMTYPE, "/etc/passwd"), "a link to '/etc/passwd'"),
        (member("hard", tarfile.LNKTYPE, "a"), "a link to 'a'"),
        (member("disk", tarfile.BLKTYPE), "neither a file nor a folder"),
        (member("tty", tarfile.CHRTYPE), "neither a file nor a folder"),
        (member("pipe", tarfile.FIFOTYPE), "neither a file nor a folder"),
    ],
    ids=lambda value: value.name if isinstance(value, tarfile.TarInfo) else "",
)
def test_a_tar_with_a_dangerous_member_is_refused_by_its_name(
    tmp_path: Path, info: tarfile.TarInfo, reason: str
) -> None:
    path = write_tar(tmp_path / "a.tar.gz", (info, b""), (member("a"), b"a"))
    with pytest.raises(BirdplaneError) as caught:
        read(path, "a")
    assert repr(info.name) in str(caught.value)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_tar_with_a_member_twice_is_refused(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", (member("a"), b"1"), (member("a"), b"2"))
    with pytest.raises(BirdplaneError, match="'a' is there twice"):
        read(path, "a")


def test_a_tar_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "bomb.tar.gz", (member("bomb"), bytes(8 << 20)), (member("a"), b"a"))
    assert path.stat().st_size < 100_000
    with pytest.raises(BirdplaneError, match="its member 'bomb' unpacks to more than 1,048,576 bytes"):
        read(path, "a")


def test_a_tar_of_many_members_that_unpack_to_too_much_is_refused(tmp_path: Path) -> None:
    many = [(member(f"m{i}"), bytes(1 << 20)) for i in range(8)]
    with pytest.raises(BirdplaneError, match="it unpacks to more than 1,048,576 bytes"):
        read(write_tar(tmp_path / "a.tar.gz", *many), "m7")


def test_a_tar_whose_header_is_a_bomb_is_refused(tmp_path: Path) -> None:
    header = member("header", tarfile.XHDTYPE)
    path = write_tar(tmp_path / "a.tar.gz", (header, b"100 comment=" + bytes(16 << 20)), (member("a"), b"a"))
    with pytest.raises(BirdplaneError, match="unpacks to more than"):
        read(path, "a")


def test_a_tar_that_declares_more_than_it_holds_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(member("a", size=5000).tobuf() + b"short")
    with pytest.raises(BirdplaneError, match=r"a\.tar: the archive is cut short or damaged"):
        read(path, "a")


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.999])
def test_a_gzipped_tar_that_is_cut_short_is_told(tmp_path: Path, kept: float) -> None:
    path = write_tar(tmp_path / "a.tar.gz", (member("a"), os.urandom(50_000)))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(BirdplaneError, match=r"a\.tar\.gz: the archive is cut short or damaged") as caught:
        read(path, "a")
    assert "\n" not in str(caught.value)


def test_a_gzipped_tar_with_a_flipped_byte_is_told(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar.gz", (member("a"), os.urandom(50_000)))
    content = bytearray(path.read_bytes())
    content[25_000] ^= 1
    path.write_bytes(content)
    with pytest.raises(BirdplaneError, match="cut short or damaged"):
        read(path, "a")


@pytest.mark.parametrize(
    "content",
    [b"", b"no archive at all", gzip.compress(b"no tar"), b"PK\x03\x04 no zip"],
    ids=["empty", "text", "gzip", "zip"],  # gzip's bytes have the time in them
)
def test_what_is_no_archive_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.tar.gz"
    path.write_bytes(content)
    with pytest.raises(BirdplaneError, match=r"a\.tar\.gz: the archive"):
        read(path, "a")


def test_an_archive_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(BirdplaneError, match="cannot be read: No such file"):
        read(tmp_path / "absent", "a")


def test_a_zip_lists_files_and_folders(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", ("empty/", b""), ("in/a", b"aa"), ("in\\b", b"b"))
    folder = ZipFolder(path)
    assert folder.sizes == {"in/a": 2, "in/b": 1}
    assert folder.folders == {"empty"}
    assert folder.read("in/b", limit=10) == b"b"
    assert is_zip(path)


def linked(name: str, kind: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (kind | 0o644) << 16
    return info


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../up", "climbs out"),
        ("in/../../up", "climbs out"),
        ("in\\..\\..\\up", "climbs out"),
        ("/etc/passwd", "an absolute path"),
        ("C:\\windows", "an absolute path"),
        (linked("soft", stat.S_IFLNK), "a link"),
        (linked("disk", stat.S_IFBLK), "neither a file nor a folder"),
    ],
)
def test_a_zip_with_a_dangerous_member_is_refused(
    tmp_path: Path, name: str | zipfile.ZipInfo, reason: str
) -> None:
    path = write_zip(tmp_path / "a.zip", ("a", b"a"), (name, b"b"))
    with pytest.raises(BirdplaneError, match=f"the archive is refused, because its member .* {reason}"):
        ZipFolder(path)


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", ("a", b"a"))
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(BirdplaneError, match="its member 'a' is encrypted"):
        ZipFolder(path)


def test_a_zip_with_a_member_twice_is_refused(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = write_zip(tmp_path / "a.zip", ("a", b"1"), ("a", b"2"))
    with pytest.raises(BirdplaneError, match="'a' is there twice"):
        ZipFolder(path)


def test_a_member_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "bomb.zip", ("bomb", bytes(8 << 20)))
    with pytest.raises(MemberError, match="unpacks to 8,388,608 bytes; at most 1,048,576 are read"):
        ZipFolder(path).read("bomb", limit=LIMIT)
    with pytest.raises(BirdplaneError, match="it unpacks to more than 1,048,576 bytes"):
        read(path, "bomb")


def test_a_member_that_declares_less_than_it_unpacks_to_is_not_unpacked_further(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "bomb.zip", ("bomb", bytes(8 << 20)))
    content = path.read_bytes().replace((8 << 20).to_bytes(4, "little"), (9).to_bytes(4, "little"))
    path.write_bytes(content)
    with pytest.raises(MemberError, match="is damaged"):
        ZipFolder(path).read("bomb", limit=LIMIT)


def test_a_zip_that_is_cut_short_is_told(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", ("a", os.urandom(5000)))
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(BirdplaneError, match=r"a\.zip: the archive is cut short or damaged"):
        ZipFolder(path)


def test_a_member_with_a_flipped_byte_is_told_by_name(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", ("a", os.urandom(5000)))
    content = bytearray(path.read_bytes())
    content[2000] ^= 1
    path.write_bytes(content)
    with pytest.raises(MemberError, match=r"a\.zip: 'a' is damaged"):
        ZipFolder(path).read("a", limit=LIMIT)


def test_a_zip_can_be_pickled_and_read_by_threads(tmp_path: Path) -> None:
    contents = {f"m{i}": os.urandom(3000) for i in range(200)}
    folder = pickle.loads(pickle.dumps(ZipFolder(write_zip(tmp_path / "a.zip", *contents.items()))))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda name: folder.read(name, limit=LIMIT), contents))
    assert found == list(contents.values())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="takes a system that forks")
def test_a_forked_process_reads_at_a_position_of_its_own(tmp_path: Path) -> None:
    folder = ZipFolder(write_zip(tmp_path / "a.zip", ("a", b"content")))
    owner = folder._opened()
    child = os.fork()
    if child == 0:
        fine = folder.read("a", limit=LIMIT) == b"content" and folder._opened() is not owner
        os._exit(0 if fine else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert folder.read("a", limit=LIMIT) == b"content"
