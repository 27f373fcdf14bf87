"""Pictures as characters: a half block is two pixels, one above the other, in its two colours; exact, not scaled.

Where there are no colours or no such character, a ramp of ASCII characters stands for the brightness.
Needs no screen.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from rich.color import Color, ColorType
from rich.color_triplet import ColorTriplet
from rich.segment import Segment
from rich.style import Style

_RAMP = " .:-=+*#%@"


@dataclass(frozen=True)
class Picture:
    """A picture as the helper sends it: `rgb` holds height x width x 3 bytes."""

    width: int
    height: int
    rgb: bytes


def unpack(thumbnails: Mapping[str, Any]) -> list[Picture]:
    """Return the pictures of an answer's `thumbnails`."""
    width, height = int(thumbnails["width"]), int(thumbnails["height"])
    pixels, size = base64.b64decode(thumbnails["rgb"]), width * height * 3
    return (
        [Picture(width, height, pixels[at : at + size]) for at in range(0, len(pixels), size)] if size else []
    )


def shrunk(picture: Picture, width: int, height: int) -> Picture:
    """Return a picture with at most so many pixels, by leaving some out."""
    if picture.width <= width and picture.height <= height:
        return picture
    columns = (
        [picture.width * x // width for x in range(width)] if picture.width > width else range(picture.width)
    )
    rows = (
        [picture.height * y // height for y in range(height)]
        if picture.height > height
        else range(picture.height)
    )
    starts = (3 * (row * picture.width + column) for row in rows for column in columns)
    return Picture(len(columns), len(rows), b"".join(picture.rgb[start : start + 3] for start in starts))


@lru_cache(maxsize=4096)
def _colour(rgb: bytes) -> Color:
    # What Color.from_rgb makes, but for a name that nobody reads and that takes half of the time.
    return Color("", ColorType.TRUECOLOR, None, ColorTriplet(*rgb))


def half_blocks(picture: Picture, background: Color | None = None) -> list[list[Segment]]:
    """Return a picture as rows of segments; below an odd last row of pixels is the background."""
    rows, stride, pixels = [], picture.width * 3, picture.rgb
    for top in range(0, picture.height, 2):
        upper = pixels[top * stride : (top + 1) * stride]
        lower = pixels[(top + 1) * stride : (top + 2) * stride]
        rows.append(
            [
                Segment(
                    "▀",
                    Style.from_color(
                        _colour(upper[x : x + 3]), _colour(lower[x : x + 3]) if lower else background
                    ),
                )
                for x in range(0, stride, 3)
            ]
        )
    return rows


def ascii_ramp(picture: Picture) -> list[list[Segment]]:
    """Return a picture as rows of characters, the denser the brighter, each for two pixels one above the other."""
    rows = []
    light = [
        (299 * r + 587 * g + 114 * b) // 1000
        for r, g, b in zip(picture.rgb[::3], picture.rgb[1::3], picture.rgb[2::3], strict=True)
    ]
    for top in range(0, picture.height, 2):
        upper = light[top * picture.width : (top + 1) * picture.width]
        lower = light[(top + 1) * picture.width : (top + 2) * picture.width] or upper
        shades = (
            (above + below) * (len(_RAMP) - 1) // 510 for above, below in zip(upper, lower, strict=True)
        )
        rows.append([Segment("".join(_RAMP[shade] for shade in shades))])
    return rows
