"""The parts of a pipeline as source: in plain PyTorch where a component tells it, else imported from its package."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from birdplane.components import Component, Registered
from birdplane.errors import BirdplaneError
from birdplane.pipeline import Choice, Pipeline
from birdplane.plain import Plain, call, literal

#: Columns before a call, at most: `optimizer = ` and the like.
_BEFORE = 16


@dataclass(frozen=True)
class Part:
    """A component as source. `foreign`: it is an object that the script imports, not source of its own."""

    key: str
    plain: Plain
    foreign: bool = False


def part_of(
    pipeline: Pipeline,
    kind: str,
    key: str,
    choice: Choice,
    host: Mapping[str, Any],
    texts: Mapping[str, str] | None = None,
) -> Part:
    """Return a component of a pipeline as source.

    Args:
        pipeline: without problems.
        kind: of the component.
        key: where it stands, such as `transforms.1`.
        choice: its name and parameters.
        host: what birdplane gives the function that tells it in plain PyTorch, by name, where it asks for it.
        texts: the source of what birdplane gives the target, where the target is imported instead.

    Raises:
        BirdplaneError: it can be neither written nor imported.
    """
    registry = pipeline.catalog[kind]
    entry = registry.lookup(choice.use)
    signature = registry.signature(choice.use)
    values = signature.validate(choice.parameters)
    try:
        teller = entry.component.in_plain()
        if teller is not None:
            return Part(key, _told(teller, entry, values, host))
        given = {name: text for name, text in (texts or {}).items() if name in signature.wants}
        return Part(key, _imported(entry, values, given), foreign=True)
    except BirdplaneError as error:
        raise BirdplaneError(f"{pipeline.source}: {key}: {kind} {entry.name!r}: {error}") from error


def _told(teller: Any, entry: Registered, values: dict[str, Any], host: Mapping[str, Any]) -> Plain:
    try:
        wanted = inspect.signature(teller).parameters
        plain = teller(**{name: value for name, value in {**host, **values}.items() if name in wanted})
    except BirdplaneError:
        raise
    except Exception as error:
        raise BirdplaneError(
            f"what tells it in plain PyTorch fails: {type(error).__name__}: {error} (from {entry.provenance})"
        ) from error
    if not isinstance(plain, Plain):
        raise BirdplaneError(f"what tells it in plain PyTorch returned {type(plain).__name__}, not a Plain")
    return plain


def _imported(entry: Registered, values: dict[str, Any], given: Mapping[str, str]) -> Plain:
    """Return the call of a target that a script can import; its values are as they would be given to it."""
    module, name, arguments, named = _place(entry.component)
    parts = [f"{word}={text}" for word, text in given.items()]  # sources, which `call` would quote
    use = call(f"{module}.{name}", *map(literal, arguments), *parts, before=_BEFORE, **{**named, **values})
    return Plain(use=use, imports=(f"import {module}",), draws=True)


def _place(component: Component) -> tuple[str, str, tuple[Any, ...], dict[str, Any]]:
    """Return module, name, and arguments that are bound already, of a component's target.

    Raises:
        BirdplaneError: nothing that can be imported is the target.
    """
    if isinstance(component.target, str):
        module, _, name = component.target.partition(":")
        return module, name, (), {}
    target: Any = component.target
    arguments: tuple[Any, ...] = ()
    named: dict[str, Any] = {}
    while isinstance(target, functools.partial):
        arguments, named = (*target.args, *arguments), {**target.keywords, **named}
        target = target.func
    module, name = getattr(target, "__module__", None) or "", getattr(target, "__qualname__", "")
    if module in ("", "__main__") or _found(module, name) is not target:
        raise BirdplaneError(
            "a script cannot import it, as its target is not in a module under its name; give the record "
            '`target="package.module:attribute"`, or `plain`'
        )
    return module, name, arguments, named


def _found(module: str, name: str) -> Any:
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError):
        return None
    return found
