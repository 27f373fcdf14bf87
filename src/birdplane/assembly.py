"""A pipeline's parts, built and fitted to one another: what training, evaluation and prediction share."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from birdplane.components import Transform
from birdplane.data import MIB, Batches, Chain, Layout, Pictures, Splits, Step, split
from birdplane.errors import BirdplaneError, UsageError, described, message_of
from birdplane.pipeline import Choice, Pipeline

_LAYERS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda outputs_NK: outputs_NK,
    "log-softmax": lambda outputs_NK: torch.log_softmax(outputs_NK, dim=1),
    "softmax": lambda outputs_NK: torch.softmax(outputs_NK, dim=1),
}
_TO_PROBABILITIES: dict[str, Callable[[Tensor], Tensor]] = {
    "logits": lambda outputs_NK: torch.softmax(outputs_NK, dim=1),
    "log-probabilities": torch.exp,
    "probabilities": lambda outputs_NK: outputs_NK,
}


def pick_device(name: str) -> torch.device:
    """Return the device of a name; `auto` takes CUDA, then MPS, then the CPU.

    Raises:
        UsageError: it is not a device of torch's, or not one of this machine.
    """
    there = available_devices()
    if name == "auto":
        return torch.device(there[0])
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(
            f"training.device: {name!r} is no device (here: auto, {', '.join(there)})"
        ) from error
    if str(device) not in there and device.type not in there:
        raise UsageError(f"training.device: {name!r} is not there (here: auto, {', '.join(there)})")
    return device


def available_devices() -> list[str]:
    """Return the names of this machine's devices, the fastest first."""
    cuda = [f"cuda:{i}" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return [*cuda, *mps, "cpu"]


def bfloat16_pays(device: torch.device) -> bool:
    """Tell whether the device is about as quick or quicker in bfloat16: CPUs without it are up to 40 times slower."""
    if device.type != "cpu":
        return device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)
    narrow, wide = _seconds_of_products()
    return narrow < 1.5 * wide


def _seconds_of_products() -> tuple[float, float]:
    """Return how long a product of matrices takes in bfloat16 and in float32, at best, on one processor.

    On one, and in turns: threads that wait for each other on a busy machine take a hundred times as long.
    """
    pairs = [
        (torch.ones(128, 512, dtype=dtype), torch.ones(512, 512, dtype=dtype))
        for dtype in (torch.bfloat16, torch.float32)
    ]
    best = [math.inf, math.inf]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(8):
            for which, (left, right) in enumerate(pairs):
                begin = time.perf_counter()
                left @ right
                best[which] = min(best[which], time.perf_counter() - begin)
    finally:
        torch.set_num_threads(threads)
    return best[0], best[1]


def build_splits(pipeline: Pipeline) -> Splits:
    """Build the dataset of a pipeline and divide it.

    Raises:
        BirdplaneError: the data is missing, damaged, or does not fit the parameters.
    """
    choice = pipeline.choice("dataset")
    registry = pipeline.catalog["dataset"]
    knows_split = "split" in registry.signature(choice.use).wants

    def make(**host: Any) -> Any:
        return created(pipeline, "dataset", choice, "dataset", **host)

    return split(make, knows_split, pipeline.seed, pipeline.training.holdout)


@contextmanager
def naming(source: str) -> Iterator[None]:
    """Put the pipeline's name in front of the errors for people that are raised inside, where it is not there."""
    try:
        yield
    except BirdplaneError as error:
        if not str(error).startswith(f"{source}: "):
            error.args = (f"{source}: {error}",)
        raise


def created(pipeline: Pipeline, kind: str, choice: Choice, key: str, **host: Any) -> Any:
    """Build one component; what its own code raises becomes one line with the key."""
    registry = pipeline.catalog[kind]
    try:
        return registry.create(choice.use, **choice.parameters, **host)
    except BirdplaneError as error:
        raise type(error)(f"{pipeline.source}: {key}: {error}") from error
    except Exception as error:
        where = f"{pipeline.source}: {key}: {kind} {choice.use!r} of {registry.lookup(choice.use).provenance}"
        raise BirdplaneError(f"{where} fails: {described(error)}") from error


