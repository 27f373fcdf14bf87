"""One step of learning: gradient, optimizer, schedule, a guard against losses that are not finite, and averaging."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from birdplane import checkpoint
from birdplane.assembly import Assembly, created
from birdplane.data import mix
from birdplane.errors import BirdplaneError


@dataclass
class Position:
    """The next step: `step` counts from the run's start, `epoch` from 0, `epoch_step` within the epoch."""

    epoch: int = 0
    epoch_step: int = 0
    step: int = 0

    def advance(self) -> None:
        self.step += 1
        self.epoch_step += 1


class NotFinite(BirdplaneError):  # noqa: N818 - it reads as what it is
    """The loss of a step was not a number or infinite. The weights are those before that step."""

    def __init__(self, value: float, step: int, epoch: int) -> None:
        super().__init__(
            f"the loss is {value} at step {step + 1} (epoch {epoch + 1}); the weights are those before that step: "
            "try a lower optimizer.lr, or normalize the pictures"
        )


class Optimization:
    """The learning side of an assembly: its optimizer, schedule and moving average.

    Args:
        assembly: with its model built.
        total_steps: of the whole run, for the schedule.

    Raises:
        BirdplaneError: the model has nothing to learn.
    """

    def __init__(self, assembly: Assembly, total_steps: int) -> None:
        pipeline, settings = assembly.pipeline, assembly.pipeline.training
        self._assembly = assembly
        self._seed = pipeline.seed
        optimizer, schedule = pipeline.choice("optimizer"), pipeline.choice("schedule")
        groups = _groups(assembly.model, pipeline.source, settings.decay_norm_and_bias)
        self.optimizer: torch.optim.Optimizer = created(
            pipeline, "optimizer", optimizer, "optimizer", params=groups
        )
        self._factor = created(pipeline, "schedule", schedule, "schedule", total_steps=total_steps)
        self._rates = [float(group["lr"]) for group in self.optimizer.param_groups]
        self._guard = Guard(self.optimizer, assembly.device)
        self._average = Average(assembly.model, settings.average) if settings.average else None
        self._forward = torch.compile(assembly.model) if settings.compile else assembly.model

    @property
    def learning_rate(self) -> float:
        """That of the last step, of the first parameter group."""
        return float(self.optimizer.param_groups[0]["lr"])

    def step(self, images_NCHW: Tensor, labels_N: Tensor, position: Position) -> tuple[Tensor, Tensor]:
        """Learn from a batch; return its mean loss and its number of right answers, left on the device.

        Raises:
            NotFinite: the loss is; where it stays on the device, `check` tells.
        """
        _seed_global(mix(self._seed, position.epoch, position.epoch_step), self._assembly.device)
        factor = self._factor(position.step)
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor
        outputs_NK = self._assembly.outputs(images_NCHW, self._forward)
        loss = self._assembly.loss(outputs_NK, labels_N)
        self._guard.look(loss, position)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self._average is not None:
            self._average.update()
        return loss.detach(), (outputs_NK.detach().argmax(dim=1) == labels_N).sum()

    def check(self, losses: list[float], position: Position) -> None:
        """Raise `NotFinite` for the first of the latest losses, up to `position`, that was not finite."""
        for number, value in enumerate(losses, position.step - len(losses)):
            if not math.isfinite(value):
                raise NotFinite(value, number, position.epoch)

    # The weights that validate, and what a checkpoint keeps.

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """The weights that validate: the averaged ones, where there are such."""
        return self._average.weights if self._average is not None else self._assembly.model.state_dict()

    @contextmanager
    def validating(self) -> Iterator[None]:
        """Give the model the weights that validate inside the block."""
        if self._average is None:
            yield
            return
        live = self._assembly.model.state_dict()
        own = {name: tensor.detach().clone() for name, tensor in live.items()}
        checkpoint.load_tensors(live, self._average.weights)
        try:
            yield
        finally:
            checkpoint.load_tensors(live, own)

    def state(self) -> tuple[dict[str, Mapping[str, Tensor]], Any]:
        """Return the groups of tensors and the rest of a checkpoint."""
        tensors, rest = checkpoint.optimizer_state(self.optimizer)
        groups: dict[str, Mapping[str, Tensor]] = {
            "model": self._assembly.model.state_dict(),
            "optimizer": tensors,
        }
        if self._average is not None:
            groups["average"] = self._average.weights
        return groups, rest

    def restore(self, groups: Mapping[str, Mapping[str, Tensor]], rest: Any) -> None:
        """Take up what `state` returned, bit by bit.

        Raises:
            BirdplaneError: it is of another model or optimizer.
        """
        checkpoint.load_tensors(self._assembly.model.state_dict(), groups["model"])
        checkpoint.load_optimizer_state(self.optimizer, groups["optimizer"], rest)
        if self._average is not None:
            checkpoint.load_tensors(self._average.weights, groups["average"], "average")


def _seed_global(seed: int, device: torch.device) -> None:
    """Seed what dropout and the like draw from. (`torch.manual_seed` seeks out every kind of device each time.)"""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


def _groups(model: nn.Module, source: str, decay_all: bool) -> list[dict[str, Any]]:
    """Return the parameter groups; without `decay_all`, biases and normalization weights are not decayed."""
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not learned:
        raise BirdplaneError(f"{source}: model: it has no parameters to learn")
    if decay_all:
        return [{"params": learned}]
    matrices = [parameter for parameter in learned if parameter.ndim > 1]
    vectors = [parameter for parameter in learned if parameter.ndim <= 1]
    groups: list[dict[str, Any]] = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


class Guard:
    """Sees to it that a loss that is not finite never reaches the weights.

    On the CPU a look costs nothing. On a GPU it would wait for the device at every step, so there the fused
    optimizers are told by a flag on the device to leave the weights alone, from that step on; the losses are
    read with the next summary. Optimizers without such a flag are waited for.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, device: torch.device, waits: bool | None = None
    ) -> None:
        if waits is None:
            waits = device.type != "cuda" or not all(group.get("fused") for group in optimizer.param_groups)
        self._bad: Tensor | None = None
        if not waits:
            self._bad = torch.zeros((), device=device)
            optimizer.found_inf = self._bad  # type: ignore[attr-defined]

    def look(self, loss: Tensor, position: Position) -> None:
        """Look at a loss before its gradient is taken."""
        if self._bad is not None:
            self._bad.copy_(torch.maximum(self._bad, (~loss.detach().isfinite()).float()))
        elif not math.isfinite(value := loss.item()):
            raise NotFinite(value, position.step, position.epoch)


class Average:
    """An exponential moving average of a model's weights and buffers: a <- decay * a + (1 - decay) * w a step."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._live = model.state_dict()
        self._decay = decay
        self.weights = {name: tensor.detach().clone() for name, tensor in self._live.items()}
        floating = [name for name, tensor in self._live.items() if tensor.is_floating_point()]
        self._averaged = [self.weights[name] for name in floating]
        self._sources = [self._live[name] for name in floating]
        self._counted = [name for name in self._live if name not in set(floating)]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights after a step."""
        torch._foreach_lerp_(self._averaged, self._sources, 1 - self._decay)
        for name in self._counted:
            self.weights[name].copy_(self._live[name])
