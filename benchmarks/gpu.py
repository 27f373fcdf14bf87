"""How long an epoch of the chapter's net takes on a GPU: birdplane, the book's loop moved there, one by hand."""

from __future__ import annotations

import torch

import turns
from loops import Pictures, birdplane, book, book_list, by_hand, load, products, tutorial
from turns import Lap, Report, Runner, Spread, Table

BOOK, BY_HAND = "book's loop", "resident tensors, by hand"


def runners(pictures: Pictures) -> dict[str, Runner]:
    return {
        BOOK: book(pictures),
        "book's loop, tensors in a list": book_list(pictures),
        "tutorial idiom": tutorial(pictures),
        BY_HAND: by_hand(pictures),
        f"{BY_HAND}, bfloat16": by_hand(pictures, "bfloat16"),
        "birdplane": birdplane(pictures),
        "birdplane, bfloat16": birdplane(pictures, "bfloat16"),
        "matrix products alone, float32": products(pictures, torch.float32),
        "matrix products alone, bfloat16": products(pictures, torch.bfloat16),
    }


def table(laps: dict[str, list[Lap]]) -> Table:
    made = Table(
        ["loop", "milliseconds an epoch", "book's loop / it", "it / by hand", "loss of the last epoch"]
    )
    for name, taken in laps.items():
        alone = name.startswith("matrix")
        made.rows.append(
            [
                name,
                Spread.of(1000 * lap.seconds for lap in taken).text(1),
                turns.ratios(laps[BOOK], taken).text(1),
                turns.ratios(taken, laps[BY_HAND]).text(),
                "" if alone else f"{taken[-1].figure:.4f}",
            ]
        )
    made.notes.append(
        "The matrix products alone are launched one by one: at this size that is what they cost."
    )
    return made


def main() -> None:
    asked = turns.parsed(turns.with_pictures(turns.parser(__doc__, rounds=7)))
    if not torch.cuda.is_available():
        print("there is no CUDA GPU here: nothing to measure")
        return
    section = turns.dataset(asked, 256, 64) if asked.quick else turns.dataset(asked)
    pictures = load(section, "cuda")
    laps = turns.in_turns(runners(pictures), asked)
    data = f"{len(pictures):,}, {turns.pictures_in_words(asked)}"
    facts = turns.facts(["torch", "torchvision"], GPU=torch.cuda.get_device_name(), pictures=data)
    Report("gpu", [table(laps)], {"laps": laps}, facts).tell(asked)


if __name__ == "__main__":
    main()
