"""Pictures to batches: decoded once and kept on the device, or streamed; either way (seed, epoch, step) -> batch."""

from __future__ import annotations

from birdplane.data.batches import MIB, Batches, Layout
from birdplane.data.chain import Chain, Step
from birdplane.data.order import WHOLE, Share, mix, permutation, share_of
from birdplane.data.pictures import Pictures
from birdplane.data.splitting import Splits, split

__all__ = [
    "MIB",
    "WHOLE",
    "Batches",
    "Chain",
    "Layout",
    "Pictures",
    "Share",
    "Splits",
    "Step",
    "mix",
    "permutation",
    "share_of",
    "split",
]
