"""The Results screen: what the open run's model gets right, what it confuses, which pictures, and how sure it is."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.content import Content
from textual.events import Resize
from textual.widgets import Static

from birdplane.text import plain
from birdplane.tui import facts
from birdplane.tui.asking import HelperTrouble
from birdplane.tui.bar import TopBar
from birdplane.tui.cells import MUTED, cut
from birdplane.tui.inquiring import InquiringScreen
from birdplane.tui.judgements import BESIDE, example_tiles, name_of, prediction_tile, shape_of, share_words
from birdplane.tui.keybar import KeyBar
from birdplane.tui.matrix import ConfusionMatrix
from birdplane.tui.messages import (
    Waiting,
    key_lines,
    paragraphs,
    require_pictures,
    trouble_sentence,
    trouble_words,
)
from birdplane.tui.paths import PathPrompt
from birdplane.tui.picture import PictureGrid, Shape, detail_of

_SIDE = 16
_SPLITS = ("validation", "train")
_OPENING = "Opening the model. The first time PyTorch is loaded, which takes some seconds."
_NO_RUN = paragraphs(
    "No run is open, so there are no results yet.",
    key_lines(("5", "opens a run from the list"), ("1", "builds a pipeline, and t there trains it")),
)


@dataclass(frozen=True)
class _Gallery:
    """Which pictures are looked at: those of a cell, (true, predicted), or the surest mistakes."""

    cell: tuple[int, int] | None = None
    offset: int = 0


class ResultsScreen(InquiringScreen):
    """Scores, the confusion matrix with a cursor, and pictures with what the model makes of them."""

    HELP = (
        "Understand the model of the open run. A row of the matrix is what pictures are, a column what they are "
        "taken for: move to a cell and press Enter to see its pictures, with the probability of each class as bars."
    )
    DEFAULT_CSS = """
    ResultsScreen {
        #title { height: 1; padding: 0 1; margin-top: 1; }
        #scores { height: auto; padding: 0 1; }
        #body { height: 1fr; layout: vertical; padding: 1 1 0 1; }
        #left { height: auto; max-height: 70%; width: 1fr; }
        #cell { height: auto; margin-top: 1; }
        #right { height: 1fr; width: 1fr; margin-top: 1; }
        #gallery-title { height: 1; color: $foreground 60%; }
        #message { height: 1fr; content-align: center middle; padding: 0 2; display: none; }
        &.-roomy #body { layout: horizontal; }
        &.-roomy #left { width: auto; max-width: 60%; max-height: 100%; margin-right: 4; }
        &.-roomy #cell { width: auto; }
        &.-roomy #right { margin-top: 0; }
        &.-low #title { margin-top: 0; }
        &.-low #body { padding: 0 1; }
        &.-low #cell { margin-top: 0; }
        &.-low #right { display: none; }
        &.-flat.-gallery #body { padding: 0 1; }
        &.-gallery #left { display: none; }
        &.-gallery #right { display: block; margin-top: 0; }
        &.-message { #scores, #body { display: none; } #message { display: block; } }
    }
    """
    HORIZONTAL_BREAKPOINTS = [(0, "-usual"), (110, "-roomy")]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "Pictures", tooltip="those of the cell", id="results-open"),
        Binding("escape", "back", "Back", id="results-back"),
        Binding("right", "move(0, 1)", "Move", key_display="←→↑↓", id="results-move"),
        Binding("left", "move(0, -1)", "Left", show=False),
        Binding("down", "move(1, 0)", "Down", show=False),
        Binding("up", "move(-1, 0)", "Up", show=False),
        Binding(
            "right", "page(1)", "Page", key_display="←→", tooltip="more of these pictures", id="results-page"
        ),
        Binding("left", "page(-1)", "Page before", show=False),
        Binding("down", "page(1)", "Page", show=False),
        Binding("up", "page(-1)", "Page before", show=False),
        Binding("m", "mistakes", "Mistakes", tooltip="those of which it is surest", id="results-mistakes"),
        Binding("s", "split", "Split", tooltip="validation or training pictures", id="results-split"),
        Binding("p", "predict", "Predict", tooltip="a picture of yours", id="results-predict"),
        Binding("h", "shifts", "Heat map", tooltip="how right it is on moved pictures", id="results-shifts"),
        Binding("r", "retry", "Look again", tooltip="with the weights it has by now", id="results-again"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._run: Any = None
        self._scores: dict[str, dict[str, Any]] = {}
        self._names: list[str] = []
        self._step = -1
        self._scoring = ""
        self._split = self._judged = _SPLITS[0]
        self._gallery = _Gallery()
        self._examples: dict[str, Any] | None = None
        self._prediction: dict[str, Any] | None = None
        self._trouble: HelperTrouble | None = None
        self._note = ""
        self._live = False

    def compose(self) -> ComposeResult:
        yield TopBar("Results")
        yield Static(id="title", markup=False)
        yield Static(id="scores", markup=False)
        with Container(id="body"):
            with Vertical(id="left"):
                yield ConfusionMatrix(id="matrix")
                yield Static(id="cell", markup=False)
            with Vertical(id="right"):
                yield Static(id="gallery-title", markup=False)
                yield PictureGrid(Shape(_SIDE, _SIDE // 2, beside=BESIDE, gap=1), id="gallery")
        yield Static(id="message", markup=False)
        yield KeyBar()

    @property
    def _matrix(self) -> ConfusionMatrix:
        return self.query_one(ConfusionMatrix)

    @property
    def _grid(self) -> PictureGrid:
        return self.query_one(PictureGrid)

    # Asking.

    def on_screen_resume(self) -> None:
        """Look at the open run as it is now: it may be another one, or have trained on."""
        run = self.cockpit.run
        if run is None or self._run is None or run.path != self._run.path:
            self._run, self._scores, self._names, self._step = run, {}, [], -1
            self._examples = self._prediction = self._trouble = None
            self._gallery, self._note = _Gallery(), ""
            self.remove_class("-gallery")
        if run is None:
            self._show()
        else:
            self._load()

    def _load(self) -> None:
        self._trouble = None
        self._waiting = Waiting(_OPENING)
        self._show()
        self.work(self._ask_scores, "scores")

    async def _ask(self, question: str, **values: Any) -> dict[str, Any]:
        path = str(self._run.path)
        return await self.cockpit.helper.ask(question, on_progress=self.progress, run=path, **values)

    async def _ask_scores(self) -> None:
        """Score the split that is looked at; then the other one too, unless that would slow training down."""
        try:
            self._live = (await asyncio.to_thread(self._run.status)).live
            before = (self._step, self._judged)
            await self._score(self._split)
            if self._examples is None or before != (self._step, self._split):
                self._judged = self._split
                self._ask_examples()
            other = _SPLITS[1 - _SPLITS.index(self._split)]
            if not self._live and other not in self._scores:
                await self._score(other)
        except HelperTrouble as trouble:
            self.fail(trouble)
        except OSError as error:
            self.fail(HelperTrouble(f"the run cannot be read: {error.strerror or error}", "failed"))

    async def _score(self, split: str) -> None:
        self._scoring = split
        answer = await self._ask("evaluate", splits=[split])
        self._waiting = None
        require_pictures(answer)
        if answer["step"] != self._step:
            self._scores = {}
        self._step, self._names = answer["step"], answer["classes"]
        self._scores[split] = answer["splits"][split]
        self._show()

    def _ask_examples(self) -> None:
        # After the layout: how many pictures fit is known only then.
        self.call_after_refresh(lambda: self.work(self._load_examples, "examples"))

    async def _load_examples(self) -> None:
        count = max(1, self._grid.capacity)
        cell = list(self._gallery.cell) if self._gallery.cell else None
        offset = self._gallery.offset
        try:
            side = _SIDE * detail_of(self.app)
            found = await self._ask(
                "examples", split=self._split, cell=cell, offset=offset, count=count, side=side
            )
            found["thumbnails"]["side"] = _SIDE
        except HelperTrouble as trouble:
            self.fail(trouble)
            return
        self._examples, self._waiting = found, None
        self._show()
        self.on_picture_grid_resized()

    def on_picture_grid_resized(self) -> None:
        """Ask for more where there is room for more."""
        found = self._examples
        if found is None or not self._grid.size:
            return
        if len(found["items"]) < min(self._grid.capacity, found["total"] - self._gallery.offset):
            self.work(self._load_examples, "examples")
        else:
            self._show_gallery()

    def fail(self, trouble: HelperTrouble) -> None:
        """Keep what is seen, with a line about what went wrong; where there is nothing yet, say it in full."""
        self._waiting = None
        if self._scores:
            self._note = f"{trouble_sentence(trouble, '')} (r tries again)"
        else:
            self._trouble = trouble
        self._show()

    def show_waiting(self) -> None:
        if self.has_class("-message"):
            self._show_message()
        else:
            self._show_scores()

    # Showing.

    def on_resize(self, event: Resize) -> None:
        self.set_class(event.size.height < 20, "-low")
        self.set_class(event.size.height < 30, "-flat")
        self._show()

    def _show(self) -> None:
        self._show_message()
        self.query_one("#title", Static).update(self._title())
        self._show_scores()
        if self._split in self._scores:
            self._matrix.show(self._names, self._scores[self._split]["confusion"])
            self._show_cell()
            self._show_gallery()
        self.refresh_keys()

    def _show_message(self) -> None:
        message = self._message()
        self.set_class(message is not None, "-message")
        if message is not None:
            self.query_one("#message", Static).update(message)

    def _message(self) -> Content | None:
        """Return what stands in place of the results, if there is a reason."""
        if self._run is None:
            return _NO_RUN
        if self._trouble is not None:
            if "has no checkpoint yet" in str(self._trouble) and self._live:
                words = (
                    "There is nothing to look at yet: its weights are kept for the first time after an epoch."
                )
                return paragraphs(words, key_lines(("r", "look again"), ("2", "watch its training")))
            keys = [("r", "try again"), ("2", "look at its training"), ("5", "open another run")]
            return trouble_words(self._trouble, "", *keys)
        if self._split not in self._scores:
            return (self._waiting or Waiting(_OPENING)).words(self.size.width, self.ascii_only)
        return None

    def _title(self) -> Content:
        if self._run is None:
            return Content("")
        parts: list[Content | str] = [Content.styled(plain(self._run.name), "bold")]
        if self._scores:
            parts.append(f"best weights up to step {self._step:,}")
        if self._live:
            parts.append("in training: r looks again")
        return facts.fitted(parts, self.line_width)

    def _show_scores(self) -> None:
        lines = [self._score_line(split) for split in _SPLITS]
        if self._note:
            lines.append(Content.styled(cut(self._note, self.line_width), "$text-error"))
        self.query_one("#scores", Static).update(Content("\n").join(lines))

    def _score_line(self, split: str) -> Content:
        mark = (">" if self.ascii_only else "▸") if split == self._split else " "
        name = f"{mark} {split:<10}"
        score = self._scores.get(split)
        waiting = self._waiting.line() if self._waiting is not None and split == self._scoring else ""
        if score is None:
            return Content.styled(cut(f"{name}  {waiting or 's scores it'}", self.line_width), MUTED)
        accuracy, loss = facts.percent(score["accuracy"]), facts.number(score["loss"])
        believed = f"calibration error {facts.percent(score['calibration_error'])}"
        counted = f"{score['count']:>6,} pictures"
        parts = [f"{name}{accuracy:>8} right", f"loss {loss}", counted, waiting or believed]
        line = facts.fitted(parts, self.line_width)
        return line.stylize("bold" if split == self._split else MUTED)

    def _show_cell(self) -> None:
        self.query_one("#cell", Static).update(Content.styled(self._matrix.words(), "$text-accent"))

    def _show_gallery(self) -> None:
        title = self.query_one("#gallery-title", Static)
        width = self.line_width
        if self._prediction is not None:
            found = self._prediction
            label = found["label"]
            sure = share_words(found["probabilities"][label])
            said = f"{cut(name_of(self._names, label), 30)}, {sure} sure"
            title.update(facts.fitted([Content.styled(said, "bold"), plain(found["file"])], width))
            beside = max(BESIDE, min(48, width - 40))
            self._grid.show([prediction_tile(found, beside, self.ascii_only)], shape_of(found, beside))
        elif self._examples is None:
            title.update("looking for the pictures ...")
        else:
            title.update(facts.fitted(self._gallery_words(self._examples), width))
            self._grid.show(example_tiles(self._examples, BESIDE, self.ascii_only), shape_of(self._examples))

    def _gallery_words(self, found: dict[str, Any]) -> list[Content | str]:
        total, first = found["total"], self._gallery.offset + 1
        last = min(total, self._gallery.offset + min(self._grid.capacity, len(found["items"])))
        place = f"{first:,}-{last:,} of {total:,}" if total else "none"
        cell = self._gallery.cell
        if cell is None:
            return ["Mistakes, the surest first" if total else "No mistakes", place if total else ""]
        truth, taken = (cut(name_of(self._names, label), 24) for label in cell)
        said = f"{truth} recognised" if cell[0] == cell[1] else f"{truth} taken for {taken}"
        return [Content.styled(said, "bold $foreground"), place, "the surest first" if total else ""]

    # What the keys do.

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        ready, gallery = self._message() is None, self.has_class("-gallery")
        if action in ("split", "mistakes", "predict", "shifts"):
            return ready
        if action == "move":
            return ready and not gallery
        if action == "page":
            return ready and gallery and self._prediction is None
        if action == "open":
            return ready and not gallery
        if action == "back":
            return ready and gallery
        if action == "retry":
            return self._run is not None and (self._live or bool(self._note) or self._trouble is not None)
        return True

    def action_move(self, down: int, across: int) -> None:
        """Move the cursor of the matrix."""
        self._matrix.move(down, across)

    def action_page(self, pages: int) -> None:
        """Show more of the pictures of the cell, or those before."""
        if self._prediction is None and self._examples is not None:
            capacity, total = self._grid.capacity, self._examples["total"]
            last = max(0, (total - 1) // capacity * capacity)
            offset = min(last, max(0, self._gallery.offset + pages * capacity))
            if offset != self._gallery.offset:
                self._gallery = replace(self._gallery, offset=offset)
                self.work(self._load_examples, "examples")

    def on_confusion_matrix_moved(self) -> None:
        self._show_cell()

    def on_confusion_matrix_opened(self) -> None:
        self.action_open()

    def action_open(self) -> None:
        """Show the pictures of the cell under the cursor."""
        self._enter(_Gallery(self._matrix.cursor))

    def action_mistakes(self) -> None:
        """Show the mistakes of which the model is surest."""
        self._enter(_Gallery())

    def _enter(self, gallery: _Gallery) -> None:
        self._gallery, self._prediction, self._examples = gallery, None, None
        self.add_class("-gallery")
        self._grid.show([])
        self._show_gallery()
        self._ask_examples()
        self.refresh_keys()

    def action_back(self) -> None:
        """Go back to the matrix."""
        self.remove_class("-gallery")
        self._gallery, self._prediction, self._examples = _Gallery(), None, None
        self._grid.show([])
        self._show_gallery()
        self._ask_examples()
        self.refresh_keys()

    def action_split(self) -> None:
        """Score the training pictures instead of the validation pictures, and back."""
        self._split = _SPLITS[1 - _SPLITS.index(self._split)]
        self._gallery = replace(self._gallery, offset=0)
        self._load()

    def action_retry(self) -> None:
        """Ask the helper again: a run that trains has other weights by now."""
        self._note = ""
        self._load()

    def action_shifts(self) -> None:
        """Show how right the model is on pictures that were moved and changed."""
        from birdplane.tui.shifts import ShiftsScreen

        self.app.push_screen(ShiftsScreen(self._run))

    def action_predict(self) -> None:
        """Let the model look at a picture file."""
        self.app.push_screen(PathPrompt("Which picture should the model look at?"), self._predict)

    def _predict(self, path: str | None) -> None:
        if path is not None:
            self.work(partial(self._ask_prediction, path), "prediction")

    async def _ask_prediction(self, path: str) -> None:
        try:
            found = await self._ask("predict", path=path, side=2 * _SIDE * detail_of(self.app))
            found["thumbnails"]["side"] = 2 * _SIDE
            self._prediction = found
        except HelperTrouble as trouble:
            self._note = trouble_sentence(trouble, "")
        else:
            self._note = ""
            self.add_class("-gallery")
        self._show()
