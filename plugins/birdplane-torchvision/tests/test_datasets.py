"""torchvision's datasets through birdplane's contract, on files of their formats that are written here."""

from __future__ import annotations

import inspect
import json
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision
from PIL import Image

from birdplane import BirdplaneError, datasets
from birdplane.data import split

Command = Callable[..., "subprocess.CompletedProcess[str]"]
_NAMES = [name for name in datasets.names() if name.startswith("torchvision/")]


def write_idx(folder: Path, count: int) -> None:
    """Write digits, two grey squares, in the format of MNIST."""
    folder.mkdir(parents=True)
    for part in ("train", "t10k"):
        labels = np.arange(count) % 2
        images = np.random.default_rng(0).integers(0, 60, (count, 28, 28)).astype(np.uint8)
        images[labels == 1, 8:20, 8:20] += 150
        (folder / f"{part}-images-idx3-ubyte").write_bytes(
            struct.pack(">4I", 2051, count, 28, 28) + images.tobytes()
        )
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(
            struct.pack(">2I", 2049, count) + labels.astype(np.uint8).tobytes()
        )


def write_picture(path: Path, number: int, extension: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40 + number, 30), (number, 100, 200)).save(path.with_suffix(extension))


def write_dtd(root: Path) -> None:
    for part in ("train", "test"):
        listed = []
        for number in range(4):
            name = f"{('dotted', 'striped')[number % 2]}/{part}{number}"
            write_picture(root / "dtd/dtd/images" / name, number, ".jpg")
            listed.append(f"{name}.jpg")
        labels = root / "dtd/dtd/labels" / f"{part}1.txt"
        labels.parent.mkdir(exist_ok=True)
        labels.write_text("\n".join(listed))


def write_food(root: Path) -> None:
    for part in ("train", "test"):
        names = {dish: [f"{dish}/{part}{number}" for number in range(2)] for dish in ("soup", "pie")}
        for name in (name for group in names.values() for name in group):
            write_picture(root / "food-101/images" / name, 1, ".jpg")
        (root / "food-101/meta").mkdir(exist_ok=True)
        (root / f"food-101/meta/{part}.json").write_text(json.dumps(names))


def write_pets(root: Path) -> None:
    (root / "oxford-iiit-pet/annotations").mkdir(parents=True)
    for part in ("trainval", "test"):
        lines = [f"{('Abyssinian', 'beagle')[n % 2]}_{part}{n} {n % 2 + 1} {n % 2 + 1} 1" for n in range(4)]
        for line in lines:
            write_picture(root / "oxford-iiit-pet/images" / line.split()[0], 1, ".jpg")
        names = ["Abyssinian_1 1 1 1\nbeagle_1 2 2 1\n"]
        (root / f"oxford-iiit-pet/annotations/{part}.txt").write_text("\n".join([*lines, *names]))
    for name in ("Abyssinian_1", "beagle_1"):
        write_picture(root / "oxford-iiit-pet/images" / name, 1, ".jpg")


def write_signs(root: Path) -> None:
    for label in range(3):
        for number in range(2):
            write_picture(root / f"gtsrb/GTSRB/Training/{label:05}/{number:05}", number, ".ppm")
            write_picture(root / f"gtsrb/GTSRB/Final_Test/Images/{label}{number}", number, ".ppm")
    rows = [f"{label}{number}.ppm;{label}" for label in range(3) for number in range(2)]
    (root / "gtsrb/GT-final_test.csv").write_text("\n".join(["Filename;ClassId", *rows]))


def write_land(root: Path) -> None:
    for name in ("Forest", "River"):
        for number in range(10):
            write_picture(root / "eurosat/2750" / name / str(number), number, ".jpg")


def write_imagenette(root: Path) -> None:
    for part in ("train", "val"):
        for wnid in ("n01440764", "n02102040"):
            write_picture(root / "imagenette2-160" / part / wnid / "a", 1, ".JPEG")
            write_picture(root / "imagenette2-160" / part / wnid / "b", 2, ".JPEG")


_WRITERS: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "dtd": (write_dtd, ("dotted", "striped")),
    "food101": (write_food, ("pie", "soup")),
    "oxford-pets": (write_pets, ("Abyssinian", "Beagle")),
    "gtsrb": (write_signs, tuple(f"{number:02}" for number in range(43))),
    "eurosat": (write_land, ("Forest", "River")),
    "imagenette": (write_imagenette, ("tench", "English springer")),
}


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "kmnist"])
def test_pictures_in_memory_come_in_batches(name: str, tmp_path: Path) -> None:
    source = datasets.get(f"torchvision/{name}").resolve().source  # type: ignore[attr-defined]
    write_idx(tmp_path / source / "raw", 20)
    made = split(
        lambda **host: datasets.create(f"torchvision/{name}", root=str(tmp_path), download=False, **host),
        True, 0, 0,
    )  # fmt: skip
    assert (len(made.train), len(made.validation), len(made.classes)) == (20, 20, 10)
    images_NCHW, labels_N = made.train.decode([3, 0])
    assert (images_NCHW.shape, labels_N.tolist()) == ((2, 1, 28, 28), [1, 0])
    picture, label = made.train.dataset[3]
    assert np.array_equal(np.asarray(picture), images_NCHW[0, 0])
    assert label == 1


