"""`birdplane probe`: how right runs still are on pictures that were moved, mirrored, made darker or noisy."""

from __future__ import annotations

import os
import re
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from birdplane.cli import app
from birdplane.cli.inspecting import Checkpoint, Device, Which, opened
from birdplane.cli.options import Json, Runs
from birdplane.cli.screen import (
    columns,
    percent,
    print_facts,
    print_heading,
    print_json,
    print_table,
    showing_preparation,
    shows,
)
from birdplane.errors import UsageError, nearest
from birdplane.text import plain

if TYPE_CHECKING:
    from birdplane.probing import Probe

_SHADES = " ░▒▓█"
_ASCII_SHADES = " .:+#"


@app.command()
def probe(
    runs_named: Annotated[
        list[str], typer.Argument(metavar="RUN...", help="Runs, by their names or folders.")
    ],
    shift: Annotated[int, typer.Option("--shift", min=0, help="The furthest shift, in pixels.")] = 8,
    step: Annotated[
        int, typer.Option("--step", min=1, help="Pixels from one position of the map to the next.")
    ] = 2,
    fill: Annotated[
        str,
        typer.Option("--fill", help="What fills the gaps: edge, zero, reflect, wrap, as in random-shift."),
    ] = "edge",
    pictures: Annotated[
        int, typer.Option("--pictures", min=1, help="Look at no more validation pictures than these.")
    ] = 2000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The seed of the noise.")] = 0,
    png: Annotated[
        Path | None, typer.Option("--png", metavar="FILE", help="Write the maps as a picture.")
    ] = None,
    svg: Annotated[Path | None, typer.Option("--svg", metavar="FILE", help="Write the maps as SVG.")] = None,
    checkpoint: Checkpoint = Which.BEST,
    device: Device = "auto",
    runs: Runs = None,
    json: Json = False,
) -> None:
    """Show how right runs still are on validation pictures that were moved, mirrored, made darker or noisy.

    A map has the accuracy, in percent, at each shift: to the right across, and down. A fully connected net has
    learned each thing at its place; what is moved is new to it.
    """
    from birdplane.probing import FILLS

    if fill not in FILLS:
        raise UsageError(f"--fill: there is no {fill!r}{nearest(fill, FILLS)} (allowed: {', '.join(FILLS)})")
    for file in (png, svg):
        _require_folder(file)
    probes = _probed(
        runs_named, runs, checkpoint, device, reach=shift, step=step, fill=fill, pictures=pictures, seed=seed
    )
    _write(probes, png, svg)
    if json:
        print_json({"checkpoint": str(checkpoint), "seed": seed, "runs": [_record(one) for one in probes]})
        return
    _print_maps(probes)
    _print_figures(probes)


def _require_folder(file: Path | None) -> None:
    if file is not None and not file.parent.is_dir():
        raise UsageError(f"{file}: there is no folder {str(file.parent)!r}")


def _probed(
    names: list[str], folder: Path | None, checkpoint: Which, device: str, **settings: Any
) -> list[Probe]:
    from birdplane.runs import Run, runs_folder

    for name in names:  # a wrong name is told before the first is probed
        Run.open(runs_folder(folder), name)
    probes = []
    for name in names:
        model = opened(name, folder, checkpoint, device)
        from birdplane.probing.measuring import probe as measured

        with showing_preparation():
            probes.append(measured(model, Run.open(runs_folder(folder), name).name, **settings))
    return probes


def _write(probes: list[Probe], png: Path | None, svg: Path | None) -> None:
    from birdplane import durable
    from birdplane.probing import drawing

    made: list[tuple[Path, bytes]] = []
    if png is not None:
        made.append((png, drawing.png(probes)))
    if svg is not None:
        made.append((svg, drawing.svg(probes).encode()))
    for file, data in made:
        try:
            durable.replace_file(file, data)
        except OSError as error:
            raise durable.trouble(error, "write", file) from error


def _record(one: Probe) -> dict[str, Any]:
    return {**asdict(one), "unmoved": one.unmoved}


# The maps.


