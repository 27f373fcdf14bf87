"""Order and randomness are functions of the seed and the position alone."""

from __future__ import annotations

import hashlib
import struct

import torch
from torch import Tensor

#: Which part of a batch, from 0, of how many.
Share = tuple[int, int]
WHOLE: Share = (0, 1)


def mix(*parts: int) -> int:
    """Return a seed, 0 to 2**63 - 1, that depends on every one of the non-negative integers."""
    digest = hashlib.blake2b(struct.pack(f"<{len(parts)}Q", *parts), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def permutation(seed: int, epoch: int, count: int) -> Tensor:
    """Return the order in which an epoch visits `count` pictures: int64, on the CPU."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(mix(seed, epoch)))


def share_of(count: int, share: Share) -> slice:
    """Return which of `count` pictures are a share: as many as the others', or one more; the first has most."""
    number, of = share
    return slice(-(-number * count // of), -(-(number + 1) * count // of))
