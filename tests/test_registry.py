"""Registries: what a name means, the nearest spelling of a wrong one, and adding from Python."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pytest
from annotated_types import Ge
from typing_extensions import Doc

import birdplane
from birdplane import BirdplaneError, Family, Loss, Model, Transform, UsageError
from birdplane.components import Component
from birdplane.plugins import Plugin, Plugins, load_plugins
from birdplane.registry import Catalog, Registry


def tiny(
    *, input_shape: tuple[int, ...], num_classes: int, width: Annotated[int, Ge(1)] = 2
) -> tuple[Any, ...]:
    return input_shape, num_classes, width


def plugin(name: str, *brings: Component | Family, package: str = "somebodys", status: Any = "ok") -> Plugin:
    components = tuple(one for one in brings if isinstance(one, Component))
    families = tuple(one for one in brings if isinstance(one, Family))
    return Plugin(name, f"{name}_module", package, "1.0", status, "", components, families=families)


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


# --- families ---------------------------------------------------------------------------------------------


def sized(name: str, *, num_classes: int, width: Annotated[int, Ge(1), Doc("Wide")] = 2) -> str:
    return f"{name} {num_classes} {width}"


def described(name: str) -> Model:
    return Model(name=name, target=functools.partial(sized, name), summary=f"The {name}")


def zoo(name: str, *members: str, asked: list[str] | None = None, member: Any = described) -> Plugin:
    def names() -> tuple[str, ...]:
        if asked is not None:
            asked.append(name)
        return members

    return plugin(name, Family(kind="model", names=names, member=member))


def failing(name: str, error: Exception) -> Plugin:
    def names() -> list[str]:
        raise error

    return plugin(name, Family(kind="model", names=names, member=described), Model(name="fine", target=tiny))


def test_the_members_of_a_family_stand_behind_the_others_under_their_plugins_name() -> None:
    models = registry("model", OWN, zoo("big_zoo", "ape", "deep/owl"), FARM)
    assert models.names() == ["net", "farm/zebra", "farm/deep/cow", "big-zoo/ape", "big-zoo/deep/owl"]
    assert [entry.name for entry in models] == models.names()
    assert len(models) == 5
    assert registry("loss", OWN, zoo("big_zoo", "ape")).names() == ["net"]


def test_a_member_is_found_by_its_full_and_its_bare_name_and_built_like_any_other() -> None:
    models = registry("model", OWN, zoo("big", "ape"))
    assert models.lookup("big/ape") is models.lookup("ape")
    assert str(models.lookup("ape").provenance) == "somebodys 1.0"
    assert "ape" in models
    assert "big/ape" in models
    assert "big/cat" not in models
    assert list(models.signature("ape").parameters) == ["width"]
    assert models.signature("ape").parameters["width"].help == "Wide"
    assert models.create("big/ape", num_classes=3, width=4) == "ape 3 4"


def test_a_full_name_lists_the_families_of_its_plugin_alone_and_once() -> None:
    asked: list[str] = []
    models = registry("model", OWN, zoo("far", "ape", asked=asked), zoo("near", "ape", asked=asked))
    assert models.lookup("net").name == "net"
    assert asked == []
    models.lookup("near/ape")
    assert asked == ["near"]
    with pytest.raises(UsageError, match="the model 'ape' is ambiguous: say 'far/ape' or 'near/ape'"):
        models.lookup("ape")
    models.names()
    assert asked == ["near", "far"]


def test_only_the_member_that_is_asked_for_is_described() -> None:
    told: list[str] = []

    def member(name: str) -> Model:
        told.append(name)
        return described(name)

    models = registry("model", zoo("big", "ape", "cow", "yak", member=member))
    models.lookup("big/cow")
    models.lookup("cow")
    models.names()
    assert told == ["cow"]
    assert [entry.name for entry in models.matching(lambda name: name.startswith("y"))] == ["big/yak"]
    assert told == ["cow", "yak"]


def test_a_family_that_cannot_be_listed_takes_nothing_else_away_and_is_kept_as_trouble() -> None:
    models = registry("model", OWN, failing("wreck", RuntimeError("no\nzoo")), zoo("big", "ape"))
    assert models.trouble() == []
    assert models.names() == ["net", "wreck/fine", "big/ape"]
    assert [str(trouble) for trouble in models.trouble()] == [
        "the plugin 'wreck' of somebodys 1.0 is broken in part: its models cannot be listed: RuntimeError: no zoo"
    ]
    with pytest.raises(
        UsageError, match=r"'wreck/ape'.* \(not loaded: wreck; see `birdplane list-plugins`\)"
    ):
        models.lookup("wreck/ape")


def test_a_member_that_cannot_be_described_is_left_out_of_lists_and_told_when_it_is_wanted() -> None:
    def member(name: str) -> Model:
        if name != "ape":
            raise ValueError(f"no {name} here")
        return described(name)

    models = registry("model", zoo("big", "ape", "cow", "yak", member=member))
    assert [entry.name for entry in models] == ["big/ape"]
    with pytest.raises(BirdplaneError) as caught:
        models.lookup("big/yak")
    assert str(caught.value) == (
        "model 'big/yak' of somebodys 1.0: its model 'yak' cannot be described: ValueError: no yak here"
    )
    assert [trouble.reason for trouble in models.trouble()] == [
        "its model 'cow' cannot be described: ValueError: no cow here"
    ]


def test_a_member_that_the_plugin_brings_already_is_told() -> None:
    twice = Family(kind="model", names=lambda: ["ape", "cow"], member=described)
    models = registry("model", plugin("big", Model(name="ape", target=tiny), twice))
    assert models.names() == ["big/ape", "big/cow"]
    assert models.lookup("big/ape").component.target is tiny
    assert [trouble.reason for trouble in models.trouble()] == ["it brings two models named 'ape'"]


def test_what_python_registers_cannot_take_a_members_name() -> None:
    models = registry("model", zoo("big", "ape"))
    with pytest.raises(UsageError, match=r"the model 'big/ape' is there already, from somebodys 1\.0"):
        models.register("big/ape", tiny)


@pytest.mark.alone
def test_thousands_of_names_are_searched_in_no_time() -> None:
    members = [
        f"{kind}{size}.a{way}_in1k"
        for kind in ("resnet", "vit", "efficientnet")
        for size in range(87)
        for way in range(5)
    ]
    models = registry("model", OWN, zoo("big", *members))
    assert len(models) == len(members) + 1

    def quickest(action: Callable[[], Any]) -> float:
        taken = []
        for _ in range(5):
            began = time.perf_counter()
            action()
            taken.append(time.perf_counter() - began)
        return min(taken)

    def misspelt() -> None:
        with pytest.raises(UsageError, match=r"did you mean 'big/resnet14\.a3_in1k'"):
            models.lookup("big/resnte14.a3_in1k")

    assert quickest(misspelt) < 0.25
    assert quickest(lambda: list(models.matching(lambda name: "resnet1" in name))) < 0.1
    assert quickest(lambda: models.lookup("vit3.a3_in1k")) < 0.01


# --- signatures that cannot be read -----------------------------------------------------------------------


class _Unreadable:
    @property
    def __signature__(self) -> Any:
        raise RuntimeError("no signature for you")

    def __call__(self) -> None: ...


def _uses(*, use: str = "x") -> None: ...
def _claims(*, num_classes: Annotated[int, Ge(2), Doc("How many")] = 2) -> None: ...
def _positional(width: int, /) -> None: ...


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (_Unreadable(), "its signature cannot be read: RuntimeError: no signature for you"),
        (_uses, "its parameter 'use' is a word that pipeline files need themselves"),
        (
            _claims,
            "its parameter 'num_classes' has help or bounds as if a user set it, but birdplane supplies that",
        ),
        (_positional, "its parameter 'width' cannot be given by name"),
        ("no_such_module:f", "cannot load 'no_such_module:f'"),
    ],
)
def test_a_component_whose_parameters_cannot_be_read_is_told_with_its_package(
    target: Any, reason: str
) -> None:
    models = registry("model", plugin("p", Model(name="m", target=target), package="birdplane-p"))
    assert models.names() == ["p/m"]
    with pytest.raises(BirdplaneError) as caught:
        models.signature("p/m")
    assert reason in str(caught.value)
    assert str(caught.value).endswith("(from birdplane-p 1.0)")


def test_what_birdplane_supplies_may_be_typed_and_have_a_default() -> None:
    models = registry("model")
    models.register("plain", lambda *, num_classes=3: num_classes)
    assert models.signature("plain").wants == {"num_classes"}
    assert models.create("plain") == 3
