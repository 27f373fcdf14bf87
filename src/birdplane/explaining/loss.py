"""Loss and slope against the score of the right class: the squared error of probabilities beside cross-entropy.

There are two classes, and the wrong one's score is 0, so the right one has the probability
p = 1 / (1 + exp(-score)). Values and slopes are measured on birdplane's own losses, by autograd in float64, and stand
beside what they should be:

    squared error    (1 - p)^2    slope against the score  -2 p (1 - p)^2    against p  -2 (1 - p)
    cross-entropy    -log p       slope against the score  -(1 - p)          against p  -1 / p
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from birdplane.registry import losses

#: The chapter's example: what a badly wrong net gives the right class.
EXAMPLE = 0.001
_REACH, _POINTS = 10.0, 201


@dataclass(frozen=True)
class Slopes:
    """One loss at one place: its value, its slopes by autograd, and the slopes by the closed form."""

    loss: float
    by_score: float
    by_probability: float
    by_score_formula: float
    by_probability_formula: float


@dataclass(frozen=True)
class Place:
    """Both losses where the right class has this score (the other has 0), and so this probability."""

    score: float
    probability: float
    mse: Slopes
    cross_entropy: Slopes


@dataclass(frozen=True)
class LossExperiment:
    """`curve` from a score of -10 to 10; `example` at a probability of 0.001; `steepest` where the squared error is.

    `vanished` is the lowest score that was looked at, where cross-entropy is steepest: `ratio` says how many
    times as steep as the squared error it is there.
    """

    curve: tuple[Place, ...]
    example: Place
    steepest: Place
    vanished: Place

    @property
    def ratio(self) -> float:
        return self.vanished.cross_entropy.by_score / self.vanished.mse.by_score


def explain() -> LossExperiment:
    """Measure both losses along the scores, and at the chapter's example."""
    step = 2 * _REACH / (_POINTS - 1)
    curve = tuple(place(-_REACH + step * index) for index in range(_POINTS))
    return LossExperiment(
        curve=curve,
        example=place(math.log(EXAMPLE / (1 - EXAMPLE))),
        # -2 p (1 - p)^2 is least where p = 1/3.
        steepest=place(-math.log(2)),
        vanished=curve[0],
    )


def place(score: float) -> Place:
    """Measure both losses where the right class has a score and the wrong one has 0."""
    p = 1 / (1 + math.exp(-score))
    rest = 1 / (1 + math.exp(score))  # 1 - p, without losing digits where p is close to 1
    return Place(
        score=score,
        probability=p,
        mse=Slopes(
            loss=_value(score, "mse"),
            by_score=_slope_by_score(score, "mse"),
            by_probability=_slope_by_probability(p, "mse"),
            by_score_formula=-2 * p * rest * rest,
            by_probability_formula=-2 * rest,
        ),
        cross_entropy=Slopes(
            loss=_value(score, "cross-entropy"),
            by_score=_slope_by_score(score, "cross-entropy"),
            by_probability=_slope_by_probability(p, "cross-entropy"),
            by_score_formula=-rest,
            by_probability_formula=-1 / p,
        ),
    )


def _value(score: float, name: str) -> float:
    return _loss_of_score(torch.tensor(score, dtype=torch.float64), name).item()


def _slope_by_score(score: float, name: str) -> float:
    at = torch.tensor(score, dtype=torch.float64, requires_grad=True)
    return _slope(_loss_of_score(at, name), at)


def _slope_by_probability(p: float, name: str) -> float:
    at = torch.tensor(p, dtype=torch.float64, requires_grad=True)
    probabilities_NK = torch.stack([at, 1 - at])[None]
    if name == "mse":
        return _slope(_applied("mse", probabilities_NK), at)
    return _slope(_applied("nll", probabilities_NK.log()), at)


def _loss_of_score(score: Tensor, name: str) -> Tensor:
    scores_NK = torch.stack([score, torch.zeros_like(score)])[None]
    return _applied(name, torch.softmax(scores_NK, dim=1) if name == "mse" else scores_NK)


def _applied(name: str, outputs_NK: Tensor) -> Tensor:
    loss: Tensor = losses.create(name)(outputs_NK, torch.zeros(1, dtype=torch.int64))
    return loss


def _slope(value: Tensor, at: Tensor) -> float:
    (slope,) = torch.autograd.grad(value, at)
    return slope.item()
