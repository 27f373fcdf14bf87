"""The command line that does what the draft says: only what differs from where it came from."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

from birdplane.documents import value_of
from birdplane.tui.steps import LABELS, Document, transforms
from birdplane.tui.values import toml_text

_MISSING: Any = object()
#: What a section that is left out is the same as, as an override.
_LEFT_OUT = {"transforms": "transforms=[]", "output": "output.use=auto", "schedule": "schedule.use=constant"}


def command_line(document: Document, source: str, base: Document) -> str:
    """Return `birdplane train SOURCE --set ...`, quoted for a shell.

    Args:
        document: what is to be trained.
        source: a file or a recipe's name.
        base: what that holds.
    """
    return shlex.join(["birdplane", "train", source, *_set(overrides(document, base))])


def _set(assignments: list[str]) -> Iterator[str]:
    for assignment in assignments:
        yield from ("--set", assignment)


def overrides(document: Document, base: Document) -> list[str]:
    """Return the overrides that make the document out of the base, in the order of the sections."""
    found: list[str] = []
    if document.get("seed", 0) != base.get("seed", 0):
        found.append(f"seed={_value(document.get('seed', 0))}")
    for section in LABELS:
        found += _section(section, document.get(section, _MISSING), base.get(section, _MISSING))
    return found


def _section(section: str, new: Any, old: Any) -> list[str]:
    if new == old or (new is not _MISSING and _is_left_out(section, new) and old is _MISSING):
        return []
    if section == "transforms":
        return _transforms({"transforms": new} if new is not _MISSING else {}, {"transforms": old})
    if new is _MISSING:
        return [_LEFT_OUT.get(section, f"{section}={{}}")]
    return _table(section, new, old)


def _is_left_out(section: str, table: Any) -> bool:
    return isinstance(table, dict) and [f"{section}.use={table.get('use')}"] == [_LEFT_OUT.get(section)] == [
        f"{section}.{key}={value}" for key, value in table.items()
    ]


def _table(key: str, new: Any, old: Any) -> list[str]:
    """Return the overrides of a table, one a parameter; the whole table where one of them went away."""
    if not isinstance(new, dict):
        return [f"{key}={_value(new)}"]
    if not isinstance(old, dict):
        old = {}
    if new.get("use") != old.get("use"):
        # Another `use` drops the parameters of what stood there before.
        rest = {name: value for name, value in new.items() if name != "use"}
        return [f"{key}.use={_value(new.get('use', ''))}", *_assigned(key, rest)]
    if old.keys() - new.keys():
        return [f"{key}={toml_text(new)}"]
    return _assigned(
        key, {name: value for name, value in new.items() if not _equal(old.get(name, _MISSING), value)}
    )


def _assigned(key: str, values: dict[str, Any]) -> list[str]:
    return [f"{key}.{name}={_value(value)}" for name, value in values.items()]


def _equal(left: Any, right: Any) -> bool:
    return type(left) is type(right) and bool(left == right)


def _transforms(document: Document, base: Document) -> list[str]:
    new, old = transforms(document), transforms(base)
    if [_use(entry) for entry in new] != [_use(entry) for entry in old]:
        return [f"transforms={toml_text([_short(entry) for entry in new])}"]
    return [
        override
        for position, (entry, before) in enumerate(zip(new, old, strict=True))
        if _whole(entry) != _whole(before)
        for override in _table(f"transforms.{position}", _whole(entry), _whole(before))
    ]


def _use(entry: Any) -> Any:
    return entry.get("use") if isinstance(entry, dict) else entry


def _whole(entry: Any) -> Any:
    return {"use": entry} if isinstance(entry, str) else entry


def _short(entry: Any) -> Any:
    return entry["use"] if isinstance(entry, dict) and list(entry) == ["use"] else entry


def _value(value: Any) -> str:
    """Return a value as an override has it: text needs no quotes where it cannot be read as anything else."""
    if isinstance(value, str) and value == value.strip() and value and value_of(value) == value:
        return value
    return toml_text(value)
