"""new-plugin: what it writes, that it works at once, and what it refuses."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import os
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from birdplane import scaffold
from birdplane.pipeline import Pipeline
from birdplane.plugins import GROUP, Plugins, load_plugins
from birdplane.registry import Catalog
from birdplane.testing import checks, outcomes
from birdplane.training import train
from birdplane.tui.picker import items_of
from birdplane.tui.values import kind_of

Birdplane = Callable[..., Any]
PARTS = {"dataset": "stripes", "transform": "dim", "model": "small", "loss": "brier"}
#: Checks that start processes, which find what is installed and not what is on the path of this one alone.
OTHER_PROCESSES = ("survives-spawn", "imports-no-torch")


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A new plugin's package."""
    return scaffold.write_plugin("pretty-lines", tmp_path, "0.1.0")


@pytest.fixture
def loaded(written: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plugins]:
    """birdplane's own plugin and the new one, which is on the path of this process."""
    about = tomllib.loads((written / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    monkeypatch.syspath_prepend(written / "src")
    points = [point for point in importlib.metadata.entry_points(group=GROUP) if point.name == "builtin"]
    points += [
        importlib.metadata.EntryPoint(name, value, GROUP)
        for name, value in about["entry-points"]["birdplane"].items()
    ]
    yield load_plugins(entry_points=lambda: points)
    for name in [name for name in sys.modules if name.partition(".")[0] == "birdplane_pretty_lines"]:
        del sys.modules[name]


def inside(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def lines(file: Path) -> int:
    """Count a file's lines of code: without imports, comments, docstrings and empty lines."""
    text = file.read_text(encoding="utf-8")
    tree = ast.parse(text)
    told = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    told += [
        node for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    ]  # type: ignore[misc]
    left_out = {line for node in told for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)}
    silent = (
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    )
    with file.open("rb") as stream:
        spoken = {t.start[0] for t in tokenize.tokenize(stream.readline) if t.type not in silent and t.string}
    return len(spoken - left_out - {0})


class TestWhatItWrites:
    def test_it_is_little_to_understand(self, written: Path) -> None:
        module = written / "src" / "birdplane_pretty_lines"
        assert sum(map(lines, sorted(module.glob("*.py")))) < 30

    def test_it_brings_one_part_of_each_kind_that_is_asked_for(self, loaded: Plugins) -> None:
        listed = Catalog(lambda: loaded)
        assert [
            kind for kind, name in PARTS.items() if f"pretty-lines/{name}" not in listed[kind].names()
        ] == []

    def test_the_cockpit_offers_its_parts_with_a_field_for_each_parameter(self, loaded: Plugins) -> None:
        listed = Catalog(lambda: loaded)
        fields = {}
        for kind, name in PARTS.items():
            assert f"pretty-lines/{name}" in [item.name for item in items_of(listed[kind])]
            for parameter in listed[kind].signature(f"pretty-lines/{name}").parameters.values():
                fields[f"{name}.{parameter.name}"] = kind_of(parameter)
        assert fields == {"stripes.count": "integer", "dim.most": "number", "small.width": "integer"}

    def test_its_parts_keep_to_the_contract(self, loaded: Plugins) -> None:
        found = [c for c in checks("pretty-lines", plugins=loaded) if c.name not in OTHER_PROCESSES]
        ended = list(outcomes(found))
        assert [(one.check.id, one.reason) for one in ended if one.status == "failed"] == []
        told = {f"{kind}:pretty-lines/{name}" for kind, name in PARTS.items()}
        assert told < {one.check.subject for one in ended if one.status == "passed"}

    def test_its_example_learns(self, written: Path, loaded: Plugins) -> None:
        text = (written / "example.toml").read_text(encoding="utf-8")
        pipeline = Pipeline.from_toml(text, "example.toml", Catalog(lambda: loaded)).override(
            ["training.device=cpu"]
        )
        accuracies = [event.validation_accuracy for event in train(pipeline) if event.event == "epoch"]
        assert max(accuracies) > 0.8

    def test_its_program_is_in_the_style_of_birdplanes_own(self, tmp_path: Path) -> None:
        scaffold.write_plugin("moons", tmp_path, "0.1.0")
        configuration = str(Path(__file__).parents[2] / "pyproject.toml")
        for arguments in (["check"], ["format", "--check", "--line-length", "118"]):
            command = [sys.executable, "-m", "ruff", *arguments, "--config", configuration, str(tmp_path)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, done.stdout + done.stderr

    def test_it_leaves_no_mark_of_the_template(self, written: Path) -> None:
        files = [path for path in written.rglob("*") if path.is_file()]
        assert [
            path for path in files if "{{" in path.read_text(encoding="utf-8") or "NAME" in str(path)
        ] == []


class TestWhatItSays:
    def test_it_names_the_files_and_the_three_commands_to_do_next(
        self, birdplane: Birdplane, tmp_path: Path
    ) -> None:
        out = birdplane("new-plugin", "moons", "--into", tmp_path).out
        folder = tmp_path / "birdplane-moons"
        for file in (path for path in folder.rglob("*") if path.is_file()):
            assert f"    {file.relative_to(folder).as_posix()}\n" in out
        assert [line.strip() for line in out.partition("Next:")[2].splitlines() if line] == [
            f"pip install --editable {folder}",
            "birdplane check-plugin moons",
            f"birdplane train {folder / 'example.toml'}",
        ]

    def test_json_says_the_same(self, birdplane: Birdplane, tmp_path: Path) -> None:
        told = birdplane("new-plugin", "moons", "--into", tmp_path, "--json").json
        assert told["folder"] == str(tmp_path / "birdplane-moons")
        assert "src/birdplane_moons/parts.py" in told["files"]
        assert len(told["next"]) == 3

    def test_it_is_written_into_the_current_folder(
        self, birdplane: Birdplane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert "pip install --editable birdplane-moons\n" in birdplane("new-plugin", "moons").out
        assert inside(tmp_path) == ["birdplane-moons"]


class TestWhatItRefuses:
    @pytest.mark.parametrize(
        ("name", "legal"),
        [
            ("Moons", "moons"),
            ("full_moons", "full-moons"),
            ("full moons", "full-moons"),
            ("Mönde", "monde"),
            ("2moons", "moons"),
            ("moons-", "moons"),
            ("a/b", "a-b"),
            ("birdplane_moons", "moons"),
            ("birdplane-moons", "moons"),
            ("m" * 60, "m" * 40),
        ],
    )
    def test_a_bad_name_is_answered_with_the_nearest_legal_one(
        self, birdplane: Birdplane, tmp_path: Path, name: str, legal: str
    ) -> None:
        ran = birdplane("new-plugin", name, "--into", tmp_path)
        assert (ran.code, ran.err.count("\n"), inside(tmp_path)) == (2, 1, [])
        assert f"did you mean {legal!r}?" in ran.err

    @pytest.mark.parametrize("name", ["", "7", "月", "../..", "\n"])
    def test_a_name_of_which_nothing_remains_is_told_what_is_allowed(
        self, birdplane: Birdplane, tmp_path: Path, name: str
    ) -> None:
        ran = birdplane("new-plugin", name, "--into", tmp_path)
        assert (ran.code, ran.err.count("\n"), inside(tmp_path)) == (2, 1, [])
        assert "lower-case words" in ran.err
        assert "did you mean" not in ran.err

    @pytest.mark.parametrize("name", scaffold.RESERVED)
    def test_a_name_of_birdplanes_own_is_refused(
        self, birdplane: Birdplane, tmp_path: Path, name: str
    ) -> None:
        ran = birdplane("new-plugin", name, "--into", tmp_path)
        assert (ran.code, inside(tmp_path)) == (2, [])
        assert "it is one of birdplane's own" in ran.err

    def test_the_name_of_an_installed_plugin_is_refused_even_where_that_is_disabled(
        self,
        birdplane: Birdplane,
        tmp_path: Path,
        write_plugin: Callable[..., Path],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.syspath_prepend(write_plugin(tmp_path / "site", "Full_Moons", "", package="lunar"))
        ran = birdplane("new-plugin", "full-moons", "--into", tmp_path)
        assert ran.code == 2
        assert "lunar 1.2 is installed and brings a plugin of that name" in ran.err

    def test_a_module_that_is_there_is_not_shadowed(
        self, birdplane: Birdplane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "birdplane_moons.py").touch()
        monkeypatch.syspath_prepend(tmp_path)
        assert "there is a module 'birdplane_moons' already" in birdplane("new-plugin", "moons").err

    @pytest.mark.parametrize("there", ["folder", "empty", "file", "link"])
    def test_what_is_there_is_left_alone(self, birdplane: Birdplane, tmp_path: Path, there: str) -> None:
        target = tmp_path / "birdplane-moons"
        if there == "file":
            target.write_text("mine")
        elif there == "link":
            target.symlink_to(tmp_path / "nowhere")
        else:
            target.mkdir()
            if there == "folder":
                (target / "pyproject.toml").write_text("mine")
        before = sorted(path.name for path in tmp_path.rglob("*"))
        ran = birdplane("new-plugin", "moons", "--into", tmp_path)
        assert (ran.code, ran.err.count("\n")) == (2, 1)
        assert "is there already; nothing is overwritten" in ran.err
        assert sorted(path.name for path in tmp_path.rglob("*")) == before

    @pytest.mark.parametrize("into", ["nowhere", "file"])
    def test_a_folder_that_is_none_is_named(self, birdplane: Birdplane, tmp_path: Path, into: str) -> None:
        (tmp_path / "file").touch()
        ran = birdplane("new-plugin", "moons", "--into", tmp_path / into)
        assert ran.code == 2
        assert f"there is no folder {str(tmp_path / into)!r}" in ran.err

    @pytest.mark.skipif(
        not Path("/proc/self").is_dir(), reason="there is no folder here in which nobody can write"
    )
    def test_a_folder_that_cannot_be_written_is_named(self, birdplane: Birdplane) -> None:
        ran = birdplane("new-plugin", "moons", "--into", "/proc/self")
        assert (ran.code, ran.err.count("\n")) == (1, 1)
        assert "cannot write '/proc/self/birdplane-moons'" in ran.err

    def test_a_disk_that_is_full_halfway_leaves_nothing(self, tmp_path: Path) -> None:
        program = (
            "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600));"
            "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
            "sys.argv = ['birdplane', 'new-plugin', 'moons']; from birdplane.cli import main; main()"
        )
        pytest.importorskip("resource")
        done = subprocess.run(
            [sys.executable, "-B", "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert "cannot write 'birdplane-moons'" in done.stderr
        assert inside(tmp_path) == []


@pytest.mark.long
def test_it_installs_passes_its_tests_and_the_checks_and_trains(environment: Path, tmp_path: Path) -> None:
    def run(*command: str) -> str:
        path = f"{environment}{os.pathsep}{os.environ.get('PATH', '')}"
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    wanted = json.loads(run("birdplane", "new-plugin", "moons", "--json"))
    for command in wanted["next"]:
        run(*command)
    listed = json.loads(run("birdplane", "list", "moons/*", "--json"))
    assert {entry["kind"]: entry["name"] for entry in listed} == {
        kind: f"moons/{name}" for kind, name in PARTS.items()
    }
    for name in PARTS.values():
        assert f"moons/{name}" in run("birdplane", "show", f"moons/{name}")
    assert " passed" in run("python", "-m", "pytest", "--quiet", "birdplane-moons")
