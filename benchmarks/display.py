"""What the record and the live display cost: a small quick net trained with and without them.

Four processes in turns train the same pipeline: the events thrown away; recorded in a run folder; recorded
and printed as plain lines; recorded and drawn live on a terminal. Seconds are those from the event `start`
to the event `end`, so loading torch and the pictures is not in them.
"""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

import turns
from turns import Lap, Report, Runner, Spread, Table

UNSEEN = "events thrown away"
_PIPELINE = """\
seed = 0
[dataset]
use = "sketches"
train = {train}
test = 64
[[transforms]]
use = "to-tensor"
[model]
use = "fully-connected"
hidden = [16]
[loss]
use = "cross-entropy"
[optimizer]
use = "sgd"
[training]
epochs = {epochs}
batch_size = 16
device = "cpu"
"""
_LOOP = """\
import sys
from birdplane.events import End, Start, to_json
from birdplane.pipeline import Pipeline
from birdplane.runs import Run
from birdplane.training import train
pipeline = Pipeline.load(sys.argv[1])
run = Run.create(__import__("pathlib").Path(sys.argv[2]), pipeline_toml=pipeline.to_toml()) if sys.argv[2:] else None
for event in train(pipeline, run):
    if isinstance(event, (Start, End)):
        print(to_json(event))
"""
_COMMAND = "from birdplane.cli import main; main()"


def runners(folder: Path) -> dict[str, Runner]:
    """Return a runner of each way; each starts a process of its own and waits for its end."""
    file = str(folder / "small.toml")
    train = [sys.executable, "-c", _COMMAND, "train", file]

    def thrown_away() -> Lap:
        return _told([sys.executable, "-c", _LOOP, file])

    def recorded() -> Lap:
        return _told([sys.executable, "-c", _LOOP, file, str(folder / "recorded")])

    def plain() -> Lap:
        runs = _fresh(folder, "plain")
        subprocess.run([*train, "--plain", "--runs", str(runs)], check=True, capture_output=True)
        return _between((next(runs.iterdir()) / "events.jsonl").read_text(encoding="utf-8"))

    def live() -> Lap:
        runs = _fresh(folder, "live")
        drawn = _on_a_terminal([*train, "--runs", str(runs)])
        lap = _between((next(runs.iterdir()) / "events.jsonl").read_text(encoding="utf-8"))
        return Lap(lap.seconds, drawn / lap.seconds)

    return {
        UNSEEN: thrown_away,
        "recorded": recorded,
        "recorded, plain lines": plain,
        "recorded, drawn live": live,
    }


def _fresh(folder: Path, name: str) -> Path:
    runs = folder / f"{name}-{sum(1 for _ in folder.iterdir())}"
    runs.mkdir()
    return runs


def _told(command: list[str]) -> Lap:
    return _between(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _between(lines: str) -> Lap:
    """Return the seconds from the event `start` to the event `end`."""
    events = [json.loads(line) for line in lines.splitlines() if line.startswith("{")]
    times = {event["event"]: event["time"] for event in events}
    return Lap(times["end"] - times["start"])


def _on_a_terminal(command: list[str]) -> int:
    """Run a command on a terminal of its own, and return how many bytes it drew there."""
    near, far = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}
    process = subprocess.Popen(
        command, stdin=far, stdout=far, stderr=far, env=environment, start_new_session=True
    )
    os.close(far)
    drawn = [0]
    reader = threading.Thread(target=_drain, args=(near, drawn))
    reader.start()
    code = process.wait()
    reader.join()
    os.close(near)
    if code:
        raise SystemExit(f"{' '.join(command[3:])} left with {code}")
    return drawn[0]


def _drain(descriptor: int, drawn: list[int]) -> None:
    try:
        while chunk := os.read(descriptor, 65536):
            drawn[0] += len(chunk)
    except OSError:
        return  # how Linux says that nobody holds the other end any more


def table(laps: dict[str, list[Lap]]) -> Table:
    made = Table(["way", "seconds", "times events thrown away"])
    for name, taken in laps.items():
        made.rows.append(
            [name, Spread.of(turns.seconds(taken)).text(), turns.ratios(taken, laps[UNSEEN]).text(3)]
        )
    drawn = Spread.of(lap.figure / 1000 for lap in laps["recorded, drawn live"])
    made.notes.append(f"The live display draws {drawn.text(1)} kB a second.")
    return made


def main() -> None:
    asked = turns.parsed(turns.parser(__doc__, rounds=5))
    with TemporaryDirectory() as name:
        folder = Path(name)
        size = {"train": 256, "epochs": 2} if asked.quick else {"train": 4096, "epochs": 60}
        (folder / "small.toml").write_text(_PIPELINE.format(**size), encoding="utf-8")
        laps = turns.in_turns(runners(folder), asked)
    facts = turns.facts(["torch", "rich"], rounds=str(asked.rounds))
    Report("display", [table(laps)], {"laps": laps}, facts).tell(asked)


if __name__ == "__main__":
    main()
