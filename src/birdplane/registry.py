"""Names of components: what is registered, what a name means, and the nearest spelling of a wrong one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext, redirect_stdout, suppress
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, TypeVar, overload

from birdplane.components import KINDS, Component, Family, Provenance, Registered
from birdplane.errors import BirdplaneError, UsageError, described, nearest
from birdplane.faults import told
from birdplane.guard import guarded
from birdplane.params import Signature
from birdplane.plugins import BUILTIN, Plugin, Plugins, installed

Target = TypeVar("Target", bound=Callable[..., Any])


@dataclass(frozen=True)
class Trouble:
    """What is wrong with a family of a plugin that works otherwise."""

    provenance: Provenance
    kind: str
    reason: str

    @property
    def plugin(self) -> str:
        return self.provenance.plugin

    def __str__(self) -> str:
        return f"the plugin {self.plugin!r} of {self.provenance} is broken in part: {self.reason}"


class Zoo:
    """A family of one plugin: listed when it is first asked for, its members described one by one.

    Args:
        prefix: what stands before a member's name, such as `timm/`.
        family: as the plugin gave it.
        provenance: of the plugin.
    """

    def __init__(self, prefix: str, family: Family, provenance: Provenance) -> None:
        self.prefix = prefix
        self.provenance = provenance
        #: What has gone wrong so far; the first member that cannot be described stands for all.
        self.trouble: list[Trouble] = []
        self._family = family
        self._members: dict[str, Registered | BirdplaneError] = {}
        self._members_fail = False

    @property
    def kind(self) -> str:
        return self._family.kind

    def __iter__(self) -> Iterator[Registered]:
        """The members in the family's order, without those that cannot be described."""
        for member in self.names:
            with suppress(BirdplaneError):
                yield self.entry(self.prefix + member)

    @cached_property
    def names(self) -> dict[str, None]:
        """The members' names, in the family's order; none where they cannot be listed, which `trouble` tells."""
        with guarded(keep_prints=False):
            try:
                return dict.fromkeys(self._family.listed())
            except BirdplaneError as error:
                self.complain(str(error))
            except BaseException as error:  # a person's Ctrl-C is raised again by the guard
                self.complain(f"its {self.kind}s cannot be listed: {type(error).__name__}")
        return {}

    def entry(self, name: str) -> Registered:
        """Return the entry of a member's full name. Raises `BirdplaneError` where it cannot be described."""
        found = self._members.get(name) or self._described(name)
        self._members[name] = found
        if isinstance(found, BirdplaneError):
            raise found
        return found

    def _described(self, name: str) -> Registered | BirdplaneError:
        try:
            with redirect_stdout(sys.stderr):  # a thousand of them: the whole guard would take too long
                record = self._family.record(name.removeprefix(self.prefix))
        except BirdplaneError as error:
            if not self._members_fail:
                self.complain(str(error))
            self._members_fail = True
            return BirdplaneError(f"{self.kind} {name!r} of {self.provenance}: {error}")
        return Registered(name, record, self.provenance)

    def complain(self, reason: str) -> None:
        """Keep a reason, once."""
        trouble = Trouble(self.provenance, self.kind, reason)
        if trouble not in self.trouble:
            self.trouble.append(trouble)