@pytest.mark.parametrize("name", _WRITERS)
def test_picture_files_of_any_size_come_in_one(name: str, tmp_path: Path) -> None:
    write, classes = _WRITERS[name]
    write(tmp_path)
    registered = f"torchvision/{name}"
    made = split(
        lambda **host: datasets.create(registered, root=str(tmp_path), download=False, size=24, **host),
        "split" in datasets.signature(registered).wants, 0, 0,
    )  # fmt: skip
    assert made.classes == classes
    images_NCHW, labels_N = made.train.decode(range(len(made.train)))
    assert images_NCHW.shape == (len(made.train), 3, 24, 24)
    assert set(labels_N) <= set(range(len(classes)))
    assert len(made.validation) > 0


@pytest.mark.parametrize("name", _NAMES)
def test_what_is_missing_is_told_with_its_size_and_place(name: str, tmp_path: Path) -> None:
    target: Any = datasets.get(name).resolve()
    told = target.availability(root=tmp_path)
    assert (told.ready, told.place) == (False, tmp_path)
    assert told.size > 1_000_000
    assert target.availability(root=tmp_path, download=False).size is None
    host = {"split": "train"} if "split" in datasets.signature(name).wants else {}
    with pytest.raises(BirdplaneError, match=r"are not in '.*'; set dataset.download = true to have about"):
        datasets.create(name, root=str(tmp_path), download=False, **host)


@pytest.mark.parametrize("name", _NAMES)
def test_each_is_a_dataset_of_torchvisions_that_takes_what_it_is_given(name: str) -> None:
    target: Any = datasets.get(name).resolve()
    taken = inspect.signature(getattr(torchvision.datasets, target.source)).parameters
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values()):
        given = {"root", "download"}
        given |= (
            {key for split in target.splits.values() for key in split}
            if name != "torchvision/eurosat"
            else set()
        )
        assert given <= taken.keys()


def test_none_of_them_is_read_by_unpickling() -> None:
    sources = {datasets.get(name).resolve().source for name in _NAMES}  # type: ignore[attr-defined]
    assert not sources & {"CIFAR10", "CIFAR100"}
    for source in sources:
        module = inspect.getmodule(getattr(torchvision.datasets, source))
        assert module is not None
        assert "pickle" not in inspect.getsource(module)


def test_a_download_that_fails_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for scheme in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(scheme, "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(BirdplaneError, match=r"^GTSRB cannot be opened in ") as told:
        datasets.create("torchvision/gtsrb", split="train", root=str(tmp_path))
    assert "\n" not in str(told.value)


def test_a_model_trains_on_a_dataset_by_the_commands(birdplane: Command, tmp_path: Path) -> None:
    write_idx(tmp_path / "data/MNIST/raw", 64)
    (tmp_path / "p.toml").write_text(
        f"""
        [dataset]
        use = "torchvision/mnist"
        root = {json.dumps(str(tmp_path / "data"))}
        [[transforms]]
        use = "torchvision/preprocess"
        model = "resnet18"
        size = 32
        [model]
        use = "torchvision/resnet18"
        [loss]
        use = "cross-entropy"
        [optimizer]
        use = "adamw"
        [training]
        epochs = 1
        batch_size = 16
        device = "cpu"
        """
    )
    done = birdplane("train", "p.toml", "--run", "r", "--json")
    assert done.returncode == 0, done.stderr
    (epoch,) = [e for e in map(json.loads, done.stdout.splitlines()) if e["event"] == "epoch"]
    assert epoch["validation_accuracy"] is not None
    evaluated = birdplane("evaluate", "r", "--json")
    assert evaluated.returncode == 0, evaluated.stderr
    assert json.loads(evaluated.stdout)["splits"][1]["accuracy"] == pytest.approx(
        epoch["validation_accuracy"]
    )


@pytest.mark.long
def test_the_plugin_passes_birdplanes_conformance_checks(birdplane: Command) -> None:
    done = birdplane("check-plugin", "torchvision")
    assert done.returncode == 0, done.stdout + done.stderr
