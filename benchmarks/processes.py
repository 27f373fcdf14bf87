"""What it changes to train in several processes: the losses of an epoch, step by step, and its seconds.

The chapter's fully connected and convolutional net, on the CPU: by one process, and by two (`--processes`) that share
each batch. The processors are divided among the processes, so all have as many threads together.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import turns
from turns import Lap, Report, Spread, Table

RECIPES = ("book", "book-conv")


def train(recipe: str, section: dict[str, Any], out: Path) -> None:
    """Train two epochs as the process that this is.

    The leading one writes down the losses of the first one's steps and the seconds of the second: in the first the
    pictures are prepared.
    """
    from birdplane import Pipeline
    from birdplane.distributed import Team
    from birdplane.events import Epoch, Start
    from birdplane.ranks import given
    from birdplane.training import Trainer

    made = Pipeline.load(recipe).document | {"dataset": section}
    made["training"] |= {"epochs": 2, "device": "cpu"}
    team = Team(given())
    team.join()
    trainer = Trainer(Pipeline(made, recipe), None, None, team)
    losses: list[Any] = []
    epochs = []
    for event in trainer:
        if isinstance(event, Start):
            _listen(trainer, losses)
        if isinstance(event, Epoch):
            epochs.append(event)
    if team.leads:
        first = [loss.item() for loss in losses[: epochs[0].step]]
        out.write_text(json.dumps({"losses": first, "seconds": epochs[1].train_seconds}))
    team.leave()


def _listen(trainer: Any, losses: list[Any]) -> None:
    step = trainer._optimization.step

    def noted(*arguments: Any) -> Any:
        losses.append((found := step(*arguments))[0])
        return found

    trainer._optimization.step = noted


def lap(recipe: str, section: dict[str, Any], processes: int, folder: Path) -> tuple[Lap, list[float]]:
    """Train by so many processes; return the seconds and the last loss of an epoch, and all of its losses."""
    out = folder / "out.json"
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes)] if processes > 1 else []
    threads = max(1, len(os.sched_getaffinity(0)) // processes)
    subprocess.run(
        [sys.executable, *launcher, __file__, "--of", recipe, "--section", json.dumps(section), "--out", out],
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
    )
    found = json.loads(out.read_text())
    return Lap(found["seconds"], found["losses"][-1]), found["losses"]


def main() -> None:
    made = turns.with_pictures(turns.parser(__doc__, rounds=3))
    made.add_argument("--processes", type=int, default=2, help="how many share each batch [2]")
    for name in ("--of", "--section", "--out"):
        made.add_argument(name, help=argparse.SUPPRESS)
    asked = turns.parsed(made)
    if asked.of:
        train(asked.of, json.loads(asked.section), Path(asked.out))
        return
    section = turns.dataset(asked, 200, 64) if asked.quick else turns.dataset(asked)
    several = f"{asked.processes} processes"
    table = Table(["recipe", "steps", "largest difference of a loss", "1 process, s", f"{several}, s"])
    figures = {}
    with TemporaryDirectory() as folder:
        for recipe in RECIPES:
            losses: dict[int, list[float]] = {}

            def run(processes: int, recipe: str = recipe, losses: Any = losses) -> Lap:
                taken, losses[processes] = lap(recipe, section, processes, Path(folder))
                return taken

            laps = turns.in_turns({"1": lambda: run(1), several: lambda: run(asked.processes)}, asked)
            pairs = zip(losses[asked.processes], losses[1], strict=True)
            largest = max(abs(mine - theirs) / abs(theirs) for mine, theirs in pairs)
            seconds = [Spread.of(turns.seconds(taken)).text() for taken in laps.values()]
            table.rows.append([recipe, str(len(losses[1])), f"{largest:.1e}", *seconds])
            figures[recipe] = largest
    table.notes.append("The difference is relative to the loss, and the largest of the first epoch's steps.")
    facts = turns.facts(["torch"], pictures=turns.pictures_in_words(asked))
    Report("processes", [table], {"differences": figures}, facts).tell(asked)


if __name__ == "__main__":
    main()
