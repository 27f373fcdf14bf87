"""Pictures in cells: exact colours, odd heights, no colours at all, and grids that fit."""

from __future__ import annotations

import asyncio
import base64
import random
import time
from collections.abc import Awaitable, Callable

import pytest
from rich.cells import cell_len
from textual.app import App, ComposeResult
from textual.pilot import Pilot

from birdplane.tui.blocks import Picture, ascii_ramp, half_blocks, unpack
from birdplane.tui.cells import bar, cut, left, right
from birdplane.tui.picture import PictureGrid, Shape, Tile

RED, GREEN, BLUE, WHITE = b"\xff\0\0", b"\0\xff\0", b"\0\0\xff", b"\xff\xff\xff"


def picture(side: int) -> Picture:
    return Picture(side, side, bytes(side * side * 3))


def test_a_half_block_has_the_colours_of_both_its_pixels() -> None:
    [[left_cell, right_cell]] = half_blocks(Picture(2, 2, RED + GREEN + BLUE + WHITE))
    assert (left_cell.text, right_cell.text) == ("▀", "▀")
    assert left_cell.style is not None
    assert left_cell.style.color is not None
    assert left_cell.style.bgcolor is not None
    assert left_cell.style.color.triplet == (255, 0, 0)
    assert left_cell.style.bgcolor.triplet == (0, 0, 255)
    assert right_cell.style is not None
    assert right_cell.style.bgcolor is not None
    assert right_cell.style.bgcolor.triplet == (255, 255, 255)


def test_below_an_odd_last_row_is_the_background() -> None:
    rows = half_blocks(Picture(1, 3, RED + GREEN + BLUE))
    assert len(rows) == 2
    assert rows[1][0].style is not None
    assert rows[1][0].style.bgcolor is None


def test_a_picture_of_cifar_is_32_by_16_cells() -> None:
    rows = half_blocks(picture(32))
    assert (len(rows), {len(row) for row in rows}) == (16, {32})


def test_the_ramp_goes_from_dark_to_bright() -> None:
    [[segment]] = ascii_ramp(Picture(3, 1, bytes(3) + b"\x80\x80\x80" + WHITE))
    assert (segment.text[0], segment.text[2]) == (" ", "@")
    assert segment.text.isascii()


def test_an_answer_is_unpacked_picture_by_picture() -> None:
    packed = base64.b64encode(RED + GREEN + BLUE + WHITE).decode()
    assert unpack({"width": 1, "height": 2, "rgb": packed}) == [
        Picture(1, 2, RED + GREEN),
        Picture(1, 2, BLUE + WHITE),
    ]
    assert unpack({"width": 0, "height": 0, "rgb": ""}) == []


@pytest.mark.alone
def test_32_pictures_are_drawn_within_a_moment() -> None:
    random.seed(0)
    pictures = [Picture(32, 32, random.randbytes(3072)) for _ in range(32)]
    half_blocks(pictures[0])
    began = time.process_time()
    for one in pictures:
        half_blocks(one)
    # Measured at 40 to 80 ms; the bound is for a machine that does something else besides.
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize(
    "text",
    [
        "x" * 200,
        "鸟" * 100,
        "مطار الطيور" * 20,
        "[bold red]bird[/]",
        "\x1b[31mred\x1b[0m",
        "e\u0301" * 50,
        "",
    ],
)
@pytest.mark.parametrize("width", [0, 1, 2, 7, 16])
def test_text_of_any_kind_takes_the_cells_it_is_given(text: str, width: int) -> None:
    assert cell_len(cut(text, width)) <= width
    assert cell_len(left(text, width)) == width
    assert cell_len(right(text, width)) == width
    assert "\x1b" not in left(text, width)


@pytest.mark.parametrize("share", [-1.0, 0.0, 0.4, 1.0, 7.0, float("nan"), float("inf")])
def test_a_bar_is_as_long_as_asked(share: float) -> None:
    assert sum(map(len, bar(share, 10))) == 10
    assert "".join(bar(share, 10, ascii_only=True)).isascii()


class Shown(App[None]):
    """Nothing but a grid."""

    def __init__(self, grid: PictureGrid) -> None:
        super().__init__()
        self.grid = grid

    def compose(self) -> ComposeResult:
        yield self.grid


def played(
    grid: PictureGrid, scenario: Callable[[Pilot[None]], Awaitable[None]], size: tuple[int, int]
) -> None:
    async def play() -> None:
        async with Shown(grid).run_test(size=size) as pilot:
            await pilot.pause()
            await scenario(pilot)

    asyncio.run(play())


def test_a_grid_holds_as_many_as_fit(text_of: Callable[[Pilot[None]], str]) -> None:
    grid = PictureGrid(Shape(8, 4, below=1))

    async def scenario(pilot: Pilot[None]) -> None:
        assert grid.capacity == 4 * 3
        names = ["bird", "鸟" * 20, "[b]x[/b]", "\x1b[31mred"]
        grid.show([Tile(picture(8), below=[[(cut(names[i % 4], 8), "muted")]]) for i in range(50)])
        await pilot.pause()
        lines = text_of(pilot).splitlines()
        assert lines[0] == " ".join(["▀" * 8] * 4)
        assert lines[4] == "bird     鸟鸟鸟…  [b]x[/b]  [31mred"
        assert len([line for line in lines if line]) == 15

    played(grid, scenario, (36, 16))


def test_without_colour_a_ramp_is_drawn(text_of: Callable[[Pilot[None]], str]) -> None:
    grid = PictureGrid(Shape(4, 2))

    async def scenario(pilot: Pilot[None]) -> None:
        pilot.app.ascii_only = True  # type: ignore[attr-defined]
        grid.show([Tile(Picture(4, 4, WHITE * 16))])
        await pilot.pause()
        assert text_of(pilot).splitlines()[:2] == ["@@@@", "@@@@"]

    played(grid, scenario, (20, 5))


def test_a_thousand_sizes_leave_the_grid_whole() -> None:
    grid = PictureGrid(Shape(16, 8, below=1, beside=20))
    tiles = [Tile(picture(16), below=[[("x" * 300, "")]], beside=[[("鸟" * 90, "bar")]] * 9)] * 30

    async def scenario(pilot: Pilot[None]) -> None:
        grid.show(tiles)
        for width in range(1, 60, 3):
            await pilot.resize_terminal(width, 1 + width % 17)
            assert all(
                strip.cell_length == grid.size.width
                for strip in map(grid.render_line, range(grid.size.height))
            )

    played(grid, scenario, (80, 24))
