"""Plugins as they are installed: found by their entry points, loaded one by one, and what became of each."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from birdplane.plugins import GROUP, Plugin, Plugins, blocked_names, documentation, load_plugins

GOOD = """
'''Mirrors and negatives.'''
from birdplane import Transform, hookimpl
@hookimpl
def birdplane_components():
    return [Transform(name="invert", target=abs), Transform(name="mirror", target=abs)]
"""
#: What a plugin can do wrong, and how that is told.
BROKEN = {
    "raises": (
        "import no_such_package_at_all",
        "ModuleNotFoundError: No module named 'no_such_package_at_all'",
    ),
    "leaves": ("raise SystemExit('bye')", "SystemExit: bye"),
    "has-no-syntax": ("def (", "SyntaxError: invalid syntax"),
    "hook-raises": (
        """
        from birdplane import hookimpl
        @hookimpl
        def birdplane_components():
            raise RuntimeError("two\\nlines")
        """,
        "RuntimeError: two lines",
    ),
    "halfway": (
        """
        from birdplane import Transform, hookimpl
        @hookimpl
        def birdplane_components():
            yield Transform(name="first", target=abs)
            raise KeyError("second")
        """,
        "KeyError: 'second'",
    ),
    "returns-nothing-usable": (
        """
        from birdplane import hookimpl
        @hookimpl
        def birdplane_components():
            return 3
        """,
        "TypeError: 'int' object is not iterable",
    ),
    "returns-text": (
        """
        from birdplane import hookimpl
        @hookimpl
        def birdplane_components():
            return ["invert"]
        """,
        "TypeError: birdplane_components returned 'invert', which is no component",
    ),
    "has-a-misspelt-field": (
        """
        from birdplane import Loss, hookimpl
        @hookimpl
        def birdplane_components():
            return [Loss(name="one", target=abs, accept="probabilities")]
        """,
        "TypeError: Loss.__init__() got an unexpected keyword argument 'accept'; did you mean 'accepts'?",
    ),
    "accepts-what-is-none": (
        """
        from birdplane import Loss, hookimpl
        @hookimpl
        def birdplane_components():
            return [Loss(name="one", target=abs, accepts="probability")]
        """,
        "ValueError: 'probability' is none of logits, log-probabilities, probabilities; did you mean 'prob",
    ),
    "twice": (
        """
        from birdplane import Transform, hookimpl
        @hookimpl
        def birdplane_components():
            return [Transform(name="same", target=abs), Transform(name="same", target=max)]
        """,
        "ValueError: it brings two transforms named 'same'",
    ),
    "bad-name": (
        """
        from birdplane import Transform, hookimpl
        @hookimpl
        def birdplane_components():
            return [Transform(name="Not Good", target=abs)]
        """,
        "ValueError: the name 'Not Good' is not lower-case words joined by dashes",
    ),
}
INCOMPATIBLE = {
    "other-arguments": """
        from birdplane import hookimpl
        @hookimpl
        def birdplane_event(run, event, colour): ...
        """,
    "other-hook": """
        from birdplane import hookimpl
        @hookimpl
        def birdplane_paint(canvas): ...
        """,
}

Write = Callable[..., Path]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Plugins]:
    """Load birdplane's own plugin and those whose distributions lie in `tmp_path / "site"`."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)
    before = set(sys.modules)

    def here() -> Iterable[importlib.metadata.EntryPoint]:
        own = importlib.metadata.distribution("birdplane").entry_points.select(group=GROUP)
        brought = importlib.metadata.distributions(path=[str(site)])
        return [*own, *(point for d in brought for point in d.entry_points.select(group=GROUP))]

    def load(blocked: str = "") -> Plugins:
        for name in set(sys.modules) - before:
            if name.endswith("_module"):
                del sys.modules[name]
        return load_plugins(blocked_names(blocked), here)

    return load


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return tmp_path / "site"


def named(plugins: Plugins, name: str) -> Plugin:
    (plugin,) = (plugin for plugin in plugins.found if plugin.name == name)
    return plugin


def test_a_plugin_that_works_is_ok_and_says_what_it_brings(
    load: Callable[..., Plugins], write_plugin: Write, site: Path
) -> None:
    write_plugin(site, "looks", GOOD, package="birdplane-looks", version="2.0")
    plugin = named(load(), "looks")
    assert (plugin.status, plugin.reason) == ("ok", "")
    assert (plugin.package, plugin.version, plugin.target) == ("birdplane-looks", "2.0", "looks_module")
    assert [component.name for component in plugin.components] == ["invert", "mirror"]
    assert plugin.hooks == ("birdplane_components",)
    assert documentation(plugin) == "Mirrors and negatives."


def test_birdplanes_own_plugin_comes_first_and_the_others_by_name(
    load: Callable[..., Plugins], write_plugin: Write, site: Path
) -> None:
    for name in ("zebra", "ant"):
        write_plugin(site, name, GOOD)
    found = load().found
    assert [plugin.name for plugin in found] == ["builtin", "ant", "zebra"]
    assert [plugin.is_builtin for plugin in found] == [True, False, False]


