"""The README and the pages: every example is run, and nothing that there is goes without being told."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import re
import sys
import tomllib
import types
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pluggy
import pytest

from birdplane import hookspecs
from birdplane.pipeline import SECTIONS, training_signature
from birdplane.tui.app import SCREENS
from birdplane.tui.settings import Settings

_ROOT = Path(__file__).parents[1]
_ASSETS = _ROOT / "docs" / "assets"


def _loaded(name: str) -> ModuleType:
    """Import a module of `docs/`, which is no package."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", _ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


examples = _loaded("examples")
hooks = _loaded("hooks")
#: Those that need the demo come last: it is trained while the others' examples are run.
PAGES = [
    pytest.param(page, id=page.name)
    for page in sorted(examples.PAGES, key=lambda page: "demo-1" in page.read_text(encoding="utf-8"))
]
#: Examples that are shown only, by the reason that the page gives.
NOT_RUN = {
    "it is what the tests stand on": 1,
    "downloads 170 MB": 1,
    "it fills the terminal": 2,
}


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Future[tuple[Path, list[str]]]]:
    """The run `demo-1` and what its training printed, once it is trained; it is begun when first asked for."""
    with ThreadPoolExecutor(1) as thread:
        yield thread.submit(examples.train_demo, tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="session")
def archive(request: pytest.FixtureRequest) -> Path | None:
    """An archive in CIFAR-10's layout; None where the real pictures are absent."""
    try:
        path, _ = request.getfixturevalue("cifar2_archive")
    except pytest.skip.Exception:
        return None
    return Path(path)


@pytest.fixture(scope="session")
def built() -> dict[str, str]:
    """The text of each page with its generated parts."""
    return {page.name: hooks.on_page_markdown(page.read_text(encoding="utf-8")) for page in examples.PAGES}


@pytest.mark.parametrize("page", PAGES)
def test_the_examples_of_a_page_do_what_it_shows(
    page: Path, tmp_path: Path, demo: Future[tuple[Path, list[str]]], archive: Path | None
) -> None:
    trained = demo.result() if "demo-1" in page.read_text(encoding="utf-8") else None
    outcomes = list(examples.run_page(page, examples.Place(tmp_path, archive), trained))
    assert not [str(outcome) for outcome in outcomes if outcome.trouble]


def test_few_examples_are_shown_only() -> None:
    reasons = [block.not_run for page in examples.PAGES for block in _blocks(page) if block.not_run]
    assert {reason: reasons.count(reason) for reason in reasons} == NOT_RUN


