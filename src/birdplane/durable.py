"""Files and folders, in what differs between systems: flushing to the disk, replacing in one step.

Everything that must survive a kill or a power cut is written through this module. Where a system has no
counterpart, the function says so and does what is nearest. Imports nothing heavy.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
import time
from pathlib import Path

from birdplane.errors import BirdplaneError

_ADVICE = {
    errno.ENOSPC: "the disk is full; make room",
    getattr(errno, "EDQUOT", -1): "your disk quota is used up; make room",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission denied; check who owns the folder and its mode",
    errno.EPERM: "permission denied; check who owns the folder and its mode",
    errno.EIO: "the disk reports an input/output error",
    errno.EFBIG: "a file may not be that large here (ulimit -f, or the file system's limit)",
}


#: Windows refuses to replace a file for as long as somebody reads it.
_WINDOWS_PATIENCE_SECONDS = 2.0


def trouble(error: OSError, doing: str, path: Path | str) -> BirdplaneError:
    """Return the one line that tells a person why `doing` (such as `"write"`) failed at `path`."""
    reason = _ADVICE.get(error.errno or 0) or error.strerror or str(error)
    return BirdplaneError(f"cannot {doing} {os.fspath(path)!r}: {reason}")


# --- files and folders ------------------------------------------------------------------------------------


def sync_file(descriptor: int) -> None:
    """Wait until what was written to `descriptor` is on the disk.

    macOS answers a plain fsync before the drive has written, so there the drive's own cache is flushed too.
    """
    if sys.platform == "darwin":
        import fcntl

        with contextlib.suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
    os.fsync(descriptor)


def sync_folder(folder: Path) -> None:
    """Wait until the names in `folder` are on the disk, where the file system can be asked for that.

    Windows has no such call, as NTFS keeps a journal, and some shared or mounted file systems refuse it for folders.
    """
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def make_folder(folder: Path, *, parents: bool = True) -> None:
    """Make a folder, and with `parents` those above it, where they are missing; flush the folders that hold them.

    Raises:
        OSError: it could not be made.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=parents, exist_ok=True)
    for path in missing:
        # Whoever may write into a folder may not be allowed to list it, and so not to flush it either.
        with contextlib.suppress(PermissionError):
            sync_folder(path.parent)


def write_file(path: Path, data: bytes) -> None:
    """Create `path` with `data`, permissions by umask, and flush it. The folder is not flushed.

    Raises:
        FileExistsError: there is such a file.
        OSError: it could not be written; what there is of it stays.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags, 0o666)
    try:
        write_all(descriptor, data)
        sync_file(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of `data`: one call to the system unless it takes less than it is given."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def replace_file(path: Path, data: bytes) -> None:
    """Make `path` hold `data`: a reader, a kill or a power cut finds the old content or the new, whole.

    Raises:
        OSError: it could not be written; the old content stays.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        beside.unlink(missing_ok=True)
        write_file(beside, data)
        replace(beside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise
    sync_folder(path.parent)


def replace(source: Path, target: Path) -> None:
    """Rename the file `source` over `target` in one step; on Windows wait a little for readers to let go."""
    if sys.platform == "win32":
        _replace_patiently(source, target)
    else:
        source.replace(target)


def _replace_patiently(source: Path, target: Path) -> None:
    deadline = time.monotonic() + _WINDOWS_PATIENCE_SECONDS
    while True:
        try:
            source.replace(target)
            return
        except PermissionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def open_to_append(path: Path) -> int:
    """Return a descriptor at which every write goes to the file's end; the file is created if need be.

    Raises:
        OSError: it cannot be opened.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
    return os.open(path, flags, 0o666)


def rename_folder(source: Path, target: Path) -> None:
    """Rename a folder to a name that is free, and flush the folder that holds it.

    Raises:
        FileExistsError: the name is taken.
        OSError: the rename or the flush failed.
    """
    try:
        source.rename(target)
    except OSError as error:
        # What a taken name is called differs: ENOTEMPTY, EEXIST, ENOTDIR, or access denied on Windows.
        if os.path.lexists(target) and error.errno not in (errno.ENOSPC, errno.EIO, errno.EROFS):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from error
        raise
    sync_folder(target.parent)


def remove_folder(folder: Path) -> None:
    """Remove a folder and what is in it, as far as that goes; what is left is for the next time."""
    shutil.rmtree(folder, ignore_errors=True)
