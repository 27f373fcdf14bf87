"""What a run knows besides its pipeline: what its transforms measured, and the precision that it computed in."""

from __future__ import annotations

from typing import Any

from birdplane import checkpoint
from birdplane.runs import Run


def known_of(run: Run) -> tuple[dict[str, dict[str, Any]] | None, str | None]:
    """Return both, as `eject` takes them; None where the run has no whole checkpoint."""
    saved, _ = checkpoint.newest(run.checkpoints, checkpoint.OF_A_TRAINING)
    if saved is None:
        return None, None
    return saved.state["fitted"], saved.state["environment"].get("precision")
