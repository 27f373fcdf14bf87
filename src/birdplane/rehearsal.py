"""What a pipeline would do, found out on a few pictures: shapes, sizes, memory. Nothing is trained or kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from birdplane.assembly import Assembly, build_splits, pick_device, usable_precision
from birdplane.data import MIB, Pictures, Splits
from birdplane.errors import BirdplaneError, UsageError, described
from birdplane.optimization import Optimization, Position
from birdplane.pipeline import Pipeline

_SAMPLE = 2  # pictures in the batch that is tried: batch norm and the like need more than one
_MEASURED = 256  # pictures on which transforms measure; how many has no effect on shapes


@dataclass(frozen=True)
class Stage:
    """What one step of the pipeline leaves of one picture: its shape, and what the numbers are."""

    key: str
    shape: tuple[int, ...]
    values: str


@dataclass(frozen=True)
class Layer:
    """What one layer of the model leaves of one picture."""

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int


@dataclass(frozen=True)
class Memory:
    """A rough estimate of what training holds at once, in bytes.

    `activations` are the outputs of the layers for a batch; `copies` are the best and the averaged weights.
    """

    pictures: int
    weights: int
    gradients: int
    optimizer: int
    copies: int
    activations: int

    @property
    def total(self) -> int:
        return self.pictures + self.weights + self.gradients + self.optimizer + self.copies + self.activations


@dataclass(frozen=True)
class Rehearsal:
    """What is known of a pipeline before it is trained."""

    classes: tuple[str, ...]
    train_pictures: int
    validation_pictures: int
    stages: tuple[Stage, ...]
    layers: tuple[Layer, ...]
    parameters: int
    memory: Memory
    device: str
    precision: str
    notes: tuple[str, ...]
    batch_size: int
    epochs: int
    steps_per_epoch: int
    resident: bool


def rehearse(pipeline: Pipeline, splits: Splits | None = None) -> Rehearsal:
    """Build a pipeline's parts and pass two pictures through them; `splits` are its own, where they are built.

    Raises:
        UsageError: it has problems, parts do not fit one another, or the device is not there.
        BirdplaneError: the data is missing or damaged.
    """
    pipeline.require_sound()
    # Compiling takes minutes, and says nothing about whether the parts fit.
    pipeline = pipeline.override(["training.compile=false"])
    with _misfits(pipeline):
        device = pick_device(pipeline.training.device)
    precision, excuse = usable_precision(pipeline.training.precision, device)
    splits = splits or build_splits(pipeline)
    with _misfits(pipeline):
        return _rehearse(pipeline, splits, device, precision, [excuse] if excuse else [])


def _rehearse(
    pipeline: Pipeline, splits: Splits, device: torch.device, precision: str, notes: list[str]
) -> Rehearsal:
    assembly = Assembly(pipeline, splits.classes, device, precision)
    assembly.build_chain(_first(splits.train, _MEASURED))
    stages = [Stage("dataset", splits.train.shape, "uint8")]
    batch, labels = _evaluated(assembly, splits.validation)
    trained, trained_labels = _trained(assembly, splits.train, stages)
    assembly.build_model(_shape(batch))
    with _watching(assembly.model) as watched:
        assembly.check_shapes((batch, labels))
    if trained.shape[1:] != batch.shape[1:]:
        notes.append(
            f"pictures are {shown(_shape(trained))} in training, with the random transforms, but "
            f"{shown(_shape(batch))} afterwards"
        )
        assembly.check_shapes((trained, trained_labels))
    train_batches = assembly.batches(splits.train, training=True)
    settings = pipeline.training
    if splits.skipped:
        notes.append(f"{len(splits.skipped)} pictures cannot be read and are left out")
    return Rehearsal(
        classes=assembly.classes,
        train_pictures=len(splits.train),
        validation_pictures=len(splits.validation),
        stages=(*stages, *_ends(assembly, pipeline)),
        layers=tuple(watched.layers),
        parameters=assembly.parameter_count(),
        memory=_memory(
            assembly, splits, (trained, trained_labels), watched.bytes_a_picture * settings.batch_size
        ),
        device=str(device),
        precision=precision,
        notes=tuple(notes),
        batch_size=settings.batch_size,
        epochs=settings.epochs,
        steps_per_epoch=train_batches.steps,
        resident=train_batches.resident,
    )


@contextmanager
def _misfits(pipeline: Pipeline) -> Iterator[None]:
    """Turn what is raised while parts are fitted to one another into a usage error that names the pipeline."""
    try:
        yield
    except BirdplaneError as error:
        source = f"{pipeline.source}: "
        message = str(error)
        raise UsageError(message if message.startswith(source) else source + message) from error


def _first(pictures: Pictures, count: int) -> Pictures:
    return pictures if len(pictures) <= count else pictures.part(torch.arange(count))


def _evaluated(assembly: Assembly, pictures: Pictures) -> tuple[Tensor, Tensor]:
    """Return a batch as it is in validation: without the random transforms."""
    return next(assembly.batches(_first(pictures, _SAMPLE)).epoch())


def _trained(assembly: Assembly, pictures: Pictures, stages: list[Stage]) -> tuple[Tensor, Tensor]:
    """Return a batch as it is in training, and note what each transform leaves."""
    raw, labels = pictures.decode(range(min(_SAMPLE, len(pictures))))
    images = torch.from_numpy(raw).to(assembly.device)
    for step, left in assembly.chain.trace(images, (0, 0)):
        stages.append(Stage(step.key, _shape(left), _dtype(left)))
        images = left
    return assembly.layout.finish(images), torch.from_numpy(labels).to(assembly.device)


def _ends(assembly: Assembly, pipeline: Pipeline) -> list[Stage]:
    """What leaves the model and its output layer; `check_shapes` has seen that it is one number a class."""
    model, layer = pipeline.choice("model").use, pipeline.output_layer
    record = pipeline.catalog["model"].get(model)
    count = (len(assembly.classes),)
    return [
        Stage(f"model ({model})", count, str(record.output)),  # type: ignore[attr-defined]
        Stage(f"output ({layer})", count, str(pipeline.leaves())),
    ]


class _Watched:
    """What the layers of a model have left of the batch that went through it."""

    def __init__(self) -> None:
        self.layers: list[Layer] = []
        self.bytes_a_picture = 0

    def note(self, name: str, layer: nn.Module, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim:
            parameters = sum(parameter.numel() for parameter in layer.parameters())
            self.layers.append(Layer(name, type(layer).__name__, tuple(output.shape[1:]), parameters))
            self.bytes_a_picture += output.nbytes // max(1, len(output))


@contextmanager
def _watching(model: nn.Module) -> Iterator[_Watched]:
    watched = _Watched()
    hooks = []
    for name, layer in model.named_modules():
        if not any(layer.children()):
            hooks.append(
                layer.register_forward_hook(lambda la, _, output, name=name: watched.note(name, la, output))
            )
    try:
        yield watched
    finally:
        for hook in hooks:
            hook.remove()


def _memory(assembly: Assembly, splits: Splits, batch: tuple[Tensor, Tensor], activations: int) -> Memory:
    parameters = list(assembly.model.parameters())
    learned = [parameter for parameter in parameters if parameter.requires_grad]
    weights = sum(tensor.nbytes for tensor in assembly.model.state_dict().values())
    copies = 2 if assembly.pipeline.training.average else 1
    return Memory(
        pictures=sum(_kept(assembly, pictures) for pictures in (splits.train, splits.validation)),
        weights=weights,
        gradients=sum(parameter.nbytes for parameter in learned),
        optimizer=_optimizer_state(assembly, batch),
        copies=copies * weights,
        activations=activations,
    )


def _kept(assembly: Assembly, pictures: Pictures) -> int:
    """Return the bytes that a split takes on the device: as stored, and as the fixed transforms leave it."""
    limit = assembly.pipeline.training.memory_limit * MIB
    if pictures.nbytes > limit:
        return 0
    if assembly.chain.fixed == 0:
        return pictures.nbytes
    raw = torch.from_numpy(pictures.decode([0])[0]).to(assembly.device)
    prepared = assembly.layout.finish(assembly.chain.prepare(raw)).nbytes * len(pictures)
    return pictures.nbytes + (prepared if prepared <= 4 * limit else 0)


def _optimizer_state(assembly: Assembly, batch: tuple[Tensor, Tensor]) -> int:
    """Take a step, which is thrown away, and return the bytes that the optimizer keeps after it."""
    cuda = [assembly.device] if assembly.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=cuda):
            optimization = Optimization(assembly, total_steps=1)
            assembly.model.train()
            optimization.step(*batch, Position())
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as error:
        raise UsageError(f"training: a step fails: {described(error)}") from error
    states = (value for state in optimization.optimizer.state.values() for value in state.values())
    return sum(value.nbytes for value in states if isinstance(value, Tensor))


def _shape(images_NCHW: Tensor) -> tuple[int, int, int]:
    _, channels, height, width = images_NCHW.shape
    return channels, height, width


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def shown(shape: tuple[int, ...]) -> str:
    """Return a shape as people write it: `3 x 32 x 32`."""
    return " x ".join(map(str, shape))
