"""CIFAR-10 and parts of it, from the official binary archive.

A record of the archive is 1 label byte and 3,072 bytes of pixels: the red, green and blue planes, row by
row. After the archive is verified its pictures are kept in the cache as plain `.npy` files, in a folder named
by the archive's checksum, so that the next start maps them instead of unpacking 170 MB again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from typing_extensions import Doc

from birdplane import durable
from birdplane.cache import cache_folder
from birdplane.errors import BirdplaneError, UsageError, nearest
from birdplane.reporting import task
from birdplane_builtin.archive import read_members
from birdplane_builtin.download import (
    cannot_store,
    fetch,
    is_verified,
    local_path,
    locked,
    mismatch,
    note_verified,
    sha256_of,
    write_in_place,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
SIZE = 170_052_171
SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

_FOLDER = "cifar-10-batches-bin"
_META = "batches.meta.txt"
_BATCHES = {"train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test": ("test_batch.bin",)}
_RECORD = 1 + 3 * 32 * 32
#: The official archive unpacks to 184,380,088 bytes.
_UNPACKED_LIMIT = 256 << 20
_FORMAT = 1
#: A folder with more is none of CIFAR-10's, and is not worth counting.
_MOST_FILES = 1000

Split = Literal["train", "test"]
Classes = Annotated[list[str] | None, Doc("The classes to keep, labelled 0, 1, ... in this order.")]
Source = Annotated[
    str | None,
    Doc(
        "Another place of cifar-10-binary.tar.gz: the URL of a mirror, the path of the file, or the path of "
        "the unpacked folder. By default it is downloaded from its authors (170 MB, once)."
    ),
]
Sha256 = Annotated[
    str | None, Doc("The SHA-256 that the archive must have, if not the official one. A folder has none.")
]


@dataclass(frozen=True)
class Availability:
    """Whether data is there.

    Attributes:
        ready: it can be used without a download.
        place: where it is, or where it will be.
        size: in bytes: of what lies there if it is ready, else of the download; None if that is unknown.
    """

    ready: bool
    place: Path
    size: int | None


class Cifar10:
    """CIFAR-10: 32x32 colour pictures of ten classes, 5,000 of each to train with and 1,000 to test.

    `ds[i]` is (RGB picture, label). `ds.images(indices)` and `ds.labels(indices)` are whole batches.

    Attributes:
        classes: the names of the labels.

    Raises:
        UsageError: a parameter cannot be right.
        BirdplaneError: the archive cannot be had, or is not what it should be.
    """

    _default_classes: tuple[str, ...] | None = None

    def __init__(
        self, *, split: Split, classes: Classes = None, source: Source = None, sha256: Sha256 = None
    ) -> None:
        _check_split(split)
        digest = _checked_digest(sha256)
        wanted = list(self._default_classes or ()) if classes is None else _checked_choice(classes)
        if digest == SHA256 and _checked_place(source) is None:
            _check_known(wanted, CLASSES)
        stored = _load(split, source, digest, named=sha256 is not None)
        _check_known(wanted, stored.classes)
        self.classes: tuple[str, ...] = tuple(wanted) or stored.classes
        #: The archive, or the unpacked folder, that the pictures are from.
        self.place: Path = _checked_place(source) or _archive_in(_cache(digest))
        #: The label that each class has there.
        self.numbers: list[int] = [stored.classes.index(name) for name in self.classes]
        self._stored = stored
        self._rows, self._labels = _chosen(stored, self.classes, required=wanted, split=split)

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Image, int]:
        from PIL import Image

        index = range(len(self))[index]
        pixels_HWC = self._stored.images[self._rows[index]].transpose(1, 2, 0)
        return Image.fromarray(pixels_HWC.copy()), int(self._labels[index])

    def images(self, indices: Sequence[int] | NDArray[np.integer[Any]]) -> NDArray[np.uint8]:
        """Return the pictures as uint8 (n, 3, 32, 32), in the order of `indices`."""
        import numpy as np

        return np.asarray(self._stored.images[self._rows[_as_array(indices)]])

    def labels(self, indices: Sequence[int] | NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        """Return the labels as int64 (n,), in the order of `indices`."""
        return self._labels[_as_array(indices)]

    @classmethod
    def availability(
        cls, *, classes: Classes = None, source: Source = None, sha256: Sha256 = None
    ) -> Availability:
        """Say whether the data that these parameters ask for is there; nothing is downloaded, made or hashed.

        Raises:
            BirdplaneError: there is no cache folder to look into.
        """
        place = local_path(source) if source else None
        if place is not None:
            found = os.path.exists(place)  # noqa: PTH110
            return Availability(found, place, _bytes_in(place) if found else None)
        digest = _checked_digest(sha256)
        folder = _cache(digest)
        if _Entry(folder).contents() or _archive_in(folder).is_file():
            return Availability(True, folder, _bytes_in(folder))
        return Availability(False, folder, SIZE if digest == SHA256 else None)


class Cifar2(Cifar10):
    """Two classes of CIFAR-10, airplane and bird unless others are named: 10,000 to train, 2,000 to test."""

    _default_classes = ("airplane", "bird")


@dataclass(frozen=True)
class _Stored:
    """One split as the archive has it: uint8 (n, 3, 32, 32), and the official labels, uint8 (n,).

    Where the pictures are a file that is mapped, `file` names it, and only its name is pickled.
    """

    classes: tuple[str, ...]
    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    place: Path
    file: Path | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ if self.file is None else {**self.__dict__, "images": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self.file is not None:
            self.__dict__["images"] = _mapped(self.file)


@dataclass(frozen=True)
class _Entry:
    """The decoded pictures of one archive in the cache."""

    folder: Path

    @property
    def ledger(self) -> Path:
        return self.folder / "verified.json"

    def contents(self) -> dict[str, Any] | None:
        """Return the entry's record: `classes`, and the SHA-256 of `files` by name; None if there is none."""
        try:
            record = json.loads((self.folder / "entry.json").read_text(encoding="utf-8"))
            texts = [*record["classes"], *record["files"].values()]
            whole = (
                record["format"] == _FORMAT
                and all(isinstance(text, str) for text in texts)
                and all((self.folder / name).is_file() for name in record["files"])
            )
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return None
        return record if whole else None

    def open(self, split: str) -> _Stored | None:
        """Map a split; None if it is not there, or is not as it was written."""
        record = self.contents()
        if record is None:
            return None
        names = [f"{split}-images.npy", f"{split}-labels.npy"]
        if not all(
            is_verified(self.folder / name, record["files"].get(name, ""), self.ledger) for name in names
        ):
            return None
        images, labels = (self.folder / name for name in names)
        try:
            found = _Stored(tuple(record["classes"]), _mapped(images), _mapped(labels), self.folder, images)
        except (OSError, ValueError):  # arrays of objects, for which somebody has made the sum right
            return None
        # Nor is it one of ours with other arrays than those of pictures and their labels.
        shape = (len(found.labels), 3, 32, 32)
        return found if (found.images.shape, found.labels.ndim) == (shape, 1) else None

    def write(self, classes: tuple[str, ...], arrays: Mapping[str, NDArray[np.uint8]]) -> None:
        """Write the arrays, each under its name; the record of them comes last."""
        import numpy as np

        record = self.folder / "entry.json"
        record.unlink(missing_ok=True)
        files = {}
        for name, array in arrays.items():
            path = self.folder / f"{name}.npy"
            write_in_place(path, lambda file, array=array: np.save(file, array, allow_pickle=False))  # type: ignore[misc]
            files[path.name] = sha256_of(path)
            note_verified(path, files[path.name], self.ledger)
        text = json.dumps({"format": _FORMAT, "classes": classes, "files": files}, indent=1)
        durable.replace_file(record, text.encode())


