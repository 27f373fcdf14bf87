"""A single picture, as datasets and transforms of single pictures give it."""

from __future__ import annotations

from typing import Any

import numpy as np

from birdplane.errors import BirdplaneError


def pixels_of(picture: Any, index: int) -> np.ndarray:
    """Return a PIL image, or a uint8 CHW tensor or array, as uint8 (C, H, W)."""
    if hasattr(picture, "convert"):
        mode = picture.mode if picture.mode in ("L", "RGB") else "RGB"
        pixels = np.asarray(picture.convert(mode))
        return np.ascontiguousarray(pixels[None] if mode == "L" else pixels.transpose(2, 0, 1))
    pixels = np.asarray(picture)
    if pixels.dtype != np.uint8 or pixels.ndim != 3:
        raise BirdplaneError(
            f"dataset: picture {index} is {type(picture).__name__} of {pixels.dtype} {pixels.shape}: expected a "
            "PIL image, or uint8 (channels, height, width)"
        )
    return pixels


def size_of(image: np.ndarray) -> str:
    channels, height, width = image.shape
    return f"{width}x{height} with {channels} channels"
