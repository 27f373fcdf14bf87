"""The records with which plugins describe what they bring. Imports no torch, and neither need a plugin."""

from __future__ import annotations

import importlib
import itertools
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import ModuleType
from typing import Any, ClassVar

from birdplane.errors import BirdplaneError, described, nearest
from birdplane.kinds import KIND_NAMES

#: More names than a family may have: an iterator without end must not hold up a list.
MOST_MEMBERS = 100_000
NAME = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*(?:/[a-z0-9]+(?:[._-][a-z0-9]+)*)*")


class Output(StrEnum):
    """What the numbers that leave a model, or its output layer, mean."""

    LOGITS = "logits"
    LOG_PROBABILITIES = "log-probabilities"
    PROBABILITIES = "probabilities"

    @classmethod
    def _missing_(cls, value: object) -> None:
        names = [output.value for output in cls]
        raise ValueError(f"{value!r} is none of {', '.join(names)}{nearest(str(value), names)}")


@dataclass(frozen=True, kw_only=True)
class Component:
    """One thing that can be picked by name.

    Args:
        name: lower-case words joined by dashes, such as `fully-connected`.
        target: a callable, or `"package.module:attribute"`, imported when it is first needed. The signature of
            the target gives the component's parameters: names, types, defaults, and help and bounds through
            `Annotated`.
        summary: one line for lists.
        plain: from the target's arguments to its source in plain PyTorch, a `Plain`, for `birdplane eject`: a
            callable, or `"package.module:attribute"`. Without it, the ejected script imports the target.

    Raises:
        ValueError: the name, the target or `plain` is not of that form.
    """

    kind: ClassVar[str]
    #: Arguments that birdplane supplies; a user never sets them.
    reserved: ClassVar[frozenset[str]] = frozenset()

    name: str
    target: Callable[..., Any] | str
    summary: str = ""
    plain: Callable[..., Any] | str | None = None

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
        plain = self.plain.partition(":") if isinstance(self.plain, str) else ()
        if self.plain is not None and not (all(plain) if plain else callable(self.plain)):
            raise ValueError(
                f"plain of {self.name!r} is {self.plain!r:.60}, neither callable nor 'package.module:attribute'"
            )

    def in_plain(self) -> Callable[..., Any] | None:
        """Return what writes the component in plain PyTorch, importing its module if need be; None without such.

        Raises:
            BirdplaneError: it cannot be loaded.
        """
        if not isinstance(self.plain, str):
            return self.plain
        try:
            return _imported(self.plain)  # type: ignore[no-any-return]
        except (Exception, SystemExit) as error:
            raise BirdplaneError(
                f"{self.kind} {self.name!r}: cannot load {self.plain!r}: {type(error).__name__}: {error}"
            ) from error

    @property
    def is_loaded(self) -> bool:
        """Whether `resolve` imports nothing."""
        return not isinstance(self.target, str) or self.target.partition(":")[0] in sys.modules

    def resolve(self) -> Callable[..., Any]:
        """Return the target, importing its module if need be.

        Raises:
            BirdplaneError: the module or the attribute is not there, or the import fails.
        """
        if not isinstance(self.target, str):
            return self.target
        try:
            found = _imported(self.target)
        except (Exception, SystemExit) as error:
            raise BirdplaneError(
                f"{self.kind} {self.name!r}: cannot load {self.target!r}: {described(error)}{_spelling(error)}"
            ) from error
        if not callable(found):
            raise BirdplaneError(f"{self.kind} {self.name!r}: {self.target!r} is not callable")
        return found  # type: ignore[no-any-return]


def _imported(path: str) -> Any:
    """Return what `"package.module:attribute"` names."""
    module, _, attribute = path.partition(":")
    found: Any = importlib.import_module(module)
    for part in attribute.split("."):
        found = getattr(found, part)
    return found


def _spelling(error: BaseException) -> str:
    """Return the nearest name that a module has, where it lacks the one that was asked for, as a clause."""
    if not (isinstance(error, AttributeError) and isinstance(error.obj, ModuleType)):
        return ""
    return nearest(error.name or "", (name for name in vars(error.obj) if not name.startswith("_")))


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
KINDS: dict[str, type[Component]] = dict(
    zip(KIND_NAMES, (Dataset, Transform, Model, Loss, Optimizer, Schedule, Recipe), strict=True)
)


@dataclass(frozen=True, kw_only=True)
class Family:
    """Many components of one kind that are listed on demand, such as the models of a zoo.

    The member `resnet18` of a plugin `timm` is listed as `timm/resnet18`. Neither function may import torch, as
    lists and forms ask them.

    Args:
        kind: `"model"`, `"dataset"`, or another of `KINDS`.
        names: returns the members' names, formed like those of components; asked once a process at most, when
            a list or a bare name needs them. A callable, or `"package.module:attribute"`.
        member: from one of these names to its record, of that kind and that name. A callable, or
            `"package.module:attribute"`.

    Raises:
        ValueError: the kind is none, or a function is neither callable nor of that form.
    """

    kind: str
    names: Callable[[], Iterable[str]] | str
    member: Callable[[str], Component] | str

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"a family is of a kind among {', '.join(KINDS)}, not {self.kind!r}")
        for what, function in (("names", self.names), ("member", self.member)):
            parts = function.partition(":") if isinstance(function, str) else ()
            if not (all(parts) if parts else callable(function)):
                raise ValueError(
                    f"the {what} of a family of {self.kind}s are neither callable nor "
                    "'package.module:attribute'"
                )

    def listed(self) -> tuple[str, ...]:
        """Return the names of all members.

        Raises:
            BirdplaneError: they cannot be listed, or one is no name.
        """
        try:
            function = _imported(self.names) if isinstance(self.names, str) else self.names
            found = function()
            if isinstance(found, str):
                raise TypeError(f"names returned a text, {found[:40]!r}")
            names = tuple(itertools.islice(found, MOST_MEMBERS + 1))
            if len(names) > MOST_MEMBERS:
                raise ValueError(f"names returned more than {MOST_MEMBERS:,}")
            for name in names:
                if not isinstance(name, str) or not NAME.fullmatch(name):
                    raise ValueError(f"the name {name!r} is not lower-case words joined by dashes")
            if len(set(names)) < len(names):
                twice = Counter(names).most_common(1)[0][0]
                raise ValueError(f"names returned {twice!r} twice")
        except (Exception, SystemExit) as error:
            raise BirdplaneError(_reason(f"its {self.kind}s cannot be listed", error)) from error
        return names

    def record(self, name: str) -> Component:
        """Return the record of a member.

        Raises:
            BirdplaneError: there is none, or it is not what the family is said to hold.
        """
        try:
            function = _imported(self.member) if isinstance(self.member, str) else self.member
            component = function(name)
            if not isinstance(component, KINDS[self.kind]):
                raise TypeError(f"member returned {component!r:.60}")
            if component.name != name:
                raise ValueError(f"member returned the record of {component.name!r}")
        except (Exception, SystemExit) as error:
            raise BirdplaneError(_reason(f"its {self.kind} {name!r} cannot be described", error)) from error
        return component


def _reason(what: str, error: BaseException) -> str:
    return f"{what}: {described(error)}"


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
