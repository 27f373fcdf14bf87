"""What the exact numbers of a training depend on, and how that differs from another time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from birdplane import assembly

#: What is told where it differs: the rest tells the same in other words, or does not change the numbers.
_TOLD = ("birdplane", "torch", "device_name", "instructions", "threads", "precision", "processes")
#: What of a pipeline changes no number of a training; its device and precision are told as what they came to.
_FREE = {
    f"training.{key}"
    for key in ("workers", "memory_limit", "checkpoint_seconds", "checkpoint_steps", "device", "precision")
}
#: How many settings that were changed are named.
_MOST = 5


def environment_of(parts: assembly.Assembly, processes: int) -> dict[str, Any]:
    """Return what each checkpoint holds of it: versions, device, precision, processes, and the pipeline as it was."""
    return {
        **assembly.environment(parts.device),
        "processes": processes,
        "precision": parts.precision,
        "packages": parts.pipeline.packages(),
        "pipeline": json.loads(json.dumps(parts.pipeline.complete(), default=str)),
    }


def differences(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Say in which way the environment of a checkpoint was another; nothing where it was not."""
    # A checkpoint from before these were noted: one process did all there was.
    before = {"processes": 1, "instructions": now["instructions"], **before}
    told = [f"{key} was {before.get(key)}, is {now[key]}" for key in _TOLD if before.get(key) != now[key]]
    # A checkpoint from before packages were noted says nothing of them.
    was, current = before.get("packages", now["packages"]), now["packages"]
    told += [
        f"{name} was {was.get(name, 'not used')}, is {current.get(name, 'not used')}"
        for name in sorted(was.keys() | current.keys())
        if was.get(name) != current.get(name)
    ]
    return "; ".join([*told, *_changed(before.get("pipeline", now["pipeline"]), now["pipeline"])])


def _changed(before: Any, now: dict[str, Any]) -> list[str]:
    """Say which settings of a pipeline were others."""
    was, current = dict(_leaves(before)), dict(_leaves(now))
    free = {*_FREE, "training.epochs"} if _goes_on_alike(now["schedule"]) else _FREE
    keys = [key for key in sorted((was.keys() | current.keys()) - free) if was.get(key) != current.get(key)]
    # Of another component it goes without saying that it has other parameters.
    others = tuple(key.removesuffix("use") for key in keys if key.endswith(".use"))
    told = [
        f"{key} was {_shown(was, key)}, is {_shown(current, key)}"
        for key in keys
        if key.endswith(".use") or not key.startswith(others)
    ]
    return told if len(told) <= _MOST else [*told[:_MOST], f"and {len(told) - _MOST} more settings"]


def _goes_on_alike(schedule: dict[str, Any]) -> bool:
    """Whether the learning rate of a step is the same, however many steps are to follow."""
    return schedule["use"] == "constant" and not schedule.get("warmup")


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict | list) and value:
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(inner, f"{path}.{key}" if path else str(key))
    else:
        yield path, value


def _shown(settings: dict[str, Any], key: str) -> str:
    return str(settings[key])[:100] if key in settings else "not there"
