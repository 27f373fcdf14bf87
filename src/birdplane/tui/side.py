"""Beside the chain: what is picked in the step under the cursor, and its form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from birdplane.errors import message_of
from birdplane.params import Parameter
from birdplane.pipeline import Problem
from birdplane.text import plain
from birdplane.tui import wording
from birdplane.tui.checking import by_name, is_missing, without_mend
from birdplane.tui.draft import Draft
from birdplane.tui.form import Form
from birdplane.tui.signatures import Awaited, signature_of
from birdplane.tui.steps import Step
from birdplane.tui.values import ABSENT

_WAITING = "Its form comes in a moment: only with torch can its parameters be read."
_NOTHING = "There is nothing to set."


class Side(Vertical):
    """The head of a step and its form."""

    DEFAULT_CSS = """
    Side {
        #head, #wrong, #remark { height: auto; padding: 0 2; margin-bottom: 1; }
        #wrong { color: $text-error; }
        #remark { color: $text-muted; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self._wanted: tuple[Step, Draft, list[Problem], Mapping[str, str]] | None = None
        self._filling = False

    def compose(self) -> ComposeResult:
        for name in ("head", "wrong", "remark"):
            yield Static(id=name, markup=False)
        yield Form()

    @property
    def is_busy(self) -> bool:
        """Whether another step is about to be shown."""
        return self._filling

    def ask(self, step: Step, draft: Draft, problems: list[Problem], failures: Mapping[str, str]) -> None:
        """Show a step as soon as may be; see `show`.

        Never two at once, and none is cancelled, which would cancel the tasks of the widgets it waits for.
        """
        self._wanted = (step, draft, problems, failures)
        if not self._filling:
            self._filling = True
            self.run_worker(self._work(), exit_on_error=False)

    async def _work(self) -> None:
        try:
            while self._wanted is not None:
                wanted, self._wanted = self._wanted, None
                await self.show(*wanted)
        finally:
            self._filling = False

    async def show(
        self, step: Step, draft: Draft, problems: list[Problem], failures: Mapping[str, str]
    ) -> None:
        """Show a step.

        Args:
            step: of the chain.
            draft: it is part of.
            problems: all that are known.
            failures: why the form of a component could not be had from the helper, by its name.
        """
        try:
            await self._fill(step, draft, problems, failures)
        except Exception as error:  # a plugin's default may raise when it is written out
            reason = f"the form of {step.use!r} cannot be shown: {type(error).__name__}: {error}"
            self._put("wrong", Content(plain(reason)))
            await self.query_one(Form).show(None, [], {}, {})

    async def _fill(
        self, step: Step, draft: Draft, problems: list[Problem], failures: Mapping[str, str]
    ) -> None:
        parameters, remark, failure = _read(step, draft)
        here = _with_seed(by_name(problems, step.key), step, problems)
        names = {parameter.name for parameter in parameters}
        wrong = [without_mend(p).message for p in problems if p.key == step.key and not is_missing(p)]
        wrong += [
            text if name == "use" else f"{name}: {text}" for name, text in here.items() if name not in names
        ]
        if failure and not wrong:
            wrong.append(failure)
        self._put("head", wording.head(step, draft.catalog))
        self._put("wrong", Content("\n".join(plain(text) for text in wrong)))
        self._put("remark", Content(plain(failures.get(step.use, remark) if remark == _WAITING else remark)))
        await self.query_one(Form).show(owner_of(step), parameters, _given(step, draft), here)

    def _put(self, name: str, content: Content) -> None:
        static = self.query_one(f"#{name}", Static)
        static.update(content)
        static.display = bool(content.plain)


def owner_of(step: Step) -> tuple[str, str]:
    """Return what the fields of a step belong to: its key, and what is picked in it."""
    return step.key, step.use if step.kind else ""


def _read(step: Step, draft: Draft) -> tuple[list[Parameter], str, str]:
    """Return the parameters of a step, a remark where there are none to show, and what went wrong with them."""
    if step.key == "transforms" or (step.kind and not step.use):
        return [], "", ""
    try:
        signature = signature_of(step, draft.catalog)
    except Exception as error:  # a plugin's module and signature may raise anything
        return [], "", message_of(error)
    if isinstance(signature, Awaited):
        return [], _WAITING, ""
    parameters = list(signature.parameters.values())
    return parameters, "" if parameters else _NOTHING, ""


def _with_seed(here: dict[str, str], step: Step, problems: list[Problem]) -> dict[str, str]:
    """Return what is wrong by name; the seed, which has no section, stands in the form of the training."""
    if step.key != "training":
        return here
    return {**here, **{p.key: p.message for p in problems if p.key == "seed"}}


def _given(step: Step, draft: Draft) -> dict[str, Any]:
    document = draft.document
    if step.key == "training":
        return {**step.given, "seed": document.get("seed", ABSENT)}
    if step.key == "output":
        section = document.get("output")
        return {"use": section.get("use", ABSENT) if isinstance(section, dict) else section or ABSENT}
    return dict(step.given)
