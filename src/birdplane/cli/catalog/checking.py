"""`birdplane check`: whether a pipeline is sound, and what it would do."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from birdplane.cli import app
from birdplane.cli.options import Json, Set
from birdplane.cli.screen import print_error, print_facts, print_json, print_table, showing_preparation
from birdplane.errors import BirdplaneError
from birdplane.text import plain, size

if TYPE_CHECKING:
    from birdplane.availability import Missing
    from birdplane.pipeline import Pipeline, Problem
    from birdplane.rehearsal import Memory, Rehearsal


@app.command()
def check(
    pipeline: Annotated[str, typer.Argument(help="A pipeline file, or a recipe's name.")],
    assignments: Set = None,
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
        lack = _lack(asked)
        rehearsal = None if lack else _rehearsed(asked)
    except BirdplaneError as error:
        if json:
            print_json({"pipeline": pipeline, "sound": False, "problems": [_problem(str(error), pipeline)]})
        raise
    if json:
        facts = _facts(rehearsal) if rehearsal else {}
        if lack:
            facts["missing"] = {"place": str(lack.place), "size": lack.size}
        print_json({"pipeline": pipeline, "sound": True, "problems": [], **facts, "command": command})
    elif rehearsal:
        _print_rehearsal(asked, rehearsal, command, layers)
    else:
        print(plain(f"{asked.source}: sound so far; {lack}"))
        print("shapes, memory and steps are known when the pictures are there")
        print_facts([("train it", command)])


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


def _lack(pipeline: Pipeline) -> Missing | None:
    """Return what training would download first. Without torch, whose import takes seconds.

    Raises:
        BirdplaneError: pictures are missing that cannot be downloaded.
    """
    from birdplane.availability import missing

    lack = missing(pipeline)
    if lack is not None and not lack.size:
        raise BirdplaneError(f"{pipeline.source}: dataset: {lack}; shapes cannot be checked without them")
    return lack


def _rehearsed(pipeline: Pipeline) -> Rehearsal:
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
