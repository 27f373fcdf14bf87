"""`birdplane check-plugin`: whether what a plugin brings keeps to the contract."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from fnmatch import fnmatchcase
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any

import typer

from birdplane.cli import app
from birdplane.cli.options import Json
from birdplane.cli.screen import print_facts, print_heading, print_json
from birdplane.errors import UsageError
from birdplane.text import duration, plain

if TYPE_CHECKING:
    from birdplane.plugins import Plugin
    from birdplane.testing import Outcome

_SIGNS = {"passed": "ok", "failed": "FAILED", "skipped": "skipped"}


@app.command("check-plugin")
def check_plugin(
    plugin: Annotated[str, typer.Argument(help="The name of an installed plugin.", metavar="NAME")],
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME.KEY=VALUE",
            help="Check a component with this parameter, such as 'zoo/*.input_shape=[3, 64, 64]'; may be repeated.",
        ),
    ] = None,
    members: Annotated[
        int, typer.Option("--members", min=0, help="How many members of each family are checked.")
    ] = 3,
    only: Annotated[
        str | None,
        typer.Option("--only", metavar="PATTERN", help="Only what is called like this, such as 'model:*'."),
    ] = None,
    each: Annotated[bool, typer.Option("--all", help="Show each check, not only those that fail.")] = False,
    json: Json = False,
) -> None:
    """Say whether what a plugin brings does what birdplane expects of it; nothing is downloaded."""
    from birdplane.testing import checks, outcomes, plugin_called

    found = plugin_called(plugin)
    planned = list(checks(found.name, parameters=_parameters(assignments or []), members=members))
    if only is not None:
        planned = [check for check in planned if fnmatchcase(check.subject, only)]
        if not planned:
            raise UsageError(f"--only {only}: nothing that is checked is called like this")
    width = max(len(plain(check.subject)) for check in planned)
    made: list[Outcome] = []
    with _quiet(json):
        for _, group in groupby(planned, key=lambda check: check.subject):
            done = list(outcomes(group))
            made += done
            if not json:
                _print_subject(done, width, each)
    if json:
        print_json(_report(found, made))
    else:
        _print_sum(found, made)
    if any(outcome.status == "failed" for outcome in made):
        raise typer.Exit(1)


@contextmanager
def _quiet(wanted: bool) -> Iterator[None]:
    """Keep what components print out of the JSON."""
    if wanted:
        with redirect_stdout(sys.stderr):
            yield
    else:
        yield


def _parameters(assignments: list[str]) -> dict[str, dict[str, Any]]:
    """Read `NAME.KEY=VALUE`; a name may have dots in it, and a key has none."""
    from birdplane.documents import value_of

    given: dict[str, dict[str, Any]] = {}
    for assignment in assignments:
        place, equals, text = assignment.partition("=")
        name, dot, key = place.strip().rpartition(".")
        if not (equals and dot and name and key):
            raise UsageError(f"--set {assignment}: expected NAME.KEY=VALUE, such as demo/tiny.width=8")
        given.setdefault(name, {})[key] = value_of(text.strip())
    return given


def _print_subject(done: list[Outcome], width: int, each: bool) -> None:
    counts = Counter(outcome.status for outcome in done)
    words = [f"{count} {status}" for status in ("passed", "failed", "skipped") if (count := counts[status])]
    sign = "FAILED" if counts["failed"] else "ok"
    print(f"{plain(done[0].check.subject).ljust(width)}  {sign.ljust(6)}  {', '.join(words)}", flush=True)
    shown = done if each else [outcome for outcome in done if outcome.status == "failed"]
    for outcome in shown:
        reason = f": {outcome.reason}" if outcome.reason else ""
        print(plain(f"    {_SIGNS[outcome.status].ljust(7)}  {outcome.check.name}{reason}"))
        if outcome.status == "failed":
            print(plain(f"             {outcome.check.about}"))


def _print_sum(found: Plugin, made: list[Outcome]) -> None:
    skipped = Counter(outcome.reason for outcome in made if outcome.status == "skipped")
    if skipped:
        print()
        print_heading("skipped, because")
        print_facts([(f"{count:5}", reason) for reason, count in skipped.most_common()])
    counts = Counter(outcome.status for outcome in made)
    seconds = duration(sum(outcome.seconds for outcome in made))
    print()
    print(
        plain(
            f"{found.name} ({found.package} {found.version}): {counts['passed']} passed, "
            f"{counts['failed']} failed, {counts['skipped']} skipped, in {seconds}"
        )
    )


def _report(found: Plugin, made: list[Outcome]) -> dict[str, Any]:
    counts = Counter(outcome.status for outcome in made)
    return {
        "plugin": found.name,
        "package": found.package,
        "version": found.version,
        "passed": counts["passed"],
        "failed": counts["failed"],
        "skipped": counts["skipped"],
        "checks": [
            {
                "subject": outcome.check.subject,
                "check": outcome.check.name,
                "about": outcome.check.about,
                "status": outcome.status,
                "reason": outcome.reason,
                "seconds": round(outcome.seconds, 3),
            }
            for outcome in made
        ],
    }
