"""The README and the pages: every example is run, and nothing that there is goes without being told."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from mkdocs.exceptions import PluginError

from birdplane import hookspecs
from birdplane.pipeline import SECTIONS, training_signature
from birdplane.tui.app import SCREENS
from birdplane.tui.settings import Settings

_ROOT = Path(__file__).parents[1]
_ASSETS = _ROOT / "docs" / "assets"


def _loaded(name: str) -> ModuleType:
    """Import a module of `docs/`, which is no package; these import one another by their bare names."""
    sys.path.insert(0, str(_ROOT / "docs"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(_ROOT / "docs"))


examples = _loaded("examples")
hooks = _loaded("hooks")
outputs = _loaded("outputs")
#: Those that need the demo come last: it is trained while the others' examples are run.
PAGES = [
    pytest.param(page, id=page.name)
    for page in sorted(examples.PAGES, key=lambda page: "demo-1" in page.read_text(encoding="utf-8"))
]
#: Pages that are carried out by a test of their own, `test_write_a_plugin.py`.
ELSEWHERE = ("write-a-plugin.md",)
#: The sections of the book's chapter 7: each is walked through.
CHAPTER = ["7.1.1", "7.1.2", "7.1.3", "7.1.4", *(f"7.2.{number}" for number in range(1, 8))]
#: Pages whose examples take many seconds: `make test-examples` runs these, the README's are run every day.
LONG = (
    *("chapter-7.md", "commands.md", "compare.md", "conformance.md", "eject.md", "export.md", "pipeline.md"),
    *("plugins.md", "python.md", "results.md", "several-processes.md", "understand.md"),
)
RUN = [
    pytest.param(*page.values, id=page.id, marks=[pytest.mark.long] if page.id in LONG else [])
    for page in PAGES
    if page.id not in ELSEWHERE
]
HOOKS = [name for name in vars(hookspecs) if name.startswith("birdplane_")]
#: By which arguments of Python the example of a hook shows what it does, and what it prints then.
AT_WORK = {
    "birdplane_components": (
        ["-c", "from birdplane import transforms; print(transforms.create('example/invert')(0.25))"],
        r"^0\.75$",
    ),
    "birdplane_event": (["-m", "birdplane", "train", "tiny.toml", "--plain"], r"^3 [01]\.\d+$"),
    "birdplane_commands": (["-m", "birdplane", "hello"], r"^hello$"),
}
#: Examples that are shown only, by the reason that the page gives.
NOT_RUN = {
    "it is what the tests stand on": 1,
    "the tracker is not installed": 3,
    "the zoo is not installed": 4,
    "downloads 170 MB": 4,
    "it fills the terminal": 3,
    "it publishes": 1,
    "it trains for minutes": 1,
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


@pytest.mark.parametrize("page", RUN)
def test_the_examples_of_a_page_do_what_it_shows(
    page: Path, tmp_path: Path, demo: Future[tuple[Path, list[str]]], archive: Path | None
) -> None:
    if outputs.made(page):
        outcomes = outputs.outcomes(page)  # run when the pages were built, and once
    else:
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


def test_every_hook_is_told_with_its_signature_and_an_example(built: dict[str, str]) -> None:
    page = built["hooks.md"]
    for name in HOOKS:
        section = page[page.index(f"\n## `{name}(") :].partition("\n\n## ")[0]
        declared, example = re.findall(r"^```python\n(.*?)\n```$", section, re.MULTILINE | re.DOTALL)
        assert _arguments(declared) == list(inspect.signature(getattr(hookspecs, name)).parameters)
        assert "->" in declared
        assert f"@hookimpl\ndef {name}(" in example
    assert [name for name in HOOKS if f"## `{name}(" in built["plugins.md"]] == []


def _arguments(declaration: str) -> list[str]:
    (function,) = ast.parse(declaration).body
    assert isinstance(function, ast.FunctionDef)
    assert [argument.arg for argument in function.args.args if argument.annotation is None] == []
    return [argument.arg for argument in function.args.args]


@pytest.mark.parametrize("hook", HOOKS)
def test_the_example_of_a_hook_is_a_plugin_that_works(
    hook: str, tmp_path: Path, tiny_file: Path, write_plugin: Callable[..., Path]
) -> None:
    _, example = hooks._docstring(getattr(hookspecs, hook))
    installed = write_plugin(tmp_path / "installed", "example", example)
    arguments, expected = AT_WORK[hook]
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=tiny_file.parent,
        env={**examples.Place(tmp_path).environment, "PYTHONPATH": str(installed)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout
    assert re.search(expected, done.stdout, re.MULTILINE), done.stdout


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


# The chapter, and its translation.


@pytest.mark.parametrize("page", ["chapter-7.md", "ko/chapter-7.md"])
def test_every_section_of_the_chapter_is_walked_through_in_order(page: str) -> None:
    text = (_ROOT / "docs" / page).read_text(encoding="utf-8")
    parts = re.split(r"^## ", text, flags=re.MULTILINE)
    sections = {part.partition(" ")[0]: part for part in parts if part.startswith("7.")}
    assert list(sections) == CHAPTER
    assert [name for name, part in sections.items() if "```" not in part] == []
    assert outputs.made(_ROOT / "docs" / page)


def test_a_translated_page_shows_the_same_examples_and_figures() -> None:
    page, translation = (_ROOT / "docs" / name for name in ("chapter-7.md", "ko/chapter-7.md"))
    assert [_without_place(block) for block in _blocks(page)] == [
        _without_place(block) for block in _blocks(translation)
    ]
    assert _figures(page) == _figures(translation)
    known = [block.text for block in _blocks(_ROOT / "README.md")]
    assert [b.text for b in _blocks(_ROOT / "docs" / "ko" / "index.md") if b.text not in known] == []


def _without_place(block: examples.Block) -> examples.Block:  # type: ignore[name-defined]
    return dataclasses.replace(block, line=0)


def _figures(page: Path) -> list[str]:
    """Return the figures that a page's tables tell, in order."""
    rows = re.findall(r"^\|.*\|$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return re.findall(r"\d+(?:[.,]\d+)*", " ".join(rows))


def test_a_page_and_its_translation_lead_to_each_other() -> None:
    for page in (_ROOT / "docs" / "ko").glob("*.md"):
        assert f"](../{page.name}" in page.read_text(encoding="utf-8")
        assert f"](ko/{page.name}" in (_ROOT / "docs" / page.name).read_text(encoding="utf-8")


# Pages whose outputs are made when they are built.


@pytest.fixture
def write_page(tmp_path: Path) -> Callable[..., Path]:
    """A function from a console block to a page of it alone; what it does is noted in `done`."""

    def write(console: str, prose: str = "") -> Path:
        page = tmp_path / "page.md"
        console = console.replace("NOTE", f"echo done >> {tmp_path / 'done'}")
        page.write_text(f"{outputs.MARK}\n{prose}\n```console\n{console}\n```\n", encoding="utf-8")
        return page

    return write


def test_the_examples_of_a_page_are_run_once_for_all_who_show_them(
    write_page: Callable[..., Path], tmp_path: Path
) -> None:
    page = write_page("$ NOTE; echo 1 s")
    assert outputs.filled(page, tmp_path / "kept").endswith("\n1 s\n```\n")
    page = write_page("$ NOTE; echo 1 s\n2 s", prose="한국어")
    assert outputs.filled(page, tmp_path / "kept").endswith("\n1 s\n```\n")
    assert (tmp_path / "done").read_text().split() == ["done"]
    outputs.filled(write_page("$ NOTE; echo 1 min"), tmp_path / "kept")
    assert (tmp_path / "done").read_text().split() == ["done", "done"]


def test_what_a_page_leaves_out_stays_out_when_its_outputs_are_made(
    write_page: Callable[..., Path], tmp_path: Path
) -> None:
    page = write_page("$ printf 'epochs\\n1 0.5\\n2 0.4\\n3 0.3\\nend\\n'\n...\n3 0.9\n...")
    assert outputs.filled(page, tmp_path / "kept").endswith("\n...\n3 0.3\n...\n```\n")


@pytest.mark.parametrize("console", ["$ NOTE; false\nshown", "$ NOTE; echo other\nshown\n..."])
def test_a_page_whose_example_fails_is_not_built(
    console: str, write_page: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = write_page(console)
    monkeypatch.setattr(outputs, "KEPT", tmp_path / "kept")
    with pytest.raises(PluginError, match=r"page\.md:3: echo done"):
        hooks.on_page_read_source(page=SimpleNamespace(file=SimpleNamespace(abs_src_path=str(page))))


def test_a_failure_is_not_kept(write_page: Callable[..., Path], tmp_path: Path) -> None:
    page = write_page("$ NOTE; false")
    for _ in range(2):
        (outcome,) = outputs.outcomes(page, tmp_path / "kept")
        assert outcome.trouble == "exit status 1"
    assert (tmp_path / "done").read_text().split() == ["done", "done"]


# Style.


@pytest.mark.parametrize(
    "page", [*PAGES, *(pytest.param(page, id=f"ko/{page.name}") for page in outputs.TRANSLATIONS)]
)
def test_a_page_names_no_machine_and_no_registry(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"/work/|/home/|/root/|/tmp/|pypi\.|files\.pythonhosted|conda\.", text) == []


def test_an_example_that_prints_something_else_is_found() -> None:
    shown = ["epoch  loss", "1  0.5", "...", "done after 3 s"]
    assert examples.difference(shown, ["epoch loss", "1  0.7", "2  0.6", "done after 1:03 min"]) == ""
    assert "shown: 'done after TIME'" in examples.difference(shown, ["epoch loss", "1  0.7", "stopped"])
    assert examples.difference(["tensor([1., 0.])"], ["tensor([1.0000, 0.0001])"]) == ""
    assert "not shown: 'more'" in examples.difference(
        shown, ["epoch loss", "1  0.7", "done after 3 s", "more"]
    )


def test_commands_and_python_blocks_take_turns_as_on_the_page(tmp_path: Path) -> None:
    page = """
```python
open("count", "w").write(str(one := 1))
print("unfinished", end="")
```

```console
$ cat count
```

```python
print(one + 1)
raise SystemExit("enough")
```

```python
print("not reached")
```
"""
    printed = list(examples.run(page, examples.Place(tmp_path)))
    assert [(one.block, one.lines, one.status) for one in printed] == [
        (0, ("unfinished",), 0),
        (1, ("1",), 0),
        (2, ("2", "enough"), 1),
    ]


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
