from __future__ import annotations

import hashlib
import http.server
import inspect
import io
import os
import pickle
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from birdplane import reporting
from birdplane.errors import BirdplaneError, UsageError
from birdplane_builtin import cifar
from birdplane_builtin.cifar import CLASSES, Cifar2, Cifar10

TRAIN, TEST = 40, 20


@dataclass(frozen=True)
class Made:
    """A small archive in the official layout, its checksum, and the records in it: uint8 (n, 3073)."""

    path: Path
    sha256: str
    train: np.ndarray
    test: np.ndarray

    def open(self, split: str = "train", **parameters: object) -> Cifar10:
        return Cifar10(split=split, source=str(self.path), sha256=self.sha256, **parameters)


def make(path: Path, *, drop: str = "", **replaced: bytes) -> Made:
    """Write an archive with random pictures, every class equally often; files may be replaced or dropped."""
    rng = np.random.default_rng(0)
    train, test = (rng.integers(0, 256, (n, 3073), np.uint8) for n in (TRAIN, TEST))
    for table in (train, test):
        table[:, 0] = np.arange(len(table)) % 10
    files = {f"data_batch_{i}": part.tobytes() for i, part in enumerate(np.array_split(train, 5), 1)}
    files |= {"test_batch": test.tobytes(), **replaced}
    names = {f"{name}.bin": content for name, content in files.items() if name != "meta"}
    names["batches.meta.txt"] = replaced.get("meta", "\n".join([*CLASSES, "", ""]).encode())
    with tarfile.open(path, "w:gz") as tar:
        for name, content in names.items():
            if name != drop:
                info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return Made(path, hashlib.sha256(path.read_bytes()).hexdigest(), train, test)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BIRDPLANE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return make(tmp_path / "small.tar.gz")


