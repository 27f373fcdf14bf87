"""How right the open run's model still is on validation pictures that were moved and changed: a heat map, figures."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.widgets import Static

from birdplane.probing import FILLS, TOLD
from birdplane.probing.drawing import colour_of, ink_on, place, points, signed
from birdplane.runs import Run
from birdplane.text import plain
from birdplane.tui import facts
from birdplane.tui.asking import HelperTrouble
from birdplane.tui.bar import TopBar
from birdplane.tui.cells import MUTED
from birdplane.tui.inquiring import InquiringScreen
from birdplane.tui.keybar import KeyBar
from birdplane.tui.messages import Waiting, require_pictures, trouble_words

_CELL = 4
_FILLS = tuple(FILLS)


class ShiftsScreen(InquiringScreen):
    """The accuracy at each shift as a map, and beside it what other changes cost.

    Args:
        run: whose best weights are looked at.
    """

    HELP = (
        "What the model knows, and where: the accuracy, in percent, on validation pictures that were moved to the "
        "right (across) and down. In the middle they are as they are."
    )
    DEFAULT_CSS = """
    ShiftsScreen {
        #title { height: 1; padding: 0 1; margin-top: 1; }
        #cost { height: 1; padding: 0 1; color: $foreground 60%; }
        #body { height: 1fr; padding: 1 1 0 1; }
        #map { width: auto; height: auto; }
        #figures { width: 1fr; height: auto; margin-left: 4; display: none; }
        #message { height: 1fr; content-align: center middle; padding: 0 2; display: none; }
        &.-roomy #figures { display: block; }
        &.-low #title { margin-top: 0; }
        &.-low #body { padding: 0 1; }
        &.-message { #cost, #body { display: none; } #message { display: block; } }
    }
    """
    HORIZONTAL_BREAKPOINTS = [(0, "-usual"), (78, "-roomy")]
    VERTICAL_BREAKPOINTS = [(0, "-low"), (23, "-high")]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", "Back", id="shifts-back"),
        Binding("f", "fill", "Fill", tooltip="the gaps in the next way", id="shifts-fill"),
        Binding("r", "retry", "Try again", id="shifts-again"),
    ]

    def __init__(self, run: Run) -> None:
        super().__init__()
        self._run = run
        self._fill = _FILLS[0]
        self._found: dict[str, Any] | None = None
        self._trouble: HelperTrouble | None = None

    def compose(self) -> ComposeResult:
        yield TopBar("Results")
        yield Static(id="title", markup=False)
        yield Static(id="cost", markup=False)
        with Horizontal(id="body"):
            yield Static(id="map", markup=False)
            yield Static(id="figures", markup=False)
        yield Static(id="message", markup=False)
        yield KeyBar()

    def on_mount(self) -> None:
        self._load()

    def on_resize(self) -> None:
        self._show()

    # Asking.

    def _load(self) -> None:
        self._found = self._trouble = None
        self._waiting = Waiting("Looking at the pictures ...")
        self._show()
        self.work(self._ask, "shifts")

    async def _ask(self) -> None:
        helper, path = self.cockpit.helper, str(self._run.path)
        try:
            answer = await helper.ask("probe", on_progress=self.progress, run=path, fill=self._fill)
            require_pictures(answer)
        except HelperTrouble as trouble:
            self.fail(trouble)
            return
        self._found, self._waiting = answer, None
        self._show()

    def fail(self, trouble: HelperTrouble) -> None:
        """Say what went wrong in place of the map."""
        self._trouble, self._waiting = trouble, None
        self._show()

    def show_waiting(self) -> None:
        self._show()

    # Showing.

    def _show(self) -> None:
        found, width = self._found, self.line_width
        name = Content.styled(plain(self._run.name), "bold")
        self.query_one("#title", Static).update(
            facts.fitted([name, f"gaps filled by {FILLS[self._fill]}"], width)
        )
        self.set_class(found is None, "-message")
        if found is None:
            self.query_one("#message", Static).update(self._message())
        else:
            self.query_one("#cost", Static).update(facts.fitted(_cost_words(found), width))
            self.query_one("#map", Static).update(map_of(found))
            self.query_one("#figures", Static).update(_figures(found))
        self.refresh_keys()

    def _message(self) -> Content:
        if self._trouble is not None:
            return trouble_words(self._trouble, "", ("r", "try again"), ("Esc", "back to the results"))
        return (self._waiting or Waiting("")).words(self.size.width, self.ascii_only)

    # What the keys do.

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "fill":
            return self._found is not None
        return action != "retry" or self._trouble is not None

    def action_fill(self) -> None:
        """Fill what a shift leaves empty in another way."""
        self._fill = _FILLS[(_FILLS.index(self._fill) + 1) % len(_FILLS)]
        self._load()

    def action_retry(self) -> None:
        """Ask the helper again."""
        self._load()

    def action_back(self) -> None:
        """Return to the results."""
        self.dismiss()


def map_of(found: dict[str, Any]) -> Content:
    """Return the accuracies of a probe as lines of coloured cells, under their shifts."""
    offsets, rows = found["offsets"], found["accuracy"]
    values = [value for row in rows for value in row]
    ends = min(values), max(values)
    label = max(len(signed(offset)) for offset in offsets)
    head = " " * label + "".join(f"{signed(offset):>{_CELL - 1}} " for offset in offsets)
    lines = [Content.styled(head, MUTED)]
    for down, row in zip(offsets, rows, strict=True):
        parts: list[tuple[str, str]] = [(f"{signed(down):>{label}}", MUTED)]
        for across, value in zip(offsets, row, strict=True):
            colour = colour_of(place(value, ends))
            back, ink = ("#{:02x}{:02x}{:02x}".format(*part) for part in (colour, ink_on(colour)))
            strong = "bold underline " if (across, down) == (0, 0) else ""
            parts.append((f"{100 * value:{_CELL - 1}.0f} ", f"{strong}{ink} on {back}"))
        lines.append(Content.assemble(*parts))
    return Content("\n").join(lines)


def _cost_words(found: dict[str, Any]) -> list[str]:
    told = min(TOLD, found["offsets"][-1])
    costs = [cost for cost in found["costs"] if cost["pixels"] == told]
    words = [f"accuracy in %; a shift of {told} pixels costs {points(cost['cost'])}" for cost in costs]
    return [*words, f"{found['pictures']:,} of {found['available']:,} validation pictures"]


def _figures(found: dict[str, Any]) -> Content:
    rows = [("as they are", found["unmoved"])]
    rows += [(f"moved by {cost['pixels']} pixels", cost["accuracy"]) for cost in found["costs"]]
    for change in found["changes"]:
        words = change["what"] if change["kind"] == "flip" else f"{change['kind']} {change['what']}"
        rows.append((words, change["accuracy"]))
    wide = max(len(words) for words, _ in rows)
    lines = [
        Content.assemble((f"{words:<{wide}}", MUTED), f"  {facts.percent(share):>8}") for words, share in rows
    ]
    return Content("\n").join(lines)
