"""Runs side by side: in which settings they differ, what came of them, and whether that is more than chance.

A column is a run, or a group of runs that differ by their seed alone. Imports no torch.
"""

from __future__ import annotations

import math
import statistics
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from birdplane.errors import BirdplaneError
from birdplane.events import Epoch, Start
from birdplane.groups import Group
from birdplane.runs import Run

#: The figures of a run that a group has a mean and a spread of, and what they are called.
FIGURES: dict[str, str] = {
    "best_accuracy": "best accuracy",
    "final_accuracy": "final accuracy",
    "final_loss": "final loss",
    "train_loss": "train loss",
    "seconds": "trained for",
}
#: Those of which it is told whether a difference is more than chance.
JUDGED = ("best_accuracy", "final_accuracy", "final_loss")
#: How many standard errors a difference has to be for it.
STANDARD_ERRORS = 2.0
Verdict = Literal["larger", "within", "unknown"]
Curve = list[tuple[float, float]]


@dataclass(frozen=True)
class Outcome:
    """What came of one run so far. Accuracies are validation's, shares from 0 to 1; `seconds` is of its epochs alone.

    `epochs` are over, of `of`. The curves are points (epoch, value) of validation.
    """

    run: str
    state: str
    epochs: int
    of: int | None
    best_accuracy: float | None
    final_accuracy: float | None
    final_loss: float | None
    train_loss: float | None
    seconds: float
    losses: Curve
    accuracies: Curve


@dataclass(frozen=True)
class Figure:
    """A mean over `count` runs, and their sample standard deviation, which takes two or more."""

    mean: float
    spread: float | None
    count: int


@dataclass(frozen=True)
class Column:
    """A run, or a group of such as differ by their seed alone, with what came of each."""

    name: str
    settings: dict[str, str]
    outcomes: tuple[Outcome, ...]

    def figure(self, key: str) -> Figure | None:
        """Return the mean of one of `FIGURES` over the runs that have it, None where none has."""
        values = [getattr(outcome, key) for outcome in self.outcomes]
        return figure([value for value in values if value is not None])

    def curve(self, key: Literal["losses", "accuracies"]) -> Curve:
        """Return the mean of the curves, over the epochs that all of the runs have that have begun."""
        curves = [dict(getattr(outcome, key)) for outcome in self.outcomes if getattr(outcome, key)]
        if not curves:
            return []
        common = sorted(set.intersection(*(set(curve) for curve in curves)))
        return [(epoch, statistics.fmean(curve[epoch] for curve in curves)) for epoch in common]


@dataclass(frozen=True)
class Difference:
    """By how much a figure of one column is more than that of the first.

    `standard_error` is of the difference, None where no column has a spread. `verdict` is `larger` where the
    difference is more than two of them, `within` where not.
    """

    figure: str
    of: str
    against: str
    difference: float
    standard_error: float | None
    verdict: Verdict


