"""The records with which plugins describe what they bring."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import pytest

from birdplane import BirdplaneError, Dataset, Family, Loss, Model, Output, Recipe, Transform
from birdplane.components import KINDS, Provenance


@pytest.mark.parametrize("name", ["nll", "fully-connected", "timm/resnet18.a1_in1k", "v2", "a/b/c"])
def test_a_name_is_lower_case_words_joined_by_dashes(name: str) -> None:
    assert Model(name=name, target="m:f").name == name


@pytest.mark.parametrize(
    "name", ["", "Upper", "two words", "-a", "a-", "a--b", "a//b", "/a", "ä", "a\n", None, 3]
)
def test_another_name_is_refused(name: object) -> None:
    with pytest.raises(ValueError, match="is not lower-case words joined by dashes"):
        Model(name=name, target="m:f")  # type: ignore[arg-type]


@pytest.mark.parametrize("target", ["module", "module:", ":attribute", ""])
def test_a_target_that_names_no_attribute_is_refused(target: str) -> None:
    with pytest.raises(ValueError, match=r"is not 'package\.module:attribute'"):
        Model(name="m", target=target)


def test_a_target_that_cannot_be_called_is_refused() -> None:
    with pytest.raises(ValueError, match="is neither callable nor"):
        Model(name="m", target=3)  # type: ignore[arg-type]


def test_a_target_is_imported_only_when_it_is_resolved() -> None:
    record = Transform(name="t", target="string:Template.substitute")
    import string

    assert record.resolve() is string.Template.substitute


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("no_such_module:f", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("string:nothing", "AttributeError: module 'string' has no attribute 'nothing'"),
        (
            "string:digit",
            "AttributeError: module 'string' has no attribute 'digit'; did you mean 'digits'?",
        ),
    ],
)
def test_a_target_that_is_not_there_is_told_with_its_component(target: str, reason: str) -> None:
    with pytest.raises(BirdplaneError) as caught:
        Loss(name="odd", target=target).resolve()
    assert str(caught.value) == f"loss 'odd': cannot load {target!r}: {reason}"


def test_a_target_that_turns_out_to_be_no_function_is_told() -> None:
    with pytest.raises(BirdplaneError, match=r"loss 'odd': 'string:digits' is not callable"):
        Loss(name="odd", target="string:digits").resolve()


def test_a_record_cannot_be_changed() -> None:
    record = Dataset(name="d", target="m:f")
    with pytest.raises(dataclasses.FrozenInstanceError):
        record.name = "e"  # type: ignore[misc]


def test_outputs_may_be_given_as_text() -> None:
    assert Model(name="m", target="m:f", output="log-probabilities").output is Output.LOG_PROBABILITIES
    assert Loss(name="l", target="m:f", accepts="probabilities").accepts == (Output.PROBABILITIES,)
    assert Loss(name="l", target="m:f", accepts=["logits", Output.PROBABILITIES]).accepts == (  # type: ignore[arg-type]
        Output.LOGITS,
        Output.PROBABILITIES,
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda: Model(name="m", target="m:f", output="scores"),
        lambda: Loss(name="l", target="m:f", accepts=()),
    ],
)
def test_an_unknown_output_and_a_loss_that_accepts_nothing_are_refused(make: object) -> None:
    with pytest.raises(ValueError):
        make()  # type: ignore[operator]


def test_a_model_yields_logits_and_a_loss_wants_them_unless_they_say_otherwise() -> None:
    assert Model(name="m", target="m:f").output is Output.LOGITS
    assert Loss(name="l", target="m:f").accepts == (Output.LOGITS,)


def test_a_recipe_is_a_file_in_a_package_or_a_function(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "with_recipes"
    (package / "deep").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "deep" / "one.toml").write_text("seed = 1 # ä", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    assert Recipe(name="r", target="with_recipes:deep/one.toml").text() == "seed = 1 # ä"
    assert Recipe(name="r", target=lambda: "seed = 2").text() == "seed = 2"
    with pytest.raises(BirdplaneError, match=r"recipe 'r': cannot read 'with_recipes:two\.toml'"):
        Recipe(name="r", target="with_recipes:two.toml").text()


def test_every_kind_is_listed_under_its_name() -> None:
    assert list(KINDS) == ["dataset", "transform", "model", "loss", "optimizer", "schedule", "recipe"]
    assert all(record.kind == kind for kind, record in KINDS.items())


def test_a_provenance_reads_as_package_and_version_or_as_the_plugin() -> None:
    assert str(Provenance("zoo", "birdplane-zoo", "1.2")) == "birdplane-zoo 1.2"
    assert str(Provenance("zoo")) == "zoo"


def family(names: Any = lambda: ["one", "two"], member: Any = None, kind: str = "model") -> Family:
    return Family(kind=kind, names=names, member=member or (lambda name: Model(name=name, target="m:f")))


def test_a_family_lists_names_and_describes_each() -> None:
    assert family().listed() == ("one", "two")
    assert family().record("two") == Model(name="two", target="m:f")


def test_a_familys_functions_may_be_named_and_are_imported_when_they_are_asked() -> None:
    named = family("no_such_module:names", "no_such_module:member")
    with pytest.raises(BirdplaneError, match="its models cannot be listed: ModuleNotFoundError: No module"):
        named.listed()
    with pytest.raises(
        BirdplaneError, match="its model 'one' cannot be described: ModuleNotFoundError: No mod"
    ):
        named.record("one")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"kind": "modle"}, "a family is of a kind among dataset, .*, not 'modle'"),
        ({"names": "module"}, "the names of a family of models are neither callable nor"),
        ({"names": ":names"}, "the names of a family of models are neither callable nor"),
        ({"member": 3}, "the member of a family of models are neither callable nor"),
    ],
)
def test_a_family_that_cannot_be_is_refused(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        family(**fields)


def _leaves() -> list[str]:
    raise SystemExit(3)


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (lambda: 1 / 0, "ZeroDivisionError: division by zero"),
        (_leaves, "SystemExit: 3"),
        (lambda: None, "TypeError: 'NoneType' object is not iterable"),
        (lambda: "resnet", "TypeError: names returned a text, 'resnet'"),
        (
            lambda: ["fine", "Not Fine"],
            "ValueError: the name 'Not Fine' is not lower-case words joined by dashes",
        ),
        (lambda: ["a", 3], "ValueError: the name 3 is not lower-case words joined by dashes"),
        (lambda: ["a", "b", "a"], "ValueError: names returned 'a' twice"),
        (
            lambda: (f"a{number}" for number in itertools.count()),
            "ValueError: names returned more than 100,000",
        ),
        (lambda: (1 // (2 - number) and "a" for number in range(9)), "ZeroDivisionError: .*"),
    ],
)
def test_a_family_that_lists_what_is_no_list_of_names_is_told(names: Any, reason: str) -> None:
    with pytest.raises(BirdplaneError, match=f"^its models cannot be listed: {reason}$"):
        family(names).listed()


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        (lambda name: {}["x"], "KeyError: 'x'"),
        (lambda name: None, "TypeError: member returned None"),
        (lambda name: Loss(name=name, target="m:f"), "TypeError: member returned Loss.*"),
        (lambda name: Model(name="other", target="m:f"), "ValueError: member returned the record of 'other'"),
    ],
)
def test_a_member_that_is_not_described_as_it_should_be_is_told(member: Any, reason: str) -> None:
    with pytest.raises(BirdplaneError, match=f"^its model 'one' cannot be described: {reason}$"):
        family(member=member).record("one")
