"""The dataset `sketches`: birds and airplanes that birdplane draws itself.

Nothing is downloaded and nothing is kept: a picture is a function of (seed, split, index, size, difficulty).
`birdplane_builtin.drawing` draws it.

On one platform the same arguments give the same bytes in every process; another processor or another release
of numpy or Pillow may differ in the last bit of a cosine, and so here and there in a pixel by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Final, Literal

from annotated_types import Ge, Le
from typing_extensions import Doc

from birdplane.errors import UsageError

# numpy and Pillow, and `drawing` with them, are imported where they are used: reading the signature of
# `Sketches` for a list or a form needs neither.
if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray
    from PIL import Image

    from birdplane_builtin.drawing.arrays import Keys

AIRPLANE: Final = 0
BIRD: Final = 1

_SPLITS: Final = ("train", "test")
_BATCH_PIXELS: Final = 64 * 32 * 32  # what fits the cache of a core


class Sketches:
    """Drawn pictures of airplanes (label 0) and birds (label 1), any number of them at any size.

    The labels of a split are balanced within one. A split that is made longer keeps its first pictures.

    Both classes have the same skies and paints and cover as much of a picture: what is left is shape. With
    the defaults, chapter 7's net of 512 hidden neurons has 0.78 of the test pictures right after 10 epochs
    (mean of 3 runs), a convolutional one of 38,386 parameters 0.96 after 8.
    """

    classes: tuple[str, ...] = ("airplane", "bird")

    def __init__(
        self,
        *,
        split: Literal["train", "test"],
        train: Annotated[int, Ge(1), Le(10_000_000), Doc("Number of training pictures.")] = 4000,
        test: Annotated[int, Ge(1), Le(10_000_000), Doc("Number of test pictures.")] = 1000,
        size: Annotated[int, Ge(8), Le(512), Doc("Height and width of a picture, in pixels.")] = 32,
        difficulty: Annotated[
            float,
            Ge(0),
            Le(1),
            Doc("0: centred, upright, a plain sky; 1: any pose and colour, clouds and noise."),
        ] = 0.5,
        seed: Annotated[int, Ge(0), Le(2**63 - 1), Doc("Another seed gives other pictures.")] = 0,
    ) -> None:
        if split not in _SPLITS:
            raise UsageError(f"sketches: split is {split!r}; it must be {' or '.join(_SPLITS)}")
        _check_range("train", train, 1)
        _check_range("test", test, 1)
        _check_range("size", size, 8, 512)
        _check_range("difficulty", difficulty, 0, 1)
        _check_range("seed", seed, 0, 2**63 - 1)
        self.split = split
        self.size = size
        self.difficulty = float(difficulty)
        self.seed = seed
        self._length = train if split == "train" else test

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        """One picture (RGB) and its label; a negative index counts from the end, as in a list."""
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Image.Image, int]]:
        import numpy as np
        from PIL import Image

        images_NHWC = self.images(indices).transpose(0, 2, 3, 1)
        pictures = [Image.fromarray(np.ascontiguousarray(image_HWC)) for image_HWC in images_NHWC]
        return list(zip(pictures, self.labels(indices).tolist(), strict=True))

    def images(self, indices: ArrayLike) -> NDArray[np.uint8]:
        """The pictures at `indices` as (N, 3, size, size), 0 to 255; IndexError if one is out of range."""
        import numpy as np

        from birdplane_builtin.drawing import draw

        positions = self._positions(indices)
        images_NCHW = np.empty((len(positions), 3, self.size, self.size), np.uint8)
        step = max(1, _BATCH_PIXELS // self.size**2)
        for start in range(0, len(positions), step):
            part = positions[start : start + step]
            keys, birds = self._keys(part), self._labels(part) == BIRD
            images_NCHW[start : start + step] = draw(keys, birds, self.size, self.difficulty)
        return images_NCHW

    def labels(self, indices: ArrayLike) -> NDArray[np.int64]:
        """The labels at `indices` as (N,); IndexError if one is out of range."""
        return self._labels(self._positions(indices))

    def _positions(self, indices: ArrayLike) -> Keys:
        import numpy as np

        given = np.asarray(indices)
        if given.size and given.dtype.kind not in "iu":
            raise TypeError(f"indices must be integers, not {given.dtype}")
        positions = given.astype(np.int64).reshape(-1)
        outside = (positions < -self._length) | (positions >= self._length)
        if outside.any():
            raise IndexError(f"index {positions[outside][0]} is outside {self._length} {self.split} pictures")
        return np.where(positions < 0, positions + self._length, positions).astype(np.uint64)

    def _keys(self, positions: Keys) -> Keys:
        from birdplane_builtin.drawing import picture_keys

        return picture_keys(positions, self.seed, self.split)

    def _labels(self, positions: Keys) -> NDArray[np.int64]:
        """Pictures 2k and 2k + 1 are one of each class; chance says which comes first."""
        import numpy as np

        from birdplane_builtin.drawing import coins

        first = coins(self._keys(positions // np.uint64(2)))
        return (first ^ (positions & np.uint64(1))).astype(np.int64)


def _check_range(name: str, value: float, low: int, high: int | None = None) -> None:
    if not low <= value <= (value if high is None else high):
        allowed = f"at least {low}" if high is None else f"from {low} to {high}"
        raise UsageError(f"sketches: {name} is {value}; it must be {allowed}")