def _blocks(page: Path) -> list[examples.Block]:  # type: ignore[name-defined]
    return examples.blocks(page.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


@pytest.mark.parametrize("page", PAGES)
def test_pipelines_and_parts_of_them_have_no_problem(page: Path, built: dict[str, str]) -> None:
    found = [block for block in examples.blocks(built[page.name]) if block.language == "toml"]
    own = [block for block in found if "/" not in str(tomllib.loads(block.text))]
    assert {block.text: examples.fragment_problems(block) for block in own} == {
        block.text: [] for block in own
    }


def test_every_command_has_an_example() -> None:
    typed = [
        line
        for page in examples.PAGES
        for block in _blocks(page)
        for line in block.lines
        if block.language in ("console", "bash")
    ]
    shown = {word for line in typed for word in re.findall(r"birdplane (?:--\S+ \S+ )?([a-z-]+)", line)}
    there = {name for name, command in hooks.command_line().commands.items() if not command.hidden}
    assert there - shown == set()


def test_every_command_and_option_is_told(built: dict[str, str]) -> None:
    page = built["commands.md"]
    for name, command in hooks.command_line().commands.items():
        options = [flag for parameter in command.params for flag in parameter.opts if flag.startswith("--")]
        assert f"\n## {name}\n" in page
        assert [flag for flag in options if f"`{flag}" not in page and flag != "--help"] == []


def test_every_section_and_key_of_a_pipeline_is_told(built: dict[str, str]) -> None:
    page = built["pipeline.md"]
    assert [section for section in SECTIONS if f"[{section}]" not in page] == []
    assert [key for key in training_signature().parameters if f"| `{key}` |" not in page] == []


def test_every_component_is_told(built: dict[str, str]) -> None:
    page = built["components.md"] + built["pipeline.md"]
    assert [
        entry.name for registry in hooks.CATALOG for entry in registry if f"`{entry.name}`" not in page
    ] == []


def test_every_hook_is_told_with_an_example_that_is_a_plugin(built: dict[str, str]) -> None:
    names = [name for name in vars(hookspecs) if name.startswith("birdplane_")]
    assert [name for name in names if f"### `{name}(" not in built["plugins.md"]] == []
    for name in names:
        _, code = hooks._docstring(getattr(hookspecs, name))
        module = types.ModuleType("example")
        exec(code, vars(module))
        manager = pluggy.PluginManager("birdplane")
        manager.add_hookspecs(hookspecs)
        manager.register(module)
        manager.check_pending()
        assert [caller.name for caller in manager.get_hookcallers(module) or ()] == [name]


def test_every_screen_and_each_of_its_keys_is_told_beside_its_picture(built: dict[str, str]) -> None:
    page = built["cockpit.md"]
    for name in SCREENS:
        section = page[page.index(f"\n## {name.capitalize()}\n") :].partition("\n\n## ")[0]
        assert f"](assets/screens/{name}.svg)" in section
        assert (_ASSETS / "screens" / f"{name}.svg").is_file()
        screen = getattr(importlib.import_module(f"birdplane.tui.{name}"), f"{name.capitalize()}Screen")
        ids = [binding.id for binding in screen.BINDINGS if binding.id]
        assert [key for key in ids if f"`{key}`" not in section] == []


def test_what_can_be_set_of_the_cockpit_is_told(built: dict[str, str]) -> None:
    names = inspect.signature(Settings).parameters
    assert [name for name in names if f"| `{name}` |" not in built["cockpit.md"]] == []


# The pictures.


def test_the_picture_is_of_what_the_demo_prints(demo: Future[tuple[Path, list[str]]]) -> None:
    picture = (_ASSETS / "train.svg").read_text(encoding="utf-8")
    story = examples.masked(re.search("<title>(.*?)</title>", picture, re.DOTALL)[1])  # type: ignore[index]
    lines = [examples.masked(line) for line in demo.result()[1]]
    assert [line for line in lines if line not in story and not line.startswith("! ")] == []


@pytest.mark.parametrize("picture", sorted(_ASSETS.rglob("*.svg")), ids=lambda path: path.stem)
def test_a_picture_is_small_and_needs_nothing_from_elsewhere(picture: Path) -> None:
    text = picture.read_text(encoding="utf-8")
    assert re.findall(r"https?://[^\"' )]+|@import|url\(", text) == ["http://www.w3.org/2000/svg"]
    assert re.findall(r"href=\"(?!data:)[^\"]*", text) == []
    assert len(text) < 100_000


# Architecture.


def _modules() -> list[str]:
    text = (_ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = text[text.index("## Modules") :].partition("\n## ")[0]
    return re.findall(r"^\| `([a-z_]+)` \|", table, re.MULTILINE)


def test_the_list_of_modules_is_whole() -> None:
    core = _ROOT / "src" / "birdplane"
    there = {path.stem for path in core.glob("*.py")} | {
        path.parent.name for path in core.glob("*/__init__.py")
    }
    assert set(_modules()) == there - {"__init__", "__main__"}


@pytest.mark.parametrize("module", _modules())
def test_a_module_imports_only_from_those_above_it_in_the_list(module: str) -> None:
    order = _modules()
    below = set(order[order.index(module) + 1 :])
    core = _ROOT / "src" / "birdplane"
    files = (
        [core / f"{module}.py"]
        if (core / f"{module}.py").is_file()
        else sorted((core / module).rglob("*.py"))
    )
    found = {(file.name, name) for file in files for name in _imports(file) if name in below}
    assert found == set()


def _imports(file: Path) -> Iterator[str]:
    """Yield the modules of birdplane that a file imports, wherever in it, but not for type checkers alone."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for_checkers = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node not in for_checkers:
            package, _, rest = (node.module or "").partition(".")
            if package == "birdplane":
                yield from [rest.partition(".")[0]] if rest else [alias.name for alias in node.names]


# Style.


@pytest.mark.parametrize("page", PAGES)
def test_a_page_names_no_machine_and_no_registry(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"/work/|/home/|/root/|/tmp/|pypi\.|files\.pythonhosted|conda\.", text) == []


def test_an_example_that_prints_something_else_is_found() -> None:
    shown = ["epoch  loss", "1  0.5", "...", "done after 3 s"]
    assert examples.difference(shown, ["epoch loss", "1  0.7", "2  0.6", "done after 1:03 min"]) == ""
    assert "shown: 'done after TIME'" in examples.difference(shown, ["epoch loss", "1  0.7", "stopped"])
    assert "not shown: 'more'" in examples.difference(
        shown, ["epoch loss", "1  0.7", "done after 3 s", "more"]
    )


def test_the_reader_of_examples_reads_comments_titles_and_continued_commands() -> None:
    page = inspect.cleandoc(
        """
        <!-- given: a.jpg, b/ -->
        ```console
        $ one \\
        >   two
        shown
        ```

        ```toml title="x.toml"
        seed = 1
        ```
        """
    )
    console, toml = examples.blocks(page)
    assert examples.commands(console) == [examples.Command("one two", ("shown",), 2)]
    assert (console.given, toml.title, toml.text) == (("a.jpg", "b/"), "x.toml", "seed = 1\n")
