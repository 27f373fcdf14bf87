"""Checks of every component: its record, its target's signature, and that it can be built."""

from __future__ import annotations

import math
from typing import Any

from birdplane.components import Recipe
from birdplane.errors import BirdplaneError, nearest
from birdplane.params import MISSING
from birdplane.testing.checking import Subject, fail, require, skip


def has_a_summary(subject: Subject) -> None:
    """Its record has a summary of one line, for lists."""
    summary = subject.record.summary
    require(bool(summary.strip()), "summary is empty")
    require("\n" not in summary, "summary has several lines")


def target_resolves(subject: Subject) -> None:
    """Its target can be imported and called."""
    subject.registry.target(subject.name)


def takes_legal_parameters(subject: Subject) -> None:
    """Its parameters have types that a file and a form can hold, and defaults that keep to their own bounds."""
    signature = subject.signature
    signature.problems({})
    for name, parameter in signature.parameters.items():
        given = nearest(name, subject.record.reserved - subject.wants) if parameter.required else ""
        require(parameter.annotation is not Any, f"{name} has no type{given}")
        if parameter.required:
            continue
        default = parameter.default
        if isinstance(default, float) and not math.isfinite(default):
            fail(f"the default of {name} is {default}, which no pipeline file may say")
        for key, message in signature.problems({name: default}):
            if not message.startswith(MISSING):
                fail(f"the default of {key} {message}")


def tells_what_its_parameters_do(subject: Subject) -> None:
    """Every parameter has a help text: `Annotated[..., Doc("...")]`."""
    silent = [name for name, parameter in subject.signature.parameters.items() if not parameter.help.strip()]
    require(not silent, f"no help for {', '.join(silent)}")


#: Of all kinds but recipes; that a component can be built is among the checks of its kind.
COMPONENT = (has_a_summary, target_resolves, takes_legal_parameters, tells_what_its_parameters_do)


# Recipes.


def can_be_read(subject: Subject) -> None:
    """The recipe's text is there and is a pipeline file."""
    from birdplane.pipeline import Pipeline

    Pipeline.from_toml(_text(subject), subject.name, subject.catalog)


def has_no_problems(subject: Subject) -> None:
    """The recipe names what is there, with parameters that fit, and its loss gets what it wants."""
    from birdplane.pipeline import Pipeline

    try:
        pipeline = Pipeline.from_toml(_text(subject), subject.name, subject.catalog)
    except BirdplaneError:
        skip("it cannot be read: see the check can-be-read")
    problems = pipeline.problems()
    require(not problems, "; ".join(map(str, problems)))


def _text(subject: Subject) -> str:
    record = subject.record
    assert isinstance(record, Recipe)
    return record.text()


RECIPE = (has_a_summary, can_be_read, has_no_problems)
