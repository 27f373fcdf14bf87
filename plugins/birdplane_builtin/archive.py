"""Reading archives from strangers: straight into memory, with bounds, and never onto the disk.

A member that climbs out of the archive, or is a link or a device, is refused by name, wanted or not: such an
archive was not made for us.
"""

from __future__ import annotations

import os
import posixpath
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO, cast

from birdplane.errors import BirdplaneError, message_of

_MOST_TAR_MEMBERS = 10_000
#: ImageNet has 1.4 million.
_MOST_ZIP_MEMBERS = 2_000_000
_DRIVE = re.compile(r"[A-Za-z]:")
_BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    NotImplementedError,
    ValueError,
    OverflowError,
)


def read_members(path: Path, names: Collection[str], *, limit: int) -> Iterator[tuple[str, bytes]]:
    """Yield (name, content) of each of `names`, in the archive's own order.

    Args:
        path: a tar, a gzipped tar or a zip.
        names: members, with `/` between folders.
        limit: the bytes that the whole archive may unpack to.

    Raises:
        BirdplaneError: it is no such archive, is damaged, holds a member that is refused, unpacks to more
            than `limit` bytes, or lacks one of `names`.
    """
    missing = set(names)
    found = _zip_members(path, missing, limit) if is_zip(path) else _tar_members(path, missing, limit)
    for name, content in found:
        missing.discard(name)
        yield name, content
    if missing:
        raise BirdplaneError(
            f"{path}: the archive has no {sorted(missing)[0]!r}: it is cut short, or another archive"
        )


def is_zip(path: Path) -> bool:
    """Whether the file begins as a zip does.

    Raises:
        BirdplaneError: it cannot be read.
    """
    with _opened(path) as file:
        return file.read(4) == b"PK\x03\x04"


class MemberError(BirdplaneError):
    """One member cannot be had; `reason` says why without naming it."""

    def __init__(self, path: Path, name: str, reason: str) -> None:
        super().__init__(f"{path}: {name!r} {reason}")
        self.reason = reason


