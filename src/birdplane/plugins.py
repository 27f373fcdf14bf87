"""Find the installed plugins, load each on its own, and say of each what became of it."""

from __future__ import annotations

import importlib.metadata
import inspect
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any, Literal

import pluggy

from birdplane import hookspecs
from birdplane.components import Component

GROUP = "birdplane"
BUILTIN = "builtin"
#: Comma-separated names of plugins that are not even imported; `*` stands for all but the built-in one.
DISABLE_VARIABLE = "BIRDPLANE_DISABLE_PLUGINS"

Status = Literal["ok", "disabled", "broken", "incompatible"]


@dataclass(frozen=True)
class Plugin:
    """One entry point of the group `birdplane`, and what became of it."""

    name: str
    target: str
    package: str
    version: str
    status: Status
    reason: str = ""
    components: tuple[Component, ...] = ()
    hooks: tuple[str, ...] = ()

    @property
    def is_builtin(self) -> bool:
        return self.name == BUILTIN and self.package == "birdplane"


class Plugins:
    """The plugins of one process. `load_plugins` makes it; nothing in it changes afterwards."""

    def __init__(self, found: tuple[Plugin, ...], manager: pluggy.PluginManager) -> None:
        self.found = found
        self._manager = manager

    def ok(self) -> list[Plugin]:
        return [plugin for plugin in self.found if plugin.status == "ok"]

    def trouble(self) -> list[Plugin]:
        """The plugins that were meant to work and do not."""
        return [plugin for plugin in self.found if plugin.status in ("broken", "incompatible")]

    def call_each(self, hook: str, **arguments: Any) -> dict[str, Exception]:
        """Call one hook plugin by plugin; return what failed, by the plugin's name."""
        failures: dict[str, Exception] = {}
        for plugin in self.ok():
            if hook in plugin.hooks:
                try:
                    _call_one(self._manager, plugin.name, hook, arguments)
                except Exception as error:
                    failures[plugin.name] = error
        return failures

    def implementing(self, hook: str) -> bool:
        return any(hook in plugin.hooks for plugin in self.ok())


@cache
def installed() -> Plugins:
    """The plugins installed here, loaded once, without those that the variable disables."""
    return load_plugins(blocked_names(os.environ.get(DISABLE_VARIABLE, "")))


def blocked_names(text: str) -> frozenset[str]:
    """Split `"a, b_c"` into normalised names."""
    return frozenset(_normal(name) for name in text.split(",") if name.strip())


def load_plugins(
    blocked: frozenset[str] = frozenset(),
    entry_points: Callable[[], Iterable[importlib.metadata.EntryPoint]] | None = None,
) -> Plugins:
    """Load every installed plugin that is not blocked, each in its own `try`.

    Nothing that a plugin does wrong is raised: it is told in its status and reason. The built-in plugin comes
    first, the others in the order of their names.
    """
    manager = pluggy.PluginManager("birdplane")
    manager.add_hookspecs(hookspecs)
    points = list(importlib.metadata.entry_points(group=GROUP) if entry_points is None else entry_points())
    points.sort(key=lambda point: (not _is_builtin(point), point.name, point.value))
    found: list[Plugin] = []
    taken: dict[str, Plugin] = {}
    for point in points:
        plugin = _load(manager, point, blocked, taken)
        if plugin is not None:
            taken.setdefault(_normal(plugin.name), plugin)
            found.append(plugin)
    return Plugins(tuple(found), manager)


def _load(
    manager: pluggy.PluginManager,
    point: importlib.metadata.EntryPoint,
    blocked: frozenset[str],
    taken: dict[str, Plugin],
) -> Plugin | None:
    package, version = (point.dist.name, point.dist.version) if point.dist else ("", "")

    def outcome(status: Status, reason: str = "", **brings: Any) -> Plugin:
        return Plugin(point.name, point.value, package, version, status, reason, **brings)

    normal = _normal(point.name)
    rival = taken.get(normal)
    if rival is not None:
        if (rival.target, rival.package) == (point.value, package):
            return None  # the same distribution found twice on sys.path
        return outcome("broken", f"the name is taken by {rival.package} {rival.version}")
    if not _is_builtin(point) and (normal in blocked or "*" in blocked):
        return outcome("disabled", DISABLE_VARIABLE)
    try:
        module = point.load()
        manager.register(module, name=point.name)
        manager.check_pending()
        components = _components(manager, point.name)
    except pluggy.PluginValidationError as error:
        _forget(manager, point.name)
        return outcome("incompatible", _one_line(error))
    except (Exception, SystemExit) as error:
        _forget(manager, point.name)
        return outcome("broken", f"{type(error).__name__}: {_one_line(error)}")
    return outcome("ok", components=components, hooks=_hooks(manager, module))


def _components(manager: pluggy.PluginManager, name: str) -> tuple[Component, ...]:
    results = _call_one(manager, name, "birdplane_components", {})
    components = tuple(component for result in results for component in result)
    seen: set[tuple[str, str]] = set()
    for component in components:
        if not isinstance(component, Component):
            raise TypeError(f"birdplane_components returned {component!r}, which is no component")
        if (component.kind, component.name) in seen:
            raise ValueError(f"it brings two {component.kind}s named {component.name!r}")
        seen.add((component.kind, component.name))
    return components


def _call_one(manager: pluggy.PluginManager, name: str, hook: str, arguments: dict[str, Any]) -> list[Any]:
    """Call a hook of one plugin alone: in one call for all, the first that raises would silence the rest."""
    others = [plugin for other, plugin in manager.list_name_plugin() if other != name and plugin is not None]
    results: list[Any] = manager.subset_hook_caller(hook, others)(**arguments)
    return results


def _hooks(manager: pluggy.PluginManager, module: object) -> tuple[str, ...]:
    return tuple(caller.name for caller in manager.get_hookcallers(module) or ())


def _forget(manager: pluggy.PluginManager, name: str) -> None:
    """Take back a registration: pluggy keeps the name even where validation failed."""
    if manager.get_plugin(name) is not None:
        manager.unregister(name=name)
    manager.set_blocked(name)


def _is_builtin(point: importlib.metadata.EntryPoint) -> bool:
    return point.name == BUILTIN and point.dist is not None and point.dist.name == "birdplane"


def _normal(name: str) -> str:
    return name.strip().casefold().replace("_", "-")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def module_of(plugin: Plugin) -> ModuleType | None:
    """Return the module of a loaded plugin."""
    return sys.modules.get(plugin.target.partition(":")[0])


def documentation(plugin: Plugin) -> str:
    """Return the first line of the plugin's module docstring, or an empty string."""
    module = module_of(plugin)
    return (inspect.getdoc(module) or "").partition("\n")[0] if module else ""
