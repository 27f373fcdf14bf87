"""Whether what a plugin brings keeps to the contract: small named checks, for pytest and for the command line.

from birdplane.testing import parametrize_checks

@parametrize_checks("my-plugin")
def test_conformance(check):
    check()
"""

from __future__ import annotations

import importlib
import inspect
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from birdplane.errors import UsageError, nearest
from birdplane.plugins import Plugin, Plugins, installed
from birdplane.registry import Catalog, Zoo, catalog
from birdplane.testing.checking import Check, CheckFailed, CheckSkipped, Subject
from birdplane.testing.giving import Given, Parameters
from birdplane.testing.loading import FAMILY, PLUGIN

__all__ = [
    "MEMBERS",
    "Check",
    "CheckFailed",
    "CheckSkipped",
    "Outcome",
    "checks",
    "checks_of_component",
    "outcomes",
    "parametrize_checks",
    "plugin_called",
]

#: How many members of a family are checked, unless it is said otherwise.
MEMBERS = 3


def checks(
    plugin: str,
    *,
    parameters: Parameters | None = None,
    members: int = MEMBERS,
    seed: int = 0,
    plugins: Plugins | None = None,
) -> Iterator[Check]:
    """Yield the checks of an installed plugin: those of itself, then those of each thing that it brings.

    Nothing of it is built before a check is called. Of a plugin that does not load there is one check, which
    fails with the reason.

    Args:
        plugin: its name, with dashes of either kind.
        parameters: what to check components with, by their names, full or bare, with wildcards and with
            `kind:` before them where need be: `{"zoo/*": {"input_shape": [3, 64, 64]}}`. What birdplane supplies
            to a model may be given too: it is then tried with pictures of that shape alone.
        members: how many members of each family are checked, drawn by `seed`; besides these, every one that
            `parameters` names in full.
        seed: of the draw.
        plugins: where the plugin is looked for; those installed, if left out.

    Raises:
        UsageError: no plugin has that name, or nothing that it brings a name in `parameters`.
    """
    found = plugin_called(plugin, plugins)
    if found.status != "ok":
        yield from _checks(f"plugin:{found.name}", PLUGIN[:1], found)
        return
    listed = catalog() if plugins is None else Catalog(lambda: plugins)
    given = Given(parameters or {})
    zoos = [zoo for registry in listed for zoo in registry.zoos if zoo.provenance.plugin == found.name]
    chosen = {
        registry.kind: [e.name for e in registry.singles() if e.provenance.plugin == found.name]
        for registry in listed
    }
    for zoo in zoos:
        chosen[zoo.kind] += _drawn(zoo, members, seed, given)
    subjects = [
        Subject(listed, kind, name, given.to(kind, name, _prefix(found)))
        for kind, names in chosen.items()
        for name in dict.fromkeys(names)
    ]
    given.require_all_used(str(subject) for subject in subjects)
    yield from _checks(f"plugin:{found.name}", PLUGIN, found)
    for zoo in zoos:
        yield from _checks(f"family:{zoo.prefix}* ({zoo.kind})", FAMILY, zoo)
    for subject in subjects:
        yield from _of_subject(subject)


def checks_of_component(
    kind: str, name: str, *, parameters: Mapping[str, Any] | None = None, within: Catalog | None = None
) -> Iterator[Check]:
    """Yield the checks of one component, such as one that was registered from Python.

    Args:
        kind: `"dataset"`, `"model"`, ...
        name: its name.
        parameters: what to check it with.
        within: the registries that have it; those of the installed plugins, if left out.

    Raises:
        UsageError: nothing or more than one thing has that name.
    """
    listed = within or catalog()
    yield from _of_subject(Subject(listed, kind, listed[kind].lookup(name).name, parameters))