@pytest.fixture
def mirror(made: Made) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            return

    handler = partial(Quiet, directory=str(made.path.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/{made.path.name}"
        server.shutdown()
        thread.join()


def tasks_of(act: object) -> list[str]:
    titles: list[str] = []

    def listen(title: str, done: int, total: int | None, unit: str) -> None:
        if done == 0:
            titles.append(title)

    with reporting.listening(listen):
        act()  # type: ignore[operator]
    return titles


def test_all_pictures_of_a_split_are_there_in_order(made: Made) -> None:
    for split, records in (("train", made.train), ("test", made.test)):
        ds = made.open(split)
        assert ds.classes == CLASSES
        assert len(ds) == len(records)
        assert np.array_equal(ds.images(range(len(ds))), records[:, 1:].reshape(-1, 3, 32, 32))
        assert ds.labels(range(len(ds))).tolist() == records[:, 0].tolist()


def test_a_picture_is_rgb_with_its_label(made: Made) -> None:
    picture, label = made.open()[13]
    assert (picture.mode, picture.size, label) == ("RGB", (32, 32), 3)
    assert np.array_equal(np.asarray(picture).transpose(2, 0, 1).ravel(), made.train[13, 1:])


def test_indices_are_those_of_a_list(made: Made) -> None:
    ds = made.open()
    assert ds[-1][0].tobytes() == ds[TRAIN - 1][0].tobytes()
    for outside in (TRAIN, -TRAIN - 1):
        with pytest.raises(IndexError):
            ds[outside]
        with pytest.raises(IndexError):
            ds.images([outside])


def test_batches_have_the_promised_types_and_are_the_callers_own(made: Made) -> None:
    ds = made.open()
    images, labels = ds.images(np.array([3, 3, -1])), ds.labels([3, 3, -1])
    assert (type(images), images.dtype, images.shape) == (np.ndarray, np.uint8, (3, 3, 32, 32))
    assert (labels.dtype, labels.tolist()) == (np.int64, [3, 3, 9])
    images[:] = 0
    assert ds.images([3]).any()
    assert ds.images([]).shape == (0, 3, 32, 32)


def test_classes_are_labelled_in_the_given_order(made: Made) -> None:
    ds = made.open(classes=["ship", "cat"])
    assert ds.classes == ("ship", "cat")
    assert sorted(ds.labels(range(len(ds))).tolist()) == [0] * 4 + [1] * 4
    of_ships = made.train[made.train[:, 0] == 8][:, 1:]
    ships = ds.images([i for i in range(len(ds)) if ds.labels([i])[0] == 0])
    assert np.array_equal(ships.reshape(-1, 3072), of_ships)


def test_cifar2_is_airplanes_and_birds_unless_others_are_named(made: Made) -> None:
    source = {"source": str(made.path), "sha256": made.sha256}
    assert Cifar2(split="test", **source).classes == ("airplane", "bird")
    assert Cifar2(split="test", classes=["dog", "cat"], **source).classes == ("dog", "cat")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"classes": ["bird", "airplan"]},
            "no class 'airplan'; the classes are airplane, .*; did you mean 'airplane'",
        ),
        ({"classes": ["bird", "bird"]}, "names 'bird' twice"),
        ({"classes": ["bird"]}, "at least two classes"),
        ({"classes": []}, "at least two classes"),
        ({"split": "trian"}, "split is 'trian'; it is 'train' or 'test'; did you mean 'train'"),
        ({"sha256": "abc"}, "sha256 is 'abc'; a SHA-256 is 64 hexadecimal digits"),
        ({"source": "ftp://host/file"}, "it is an http, https or file address, or a path"),
    ],
)
def test_a_wrong_parameter_is_told_before_anything_is_fetched(
    parameters: dict[str, object], message: str, cache: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        Cifar10(**{"split": "train", **parameters})
    assert not cache.exists()


def test_a_source_that_is_not_there_is_told_with_the_nearest_name(made: Made) -> None:
    with pytest.raises(UsageError, match=r"no file or folder .*smal.tar.gz'; did you mean 'small.tar.gz'"):
        Cifar10(split="train", source=str(made.path.with_name("smal.tar.gz")))


def test_an_archive_with_another_checksum_is_refused_with_the_way_to_allow_it(made: Made) -> None:
    with pytest.raises(
        BirdplaneError, match=r"instead of 170,052,171, as the official archive has.*dataset.sha256"
    ):
        Cifar10(split="train", source=str(made.path))
    with pytest.raises(BirdplaneError, match=f"has the SHA-256 {made.sha256} instead of 0000"):
        Cifar10(split="train", source=str(made.path), sha256="0" * 64)


def test_an_archive_that_changed_since_is_verified_again(made: Made) -> None:
    made.open()
    content = bytearray(made.path.read_bytes())
    content[-1] ^= 1
    made.path.write_bytes(content)
    with pytest.raises(BirdplaneError, match="SHA-256"):
        made.open()


def test_a_mirror_is_downloaded_once(made: Made, mirror: str) -> None:
    def load() -> None:
        ds = Cifar10(split="test", source=mirror, sha256=made.sha256)
        assert np.array_equal(ds.images([0])[0].ravel(), made.test[0, 1:])

    assert "downloading cifar-10-binary.tar.gz" in tasks_of(load)
    assert tasks_of(load) == []


def test_a_mirror_that_fails_is_told(made: Made, mirror: str) -> None:
    with pytest.raises(BirdplaneError, match=r"answers 404 .*dataset\.source=PATH or URL"):
        Cifar10(split="test", source=f"{mirror}.absent", sha256=made.sha256)


@pytest.mark.parametrize("inner", ["", "cifar-10-batches-bin"])
def test_an_unpacked_folder_is_read_where_it_is(made: Made, tmp_path: Path, inner: str, cache: Path) -> None:
    with tarfile.open(made.path) as tar:
        tar.extractall(tmp_path / "out", filter="data")
    ds = Cifar10(split="train", source=str(tmp_path / "out" / inner))
    assert np.array_equal(ds.images(range(TRAIN)).reshape(TRAIN, -1), made.train[:, 1:])
    assert not cache.exists()


def test_a_folder_that_lacks_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "data_batch_1").write_bytes(b"")
    with pytest.raises(
        BirdplaneError, match=r"batches\.meta\.txt: cannot be read.*the Python version of CIFAR-10"
    ):
        Cifar10(split="train", source=str(tmp_path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data_batch_2": bytes(3072)}, r"data_batch_2.bin: has 3,072 bytes, which is no multiple of 3,073"),
        (
            {"test_batch": b"\x0a" + bytes(3072)},
            r"test_batch.bin: has the label 10, but there are 10 classes",
        ),
        ({"test_batch": b""}, r"test_batch.bin: there is no picture in it"),
        ({"meta": b""}, r"batches.meta.txt should list the names of the classes"),
        ({"drop": "data_batch_5.bin"}, r"the archive has no 'cifar-10-batches-bin/data_batch_5.bin'"),
    ],
    ids=["torn record", "wrong label", "no picture", "no names", "missing batch"],
)
def test_an_archive_that_is_not_cifar_is_told(tmp_path: Path, change: dict[str, bytes], message: str) -> None:
    with pytest.raises(BirdplaneError, match=message):
        make(tmp_path / "odd.tar.gz", **change).open("train")


