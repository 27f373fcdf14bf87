"""What the screens share: the draft that is being built, the run that is being watched, and the helper."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

from birdplane.launch import launch
from birdplane.pipeline import Pipeline, Problem, dump_toml
from birdplane.runs import Run
from birdplane.tui.settings import Settings


class Draft:
    """A pipeline that is being built: any state may be wrong, every change can be undone.

    The document is what a pipeline file parses to, in plain dicts and lists; see `docs/pipeline.md`.
    """

    def __init__(self, document: dict[str, Any], source: str) -> None:
        self.source = source
        self._document = deepcopy(document)
        self._past: list[dict[str, Any]] = []
        self._future: list[dict[str, Any]] = []

    @property
    def document(self) -> dict[str, Any]:
        """A copy; to change the draft, hand a changed copy to `change`."""
        return deepcopy(self._document)

    @property
    def pipeline(self) -> Pipeline:
        return Pipeline(self._document, self.source)

    def change(self, document: dict[str, Any]) -> None:
        """Take a new document; the old one can be brought back."""
        if document != self._document:
            self._past.append(self._document)
            self._document = deepcopy(document)
            self._future.clear()

    def undo(self) -> bool:
        """Go back one change; return whether there was one."""
        if not self._past:
            return False
        self._future.append(self._document)
        self._document = self._past.pop()
        return True

    def redo(self) -> bool:
        """Take back the last undo; return whether there was one."""
        if not self._future:
            return False
        self._past.append(self._document)
        self._document = self._future.pop()
        return True

    def problems(self) -> list[Problem]:
        return self.pipeline.problems()

    def to_toml(self) -> str:
        """Return the text to save: as complete as the draft allows."""
        return dump_toml(self._document) if self.problems() else self.pipeline.to_toml()


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

    def train(self) -> Run:
        """Make a run of the draft and start training it in a process of its own.

        Raises:
            BirdplaneError: the draft has problems, or the run cannot be made or started.
        """
        pipeline = self.draft.pipeline
        text = pipeline.to_toml()
        run = Run.create(self.runs, None, Path(self.draft.source).stem or "run", pipeline_toml=text)
        launch(run)
        self.run = run
        return run
