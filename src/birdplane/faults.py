"""What is wrong with a plugin, in a sentence: its import, its hooks, what they returned."""

from __future__ import annotations

import importlib.metadata
import inspect
import itertools
import re
import traceback
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import pluggy

import birdplane
from birdplane import hookspecs
from birdplane.components import KINDS, Component, Family
from birdplane.errors import nearest
from birdplane.guard import one_line

HOOKS: dict[str, tuple[str, ...]] = {
    name: tuple(inspect.signature(hook).parameters)
    for name, hook in vars(hookspecs).items()
    if name.startswith("birdplane_")
}
#: What a plugin may bring in all: an iterator without end must not fill the memory.
MOST_COMPONENTS = 10_000
#: What plugins are named like: their components' names begin with it.
PLUGIN_NAME = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")

#: The records that plugins make, by their names, and what Python says of one that is made wrongly.
_RECORDS = {record.__name__: record for record in (*KINDS.values(), Family)}
_NO_FIELD = re.compile(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'")

Fault = tuple[Literal["broken", "incompatible"], str]


def told(error: BaseException) -> str:
    """Return the kind and the text of what was raised, as one line."""
    return f"{type(error).__name__}: {one_line(error)}{_meant(error)}".removesuffix(": ")


def _meant(error: BaseException) -> str:
    """Return the nearest field of a record that was made with one that it does not have, as a clause."""
    found = _NO_FIELD.fullmatch(one_line(error))
    record = _RECORDS.get(found[1]) if found else None
    return nearest(found[2], (field.name for field in fields(record))) if found and record else ""


def told_with_place(error: BaseException, point: importlib.metadata.EntryPoint) -> str:
    """Return the same, and the innermost line of the plugin's own code that it came through."""
    top = point.module.partition(".")[0]
    lines = [
        f" ({Path(frame.f_code.co_filename).name}, line {line})"
        for frame, line in traceback.walk_tb(error.__traceback__)
        if str(frame.f_globals.get("__name__")).partition(".")[0] == top
    ]
    return told(error) + (lines[-1] if lines else "")


# --- importing --------------------------------------------------------------------------------------------


def of_import(error: BaseException, point: importlib.metadata.EntryPoint) -> Fault:
    """Say why the module behind an entry point cannot be had."""
    name = getattr(error, "name", None) or ""
    if isinstance(error, ImportError) and name.partition(".")[0] == "birdplane":
        return "incompatible", f"{told(error)}: this birdplane is {birdplane.__version__}"
    if isinstance(error, ModuleNotFoundError) and name:
        if point.module == name or point.module.startswith(f"{name}."):
            return "broken", f"{told(error)}: it is what the entry point names"
        return "broken", f"{told(error)}: {_mend(name, point)}"
    return "broken", told_with_place(error, point)


def _mend(module: str, point: importlib.metadata.EntryPoint) -> str:
    """Say what to install, going by what the plugin's package asks for and does not get."""
    absent = [requirement for requirement in _requirements(point) if not _is_installed(requirement)]
    if absent:
        return f"python -m pip install {' '.join(absent)}"
    package = point.dist.name if point.dist else "its package"
    top = module.partition(".")[0]
    return f"perhaps python -m pip install {top.replace('_', '-')} ({package} does not ask for it)"


def _requirements(point: importlib.metadata.EntryPoint) -> list[str]:
    lines = (point.dist.requires or []) if point.dist else []
    names = (re.match(r"[\w.-]+", line) for line in lines if "extra ==" not in line)
    return [match[0] for match in names if match]


def _is_installed(package: str) -> bool:
    try:
        importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


# --- hooks ------------------------------------------------------------------------------------------------


def of_hooks(module: Any, point: importlib.metadata.EntryPoint) -> Fault | None:
    """Say what is wrong with the hooks that a module implements, judging by their names and signatures."""
    implemented: dict[str, Any] = {}
    unmarked: list[str] = []
    for name in dir(module):
        function = inspect.getattr_static(module, name, None)
        options = getattr(function, "birdplane_impl", None)
        if options:
            if not (options.get("optionalhook") and (options.get("specname") or name) not in HOOKS):
                implemented[options.get("specname") or name] = getattr(module, name)
        elif name in HOOKS and callable(function):
            unmarked.append(name)
    if unmarked:
        return "broken", f"{unmarked[0]} lacks the decorator @birdplane.hookimpl"
    if not implemented:
        what = "" if isinstance(module, ModuleType) else f" is a {type(module).__name__} that"
        return "broken", f"not a plugin: {point.value!r}{what} implements none of {', '.join(HOOKS)}"
    for name, function in implemented.items():
        if name not in HOOKS:
            here = f"which this birdplane {birdplane.__version__} does not have{nearest(name, HOOKS)}"
            return "incompatible", f"it implements {name}, {here}"
        fault = _of_signature(name, function)
        if fault:
            return fault
    return None


def _of_signature(name: str, function: Any) -> Fault | None:
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        return "broken", f"{name} is async, and would never run"
    if name != "birdplane_components" and inspect.isgeneratorfunction(function):
        options = getattr(function, "birdplane_impl", {})
        if not (options.get("wrapper") or options.get("hookwrapper")):
            return "broken", f"{name} has a yield in it, and would never run"
    asked = inspect.signature(function).parameters.values()
    needed = [
        p.name for p in asked if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    if not set(needed) <= set(HOOKS[name]):
        right, found = ", ".join(HOOKS[name]), ", ".join(p.name for p in asked)
        return (
            "incompatible",
            f"{name} takes ({right}) in this birdplane {birdplane.__version__}, not ({found})",
        )
    return None


# --- results ----------------------------------------------------------------------------------------------


def components_of(results: list[Any]) -> tuple[tuple[Component, ...], tuple[Family, ...]]:
    """Return the components and families that `birdplane_components` returned.

    Raises:
        TypeError, ValueError: it returned something else, or two of one name; and whatever an iterator raises.
    """
    if not results:
        raise TypeError("birdplane_components returned None, not components")
    brought: list[Any] = []
    for result in results:
        if isinstance(result, Component | Family):
            raise TypeError(f"birdplane_components returned a {type(result).__name__}, not a list")
        brought += itertools.islice(result, MOST_COMPONENTS + 1)
    if len(brought) > MOST_COMPONENTS:
        raise ValueError(
            f"it brings more than {MOST_COMPONENTS:,} components: a Family lists them when they are asked for"
        )
    for component in brought:
        _require_component(component)
    components = tuple(component for component in brought if isinstance(component, Component))
    _require_distinct(components)
    return components, tuple(family for family in brought if isinstance(family, Family))


def _require_component(component: Any) -> None:
    if isinstance(component, Family):
        return
    if not isinstance(component, Component) or component.kind not in KINDS:
        raise TypeError(f"birdplane_components returned {one_line(repr(component))}, which is no component")
    if not isinstance(component.summary, str):
        raise TypeError(f"the summary of {component.name!r} is {one_line(repr(component.summary))}, not text")


def _require_distinct(components: Iterable[Component]) -> None:
    seen: set[tuple[str, str]] = set()
    for component in components:
        if (component.kind, component.name) in seen:
            raise ValueError(f"it brings two {component.kind}s named {component.name!r}")
        seen.add((component.kind, component.name))


def in_words(error: pluggy.PluginValidationError) -> Fault:
    """Say what pluggy does not like, where nothing here has seen it."""
    return "incompatible", one_line(error)
