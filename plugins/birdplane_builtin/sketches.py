"""The dataset `sketches`: birds and airplanes that birdplane draws itself.

Nothing is downloaded and nothing is kept: a picture is a function of (seed, split, index, size, difficulty).
A subject is a small model in three dimensions. Flat parts (wings, tails) are polygons in space; round parts
(a body, an engine) are outlines that always face the viewer. numpy turns and projects the models of a batch
at once, Pillow fills the polygons at several times the size, and numpy lays the result over a cloudy sky.
Filled by numpy instead, as distances from their edges, the polygons would take more than twice as long.

Model space: x forward, y to the left, z up; a body is about 2 long. Canvas: x right, y down, in pixels.
On one platform the same arguments give the same bytes in every process; another processor or another release
of numpy or Pillow may differ in the last bit of a cosine, and so here and there in a pixel by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Final, Literal, NamedTuple

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw
from typing_extensions import Doc

from birdplane.errors import UsageError

Floats = NDArray[np.float64]
Pixels = NDArray[np.float32]
Keys = NDArray[np.uint64]

AIRPLANE: Final = 0
BIRD: Final = 1

_SPLITS: Final = ("train", "test")
_BATCH_PIXELS: Final = 64 * 32 * 32  # what fits the cache of a core
_LABELS, _POSE, _NOISE, _CLOUDS = range(4)  # streams of random numbers; each octave of clouds has its own
_POSE_DRAWS: Final = 96
_CLOUD_LATTICES: Final = ((3, 4), (6, 7), (11, 13))  # columns and rows: clouds are wider than tall
_CLOUD_WEIGHTS: Final = (0.54, 0.30, 0.16)


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
        train: Annotated[int, Ge(1), Doc("Number of training pictures.")] = 4000,
        test: Annotated[int, Ge(1), Doc("Number of test pictures.")] = 1000,
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
        images_NHWC = self.images(indices).transpose(0, 2, 3, 1)
        pictures = [Image.fromarray(np.ascontiguousarray(image_HWC)) for image_HWC in images_NHWC]
        return list(zip(pictures, self.labels(indices).tolist(), strict=True))

    def images(self, indices: ArrayLike) -> NDArray[np.uint8]:
        """The pictures at `indices` as (N, 3, size, size), 0 to 255; IndexError if one is out of range."""
        positions = self._positions(indices)
        images_NCHW = np.empty((len(positions), 3, self.size, self.size), np.uint8)
        step = max(1, _BATCH_PIXELS // self.size**2)
        for start in range(0, len(positions), step):
            part = positions[start : start + step]
            keys, birds = self._keys(part), self._labels(part) == BIRD
            images_NCHW[start : start + step] = _draw(keys, birds, self.size, self.difficulty)
        return images_NCHW

    def labels(self, indices: ArrayLike) -> NDArray[np.int64]:
        """The labels at `indices` as (N,); IndexError if one is out of range."""
        return self._labels(self._positions(indices))

    def _positions(self, indices: ArrayLike) -> Keys:
        given = np.asarray(indices)
        if given.size and given.dtype.kind not in "iu":
            raise TypeError(f"indices must be integers, not {given.dtype}")
        positions = given.astype(np.int64).reshape(-1)
        outside = (positions < -self._length) | (positions >= self._length)
        if outside.any():
            raise IndexError(f"index {positions[outside][0]} is outside {self._length} {self.split} pictures")
        return np.where(positions < 0, positions + self._length, positions).astype(np.uint64)

    def _keys(self, positions: Keys) -> Keys:
        """One number for each picture; no two pictures of a seed, of either split, share one."""
        counter = positions * np.uint64(2) + np.uint64(self.split == "test")
        return _mix(counter + _mix(np.array([self.seed], np.uint64)))

    def _labels(self, positions: Keys) -> NDArray[np.int64]:
        """Pictures 2k and 2k + 1 are one of each class; chance says which comes first."""
        first = _streamed(self._keys(positions // np.uint64(2)), _LABELS) >> np.uint64(63)
        return (first ^ (positions & np.uint64(1))).astype(np.int64)


def _check_range(name: str, value: float, low: int, high: int | None = None) -> None:
    if not low <= value <= (value if high is None else high):
        allowed = f"at least {low}" if high is None else f"from {low} to {high}"
        raise UsageError(f"sketches: {name} is {value}; it must be {allowed}")


# --- chance -------------------------------------------------------------------------------------------------


def _mix(keys: Keys) -> Keys:
    """Scramble 64-bit integers one to one (the finalizer of splitmix64, by Steele, Lea and Flood, 2014)."""
    keys = keys + np.uint64(0x9E3779B97F4A7C15)
    keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return keys ^ (keys >> np.uint64(31))


def _streamed(keys: Keys, stream: int) -> Keys:
    """Other keys, independent between streams."""
    return _mix(keys ^ _mix(np.array([stream], np.uint64)))


def _uniforms(keys: Keys, count: int, stream: int) -> Floats:
    """(N, count) numbers in [0, 1)."""
    starts = _streamed(keys, stream)
    bits = _mix(starts[:, None] + np.arange(count, dtype=np.uint64) * np.uint64(0xD1342543DE82EF95))
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


class _Draws:
    """Random numbers for a batch, one a picture and call, taken in the order in which they are asked for."""

    def __init__(self, uniforms: Floats) -> None:
        self._uniforms = uniforms
        self._taken = 0

    def uniform(self, low: float, high: float) -> Floats:
        self._taken += 1
        return low + (high - low) * self._uniforms[:, self._taken - 1]

    def chance(self, probability: float) -> NDArray[np.bool_]:
        return self.uniform(0, 1) < probability

    def choice(self, count: int) -> NDArray[np.int64]:
        return self.uniform(0, count).astype(np.int64)

    def sign(self) -> Floats:
        return np.where(self.chance(0.5), 1.0, -1.0)

    def only(self, rows: NDArray[np.bool_]) -> _Draws:
        """What is still to be drawn, for some pictures of the batch."""
        return _Draws(self._uniforms[rows, self._taken :])


# --- a picture ----------------------------------------------------------------------------------------------


def _draw(keys: Keys, birds: NDArray[np.bool_], size: int, difficulty: float) -> NDArray[np.uint8]:
    """Pictures (N, 3, size, size): the subject over its sky, a veil of cloud before it, and noise."""
    draws = _Draws(_uniforms(keys, _POSE_DRAWS, _POSE))
    sky = _draw_sky(draws, keys, size, difficulty)
    paints = _choose_paints(draws, sky.mean, difficulty)
    subject_NCHW = _draw_subjects(draws, birds, paints, size, difficulty)
    coverage = subject_NCHW[:, 3:] * (1 / 255)
    veil = sky.clouds[:, None] * np.float32(0.4 * difficulty)
    images = subject_NCHW[:, :3]
    images += sky.images * (1 - coverage)
    images += (sky.images - images) * veil
    images += _noise(keys, size) * np.float32(26 * difficulty**2)
    np.clip(images + np.float32(0.5), 0, 255, out=images)
    return images.astype(np.uint8)


def _noise(keys: Keys, size: int) -> Pixels:
    """Triangular noise in (-1, 1) for every value of (N, 3, size, size), from a hash of its position."""
    seeds = (_streamed(keys, _NOISE) >> np.uint64(32)).astype(np.uint32)
    bits = np.arange(3 * size * size, dtype=np.uint32) * np.uint32(0x9E3779B1) + seeds[:, None]
    bits ^= bits >> np.uint32(15)
    bits *= np.uint32(0x2C1B3C6D)
    bits ^= bits >> np.uint32(12)
    bits *= np.uint32(0x297A2D39)
    bits ^= bits >> np.uint32(15)
    both = (bits >> np.uint32(16)).astype(np.float32) + (bits & np.uint32(0xFFFF)).astype(np.float32)
    return (both * np.float32(2**-16) - 1).reshape(len(keys), 3, size, size)


# --- the sky ------------------------------------------------------------------------------------------------

# Colours at the zenith, half-way down and at the horizon; the first is the plain sky of difficulty 0.
_SKIES: Final = np.array(
    [
        [(74, 138, 214), (128, 180, 232), (186, 216, 240)],  # a fine day
        [(52, 116, 200), (104, 164, 226), (214, 228, 236)],  # noon
        [(120, 176, 214), (170, 206, 222), (232, 226, 206)],  # morning haze
        [(96, 122, 178), (206, 162, 170), (250, 196, 140)],  # sunrise
        [(58, 74, 134), (186, 110, 124), (246, 158, 92)],  # sunset
        [(38, 48, 96), (74, 80, 138), (150, 118, 150)],  # dusk
        [(132, 146, 162), (166, 178, 188), (200, 206, 208)],  # overcast
        [(60, 132, 160), (122, 182, 190), (206, 222, 200)],  # after rain
    ],
    float,
)


class _Sky(NamedTuple):
    images: Pixels  # (N, 3, size, size), 0 to 255
    clouds: Pixels  # (N, size, size), 0 to 1: how thick
    mean: Floats  # (N, 3), the colour half-way down


def _draw_sky(draws: _Draws, keys: Keys, size: int, difficulty: float) -> _Sky:
    colours = _sky_colours(draws, difficulty)
    images = _gradient(draws, colours, size, difficulty)
    images += _glow(draws, size, difficulty)
    clouds, light = _draw_clouds(draws, keys, size, difficulty)
    tint = 0.62 * np.array([255.0, 253.0, 250.0]) + 0.38 * colours[:, 2]
    images += (_per_channel(tint) * light[:, None] - images) * clouds[:, None]
    return _Sky(images, clouds, colours[:, 1])


def _sky_colours(draws: _Draws, difficulty: float) -> Floats:
    """(N, 3 heights, 3 channels): a mixture of two times of day, the plain sky where difficulty is 0."""
    one, other = _SKIES[draws.choice(len(_SKIES))], _SKIES[draws.choice(len(_SKIES))]
    part = draws.uniform(0, 0.5)[:, None, None]
    away = min(1.0, 2 * difficulty)
    brightness = 1 + draws.uniform(-0.16, 0.1)[:, None, None] * difficulty
    colours: Floats = _SKIES[0] * (1 - away) + (one * (1 - part) + other * part) * away
    return colours * brightness


def _gradient(draws: _Draws, colours: Floats, size: int, difficulty: float) -> Pixels:
    """(N, 3, size, size): three colours from top to bottom, slanted by up to 25 degrees."""
    across, down = _grid(size)
    slope = _per_picture(draws.uniform(-0.45, 0.45) * difficulty)
    shift = _per_picture(draws.uniform(-0.5, 0.5) * difficulty)
    height = np.clip(down + slope * across + shift, -1, 1)[:, None]
    top, middle, bottom = (_per_channel(colours[:, part]) for part in range(3))
    images: Pixels = np.maximum(height, 0) * (bottom - middle) - np.minimum(height, 0) * (top - middle)
    images += middle
    return images


def _glow(draws: _Draws, size: int, difficulty: float) -> Pixels:
    """(N, 3, size, size): the light around a sun that may stand outside the picture."""
    across, down = _grid(size)
    x, y = _per_picture(draws.uniform(-1.4, 1.4)), _per_picture(draws.uniform(-1.3, 0.6))
    strength = _per_picture(draws.uniform(0, 75) * min(1.0, 2 * difficulty))
    light: Pixels = strength / (1 + 5 * ((across - x) ** 2 + (down - y) ** 2))
    return light[:, None] * np.array([1.0, 0.9, 0.66], np.float32)[:, None, None]


def _draw_clouds(draws: _Draws, keys: Keys, size: int, difficulty: float) -> tuple[Pixels, Pixels]:
    """Thickness 0 to 1 and brightness about 1 of the clouds, (N, size, size) each."""
    field = _cloud_field(keys, size)
    step = max(1, size // 16)
    above = np.concatenate([field[:, :1].repeat(step, 1), field[:, :-step]], axis=1)
    amount = _per_picture(draws.uniform(-0.12, 0.5) * difficulty)
    sharpness = _per_picture(draws.uniform(3, 6.5))
    thickness = _per_picture(draws.uniform(0.6, 1.0) * min(1.0, 3 * difficulty))
    clouds = np.clip((field - np.float32(0.56) + np.float32(0.3) * amount) * sharpness, 0, 1) * thickness
    shadow = _per_picture(draws.uniform(0.6, 2.2))
    return clouds, np.clip(np.float32(0.99) - (above - field * np.float32(0.92)) * shadow, 0.5, 1.04)


def _cloud_field(keys: Keys, size: int) -> Pixels:
    """(N, size, size) in 0 to 1: a sum of smoothed random lattices, the finer the fainter."""
    field = np.zeros((len(keys), size, size), np.float32)
    for octave, ((columns, rows), weight) in enumerate(zip(_CLOUD_LATTICES, _CLOUD_WEIGHTS, strict=True)):
        values = _uniforms(keys, (columns + 1) * (rows + 1), _CLOUDS + octave)
        lattice = (values * weight).astype(np.float32).reshape(-1, rows + 1, columns + 1)
        below, rest = _lattice_places(size, rows)
        tall = lattice[:, below] * (1 - rest)[:, None] + lattice[:, below + 1] * rest[:, None]
        left, rest = _lattice_places(size, columns)
        field += tall[:, :, left] * (1 - rest) + tall[:, :, left + 1] * rest
    return field


def _lattice_places(size: int, cells: int) -> tuple[NDArray[np.int64], Pixels]:
    """For each of `size` pixels the lattice point before it, and how far it is towards the next, eased."""
    place = (np.arange(size) + 0.5) * (cells / size)
    before = place.astype(np.int64)
    rest = place - before
    return before, (rest * rest * (3 - 2 * rest)).astype(np.float32)


def _grid(size: int) -> tuple[Pixels, Pixels]:
    """Pixel centres from -1 to 1: across (1, 1, size) and down (1, size, 1)."""
    line = ((np.arange(size) + 0.5) * (2 / size) - 1).astype(np.float32)
    return line[None, None, :], line[None, :, None]


def _per_picture(values: Floats) -> Pixels:
    return values.astype(np.float32)[:, None, None]


def _per_channel(colours: Floats) -> Pixels:
    return colours.astype(np.float32)[:, :, None, None]


# --- paint --------------------------------------------------------------------------------------------------

# Both classes paint with these in the same proportions, so that no colour tells one from the other.
_COLOURS: Final = np.array(
    [
        (246, 246, 242),  # white
        (226, 214, 190),  # cream
        (176, 184, 194),  # silver
        (112, 124, 140),  # slate
        (54, 58, 70),  # charcoal
        (110, 78, 56),  # brown
        (168, 118, 74),  # fawn
        (186, 58, 48),  # red
        (232, 140, 50),  # orange
        (236, 196, 72),  # yellow
        (44, 74, 140),  # navy
        (38, 124, 128),  # teal
    ],
    float,
)


class _Paints(NamedTuple):
    """Three colours (N, 3) and the light on what faces the viewer and on what lies behind (N, 1)."""

    main: Floats
    second: Floats
    accent: Floats
    near: Floats
    far: Floats

    def only(self, rows: NDArray[np.bool_]) -> _Paints:
        return _Paints(*(values[rows] for values in self))


def _choose_paints(draws: _Draws, sky: Floats, difficulty: float) -> _Paints:
    main, second, accent = (_COLOURS[draws.choice(len(_COLOURS))] for _ in range(3))
    main = _stand_out(main, sky, 70 * (1 - difficulty))
    second = main + (second - main) * draws.uniform(0.35, 0.9)[:, None]
    blend = draws.uniform(0, 0.4)[:, None] * difficulty
    main, second = main + (sky - main) * blend, second + (sky - second) * blend
    near = draws.uniform(0.9, 1.06)[:, None]
    return _Paints(main, second, accent, near, near * draws.uniform(0.66, 0.84)[:, None])


def _stand_out(colours: Floats, sky: Floats, least: float) -> Floats:
    """Colours made darker or lighter until their brightness is `least` (of 255) away from the sky's."""
    gap = ((colours - sky) * (0.30, 0.59, 0.11)).sum(axis=1, keepdims=True)
    missing = np.maximum(0, least - np.abs(gap))
    moved: Floats = np.clip(colours + np.where(gap > 0, missing, -missing), 0, 255)
    return moved


