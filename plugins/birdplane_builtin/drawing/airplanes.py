"""The model of an airplane."""

from __future__ import annotations

from typing import Final

import numpy as np

from birdplane_builtin.drawing.arrays import Floats
from birdplane_builtin.drawing.chance import Draws
from birdplane_builtin.drawing.paints import Paints
from birdplane_builtin.drawing.view import Part, View, polygon, sorted_sides

AIRPLANE_ZOOM: Final = 1.06
_FUSELAGE_X: Final = np.array([-1.0, -0.86, -0.6, -0.2, 0.3, 0.66, 0.84, 0.94, 0.99, 1.01])
_FUSELAGE_RADIUS: Final = np.array([0.15, 0.36, 0.72, 0.98, 1.0, 1.0, 0.82, 0.56, 0.28, 0.08])
_FUSELAGE_LIFT: Final = np.array([0.55, 0.42, 0.2, 0.02, 0, 0, -0.08, -0.18, -0.26, -0.3])
_ENGINE_X: Final = np.array([-0.17, -0.06, 0.1, 0.15])
_ENGINE_RADIUS: Final = np.array([0.035, 0.07, 0.075, 0.06])


def airplane_parts(draws: Draws, view: View, paints: Paints) -> list[Part]:
    """The parts of airplanes, the farthest first: straight or swept wings, a tail, engines, windows."""
    radius = draws.uniform(0.10, 0.145)
    sweep, chord = draws.uniform(0.05, 0.55), draws.uniform(0.26, 0.38)
    wings = sorted_sides(view, _airplane_wing(draws, radius, sweep, chord))
    tails = sorted_sides(view, _tailplane(draws, radius, sweep))
    fin, fin_tip = _fin(draws, radius, sweep)
    main, second, accent = paints.main, paints.second, paints.accent
    engines = _engines(draws, view, sweep)
    body = view.round(np.zeros((len(radius), 3)), *_fuselage(radius))
    return [
        Part(view.flat(tails[0]), second * paints.far),
        Part(engines[0], accent * paints.far),
        Part(view.flat(wings[0]), second * paints.far),
        Part(view.flat(fin), main * paints.far),
        Part(view.flat(fin_tip), accent * paints.near),
        Part(body, main * paints.near),
        Part(_belly(view, radius), main * paints.far),
        *_windows(draws, view, radius),
        Part(view.flat(tails[1]), second * paints.near),
        Part(engines[1], accent * paints.near),
        Part(view.flat(wings[1]), second * paints.near),
    ]


def _fuselage(radius: Floats) -> tuple[Floats, Floats, Floats]:
    """Where along x, how thick and how far lifted a fuselage is, (N, K) each."""
    along = np.broadcast_to(_FUSELAGE_X, (len(radius), len(_FUSELAGE_X)))
    return along, radius[:, None] * _FUSELAGE_RADIUS, radius[:, None] * _FUSELAGE_LIFT


def _belly(view: View, radius: Floats) -> Floats:
    """The shaded underside, a slimmer body that lies a little lower."""
    along, radii, lift = _fuselage(radius)
    return view.round(np.zeros((len(radius), 3)), along * 0.93, radii * 0.52, lift - 0.46 * radii)


def _airplane_wing(draws: Draws, radius: Floats, sweep: Floats, chord: Floats) -> Floats:
    """The left wing (N, K, 3), its tip cut off roundly."""
    span, taper, rise = draws.uniform(0.86, 1.12), draws.uniform(0.26, 0.6), draws.uniform(0.02, 0.16)
    root, start = draws.uniform(0.12, 0.3), 0.6 * radius
    tip = root - sweep * span
    low = -0.5 * radius
    return polygon(
        (root, start, low),
        (tip, span * 0.96, low + rise),
        (tip - 0.35 * taper * chord, span, low + rise),
        (tip - taper * chord, span * 0.98, low + rise),
        (root - 0.9 * chord - 0.3 * sweep, start + 0.3 * span, low + 0.3 * rise),
        (root - 1.25 * chord, start, low),
    )


def _tailplane(draws: Draws, radius: Floats, sweep: Floats) -> Floats:
    span, chord = draws.uniform(0.34, 0.46), draws.uniform(0.14, 0.2)
    high = 0.35 * radius
    return polygon(
        (-0.72, 0 * span, high),
        (-0.76 - 0.7 * sweep * span, span, high + 0.03),
        (-0.76 - 0.7 * sweep * span - 0.6 * chord, span, high + 0.03),
        (-0.78 - chord, 0 * span, high),
    )


def _fin(draws: Draws, radius: Floats, sweep: Floats) -> tuple[Floats, Floats]:
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
    lower = polygon(
        (front(base) + 0.1, zero, base),
        (front(top), zero, top),
        (back(top), zero, top),
        (back(base), zero, base),
    )
    split = base + middle
    upper = polygon(
        (front(split), zero, split),
        (front(top), zero, top),
        (back(top), zero, top),
        (back(split), zero, split),
    )
    return lower, upper


def _engines(draws: Draws, view: View, sweep: Floats) -> tuple[Floats, Floats]:
    """Outlines of the engine below each wing, the farther first; where there is none they have no size."""
    out, length = draws.uniform(0.3, 0.44), draws.uniform(0.85, 1.25) * draws.chance(0.7)
    place = np.stack([0.16 - sweep * out, out, np.full_like(out, -0.13)], axis=1)[:, None]
    far, near = sorted_sides(view, place)
    along, radii = length[:, None] * _ENGINE_X, length[:, None] * _ENGINE_RADIUS
    return view.round(far[:, 0], along, radii), view.round(near[:, 0], along, radii)


def _windows(draws: Draws, view: View, radius: Floats) -> list[Part]:
    """The cockpit's window and a row along the cabin, dark or lit, on the side that is seen."""
    glass = np.where(draws.chance(0.5)[:, None], (52.0, 60.0, 78.0), (250.0, 236.0, 190.0))
    zero, high = np.zeros_like(radius), 0.3 * radius
    cockpit = polygon(
        (0.8 + zero, zero, 0.2 * radius),
        (0.8 + zero, zero, 0.68 * radius),
        (0.87 + zero, zero, 0.5 * radius),
        (0.92 + zero, zero, 0.18 * radius),
    )
    rows = [
        polygon(
            (x, zero, high), (x, zero, high + 0.032), (x + 0.07, zero, high + 0.032), (x + 0.07, zero, high)
        )
        for x in np.linspace(-0.5, 0.6, 7)
    ]
    return [Part(view.flat(window), glass) for window in (cockpit, *rows)]
