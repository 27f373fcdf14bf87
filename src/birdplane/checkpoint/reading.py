"""Checkpoints are verified before anything in them is used."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from birdplane import durable, failures
from birdplane.checkpoint.damage import DamagedCheckpoint
from birdplane.checkpoint.layout import HIDDEN, STATE, STEP
from birdplane.checkpoint.manifest import read_listed, read_manifest
from birdplane.checkpoint.values import decode

#: What the state of a training's checkpoint has, at least.
OF_A_TRAINING: dict[str, type] = {
    "position": dict,
    "sums": dict,
    "fitted": dict,
    "classes": list,
    "input_shape": list,
    "stored_shape": list,
    "environment": dict,
}


@dataclass(frozen=True)
class Checkpoint:
    """What was saved: `tensors` by group and name, on the CPU and contiguous, and `state`."""

    step: int
    path: Path
    tensors: dict[str, dict[str, Tensor]]
    state: Any


def load(path: Path) -> Checkpoint:
    """Verify a checkpoint, and return it if every bit is as it was written.

    Raises:
        DamagedCheckpoint: it is not; the message names the file.
        LaterCheckpoint: it is, but a later version of birdplane wrote it.
        BirdplaneError: the system does not let it be read, which says nothing of what is in it.
        MemoryError, RuntimeError: memory ran out.
    """
    content = read_manifest(path)
    files = {name: read_listed(path, name, wanted) for name, wanted in content["files"].items()}
    try:
        state = decode(json.loads(files.pop(STATE)))
        tensors = {name.removesuffix(".safetensors"): _from_bytes(data) for name, data in files.items()}
    except Exception as error:
        if failures.ran_out_of_memory(error):
            raise
        raise DamagedCheckpoint(path, f"it cannot be read: {type(error).__name__}: {error}") from error
    return Checkpoint(content["step"], path, tensors, state)


def newest(
    folder: Path, holds: Mapping[str, type] | None = None
) -> tuple[Checkpoint | None, list[DamagedCheckpoint]]:
    """Return the newest sound checkpoint, if there is one, and what is wrong with those after it.

    One whose state lacks what `holds` names counts as damaged: somebody else has written it.

    Raises:
        LaterCheckpoint: one after it is of a later version of birdplane: to pass over it would throw away its work.
        BirdplaneError: one after it, or the folder, cannot be read; the same.
    """
    damaged: list[DamagedCheckpoint] = []
    for _, path in sorted(folders(folder).items(), reverse=True):
        try:
            found = load(path)
            _check_state(found, holds or {})
            return found, damaged
        except DamagedCheckpoint as error:
            damaged.append(error)
    return None, damaged


def _check_state(found: Checkpoint, holds: Mapping[str, type]) -> None:
    state = found.state if isinstance(found.state, dict) else {}
    lacking = [name for name, kind in holds.items() if not isinstance(state.get(name), kind)]
    if lacking or (holds and "model" not in found.tensors):
        what = f"{lacking[0]!r} in {STATE}" if lacking else "weights of a model"
        raise DamagedCheckpoint(found.path, f"it is none of a training: it has no {what}")


def steps(folder: Path) -> list[int]:
    """Return the steps of which there are checkpoints, sound or not, in order.

    Raises:
        BirdplaneError: the folder is there but cannot be read.
    """
    return sorted(folders(folder))


def folders(folder: Path) -> dict[int, Path]:
    """Return the checkpoints by step, one that had stepped aside for its successor included."""
    try:
        paths = list(folder.iterdir())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise durable.trouble(error, "read", folder) from error
    found = {int(path.name): path for path in paths if STEP.fullmatch(path.name)}
    for path in paths:
        match = HIDDEN.fullmatch(path.name)
        if match and match[2] == "old":
            found.setdefault(int(match[1]), path)
    return found


def _from_bytes(data: bytes) -> dict[str, Tensor]:
    return dict(safetensors.torch.load(data))