# --- views and parts ----------------------------------------------------------------------------------------


class _Part(NamedTuple):
    outlines: Floats  # (N, K, 2): polygons on the canvas, in its pixels
    colours: Floats  # (N, 3), 0 to 255


class _View:
    """How each subject of a batch is seen: turned, scaled and put in its place on the canvas."""

    def __init__(self, axes: Floats, centre: Floats, scale: Floats) -> None:
        """`axes` (N, 3, 3): right, up and away from the viewer, in model space; the rest in pixels."""
        self._axes, self._centre, self._scale = axes, centre, scale

    def only(self, rows: NDArray[np.bool_], zoom: float) -> _View:
        """The views of some pictures of the batch, their subjects `zoom` times as large."""
        return _View(self._axes[rows], self._centre[rows], self._scale[rows] * zoom)

    def flat(self, points: Floats) -> Floats:
        """Points (N, K, 3) of model space on the canvas (N, K, 2)."""
        return self._place(self._along(points, 0), self._along(points, 1))

    def distance(self, points: Floats) -> Floats:
        """How far behind the middle of the model the middle of the points (N, K, 3) is, as (N,)."""
        middles: Floats = self._along(points, 2).mean(axis=1)
        return middles

    def round(self, start: Floats, along: Floats, radii: Floats, lift: ArrayLike = 0.0) -> Floats:
        """The outline (N, 2K, 2) of a body of revolution around the x axis through `start` (N, 3).

        `along` and `radii` (N, K) say how thick it is where; `lift` (N, K) bends its axis upwards.
        """
        forward, upward = self._axes[:, :2, 0], self._axes[:, :2, 2]
        normal = np.stack([-forward[:, 1], forward[:, 0]], axis=1)
        normal /= np.maximum(np.hypot(normal[:, 0], normal[:, 1]), 1e-6)[:, None]
        raised = np.broadcast_to(np.asarray(lift, float), along.shape)
        middle = [
            self._along(start[:, None], axis)
            + along * forward[:, axis, None]
            + raised * upward[:, axis, None]
            for axis in (0, 1)
        ]
        right, up = (
            [middle[axis] + side * radii * normal[:, axis, None] for side in (1, -1)] for axis in (0, 1)
        )
        around = [np.concatenate([edges[0], edges[1][:, ::-1]], axis=1) for edges in (right, up)]
        return self._place(*around)

    def disc(self, centre: Floats, radius: Floats, corners: int = 14) -> Floats:
        """The outline (N, corners, 2) of a ball around `centre` (N, 3)."""
        angles = np.arange(corners) * (2 * np.pi / corners)
        right = self._along(centre[:, None], 0) + radius[:, None] * np.cos(angles)
        up = self._along(centre[:, None], 1) + radius[:, None] * np.sin(angles)
        return self._place(right, up)

    def _along(self, points: Floats, axis: int) -> Floats:
        # Sums written out: a matrix product may round otherwise when the batch has another length.
        x, y, z = (self._axes[:, axis, part, None] for part in range(3))
        return points[..., 0] * x + points[..., 1] * y + points[..., 2] * z

    def _place(self, right: Floats, up: Floats) -> Floats:
        x = self._centre[:, :1] + right * self._scale[:, None]
        y = self._centre[:, 1:] - up * self._scale[:, None]
        return np.stack([x, y], axis=-1)