class Registry:
    """The components of one kind.

    Bare names belong to birdplane's own plugin and to what Python code registers; the component `c` of another
    plugin `p` is `p/c`, and its bare name works as long as nothing else has it.

    Args:
        kind: `"dataset"`, `"transform"`, `"model"`, `"loss"`, `"optimizer"`, `"schedule"` or `"recipe"`.
        plugins: called when a name is first looked up, so that importing a registry costs nothing.
    """

    def __init__(self, kind: str, plugins: Callable[[], Plugins] = installed) -> None:
        self.kind = kind
        self._record = KINDS[kind]
        self._plugins = plugins
        self._signatures: dict[str, Signature] = {}
        #: What modules of plugins changed when they were imported for a component, a sentence each.
        self.notes: list[str] = []

    @cached_property
    def _entries(self) -> dict[str, Registered]:
        """What is registered by itself; the members of families are not among it."""
        entries: dict[str, Registered] = {}
        for plugin in self._plugins().ok():
            for component in plugin.components:
                if component.kind == self.kind:
                    name = _prefix(plugin) + component.name
                    entries[name] = Registered(name, component, _provenance(plugin))
        return entries

    @cached_property
    def _zoos(self) -> list[Zoo]:
        return [
            Zoo(_prefix(plugin), family, _provenance(plugin))
            for plugin in self._plugins().ok()
            for family in plugin.families
            if family.kind == self.kind
        ]

    @property
    def zoos(self) -> list[Zoo]:
        """The families of this kind; whether they can be listed shows when their names are asked for."""
        return list(self._zoos)

    def trouble(self) -> list[Trouble]:
        """What is wrong with the plugins' families, as far as it has shown: for this, nothing is loaded."""
        zoos: list[Zoo] = self.__dict__.get("_zoos", [])
        return [trouble for zoo in zoos for trouble in zoo.trouble]

    def names(self) -> list[str]:
        """Return every full name: birdplane's own first, the members of families last."""
        return [*self._entries, *self._members]

    def __iter__(self) -> Iterator[Registered]:
        """Every entry. Each member of a family is described for this, and left out where that fails."""
        for name in self.names():
            with suppress(BirdplaneError):
                yield self._full(name)

    def singles(self) -> list[Registered]:
        """Return what is registered by itself, without the members of families, which may be thousands."""
        return list(self._entries.values())

    def matching(self, wanted: Callable[[str], bool]) -> Iterator[Registered]:
        """Yield what is wanted by its full or bare name; of a family, only that is described."""
        bare = {name: entry.component.name for name, entry in self._entries.items()} | self._members
        for name, without_plugin in bare.items():
            if wanted(name) or wanted(without_plugin):
                with suppress(BirdplaneError):
                    yield self._full(name)

    def __len__(self) -> int:
        return len(self._entries) + len(self._members)

    def __contains__(self, name: object) -> bool:
        """Tell whether something has the name; where more than one thing has it, `lookup` says so."""
        return isinstance(name, str) and (self.has_full(name) or bool(self._called(name)))

    def has_full(self, name: str) -> bool:
        """Tell whether something has the full name; of the families, only those of that plugin are listed."""
        return name in self._entries or self._zoo_of(name) is not None

    def lookup(self, name: str) -> Registered:
        """Return the entry of a full name, or of a bare one that is unique.

        For the full name of a family's member, only the families of that plugin are listed.

        Raises:
            UsageError: nothing or more than one thing has that name.
            BirdplaneError: it is a family's member that the plugin cannot describe.
        """
        entry = self._find_full(name) or self._by_bare_name(name)
        if entry is None:
            raise UsageError(f"no {self.kind} is called {name!r}{self._hint(name)}")
        return entry

    def get(self, name: str) -> Component:
        """Return the record of a name. Raises as `lookup` does."""
        return self.lookup(name).component

    @cached_property
    def _members(self) -> dict[str, str]:
        """The full name of every family's member, and the bare one that it ends in."""
        members: dict[str, str] = {}
        for zoo in self._zoos:
            for member in zoo.names:
                name = zoo.prefix + member
                if name in self._entries or name in members:
                    zoo.complain(f"it brings two {self.kind}s named {member!r}")
                else:
                    members[name] = member
        return members

    @cached_property
    def _members_by_bare_name(self) -> dict[str, list[str]]:
        full: dict[str, list[str]] = {}
        for name, bare in self._members.items():
            full.setdefault(bare, []).append(name)
        return full

    def _called(self, bare: str) -> list[str]:
        """Return the full names of a bare one."""
        singles = [name for name, entry in self._entries.items() if entry.component.name == bare]
        return singles + self._members_by_bare_name.get(bare, [])

    def _zoo_of(self, name: str) -> Zoo | None:
        """Return the family that has a full name."""
        for zoo in self._zoos:
            if name.startswith(zoo.prefix) and name[len(zoo.prefix) :] in zoo.names:
                return zoo
        return None

    def _full(self, name: str) -> Registered:
        """Return what has a full name that is there. Raises `BirdplaneError` where it cannot be described."""
        found = self._find_full(name)
        assert found is not None
        return found

    def _find_full(self, name: str) -> Registered | None:
        if name in self._entries:
            return self._entries[name]
        zoo = self._zoo_of(name)
        return zoo.entry(name) if zoo else None

    def _by_bare_name(self, name: str) -> Registered | None:
        rivals = self._called(name)
        if len(rivals) > 1:
            full = " or ".join(repr(rival) for rival in rivals)
            raise UsageError(f"the {self.kind} {name!r} is ambiguous: say {full}")
        return self._full(rivals[0]) if rivals else None

    def spellings(self) -> set[str]:
        """Return every name by which something can be asked for, full and bare."""
        bare = (entry.component.name for entry in self._entries.values())
        return {*self._entries, *bare, *self._members, *self._members_by_bare_name}

    def _hint(self, name: str) -> str:
        hint = nearest(name, self.spellings())
        broken = [plugin.name for plugin in self._plugins().trouble()]
        broken += [trouble.plugin for trouble in self.trouble() if trouble.plugin not in broken]
        return hint + (f" (not loaded: {', '.join(broken)}; see `birdplane list-plugins`)" if broken else "")

    def target(self, name: str) -> Callable[..., Any]:
        """Return what a component is built by; this imports its module.

        What the module changes of the process is set back, and told in `notes`; what it prints goes to stderr.

        Raises:
            BirdplaneError: it cannot be loaded.
        """
        return self._target(self.lookup(name))

    def _target(self, entry: Registered) -> Callable[..., Any]:
        component, origin = entry.component, entry.provenance
        if component.is_loaded or origin.plugin == BUILTIN:
            return component.resolve()
        notes: list[str] = []
        try:
            with guarded(keep_prints=False, libraries=True) as notes:
                return _resolved(component)
        finally:
            self.notes += [
                f"the plugin {origin.plugin!r} of {origin} {note} (while {self.kind} {entry.name!r} was imported)"
                for note in notes
            ]

    def signature(self, name: str) -> Signature:
        """Return the parameters of a component; this imports its target's module.

        Raises:
            BirdplaneError: the target cannot be loaded, or no parameters can be read from it.
        """
        entry = self.lookup(name)
        if entry.name not in self._signatures:
            self._signatures[entry.name] = self._read(entry)
        return self._signatures[entry.name]

    def _read(self, entry: Registered) -> Signature:
        owner = f"{self.kind} {entry.name!r}"
        component = entry.component
        try:
            signature = Signature(self._target(entry), component.reserved, owner)
            if "use" in signature.parameters:
                raise UsageError(
                    f"{owner}: its parameter 'use' is a word that pipeline files need themselves"
                )
            return signature
        except BirdplaneError as error:
            raise type(error)(f"{error} (from {entry.provenance})") from error
        except Exception as error:  # a signature may be anything that answers to its name
            reason = described(error)
            raise UsageError(
                f"{owner}: its signature cannot be read: {reason} (from {entry.provenance})"
            ) from error

    def create(self, name: str, /, **parameters: Any) -> Any:
        """Build a component.

        What birdplane supplies in a pipeline is given here by name too: `split` of a dataset, `input_shape` and
        `num_classes` of a model, `params` of an optimizer, `total_steps` of a schedule.

        What a plugin's component prints meanwhile goes to stderr.

        Raises:
            UsageError: an unknown name, or a parameter that is unknown, ill-typed or out of bounds.
        """
        entry, signature = self.lookup(name), self.signature(name)
        host = {key: parameters.pop(key) for key in entry.component.reserved & parameters.keys()}
        values = signature.validate(parameters, f"{self.kind} {name!r}: ")
        given = {key: host[key] for key in signature.wants & host.keys()}
        target = self._target(entry)
        # Where a plugin's parts print as they are built, a command's JSON must stay that.
        foreign = entry.provenance.plugin not in (BUILTIN, "python")
        with redirect_stdout(sys.stderr) if foreign else nullcontext():
            return target(**values, **given)

    @overload
    def register(self, name: str, target: None = None, **record: Any) -> Callable[[Target], Target]: ...
    @overload
    def register(self, name: str, target: Target, **record: Any) -> Target: ...
    def register(self, name: str, target: Any = None, **record: Any) -> Any:
        """Add a component from Python code, for this process; also as a decorator.

            @models.register("tiny", summary="One linear layer")
            def tiny(*, input_shape, num_classes): ...

        Args:
            name: the bare name.
            target: a callable or `"package.module:attribute"`.
            **record: the further fields of the kind's record, such as `summary`, `random` or `accepts`.

        Raises:
            UsageError: the name is taken or malformed.
        """
        if target is None:
            return lambda function: self.register(name, function, **record)
        if self.has_full(name):
            rival = self._entries.get(name) or self._zoo_of(name)
            origin = rival.provenance if rival else ""
            raise UsageError(f"the {self.kind} {name!r} is there already, from {origin}")
        try:
            component = self._record(name=name, target=target, **record)
        except (TypeError, ValueError) as error:
            raise UsageError(f"cannot register the {self.kind} {name!r}: {error}") from error
        self._entries[name] = Registered(name, component)
        return target


