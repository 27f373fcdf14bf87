"""Anybody's own pictures: a folder, or a zip, with a folder for each class.

Every picture becomes RGB, 8 bits, `size` x `size`:

- turned upright as its EXIF orientation says; of an animation, the first frame;
- transparency laid over white; 16-bit grey scaled to 8 bits, not clipped; colour profiles are not applied;
- the largest square around its centre, resized bilinearly with antialiasing: shapes keep their proportions,
  and what is lost at the long sides is what photographs of one thing can spare. A picture that has the size
  already is left as Pillow decodes it.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, Literal, Protocol, TypeVar

from annotated_types import Ge, Gt, Le, Lt
from typing_extensions import Doc

from birdplane.errors import BirdplaneError, UsageError, nearest
from birdplane.pictures import BrokenPictureError, decode_picture, look_at, picture_extensions
from birdplane.reporting import task
from birdplane_builtin.archive import MemberError, ZipFolder, is_zip

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

_Item = TypeVar("_Item")

_MOST_BYTES = 512 << 20
_CHUNK = 32
#: Fewer pictures than this are not worth a progress report.
_MANY = 512
_TRAIN = "train"
_TEST_NAMES = ("test", "val", "valid", "validation")
#: Also what macOS packs beside the files.
_HIDDEN = re.compile(r"(^|/)(\.|__MACOSX(/|$))")


class ImageFolder:
    """Labelled pictures from files: `ds[i]` is (RGB picture, label); `images` and `labels` give batches.

    The training and test pictures are those below `train/` and `test/` (or `val/`, `valid/`, `validation/`),
    if there are such; else each class is divided by `test_fraction`: which file goes where depends on its
    name and `seed` only, so adding a picture moves at most one other. In a zip, a single folder around all
    the others is looked into. Hidden files, files that are no pictures by their extension, and links that
    lead out of the folder (or to a folder) are left out.

    Attributes:
        classes: the names of the labels: the folders' names, sorted, unless `classes` says otherwise.
        files: the name of each picture, relative to `path`.
        skipped: (name, reason) of each picture left out because it is broken.
        ignored: the names of the files and links left out because they are no pictures.

    Raises:
        UsageError: a parameter cannot be right.
        BirdplaneError: the folder is not of that form, or a picture is broken and `on_error` is "error": one
            that is empty, too large or no picture at all is found at once, one that is cut short when it is
            decoded.
    """

    def __init__(
        self,
        *,
        split: Literal["train", "test"],
        path: Annotated[Path, Doc("A folder, or a zip, with a folder of pictures for each class.")],
        classes: Annotated[
            list[str] | None, Doc("The classes to keep, labelled 0, 1, ... in this order.")
        ] = None,
        size: Annotated[
            int, Ge(1), Le(4096), Doc("Height and width of every picture, in pixels: centre square, resized.")
        ] = 32,
        test_fraction: Annotated[
            float, Gt(0), Lt(1), Doc("The part of each class to test on, where there is no folder test/.")
        ] = 0.2,
        seed: Annotated[int, Ge(0), Doc("Another seed tests on other pictures.")] = 0,
        on_error: Annotated[
            Literal["error", "skip"],
            Doc("What a broken picture does: stop, or be left out (all are decoded once to find out)."),
        ] = "error",
    ) -> None:
        _check_word("split", split, ("train", "test"))
        _check_word("dataset.on_error", on_error, ("error", "skip"))
        if size < 1:
            raise UsageError(f"dataset.size is {size}; it is at least 1")
        if not 0 < test_fraction < 1:
            raise UsageError(f"dataset.test_fraction is {test_fraction}; it is above 0 and below 1")
        self.path = Path(os.path.expanduser(path))  # noqa: PTH111 - never raises
        self.size = size
        self._folder = _open(self.path)
        tree = _tree(self._folder, self.path)
        self.classes: tuple[str, ...] = _classes(tree, classes, self.path)
        self.ignored: tuple[str, ...] = tree.ignored
        #: The folders of the two parts, with a `/` at their end; None where each class is divided.
        self.folders = None if tree.test is None else {"train": tree.train[0], "test": tree.test[0]}
        chosen = _chosen(tree, self.classes, split, test_fraction, seed, self.path)
        self._use(chosen)
        self.skipped: list[tuple[str, str]] = []
        if on_error == "skip":
            self._skip_broken(split)
        else:
            self._refuse_broken()

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Image, int]:
        index = range(len(self))[index]
        return self._picture(self.files[index]), self._labels[index]

    def images(self, indices: Sequence[int] | NDArray[np.integer[Any]]) -> NDArray[np.uint8]:
        """Return the pictures as uint8 (n, 3, size, size), in the order of `indices`.

        Raises:
            BirdplaneError: a picture is broken.
        """
        import numpy as np

        names = [self.files[int(index)] for index in indices]
        images_NCHW = np.empty((len(names), 3, self.size, self.size), np.uint8)

        def decode(row: int) -> None:
            images_NCHW[row] = np.asarray(self._picture(names[row])).transpose(2, 0, 1)

        _for_each(decode, range(len(names)), f"decoding {self.path.name}")
        return images_NCHW

    def labels(self, indices: Sequence[int] | NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        """Return the labels as int64 (n,), in the order of `indices`."""
        import numpy as np

        return np.array([self._labels[int(index)] for index in indices], np.int64)

    def _use(self, chosen: Iterable[tuple[str, int]]) -> None:
        pairs = tuple(chosen)
        self.files: tuple[str, ...] = tuple(name for name, _ in pairs)
        self._labels: tuple[int, ...] = tuple(label for _, label in pairs)

    def _picture(self, name: str) -> Image:
        try:
            return decode_picture(self._folder.open(name), (self.size, self.size))
        except BrokenPictureError as error:
            raise self._broken(name, str(error)) from error

    def _broken(self, name: str, reason: str) -> BirdplaneError:
        return BirdplaneError(
            f"{self.path / name}: is not a picture that can be used: {reason}; mend or remove it, or set "
            'dataset.on_error = "skip"'
        )

    def _refuse_broken(self) -> None:
        def look(name: str) -> None:
            try:
                look_at(self._folder.open(name))
            except BrokenPictureError as error:
                raise self._broken(name, str(error)) from error

        _for_each(look, self.files, f"looking through {self.path.name}")

    def _skip_broken(self, split: str) -> None:
        reasons: dict[str, str] = {}

        def verify(name: str) -> None:
            try:
                decode_picture(self._folder.open(name), (self.size, self.size))
            except BrokenPictureError as error:
                reasons[name] = str(error)

        _for_each(verify, self.files, f"verifying {self.path.name}")
        self.skipped = [(name, reasons[name]) for name in self.files if name in reasons]
        self._use([pair for pair in zip(self.files, self._labels, strict=True) if pair[0] not in reasons])
        for label, name in enumerate(self.classes):
            if label not in self._labels:
                raise BirdplaneError(f"{self.path}: every {split} picture of the class {name!r} is broken")


def _for_each(act: Callable[[_Item], None], items: Sequence[_Item], title: str) -> None:
    """Call `act` for every item, on a few threads: Pillow decodes without holding the interpreter's lock.

    The threads live as long as the call, so there are none to lose when a process is forked. In a worker
    process there is one: the other workers are at work already.
    """
    chunks = [items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK)]

    def do(chunk: Sequence[_Item]) -> int:
        for item in chunk:
            act(item)
        return len(chunk)

    with _progress(title, len(items)) as advance:
        threads = min(_threads(), len(chunks))
        if threads <= 1:
            for chunk in chunks:
                advance(do(chunk))
            return
        with ThreadPoolExecutor(threads) as pool:
            for done in pool.map(do, chunks):
                advance(done)


def _progress(title: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
    return task(title, total, "pictures") if total >= _MANY else nullcontext(lambda _: None)


def _threads() -> int:
    if multiprocessing.parent_process() is not None:
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, 8)


class _Files(Protocol):
    """The files of a folder or a zip; names have `/` between folders, and none is hidden.

    Attributes:
        names: of the files.
        folders: every folder, empty ones among them.
        left_out: links that are not followed, and what is neither file nor folder.
        wrapped: whether a single folder around all the others is only how it was packed.
    """

    names: list[str]
    folders: set[str]
    left_out: list[str]
    wrapped: bool

    def open(self, name: str) -> Path | IO[bytes]: ...


class _DiskFiles:
    """A folder on the disk. A link is followed to a file inside the folder, and nowhere else."""

    wrapped = False

    def __init__(self, root: Path) -> None:
        self._root = root
        self.names: list[str] = []
        self.folders: set[str] = set()
        self.left_out: list[str] = []
        pending = [""]
        try:
            while pending:
                pending += self._list(pending.pop())
        except OSError as error:
            raise BirdplaneError(
                f"{error.filename or root}: cannot be read: {error.strerror or error}"
            ) from error

    def open(self, name: str) -> Path:
        return self._root / name

    def _list(self, prefix: str) -> list[str]:
        """Note what is in one folder; return the folders in it."""
        below = []
        with os.scandir(self._root / prefix) as entries:
            for entry in entries:
                name = f"{prefix}{entry.name}"
                if _is_hidden(name):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    self.folders.add(name)
                    below.append(f"{name}/")
                elif entry.is_file(follow_symlinks=False) or self._leads_inside(name):
                    self.names.append(name)
                else:
                    self.left_out.append(name)
        return below

    def _leads_inside(self, name: str) -> bool:
        try:
            target = (self._root / name).resolve()
        except (OSError, RuntimeError):  # a link to itself
            return False
        return target.is_file() and target.is_relative_to(self._root.resolve())


class _ZipFiles:
    """A zip; the folders that its files' names imply are folders, too."""

    wrapped = True

    def __init__(self, path: Path) -> None:
        self._zip = ZipFolder(path)
        self.names = [name for name in self._zip.sizes if not _is_hidden(name)]
        self.folders: set[str] = set()
        self.left_out: list[str] = []
        for folder in {*self._zip.folders, *(name.rpartition("/")[0] for name in self.names)}:
            parts = folder.split("/")
            if folder not in ("", ".") and not _is_hidden(folder):
                self.folders.update("/".join(parts[: depth + 1]) for depth in range(len(parts)))

    def open(self, name: str) -> IO[bytes]:
        try:
            return BytesIO(self._zip.read(name, limit=_MOST_BYTES))
        except MemberError as error:
            raise BrokenPictureError(error.reason) from error


