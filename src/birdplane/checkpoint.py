"""Checkpoints: folders of safetensors and JSON, there whole or not at all; no pickle is read or written.

    <run>/checkpoints/<step>/
      <group>.safetensors   one for each group of tensors: model, optimizer, ...
      state.json            everything else
      manifest.json         size and SHA-256 of each file, and its own; written last

A checkpoint is written into a hidden folder beside, flushed file by file, and renamed into place. A kill or a
power cut at any instant leaves the ones before it as they were.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from birdplane import durable
from birdplane.errors import BirdplaneError

FORMAT = 1

_STATE = "state.json"
_MANIFEST = "manifest.json"
_GROUP = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_FILE = re.compile(rf"{_GROUP.pattern}\.safetensors|state\.json")
_STEP = re.compile(r"[0-9]{8,18}")
_HIDDEN = re.compile(r"\.([0-9]{8,18})\.(new|old|gone)")
#: A manifest is a few hundred bytes; what is far larger is none.
_MANIFEST_LIMIT = 1 << 20


class DamagedCheckpoint(BirdplaneError):  # noqa: N818 - it reads as what it is
    """A checkpoint that is not what was written. `path` is its folder; the message names the file."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(f"the checkpoint {str(path)!r} is damaged: {what}")
        self.path = path


@dataclass(frozen=True)
class Checkpoint:
    """What was saved: `tensors` by group and name, on the CPU and contiguous, and `state`."""

    step: int
    path: Path
    tensors: dict[str, dict[str, Tensor]]
    state: Any


# --- writing ----------------------------------------------------------------------------------------------


def save(folder: Path, step: int, *, tensors: Mapping[str, Mapping[str, Tensor]], state: Any) -> Path:
    """Write the checkpoint of `step` into `folder` and return its path, `folder/00001570` for step 1570.

    When it returns, everything is on the disk. One of the same step is replaced. What an interrupted save
    left behind is removed first. One process at a time may save into a folder (see `runs.Run.lock`), and
    what was told of the steps before must be on the disk already (see `runs.Run.sync`).

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
    files[_STATE] = _dumps(encode(state))
    files[_MANIFEST] = _manifest(step, files)
    final, beside = folder / f"{step:08d}", folder / f".{step:08d}.new"
    try:
        folder.mkdir(parents=True, exist_ok=True)
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

    What cannot be removed stays, without a word: it harms nothing.

    Raises:
        ValueError: `keep` is less than 1.
    """
    if keep < 1:
        raise ValueError("at least one checkpoint must be kept")
    return _remove(folder, [step for step in steps(folder)[:-keep] if step != best])


def rewind(folder: Path, step: int) -> list[Path]:
    """Remove the checkpoints of steps after `step`: a run that goes on from there will write them anew."""
    return _remove(folder, [later for later in steps(folder) if later > step])


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
    aside = _hidden(final, "old")
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
    for path, step, what in _leftovers(folder):
        final = folder / f"{step:08d}"
        if what == "old" and not final.exists():
            durable.rename_folder(path, final)
        else:
            durable.remove_folder(path)


def _remove(folder: Path, unwanted: list[int]) -> list[Path]:
    removed = []
    for step in unwanted:
        path = folder / f"{step:08d}"
        gone = _hidden(path, "gone")
        # Out of sight in one step: a kill halfway must not leave what looks like a damaged checkpoint.
        with contextlib.suppress(OSError):
            durable.rename_folder(path, gone)
            removed.append(path)
        durable.remove_folder(gone)
    return removed


def _hidden(path: Path, what: str) -> Path:
    return path.with_name(f".{path.name}.{what}")


def _leftovers(folder: Path) -> list[tuple[Path, int, str]]:
    found = [(path, _HIDDEN.fullmatch(path.name)) for path in folder.iterdir()]
    return [(path, int(match[1]), match[2]) for path, match in found if match]


def _checked_group(group: str) -> str:
    if not _GROUP.fullmatch(group):
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


def _manifest(step: int, files: Mapping[str, bytes]) -> bytes:
    sums = {
        name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()
    }
    return _sealed({"format": FORMAT, "step": step, "files": sums})


def _sealed(content: dict[str, Any]) -> bytes:
    """Return the manifest's only valid bytes: with its own sum in it, no bit of it can change unseen."""
    seal = hashlib.sha256(_dumps(content)).hexdigest()
    return _dumps({**content, "sha256": seal})


def _dumps(value: Any) -> bytes:
    text = json.dumps(value, indent=1, sort_keys=False, ensure_ascii=True, allow_nan=False)
    return text.encode("ascii") + b"\n"


# --- reading ----------------------------------------------------------------------------------------------


def steps(folder: Path) -> list[int]:
    """Return the steps of which there are checkpoints, sound or not, in order."""
    return sorted(_folders(folder))


def load(path: Path) -> Checkpoint:
    """Verify a checkpoint, and return it if every bit is as it was written.

    Raises:
        DamagedCheckpoint: it is not; the message names the file.
    """
    content = _read_manifest(path)
    files = {name: _read(path, name, wanted) for name, wanted in content["files"].items()}
    try:
        state = decode(json.loads(files.pop(_STATE)))
        tensors = {name.removesuffix(".safetensors"): _from_bytes(data) for name, data in files.items()}
    except Exception as error:
        raise DamagedCheckpoint(path, f"it cannot be read: {type(error).__name__}: {error}") from error
    return Checkpoint(content["step"], path, tensors, state)


