"""One step of learning: gradient, optimizer, schedule, a guard against losses that are not finite, and averaging."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from birdplane import checkpoint
from birdplane.assembly import Assembly, created
from birdplane.data import mix
from birdplane.distributed import Team, communicating
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
        team: the processes that learn together.
        sample: a small batch, for a team to try a step with.

    Raises:
        BirdplaneError: the model has nothing to learn.
    """

    def __init__(
        self,
        assembly: Assembly,
        total_steps: int,
        team: Team | None = None,
        sample: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        pipeline, settings = assembly.pipeline, assembly.pipeline.training
        self._assembly = assembly
        self._team = team or Team()
        self._seed = pipeline.seed
        optimizer, schedule = pipeline.choice("optimizer"), pipeline.choice("schedule")
        groups = _groups(assembly.model, pipeline.source, settings.decay_norm_and_bias)
        self.optimizer: torch.optim.Optimizer = created(
            pipeline, "optimizer", optimizer, "optimizer", params=groups
        )
        self._factor = created(pipeline, "schedule", schedule, "schedule", total_steps=total_steps)
        self._rates = [float(group["lr"]) for group in self.optimizer.param_groups]
        self._guard = Guard(self.optimizer, assembly.device)
        forward = torch.compile(assembly.model) if settings.compile else assembly.model
        self._forward = self._team.wrapped(assembly.model, forward, functools.partial(self._try_step, sample))
        self._average = Average(assembly.model, settings.average) if settings.average else None

    @property
    def learning_rate(self) -> float:
        """That of the last step, of the first parameter group."""
        return float(self.optimizer.param_groups[0]["lr"])

    def _try_step(self, sample: tuple[Tensor, Tensor] | None, forward: Callable[..., Any]) -> bool:
        """Take the gradient of a small batch and forget it; return whether every parameter had one."""
        assert sample is not None
        model = self._assembly.model
        buffers = [buffer.clone() for buffer in model.buffers()]
        model.train()
        _seed_global(self._seed, self._assembly.device)
        images_NCHW, labels_N = sample
        self._assembly.loss(self._assembly.outputs(images_NCHW, forward), labels_N).backward()  # type: ignore[no-untyped-call]
        whole = all(parameter.grad is not None for parameter in model.parameters() if parameter.requires_grad)
        model.zero_grad(set_to_none=True)
        with torch.no_grad():
            for buffer, before in zip(model.buffers(), buffers, strict=True):
                buffer.copy_(before)
        return whole

    def step(
        self, images_NCHW: Tensor, labels_N: Tensor, position: Position, whole: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Learn from a batch; return its mean loss and its number of right answers, left on the device.

        Of a batch of `whole` pictures a team's processes have a share each; they learn the same, and return what
        is so of the whole batch.

        Raises:
            NotFinite: the loss is; where it stays on the device, `check` tells.
            LostRank: another process of the team is gone.
        """
        team, count = self._team, len(labels_N)
        whole = count if whole is None else whole
        own = () if team.size == 1 else team.share  # dropout differs between shares
        _seed_global(mix(self._seed, position.epoch, position.epoch_step, *own), self._assembly.device)
        factor = self._factor(position.step)
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor
        if not count:  # all must take part: with blank pictures, which count for nothing
            images_NCHW, labels_N = images_NCHW.new_zeros(2, *images_NCHW.shape[1:]), labels_N.new_zeros(2)
        with communicating():
            outputs_NK = self._assembly.outputs(images_NCHW, self._forward)
            own_loss = self._assembly.loss(outputs_NK, labels_N)
            right = (outputs_NK.detach().argmax(dim=1) == labels_N).sum()
            loss, correct = team.totals(own_loss.detach(), right, count, whole)
            self._guard.look(loss, position)
            weight = team.weight(count, whole)
            (own_loss if weight == 1 else own_loss * weight).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self._average is not None:
            self._average.update()
        return loss, correct

    def try_batch(self, images_NCHW: Tensor, labels_N: Tensor) -> None:
        """Take a step that changes no weight, to see whether there is memory for it; raise what it raises.

        The optimizer's state is another afterwards: this is for a training that is over.
        """
        model = self._assembly.model
        buffers = [buffer.clone() for buffer in model.buffers()]
        rates, self._rates = self._rates, [0.0] * len(self._rates)
        average, self._average = self._average, None
        model.train()
        self.optimizer.zero_grad(set_to_none=True)
        try:
            self.step(images_NCHW, labels_N, Position())
        finally:
            self.optimizer.zero_grad(set_to_none=True)
            self._rates, self._average = rates, average
            with torch.no_grad():
                for buffer, before in zip(model.buffers(), buffers, strict=True):
                    buffer.copy_(before)

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
