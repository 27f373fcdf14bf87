"""What stands in place of a screen that could not be made: why, and what works all the same."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Static

from birdplane.text import plain
from birdplane.tui.bar import TopBar

_ADVICE = """The other screens work: 1 to 5 go there, q leaves.

`birdplane doctor` looks at the installation; begin the cockpit again when it is mended.
"""


class UnavailableScreen(Screen[None]):
    """Says that a screen could not be made.

    Args:
        title: of the screen, such as `"Build"`.
        error: what was raised.
    """

    HELP = "This screen could not be loaded."
    DEFAULT_CSS = "UnavailableScreen #trouble { height: 1fr; padding: 0 2; content-align: center middle; }"

    def __init__(self, title: str, error: Exception) -> None:
        super().__init__()
        self._title = title
        self._reason = plain(f"{type(error).__name__}: {error}")

    def compose(self) -> ComposeResult:
        reason = Content.styled(f"The screen {self._title} cannot be loaded: {self._reason}", "$text-error")
        yield TopBar(self._title)
        yield Static(Content("\n\n").join([reason, Content(_ADVICE)]), id="trouble", markup=False)
