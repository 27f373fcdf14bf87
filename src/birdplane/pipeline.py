"""The pipeline: what is asked for, as a TOML file, as overrides, and as a record that is complete and checked.

Nothing here imports torch; the parts are built, by name, in `birdplane.assembly`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Lt
from typing_extensions import Doc

from birdplane import documents
from birdplane.components import Loss, Model, Output
from birdplane.errors import BirdplaneError, UsageError, nearest
from birdplane.params import Signature
from birdplane.registry import Catalog, catalog
from birdplane.text import brief, brief_name, one_line

OUTPUT_LAYERS = ("auto", "none", "log-softmax", "softmax")
SECTIONS = ("dataset", "transforms", "model", "output", "loss", "optimizer", "schedule", "training")
_REQUIRED = ("dataset", "model", "loss", "optimizer")
_DEFAULTS: dict[str, Any] = {
    "transforms": [],
    "output": {"use": "auto"},
    "schedule": {"use": "constant"},
    "training": {},
}
#: What leaves an output layer that is fed logits.
_LEAVES = {
    "none": Output.LOGITS,
    "log-softmax": Output.LOG_PROBABILITIES,
    "softmax": Output.PROBABILITIES,
}


@dataclass(frozen=True, kw_only=True)
class Training:
    """The section `[training]`."""

    epochs: Annotated[int, Ge(1), Doc("how often every training picture is seen")] = 10
    batch_size: Annotated[int, Ge(1), Doc("pictures a step")] = 64
    device: Annotated[str, Doc("auto, cpu, cuda, cuda:1, mps: auto takes the fastest that is there")] = "auto"
    precision: Annotated[
        Literal["float32", "bfloat16"],
        Doc(
            "of the arithmetic; the weights are float32 either way. bfloat16 needs a device that is quick at it"
        ),
    ] = "float32"
    holdout: Annotated[
        float,
        Ge(0),
        Lt(1),
        Doc("share of the training pictures, drawn by the seed, that validates instead of the test split"),
    ] = 0.0
    validate_every: Annotated[
        int, Ge(1), Doc("epochs between validations; the last epoch is always validated")
    ] = 1
    drop_last: Annotated[bool, Doc("leave out the incomplete batch at an epoch's end")] = False
    average: Annotated[
        float,
        Ge(0),
        Lt(1),
        Doc("decay a step of a moving average of the weights, which is what validates; 0: none"),
    ] = 0.0
    decay_norm_and_bias: Annotated[
        bool, Doc("apply the optimizer's weight decay to biases and normalization weights too")
    ] = True
    channels_last: Annotated[bool, Doc("memory layout NHWC, which is quicker for wide convolutions")] = False
    compile: Annotated[bool, Doc("torch.compile the model: slow to start, quicker afterwards")] = False
    workers: Annotated[int, Ge(0), Doc("processes that decode a dataset too large for memory_limit")] = 0
    memory_limit: Annotated[
        int, Ge(1), Doc("MiB that the decoded pictures of a split may take; a larger split is streamed")
    ] = 2048
    checkpoint_seconds: Annotated[
        float,
        Gt(0),
        Doc("seconds between checkpoints; they are rarer where they would cost over 2 % of the time"),
    ] = 10.0
    checkpoint_steps: Annotated[
        int | None, Ge(1), Doc("a checkpoint every so many steps, whatever it costs")
    ] = None


@cache
def training_signature() -> Signature:
    """The parameters of `[training]`."""
    return Signature(Training, frozenset(), "[training]")


@dataclass(frozen=True)
class Choice:
    """A component by name, and its parameters as they were given."""

    use: str
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: the key, a sentence, and, where it is known, the override that mends it."""

    key: str
    message: str
    mend: str = ""

    def __str__(self) -> str:
        mend = f" (mend: --set {self.mend})" if self.mend else ""
        return one_line(f"{brief_name(self.key)}: {self.message}{mend}")


