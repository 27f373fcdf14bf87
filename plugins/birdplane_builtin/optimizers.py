"""torch's optimizers, with the fused kernel wherever torch has one: one call a step, not one a parameter."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge, Gt, Lt
from typing_extensions import Doc

from birdplane import UsageError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import SGD, Adam, AdamW

    from birdplane_builtin.muon import Muon

Decay = Annotated[float, Ge(0)]
Beta = Annotated[float, Ge(0), Lt(1)]


def sgd(
    params: Iterable[Any],
    *,
    lr: Annotated[float, Gt(0), Doc("Learning rate: how far a step goes along the slope.")] = 0.01,
    momentum: Annotated[
        float, Ge(0), Lt(1), Doc("The share of the last step that goes into the next.")
    ] = 0.0,
    nesterov: Annotated[bool, Doc("Look ahead along the momentum; needs a momentum above 0.")] = False,
    weight_decay: Annotated[Decay, Doc("Pull of the weights towards 0, added to the slope.")] = 0.0,
) -> SGD:
    """Stochastic gradient descent.

    Raises:
        UsageError: `nesterov` without `momentum`.
    """
    from torch.optim import SGD

    if nesterov and momentum == 0:
        raise UsageError(
            "sgd: nesterov looks ahead along the momentum, which is 0; set momentum (0.9 is usual)"
        )
    groups = _held(params)
    return SGD(
        groups,
        lr=lr,
        momentum=momentum,
        nesterov=nesterov,
        weight_decay=weight_decay,
        fused=_has_fused_kernel(groups),
    )


def adam(
    params: Iterable[Any],
    *,
    lr: Annotated[float, Gt(0), Doc("Learning rate: about how far a step moves each weight.")] = 0.001,
    beta1: Annotated[Beta, Doc("How much of the running mean of the slope is kept each step.")] = 0.9,
    beta2: Annotated[
        Beta, Doc("How much of the running mean of the squared slope is kept each step.")
    ] = 0.999,
    eps: Annotated[float, Gt(0), Doc("Added to the divisor, for weights whose slope is almost 0.")] = 1e-8,
    weight_decay: Annotated[Decay, Doc("Pull of the weights towards 0, added to the slope.")] = 0.0,
) -> Adam:
    """Adam (Kingma and Ba, 2014): each weight at a pace of its own."""
    from torch.optim import Adam

    groups = _held(params)
    return Adam(
        groups,
        lr=lr,
        betas=(beta1, beta2),
        eps=eps,
        weight_decay=weight_decay,
        fused=_has_fused_kernel(groups),
    )


def adamw(
    params: Iterable[Any],
    *,
    lr: Annotated[float, Gt(0), Doc("Learning rate: about how far a step moves each weight.")] = 0.001,
    beta1: Annotated[Beta, Doc("How much of the running mean of the slope is kept each step.")] = 0.9,
    beta2: Annotated[
        Beta, Doc("How much of the running mean of the squared slope is kept each step.")
    ] = 0.999,
    eps: Annotated[float, Gt(0), Doc("Added to the divisor, for weights whose slope is almost 0.")] = 1e-8,
    weight_decay: Annotated[
        Decay, Doc("Share of each weight, times lr, that is taken off each step.")
    ] = 0.01,
) -> AdamW:
    """Adam with the weight decay apart from the slope (Loshchilov and Hutter, 2017)."""
    from torch.optim import AdamW

    groups = _held(params)
    return AdamW(
        groups,
        lr=lr,
        betas=(beta1, beta2),
        eps=eps,
        weight_decay=weight_decay,
        fused=_has_fused_kernel(groups),
    )


def muon(
    params: Iterable[Any],
    *,
    lr: Annotated[
        float, Gt(0), Doc("Of convolutions: about the share of their weights that a step replaces.")
    ] = 0.15,
    other_lr: Annotated[float, Gt(0), Doc("Learning rate of all other parameters.")] = 0.25,
    momentum: Annotated[
        float, Ge(0), Lt(1), Doc("The share of the last step that goes into the next.")
    ] = 0.6,
    weight_decay: Annotated[
        Decay, Doc("Pull of the weights towards 0, times the learning rate, apart from the slope.")
    ] = 0.0,
    iterations: Annotated[int, Ge(1), Doc("More make a step more nearly orthogonal, and cost time.")] = 3,
) -> Muon:
    """Muon for convolutions: steps made orthogonal. Gradient descent for all other parameters."""
    from birdplane_builtin.muon import Muon

    return Muon(
        params,
        lr=lr,
        other_lr=other_lr,
        momentum=momentum,
        weight_decay=weight_decay,
        iterations=iterations,
    )


def _held(params: Iterable[Any]) -> list[Any]:
    """Return the parameters or groups with every iterator made a list, since they are gone through twice."""
    return [
        {**item, "params": [*_each(item["params"])]} if isinstance(item, dict) else item for item in params
    ]


def _each(params: Any) -> Iterable[Any]:
    return [params] if hasattr(params, "dtype") else params


def _has_fused_kernel(groups: list[Any]) -> bool | None:
    """Return True where torch has one kernel for the whole step, else None: `foreach` where it pays."""
    return True if all(_fusible(tensor) for tensor in _tensors(groups)) else None


def _tensors(groups: list[Any]) -> Iterable[Tensor]:
    for item in groups:
        for param in item["params"] if isinstance(item, dict) else [item]:
            yield param[1] if isinstance(param, tuple) else param  # named_parameters() brings the name too


def _fusible(tensor: Tensor) -> bool:
    import torch

    if tensor.device.type == "mps":
        return tensor.dtype == torch.float32
    return tensor.device.type in ("cpu", "cuda") and tensor.is_floating_point()
