"""One run that is being trained, and its TensorBoard files."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path
from typing import Any

from birdplane import UsageError, durable
from birdplane_tensorboard import summaries
from birdplane_tensorboard.files import EventFile, event_files

#: A folder for the files of all runs, instead of one within each run.
FOLDER_VARIABLE = "BIRDPLANE_TENSORBOARD"
#: How many training pictures of each class to show; 0 for none.
PICTURES_VARIABLE = "BIRDPLANE_TENSORBOARD_PICTURES"
_PICTURES = 8
#: In the run's folder: where its files are, when that is elsewhere.
_NOTE = "tensorboard.json"


class Tracker:
    """Writes what a run's events say.

    Args:
        run: the run's folder.
        start: the event with which this session begins; files of earlier sessions are rewound to its step.

    Raises:
        OSError: the files cannot be written.
    """

    def __init__(self, run: Any, start: Any) -> None:
        self._run = run
        self._start = start
        self._file = EventFile(files_folder(run), start.step)

    def begin(self) -> None:
        """Write what stands at a run's beginning: hyper-parameters and pictures; a resumed run has them.

        Raises:
            UsageError: a setting is wrong. Events are written all the same.
        """
        if self._file.continues:
            return
        pipeline = tomllib.loads(self._run.pipeline_toml())
        for summary in summaries.hyperparameters(pipeline, self._run.name, self._start.time):
            self._file.write(wall_time=self._start.time, step=self._start.step, summary=summary)
        self._show_pictures(pipeline["dataset"], pictures_wanted())

    def _show_pictures(self, section: dict[str, Any], count: int) -> None:
        if count == 0:
            return
        from birdplane_tensorboard.grid import training_pictures

        png, size, description = training_pictures(section, self._start.facts["classes"], count)
        summary = summaries.picture("pictures/training", png, size, description)
        self._file.write(wall_time=self._start.time, step=self._start.step, summary=summary)

    def tell(self, event: Any) -> None:
        """Write an event; kinds that have nothing to show are passed over."""
        if event.event == "progress":
            self._write(event, summaries.scalars(event, summaries.PROGRESS))
        elif event.event == "epoch":
            self._write(event, summaries.scalars(event, summaries.EPOCH))
        elif event.event == "checkpoint":
            self._file.sync()
        elif event.event == "end":
            self._write(event, summaries.session_end(event.status, event.time))
            self._file.sync()

    def _write(self, event: Any, summary: Any) -> None:
        self._file.write(wall_time=event.time, step=event.step, summary=summary)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def pictures_wanted() -> int:
    """Return how many pictures of a class to show. Raises `UsageError` where the variable is no such number."""
    given = os.environ.get(PICTURES_VARIABLE, "").strip() or str(_PICTURES)
    if not given.isascii() or not given.isdigit() or int(given) > 100:
        raise UsageError(f"{PICTURES_VARIABLE} is {given!r}; it must be a whole number from 0 to 100")
    return int(given)


def files_folder(run: Any) -> Path:
    """Return where the run's files are, or are to be: `<run>/tensorboard`, or `<variable>/<name of the run>`.

    A run stays where it began. A name that another run's files have in that folder gets a number.
    """
    note = run.path / _NOTE
    if note.is_file():
        return Path(json.loads(note.read_text(encoding="utf-8"))["folder"])
    inside: Path = run.path / "tensorboard"
    shared = os.environ.get(FOLDER_VARIABLE, "").strip()
    if not shared or event_files(inside):
        return inside
    folder = _unused(Path(shared).expanduser().absolute(), run.name)
    durable.replace_file(note, json.dumps({"folder": str(folder)}).encode())
    return folder


def _unused(folder: Path, name: str) -> Path:
    number = 1
    while True:
        path = folder / (name if number == 1 else f"{name}-{number}")
        try:
            path.mkdir(parents=True)
            return path
        except FileExistsError:
            number += 1
