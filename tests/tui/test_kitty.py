"""Pictures by kitty's protocol: what is written is right, once, and forgotten at the end."""

from __future__ import annotations

import base64
import os
import re
from pathlib import Path
from typing import Any

import pytest

from birdplane.tui.blocks import Picture
from birdplane.tui.graphics import possible, query
from birdplane.tui.kitty import Kitty, sent


def test_a_picture_is_sent_whole_once_and_forgotten_at_the_end() -> None:
    written: list[str] = []
    kitty = Kitty(written.append, "\U0010eeee", range(0x300, 0x340))
    picture = Picture(64, 64, os.urandom(64 * 64 * 3))
    rows = kitty.rows(picture, 16, 8)

    assert rows is not None
    assert [len(row) for row in rows] == [16] * 8
    assert kitty.rows(picture, 16, 8) == rows
    parts = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", "".join(written))
    assert base64.b64decode("".join(data for _, data in parts)) == picture.rgb
    assert [head[-3:] for head, _ in parts] == ["m=1"] * 3 + ["m=0"]
    assert all(len(data) <= 4096 for _, data in parts)
    number = re.search(r"i=(\d+)", written[0])
    assert number is not None
    triplet = rows[0][0].style.color.triplet  # type: ignore[union-attr]
    assert triplet is not None
    assert (triplet.red << 16) + (triplet.green << 8) + triplet.blue == int(number[1])
    kitty.forget()
    assert written[-1] == f"\x1b_Ga=d,d=I,q=2,i={number[1]}\x1b\\"


def test_what_cannot_be_sent_is_left_to_half_blocks() -> None:
    kitty = Kitty(lambda text: None, "x", range(10))
    assert kitty.rows(Picture(0, 0, b""), 1, 1) is None
    assert kitty.rows(Picture(1, 1, b"abc"), 11, 1) is None
    assert list(sent(Picture(1, 1, b"abc"), 7, 1, 1)) == [
        "\x1b_Ga=T,U=1,q=2,f=24,i=7,s=1,v=1,c=1,r=1,m=0;YWJj\x1b\\"
    ]


@pytest.mark.long
def test_a_terminal_that_answers_as_kitty_is_sent_pictures(
    monkeypatch: pytest.MonkeyPatch, runs: Path, bare_terminal: Any
) -> None:
    monkeypatch.delenv("TMUX", raising=False)
    monkeypatch.delenv("STY", raising=False)
    if not possible():
        pytest.skip("the extra is not installed")
    with bare_terminal("--runs", str(runs)) as terminal:
        assert b"5 Runs" in terminal.read_until(query("auto").encode()), "asked before the first paint"
        terminal.write(b"\x1b_Gi=1;OK\x1b\\\x1b[?62;c")
        terminal.write(b"3")
        terminal.read_until(b"\x1b_Ga=T,U=1,q=2,f=24,")
        terminal.read_until("\U0010eeee".encode())
        terminal.write(b"q")
        terminal.read_until(b"\x1b[?1049l")
        terminal.read_until(b"\x1b_Ga=d,d=I,")
