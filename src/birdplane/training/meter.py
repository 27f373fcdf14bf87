"""What the steps amount to: losses, right answers, time. Nothing is read from the device before a summary is due."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class Sums:
    """Sums over the samples of the epoch so far, in the order of the steps, so that they too resume exactly."""

    loss: float = 0.0
    correct: int = 0
    count: int = 0
    seconds: float = 0.0


@dataclass
class _Window:
    """The steps since the losses were last read. They stay on the device until then."""

    losses: list[Tensor] = field(default_factory=list)
    correct: list[Tensor] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    # Looked up when it is called: whoever draws the pictures of the pages sets another clock.
    began: float = field(default_factory=lambda: time.perf_counter())
    waited: float = 0.0


@dataclass
class Untold:
    """The steps that no progress has told of yet. Epochs may be shorter than the time between two."""

    losses: list[float] = field(default_factory=list)
    correct: int = 0
    samples: int = 0
    seconds: float = 0.0
    waited: float = 0.0

    @property
    def mean(self) -> float:
        return math.fsum(self.losses) / len(self.losses)


class Meter:
    """Measures the steps of a training.

    Attributes:
        sums: of the epoch so far, as far as it was read.
        untold: what was read since `take`.
    """

    def __init__(self) -> None:
        self.sums = Sums()
        self.untold = Untold()
        self._window = _Window()

    @property
    def began(self) -> float:
        """Since when steps are timed, as `time.perf_counter` has it."""
        return self._window.began

    def begin(self) -> None:
        """Time the steps from now on: what came since the last `read` was no step."""
        self._window = _Window()

    def add(self, loss: Tensor, correct: Tensor, size: int, waited: float) -> None:
        """Note a step: its mean loss and right answers, left on the device, its samples, and the wait for them."""
        self._window.losses.append(loss)
        self._window.correct.append(correct)
        self._window.sizes.append(size)
        self._window.waited += waited

    def read(self) -> list[float]:
        """Fetch the losses since the last time from the device, and return them; time begins anew."""
        window, untold, sums = self._window, self.untold, self.sums
        if not window.losses:
            return []
        losses: list[float] = torch.stack(window.losses).tolist()
        correct = torch.stack(window.correct).tolist()
        seconds = max(time.perf_counter() - window.began, 1e-9)
        for loss, right, size in zip(losses, correct, window.sizes, strict=True):
            sums.loss += loss * size
            sums.correct += right
            sums.count += size
        sums.seconds += seconds
        untold.losses += losses
        untold.correct += sum(correct)
        untold.samples += sum(window.sizes)
        untold.seconds += seconds
        untold.waited += window.waited
        self._window = _Window()
        return losses

    def take(self) -> Untold:
        """Return what a progress has to tell, which is told then."""
        untold, self.untold = self.untold, Untold()
        return untold
