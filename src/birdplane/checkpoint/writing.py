"""Checkpoints are written beside, and renamed into place; those that are not wanted any more go in one step."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from birdplane import durable
from birdplane.checkpoint.layout import GROUP, MANIFEST, STATE, hidden, hidden_ones
from birdplane.checkpoint.manifest import dumps, manifest_of
from birdplane.checkpoint.reading import folders, steps
from birdplane.checkpoint.values import encode


def save(folder: Path, step: int, *, tensors: Mapping[str, Mapping[str, Tensor]], state: Any) -> Path:
    """Write the checkpoint of `step` into `folder` and return its path, `folder/00001570` for step 1570.

    When it returns, everything is on the disk. One of the same step is replaced. What an interrupted save left behind
    is removed first. The folder is made where it is missing, those above it are not. One process at a time may save
    into a folder (see `runs.Run.lock`), and what was told of the steps before must be on the disk already (see
    `runs.Run.sync`).

    Args:
        tensors: by group and name, on any device and in any layout; they may share memory.
        state: numbers, strings, booleans, None, lists, tuples and dicts of them, which `load` returns
            exactly: not-a-number, infinities and tuples included.

    Raises:
        ValueError: a group's name is not lower-case words, or the step is negative.
        TypeError: there is something else in `state`.
        BirdplaneError: it could not be written, in one line; the earlier checkpoints are untouched.
    """
    if step < 0:
        raise ValueError(f"step {step} is negative")
    files = {f"{_checked_group(group)}.safetensors": _to_bytes(named) for group, named in tensors.items()}
    files[STATE] = dumps(encode(state))
    files[MANIFEST] = manifest_of(step, files)
    final, beside = folder / f"{step:08d}", folder / f".{step:08d}.new"
    try:
        durable.make_folder(folder, parents=False)  # a run that was moved meanwhile must not come back
        _tidy(folder)
        _write(beside, files)
        _move_into_place(beside, final)
    except OSError as error:
        durable.remove_folder(beside)
        raise durable.trouble(error, f"save the checkpoint of step {step} in", folder) from error
    except BaseException:
        durable.remove_folder(beside)
        raise
    return final


def prune(folder: Path, keep: int = 2, best: int | None = None) -> list[Path]:
    """Remove all checkpoints but the last `keep` and that of step `best`; return what was removed.

    Damaged ones that were set aside go with those of their time. What cannot be removed stays, without a word: it
    harms nothing.

    Raises:
        ValueError: `keep` is less than 1.
    """
    if keep < 1:
        raise ValueError("at least one checkpoint must be kept")
    found = steps(folder)
    for path, step, what in hidden_ones(folder):
        if what == "damaged" and len(found) >= keep and step < found[-keep]:
            durable.remove_folder(path)
    return _remove(folder, [step for step in found[:-keep] if step != best])


def rewind(folder: Path, step: int, damaged: Collection[Path] = ()) -> None:
    """Take away the checkpoints of steps after `step`: a run that goes on from there will write them anew.

    Those that were found `damaged` are set aside as `.<step>.damaged`: perhaps there is something to be saved.
    """
    for later, path in folders(folder).items():
        if later > step and path in damaged:
            aside = folder / f".{later:08d}.damaged"
            durable.remove_folder(aside)
            with contextlib.suppress(OSError):
                durable.rename_folder(path, aside)
    _remove(folder, [later for later in steps(folder) if later > step])


def _write(beside: Path, files: Mapping[str, bytes]) -> None:
    beside.mkdir()
    for name, data in files.items():
        durable.write_file(beside / name, data)
    durable.sync_folder(beside)


def _move_into_place(beside: Path, final: Path) -> None:
    """Rename into place. One of the same step gives way, but is found until the new one is there."""
    if not final.exists():
        durable.rename_folder(beside, final)
        return
    aside = hidden(final, "old")
    durable.rename_folder(final, aside)
    try:
        durable.rename_folder(beside, final)
    except BaseException:
        if not final.exists():
            aside.rename(final)
        raise
    durable.remove_folder(aside)


def _tidy(folder: Path) -> None:
    """Remove what an interrupted save or removal left, and put back what had stepped aside."""
    for path, step, what in hidden_ones(folder):
        final = folder / f"{step:08d}"
        if what == "old" and not final.exists():
            durable.rename_folder(path, final)
        elif what != "damaged":
            durable.remove_folder(path)


def _remove(folder: Path, unwanted: list[int]) -> list[Path]:
    removed = []
    for step in unwanted:
        path = folder / f"{step:08d}"
        gone = hidden(path, "gone")
        # Out of sight in one step: a kill halfway must not leave what looks like a damaged checkpoint.
        with contextlib.suppress(OSError):
            durable.rename_folder(path, gone)
            removed.append(path)
        durable.remove_folder(gone)
    return removed


def _checked_group(group: str) -> str:
    if not GROUP.fullmatch(group):
        raise ValueError(
            f"{group!r} cannot name a group of tensors: use lower-case letters, digits, '-' and '_'"
        )
    return group


def _to_bytes(named: Mapping[str, Tensor]) -> bytes:
    seen: set[int] = set()
    return safetensors.torch.save({name: _plain(tensor, seen) for name, tensor in named.items()})


def _plain(tensor: Tensor, seen: set[int]) -> Tensor:
    """Return the values on the CPU, contiguous, sharing memory with no other: what safetensors can hold."""
    plain = tensor.detach().cpu().contiguous()
    memory = plain.untyped_storage()
    if memory.data_ptr() in seen or memory.nbytes() != plain.nbytes:
        plain = plain.clone()
    seen.add(plain.untyped_storage().data_ptr())
    return plain
