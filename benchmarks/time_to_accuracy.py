"""How long training takes to an accuracy: the recipes `fast` and `best` against the chapter-8 net, `book-conv`.

book-conv's 100 epochs are the yardstick. Some of its epochs are trained between the others' runs, in turns,
and their median, times 100, is its time; with --all it trains all 100 first, and its accuracy is told as well.
Seconds are those of training alone: neither validation nor what comes before the first step.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import mean, median
from typing import Any

import turns
from birdplane.events import Epoch
from birdplane.pipeline import Pipeline
from birdplane.training import train
from turns import Report, Spread, Table

YARDSTICK, YARDSTICK_EPOCHS = "book-conv", 100
#: Of each recipe: runs, the accuracy that it is to reach, and the share of the yardstick that it may take.
RECIPES = {"fast": (5, 0.90, 0.1), "best": (3, 0.95, 1.0)}


@dataclass(frozen=True)
class Result:
    """One run of a recipe, and what an epoch of the yardstick took just before and after it."""

    recipe: str
    seed: int
    seconds: float
    accuracy: float
    yardstick_epoch: float

    @property
    def share(self) -> float:
        return self.seconds / (YARDSTICK_EPOCHS * self.yardstick_epoch)


def pipeline(recipe: str, section: dict[str, Any], **changes: Any) -> Pipeline:
    """Return a recipe on these pictures; changes are of `[training]`, but for `seed`."""
    made = Pipeline.load(recipe).document
    made["dataset"] = section
    made["seed"] = changes.pop("seed", 0)
    made["training"] |= changes
    return Pipeline(made, recipe)


def epochs(asked: Pipeline) -> Iterator[Epoch]:
    return (event for event in train(asked) if isinstance(event, Epoch))


def run(recipe: str, section: dict[str, Any], **changes: Any) -> tuple[float, float]:
    """Train a recipe to its end; return its seconds and its accuracy on the test split."""
    done = list(epochs(pipeline(recipe, section, **changes)))
    assert done[-1].validation_accuracy is not None
    return sum(epoch.train_seconds for epoch in done), done[-1].validation_accuracy


class Yardstick:
    """Trains book-conv an epoch at a time, whenever it is asked how long one takes."""

    def __init__(self, section: dict[str, Any], a_time: int) -> None:
        self._epochs = epochs(pipeline(YARDSTICK, section, epochs=100_000, validate_every=100_000))
        self._a_time = a_time
        self.seconds: list[float] = []
        next(self._epochs)  # to warm up

    def measure(self) -> float:
        taken = [next(self._epochs).train_seconds for _ in range(self._a_time)]
        self.seconds += taken
        return median(taken)


def results(asked: argparse.Namespace, section: dict[str, Any], yardstick: Yardstick) -> list[Result]:
    """Train the recipes seed by seed, in turns, with the yardstick measured around every run."""
    changes = {"epochs": 1, "batch_size": 64} if asked.quick else {}
    found = []
    before = yardstick.measure()
    for seed in range(max(runs(asked, recipe) for recipe in RECIPES)):
        for recipe in RECIPES:
            if seed < runs(asked, recipe):
                turns.say(f"{recipe}, seed {seed}")
                seconds, accuracy = run(recipe, section, seed=seed, **changes)
                after = yardstick.measure()
                found.append(Result(recipe, seed, seconds, accuracy, (before + after) / 2))
                before = after
    turns.say("")
    return found


def runs(asked: argparse.Namespace, recipe: str) -> int:
    return min(asked.rounds, RECIPES[recipe][0])


def table(found: list[Result], yardstick: Yardstick, whole: tuple[float, float, int] | None) -> Table:
    made = Table(
        [
            "recipe",
            "test accuracy, mean",
            "seed by seed",
            "seconds of training",
            f"of {YARDSTICK}'s time",
            "asked for",
        ]
    )
    for recipe, (_, least, share) in RECIPES.items():
        own = [result for result in found if result.recipe == recipe]
        reached = [result.accuracy for result in own]
        made.rows.append(
            [
                recipe,
                f"{mean(reached):.4f}",
                ", ".join(f"{accuracy:.4f}" for accuracy in reached),
                Spread.of(result.seconds for result in own).text(1),
                Spread.of(result.share for result in own).text(3),
                f"{least:.2f} in {share:g} of the time",
            ]
        )
    made.notes.append(_yardstick_in_words(yardstick, whole))
    return made


def _yardstick_in_words(yardstick: Yardstick, whole: tuple[float, float, int] | None) -> str:
    epoch = Spread.of(yardstick.seconds)
    told = (
        f"An epoch of {YARDSTICK} took {epoch.text()} s ({len(yardstick.seconds)} epochs, between the runs): "
        f"{YARDSTICK_EPOCHS * epoch.median:.0f} s for {YARDSTICK_EPOCHS}, extrapolated."
    )
    if whole:
        told += f" All {whole[2]} epochs in a row took {whole[0]:.0f} s and ended at {whole[1]:.4f}."
    return told


def options() -> argparse.Namespace:
    made = turns.with_pictures(turns.parser(__doc__, rounds=max(runs for runs, *_ in RECIPES.values())))
    made.add_argument(
        "--all", action="store_true", help=f"train all {YARDSTICK_EPOCHS} epochs of {YARDSTICK} too"
    )
    made.add_argument(
        "--book-epochs", type=int, default=2, help=f"epochs of {YARDSTICK} between two runs [2]"
    )
    return turns.parsed(made)


def main() -> None:
    asked = options()
    section = turns.dataset(asked, 256, 64) if asked.quick else turns.dataset(asked)
    whole = None
    if asked.all:
        turns.say(f"{YARDSTICK}, all of it")
        count = 2 if asked.quick else YARDSTICK_EPOCHS
        whole = (*run(YARDSTICK, section, epochs=count), count)
    yardstick = Yardstick(section, 1 if asked.quick else asked.book_epochs)
    found = results(asked, section, yardstick)
    figures = {"runs": [vars(result) | {"share": result.share} for result in found]}
    facts = turns.facts(["torch", "torchvision"], pictures=turns.pictures_in_words(asked))
    Report("time-to-accuracy", [table(found, yardstick, whole)], figures, facts).tell(asked)


if __name__ == "__main__":
    main()
