"""The sky: a gradient, the light of a sun, and clouds."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from birdplane_builtin.drawing.arrays import Floats, Keys, Pixels
from birdplane_builtin.drawing.chance import CLOUDS, Draws, uniforms

_CLOUD_LATTICES: Final = ((3, 4), (6, 7), (11, 13))  # columns and rows: clouds are wider than tall
_CLOUD_WEIGHTS: Final = (0.54, 0.30, 0.16)

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


class Sky(NamedTuple):
    images: Pixels  # (N, 3, size, size), 0 to 255
    clouds: Pixels  # (N, size, size), 0 to 1: how thick
    mean: Floats  # (N, 3), the colour half-way down


def draw_sky(draws: Draws, keys: Keys, size: int, difficulty: float) -> Sky:
    colours = _sky_colours(draws, difficulty)
    images = _gradient(draws, colours, size, difficulty)
    images += _glow(draws, size, difficulty)
    clouds, light = _draw_clouds(draws, keys, size, difficulty)
    tint = 0.62 * np.array([255.0, 253.0, 250.0]) + 0.38 * colours[:, 2]
    images += (_per_channel(tint) * light[:, None] - images) * clouds[:, None]
    return Sky(images, clouds, colours[:, 1])


def _sky_colours(draws: Draws, difficulty: float) -> Floats:
    """(N, 3 heights, 3 channels): a mixture of two times of day, the plain sky where difficulty is 0."""
    one, other = _SKIES[draws.choice(len(_SKIES))], _SKIES[draws.choice(len(_SKIES))]
    part = draws.uniform(0, 0.5)[:, None, None]
    away = min(1.0, 2 * difficulty)
    brightness = 1 + draws.uniform(-0.16, 0.1)[:, None, None] * difficulty
    colours: Floats = _SKIES[0] * (1 - away) + (one * (1 - part) + other * part) * away
    return colours * brightness


def _gradient(draws: Draws, colours: Floats, size: int, difficulty: float) -> Pixels:
    """(N, 3, size, size): three colours from top to bottom, slanted by up to 25 degrees."""
    across, down = _grid(size)
    slope = _per_picture(draws.uniform(-0.45, 0.45) * difficulty)
    shift = _per_picture(draws.uniform(-0.5, 0.5) * difficulty)
    height = np.clip(down + slope * across + shift, -1, 1)[:, None]
    top, middle, bottom = (_per_channel(colours[:, part]) for part in range(3))
    images: Pixels = np.maximum(height, 0) * (bottom - middle) - np.minimum(height, 0) * (top - middle)
    images += middle
    return images


def _glow(draws: Draws, size: int, difficulty: float) -> Pixels:
    """(N, 3, size, size): the light around a sun that may stand outside the picture."""
    across, down = _grid(size)
    x, y = _per_picture(draws.uniform(-1.4, 1.4)), _per_picture(draws.uniform(-1.3, 0.6))
    strength = _per_picture(draws.uniform(0, 75) * min(1.0, 2 * difficulty))
    light: Pixels = strength / (1 + 5 * ((across - x) ** 2 + (down - y) ** 2))
    return light[:, None] * np.array([1.0, 0.9, 0.66], np.float32)[:, None, None]


def _draw_clouds(draws: Draws, keys: Keys, size: int, difficulty: float) -> tuple[Pixels, Pixels]:
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
        values = uniforms(keys, (columns + 1) * (rows + 1), CLOUDS + octave)
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
