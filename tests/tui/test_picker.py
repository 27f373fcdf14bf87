"""The picker: filtered as one types, moved in by arrows, and left without a trace."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from textual.app import App
from textual.pilot import Pilot

from birdplane import Family, Model
from birdplane.plugins import Plugin, Plugins, load_plugins
from birdplane.registry import catalog
from birdplane.tui.picker import Item, Picker, items_of, matching, trouble_of
from birdplane.tui.signatures import ScreenCatalog

Scenario = Callable[[Pilot[Any]], Awaitable[None]]

ITEMS = [
    Item("a", "cross-entropy", "log-softmax and nll in one", "birdplane 0.1.0"),
    Item("b", "nll", "minus the log-probability", "birdplane 0.1.0"),
    Item("c", "zoo/[red]focal[/red]", "for \x1b[31mrare classes, 中文", "birdplane-zoo 1.2"),
]


def _picked(scenario: Scenario, size: tuple[int, int] = (80, 24), **options: Any) -> list[str | None]:
    """Return what the picker gave in a scenario."""
    results: list[str | None] = []

    async def play() -> None:
        async with App[None]().run_test(size=size) as pilot:
            await pilot.app.push_screen(Picker("Pick the loss", ITEMS, **options), results.append)
            await pilot.pause()
            await scenario(pilot)
            await pilot.pause()

    asyncio.run(asyncio.wait_for(play(), 60))
    return results


def test_words_are_looked_for_in_name_summary_and_package_names_first() -> None:
    assert [item.value for item in matching(ITEMS, "nll")] == ["b", "a"]
    assert [item.value for item in matching(ITEMS, "zoo rare")] == ["c"]
    assert [item.value for item in matching(ITEMS, "xtrp")] == []
    assert [item.value for item in matching(ITEMS, "crent")] == ["a"]
    assert matching(ITEMS, "  ") == ITEMS


def test_enter_takes_what_is_filtered_or_moved_to() -> None:
    async def filtered(pilot: Pilot[Any]) -> None:
        await pilot.press("n", "l", "l", "enter")

    async def moved(pilot: Pilot[Any]) -> None:
        await pilot.press("down", "down", "up", "enter")

    assert _picked(filtered) == ["b"]
    assert _picked(moved) == ["b"]


def test_the_cursor_begins_at_what_holds_now() -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        await pilot.press("enter")

    assert _picked(scenario, current="c") == ["c"]


def test_esc_gives_nothing_and_enter_on_an_empty_list_stays() -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        await pilot.press("q", "q", "q", "enter")
        await pilot.press("escape")

    assert _picked(scenario) == [None]


def test_a_click_takes_a_line() -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        await pilot.click("OptionList", offset=(5, 1))

    assert _picked(scenario) == ["b"]


def test_what_is_typed_can_be_an_item_of_its_own() -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        await pilot.press("9", "enter")

    assert _picked(scenario, free=lambda typed: Item(f"free:{typed}", typed)) == ["free:9"]


def test_names_packages_and_trouble_are_shown_as_they_are_at_every_size(
    golden: Callable[[Pilot[Any], str], None], size: tuple[int, int]
) -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        await golden(pilot, f"picker-{size[0]}x{size[1]}")

    _picked(scenario, size, trouble=["wreck (of birdplane-wreck) is broken: ImportError: [bold]no[/bold]"])


def test_every_registry_can_be_picked_from() -> None:
    for registry in catalog():
        items = items_of(registry)
        assert [item.name for item in items] == registry.names()
        assert all(item.origin.startswith("birdplane ") for item in items if "/" not in item.name)


def _zoo(name: str, names: Callable[[], list[str]]) -> Plugin:
    family = Family(
        kind="model",
        names=names,
        member=lambda member: Model(name=member, target="no_such:f", summary=f"The {member}"),
    )
    return Plugin(name, f"{name}_module", f"birdplane-{name}", "1.2", "ok", families=(family,))


def _catalog(*plugins: Plugin) -> ScreenCatalog:
    manager = load_plugins(entry_points=list)._manager
    return ScreenCatalog(lambda: Plugins(plugins, manager))


@pytest.mark.alone
def test_the_members_of_a_family_are_searched_with_their_package_in_no_time() -> None:
    names = [
        f"{kind}{size}.a{way}_in1k" for kind in ("resnet", "vit") for size in range(130) for way in range(5)
    ]
    items = items_of(_catalog(_zoo("zoo", lambda: names))["model"])
    assert len(items) == 1300
    assert items[0] == Item(
        "zoo/resnet0.a0_in1k", "zoo/resnet0.a0_in1k", "The resnet0.a0_in1k", "birdplane-zoo 1.2"
    )
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        found = matching(items, "resnet12 a3")
        taken.append(time.perf_counter() - began)
    assert [item.name for item in found][:2] == ["zoo/resnet12.a3_in1k", "zoo/resnet120.a3_in1k"]
    assert min(taken) < 0.05


def test_a_family_that_cannot_be_listed_is_a_line_with_plugin_package_and_reason() -> None:
    def names() -> list[str]:
        raise RuntimeError("no names")

    catalog = _catalog(_zoo("wreck", names), _zoo("zoo", lambda: ["ape"]))
    assert [item.name for item in items_of(catalog["model"])] == ["zoo/ape"]
    assert trouble_of(catalog) == [
        "wreck (of birdplane-wreck) is broken in part: its models cannot be listed: RuntimeError: no names"
    ]


@pytest.mark.alone
def test_as_one_types_thousands_are_filtered_before_the_next_key() -> None:
    items = [Item(f"zoo/net{n}", f"zoo/net{n}", f"The net {n}", "birdplane-zoo 1.2") for n in range(1300)]
    taken: list[float] = []

    async def play() -> None:
        async with App[None]().run_test(size=(140, 45)) as pilot:
            picker = Picker("Pick the model", items)
            await pilot.app.push_screen(picker)
            await pilot.pause()
            for typed in ("n", "ne", "net", "net1", "net12"):
                began = time.perf_counter()
                picker._fill(typed)
                taken.append(time.perf_counter() - began)
                await pilot.pause()

    asyncio.run(asyncio.wait_for(play(), 60))
    assert min(taken[:3]) < 0.15, taken
