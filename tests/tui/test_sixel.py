"""Pictures by sixels: the pixels are right, they are made once and off the loop, and half blocks stay below them."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual.pilot import Pilot
from textual.strip import Strip

from birdplane.tui.blocks import Picture
from birdplane.tui.graphics import SIXEL_QUERY, Answer, possible, query
from birdplane.tui.sixel import Overlaid, Sixels, load_encoder, placed
from birdplane_builtin.sketches import Sketches

_PICTURE = re.compile(r"\x1bP[\d;]*q[^\x1b]*\x1b\\")
_ORDER = re.compile(r"#(\d+)(?:;2;(\d+);(\d+);(\d+))?|!(\d+)([?-~])|([?-~])|(\$)|(-)")


def decoded(sequence: str) -> np.ndarray[Any, Any]:
    """Return the pixels of a sixel picture, (height, width, 3) of 0 to 255, as a terminal would draw them."""
    head = re.match(r'\x1bP[\d;]*q"1;1;(\d+);(\d+)', sequence)
    assert head is not None
    width, height = int(head[1]), int(head[2])
    pixels = np.full((height, width, 3), -1)
    colours: dict[int, list[int]] = {}
    colour, x, y = 0, 0, 0
    body = sequence[head.end() : -2]
    orders = list(_ORDER.finditer(body))
    assert "".join(order[0] for order in orders) == body
    for order in orders:
        number, red, green, blue, count, repeated, single, back, down = order.groups()
        if number is not None:
            colour = int(number)
            if red is not None:
                colours[colour] = [round(int(share) * 255 / 100) for share in (red, green, blue)]
        elif back:
            x = 0
        elif down:
            x, y = 0, y + 6
        else:
            bits, times = ord(repeated or single) - 63, int(count or 1)
            for row in range(6):
                if bits >> row & 1:
                    pixels[y + row, x : x + times] = colours[colour]
            x += times
    assert pixels.min() >= 0, "every pixel is drawn"
    return pixels


def picture_of(image: Image.Image) -> Picture:
    return Picture(image.width, image.height, image.convert("RGB").tobytes())


@pytest.fixture
def encoder() -> Callable[[Any], str]:
    found = load_encoder()
    if found is None:
        pytest.skip("the extra is not installed")
    return found


def made(sixels: Sixels, picture: Picture, columns: int, rows: int) -> str:
    place = (picture, columns, rows)
    sixels.keep(sixels.make([place]))
    found = sixels.find(place)
    assert found is not None
    return found


@pytest.mark.parametrize("cell", [(10, 20), (7, 15), (8, 17)])
def test_a_picture_comes_out_as_it_went_in_in_any_font(
    encoder: Callable[[Any], str], cell: tuple[int, int]
) -> None:
    for index in range(4):
        image = Sketches(split="train", size=32)[index][0]
        pixels = decoded(made(Sixels(encoder, cell), picture_of(image), 16, 8))
        assert pixels.shape == (8 * cell[1], 16 * cell[0], 3)
        wanted = np.asarray(image.resize((16 * cell[0], 8 * cell[1]), Image.Resampling.NEAREST)).astype(int)
        # 256 colours for up to 1,024, and hundredths for 256 shades.
        assert np.abs(pixels - wanted).mean() < 5
        assert np.abs(pixels - wanted).max() < 40


def test_few_colours_come_out_to_the_hundredth(encoder: Callable[[Any], str]) -> None:
    chance = np.random.default_rng(0)
    palette = np.array([[0, 0, 0], [255, 255, 255], [51, 102, 204], [255, 0, 51]])
    grid = palette[chance.integers(0, 4, (6, 9))]
    image = Image.fromarray(grid.astype(np.uint8))
    pixels = decoded(made(Sixels(encoder, (9, 18)), picture_of(image), 9, 3))
    assert pixels.shape == (54, 81, 3)
    assert np.abs(pixels[4::9, 4::9] - grid).max() <= 2


def test_no_more_colours_are_used_than_the_terminal_has(encoder: Callable[[Any], str]) -> None:
    image = Sketches(split="train", size=32)[0][0]
    sequence = made(Sixels(encoder, (10, 20), 16), picture_of(image), 16, 8)
    assert len(np.unique(decoded(sequence).reshape(-1, 3), axis=0)) <= 16
    assert {int(number) for number in re.findall(r"#(\d+)", sequence)} <= set(range(16))


def test_all_colours_are_defined_first_and_no_line_below_is_begun(encoder: Callable[[Any], str]) -> None:
    sequence = made(Sixels(encoder, (10, 20)), picture_of(Sketches(split="train", size=32)[0][0]), 16, 8)
    assert re.fullmatch(r'\x1bP[\d;]*q"1;1;160;160(#\d+;2;\d+;\d+;\d+)+[^;]*[^-;]\x1b\\', sequence)


def test_what_cannot_be_encoded_stays_half_blocks() -> None:
    def fails(image: Any) -> str:
        raise ValueError("another version")

    assert made(Sixels(fails, (10, 20)), Picture(1, 1, b"abc"), 1, 1) == ""
    assert made(Sixels(lambda image: "no sixels", (10, 20)), Picture(1, 1, b"abc"), 1, 1) == ""
    assert made(Sixels(lambda image: "", (10, 20)), Picture(2, 2, b"abc"), 1, 1) == ""


def test_another_font_takes_other_sixels(encoder: Callable[[Any], str]) -> None:
    sixels, place = Sixels(encoder, (10, 20)), (Picture(1, 1, b"abc"), 2, 1)
    sixels.keep(sixels.make([place]))
    sixels.cell = (8, 16)
    assert sixels.find(place) is None


def test_a_whole_line_is_overlaid_and_a_part_of_it_is_text_alone() -> None:
    console = Console()
    text = Strip([Segment("abc", Style()), Segment("def", Style())])
    line = Overlaid(text, placed("PIXELS", 4, 7))
    assert line.render(console) == text.render(console) + "\x1b7\x1b[7A\x1b[5GPIXELS\x1b8"
    assert line.crop(0, 6) is line
    assert list(line.divide([6])) == [line]
    parts = [line.crop(1, 6), line.crop(0, 5), *line.divide([2, 6]), Strip.join([line, text])]
    assert all("PIXELS" not in part.render(console) for part in parts)


def test_pictures_in_view_are_made_once_in_a_thread_and_again_where_a_dialog_was(
    drive: Any, app: Any, until: Any, encoder: Callable[[Any], str]
) -> None:
    threads: list[str] = []

    def counted(image: Any) -> str:
        threads.append(threading.current_thread().name)
        return encoder(image)

    program = app(first="data")
    program.drawing.in_full, program.drawing.sixels = True, Sixels(counted, (10, 20))

    def overlaid(pilot: Pilot[Any]) -> int:
        update = pilot.app.screen._compositor.render_full_update()
        return sum(isinstance(strip, Overlaid) for line in update.strips for strip in line)

    async def scenario(pilot: Pilot[Any]) -> None:
        screen: Any = pilot.app.screen
        await until(pilot, lambda: screen._page is not None and screen._statistics is not None)
        grid = screen._grid
        rows = -(-len(screen._pictures[: grid.capacity]) // grid.across())
        await until(pilot, lambda: overlaid(pilot) == rows)
        first = len(threads)
        assert first == min(grid.capacity, len(screen._pictures))
        assert not {name for name in threads if name == threading.main_thread().name}
        await pilot.press("down")
        await until(pilot, lambda: screen._shown.stage == 1)
        await pilot.press("up")
        await until(pilot, lambda: screen._shown.stage == 0)
        await until(pilot, lambda: overlaid(pilot) == rows)
        assert len(threads) <= 2 * first
        await pilot.press("question_mark")
        await until(pilot, "Look at the pictures")
        assert overlaid(pilot) == 0
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is screen)
        assert overlaid(pilot) == rows

    drive(program, scenario)


def _stored() -> list[np.ndarray[Any, Any]]:
    """Return the first of the demo's pictures."""
    pictures = Sketches(split="train", size=32)
    return [np.asarray(pictures[index][0]).astype(int) for index in range(12)]


