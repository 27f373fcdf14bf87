"""How much memory a training takes: of its process, and of its GPU."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch

#: Between two looks of a `Gauge`.
_SECONDS = 1.0


@dataclass(frozen=True)
class Footprint:
    """Bytes, or None where it is not known or there is no GPU.

    `memory` is what the process has of the machine's, `gpu_allocated` what its tensors take of the GPU's, and
    `gpu_reserved` what it keeps there for them, which nothing else can have.
    """

    memory: int | None = None
    gpu_allocated: int | None = None
    gpu_reserved: int | None = None


def footprint(device: torch.device | None = None) -> Footprint:
    """Return the footprint of this process, with that on `device` where it is a CUDA device. Never raises, never
    waits for the GPU."""
    import psutil

    try:
        memory = int(psutil.Process().memory_info().rss)
    except (psutil.Error, OSError):
        memory = None
    if device is None or device.type != "cuda" or not torch.cuda.is_available():
        return Footprint(memory)
    return Footprint(memory, torch.cuda.memory_allocated(device), torch.cuda.memory_reserved(device))


class Gauge:
    """The footprint of this process, measured anew once a second: it changes slowly, and a look costs some ten
    microseconds."""

    def __init__(self) -> None:
        self._last = Footprint()
        self._at = -math.inf

    def __call__(self, device: torch.device | None) -> Footprint:
        now = time.monotonic()
        if now - self._at >= _SECONDS:
            self._last, self._at = footprint(device), now
        return self._last