def _choose_view(draws: _Draws, canvas: int, difficulty: float) -> _View:
    """Roll shows the side, the back or the belly; yaw turns towards the viewer; climb tilts the picture."""
    roll = np.radians(38 + draws.uniform(-26, 38) * difficulty) * np.where(draws.chance(0.35), 1, -1)
    yaw = np.radians(draws.uniform(-45, 45) * difficulty)
    climb = np.radians(draws.uniform(-8, 18) * (1 - difficulty) + draws.uniform(-60, 60) * difficulty)
    mirror = np.where(draws.chance(min(0.5, difficulty)), -1.0, 1.0)
    axes = _turn(roll, yaw, climb)
    axes[:, 0] *= mirror[:, None]
    shrink = 1 - draws.uniform(-0.12, 0.5) * difficulty
    scale = 0.42 * shrink
    room = np.maximum(0.06, 0.5 - 0.95 * scale)
    shift = np.stack([draws.uniform(-1, 1) * room, draws.uniform(-1, 1) * room], axis=1) * min(
        1.0, 1.4 * difficulty
    )
    return _View(axes, (0.5 + shift) * canvas, scale * canvas)


def _turn(roll: Floats, yaw: Floats, climb: Floats) -> Floats:
    """(N, 3, 3): what is right, up and away for the viewer, in model space."""
    one, zero = np.ones_like(roll), np.zeros_like(roll)
    yawed = _rows((np.cos(yaw), -np.sin(yaw), zero), (zero, zero, one), (np.sin(yaw), np.cos(yaw), zero))
    rolled = _rows((one, zero, zero), (zero, np.cos(roll), np.sin(roll)), (zero, -np.sin(roll), np.cos(roll)))
    climbed = _rows(
        (np.cos(climb), -np.sin(climb), zero), (np.sin(climb), np.cos(climb), zero), (zero, zero, one)
    )
    return _product(climbed, _product(rolled, yawed))