#: The pictures of a part by class, names sorted.
_ByClass = dict[str, list[str]]


@dataclass(frozen=True)
class _Tree:
    """The pictures of the training part and, where it has a folder of its own, the test part.

    Each part comes with the folder that holds its class folders: empty, or with a `/` at its end.
    """

    train: tuple[str, _ByClass]
    test: tuple[str, _ByClass] | None
    ignored: tuple[str, ...]

    @property
    def parts(self) -> list[tuple[str, _ByClass]]:
        return [self.train] if self.test is None else [self.train, self.test]


def _open(path: Path) -> _Files:
    # `os.path`, as `Path` raises for a name that is too long.
    if os.path.isdir(path):  # noqa: PTH112
        return _DiskFiles(path)
    if os.path.isfile(path) and (  # noqa: PTH113
        path.suffix.lower() == ".zip" or is_zip(path)
    ):
        return _ZipFiles(path)
    if os.path.exists(path):  # noqa: PTH110
        raise UsageError(f"dataset.path: {str(path)!r} is neither a folder nor a zip")
    beside = [other.name for other in path.parent.iterdir()] if os.path.isdir(path.parent) else []  # noqa: PTH112
    raise UsageError(f"dataset.path: there is no folder or zip {str(path)!r}{nearest(path.name, beside)}")


