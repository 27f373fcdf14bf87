"""From a pipeline to the text of a script: its parts as source, put into the places of one program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

import birdplane
from birdplane.assembly import Assembly, build_splits, pick_device, usable_precision
from birdplane.components import Transform
from birdplane.data import Splits
from birdplane.ejecting import program
from birdplane.ejecting.chain import chain_of
from birdplane.ejecting.imports import sorted_imports
from birdplane.ejecting.parts import Part, part_of
from birdplane.ejecting.pictures import foreign_load
from birdplane.pipeline import Choice, Pipeline

_PROMISE = "on a CPU, with as many threads, the very losses and weights"


@dataclass(frozen=True)
class Script:
    """A program, and the files that it reads, by their names beside it."""

    text: str
    files: Mapping[str, bytes]


def eject(
    pipeline: Pipeline,
    name: str,
    *,
    fitted: Mapping[str, dict[str, Any]] | None = None,
    precision: str | None = None,
) -> Script:
    """Write a pipeline as one plain PyTorch script.

    Run on a CPU with as many threads, it has the losses and weights of birdplane's own training, bit for bit.

    Args:
        pipeline: what to write.
        name: of the script, without its ending: files beside it are named by it.
        fitted: what a run's transforms have measured; left out, it is measured now.
        precision: that a run computed in; left out, the one that this machine would compute in.

    Raises:
        UsageError: the pipeline has problems.
        BirdplaneError: the data is not there, or a component can be neither written nor imported.
    """
    pipeline.require_sound()
    settings = pipeline.training
    device = pick_device(settings.device)
    precision = precision or usable_precision(settings.precision, device)[0]
    splits = build_splits(pipeline)
    assembly = Assembly(pipeline, splits.classes, torch.device("cpu"), precision)
    assembly.build_chain(splits.train, fitted)
    sample = next(assembly.batches(splits.validation, batch_size=2).epoch())
    assembly.build_model(_shape(sample[0]))
    assembly.check_shapes(sample)
    return _Writer(pipeline, name, splits, assembly, sample[0]).script()


def _shape(images_NCHW: torch.Tensor) -> tuple[int, int, int]:
    _, channels, height, width = images_NCHW.shape
    return channels, height, width


class _Writer:
    """The parts of one script, and what its program is told about them."""

    def __init__(
        self, pipeline: Pipeline, name: str, splits: Splits, assembly: Assembly, sample: torch.Tensor
    ) -> None:
        self._pipeline = pipeline
        self._splits = splits
        self._assembly = assembly
        settings = pipeline.training
        batches = assembly.batches(splits.train, training=True)
        self._steps = batches.steps
        shape = _shape(sample)
        classes = len(splits.classes)
        built = {"train": splits.train.dataset, "test": splits.validation.dataset}
        if settings.holdout:
            del built["test"]
        self._dataset = self._part("dataset", built=built, name=name, texts={"split": "split"})
        self._model = self._part(
            "model",
            input_shape=shape,
            num_classes=classes,
            texts={"input_shape": str(shape), "num_classes": str(classes)},
        )
        self._loss = self._part("loss")
        params = "model.parameters()" if settings.decay_norm_and_bias else "groups"
        self._optimizer = self._part(
            "optimizer",
            params=params,
            decay_norm_and_bias=settings.decay_norm_and_bias,
            model=assembly.model,
            texts={"params": params},
        )
        total = settings.epochs * self._steps
        self._schedule = self._part("schedule", total_steps=total, texts={"total_steps": "STEPS"})
        self._transforms = [self._transform(index) for index in range(len(pipeline.transforms))]

    def _part(self, kind: str, *, texts: Mapping[str, str] | None = None, **host: Any) -> Part:
        return part_of(self._pipeline, kind, kind, self._pipeline.choice(kind), host, texts)

    def _transform(self, index: int) -> Part:
        choice = self._pipeline.transforms[index]
        measured = self._assembly.fitted.get(str(index), {})
        whole = Choice(choice.use, {**choice.parameters, **measured})
        shape = _shape(self._before()[index])
        return part_of(self._pipeline, "transform", f"transforms.{index}", whole, {"input_shape": shape})

    def _before(self) -> list[torch.Tensor]:
        """Return a batch as each transform is given it."""
        images = torch.from_numpy(self._splits.train.decode([0])[0])
        return [images, *(after for _, after in self._assembly.chain.trace(images, (0, 0)))]

    def script(self) -> Script:
        pipeline, settings = self._pipeline, self._pipeline.training
        records = [pipeline.catalog["transform"].get(choice.use) for choice in pipeline.transforms]
        transforms = [record for record in records if isinstance(record, Transform)]
        chain = chain_of(self._transforms, transforms, self._before(), self._assembly)
        dataset = self._dataset
        if dataset.foreign:
            dataset = foreign_load(dataset, self._splits, knows_split=self._knows_split())
        plan = program.Plan(
            settings=settings,
            seed=pipeline.seed,
            knows_split=self._knows_split(),
            precision=self._assembly.precision,
            steps=self._steps,
            layer=pipeline.output_layer,
            chain=chain,
            dataset=dataset,
            model=self._model,
            loss=self._loss,
            optimizer=self._optimizer,
            schedule=self._schedule,
            calibrates=hasattr(self._assembly.model, "calibrate"),
            evaluated=min(512, 512 * 32 * 32 // (self._splits.train.shape[1] * self._splits.train.shape[2]))
            or 1,
        )
        parts = [dataset, *self._transforms, self._model, self._loss, self._optimizer, self._schedule]
        imports = {statement for part in parts for statement in part.plain.imports}
        imports |= {"import torch", "import hashlib", "import numpy as np", *plan.imports}
        imports |= chain.imports
        head = [
            f'"""{_told(pipeline.source)} in plain PyTorch: {_PROMISE} of birdplane {birdplane.__version__}."""',
            "",
            sorted_imports(imports),
            "",
        ]
        text = "\n".join(head) + "\n" + plan.text()
        files = {name: content for part in parts for name, content in part.plain.files.items()}
        return Script(text, files)

    def _knows_split(self) -> bool:
        choice = self._pipeline.choice("dataset")
        return "split" in self._pipeline.catalog["dataset"].signature(choice.use).wants


def _told(source: str) -> str:
    """Return the pipeline's name as a docstring can hold it."""
    return "".join(character for character in source if character.isprintable() and character not in '"\\')[
        -60:
    ]
