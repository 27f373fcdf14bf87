"""Checks of a plugin as a whole: that it loads, without torch, and that its families can be listed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache

from birdplane.plugins import Plugin
from birdplane.registry import Zoo
from birdplane.testing.checking import fail, require, skip

_SECONDS = 120
_MARK = "-- torch is imported by:"
#: Does what lists and forms do with a plugin, and prints where torch is imported first.
_PROGRAM = """
import importlib.metadata, sys, traceback
from birdplane.components import Family

first = []

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch" and not first:
            frames = [f for f in traceback.extract_stack()[:-1] if "importlib" not in f.filename]
            first.append(f"{frames[-1].filename}:{frames[-1].lineno}")

sys.meta_path.insert(0, Watch())
module = importlib.metadata.EntryPoint(sys.argv[1], sys.argv[2], "birdplane").load()
hook = getattr(module, "birdplane_components", None)
for family in [one for one in (hook() if hook else ()) if isinstance(one, Family)]:
    for name in family.listed()[:1]:
        family.record(name)
print("{mark}", *first)
""".replace("{mark}", _MARK)


def loads(plugin: Plugin) -> None:
    """It is installed, imported, and what its hooks return is right."""
    if plugin.status == "disabled":
        skip(f"it is disabled: {plugin.reason}")
    require(plugin.status == "ok", f"{plugin.status}: {plugin.reason}")


def imports_no_torch(plugin: Plugin) -> None:
    """To import it, in a process of its own, and to list what it brings, does not import torch."""
    first, _ = _apart(plugin.name, plugin.target)
    require(not first, f"torch is imported by {first}; name what needs it by a string")


def prints_nothing(plugin: Plugin) -> None:
    """To import it and to list what it brings prints nothing."""
    _, printed = _apart(plugin.name, plugin.target)
    require(not printed, f"it prints {printed[:200]!r}")


@cache
def _apart(name: str, target: str) -> tuple[str, str]:
    """Import a plugin in a process of its own; return where it imports torch, and what it prints."""
    path = os.pathsep.join(entry or os.curdir for entry in sys.path)
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM, name, target],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        fail(f"it is not imported within {_SECONDS} s")
    printed, mark, first = done.stdout.rpartition(_MARK)
    if not mark:
        last = (done.stderr.strip() or f"it ends the process with {done.returncode}").splitlines()[-1]
        fail(f"it cannot be imported by itself: {last}")
    return first.strip(), (printed + done.stderr).strip()


#: Of every plugin; the others only of one that loads.
PLUGIN: Sequence[Callable[[Plugin], None]] = (loads, imports_no_torch, prints_nothing)


def lists_its_members(zoo: Zoo) -> None:
    """It lists the names of its members, one at least, each of them once."""
    reasons = "; ".join(trouble.reason for trouble in zoo.trouble)
    require(bool(zoo.names), reasons or "it has no members")


def describes_its_members(zoo: Zoo) -> None:
    """From every name that it lists it makes the record of that name and kind."""
    if not zoo.names:
        skip("it lists no members: see the check lists-its-members")
    for name in zoo.names:
        zoo.entry(zoo.prefix + name)


FAMILY: Sequence[Callable[[Zoo], None]] = (lists_its_members, describes_its_members)
