"""The built-in schedules: exact at both ends, and the formula in between."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from math import cos, pi
from typing import Any

import pytest

from birdplane_builtin.schedules import constant, cosine, one_cycle

SCHEDULES: list[Callable[..., Callable[[int], float]]] = [constant, one_cycle, cosine]
SHARES = [0.0, 0.1, 0.5, 1.0]


def factors(schedule: Callable[..., Callable[[int], float]], total_steps: int, **options: Any) -> list[float]:
    factor = schedule(total_steps=total_steps, **options)
    return [factor(step) for step in range(total_steps)]


def test_constant_is_one() -> None:
    assert factors(constant, 5) == [1.0] * 5


def test_a_warm_up_climbs_in_a_line_and_loses_no_step_at_0() -> None:
    assert factors(constant, 10, warmup=0.4) == [0.25, 0.5, 0.75, 1.0, 1, 1, 1, 1, 1, 1]
    assert factors(cosine, 10, warmup=0.4)[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]


def test_one_cycle_is_a_triangle() -> None:
    made = factors(one_cycle, 9, start=0.2, peak=0.25, final=0.1)
    assert made == pytest.approx([0.2, 0.6, 1.0, 0.85, 0.7, 0.55, 0.4, 0.25, 0.1])


@pytest.mark.parametrize("total_steps", [2, 3, 10, 997])
@pytest.mark.parametrize(("start", "final"), [(0.0, 0.0), (0.3, 0.07), (1.0, 1.0)])
def test_one_cycle_begins_and_ends_exactly_as_asked(total_steps: int, start: float, final: float) -> None:
    made = factors(one_cycle, total_steps, start=start, peak=0.25, final=final)
    assert (made[0], made[-1]) == (start, final)


def test_one_cycle_may_have_its_peak_at_either_end() -> None:
    assert factors(one_cycle, 5, start=0.5, peak=0.0, final=0.0) == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert factors(one_cycle, 5, start=0.0, peak=1.0, final=0.5) == [0.0, 0.25, 0.5, 0.75, 1.0]


def test_cosine_is_half_a_cosine() -> None:
    made = factors(cosine, 9, final=0.2)
    assert made == pytest.approx([0.2 + 0.8 * (1 + cos(pi * step / 8)) / 2 for step in range(9)])


@pytest.mark.parametrize("total_steps", [2, 3, 10, 997])
@pytest.mark.parametrize("final", [0.0, 0.07, 1.0])
def test_cosine_begins_at_1_and_ends_exactly_as_asked(total_steps: int, final: float) -> None:
    made = factors(cosine, total_steps, final=final)
    assert (made[0], made[-1]) == (1.0, final)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_run_of_one_step_takes_it_at_the_full_rate(schedule: Callable[..., Any]) -> None:
    assert factors(schedule, 1) == [1.0]


@pytest.mark.parametrize("total_steps", [1, 2, 3, 7])
def test_no_choice_of_shares_leaves_0_to_1(total_steps: int) -> None:
    for a, b, c in itertools.product(SHARES, repeat=3):
        every = (
            factors(constant, total_steps, warmup=a)
            + factors(one_cycle, total_steps, start=a, peak=b, final=c)
            + factors(cosine, total_steps, warmup=a, final=b)
        )
        assert all(0 <= factor <= 1 for factor in every)
