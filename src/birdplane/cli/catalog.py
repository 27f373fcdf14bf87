"""`birdplane list`, `show`, `list-plugins` and `check`: what there is to pick, and whether a choice fits."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any

import typer

from birdplane.cli import app
from birdplane.cli.options import Json
from birdplane.cli.screen import (
    print_error,
    print_facts,
    print_heading,
    print_json,
    print_table,
    print_warning,
    showing_preparation,
)
from birdplane.components import KINDS, Component, Loss, Model, Recipe, Registered, Transform
from birdplane.errors import BirdplaneError, UsageError, nearest
from birdplane.text import plain, size

if TYPE_CHECKING:
    from birdplane.params import Parameter
    from birdplane.pipeline import Pipeline, Problem
    from birdplane.plugins import Plugin
    from birdplane.rehearsal import Memory, Rehearsal

_PLURALS = {kind: f"{kind}es" if kind.endswith("s") else f"{kind}s" for kind in KINDS}
_WILD = frozenset("*?[")


# --- list -------------------------------------------------------------------------------------------------


@app.command("list")
def list_components(
    kind: Annotated[
        str | None,
        typer.Argument(help=f"One of {', '.join(KINDS)}. [default: all of them]", show_default=False),
    ] = None,
    pattern: Annotated[str | None, typer.Argument(help="Only names like this, such as 'timm/*'.")] = None,
    json: Json = False,
) -> None:
    """List the components that can be picked."""
    from birdplane.registry import catalog

    if kind is not None and pattern is None and _WILD & set(kind):
        kind, pattern = None, kind
    kinds = list(KINDS) if kind is None else [_kind(kind)]
    found = {one: [entry for entry in catalog()[one] if _matches(entry, pattern)] for one in kinds}
    if json:
        print_json([_brief(entry) for entries in found.values() for entry in entries])
        return
    if not any(found.values()):
        what = _PLURALS[kinds[0]] if kind else "components"
        print_warning(f"no {what} like {pattern!r}" if pattern else f"there are no {what}")
    _print_lists({one: entries for one, entries in found.items() if entries})


def _kind(word: str) -> str:
    folded = word.casefold()
    for kind, plural in _PLURALS.items():
        if folded in (kind, plural):
            return kind
    raise UsageError(
        f"no kind of component is called {word!r}{nearest(word, KINDS)} (kinds: {', '.join(KINDS)})"
    )


def _matches(entry: Registered, pattern: str | None) -> bool:
    return pattern is None or any(
        fnmatchcase(name, pattern.casefold()) for name in (entry.name, entry.component.name)
    )


def _brief(entry: Registered) -> dict[str, Any]:
    return {
        "kind": entry.component.kind,
        "name": entry.name,
        "summary": entry.component.summary,
        "plugin": entry.provenance.plugin,
        "package": entry.provenance.package,
        "version": entry.provenance.version,
    }


def _print_lists(found: dict[str, list[Registered]]) -> None:
    """Print the lists below one another, in columns of one width."""
    everything = [entry for entries in found.values() for entry in entries]
    name = max((len(entry.name) for entry in everything), default=0)
    origin = max((len(str(entry.provenance)) for entry in everything), default=0)
    for number, (kind, entries) in enumerate(found.items()):
        if number:
            print()
        rows = [
            [entry.name.ljust(name), str(entry.provenance).ljust(origin), entry.component.summary]
            for entry in entries
        ]
        print_table(rows, [kind if len(found) == 1 else _PLURALS[kind], "from", "what it is"])


# --- show -------------------------------------------------------------------------------------------------


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
        return [catalog()[_kind(kind)].lookup(rest)]
    found = catalog().find(name)
    if not found:
        hint = catalog().hint(name) or "; `birdplane list` shows all"
        raise UsageError(f"nothing is called {name!r}{hint}")
    return found


def _details(entry: Registered) -> dict[str, Any]:
    component = entry.component
    details = {
        **_brief(entry),
        "target": _target(component),
        "takes": _takes(entry),
        "yields": _yields(entry),
    }
    if isinstance(component, Recipe):
        return {**details, "parameters": [], "text": component.text()}
    return {**details, "parameters": [_parameter(parameter) for parameter in _parameters(entry)]}


def _target(component: Component) -> str:
    target = component.target
    if isinstance(target, str):
        return target
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


# --- plugins ----------------------------------------------------------------------------------------------


@app.command("list-plugins")
def list_plugins(json: Json = False) -> None:
    """List the plugins: what each brings, and why one does not work."""
    from birdplane.plugins import installed

    found = installed().found
    if json:
        print_json([_plugin(plugin) for plugin in found])
        return
    rows = [
        [plugin.name, plugin.version, plugin.package, plugin.status, plugin.reason or _brings(plugin)]
        for plugin in found
    ]
    print_table(rows, ["plugin", "version", "package", "status", "what it brings, or what is wrong"])


def _counts(plugin: Plugin) -> dict[str, int]:
    counted = Counter(component.kind for component in plugin.components)
    return {kind: counted[kind] for kind in KINDS if counted[kind]}


def _brings(plugin: Plugin) -> str:
    counts = [f"{count} {kind if count == 1 else _PLURALS[kind]}" for kind, count in _counts(plugin).items()]
    hooks = [hook.removeprefix("birdplane_") for hook in plugin.hooks if hook != "birdplane_components"]
    listens = {"event": "listens to training", "commands": "adds commands"}
    return ", ".join([*counts, *(listens.get(hook, hook) for hook in hooks)]) or "nothing"


def _plugin(plugin: Plugin) -> dict[str, Any]:
    from birdplane.plugins import documentation

    return {
        "name": plugin.name,
        "version": plugin.version,
        "package": plugin.package,
        "status": plugin.status,
        "reason": plugin.reason,
        "components": _counts(plugin),
        "hooks": list(plugin.hooks),
        "target": plugin.target,
        "summary": documentation(plugin),
    }


# --- check ------------------------------------------------------------------------------------------------


@app.command()
def check(
    pipeline: Annotated[str, typer.Argument(help="A pipeline file, or a recipe's name.")],
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Override a key, such as training.epochs=3; may be repeated."
        ),
    ] = None,
    layers: Annotated[
        bool, typer.Option("--layers", help="Show what each layer of the model leaves.")
    ] = False,
    json: Json = False,
) -> None:
    """Say whether a pipeline is sound, and what it would do; nothing is trained or downloaded."""
    from birdplane.pipeline import Pipeline

    command = shlex.join(
        ["birdplane", "train", pipeline, *(x for a in assignments or () for x in ("--set", a))]
    )
    try:
        asked = Pipeline.load(pipeline).override(assignments or ())
        problems = asked.problems()
        if problems:
            _tell_problems(asked, problems, json)
            raise typer.Exit(2)
        rehearsal = _rehearsed(asked)
    except BirdplaneError as error:
        if json:
            print_json({"pipeline": pipeline, "sound": False, "problems": [_problem(str(error), pipeline)]})
        raise
    if json:
        print_json(
            {"pipeline": pipeline, "sound": True, "problems": [], **_facts(rehearsal), "command": command}
        )
    else:
        _print_rehearsal(asked, rehearsal, command, layers)


def _tell_problems(pipeline: Pipeline, problems: list[Problem], json: bool) -> None:
    if json:
        told = [{"key": p.key, "message": p.message, "mend": p.mend} for p in problems]
        print_json({"pipeline": pipeline.source, "sound": False, "problems": told})
        return
    for problem in problems:
        print_error(f"{pipeline.source}: {problem}")


def _problem(message: str, source: str) -> dict[str, str]:
    """Take `source: key: sentence` apart."""
    rest = message.removeprefix(f"{source}: ")
    match = re.match(
        r"((?:seed|dataset|transforms|model|output|loss|optimizer|schedule|training)[.\w]*)[^:]{0,60}: ", rest
    )
    return {"key": match[1] if match else "", "message": rest[match.end() :] if match else rest, "mend": ""}


def _rehearsed(pipeline: Pipeline) -> Rehearsal:
    # Without torch first: it takes seconds to import, and what is not at hand need not wait for it.
    from birdplane.availability import missing

    lack = missing(pipeline)
    if lack is not None:
        raise BirdplaneError(
            f"{pipeline.source}: dataset: no problem is found so far, but {lack}; "
            "shapes cannot be checked without them"
        )
    from birdplane.rehearsal import rehearse

    with showing_preparation():
        return rehearse(pipeline)


def _facts(rehearsal: Rehearsal) -> dict[str, Any]:
    from dataclasses import asdict

    facts = asdict(rehearsal)
    facts["memory"]["total"] = rehearsal.memory.total
    return facts


def _print_rehearsal(pipeline: Pipeline, found: Rehearsal, command: str, layers: bool) -> None:
    from birdplane.rehearsal import shown

    rows = [[stage.key, shown(stage.shape), stage.values] for stage in found.stages]
    print_table(rows, ["step", "leaves of a picture", "numbers"])
    if layers:
        print()
        rows = [[la.name, la.kind, shown(la.shape), f"{la.parameters:,}"] for la in found.layers]
        print_table(rows, ["layer", "kind", "leaves of a picture", "parameters"])
    steps = found.steps_per_epoch
    print()
    print_facts(
        [
            ("pictures", _pictures(found)),
            ("loss", f"{pipeline.choice('loss').use}, fed {pipeline.leaves()}"),
            ("optimizer", f"{pipeline.choice('optimizer').use}, schedule {pipeline.choice('schedule').use}"),
            ("parameters", f"{found.parameters:,}"),
            ("memory", _memory(found.memory)),
            ("device", f"{found.device}, {found.precision}"),
            (
                "steps",
                f"{steps:,} an epoch, of {found.batch_size} pictures; "
                f"{steps * found.epochs:,} in {found.epochs} epochs",
            ),
            *(("note", note) for note in found.notes),
            ("train it", command),
        ]
    )


def _pictures(found: Rehearsal) -> str:
    first = ", ".join(found.classes[:10]) + (", ..." if len(found.classes) > 10 else "")
    kept = "" if found.resident else "; too many for training.memory_limit: streamed"
    return (
        f"{found.train_pictures:,} to train, {found.validation_pictures:,} to validate, "
        f"{len(found.classes)} classes ({first}){kept}"
    )


def _memory(memory: Memory) -> str:
    parts = {
        "pictures": memory.pictures,
        "weights": memory.weights,
        "gradients": memory.gradients,
        "optimizer": memory.optimizer,
        "kept weights": memory.copies,
        "activations": memory.activations,
    }
    listed = ", ".join(f"{name} {size(count)}" for name, count in parts.items() if count)
    return f"about {size(memory.total)}: {listed}"
