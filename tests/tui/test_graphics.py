"""Whether the terminal shows pictures in full: what is asked, and how its answers are found among the keys."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from birdplane.tui import graphics
from birdplane.tui.graphics import SIXEL_QUERY, Answer, Answers, possible, query
from birdplane.tui.picture import cells_of

KITTY, NEITHER, BOTH = "\x1b_Gi=1;OK\x1b\\\x1b[?62;c", "\x1b[?62;c", "\x1b_Gi=1;OK\x1b\\\x1b[?62;4;22c"


@pytest.mark.parametrize(
    ("answer", "told"),
    [(KITTY, Answer(kitty=True)), (NEITHER, Answer()), (BOTH, Answer(kitty=True, sixel=True))],
)
@pytest.mark.parametrize("piece", [1, 2, 3, 7, 100])
def test_an_answer_is_found_in_pieces_of_any_size_and_the_keys_around_it_stay(
    answer: str, told: Answer, piece: int
) -> None:
    heard: list[Answer] = []
    answers = Answers(heard.append)
    answers.expect()
    whole = "a1" + answer + "\x1b[A" + "q"
    rest = "".join(answers.without(whole[at : at + piece]) for at in range(0, len(whole), piece))

    assert heard == [told]
    assert rest == "a1\x1b[Aq"


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 100])
def test_the_size_of_a_cell_and_the_colours_are_found_too_and_a_page_down_stays(piece: int) -> None:
    heard: list[Answer] = []
    answers = Answers(heard.append)
    answers.expect()
    whole = "\x1b[6~\x1b[6;20;10t\x1b[?1;0;256S\x1b[6~\x1b[?62;4cq"
    rest = "".join(answers.without(whole[at : at + piece]) for at in range(0, len(whole), piece))

    assert heard == [Answer(sixel=True, cell=(10, 20), colours=256)]
    assert rest == "\x1b[6~\x1b[6~q"


def test_answers_that_make_no_sense_are_none() -> None:
    heard: list[Answer] = []
    answers = Answers(heard.append)
    answers.expect()
    answers.without("\x1b[6;0;0t\x1b[?1;3;0S\x1b[?4c")
    assert heard == [Answer()], "the first number is the kind of the terminal, not what it can do"


def test_an_escape_key_that_no_answer_follows_is_only_late() -> None:
    answers = Answers(lambda answer: None)
    answers.expect()
    assert answers.without("\x1b") == ""
    deadline = time.monotonic() + 5
    while not (late := answers.overdue()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert (late, answers.overdue()) == ("\x1b", "")


def test_where_no_answer_is_expected_an_escape_key_is_not_late() -> None:
    answers = Answers(lambda answer: None)
    assert answers.without("\x1b") == "\x1b"
    answers.expect()
    assert answers.without("\x1b[?62c") == ""
    assert answers.without("\x1b") == "\x1b", "it has been answered"


def test_a_finer_picture_takes_the_cells_of_its_side() -> None:
    assert (
        cells_of({"width": 16, "height": 16}) == cells_of({"width": 64, "height": 64, "side": 16}) == (16, 8)
    )
    assert cells_of({"width": 12, "height": 9}) == (12, 5)


def test_without_the_extra_no_terminal_is_listened_to(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[str] = []
    monkeypatch.setattr(graphics.importlib.util, "find_spec", lambda name: found.append(name) or None)
    assert not possible()
    assert found == ["textual_image"]
    monkeypatch.setattr(graphics.importlib.util, "find_spec", lambda name: object())
    assert possible()


def test_what_is_asked_depends_on_the_setting_and_on_what_is_between(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TMUX", raising=False)
    monkeypatch.delenv("STY", raising=False)
    assert query("half-blocks") == ""
    assert query("sixel") == "\x1b[c"
    assert query("auto").endswith("\x1b[c")
    assert "\x1b_G" in query("auto")
    for name in ("TMUX", "STY"):
        monkeypatch.setenv(name, "/tmp/socket")
        assert query("auto") == ""
        assert "\x1b_G" not in query("sixel") + SIXEL_QUERY, "tmux would take it for a title"


@pytest.mark.long
def test_half_blocks_can_be_insisted_on(runs: Path, tmp_path: Path, bare_terminal: Any) -> None:
    settings = tmp_path / "tui.toml"
    settings.write_text('pictures = "half-blocks"\n')
    with bare_terminal("--runs", str(runs), BIRDPLANE_CONFIG=str(settings)) as terminal:
        before = terminal.read_until(b"it fits")
        terminal.write(b"q")
        written = before + terminal.read_until(b"\x1b[?1049l")
        assert b"\x1b_G" not in written
        assert b"\x1b[c" not in written
