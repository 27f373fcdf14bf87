"""Pipeline files: their text with a person's comments kept, and written so that no failure leaves half a file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from birdplane import durable
from birdplane.errors import BirdplaneError
from birdplane.pipeline import dump_toml
from birdplane.tui.steps import Document

if TYPE_CHECKING:
    from tomlkit.items import AoT

#: How deep, and how many, to look for pipeline files below the current folder.
_DEPTH = 2
_MOST = 200


def save(document: Document, path: Path, source: str) -> None:
    """Write a pipeline file, with the comments and the layout of the file that the draft came from.

    Raises:
        BirdplaneError: it cannot be written.
    """
    try:
        text = text_of(document, Path(source).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        text = text_of(document)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        durable.replace_file(path, text.encode())
    except OSError as error:
        raise BirdplaneError(f"{path}: cannot be written: {error.strerror or error}") from error


def text_of(document: Document, before: str = "") -> str:
    """Return a document as TOML, in the words of the text before wherever that says the same."""
    document = _tables(document)
    if before:
        merged = _merged(document, before)
        if merged is not None:
            return merged
    return dump_toml(document)


def _tables(document: Document) -> Document:
    """Return the document with each transform as a table, as files have them."""
    entries = document.get("transforms")
    if not isinstance(entries, list):
        return document
    tables = [{"use": entry} if isinstance(entry, str) else entry for entry in entries]
    return {**document, "transforms": tables}


def _merged(document: Document, before: str) -> str | None:
    """Return the text before with what differs put in; None where that cannot be done faithfully."""
    import tomlkit
    from tomlkit.items import AoT

    try:
        file = tomlkit.parse(before)
        _update(
            file, {key: value for key, value in document.items() if key != "transforms"}, keep=("transforms",)
        )
        old = file.get("transforms")
        entries = document.get("transforms", [])
        if isinstance(old, AoT):
            _update_transforms(file, old, entries)
        elif entries or "transforms" in document:
            file["transforms"] = _aot(entries)
        elif old is not None:
            del file["transforms"]
        text = tomlkit.dumps(file)
        return text if tomllib.loads(text) == document else None
    except Exception:  # tomlkit's own troubles with odd layouts: the plain text is right too
        return None


def _update(table: Any, values: Mapping[str, Any], keep: tuple[str, ...] = ()) -> None:
    for key in [key for key in table if key not in values and key not in keep]:
        del table[key]
    for key, value in values.items():
        old = table.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            _update(old, value)
        elif old is None or type(_unwrapped(old)) is not type(value) or old != value:
            table[key] = value


def _unwrapped(value: Any) -> Any:
    return value.unwrap() if hasattr(value, "unwrap") else value


def _update_transforms(file: Any, old: AoT, entries: list[Any]) -> None:
    """Keep the tables of the transforms that are still there, in their order, with their comments."""
    import tomlkit

    if not entries:
        del file["transforms"]
        return
    spare = list(old)
    tables = []
    for entry in entries:
        found = next((table for table in spare if table.get("use") == entry.get("use")), None)
        if found is None:
            found = tomlkit.item(dict(entry))
            found.trivia.trail = "\n"
        else:
            spare.remove(found)
            _update(found, entry)
        tables.append(found)
    if len(tables) == len(old) and all(new is there for new, there in zip(tables, old, strict=True)):
        return
    while len(old):
        del old[0]
    for table in tables:
        old.append(table)


def _aot(entries: list[Any]) -> AoT:
    import tomlkit

    tables = tomlkit.aot()
    for entry in entries:
        tables.append(tomlkit.item(dict(entry)))
    return tables


def nearby(folder: Path) -> list[Path]:
    """Return the TOML files in a folder and just below it that look like pipelines, relative to it."""
    found: list[Path] = []
    for pattern in ["*.toml", *("/".join(["*"] * depth) + "/*.toml" for depth in range(1, _DEPTH))]:
        for path in sorted(folder.glob(pattern)):
            if len(found) >= _MOST:
                return found
            if not any(part.startswith(".") for part in path.relative_to(folder).parts) and _is_pipeline(
                path
            ):
                found.append(path.relative_to(folder))
    return found


def _is_pipeline(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(20_000)
    except OSError:
        return False
    return any(section in head for section in (b"[dataset]", b"[model]", b"[optimizer]"))