def figure(values: Sequence[float]) -> Figure | None:
    """Return mean and sample standard deviation (divided by one less than there are) of finite values."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return None
    return Figure(
        statistics.fmean(finite), statistics.stdev(finite) if len(finite) > 1 else None, len(finite)
    )


def outcome(run: Run) -> Outcome:
    """Return what came of a run so far.

    Raises:
        BirdplaneError: its record cannot be read.
    """
    history = run.history()
    try:
        history.poll()
        state = run.status().state
    except OSError as error:
        raise BirdplaneError(f"the run {run.name!r} cannot be read: {error.strerror or error}") from error
    epochs = [event for event in history.events if isinstance(event, Epoch)]
    start = next((event for event in reversed(history.events) if isinstance(event, Start)), None)
    validated = [event for event in epochs if event.validation_accuracy is not None]
    accuracies = [event.validation_accuracy or 0.0 for event in validated]
    losses = [(float(event.epoch), event.validation_loss) for event in validated]
    last = validated[-1] if validated else None
    return Outcome(
        run=run.name,
        state=state,
        epochs=epochs[-1].epoch if epochs else 0,
        of=start.epochs if start else None,
        best_accuracy=max(accuracies, default=None),
        final_accuracy=last.validation_accuracy if last else None,
        final_loss=last.validation_loss if last else None,
        train_loss=epochs[-1].train_loss if epochs else None,
        seconds=sum(event.train_seconds + event.validation_seconds for event in epochs),
        losses=[(epoch, loss) for epoch, loss in losses if loss is not None and math.isfinite(loss)],
        accuracies=[(float(event.epoch), share) for event, share in zip(validated, accuracies, strict=True)],
    )


def column(of: Run | Group) -> Column:
    """Return a run or a group with what came of it. Raises as `outcome` does."""
    runs = of.runs if isinstance(of, Group) else (of,)
    each = [settings(run) for run in runs]
    keys = dict.fromkeys(key for one in each for key in one)
    together = {key: ", ".join(dict.fromkeys(one.get(key, "-") for one in each)) for key in keys}
    return Column(of.name, together, tuple(outcome(run) for run in runs))


def differences(columns: Sequence[Column]) -> list[Difference]:
    """Return how the other columns differ from the first, in each of `JUDGED` that both have."""
    first = columns[0]
    found = []
    for other in columns[1:]:
        for key in JUDGED:
            left, right = first.figure(key), other.figure(key)
            if left is not None and right is not None:
                found.append(_difference(key, first.name, left, other.name, right))
    return found


def _difference(key: str, against: str, left: Figure, of: str, right: Figure) -> Difference:
    difference, error = right.mean - left.mean, standard_error(left, right)
    verdict: Verdict = "unknown"
    if error is not None:
        verdict = "larger" if abs(difference) > STANDARD_ERRORS * error else "within"
    return Difference(key, of, against, difference, error, verdict)


def standard_error(left: Figure, right: Figure) -> float | None:
    """Return the standard error of the difference of two means, as Welch has it: sqrt(s1**2 / n1 + s2**2 / n2).

    A single run is taken to spread as the other side does. None where neither side has two runs.
    """
    spreads = [one.spread for one in (left, right) if one.spread is not None]
    if not spreads:
        return None
    left_spread = spreads[0] if left.spread is None else left.spread
    right_spread = spreads[-1] if right.spread is None else right.spread
    return math.sqrt(left_spread**2 / left.count + right_spread**2 / right.count)


def settings(run: Run) -> dict[str, str]:
    """Return the run's pipeline as `{"model.width": "32", ...}`; what cannot be read is empty."""
    try:
        document = tomllib.loads(run.pipeline_toml())
    except (BirdplaneError, ValueError, RecursionError):
        return {}
    return dict(_flat("", document))


def _flat(prefix: str, value: Any) -> list[tuple[str, str]]:
    if isinstance(value, Mapping):
        # `model.use = "swift"` reads as `model = swift`.
        return [
            pair
            for key, inner in value.items()
            for pair in _flat(prefix if key == "use" and prefix else f"{prefix}.{key}".lstrip("."), inner)
        ]
    if isinstance(value, list) and value and all(isinstance(inner, Mapping) for inner in value):
        chain = (prefix, " > ".join(str(inner.get("use", "?")) for inner in value))
        parts = [pair for inner in value for pair in _transform(prefix, inner)]
        return [chain, *parts]
    return [(prefix, value if isinstance(value, str) else _written(value))]


def _transform(prefix: str, entry: Mapping[str, Any]) -> list[tuple[str, str]]:
    # By name rather than by position: a transform that one run has in front of the others shifts no row.
    name = str(entry.get("use", "?"))
    rest = {key: value for key, value in entry.items() if key != "use"}
    return [pair for key, value in rest.items() for pair in _flat(f"{prefix}.{name}.{key}", value)]


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


def differing(all_settings: Sequence[Mapping[str, str]]) -> list[tuple[str, list[str]]]:
    """Return (key, value in each run) for the keys that are not the same in all, in the order of the pipeline."""
    found = dict.fromkeys(key for one in all_settings for key in one)
    sections = list(dict.fromkeys(_section(key) for key in found))
    keys = sorted(found, key=lambda key: sections.index(_section(key)))
    rows = [(key, [one.get(key, "-") for one in all_settings]) for key in keys]
    return [(key, values) for key, values in rows if len(set(values)) > 1]


def _section(key: str) -> str:
    return key.partition(".")[0]