def plugin_called(name: str, plugins: Plugins | None = None) -> Plugin:
    """Return the plugin of a name, with dashes of either kind.

    Raises:
        UsageError: there is none.
    """
    found = (installed() if plugins is None else plugins).found
    for plugin in found:
        if _folded(plugin.name) == _folded(name):
            return plugin
    names = [plugin.name for plugin in found]
    raise UsageError(f"no plugin is called {name!r}{nearest(name, names)} (installed: {', '.join(names)})")


def parametrize_checks(plugin: str, **options: Any) -> Any:
    """Return pytest's decorator that calls a test with each of a plugin's checks, as its argument `check`.

    What cannot be told here is skipped with its reason. The options are those of `checks`.
    """
    import pytest

    found = [pytest.param(_InPytest(check), id=check.id) for check in checks(plugin, **options)]
    return pytest.mark.parametrize("check", found)


class _InPytest:
    """A check that ends as pytest's own tests do."""

    def __init__(self, check: Check) -> None:
        self._check = check

    def __call__(self) -> None:
        import pytest

        __tracebackhide__ = True
        try:
            self._check()
        except CheckSkipped as skipped:
            pytest.skip(str(skipped))
        except CheckFailed as failed:
            raise CheckFailed(f"{failed} ({self._check.about})") from failed.__cause__


@dataclass(frozen=True)
class Outcome:
    """How a check ended: `reason` is what is wrong, or why it was skipped."""

    check: Check
    status: Literal["passed", "failed", "skipped"]
    reason: str
    seconds: float


def outcomes(found: Iterable[Check]) -> Iterator[Outcome]:
    """Make checks one by one and yield how each ended."""
    for check in found:
        begin = time.perf_counter()
        status: Literal["passed", "failed", "skipped"] = "passed"
        reason = ""
        try:
            check()
        except CheckFailed as failed:
            status, reason = "failed", str(failed)
        except CheckSkipped as skipped:
            status, reason = "skipped", str(skipped)
        yield Outcome(check, status, reason, time.perf_counter() - begin)


#: Where the checks of each kind of component are. Most import torch, which a wrong name should not wait for.
_HOMES = {
    "dataset": ("datasets", "DATASET"),
    "transform": ("transforms", "TRANSFORM"),
    "model": ("models", "MODEL"),
    "loss": ("losses", "LOSS"),
    "optimizer": ("optimizers", "OPTIMIZER"),
    "schedule": ("schedules", "SCHEDULE"),
    "recipe": ("describing", "RECIPE"),
}


def functions(kind: str) -> tuple[Callable[[Any], None], ...]:
    """Return what is checked of a kind of component, or of a `plugin` or a `family`, in order."""
    if kind in ("plugin", "family"):
        return tuple(PLUGIN if kind == "plugin" else FAMILY)
    module, name = _HOMES[kind]
    found: tuple[Callable[[Any], None], ...] = getattr(
        importlib.import_module(f"birdplane.testing.{module}"), name
    )
    return found


def name_of(function: Callable[[Any], None]) -> str:
    """Return the name of a check: its function's, with dashes."""
    return function.__name__.replace("_", "-")


def about(function: Callable[[Any], None]) -> str:
    """Return what a check says must be true."""
    return " ".join((inspect.getdoc(function) or "").split())


def _of_subject(subject: Subject) -> Iterator[Check]:
    yield from _checks(str(subject), functions(subject.registry.kind), subject)


def _checks(subject: str, of: Iterable[Callable[[Any], None]], what: Any) -> Iterator[Check]:
    for function in of:
        yield Check(subject, name_of(function), about(function), partial(function, what))


def _drawn(zoo: Zoo, members: int, seed: int, given: Given) -> list[str]:
    names = [zoo.prefix + name for name in zoo.names]
    drawn = set(random.Random(seed).sample(names, min(members, len(names))))
    return [name for name in names if name in drawn or given.names(zoo.kind, name, zoo.prefix)]


def _prefix(plugin: Plugin) -> str:
    """Return what stands before the bare names of what a plugin brings."""
    return "" if plugin.is_builtin else _folded(plugin.name) + "/"


def _folded(name: str) -> str:
    return name.strip().casefold().replace("_", "-")