def test_a_class_without_a_picture_is_told_if_it_was_named(tmp_path: Path) -> None:
    made = make(tmp_path / "few.tar.gz", test_batch=(b"\x00" + bytes(3072)) * 3)
    assert len(made.open("test")) == 3
    with pytest.raises(BirdplaneError, match="has no test picture of 'bird'"):
        made.open("test", classes=["airplane", "bird"])


def test_a_second_start_neither_hashes_nor_unpacks(made: Made) -> None:
    assert "unpacking small.tar.gz" in tasks_of(made.open)
    assert tasks_of(made.open) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: b"",
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
        lambda content: b"x" + content[1:],
    ],
    ids=["cut short", "empty", "flipped byte", "no header"],
)
@pytest.mark.parametrize("name", ["train-images.npy", "train-labels.npy", "entry.json"])
def test_a_damaged_cache_is_made_anew(made: Made, cache: Path, name: str, damage: object) -> None:
    made.open()
    file = cache / "cifar10" / made.sha256 / name
    file.write_bytes(damage(file.read_bytes()))  # type: ignore[operator]
    ds = made.open()
    assert np.array_equal(ds.images(range(TRAIN)).reshape(TRAIN, -1), made.train[:, 1:])
    assert ds.labels(range(TRAIN)).tolist() == made.train[:, 0].tolist()


def test_a_cache_that_was_copied_is_used(made: Made, cache: Path) -> None:
    made.open()
    for file in (cache / "cifar10" / made.sha256).iterdir():
        os.utime(file, ns=(1, 1))
    titles = tasks_of(made.open)
    assert not any(title.startswith("unpacking") for title in titles)


def test_a_cache_that_cannot_be_written_is_told(made: Made, cache: Path) -> None:
    cache.write_text("a file is in the way")
    with pytest.raises(BirdplaneError, match=r"cannot be written.*BIRDPLANE_CACHE"):
        made.open()


def test_processes_that_start_together_unpack_once(made: Made, cache: Path) -> None:
    program = (
        "import sys; from birdplane_builtin.cifar import Cifar10;"
        "print(len(Cifar10(split='train', source=sys.argv[1], sha256=sys.argv[2])))"
    )
    command = [sys.executable, "-c", program, str(made.path), made.sha256]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    running = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    assert [process.communicate(timeout=60)[0].strip() for process in running] == [str(TRAIN)] * 2


def test_a_dataset_can_be_pickled_and_its_pictures_stay_in_the_file(made: Made) -> None:
    ds = made.open(classes=["cat", "dog"])
    data = pickle.dumps(ds)
    assert len(data) < 3000
    again = pickle.loads(data)
    assert again.classes == ds.classes
    assert np.array_equal(again.images(range(8)), ds.images(range(8)))


def test_availability_is_known_without_a_download(made: Made, mirror: str, cache: Path) -> None:
    official = Cifar10.availability()
    assert (official.ready, official.size) == (False, 170_052_171)
    assert official.place == cache / "cifar10" / cifar.SHA256
    assert not Cifar10.availability(source=mirror, sha256=made.sha256).ready
    Cifar10(split="test", source=mirror, sha256=made.sha256)
    ready = Cifar2.availability(source=mirror, sha256=made.sha256)
    assert ready.ready
    assert ready.size is not None
    assert ready.size > (TRAIN + TEST) * 3073
    assert Cifar10.availability(source=str(made.path)).size == made.path.stat().st_size
    assert not Cifar10.availability(source="absent.tar.gz").ready


def test_parameters_are_readable_without_numpy() -> None:
    program = (
        "import inspect, sys; from birdplane_builtin.cifar import Cifar2; "
        "inspect.signature(Cifar2, eval_str=True); "
        "print([name for name in ('numpy', 'PIL', 'torch', 'urllib.request') if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    found = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"
    assert set(inspect.signature(Cifar10).parameters) == {"split", "classes", "source", "sha256"}


@pytest.mark.alone
def test_the_real_airplanes_and_birds_start_quickly(cifar2_archive: tuple[Path, str]) -> None:
    path, sha256 = cifar2_archive
    train = Cifar2(split="train", source=str(path), sha256=sha256)
    test = Cifar2(split="test", source=str(path), sha256=sha256)
    assert (len(train), len(test)) == (10_000, 1_000)
    assert np.bincount(train.labels(range(10_000))).tolist() == [5_000, 5_000]
    started = time.perf_counter()
    Cifar2(split="train", source=str(path), sha256=sha256)
    assert time.perf_counter() - started < 0.1