def _load(split: Split, source: str | None, digest: str, *, named: bool) -> _Stored:
    """Return a split from the cache, or from `source` by way of it; a folder is read where it is."""
    place = _checked_place(source)
    if place is not None and place.is_dir():
        return _from_folder(place, split)
    entry = _Entry(_cache(digest))
    if place is not None and not is_verified(place, digest, entry.ledger):
        raise _wrong_archive(place, digest, named)
    stored = entry.open(split)
    if stored is not None:
        return stored
    with locked(entry.folder / "entry"):
        stored = entry.open(split)
        if stored is None:
            _prepare(entry, place or _fetched(entry, source, digest), digest)
            stored = entry.open(split)
    if stored is None:
        raise BirdplaneError(
            f"{entry.folder}: what was just written there reads back differently; is the disk sound?"
        )
    return stored


def _fetched(entry: _Entry, source: str | None, digest: str) -> Path:
    archive = _archive_in(entry.folder)
    if not is_verified(archive, digest, entry.ledger):
        fetch([source or URL], archive, size=SIZE if digest == SHA256 else None, sha256=digest)
        note_verified(archive, digest, entry.ledger)
    return archive


def _prepare(entry: _Entry, archive: Path, digest: str) -> None:
    """Unpack the verified archive into the entry."""
    names = [f"{_FOLDER}/{name}" for name in (_META, *_BATCHES["train"], *_BATCHES["test"])]
    contents = {}
    with task(f"unpacking {archive.name}", len(names), "files") as advance:
        for name, content in read_members(archive, names, limit=_UNPACKED_LIMIT):
            contents[name.removeprefix(f"{_FOLDER}/")] = content
            advance(1)
    classes = _class_names(contents.pop(_META), archive)
    arrays = {}
    for split, batches in _BATCHES.items():
        records = [_records(contents.pop(name), f"{archive}: {name}", len(classes)) for name in batches]
        arrays[f"{split}-images"], arrays[f"{split}-labels"] = _joined(records, f"{archive}: {batches[0]}")
    with _storing(entry.folder):
        entry.write(classes, arrays)