class Pipeline:
    """A whole pipeline, as its file says it. It is immutable; `override` returns another one.

    Args:
        document: the parsed file, in plain dicts and lists.
        source: what messages call it: the file's path, or a recipe's name.
        catalog: where names are looked up.
    """

    def __init__(
        self, document: Mapping[str, Any], source: str = "pipeline", catalog: Catalog | None = None
    ) -> None:
        self._document = deepcopy(dict(document))
        self.source = source
        self._catalog = catalog

    @classmethod
    def from_toml(cls, text: str, source: str = "pipeline", catalog: Catalog | None = None) -> Pipeline:
        """Parse a pipeline file.

        Raises:
            UsageError: it is not TOML, and the message has the line; or a value is of no use, and it has the key.
        """
        return cls(documents.parse(text, source), source, catalog)

    @classmethod
    def load(cls, name: str | Path, catalog: Catalog | None = None) -> Pipeline:
        """Read a pipeline file, or a recipe by its name; a file wins where its name ends in .toml or has a slash.

        Raises:
            UsageError: there is no such file or recipe, or it cannot be parsed.
        """
        path, shown = Path(name), brief_name(str(name))
        recipes = _or_default(catalog)["recipe"]
        if path.suffix != ".toml" and str(name) in recipes:
            return cls.from_toml(recipes.get(str(name)).text(), str(name), catalog)  # type: ignore[attr-defined]
        # Not `Path.is_file`, which raises for a name that is too long.
        if path.suffix != ".toml" and not os.path.isfile(path):  # noqa: PTH113
            hint = nearest(str(name), recipes.names())
            raise UsageError(
                f"{shown}: neither a file nor a recipe{hint} (recipes: {', '.join(recipes.names())})"
            )
        return cls(documents.read(path, str(name)), str(name), catalog)

    @property
    def catalog(self) -> Catalog:
        return _or_default(self._catalog)

    @property
    def document(self) -> dict[str, Any]:
        """A copy of the pipeline as plain dicts and lists, as it was given."""
        return deepcopy(self._document)

    # What was chosen. These are to be asked of a pipeline without problems.

    @property
    def seed(self) -> int:
        return int(self._document.get("seed", 0))

    @property
    def training(self) -> Training:
        return Training(
            **training_signature().validate(self._section("training"), f"{self.source}: training.")
        )

    def choice(self, section: str) -> Choice:
        """Return the component chosen in a section, such as `"model"`."""
        return _choice(self._section(section))

    @property
    def transforms(self) -> list[Choice]:
        return [_choice(entry) for entry in self._section("transforms")]

    @property
    def output_layer(self) -> str:
        """The output layer, with `auto` resolved to what the loss asks for."""
        asked = str(self._section("output").get("use", "auto"))
        return self._automatic_layer() if asked == "auto" else asked

    def _section(self, name: str) -> Any:
        return self._document.get(name, _DEFAULTS.get(name, {}))

    def _records(self) -> tuple[Model, Loss]:
        model = self.catalog["model"].get(self.choice("model").use)
        loss = self.catalog["loss"].get(self.choice("loss").use)
        return model, loss  # type: ignore[return-value]

    def _automatic_layer(self) -> str:
        model, loss = self._records()
        if model.output in loss.accepts or model.output is not Output.LOGITS:
            return "none"
        wanted = loss.accepts[0]
        return next(layer for layer, leaves in _LEAVES.items() if leaves is wanted)

    def leaves(self) -> Output:
        """Return what leaves the output layer and reaches the loss."""
        model, _ = self._records()
        layer = self.output_layer
        return Output(model.output) if layer == "none" else _LEAVES[layer]

    # Changing it.

    def override(self, assignments: Iterable[str]) -> Pipeline:
        """Return the pipeline with `"key=value"` assignments made, such as `"model.hidden=[512, 128]"`.

        A value is read as TOML, and as text where it is not TOML. Transforms are counted from 0:
        `"transforms.1.mean=[0.5]"`. Another `use` drops the parameters of what stood there before.

        Raises:
            UsageError: no `=`, or a key that cannot be.
        """
        document = self.document
        for assignment in assignments:
            key, equals, text = assignment.partition("=")
            if not equals:
                raise UsageError(
                    f"--set {brief_name(assignment)}: expected key=value, such as training.epochs=3"
                )
            _assign(document, key.strip(), documents.value_of(text.strip()))
        return Pipeline(document, self.source, self._catalog)

    # Checking and writing it.

    def problems(self) -> list[Problem]:
        """Return everything that can be known to be wrong without building the parts."""
        found = [*self._layout_problems()]
        if found:
            return found
        for section in ("dataset", "model", "loss", "optimizer", "schedule"):
            found += self._choice_problems(section, section, self._section(section))
        for index, entry in enumerate(self._section("transforms")):
            found += self._choice_problems("transform", f"transforms.{index}", entry)
        problems = training_signature().problems(self._section("training"))
        found += [Problem(f"training.{key}", message) for key, message in problems]
        return found or self._output_problems()

    def require_sound(self) -> None:
        """Raise the first problem.

        Raises:
            UsageError: with the file, the key, what is allowed and how many more problems there are.
        """
        problems = self.problems()
        if problems:
            more = f" (and {len(problems) - 1} more: `birdplane check`)" if len(problems) > 1 else ""
            raise UsageError(f"{self.source}: {problems[0]}{more}")

    def _layout_problems(self) -> Iterable[Problem]:
        for key, value in self._document.items():
            if key not in (*SECTIONS, "seed"):
                yield Problem(
                    key,
                    f"no such section{nearest(key, (*SECTIONS, 'seed'))} (allowed: seed, {', '.join(SECTIONS)})",
                )
            elif key == "seed":
                if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
                    yield Problem(key, f"should be an integer from 0 to 2**63 - 1, not {brief(value)}")
            elif key == "transforms":
                yield from _transforms_layout(value)
            elif not isinstance(value, dict):
                yield Problem(key, f"should be a table, [{key}], not {brief(value)}")
        for key in _REQUIRED:
            if key not in self._document:
                yield Problem(key, f"is missing: a pipeline needs a section [{key}] with `use`")

    def _choice_problems(self, kind: str, key: str, entry: Any) -> list[Problem]:
        use = entry.get("use") if isinstance(entry, dict) else entry
        if not isinstance(use, str):
            return [Problem(f"{key}.use", f"should name a {kind}, not {brief(use)}{_misspelled_use(entry)}")]
        try:
            signature = self.catalog[kind].signature(use)
        except BirdplaneError as error:  # also of a target whose module cannot be imported
            return [Problem(f"{key}.use", str(error))]
        problems = signature.problems(_choice(entry).parameters)
        return [Problem(f"{key}.{name}", message) for name, message in problems]

    def _output_problems(self) -> list[Problem]:
        section = self._section("output")
        asked = section.get("use", "auto")
        extra = [name for name in section if name != "use"]
        if extra:
            return [Problem(f"output.{extra[0]}", f"no such key{nearest(extra[0], ['use'])} (allowed: use)")]
        if asked not in OUTPUT_LAYERS:
            hint = nearest(str(asked), OUTPUT_LAYERS)
            return [
                Problem(
                    "output.use",
                    f"no output layer {brief(asked)}{hint} (allowed: {', '.join(OUTPUT_LAYERS)})",
                )
            ]
        model, loss = self._records()
        model_name, loss_name = self.choice("model").use, self.choice("loss").use
        if model.output is not Output.LOGITS and self.output_layer != "none":
            message = (
                f"the model {model_name!r} yields {model.output} itself: an output layer on top is wrong"
            )
            return [Problem("output.use", message, "output.use=none")]
        leaves = self.leaves()
        if leaves in loss.accepts:
            return []
        wanted = " or ".join(loss.accepts)
        message = f"the loss {loss_name!r} wants {wanted}, but is fed {leaves}"
        mend = "output.use=auto" if model.output is Output.LOGITS else ""
        return [Problem("output.use", message, mend)]

    def complete(self) -> dict[str, Any]:
        """Return the pipeline with every default written out.

        Raises:
            UsageError: it has problems.
        """
        self.require_sound()

        def whole(kind: str, entry: Any) -> dict[str, Any]:
            chosen = _choice(entry)
            registered = self.catalog[kind].lookup(chosen.use)
            values = self.catalog[kind].signature(chosen.use).validate(chosen.parameters)
            return {"use": registered.name, **_without_none(values)}

        training = training_signature().validate(self._section("training"))
        return {
            "seed": self.seed,
            "dataset": whole("dataset", self._section("dataset")),
            "transforms": [whole("transform", entry) for entry in self._section("transforms")],
            "model": whole("model", self._section("model")),
            "output": {"use": self.output_layer},
            "loss": whole("loss", self._section("loss")),
            "optimizer": whole("optimizer", self._section("optimizer")),
            "schedule": whole("schedule", self._section("schedule")),
            "training": _without_none(training),
        }

    def origins(self) -> dict[str, dict[str, str]]:
        """Return who brought each part: by its key, such as `model` or `transforms.0`, its full name, and the
        plugin, package and version that it is from.

        Raises:
            BirdplaneError: a part is not there.
        """
        chosen = {
            key: (key, self.choice(key)) for key in ("dataset", "model", "loss", "optimizer", "schedule")
        }
        chosen |= {f"transforms.{n}": ("transform", choice) for n, choice in enumerate(self.transforms)}
        found = {key: self.catalog[kind].lookup(choice.use) for key, (kind, choice) in chosen.items()}
        return {
            key: {
                "name": entry.name,
                "plugin": entry.provenance.plugin,
                "package": entry.provenance.package,
                "version": entry.provenance.version,
            }
            for key, entry in found.items()
        }

    def packages(self) -> dict[str, str]:
        """Return the version of each package besides birdplane that brought a part. Raises as `origins` does."""
        parts = self.origins().values()
        return {
            part["package"]: part["version"] for part in parts if part["package"] not in ("", "birdplane")
        }

    def to_toml(self) -> str:
        """Return the text of the complete pipeline's file."""
        return dump_toml(self.complete())