@pytest.mark.parametrize("wrong", BROKEN)
def test_a_broken_plugin_is_told_with_the_reason_and_hides_no_other(
    load: Callable[..., Plugins], write_plugin: Write, site: Path, wrong: str
) -> None:
    source, reason = BROKEN[wrong]
    write_plugin(site, wrong, source)
    write_plugin(site, "z-good", GOOD)
    plugins = load()
    broken = named(plugins, wrong)
    assert broken.status == "broken"
    assert broken.reason.startswith(reason)
    assert "\n" not in broken.reason
    assert broken.components == ()
    assert [plugin.name for plugin in plugins.ok()] == ["builtin", "z-good"]
    assert plugins.trouble() == [broken]


def test_where_in_the_plugins_own_code_it_broke_is_told(
    load: Callable[..., Plugins], write_plugin: Write, site: Path
) -> None:
    write_plugin(site, "a", "import json\njson.loads('[')\n")
    write_plugin(
        site, "b", "from birdplane import *\n\n@hookimpl\ndef birdplane_components():\n    return [Datset()]"
    )
    reasons = [named(load(), name).reason for name in ("a", "b")]
    assert reasons[0].endswith("(a_module.py, line 2)")
    assert reasons[1] == "NameError: name 'Datset' is not defined (b_module.py, line 5)"


@pytest.mark.parametrize("wrong", INCOMPATIBLE)
def test_a_plugin_with_hooks_of_another_form_is_incompatible_and_hides_no_other(
    load: Callable[..., Plugins], write_plugin: Write, site: Path, wrong: str
) -> None:
    write_plugin(site, wrong, INCOMPATIBLE[wrong])
    write_plugin(site, "z-good", GOOD)
    plugins = load()
    assert named(plugins, wrong).status == "incompatible"
    assert named(plugins, wrong).reason
    assert [plugin.name for plugin in plugins.ok()] == ["builtin", "z-good"]


@pytest.mark.parametrize("spelling", ["my-plugin", "my_plugin", "MY-Plugin", "other, my_plugin", "*"])
def test_a_disabled_plugin_is_not_even_imported(
    load: Callable[..., Plugins], write_plugin: Write, site: Path, spelling: str
) -> None:
    write_plugin(site, "my-plugin", f"open({str(site / 'trace')!r}, 'w').close()\n")
    plugin = named(load(spelling), "my-plugin")
    assert (plugin.status, plugin.reason) == ("disabled", "BIRDPLANE_DISABLE_PLUGINS")
    assert not (site / "trace").exists()
    assert load(spelling).trouble() == []


def test_birdplanes_own_plugin_cannot_be_disabled(load: Callable[..., Plugins]) -> None:
    assert named(load("*,builtin"), "builtin").status == "ok"


def test_two_distributions_that_want_one_name_are_told_apart(
    load: Callable[..., Plugins], write_plugin: Write, site: Path
) -> None:
    write_plugin(site, "same", GOOD, package="birdplane-one")
    write_plugin(site, "same", GOOD, package="birdplane-two")
    statuses = {plugin.package: (plugin.status, plugin.reason) for plugin in load().found}
    assert sorted(status for status, _ in statuses.values()) == ["broken", "ok", "ok"]
    (reason,) = (reason for status, reason in statuses.values() if status == "broken")
    assert reason in ("the name is taken by birdplane-one 1.2", "the name is taken by birdplane-two 1.2")


def test_a_foreign_distribution_cannot_take_the_name_of_birdplanes_own_plugin(
    load: Callable[..., Plugins], write_plugin: Write, site: Path
) -> None:
    write_plugin(site, "builtin", GOOD, package="impostor")
    impostor = next(plugin for plugin in load().found if plugin.package == "impostor")
    assert (impostor.status, impostor.is_builtin) == ("broken", False)


def test_a_plugin_that_brings_only_a_hook_is_ok(
    load: Callable[..., Plugins], write_plugin: Write, site: Path
) -> None:
    write_plugin(
        site, "tracker", "from birdplane import hookimpl\n@hookimpl\ndef birdplane_event(run, event): ...\n"
    )
    plugins = load()
    assert named(plugins, "tracker").hooks == ("birdplane_event",)
    assert [plugin.name for plugin in plugins.listening("birdplane_event")] == ["tracker"]
    assert plugins.listening("birdplane_commands") == []


def test_an_installed_distribution_is_found_and_a_broken_one_breaks_no_command(
    write_plugin: Write, site: Path, tmp_path: Path
) -> None:
    write_plugin(site, "looks", GOOD, package="birdplane-looks", version="2.0")
    write_plugin(site, "a-wreck", "raise SystemExit(3)")
    write_plugin(site, "off", "raise SystemExit(4)")
    program = (
        "import json\n"
        "from birdplane import transforms\n"
        "from birdplane.plugins import installed\n"
        "print(json.dumps([{p.name: p.status for p in installed().found}, transforms.names()]))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(site), "BIRDPLANE_DISABLE_PLUGINS": "off"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    statuses, names = json.loads(done.stdout)
    assert statuses == {"builtin": "ok", "looks": "ok", "a-wreck": "broken", "off": "disabled"}
    assert "looks/invert" in names
    assert "to-tensor" in names


def test_loading_every_installed_plugin_imports_neither_torch_nor_numpy() -> None:
    program = (
        "import sys\n"
        "from birdplane.plugins import installed\n"
        "assert installed().ok()\n"
        "print(*sorted({'torch', 'torchvision', 'numpy', 'pydantic', 'textual'} & sys.modules.keys()))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
