"""What is wrong with a draft, step by step, and how each thing could be mended. No part is built for it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from birdplane.errors import BirdplaneError
from birdplane.pipeline import Pipeline, Problem, training_signature
from birdplane.tui.steps import Document, Step, choose, drop_parameter, steps

#: Whose absence leaves nothing else to check, and what is checked in its place meanwhile.
_PLACEHOLDERS = {
    "dataset": {"use": "sketches"},
    "model": {"use": "fully-connected"},
    "loss": {"use": "cross-entropy"},
    "optimizer": {"use": "sgd"},
}
_TABLES = ("dataset", "model", "output", "loss", "optimizer", "schedule", "training")
_NEAREST = re.compile(r"; did you mean '([^']+)'\?")


def all_problems(pipeline: Pipeline) -> list[Problem]:
    """Return what is wrong with every step.

    A pipeline that lacks a section is told nothing but that; here the others are checked all the same.
    """
    found = _problems(pipeline)
    missing = [key for key in _PLACEHOLDERS if not isinstance(pipeline.document.get(key), dict)]
    odd = {problem.key.partition(".")[0] for problem in found} - set(_PLACEHOLDERS)
    if not missing and not any(_is_layout(problem, pipeline.document) for problem in found):
        return found
    document = {key: value for key, value in pipeline.document.items() if key not in odd}
    for key in missing:
        document[key] = _PLACEHOLDERS[key]
    rest = _problems(Pipeline(document, pipeline.source, pipeline.catalog))
    known = {problem.key for problem in found}
    hidden = {*missing, "output"} if {"model", "loss"} & set(missing) else set(missing)
    return found + [p for p in rest if p.key not in known and p.key.partition(".")[0] not in hidden]


def _problems(pipeline: Pipeline) -> list[Problem]:
    try:
        return pipeline.problems()
    except BirdplaneError as error:
        return [Problem(_culprit(pipeline), str(error))]
    except Exception as error:  # a plugin's signature may do anything
        words = " ".join(f"{type(error).__name__}: {error}".split())
        return [Problem(_culprit(pipeline), words)]


def _culprit(pipeline: Pipeline) -> str:
    """Return the step whose parameters cannot even be asked for."""
    for step in steps(pipeline.document):
        if step.kind and step.use:
            try:
                pipeline.catalog[step.kind].signature(step.use).problems(step.given)
            except Exception:
                return f"{step.key}.use"
    return "dataset"


def _is_layout(problem: Problem, document: Document) -> bool:
    """Tell whether a section is not what a section must be, which ends the check."""
    section = problem.key.partition(".")[0]
    return section not in ("transforms", *_TABLES) or (
        "." not in problem.key and not isinstance(document.get(section), dict)
    )


def is_missing(problem: Problem) -> bool:
    """Tell whether it is only that something is not chosen yet."""
    return problem.message.startswith("is missing: a pipeline needs")


# --- what the helper found --------------------------------------------------------------------------------


def misfit(message: str, source: str) -> Problem:
    """Return the helper's refusal as a problem of the step that it names.

    Its messages read `source: model: 'x' is given pictures (3, 8, 8) and fails: ...` or
    `source: transforms.0 (to-tensor): ...`.
    """
    rest = message.removeprefix(f"{source}: ")
    head, colon, tail = rest.partition(": ")
    key = head.partition(" (")[0]
    if (
        not colon
        or not re.fullmatch(r"[a-z_]+(\.[a-z0-9_]+)*", key)
        or key.partition(".")[0] not in _SECTIONS
    ):
        return Problem("model", rest)
    return Problem(key, tail)


_SECTIONS = ("seed", "transforms", *_TABLES)


# --- mending ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mend:
    """A way to put something right: what it does, in words, and the document afterwards."""

    words: str
    document: Document


def mend_of(problem: Problem, pipeline: Pipeline) -> Mend | None:
    """Return how a problem can be mended, if that is known."""
    document = pipeline.document
    if problem.mend:
        return Mend(f"set {problem.mend}", pipeline.override([problem.mend]).document)
    if '(mend: use "to-tensor")' in problem.message:
        entries = [{"use": "to-tensor"}, *document.get("transforms", [])]
        return Mend("begin with to-tensor", {**document, "transforms": entries})
    step, name = _place(problem, document)
    if step is None or not name:
        return None
    right = _NEAREST.search(problem.message)
    if name == "use":
        return (
            None if not right else Mend(f"take {right[1]}", choose(document, step.key, right[1], step.given))
        )
    if " has no such parameter" in problem.message or problem.message.endswith(" has no parameters"):
        changed = drop_parameter(document, step.key, name)
        if right and right[1] not in step.given:
            return Mend(f"call it {right[1]}", _given(changed, step.key, right[1], step.given[name]))
        return Mend(f"leave {name} out", changed)
    if right:
        return Mend(f"take {right[1]}", _given(document, step.key, name, right[1]))
    if name in step.given and _has_default(step, name, pipeline):
        return Mend("back to the default", drop_parameter(document, step.key, name))
    return None


def _has_default(step: Step, name: str, pipeline: Pipeline) -> bool:
    try:
        if step.key == "training":
            parameters = training_signature().parameters
        else:
            parameters = pipeline.catalog[step.kind].signature(step.use).parameters
    except Exception:  # a plugin's signature may do anything
        return False
    return name in parameters and not parameters[name].required


def _given(document: Document, key: str, name: str, value: Any) -> Document:
    from birdplane.tui.steps import set_parameter

    return set_parameter(document, key, name, value)


def _place(problem: Problem, document: Document) -> tuple[Step | None, str]:
    """Return the step that a problem is in, and the name of the parameter."""
    for step in sorted(steps(document), key=lambda step: -len(step.key)):
        if problem.key.startswith(f"{step.key}."):
            return step, problem.key.removeprefix(f"{step.key}.").partition("[")[0]
    return None, ""


def without_mend(problem: Problem) -> Problem:
    """Return the problem without the hint in its message that speaks to people at a command line."""
    return replace(problem, message=re.sub(r" \(mend: [^)]*\)$", "", problem.message))


def by_name(problems: Sequence[Problem], key: str) -> dict[str, str]:
    """Return the sentences about a step's parameters, by their names; several about one are joined."""
    found: dict[str, str] = {}
    for problem in problems:
        if problem.key.startswith(f"{key}."):
            name, bracket, item = problem.key.removeprefix(f"{key}.").partition("[")
            where = f"[{item}: " if bracket else ""
            found[name] = (
                f"{found[name]}; {where}{problem.message}" if name in found else where + problem.message
            )
    return found
