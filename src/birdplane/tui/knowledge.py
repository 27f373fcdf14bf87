"""What is known of the draft: at once from its names and values, a moment later from the helper's rehearsal."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from birdplane.availability import Missing
from birdplane.pipeline import Pipeline, Problem
from birdplane.tui.asking import Helper, HelperTrouble
from birdplane.tui.checking import all_problems, is_missing, misfit, without_mend
from birdplane.tui.signatures import ScreenCatalog
from birdplane.tui.steps import Document


@dataclass
class Knowledge:
    """What is known of one state of the draft.

    Args:
        problems: what is wrong by names and values alone.
        misfit: what the helper refuses.
        rehearsal: the helper's answer; of an earlier state as long as `fresh` is false.
        missing: where the pictures should be, if they are not at hand.
        trouble: why the helper did not answer, where asking again may help.
        batch: the helper's answer about one batch.
        trying: whether one is run just now.
    """

    problems: list[Problem] = field(default_factory=list)
    misfit: Problem | None = None
    rehearsal: dict[str, Any] | None = None
    fresh: bool = False
    missing: Missing | None = None
    trouble: str = ""
    batch: dict[str, Any] | None = None
    trying: bool = False

    @property
    def all(self) -> list[Problem]:
        """Everything that is wrong."""
        return self.problems + ([self.misfit] if self.misfit else [])

    @property
    def first(self) -> Problem | None:
        """What to say first: what is wrong before what is merely not chosen yet."""
        return next((p for p in self.all if not is_missing(p)), next(iter(self.all), None))

    def check(self, pipeline: Pipeline) -> None:
        """Look at another state of the draft; what the helper said is not true of it any more."""
        self.problems = all_problems(pipeline)
        if any(is_missing(problem) for problem in self.problems):
            self.rehearsal = None
        self.fresh, self.misfit, self.missing, self.trouble, self.batch = False, None, None, "", None

    def stages(self) -> dict[str, tuple[str, str]]:
        """Return the shape that leaves each step, as `3x32x32`, and what its numbers are."""
        found = {}
        for stage in (self.rehearsal or {}).get("stages", []):
            key = str(stage["key"]).partition(" (")[0]
            found[key] = ("x".join(str(size) for size in stage["shape"]), str(stage["values"]))
        return found

    async def rehearse(self, helper: Helper, document: Document, source: str) -> None:
        """Ask the helper what the draft would do."""
        answer = await self._answer(helper, "rehearse", document, source)
        self.fresh = True
        if answer is not None:
            self.rehearsal = answer

    async def try_batch(self, helper: Helper, document: Document, source: str) -> None:
        """Ask the helper for the figures of one batch."""
        self.trying = True
        try:
            self.batch = await self._answer(helper, "dry_step", document, source)
        finally:
            self.trying = False

    async def _answer(
        self, helper: Helper, question: str, document: Document, source: str
    ) -> dict[str, Any] | None:
        self.trouble = ""
        try:
            answer = await helper.ask(question, document=document, source=source)
        except HelperTrouble as trouble:
            if trouble.passing:
                self.trouble = str(trouble)
            else:
                self.misfit = misfit(str(trouble), source)
            return None
        self.misfit = None
        if lack := answer.get("missing"):
            self.missing = Missing(Path(lack["place"]), lack["size"])
            self.rehearsal = None
            return None
        return answer


async def learn_forms(helper: Helper, catalog: ScreenCatalog) -> dict[str, str]:
    """Ask the helper for the forms that need torch; return why it did not say, by name."""
    failures = {}
    for kind, name in sorted(catalog.awaited):
        try:
            answer = await helper.ask("signature", kind=kind, use=name)
            catalog.learn(kind, name, answer["fields"])
        except HelperTrouble as trouble:
            failures[name] = str(trouble)
            if not trouble.passing:
                catalog.refuse(kind, name, str(trouble))
    return failures


def plainly(problem: Problem) -> str:
    """Return a problem as a sentence with its place."""
    return f"{problem.key}: {without_mend(problem).message}"
