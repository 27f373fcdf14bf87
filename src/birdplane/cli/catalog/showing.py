"""`birdplane show`: what a component is, what can be set of it, and how to use it."""

from __future__ import annotations

import functools
import re
import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from birdplane.cli import app
from birdplane.cli.catalog.kinds import brief, kind_called
from birdplane.cli.options import Json
from birdplane.cli.screen import print_facts, print_heading, print_json, print_table
from birdplane.errors import UsageError
from birdplane.text import plain

if TYPE_CHECKING:
    from birdplane.components import Component, Recipe, Registered
    from birdplane.params import Parameter


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="The name of a component of any kind, or kind:name.")],
    json: Json = False,
) -> None:
    """Say what a component is, what can be set of it, and how to use it."""
    found = _find(name)
    if json:
        print_json([_details(entry) for entry in found])
        return
    for number, entry in enumerate(found):
        if number:
            print()
        _print_component(entry)


def _find(name: str) -> list[Registered]:
    from birdplane.registry import catalog

    kind, colon, rest = name.partition(":")
    if colon:
        return [catalog()[kind_called(kind)].lookup(rest)]
    found = catalog().find(name)
    if not found:
        hint = catalog().hint(name) or "; `birdplane list` shows all"
        raise UsageError(f"nothing is called {name!r}{hint}")
    return found


def _details(entry: Registered) -> dict[str, Any]:
    from birdplane.components import Recipe

    component = entry.component
    details = {
        **brief(entry),
        "target": _target(component),
        "takes": _takes(entry),
        "yields": _yields(entry),
    }
    if isinstance(component, Recipe):
        return {**details, "parameters": [], "text": component.text()}
    return {**details, "parameters": [_parameter(parameter) for parameter in _parameters(entry)]}


def _target(component: Component) -> str:
    return _callable(component.target)


def _callable(target: Any) -> str:
    """Return what stands for a target: `package.module:attribute`, with what is bound to it."""
    if isinstance(target, str):
        return target
    if isinstance(target, functools.partial):
        bound = [repr(value) for value in target.args]
        bound += [f"{name}={value!r}" for name, value in target.keywords.items()]
        return f"{_callable(target.func)}({', '.join(bound)})"
    return f"{getattr(target, '__module__', '?')}:{getattr(target, '__qualname__', type(target).__name__)}"


def _parameters(entry: Registered) -> list[Parameter]:
    from birdplane.registry import catalog

    return list(catalog()[entry.component.kind].signature(entry.name).parameters.values())


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "type": parameter.type_name,
        "required": parameter.required,
        "default": None if parameter.required else parameter.default,
        "minimum": parameter.minimum,
        "maximum": parameter.maximum,
        "choices": list(parameter.choices),
        "help": parameter.help,
    }


def _takes(entry: Registered) -> str:
    """Say what reaches a component, in words."""
    from birdplane.components import Component, Loss, Model, Transform
    from birdplane.registry import catalog

    component = entry.component
    match component:
        case Loss():
            return f"{' or '.join(component.accepts)} of shape (N, classes), and labels (N)"
        case Transform():
            one = (
                "one picture: a PIL image or a CHW tensor" if component.per_sample else "a batch (N, C, H, W)"
            )
            return one + (", in training alone" if component.random else "")
        case Model():
            return "a batch (N, C, H, W)"
        case Component(kind="dataset"):
            knows = "split" in catalog()["dataset"].signature(entry.name).wants
            return "" if knows else "no split: a fifth of the pictures, drawn by the seed, validates"
        case Component(kind="optimizer"):
            return "the model's parameters and their gradients"
        case Component(kind="schedule"):
            return "the step, from 0 on, of the run's number of steps"
    return ""


def _yields(entry: Registered) -> str:
    """Say what leaves a component, in words."""
    from birdplane.components import Component, Loss, Model, Transform

    component = entry.component
    match component:
        case Model():
            return f"{component.output} (N, classes)"
        case Transform():
            return "the picture, changed" if component.per_sample else "the batch, changed"
        case Loss():
            return "one number: the mean over the batch"
        case Component(kind="dataset"):
            return "pictures and their labels"
        case Component(kind="schedule"):
            return "the factor of the learning rate in that step"
    return ""


def _print_component(entry: Registered) -> None:
    from birdplane.components import Recipe

    component = entry.component
    print_heading(f"{component.kind} {entry.name}")
    print_facts(
        [
            (label, text)
            for label, text in (
                ("  what it is", component.summary),
                ("  from", f"{entry.provenance} (plugin {entry.provenance.plugin})"),
                ("  target", _target(component)),
                ("  takes", _takes(entry)),
                ("  yields", _yields(entry)),
            )
            if text
        ]
    )
    if isinstance(component, Recipe):
        _print_recipe(entry, component)
        return
    parameters = _parameters(entry)
    print()
    if parameters:
        rows = [
            [p.name, _type(p), "required" if p.required else _toml(p.default), _bounds(p), _help(p)]
            for p in parameters
        ]
        print_table(rows, ["parameter", "type", "default", "bounds", "what it does"])
    else:
        print("It has no parameters.")
    _print_use(entry, parameters)


def _print_recipe(entry: Registered, recipe: Recipe) -> None:
    print()
    for line in recipe.text().splitlines():
        print(plain(line.expandtabs(4)).rstrip())
    print(f"\nTrain it: birdplane train {entry.name}")


def _bounds(parameter: Parameter) -> str:
    return " and ".join(bound for bound in (parameter.minimum, parameter.maximum) if bound)


def _type(parameter: Parameter) -> str:
    """Return the type; choices, which can be many, stand beside the help, where there is room."""
    return "a choice" if parameter.choices else parameter.type_name


def _help(parameter: Parameter) -> str:
    choices = ", ".join(_toml(choice) for choice in parameter.choices)
    return f"{parameter.help.rstrip('.')}: {choices}".removeprefix(": ") if choices else parameter.help


def _print_use(entry: Registered, parameters: list[Parameter]) -> None:
    kind = entry.component.kind
    section, key = ("[[transforms]]", "transforms.0") if kind == "transform" else (f"[{kind}]", kind)
    examples = [(p.name, _example(p)) for p in parameters if p.required or p.default is not None]
    print("\nIn a pipeline file:\n")
    for line in [section, f"use = {_toml(entry.name)}", *(f"{name} = {value}" for name, value in examples)]:
        print(f"    {plain(line)}")
    chosen = [f"{key}.use={entry.name}", *(f"{key}.{name}={value}" for name, value in examples[:1])]
    where = ", counting the transforms from 0" if kind == "transform" else ""
    print(f"\nOn the command line{where}:\n")
    print(plain("    birdplane train demo " + " ".join(f"--set {shlex.quote(text)}" for text in chosen)))


def _example(parameter: Parameter) -> str:
    if not parameter.required:
        return _toml(parameter.default)
    if parameter.choices:
        return _toml(parameter.choices[0])
    number = re.search(r"-?[0-9.]+", parameter.minimum)
    return {
        "integer": number[0] if number else "1",
        "number": number[0] if number else "1.0",
        "true or false": "true",
    }.get(parameter.type_name, "[]" if parameter.type_name.startswith("list") else '"..."')


def _toml(value: Any) -> str:
    """Return a default as a pipeline file has it; nothing, which TOML cannot say, as `nothing`."""
    import json

    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(str(value), ensure_ascii=False)
