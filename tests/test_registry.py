"""Registries: what a name means, the nearest spelling of a wrong one, and adding from Python."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pytest
from annotated_types import Ge

import birdplane
from birdplane import BirdplaneError, Loss, Model, Transform, UsageError
from birdplane.components import Component
from birdplane.plugins import Plugin, Plugins, load_plugins
from birdplane.registry import Catalog, Registry


def tiny(
    *, input_shape: tuple[int, ...], num_classes: int, width: Annotated[int, Ge(1)] = 2
) -> tuple[Any, ...]:
    return input_shape, num_classes, width


def plugin(name: str, *components: Component, package: str = "somebodys", status: Any = "ok") -> Plugin:
    return Plugin(name, f"{name}_module", package, "1.0", status, "", components)


def registry(kind: str, *plugins: Plugin) -> Registry:
    manager = load_plugins(entry_points=list)._manager
    return Registry(kind, lambda: Plugins(plugins, manager))


OWN = plugin("builtin", Model(name="net", target=tiny), Loss(name="net", target=tiny), package="birdplane")
ZOO = plugin("Zoo_One", Model(name="net", target=tiny), Model(name="zebra", target=tiny))
FARM = plugin("farm", Model(name="zebra", target=tiny), Model(name="deep/cow", target=tiny))


def test_bare_names_belong_to_birdplane_and_others_are_called_after_their_plugin() -> None:
    assert registry("model", OWN, ZOO, FARM).names() == [
        "net",
        "zoo-one/net",
        "zoo-one/zebra",
        "farm/zebra",
        "farm/deep/cow",
    ]


def test_a_registry_holds_one_kind_alone() -> None:
    assert registry("loss", OWN, ZOO).names() == ["net"]


def test_a_bare_name_means_birdplanes_own_even_where_a_plugin_has_the_same() -> None:
    assert registry("model", OWN, ZOO).lookup("net").provenance.plugin == "builtin"


def test_a_plugins_bare_name_works_while_it_is_unique() -> None:
    models = registry("model", OWN, ZOO)
    assert models.lookup("zebra").name == "zoo-one/zebra"
    assert "zebra" in models
    assert str(models.lookup("zebra").provenance) == "somebodys 1.0"


def test_an_ambiguous_bare_name_is_answered_with_the_full_ones() -> None:
    with pytest.raises(UsageError) as caught:
        registry("model", OWN, ZOO, FARM).lookup("zebra")
    assert str(caught.value) == "the model 'zebra' is ambiguous: say 'zoo-one/zebra' or 'farm/zebra'"


def test_asking_whether_an_ambiguous_name_is_there_raises_nothing() -> None:
    assert "zebra" in registry("model", OWN, ZOO, FARM)


def test_a_wrong_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        registry("model", OWN, ZOO).get("zebr")
    assert str(caught.value) == "no model is called 'zebr'; did you mean 'zebra'?"


def test_a_wrong_name_is_answered_with_the_plugins_that_did_not_load() -> None:
    with pytest.raises(
        UsageError, match=r"no model is called 'x' \(not loaded: wreck; see `birdplane list-plugins`\)"
    ):
        registry("model", OWN, plugin("wreck", status="broken")).get("x")


def test_what_a_plugin_that_is_not_ok_brings_is_not_there() -> None:
    assert registry("model", plugin("off", Model(name="a", target=tiny), status="disabled")).names() == []


def test_a_component_is_registered_by_a_call_or_as_a_decorator() -> None:
    models = registry("model", OWN)
    assert models.register("called", tiny, summary="By a call") is tiny

    @models.register("decorated", output="probabilities")
    def decorated(*, input_shape: Any, num_classes: int) -> str:
        return f"{input_shape} {num_classes}"

    assert models.names() == ["net", "called", "decorated"]
    assert models.get("called").summary == "By a call"
    assert models.get("decorated").output == "probabilities"  # type: ignore[attr-defined]
    assert models.create("decorated", input_shape=1, num_classes=2) == "1 2"
    assert decorated(input_shape=1, num_classes=2) == "1 2"


def test_a_name_that_is_taken_is_refused_with_who_has_it() -> None:
    models = registry("model", OWN)
    with pytest.raises(UsageError, match=r"the model 'net' is there already, from birdplane 1\.0"):
        models.register("net", tiny)
    models.register("mine", tiny)
    with pytest.raises(UsageError, match="the model 'mine' is there already, from python"):
        models.register("mine", tiny)


@pytest.mark.parametrize(
    ("name", "record"), [("Bad Name", {}), ("fine", {"colour": "red"}), ("fine", {"output": "scores"})]
)
def test_what_cannot_be_registered_is_told_in_one_line(name: str, record: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"cannot register the model '{name}': "):
        registry("model").register(name, tiny, **record)


def test_create_validates_parameters_and_passes_what_the_host_gives() -> None:
    models = registry("model", OWN)
    assert models.create("net", input_shape=(3, 8, 8), num_classes=2, width=5) == ((3, 8, 8), 2, 5)
    with pytest.raises(UsageError) as caught:
        models.create("net", input_shape=(3, 8, 8), num_classes=2, width=0)
    assert str(caught.value) == "model 'net': width: should be greater than or equal to 1, not 0"


def test_host_arguments_that_a_target_does_not_ask_for_are_left_out() -> None:
    models = registry("model")
    models.register("simple", lambda *, num_classes: num_classes)
    assert models.create("simple", input_shape=(1, 2, 3), num_classes=4) == 4


def test_a_component_may_have_a_parameter_called_name() -> None:
    transforms = registry("transform")
    transforms.register("named", lambda *, name="x": name)
    assert transforms.create("named", name="y") == "y"


def test_a_signature_is_read_once_and_names_its_owner() -> None:
    models = registry("model", OWN, ZOO)
    assert models.signature("zebra") is models.signature("zoo-one/zebra")
    assert models.signature("zebra").owner == "model 'zoo-one/zebra'"


def test_a_catalog_finds_a_name_in_every_kind_and_hints_across_kinds() -> None:
    manager = load_plugins(entry_points=list)._manager
    catalog = Catalog(lambda: Plugins((OWN, ZOO), manager))
    assert [entry.component.kind for entry in catalog.find("net")] == ["model", "loss"]
    assert catalog.find("nothing") == []
    assert catalog.hint("zebar") == "; did you mean 'zebra'?"


def test_the_public_registries_hold_what_birdplane_brings() -> None:
    assert "cross-entropy" in birdplane.losses
    assert "book" in birdplane.recipes
    assert len(birdplane.models) >= 4
    assert {entry.provenance.plugin for entry in birdplane.optimizers} == {"builtin"}
    invert = birdplane.transforms.create("random-flip", p=1)
    assert invert.p == 1.0


def test_a_component_that_cannot_be_loaded_is_told_when_it_is_used() -> None:
    transforms = registry("transform", plugin("p", Transform(name="t", target="no_such_module:f")))
    assert transforms.names() == ["p/t"]
    with pytest.raises(BirdplaneError, match="transform 't': cannot load 'no_such_module:f'"):
        transforms.create("t")


def test_a_registry_is_listed_without_loading_a_target(tmp_path: Path) -> None:
    assert [entry.name for entry in registry("model", plugin("p", Model(name="m", target="no_such:f")))] == [
        "p/m"
    ]
