"""The steps of a pipeline document, as the chain shows them, and the edits that are made to them.

A document is what a pipeline file parses to. It may be wrong in any way: a person is still at it, or wrote the
file by hand. Every edit returns another document and leaves the given one as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

Document = dict[str, Any]

LABELS = {
    "dataset": "Data",
    "transforms": "Transforms",
    "model": "Model",
    "output": "Output",
    "loss": "Loss",
    "optimizer": "Optimizer",
    "schedule": "Schedule",
    "training": "Training",
}
#: What stands in a section that the file leaves out.
_DEFAULT_USE = {"output": "auto", "schedule": "constant"}
_PICKED = ("dataset", "model", "loss", "optimizer", "schedule")


@dataclass(frozen=True)
class Step:
    """One line of the chain.

    Args:
        key: its section, such as `model` or `transforms.1`.
        label: what people call it.
        kind: the registry that it is picked from; empty for the heading of the transforms, the output, training.
        use: the name of what was picked; empty where nothing was.
        given: the parameters as they were given.
    """

    key: str
    label: str
    kind: str = ""
    use: str = ""
    given: Mapping[str, Any] = field(default_factory=dict)

    @property
    def transform(self) -> int | None:
        """The position of a transform in its list; None for every other step."""
        section, _, number = self.key.partition(".")
        return int(number) if section == "transforms" and number else None


def steps(document: Document) -> list[Step]:
    """Return the lines of the chain, from data to training."""
    found = []
    for key, label in LABELS.items():
        if key == "transforms":
            found.append(Step(key, label))
            found += [_step(f"{key}.{i}", "", "transform", e) for i, e in enumerate(transforms(document))]
        else:
            found.append(_step(key, label, key if key in _PICKED else "", document.get(key)))
    return found


def _step(key: str, label: str, kind: str, entry: Any) -> Step:
    if isinstance(entry, str):
        entry = {"use": entry}
    table = entry if isinstance(entry, dict) else {}
    use = table.get("use", _DEFAULT_USE.get(key, ""))
    given = {name: value for name, value in table.items() if name != "use"}
    return Step(key, label, kind, use if isinstance(use, str) else repr(use), given)


def transforms(document: Document) -> list[Any]:
    """Return the entries of the transforms; none where the document has no list of them."""
    entries = document.get("transforms", [])
    return list(entries) if isinstance(entries, list) else []


def step_of(key: str, found: list[Step]) -> int:
    """Return which step a problem's key, such as `transforms.1.mean[0]` or `seed`, belongs to."""
    if key.partition(".")[0] == "seed":
        key = "training"
    best = [
        i
        for i, step in enumerate(found)
        if key == step.key or key.startswith((f"{step.key}.", f"{step.key}["))
    ]
    return best[-1] if best else 0


def place_after(found: list[Step], line: int) -> int:
    """Return where a transform is inserted that comes after a line: beyond the last one for lines below them."""
    section, position = found[line].key.partition(".")[0], found[line].transform
    if position is not None:
        return position + 1
    return 0 if section in ("dataset", "transforms") else len(found) - len(LABELS)


def line_of(transform: int) -> int:
    """Return the line of a transform."""
    return list(LABELS).index("transforms") + 1 + transform


# --- edits ------------------------------------------------------------------------------------------------


def set_parameter(document: Document, key: str, name: str, value: Any) -> Document:
    """Return the document with one parameter of a step given."""
    return _edited(document, key, lambda table: table.__setitem__(name, value))


def drop_parameter(document: Document, key: str, name: str) -> Document:
    """Return the document with one parameter of a step left out, so that its default holds."""
    return _edited(document, key, lambda table: table.pop(name, None))


def choose(document: Document, key: str, use: str, kept: Mapping[str, Any]) -> Document:
    """Return the document with another component in a step, with the parameters that it keeps."""

    def change(table: dict[str, Any]) -> None:
        table.clear()
        table.update({"use": use, **kept})

    return _edited(document, key, change)


def insert_transform(document: Document, at: int, use: str) -> Document:
    return _relisted(document, lambda entries: entries.insert(at, {"use": use}))


def remove_transform(document: Document, at: int) -> Document:
    return _relisted(document, lambda entries: entries.pop(at))


def move_transform(document: Document, at: int, to: int) -> Document:
    return _relisted(document, lambda entries: entries.insert(to, entries.pop(at)))


def _relisted(document: Document, change: Any) -> Document:
    entries = transforms(document)
    change(entries)
    changed = {**document, "transforms": entries}
    if not entries:
        del changed["transforms"]
    return _ordered(changed)


def _edited(document: Document, key: str, change: Any) -> Document:
    """Apply a change to a step's table, which is made where the document has none or something else there."""
    if key == "":
        changed = deepcopy(document)
        change(changed)
        return _ordered(changed)
    section, _, number = key.partition(".")
    if number:
        entries = transforms(document)
        entries[int(number)] = _changed(entries[int(number)], change)
        return {**document, "transforms": entries}
    changed = {**document, section: _changed(document.get(section), change, _DEFAULT_USE.get(section, ""))}
    if not changed[section]:
        del changed[section]
    return _ordered(changed)


def _changed(entry: Any, change: Any, use: str = "") -> dict[str, Any]:
    if isinstance(entry, str):
        entry = {"use": entry}
    table = deepcopy(entry) if isinstance(entry, dict) else {"use": use} if use else {}
    change(table)
    return table


def _ordered(document: Document) -> Document:
    """Return the document with its sections in the order in which files have them."""
    order = ["seed", *LABELS]
    known = {key: document[key] for key in order if key in document}
    return {**{key: value for key, value in document.items() if key not in order}, **known}
