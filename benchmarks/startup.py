"""How long the commands that compute nothing take to start, against an empty Typer program.

Both are started by the same interpreter from a script of the kind that pip installs. What a command imports
is looked at in a run of its own, with `-X importtime`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import turns
from turns import Lap, Report, Runner, Spread, Table

EMPTY = "empty Typer program"
HEAVY = ("torch", "torchvision", "textual", "numpy")
_EMPTY_PROGRAM = """\
import sys
import typer

app = typer.Typer(add_completion=False)

@app.command()
def hello() -> None:
    "Do nothing."

sys.exit(app())
"""
_BIRDPLANE = """\
import sys
from birdplane.cli import main
sys.exit(main())
"""
_MISSPELT = """\
[dataset]
use = "sketches"
[model]
use = "fully-conected"
[loss]
use = "cross-entropy"
[optimizer]
use = "sgd"
"""
#: Of each command: its arguments, and the exit code that it should leave with.
COMMANDS = {
    "birdplane --help": (["--help"], 0),
    "birdplane list": (["list"], 0),
    "birdplane list-plugins": (["list-plugins"], 0),
    "birdplane show fully-connected": (["show", "fully-connected"], 0),
    "birdplane check, a misspelt model": (["check", "misspelt.toml"], 2),
    "birdplane runs": (["runs"], 0),
}


class Programs:
    """The scripts in a folder of their own, where they are started too."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name, text in {
            "empty.py": _EMPTY_PROGRAM,
            "bird.py": _BIRDPLANE,
            "misspelt.toml": _MISSPELT,
        }.items():
            (folder / name).write_text(text, encoding="utf-8")
        self._environment = {**os.environ, "BIRDPLANE_RUNS": str(folder / "runs"), "COLUMNS": "100"}

    def commands(self) -> dict[str, tuple[list[str], int]]:
        """Return the words after the interpreter's name, and the exit code, of everything that is started."""
        ours = {name: (["bird.py", *arguments], code) for name, (arguments, code) in COMMANDS.items()}
        return {EMPTY: (["empty.py", "--help"], 0), **ours}

    def run(self, words: list[str], code: int, *flags: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, *flags, *words],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != code:
            raise SystemExit(
                f"{' '.join(words)} left with {done.returncode}, not {code}: {done.stderr[-500:]}"
            )
        return done

    def runners(self) -> dict[str, Runner]:
        def timed(words: list[str], code: int) -> Runner:
            def start() -> Lap:
                began = time.perf_counter()
                self.run(words, code)
                return Lap(time.perf_counter() - began)

            return start

        return {name: timed(*command) for name, command in self.commands().items()}

    def imports(self) -> dict[str, list[str]]:
        """Return which heavy packages, if any, each command imports."""
        return {name: self._heavy(*command) for name, command in self.commands().items()}

    def _heavy(self, words: list[str], code: int) -> list[str]:
        told = self.run(words, code, "-X", "importtime").stderr.splitlines()
        modules = {line.rpartition("|")[2].strip() for line in told if line.startswith("import time:")}
        return [package for package in HEAVY if package in modules]


def table(laps: Mapping[str, list[Lap]], imports: Mapping[str, list[str]]) -> Table:
    made = Table(["command", "milliseconds", "times the empty program", f"imports of {', '.join(HEAVY)}"])
    for name, taken in laps.items():
        milliseconds = Spread.of(1000 * lap.seconds for lap in taken).text(0)
        times = turns.ratios(taken, laps[EMPTY]).text()
        made.rows.append([name, milliseconds, times, ", ".join(imports[name]) or "none"])
    return made


def main() -> None:
    asked = turns.parsed(turns.parser(__doc__, rounds=20))
    with TemporaryDirectory() as folder:
        programs = Programs(Path(folder))
        laps = turns.in_turns(programs.runners(), asked)
        imports = programs.imports()
    facts = turns.facts(["typer", "rich", "pydantic"], rounds=str(asked.rounds))
    Report("startup", [table(laps, imports)], {"laps": laps, "imports": imports}, facts).tell(asked)


if __name__ == "__main__":
    main()
