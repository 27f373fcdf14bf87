"""From model space to the canvas."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from birdplane_builtin.drawing.arrays import Flags, Floats
from birdplane_builtin.drawing.chance import Draws


class Part(NamedTuple):
    outlines: Floats  # (N, K, 2): polygons on the canvas, in its pixels
    colours: Floats  # (N, 3), 0 to 255


class View:
    """How each subject of a batch is seen: turned, scaled and put in its place on the canvas."""

    def __init__(self, axes: Floats, centre: Floats, scale: Floats) -> None:
        """`axes` (N, 3, 3): right, up and away from the viewer, in model space; the rest in pixels."""
        self._axes, self._centre, self._scale = axes, centre, scale

    def only(self, rows: Flags, zoom: float) -> View:
        """The views of some pictures of the batch, their subjects `zoom` times as large."""
        return View(self._axes[rows], self._centre[rows], self._scale[rows] * zoom)

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


def choose_view(draws: Draws, canvas: int, difficulty: float) -> View:
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
    return View(axes, (0.5 + shift) * canvas, scale * canvas)


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
    """Products of matrices (N, 3, 3), written out for the reason given in `View._along`."""
    first, second, third = (left[:, :, part, None] * right[:, None, part] for part in range(3))
    return first + second + third


def sorted_sides(view: View, left: Floats) -> tuple[Floats, Floats]:
    """Of a part (N, K, 3) on the left and its twin on the right, the farther and the nearer one."""
    right = left * (1, -1, 1)
    left_is_far = (view.distance(left) > view.distance(right))[:, None, None]
    return np.where(left_is_far, left, right), np.where(left_is_far, right, left)


def polygon(*corners: tuple[ArrayLike, ArrayLike, ArrayLike]) -> Floats:
    """Points (N, K, 3) from K triples of numbers or (N,) arrays."""
    parts = np.broadcast_arrays(*(np.asarray(value, float) for corner in corners for value in corner))
    return np.stack(parts, axis=1).reshape(len(parts[0]), len(corners), 3)
