"""Bad input: one line that names the file and the key, the right exit code, and nothing half-written."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Birdplane = Callable[..., Any]
Register = Callable[..., None]

PIPELINE = """
[dataset]
use = "sketches"
train = 20
test = 10
size = 8
[[transforms]]
use = "to-tensor"
[model]
use = "fully-connected"
[loss]
use = "nll"
[optimizer]
use = "sgd"
lr = 0.1
[training]
device = "cpu"
epochs = 1
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(PIPELINE)
    return path


#: What stands in the file, what is put in its place, the key that is named, and words of the sentence.
WRONG = {
    "unknown component": (
        '"fully-connected"',
        '"fully-conected"',
        "model.use",
        "did you mean 'fully-connected'?",
    ),
    "unknown parameter": ("size = 8", "sise = 8", "dataset.sise", "did you mean 'size'?"),
    "ill-typed parameter": ("size = 8", 'size = "big"', "dataset.size", "should be an integer"),
    "out of bounds": ("size = 8", "size = 4", "dataset.size", "greater than or equal to 8"),
    "unknown section": ("[training]", "[trainig]", "trainig", "did you mean 'training'?"),
    "unknown training key": ("epochs = 1", "epoch = 1", "training.epoch", "did you mean 'epochs'?"),
    "missing section": ('[loss]\nuse = "nll"\n', "", "loss", "is missing"),
    "loss fed the wrong output": (
        "[loss]",
        '[output]\nuse = "none"\n[loss]',
        "output.use",
        "wants log-probabilities, but is fed logits (mend: --set output.use=auto)",
    ),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
@pytest.mark.parametrize("command", ["check", "train"])
def test_a_wrong_key_is_named(
    birdplane: Birdplane, file: Path, tmp_path: Path, command: str, wrong: tuple[str, str, str, str]
) -> None:
    before, after, key, words = wrong
    file.write_text(PIPELINE.replace(before, after))
    runs = ["--runs", tmp_path / "runs"] if command == "train" else []
    ran = birdplane(command, file, *runs)
    assert ran.code == 2
    (line,) = ran.err.splitlines()
    assert line.startswith(f"error: {file}: {key}: ")
    assert words in line
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("command", ["check", "train"])
def test_malformed_toml_is_named_with_its_line(
    birdplane: Birdplane, file: Path, tmp_path: Path, command: str
) -> None:
    file.write_text(PIPELINE.replace('use = "nll"', "use = nll"))
    ran = birdplane(command, file)
    assert ran.code == 2
    (line,) = ran.err.splitlines()
    assert line.startswith(f"error: {file}: not valid TOML: ")
    assert "line 12" in line


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("demmo", "did you mean 'demo'?"),
        ("nowhere.toml", "cannot be read: No such file"),
        (".", "Is a directory|neither a file"),
    ],
)
def test_a_pipeline_that_is_not_there(birdplane: Birdplane, argument: str, words: str) -> None:
    ran = birdplane("check", argument)
    assert ran.code == 2
    (line,) = ran.err.splitlines()
    assert any(word in line for word in words.split("|"))


#: Overrides, the key that is named, and words of the sentence.
MISFITS = {
    "no floats": (["transforms=[]"], "transforms", "uint8 pictures reach the model"),
    "twice": (
        ["transforms=['to-tensor', 'to-tensor']"],
        "transforms.1 (to-tensor)",
        "makes floats of uint8",
    ),
    "a device that is not there": (["training.device=tpu9"], "training.device", "'tpu9'"),
    "a device of another machine": (["training.device=cuda:99"], "training.device", "'cuda:99' is not there"),
}


@pytest.mark.parametrize("misfit", MISFITS.values(), ids=MISFITS.keys())
def test_what_does_not_fit_is_told_in_words(
    birdplane: Birdplane, file: Path, misfit: tuple[list[str], str, str]
) -> None:
    assignments, key, words = misfit
    ran = birdplane("check", file, *(word for text in assignments for word in ("--set", text)))
    assert ran.code == 2
    (line,) = ran.err.splitlines()
    assert line.startswith(f"error: {file}: {key}: ")
    assert words in line


