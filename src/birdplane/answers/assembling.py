"""Answers about a pipeline as a whole: does it fit, what would a step be, are its pictures here."""

from __future__ import annotations

import math
import time
from dataclasses import asdict
from typing import Any

import torch

from birdplane import rehearsal
from birdplane.answers.desk import Desk
from birdplane.assembly import Assembly, available_devices, pick_device, usable_precision
from birdplane.data import Splits
from birdplane.errors import BirdplaneError
from birdplane.optimization import Optimization, Position
from birdplane.pipeline import Pipeline

_MEASURED = 256  # pictures on which transforms measure for a step that teaches nothing


def warm(desk: Desk) -> dict[str, Any]:
    """Nothing but torch's version: asked while a person looks around, so that the first real answer is quick."""
    return {"torch": str(torch.__version__)}


def devices(desk: Desk) -> dict[str, Any]:
    """The devices of this machine, the fastest first."""
    return {"devices": available_devices()}


def rehearse(desk: Desk, *, document: dict[str, Any], source: str = "draft") -> dict[str, Any]:
    """What a pipeline would do: `birdplane.rehearsal.Rehearsal` as a dict, with `memory.total`."""
    pipeline = Pipeline(document, source)
    pipeline.require_sound()
    found = rehearsal.rehearse(pipeline, desk.splits(pipeline))
    return {**asdict(found), "memory": {**asdict(found.memory), "total": found.memory.total}}


def dry_step(desk: Desk, *, document: dict[str, Any], source: str = "draft") -> dict[str, Any]:
    """One batch as the first one in training: `loss`, `gradient_norm`, `milliseconds` of a whole step,
    `batch_size`, `learning_rate`, `finite`, `device`. Nothing is kept."""
    pipeline = Pipeline(document, source)
    pipeline.require_sound()
    # Compiling takes minutes, and says nothing about whether the parts fit.
    pipeline = pipeline.override(["training.compile=false"])
    splits = desk.splits(pipeline)
    assembly, batch = _built(desk, pipeline, splits)
    assembly.model.train()
    loss, norm = _gradient(assembly, batch)
    steps = pipeline.training.epochs * -(-len(splits.train) // pipeline.training.batch_size)
    optimization = Optimization(assembly, steps)
    milliseconds = (
        min(_timed(optimization, assembly, batch) for _ in range(2)) if math.isfinite(loss) else None
    )
    return {
        "loss": loss,
        "gradient_norm": norm,
        "milliseconds": milliseconds,
        "batch_size": len(batch[1]),
        "learning_rate": optimization.learning_rate,
        "finite": math.isfinite(loss) and math.isfinite(norm),
        "device": str(assembly.device),
        "precision": assembly.precision,
    }


def _built(
    desk: Desk, pipeline: Pipeline, splits: Splits
) -> tuple[Assembly, tuple[torch.Tensor, torch.Tensor]]:
    device = pick_device(pipeline.training.device)
    precision, _ = usable_precision(pipeline.training.precision, device)
    assembly = Assembly(pipeline, splits.classes, device, precision)
    count = min(max(_MEASURED, pipeline.training.batch_size), len(splits.train))
    few = splits.train.part(torch.arange(count))
    assembly.build_chain(few, desk.known_measures(pipeline))
    desk.pulse()
    batch = next(assembly.batches(few, training=True).epoch())
    assembly.build_model(tuple(batch[0].shape[1:]))  # type: ignore[arg-type]
    assembly.check_shapes(batch)
    return assembly, batch


def _gradient(assembly: Assembly, batch: tuple[torch.Tensor, torch.Tensor]) -> tuple[float, float]:
    """Return the loss of a batch and the length of its gradient over all parameters."""
    images, labels = batch
    loss = assembly.loss(assembly.outputs(images), labels)
    if not loss.requires_grad:
        raise BirdplaneError("loss: it has no gradient: nothing can be learned from it")
    loss.backward()  # type: ignore[no-untyped-call]
    gradients = [parameter.grad for parameter in assembly.model.parameters() if parameter.grad is not None]
    norms = [gradient.detach().float().norm() for gradient in gradients]
    norm = torch.stack(norms).norm().item() if norms else 0.0
    assembly.model.zero_grad(set_to_none=True)
    return loss.item(), norm


def _timed(optimization: Optimization, assembly: Assembly, batch: tuple[torch.Tensor, torch.Tensor]) -> float:
    began = time.perf_counter()
    loss, _ = optimization.step(*batch, Position())
    loss.item()  # waits for the device
    return 1000 * (time.perf_counter() - began)


def fetch(desk: Desk, *, document: dict[str, Any], source: str = "draft") -> dict[str, Any]:
    """Bring the pictures here, with progress, and say how many there are."""
    splits = desk.splits(desk.looking_at(document, source), fetch=True)
    return {"train_pictures": len(splits.train), "validation_pictures": len(splits.validation)}
