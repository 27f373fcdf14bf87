"""The colours of a subject and the light on it."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from birdplane_builtin.drawing.arrays import Flags, Floats
from birdplane_builtin.drawing.chance import Draws

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


class Paints(NamedTuple):
    """Three colours (N, 3) and the light on what faces the viewer and on what lies behind (N, 1)."""

    main: Floats
    second: Floats
    accent: Floats
    near: Floats
    far: Floats

    def only(self, rows: Flags) -> Paints:
        return Paints(*(values[rows] for values in self))


def choose_paints(draws: Draws, sky: Floats, difficulty: float) -> Paints:
    main, second, accent = (_COLOURS[draws.choice(len(_COLOURS))] for _ in range(3))
    main = _stand_out(main, sky, 70 * (1 - difficulty))
    second = main + (second - main) * draws.uniform(0.35, 0.9)[:, None]
    blend = draws.uniform(0, 0.4)[:, None] * difficulty
    main, second = main + (sky - main) * blend, second + (sky - second) * blend
    near = draws.uniform(0.9, 1.06)[:, None]
    return Paints(main, second, accent, near, near * draws.uniform(0.66, 0.84)[:, None])


def _stand_out(colours: Floats, sky: Floats, least: float) -> Floats:
    """Colours made darker or lighter until their brightness is `least` (of 255) away from the sky's."""
    gap = ((colours - sky) * (0.30, 0.59, 0.11)).sum(axis=1, keepdims=True)
    missing = np.maximum(0, least - np.abs(gap))
    moved: Floats = np.clip(colours + np.where(gap > 0, missing, -missing), 0, 255)
    return moved
