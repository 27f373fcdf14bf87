"""`birdplane list-plugins`: what each plugin brings, and why one does not work."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from birdplane.cli import app
from birdplane.cli.options import Json
from birdplane.cli.screen import print_json, print_table
from birdplane.kinds import KIND_NAMES, PLURALS

if TYPE_CHECKING:
    from birdplane.plugins import Plugin
    from birdplane.registry import Zoo


@app.command("list-plugins")
def list_plugins(
    retry: Annotated[
        bool,
        typer.Option("--retry", help="Try again those that ended the process or took too long to import."),
    ] = False,
    json: Json = False,
) -> None:
    """List the plugins: what each brings, and why one does not work."""
    from birdplane.plugins import installed

    if retry:
        from birdplane.quarantine import Quarantine

        Quarantine.usual().forget_bad()
        installed.cache_clear()
    found = installed().found
    if json:
        print_json([_plugin(plugin) for plugin in found])
        return
    rows = []
    for plugin in found:
        rows.append([plugin.name, plugin.version, plugin.package, *_status(plugin)])
        rows += [["", "", "", "note", note] for note in plugin.notes]
    print_table(rows, ["plugin", "version", "package", "status", "what it brings, or what is wrong"])


def _status(plugin: Plugin) -> tuple[str, str]:
    """Return the status of a plugin, and what it brings or what is wrong. To know it, its families are listed."""
    lacks = _lacks(plugin)
    if not lacks:
        return plugin.status, plugin.reason or _brings(plugin)
    rest = "" if (brings := _brings(plugin)) == "nothing" else f"; the rest works: {brings}"
    return "broken", "; ".join(lacks) + rest


def _zoos(plugin: Plugin) -> list[Zoo]:
    from birdplane.registry import catalog

    if not plugin.families:
        return []
    return [zoo for one in catalog() for zoo in one.zoos if zoo.provenance.plugin == plugin.name]


def _lacks(plugin: Plugin) -> list[str]:
    """Return what is wrong with a plugin's commands, and its families: they are listed, and one member of each is
    described."""
    from birdplane.cli.extending import complaints

    for zoo in _zoos(plugin):
        next(iter(zoo), None)
    lacking = [trouble.reason for zoo in _zoos(plugin) for trouble in zoo.trouble]
    return [*complaints.get(plugin.name, []), *lacking] if plugin.status == "ok" else []


def _counts(plugin: Plugin) -> dict[str, int]:
    counted = Counter(component.kind for component in plugin.components)
    for zoo in _zoos(plugin):
        counted[zoo.kind] += len(zoo.names)
    return {kind: counted[kind] for kind in KIND_NAMES if counted[kind]}


def _brings(plugin: Plugin) -> str:
    counts = [f"{count:,} {kind if count == 1 else PLURALS[kind]}" for kind, count in _counts(plugin).items()]
    hooks = [hook.removeprefix("birdplane_") for hook in plugin.hooks if hook != "birdplane_components"]
    listens = {"event": "listens to training", "commands": "adds commands"}
    return ", ".join([*counts, *(listens.get(hook, hook) for hook in hooks)]) or "nothing"


def _plugin(plugin: Plugin) -> dict[str, Any]:
    from birdplane.plugins import documentation

    return {
        "name": plugin.name,
        "version": plugin.version,
        "package": plugin.package,
        "status": _status(plugin)[0],
        "reason": plugin.reason or "; ".join(_lacks(plugin)),
        "notes": list(plugin.notes),
        "components": _counts(plugin),
        "hooks": list(plugin.hooks),
        "target": plugin.target,
        "summary": documentation(plugin),
    }
