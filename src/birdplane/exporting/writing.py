"""A run's model written as a torch.export program or as ONNX, once its predictions were found to be the run's."""

from __future__ import annotations

import contextlib
import io
import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from birdplane import availability, durable
from birdplane.assembly import build_splits
from birdplane.data import Step
from birdplane.errors import BirdplaneError
from birdplane.exporting import (
    EXTRA_FILE,
    IMAGES,
    PROBABILITIES,
    PROPERTY,
    Facts,
    Format,
    Input,
    require_onnx,
)
from birdplane.exporting.using import of_onnx, of_program, remember
from birdplane.inspection import TrainedModel, Which
from birdplane.runs import Run

#: How many pictures the file is checked on.
CHECKED = 100
#: The largest difference of a probability at which a file is written. Sums in another order differ by some 1e-7.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Written:
    """What was written; `difference` is the largest of a probability, over `pictures` pictures of `checked_on`."""

    file: Path
    format: Format
    bytes: int
    facts: Facts
    difference: float
    pictures: int
    checked_on: str


class _Whole(nn.Module):
    """From stored pictures to probabilities: the transforms without the random ones, the model, the output layer."""

    def __init__(self, trained: TrainedModel, given: Input) -> None:
        super().__init__()
        assembly = trained.assembly
        self.model = assembly.model.to(memory_format=torch.contiguous_format)
        self._steps = [step.apply for step in _fixed(assembly.chain.steps)]
        self._layer, self._to_probabilities = assembly.layer, assembly.probabilities
        self._scaled = given == "float32"

    def forward(self, images: Tensor) -> Tensor:
        if self._scaled:
            images = (images * 255).round().clamp(0, 255).to(torch.uint8)
        for apply in self._steps:
            images = apply(images)
        probabilities: Tensor = self._to_probabilities(
            self._layer(self.model(images.to(torch.float32)).float())
        )
        return probabilities


class _Prefix(nn.Module):
    """The first transforms alone, to find the one that cannot be traced."""

    def __init__(self, steps: Sequence[Step]) -> None:
        super().__init__()
        self._steps = steps

    def forward(self, images: Tensor) -> Tensor:
        for step in self._steps:
            images = step.apply(images)
        return images


def export(run: Run, format: Format, file: Path, which: Which = "best", given: Input = "uint8") -> Written:
    """Write a run's model to `file`: whole, or not at all; what was there is replaced.

    It computes in float32 on the CPU, whatever the run was trained in, and takes batches of any size.

    Args:
        run: with a whole checkpoint.
        format: of the file.
        file: in a folder that there is.
        which: the weights that validated best, or the newest.
        given: how pictures are given: `uint8` from 0 to 255 as the dataset has them, or `float32` from 0 to 1.

    Raises:
        BirdplaneError: the run has no checkpoint, one of its parts cannot be inside a file, the file's
            probabilities are not the run's, or it cannot be written.
    """
    if format == "onnx":
        require_onnx()
    trained, reference = _in_float32(run, which), _in_float32(run, which)
    for step in _fixed(trained.assembly.chain.steps):
        if step.per_sample:
            raise BirdplaneError(
                f"run {run.name!r} cannot be exported: {step.key} works picture by picture, in Python, and only "
                "what torch computes can be inside a file"
            )
    shape: tuple[int, int, int] = tuple(trained.state["stored_shape"])
    facts = Facts(run.name, trained.classes, shape, given)
    program = _traced(run, trained, given, shape)
    data = _onnx(program, facts) if format == "onnx" else _program(program, facts)
    pictures, checked_on = _pictures(reference, shape)
    used = of_onnx(data, file) if format == "onnx" else of_program(data, file)
    difference = _difference(used.probabilities, reference, pictures)
    if not difference <= TOLERANCE:
        raise BirdplaneError(
            f"run {run.name!r} is not exported: the file's probabilities differ from the run's by up to "
            f"{difference:.2g}, and {TOLERANCE:g} is allowed; a part of it does not compute the same when traced"
        )
    try:
        durable.replace_file(file, data)
    except OSError as error:
        raise durable.trouble(error, "write", file) from error
    if format == "torch":
        with contextlib.suppress(BirdplaneError):  # only `predict` would want to know it again
            remember(data)
    return Written(file, format, len(data), facts, difference, len(pictures), checked_on)


def _in_float32(run: Run, which: Which) -> TrainedModel:
    trained = TrainedModel(run, which, "cpu")
    trained.assembly.precision = "float32"
    return trained


def _fixed(steps: Sequence[Step]) -> list[Step]:
    return [step for step in steps if not step.random]


