"""Filling the polygons of subjects and laying them over their skies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from birdplane_builtin.drawing.airplanes import AIRPLANE_ZOOM, airplane_parts
from birdplane_builtin.drawing.arrays import Flags, Keys, Pixels
from birdplane_builtin.drawing.birds import BIRD_ZOOM, bird_parts
from birdplane_builtin.drawing.chance import POSE, Draws, noise, uniforms
from birdplane_builtin.drawing.paints import Paints, choose_paints
from birdplane_builtin.drawing.sky import draw_sky
from birdplane_builtin.drawing.view import Part, choose_view

_POSE_DRAWS: Final = 96


def draw(keys: Keys, birds: Flags, size: int, difficulty: float) -> NDArray[np.uint8]:
    """Pictures (N, 3, size, size): the subject over its sky, a veil of cloud before it, and noise."""
    draws = Draws(uniforms(keys, _POSE_DRAWS, POSE))
    sky = draw_sky(draws, keys, size, difficulty)
    paints = choose_paints(draws, sky.mean, difficulty)
    subject_NCHW = _draw_subjects(draws, birds, paints, size, difficulty)
    coverage = subject_NCHW[:, 3:] * (1 / 255)
    veil = sky.clouds[:, None] * np.float32(0.4 * difficulty)
    images = subject_NCHW[:, :3]
    images += sky.images * (1 - coverage)
    images += (sky.images - images) * veil
    images += noise(keys, size) * np.float32(26 * difficulty**2)
    np.clip(images + np.float32(0.5), 0, 255, out=images)
    return images.astype(np.uint8)


def _draw_subjects(draws: Draws, birds: Flags, paints: Paints, size: int, difficulty: float) -> Pixels:
    """(N, 4, size, size): red, green and blue times coverage, and the coverage, 0 to 255 each."""
    factor = _supersampling(size)
    view = choose_view(draws, size * factor, difficulty)
    subjects = np.empty((len(birds), size, size, 4), np.uint8)
    for rows, make_parts, zoom in (
        (~birds, airplane_parts, AIRPLANE_ZOOM),
        (birds, bird_parts, BIRD_ZOOM),
    ):
        if rows.any():
            parts = make_parts(draws.only(rows), view.only(rows, zoom), paints.only(rows))
            subjects[rows] = list(_fill(parts, size, factor))
    return subjects.transpose(0, 3, 1, 2).astype(np.float32)


def _supersampling(size: int) -> int:
    """How many times larger than the picture the canvas is: less for large pictures, with finer edges."""
    return 4 if size <= 64 else 3 if size <= 160 else 2


def _fill(parts: list[Part], size: int, factor: int) -> Iterator[NDArray[np.uint8]]:
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
