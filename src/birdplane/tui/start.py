"""From the words of the command line to the cockpit, by the shortest way there is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from birdplane.errors import UsageError

if TYPE_CHECKING:
    from birdplane.tui.state import Cockpit


def opened_quickly(words: list[str]) -> bool:
    """Open the cockpit where the command line is `tui` and nothing unusual; return whether that was so.

    The usual way imports typer and all commands, reads every plugin's entry points and imports pydantic before it
    knows which command is meant: that would be a good part of the time until something is painted.
    """
    if words[:1] != ["tui"]:
        return False
    given: dict[str, str] = {}
    rest = iter(words[1:])
    for word in rest:
        key = word if word in ("--pipeline", "--runs") else "" if word[:1] not in ("-", "") else "?"
        value = next(rest, "") if key.startswith("--") else word
        if key == "?" or key in given or value[:1] in ("-", ""):
            return False
        given[key] = value
    open_cockpit(given.get(""), given.get("--pipeline"), Path(given["--runs"]) if "--runs" in given else None)
    return True


def open_cockpit(run: str | None, pipeline: str | None, runs: Path | None) -> None:
    """Run the cockpit in this terminal until it is left.

    Raises:
        UsageError: there is no terminal here, or the run or the pipeline cannot be used.
    """
    from birdplane.tui.app import open_draft, run_cockpit, terminal_trouble

    trouble = terminal_trouble()
    if trouble:
        raise UsageError(
            f"the cockpit needs a terminal: {trouble}; `birdplane train` and `watch` work anywhere"
        )

    def make() -> Cockpit:
        from birdplane.runs import Run, runs_folder
        from birdplane.tui.settings import load
        from birdplane.tui.state import Cockpit, Draft

        folder = runs_folder(runs)
        opened = Run.open(folder, run) if run else None
        return Cockpit(folder, load(), Draft(*open_draft(pipeline)), opened)

    run_cockpit(make, "train" if run else "build")
