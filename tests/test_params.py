"""Parameters from signatures: what a target takes, what is refused, and how that reads."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pytest
from annotated_types import Ge, Gt, Le, Lt, MinLen
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field
from typing_extensions import Doc

from birdplane.errors import UsageError
from birdplane.params import REQUIRED, Signature

if TYPE_CHECKING:
    from nowhere import OnlyForTypeCheckers


def target(
    *,
    count: Annotated[int, Ge(1), Doc("How many.")] = 3,
    share: Annotated[float, Ge(0), Lt(1)] = 0.5,
    flag: bool = False,
    word: str = "",
    choice: Literal["tanh", "relu", "leaky-relu"] = "tanh",
    grade: Literal[1, 2] = 1,
    maybe: int | None = None,
    hidden: Annotated[list[Annotated[int, Ge(1)]], MinLen(1)] = [512],  # noqa: B006
    pair: tuple[int, int] = (1, 2),
    many: tuple[float, ...] = (),
    place: Path = Path("here"),
    either: int | list[int] = 1,
    table: dict[str, int] = {},  # noqa: B006
    plain=7,  # type: ignore[no-untyped-def]
    open=None,
) -> None: ...


SIGNATURE = Signature(target, frozenset(), "model 'm'")


def message(**values: Any) -> str:
    ((key, sentence),) = SIGNATURE.problems(values)
    return f"{key}: {sentence}"


@pytest.mark.parametrize(
    ("name", "given", "taken"),
    [
        ("count", 5, 5),
        ("share", 0, 0.0),
        ("flag", True, True),
        ("word", "zwölf", "zwölf"),
        ("choice", "relu", "relu"),
        ("grade", 2, 2),
        ("maybe", None, None),
        ("maybe", 4, 4),
        ("hidden", [4, 5], [4, 5]),
        ("pair", [3, 4], (3, 4)),
        ("pair", (3, 4), (3, 4)),
        ("many", [1, 2.5], (1.0, 2.5)),
        ("place", "a/b", Path("a/b")),
        ("place", Path("a/b"), Path("a/b")),
        ("either", [1], [1]),
        ("table", {"a": 1}, {"a": 1}),
        ("plain", 8, 8),
        ("open", ["what", 1], ["what", 1]),
    ],
)
def test_a_right_value_arrives_as_the_target_wants_it(name: str, given: Any, taken: Any) -> None:
    value = SIGNATURE.validate({name: given})[name]
    assert (value, type(value)) == (taken, type(taken))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"count": 0}, "count: should be greater than or equal to 1, not 0"),
        ({"count": "3"}, 'count: should be an integer, not "3"'),
        ({"count": True}, "count: should be an integer, not true"),
        ({"count": 2.0}, "count: should be an integer, not 2.0"),
        ({"share": 1}, "share: should be less than 1, not 1"),
        ({"share": "0.5"}, 'share: should be a number, not "0.5"'),
        ({"share": True}, "share: should be a number, not true"),
        ({"share": math.nan}, "share: should be a finite number, not NaN"),
        ({"share": math.inf}, "share: should be a finite number, not Infinity"),
        ({"share": -math.inf}, "share: should be a finite number, not -Infinity"),
        ({"flag": 1}, "flag: should be true or false, not 1"),
        ({"flag": "yes"}, 'flag: should be true or false, not "yes"'),
        ({"word": 3}, "word: should be text, not 3"),
        (
            {"choice": "relo"},
            "choice: should be 'tanh', 'relu' or 'leaky-relu', not \"relo\"; did you mean 'relu'?",
        ),
        ({"choice": 3}, "choice: should be 'tanh', 'relu' or 'leaky-relu', not 3"),
        ({"grade": 3}, "grade: should be 1 or 2, not 3"),
        ({"grade": "1"}, 'grade: should be 1 or 2, not "1"'),
        ({"maybe": "x"}, 'maybe: should be an integer, not "x"'),
        ({"hidden": 512}, "hidden: should be a list, not 512"),
        ({"hidden": "512"}, 'hidden: should be a list, not "512"'),
        ({"hidden": []}, "hidden: should have at least 1 item, not 0"),
        ({"hidden": [4, 0]}, "hidden[1]: should be greater than or equal to 1, not 0"),
        ({"hidden": [4, [5]]}, "hidden[1]: should be an integer, not [5]"),
        ({"pair": [1]}, "pair[1]: is required"),
        ({"pair": [1, 2, 3]}, "pair: should have at most 2 items, not 3"),
        ({"place": 3}, "place: should be text, not 3"),
        ({"either": "a"}, 'either: should be an integer or a list, not "a"'),
        ({"table": 3}, "table: should be a table, not 3"),
        ({"plain": "x"}, 'plain: should be an integer, not "x"'),
    ],
)
def test_a_wrong_value_is_answered_in_a_sentence(values: dict[str, Any], sentence: str) -> None:
    assert message(**values) == sentence


def test_every_problem_is_told_each_under_its_key() -> None:
    problems = SIGNATURE.problems({"hiden": 1, "count": 0, "hidden": ["a", 0]})
    assert [key for key, _ in problems] == ["hiden", "count", "hidden[0]", "hidden[1]"]


def test_an_unknown_parameter_is_answered_with_the_nearest_and_all_that_there_are() -> None:
    sentence = message(hiden=[4])
    assert sentence.startswith(
        "hiden: model 'm' has no such parameter; did you mean 'hidden'? (allowed: count, "
    )


def test_a_target_without_parameters_says_so() -> None:
    assert Signature(lambda: None, frozenset(), "loss 'l'").problems({"a": 1}) == [
        ("a", "loss 'l' has no parameters")
    ]


def test_a_long_value_is_cut_in_the_message() -> None:
    assert message(count="a" * 1000).endswith("aaa...")
    assert len(message(count="a" * 1000)) < 120


def test_the_first_problem_is_raised_with_where_it_is() -> None:
    with pytest.raises(UsageError) as caught:
        SIGNATURE.validate({"count": 0}, "net.toml: model.")
    assert str(caught.value) == "net.toml: model.count: should be greater than or equal to 1, not 0"


def test_defaults_are_filled_in() -> None:
    values = SIGNATURE.validate({})
    assert list(values) == list(SIGNATURE.parameters)
    assert values["hidden"] == [512]
    assert values["pair"] == (1, 2)


def test_a_default_list_is_not_shared_between_two_components() -> None:
    SIGNATURE.validate({})["hidden"].append(3)
    assert SIGNATURE.validate({})["hidden"] == [512]


def test_a_parameter_without_a_default_is_required() -> None:
    signature = Signature(lambda *, path: path, frozenset(), "dataset 'd'")
    assert signature.parameters["path"].required
    assert signature.problems({}) == [("path", "is required")]


def test_a_parameter_that_is_spelled_almost_as_what_birdplane_gives_is_told() -> None:
    signature = Signature(lambda *, n_classes: n_classes, frozenset({"num_classes"}), "model 'm'")
    assert signature.problems({}) == [
        ("n_classes", "is required; did you mean 'num_classes'? (which birdplane gives)")
    ]


def test_what_birdplane_supplies_is_no_parameter() -> None:
    def model(
        *, input_shape: OnlyForTypeCheckers, num_classes: int, width: int = 4
    ) -> OnlyForTypeCheckers: ...

    signature = Signature(model, frozenset({"input_shape", "num_classes", "split"}), "model 'm'")
    assert list(signature.parameters) == ["width"]
    assert signature.wants == {"input_shape", "num_classes"}


def test_a_name_that_exists_for_type_checkers_alone_does_not_hide_the_other_parameters() -> None:
    def transform(*, size: int = 3) -> OnlyForTypeCheckers: ...

    assert Signature(transform, frozenset(), "t").validate({"size": 4}) == {"size": 4}


def test_an_annotation_that_cannot_be_evaluated_is_told() -> None:
    def transform(*, size: OnlyForTypeCheckers = 3) -> None: ...

    with pytest.raises(
        UsageError, match=r"transform 't': its annotations cannot be read: .*OnlyForTypeCheckers"
    ):
        Signature(transform, frozenset(), "transform 't'")


def test_a_class_is_read_by_its_constructor() -> None:
    class Shift:
        def __init__(self, *, pixels: Annotated[int, Ge(0)] = 4) -> None: ...

    signature = Signature(Shift, frozenset(), "transform 'shift'")
    assert signature.problems({"pixels": -1}) == [("pixels", "should be greater than or equal to 0, not -1")]


def test_a_dataclass_of_another_module_is_read_in_the_scope_of_that_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere_defined.py").write_text(
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "from pathlib import Path as P\n"
        "@dataclass(kw_only=True)\n"
        "class Folder:\n    path: P\n    depth: int = 2\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import elsewhere_defined  # type: ignore[import-not-found]

    signature = Signature(elsewhere_defined.Folder, frozenset(), "dataset 'folder'")
    assert signature.validate({"path": "x"}) == {"path": Path("x"), "depth": 2}
    sys.modules.pop("elsewhere_defined")


def test_surplus_keywords_hide_no_misspelling() -> None:
    def model(width: int = 3, **more: Any) -> None: ...

    assert Signature(model, frozenset(), "model 'm'").problems({"widht": 4})[0][0] == "widht"


def test_a_parameter_that_cannot_be_given_by_name_is_told() -> None:
    def model(width: int, /) -> None: ...

    with pytest.raises(UsageError, match="its parameter 'width' cannot be given by name"):
        Signature(model, frozenset(), "model 'm'")


def test_a_target_whose_signature_cannot_be_read_is_told() -> None:
    with pytest.raises(UsageError, match="model 'm': its signature cannot be read"):
        Signature(type, frozenset(), "model 'm'")


def test_a_type_of_which_no_form_can_be_made_is_told_when_it_is_used() -> None:
    def model(*, odd: Annotated[str, Field(pattern="(")] = "a") -> None: ...

    with pytest.raises(UsageError, match="model 'm': no form can be made of its signature"):
        Signature(model, frozenset(), "model 'm'").validate({"odd": "b"})


def test_a_constraint_that_does_not_suit_its_type_is_the_components_fault_and_told_as_such() -> None:
    def model(*, odd: Annotated[int, MinLen(1)] = 3) -> None: ...

    with pytest.raises(UsageError, match=r"model 'm': its parameters cannot be checked: .*'min_length'"):
        Signature(model, frozenset(), "model 'm'").problems({"odd": 4})


def test_names_that_pydantic_keeps_for_itself_are_allowed() -> None:
    def model(*, model_path: str = "a", schema_: int = 1) -> None: ...

    assert Signature(model, frozenset(), "m").validate({"model_path": "b"}) == {
        "model_path": "b",
        "schema_": 1,
    }


@pytest.mark.parametrize(
    "name", ["schema", "copy", "json", "dict", "validate", "model_config", "model_fields", "_hidden"]
)
@pytest.mark.filterwarnings("error")
def test_a_parameter_may_be_called_as_pydantics_own_methods_are(name: str) -> None:
    signature = Signature(_with_parameter(name), frozenset(), "m")
    assert signature.validate({name: 4}) == {name: 4}


def _with_parameter(name: str) -> Any:
    import inspect

    def taking(**given: Any) -> None: ...

    parameter = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=3, annotation=int)
    taking.__signature__ = inspect.Signature([parameter])  # type: ignore[attr-defined]
    return taking


def test_a_form_is_told_help_choices_and_bounds() -> None:
    def model(
        *,
        rate: Annotated[float, Gt(0), Le(2), Doc("How fast.")] = 0.1,
        width: Annotated[int, Field(ge=3, description="How wide.")] = 4,
        act: Literal["a", "b"] | None = None,
    ) -> None: ...

    fields = Signature(model, frozenset(), "m").parameters
    assert (fields["rate"].help, fields["rate"].minimum, fields["rate"].maximum) == (
        "How fast.",
        "> 0",
        "<= 2",
    )
    assert (fields["width"].help, fields["width"].minimum) == ("How wide.", ">= 3")
    assert fields["act"].choices == ("a", "b")
    assert fields["rate"].default == 0.1
    assert not fields["rate"].required
    assert Signature(lambda *, a: a, frozenset(), "m").parameters["a"].default is REQUIRED


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("count", "integer"),
        ("share", "number"),
        ("flag", "true or false"),
        ("word", "text"),
        ("choice", "one of 'tanh', 'relu', 'leaky-relu'"),
        ("maybe", "integer or nothing"),
        ("hidden", "list of integers"),
        ("pair", "list of integer, integer"),
        ("many", "list of number"),
        ("place", "path"),
        ("plain", "integer"),
        ("open", "anything"),
    ],
)
def test_a_type_has_a_name_in_words(name: str, words: str) -> None:
    assert SIGNATURE.parameters[name].type_name == words


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=3),
    )
)
def test_whatever_is_given_is_taken_in_the_right_type_or_answered_in_one_line(value: Any) -> None:
    for name, kind in {
        "count": int,
        "share": float,
        "flag": bool,
        "word": str,
        "hidden": list,
        "pair": tuple,
    }.items():
        problems = SIGNATURE.problems({name: value})
        if problems:
            assert all("\n" not in sentence and len(sentence) < 300 for _, sentence in problems)
        else:
            assert type(SIGNATURE.validate({name: value})[name]) is kind
