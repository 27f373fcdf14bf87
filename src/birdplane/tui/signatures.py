"""The parameters of components, read without importing torch: what cannot be is asked of the helper."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal, Union

from annotated_types import Ge, Lt
from typing_extensions import Doc

from birdplane.components import KINDS
from birdplane.errors import BirdplaneError, UsageError
from birdplane.params import Parameter, Signature
from birdplane.pipeline import OUTPUT_LAYERS, training_signature
from birdplane.plugins import Plugins, installed
from birdplane.registry import Catalog, Registry
from birdplane.tui.steps import Step

_HEAVY = ("torch", "torchvision")


class ScreenCatalog(Catalog):
    """The registries as the cockpit uses them. `awaited` holds the (kind, name) whose form only the helper knows."""

    def __init__(self, plugins: Callable[[], Plugins] = installed) -> None:
        super().__init__(plugins)
        self.plugins = plugins
        self.awaited: set[tuple[str, str]] = set()
        self._mine = {kind: _ScreenRegistry(kind, plugins, self.awaited) for kind in KINDS}
        self._registries = dict(self._mine)

    def learn(self, kind: str, name: str, fields: Sequence[Mapping[str, Any]]) -> None:
        """Take from the helper what parameters a component has."""
        self._mine[kind].learn(name, described(fields, f"{kind} {name!r}"))

    def refuse(self, kind: str, name: str, reason: str) -> None:
        """Take from the helper that a component's parameters cannot be read."""
        self._mine[kind].refuse(name, UsageError(reason))


@cache
def screen_catalog() -> ScreenCatalog:
    """The registries over the installed plugins."""
    return ScreenCatalog()


class Awaited(Signature):
    """Stands in for parameters that are not known yet: everything is right, and handed on as it came."""

    def __init__(self, owner: str) -> None:
        super().__init__(lambda: None, frozenset(), owner)

    def _checked(self, values: Mapping[str, Any]) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        return dict(values), []


class _ScreenRegistry(Registry):
    def __init__(self, kind: str, plugins: Callable[[], Plugins], awaited: set[tuple[str, str]]) -> None:
        super().__init__(kind, plugins)
        self._awaited = awaited
        self._failures: dict[str, BirdplaneError] = {}

    def signature(self, name: str) -> Signature:
        entry = self.lookup(name)
        if entry.name in self._failures:
            raise self._failures[entry.name]
        try:
            with _without_torch() as refused:
                return super().signature(entry.name)
        except BirdplaneError as error:
            if not refused:
                # Kept, because a module that fails would be imported anew with every key that is pressed.
                self._failures[entry.name] = error
                raise
        self._awaited.add((self.kind, entry.name))
        self._signatures[entry.name] = Awaited(f"{self.kind} {entry.name!r}")
        return self._signatures[entry.name]

    def learn(self, name: str, signature: Signature) -> None:
        self._signatures[name] = signature
        self._awaited.discard((self.kind, name))

    def refuse(self, name: str, error: BirdplaneError) -> None:
        self._signatures.pop(name, None)
        self._failures[name] = error
        self._awaited.discard((self.kind, name))


@contextmanager
def _without_torch() -> Iterator[list[str]]:
    """Refuse the import of torch meanwhile; yield the list of what was refused."""
    refused: list[str] = []
    if "torch" in sys.modules:
        yield refused
        return

    class Refusing:
        @staticmethod
        def find_spec(name: str, path: object = None, target: ModuleType | None = None) -> ModuleSpec | None:
            if name.partition(".")[0] in _HEAVY:
                refused.append(name)
                raise ImportError(f"{name} is not imported by the cockpit", name=name)
            return None

    finder: Any = Refusing
    sys.meta_path.insert(0, finder)
    try:
        yield refused
    finally:
        sys.meta_path.remove(finder)


def signature_of(step: Step, catalog: Catalog) -> Signature:
    """Return the parameters of what a step of the chain holds.

    Raises:
        BirdplaneError: there is no such component, or it cannot be loaded or described.
    """
    match step.key:
        case "output":
            return _output_signature()
        case "training":
            return _whole_training_signature()
    return catalog[step.kind].signature(step.use)


def _output(
    *,
    use: Annotated[
        Literal["auto", "none", "log-softmax", "softmax"],
        Doc("What is done to the model's numbers before the loss; auto: what the loss asks for."),
    ] = "auto",
) -> None:
    assert use in OUTPUT_LAYERS


@cache
def _output_signature() -> Signature:
    return Signature(_output, frozenset(), "[output]")


def _seeded(
    *, seed: Annotated[int, Ge(0), Lt(2**63), Doc("All chance in a run follows from it.")] = 0
) -> None:
    return None


@cache
def _whole_training_signature() -> Signature:
    """Epochs and the rest of `[training]`, and the seed, which has no section of its own."""
    whole = Signature(_seeded, frozenset(), "[training]")
    seed = whole.parameters
    whole.parameters = {**training_signature().parameters, **seed}
    return whole


# --- what the helper says ---------------------------------------------------------------------------------

_WORDS: dict[str, Any] = {"bool": bool, "int": int, "float": float, "str": str, "path": Path, "none": None}


def described(fields: Sequence[Mapping[str, Any]], owner: str) -> Signature:
    """Return the signature that the helper's answer to `signature` stands for; see `birdplane.answers.describing`.

    Bounds are shown but not checked here: the helper does that when it rehearses.
    """

    def target() -> None:
        return None

    target.__signature__ = inspect.Signature([_parameter(one) for one in fields])  # type: ignore[attr-defined]
    made = Signature(target, frozenset(), owner)
    bounds = {str(one["name"]): one for one in fields}
    made.parameters = {name: _bounded(p, bounds[name]) for name, p in made.parameters.items()}
    return made


def _parameter(one: Mapping[str, Any]) -> inspect.Parameter:
    default = inspect.Parameter.empty if one.get("required") else one.get("default")
    annotation = _generic(Annotated, [_annotation(one["type"]), Doc(str(one.get("help") or ""))])
    return inspect.Parameter(
        str(one["name"]), inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )


def _annotation(shape: Mapping[str, Any]) -> Any:
    """Return the type that a field's `type` describes; what has no description may be anything."""
    match shape["kind"]:
        case "choice":
            return _generic(Literal, shape["choices"])
        case "list" if "items" in shape:
            return _generic(list, [_annotation(shape["items"])])
        case "list" | "tuple":
            return list
        case "union":
            return _generic(Union, [_annotation(member) for member in shape["members"]])
        case kind:
            return _WORDS.get(kind, Any)


def _generic(generic: Any, arguments: list[Any]) -> Any:
    return generic[tuple(arguments)]


def _bounded(parameter: Parameter, one: Mapping[str, Any]) -> Parameter:
    return replace(parameter, minimum=str(one.get("minimum") or ""), maximum=str(one.get("maximum") or ""))