def newest(folder: Path) -> tuple[Checkpoint | None, list[DamagedCheckpoint]]:
    """Return the newest sound checkpoint, if there is one, and what is wrong with those after it."""
    damaged: list[DamagedCheckpoint] = []
    for _, path in sorted(_folders(folder).items(), reverse=True):
        try:
            return load(path), damaged
        except DamagedCheckpoint as error:
            damaged.append(error)
    return None, damaged


def _folders(folder: Path) -> dict[int, Path]:
    """Return the checkpoints by step, one that had stepped aside for its successor included."""
    try:
        paths = list(folder.iterdir())
    except OSError:
        return {}
    found = {int(path.name): path for path in paths if _STEP.fullmatch(path.name)}
    for path in paths:
        match = _HIDDEN.fullmatch(path.name)
        if match and match[2] == "old":
            found.setdefault(int(match[1]), path)
    return found


def _read_manifest(path: Path) -> dict[str, Any]:
    data = _read_bytes(path, _MANIFEST, _MANIFEST_LIMIT)
    try:
        content = json.loads(data)
        del content["sha256"]
        sound = _sealed(content) == data
    except (ValueError, TypeError, KeyError, RecursionError):
        sound = False
    if not sound:
        raise DamagedCheckpoint(path, f"{_MANIFEST} is not as it was written")
    if (kind := content.get("format")) != FORMAT:
        raise DamagedCheckpoint(path, f"{_MANIFEST} is of format {kind}; this version reads {FORMAT}")
    if (step := content.get("step")) != _step_of(path):
        raise DamagedCheckpoint(path, f"{_MANIFEST} is that of step {step}")
    _check_files(path, content.get("files"))
    return dict(content)


def _check_files(path: Path, listed: Any) -> None:
    """Check that the manifest lists what a checkpoint has, and that nothing else is there."""
    if not isinstance(listed, dict) or _STATE not in listed:
        raise DamagedCheckpoint(path, f"{_MANIFEST} does not list {_STATE}")
    for name, wanted in listed.items():
        if not _FILE.fullmatch(name):
            raise DamagedCheckpoint(path, f"{_MANIFEST} lists {name!r}, which is no file of a checkpoint")
        if not isinstance(wanted, dict) or type(wanted.get("size")) is not int or "sha256" not in wanted:
            raise DamagedCheckpoint(path, f"{_MANIFEST} does not tell the size and sum of {name}")
    try:
        present = {entry.name for entry in path.iterdir()}
    except OSError as error:
        raise DamagedCheckpoint(path, f"it cannot be listed: {error.strerror or error}") from error
    if extra := present - {_MANIFEST, *listed}:
        raise DamagedCheckpoint(path, f"{min(extra)} does not belong to it")


def _step_of(path: Path) -> int:
    match = _HIDDEN.fullmatch(path.name)
    name = match[1] if match else path.name
    return int(name) if _STEP.fullmatch(name) else -1


def _read(path: Path, name: str, wanted: Mapping[str, Any]) -> bytes:
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
        raise DamagedCheckpoint(path, f"{name} cannot be read: {error.strerror or error}") from error


def _from_bytes(data: bytes) -> dict[str, Tensor]:
    return dict(safetensors.torch.load(data))


# --- values that JSON does not have -----------------------------------------------------------------------
#
# A dict of one key that begins with "$" stands for a value: $float (the bits of what is not finite), $tuple,
# $dict (keys that are not strings, or a dict that looks like one of these), $tensor (a name in a group).


def encode(value: Any, tensors: dict[str, Tensor] | None = None, path: str = "") -> Any:
    """Return `value` as plain JSON from which `decode` makes the same value, bit by bit.

    Tensors in it are put into `tensors` under their place in the value.

    Raises:
        TypeError: there is something in it that cannot be kept.
    """
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"$float": struct.pack(">d", value).hex()}
    if isinstance(value, Tensor) and tensors is not None:
        tensors[path] = value
        return {"$tensor": path}
    if isinstance(value, list | tuple):
        items = [encode(item, tensors, _below(path, at)) for at, item in enumerate(value)]
        return {"$tuple": items} if isinstance(value, tuple) else items
    if isinstance(value, dict):
        return _encode_dict(value, tensors, path)
    raise TypeError(f"a {type(value).__name__} cannot be kept in a checkpoint{f' ({path})' if path else ''}")


def _encode_dict(value: dict[Any, Any], tensors: dict[str, Tensor] | None, path: str) -> Any:
    pairs = [(key, encode(inner, tensors, _below(path, key))) for key, inner in value.items()]
    if all(type(key) is str for key, _ in pairs) and not any(key.startswith("$") for key, _ in pairs):
        return dict(pairs)
    return {"$dict": [[encode(key), inner] for key, inner in pairs]}


