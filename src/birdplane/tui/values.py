"""Between the values of parameters and what a person types: both ways, without ever refusing what is typed."""

from __future__ import annotations

import json
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from birdplane.documents import value_of
from birdplane.params import Parameter

#: What a field that is left empty stands for: the parameter is not given, and its default holds.
ABSENT: Any = object()

Kind = Literal["choice", "switch", "integer", "number", "text", "path", "list", "anything"]

_KINDS: dict[Any, Kind] = {bool: "switch", int: "integer", float: "number", str: "text", Path: "path"}


def kind_of(parameter: Parameter) -> Kind:
    """Return which kind of field a parameter gets."""
    members = _members(parameter.annotation)
    if parameter.choices:
        return "choice" if all(get_origin(member) is Literal for member in members) else "anything"
    if len(members) != 1:
        return "number" if set(members) == {int, float} else "anything"
    bare = members[0]
    return (
        "list" if get_origin(bare) in (list, tuple) or bare in (list, tuple) else _KINDS.get(bare, "anything")
    )


def _members(annotation: Any) -> list[Any]:
    """Return the types that a value may have, without `None` and without their constraints."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, types.UnionType):
        return [
            member for part in get_args(annotation) if part is not type(None) for member in _members(part)
        ]
    return [annotation]


def _holds_text(parameter: Parameter) -> bool:
    """Tell whether the items of a list are texts."""
    items = [item for member in _members(parameter.annotation) for item in get_args(member)]
    return bool(items) and all(_members(item)[0] in (str, Path) for item in items if item is not Ellipsis)


def parse(text: str, parameter: Parameter) -> Any:
    """Return the value that a text stands for; the text itself where it stands for none of the right kind."""
    stripped = text.strip()
    if not stripped:
        return ABSENT
    match kind_of(parameter):
        case "text" | "path":
            return "" if stripped == '""' else text
        case "list":
            return _parse_list(stripped, _holds_text(parameter))
        case _:
            return value_of(stripped, text)


def _parse_list(text: str, texts: bool) -> Any:
    inner = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    whole = value_of(f"[{inner}]", None)
    if whole is not None:
        return whole
    if texts:
        return [part.strip().strip("\"'") for part in inner.split(",") if part.strip()]
    spaced = value_of(f"[{','.join(inner.replace(',', ' ').split())}]", None)
    return text if spaced is None else spaced


def shown(value: Any) -> str:
    """Return a value as a person types it: lists without brackets, texts without quotes."""
    if value is None or value is ABSENT:
        return ""
    if isinstance(value, list | tuple):
        bare = all(_is_bare(item) for item in value)
        return ", ".join(str(item) if bare else toml_text(item) for item in value) or "[]"
    if isinstance(value, str):
        return value or '""'
    return toml_text(value)


def _is_bare(value: Any) -> bool:
    """Tell whether an item of a list can be told from its neighbours without quotes."""
    if isinstance(value, str):
        return bool(value) and value == value.strip() and not set(value) & set(",[]\"'")
    return isinstance(value, int | float) and not isinstance(value, bool)


def toml_text(value: Any) -> str:
    """Return a value as TOML has it, in one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_key(str(key))} = {toml_text(item)}" for key, item in value.items())
        return f"{{{inner}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(toml_text(item) for item in value)}]"
    if isinstance(value, float):
        return repr(value)
    return str(value) if isinstance(value, int) else _quoted(str(value))


def _quoted(text: str) -> str:
    # JSON's escapes are TOML's too, but for the delete character, which JSON leaves as it is.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(key: str) -> str:
    bare = key.isascii() and key.replace("_", "").replace("-", "").isalnum()
    return key if bare else _quoted(key)


def hint(parameter: Parameter) -> str:
    """Return what may stand in a field, and what holds where nothing does: `integer, 1 or more; default 64`."""
    bounds = " and ".join(
        bound for bound in (parameter.minimum, parameter.maximum) if bound and "e+" not in bound
    )
    kind = (
        "" if kind_of(parameter) in ("choice", "switch") else parameter.type_name.removesuffix(" or nothing")
    )
    if kind_of(parameter) == "list":
        kind += ", with commas between"
    allowed = " ".join(part for part in (kind if kind != "anything" else "", bounds) if part)
    if parameter.required:
        default = "required"
    elif parameter.default is None:
        default = "default: none"
    else:
        default = f"default {shown_default(parameter)}"
    return "; ".join(part for part in (allowed, default) if part)


def shown_default(parameter: Parameter) -> str:
    """Return the default as the field would show it; empty where there is none."""
    if parameter.required or parameter.default is None:
        return ""
    if kind_of(parameter) == "switch":
        return "yes" if parameter.default else "no"
    return shown(parameter.default)
