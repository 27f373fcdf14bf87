"""Files that run code when they are read as others read them: here none does, and an audit hook is the witness."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from birdplane.checkpoint.manifest import manifest_of
from birdplane.events import End, from_json
from birdplane.plugins import DISABLE_VARIABLE
from birdplane.runs import Run

#: What the payloads would leave behind, in the folder that the commands run in.
CANARY = "it-ran"


class _Harm:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.system, (f"touch {CANARY}",)


def _saved_by_torch() -> bytes:
    out = io.BytesIO()
    torch.save({"weight": torch.zeros(3), "harm": _Harm()}, out)
    return out.getvalue()


def _array(many: bool) -> bytes:
    out, objects = io.BytesIO(), np.array([_Harm()], dtype=object)
    if many:
        np.savez(out, images=objects, labels=objects)
    else:
        np.save(out, objects, allow_pickle=True)
    return out.getvalue()


def _lying_safetensors() -> bytes:
    header = {
        "__metadata__": {"format": "pt", "pickle": base64.b64encode(pickle.dumps(_Harm())).decode()},
        "weight": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]},
    }
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + pickle.dumps(_Harm())


_SOURCE = f'import os\n\nos.system("touch {CANARY}")\n__import__("os").system("touch {CANARY}")\n'

PAYLOADS: dict[str, Callable[[], bytes]] = {
    **{f"pickle {n}": lambda n=n: pickle.dumps(_Harm(), protocol=n) for n in range(6)},  # type: ignore[misc]
    "torch": _saved_by_torch,
    "npy": lambda: _array(many=False),
    "npz": lambda: _array(many=True),
    "joblib": lambda: zlib.compress(pickle.dumps(_Harm())),
    "safetensors": _lying_safetensors,
    "safetensors of endless header": lambda: struct.pack("<Q", (1 << 63) - 1) + b'{"a":' * 1000,
    "json": lambda: json.dumps(
        {"py/reduce": [{"py/function": "os.system"}, {"py/tuple": [f"touch {CANARY}"]}],
         "pickle": base64.b64encode(pickle.dumps(_Harm())).decode()}
    ).encode(),
    "json of brackets": lambda: b"[" * 100_000,
    "python": lambda: _SOURCE.encode(),
    "toml": lambda: (
        f'use = "!!python/object/apply:os.system [touch {CANARY}]"\n[model]\nuse = "os:system"\n'.encode()
    ),
    "yaml": lambda: f'!!python/object/apply:os.system ["touch {CANARY}"]\n'.encode(),
}  # fmt: skip
#: Those that harm whoever reads them with the usual loader, and that loader.
LOADERS = {
    **{f"pickle {n}": "import pickle; pickle.load(open(sys.argv[1], 'rb'))" for n in range(6)},
    "torch": "import torch; torch.load(sys.argv[1], weights_only=False)",
    "npy": "import numpy; numpy.load(sys.argv[1], allow_pickle=True)",
    "npz": "import numpy; numpy.load(sys.argv[1], allow_pickle=True)['images']",
    "joblib": "import pickle, zlib; pickle.loads(zlib.decompress(open(sys.argv[1], 'rb').read()))",
    "python": "import runpy; runpy.run_path(sys.argv[1])",
}

#: Installs the hook, and tells of what it saw: what a payload would do, and code or modules from its folder.
WITNESS = """
import json, os, sys
seen, here = [], os.path.realpath(sys.argv[2])
ALWAYS = ("pickle.find_class", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "pty.spawn",
          "subprocess.Popen", "ctypes.dlopen", "marshal.loads", "marshal.load", "code.__new__")
watching = False
def hook(event, arguments):
    if not watching:
        return
    if event in ALWAYS and (event not in ("marshal.loads", "ctypes.dlopen", "code.__new__")):
        seen.append(f"{event} {arguments!r:.200}")
    elif event == "import" and any(str(part).startswith(here) for part in arguments[1:2] if part):
        seen.append(f"import {arguments!r:.200}")
    elif event == "exec" and str(getattr(arguments[0], "co_filename", "")).startswith(here):
        seen.append(f"exec {arguments!r:.200}")
    elif event == "compile" and str(arguments[1] or "").startswith(here):
        seen.append(f"compile {arguments!r:.200}")
sys.addaudithook(hook)
"""

#: Runs commands in one process, each as the console script does, in a folder where the canary would be.
DRIVER = (
    WITNESS
    + """
import contextlib, io
from birdplane import eventlog, runs
from birdplane.cli import main
import birdplane.training, birdplane.inspection  # what they import by themselves is not what is watched
from birdplane.plugins import installed
from birdplane.tui import settings
installed()