def _print_maps(probes: list[Probe]) -> None:
    """Print the maps beside one another, as many as fit."""
    blocks = [_block(one, probes) for one in probes]
    room = shutil.get_terminal_size().columns
    row: list[tuple[list[str], int]] = []
    for block, width in blocks:
        if row and sum(taken + 4 for _, taken in row) + width > room:
            _print_row(row)
            row = []
        row.append((block, width))
    _print_row(row)


def _print_row(row: list[tuple[list[str], int]]) -> None:
    height = max(len(block) for block, _ in row)
    for number in range(height):
        lines = []
        for block, width in row:
            line = block[number] if number < len(block) else ""
            lines.append(line + " " * (width - _visible(line)))
        print("    ".join(lines).rstrip())
    print()


def _visible(line: str) -> int:
    """Return how many columns a line of our own takes: its escape codes take none."""
    return columns(re.sub(r"\x1b\[[0-9;]*m", "", line))


def _block(one: Probe, probes: list[Probe]) -> tuple[list[str], int]:
    """Return a run's map as lines, and how wide it is."""
    from birdplane.probing import scale
    from birdplane.probing.drawing import place, signed

    ends = scale(probes)
    digits = max(len(f"{100 * value:.0f}") for value in ends)
    width = max(digits + 2, *(len(signed(offset)) + 1 for offset in one.offsets))
    label = max(len(signed(offset)) for offset in one.offsets)
    heading = "".join(signed(offset).rjust(width) for offset in one.offsets)
    name = plain(one.run)
    lines = [name, " " * label + heading]
    for dy, values in zip(one.offsets, one.accuracy, strict=True):
        cells = "".join(_cell(f"{100 * value:.0f}", place(value, ends), width) for value in values)
        lines.append(f"{signed(dy).rjust(label)}{cells}")
    return lines, max(columns(name), label + width * len(one.offsets))


def _cell(number: str, share: float, width: int) -> str:
    """Return a number on its colour; where there are no colours, after a character that is the denser the higher."""
    from birdplane.probing.drawing import colour_of, ink_on

    if not _coloured():
        shades = _SHADES if shows(_SHADES) else _ASCII_SHADES
        shade = shades[min(len(shades) - 1, int(share * len(shades)))]
        return f"{shade}{number}".rjust(width)
    colour = colour_of(share)
    back, ink = (";".join(map(str, value)) for value in (colour, ink_on(colour)))
    return f"\x1b[48;2;{back}m\x1b[38;2;{ink}m{number.rjust(width - 1)} \x1b[0m"


def _coloured() -> bool:
    """Whether stdout is a terminal that says it shows all colours, and colours are wanted."""
    deep = os.environ.get("COLORTERM", "") in ("truecolor", "24bit")
    return deep and sys.stdout.isatty() and "NO_COLOR" not in os.environ


# The figures below them.


def _print_figures(probes: list[Probe]) -> None:
    from birdplane.probing import FILLS, TOLD
    from birdplane.probing.drawing import points

    first = probes[0]
    counts = dict.fromkeys(f"{one.pictures:,} of {one.available:,}" for one in probes)
    print_facts(
        [
            ("across, down", "pixels to the right, and down; accuracy in percent"),
            ("gaps filled by", FILLS[first.fill]),
            ("pictures", f"{'; '.join(counts)} validation pictures, changed as they are stored"),
        ]
    )
    print()
    rows = [["as they are", *(percent(one.unmoved) for one in probes)]]
    for index, cost in enumerate(first.costs):
        shares = [percent(one.costs[index].accuracy) for one in probes]
        rows.append([f"moved by {cost.pixels} pixels", *shares])
    for index, change in enumerate(first.changes):
        shares = [percent(one.changes[index].accuracy) for one in probes]
        rows.append([_words(change.kind, change.what), *shares])
    print_table(rows, ["accuracy", *(one.run for one in probes)])
    if not first.costs:
        return
    print()
    told = min(TOLD, first.offsets[-1])
    for index, cost in enumerate(first.costs):
        if cost.pixels == told:
            print_heading(
                f"what a shift of {told} pixels costs (mean of the eight positions at that distance)"
            )
            print_facts([(f"  {plain(one.run)}", points(one.costs[index].cost)) for one in probes])


def _words(kind: str, what: str) -> str:
    return what if kind == "flip" else f"{kind} {what}"