def _rows(*rows: tuple[Floats, Floats, Floats]) -> Floats:
    return np.stack([np.stack(row, axis=1) for row in rows], axis=1)


def _product(left: Floats, right: Floats) -> Floats:
    """Products of matrices (N, 3, 3), written out for the reason given in `_View._along`."""
    first, second, third = (left[:, :, part, None] * right[:, None, part] for part in range(3))
    return first + second + third


def _sorted_sides(view: _View, left: Floats) -> tuple[Floats, Floats]:
    """Of a part (N, K, 3) on the left and its twin on the right, the farther and the nearer one."""
    right = left * (1, -1, 1)
    left_is_far = (view.distance(left) > view.distance(right))[:, None, None]
    return np.where(left_is_far, left, right), np.where(left_is_far, right, left)


# --- airplanes ----------------------------------------------------------------------------------------------

_AIRPLANE_ZOOM: Final = 1.06
_FUSELAGE_X: Final = np.array([-1.0, -0.86, -0.6, -0.2, 0.3, 0.66, 0.84, 0.94, 0.99, 1.01])
_FUSELAGE_RADIUS: Final = np.array([0.15, 0.36, 0.72, 0.98, 1.0, 1.0, 0.82, 0.56, 0.28, 0.08])
_FUSELAGE_LIFT: Final = np.array([0.55, 0.42, 0.2, 0.02, 0, 0, -0.08, -0.18, -0.26, -0.3])
_ENGINE_X: Final = np.array([-0.17, -0.06, 0.1, 0.15])
_ENGINE_RADIUS: Final = np.array([0.035, 0.07, 0.075, 0.06])


