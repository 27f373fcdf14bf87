"""Answers about a pipeline and its components that need no torch, unless a component's own module imports it."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from birdplane import availability as _availability
from birdplane.answers.desk import Desk
from birdplane.params import Parameter
from birdplane.pipeline import Pipeline
from birdplane.registry import catalog

Document = dict[str, Any]
_WORDS = {bool: "bool", int: "int", float: "float", str: "str", Path: "path", type(None): "none"}


def problems(desk: Desk, *, document: Document, source: str = "draft") -> dict[str, Any]:
    """Everything that is wrong with a document: `{"problems": [{"key", "message", "mend"}]}`."""
    found = Pipeline(document, source).problems()
    return {"problems": [{"key": p.key, "message": p.message, "mend": p.mend} for p in found]}


def signature(desk: Desk, *, kind: str, use: str) -> dict[str, Any]:
    """The fields of a component's form: `{"fields": [...]}`, see `field`."""
    found = catalog()[kind].signature(use)
    return {"fields": [field(parameter) for parameter in found.parameters.values()]}


def field(parameter: Parameter) -> dict[str, Any]:
    """One field: `name`, `help`, `type_name`, `required`, `default` (None where required), `choices`, `minimum`,
    `maximum` (texts such as `">= 0"`), and `type`, see `shape_of`."""
    return {
        "name": parameter.name,
        "help": parameter.help,
        "type_name": parameter.type_name,
        "type": shape_of(parameter.annotation),
        "required": parameter.required,
        "default": None if parameter.required else _plain(parameter.default),
        "choices": [_plain(choice) for choice in parameter.choices],
        "minimum": parameter.minimum,
        "maximum": parameter.maximum,
    }


def shape_of(annotation: Any) -> dict[str, Any]:
    """A type as JSON: `{"kind": ...}` with bool, int, float, str, path, none, any, choice (`choices`), list
    (`items`), tuple (`items`, a list), dict, or union (`members`)."""
    if get_origin(annotation) is Annotated:
        return shape_of(get_args(annotation)[0])
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return {"kind": "choice", "choices": [_plain(choice) for choice in arguments]}
    if origin in (Union, types.UnionType):
        return {"kind": "union", "members": [shape_of(member) for member in arguments]}
    if origin is list:
        return {"kind": "list", "items": shape_of(arguments[0])}
    if origin is tuple:
        return {"kind": "tuple", "items": [shape_of(member) for member in arguments if member is not ...]}
    if annotation in (list, tuple, dict) or origin is dict:
        return {"kind": (origin or annotation).__name__}
    return {"kind": _WORDS.get(annotation, "any")}


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def availability(desk: Desk, *, document: Document, source: str = "draft") -> dict[str, Any]:
    """Whether the pictures are at hand: `{"missing": None}`, or their place and size in bytes, if known."""
    lack = _availability.missing(desk.looking_at(document, source))
    return {"missing": None if lack is None else {"place": str(lack.place), "size": lack.size}}