def _is_hidden(name: str) -> bool:
    return _HIDDEN.search(name) is not None


def _tree(files: _Files, path: Path) -> _Tree:
    """Find the class folders, and sort the pictures into them."""
    known = picture_extensions()
    pictures = sorted(name for name in files.names if f".{name.rpartition('.')[2].lower()}" in known)
    ignored = tuple(sorted({*files.names, *files.left_out}.difference(pictures)))
    base = _unwrapped(files) if files.wrapped else ""
    split = _split_folders(files, pictures, base, path)
    if split is None:
        return _Tree((base, _by_class(files.folders, pictures, base, path)), None, ignored)
    train, test = ((folder, _by_class(files.folders, pictures, folder, path)) for folder in split)
    return _Tree(train, test, ignored)


def _unwrapped(files: _Files) -> str:
    """Return the folder, with its `/`, that holds everything: people pack a folder, not what is in it."""
    base = ""
    while True:
        inside = _children(files.folders, base)
        loose = any(name.startswith(base) and "/" not in name[len(base) :] for name in files.names)
        if len(inside) != 1 or loose or not _children(files.folders, f"{base}{inside[0]}/"):
            return base
        base = f"{base}{inside[0]}/"


def _split_folders(files: _Files, pictures: Sequence[str], base: str, path: Path) -> tuple[str, str] | None:
    """Return the folders, with their `/`, of training and test pictures, if that is how they are laid out.

    A folder is one of those if it holds folders and no picture of its own: `train` may also be a class.
    """
    with_own = {name.rpartition("/")[0] for name in pictures}
    holders = {
        name.casefold(): f"{base}{name}/"
        for name in _children(files.folders, base)
        if f"{base}{name}" not in with_own and _children(files.folders, f"{base}{name}/")
    }
    train = holders.get(_TRAIN)
    test = next((holders[name] for name in _TEST_NAMES if name in holders), None)
    if train is None:
        return None
    if test is None:
        raise BirdplaneError(
            f"{path}: there is {train} but no test/ with a folder for each class; to test on a part of the "
            f"training pictures, give {str(path / train)!r} as dataset.path"
        )
    return train, test


