"""TOML files from anybody: read within bounds, and what is wrong with one told with its line."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from datetime import date, time
from pathlib import Path
from typing import Any

from birdplane.errors import UsageError
from birdplane.text import brief_name, size

#: A pipeline is a few kilobytes; what is far larger is none.
_MOST_BYTES = 16 << 20
#: How deep values may be nested. A pipeline needs four levels; at some hundreds Python itself gives up.
_DEEPEST = 32
#: A number without the digits before or behind its point, as people type it and TOML does not take it.
_SHORT_NUMBER = re.compile(r"[+-]?(\.\d+|\d+\.)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_ITSELF: Any = object()


def read(path: Path, source: str) -> dict[str, Any]:
    """Return what a file says; `source` is what messages call it.

    Raises:
        UsageError: it cannot be read, is no text, or is refused by `parse`.
    """
    shown = brief_name(source)
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{shown}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # a name that no file can have
        raise UsageError(f"{shown}: cannot be read: {error}") from error
    if len(content) > _MOST_BYTES:
        raise UsageError(f"{shown}: cannot be read: it has more than {size(_MOST_BYTES)}")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{shown}: not a text file in UTF-8 (at line {line})") from error
    return parse(text, source)


def parse(text: str, source: str) -> dict[str, Any]:
    """Return what a text says; `source` is what messages call it.

    Raises:
        UsageError: it is not TOML; the message has the line. Or a value is nested too deeply, is an integer of more
            than the 64 bits that TOML promises, or is a date, which nothing takes; the message has the key.
    """
    shown = brief_name(source)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{shown}: not valid TOML: {error}") from error
    except RecursionError as error:
        raise UsageError(f"{shown}: not valid TOML: nested too deeply{_where_deepest(text)}") from error
    except ValueError as error:
        place = _where_longest(text)
        raise UsageError(f"{shown}: not valid TOML: a number of too many digits{place}") from error
    if trouble := unfit(document):
        raise UsageError(f"{shown}: {trouble}")
    return document


def value_of(text: str, otherwise: Any = _ITSELF) -> Any:
    """Return what a text that a person typed says as TOML, and `.5` and `5.` as numbers, which TOML does not take.

    Where it says nothing, or what `parse` refuses, that is `otherwise`, or the text itself.
    """
    if _SHORT_NUMBER.fullmatch(text):
        return float(text)
    try:
        found = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        found = {}
    if len(found) == 1 and not unfit(found):
        return found["value"]
    return text if otherwise is _ITSELF else otherwise


def unfit(document: Mapping[str, Any]) -> str:
    """Return what is wrong with a value that no parameter could take, nor Python show, or an empty string."""
    pending: list[tuple[str, int, Any]] = [(key, 1, value) for key, value in document.items()]
    while pending:
        key, depth, value = pending.pop()
        if isinstance(value, int) and value.bit_length() > 64:
            return f"{brief_name(key)}: should be an integer of at most 64 bits"
        if isinstance(value, date | time):
            return f"{brief_name(key)}: should not be a date or a time, {value}; as a text it has quotes"
        if isinstance(value, dict | list) and depth > _DEEPEST:
            return f"{brief_name(key)}: nested too deeply; {_DEEPEST} levels are allowed"
        if isinstance(value, dict):
            pending += [(f"{key}.{name}", depth + 1, inner) for name, inner in value.items()]
        elif isinstance(value, list):
            pending += [(_item(key, index, inner), depth + 1, inner) for index, inner in enumerate(value)]
    return ""


def _where_deepest(text: str) -> str:
    """Return where more brackets are open than a pipeline could need, as a clause."""
    depth = 0
    for bracket in re.finditer(r"[\[{\]}]", text):
        depth += 1 if bracket[0] in "[{" else -1
        if depth > _DEEPEST:
            return _at_line(text, bracket.start())
    return ""


def _where_longest(text: str) -> str:
    """Return where there are more digits than Python takes for a number, as a clause."""
    found = max(re.finditer(r"[0-9_]+", text), key=lambda digits: len(digits[0]), default=None)
    return _at_line(text, found.start()) if found else ""


def _at_line(text: str, position: int) -> str:
    # The line alone, in the words of the parser's own messages.
    return f" (at line {text.count(chr(10), 0, position) + 1})"


def _item(key: str, index: int, value: Any) -> str:
    """Return the key of an item of a list, as messages elsewhere have it: `transforms.0`, but `hidden[0]`."""
    return f"{key}.{index}" if isinstance(value, dict) else f"{key}[{index}]"