def dump_toml(document: Mapping[str, Any]) -> str:
    """Return a pipeline document as TOML, in the order of its sections."""
    import tomlkit

    file = tomlkit.document()
    for key, value in document.items():
        if key == "transforms":
            tables = tomlkit.aot()
            for entry in value:
                tables.append(tomlkit.item(_plain(entry)))
            if value:
                file.append(key, tables)
        else:
            file.append(key, tomlkit.item(_plain(value)))
    return tomlkit.dumps(file)


def _or_default(given: Catalog | None) -> Catalog:
    return given if given is not None else catalog()


def _choice(entry: Any) -> Choice:
    if isinstance(entry, str):
        return Choice(entry)
    return Choice(str(entry.get("use")), {key: value for key, value in entry.items() if key != "use"})


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value if isinstance(value, bool | int | float | str) else str(value)


def _transforms_layout(value: Any) -> Iterable[Problem]:
    if not isinstance(value, list):
        yield Problem("transforms", f"should be a list of tables, [[transforms]], not {brief(value)}")
        return
    for index, entry in enumerate(value):
        if not isinstance(entry, dict | str):
            yield Problem(
                f"transforms.{index}", f"should be a table with `use`, or a name, not {brief(entry)}"
            )


def _misspelled_use(entry: Any) -> str:
    """Return a clause about a key that may have been meant to be `use`."""
    wrong = [key for key in entry if nearest(key, ["use"])] if isinstance(entry, dict) else []
    return f"; {brief(wrong[0])} is there: did you mean 'use'?" if wrong and "use" not in entry else ""


