"""Ejected scripts: without birdplane they come to its very losses and weights."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

from birdplane import Recipe
from birdplane.cli import app
from birdplane.ejecting import eject, known_of
from birdplane.errors import BirdplaneError
from birdplane.pipeline import Pipeline
from birdplane.plugins import load_plugins
from birdplane.registry import Catalog
from birdplane.runs import Run
from birdplane.training import train
from birdplane_builtin import birdplane_components

pytestmark = pytest.mark.usefixtures("own_cache")

#: The kinds of which a pipeline has one.
KINDS_OF_ONE = ("dataset", "model", "loss", "optimizer", "schedule")
_OURS = ["--config", str(Path(__file__).parents[1] / "pyproject.toml")]
#: Runs scripts, keeps what they come to, and tells at the end what of birdplane could have been imported.
_RUNNER = """
import importlib.util, json, pathlib, runpy, sys

for script in sys.argv[1:]:
    names = runpy.run_path(script, run_name="__main__")
    from safetensors.torch import save_file
    place = pathlib.Path(script)
    kept = {name: value.contiguous() for name, value in names["model"].state_dict().items()}
    save_file(kept, place.with_suffix(".safetensors"))
    if "average" in names:
        kept = {name: value.contiguous() for name, value in names["average"].state_dict().items()}
        save_file(kept, place.with_suffix(".average.safetensors"))
    place.with_suffix(".json").write_text(json.dumps(names["losses"]))
print([name for name in ("birdplane", "birdplane_builtin") if importlib.util.find_spec(name)])
"""
_SMALL = ("dataset.train=96", "dataset.test=40", "training.batch_size=20", "training.device=cpu")
_QUICK = ("training.epochs=2", *_SMALL)
#: Of pictures that are drawn: what each recipe but for its dataset, and each built-in component, is ejected with.
_PIPELINES: dict[str, tuple[str, ...]] = {
    "demo": ("demo",),
    "book": ("book", "dataset.use=sketches"),
    "book-deep": ("book-deep", "dataset.use=sketches", "model.hidden=[64, 32, 16]"),
    "book-conv": ("book-conv", "dataset.use=sketches"),
    "fast": ("fast", "dataset.use=sketches", "training.precision=float32"),
    "best": ("best", "dataset.use=sketches", "training.precision=float32"),
    "dropout, adam, warm-up, holdout": (
        "book",
        "dataset.use=sketches",
        "model.hidden=[32, 16]",
        "model.dropout=0.3",
        "model.activation=leaky-relu",
        "optimizer.use=adam",
        "optimizer.beta1=0.8",
        "schedule.use=constant",
        "schedule.warmup=0.4",
        "training.holdout=0.25",
        "training.average=0.9",
    ),
    "resnet, momentum, cosine": (
        "demo",
        "dataset.size=16",
        "model.use=resnet",
        "model.widths=[4, 8]",
        "model.blocks=2",
        "model.dropout=0.2",
        "optimizer.use=sgd",
        "optimizer.momentum=0.9",
        "optimizer.nesterov=true",
        "optimizer.weight_decay=0.001",
        "schedule.use=cosine",
        "schedule.warmup=0.2",
        "schedule.final=0.1",
        "training.decay_norm_and_bias=false",
        "training.average=0.95",
        "training.validate_every=3",
        "training.epochs=4",
    ),
    "residual, mse, all transforms": (
        "demo",
        "dataset.size=16",
        'transforms=[{use="color-jitter", hue=0.1}, {use="to-tensor"}, {use="random-rotation"}, '
        '{use="random-shift", fill="wrap"}, {use="normalize", mean=[0.5], std=[0.25]}, '
        '{use="cutout", size=5}, {use="random-flip", p=0.3}]',
        "model.use=residual",
        "model.width=4",
        "model.blocks=3",
        "loss.use=mse",
    ),
    "muon of a wide net, all decayed": (
        "demo",
        "dataset.size=8",
        "model.width=40",
        "model.dropout=0.1",
        "optimizer.use=muon",
        "optimizer.weight_decay=0.02",
    ),
}

#: The same of folders of pictures, which scripts decode themselves, by their parts; those of a zip are written out.
_FOLDERS: dict[str, tuple[str, ...]] = {
    "a folder, divided": ("",),
    "a folder in two parts": ("train", "val"),
    "a zip": ("train", "val"),
}
#: And of pictures in CIFAR-10's layout, packed and unpacked.
_ARCHIVES: dict[str, tuple[str, ...]] = {
    "an archive": ("cifar2",),
    "an unpacked archive": ("cifar10", 'dataset.classes=["ship", "cat", "dog"]'),
}


def _file(name: str) -> str:
    return "".join(character if character.isalnum() else "_" for character in name)


def write(pipeline: Pipeline, folder: Path, name: str) -> Path:
    script = eject(pipeline, name)
    path = folder / f"{name}.py"
    path.write_text(script.text, encoding="utf-8")
    for file, content in script.files.items():
        (folder / file).write_bytes(content)
    return path


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all packages that are installed here, but nothing of birdplane."""
    folder = tmp_path_factory.mktemp("elsewhere")
    for place in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for entry in Path(place).iterdir():
            if "birdplane" not in entry.name and entry.suffix != ".pth":
                (folder / entry.name).symlink_to(entry)
    return folder


