"""`birdplane mistakes`: the pictures that a trained model gets wrong, those first of which it is surest."""

from __future__ import annotations

import base64
import io
import shutil
import sys
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from birdplane.cli import app
from birdplane.cli.inspecting import Checkpoint, Device, Which, opened
from birdplane.cli.options import Json, RunName, Runs
from birdplane.cli.screen import (
    columns,
    percent,
    print_heading,
    print_json,
    print_table,
    showing_preparation,
    shows,
)
from birdplane.errors import UsageError, nearest
from birdplane.text import plain

if TYPE_CHECKING:
    import numpy as np

    from birdplane.inspection import Judged, Mistake, TrainedModel
    from birdplane.tui.blocks import Picture

_SIDE = 32  # pixels: half blocks make them 32 columns and 16 rows
_GAP = 2
_ENCODED_SIDE = 256


class Part(StrEnum):
    """A split of a run's pictures."""

    VALIDATION = "validation"
    TRAIN = "train"


@app.command()
def mistakes(
    run: RunName,
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="Show at most so many.")] = 8,
    split: Annotated[Part, typer.Option("--split", help="Which pictures to look at.")] = Part.VALIDATION,
    of: Annotated[
        str | None, typer.Option("--of", metavar="CLASS", help="Only pictures of this class.")
    ] = None,
    taken_for: Annotated[
        str | None, typer.Option("--as", metavar="CLASS", help="Only what is taken for this class.")
    ] = None,
    checkpoint: Checkpoint = Which.BEST,
    device: Device = "auto",
    runs: Runs = None,
    json: Json = False,
) -> None:
    """Show the pictures that a run's model gets wrong, those first of which it is surest.

    On a terminal with colours each is drawn; else they are a table. With --json each has its picture as a data: URI.
    """
    model = opened(run, runs, checkpoint, device)
    wanted = _wanted(model.classes, of, taken_for)
    with showing_preparation():
        judged = model.judge(split.value)
        found = model.mistakes(judged, number, wanted)
    total = int((~judged.right & wanted(judged)).sum())
    if json:
        print_json(
            {
                "run": run,
                "checkpoint": str(checkpoint),
                "split": str(split),
                "classes": list(model.classes),
                "pictures": len(judged.labels),
                "mistakes": total,
                "shown": [_record(mistake) for mistake in found],
            }
        )
        return
    _print(model, judged, found, total)


def _wanted(classes: Sequence[str], of: str | None, taken_for: str | None) -> Callable[[Judged], np.ndarray]:
    """Return a function that tells which pictures are asked for: booleans (N,)."""
    label, taken = _label(classes, of, "--of"), _label(classes, taken_for, "--as")

    def wanted(judged: Judged) -> np.ndarray:
        found: np.ndarray = judged.labels == (judged.labels if label is None else label)
        if taken is not None:
            found &= judged.predicted == taken
        return found

    return wanted


def _label(classes: Sequence[str], name: str | None, option: str) -> int | None:
    if name is None:
        return None
    if name not in classes:
        some = ", ".join(classes[:10]) + (", ..." if len(classes) > 10 else "")
        raise UsageError(f"{option}: there is no class {name!r}{nearest(name, classes)} (allowed: {some})")
    return list(classes).index(name)


def _record(mistake: Mistake) -> dict[str, Any]:
    from birdplane.pictures import as_picture, as_png

    data = base64.b64encode(as_png(as_picture(mistake.pixels, _ENCODED_SIDE))).decode()
    return {
        "index": mistake.index,
        "label": mistake.label,
        "predicted": mistake.predicted,
        "confidence": mistake.confidence,
        "probabilities": mistake.probabilities,
        "picture": f"data:image/png;base64,{data}",
    }


def _print(model: TrainedModel, judged: Judged, found: list[Mistake], total: int) -> None:
    pictures = len(judged.labels)
    print_heading(f"{judged.split}: {total:,} of {pictures:,} pictures are taken for something else")
    if not found:
        return
    which = "all of them" if len(found) == total else f"{len(found)} of them"
    print(f"{which}, the surest first\n")
    width = shutil.get_terminal_size().columns
    lines = drawn(found, width) if sys.stdout.isatty() else []
    if lines:
        print("\n".join(lines))
        return
    few = len(model.classes) > 2
    rows = [
        [str(one.index), one.label, one.predicted, percent(one.confidence), *([_next(one)] if few else [])]
        for one in found
    ]
    print_table(rows, ["picture", "it is", "taken for", "with", *(["the right one with"] if few else [])])


def _next(mistake: Mistake) -> str:
    return percent(mistake.probabilities[mistake.label])


def drawn(found: Sequence[Mistake], width: int) -> list[str]:
    """Return mistakes as lines of half blocks, as many beside each other as fit, or of characters where stdout has no
    half blocks or too few colours."""
    from rich.console import Console

    from birdplane.tui.blocks import ascii_ramp, half_blocks

    colours = Console(file=sys.stdout, color_system="auto").color_system in ("256", "truecolor", "windows")
    tiles = []
    for mistake in found:
        picture = _small(mistake.pixels)
        # Without colours nothing is to be escaped: the ramp is plain characters.
        rows = half_blocks(picture) if colours and shows("▀") else ascii_ramp(picture)
        tiles.append((_as_text(rows), picture.width, _caption(mistake)))
    wide = max(max(side, *(columns(line) for line in caption)) for _, side, caption in tiles)
    across = max(1, (width + _GAP) // (wide + _GAP))
    lines = []
    for begin in range(0, len(tiles), across):
        part = tiles[begin : begin + across]
        high = max(len(rows) for rows, _, _ in part)
        for number in range(high):
            cells = [
                rows[number] + " " * (wide - side) if number < len(rows) else " " * wide
                for rows, side, _ in part
            ]
            lines.append((" " * _GAP).join(cells))
        for number in range(len(part[0][2])):
            texts = [caption[number] + " " * (wide - columns(caption[number])) for _, _, caption in part]
            lines.append((" " * _GAP).join(texts).rstrip())
        lines.append("")
    return lines[:-1]


def _small(pixels: np.ndarray) -> Picture:
    from birdplane.pictures import as_picture
    from birdplane.tui.blocks import Picture

    picture = as_picture(pixels, _SIDE)
    return Picture(picture.width, picture.height, picture.tobytes())


def _as_text(rows: list[list[Any]]) -> list[str]:
    """Return rows of segments with the escape codes that this terminal understands."""
    from rich.console import Console

    file = io.StringIO()
    system: Any = Console(file=sys.stdout, color_system="auto").color_system
    console = Console(file=file, force_terminal=True, color_system=system, width=10_000, legacy_windows=False)
    for row in rows:
        for segment in row:
            console.print(segment.text, style=segment.style, end="", markup=False, highlight=False)
        console.print()
    return file.getvalue().splitlines()


def _caption(mistake: Mistake) -> list[str]:
    return [
        f"{mistake.index}: {_cut(mistake.label)}",
        f"taken for {_cut(mistake.predicted)}, {percent(mistake.confidence)}",
    ]


def _cut(name: str) -> str:
    clean = plain(name)
    return clean if len(clean) <= 24 else f"{clean[:23]}…" if shows("…") else f"{clean[:21]}..."
