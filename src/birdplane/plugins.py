"""Find the installed plugins, load each on its own, and say of each what became of it."""

from __future__ import annotations

import importlib.metadata
import inspect
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from types import ModuleType
from typing import Any, Literal

import pluggy

from birdplane import faults, hookspecs
from birdplane.components import Component, Family
from birdplane.guard import Notes, guarded, loading, one_line

GROUP = "birdplane"
BUILTIN = "builtin"
#: Comma-separated names of plugins that are not even imported; `*` stands for all but the built-in one.
DISABLE_VARIABLE = "BIRDPLANE_DISABLE_PLUGINS"

#: Importing a plugin that takes longer is noted: every command waits for it.
_SLOW_SECONDS = 0.5

_HEAVY = frozenset({"torch", "torchvision", "numpy"})
_OWN_NAMES = frozenset({BUILTIN, "birdplane", "python"})

Status = Literal["ok", "disabled", "broken", "incompatible"]


@dataclass(frozen=True)
class Plugin:
    """One entry point of the group `birdplane`, and what became of it.

    `reason` says why it does not work; `notes` say what is odd of one that does, or what it printed.
    """

    name: str
    target: str
    package: str
    version: str
    status: Status
    reason: str = ""
    components: tuple[Component, ...] = ()
    hooks: tuple[str, ...] = ()
    families: tuple[Family, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_builtin(self) -> bool:
        return self.name == BUILTIN and self.package == "birdplane"

    def __str__(self) -> str:
        """The plugin as sentences call it: `the plugin 'extras' of birdplane-extras 0.1.0`."""
        return f"the plugin {self.name!r} of {self.package} {self.version}".removesuffix(" of  ")


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

    def call(self, plugin: Plugin, hook: str, **arguments: Any) -> None:
        """Call a hook of one plugin alone; what it raises is raised."""
        _call_one(self._manager, plugin.name, hook, arguments)

    def listening(self, hook: str) -> list[Plugin]:
        """The plugins that work and implement a hook."""
        return [plugin for plugin in self.ok() if hook in plugin.hooks]


@cache
def installed() -> Plugins:
    """The plugins installed here, loaded once, without those that the variable disables.

    Those that are new are tried in a process of their own before they are imported.

    Raises:
        BirdplaneError: a plugin asks for this while it is itself imported.
    """
    with loading:
        return load_plugins(blocked_names(os.environ.get(DISABLE_VARIABLE, "")), try_apart=True)


def blocked_names(text: str) -> frozenset[str]:
    """Split `"a, b_c"` into normalised names."""
    return frozenset(_normal(name) for name in text.split(",") if name.strip())


def load_plugins(
    blocked: frozenset[str] = frozenset(),
    entry_points: Callable[[], Iterable[importlib.metadata.EntryPoint]] | None = None,
    *,
    try_apart: bool = False,
) -> Plugins:
    """Load every installed plugin that is not blocked, each by itself.

    Nothing that a plugin does wrong is raised: it is told in its status and reason. The built-in plugin comes
    first, the others in the order of their names. With `try_apart`, new ones are tried in another process first.
    """
    manager = pluggy.PluginManager("birdplane")
    manager.add_hookspecs(hookspecs)
    points = importlib.metadata.entry_points(group=GROUP) if entry_points is None else entry_points()
    found = sorted(
        map(_Found.at, points), key=lambda one: (not one.is_builtin, one.point.name, one.point.value)
    )
    judged = _judged_by_name(found, blocked)
    if try_apart:
        _judge_apart(judged)
    loaded: list[Plugin] = []
    for one, plugin in judged.items():
        loaded.append(plugin or _load(manager, one, loaded))
    return Plugins(tuple(loaded), manager)


@dataclass(frozen=True, eq=False)
class _Found:
    """An entry point, and the package that brings it: to read a package's name takes as long as to import it."""

    point: importlib.metadata.EntryPoint
    package: str
    version: str

    @classmethod
    def at(cls, point: importlib.metadata.EntryPoint) -> _Found:
        facts = point.dist.metadata if point.dist else {"Name": "", "Version": ""}
        return cls(point, facts["Name"] or "", facts["Version"] or "")

    @property
    def is_builtin(self) -> bool:
        return self.point.name == BUILTIN and self.package == "birdplane"

    def is_again(self, other: _Found) -> bool:
        """Tell whether it is the same distribution, found twice on `sys.path`."""
        return (self.point.value, self.package) == (other.point.value, other.package)

    def outcome(self, status: Status, reason: str = "", **brings: Any) -> Plugin:
        return Plugin(self.point.name, self.point.value, self.package, self.version, status, reason, **brings)


def _judged_by_name(found: Sequence[_Found], blocked: frozenset[str]) -> dict[_Found, Plugin | None]:
    """Return what was found, with what became of it where its name settles that: it is not imported then."""
    judged: dict[_Found, Plugin | None] = {}
    taken: dict[str, _Found] = {}
    for one in found:
        name = one.point.name
        normal = _normal(name)
        rival = taken.setdefault(normal, one)
        if rival is not one:
            if not rival.is_again(one):
                judged[one] = one.outcome("broken", f"the name is taken by {rival.package} {rival.version}")
        elif one.is_builtin:
            judged[one] = None
        elif normal in blocked or "*" in blocked:
            judged[one] = one.outcome("disabled", DISABLE_VARIABLE)
        elif normal in _OWN_NAMES:
            judged[one] = one.outcome("broken", f"the name {name!r} is birdplane's own")
        elif not faults.PLUGIN_NAME.fullmatch(normal):
            judged[one] = one.outcome("broken", f"the name {one_line(name)!r} is not words joined by dashes")
        else:
            judged[one] = None
    return judged


def _judge_apart(judged: dict[_Found, Plugin | None]) -> None:
    """Enter those that must not be imported here, as they end the process or never come back."""
    foreign = [one for one, plugin in judged.items() if plugin is None and not one.is_builtin]
    if not foreign:
        return
    from birdplane.quarantine import Candidate, Quarantine

    candidates = [
        Candidate(one.point.name, one.point.value, f"{one.package} {one.version}") for one in foreign
    ]
    for one, reason in zip(foreign, Quarantine.usual().reasons(candidates), strict=True):
        if reason:
            judged[one] = one.outcome("broken", reason)


def _load(manager: pluggy.PluginManager, found: _Found, before: list[Plugin]) -> Plugin:
    if found.is_builtin:
        return _imported(manager, found)
    heavy = _HEAVY & sys.modules.keys()
    began = time.perf_counter()
    with guarded() as notes:
        plugin = _imported(manager, found)
    seconds = time.perf_counter() - began
    for module in sorted((_HEAVY & sys.modules.keys()) - heavy):
        notes.add(f"imports {module}, which every command waits for")
    if seconds > _SLOW_SECONDS:
        notes.add(f"takes {seconds:.1f} s to import, which every command waits for")
    _note_hidden_names(notes, plugin, before)
    return replace(plugin, notes=tuple(notes))


def _imported(manager: pluggy.PluginManager, found: _Found) -> Plugin:
    """Import a plugin and ask for its components; whatever it raises is told."""
    point = found.point
    try:
        module = point.load()
    except BaseException as error:
        return found.outcome(*faults.of_import(error, point))
    try:
        fault = faults.of_hooks(module, point)
        if fault:
            return found.outcome(*fault)
        manager.register(module, name=point.name)
        manager.check_pending()
        hooks = _hooks(manager, module)
        components: tuple[Component, ...] = ()
        families: tuple[Family, ...] = ()
        if "birdplane_components" in hooks:
            results = _call_one(manager, point.name, "birdplane_components", {})
            components, families = faults.components_of(results)
    except pluggy.PluginValidationError as error:
        _forget(manager, point.name)
        return found.outcome("incompatible", one_line(error))
    except BaseException as error:
        _forget(manager, point.name)
        return found.outcome("broken", faults.told_with_place(error, point))
    return found.outcome("ok", components=components, families=families, hooks=hooks)


def _note_hidden_names(notes: Notes, plugin: Plugin, before: list[Plugin]) -> None:
    """Note which of a plugin's names are birdplane's own too: its bare one always means the latter."""
    own = {(one.kind, one.name) for other in before if other.is_builtin for one in other.components}
    for one in plugin.components:
        if (one.kind, one.name) in own:
            prefix = _normal(plugin.name)
            notes.add(
                f"its {one.kind} {one.name!r} must be called {f'{prefix}/{one.name}'!r}: "
                "the bare name is birdplane's own"
            )


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


def _normal(name: str) -> str:
    return name.strip().casefold().replace("_", "-")


def module_of(plugin: Plugin) -> ModuleType | None:
    """Return the module of a loaded plugin."""
    return sys.modules.get(plugin.target.partition(":")[0])


def documentation(plugin: Plugin) -> str:
    """Return the first line of the plugin's module docstring, or an empty string."""
    module = module_of(plugin)
    return (inspect.getdoc(module) or "").partition("\n")[0] if module else ""