def _airplane_parts(draws: _Draws, view: _View, paints: _Paints) -> list[_Part]:
    """The parts of airplanes, the farthest first: straight or swept wings, a tail, engines, windows."""
    radius = draws.uniform(0.10, 0.145)
    sweep, chord = draws.uniform(0.05, 0.55), draws.uniform(0.26, 0.38)
    wings = _sorted_sides(view, _airplane_wing(draws, radius, sweep, chord))
    tails = _sorted_sides(view, _tailplane(draws, radius, sweep))
    fin, fin_tip = _fin(draws, radius, sweep)
    main, second, accent = paints.main, paints.second, paints.accent
    engines = _engines(draws, view, sweep)
    body = view.round(np.zeros((len(radius), 3)), *_fuselage(radius))
    return [
        _Part(view.flat(tails[0]), second * paints.far),
        _Part(engines[0], accent * paints.far),
        _Part(view.flat(wings[0]), second * paints.far),
        _Part(view.flat(fin), main * paints.far),
        _Part(view.flat(fin_tip), accent * paints.near),
        _Part(body, main * paints.near),
        _Part(_belly(view, radius), main * paints.far),
        *_windows(draws, view, radius),
        _Part(view.flat(tails[1]), second * paints.near),
        _Part(engines[1], accent * paints.near),
        _Part(view.flat(wings[1]), second * paints.near),
    ]