def settings_of(path):
    from pathlib import Path
    settings.load(Path(path))

def requests_of(path):
    from pathlib import Path
    run = runs.Run(Path(path))
    runs.Requests(run.path / "control.jsonl", 0).poll()
    run.holder(); run.status(); list(run.events()); run.history().poll(); run.summary()

FUNCTIONS = {"settings": settings_of, "reading": requests_of}
for line in open(sys.argv[1]):
    job = json.loads(line)
    os.chdir(job["folder"])
    os.environ["BIRDPLANE_CACHE"] = job["cache"]
    out, err, code = io.StringIO(), io.StringIO(), 0
    del seen[:]
    watching = True
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        sys.argv = ["birdplane", *job["command"]]
        try:
            if job["command"][0] in FUNCTIONS:
                FUNCTIONS[job["command"][0]](job["command"][1])
            else:
                main()
        except SystemExit as left:
            code = left.code
        except BaseException as error:
            code = f"{type(error).__name__}: {error}"
    watching = False
    print(json.dumps({"code": code, "err": err.getvalue(), "seen": list(seen)}), flush=True)
"""
)


@dataclass
class Case:
    """Something hostile put somewhere, and the commands that read it."""

    name: str
    folder: Path
    commands: list[list[str]]
    cache: Path = field(default=Path())


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
hidden = [4]
[loss]
use = "cross-entropy"
[optimizer]
use = "sgd"
[training]
epochs = 1
device = "cpu"
"""


