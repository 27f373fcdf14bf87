"""A picture's way through a pipeline: from PIL through every transform and layer to a loss, step by step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from birdplane.assembly import Assembly, build_splits, pick_device, usable_precision
from birdplane.data import Pictures
from birdplane.pipeline import Pipeline

_MEASURED = 256  # pictures on which transforms measure here; shapes do not depend on how many


@dataclass(frozen=True)
class Stop:
    """What there is after one step.

    Attributes:
        kind: `dataset`, `transform`, `model`, `output` or `loss`.
        name: what the step is called: its component, or the layer's name in the model and its class.
        shape: of what it leaves; of a PIL picture (height, width, channels), of a batch with its leading 1.
        dtype: what the numbers are: `uint8`, `float32`, ...
        layout: what the dimensions mean: `H W C`, `N C H W`, `N K`, ...; in memory, too, where that differs.
        low, high: the least and the greatest number; None where there are none.
        parameters: learned by this step.
        random: whether it is left out of evaluation.
    """

    kind: str
    name: str
    shape: tuple[int, ...]
    dtype: str
    layout: str
    low: float | None
    high: float | None
    parameters: int = 0
    random: bool = False


@dataclass(frozen=True)
class ShapesExperiment:
    """The way of the first training picture, whose class is `label`, in evaluation but for the random transforms."""

    pipeline: str
    label: str
    stops: tuple[Stop, ...]


def explain(pipeline: Pipeline) -> ShapesExperiment:
    """Follow the first training picture through a pipeline whose weights are as they begin.

    Raises:
        UsageError: it has problems, or the device is not there.
        BirdplaneError: the pictures are missing or damaged, or parts do not fit one another.
    """
    pipeline = pipeline.override(["training.compile=false"])
    pipeline.require_sound()
    device = pick_device(pipeline.training.device)
    precision, _ = usable_precision(pipeline.training.precision, device)
    splits = build_splits(pipeline)
    assembly = Assembly(pipeline, splits.classes, device, precision)
    few = torch.arange(min(_MEASURED, len(splits.train)))
    assembly.build_chain(splits.train.part(few))
    raw, labels = splits.train.decode([0])
    images_NCHW = torch.from_numpy(raw).to(device)
    stops = [*_stored(splits.train, images_NCHW, pipeline)]
    for choice, (step, left) in zip(
        pipeline.transforms, assembly.chain.trace(images_NCHW, (0, 0)), strict=True
    ):
        stops.append(_stop("transform", choice.use, left, _pictures_layout(left), random=step.random))
        images_NCHW = left
    given = assembly.layout.finish(images_NCHW)
    assembly.build_model(tuple(given.shape[1:]))  # type: ignore[arg-type]
    assembly.model.eval()
    with torch.no_grad(), _noting(assembly.model, stops):
        outputs = assembly.outputs(given)
    stops.append(_stop("output", pipeline.output_layer, outputs, "N K"))
    shares = assembly.probabilities(outputs.detach())
    stops.append(_stop("output", "probabilities", shares, "N K"))
    with torch.no_grad():
        loss = assembly.loss(outputs, torch.from_numpy(labels).to(device))
    stops.append(_stop("loss", pipeline.choice("loss").use, loss, "one number"))
    return ShapesExperiment(pipeline.source, splits.classes[int(labels[0])], tuple(stops))


def _stored(pictures: Pictures, images_NCHW: Tensor, pipeline: Pipeline) -> Iterator[Stop]:
    """Yield the picture as the dataset gives it, and as it is kept."""
    picture, _ = pictures.item(0)
    name = pipeline.choice("dataset").use
    if hasattr(picture, "convert"):
        pixels = np.asarray(picture)
        words = f"{name}: a PIL picture, {picture.mode}"
        layout = "H W C" if pixels.ndim == 3 else "H W"
        low, high = float(pixels.min()), float(pixels.max())
        yield Stop("dataset", words, pixels.shape, str(pixels.dtype), layout, low, high)
    yield _stop("dataset", "a batch of one", images_NCHW, _pictures_layout(images_NCHW))


def _stop(
    kind: str, name: str, left: Tensor, layout: str, *, parameters: int = 0, random: bool = False
) -> Stop:
    low, high = _ends(left)
    dtype = str(left.dtype).removeprefix("torch.")
    return Stop(kind, name, tuple(left.shape), dtype, layout, low, high, parameters, random)


def _ends(left: Tensor) -> tuple[float | None, float | None]:
    if not left.numel() or left.is_complex():
        return None, None
    wide = left.detach().float()
    return wide.min().item(), wide.max().item()


def _pictures_layout(images_NCHW: Tensor) -> str:
    last = images_NCHW.is_contiguous(memory_format=torch.channels_last) and not images_NCHW.is_contiguous()
    return "N C H W, in memory N H W C" if last else "N C H W"


def _layout(left: Tensor) -> str:
    return {1: "N", 2: "N K", 4: ""}.get(left.ndim, "") or (
        _pictures_layout(left) if left.ndim == 4 else " ".join(["N", *["?"] * (left.ndim - 1)])
    )


@contextmanager
def _noting(model: nn.Module, stops: list[Stop]) -> Iterator[None]:
    """Note what each innermost layer leaves, in the order in which they are used.

    The parameters of a layer that is used again, as where a net looks at the mirror image as well, are told once.
    """
    used: set[str] = set()

    def note(name: str, layer: nn.Module, left: Any) -> None:
        if isinstance(left, Tensor) and left.ndim:
            again = name in used
            used.add(name)
            learned = 0 if again else sum(parameter.numel() for parameter in layer.parameters())
            words = f"{name} {type(layer).__name__}".strip() + (", again" if again else "")
            stops.append(_stop("model", words, left, _layout(left), parameters=learned))

    hooks = [
        layer.register_forward_hook(lambda la, _, left, name=name: note(name, la, left))
        for name, layer in model.named_modules()
        if not any(layer.children())
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