def _resolved(component: Component) -> Callable[..., Any]:
    try:
        return component.resolve()
    except KeyboardInterrupt as error:  # a person's is raised again by the guard
        raise BirdplaneError(
            f"{component.kind} {component.name!r}: cannot load {component.target!r}: {told(error)}"
        ) from error


def _prefix(plugin: Plugin) -> str:
    return "" if plugin.is_builtin else plugin.name.casefold().replace("_", "-") + "/"


def _provenance(plugin: Plugin) -> Provenance:
    return Provenance(plugin.name, plugin.package, plugin.version)


class Catalog:
    """One registry a kind, over the same plugins."""

    def __init__(self, plugins: Callable[[], Plugins] = installed) -> None:
        self._registries = {kind: Registry(kind, plugins) for kind in KINDS}

    def __getitem__(self, kind: str) -> Registry:
        return self._registries[kind]

    def __iter__(self) -> Iterator[Registry]:
        return iter(self._registries.values())

    def find(self, name: str) -> list[Registered]:
        """Return the components of any kind that have the name, full or bare."""
        # With its plugin's name it is looked for in that plugin alone: another's families may be slow to list.
        full = [registry.lookup(name) for registry in self if "/" in name and registry.has_full(name)]
        return full or [registry.lookup(name) for registry in self if name in registry]

    def hint(self, name: str) -> str:
        """Return the nearest spelling among the names of all kinds, as part of a sentence."""
        return nearest(name, {name for registry in self for name in registry.spellings()})

    def trouble(self) -> list[Trouble]:
        """What is wrong with families of any kind, as far as it has shown."""
        return [trouble for registry in self for trouble in registry.trouble()]

    def notes(self) -> list[str]:
        """What modules of plugins changed when they were imported, as far as they were: a sentence each."""
        return [note for registry in self for note in registry.notes]


@cache
def catalog() -> Catalog:
    """The registries over the installed plugins, which `birdplane.datasets` and its fellows are."""
    return Catalog()


datasets = catalog()["dataset"]
transforms = catalog()["transform"]
models = catalog()["model"]
losses = catalog()["loss"]
optimizers = catalog()["optimizer"]
schedules = catalog()["schedule"]
recipes = catalog()["recipe"]
