"""What to do about memory that ran out: how large a batch there is enough for is tried."""

from __future__ import annotations

import torch

from birdplane import failures
from birdplane.assembly import Assembly
from birdplane.data import Pictures
from birdplane.optimization import Optimization

_ELSEWHERE = "--set training.memory_limit=1 decodes pictures when they are needed, and keeps none"


def short_before_training(doing: str) -> str:
    """Say that memory ran out while something was prepared."""
    return f"out of memory while {doing}: try a smaller model or smaller pictures; {_ELSEWHERE}"


def short_in_a_team(step: int, size: int, processes: int) -> str:
    """Say that memory ran out in one of several processes, which cannot try a step alone."""
    return f"out of memory at step {step}: try --set training.batch_size={max(processes, size // 2)}"


def short_at_step(step: int, size: int, fits: int | None) -> str:
    """Say that memory ran out at a step with `size` pictures, and for how many there is enough."""
    when = f"out of memory at step {step}"
    if fits is None:
        return f"{when}, and for a single picture too: try a smaller model or smaller pictures; {_ELSEWHERE}"
    if fits == size:
        return f"{when}, though there is enough for a step with {size} pictures; {_ELSEWHERE}"
    return f"{when}: there is enough for batches of {fits}: try --set training.batch_size={fits}"


def largest_batch(assembly: Assembly, optimization: Optimization, train: Pictures, size: int) -> int | None:
    """Return the batch size, halved as often as need be, of which a step succeeds; None where none does.

    Weights are not touched, but the training is over: see `Optimization.try_batch`.
    """
    while size:
        try:
            optimization.try_batch(*_batch(assembly, train, size))
            return size
        except Exception as error:
            if not failures.ran_out_of_memory(error):
                return size
            failures.let_go(error)
        size //= 2
    return None


def _batch(assembly: Assembly, train: Pictures, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a batch of one picture `size` times, as it reaches the model in training."""
    images, labels = train.decode([0])
    one = assembly.chain(torch.from_numpy(images).to(assembly.device), (0, 0))
    batch = assembly.layout.finish(one.expand(size, *one.shape[1:]))
    return batch, torch.from_numpy(labels).to(assembly.device).expand(size)
