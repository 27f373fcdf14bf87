"""The accelerator that checks may use besides the processor."""

from __future__ import annotations

import torch

from birdplane.assembly import available_devices
from birdplane.testing.checking import skip


def accelerator() -> torch.device:
    """Return this machine's fastest device; skip where that is the processor."""
    name = available_devices()[0]
    if name == "cpu":
        skip("there is no GPU here")
    return torch.device(name)