def _from_folder(folder: Path, split: Split) -> _Stored:
    """Read one split of the unpacked archive; `folder` is that folder or the one that holds it."""
    if not (folder / _META).is_file() and (folder / _FOLDER).is_dir():
        folder = folder / _FOLDER
    classes = _class_names(_content(folder, _META), folder)
    with task(f"reading {folder.name}", len(_BATCHES[split]), "files") as advance:
        records = []
        for name in _BATCHES[split]:
            records.append(_records(_content(folder, name), str(folder / name), len(classes)))
            advance(1)
    images_NCHW, labels_N = _joined(records, str(folder / _BATCHES[split][0]))
    return _Stored(classes, images_NCHW, labels_N, folder)


def _content(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        pickled = folder / "data_batch_1"
        hint = "; this is the Python version of CIFAR-10" if pickled.exists() else ""
        raise BirdplaneError(
            f"{folder / name}: cannot be read ({error.strerror or error}); dataset.source takes the unpacked "
            f"folder {_FOLDER} of the binary version{hint}"
        ) from error


def _class_names(content: bytes, where: Path) -> tuple[str, ...]:
    names = tuple(line.strip() for line in content.decode("utf-8", "replace").splitlines() if line.strip())
    if not 2 <= len(names) <= 256 or len(set(names)) < len(names):
        raise BirdplaneError(f"{where}: {_META} should list the names of the classes, one a line")
    return names


def _records(content: bytes, where: str, num_classes: int) -> NDArray[np.uint8]:
    """Return the records of a batch file as uint8 (n, 3073)."""
    import numpy as np

    if len(content) % _RECORD:
        raise BirdplaneError(
            f"{where}: has {len(content):,} bytes, which is no multiple of {_RECORD:,}: cut short?"
        )
    table = np.frombuffer(content, np.uint8).reshape(-1, _RECORD)
    if len(table) and table[:, 0].max() >= num_classes:
        raise BirdplaneError(
            f"{where}: has the label {table[:, 0].max()}, but there are {num_classes} classes"
        )
    return table


def _joined(records: list[NDArray[np.uint8]], where: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    import numpy as np

    if not any(len(table) for table in records):
        raise BirdplaneError(f"{where}: there is no picture in it")
    images_NCHW = np.concatenate([table[:, 1:] for table in records]).reshape(-1, 3, 32, 32)
    return images_NCHW, np.concatenate([table[:, 0] for table in records])


def _chosen(
    stored: _Stored, classes: tuple[str, ...], *, required: Iterable[str], split: Split
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of these classes, in the archive's order, and their new labels."""
    import numpy as np

    new_label = np.full(256, -1, np.int64)
    for label, name in enumerate(classes):
        new_label[stored.classes.index(name)] = label
    labels_N = new_label[stored.labels]
    rows = np.flatnonzero(labels_N >= 0)
    labels_N = labels_N[rows]
    there = {classes[label] for label in np.unique(labels_N)}
    absent = [name for name in required if name not in there]
    if absent or not there:
        raise BirdplaneError(
            f"{stored.place}: has no {split} picture of {absent[0] if absent else 'any class'!r}"
        )
    return rows, labels_N


def _as_array(indices: Sequence[int] | NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    import numpy as np

    return np.asarray(indices, dtype=np.int64)


def _mapped(path: Path) -> NDArray[np.uint8]:
    import numpy as np

    array: NDArray[np.uint8] = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(array, np.ndarray) or array.dtype != np.uint8:
        raise ValueError(f"{path} is no array of bytes")
    return array


def _check_split(split: str) -> None:
    if split not in _BATCHES:
        raise UsageError(f"split is {split!r}; it is 'train' or 'test'{nearest(split, _BATCHES)}")


def _checked_digest(sha256: str | None) -> str:
    digest = (sha256 or SHA256).lower()
    if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
        raise UsageError(f"dataset.sha256 is {sha256!r}; a SHA-256 is 64 hexadecimal digits")
    return digest


def _checked_choice(classes: Sequence[str]) -> list[str]:
    twice = [name for name in classes if list(classes).count(name) > 1]
    if twice:
        raise UsageError(f"dataset.classes names {twice[0]!r} twice")
    if len(classes) < 2:
        raise UsageError(
            f"dataset.classes is {list(classes)}; to tell pictures apart takes at least two classes"
        )
    return list(classes)


def _check_known(classes: Iterable[str], known: Sequence[str]) -> None:
    for name in classes:
        if name not in known:
            raise UsageError(
                f"dataset.classes: there is no class {name!r}; "
                f"the classes are {', '.join(known)}{nearest(name, known)}"
            )


def _checked_place(source: str | None) -> Path | None:
    """Return the local file or folder that `source` names; None if it is an address to download from."""
    if not source:
        return None
    place = local_path(source)
    if place is None:
        if not source.lower().startswith(("http://", "https://")):
            raise UsageError(f"dataset.source is {source!r}; it is an http, https or file address, or a path")
        return None
    # `os.path`, as `Path` raises for a name that is too long.
    if os.path.isfile(place) or os.path.isdir(place):  # noqa: PTH112, PTH113
        return place.resolve()
    if os.path.exists(place):  # noqa: PTH110
        raise UsageError(f"dataset.source: {str(place)!r} is neither a file nor a folder")
    beside = [other.name for other in place.parent.iterdir()] if os.path.isdir(place.parent) else []  # noqa: PTH112
    raise UsageError(
        f"dataset.source: there is no file or folder {str(place)!r}{nearest(place.name, beside)}"
    )


def _wrong_archive(place: Path, digest: str, named: bool) -> BirdplaneError:
    problem = mismatch(place, size=None if named else SIZE, sha256=digest) or "changed while it was read"
    if named:
        return BirdplaneError(f"{place}: {problem}, which dataset.sha256 asks for")
    return BirdplaneError(
        f"{place}: {problem}, as the official archive has; it is damaged, or another archive: "
        "then set dataset.sha256 to its own"
    )


def _cache(digest: str) -> Path:
    return cache_folder() / "cifar10" / digest


def _archive_in(folder: Path) -> Path:
    return folder / "cifar-10-binary.tar.gz"


def _bytes_in(place: Path) -> int | None:
    if os.path.isfile(place):  # noqa: PTH113
        return place.stat().st_size
    files = [path for path in islice(place.rglob("*"), _MOST_FILES) if path.is_file()]
    return sum(path.stat().st_size for path in files) if 0 < len(files) < _MOST_FILES else None


@contextmanager
def _storing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise cannot_store(folder, error) from error
