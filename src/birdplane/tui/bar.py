"""The line on top of every screen: which screens there are, and where one is."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

_NAMES = ("Build", "Train", "Data", "Results", "Runs")


class TopBar(Static):
    """`1 Build  2 Train  ...`, the current one marked; a click goes there.

    Args:
        current: the name of the screen that it stands on, such as `"Build"`.
    """

    def __init__(self, current: str) -> None:
        parts = [Content.styled(" birdplane ", "bold")]
        for number, name in enumerate(_NAMES, 1):
            style = "bold reverse" if name == current else ""
            action = f"@click=app.show('{name.lower()}')"
            parts.append(Content.from_markup(f"[{style} {action}] {number} {name} [/]"))
        super().__init__(Content("").join(parts), id="top-bar")
