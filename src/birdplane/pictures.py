"""Reading picture files: any size, mode and format that Pillow decodes by itself, made RGB of one size.

The dataset of one's own pictures and predictions read through here, so that both see the same pixels.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING

from birdplane.errors import message_of

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

#: Not decoded by Pillow itself: EPS starts Ghostscript, the others need a handler that nobody installs.
_NOT_PICTURES = frozenset({"EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG", "PDF", "PALM"})
_COMMON = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF")
_ORIENTATION = 0x0112


class BrokenPictureError(Exception):
    """The file is no picture that can be decoded; the message says why."""


def decode_picture(file: Path | IO[bytes], size: tuple[int, int]) -> Image:
    """Return a picture as RGB, upright, its largest centre part of the right proportions at `size`.

    `size` is (width, height) in pixels. Of an animation it is the first frame.

    Raises:
        BrokenPictureError: it cannot be decoded.
    """
    from PIL import Image

    with _reading(file) as image:
        # JPEG can decode itself to a half, a quarter or an eighth at a fraction of the cost.
        image.draft(None, (2 * size[0], 2 * size[1]))
        image.load()
        picture = _as_rgb(_upright(image))
        if picture.size == size:
            return picture.copy()
        # Cut before resizing: with `box`, Pillow's filter would look beyond the cut's border.
        return picture.crop(_centre(picture.size, size)).resize(size, Image.Resampling.BILINEAR)


def look_at(file: Path | IO[bytes]) -> None:
    """Read no more than says that the file is a picture, and how large.

    Raises:
        BrokenPictureError: it is none, or is too large.
    """
    with _reading(file):
        pass


@contextmanager
def _reading(file: Path | IO[bytes]) -> Iterator[Image]:
    """Open a picture without decoding it; whatever fails in the block is a `BrokenPictureError`."""
    from PIL import Image

    try:
        with Image.open(file, formats=_formats()) as image:
            pixels, most = image.width * image.height, Image.MAX_IMAGE_PIXELS
            if most is not None and pixels > most:
                raise BrokenPictureError(f"it has {pixels:,} pixels; at most {most:,} are decoded")
            yield image
    except BrokenPictureError:
        raise
    # Pillow's decoders answer damage with nearly every kind of exception.
    except Exception as error:
        raise BrokenPictureError(_reason(error)) from error


def _upright(image: Image) -> Image:
    from PIL import Image

    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    try:
        turn = turns.get(image.getexif().get(_ORIENTATION, 1))
    # Damaged metadata is common and no viewer minds it: the pixels are whole.
    except Exception:
        turn = None
    return image if turn is None else image.transpose(turn)


def _as_rgb(image: Image) -> Image:
    """Return the picture as 8-bit RGB: transparency over white, 16-bit grey scaled."""
    from PIL import Image

    if image.mode.startswith("I") or image.mode == "F":
        return _from_deep(image)
    if image.has_transparency_data or image.mode in ("La", "RGBa"):
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _from_deep(image: Image) -> Image:
    """Return a grey picture of 16 bits as RGB of 8; what has no known white is refused, not guessed."""
    import numpy as np
    from PIL import Image

    values = np.asarray(image)
    if image.mode == "F" or values.min() < 0 or values.max() > 0xFFFF:
        raise BrokenPictureError(
            "it has 32 bits a pixel, which leaves open what is white; save it with 8 or 16"
        )
    scaled = (values.astype(np.uint32) + 128) // 257
    return Image.fromarray(scaled.astype(np.uint8)).convert("RGB")


def _centre(size: tuple[int, int], wanted: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the box of the largest centre part of a picture with the proportions of `wanted`."""
    (width, height), (to_width, to_height) = size, wanted
    part_width = min(width, max(1, height * to_width // to_height))
    part_height = min(height, max(1, width * to_height // to_width))
    left, top = (width - part_width) // 2, (height - part_height) // 2
    return left, top, left + part_width, top + part_height


def _reason(error: Exception) -> str:
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "no picture format is recognised in it"
    return message_of(error)


@cache
def _formats() -> tuple[str, ...]:
    from PIL import Image

    Image.init()
    # They are tried in this order, and some look far into a file before they decline.
    others = (name for name in Image.OPEN if name not in _NOT_PICTURES and name not in _COMMON)
    return (*(name for name in _COMMON if name in Image.OPEN), *others)


@cache
def picture_extensions() -> frozenset[str]:
    """Return the extensions of files that Pillow decodes, in lower case with their dot."""
    from PIL import Image

    formats = Image.registered_extensions()
    return frozenset(extension for extension, name in formats.items() if name not in _NOT_PICTURES)


def as_picture(pixels_CHW: np.ndarray, side: int) -> Image:
    """Return stored pixels, uint8 (C, H, W), as RGB, made smaller where they do not fit in a square of `side` pixels.

    Of other numbers of channels than three, the first one is shown in grey.
    """
    import numpy as np
    from PIL import Image

    grey = len(pixels_CHW) != 3
    pixels = pixels_CHW[0] if grey else pixels_CHW.transpose(1, 2, 0)
    picture = Image.fromarray(np.ascontiguousarray(pixels)).convert("RGB")
    picture.thumbnail((side, side), Image.Resampling.BOX)
    return picture


def as_png(picture: Image) -> bytes:
    """Return a picture as a PNG file."""
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return file.getvalue()
