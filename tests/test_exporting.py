"""A run's model as a file: the same probabilities, in any batch, and nothing of anybody else's executed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from birdplane import BirdplaneError, Pipeline, UsageError
from birdplane.assembly import build_splits
from birdplane.exporting import SUFFIXES, Facts, Format, Input, target
from birdplane.exporting.using import load
from birdplane.exporting.writing import Written, export
from birdplane.inspection import TrainedModel
from birdplane.registry import catalog
from birdplane.runs import Run
from birdplane.training import train

onnx = pytest.importorskip("onnx", reason="the extra `onnx` is not installed")
Tiny = Callable[..., Pipeline]

pytestmark = pytest.mark.usefixtures("own_cache")

FORMATS: tuple[Format, ...] = ("torch", "onnx")
NETS = {
    "convolutional": (
        "model={use='convolutional'}",
        "dataset.size=32",
        "dataset.train=128",
        "training.channels_last=true",
    ),
    "resnet": ("model={use='resnet'}", "loss.use=nll", "training.average=0.9"),
}


@pytest.fixture(scope="module")
def exported(tiny_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `out.pt2` and `out.onnx` of the tiny run. To be read: a test that writes makes a copy."""
    folder = tmp_path_factory.mktemp("exported")
    for kind in FORMATS:
        written(tiny_run, folder, kind)
    return folder


@pytest.fixture
def copy(exported: Path, tmp_path: Path) -> Path:
    """A copy of the exported files, to be changed."""
    return Path(shutil.copytree(exported, tmp_path / "copy"))


@pytest.fixture
def register() -> Iterator[Callable[..., None]]:
    """Register transforms until the test is over."""
    registry = catalog()["transform"]
    added: list[str] = []

    def add(name: str, target: Any, **record: Any) -> None:
        registry.register(name, target, **record)
        added.append(name)

    yield add
    for name in added:
        del registry._entries[name]


def trained(pipeline: Pipeline, folder: Path, name: str = "one") -> Run:
    run = Run.create(folder, name, pipeline_toml=pipeline.to_toml())
    for _ in train(pipeline, run):
        pass
    return run


def written(run: Run, folder: Path, format: Format, given: Input = "uint8") -> Written:
    return export(run, format, folder / f"out{'.pt2' if format == 'torch' else '.onnx'}", "best", given)


@pytest.mark.parametrize("net", ["convolutional", pytest.param("resnet", marks=pytest.mark.long)])
def test_both_files_give_the_runs_probabilities_in_batches_of_any_size(
    net: str, tiny: Tiny, tmp_path: Path
) -> None:
    pipeline = tiny("training.epochs=1", *NETS[net])
    run = trained(pipeline, tmp_path)
    pictures = torch.from_numpy(build_splits(pipeline).train.decode(range(64))[0])
    expected = TrainedModel(run, device="cpu").probabilities(pictures)
    for kind in FORMATS:
        made = written(run, tmp_path, kind)
        assert made.difference < 1e-5
        assert (made.pictures, made.checked_on) == (32, "validation")
        model = load(made.file)
        for count in (1, 2, 64):
            assert (model.probabilities(pictures[:count]) - expected[:count]).abs().max() < 1e-5
        assert model.facts == Facts("one", ("airplane", "bird"), tuple(pictures.shape[1:]), "uint8")  # type: ignore[arg-type]


def test_on_a_hundred_drawn_pictures_both_files_give_the_runs_probabilities(
    exported: Path, tiny_run: Run, tiny: Tiny
) -> None:
    drawn = build_splits(tiny("dataset.train=100", "seed=5")).train
    pictures = torch.from_numpy(drawn.decode(range(100))[0])
    expected = TrainedModel(tiny_run, device="cpu").probabilities(pictures)
    for name in ("out.pt2", "out.onnx"):
        assert (load(exported / name).probabilities(pictures) - expected).abs().max() < 1e-5


def test_float_pictures_from_0_to_1_are_taken_as_well(tiny_run: Run, tmp_path: Path) -> None:
    made = written(tiny_run, tmp_path, "onnx", "float32")
    pictures = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8)
    expected = TrainedModel(tiny_run, device="cpu").probabilities(pictures)
    import onnxruntime

    session = onnxruntime.InferenceSession(made.file, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"images": (pictures / 255).numpy()})
    assert (torch.from_numpy(found) - expected).abs().max() < 1e-5