def _fuselage(radius: Floats) -> tuple[Floats, Floats, Floats]:
    """Where along x, how thick and how far lifted a fuselage is, (N, K) each."""
    along = np.broadcast_to(_FUSELAGE_X, (len(radius), len(_FUSELAGE_X)))
    return along, radius[:, None] * _FUSELAGE_RADIUS, radius[:, None] * _FUSELAGE_LIFT


def _belly(view: _View, radius: Floats) -> Floats:
    """The shaded underside, a slimmer body that lies a little lower."""
    along, radii, lift = _fuselage(radius)
    return view.round(np.zeros((len(radius), 3)), along * 0.93, radii * 0.52, lift - 0.46 * radii)


def _airplane_wing(draws: _Draws, radius: Floats, sweep: Floats, chord: Floats) -> Floats:
    """The left wing (N, K, 3), its tip cut off roundly."""
    span, taper, rise = draws.uniform(0.86, 1.12), draws.uniform(0.26, 0.6), draws.uniform(0.02, 0.16)
    root, start = draws.uniform(0.12, 0.3), 0.6 * radius
    tip = root - sweep * span
    low = -0.5 * radius
    return _points(
        (root, start, low),
        (tip, span * 0.96, low + rise),
        (tip - 0.35 * taper * chord, span, low + rise),
        (tip - taper * chord, span * 0.98, low + rise),
        (root - 0.9 * chord - 0.3 * sweep, start + 0.3 * span, low + 0.3 * rise),
        (root - 1.25 * chord, start, low),
    )


def _tailplane(draws: _Draws, radius: Floats, sweep: Floats) -> Floats:
    span, chord = draws.uniform(0.34, 0.46), draws.uniform(0.14, 0.2)
    high = 0.35 * radius
    return _points(
        (-0.72, 0 * span, high),
        (-0.76 - 0.7 * sweep * span, span, high + 0.03),
        (-0.76 - 0.7 * sweep * span - 0.6 * chord, span, high + 0.03),
        (-0.78 - chord, 0 * span, high),
    )


def _fin(draws: _Draws, radius: Floats, sweep: Floats) -> tuple[Floats, Floats]:
    """The upright tail fin and its painted upper part, (N, 4, 3) each."""
    height, chord = draws.uniform(0.32, 0.46), draws.uniform(0.2, 0.28)
    lean = 0.12 + 0.55 * sweep
    base, middle = 0.3 * radius, 0.5 * height

    def front(high: Floats) -> Floats:
        return -0.62 - lean * high

    def back(high: Floats) -> Floats:
        return -0.62 - 1.3 * chord - 0.35 * lean * high

    zero = np.zeros_like(base)
    top = base + height
    lower = _points(
        (front(base) + 0.1, zero, base),
        (front(top), zero, top),
        (back(top), zero, top),
        (back(base), zero, base),
    )
    split = base + middle
    upper = _points(
        (front(split), zero, split),
        (front(top), zero, top),
        (back(top), zero, top),
        (back(split), zero, split),
    )
    return lower, upper


def _engines(draws: _Draws, view: _View, sweep: Floats) -> tuple[Floats, Floats]:
    """Outlines of the engine below each wing, the farther first; where there is none they have no size."""
    out, length = draws.uniform(0.3, 0.44), draws.uniform(0.85, 1.25) * draws.chance(0.7)
    place = np.stack([0.16 - sweep * out, out, np.full_like(out, -0.13)], axis=1)[:, None]
    far, near = _sorted_sides(view, place)
    along, radii = length[:, None] * _ENGINE_X, length[:, None] * _ENGINE_RADIUS
    return view.round(far[:, 0], along, radii), view.round(near[:, 0], along, radii)


