"""How checkpoints lie on the disk: their format, and the names of their files and folders."""

from __future__ import annotations

import re
from pathlib import Path

#: That of checkpoints. It grows when a version writes what an earlier one would read wrongly.
FORMAT = 1

STATE = "state.json"
MANIFEST = "manifest.json"
GROUP = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
FILE = re.compile(rf"{GROUP.pattern}\.safetensors|state\.json")
STEP = re.compile(r"[0-9]{8,18}")
HIDDEN = re.compile(r"\.([0-9]{8,18})\.(new|old|gone|damaged)")


def hidden(path: Path, what: str) -> Path:
    """Return the name under which a checkpoint is out of sight: `new`, `old`, `gone` or `damaged`."""
    return path.with_name(f".{path.name}.{what}")


def hidden_ones(folder: Path) -> list[tuple[Path, int, str]]:
    """Return what is out of sight in a folder of checkpoints: path, step, and which of the four it is."""
    found = [(path, HIDDEN.fullmatch(path.name)) for path in folder.iterdir()]
    return [(path, int(match[1]), match[2]) for path, match in found if match]


def step_of(path: Path) -> int:
    """Return the step that a checkpoint's name tells, in sight or not; -1 where it tells none."""
    match = HIDDEN.fullmatch(path.name)
    name = match[1] if match else path.name
    return int(name) if STEP.fullmatch(name) else -1
