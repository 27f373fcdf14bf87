"""How long the commands that compute nothing take to start, against an empty Typer program.

Both are started by the same interpreter from a script of the kind that pip installs. What a command imports
is looked at in a run of its own, with `-X importtime`. The last table has the same commands without any plugin but
birdplane's own, and with 50 installed ones of 20 components each, whose modules import nothing but birdplane; at the
first start after they were installed, these are tried in a process of their own, which its last rows have.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from shutil import rmtree
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
PLUGINS, COMPONENTS = 50, 20
WITH = f", {PLUGINS} plugins"
NEW = f", {PLUGINS} new plugins"
ONE_NEW = ", 1 new plugin"
_PLUGIN = """\
from birdplane import Loss, hookimpl


@hookimpl
def birdplane_components():
    return [
        Loss(name=f"loss-{{number}}", target="plugin_{0}:loss", summary="One of many.")
        for number in range({1})
    ]
"""
#: The commands that load plugins, and the one that is started where they are new.
LOADING = ("birdplane --help", "birdplane list", "birdplane list-plugins", "birdplane show fully-connected")
FIRST = "birdplane list"
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
        self._environment = {
            **os.environ,
            "BIRDPLANE_RUNS": str(folder / "runs"),
            "BIRDPLANE_CACHE": str(folder / "cache"),
            "COLUMNS": "100",
        }

    def commands(self) -> dict[str, tuple[list[str], int]]:
        """Return the words after the interpreter's name, and the exit code, of everything that is started."""
        ours = {name: (["bird.py", *arguments], code) for name, (arguments, code) in COMMANDS.items()}
        return {EMPTY: (["empty.py", "--help"], 0), **ours}

    def install_plugins(self) -> None:
        """Leave what pip would leave of the plugins in folders of their own, and start each command once: what is
        tried or compiled at the first start only is not what a start takes."""
        for site, count in (("site", PLUGINS), ("one", 1)):
            for number in range(count):
                _install(self.folder / site, number)
        for name in LOADING:
            self.run(*self.commands()[name], more=self._with("site"))
        self.run(*self.commands()[FIRST], more=self._with("one"))

    def _with(self, site: str) -> dict[str, str]:
        """Return the variables with which the plugins of a folder are found, and what is known of them kept apart."""
        return {"PYTHONPATH": str(self.folder / site), "BIRDPLANE_CACHE": str(self.folder / f"{site}-cache")}

    def plugin_runners(self) -> dict[str, Runner]:
        """Return each command that loads plugins, without any and with many, and one of them where they are new."""

        def timed(name: str, more: Mapping[str, str], *, forget: bool = False) -> Runner:
            def start() -> Lap:
                if forget:
                    rmtree(more["BIRDPLANE_CACHE"])
                began = time.perf_counter()
                self.run(*self.commands()[name], more=more)
                return Lap(time.perf_counter() - began)

            return start

        without = {name: timed(name, {"BIRDPLANE_DISABLE_PLUGINS": "*"}) for name in LOADING}
        many = {f"{name}{WITH}": timed(name, self._with("site")) for name in LOADING}
        return {
            **without,
            **many,
            FIRST + ONE_NEW: timed(FIRST, self._with("one"), forget=True),
            # The last, as the next round's first start finds the plugins known.
            FIRST + NEW: timed(FIRST, self._with("site"), forget=True),
        }

    def run(
        self, words: list[str], code: int, *flags: str, more: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, *flags, *words],
            cwd=self.folder,
            env={**self._environment, **(more or {})},
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


def _install(site: Path, number: int) -> None:
    """Leave what pip would leave of one plugin."""
    information = site / f"birdplane_plugin_{number}-1.0.dist-info"
    information.mkdir(parents=True)
    (site / f"plugin_{number}.py").write_text(_PLUGIN.format(number, COMPONENTS), encoding="utf-8")
    facts = f"Metadata-Version: 2.1\nName: birdplane-plugin-{number}\nVersion: 1.0\n"
    (information / "METADATA").write_text(facts, encoding="utf-8")
    points = f"[birdplane]\nplugin-{number} = plugin_{number}\n"
    (information / "entry_points.txt").write_text(points, encoding="utf-8")


def table(laps: Mapping[str, list[Lap]], imports: Mapping[str, list[str]]) -> Table:
    made = Table(["command", "milliseconds", "times the empty program", f"imports of {', '.join(HEAVY)}"])
    for name, taken in laps.items():
        milliseconds = Spread.of(1000 * lap.seconds for lap in taken).text(0)
        times = turns.ratios(taken, laps[EMPTY]).text()
        made.rows.append([name, milliseconds, times, ", ".join(imports[name]) or "none"])
    return made


def plugin_table(laps: Mapping[str, list[Lap]]) -> Table:
    made = Table(["command", "milliseconds without", "milliseconds with", "times"])
    compared = [(name, name + WITH) for name in LOADING] + [(FIRST, FIRST + new) for new in (ONE_NEW, NEW)]
    for name, many in compared:
        spreads = [Spread.of(1000 * lap.seconds for lap in laps[one]).text(0) for one in (name, many)]
        made.rows.append([many, *spreads, turns.ratios(laps[many], laps[name]).text()])
    return made


def main() -> None:
    asked = turns.parsed(turns.parser(__doc__, rounds=20))
    with TemporaryDirectory() as folder:
        programs = Programs(Path(folder))
        laps = turns.in_turns(programs.runners(), asked)
        imports = programs.imports()
        programs.install_plugins()
        plugins = turns.in_turns(programs.plugin_runners(), asked)
    facts = turns.facts(["typer", "rich", "pydantic"], rounds=str(asked.rounds))
    tables = [table(laps, imports), plugin_table(plugins)]
    Report("startup", tables, {"laps": laps, "imports": imports, "plugins": plugins}, facts).tell(asked)


if __name__ == "__main__":
    main()
