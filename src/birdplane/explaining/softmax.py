"""The logarithm of a softmax, in float32, three ways, as a wrong class's score grows: where numbers are lost.

by hand      log(exp(x) / sum(exp(x)))
softmax      torch.log(torch.softmax(x)), which takes the largest score away before exp
log-softmax  torch.log_softmax(x), which never takes the logarithm of a small number
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

#: The wrong class's scores that are shown; the right one has 0.
SCORES = (1.0, 10.0, 50.0, 80.0, 88.0, 89.0, 100.0, 104.0, 110.0, 1000.0)
_MOST = 1000.0
_ToLog = Callable[[Tensor], Tensor]

WAYS: dict[str, _ToLog] = {
    "by-hand": lambda x: torch.log(torch.exp(x) / torch.exp(x).sum(dim=1, keepdim=True)),
    "softmax": lambda x: torch.log(torch.softmax(x, dim=1)),
    "log-softmax": lambda x: torch.log_softmax(x, dim=1),
}


@dataclass(frozen=True)
class LogProbability:
    """The right class's log-probability, and the slope of minus it against its own score.

    Either may be `inf` or `nan`; the slope should be -1 where the net is badly wrong.
    """

    value: float
    slope: float


@dataclass(frozen=True)
class Row:
    """One score of the wrong class: the true log-probability of the right one (float64), and each way's."""

    score: float
    true: float
    found: dict[str, LogProbability]


@dataclass(frozen=True)
class Break:
    """The lowest scores at which a way's value, and its slope, are not finite; None: not up to 1,000."""

    value: float | None
    slope: float | None


@dataclass(frozen=True)
class SoftmaxExperiment:
    """`rows` by growing score, and where each way breaks."""

    rows: tuple[Row, ...]
    breaks: dict[str, Break]


def explain() -> SoftmaxExperiment:
    """Compute the three ways at `SCORES`, and find where each breaks."""
    rows = tuple(
        Row(
            score,
            -math.log1p(math.exp(-score)) - score,
            {name: _found(way, score) for name, way in WAYS.items()},
        )
        for score in SCORES
    )
    return SoftmaxExperiment(rows, {name: _break(way) for name, way in WAYS.items()})


def _found(way: _ToLog, score: float) -> LogProbability:
    x_NK = torch.tensor([[0.0, score]], dtype=torch.float32, requires_grad=True)
    value = way(x_NK)[0, 0]
    (slopes_NK,) = torch.autograd.grad(-value, x_NK)
    return LogProbability(value.item(), slopes_NK[0, 0].item())


def _break(way: _ToLog) -> Break:
    return Break(
        value=_lowest(lambda score: math.isfinite(_found(way, score).value)),
        slope=_lowest(lambda score: math.isfinite(_found(way, score).slope)),
    )


def _lowest(holds: Callable[[float], bool]) -> float | None:
    """Return the lowest score, to a hundredth, at which something holds no more; it never holds again above."""
    if holds(_MOST):
        return None
    low, high = 0.0, _MOST
    while high - low > 0.005:
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return round(high, 2)
