"""The Data screen: the draft's pictures, as they are stored and after each step of the chain."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.events import Resize
from textual.widgets import Static

from birdplane.tui.asking import HelperTrouble
from birdplane.tui.bar import TopBar
from birdplane.tui.blocks import Picture, unpack
from birdplane.tui.cells import MUTED
from birdplane.tui.datafacts import (
    SIDES,
    View,
    chain_line,
    figure_lines,
    mapping_line,
    tiles_of,
    title_line,
)
from birdplane.tui.inquiring import InquiringScreen
from birdplane.tui.keybar import KeyBar
from birdplane.tui.messages import (
    Waiting,
    key_lines,
    missing_words,
    paragraphs,
    trouble_sentence,
    trouble_words,
)
from birdplane.tui.picture import PictureGrid, Shape, cells_of, detail_of

_OPENING = "Opening the pictures. The first time PyTorch is loaded, which takes some seconds."


class DataScreen(InquiringScreen):
    """Thumbnails, class counts, channel statistics; or why there are none, and the key that helps."""

    HELP = (
        "Look at the pictures of the draft before anything is trained: as they are stored, and after each transform. "
        "The statistics show what normalizing does to the numbers."
    )
    DEFAULT_CSS = """
    DataScreen {
        #title, #chain, #mapping { height: 1; padding: 0 1; }
        #title { margin-top: 1; }
        #mapping { color: $text-muted; }
        #body { height: 1fr; padding: 1 1 0 1; }
        #panel { width: 27; margin-left: 1; scrollbar-size-vertical: 1; scrollbar-gutter: stable; }
        #message { height: 1fr; content-align: center middle; padding: 0 2; display: none; }
        &.-roomy #panel { width: 40; margin-left: 4; }
        &.-narrow #panel { display: none; }
        &.-narrow.-figures #panel { display: block; width: 1fr; margin-left: 0; }
        &.-narrow.-figures #pictures { display: none; }
        &.-low #title { margin-top: 0; }
        &.-flat #body { padding: 0 1; }
        &.-message { #chain, #mapping, #body { display: none; } #message { display: block; } }
    }
    """
    HORIZONTAL_BREAKPOINTS = [
        (0, "-narrow"),
        (76, "-usual"),
        (110, "-roomy"),
    ]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right", "page(1)", "Page", tooltip="more pictures", key_display="←→", id="data-next"),
        Binding("left", "page(-1)", "Page before", show=False),
        Binding(
            "down", "stage(1)", "Step", tooltip="after the next transform", key_display="↑↓", id="data-step"
        ),
        Binding("up", "stage(-1)", "Step before", show=False),
        Binding("c", "filter(1)", "Class", tooltip="those of one class", id="data-class"),
        Binding("C", "filter(-1)", "Class before", show=False),
        Binding("s", "split", "Split", tooltip="training or validation", id="data-split"),
        Binding("z", "size", "Size", tooltip="of the pictures", id="data-size"),
        Binding(
            "i",
            "figures",
            "Figures",
            tooltip="counts and statistics, and the rest of them",
            id="data-figures",
        ),
        Binding("r", "redraw", "Draw anew", tooltip="other random changes", id="data-redraw"),
        Binding("r", "retry", "Try again", id="data-retry"),
        Binding("g", "fetch", "Get them", id="data-fetch"),
        Binding("o", "offline", "Drawn pictures", id="data-offline"),
        Binding("escape", "give_up", "Stop", id="data-stop"),
        Binding("home", "page(-1000000000)", "First page", show=False),
        Binding("end", "page(1000000000)", "Last page", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._view = View()
        self._seen: dict[str, Any] = {}
        self._page: dict[str, Any] | None = None
        self._pictures: list[Picture] = []
        self._statistics: dict[str, Any] | None = None
        self._missing: dict[str, Any] | None = None
        self._trouble: HelperTrouble | None = None
        self._fetching = False
        #: What is seen, when something else was asked for and did not come; why; and why there are no statistics.
        self._shown = self._view
        self._note = self._excuse = ""
        self._figures_width = 0

    def compose(self) -> ComposeResult:
        yield TopBar("Data")
        yield Static(id="title", markup=False)
        yield Static(id="chain", markup=False)
        yield Static(id="mapping", markup=False)
        with Horizontal(id="body"):
            yield PictureGrid(Shape(SIDES[0], SIDES[0] // 2, below=1), id="pictures")
            with VerticalScroll(id="panel", can_focus=False):
                yield Static(id="figures", markup=False)
        yield Static(id="message", markup=False)
        yield KeyBar()

    @property
    def _grid(self) -> PictureGrid:
        return self.query_one(PictureGrid)

    # Asking.

    def on_screen_resume(self) -> None:
        """Look at the draft as it is now: it may have changed on another screen."""
        concerns = self._concerns()
        if concerns != self._seen:
            self._seen = concerns
            self._view = replace(self._view, label=None, offset=0, stage=0)
            self._page = self._statistics = None
            self._note = self._excuse = ""
        if self._page is None and not self._fetching:
            # After the layout: how many pictures fit is known only then.
            self.call_after_refresh(self._load)

    def _concerns(self) -> dict[str, Any]:
        """Return the part of the draft that these pictures depend on."""
        document = self.cockpit.draft.document
        kept = {key: document.get(key) for key in ("seed", "dataset", "transforms")}
        training = document.get("training")
        return {**kept, "holdout": training.get("holdout") if isinstance(training, dict) else None}

    def _load(self) -> None:
        self._trouble = self._missing = None
        self._waiting = Waiting(_OPENING)
        self._show()
        self.work(self._ask_pictures, "pictures")

    async def _ask(self, question: str, **values: Any) -> dict[str, Any]:
        draft = self.cockpit.draft
        return await self.cockpit.helper.ask(
            question, on_progress=self.progress, document=draft.document, source=draft.source, **values
        )

    async def _ask_pictures(self) -> None:
        view = self._view
        try:
            answer = await self._ask(
                "pictures",
                split=view.split,
                label=view.label,
                offset=view.offset,
                count=self._most(),
                stage=view.stage,
                draw=view.draw,
                side=view.side * detail_of(self.app),
            )
        except HelperTrouble as trouble:
            self.fail(trouble)
            return
        self._waiting, self._note, self._missing = None, "", answer.get("missing")
        if self._missing is None:
            answer["thumbnails"]["side"] = view.side
            self._page, self._pictures, self._shown = answer, unpack(answer["thumbnails"]), view
        self._show()
        if self._missing is not None:
            return
        self.on_picture_grid_resized()
        if self._statistics is None:
            self.work(self._ask_statistics, "statistics")

    def fail(self, trouble: HelperTrouble) -> None:
        """Keep what is seen, with a line about what went wrong; where there is nothing yet, say it in full."""
        self._waiting = None
        if self._page is None:
            self._trouble = trouble
        else:
            self._view = self._shown
            self._note = f"{trouble_sentence(trouble, self.cockpit.draft.source)} (r tries again)"
        self._show()

    def _most(self) -> int:
        """Return how many pictures may fit: what the layout leaves for them is known only once they are shown."""
        side = self._view.side
        if self._page is not None and self._shown.side == side and self._grid.size:
            return self._grid.capacity
        fit = (self.size.width // (side + 1)) * (self.size.height // (side // 2 + 1))
        return max(self._grid.capacity, fit, 1)

    async def _ask_statistics(self) -> None:
        concerns = self._seen
        try:
            answer = await self._ask("statistics")
        except HelperTrouble as trouble:
            self._excuse = trouble_sentence(trouble, self.cockpit.draft.source)
        else:
            if concerns == self._seen and not answer.get("missing"):
                self._statistics = answer
        self._waiting = None
        self._show()

    # Showing.

    def on_resize(self, event: Resize) -> None:
        self.set_class(event.size.height < 20, "-low")
        self.set_class(event.size.height < 30, "-flat")
        if self._page is not None:
            self._show()

    def on_picture_grid_resized(self) -> None:
        """Ask for more where there is room for more; the title says how many are seen."""
        if self._page is None:
            return
        if len(self._pictures) < min(self._grid.capacity, self._page["total"] - self._view.offset):
            self.work(self._ask_pictures, "pictures")
        else:
            self._show_title()

    def _show(self) -> None:
        message = self._message()
        self.set_class(message is not None, "-message")
        if message is not None:
            self.query_one("#message", Static).update(message)
        self._show_title()
        if self._page is not None and message is None:
            width, page = self.line_width, self._page
            chain = chain_line(page["stages"], self._view.stage, width, self.ascii_only)
            self.query_one("#chain", Static).update(chain, layout=False)
            mapping = mapping_line(page, self._shown, self._note, width)
            self.query_one("#mapping", Static).update(mapping, layout=False)
            columns, rows = cells_of(page["thumbnails"])
            self._grid.show(tiles_of(page, self._pictures), Shape(columns, rows, below=1))
            self._show_figures()
        self.refresh_keys()

    def _show_title(self) -> None:
        page = self._page if self._message() is None else None
        visible = min(self._grid.capacity, len(self._pictures)) if self._grid.size else None
        title = title_line(self._dataset(), page, self._shown, visible, self.line_width)
        self.query_one("#title", Static).update(title, layout=False)

    def show_waiting(self) -> None:
        if self.has_class("-message"):
            message = self._message()
            if message is not None:
                self.query_one("#message", Static).update(message)
        elif self._statistics is None:
            self._show_figures()

    def _message(self) -> Content | None:
        """Return what stands in place of the pictures, if there is a reason."""
        draft = self.cockpit.draft
        if self._fetching and self._waiting is not None:
            words = self._waiting.words(self.size.width, self.ascii_only)
            return paragraphs(words, key_lines(("Esc", "stop; the next time it goes on where it was")))
        if self._missing is not None:
            return missing_words(self._dataset(), self._missing)
        if self._trouble is not None:
            return trouble_words(
                self._trouble, draft.source, ("r", "try again"), ("1", "change the pipeline")
            )
        if self._page is None:
            return (self._waiting or Waiting(_OPENING)).words(self.size.width, self.ascii_only)
        return None

    def _dataset(self) -> str:
        section = self._seen.get("dataset")
        return str(section.get("use", "no dataset") if isinstance(section, dict) else section or "no dataset")

    def _show_figures(self) -> None:
        """Fill the panel: counts by class and split, and the statistics of the channels by stage."""
        if self._statistics is None:
            words = self._waiting.line() if self._waiting is not None else self._excuse or "measuring"
            style = "$text-error" if self._excuse and self._waiting is None else MUTED
            self.query_one("#figures", Static).update(Content.styled(words, style))
            return
        self._figures_width = self._panel_width()
        lines = figure_lines(self._statistics, self._view, self._figures_width, self.ascii_only)
        self.query_one("#figures", Static).update(Content("\n").join(lines))
        # A panel that has just come into view has its width only after the next layout.
        self.call_after_refresh(self._refit_figures)

    def _panel_width(self) -> int:
        return self.query_one("#panel").scrollable_content_region.width or 26

    def _refit_figures(self) -> None:
        if self._panel_width() != self._figures_width:
            self._show_figures()

    # What the keys do.

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        blocked = self._message() is not None
        if action in ("page", "stage", "filter", "split", "size", "figures", "redraw"):
            drawn = action != "redraw" or (self._page is not None and self._page["random"][self._view.stage])
            hidden = action == "figures" and not self.has_class("-narrow")
            return (
                self._page is not None
                and not blocked
                and drawn
                and not hidden
                and not (action == "redraw" and self._note)
            )
        if action == "retry":
            return self._trouble is not None or bool(self._note or self._excuse)
        if action in ("fetch", "offline"):
            return self._missing is not None and not self._fetching
        if action == "give_up":
            return self._fetching
        return True

    def _change(self, **changes: Any) -> None:
        self._view = replace(self._view, **changes)
        # It takes seconds at most, but whoever turns pages should not wait for it; it is asked again afterwards.
        self.workers.cancel_group(self, "statistics")
        self.work(self._ask_pictures, "pictures")

    def action_page(self, pages: int) -> None:
        """Show the pictures after these, or before."""
        assert self._page is not None
        capacity, total = self._grid.capacity, self._page["total"]
        last = max(0, (total - 1) // capacity * capacity)
        offset = min(last, max(0, self._view.offset + pages * capacity))
        if offset != self._view.offset:
            self._change(offset=offset)

    def action_stage(self, steps: int) -> None:
        """Show the same pictures after the next step of the chain, or before it."""
        assert self._page is not None
        stage = min(len(self._page["stages"]) - 1, max(0, self._view.stage + steps))
        if stage != self._view.stage:
            self._change(stage=stage)

    def action_filter(self, steps: int) -> None:
        """Show the next class alone; after the last one, all of them."""
        assert self._page is not None
        count = len(self._page["classes"])
        at = count if self._view.label is None else self._view.label
        chosen = (at + steps) % (count + 1)
        self._change(label=None if chosen == count else chosen, offset=0)

    def action_split(self) -> None:
        """Show the validation pictures instead of the training pictures, and back."""
        self._change(split="validation" if self._view.split == "train" else "train", offset=0)

    def action_size(self) -> None:
        """Show the pictures larger, up to the size at which a half block is two of their pixels."""
        assert self._page is not None
        largest = max(self._page["shape"][-2:])
        sides = [side for side in SIDES if side < largest] + [min(largest, SIDES[-1])]
        larger = [side for side in sides if side > self._view.side]
        self._change(side=larger[0] if larger else sides[0])

    def action_figures(self) -> None:
        """Show counts and statistics in place of the pictures, if there is not room for both; then their rest."""
        panel = self.query_one("#panel")
        if self.has_class("-figures") and panel.scroll_offset.y < panel.max_scroll_y:
            panel.scroll_page_down(animate=False)
            return
        self.toggle_class("-figures")
        panel.scroll_home(animate=False)
        self.call_after_refresh(self._show)

    def action_redraw(self) -> None:
        """Let the random transforms draw anew."""
        self._change(draw=self._view.draw + 1)

    def action_retry(self) -> None:
        """Ask the helper again."""
        self._note = self._excuse = ""
        self._load()

    def action_fetch(self) -> None:
        """Download the pictures."""
        self._fetching = True
        self._waiting = Waiting("Starting the download.")
        self._show()
        self.work(self._fetch, "fetch")

    async def _fetch(self) -> None:
        try:
            await self._ask("fetch")
        except HelperTrouble as trouble:
            self._fetching, self._missing = False, None
            self.fail(trouble)
        else:
            self._fetching = False
            self._load()

    def action_give_up(self) -> None:
        """Stop the download; what has come is kept."""
        self.workers.cancel_group(self, "fetch")
        self._fetching = False
        self._waiting = None
        self._show()

    def action_offline(self) -> None:
        """Take the drawn pictures, which need no download, as the draft's dataset."""
        draft = self.cockpit.draft
        draft.change({**draft.document, "dataset": {"use": "sketches"}})
        self._missing = None
        self.on_screen_resume()
