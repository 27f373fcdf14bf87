"""The names of runs and the folder that holds them: which are allowed, which are taken."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from pathlib import Path

from birdplane import durable
from birdplane.errors import UsageError

_PIPELINE = "pipeline.toml"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}(?<!\.)")
#: Names that Windows keeps for devices, whatever comes after a dot.
_DEVICES = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?", re.IGNORECASE)


def runs_folder(given: Path | None = None) -> Path:
    """Return the folder that holds the runs: the given one, else `BIRDPLANE_RUNS`, else `runs` right here."""
    return given or Path(os.environ.get("BIRDPLANE_RUNS") or "runs")


def check_name(name: str) -> None:
    """Check the name of a new run.

    Raises:
        UsageError: it is not allowed; the message says what is.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot name a run: letters, digits, '.', '_' and '-' are allowed, "
            "the first a letter or digit, the last no '.', at most 100"
        )
    if _DEVICES.fullmatch(name):
        raise UsageError(f"{name!r} cannot name a run: Windows keeps that name for a device")


def take_name(beside: Path, folder: Path, name: str | None, stem: str) -> Path:
    """Give the folder `beside` its final name: nobody else can get the same one."""
    if name is not None:
        try:
            durable.rename_folder(beside, folder / name)
        except FileExistsError as error:
            raise UsageError(
                f"the run {name!r} exists already in {str(folder)!r}; go on with `birdplane resume {name}`, "
                "or choose another name"
            ) from error
        return folder / name
    number = last_number(folder, stem)
    while True:
        number += 1
        with contextlib.suppress(FileExistsError):
            durable.rename_folder(beside, folder / f"{stem}-{number}")
            return folder / f"{stem}-{number}"


def last_number(folder: Path, stem: str) -> int:
    """Return the highest number of the runs `<stem>-1`, `<stem>-2`, ... and of groups of that name; 0 without any.

    Raises:
        OSError: the folder is not there or cannot be read.
    """
    # `<stem>-1-s0` is one of a group `<stem>-1`: see `birdplane.groups`.
    numbered = re.compile(re.escape(stem) + r"-([1-9][0-9]{0,8})(?:-s[0-9]+)?", re.IGNORECASE)
    found = (numbered.fullmatch(entry) for entry in os.listdir(folder))  # noqa: PTH208 - names, not paths
    return max((int(match[1]) for match in found if match), default=0)


def names(folder: Path) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if os.path.isfile(folder / name / _PIPELINE))  # noqa: PTH113, PTH208
    except OSError:
        return []


def is_run(path: Path) -> bool:
    """Tell whether there is a run.

    Raises:
        PermissionError: its folder, or one above it, may not be looked into.
    """
    try:
        return stat.S_ISREG((path / _PIPELINE).stat().st_mode)
    except PermissionError:
        raise
    except (OSError, ValueError):  # no such name, or none that a file could have
        return False
