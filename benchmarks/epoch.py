"""How long an epoch of training the chapter's fully connected net takes: birdplane, its peers, and the floor.

The net is 3072-512-2 (tanh, log-softmax + NLL, SGD 1e-2), on 10,000 pictures in batches of 64. The question
is what a framework adds to the arithmetic, so only the training part of an epoch counts, for all of them.
"""

from __future__ import annotations

import argparse
from statistics import mean
from typing import Any

import torch

import turns
from loops import (
    Pictures,
    accuracy,
    birdplane,
    book,
    book_list,
    by_hand,
    flop_of_an_epoch,
    installed_peers,
    load,
    products,
    tutorial,
)
from turns import Lap, Report, Runner, Spread, Table

SEEDS = 3
FLOORS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
TUTORIAL, BY_HAND = "tutorial idiom", "resident tensors, by hand"
OURS = {"birdplane": "float32", "birdplane, bfloat16": "bfloat16"}
HALVES = ("birdplane, bfloat16", "resident tensors, by hand, bfloat16")


def runners(pictures: Pictures) -> tuple[dict[str, Runner], list[str]]:
    """Return all that takes part, and which peers are not installed."""
    peers, absent = installed_peers()
    slow: dict[str, Runner] = {
        TUTORIAL: tutorial(pictures),
        "book's loop": book(pictures),
        "book's loop, tensors in a list": book_list(pictures),
        **{name: build(pictures) for name, build in peers.items()},
        **{f"{name}, tensors": build(pictures, tensors=True) for name, build in peers.items()},
    }
    quick = {
        BY_HAND: by_hand(pictures),
        f"{BY_HAND}, bfloat16": by_hand(pictures, "bfloat16"),
        **{name: birdplane(pictures, precision) for name, precision in OURS.items()},
    }
    floors = {_floor(name): products(pictures, dtype) for name, dtype in FLOORS.items()}
    return {**slow, **quick, **floors}, absent


def _floor(precision: str) -> str:
    return f"floor, {precision}"


def epochs_table(laps: dict[str, list[Lap]], pictures: Pictures) -> Table:
    table = Table(
        ["loop", "seconds an epoch", "tutorial / it", "it / by hand", "it / floor", "loss of the last epoch"]
    )
    for name, taken in laps.items():
        if name.startswith("floor"):
            continue
        floor = laps[_floor("bfloat16" if name in HALVES else "float32")]
        table.rows.append(
            [
                name,
                Spread.of(turns.seconds(taken)).text(),
                turns.ratios(laps[TUTORIAL], taken).text(),
                turns.ratios(taken, laps[BY_HAND]).text(),
                turns.ratios(taken, floor).text(),
                f"{taken[-1].figure:.4f}",
            ]
        )
    table.notes.append(_floors_in_words(laps, pictures))
    return table


def _floors_in_words(laps: dict[str, list[Lap]], pictures: Pictures) -> str:
    flop = flop_of_an_epoch(pictures)
    told = []
    for precision in FLOORS:
        rate = Spread.of(lap.figure for lap in laps[_floor(precision)]).median
        told.append(f"{flop / rate / 1e9:.3f} s in {precision} (at {rate:.0f} GFLOP/s)")
    return (
        f"The floor is the arithmetic of the matrix products, {flop / 1e9:.1f} GFLOP an epoch, over the rate "
        f"measured at their shapes in the same rounds: {', '.join(told)}."
    )


def accuracies(section: dict[str, Any], epochs: int) -> dict[str, list[float]]:
    """Return the accuracy on the test split of each precision, seed by seed, the seeds in turns."""
    found: dict[str, list[float]] = {precision: [] for precision in FLOORS}
    for seed in range(SEEDS):
        for precision, reached in found.items():
            reached.append(accuracy(section, precision, seed, epochs))
    return found


def accuracy_table(found: dict[str, list[float]], epochs: int) -> Table:
    table = Table([f"birdplane, {epochs} epochs", f"test accuracy, mean of {SEEDS} seeds", "seed by seed"])
    for precision, reached in found.items():
        table.rows.append([precision, f"{mean(reached):.4f}", ", ".join(f"{share:.4f}" for share in reached)])
    points = 100 * (mean(found["bfloat16"]) - mean(found["float32"]))
    table.notes.append(f"bfloat16 is {points:+.2f} points from float32.")
    return table


def options() -> argparse.Namespace:
    made = turns.with_pictures(turns.parser(__doc__, rounds=7))
    made.add_argument("--accuracy", action="store_true", help="compare the precisions' accuracies as well")
    made.add_argument("--epochs", type=int, help="epochs of that comparison [20; quick: 1]")
    return turns.parsed(made)


def main() -> None:
    asked = options()
    section = turns.dataset(asked, 256, 64) if asked.quick else turns.dataset(asked)
    pictures = load(section)
    taking_part, absent = runners(pictures)
    laps = turns.in_turns(taking_part, asked)
    tables = [epochs_table(laps, pictures)]
    figures: dict[str, Any] = {"laps": laps}
    if absent:
        tables[0].notes.append(f"Not installed here, and so left out: {', '.join(absent)}.")
    if asked.accuracy:
        epochs = asked.epochs or (1 if asked.quick else 20)
        figures["accuracy"] = accuracies(section, epochs)
        tables.append(accuracy_table(figures["accuracy"], epochs))
    data = f"{len(pictures):,}, {turns.pictures_in_words(asked)}"
    packages = ["torch", "torchvision", "lightning", "pytorch-ignite", "skorch"]
    facts = turns.facts(packages, pictures=data, rounds=str(asked.rounds))
    Report("epoch", tables, figures, facts).tell(asked)


if __name__ == "__main__":
    main()