_KEY = re.compile(r"[A-Za-z0-9_-]+")
_INDEX = re.compile(r"[0-9]{1,9}")


def _assign(document: dict[str, Any], key: str, value: Any) -> None:
    parts = key.split(".")
    key = brief_name(key)
    if not all(_KEY.fullmatch(part) for part in parts):
        raise UsageError(f"--set {key}: not a key such as training.epochs")
    if parts[0] not in (*SECTIONS, "seed"):
        owner = [name for name in training_signature().parameters if name == key]
        hint = f"; did you mean 'training.{key}'?" if owner else nearest(parts[0], (*SECTIONS, "seed"))
        raise UsageError(f"--set {key}: no such section{hint} (allowed: seed, {', '.join(SECTIONS)})")
    if parts[0] == "transforms" and len(parts) > 1:
        _assign_transform(document, parts, value)
    elif len(parts) == 1:
        table = value if parts[0] in ("seed", "transforms") or isinstance(value, dict) else {"use": value}
        document[parts[0]] = table
    elif len(parts) == 2 and parts[0] != "seed":
        section = document.setdefault(parts[0], deepcopy(_DEFAULTS.get(parts[0], {})))
        if not isinstance(section, dict):
            raise UsageError(f"--set {key}: [{parts[0]}] is not a table in the file")
        _put(section, parts[1], value)
    else:
        raise UsageError(f"--set {key}: too deep: a key is section.name, or transforms.0.name")


def _assign_transform(document: dict[str, Any], parts: list[str], value: Any) -> None:
    key = brief_name(".".join(parts))
    entries = document.get("transforms", [])
    if not isinstance(entries, list) or not _INDEX.fullmatch(parts[1]) or int(parts[1]) >= len(entries):
        count = len(entries) if isinstance(entries, list) else 0
        raise UsageError(f"--set {key}: there are {count} transforms, counted from 0")
    index = int(parts[1])
    if isinstance(entries[index], str):
        entries[index] = {"use": entries[index]}
    if len(parts) == 2:
        entries[index] = value
    elif len(parts) == 3 and isinstance(entries[index], dict):
        _put(entries[index], parts[2], value)
    else:
        raise UsageError(f"--set {key}: too deep: a key is transforms.0.name")


def _put(table: dict[str, Any], name: str, value: Any) -> None:
    if name == "use" and table.get("use") != value:
        table.clear()
    table[name] = value
