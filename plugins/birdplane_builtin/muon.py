"""Muon: each step of a convolution's weights is made orthogonal, so that none of its directions lags behind.

From Keller Jordan's Muon (kellerjordan.github.io/posts/muon) as KellerJordan/cifar10-airbench uses it.
torch's own `torch.optim.Muon` takes matrices only, and leaves all other parameters to a second optimizer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

_QUINTIC = (
    3.4445,
    -4.7750,
    2.0315,
)  # a polynomial that takes singular values of 0.003 to 1 close to 1 quickly


class Muon(Optimizer):
    """Muon for convolutions, stochastic gradient descent for all else, with Nesterov's momentum.

    Each group of parameters that comes is divided in two by that; both have `momentum`.

    Args:
        params: parameters, or groups of them, which may have settings of their own.
        lr: for convolutions; about the share of the weights that a step replaces, the weights being near 1.
        other_lr: for all other parameters.
        momentum: share of the last step that goes into the next.
        weight_decay: share of each weight, times the learning rate, that is taken off each step.
        iterations: of Newton and Schulz's method; more make a step more nearly orthogonal.
    """

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: float = 0.2,
        other_lr: float = 0.1,
        momentum: float = 0.6,
        weight_decay: float = 0.0,
        iterations: int = 3,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "iterations": iterations}
        items = [*params]
        groups = items if items and isinstance(items[0], dict) else [{"params": items}]
        halves: list[dict[str, Any]] = []
        for group in groups:
            tensors = [group["params"]] if isinstance(group["params"], Tensor) else [*group["params"]]
            filters = [tensor for tensor in tensors if tensor.ndim == 4]
            others = [tensor for tensor in tensors if tensor.ndim != 4]
            halves.append({**group, "params": filters, "orthogonal": True})
            halves.append({"lr": other_lr, **group, "params": others, "orthogonal": False})
        super().__init__([half for half in halves if half["params"]], defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._move(weight, weight.grad, group)
        return loss

    def _move(self, weight: Tensor, slope: Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        velocity = state["momentum"].mul_(group["momentum"]).add_(slope)
        change = slope.add(velocity, alpha=group["momentum"])
        if group["orthogonal"]:
            change = orthogonal(change.flatten(1), group["iterations"]).view_as(weight)
        weight.mul_(1 - group["lr"] * group["weight_decay"]).sub_(change, alpha=group["lr"])


def orthogonal(matrix_MN: Tensor, iterations: int) -> Tensor:
    """Return about the nearest orthogonal matrix, in bfloat16's precision: U V' of a matrix U S V'.

    Newton and Schulz's method, with coefficients that rather reach 0.7 to 1.2 soon than 1 in the end.
    """
    a, b, c = _QUINTIC
    tall = matrix_MN.shape[0] > matrix_MN.shape[1]
    wide = (matrix_MN.T if tall else matrix_MN).bfloat16()
    wide = wide / (wide.norm() + 1e-7)
    for _ in range(iterations):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return (wide.T if tall else wide).to(matrix_MN.dtype)
