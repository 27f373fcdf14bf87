"""From the signature of a component's target to its parameters: their validation and their form fields."""

from __future__ import annotations

import functools
import inspect
import json
import re
import sys
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from birdplane.errors import UsageError, message_of, nearest

REQUIRED: Any = inspect.Parameter.empty
#: What begins the sentence on a parameter without a default that is not given.
MISSING = "is required"
_SIMPLE = (bool, int, float, str, Path)


@dataclass(frozen=True)
class Parameter:
    """One parameter of a component, as a form shows it.

    `annotation` is the type with its constraints; `default` is `REQUIRED` where there is none. `minimum` and
    `maximum` are texts such as `">= 0"` and `"< 1"`.
    """

    name: str
    annotation: Any
    default: Any
    help: str
    choices: tuple[Any, ...]
    minimum: str
    maximum: str

    @property
    def required(self) -> bool:
        return self.default is REQUIRED

    @property
    def type_name(self) -> str:
        """The type in a reader's words: `integer`, `list of integers`, `one of 'a', 'b'`."""
        return _type_name(self.annotation)


class Signature:
    """The parameters of a target, without those that birdplane supplies itself.

    Args:
        target: the callable.
        reserved: the names that birdplane supplies for this kind of component.
        owner: how messages call it, such as `model 'fully-connected'`.

    Raises:
        UsageError: the signature cannot be read, or has a parameter that cannot be given by name.
    """

    def __init__(self, target: Callable[..., Any], reserved: frozenset[str], owner: str) -> None:
        self.owner = owner
        self._reserved = reserved
        try:
            found = inspect.signature(target).parameters
        except (TypeError, ValueError) as error:
            raise UsageError(f"{owner}: its signature cannot be read: {error}") from error
        named = {name: p for name, p in found.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
        #: Which of the reserved arguments the target asks for.
        self.wants = reserved & named.keys()
        for name in sorted(self.wants):
            self._refuse_claim(target, named[name])
        self.parameters = self._read(target, {n: p for n, p in named.items() if n not in reserved})

    def _refuse_claim(self, target: Callable[..., Any], parameter: inspect.Parameter) -> None:
        """Refuse an argument that birdplane supplies, where it is described like a user's parameter."""
        name = parameter.name
        try:
            annotation = _evaluated({name: parameter.annotation}, target)[name]
        except Exception:  # of a type that exists for type checkers alone
            return
        told = _parameter(name, annotation, parameter.default)
        if told.help or told.minimum or told.maximum:
            raise UsageError(
                f"{self.owner}: its parameter {name!r} has help or bounds as if a user set it, but birdplane "
                "supplies that: leave them out, or give it another name"
            )

    def _read(self, target: Callable[..., Any], named: dict[str, inspect.Parameter]) -> dict[str, Parameter]:
        for name, parameter in named.items():
            if parameter.kind is parameter.POSITIONAL_ONLY:
                raise UsageError(f"{self.owner}: its parameter {name!r} cannot be given by name")
        raw = {name: p.annotation for name, p in named.items() if p.annotation is not REQUIRED}
        try:
            hints = _evaluated(raw, target)
        except Exception as error:
            raise UsageError(f"{self.owner}: its annotations cannot be read: {error}") from error
        return {
            name: _parameter(name, hints.get(name, _annotation_of(p.default)), p.default)
            for name, p in named.items()
        }

    @cached_property
    def _model(self) -> Any:
        # Imported here: pydantic costs a tenth of a second, which `--help` and lists need not pay.
        from pydantic import ConfigDict, Field, create_model

        # Under names of our own, with theirs as aliases: a parameter may be called `copy` or `schema`, which
        # pydantic's models have as methods, or `_hidden`, which they refuse.
        fields: dict[str, Any] = {
            field: (
                p.annotation,
                Field(alias=p.name) if p.required else Field(default=p.default, alias=p.name),
            )
            for field, p in self._fields()
        }
        config = ConfigDict(
            extra="forbid",
            strict=True,
            arbitrary_types_allowed=True,
            allow_inf_nan=False,
            protected_namespaces=(),
        )
        try:
            return create_model("Parameters", __config__=config, **fields)
        except Exception as error:
            reason = message_of(error)
            raise UsageError(f"{self.owner}: no form can be made of its signature: {reason}") from error

    def problems(self, values: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Return what is wrong with the values: pairs of a key, such as `hidden[0]`, and a sentence."""
        return self._checked(values)[1]

    def validate(self, values: Mapping[str, Any], where: str = "") -> dict[str, Any]:
        """Return all parameters, defaults included, as the target takes them.

        Raises:
            UsageError: the first problem, with `where` (a file and section) in front.
        """
        checked, problems = self._checked(values)
        if problems:
            key, message = problems[0]
            raise UsageError(f"{where}{key}: {message}")
        return checked

    def _checked(self, values: Mapping[str, Any]) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        from pydantic import ValidationError

        unknown = [(name, self._unknown(name)) for name in values if name not in self.parameters]
        known = {name: value for name, value in values.items() if name in self.parameters}
        try:
            # By way of JSON: strict there means that a list may become a tuple and a text a path, but no text a
            # number.
            made = self._model.model_validate_json(json.dumps(known, default=_to_json))
        except ValidationError as error:
            return {}, unknown + [
                (key, text + self._meant(key) if text == MISSING else text)
                for key, text in _sentences(error.errors(include_url=False))
            ]
        except UsageError:
            raise
        except Exception as error:  # a constraint that does not suit its type
            reason = message_of(error)
            raise UsageError(f"{self.owner}: its parameters cannot be checked: {reason}") from error
        return {p.name: getattr(made, field) for field, p in self._fields()}, unknown

    def _fields(self) -> Iterable[tuple[str, Parameter]]:
        return ((f"parameter_{number}", p) for number, p in enumerate(self.parameters.values()))

    def _meant(self, name: str) -> str:
        """Return which argument that birdplane gives is spelled like one that is missing, as a clause."""
        like = nearest(name, self._reserved - self.wants) if name in self.parameters else ""
        return f"{like} (which birdplane gives)" if like else ""

    def _unknown(self, name: str) -> str:
        if not self.parameters:
            return f"{self.owner} has no parameters"
        allowed = ", ".join(self.parameters)
        return f"{self.owner} has no such parameter{nearest(name, self.parameters)} (allowed: {allowed})"


def _evaluated(annotations: dict[str, Any], target: Callable[..., Any]) -> dict[str, Any]:
    """Evaluate only the given annotations: a target may use names, for what birdplane supplies or for what it
    returns, that exist for type checkers alone."""
    while isinstance(target, functools.partial):
        target = target.func
    function = inspect.unwrap(target.__init__ if inspect.isclass(target) else target)
    module = sys.modules.get(getattr(function, "__module__", "") or "")
    scope = getattr(function, "__globals__", None) or vars(module or types.ModuleType("none"))
    return get_type_hints(
        types.SimpleNamespace(__annotations__=annotations), globalns=scope, include_extras=True
    )


def _annotation_of(default: Any) -> Any:
    return type(default) if type(default) in _SIMPLE else Any


def _parameter(name: str, annotation: Any, default: Any) -> Parameter:
    metadata = list(_metadata(annotation))
    return Parameter(
        name=name,
        annotation=annotation,
        default=default,
        help=next((text for m in metadata if (text := _help(m))), ""),
        choices=_choices(annotation),
        minimum=_bound(metadata, {"gt": ">", "ge": ">="}),
        maximum=_bound(metadata, {"lt": "<", "le": "<="}),
    )


def _metadata(annotation: Any) -> Iterable[Any]:
    """Every constraint and text of an annotation, those in pydantic's own `Field` included."""
    for item in getattr(annotation, "__metadata__", ()):
        yield item
        yield from getattr(item, "metadata", ())


def _help(item: Any) -> str:
    text = getattr(item, "documentation", None) or getattr(item, "description", None)
    return text if isinstance(text, str) else ""


def _bound(metadata: list[Any], signs: dict[str, str]) -> str:
    for item in metadata:
        for attribute, sign in signs.items():
            value = getattr(item, attribute, None)
            if isinstance(value, int | float):
                return f"{sign} {value:g}"
    return ""


def _bare(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _choices(annotation: Any) -> tuple[Any, ...]:
    bare = _bare(annotation)
    if get_origin(bare) is Literal:
        return get_args(bare)
    if get_origin(bare) in (Union, types.UnionType):
        return tuple(choice for member in get_args(bare) for choice in _choices(member))
    return ()


_TYPE_NAMES = {
    bool: "true or false",
    int: "integer",
    float: "number",
    str: "text",
    Path: "path",
    Any: "anything",
}


def _type_name(annotation: Any) -> str:
    bare = _bare(annotation)
    origin, arguments = get_origin(bare), get_args(bare)
    if origin is Literal:
        return "one of " + ", ".join(repr(choice) for choice in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join("nothing" if a is type(None) else _type_name(a) for a in arguments)
    if origin is list:
        return f"list of {_plural(_type_name(arguments[0]))}"
    if origin is tuple:
        return "list of " + ", ".join(_type_name(a) for a in arguments if a is not Ellipsis)
    return _TYPE_NAMES.get(bare, getattr(bare, "__name__", str(bare)))


def _plural(noun: str) -> str:
    return noun if noun.endswith("s") or " " in noun or noun == "text" else noun + "s"


def _to_json(value: Any) -> Any:
    return list(value) if isinstance(value, tuple | set | frozenset) else str(value)


#: What a value of each of pydantic's kinds of error should be, in the words of someone who writes TOML.
_EXPECTED = {
    "bool_type": "true or false",
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "path_type": "text, a path",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a table",
}
_COUNTED = {"too_short": "at least {min_length}", "too_long": "at most {max_length}"}


def _sentences(errors: Iterable[Any]) -> list[tuple[str, str]]:
    """Turn pydantic's error records into pairs of a key and a sentence: one a key, as an optional or a choice
    of types brings an error for each alternative."""
    by_key: dict[str, list[Any]] = {}
    for details in errors:
        by_key.setdefault(_key(details["loc"]), []).append(details)
    return [(key, _sentence(alternatives)) for key, alternatives in by_key.items()]


def _key(location: tuple[int | str, ...]) -> str:
    key = str(location[0]) if location else "value"
    return key + "".join(f"[{part}]" for part in location[1:] if isinstance(part, int))


def _sentence(alternatives: list[Any]) -> str:
    first = alternatives[0]
    if first["type"] == "missing":
        return MISSING
    wanted = " or ".join(dict.fromkeys(_wanted(details) for details in alternatives)).replace("or be ", "or ")
    came = len(first["input"]) if first["type"] in _COUNTED else _shown(first["input"])
    return f"should {wanted}, not {came}{_spelling(alternatives)}"


def _wanted(details: Any) -> str:
    kind = details["type"]
    if kind in _EXPECTED:
        return f"be {_EXPECTED[kind]}"
    if kind in _COUNTED:
        count = _COUNTED[kind].format_map(details["ctx"])
        return f"have {count} item{'' if count.endswith(' 1') else 's'}"
    message: str = details["msg"]
    return message.partition(" should ")[2] or f"be right: {message[0].lower()}{message[1:]}"


def _spelling(alternatives: list[Any]) -> str:
    """Return the nearest of the texts that are allowed, as a clause."""
    for details in alternatives:
        if details["type"] == "literal_error" and isinstance(details["input"], str):
            return nearest(details["input"], re.findall(r"'([^']+)'", details["ctx"]["expected"]))
    return ""


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