@pytest.mark.parametrize("pixels", [(0, 0), (1000, 600)], ids=["asked", "told by the system"])
def test_a_terminal_with_sixels_is_sent_the_pictures_and_half_blocks_below_them(
    runs: Path, bare_terminal: Any, pixels: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TMUX", raising=False)
    monkeypatch.delenv("STY", raising=False)
    if not possible():
        pytest.skip("the extra is not installed")
    with bare_terminal("--runs", str(runs), pixels=pixels) as terminal:
        assert b"5 Runs" in terminal.read_until(query("auto").encode()), "asked before the first paint"
        terminal.write(b"\x1b_Gi=1;OK\x1b\\\x1b[?62;4;22c")
        terminal.read_until(SIXEL_QUERY.encode())
        terminal.write((b"" if any(pixels) else b"\x1b[6;20;10t") + b"\x1b[?1;0;256S\x1b[?62;4;22c3")
        seen = terminal.read_until(b"\x1bP") + terminal.read_until(b"\x1b\\")
        assert "▀".encode() in seen
        # The rest of the first row of pictures.
        seen += b"".join(terminal.read_until(b"\x1b\\") for _ in range(2))
        terminal.write(b"q")
        seen += terminal.read_until(b"\x1b[?1049l")
        assert b"\x1b_Ga=T" not in seen
    found = _PICTURE.findall(seen.decode())
    for picture, stored in zip(map(decoded, found[:3]), _stored(), strict=False):
        assert picture.shape == (160, 160, 3)
        assert np.abs(picture[2::5, 2::5] - stored).mean() < 5
    places = [int(column) for column in re.findall(r"\x1b7\x1b\[7A\x1b\[(\d+)G\x1bP", seen.decode())]
    assert places[:3] == [2, 19, 36]


@pytest.mark.long
@pytest.mark.parametrize(
    ("setting", "environment", "drawn"),
    [
        ("auto", {"SSH_CONNECTION": "1"}, False),
        ("sixel", {"SSH_CONNECTION": "1"}, True),
        ("sixel", {"TMUX": "/tmp/socket"}, True),
    ],
)
def test_over_ssh_and_in_tmux_sixels_are_drawn_if_the_settings_say_so(
    runs: Path, tmp_path: Path, bare_terminal: Any, setting: str, environment: dict[str, str], drawn: bool
) -> None:
    settings = tmp_path / "tui.toml"
    settings.write_text(f'pictures = "{setting}"\n')
    environment = {"BIRDPLANE_CONFIG": str(settings), **environment}
    with bare_terminal("--runs", str(runs), pixels=(1000, 600), **environment) as terminal:
        terminal.read_until(b"\x1b[c")
        terminal.write(b"\x1b[?62;4;22c")
        if drawn:
            terminal.read_until(SIXEL_QUERY.encode())
            terminal.write(b"\x1b[?62;4;22c3")
            terminal.read_until(b"\x1bP")
        else:
            terminal.write(b"3")
            assert b"\x1bP" not in terminal.read_until("▀".encode())
        terminal.write(b"q")
        assert b"\x1b_G" not in terminal.read_until(b"\x1b[?1049l")


def test_without_an_encoder_half_blocks_are_asked_for_and_drawn(
    drive: Any, app: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("birdplane.tui.sixel.load_encoder", lambda: None)
    monkeypatch.setattr("birdplane.tui.graphics.cell_size", lambda: (10, 20))
    program = app()

    async def scenario(pilot: Pilot[Any]) -> None:
        program.drawing.take(Answer(sixel=True))
        assert not program.drawing.in_full, "the terminal is asked for more first"
        program.drawing.take(Answer(sixel=True, colours=256))
        assert program.drawing.in_full
        await until(pilot, lambda: not program.drawing.in_full)
        assert program.drawing.sixels is None

    drive(program, scenario)


def test_another_font_is_noticed_when_the_terminal_changes(
    drive: Any, app: Any, until: Any, encoder: Callable[[Any], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = [(10, 20)]
    monkeypatch.setattr("birdplane.tui.graphics.cell_size", lambda: cells[-1])
    program = app()

    async def scenario(pilot: Pilot[Any]) -> None:
        program.drawing.take(Answer(sixel=True))
        program.drawing.take(Answer(sixel=True, colours=256))
        await until(pilot, lambda: program.drawing.sixels is not None)
        assert program.drawing.sixels.cell == (10, 20)
        cells.append((5, 10))
        await pilot.resize_terminal(160, 48)
        await until(pilot, lambda: program.drawing.sixels.cell == (5, 10))

    drive(program, scenario)
