"""Runs that differ by their seed alone: `train --seeds` makes them, each a run folder like any other.

`group.json` in each says of which group it is one, and of which seeds that is: so any of them is enough to go on.
Imports no torch.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from birdplane import durable
from birdplane.errors import UsageError
from birdplane.pipeline import Pipeline
from birdplane.runs import Run, check_name
from birdplane.runs.naming import last_number

_FILE = "group.json"
#: The most that are made at once.
MOST = 1000
_LAST_SEED = 2**63 - 1


@dataclass(frozen=True)
class Group:
    """The runs of some seeds, in the order of these. `missing` are seeds whose run folder is not there."""

    name: str
    folder: Path
    seeds: tuple[int, ...]
    runs: tuple[Run, ...]

    @property
    def missing(self) -> tuple[int, ...]:
        there = {run.name for run in self.runs}
        return tuple(seed for seed in self.seeds if f"{self.name}-s{seed}" not in there)


def create(
    folder: Path, name: str | None, stem: str, pipeline: Pipeline, count: int, processes: int = 1
) -> Group:
    """Make the run folders of `count` seeds, from the pipeline's own on: `<name>-s<seed>`.

    Without a name it is `<stem>-1`, `<stem>-2`, ...: the next one free.

    Raises:
        UsageError: the name is not allowed or taken, or there are too few or too many seeds.
        BirdplaneError: a folder cannot be written.
    """
    if not 2 <= count <= MOST:
        raise UsageError(f"--seeds: {count} is not allowed; a spread takes 2 runs, and {MOST:,} are the most")
    if pipeline.seed + count - 1 > _LAST_SEED:
        raise UsageError(f"--seeds: {count} seeds from {pipeline.seed} on go beyond 2**63 - 1")
    seeds = tuple(range(pipeline.seed, pipeline.seed + count))
    check_name(f"{stem if name is None else name}-s{seeds[-1]}")
    chosen = name if name is not None else _free(folder, stem)
    for taken in (chosen, *(f"{chosen}-s{seed}" for seed in seeds)):
        if os.path.lexists(folder / taken):
            raise UsageError(
                f"the run {taken!r} exists already in {str(folder)!r}; go on with `birdplane resume {chosen}`, or "
                "choose another name"
            )
    group = Group(chosen, folder, seeds, ())
    return completed(group, pipeline, processes)


def completed(group: Group, pipeline: Pipeline, processes: int = 1) -> Group:
    """Make the folders that are missing, of the pipeline with their seeds; return the group with all of them."""
    record = json.dumps({"group": group.name, "seeds": list(group.seeds)}).encode() + b"\n"
    made = {}
    for seed in group.missing:
        text = pipeline.override([f"seed={seed}"]).to_toml()
        name = f"{group.name}-s{seed}"
        made[name] = Run.create(group.folder, name, pipeline_toml=text, also={_FILE: record})
        if processes > 1:
            made[name].keep_processes(processes)
    there = {**{run.name: run for run in group.runs}, **made}
    return Group(
        group.name, group.folder, group.seeds, tuple(there[f"{group.name}-s{seed}"] for seed in group.seeds)
    )


def find(folder: Path, name_or_path: str) -> Group | None:
    """Return the group of that name in `folder`, or at that path; None where there is none, or a run of that name."""
    for path in (folder / name_or_path, Path(name_or_path)):
        if name_or_path and os.path.isfile(path / "pipeline.toml"):  # noqa: PTH113 - never raises
            return None
        if name_or_path and (found := _at(path.parent, path.name)) is not None:
            return found
    return None


def _at(folder: Path, name: str) -> Group | None:
    member = re.compile(re.escape(name) + r"-s([0-9]{1,19})")
    try:
        names = [entry for entry in os.listdir(folder) if member.fullmatch(entry)]  # noqa: PTH208 - names, not paths
    except (OSError, ValueError):
        return None
    runs, seeds = {}, set()
    for entry in names:
        recorded = _seeds(folder / entry, name)
        seed = int(entry.rpartition("-s")[2])
        if seed in recorded:
            runs[seed] = Run(folder / entry)
            seeds |= set(recorded)
    if not runs:
        return None
    return Group(name, folder, tuple(sorted(seeds)), tuple(runs[seed] for seed in sorted(runs)))


def _seeds(folder: Path, name: str) -> Sequence[int]:
    """Return the seeds of the group that a run folder says to belong to; none where it is not that group."""
    try:
        record = json.loads((folder / _FILE).read_bytes())
        seeds = record["seeds"] if record["group"] == name else []
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return []
    if not isinstance(seeds, list) or len(seeds) > MOST:
        return []
    return [seed for seed in seeds if type(seed) is int and 0 <= seed <= _LAST_SEED]


def _free(folder: Path, stem: str) -> str:
    try:
        return f"{stem}-{last_number(folder, stem) + 1}"
    except FileNotFoundError:
        return f"{stem}-1"
    except OSError as error:
        raise durable.trouble(error, "make a run in", folder) from error