def _children(folders: Iterable[str], prefix: str) -> list[str]:
    return sorted(
        name[len(prefix) :]
        for name in folders
        if name.startswith(prefix) and "/" not in name[len(prefix) :] and name != prefix
    )


def _by_class(folders: Iterable[str], pictures: Sequence[str], prefix: str, path: Path) -> _ByClass:
    classes: _ByClass = {name: [] for name in _children(folders, prefix)}
    loose = 0
    for name in pictures:
        if name.startswith(prefix):
            folder, inside, _ = name[len(prefix) :].partition("/")
            if inside:
                classes[folder].append(name)
            else:
                loose += 1
    if len(classes) < 2:
        found = "; ".join(
            f"one folder, {name!r}, with {len(held)} pictures" for name, held in classes.items()
        )
        raise BirdplaneError(
            f"{path / prefix}: found {found or f'no folder and {loose} pictures'}; expected at least "
            "two folders of pictures, one for each class, or train/ and test/ with such folders"
        )
    return classes


def _classes(tree: _Tree, wanted: Sequence[str] | None, path: Path) -> tuple[str, ...]:
    """Return the names of the labels, after checking that each has pictures wherever it must."""
    if wanted is None:
        names = sorted(set().union(*(classes for _, classes in tree.parts)))
    else:
        names = list(wanted)
        _check_choice(names, sorted(set().union(*(classes for _, classes in tree.parts))))
    if tree.test is not None:
        _check_same(names, tree, path)
    for folder, classes in tree.parts:
        for name in names:
            if not classes[name]:
                raise BirdplaneError(
                    f"{path / folder / name}: the class folder has no picture"
                    f"{_instead(f'{folder}{name}/', tree.ignored)}; to leave the class out, name the others "
                    "in dataset.classes"
                )
    return tuple(names)


def _check_choice(classes: Sequence[str], known: Sequence[str]) -> None:
    for name in classes:
        if name not in known:
            raise UsageError(
                f"dataset.classes: there is no class {name!r}; "
                f"the classes are {_listed(known)}{nearest(name, known)}"
            )
        if classes.count(name) > 1:
            raise UsageError(f"dataset.classes names {name!r} twice")
    if len(classes) < 2:
        raise UsageError(f"dataset.classes is {classes}; to tell pictures apart takes at least two classes")


def _check_same(names: Sequence[str], tree: _Tree, path: Path) -> None:
    """Refuse a class that is only trained, or only tested."""
    (folder, trained), (other, tested) = tree.parts
    only = [(name, folder, tested) for name in names if name not in tested]
    only += [(name, other, trained) for name in names if name not in trained]
    if only:
        name, where, elsewhere = only[0]
        raise BirdplaneError(
            f"{path}: the class {name!r} is only in {where}, but {folder} and {other} must have the same "
            f"classes{nearest(name, elsewhere)}"
        )


def _instead(folder: str, ignored: Iterable[str]) -> str:
    """Name what the folder holds instead of pictures."""
    held = [name for name in ignored if name.startswith(folder)]
    return f" (left out: {_listed(held)})" if held else ""


def _listed(names: Sequence[str], most: int = 12) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _chosen(
    tree: _Tree, classes: Sequence[str], split: str, test_fraction: float, seed: int, path: Path
) -> Iterator[tuple[str, int]]:
    """Yield (name, label) of every picture of the split, class by class."""
    base, by_class = tree.test if tree.test is not None and split == "test" else tree.train
    for label, name in enumerate(classes):
        names = by_class[name]
        if tree.test is None:
            if len(names) < 2:
                raise BirdplaneError(f"{path / base / name}: has one picture; to train and to test takes two")
            tested = _drawn(names, test_fraction, seed, base)
            names = [picture for picture in names if (picture in tested) == (split == "test")]
        yield from ((picture, label) for picture in names)


def _drawn(names: Sequence[str], fraction: float, seed: int, base: str) -> set[str]:
    """Return the pictures to test on: those whose names hash lowest, at least one and never all."""
    number = min(max(round(fraction * len(names)), 1), len(names) - 1)
    ranked = sorted(
        names, key=lambda name: hashlib.sha256(f"{seed}/{name.removeprefix(base)}".encode()).digest()
    )
    return set(ranked[:number])


def _check_word(key: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise UsageError(
            f"{key} is {value!r}; it is {' or '.join(map(repr, allowed))}{nearest(value, allowed)}"
        )
