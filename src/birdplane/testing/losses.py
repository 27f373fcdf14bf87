"""Checks of losses: on random outputs of each sort that they accept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from birdplane.components import Output
from birdplane.testing.checking import CheckSkipped, Subject, require
from birdplane.testing.describing import COMPONENT
from birdplane.testing.devices import accelerator

_COUNT = 12  # outputs in a batch, an even number
_TO = {
    Output.LOGITS: lambda logits_NK: logits_NK,
    Output.LOG_PROBABILITIES: lambda logits_NK: logits_NK.log_softmax(1),
    Output.PROBABILITIES: lambda logits_NK: logits_NK.softmax(1),
}


def _batches(subject: Subject) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield what it accepts, in words, with outputs_NK that can be learned from and labels_N."""
    for sort in subject.record.accepts:
        for classes in (2, 7):
            generator = torch.Generator().manual_seed(classes)
            logits_NK = 3 * torch.randn(_COUNT, classes, generator=generator)
            labels_N = torch.randint(classes, (_COUNT,), generator=generator)
            yield f"of {sort} of {classes} classes", _TO[sort](logits_NK).requires_grad_(), labels_N


def _value(subject: Subject, outputs_NK: Tensor, labels_N: Tensor) -> Any:
    return subject.built()(outputs_NK, labels_N)


def _sound(subject: Subject, outputs_NK: Tensor, labels_N: Tensor) -> Tensor:
    """Return its number; for checks of more than that it is one."""
    try:
        value = _value(subject, outputs_NK, labels_N)
        good = isinstance(value, Tensor) and value.ndim == 0 and bool(value.isfinite())
    except CheckSkipped:
        raise
    except Exception as error:
        raise CheckSkipped(_NO_NUMBER) from error
    if not good:
        raise CheckSkipped(_NO_NUMBER)
    number: Tensor = value
    return number


_NO_NUMBER = "it yields no finite number: see the check yields-a-finite-number"


def builds(subject: Subject) -> None:
    """It can be built with its defaults, and is callable."""
    loss = subject.kept("built ", subject.create)
    require(callable(loss), f"its target returned a {type(loss).__name__}, which cannot be called")


def yields_a_finite_number(subject: Subject) -> None:
    """On each sort of outputs that it accepts it yields a tensor of one finite number."""
    for words, outputs_NK, labels_N in _batches(subject):
        value = _value(subject, outputs_NK, labels_N)
        shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        require(shape == (), f"{words} it yields {shape}, not a tensor of one number")
        require(bool(value.isfinite()), f"{words} it yields {value.item()}")


def has_a_finite_gradient(subject: Subject) -> None:
    """Its gradient reaches the outputs, is finite, and is not zero throughout."""
    for words, outputs_NK, labels_N in _batches(subject):
        value = _sound(subject, outputs_NK, labels_N)
        require(value.requires_grad, f"{words} it has no gradient")
        (gradient,) = torch.autograd.grad(value, outputs_NK, allow_unused=True)
        require(gradient is not None, f"{words} its gradient does not reach the outputs")
        require(bool(gradient.isfinite().all()), f"{words} its gradient is not finite")
        require(bool(gradient.any()), f"{words} its gradient is zero")


def is_the_mean_over_the_batch(subject: Subject) -> None:
    """The loss of a batch is the mean of the losses of its halves: the batch's size does not weigh."""
    for words, outputs_NK, labels_N in _batches(subject):
        whole = float(_sound(subject, outputs_NK, labels_N).detach())
        halves = zip(outputs_NK.chunk(2), labels_N.chunk(2), strict=True)
        values = [float(_sound(subject, *half).detach()) for half in halves]
        mean = sum(values) / 2
        close = abs(whole - mean) <= 1e-4 * max(1.0, abs(mean))
        require(close, f"{words} it is {whole:.6g}, and the mean over the halves {mean:.6g}")


def runs_on_the_gpu(subject: Subject) -> None:
    """On the GPU it yields about the number that it yields on the processor."""
    device = accelerator()
    for words, outputs_NK, labels_N in _batches(subject):
        here = float(_sound(subject, outputs_NK, labels_N).detach())
        there = float(_value(subject, outputs_NK.detach().to(device), labels_N.to(device)))
        require(abs(here - there) <= 1e-3 * max(1.0, abs(here)), f"{words} it is {there:.6g}, not {here:.6g}")


LOSS = (
    *COMPONENT,
    builds,
    yields_a_finite_number,
    has_a_finite_gradient,
    is_the_mean_over_the_batch,
    runs_on_the_gpu,
)
