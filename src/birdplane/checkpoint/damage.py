"""What may be wrong with a checkpoint."""

from __future__ import annotations

import errno
from pathlib import Path

from birdplane import durable
from birdplane.checkpoint.layout import FORMAT
from birdplane.errors import BirdplaneError

#: What the system answers where the disk, or what stands on it, is damaged. Any other trouble in reading, such as a
#: folder that is somebody else's or too many open files, may be over at the next try: it is no damage.
_OF_DAMAGE = {
    errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EIO, getattr(errno, "EUCLEAN", errno.EIO),
}  # fmt: skip


class DamagedCheckpoint(BirdplaneError):  # noqa: N818 - it reads as what it is
    """A checkpoint that is not what was written. `path` is its folder; the message names the file."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(f"the checkpoint {str(path)!r} is damaged: {what}")
        self.path = path


class LaterCheckpoint(BirdplaneError):  # noqa: N818 - it reads as what it is
    """A checkpoint that a later version of birdplane wrote: whole, but in a format that is not known here."""

    def __init__(self, path: Path, kind: int) -> None:
        super().__init__(
            f"the checkpoint {str(path)!r} is of format {kind}, of which only up to {FORMAT} is known here: a later "
            "birdplane wrote it; use that version (pip install --upgrade birdplane)"
        )
        self.path = path


def unreadable(path: Path, what: str, error: OSError) -> BirdplaneError:
    """Return what it means that a part of a checkpoint cannot be read: damage, or trouble that may be over."""
    if error.errno in _OF_DAMAGE:
        return DamagedCheckpoint(path, f"{what} cannot be read: {error.strerror or error}")
    return durable.trouble(error, "read the checkpoint", path)
