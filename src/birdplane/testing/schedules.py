"""Checks of schedules: of their factors at every step of a few runs, short and long."""

from __future__ import annotations

import math
from collections.abc import Callable

from birdplane.testing.checking import Subject, require
from birdplane.testing.describing import COMPONENT

_LENGTHS = (1, 2, 3, 10, 500)  # steps of a run


def builds(subject: Subject) -> None:
    """It can be built with its defaults for runs of any number of steps, one included."""
    for total_steps in _LENGTHS:
        factor = subject.create(total_steps=total_steps)
        require(callable(factor), f"its target returned a {type(factor).__name__}, which cannot be called")


def _factors(subject: Subject, total_steps: int) -> Callable[[int], float]:
    made: Callable[[int], float] = subject.built(str(total_steps), total_steps=total_steps)
    return made


def is_finite_and_not_negative(subject: Subject) -> None:
    """At every step it yields a finite number, 0 or more, and somewhere in the run more than 0."""
    for total_steps in _LENGTHS:
        factor = _factors(subject, total_steps)
        values = [factor(step) for step in range(total_steps)]
        for step, value in enumerate(values):
            number = isinstance(value, int | float) and math.isfinite(value) and value >= 0
            require(number, f"at step {step} of {total_steps} it is {value!r}")
        require(any(values), f"it is 0 in all of {total_steps} steps")


def is_a_pure_function(subject: Subject) -> None:
    """A step's factor depends on the step alone: not on what was asked before, nor on chance."""
    for total_steps in _LENGTHS:
        factor = _factors(subject, total_steps)
        forwards = [factor(step) for step in range(total_steps)]
        backwards = [factor(step) for step in reversed(range(total_steps))][::-1]
        anew = subject.create(total_steps=total_steps)
        middle = total_steps // 2
        same = forwards == backwards and anew(middle) == forwards[middle]
        require(same, f"asked in another order, a run of {total_steps} steps has other factors")


SCHEDULE = (*COMPONENT, builds, is_finite_and_not_negative, is_a_pure_function)
