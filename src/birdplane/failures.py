"""What the system does to a training, in words: memory that runs out, decoding workers that are lost."""

from __future__ import annotations

import errno
import re
import traceback
from collections.abc import Iterator

import torch

from birdplane.errors import BirdplaneError
from birdplane.processes import signal_name

#: What torch and its libraries raise as a plain RuntimeError where memory runs out.
_NO_MEMORY = re.compile(
    r"can't allocate memory|out of memory|bad_alloc|_ALLOC_FAILED|failed to allocate|cannot allocate",
    re.IGNORECASE,
)


class LostWorker(BirdplaneError):  # noqa: N818 - it reads as what it is
    """A process that decodes pictures is gone."""


def ran_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error, or one that led to it, says that memory ran out, of the machine or of a GPU."""
    return any(
        isinstance(each, MemoryError | torch.OutOfMemoryError)
        or (isinstance(each, OSError) and each.errno == errno.ENOMEM)
        or (isinstance(each, RuntimeError) and _NO_MEMORY.search(str(each)) is not None)
        for each in _chain(error)
    )


def let_go(error: BaseException) -> None:
    """Free what the frames that an error went through still hold, such as a batch and all that was made of it."""
    for each in _chain(error):
        traceback.clear_frames(each.__traceback__)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def lost_worker(pid: int, code: int | None) -> LostWorker:
    """Return the one line for a decoding worker that ended with `code`: a signal is negative, None if not known."""
    if code is None:
        end = "is gone"
    elif code >= 0:
        end = f"left with exit code {code}"
    else:
        end = f"was killed by {signal_name(-code)}"
    memory = ", perhaps for want of memory (mend: fewer training.workers)" if code == -9 else ""
    return LostWorker(f"training.workers: a decoding worker (pid {pid}) {end}{memory}")


def no_workers(error: OSError, count: int) -> BirdplaneError:
    """Return the one line for decoding workers that cannot be started."""
    return BirdplaneError(
        f"training.workers: {count} decoding workers cannot be started: {error.strerror or error} "
        "(mend: fewer, or --set training.workers=0)"
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        yield at
        at = at.__cause__ or at.__context__
