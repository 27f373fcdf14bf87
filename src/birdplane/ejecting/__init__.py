"""A pipeline as one plain PyTorch script, which trains to the same numbers."""

from __future__ import annotations

from birdplane.ejecting.known import known_of
from birdplane.ejecting.script import Script, eject

__all__ = ["Script", "eject", "known_of"]
