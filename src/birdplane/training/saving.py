"""When a run saves a checkpoint, and that it is written after all that led there."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from birdplane import checkpoint
from birdplane.pipeline import Training
from birdplane.runs import Run

#: The most of a training's time that checkpoints by time may take.
_SHARE = 0.02


class Saving:
    """The checkpoints of one training.

    Attributes:
        step: that of the newest checkpoint, -1 before the first.
        seconds: how long it took.
    """

    def __init__(self, settings: Training) -> None:
        self.step = -1
        self.seconds = 0.0
        self._settings = settings
        self._last = time.perf_counter()

    def due_by_steps(self, step: int) -> bool:
        every = self._settings.checkpoint_steps
        return every is not None and step % every == 0 and step != self.step

    def due(self, step: int) -> bool:
        since = time.perf_counter() - self._last
        return self.due_by_steps(step) or since >= max(
            self._settings.checkpoint_seconds, self.seconds / _SHARE
        )

    def save(
        self, run: Run, step: int, tensors: Mapping[str, Mapping[str, Tensor]], state: dict[str, Any]
    ) -> Path:
        """Save a checkpoint; all but it and the one before go."""
        began = time.perf_counter()
        run.check_in_place()
        # What led here must be on the disk before a checkpoint says that it is past.
        run.sync()
        path = checkpoint.save(run.checkpoints, step, tensors=tensors, state=state)
        checkpoint.prune(run.checkpoints, keep=2)
        self.step = step
        self._last = time.perf_counter()
        self.seconds = self._last - began
        return path