def test_pictures_of_another_size_than_the_model_takes_are_told(
    birdplane: Birdplane, file: Path, register: Register
) -> None:
    import torch

    register("model", "only-32", lambda: torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 2)))
    ran = birdplane("check", file, "--set", "model=only-32")
    assert ran.code == 2
    (line,) = ran.err.splitlines()
    assert line.startswith(f"error: {file}: model: 'only-32' is given pictures (3, 8, 8)")


@pytest.mark.parametrize(
    "assignment", ["epochs=3", "training.epochs", "transforms.9.use=x", "model.hidden.first=3"]
)
def test_a_wrong_override_is_named(birdplane: Birdplane, file: Path, assignment: str) -> None:
    ran = birdplane("check", file, "--set", assignment)
    assert ran.code == 2
    (line,) = ran.err.splitlines()
    assert line.startswith(f"error: --set {assignment.partition('=')[0]}")


def test_debug_adds_the_traceback(birdplane: Birdplane) -> None:
    ran = birdplane("--debug", "show", "nothing-like-it")
    assert "Traceback" in ran.err
    assert ran.err.splitlines()[-1].startswith("error: nothing is called")


def test_a_reader_that_leaves_early_is_no_error() -> None:
    process = subprocess.run(
        f"{sys.executable} -m birdplane.cli list | head -n 1", shell=True, capture_output=True, text=True
    )
    assert "Traceback" not in process.stderr


class TestPlugins:
    """Plugins in distributions of their own, loaded from a folder on the path by the real entry points."""

    def _distribution(self, folder: Path, name: str, module: str) -> None:
        (folder / f"{name}_plugin.py").write_text(module)
        info = folder / f"birdplane_{name}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: birdplane-{name}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[birdplane]\n{name} = {name}_plugin\n")

    def _run(self, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        program = "from birdplane.cli import main; main()"
        return subprocess.run(
            [sys.executable, "-c", program, *arguments],
            env={**os.environ, "PYTHONPATH": str(folder)},
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def test_a_broken_one_breaks_nothing_and_is_mentioned_once(self, tmp_path: Path) -> None:
        self._distribution(tmp_path, "sad", "raise RuntimeError('no \\x1b[31mluck')")
        ran = self._run(tmp_path, "list", "loss")
        assert ran.returncode == 0
        assert "cross-entropy" in ran.stdout
        (line,) = ran.stderr.splitlines()
        assert line.startswith("warning: the plugin 'sad' of birdplane-sad 1.2 is broken: RuntimeError: no ")
        assert "\x1b" not in line
        listed = self._run(tmp_path, "list-plugins")
        assert "RuntimeError: no" in listed.stdout
        assert listed.stderr == ""

    def test_one_that_is_disabled_on_the_command_line_is_not_imported(self, tmp_path: Path) -> None:
        self._distribution(tmp_path, "sad", "raise RuntimeError('imported')")
        ran = self._run(tmp_path, "--disable-plugin", "sad", "list-plugins")
        assert "disabled" in ran.stdout
        assert "imported" not in ran.stdout + ran.stderr

    def test_its_commands_and_components_are_there(self, tmp_path: Path) -> None:
        module = """
from birdplane import Loss, hookimpl

@hookimpl
def birdplane_components():
    return [Loss(name="glad", target=lambda: None, summary="one\\nline \\x1b[1m")]

@hookimpl
def birdplane_commands(app):
    @app.command()
    def hello():
        print("hello")
"""
        self._distribution(tmp_path, "glad", module)
        assert self._run(tmp_path, "hello").stdout == "hello\n"
        listed = self._run(tmp_path, "list", "loss").stdout
        (line,) = [line for line in listed.splitlines() if line.startswith("glad/glad")]
        assert "birdplane-glad 1.2" in line
        assert "\x1b" not in line
        assert "1 loss, adds commands" in self._run(tmp_path, "list-plugins").stdout
