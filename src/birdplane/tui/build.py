"""The Build screen: the pipeline as a chain, the form of the step under the cursor, and whether it all fits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.screen import Screen
from textual.timer import Timer
from textual.widgets import Static

from birdplane.errors import BirdplaneError
from birdplane.text import plain
from birdplane.tui import opening, steps, wording
from birdplane.tui.bar import TopBar
from birdplane.tui.below import Below
from birdplane.tui.chain import Chain
from birdplane.tui.checking import Mend, is_missing, mend_of
from birdplane.tui.draft import Draft
from birdplane.tui.facts import fitted
from birdplane.tui.fields import Edited
from birdplane.tui.form import Form
from birdplane.tui.keybar import KeyBar
from birdplane.tui.knowledge import Knowledge, learn_forms, plainly
from birdplane.tui.picker import Picker, items_of, news_of, trouble_of
from birdplane.tui.side import Side, owner_of
from birdplane.tui.values import ABSENT

if TYPE_CHECKING:
    from birdplane.tui.state import Cockpit

#: Seconds without a change before the helper is asked: the first digits of a number are not meant.
_REST_SECONDS = 0.3
#: Seconds that the cursor stays at a step before its form is made.
_ARRIVAL_SECONDS = 0.04


class BuildScreen(Screen[None]):
    """The chain, the form beside it, and below both whether it fits and what it costs."""

    HELP = (
        "Put a pipeline together: from the data through transforms, model and loss to the training. Each line has a "
        "tick where it fits and a cross where it does not, and the shape that leaves it. The command line at the "
        "bottom does the same as t."
    )
    DEFAULT_CSS = """
    BuildScreen {
        #title { height: 1; padding: 0 2; margin-top: 1; text-style: bold; }
        #middle { height: 1fr; margin-top: 1; }
        Chain, Chain:focus { width: 40%; min-width: 41; max-width: 64; padding: 0 0 0 1; }
        Side { width: 1fr; }
        Below { margin-top: 1; }
        &.-narrow Side { display: none; }
        &.-narrow Chain { width: 1fr; max-width: 200; }
        &.-narrow.-in-form Side { display: block; }
        &.-narrow.-in-form Chain { display: none; }
        &.-low #title, &.-low #middle, &.-low Below, &.-lowest #middle, &.-lowest Below { margin-top: 0; }
        &.-low Below #command, &.-lowest Below #command { text-wrap: nowrap; text-overflow: ellipsis; }
        &.-lowest Below #verdict { max-height: 1; }
        &.-lowest #title { display: none; }
        &.-lowest Side > #head { text-wrap: nowrap; text-overflow: ellipsis; }
    }
    """
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (76, "-usual"), (110, "-wide")]
    VERTICAL_BREAKPOINTS = [(0, "-lowest"), (18, "-low"), (28, "-high")]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "chain", "Chain", tooltip="back to it", id="chain"),
        Binding("f", "mend", "Fix", tooltip="what is said to be wrong", id="mend"),
        Binding("r", "ask_again", "Ask again", tooltip="whether it fits", id="ask-again"),
        Binding("a", "add", "Add", tooltip="a transform", id="add"),
        Binding("x", "remove", "Remove", tooltip="this transform", id="remove"),
        Binding(
            "J", "move(1)", "Move", key_display="J K", tooltip="this transform down and up", id="move-down"
        ),
        Binding("K", "move(-1)", "Move up", key_display="K", show=False, id="move-up"),
        Binding("t", "train", "Train", tooltip="in a new run", id="train"),
        Binding(
            "full_stop",
            "batch",
            "Batch",
            key_display=".",
            tooltip="one alone: loss, gradient, time",
            id="batch",
        ),
        Binding("ctrl+s", "save", "Save", tooltip="as a TOML file", id="save"),
        Binding("s", "save", "Save", tooltip="as a TOML file", show=False),
        Binding("o", "open", "Open", tooltip="a recipe or a file", id="open"),
        Binding("n", "new", "New", tooltip="an empty chain", show=False, id="new"),
        Binding("y", "copy", "Copy", tooltip="the command line", show=False, id="copy"),
        Binding("u", "undo", "Undo", tooltip="the last change", id="undo"),
        Binding("U", "redo", "Redo", key_display="U", tooltip="what was undone", id="redo"),
        Binding("ctrl+z", "undo", "Undo", tooltip="the last change", show=False),
        Binding("ctrl+r", "redo", "Redo", tooltip="what was undone", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._known = Knowledge()
        self._steps: list[steps.Step] = []
        self._checked: steps.Document = {}
        self._rest: Timer | None = None
        self._arrival: Timer | None = None
        self._mend: Mend | None = None
        self._command = ""
        #: Why the helper could not tell the form of a component, by its name.
        self._formless: dict[str, str] = {}

    @property
    def cockpit(self) -> Cockpit:
        found: Cockpit = self.app.cockpit  # type: ignore[attr-defined]
        return found

    @property
    def _draft(self) -> Draft:
        return self.cockpit.draft

    @property
    def _step(self) -> steps.Step:
        return self._steps[min(self.query_one(Chain).cursor, len(self._steps) - 1)]

    # --- what is shown ------------------------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        yield TopBar("Build")
        yield Static(id="title", markup=False)
        with Horizontal(id="middle"):
            yield Chain()
            yield Side()
        yield Below()
        yield KeyBar()

    def on_mount(self) -> None:
        self.query_one(Chain).focus()
        # The checks import pydantic and the components' modules, which takes longer than the first picture should.
        self.call_after_refresh(self._begin)

    def _begin(self) -> None:
        self._changed()
        self.cockpit.helper.start()

    def on_screen_resume(self) -> None:
        """Look again where another screen may have changed the draft, or brought the pictures that were missing."""
        if self._steps and (self._draft.document != self._checked or self._known.missing):
            self._check()

    def on_resize(self) -> None:
        if self._steps:
            self._show_facts()

    def on_descendant_focus(self) -> None:
        self.set_class(isinstance(self.focused, Chain) is False, "-in-form")
        self.refresh_bindings()

    def _changed(self, cursor: int | None = None) -> None:
        self._say("")
        self._check(cursor)

    def _check(self, cursor: int | None = None) -> None:
        """Show the draft as it is now, and look a moment later whether it fits."""
        self._steps = steps.steps(self._draft.document)
        self._checked = self._draft.document
        self._known.check(self._draft.pipeline)
        self._show(cursor)
        if self._rest is not None:
            self._rest.stop()
        self.workers.cancel_group(self, "rehearsal")
        if any(name not in self._formless for _, name in self._draft.catalog.awaited):
            self.run_worker(self._ask_forms(), group="forms", exclusive=True, exit_on_error=False)
        if not self._known.problems:
            self._rest = self.set_timer(_REST_SECONDS, self._rehearse)

    def _show(self, cursor: int | None = None) -> None:
        chain = self.query_one(Chain)
        lines = wording.chain_lines(self._steps, self._draft.pipeline, self._known)
        chain.show(lines, chain.cursor if cursor is None else cursor)
        self._mend = self._find_mend()
        self._command = opening.command_of(self._draft, self._known)
        self._show_facts()
        self._show_form()
        self.refresh_bindings()

    def _show_facts(self) -> None:
        draft, known = self._draft, self._known
        changed = "  changed" if draft.base is not None and draft.is_changed else ""
        title = Content.assemble(plain(draft.source), (changed, "not bold $foreground 60%"))
        self.query_one("#title", Static).update(title)
        mend = self._mend.words if self._mend else ""
        self.query_one(Below).show(known, mend, trouble_of(draft.catalog), self._command)

    def line(self) -> str:
        """Return the facts in one line, for a terminal that has room for nothing else."""
        facts = [wording.verdict(self._known, ""), *wording.figures(self._known)]
        return fitted([plain(self._draft.source), *facts], self.app.size.width).plain

    def _find_mend(self) -> Mend | None:
        """Return the mend for what is said first, else for anything that is wrong."""
        first = [self._known.first] if self._known.first else []
        mends = (mend_of(problem, self._draft.pipeline) for problem in (*first, *self._known.all))
        return next((mend for mend in mends if mend), None)

    def _show_form(self) -> None:
        self._arrival = None
        self.query_one(Side).ask(self._step, self._draft, self._known.all, self._formless)

    async def _ask_forms(self) -> None:
        self._formless = await learn_forms(self.cockpit.helper, self._draft.catalog)
        self._changed()

    # --- the chain and the form ---------------------------------------------------------------------------

    def on_chain_moved(self) -> None:
        if self._steps:
            # While an arrow is held down, forms that are passed by are not worth making.
            if self._arrival is not None:
                self._arrival.stop()
            self._arrival = self.set_timer(_ARRIVAL_SECONDS, self._show_form)
            self.refresh_bindings()

    def on_chain_opened(self) -> None:
        step = self._step
        if step.kind:
            self._pick(step.kind, step.use, f"Pick the {step.label.lower() or 'transform'}", self._choose)
        elif step.key == "transforms":
            self.action_add()
        else:
            self._enter_form(now=True)

    def _pick(self, kind: str, current: str, title: str, then: Callable[[str | None], None]) -> None:
        catalog = self._draft.catalog
        trouble = [*trouble_of(catalog), *news_of(catalog)]
        self.app.push_screen(Picker(title, items_of(catalog[kind]), current, trouble), then)

    def _choose(self, name: str | None) -> None:
        step = self._step
        if name is not None and name != step.use:
            kept = opening.kept(step, name, self._draft.catalog)
            self._draft.change(steps.choose(self._draft.document, step.key, name, kept))
            self._changed()

    def on_edited(self, event: Edited) -> None:
        event.stop()
        event.taken()
        # The cursor may have moved on since, and something else may have been picked.
        step = next((step for step in self._steps if owner_of(step) == event.field.owner), None)
        if step is None:
            return
        key = "" if event.name == "seed" and step.key == "training" else step.key
        document = self._draft.document
        if event.value is ABSENT:
            document = steps.drop_parameter(document, key, event.name)
        else:
            document = steps.set_parameter(document, key, event.name, event.value)
        if document != self._draft.document:
            self._draft.change(document, merge=f"{step.key}.{event.name}")
            self._changed()

    def action_form(self) -> None:
        """Go into the form, once it is that of the step under the cursor."""
        # What is typed right after it is meant for the field.
        self.app.hold_keys()  # type: ignore[attr-defined]
        self._enter_form(now=True)

    def _enter_form(self, now: bool = False) -> None:
        if now or self._arrival is not None:
            # That the cursor has moved may not have been told yet.
            if self._arrival is not None:
                self._arrival.stop()
            self._show_form()
        if self.query_one(Side).is_busy:
            self.set_timer(_ARRIVAL_SECONDS / 4, self._enter_form)
        else:
            self.app.release_keys()  # type: ignore[attr-defined]
            self.add_class("-in-form")
            self.set_class(self.query_one(Form).enter(), "-in-form")

    def action_chain(self) -> None:
        """Go back from the form to the chain."""
        self.remove_class("-in-form")
        self.query_one(Chain).focus()

    def action_add(self) -> None:
        """Pick a transform that comes after the cursor."""
        self._pick("transform", "", "Add a transform", self._add)

    def _add(self, name: str | None) -> None:
        if name is None:
            return
        at = steps.place_after(self._steps, self.query_one(Chain).cursor)
        self._draft.change(steps.insert_transform(self._draft.document, at, name))
        self._changed(steps.line_of(at))

    def action_remove(self) -> None:
        """Remove the transform under the cursor."""
        if (at := self._step.transform) is not None:
            self._draft.change(steps.remove_transform(self._draft.document, at))
            self._changed()

    def action_move(self, by: int) -> None:
        """Move the transform under the cursor up or down."""
        at = self._step.transform
        document = self._draft.document
        if at is not None and 0 <= at + by < len(steps.transforms(document)):
            self._draft.change(steps.move_transform(document, at, at + by))
            self._changed(steps.line_of(at + by))

    def action_mend(self) -> None:
        """Put right what is said to be wrong."""
        if self._mend is not None:
            self._draft.change(self._mend.document)
            self._changed()

    def action_undo(self) -> None:
        """Take the last change back."""
        if self._draft.undo():
            self._changed()

    def action_redo(self) -> None:
        """Make again what was taken back."""
        if self._draft.redo():
            self._changed()

    # --- files and the command line -----------------------------------------------------------------------

    def action_new(self) -> None:
        """Begin with an empty chain; an undo brings the old one back."""
        self._open(opening.EMPTY)

    def action_open(self) -> None:
        """Pick a recipe or a file."""
        self.app.push_screen(opening.picker(self._draft), self._open)

    def _open(self, value: str | None) -> None:
        try:
            if value is not None:
                self._draft.open(*opening.load(value, self._draft.catalog))
                self._changed(0)
        except BirdplaneError as error:
            self._say(str(error), wrong=True)

    def action_save(self) -> None:
        """Save the pipeline as a file."""
        self.app.push_screen(opening.save_dialog(self._draft), self._save)

    def _save(self, path: Path | None) -> None:
        try:
            if path is not None:
                opening.save_draft(self._draft, path)
                self._changed()
                self._say(f"saved {path}")
        except BirdplaneError as error:
            self._say(str(error), wrong=True)

    def action_copy(self) -> None:
        """Copy the command line that does the same."""
        self.app.copy_to_clipboard(self._command)
        self._say(f"copied: {self._command}")

    # --- asking the helper, training ----------------------------------------------------------------------

    def _rehearse(self) -> None:
        self.run_worker(self._ask_rehearsal(), group="rehearsal", exclusive=True, exit_on_error=False)

    async def _ask_rehearsal(self) -> None:
        await self._known.rehearse(self.cockpit.helper, self._draft.document, self._draft.source)
        self._show()

    def action_ask_again(self) -> None:
        """Ask the helper once more."""
        self._changed()

    def action_batch(self) -> None:
        """Run one batch and show its figures."""
        if not self._refuse("no batch can be run"):
            self.run_worker(self._ask_batch(), group="batch", exclusive=True, exit_on_error=False)
            self._known.trying = True
            self._show_facts()

    async def _ask_batch(self) -> None:
        try:
            await self._known.try_batch(self.cockpit.helper, self._draft.document, self._draft.source)
        finally:
            self._show()
        if self._known.missing is not None:
            self._say("no batch can be run before the pictures are there: 3, then g gets them", wrong=True)

    def action_train(self) -> None:
        """Train the pipeline in a process of its own, and go and watch it."""
        try:
            if not self._refuse("it cannot be trained"):
                self.cockpit.train()
                self.app.action_show("train")  # type: ignore[attr-defined]
        except BirdplaneError as error:
            self._say(str(error), wrong=True)

    def _refuse(self, consequence: str) -> bool:
        """Say why not, and go to where it is wrong; return whether there is anything wrong."""
        problem = self._known.first
        if problem is None:
            return False
        self.action_chain()
        self.query_one(Chain).highlighted = steps.step_of(problem.key, self._steps)
        reason = wording.still_to_choose(self._known) if is_missing(problem) else plainly(problem)
        self._say(f"{consequence}: {reason}", wrong=True)
        return True

    def _say(self, text: str, wrong: bool = False) -> None:
        """Show a message until the draft is changed. Textual's own would cover what they speak about."""
        self.query_one(Below).say(text, wrong)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Show only the keys that do something here."""
        in_chain = isinstance(self.focused, Chain)
        on_transform = in_chain and bool(self._steps) and self._step.transform is not None
        return {
            "add": in_chain,
            "open": in_chain,
            "new": in_chain,
            "remove": on_transform,
            "move": on_transform,
            "undo": self._draft.can_undo,
            "redo": self._draft.can_redo,
            "mend": self._mend is not None,
            "ask_again": bool(self._known.trouble),
            "chain": not in_chain,
        }.get(action, True)