def _windows(draws: _Draws, view: _View, radius: Floats) -> list[_Part]:
    """The cockpit's window and a row along the cabin, dark or lit, on the side that is seen."""
    glass = np.where(draws.chance(0.5)[:, None], (52.0, 60.0, 78.0), (250.0, 236.0, 190.0))
    zero, high = np.zeros_like(radius), 0.3 * radius
    cockpit = _points(
        (0.8 + zero, zero, 0.2 * radius),
        (0.8 + zero, zero, 0.68 * radius),
        (0.87 + zero, zero, 0.5 * radius),
        (0.92 + zero, zero, 0.18 * radius),
    )
    rows = [
        _points(
            (x, zero, high), (x, zero, high + 0.032), (x + 0.07, zero, high + 0.032), (x + 0.07, zero, high)
        )
        for x in np.linspace(-0.5, 0.6, 7)
    ]
    return [_Part(view.flat(window), glass) for window in (cockpit, *rows)]


def _points(*points: tuple[ArrayLike, ArrayLike, ArrayLike]) -> Floats:
    """Points (N, K, 3) from K triples of numbers or (N,) arrays."""
    parts = np.broadcast_arrays(*(np.asarray(value, float) for point in points for value in point))
    return np.stack(parts, axis=1).reshape(len(parts[0]), len(points), 3)


# --- birds --------------------------------------------------------------------------------------------------

_BIRD_ZOOM: Final = 0.92  # a bird then covers as much of a picture as an airplane, on the average
_BIRD_X: Final = np.array([-0.7, -0.55, -0.36, -0.1, 0.14, 0.34, 0.48, 0.6])
_BIRD_RADIUS: Final = np.array([0.05, 0.11, 0.165, 0.215, 0.225, 0.195, 0.15, 0.11])
_BIRD_LIFT: Final = np.array([0.05, 0.04, 0.01, -0.02, -0.02, 0.02, 0.08, 0.12])
_FEATHERS: Final = 5


def _bird_parts(draws: _Draws, view: _View, paints: _Paints) -> list[_Part]:
    """The parts of birds, the farthest first: bent wings with fingers, a fanned tail, a head with a beak."""
    stout = draws.uniform(0.78, 1.12)
    wing, band = _bird_wing(draws)
    wings, bands = _sorted_sides(view, wing), _sorted_sides(view, band)
    tail = _bird_tail(draws)
    head, head_radius, beak, eye = _bird_head(draws, view)
    along = np.broadcast_to(_BIRD_X, (len(stout), len(_BIRD_X)))
    radii, origin = stout[:, None] * _BIRD_RADIUS, np.zeros((len(stout), 3))
    main, second, accent = paints.main, paints.second, paints.accent
    hood = np.where(draws.chance(0.5)[:, None], main, second)
    return [
        _Part(view.flat(wings[0]), main * paints.far),
        _Part(view.flat(bands[0]), second * paints.far),
        _Part(view.flat(tail), second * paints.far),
        _Part(beak, accent * paints.near),
        _Part(view.round(origin, along, radii, _BIRD_LIFT), main * paints.near),
        _Part(view.round(origin, along * 0.86, radii * 0.55, _BIRD_LIFT - 0.4 * radii), second * paints.far),
        _Part(view.disc(head, head_radius), hood * paints.near),
        _Part(eye, np.broadcast_to((30.0, 28.0, 32.0), main.shape)),
        _Part(view.flat(wings[1]), main * paints.near),
        _Part(view.flat(bands[1]), second * paints.near),
    ]


def _bird_wing(draws: _Draws) -> tuple[Floats, Floats]:
    """The left wing and its band of flight feathers, bent at the shoulder and at the wrist, (N, K, 3)."""
    span, chord = draws.uniform(1.02, 1.3), draws.uniform(0.85, 1.2)
    sweep, fingers = draws.uniform(-0.05, 0.45), draws.uniform(0.05, 0.2)
    shoulder, wrist = np.radians(draws.uniform(-15, 50)), np.radians(draws.uniform(-55, 12))
    lead = [(0.22, 0.0), (0.34, 0.2), (0.38, 0.4), (0.3, 0.62), (0.12, 0.84)]
    inner = [(-0.3, 0.4), (-0.28, 0.2), (-0.24, 0.0)]
    edge = [(x * chord - sweep * out * out, out * span) for x, out in lead]
    feathers = _flight_feathers(span, chord, sweep, fingers)
    rear = [(x * chord - 0.4 * sweep * out, out * span) for x, out in inner]
    quills = [(0.3 * x + 0.02, 0.96 * out) for x, out in rear[::-1]]
    inside = [(0.16 * chord - sweep * 0.4, 0.6 * span), (0.02 * chord - sweep * 0.7, 0.82 * span)]
    bend = 0.4 * span, shoulder, shoulder + wrist
    return _bent([*edge, *feathers, *rear], *bend), _bent([*quills, *inside, *feathers, *rear], *bend)


