"""`birdplane list`: the components that can be picked."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any

import typer

from birdplane.cli import app
from birdplane.cli.catalog.kinds import brief, kind_called
from birdplane.cli.options import Json
from birdplane.cli.screen import print_json, print_table, print_warning
from birdplane.kinds import KIND_NAMES, PLURALS

if TYPE_CHECKING:
    from birdplane.components import Registered
    from birdplane.registry import Registry, Zoo

_WILD = frozenset("*?[")
#: A family of no more than this many members is listed like other components.
_FEW = 20


@app.command("list")
def list_components(
    kind: Annotated[
        str | None,
        typer.Argument(help=f"One of {', '.join(KIND_NAMES)}. [default: all of them]", show_default=False),
    ] = None,
    pattern: Annotated[str | None, typer.Argument(help="Only names like this, such as 'timm/*'.")] = None,
    json: Json = False,
) -> None:
    """List the components that can be picked.

    Many of one family, such as the models of a zoo, are one line; a pattern lists those that match it.
    """
    from birdplane.registry import catalog

    if kind is not None and pattern is None and _WILD & set(kind):
        kind, pattern = None, kind
    kinds = list(KIND_NAMES) if kind is None else [kind_called(kind)]
    found = {one: _lines(catalog()[one], pattern) for one in kinds}
    if json:
        print_json([line.facts for lines in found.values() for line in lines])
        return
    if not any(found.values()):
        what = PLURALS[kinds[0]] if kind else "components"
        print_warning(f"no {what} like {pattern!r}" if pattern else f"there are no {what}")
    _print_lists({one: lines for one, lines in found.items() if lines})


@dataclass(frozen=True)
class _Line:
    """One line of a list: a component, or a family of more than a screen holds."""

    name: str
    origin: str
    summary: str
    facts: dict[str, Any]


def _lines(registry: Registry, pattern: str | None) -> list[_Line]:
    """Return a registry's lines. Without a pattern, a family of many is one; with one, it is searched by name,
    and only what matches is described."""
    if pattern is not None:
        wanted = pattern.casefold()
        return [_line(entry) for entry in registry.matching(lambda name: fnmatchcase(name, wanted))]
    whole = [zoo for zoo in registry.zoos if len(zoo.names) > _FEW]
    few = [zoo for zoo in registry.zoos if zoo not in whole]
    return [
        *map(_line, registry.singles()),
        *(_line(entry) for zoo in few for entry in zoo),
        *map(_family, whole),
    ]


def _line(entry: Registered) -> _Line:
    return _Line(entry.name, str(entry.provenance), entry.component.summary, brief(entry))


def _family(zoo: Zoo) -> _Line:
    kind, origin, count = zoo.kind, zoo.provenance, len(zoo.names)
    name = f"{zoo.prefix}*"
    facts: dict[str, Any] = {"kind": kind, "name": name, "summary": "", "plugin": origin.plugin}
    facts |= {"package": origin.package, "version": origin.version, "count": count}
    summary = f"{count:,} {PLURALS[kind]}: birdplane list {PLURALS[kind]} {shlex.quote(name)}"
    return _Line(name, str(origin), summary, facts)


def _print_lists(found: dict[str, list[_Line]]) -> None:
    """Print the lists below one another, in columns of one width."""
    everything = [line for lines in found.values() for line in lines]
    name = max((len(line.name) for line in everything), default=0)
    origin = max((len(line.origin) for line in everything), default=0)
    for number, (kind, lines) in enumerate(found.items()):
        if number:
            print()
        rows = [[line.name.ljust(name), line.origin.ljust(origin), line.summary] for line in lines]
        print_table(rows, [kind if len(found) == 1 else PLURALS[kind], "from", "what it is"])
