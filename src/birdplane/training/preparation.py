"""Everything that a training takes is built, and tried, before its first step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from birdplane.assembly import Assembly, build_splits, environment, usable_precision
from birdplane.data import Batches, Pictures, Splits
from birdplane.distributed import Team
from birdplane.optimization import Optimization
from birdplane.pipeline import Pipeline
from birdplane.runs import FORMAT

#: How many pictures a model sees that wants to see some before the first step.
_CALIBRATED_ON = 2000


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What a training begins with.

    Attributes:
        assembly: the parts that turn pictures into a loss.
        splits: the pictures; `train` and `validation` give them as batches.
        input_shape: (channels, height, width) as they reach the model.
        excuse: why the precision is not the one that was asked for; empty where it is.
    """

    assembly: Assembly
    splits: Splits
    train: Batches
    validation: Batches
    input_shape: tuple[int, int, int]
    optimization: Optimization
    excuse: str

    def facts(self, processes: int) -> dict[str, Any]:
        """Return the facts of a `Start` event."""
        return {
            "format": FORMAT,
            **environment(self.assembly.device),
            "processes": processes,
            "precision": self.assembly.precision,
            "classes": list(self.assembly.classes),
            "input_shape": list(self.input_shape),
            "train_pictures": len(self.splits.train),
            "validation_pictures": len(self.splits.validation),
            "parameters": self.assembly.parameter_count(),
            "resident": self.train.resident,
            "origins": self.assembly.pipeline.origins(),
        }


def prepare(
    pipeline: Pipeline,
    device: torch.device,
    team: Team,
    fitted: dict[str, dict[str, Any]] | None,
    doing: Callable[[str], None],
) -> Prepared:
    """Build all parts.

    Args:
        pipeline: without problems.
        device: where this process trains.
        team: the processes that train together.
        fitted: what transforms measured, of a training that goes on; None for one that begins.
        doing: told in a phrase what is prepared.

    Raises:
        BirdplaneError: the data is missing or damaged, or parts do not fit.
    """
    precision, excuse = team.agreed(usable_precision(pipeline.training.precision, device))
    doing("opening the pictures")
    with team.one_first():
        splits = build_splits(pipeline)
    assembly = Assembly(pipeline, splits.classes, device, precision)
    doing("fitting the transforms")
    _build_chain(assembly, splits.train, fitted, team)
    sample = next(assembly.batches(splits.validation, batch_size=2).epoch())
    input_shape: tuple[int, int, int] = tuple(sample[0].shape[1:])  # type: ignore[assignment]
    doing("building the model")
    assembly.build_model(input_shape)
    assembly.check_shapes(sample)
    train = assembly.batches(splits.train, training=True)
    if fitted is None:
        _calibrate(assembly.model, train)
    return Prepared(
        assembly=assembly,
        splits=splits,
        train=train,
        validation=assembly.batches(splits.validation),
        input_shape=input_shape,
        optimization=Optimization(assembly, pipeline.training.epochs * train.steps, team, sample),
        excuse=excuse,
    )


def _build_chain(
    assembly: Assembly, train: Pictures, fitted: dict[str, dict[str, Any]] | None, team: Team
) -> None:
    """Build the transforms; what those that measure find is the leader's, and taken as given by the others."""
    if team.leads:
        assembly.build_chain(train, fitted)
    measured = team.agreed(assembly.fitted)
    if not team.leads:
        assembly.build_chain(train, measured)


def _calibrate(model: nn.Module, train: Batches) -> None:
    """Let a model that wants to see pictures before the first step see some: those of a first epoch."""
    calibrate = getattr(model, "calibrate", None)
    if calibrate is None:
        return
    seen: list[Tensor] = []
    for images, _ in train.epoch(0):
        seen.append(images)
        if sum(map(len, seen)) >= _CALIBRATED_ON:
            break
    calibrate(torch.cat(seen).float())
