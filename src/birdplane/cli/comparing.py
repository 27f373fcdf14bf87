"""`birdplane compare`: runs side by side, and whether what differs is more than chance."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from birdplane.cli import app
from birdplane.cli.options import Json, Runs
from birdplane.cli.screen import print_heading, print_json, print_table, shows
from birdplane.errors import UsageError
from birdplane.text import duration, plain

if TYPE_CHECKING:
    from birdplane.comparing import Column, Difference, Figure

#: Curves beyond these cannot be told apart.
_MOST = 6
_FEW = 5


@app.command()
def compare(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...", help="Runs, or groups of them that `train --seeds` made, by their names."
        ),
    ],
    runs: Runs = None,
    json: Json = False,
) -> None:
    """Show runs side by side: settings that differ, figures, curves, and whether a difference is more than chance.

    A difference is called larger than chance where it is more than twice its standard error, sqrt(s1^2/n1 + s2^2/n2),
    which takes the spread s over the seeds of at least one of the two.
    """
    from birdplane import comparing, groups
    from birdplane.runs import Run, runs_folder

    if len(names) > _MOST:
        raise UsageError(f"{len(names)} runs cannot be told apart side by side; at most {_MOST}")
    folder = runs_folder(runs)
    chosen = [groups.find(folder, name) or Run.open(folder, name) for name in names]
    columns = [comparing.column(one) for one in chosen]
    differing = comparing.differing([one.settings for one in columns])
    differences = comparing.differences(columns)
    if json:
        print_json(
            {
                "runs": [record(one) for one in columns],
                "differing": {key: list(values) for key, values in differing},
                "differences": [asdict(one) for one in differences],
            }
        )
        return
    _print_settings(columns, differing)
    _print_figures(columns)
    _print_curves(columns)
    _print_differences(differences)


def record(column: Column) -> dict[str, Any]:
    """Return a column as JSON has it: each run, and mean and spread of its figures."""
    from birdplane.comparing import FIGURES

    figures = {key: column.figure(key) for key in FIGURES}
    return {
        "name": column.name,
        "settings": column.settings,
        "outcomes": [asdict(outcome) for outcome in column.outcomes],
        "figures": {key: asdict(found) if found else None for key, found in figures.items()},
    }


def print_group(column: Column) -> None:
    """Print mean and spread of a group's figures."""
    from birdplane.comparing import FIGURES

    print_heading(f"{column.name}: runs of {len(column.outcomes)} seeds")
    rows = []
    for key, name in FIGURES.items():
        if (found := column.figure(key)) is not None:
            each = [getattr(outcome, key) for outcome in column.outcomes]
            values = [value for value in each if value is not None]
            spread = _number(key, found.spread) if found.spread is not None else "-"
            rows.append(
                [
                    f"  {name}",
                    _number(key, found.mean),
                    spread,
                    _number(key, min(values)),
                    _number(key, max(values)),
                ]
            )
    print_table(rows, ["", "mean", "spread", "least", "greatest"])


def _states(column: Column) -> str:
    states = [outcome.state for outcome in column.outcomes]
    if len(states) == 1:
        return states[0]
    return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))


def _print_settings(columns: list[Column], differing: list[tuple[str, list[str]]]) -> None:
    if len(columns) == 1:
        return
    if not differing:
        print("They were set the same.\n")
        return
    print_table(
        [[key, *values] for key, values in differing], ["set differently", *(c.name for c in columns)]
    )
    print()


def _print_figures(columns: list[Column]) -> None:
    from birdplane.comparing import FIGURES

    rows = [["state", *map(_states, columns)], ["epochs", *map(_epochs, columns)]]
    rows += [[name, *(_cell(key, column.figure(key)) for column in columns)] for key, name in FIGURES.items()]
    print_table(rows, ["what came of it", *(column.name for column in columns)])


def _epochs(column: Column) -> str:
    found = [f"{one.epochs} of {one.of}" if one.of else str(one.epochs) for one in column.outcomes]
    return ", ".join(dict.fromkeys(found))


def _cell(key: str, found: Figure | None) -> str:
    if found is None:
        return "-"
    if found.spread is None:
        return _number(key, found.mean)
    return f"{_number(key, found.mean)} {'±' if shows('±') else '+-'} {_number(key, found.spread)}"


def _number(key: str, value: float) -> str:
    if key.endswith("accuracy"):
        return f"{100 * value:.2f} %"
    return duration(value) if key == "seconds" else f"{value:.4f}"


def _print_curves(columns: list[Column]) -> None:
    from birdplane.cli.plotting import plotted

    for title, curves in (
        ("validation loss", [(plain(one.name), one.curve("losses")) for one in columns]),
        (
            "validation accuracy, %",
            [(plain(one.name), [(x, 100 * y) for x, y in one.curve("accuracies")]) for one in columns],
        ),
    ):
        drawn = [(name, points) for name, points in curves if points]
        ends = [x for _, points in drawn for x, _ in points]
        if ends and min(ends) < max(ends):
            print()
            print_heading(title)
            print("\n".join(plotted(drawn)))


def _print_differences(differences: list[Difference]) -> None:
    if not differences:
        return
    print()
    for one in differences:
        print(plain(_sentence(one)))
    if any(one.verdict == "unknown" for one in differences):
        print(f"`birdplane train PIPELINE --seeds {_FEW}` trains {_FEW} of a kind, whose spread tells.")


def _sentence(one: Difference) -> str:
    from birdplane.comparing import FIGURES, STANDARD_ERRORS

    above = "above" if one.difference > 0 else "below"
    by = f"{_amount(one.figure, one.difference)} {above}" if one.difference else "the same as"
    head = f"{FIGURES[one.figure]} of {one.of}: {by} that of {one.against}"
    if one.standard_error is None:
        return f"{head}; one run each has no spread: whether that is chance cannot be told"
    twice = _amount(one.figure, STANDARD_ERRORS * one.standard_error)
    if one.verdict == "larger":
        return f"{head}, more than chance: twice the standard error is {twice}"
    return f"{head}, which may be chance: twice the standard error is {twice}"


def _amount(key: str, value: float) -> str:
    return f"{100 * abs(value):.2f} points" if key.endswith("accuracy") else f"{abs(value):.4f}"
