"""What holds on every screen: keys, help, palette, themes, tiny terminals, and that torch is never imported."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from birdplane.errors import UsageError
from birdplane.runs import Run
from birdplane.tui.app import SCREENS, BirdplaneApp, open_draft
from birdplane.tui.ascii import ascii_only, translated
from birdplane.tui.settings import Settings, load
from birdplane.tui.start import opened_quickly
from birdplane.tui.state import Cockpit, Draft


def test_the_screens_are_reached_by_their_numbers(app: Any, drive: Any, until: Any) -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        for number, name in enumerate(SCREENS, 1):
            await pilot.press("escape", str(number))
            await until(pilot, lambda name=name: pilot.app.current_mode == name)

    drive(app("runs"), scenario)


@pytest.mark.parametrize("screen", ["train", "runs"])
def test_help_tells_the_keys_of_where_one_is(
    app: Any, drive: Any, until: Any, golden: Any, written_run: Callable[..., Run], screen: str
) -> None:
    run = written_run(ended="done")

    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "done")
        await pilot.press("question_mark")
        await until(pilot, "the five screens")
        await golden(pilot, f"help-{screen}-80x24")
        await pilot.press("question_mark")
        await until(pilot, "demo-1")

    drive(app(screen, run=run), scenario)


def test_the_palette_has_the_actions_of_the_screen(
    app: Any, drive: Any, until: Any, written_run: Callable[..., Run]
) -> None:
    run = written_run(ended="done")

    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "● done")
        await pilot.press("ctrl+p", *"smooth")
        await until(pilot, "exponential means")
        await pilot.press("enter")
        await until(pilot, lambda: "smoothed" not in _text_without_palette(pilot))

    drive(app("train", run=run), scenario)


def test_a_screen_that_cannot_be_imported_says_why_and_the_others_work(
    app: Any, drive: Any, until: Any, monkeypatch: pytest.MonkeyPatch, written_run: Callable[..., Run]
) -> None:
    run = written_run(ended="done")
    monkeypatch.setitem(sys.modules, "birdplane.tui.runs", None)

    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "The screen Runs cannot be loaded: ModuleNotFoundError: import of birdplane")
        await until(pilot, "`birdplane doctor`")
        await pilot.press("2")
        await until(pilot, "● done")

    drive(app("runs", run=run), scenario, (100, 24))


def _text_without_palette(pilot: Pilot[Any]) -> str:
    lines = pilot.app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in line) for line in lines)


@pytest.mark.parametrize("size", [(59, 24), (80, 15), (30, 5), (8, 1)])
def test_a_tiny_terminal_shows_a_line_with_the_facts(
    app: Any, drive: Any, until: Any, text_of: Any, written_run: Callable[..., Run], size: tuple[int, int]
) -> None:
    run = written_run(ended="done")

    async def scenario(pilot: Pilot[Any]) -> None:
        line = "demo-1 done epoch 8/8 loss 0.1502 92.49 %"
        await until(pilot, line[: min(len(line), size[0] - 1)])
        assert len(text_of(pilot).strip().splitlines()) == 1
        await pilot.resize_terminal(80, 24)
        await until(pilot, "┴")

    drive(app("train", run=run), scenario, size)


def test_without_utf8_all_is_drawn_in_ascii(
    app: Any,
    drive: Any,
    until: Any,
    text_of: Any,
    golden: Any,
    written_run: Callable[..., Run],
    monkeypatch: Any,
) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    run = written_run(ended="done")

    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "* done")
        assert text_of(pilot).isascii()
        await golden(pilot, "train-ascii-80x24")

    drive(app("train", run=run), scenario)


def test_the_translation_keeps_the_width() -> None:
    assert translated("é─│┴日本✓…") == "e-|+????+."


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, False),
        ({"LANG": "de_DE.UTF-8"}, False),
        ({"LANG": "de_DE.ISO-8859-1"}, True),
        ({"LC_ALL": "C"}, True),
    ],
)
def test_the_locale_says_whether_there_is_unicode(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: bool
) -> None:
    for name in ("LC_ALL", "LC_CTYPE", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert ascii_only() is expected


@pytest.mark.parametrize("theme", ["textual-light", "nord", "solarized-light"])
def test_themes(
    drive: Any, until: Any, runs: Path, tiny_file: Path, written_run: Callable[..., Run], theme: str
) -> None:
    run = written_run(ended="done")
    cockpit = Cockpit(runs, Settings(theme=theme), Draft(*open_draft(tiny_file)), run)

    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "● done")
        assert pilot.app.theme == theme

    drive(BirdplaneApp(cockpit, "train"), scenario)


def test_no_color_leaves_no_colours(
    app: Any, drive: Any, until: Any, written_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    run = written_run(ended="done")

    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "● done")
        styles = {
            segment.style
            for line in pilot.app.screen._compositor.render_strips()
            for segment in line
            if segment.style is not None
        }
        triplets = [style.color.triplet for style in styles if style.color and style.color.triplet]
        assert all(red == green == blue for red, green, blue in triplets)

    drive(app("train", run=run), scenario)


# --- settings ---------------------------------------------------------------------------------------------


def test_settings_are_read_and_keys_changed(tmp_path: Path) -> None:
    path = tmp_path / "tui.toml"
    path.write_text('theme = "nord"\nrefresh = 2\n[keys]\npause = "space"\n')
    found = load(path)
    assert (found.theme, found.refresh, found.keys) == ("nord", 2.0, {"pause": "space"})


@pytest.mark.parametrize("text", ["refresh = 99", "colour = 1", "not toml"])
def test_wrong_settings_are_told_in_a_line_with_the_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tui.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_over_ssh_four_frames_a_second_and_no_animations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSH_CONNECTION", "10.0.0.1 22 10.0.0.2 22")
    found = load(tmp_path / "none.toml")
    assert (found.refresh, found.animations) == (4.0, False)


def test_a_theme_that_is_not_there_is_told(runs: Path, tiny_file: Path) -> None:
    cockpit = Cockpit(runs, Settings(theme="nrod"), Draft(*open_draft(tiny_file)))
    with pytest.raises(UsageError, match="nord"):
        BirdplaneApp(cockpit)


# --- what is imported -------------------------------------------------------------------------------------


def test_the_process_of_the_screens_never_imports_torch() -> None:
    names = ", ".join(f"birdplane.tui.{name}" for name in (*SCREENS, "app", "compare", "help", "state"))
    code = f"import sys, birdplane.cli.cockpit, {names}; print(sorted({{'torch', 'torchvision'}} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_first_paint_waits_for_nothing_heavy() -> None:
    heavy = {"pydantic", "tomlkit", "pluggy", "numpy", "psutil", "birdplane.pipeline"}
    code = f"import sys, birdplane.cli, birdplane.tui.app; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


# --- the command ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("tui", (None, None, None)),
        ("tui demo-1", ("demo-1", None, None)),
        ("tui demo-1 --runs elsewhere", ("demo-1", None, Path("elsewhere"))),
        ("tui --pipeline mine.toml", (None, "mine.toml", None)),
        ("tui --help", None),
        ("tui --pipeline", None),
        ("tui --pipeline --runs", None),
        ("tui one two", None),
        ("--debug tui", None),
        ("train demo", None),
    ],
)
def test_a_plain_command_line_is_understood_without_the_parser(
    monkeypatch: pytest.MonkeyPatch, words: str, expected: tuple[object, ...] | None
) -> None:
    opened: list[tuple[object, ...]] = []
    monkeypatch.setattr("birdplane.tui.start.open_cockpit", lambda *given: opened.append(given))
    assert opened_quickly(words.split()) is (expected is not None)
    assert opened == ([expected] if expected else [])
