"""How right a trained model still is on pictures that were moved, mirrored, made darker or noisy: the records.

`measuring` makes them, which takes torch; `drawing` turns them into pictures, which does not.
"""

from __future__ import annotations

from dataclasses import dataclass

#: What comes in at the border of a picture that is moved, as the sentence that says so.
FILLS = {
    "edge": "the pixels at the edge, repeated",
    "zero": "black",
    "reflect": "the picture, reflected at its edge",
    "wrap": "what left it on the other side",
}
#: The distance that a probe puts a price on.
TOLD = 4


@dataclass(frozen=True)
class Cost:
    """What a shift of so many pixels costs: a mean over the eight positions that are reached by moving a picture
    left or right, up or down, or both, by exactly so many pixels.

    `accuracy` is that mean, 0 to 1, and `cost` how much it is below the accuracy of the pictures as they are.
    """

    pixels: int
    accuracy: float
    cost: float


@dataclass(frozen=True)
class Change:
    """The accuracy, 0 to 1, after one change: `kind` is `"flip"`, `"brightness"` or `"noise"`, `what` says it in
    words."""

    kind: str
    what: str
    accuracy: float


@dataclass(frozen=True)
class Probe:
    """One run, probed.

    Attributes:
        run: its name.
        pictures: how many of the `available` validation pictures were looked at.
        fill: one of `FILLS`.
        offsets: where pictures were moved to, in pixels, from the furthest left (or up) to the furthest right
            (or down); 0 is among them.
        accuracy: `accuracy[row][column]`, 0 to 1, of pictures moved `offsets[column]` to the right and
            `offsets[row]` down.
        costs: of `TOLD` pixels and of the furthest shift.
        changes: flips, brightness and noise.
    """

    run: str
    pictures: int
    available: int
    fill: str
    offsets: tuple[int, ...]
    accuracy: tuple[tuple[float, ...], ...]
    costs: tuple[Cost, ...]
    changes: tuple[Change, ...]

    @property
    def unmoved(self) -> float:
        """The accuracy on the pictures as they are."""
        middle = self.offsets.index(0)
        return self.accuracy[middle][middle]


def offsets(reach: int, step: int) -> tuple[int, ...]:
    """Return 0, its multiples of `step` that are within `reach`, and `reach` itself, on both sides."""
    half = sorted({*range(0, reach + 1, step), reach})
    return (*(-offset for offset in reversed(half) if offset), *half)


def told_distances(reach: int) -> tuple[int, ...]:
    """Return the distances that a probe of that reach puts a price on, 0 left out."""
    return tuple(sorted({min(TOLD, reach), reach} - {0}))


def around(distance: int) -> list[tuple[int, int]]:
    """Return the eight positions (dx, dy) at a distance: along one direction, or along both."""
    ways = (-distance, 0, distance)
    return [(dx, dy) for dy in ways for dx in ways if (dx, dy) != (0, 0)]


def scale(probes: list[Probe]) -> tuple[float, float]:
    """Return the least and the greatest accuracy of several probes' shifts: the ends of their common scale."""
    values = [value for probe in probes for row in probe.accuracy for value in row]
    return min(values), max(values)