class Assembly:
    """The parts of a pipeline that turn pictures into outputs and a loss.

    Args:
        pipeline: without problems.
        classes: the names of the labels.
        device: where everything lies.
        precision: `"float32"` or `"bfloat16"` (float32 weights under autocast).
    """

    def __init__(
        self, pipeline: Pipeline, classes: Sequence[str], device: torch.device, precision: str
    ) -> None:
        self.pipeline = pipeline
        self.classes = tuple(classes)
        self.device = device
        self.precision = precision
        #: What transforms measured, by their position in the chain.
        self.fitted: dict[str, dict[str, Any]] = {}
        self.chain = Chain([], pipeline.seed)
        self.model: nn.Module = nn.Identity()
        self.layer = _LAYERS[pipeline.output_layer]
        self.loss: Callable[[Tensor, Tensor], Tensor] = created(
            pipeline, "loss", pipeline.choice("loss"), "loss"
        )
        self._to_probabilities = _TO_PROBABILITIES[pipeline.leaves()]

    @property
    def layout(self) -> Layout:
        dtype = torch.bfloat16 if self.precision == "bfloat16" else torch.float32
        return Layout(self.device, dtype, self.pipeline.training.channels_last)

    def batches(
        self, pictures: Pictures, *, training: bool = False, batch_size: int | None = None
    ) -> Batches:
        """Return a split as this pipeline's batches; for evaluation they are large, in order, and not random."""
        settings = self.pipeline.training
        size = settings.batch_size if training else (batch_size or _evaluation_batch(pictures))
        return Batches(
            pictures,
            self.chain,
            self.layout,
            size,
            seed=self.pipeline.seed,
            training=training,
            drop_last=training and settings.drop_last,
            memory_limit=settings.memory_limit * MIB,
            workers=settings.workers,
        )

    # Building.

    def build_chain(self, train: Pictures | None, fitted: Mapping[str, dict[str, Any]] | None = None) -> None:
        """Build the transforms in their order; those that measure are given `train` as the ones before leave it.

        `fitted` holds what was measured already, in a run that goes on or is looked at.
        """
        steps: list[Step] = []
        for index, choice in enumerate(self.pipeline.transforms):
            known = (fitted or {}).get(str(index), {})
            transform = self._transform(index, Choice(choice.use, {**choice.parameters, **known}))
            if hasattr(transform, "fit") and not getattr(transform, "fitted", False) and train is not None:
                known = self._measured(index, choice, transform, Chain(steps, self.pipeline.seed), train)
                transform = self._transform(index, Choice(choice.use, {**choice.parameters, **known}))
            if known:
                self.fitted[str(index)] = known
            record = self.pipeline.catalog["transform"].get(choice.use)
            assert isinstance(record, Transform)
            steps.append(
                Step(f"transforms.{index} ({choice.use})", transform, record.random, record.per_sample)
            )
        self.chain = Chain(steps, self.pipeline.seed)

    def _transform(self, index: int, choice: Choice) -> Any:
        return created(self.pipeline, "transform", choice, f"transforms.{index}")

    def _measured(
        self, index: int, choice: Choice, transform: Any, before: Chain, train: Pictures
    ) -> dict[str, Any]:
        batches = Batches(
            train, before, Layout(self.device), 1000, memory_limit=self.pipeline.training.memory_limit * MIB
        )
        source = self.pipeline.source

        def transformed() -> Iterator[Tensor]:
            with naming(source):  # what is wrong with the pictures is not this transform's fault
                for images in batches.raw():
                    yield before(images)

        try:
            measured: dict[str, Any] = transform.fit(transformed())
        except BirdplaneError as error:
            if str(error).startswith(f"{source}: "):
                raise
            raise type(error)(f"{source}: transforms.{index} ({choice.use}): {error}") from error
        return measured

    def build_model(self, input_shape: tuple[int, int, int]) -> None:
        """Build the model for pictures of `input_shape` (channels, height, width); its weights follow the seed."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.pipeline.seed)
            model = created(
                self.pipeline,
                "model",
                self.pipeline.choice("model"),
                "model",
                input_shape=input_shape,
                num_classes=len(self.classes),
            )
        if not isinstance(model, nn.Module):
            raise BirdplaneError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
        memory = torch.channels_last if self.pipeline.training.channels_last else torch.preserve_format
        self.model = model.to(self.device, memory_format=memory)  # type: ignore[call-overload]

    # Using.

    def autocast(self) -> AbstractContextManager[Any]:
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def outputs(self, images_NCHW: Tensor, model: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Return what reaches the loss, in float32."""
        with self.autocast():
            outputs_NK = (model or self.model)(images_NCHW)
        return self.layer(outputs_NK.float())

    def probabilities(self, outputs_NK: Tensor) -> Tensor:
        """Turn what reaches the loss into probabilities that sum to 1 along `dim=1`."""
        return self._to_probabilities(outputs_NK)

    def check_shapes(self, batch: tuple[Tensor, Tensor]) -> None:
        """Run a small batch through the model and the loss, without keeping a trace of it in either.

        Raises:
            BirdplaneError: what came, what was expected, and at which step.
        """
        images, labels = batch
        name = self.pipeline.choice("model").use
        takes = f"{self.pipeline.source}: model: {name!r} is given pictures {tuple(images.shape[1:])}"
        if not images.is_floating_point():
            raise UsageError(
                f"{self.pipeline.source}: transforms: {str(images.dtype).removeprefix('torch.')} pictures reach the "
                'model, which needs floats (mend: use "to-tensor")'
            )
        was_training = self.model.training
        try:
            with torch.no_grad():
                outputs = self.outputs(images, self.model.eval())
        except BirdplaneError as error:
            raise type(error)(f"{self.pipeline.source}: model: {error}") from error
        except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as error:
            raise BirdplaneError(f"{takes} and fails: {message_of(error)}") from error
        finally:
            self.model.train(was_training)
        expected = (len(images), len(self.classes))
        if tuple(outputs.shape) != expected:
            raise BirdplaneError(
                f"{takes} and yields {tuple(outputs.shape)}: expected {expected}, one number for each of the "
                f"{len(self.classes)} classes"
            )
        self._check_loss(outputs, labels)

    def _check_loss(self, outputs: Tensor, labels: Tensor) -> None:
        high = int(labels.max())
        if high >= len(self.classes) or int(labels.min()) < 0:
            raise BirdplaneError(
                f"{self.pipeline.source}: dataset: a label is {high}, but there are {len(self.classes)} classes"
            )
        try:
            value = self.loss(outputs, labels)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            raise BirdplaneError(
                f"{self.pipeline.source}: loss: fails on outputs {tuple(outputs.shape)}: {message_of(error)}"
            ) from error
        if not isinstance(value, Tensor) or value.ndim != 0:
            came = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise BirdplaneError(
                f"{self.pipeline.source}: loss: yields {came}, expected a tensor of a single number, the mean"
            )

    def parameter_count(self) -> int:
        return sum(parameter.numel() for parameter in self.model.parameters())


def _evaluation_batch(pictures: Pictures) -> int:
    """As many pictures as keep the activations of a small net within the caches and memory: 512 of 32x32."""
    _, height, width = pictures.shape
    return max(1, min(512, 512 * 32 * 32 // (height * width)))


def usable_precision(asked: str, device: torch.device) -> tuple[str, str]:
    """Return the precision to compute in, and a sentence where it is not the one that was asked for."""
    if asked == "bfloat16" and not bfloat16_pays(device):
        return "float32", f"bfloat16 is slow on this {device.type.upper()}: computing in float32"
    return asked, ""


def environment(device: torch.device) -> dict[str, Any]:
    """Return what a run's exact numbers depend on besides its pipeline."""
    import birdplane

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {
        "birdplane": birdplane.__version__,
        "torch": str(torch.__version__),
        "device": str(device),
        "device_name": name,
        # Wider vectors add up in another order.
        "instructions": torch.backends.cpu.get_cpu_capability() if device.type == "cpu" else None,
        "threads": torch.get_num_threads() if device.type == "cpu" else None,
        "cpus": os.cpu_count(),
    }
