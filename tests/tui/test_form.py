"""Forms: which field a parameter gets, what is typed and what it means, and a default that comes back with a key."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge, Le
from textual.app import App, ComposeResult
from textual.pilot import Pilot
from typing_extensions import Doc

from birdplane.answers.describing import field
from birdplane.documents import value_of
from birdplane.params import Signature
from birdplane.tui.fields import Edited, Line, Options
from birdplane.tui.form import Form
from birdplane.tui.signatures import described
from birdplane.tui.values import ABSENT, hint, kind_of, parse, shown, toml_text


def _target(
    *,
    count: Annotated[int, Ge(1), Le(9), Doc("How many.")] = 3,
    rate: float = 0.5,
    loud: bool = False,
    mode: Literal["a", "b", "c"] = "b",
    maybe: Literal["x", "y"] | None = None,
    words: list[str] | None = None,
    widths: Annotated[list[int], Doc("Of [red]each[/red] layer.")] = [1, 2],  # noqa: B006 - read only
    place: Path,
    title: str = "",
    either: int | str = 1,
    level: Literal["auto"] | int = "auto",
) -> None: ...


SIGNATURE = Signature(_target, frozenset(), "model 'odd'")
KINDS = {
    "count": "integer",
    "rate": "number",
    "loud": "switch",
    "mode": "choice",
    "maybe": "choice",
    "words": "list",
    "widths": "list",
    "place": "path",
    "title": "text",
    "either": "anything",
    "level": "anything",
}


@pytest.mark.parametrize("name", KINDS)
def test_a_parameter_gets_the_field_of_its_kind(name: str) -> None:
    assert kind_of(SIGNATURE.parameters[name]) == KINDS[name]


@pytest.mark.parametrize(
    ("name", "typed", "means"),
    [
        ("count", "12", 12),
        ("count", " 7 ", 7),
        ("count", "many", "many"),
        ("count", "2026-11-22", "2026-11-22"),
        ("rate", "1e-3", 0.001),
        ("rate", ".004", 0.004),
        ("rate", "0.", 0.0),
        ("rate", "-.5E+1", -5.0),
        ("rate", ".", "."),
        ("widths", "512, 128", [512, 128]),
        ("widths", "512 128", [512, 128]),
        ("widths", "[512]", [512]),
        ("widths", "512,", [512]),
        ("widths", "[]", []),
        ("widths", "wide", "wide"),
        ("words", "cat, dog", ["cat", "dog"]),
        ("words", "'a b', c", ["a b", "c"]),
        ("title", "12", "12"),
        ("title", '""', ""),
        ("place", "~/birds", "~/birds"),
        ("either", "12", 12),
        ("either", "twelve", "twelve"),
    ],
)
def test_what_is_typed_means(name: str, typed: str, means: Any) -> None:
    found = parse(typed, SIGNATURE.parameters[name])
    assert found == means
    assert type(found) is type(means)


@pytest.mark.parametrize("name", KINDS)
def test_nothing_typed_leaves_the_default(name: str) -> None:
    assert parse("  ", SIGNATURE.parameters[name]) is ABSENT


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("widths", [512, 128]),
        ("widths", []),
        ("words", ["a, b", "c"]),
        ("title", ""),
        ("rate", 1e-08),
        ("count", 5),
    ],
)
def test_what_is_shown_means_the_same_when_it_is_typed(name: str, value: Any) -> None:
    assert parse(shown(value), SIGNATURE.parameters[name]) == value


@pytest.mark.parametrize("value", [True, 3, 0.25, 'a "b"\n\x7f', [1, [2]], {"a b": 1, "c": ["d"]}])
def test_a_value_in_toml_is_the_value(value: Any) -> None:
    assert value_of(toml_text(value), None) == value


def test_bounds_and_defaults_are_in_view() -> None:
    assert hint(SIGNATURE.parameters["count"]) == "integer >= 1 and <= 9; default 3"
    assert hint(SIGNATURE.parameters["place"]) == "path; required"
    assert hint(SIGNATURE.parameters["words"]) == "list of text, with commas between; default: none"
    assert hint(SIGNATURE.parameters["loud"]) == "default no"


def test_the_helpers_description_of_a_form_gives_the_same_form() -> None:
    told = described([field(parameter) for parameter in SIGNATURE.parameters.values()], "model 'odd'")
    for name, parameter in told.parameters.items():
        original = SIGNATURE.parameters[name]
        assert kind_of(parameter) == kind_of(original)
        assert hint(parameter) == hint(original)
        assert parameter.help == original.help
    assert told.problems({"place": "x", "mode": "d"}) == SIGNATURE.problems({"place": "x", "mode": "d"})


class _FormApp(App[None]):
    """A form alone, and what it told."""

    def __init__(self, given: dict[str, Any]) -> None:
        super().__init__()
        self.given = given
        self.told: list[tuple[str, Any]] = []
        self.takes = False

    def compose(self) -> ComposeResult:
        yield Form()

    async def on_mount(self) -> None:
        wrong = dict(SIGNATURE.problems(self.given))
        await self.query_one(Form).show("odd", list(SIGNATURE.parameters.values()), self.given, wrong)

    def on_edited(self, event: Edited) -> None:
        self.told.append((event.name, event.value))
        if self.takes:
            event.taken()


def _told(given: dict[str, Any], scenario: Callable[[Pilot[Any]], Awaitable[None]]) -> list[tuple[str, Any]]:
    """Return what the form told in a scenario."""
    app = _FormApp(given)

    async def play() -> None:
        async with app.run_test(size=(80, 60)) as pilot:
            await pilot.pause()
            app.query_one(Form).fields[0].focus()
            await scenario(pilot)
            await pilot.pause()

    asyncio.run(asyncio.wait_for(play(), 60))
    return app.told


def test_a_form_has_a_field_a_parameter_and_tells_nothing_by_itself(
    golden: Callable[[Pilot[Any], str], None],
) -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        fields = pilot.app.query_one(Form).fields
        assert [type(one) for one in fields[:5]] == [Line, Line, Options, Options, Options]
        await golden(pilot, "form-80x60")

    assert _told({"count": 0, "mode": "z", "title": "with\x1b[31m escape [red]"}, scenario) == []


def test_ctrl_d_brings_the_default_back() -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        await pilot.press("ctrl+d", "tab", "tab", "tab", "ctrl+d")

    assert _told({"count": 5, "mode": "a"}, scenario) == [("count", ABSENT), ("mode", ABSENT)]


def test_options_are_chosen_with_space_and_arrows() -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        await pilot.press("down", "down", "space", "down", "right", "right", "left", "down", "space")

    told = [("loud", True), ("mode", "c"), ("mode", "a"), ("mode", "c"), ("maybe", "x")]
    assert _told({}, scenario) == told


def test_an_option_is_chosen_with_a_click() -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        await pilot.click(pilot.app.query_one(Form).fields[3], offset=(2, 0))

    assert _told({}, scenario) == [("mode", "a")]


def test_enter_goes_to_the_next_field() -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        await pilot.press("4", "enter", "1")

    assert _told({}, scenario) == [("count", 4), ("rate", 1)]


def test_a_value_from_elsewhere_is_shown_without_being_told_again() -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        form = pilot.app.query_one(Form)
        await form.show("odd", list(SIGNATURE.parameters.values()), {"count": 8}, {})
        assert form.fields[0].value == "8"
        await pilot.press("end", "1")

    assert _told({"count": 5}, scenario) == [("count", 81)]


def test_what_is_typed_is_not_overwritten_by_a_value_from_before_it() -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        form = pilot.app.query_one(Form)
        await pilot.press("ctrl+u", "7")
        await form.show("odd", list(SIGNATURE.parameters.values()), {"count": 5}, {})
        assert form.fields[0].value == "7"
        await pilot.press("1", "down", "down", "space")
        await form.show("odd", list(SIGNATURE.parameters.values()), {"count": 5, "loud": False}, {})
        assert form.fields[0].value == "71"
        assert form.fields[2].value is True

    told = [("count", ABSENT), ("count", 7), ("count", 71), ("loud", True)]
    assert _told({"count": 5}, scenario) == told


def test_a_number_in_the_midst_of_being_typed_stays_beside_the_same_number_in_other_letters() -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        form = pilot.app.query_one(Form)
        pilot.app.takes = True
        await pilot.press("down")
        for key, typed in (("0", "0"), ("full_stop", "0."), ("0", "0.0"), ("5", "0.05")):
            await pilot.press(key)
            given = {"rate": 0 if float(typed) == 0 else 0.05}
            await form.show("odd", list(SIGNATURE.parameters.values()), given, {})
            assert form.fields[1].value == typed

    assert _told({}, scenario) == [("rate", 0), ("rate", 0.0), ("rate", 0.0), ("rate", 0.05)]


def test_what_was_taken_is_overwritten_by_a_value_from_elsewhere() -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        form = pilot.app.query_one(Form)
        pilot.app.takes = True
        await pilot.press("ctrl+u", "7", "down", "down", "space")
        await form.show("odd", list(SIGNATURE.parameters.values()), {"count": 5, "loud": False}, {})
        assert form.fields[0].value == "5"
        assert form.fields[2].value is False

    assert _told({"count": 5}, scenario)[-1] == ("loud", True)
