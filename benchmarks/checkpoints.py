"""What checkpoints cost at the default interval: their share of the time between the first step and the last.

The chapter's two fully connected nets, 1.6 and 3.7 million parameters, are trained into a run folder for as
many seconds as --seconds says. The checkpoint at the end of a run is not counted: it comes once, however long
the run.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import turns
from birdplane.events import Checkpoint, End, Start
from birdplane.pipeline import Pipeline
from birdplane.runs import Run
from birdplane.training import train
from turns import Report, Table

RECIPES = ("book", "book-deep")


class StopAfter:
    """Asks the training to stop once the time is up."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end: float | None = None

    def poll(self) -> list[Literal["pause", "resume", "stop"]]:
        self._end = self._end or time.monotonic() + self._seconds
        return ["stop"] if time.monotonic() > self._end else []


@dataclass(frozen=True)
class Cost:
    """Of one run: its seconds without the checkpoint at its end, and those of each checkpoint before."""

    recipe: str
    seconds: float
    checkpoints: list[float]

    @property
    def share(self) -> float:
        return sum(self.checkpoints) / self.seconds


def cost(
    recipe: str, section: dict[str, Any], folder: Path, seconds: float, settings: dict[str, Any]
) -> Cost:
    """Train a recipe for some seconds, and return what its checkpoints cost."""
    made = Pipeline.load(recipe).document | {"dataset": section}
    made["training"] |= {"epochs": 100_000, "validate_every": 10, **settings}
    asked = Pipeline(made, recipe)
    run = Run.create(folder, pipeline_toml=asked.to_toml())
    events = [e for e in train(asked, run, StopAfter(seconds)) if isinstance(e, Start | Checkpoint | End)]
    *before, last, _ = events
    assert isinstance(last, Checkpoint)
    taken = [event.seconds for event in before if isinstance(event, Checkpoint)]
    return Cost(recipe, last.time - last.seconds - events[0].time, taken)


def table(costs: list[Cost]) -> Table:
    made = Table(["recipe", "seconds of the run", "checkpoints", "milliseconds each", "share of the time"])
    for found in costs:
        each = (
            turns.Spread.of(1000 * taken for taken in found.checkpoints).text(0) if found.checkpoints else "-"
        )
        made.rows.append(
            [found.recipe, f"{found.seconds:.0f}", str(len(found.checkpoints)), each, f"{found.share:.2%}"]
        )
    made.notes.append("Asked for: at most 2 %.")
    return made


def options() -> argparse.Namespace:
    made = turns.with_pictures(turns.parser(__doc__, rounds=1))
    made.add_argument("--seconds", type=float, help="how long each net is trained [120; quick: 1]")
    return turns.parsed(made)


def main() -> None:
    asked = options()
    section = turns.dataset(asked, 256, 64) if asked.quick else turns.dataset(asked)
    seconds = asked.seconds or (1 if asked.quick else 120)
    settings = {"checkpoint_seconds": 0.2} if asked.quick else {}
    with TemporaryDirectory() as folder:
        costs = [cost(recipe, section, Path(folder), seconds, settings) for recipe in RECIPES]
    figures = {"runs": [asdict(found) | {"share": found.share} for found in costs]}
    facts = turns.facts(["torch", "safetensors"], pictures=turns.pictures_in_words(asked))
    Report("checkpoints", [table(costs)], figures, facts).tell(asked)


if __name__ == "__main__":
    main()
