"""The model of a bird."""

from __future__ import annotations

from typing import Final

import numpy as np

from birdplane_builtin.drawing.arrays import Floats
from birdplane_builtin.drawing.chance import Draws
from birdplane_builtin.drawing.paints import Paints
from birdplane_builtin.drawing.view import Part, View, polygon, sorted_sides

BIRD_ZOOM: Final = 0.92  # a bird then covers as much of a picture as an airplane, on the average
_BIRD_X: Final = np.array([-0.7, -0.55, -0.36, -0.1, 0.14, 0.34, 0.48, 0.6])
_BIRD_RADIUS: Final = np.array([0.05, 0.11, 0.165, 0.215, 0.225, 0.195, 0.15, 0.11])
_BIRD_LIFT: Final = np.array([0.05, 0.04, 0.01, -0.02, -0.02, 0.02, 0.08, 0.12])
_FEATHERS: Final = 5


def bird_parts(draws: Draws, view: View, paints: Paints) -> list[Part]:
    """The parts of birds, the farthest first: bent wings with fingers, a fanned tail, a head with a beak."""
    stout = draws.uniform(0.78, 1.12)
    wing, band = _bird_wing(draws)
    wings, bands = sorted_sides(view, wing), sorted_sides(view, band)
    tail = _bird_tail(draws)
    head, head_radius, beak, eye = _bird_head(draws, view)
    along = np.broadcast_to(_BIRD_X, (len(stout), len(_BIRD_X)))
    radii, origin = stout[:, None] * _BIRD_RADIUS, np.zeros((len(stout), 3))
    main, second, accent = paints.main, paints.second, paints.accent
    hood = np.where(draws.chance(0.5)[:, None], main, second)
    return [
        Part(view.flat(wings[0]), main * paints.far),
        Part(view.flat(bands[0]), second * paints.far),
        Part(view.flat(tail), second * paints.far),
        Part(beak, accent * paints.near),
        Part(view.round(origin, along, radii, _BIRD_LIFT), main * paints.near),
        Part(view.round(origin, along * 0.86, radii * 0.55, _BIRD_LIFT - 0.4 * radii), second * paints.far),
        Part(view.disc(head, head_radius), hood * paints.near),
        Part(eye, np.broadcast_to((30.0, 28.0, 32.0), main.shape)),
        Part(view.flat(wings[1]), main * paints.near),
        Part(view.flat(bands[1]), second * paints.near),
    ]


def _bird_wing(draws: Draws) -> tuple[Floats, Floats]:
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


def _bird_tail(draws: Draws) -> Floats:
    """A fan of feathers behind the body (N, K, 3), rounded or forked."""
    length, width, fork = draws.uniform(0.26, 0.46), draws.uniform(0.12, 0.3), draws.uniform(-0.1, 0.2)
    end = -0.58 - length
    return polygon(
        (-0.5, 0.07, 0.05),
        (end, width, 0.0),
        (end - 0.02 + 0.6 * fork, 0.5 * width, 0.0),
        (end + fork, 0.0, 0.0),
        (end - 0.02 + 0.6 * fork, -0.5 * width, 0.0),
        (end, -width, 0.0),
        (-0.5, -0.07, 0.05),
    )


def _bird_head(draws: Draws, view: View) -> tuple[Floats, Floats, Floats, Floats]:
    """Centre (N, 3) and radius (N,) of the head, and the outlines of the beak and of the eye."""
    radius, reach, length = draws.uniform(0.13, 0.18), draws.uniform(0.54, 0.7), draws.uniform(0.16, 0.3)
    head = np.stack([reach, np.zeros_like(reach), np.full_like(reach, 0.15)], axis=1)
    along = np.stack([0.5 * radius, radius + 0.3 * length, radius + length], axis=1)
    radii = np.stack([0.62 * radius, 0.36 * radius, np.full_like(radius, 0.01)], axis=1)
    beak = view.round(head, along, radii, np.array([0.0, 0.0, -0.05]))
    return head, radius, beak, view.disc(head + np.array([0.06, 0.0, 0.04]), 0.26 * radius, corners=6)
