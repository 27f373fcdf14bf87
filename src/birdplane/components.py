"""The records with which plugins describe what they bring. Imports no torch, and neither need a plugin."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar

from birdplane.errors import BirdplaneError

NAME = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*(?:/[a-z0-9]+(?:[._-][a-z0-9]+)*)*")


class Output(StrEnum):
    """What the numbers that leave a model, or its output layer, mean."""

    LOGITS = "logits"
    LOG_PROBABILITIES = "log-probabilities"
    PROBABILITIES = "probabilities"


@dataclass(frozen=True, kw_only=True)
class Component:
    """One thing that can be picked by name.

    Args:
        name: lower-case words joined by dashes, such as `fully-connected`.
        target: a callable, or `"package.module:attribute"`, imported when it is first needed. The signature of
            the target gives the component's parameters: names, types, defaults, and help and bounds through
            `Annotated`.
        summary: one line for lists.

    Raises:
        ValueError: the name or the target is not of that form.
    """

    kind: ClassVar[str]
    #: Arguments that birdplane supplies; a user never sets them.
    reserved: ClassVar[frozenset[str]] = frozenset()

    name: str
    target: Callable[..., Any] | str
    summary: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not NAME.fullmatch(self.name):
            raise ValueError(f"the name {self.name!r} is not lower-case words joined by dashes")
        if isinstance(self.target, str):
            module, colon, attribute = self.target.partition(":")
            if not (module and colon and attribute):
                raise ValueError(
                    f"the target {self.target!r} of {self.name!r} is not 'package.module:attribute'"
                )
        elif not callable(self.target):
            raise ValueError(
                f"the target of {self.name!r} is neither callable nor 'package.module:attribute'"
            )

    def resolve(self) -> Callable[..., Any]:
        """Return the target, importing its module if need be.

        Raises:
            BirdplaneError: the module or the attribute is not there, or the import fails.
        """
        if not isinstance(self.target, str):
            return self.target
        module, _, attribute = self.target.partition(":")
        try:
            found: Any = importlib.import_module(module)
            for part in attribute.split("."):
                found = getattr(found, part)
        except Exception as error:
            raise BirdplaneError(
                f"{self.kind} {self.name!r}: cannot load {self.target!r}: {type(error).__name__}: {error}"
            ) from error
        if not callable(found):
            raise BirdplaneError(f"{self.kind} {self.name!r}: {self.target!r} is not callable")
        return found  # type: ignore[no-any-return]


@dataclass(frozen=True, kw_only=True)
class Dataset(Component):
    """Labelled pictures.

    The target is called with its parameters and, where its signature has it, `split="train"` or `"test"`. It
    returns what a PyTorch dataset is: `len(ds)` and `ds[i] -> (PIL image, int)`, and `ds.classes`, the names of
    the labels. A dataset without a `split` is divided by birdplane, four fifths to one, seeded.

    Where it also has `images(indices) -> uint8 array (n, C, H, W)` and `labels(indices) -> int64 array (n,)`,
    they are used instead of single items.
    """

    kind: ClassVar[str] = "dataset"
    reserved: ClassVar[frozenset[str]] = frozenset({"split"})


@dataclass(frozen=True, kw_only=True)
class Transform(Component):
    """A step between the stored pictures and the model.

    The target returns a callable. By default it gets and returns a batch, `images_NCHW`, on the training device;
    with `random=True` it gets a `torch.Generator` of that device as its second argument and draws all its
    randomness from it. With `per_sample=True` it gets one picture at a time, a PIL image or a CHW tensor as the
    step before left it, and takes its randomness from torch's global generator, which birdplane seeds.

    A transform object with a method `fit(batches) -> dict` measures before training: it is given the training
    split, batch by batch, as the steps before leave it, and returns parameters of its own; the object is made
    anew with them, and they are kept with the run. It is not called when `fitted` is true of the object.
    """

    kind: ClassVar[str] = "transform"

    random: bool = False
    per_sample: bool = False


@dataclass(frozen=True, kw_only=True)
class Model(Component):
    """A network from `images_NCHW` to one number per class.

    The target is called with its parameters, `input_shape` (channels, height, width) and `num_classes`, as far
    as its signature has them, and returns a `torch.nn.Module`. `output` says what leaves its forward.

    A model with a method `calibrate(images_NCHW)` is given some transformed training pictures once, before the
    first step.
    """

    kind: ClassVar[str] = "model"
    reserved: ClassVar[frozenset[str]] = frozenset({"input_shape", "num_classes"})

    output: Output | str = Output.LOGITS

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "output", Output(self.output))


@dataclass(frozen=True, kw_only=True)
class Loss(Component):
    """A function of (outputs_NK, labels_N) to a scalar: the mean over the batch.

    `accepts` lists the outputs it is right for, the preferred one first.
    """

    kind: ClassVar[str] = "loss"

    accepts: Sequence[Output | str] = (Output.LOGITS,)

    def __post_init__(self) -> None:
        super().__post_init__()
        accepts = (self.accepts,) if isinstance(self.accepts, str) else self.accepts
        object.__setattr__(self, "accepts", tuple(Output(output) for output in accepts))
        if not self.accepts:
            raise ValueError(f"the loss {self.name!r} accepts no output")


@dataclass(frozen=True, kw_only=True)
class Optimizer(Component):
    """The target is called with `params` (tensors or parameter groups) and returns a `torch.optim.Optimizer`."""

    kind: ClassVar[str] = "optimizer"
    reserved: ClassVar[frozenset[str]] = frozenset({"params"})


@dataclass(frozen=True, kw_only=True)
class Schedule(Component):
    """The learning rate over a run, relative to the optimizer's own.

    The target is called with `total_steps` and returns a pure function of the step, 0 to `total_steps - 1`, to
    the factor by which the optimizer's learning rates are multiplied in that step.
    """

    kind: ClassVar[str] = "schedule"
    reserved: ClassVar[frozenset[str]] = frozenset({"total_steps"})


@dataclass(frozen=True, kw_only=True)
class Recipe(Component):
    """A whole pipeline under a name. The target is a callable that returns the text of a pipeline file, or
    `"package:path/to/file.toml"`, a file inside that package."""

    kind: ClassVar[str] = "recipe"

    def text(self) -> str:
        """Return the pipeline file's text.

        Raises:
            BirdplaneError: the file is not there or cannot be read.
        """
        if not isinstance(self.target, str):
            return str(self.target())
        import importlib.resources

        package, _, path = self.target.partition(":")
        try:
            return importlib.resources.files(package).joinpath(path).read_text(encoding="utf-8")
        except Exception as error:
            raise BirdplaneError(f"recipe {self.name!r}: cannot read {self.target!r}: {error}") from error


#: Every kind of component, in the order in which lists show them.
KINDS: dict[str, type[Component]] = {
    kind.kind: kind for kind in (Dataset, Transform, Model, Loss, Optimizer, Schedule, Recipe)
}


@dataclass(frozen=True)
class Provenance:
    """Where a component comes from: the plugin, and the package that brought it."""

    plugin: str
    package: str = ""
    version: str = ""

    def __str__(self) -> str:
        return f"{self.package} {self.version}".strip() or self.plugin


@dataclass(frozen=True)
class Registered:
    """A component under the name by which it is listed."""

    name: str
    component: Component
    provenance: Provenance = field(default_factory=lambda: Provenance("python"))
