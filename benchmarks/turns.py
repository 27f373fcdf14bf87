"""What the benchmarks share: taking turns, ratios, tables, the facts of the machine, the pictures.

On a machine that others use too, a figure taken now and one taken in a minute do not compare. So whatever is
to be compared takes turns, A B C ... A B C ..., and it is each round's ratio that counts: what slows a round
slows all of it. The first round warms up and is thrown away.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

README = Path(__file__).with_name("README.md")


class Lap(NamedTuple):
    """One turn: how long it took, and a figure that shows what was done, such as a loss."""

    seconds: float
    figure: float = float("nan")


Runner = Callable[[], Lap]


def in_turns(runners: Mapping[str, Runner], options: argparse.Namespace) -> dict[str, list[Lap]]:
    """Let all take turns; return the laps of each, round by round, without those of the first that warms up."""
    laps: dict[str, list[Lap]] = {name: [] for name in runners}
    rounds, warm_up = options.rounds, not options.quick
    for number in range(1 - warm_up, rounds + 1):
        for name, runner in runners.items():
            say(f"round {number} of {rounds}: {name}")
            laps[name].append(runner())
    say("")
    return {name: taken[warm_up:] for name, taken in laps.items()}


def say(doing: str) -> None:
    """Say on a terminal, in a line that is overwritten, what is being measured."""
    if sys.stderr.isatty():
        print(f"\r{doing:79.79}\r", end="", file=sys.stderr, flush=True)


class Spread(NamedTuple):
    """The median, least and greatest of a figure over the rounds."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, figures: Iterable[float]) -> Spread:
        ordered = sorted(figures)
        return cls(median(ordered), ordered[0], ordered[-1])

    def text(self, digits: int = 2) -> str:
        return f"{self.median:.{digits}f} ({self.least:.{digits}f}-{self.most:.{digits}f})"


def seconds(laps: Sequence[Lap]) -> list[float]:
    return [lap.seconds for lap in laps]


def ratios(above: Sequence[Lap], below: Sequence[Lap]) -> Spread:
    """Return how many times as long `above` took as `below`, round by round."""
    return Spread.of(a.seconds / b.seconds for a, b in zip(above, below, strict=True))


# Tables and where they go.


@dataclass
class Table:
    """One table; a cell is text, and a note is a sentence beneath."""

    columns: list[str]
    rows: list[list[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        lines = [self.columns, ["---"] + ["--:"] * (len(self.columns) - 1), *self.rows]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return "\n\n".join([table, *self.notes])


@dataclass
class Report:
    """What a script found out: tables, the figures behind them, and the facts of the run."""

    name: str
    tables: list[Table]
    figures: dict[str, Any]
    facts: dict[str, str]

    def markdown(self) -> str:
        told = "; ".join(f"{key} {value}" for key, value in self.facts.items())
        return "\n\n".join([*(table.markdown() for table in self.tables), f"Measured: {told}."])

    def tell(self, options: argparse.Namespace) -> None:
        """Print it, as text or JSON, and write it into the README where that is asked for."""
        print(json.dumps(asdict(self), indent=1) if options.json else self.markdown())
        if options.write:
            write_between(options.write, self.name, self.markdown())


def write_between(readme: Path, name: str, text: str) -> None:
    """Put `text` between `<!-- name -->` and `<!-- /name -->` of a file.

    Raises:
        SystemExit: the file has no such pair of lines.
    """
    before, opening, rest = readme.read_text(encoding="utf-8").partition(f"<!-- {name} -->\n")
    _, closing, after = rest.partition(f"<!-- /{name} -->")
    if not opening or not closing:
        raise SystemExit(f"{readme}: there are no lines <!-- {name} --> and <!-- /{name} -->")
    readme.write_text(f"{before}{opening}\n{text}\n\n{closing}{after}", encoding="utf-8")


# The machine.


def facts(packages: Sequence[str], **more: str) -> dict[str, str]:
    """Return what the figures depend on: machine, versions, date, and what the script adds."""
    torch = sys.modules.get("torch")
    threads = {"threads of torch": str(torch.get_num_threads())} if torch else {}
    return {
        "on": f"{_processor()}, {_cores()} cores",
        **threads,
        **more,
        "Python": platform.python_version(),
        **{name: version for name in packages if (version := _version(name))},
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = fields.get("flags", "").split()
    units = [flag for flag in ("avx512f", "avx512_bf16", "amx_bf16") if flag in flags]
    model = fields.get("model name", platform.machine())
    kind = f" (family {fields['cpu family']}, model {fields['model']})" if "cpu family" in fields else ""
    return f"{model}{kind}{' with ' + ', '.join(units) if units else ''}"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


# The command line.


def parser(description: str, rounds: int) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=description.splitlines()[0])
    made.add_argument(
        "--rounds", type=int, help=f"rounds that count, after one to warm up [{rounds}; quick: 1]"
    )
    made.add_argument("--quick", action="store_true", help="a tiny setting, to see that the script works")
    made.add_argument("--json", action="store_true", help="print the figures as JSON")
    made.add_argument(
        "--write", nargs="?", type=Path, const=README, metavar="README", help="put the tables into the README"
    )
    made.set_defaults(usual_rounds=rounds)
    return made


def with_pictures(made: argparse.ArgumentParser) -> argparse.ArgumentParser:
    made.add_argument(
        "--source", help="CIFAR-10's binary archive, for cifar2 [sketches of the same size and number]"
    )
    made.add_argument("--sha256", help="the archive's checksum, where it is not the official one's")
    made.add_argument("--threads", type=int, help="threads of torch on the CPU [its own choice]")
    return made


def parsed(made: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse the command line, and settle what depends on more than one option."""
    options = made.parse_args()
    if options.quick and options.write == README:
        made.error("--quick figures do not belong into the README; name another file after --write")
    if options.rounds is None:
        options.rounds = 1 if options.quick else options.usual_rounds
    if options.rounds < 1:
        made.error("--rounds: at least 1")
    if getattr(options, "threads", None):
        import torch

        torch.set_num_threads(options.threads)
    return options


# The pictures.


def dataset(options: argparse.Namespace, train: int = 10_000, test: int = 2_000) -> dict[str, Any]:
    """Return the pipeline's section: cifar2 of the archive that was given, else as many sketches."""
    if options.source:
        checksum = {"sha256": options.sha256} if options.sha256 else {}
        return {"use": "cifar2", "source": options.source, **checksum}
    return {"use": "sketches", "train": train, "test": test}


def pictures_in_words(options: argparse.Namespace) -> str:
    return "cifar2 of real pictures" if options.source else "sketches, not real pictures"
