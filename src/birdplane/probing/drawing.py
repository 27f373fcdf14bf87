"""Heat maps of probes as SVG and PNG: one panel a run, beside each other, in one scale of colours."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

from birdplane.probing import FILLS, Probe, scale
from birdplane.text import plain

_CELL, _LEFT, _TOP, _GAP, _BELOW = 30, 54, 74, 26, 96
_WIDEST_GRID = 20  # cells across; of more, cells are smaller and bear no numbers
_SMALL, _NORMAL, _LARGE = 11, 13, 16
_LONGEST_NAME = 40
_PAPER, _INK, _MUTED = (255, 255, 255), (30, 30, 30), (105, 105, 105)
#: Dark to light, even in brightness and to be told apart by the colour-blind: points of matplotlib's viridis (CC0).
_RAMP = (
    (68, 1, 84),
    (72, 40, 120),
    (62, 74, 137),
    (49, 104, 142),
    (38, 130, 142),
    (31, 158, 137),
    (53, 183, 121),
    (109, 205, 89),
    (180, 222, 44),
    (253, 231, 37),
)
Colour = tuple[int, int, int]


def colour_of(share: float) -> Colour:
    """Return the colour of a place on the scale, 0 (dark) to 1 (light)."""
    place = min(1.0, max(0.0, share)) * (len(_RAMP) - 1)
    below = min(int(place), len(_RAMP) - 2)
    part = place - below
    r, g, b = (
        round(low + part * (high - low)) for low, high in zip(_RAMP[below], _RAMP[below + 1], strict=True)
    )
    return r, g, b


def ink_on(colour: Colour) -> Colour:
    """Return black or white, whichever has the greater contrast to a colour, as WCAG 2 measures it."""
    red, green, blue = (_linear(part / 255) for part in colour)
    # White has (1 + 0.05) / (light + 0.05), black (light + 0.05) / 0.05: the same at 0.179.
    return (0, 0, 0) if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 else (255, 255, 255)


def _linear(part: float) -> float:
    return part / 12.92 if part <= 0.04045 else float(((part + 0.055) / 1.055) ** 2.4)


@dataclass(frozen=True)
class _Box:
    x: float
    y: float
    width: float
    height: float
    colour: Colour
    outlined: bool = False


@dataclass(frozen=True)
class _Words:
    """Text around (x, y): `anchor` is `start`, `middle` or `end`, and y is its middle."""

    x: float
    y: float
    text: str
    size: int
    anchor: str = "middle"
    colour: Colour = _INK


def svg(probes: list[Probe]) -> str:
    """Return the maps of probes as an SVG document that needs nothing from elsewhere."""
    width, height = _size(probes)
    names = ", ".join(plain(probe.run) for probe in probes)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" role="img">',
        f"<title>Accuracy by shift: {escape(names)}</title>",
        f'<rect width="{width}" height="{height}" fill="{_hex(_PAPER)}"/>',
        *(_as_svg(part) for part in _parts(probes)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def png(probes: list[Probe]) -> bytes:
    """Return the maps of probes as a PNG file, at twice the size of `svg`."""
    from PIL import Image, ImageDraw, ImageFont

    width, height = _size(probes)
    image = Image.new("RGB", (2 * width, 2 * height), _PAPER)
    canvas = ImageDraw.Draw(image)
    anchors = {"start": "lm", "middle": "mm", "end": "rm"}
    for part in _parts(probes):
        if isinstance(part, _Box):
            corners = (
                2 * part.x,
                2 * part.y,
                2 * (part.x + part.width) - 1,
                2 * (part.y + part.height) - 1,
            )
            canvas.rectangle(corners, part.colour, outline=_INK if part.outlined else None, width=3)
        else:
            font = ImageFont.load_default(2 * part.size)
            place = (2 * part.x, 2 * part.y)
            canvas.text(place, part.text, part.colour, font, anchor=anchors[part.anchor])
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


def _cell(probes: list[Probe]) -> int:
    most = max(len(probe.offsets) for probe in probes)
    return _CELL if most <= _WIDEST_GRID else max(4, _CELL * _WIDEST_GRID // most)


def _size(probes: list[Probe]) -> tuple[int, int]:
    sides = [_side(probe, _cell(probes)) for probe in probes]
    return sum(_LEFT + side + _GAP for side in sides), _TOP + max(sides) + _BELOW


def _side(probe: Probe, cell: int) -> int:
    # No panel is narrower than what is written above it.
    return max(cell * len(probe.offsets), 230)


def _parts(probes: list[Probe]) -> Iterator[_Box | _Words]:
    cell, ends = _cell(probes), scale(probes)
    left = _LEFT
    for probe in probes:
        yield from _panel(probe, left, cell, ends)
        left += _side(probe, cell) + _GAP + _LEFT
    yield from _legend(probes, ends, _TOP + max(_side(probe, cell) for probe in probes) + 48)


def _panel(probe: Probe, left: int, cell: int, ends: tuple[float, float]) -> Iterator[_Box | _Words]:
    name = plain(probe.run)
    yield _Words(
        left, 16, name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…", _LARGE, "start"
    )
    prices = "; ".join(f"{cost.pixels} pixels cost {points(cost.cost)}" for cost in probe.costs)
    yield _Words(left, 38, f"as they are {100 * probe.unmoved:.1f} %", _SMALL, "start", _MUTED)
    yield _Words(left, 54, prices, _SMALL, "start", _MUTED)
    every = max(1, -(-22 // cell))
    for row, dy in enumerate(probe.offsets):
        middle = _TOP + (row + 0.5) * cell
        if row % every == 0 or dy == 0:
            yield _Words(left - 8, middle, signed(dy), _SMALL, "end", _MUTED)
            yield _Words(
                left + (row + 0.5) * cell,
                _TOP + len(probe.offsets) * cell + 12,
                signed(dy),
                _SMALL,
                "middle",
                _MUTED,
            )
        for column, dx in enumerate(probe.offsets):
            value = probe.accuracy[row][column]
            colour = colour_of(place(value, ends))
            x = left + column * cell
            yield _Box(x, _TOP + row * cell, cell, cell, colour, outlined=(dx, dy) == (0, 0))
            if cell >= 22:
                words = f"{100 * value:.0f}"
                yield _Words(x + cell / 2, middle, words, _SMALL, "middle", ink_on(colour))


def _legend(probes: list[Probe], ends: tuple[float, float], top: float) -> Iterator[_Box | _Words]:
    steps, width = 40, 4
    for step in range(steps):
        yield _Box(_LEFT + step * width, top - 6, width, 12, colour_of(step / (steps - 1)))
    low, high = (f"{100 * end:.0f} %" for end in ends)
    yield _Words(_LEFT - 8, top, low, _SMALL, "end", _MUTED)
    yield _Words(_LEFT + steps * width + 8, top, high, _SMALL, "start", _MUTED)
    yield _Words(_LEFT, top + 22, "pixels to the right (across) and down; gaps:", _SMALL, "start", _MUTED)
    yield _Words(_LEFT, top + 37, FILLS[probes[0].fill], _SMALL, "start", _MUTED)


def place(value: float, ends: tuple[float, float]) -> float:
    """Return where an accuracy stands between the ends of a scale, 0 to 1; 1 where all are alike."""
    low, high = ends
    return (value - low) / (high - low) if high > low else 1.0


def points(cost: float) -> str:
    """Return a difference of accuracies as percentage points: `5.3 points`, `-0.2 points`; never `-0.0`."""
    return f"{round(100 * cost, 1) + 0.0:.1f} points"


def signed(offset: int) -> str:
    """Return an offset with its sign, in ASCII: `-4`, `0`, `+4`."""
    return f"{offset:+d}" if offset else "0"


def _as_svg(part: _Box | _Words) -> str:
    if isinstance(part, _Box):
        outline = f' stroke="{_hex(_INK)}" stroke-width="1.5"' if part.outlined else ""
        return (
            f'<rect x="{part.x:g}" y="{part.y:g}" width="{part.width:g}" height="{part.height:g}" '
            f'fill="{_hex(part.colour)}"{outline}/>'
        )
    return (
        f'<text x="{part.x:g}" y="{part.y:g}" font-size="{part.size}" text-anchor="{part.anchor}" '
        f'dominant-baseline="central" fill="{_hex(part.colour)}">{escape(part.text)}</text>'
    )


def _hex(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