# Tracing.


def _traced(run: Run, trained: TrainedModel, given: Input, shape: tuple[int, int, int]) -> Any:
    """Return the whole way as a torch.export program for batches of any size.

    Raises:
        BirdplaneError: it cannot be traced, with the first part that is to blame.
    """
    images = torch.zeros((2, *shape), dtype=torch.uint8)
    if given == "float32":
        images = images.to(torch.float32)
    try:
        program = _export(_Whole(trained, given).eval(), images)
    except Exception as error:  # a tracer raises whatever a part of anybody's makes it raise
        part = _untraceable(trained, torch.zeros((2, *shape), dtype=torch.uint8))
        reason = str(error).strip().split("\n")[0][:300]
        raise BirdplaneError(
            f"run {run.name!r} cannot be exported: {part} cannot be traced for batches of any size: "
            f"{type(error).__name__}: {reason}"
        ) from error
    program.example_inputs = None
    for module in program.graph_module.modules():
        for node in module.graph.nodes if hasattr(module, "graph") else ():
            node.meta.pop("stack_trace", None)  # the paths of this machine
    return program


def _export(module: nn.Module, images: Tensor) -> Any:
    batch = torch.export.Dim("batch", min=1)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        return torch.export.export(module, (images,), dynamic_shapes=({0: batch},), strict=False)


def _untraceable(trained: TrainedModel, images: Tensor) -> str:
    assembly = trained.assembly
    assembly.build_chain(None, trained.state["fitted"])  # what was traced may have been kept by a transform
    steps = _fixed(assembly.chain.steps)
    for count, step in enumerate(steps, 1):
        try:
            _export(_Prefix(steps[:count]), images)
        except Exception:
            return step.key
    return f"the model {assembly.pipeline.choice('model').use!r}"


# Files.


def _program(program: Any, facts: Facts) -> bytes:
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={EXTRA_FILE: facts.to_json()})
    return buffer.getvalue()


def _onnx(program: Any, facts: Facts) -> bytes:
    import onnx

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            made = torch.onnx.export(
                program,
                (),
                dynamo=True,
                verbose=False,
                external_data=False,
                input_names=[IMAGES],
                output_names=[PROBABILITIES],
            )
        except Exception as error:
            reason = str(error).strip().split("\n")[0][:300]
            raise BirdplaneError(f"run {facts.run!r} cannot be written as ONNX: {reason}") from error
    assert made is not None
    model = made.model_proto
    _cleaned(model)
    for key, value in (
        ("classes", json.dumps(facts.classes, ensure_ascii=False)),
        (PROPERTY, facts.to_json()),
    ):
        model.metadata_props.add(key=key, value=value)
    try:
        onnx.checker.check_model(model)
        data: bytes = model.SerializeToString()
    except ValueError as error:  # protobuf holds no more than 2 GB
        raise BirdplaneError(f"run {facts.run!r} cannot be written as ONNX: {error}") from error
    return data


def _cleaned(model: Any) -> None:
    """Name the first axis `batch`, and take out what only tells where the source files stood."""
    graph = model.graph
    del graph.value_info[:]
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
        del value.metadata_props[:]
    for part in (model, graph, *graph.node, *graph.initializer, *model.functions):
        part.doc_string = ""
        del part.metadata_props[:]
    for function in model.functions:
        for node in function.node:
            node.doc_string = ""
            del node.metadata_props[:]


# The check.


def _pictures(reference: TrainedModel, shape: tuple[int, int, int]) -> tuple[Tensor, str]:
    """Return pictures to check with, uint8, and where they are from: noise where the run's are not at hand."""
    pipeline = reference.assembly.pipeline
    try:
        if availability.missing(pipeline) is None:
            validation = build_splits(pipeline).validation
            if validation.shape == shape:
                images, _ = validation.decode(range(min(CHECKED, len(validation))))
                return torch.from_numpy(images), "validation"
    except (BirdplaneError, OSError):
        pass
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (CHECKED, *shape), dtype=torch.uint8, generator=generator), "noise"


def _difference(
    probabilities: Callable[[Tensor], Tensor], reference: TrainedModel, pictures: Tensor
) -> float:
    """Return the largest difference of any probability; one picture alone is looked at as well as many at once."""
    expected = reference.probabilities(pictures)
    found = torch.cat(
        [probabilities(pictures[:1]), probabilities(pictures[1:])]
        if len(pictures) > 1
        else [probabilities(pictures)]
    )
    if found.shape != expected.shape:
        return float("nan")
    return float((found.double() - expected.double()).abs().max())
