"""Names of components: what is registered, what a name means, and the nearest spelling of a wrong one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache, cached_property
from typing import Any, TypeVar, overload

from birdplane.components import KINDS, Component, Provenance, Registered
from birdplane.errors import UsageError, nearest
from birdplane.params import Signature
from birdplane.plugins import Plugin, Plugins, installed

Target = TypeVar("Target", bound=Callable[..., Any])


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

    @cached_property
    def _entries(self) -> dict[str, Registered]:
        entries: dict[str, Registered] = {}
        for plugin in self._plugins().ok():
            for component in plugin.components:
                if component.kind == self.kind:
                    entry = _registered(plugin, component)
                    entries[entry.name] = entry
        return entries

    def names(self) -> list[str]:
        """Return every full name, birdplane's own first."""
        return list(self._entries)

    def __iter__(self) -> Iterator[Registered]:
        return iter(list(self._entries.values()))

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        """Tell whether something has the name; where more than one thing has it, `lookup` says so."""
        return name in self._entries or any(entry.component.name == name for entry in self)

    def lookup(self, name: str) -> Registered:
        """Return the entry of a full name, or of a bare one that is unique.

        Raises:
            UsageError: nothing or more than one thing has that name.
        """
        entry = self._entries.get(name) or self._by_bare_name(name)
        if entry is None:
            raise UsageError(f"no {self.kind} is called {name!r}{self._hint(name)}")
        return entry

    def get(self, name: str) -> Component:
        """Return the record of a name. Raises `UsageError` as `lookup` does."""
        return self.lookup(name).component

    def _by_bare_name(self, name: str) -> Registered | None:
        rivals = [entry for entry in self._entries.values() if entry.component.name == name]
        if len(rivals) > 1:
            full = " or ".join(repr(entry.name) for entry in rivals)
            raise UsageError(f"the {self.kind} {name!r} is ambiguous: say {full}")
        return rivals[0] if rivals else None

    def _hint(self, name: str) -> str:
        hint = nearest(name, {*self._entries, *(entry.component.name for entry in self)})
        broken = [plugin.name for plugin in self._plugins().trouble()]
        return hint + (f" (not loaded: {', '.join(broken)}; see `birdplane list-plugins`)" if broken else "")

    def signature(self, name: str) -> Signature:
        """Return the parameters of a component; this imports its target's module."""
        entry = self.lookup(name)
        if entry.name not in self._signatures:
            component = entry.component
            owner = f"{self.kind} {entry.name!r}"
            self._signatures[entry.name] = Signature(component.resolve(), component.reserved, owner)
        return self._signatures[entry.name]

    def create(self, name: str, /, **parameters: Any) -> Any:
        """Build a component.

        What birdplane supplies in a pipeline is given here by name too: `split` of a dataset, `input_shape` and
        `num_classes` of a model, `params` of an optimizer, `total_steps` of a schedule.

        Raises:
            UsageError: an unknown name, or a parameter that is unknown, ill-typed or out of bounds.
        """
        component, signature = self.get(name), self.signature(name)
        host = {key: parameters.pop(key) for key in component.reserved & parameters.keys()}
        values = signature.validate(parameters, f"{self.kind} {name!r}: ")
        return component.resolve()(**values, **{key: host[key] for key in signature.wants & host.keys()})

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
        if name in self._entries:
            raise UsageError(
                f"the {self.kind} {name!r} is there already, from {self._entries[name].provenance}"
            )
        try:
            component = self._record(name=name, target=target, **record)
        except (TypeError, ValueError) as error:
            raise UsageError(f"cannot register the {self.kind} {name!r}: {error}") from error
        self._entries[name] = Registered(name, component)
        return target


def _registered(plugin: Plugin, component: Component) -> Registered:
    provenance = Provenance(plugin.name, plugin.package, plugin.version)
    prefix = "" if plugin.is_builtin else plugin.name.casefold().replace("_", "-") + "/"
    return Registered(prefix + component.name, component, provenance)


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
        return [registry.lookup(name) for registry in self if name in registry]

    def hint(self, name: str) -> str:
        """Return the nearest spelling among the names of all kinds, as part of a sentence."""
        return nearest(name, _bare_and_full(self))


def _bare_and_full(registries: Iterable[Registry]) -> set[str]:
    return {
        name for registry in registries for entry in registry for name in (entry.name, entry.component.name)
    }


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
