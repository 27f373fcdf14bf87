"""Answers about changed pictures: how right a run's model still is on them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from birdplane.answers.desk import Desk
from birdplane.answers.judging import opened, pictures_of
from birdplane.probing import Probe
from birdplane.probing.measuring import probe as measured


def probe(
    desk: Desk, *, run: str, fill: str = "edge", reach: int = 8, step: int = 2, pictures: int = 1000
) -> dict[str, Any]:
    """How right a run's best weights are on validation pictures that were moved, mirrored, made darker or noisy.

    `reach` is less where the pictures are no larger.

    Returns:
        a `birdplane.probing.Probe` as a dict, with `unmoved`.
    """
    model, key = opened(desk, run)
    validation = pictures_of(desk, model, "validation")
    most = min(reach, *(side - 1 for side in validation.shape[1:]))

    def made() -> Probe:
        return measured(
            model, run, reach=most, step=step, fill=fill, pictures=pictures, validation=validation
        )

    found: Probe = desk.answers.get((*key, "probe", fill, most, step, pictures), made)
    return {**asdict(found), "unmoved": found.unmoved}