def run(*scripts: Path, among: Path, alone: bool = True) -> None:
    """Run scripts where the packages of a folder can be imported: these alone, or also those installed here."""
    done = subprocess.run(
        # Without `site` no other package is found, nor anything that is installed to be edited.
        [sys.executable, *(["-S"] if alone else []), "-c", _RUNNER, *map(str, scripts)],
        cwd=scripts[0].parent,
        env={**os.environ, "PYTHONPATH": str(among), "OMP_NUM_THREADS": str(torch.get_num_threads())},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (done.stdout.splitlines()[-1] == "[]") is alone


class Trained:
    """What birdplane's own training comes to."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.losses: list[float] = []
        trainer = train(pipeline)
        for event in trainer:
            if event.event == "start":
                self._listen(trainer)
        self.weights = {name: value.clone() for name, value in trainer.model.state_dict().items()}
        average = trainer._optimization._average
        self.average = average.weights if average else None

    def _listen(self, trainer: object) -> None:
        optimization = trainer._optimization  # type: ignore[attr-defined]
        step = optimization.step

        def heard(*arguments: object) -> object:
            loss, right = step(*arguments)
            self.losses.append(loss.item())
            return loss, right

        optimization.step = heard


def assert_equal(pipeline: Pipeline, script: Path) -> None:
    own = Trained(pipeline)
    assert json.loads(script.with_suffix(".json").read_text()) == own.losses
    for expected, file in ((own.weights, ".safetensors"), (own.average, ".average.safetensors")):
        if expected is not None:
            found = load_file(script.with_suffix(file))
            assert set(found) == set(expected)
            assert [name for name in expected if not torch.equal(expected[name], found[name])] == []


def _pictures(folder: Path, *, parts: tuple[str, ...]) -> Path:
    """Make pictures of many kinds, by class: turned, transparent, grey, of 16 bits, wide, deep in folders."""
    random = torch.Generator().manual_seed(0)
    for part in parts:
        for name in ("bird", "plane"):
            place = folder / part / name / "more"
            place.mkdir(parents=True)
            for number in range(8):
                pixels = torch.randint(
                    0, 256, (20 + number, 30, 4), generator=random, dtype=torch.uint8
                ).numpy()
                Image.fromarray(pixels[:, :, :3]).save(place.parent / f"{number}.jpg", exif=_turned(number))
                Image.fromarray(pixels).save(place / f"{number}.PNG")
                Image.fromarray(pixels[:, :, 0]).save(place / f"grey{number}.png")
                deep = torch.randint(0, 2**16, (12, 12), generator=random).numpy().astype("uint16")
                Image.fromarray(deep).save(place / f"deep{number}.png")
            (place / ".hidden.png").write_bytes(b"no picture")
            (place / "notes.txt").write_text("no picture")
    return folder


def _archive(folder: Path, *, packed: bool) -> tuple[Path, str]:
    """Make pictures in CIFAR-10's layout, 6 of each class to train; return their place, and an archive's SHA-256."""
    unpacked = folder / "cifar-10-batches-bin"
    unpacked.mkdir(parents=True)
    random = torch.Generator().manual_seed(0)
    for name in ("test_batch", *(f"data_batch_{number}" for number in range(1, 6))):
        count = 40 if name == "test_batch" else 12
        records = torch.randint(0, 256, (count, 3073), generator=random, dtype=torch.uint8)
        records[:, 0] = torch.arange(count) % 10
        (unpacked / f"{name}.bin").write_bytes(records.numpy().tobytes())
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    (unpacked / "batches.meta.txt").write_text("\n".join([*names, ""]))
    if not packed:
        return unpacked, ""
    archive = folder / "pictures.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(unpacked, unpacked.name)
    return archive, hashlib.sha256(archive.read_bytes()).hexdigest()


def _turned(number: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = number + 1
    return exif


@pytest.fixture(scope="module")
def ejected(tmp_path_factory: pytest.TempPathFactory, elsewhere: Path) -> dict[str, tuple[Pipeline, Path]]:
    """Every pipeline, ejected and run, all in one process."""
    folder = tmp_path_factory.mktemp("ejected")
    found = {}
    for name, (recipe, *assignments) in _PIPELINES.items():
        # Another `use` drops the parameters of what stood there before: it comes first.
        first = [one for one in assignments if one.startswith("dataset.use")]
        pipeline = Pipeline.load(recipe).override([*first, *_QUICK, *assignments])
        found[name] = pipeline, write(pipeline, folder, _file(name))
    for name, parts in _FOLDERS.items():
        pictures = _pictures(folder / f"{_file(name)} pictures", parts=parts)
        if zipped := name == "a zip":
            pictures = Path(shutil.make_archive(str(pictures), "zip", pictures))
        given = ["dataset.use=image-folder", f"dataset.path={pictures}", "dataset.size=16", "model.width=4"]
        pipeline = Pipeline.load("demo").override([*given, "training.epochs=1", "training.device=cpu"])
        found[name] = pipeline, write(pipeline, folder, _file(name))
        assert (folder / f"{_file(name)}.npz").exists() is zipped
    for name, (dataset, *assignments) in _ARCHIVES.items():
        place, digest = _archive(folder / f"{_file(name)} pictures", packed=name == "an archive")
        given = [f"dataset.use={dataset}", f"dataset.source={place}", *assignments]
        given += [f"dataset.sha256={digest}"] if digest else []
        pipeline = Pipeline.load("book-conv").override([*given, "model.width=4", "training.epochs=2"])
        pipeline = pipeline.override(["training.batch_size=5", "training.device=cpu"])
        found[name] = pipeline, write(pipeline, folder, _file(name))
    run(*(path for _, path in found.values()), among=elsewhere)
    return found


def test_every_built_in_component_is_in_one_of_the_scripts(
    ejected: dict[str, tuple[Pipeline, Path]],
) -> None:
    scripts = [pipeline for pipeline, _ in ejected.values()]
    used = {(kind, pipeline.choice(kind).use) for pipeline in scripts for kind in KINDS_OF_ONE}
    used |= {("transform", choice.use) for pipeline in scripts for choice in pipeline.transforms}
    ours = {(one.kind, one.name) for one in birdplane_components() if not isinstance(one, Recipe)}
    assert ours - used == set()
    assert {one.name for one in birdplane_components() if isinstance(one, Recipe)} <= set(_PIPELINES)


@pytest.mark.parametrize("name", [*_PIPELINES, *_FOLDERS, *_ARCHIVES])
def test_a_script_comes_to_the_same_losses_step_by_step_and_the_same_weights(
    name: str, ejected: dict[str, tuple[Pipeline, Path]]
) -> None:
    assert_equal(*ejected[name])


def _ruff(*arguments: str) -> subprocess.CompletedProcess[str]:
    ruff = Path(sys.executable).with_name("ruff")
    return subprocess.run([ruff, *arguments], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("rules", [["--isolated"], [*_OURS]], ids=["default", "ours"])
def test_scripts_are_clean_and_short(rules: list[str], ejected: dict[str, tuple[Pipeline, Path]]) -> None:
    paths = [path for _, path in ejected.values()]
    checked = _ruff("check", *rules, *map(str, paths))
    assert checked.returncode == 0, checked.stdout
    if rules != ["--isolated"]:
        formatted = _ruff("format", "--diff", *rules, *map(str, paths))
        assert formatted.returncode == 0, formatted.stdout
    assert {path.name for path in paths if len(path.read_text().splitlines()) >= 150} == set()
    assert {path.name for path in paths if "import birdplane" in path.read_text()} == set()


@pytest.mark.long
@pytest.mark.parametrize("recipe", ["book", "book-deep", "book-conv", "fast", "best"])
def test_a_recipe_of_real_pictures_comes_to_the_same(
    recipe: str, tmp_path: Path, cifar2_archive: tuple[Path, str], elsewhere: Path
) -> None:
    archive, digest = cifar2_archive
    given = [
        f"dataset.source={archive}",
        f"dataset.sha256={digest}",
        "training.epochs=1",
        "training.device=cpu",
    ]
    pipeline = Pipeline.load(recipe).override(given)
    path = write(pipeline, tmp_path, recipe.replace("-", "_"))
    assert len(path.read_text().splitlines()) < 150
    assert _ruff("check", *_OURS, str(path)).returncode == 0
    run(path, among=elsewhere)
    assert_equal(pipeline, path)


_FOREIGN = """
from functools import partial

import torch
from birdplane import Dataset, Loss, Model, Transform, hookimpl

class Noise:
    def __init__(self, *, std: float = 0.1, middle: float | None = None):
        self.std, self.middle, self.fitted = std, middle, middle is not None
    def fit(self, batches):
        return {"middle": float(sum(batch.float().mean() for batch in batches))}
    def __call__(self, images, generator):
        return images - self.middle + self.std * torch.empty_like(images).normal_(generator=generator)

def linear(extra, *, input_shape, num_classes, wide: int = 3):
    sizes = torch.Size(input_shape).numel()
    layers = [torch.nn.Flatten(), torch.nn.Linear(sizes, wide + extra), torch.nn.Dropout(0.5)]
    return torch.nn.Sequential(*layers, torch.nn.Linear(wide + extra, num_classes))

class Stripes:
    classes = ("across", "down")
    def __init__(self, *, count: int = 60): self.count = count
    def __len__(self): return self.count
    def __getitem__(self, index):
        from PIL import Image
        return Image.new("RGB", (8, 8), (index, 3 * index % 256, 200)), index % 2

def made():
    def inner(*, input_shape, num_classes):
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 2))
    return inner