@pytest.fixture(scope="module")
def unfinished(tiny_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that looks as if it had crashed: it has a checkpoint and no end."""
    folder = tmp_path_factory.mktemp("unfinished") / "run"
    shutil.copytree(tiny_run.path, folder)
    lines = (folder / "events.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "events.jsonl").write_text(
        "".join(line for line in lines if not isinstance(from_json(line), End))
    )
    return folder


class Places:
    """Puts a payload in every place where a file is read."""

    def __init__(self, root: Path, run: Path) -> None:
        self._root = root
        self._run = run

    def __call__(self, name: str, payload: bytes) -> Iterator[Case]:
        for place, build in {
            "pipeline": self._pipeline,
            **{f"{file} of a run": self._in_a_run(file) for file in (
                "pipeline.toml", "events.jsonl", "control.jsonl", "process.json", "processes.json", "exit.json",
                "group.json", "log.txt", ".lock")},
            "last line of events.jsonl": self._in_a_run("events.jsonl", after=True),
            **{f"{file} of a checkpoint": self._in_a_checkpoint(file, sealed=False) for file in (
                "manifest.json", "state.json", "model.safetensors", "payload.pkl")},
            **{f"{file} of a sealed checkpoint": self._in_a_checkpoint(file, sealed=True) for file in (
                "state.json", "model.safetensors", "optimizer.safetensors", "best.safetensors")},
            "picture": self._picture,
            "exported file": self._exported,
            "dataset archive": self._archive,
            "dataset folder": self._folder,
            "picture of a dataset": self._pictures,
            "cache": self._cache,
            "settings": self._settings,
        }.items():  # fmt: skip
            folder = self._root / f"{name}-{place}".replace(" ", "_")
            folder.mkdir(parents=True)
            case = Case(f"{name} as {place}", folder, build(folder, payload), folder / "cache")
            yield case

    def _pipeline(self, folder: Path, payload: bytes) -> list[list[str]]:
        (folder / "p.toml").write_bytes(payload)
        (folder / "p.py").write_bytes(payload)
        (folder / "checkpoint.pt").write_bytes(payload)
        return [
            ["check", "p.toml"],
            ["train", "p.toml", "--plain"],
            ["check", "p.py"],
            ["train", "checkpoint.pt"],
        ]

    def _copied(self, folder: Path) -> Path:
        for name in ("r", "other"):
            shutil.copytree(self._run, folder / "runs" / name)
        return folder / "runs" / "r"

    _COMMANDS = (
        ["runs"], ["runs", "--json"], ["reading", "runs/r"], ["evaluate", "r", "--device", "cpu"],
        ["watch", "r", "--plain"], ["compare", "r", "other"], ["eject", "r"], ["resume", "r", "--plain"],
    )  # fmt: skip

    def _in_a_run(self, file: str, *, after: bool = False) -> Callable[[Path, bytes], list[list[str]]]:
        def build(folder: Path, payload: bytes) -> list[list[str]]:
            path = self._copied(folder) / file
            path.write_bytes((path.read_bytes() if after else b"") + payload + b"\n" * after)
            return [list(command) for command in self._COMMANDS]

        return build

    def _in_a_checkpoint(self, file: str, *, sealed: bool) -> Callable[[Path, bytes], list[list[str]]]:
        def build(folder: Path, payload: bytes) -> list[list[str]]:
            run = self._copied(folder)
            for path in (run / "checkpoints").iterdir():
                (path / file).write_bytes(payload)
                if sealed:
                    files = {
                        one.name: one.read_bytes() for one in path.iterdir() if one.name != "manifest.json"
                    }
                    (path / "manifest.json").write_bytes(manifest_of(int(path.name), files))
            return [list(command) for command in self._COMMANDS]

        return build

    def _picture(self, folder: Path, payload: bytes) -> list[list[str]]:
        self._copied(folder)
        names = ["x.png", "x.jpg", "x.eps", "x.pt", "x.npy"]
        for name in names:
            (folder / name).write_bytes(payload)
        return [["predict", "r", name, "--device", "cpu"] for name in names]

    def _exported(self, folder: Path, payload: bytes) -> list[list[str]]:
        Image.new("RGB", (8, 8)).save(folder / "x.png")
        for name in ("x.pt2", "x.onnx"):
            (folder / name).write_bytes(payload)
        return [["predict", name, "x.png", "--device", "cpu"] for name in ("x.pt2", "x.onnx")]

    def _archive(self, folder: Path, payload: bytes) -> list[list[str]]:
        (folder / "data.tar.gz").write_bytes(payload)
        digest = hashlib.sha256(payload).hexdigest()
        given = ["--set", "dataset=cifar2", "--set", "dataset.source=data.tar.gz"]
        return [
            ["check", "demo", *given, "--set", f"dataset.sha256={digest}"],
            ["check", "demo", *given],
            ["check", "demo", "--set", "dataset=image-folder", "--set", "dataset.path=data.tar.gz"],
        ]

    def _folder(self, folder: Path, payload: bytes) -> list[list[str]]:
        data = folder / "cifar-10-batches-bin"
        data.mkdir()
        for name in (
            "batches.meta.txt",
            "batches.meta",
            "data_batch_1",
            "data_batch_1.bin",
            "test_batch.bin",
        ):
            (data / name).write_bytes(payload)
        given = ["check", "demo", "--set", "dataset=cifar2", "--set", "dataset.source=cifar-10-batches-bin"]
        (folder / "named").mkdir()
        for number in range(1, 6):
            (folder / "named" / f"data_batch_{number}.bin").write_bytes(payload)
        (folder / "named" / "test_batch.bin").write_bytes(payload)
        (folder / "named" / "batches.meta.txt").write_text("airplane\nbird\n")
        return [given, [*given[:-1], "dataset.source=named"]]

    def _pictures(self, folder: Path, payload: bytes) -> list[list[str]]:
        for name in ("bird", "airplane"):
            (folder / "pictures" / name).mkdir(parents=True)
            for number in range(2):
                (folder / "pictures" / name / f"{number}.png").write_bytes(payload)
        with zipfile.ZipFile(folder / "pictures.zip", "w") as archive:
            for path in (folder / "pictures").rglob("*.png"):
                archive.write(path, path.relative_to(folder))
        given = ["check", "demo", "--set", "dataset=image-folder", "--set"]
        return [[*given, "dataset.path=pictures"], [*given, "dataset.path=pictures.zip"]]

    def _cache(self, folder: Path, payload: bytes) -> list[list[str]]:
        """The payload as the cache's records, and as its arrays, with a record that vouches for them."""
        for name in ("records", "arrays"):
            digest = hashlib.sha256(name.encode()).hexdigest()
            entry = folder / "cache" / "cifar10" / digest
            entry.mkdir(parents=True)
            arrays = [f"{split}-{what}.npy" for split in ("train", "test") for what in ("images", "labels")]
            for array in arrays:
                (entry / array).write_bytes(payload)
            sums = dict.fromkeys(arrays, hashlib.sha256(payload).hexdigest())
            record = {"format": 1, "classes": ["airplane", "bird"], "files": sums}
            (entry / "entry.json").write_bytes(payload if name == "records" else json.dumps(record).encode())
            (entry / "verified.json").write_bytes(payload)
            for file in ("cifar-10-binary.tar.gz", "cifar-10-binary.tar.gz.part"):
                (entry / file).write_bytes(payload)
        for file in ("plugins.json", "exports.txt"):
            (folder / "cache" / file).write_bytes(payload)
        (folder / "nothing.tar.gz").write_bytes(b"")
        return [
            ["check", "demo", "--set", "dataset=cifar2", "--set", "dataset.source=http://127.0.0.1:9/none",
             "--set", f"dataset.sha256={hashlib.sha256(name.encode()).hexdigest()}"]
            for name in ("records", "arrays")
        ] + [["list-plugins"]]  # fmt: skip

    def _settings(self, folder: Path, payload: bytes) -> list[list[str]]:
        (folder / "tui.toml").write_bytes(payload)
        return [["settings", "tui.toml"]]


@pytest.fixture
def witness(tmp_path: Path) -> Callable[[list[Case]], list[dict[str, Any]]]:
    """Run the commands of cases in one child process with the audit hook; return what came of each."""

    def run(cases: list[Case]) -> list[dict[str, Any]]:
        jobs = [(case, command) for case in cases for command in case.commands]
        lines = [
            json.dumps({"folder": str(c.folder), "cache": str(c.cache), "command": command})
            for c, command in jobs
        ]
        (tmp_path / "jobs").write_text("\n".join(lines))
        environment = {**os.environ, DISABLE_VARIABLE: "*", "PYTHONPATH": "", "BIRDPLANE_RUNS": "runs"}
        done = subprocess.run(
            [sys.executable, "-c", DRIVER, str(tmp_path / "jobs"), str(tmp_path)],
            capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=900,
        )  # fmt: skip
        told = [json.loads(line) for line in done.stdout.splitlines()]
        assert len(told) == len(jobs), done.stderr[-2000:]
        return [
            {**one, "case": case.name, "command": command}
            for one, (case, command) in zip(told, jobs, strict=True)
        ]

    return run


def wrong(found: list[dict[str, Any]], root: Path) -> list[str]:
    """Return what is not as promised: code that ran, a traceback, more than a line."""
    troubles = []
    for one in found:
        what = f"{one['case']}: {' '.join(one['command'])}"
        troubles += [f"{what}: saw {event}" for event in one["seen"]]
        errors = [line for line in one["err"].splitlines() if not line.startswith("warning: ")]
        # `check` tells of every problem, each in a line.
        if not all(line.startswith("error: ") for line in errors) or (
            len(errors) > 1 and "check" not in what
        ):
            troubles.append(f"{what}: {one['err'][-600:]}")
        if "Traceback" in one["err"] or "fault in birdplane" in one["err"]:
            troubles.append(f"{what}: {one['err'][-600:]}")
        elif isinstance(one["code"], str) and not one["code"].startswith("UsageError: "):
            troubles.append(f"{what}: {one['code'][:300]}")
        elif one["code"] not in (0, None) and not isinstance(one["code"], str) and not errors:
            troubles.append(f"{what}: left with {one['code']} and no word")
    return troubles + [f"{path} is there" for path in root.rglob(CANARY)]


@pytest.mark.parametrize("name", LOADERS)
def test_the_witness_sees_each_payload_that_is_read_as_others_read_it(name: str, tmp_path: Path) -> None:
    path = tmp_path / "payload"
    path.write_bytes(PAYLOADS[name]())
    program = WITNESS + f"watching = True\n{LOADERS[name]}\nwatching = False\nprint(json.dumps(seen))"
    done = subprocess.run(
        [sys.executable, "-c", program, str(path), str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert any(event.startswith("os.system") for event in json.loads(done.stdout)), done.stderr
    assert (tmp_path / CANARY).exists()


#: One that is no text and one that every parser of JSON takes; the others have their turn in the long version.
_EVERYDAY = ("pickle 4", "json")


def _judge(names: list[str], tmp_path: Path, run: Path, witness: Callable[..., list[dict[str, Any]]]) -> int:
    places = Places(tmp_path / "cases", run)
    cases = [case for name in names for case in places(name.replace(" ", "-"), PAYLOADS[name]())]
    found = witness(cases)
    troubles = wrong(found, tmp_path)
    assert not troubles, f"{len(troubles)} of {len(found)}:\n" + "\n".join(troubles[:40])
    return len(found)


def test_no_payload_runs_in_any_place(
    tmp_path: Path, unfinished: Path, witness: Callable[..., list[dict[str, Any]]]
) -> None:
    assert _judge(list(_EVERYDAY), tmp_path, unfinished, witness) > 300


@pytest.mark.long
def test_none_of_all_payloads_runs_in_any_place(
    tmp_path: Path, unfinished: Path, witness: Callable[..., list[dict[str, Any]]]
) -> None:
    assert _judge(list(PAYLOADS), tmp_path, unfinished, witness) > 2500