def _flight_feathers(
    span: Floats, chord: Floats, sweep: Floats, fingers: Floats
) -> list[tuple[Floats, Floats]]:
    """Tips and gaps of the feathers from the wing's tip inwards, as (x, distance from the body) pairs."""
    places = []
    for feather in range(_FEATHERS):
        part = feather / (_FEATHERS - 1)
        out, x = 1.0 - 0.5 * part, -0.04 - 0.3 * part**0.7
        drop = sweep * out * out
        places.append((x * chord - drop, out * span))
        if feather < _FEATHERS - 1:
            places.append(((x + 0.02) * chord - drop + fingers, (out - 0.085) * span))
    return places


def _bent(outline: list[tuple[Floats, Floats]], bend: Floats, inner: Floats, outer: Floats) -> Floats:
    """A wing cut from paper as (x, distance) pairs, raised by `inner` radians, by `outer` beyond the bend."""
    x, out = (np.stack(values, axis=1) for values in zip(*outline, strict=True))
    near = np.minimum(out, bend[:, None])
    far = out - near
    y = near * np.cos(inner)[:, None] + far * np.cos(outer)[:, None]
    z = near * np.sin(inner)[:, None] + far * np.sin(outer)[:, None]
    return np.stack([x, y + 0.06, z + 0.06], axis=-1)


def _bird_tail(draws: _Draws) -> Floats:
    """A fan of feathers behind the body (N, K, 3), rounded or forked."""
    length, width, fork = draws.uniform(0.26, 0.46), draws.uniform(0.12, 0.3), draws.uniform(-0.1, 0.2)
    end = -0.58 - length
    return _points(
        (-0.5, 0.07, 0.05),
        (end, width, 0.0),
        (end - 0.02 + 0.6 * fork, 0.5 * width, 0.0),
        (end + fork, 0.0, 0.0),
        (end - 0.02 + 0.6 * fork, -0.5 * width, 0.0),
        (end, -width, 0.0),
        (-0.5, -0.07, 0.05),
    )


def _bird_head(draws: _Draws, view: _View) -> tuple[Floats, Floats, Floats, Floats]:
    """Centre (N, 3) and radius (N,) of the head, and the outlines of the beak and of the eye."""
    radius, reach, length = draws.uniform(0.13, 0.18), draws.uniform(0.54, 0.7), draws.uniform(0.16, 0.3)
    head = np.stack([reach, np.zeros_like(reach), np.full_like(reach, 0.15)], axis=1)
    along = np.stack([0.5 * radius, radius + 0.3 * length, radius + length], axis=1)
    radii = np.stack([0.62 * radius, 0.36 * radius, np.full_like(radius, 0.01)], axis=1)
    beak = view.round(head, along, radii, np.array([0.0, 0.0, -0.05]))
    return head, radius, beak, view.disc(head + np.array([0.06, 0.0, 0.04]), 0.26 * radius, corners=6)


# --- filling ------------------------------------------------------------------------------------------------


def _draw_subjects(
    draws: _Draws, birds: NDArray[np.bool_], paints: _Paints, size: int, difficulty: float
) -> Pixels:
    """(N, 4, size, size): red, green and blue times coverage, and the coverage, 0 to 255 each."""
    factor = _supersampling(size)
    view = _choose_view(draws, size * factor, difficulty)
    subjects = np.empty((len(birds), size, size, 4), np.uint8)
    for rows, make_parts, zoom in (
        (~birds, _airplane_parts, _AIRPLANE_ZOOM),
        (birds, _bird_parts, _BIRD_ZOOM),
    ):
        if rows.any():
            parts = make_parts(draws.only(rows), view.only(rows, zoom), paints.only(rows))
            subjects[rows] = list(_fill(parts, size, factor))
    return subjects.transpose(0, 3, 1, 2).astype(np.float32)


def _supersampling(size: int) -> int:
    """How many times larger than the picture the canvas is: less for large pictures, with finer edges."""
    return 4 if size <= 64 else 3 if size <= 160 else 2


def _fill(parts: list[_Part], size: int, factor: int) -> Iterator[NDArray[np.uint8]]:
    """Paint the parts of each subject one over the other and average: (size, size, 4) a subject."""
    outlines = [part.outlines.reshape(len(part.outlines), -1).tolist() for part in parts]
    inks = [np.clip(part.colours + 0.5, 0, 255).astype(np.uint8).tolist() for part in parts]
    for number in range(len(outlines[0])):
        # Pillow averages the four channels of CMYK one by one, where it would rescale RGB by its alpha.
        canvas = Image.new("CMYK", (size * factor, size * factor))
        draw: Any = ImageDraw.Draw(canvas)
        for outline, ink in zip(outlines, inks, strict=True):
            draw.polygon(outline[number], fill=(*ink[number], 255))
        yield np.asarray(canvas.reduce(factor))
