"""How a sketch is drawn: pictures from their keys, by numpy and Pillow.

A subject is a small model in three dimensions. Flat parts (wings, tails) are polygons in space; round parts
(a body, an engine) are outlines that always face the viewer. numpy turns and projects the models of a batch
at once, Pillow fills the polygons at several times the size, and numpy lays the result over a cloudy sky.
Filled by numpy instead, as distances from their edges, the polygons would take more than twice as long.

Model space: x forward, y to the left, z up; a body is about 2 long. Canvas: x right, y down, in pixels.
"""

from __future__ import annotations

from birdplane_builtin.drawing.chance import coins, picture_keys
from birdplane_builtin.drawing.painting import draw

__all__ = ["coins", "draw", "picture_keys"]