def focal(*, gamma: float = 2.0):
    return lambda outputs, labels: torch.nn.functional.cross_entropy(outputs, labels) ** gamma

@hookimpl
def birdplane_components():
    return [
        Transform(name="noise", target="foreign_module:Noise", random=True),
        Model(name="linear", target=partial(linear, 2)),
        Model(name="nameless", target=made()),
        Dataset(name="stripes", target=Stripes),
        Loss(name="focal", target="foreign_module:focal"),
    ]
"""
_FOREIGN_PIPELINE = """
dataset = {use = "foreign/stripes"}
transforms = [{use = "to-tensor"}, {use = "foreign/noise", std = 0.3}]
model = {use = "foreign/linear", wide = 4}
loss = {use = "foreign/focal"}
optimizer = {use = "sgd"}
training = {epochs = 2, batch_size = 9, device = "cpu"}
"""


def test_parts_of_other_packages_are_imported_from_there(
    tmp_path: Path, write_plugin: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    package = write_plugin(tmp_path / "installed", "foreign", _FOREIGN)
    monkeypatch.syspath_prepend(str(package))
    monkeypatch.setenv("BIRDPLANE_PLUGIN_SECONDS", "0")
    catalog = Catalog(cache(load_plugins))
    pipeline = Pipeline.from_toml(_FOREIGN_PIPELINE, "foreign.toml", catalog)
    path = write(pipeline, tmp_path, "foreign")
    assert "import foreign_module" in path.read_text()
    run(path, among=package, alone=False)
    assert_equal(pipeline, path)
    with pytest.raises(
        BirdplaneError, match=r"foreign\.toml: model: model 'foreign/nameless': a script cannot"
    ):
        eject(pipeline.override(["model=foreign/nameless"]), "nameless")


def test_a_run_is_ejected_with_what_it_measured(tiny_run: Run) -> None:
    fitted, precision = known_of(tiny_run)
    assert precision == "float32"
    assert fitted is not None
    fitted["1"]["mean"] = [0.125, 0.25, 0.375]
    pipeline = Pipeline.from_toml(tiny_run.pipeline_toml())
    assert "[0.125, 0.25, 0.375]" in eject(pipeline, "tiny", fitted=fitted, precision=precision).text


def test_the_command_writes_a_script_and_replaces_nothing_unasked(
    tiny_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["eject", str(tiny_run.path)])
    assert done.stdout.split() == ["tiny.py", "tiny.npz"]
    again = CliRunner().invoke(app, ["eject", str(tiny_run.path)])
    assert str(again.exception) == "tiny.py is there already: --force replaces it, --output names another"


def test_a_script_that_cannot_be_written_is_told_in_one_line(tiny_run: Run, tmp_path: Path) -> None:
    (tmp_path / "taken").write_bytes(b"")
    done = CliRunner().invoke(
        app, ["eject", str(tiny_run.path), "--output", str(tmp_path / "taken" / "e.py")]
    )
    assert isinstance(done.exception, BirdplaneError)
    assert str(done.exception).startswith(f"cannot write '{tmp_path / 'taken' / 'e.py'}': ")
