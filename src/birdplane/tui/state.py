"""What the screens share: the draft that is being built, the run that is being watched, and the helper."""

from __future__ import annotations

import contextlib
from pathlib import Path

from birdplane.launch import launch
from birdplane.runs import Run
from birdplane.tui.asking import Helper
from birdplane.tui.draft import Draft as Draft
from birdplane.tui.settings import Settings


class Cockpit:
    """The state behind all screens.

    Args:
        runs: the folder of the runs.
        settings: of this person.
        draft: what the Build screen shows first.
        run: what the Train screen shows first.
    """

    def __init__(self, runs: Path, settings: Settings, draft: Draft, run: Run | None = None) -> None:
        self.runs = runs
        self.settings = settings
        self.draft = draft
        self.run = run
        #: What was last trained: its run keeps it, so nothing of it is lost with the draft.
        self._trained: dict[str, object] = {}
        self.helper = Helper()
        #: The processes that were started from here, by the run's folder.
        self.started: dict[Path, int] = {}

    def train(self) -> Run:
        """Make a run of the draft and start training it in a process of its own.

        Raises:
            BirdplaneError: the draft has problems, or the run cannot be made or started.
        """
        pipeline = self.draft.pipeline
        text = pipeline.to_toml()
        run = Run.create(self.runs, None, Path(self.draft.source).stem or "run", pipeline_toml=text)
        self.start(run)
        self.run = run
        self._trained = self.draft.document
        return run

    @property
    def is_unsaved(self) -> bool:
        """Whether the draft holds changes that are neither in a file nor in a run of it."""
        return self.draft.is_changed and self.draft.document != self._trained

    def start(self, run: Run) -> None:
        """Train a run, or go on with it, in a process of its own.

        Raises:
            BirdplaneError: the process cannot be started.
        """
        self.started[run.path] = launch(run)

    def is_training(self, run: Run) -> bool:
        """Tell whether a process trains the run, or was started to and loads PyTorch yet."""
        from birdplane.tui.monitor import is_alive

        with contextlib.suppress(OSError):
            if run.status().live:
                return True
        started = self.started.get(run.path)
        return started is not None and is_alive(started)