class ZipFolder:
    """The files of a zip, by name. May be shared by threads, forked and pickled.

    Args:
        path: the zip.

    Attributes:
        sizes: the unpacked bytes of each file, by name (`/` between folders).
        folders: the folders that the zip lists as such, empty ones among them.

    Raises:
        BirdplaneError: it is no zip, is damaged, or holds a member that is refused.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._list()

    def read(self, name: str, *, limit: int) -> bytes:
        """Return the content of one file.

        Raises:
            MemberError: it has more than `limit` bytes, or is damaged.
            BirdplaneError: the zip cannot be opened any more.
        """
        archive = self._opened()
        info = self._members[name]
        if info.file_size > limit:
            raise MemberError(
                self.path, name, f"unpacks to {info.file_size:,} bytes; at most {limit:,} are read"
            )
        try:
            with archive.open(info) as file:
                content = file.read(limit + 1)
        except (*_BROKEN, RuntimeError) as error:
            raise MemberError(self.path, name, f"is damaged: {message_of(error)}") from error
        if len(content) != info.file_size:
            raise MemberError(self.path, name, "is damaged: it ends early")
        return content

    def __reduce__(self) -> tuple[type[ZipFolder], tuple[Path]]:
        return ZipFolder, (self.path,)

    def _list(self) -> None:
        self.sizes: dict[str, int] = {}
        self.folders: set[str] = set()
        self._members: dict[str, zipfile.ZipInfo] = {}
        try:
            self._zip = zipfile.ZipFile(self.path)
        except _BROKEN as error:
            raise _damaged(self.path, error) from error
        self._owner = os.getpid()
        if len(self._zip.filelist) > _MOST_ZIP_MEMBERS:
            raise BirdplaneError(f"{self.path}: the archive has more than {_MOST_ZIP_MEMBERS:,} members")
        for info in self._zip.infolist():
            self._admit(info)

    def _opened(self) -> zipfile.ZipFile:
        """Return the zip as this process opened it: a forked one would share its position in the file.

        A `ZipFile` locks around its reads, so the threads of a process share one; opening one for each would
        cost each the time to parse the list of members (0.4 s for 55,000).
        """
        if self._owner != os.getpid():
            self._list()
        return self._zip

    def _admit(self, info: zipfile.ZipInfo) -> None:
        """List the member, or refuse it."""
        name = info.filename.replace("\\", "/")
        _refuse_climbing(self.path, name)
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _refused(
                self.path, name, "a link" if kind == stat.S_IFLNK else "neither a file nor a folder"
            )
        if info.flag_bits & 1:
            raise _refused(self.path, name, "encrypted")
        is_folder = name.endswith("/")
        if is_folder or "//" in name or "./" in name:
            name = posixpath.normpath(name)
        if is_folder:
            self.folders.add(name)
            return
        if name in self._members:
            raise _refused(self.path, name, "there twice")
        self._members[name] = info
        self.sizes[name] = info.file_size


def _zip_members(path: Path, wanted: Collection[str], limit: int) -> Iterator[tuple[str, bytes]]:
    folder = ZipFolder(path)
    if sum(folder.sizes.values()) > limit:
        raise _too_large(path, None, limit)
    for name in [name for name in folder.sizes if name in wanted]:
        yield name, folder.read(name, limit=limit)


def _tar_members(path: Path, wanted: Collection[str], limit: int) -> Iterator[tuple[str, bytes]]:
    with _opened(path) as file:
        try:
            stream = _Bounded(_unpacked(file), path, limit)
            with tarfile.open(fileobj=cast(IO[bytes], stream), mode="r|", bufsize=1 << 20) as tar:
                yield from _tar_contents(path, tar, wanted, limit)
                # The checksum of a gzip is in its last bytes.
                while stream.read(1 << 20):
                    pass
        except _BROKEN as error:
            raise _damaged(path, error) from error


def _tar_contents(
    path: Path, tar: tarfile.TarFile, wanted: Collection[str], limit: int
) -> Iterator[tuple[str, bytes]]:
    seen: set[str] = set()
    for number, member in enumerate(tar):
        if number >= _MOST_TAR_MEMBERS:
            raise BirdplaneError(f"{path}: the archive has more than {_MOST_TAR_MEMBERS:,} members")
        _refuse_climbing(path, member.name)
        if member.issym() or member.islnk():
            raise _refused(path, member.name, f"a link to {member.linkname!r}")
        if not (member.isreg() or member.isdir()) or member.issparse():
            raise _refused(path, member.name, "neither a file nor a folder")
        if member.size > limit:
            raise _too_large(path, member.name, limit)
        name = posixpath.normpath(member.name)
        if name in seen:
            raise _refused(path, name, "there twice")
        if member.isreg():
            seen.add(name)
        if member.isreg() and name in wanted:
            content = tar.extractfile(member)
            assert content is not None
            yield name, content.read()


class _Bounded:
    """A stream that refuses to yield much more than `limit` bytes, whatever the headers in it claim."""

    def __init__(self, stream: IO[bytes], path: Path, limit: int) -> None:
        self._stream = stream
        self._path = path
        self._limit = limit
        # Headers and padding come on top of the contents.
        self._left = limit + limit // 8 + (1 << 20)

    def read(self, size: int) -> bytes:
        content = self._stream.read(size)
        self._left -= len(content)
        if self._left < 0:
            raise _too_large(self._path, None, self._limit)
        return content


def _unpacked(file: IO[bytes]) -> IO[bytes]:
    magic = file.read(2)
    file.seek(0)
    if magic != b"\x1f\x8b":
        return file
    import gzip

    return cast(IO[bytes], gzip.GzipFile(fileobj=file, mode="rb"))


def _opened(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise BirdplaneError(f"{path}: cannot be read: {error.strerror or error}") from error


def _refuse_climbing(path: Path, name: str) -> None:
    if name.startswith(("/", "\\")) or _DRIVE.match(name):
        raise _refused(path, name, "an absolute path")
    if ".." in name and ".." in name.replace("\\", "/").split("/"):
        raise _refused(path, name, "a path that climbs out of the archive")


def _refused(path: Path, name: str, what: str) -> BirdplaneError:
    return BirdplaneError(f"{path}: the archive is refused, because its member {name!r} is {what}")


def _too_large(path: Path, name: str | None, limit: int) -> BirdplaneError:
    what = "it" if name is None else f"its member {name!r}"
    return BirdplaneError(
        f"{path}: the archive is refused, because {what} unpacks to more than {limit:,} bytes"
    )


def _damaged(path: Path, error: Exception) -> BirdplaneError:
    return BirdplaneError(f"{path}: the archive is cut short or damaged: {message_of(error)}")