def _below(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def decode(value: Any, tensors: Mapping[str, Tensor] | None = None) -> Any:
    """Return the value that `encode` was given.

    Raises:
        ValueError: it is not what `encode` returns.
    """
    if isinstance(value, list):
        return [decode(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) != 1 or not (kind := next(iter(value))).startswith("$"):
        return {key: decode(inner, tensors) for key, inner in value.items()}
    content = value[kind]
    match kind:
        case "$float":
            return struct.unpack(">d", bytes.fromhex(content))[0]
        case "$tuple":
            return tuple(decode(item, tensors) for item in content)
        case "$dict":
            return {decode(key): decode(inner, tensors) for key, inner in content}
        case "$tensor" if tensors is not None and content in tensors:
            return tensors[content]
    raise ValueError(f"{kind} {content!r} is not known here")


# --- tensors in their places ------------------------------------------------------------------------------


def load_tensors(live: Mapping[str, Tensor], saved: Mapping[str, Tensor], what: str = "model") -> None:
    """Copy saved values into live tensors (such as `model.state_dict()`), whose device and layout stay.

    Raises:
        BirdplaneError: names, shapes or types are not the same; nothing was copied.
    """
    if missing := sorted(set(live) - set(saved)):
        raise BirdplaneError(f"the checkpoint does not fit: it has no {missing[0]!r} for the {what}")
    if extra := sorted(set(saved) - set(live)):
        raise BirdplaneError(f"the checkpoint does not fit: the {what} has no {extra[0]!r}")
    for name, tensor in live.items():
        if tensor.shape != saved[name].shape or tensor.dtype != saved[name].dtype:
            raise BirdplaneError(
                f"the checkpoint does not fit: {name!r} of the {what} is {_described(tensor)}, "
                f"in the checkpoint {_described(saved[name])}"
            )
    with torch.no_grad():
        for name, tensor in live.items():
            tensor.copy_(saved[name])


def _described(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


#: How an optimizer computes, not what: the live one's choice stands, as it fits the device at hand.
_MANNER = ("foreach", "fused", "capturable", "differentiable")


def optimizer_state(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], Any]:
    """Return an optimizer's tensors by name, and the rest of its state for the checkpoint's JSON."""
    tensors: dict[str, Tensor] = {}
    content = encode(optimizer.state_dict(), tensors)
    return tensors, {"optimizer": type(optimizer).__name__, "shapes": _shapes(optimizer), "content": content}


def load_optimizer_state(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], state: Any) -> None:
    """Give an optimizer the state that `optimizer_state` returned, bit by bit.

    Live tensors are copied into; new ones get their parameter's device and layout. Whether the optimizer is
    fused, foreach or capturable stays as it is.

    Raises:
        BirdplaneError: the state is of another optimizer or other parameters; nothing was changed.
    """
    name = type(optimizer).__name__
    if state["optimizer"] != name:
        raise BirdplaneError(f"the checkpoint does not fit: it is of {state['optimizer']}, not of {name}")
    if state["shapes"] != _shapes(optimizer):
        raise BirdplaneError(f"the checkpoint does not fit: its {name} is over parameters of other shapes")
    saved = decode(state["content"], tensors)
    with torch.no_grad():
        for group, values in zip(optimizer.param_groups, saved["param_groups"], strict=True):
            _load_group(optimizer, group, values, saved["state"])


def _shapes(optimizer: torch.optim.Optimizer) -> list[list[list[int]]]:
    return [[list(parameter.shape) for parameter in group["params"]] for group in optimizer.param_groups]


def _load_group(
    optimizer: torch.optim.Optimizer, group: dict[str, Any], saved: dict[str, Any], states: dict[int, Any]
) -> None:
    for key, value in saved.items():
        if key != "params" and key not in _MANNER:
            group[key] = _placed(group.get(key), value, lambda tensor: tensor.clone())
    for parameter, number in zip(group["params"], saved["params"], strict=True):
        live, values = optimizer.state[parameter], states.get(number, {})
        for key in live.keys() - values.keys():
            del live[key]
        for key, value in values.items():
            live[key] = _placed(live.get(key), value, _place(parameter, group, key))
        if not live:
            # A parameter without state is one that the optimizer has not met yet.
            del optimizer.state[parameter]


def _place(parameter: Tensor, group: Mapping[str, Any], key: str) -> Callable[[Tensor], Tensor]:
    """Return how a new tensor of a parameter's state is made."""
    # As in torch.optim.Optimizer.load_state_dict: counting on the device would cost a synchronization.
    counts_on_cpu = key == "step" and not (group.get("fused") or group.get("capturable"))
    device = torch.device("cpu") if counts_on_cpu else parameter.device

    def make(value: Tensor) -> Tensor:
        if value.shape == parameter.shape:
            return torch.empty_like(parameter, dtype=value.dtype, device=device).copy_(value)
        return value.to(device, copy=True)

    return make


def _placed(live: Any, value: Any, make: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, list):
        return [_placed(None, item, make) for item in value]
    if not isinstance(value, Tensor):
        return value
    if isinstance(live, Tensor) and live.shape == value.shape and live.dtype == value.dtype:
        return live.copy_(value)
    return make(value)
