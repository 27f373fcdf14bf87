"""torchvision's datasets of labelled pictures. Imports torch and torchvision only to open one.

What birdplane needs of a dataset and torchvision's do not all have: one size for all pictures, the split by one
name, names of the classes, and a word beforehand on what would be downloaded.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Le
from typing_extensions import Doc

from birdplane import BirdplaneError
from birdplane.cache import cache_folder

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Split = Literal["train", "test"]
Root = Annotated[
    Path | None, Doc("The folder that torchvision keeps it in; left out: torchvision in birdplane's cache.")
]
Download = Annotated[bool, Doc("Download it if it is not there.")]
Size = Annotated[
    int, Ge(1), Le(4096), Doc("Height and width of every picture, in pixels: centre square, resized.")
]


@dataclass(frozen=True)
class Availability:
    """Whether the pictures are there, the folder where they are or will be, and the bytes of the download."""

    ready: bool
    place: Path
    size: int | None


class _Set:
    """One split of a dataset of torchvision's.

    Attributes:
        classes: the names of the labels.
    """

    #: Its class in `torchvision.datasets`.
    source: ClassVar[str]
    #: Files or folders below the root that are there once it is.
    parts: ClassVar[tuple[str, ...]]
    #: How much is downloaded, about.
    nbytes: ClassVar[int]
    #: The argument that says which split, and its value for each of birdplane's.
    splits: ClassVar[dict[Split, dict[str, Any]]] = {"train": {"split": "train"}, "test": {"split": "test"}}
    classes: Sequence[str]

    def _open(self, root: Path | None, download: bool, **arguments: Any) -> Any:
        place = _root(root)
        if not download and not all((place / part).exists() for part in self.parts):
            raise BirdplaneError(
                f"the pictures of {self.source} are not in {str(place)!r}; set dataset.download = true to have about "
                f"{self.nbytes / 1e6:,.0f} MB downloaded, or dataset.root to the folder that they are in"
            )
        try:
            from torchvision import datasets

            place.mkdir(parents=True, exist_ok=True)
            # Its messages are not what the command was asked to print.
            with contextlib.redirect_stdout(sys.stderr):
                return getattr(datasets, self.source)(place, download=download, **arguments)
        except ImportError as error:
            raise BirdplaneError(
                f"{self.source} needs {error.name or 'a package'} besides torchvision: pip install {error.name}"
            ) from error
        except (OSError, RuntimeError, ValueError) as error:
            raise BirdplaneError(
                f"{self.source} cannot be opened in {str(place)!r}: {_one_line(error)}"
            ) from error

    @classmethod
    def availability(cls, *, root: Path | None = None, download: bool = True) -> Availability:
        """Say whether the pictures are there; nothing is opened or downloaded.

        Raises:
            BirdplaneError: there is no cache folder to look into.
        """
        place = _root(root)
        ready = all((place / part).exists() for part in cls.parts)
        return Availability(ready, place, cls.nbytes if download else None)


class _Arrays(_Set):
    """A dataset that torchvision holds in memory: (n, H, W) or (n, C, H, W), uint8, all of one size."""

    def __init__(self, *, split: Split, root: Root = None, download: Download = True) -> None:
        import numpy as np

        found = self._open(root, download, **self.splits[split])
        images = np.asarray(found.data)
        self._images_NCHW = images[:, None] if images.ndim == 3 else images
        labels = found.targets if hasattr(found, "targets") else found.labels
        self._labels_N = np.asarray(labels, dtype=np.int64)
        self.classes = tuple(map(str, getattr(found, "classes", None) or range(10)))

    def __len__(self) -> int:
        return len(self._labels_N)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        from PIL import Image

        pixels_CHW = self._images_NCHW[index]
        pixels = pixels_CHW[0] if len(pixels_CHW) == 1 else pixels_CHW.transpose(1, 2, 0)
        return Image.fromarray(pixels.copy()), int(self._labels_N[index])

    def images(self, indices: Sequence[int] | NDArray[np.integer[Any]]) -> NDArray[np.uint8]:
        """Return the pictures as uint8 (n, C, H, W), in the order of `indices`."""
        import numpy as np

        return np.asarray(self._images_NCHW[np.asarray(indices)], dtype=np.uint8)

    def labels(self, indices: Sequence[int] | NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        """Return the labels as int64 (n,), in the order of `indices`."""
        import numpy as np

        return np.asarray(self._labels_N[np.asarray(indices)], dtype=np.int64)


class _Files(_Set):
    """A dataset of picture files of any size."""

    def __init__(
        self, *, split: Split, size: Size = 64, root: Root = None, download: Download = True
    ) -> None:
        self._use(self._open(root, download, **self.splits[split]), size)

    def _use(self, found: Any, size: int) -> None:
        self._found = found
        self._size = (size, size)
        named = getattr(found, "classes", None)
        self.classes = tuple(
            name if isinstance(name, str) else str(name[0]) for name in named or self._unnamed()
        )

    def _unnamed(self) -> Sequence[str]:
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self._found)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        from PIL import Image, ImageOps

        picture, label = self._found[index]
        return ImageOps.fit(picture.convert("RGB"), self._size, Image.Resampling.BILINEAR), int(label)


_BY_TRAIN: dict[Split, dict[str, Any]] = {"train": {"train": True}, "test": {"train": False}}
_TRAIN_AND_VALIDATION: dict[Split, dict[str, Any]] = {
    "train": {"split": "trainval"},
    "test": {"split": "test"},
}


def _idx(folder: str) -> tuple[str, ...]:
    files = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    return tuple(f"{folder}/raw/{file}-ubyte" for file in files)


class Mnist(_Arrays):
    """Handwritten digits (LeCun et al., 1998)."""

    source, parts, nbytes, splits = "MNIST", _idx("MNIST"), 11_594_722, _BY_TRAIN


class FashionMnist(_Arrays):
    """Clothes (Xiao et al., 2017)."""

    source, parts, nbytes, splits = "FashionMNIST", _idx("FashionMNIST"), 30_878_645, _BY_TRAIN


class Kmnist(_Arrays):
    """Japanese characters (Clanuwat et al., 2018)."""

    source, parts, nbytes, splits = "KMNIST", _idx("KMNIST"), 21_240_888, _BY_TRAIN


class Usps(_Arrays):
    """Digits from envelopes (Hull, 1994)."""

    source, parts, nbytes, splits = "USPS", ("usps.bz2", "usps.t.bz2"), 8_411_109, _BY_TRAIN


class Svhn(_Arrays):
    """House numbers (Netzer et al., 2011)."""

    source, parts, nbytes = "SVHN", ("train_32x32.mat", "test_32x32.mat"), 246_316_178


class Stl10(_Arrays):
    """Ten classes with few labels (Coates et al., 2011)."""

    source, parts, nbytes = "STL10", ("stl10_binary",), 2_640_397_119


class Gtsrb(_Files):
    """German traffic signs (Stallkamp et al., 2011)."""

    source, parts, nbytes = "GTSRB", ("gtsrb/GTSRB",), 276_568_468

    def _unnamed(self) -> Sequence[str]:
        return [f"{number:02}" for number in range(43)]


class Flowers102(_Files):
    """Flowers (Nilsback and Zisserman, 2008)."""

    source, parts, nbytes = "Flowers102", ("flowers-102/jpg",), 344_878_000


class OxfordPets(_Files):
    """Breeds of cats and dogs (Parkhi et al., 2012)."""

    source, parts, nbytes = "OxfordIIITPet", ("oxford-iiit-pet/images",), 811_092_049
    splits = _TRAIN_AND_VALIDATION


class Dtd(_Files):
    """Textures (Cimpoi et al., 2014)."""

    source, parts, nbytes = "DTD", ("dtd/dtd/images",), 625_239_812


class Imagenette(_Files):
    """Ten easy classes of ImageNet, at 160 pixels (Howard, 2019)."""

    source, parts, nbytes = "Imagenette", ("imagenette2-160",), 99_003_388
    splits: ClassVar[dict[Split, dict[str, Any]]] = {
        "train": {"split": "train", "size": "160px"},
        "test": {"split": "val", "size": "160px"},
    }


class FgvcAircraft(_Files):
    """Models of aircraft (Maji et al., 2013)."""

    source, parts, nbytes = "FGVCAircraft", ("fgvc-aircraft-2013b",), 2_753_340_328
    splits = _TRAIN_AND_VALIDATION


class Food101(_Files):
    """Dishes (Bossard et al., 2014)."""

    source, parts, nbytes = "Food101", ("food-101/images",), 4_996_278_331


class EuroSat(_Files):
    """Land seen from a satellite (Helber et al., 2019); it has no split of its own."""

    source, parts, nbytes = "EuroSAT", ("eurosat/2750",), 94_280_567

    def __init__(self, *, size: Size = 64, root: Root = None, download: Download = True) -> None:
        self._use(self._open(root, download), size)


def _root(root: Path | None) -> Path:
    return cache_folder() / "torchvision" if root is None else Path(root).expanduser()


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else text[:199] + "…"
