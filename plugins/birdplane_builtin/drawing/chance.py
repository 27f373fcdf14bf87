"""Random numbers as functions of a picture's key: nothing is drawn in advance, nothing is kept."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from birdplane_builtin.drawing.arrays import Flags, Floats, Keys, Pixels

# Streams of random numbers; each octave of clouds has its own.
_LABELS: Final = 0
POSE: Final = 1
_NOISE: Final = 2
CLOUDS: Final = 3


def picture_keys(positions: Keys, seed: int, split: str) -> Keys:
    """One number for each picture; no two pictures of a seed, of either split, share one."""
    counter = positions * np.uint64(2) + np.uint64(split == "test")
    return _mix(counter + _mix(np.array([seed], np.uint64)))


def coins(keys: Keys) -> Keys:
    """0 or 1 for each key, by chance: which class comes first in a pair of pictures."""
    return _streamed(keys, _LABELS) >> np.uint64(63)


def _mix(keys: Keys) -> Keys:
    """Scramble 64-bit integers one to one (the finalizer of splitmix64, by Steele, Lea and Flood, 2014)."""
    keys = keys + np.uint64(0x9E3779B97F4A7C15)
    keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return keys ^ (keys >> np.uint64(31))


def _streamed(keys: Keys, stream: int) -> Keys:
    """Other keys, independent between streams."""
    return _mix(keys ^ _mix(np.array([stream], np.uint64)))


def uniforms(keys: Keys, count: int, stream: int) -> Floats:
    """(N, count) numbers in [0, 1)."""
    starts = _streamed(keys, stream)
    bits = _mix(starts[:, None] + np.arange(count, dtype=np.uint64) * np.uint64(0xD1342543DE82EF95))
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


class Draws:
    """Random numbers for a batch, one a picture and call, taken in the order in which they are asked for."""

    def __init__(self, numbers: Floats) -> None:
        self._numbers = numbers
        self._taken = 0

    def uniform(self, low: float, high: float) -> Floats:
        self._taken += 1
        return low + (high - low) * self._numbers[:, self._taken - 1]

    def chance(self, probability: float) -> Flags:
        return self.uniform(0, 1) < probability

    def choice(self, count: int) -> NDArray[np.int64]:
        return self.uniform(0, count).astype(np.int64)

    def sign(self) -> Floats:
        return np.where(self.chance(0.5), 1.0, -1.0)

    def only(self, rows: Flags) -> Draws:
        """What is still to be drawn, for some pictures of the batch."""
        return Draws(self._numbers[rows, self._taken :])


def noise(keys: Keys, size: int) -> Pixels:
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
