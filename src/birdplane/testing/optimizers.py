"""Checks of optimizers: on a net of a convolution and a linear layer, and a few random pictures."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from birdplane import checkpoint
from birdplane.testing.checking import CheckSkipped, Subject, require
from birdplane.testing.describing import COMPONENT
from birdplane.testing.devices import accelerator

_STEPS = 30


class _Task:
    """A net, an optimizer over it, and pictures to learn by heart."""

    def __init__(self, subject: Subject, device: torch.device | str = "cpu") -> None:
        generator = torch.Generator().manual_seed(0)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            layers = nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 2)
            self.net = nn.Sequential(*layers).to(device)
        self._images = torch.randn(32, 3, 8, 8, generator=generator).to(device)
        self._labels = torch.randint(2, (32,), generator=generator).to(device)
        parameters = list(self.net.parameters())
        # As training without decay of biases groups them.
        matrices = {"params": [p for p in parameters if p.ndim > 1]}
        vectors = {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0}
        self.optimizer: Any = subject.create(params=[matrices, vectors])

    def loss(self) -> Tensor:
        return functional.cross_entropy(self.net(self._images), self._labels)

    def steps(self, count: int) -> None:
        for _ in range(count):
            self.optimizer.zero_grad(set_to_none=True)
            self.loss().backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()

    def weights(self) -> list[Tensor]:
        return [parameter.detach().clone() for parameter in self.net.parameters()]


def _task(subject: Subject, device: torch.device | str = "cpu") -> _Task:
    """Return a task to work on; for checks of what an optimizer does once it is built."""
    try:
        task = _Task(subject, device)
        task.steps(1)
    except CheckSkipped:
        raise
    except Exception as error:
        raise CheckSkipped("it takes no step: see the checks builds and lowers-a-loss") from error
    return task


def builds(subject: Subject) -> None:
    """It can be built with its defaults over parameter groups: a torch.optim.Optimizer whose groups have an `lr`."""
    optimizer = _Task(subject).optimizer
    good = isinstance(optimizer, torch.optim.Optimizer)
    require(good, f"its target returned a {type(optimizer).__name__}, not a torch.optim.Optimizer")
    require(all("lr" in group for group in optimizer.param_groups), "a parameter group has no lr")
    held = sum(p.numel() for group in optimizer.param_groups for p in group["params"])
    given = sum(p.numel() for p in _Task(subject).net.parameters())
    require(held == given, f"it holds {held} numbers of the {given} that it was given")


def lowers_a_loss(subject: Subject) -> None:
    """In thirty steps it lowers the loss of a small net, by the gradient alone."""
    task = _Task(subject)
    before = float(task.loss().detach())
    task.steps(_STEPS)
    after = float(task.loss().detach())
    require(math.isfinite(after) and after < before, f"the loss was {before:.4g}, and is {after:.4g}")


def obeys_the_learning_rate(subject: Subject) -> None:
    """Where its groups' `lr` is 0, as a schedule may have it, the weights stay."""
    task = _task(subject)
    for group in task.optimizer.param_groups:
        group["lr"] = 0.0
    before = task.weights()
    task.steps(1)
    same = all(torch.equal(one, other) for one, other in zip(before, task.weights(), strict=True))
    require(same, "with an lr of 0 the weights change")


def state_can_be_kept(subject: Subject) -> None:
    """Its `state_dict()` is of tensors and plain values: numbers, texts, lists, dicts."""
    task = _task(subject)
    checkpoint.optimizer_state(task.optimizer)


def goes_on_from_its_state(subject: Subject) -> None:
    """Stopped, built anew with its state and gone on, it comes to the very same weights."""
    straight, stopped, anew = _task(subject), _task(subject), _Task(subject)
    straight.steps(5)
    stopped.steps(2)
    checkpoint.load_tensors(anew.net.state_dict(), stopped.net.state_dict())
    try:
        tensors, rest = checkpoint.optimizer_state(stopped.optimizer)
    except TypeError as error:
        raise CheckSkipped("its state cannot be kept: see the check state-can-be-kept") from error
    kept = {name: tensor.clone() for name, tensor in tensors.items()}
    checkpoint.load_optimizer_state(anew.optimizer, kept, rest)
    anew.steps(3)
    same = all(torch.equal(a, b) for a, b in zip(straight.weights(), anew.weights(), strict=True))
    require(same, "gone on from its state it comes to other weights: something is kept elsewhere")


def runs_on_the_gpu(subject: Subject) -> None:
    """On the GPU too it lowers the loss of a small net."""
    task = _Task(subject, accelerator())
    before = float(task.loss().detach())
    task.steps(_STEPS)
    after = float(task.loss().detach())
    require(after < before, f"the loss was {before:.4g}, and is {after:.4g}")


OPTIMIZER = (
    *COMPONENT,
    builds,
    lowers_a_loss,
    obeys_the_learning_rate,
    state_can_be_kept,
    goes_on_from_its_state,
    runs_on_the_gpu,
)