def test_a_program_that_knows_no_birdplane_reads_the_classes_and_the_probabilities(
    exported: Path,
) -> None:
    program = """
import json, sys, numpy, onnxruntime, torch
pictures = numpy.arange(2 * 3 * 8 * 8, dtype=numpy.uint8).reshape(2, 3, 8, 8)
session = onnxruntime.InferenceSession("out.onnx", providers=["CPUExecutionProvider"])
print(json.loads(session.get_modelmeta().custom_metadata_map["classes"]))
facts = {"birdplane.json": ""}
program = torch.export.load("out.pt2", extra_files=facts).module()
print(json.loads(facts["birdplane.json"])["classes"])
(found,) = session.run(["probabilities"], {"images": pictures})
print(abs(found - program(torch.from_numpy(pictures)).detach().numpy()).max() < 1e-5)
print("birdplane" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=exported, capture_output=True, text=True, check=True
    )
    classes = "['airplane', 'bird']"
    assert done.stdout.splitlines() == [classes, classes, "True", "False"]


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_says_nothing_of_the_machine_that_wrote_it(exported: Path, format: Format) -> None:
    file = exported / f"out{SUFFIXES[format]}"
    held = [file.read_bytes()]
    if format == "torch":
        with zipfile.ZipFile(file) as archive:
            held = [archive.read(name) for name in archive.namelist()]
    assert [data for data in held if b".py" in data or str(Path(__file__).parents[1]).encode() in data] == []


def test_an_exported_program_has_no_pickle_in_it(exported: Path) -> None:
    with zipfile.ZipFile(exported / "out.pt2") as archive:
        assert [name for name in archive.namelist() if archive.read(name)[:1] == b"\x80"] == []
        configs = [json.loads(archive.read(n)) for n in archive.namelist() if n.endswith("_config.json")]
    entries = [entry for config in configs for entry in config["config"].values()]
    assert len(entries) >= 4
    assert [entry for entry in entries if entry["use_pickle"]] == []


@pytest.mark.parametrize("format", FORMATS)
def test_predictions_of_picture_files_are_the_runs(
    exported: Path, tiny_run: Run, tmp_path: Path, format: Format
) -> None:
    Image.effect_noise((30, 20), 90).convert("RGB").save(tmp_path / "noise.png")
    (found,) = load(exported / f"out{SUFFIXES[format]}").predict([tmp_path / "noise.png"])
    (expected,) = TrainedModel(tiny_run, device="cpu").predict([tmp_path / "noise.png"])
    assert (found.file, found.label) == (expected.file, expected.label)
    assert found.probabilities == pytest.approx(expected.probabilities, abs=1e-5)


# What is refused.


def test_a_program_from_elsewhere_is_refused_before_it_is_opened(copy: Path) -> None:
    file = copy / "out.pt2"
    load(file)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("more", b"")
    with pytest.raises(UsageError, match=r"out\.pt2: was not written by `birdplane export` here"):
        load(file)


@pytest.mark.parametrize("name", ["a.onnx", "a.pt2"])
def test_a_file_that_is_none_of_these_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="there is no such file"):
        load(tmp_path / name)
    (tmp_path / name).write_bytes(b"neither nor")
    with pytest.raises(UsageError, match=f"{name}: "):
        load(tmp_path / name)


def test_an_onnx_file_without_facts_or_with_false_ones_is_refused(copy: Path) -> None:
    file = copy / "out.onnx"
    model = onnx.load(file)
    (facts,) = [entry for entry in model.metadata_props if entry.key == "birdplane"]
    good = json.loads(facts.value)
    for change in (
        {"classes": ["a"]},
        {"shape": [3, 10**9, 8]},
        {"input": "text"},
        {"version": 99},
        {"shape": None},
    ):
        facts.value = json.dumps({**good, **change})
        onnx.save(model, file)
        with pytest.raises(UsageError, match=r"out\.onnx: (it )?was (not written|exported) by"):
            load(file)
    facts.value = json.dumps({**good, "classes": ["a", "b", "c"]})
    onnx.save(model, file)
    with pytest.raises(BirdplaneError, match=r"yields \(1, 2\): expected \(1, 3\)"):
        load(file).probabilities(torch.zeros((1, 3, 8, 8), dtype=torch.uint8))


def test_an_onnx_file_whose_weights_are_elsewhere_is_refused(copy: Path) -> None:
    file = copy / "out.onnx"
    model = onnx.load(file)
    onnx.save(model, file, save_as_external_data=True, location="passwords", size_threshold=0)
    with pytest.raises(UsageError, match="has weights in other files"):
        load(file)


@pytest.mark.parametrize(
    ("name", "per_sample", "said"),
    [
        ("same", True, "works picture by picture"),
        ("counting", False, "cannot be traced for batches of any size"),
    ],
)
def test_a_transform_that_cannot_be_inside_is_told_by_its_key(
    tiny: Tiny, tmp_path: Path, register: Callable[..., None], name: str, per_sample: bool, said: str
) -> None:
    def target() -> Callable[..., Any]:
        if per_sample:
            return lambda picture: picture
        return lambda images: images * len(images) if int(images.sum()) < -1 else images  # a branch on values

    register(name, target, summary="As it is.", per_sample=per_sample)
    pipeline = tiny("training.epochs=1", f"transforms=['to-tensor', '{name}', 'normalize']")
    with pytest.raises(BirdplaneError, match=rf"'one' cannot be exported: transforms\.1 \({name}\) {said}"):
        written(trained(pipeline, tmp_path), tmp_path, "torch")
    assert list(tmp_path.glob("out*")) == []


def test_a_file_whose_probabilities_are_others_is_not_written(
    tiny_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is inside draws a little noise, which the run's own predictions do not have.
    whole = "birdplane.exporting.writing._Whole.forward"
    from birdplane.exporting.writing import _Whole

    forward: Any = _Whole.forward
    monkeypatch.setattr(whole, lambda self, images: forward(self, images) * 0.99)
    with pytest.raises(BirdplaneError, match=r"is not exported: .* differ from the run's by up to 0\.0"):
        written(tiny_run, tmp_path, "torch")
    assert list(tmp_path.glob("out*")) == []


def test_a_file_that_cannot_be_written_leaves_the_old_one(tiny_run: Run, tmp_path: Path) -> None:
    (tmp_path / "out.pt2").mkdir()
    with pytest.raises(BirdplaneError, match=r"cannot write .*out\.pt2"):
        written(tiny_run, tmp_path, "torch")
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".new")] == []


def test_format_and_file_have_to_fit(tmp_path: Path) -> None:
    assert target("one", None, None) == ("torch", Path("one.pt2"))
    assert target("one", "onnx", None) == ("onnx", Path("one.onnx"))
    assert target("one", None, tmp_path / "x.onnx") == ("onnx", tmp_path / "x.onnx")
    for kind, output, said in (
        ("onx", None, "did you mean 'onnx'"),
        ("torch", tmp_path / "x.onnx", "the ending is that of onnx"),
        (None, tmp_path / "x.bin", r"ends in \.pt2"),
        (None, tmp_path / "no" / "x.pt2", "there is no folder"),
    ):
        with pytest.raises(UsageError, match=said):
            target("one", kind, output)


@pytest.mark.long
def test_on_a_thousand_real_pictures_both_files_give_the_runs_probabilities(
    cifar2_archive: tuple[Path, str], tmp_path: Path
) -> None:
    source, digest = cifar2_archive
    for recipe in ("book", "book-conv"):
        assignments = [f"dataset.source={str(source)!r}", f"dataset.sha256={digest!r}", "training.device=cpu"]
        pipeline = Pipeline.load(recipe).override([*assignments, "training.epochs=1"])
        run = trained(pipeline, tmp_path, recipe)
        pictures = torch.from_numpy(build_splits(pipeline).validation.decode(range(1000))[0])
        assert pictures.shape == (1000, 3, 32, 32)
        expected = TrainedModel(run, device="cpu").probabilities(pictures)
        for kind in FORMATS:
            difference = float(
                (load(written(run, tmp_path, kind).file).probabilities(pictures) - expected).abs().max()
            )
            print(f"{recipe} {kind}: {difference:.1e}")
            assert difference < 1e-5
