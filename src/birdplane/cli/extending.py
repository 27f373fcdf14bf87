"""The commands that plugins add, one by one: none of them takes the place of another."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer
import typer.main

from birdplane.faults import told
from birdplane.guard import guarded, one_line

if TYPE_CHECKING:
    from birdplane.plugins import Plugin, Plugins

HOOK = "birdplane_commands"
#: What is wrong with the commands of a plugin, by its name.
complaints: dict[str, list[str]] = {}
_added: dict[str, str] = {}


def add_commands(app: typer.Typer, plugins: Plugins) -> None:
    """Let every plugin add its commands; what cannot be added is told in `complaints`."""
    complaints.clear()
    for plugin in plugins.listening(HOOK):
        for complaint in _commands_added(app, plugins, plugin):
            complaints.setdefault(plugin.name, []).append(complaint)


def _commands_added(app: typer.Typer, plugins: Plugins, plugin: Plugin) -> Iterator[str]:
    # An app of its own: on ours it could take options, commands and the callback away.
    brought = typer.Typer()
    failure: BaseException | None = None
    with guarded():
        try:
            plugins.call(plugin, HOOK, app=brought)
        except BaseException as error:
            failure = error
    if failure is not None:
        yield f"its commands are missing: {told(failure)}"
        return
    if brought.registered_callback is not None:
        yield "it replaces birdplane's own options, which is not done"
    there = _names(app)
    for one in _single(brought):
        try:
            names = _built_names(one)
        except BaseException as error:
            yield f"its command {_first_name(one)!r} cannot be built: {told(error)}"
            continue
        taken = [name for name in names if name in there and _added.get(name) != plugin.name]
        for name in taken:
            owner = f"of the plugin {_added[name]!r}" if name in _added else "birdplane's own"
            yield f"its command {name!r} is left out: that name is {owner}"
        if not taken and not there & set(names):
            app.registered_commands += one.registered_commands
            app.registered_groups += one.registered_groups
            _added.update(dict.fromkeys(names, plugin.name))
            there.update(names)


def _single(app: typer.Typer) -> Iterator[typer.Typer]:
    """Yield apps with one command or group each."""
    for command in app.registered_commands:
        one = typer.Typer()
        one.registered_commands.append(command)
        yield one
    for group in app.registered_groups:
        one = typer.Typer()
        one.registered_groups.append(group)
        yield one


def _first_name(app: typer.Typer) -> str:
    names = [info.name or getattr(info.callback, "__name__", "?") for info in app.registered_commands]
    return one_line([*names, *(info.name for info in app.registered_groups)][0])


def _built_names(app: typer.Typer) -> list[str]:
    """Return the names of an app's commands, which are built for it: that fails where a signature is no command's."""
    return list(typer.main.get_group(app).commands)


def _names(app: typer.Typer) -> set[str]:
    named = {
        info.name or typer.main.get_command_name(info.callback.__name__)
        for info in app.registered_commands
        if info.callback is not None
    }
    for one in _single(app):
        if one.registered_groups:
            named.update(_built_names(one))
    return named


def missing_commands() -> list[str]:
    """Return what is wrong with the commands of plugins, a sentence each, where they have been added at all."""
    plugins = sys.modules.get("birdplane.plugins")
    if plugins is None or not complaints:
        return []
    return [
        f"{plugin}: {complaint}"
        for plugin in plugins.installed().found
        for complaint in complaints.get(plugin.name, [])
    ]
