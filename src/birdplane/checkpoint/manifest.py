"""`manifest.json`: the size and sum of each file of a checkpoint, and its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from birdplane.checkpoint.damage import DamagedCheckpoint, LaterCheckpoint, unreadable
from birdplane.checkpoint.layout import FILE, FORMAT, MANIFEST, STATE, step_of

#: A manifest is a few hundred bytes; what is far larger is none.
_LIMIT = 1 << 20


def manifest_of(step: int, files: Mapping[str, bytes]) -> bytes:
    """Return the manifest of a checkpoint with these files, by name."""
    sums = {
        name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()
    }
    return sealed({"format": FORMAT, "step": step, "files": sums})


def sealed(content: dict[str, Any]) -> bytes:
    """Return the manifest's only valid bytes: with its own sum in it, no bit of it can change unseen."""
    seal = hashlib.sha256(dumps(content)).hexdigest()
    return dumps({**content, "sha256": seal})


def dumps(value: Any) -> bytes:
    """Return JSON of which there is one form: equal values give equal bytes."""
    text = json.dumps(value, indent=1, sort_keys=False, ensure_ascii=True, allow_nan=False)
    return text.encode("ascii") + b"\n"


def read_manifest(path: Path) -> dict[str, Any]:
    """Read the manifest of a checkpoint, and check that its files are those that it lists.

    Raises:
        DamagedCheckpoint, LaterCheckpoint, BirdplaneError: see `load`.
    """
    data = _read_bytes(path, MANIFEST, _LIMIT)
    try:
        content = json.loads(data)
        del content["sha256"]
        sound = sealed(content) == data
    except (ValueError, TypeError, KeyError, RecursionError):
        sound = False
    if not sound:
        raise DamagedCheckpoint(path, f"{MANIFEST} is not as it was written")
    kind = content.get("format")
    if type(kind) is int and kind > FORMAT:
        raise LaterCheckpoint(path, kind)
    if kind != FORMAT:
        raise DamagedCheckpoint(path, f"{MANIFEST} is of format {kind}; this version reads {FORMAT}")
    if (step := content.get("step")) != step_of(path):
        raise DamagedCheckpoint(path, f"{MANIFEST} is that of step {step}")
    _check_files(path, content.get("files"))
    return dict(content)


def _check_files(path: Path, listed: Any) -> None:
    """Check that the manifest lists what a checkpoint has, and that nothing else is there."""
    if not isinstance(listed, dict) or STATE not in listed:
        raise DamagedCheckpoint(path, f"{MANIFEST} does not list {STATE}")
    for name, wanted in listed.items():
        if not FILE.fullmatch(name):
            raise DamagedCheckpoint(path, f"{MANIFEST} lists {name!r}, which is no file of a checkpoint")
        if not isinstance(wanted, dict) or type(wanted.get("size")) is not int or "sha256" not in wanted:
            raise DamagedCheckpoint(path, f"{MANIFEST} does not tell the size and sum of {name}")
    try:
        present = {entry.name for entry in path.iterdir()}
    except OSError as error:
        raise unreadable(path, "it", error) from error
    if extra := present - {MANIFEST, *listed}:
        raise DamagedCheckpoint(path, f"{min(extra)} does not belong to it")


def read_listed(path: Path, name: str, wanted: Mapping[str, Any]) -> bytes:
    """Read a file that the manifest lists, with the size and sum that are `wanted`.

    Raises:
        DamagedCheckpoint, BirdplaneError: see `load`.
    """
    data = _read_bytes(path, name, wanted["size"])
    if len(data) != wanted["size"]:
        raise DamagedCheckpoint(path, f"{name} has {len(data)} bytes instead of {wanted['size']}")
    if hashlib.sha256(data).hexdigest() != wanted["sha256"]:
        raise DamagedCheckpoint(path, f"{name} is not as it was written")
    return data


def _read_bytes(path: Path, name: str, limit: int) -> bytes:
    file = path / name
    try:
        size = file.lstat().st_size
        if not file.is_file() or file.is_symlink():
            raise DamagedCheckpoint(path, f"{name} is not a file")
        if size > limit:
            raise DamagedCheckpoint(path, f"{name} has {size} bytes, more than the {limit} it may have")
        return file.read_bytes()
    except FileNotFoundError as error:
        raise DamagedCheckpoint(path, f"{name} is missing") from error
    except OSError as error:
        raise unreadable(path, name, error) from error
