"""The losses. Each target returns a function of (outputs_NK, labels_N) to the mean over the batch, a scalar.

All compute in float32 at least, whatever the outputs' type.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge, Lt
from typing_extensions import Doc

if TYPE_CHECKING:
    from torch import Tensor

    Criterion = Callable[[Tensor, Tensor], Tensor]


def nll() -> Criterion:
    """Minus the log-probability of the right class: -mean(log_probabilities[i, label_i])."""
    from torch.nn import functional

    def negative_log_likelihood(log_probabilities_NK: Tensor, labels_N: Tensor) -> Tensor:
        return functional.nll_loss(_widened(log_probabilities_NK), labels_N)

    return negative_log_likelihood


def cross_entropy(
    *,
    label_smoothing: Annotated[
        float, Ge(0), Lt(1), Doc("The share of the target that is spread evenly over all classes.")
    ] = 0.0,
) -> Criterion:
    """log-softmax and `nll` in one, from logits; smoothed as in Szegedy et al. (2015, section 7)."""
    from torch.nn import functional

    def log_softmax_and_nll(logits_NK: Tensor, labels_N: Tensor) -> Tensor:
        return functional.cross_entropy(_widened(logits_NK), labels_N, label_smoothing=label_smoothing)

    return log_softmax_and_nll


def mse() -> Criterion:
    """The squared distance of the probabilities from 1 for the right class and 0 for the others.

    Averaged over samples and classes alike, as torch's `MSELoss` does: with K classes it is 1/K of the
    squared length of a sample's error.
    """
    import torch
    from torch.nn import functional

    def mean_squared_error(probabilities_NK: Tensor, labels_N: Tensor) -> Tensor:
        probabilities_NK = _widened(probabilities_NK)
        target_NK = torch.zeros_like(probabilities_NK).scatter_(1, labels_N[:, None], 1.0)
        return functional.mse_loss(probabilities_NK, target_NK)

    return mean_squared_error


def _widened(outputs: Tensor) -> Tensor:
    """Return outputs of half precision as float32, and others as they are."""
    return outputs.float() if outputs.dtype.itemsize < 4 else outputs
