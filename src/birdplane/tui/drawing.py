"""What draws pictures in full in this terminal: kitty's protocol, sixels, or nothing yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from birdplane.tui import graphics
from birdplane.tui.graphics import Answer

if TYPE_CHECKING:
    from birdplane.tui.app import BirdplaneApp
    from birdplane.tui.kitty import Kitty
    from birdplane.tui.sixel import Sixels


class Drawing:
    """Asks the terminal of a program, and gets ready to draw in the best way that it knows.

    Args:
        app: the program.

    Attributes:
        kitty, sixels: what draws, one of them at most, once the terminal has said that it can.
        in_full: whether one of them is there, or will be in a moment.
    """

    def __init__(self, app: BirdplaneApp) -> None:
        self.kitty: Kitty | None = None
        self.sixels: Sixels | None = None
        self.in_full = False
        self._app = app
        self._answers: graphics.Answers | None = None
        self._asked_for_sixels = False

    def listen(self) -> None:
        """Be ready to ask the terminal; before the program runs."""
        if graphics.possible():
            self._answers = graphics.listen(self._call_from_input)

    def begin(self) -> None:
        """Ask what the terminal can, if the settings want to know."""
        self._ask(graphics.query(self._app.cockpit.settings.pictures))

    def fit(self) -> None:
        """Draw in cells of another size, where the terminal has another font by now."""
        if self.sixels is None:
            return
        if cell := graphics.cell_size():
            self._fit(cell)
        else:
            self._ask(graphics.SIXEL_QUERY)

    def forget(self) -> None:
        """Let the terminal forget the pictures that it keeps."""
        if self.kitty is not None:
            self.kitty.forget()

    def take(self, answer: Answer) -> None:
        """Act on what the terminal said."""
        from birdplane.tui.settings import over_ssh

        if not graphics.shows_colour(self._app) or self.kitty is not None:
            return
        if answer.sixel:
            if self._app.cockpit.settings.pictures == "auto" and over_ssh():
                return
            cell = graphics.cell_size() or answer.cell
            if not self._asked_for_sixels:
                self._asked_for_sixels = True
                self._ask(graphics.SIXEL_QUERY)
            elif cell is not None and self.sixels is not None:
                self._fit(cell)
            elif cell is not None and not self.in_full:
                self._load(self._load_sixels(cell, answer.colours))
        # Which picture a placeholder stands for is told by its colour, which has to come through as it is.
        elif answer.kitty and self._app.console.color_system == "truecolor" and not self.in_full:
            self._load(self._load_kitty())

    def _call_from_input(self, answer: Answer) -> None:
        call: Callable[..., Any] | None = getattr(self._app._loop, "call_soon_threadsafe", None)
        if call is not None:
            call(self.take, answer)

    def _ask(self, question: str) -> None:
        if self._answers is not None and question:
            self._answers.expect()
            self._app.write(question)

    def _fit(self, cell: tuple[int, int]) -> None:
        if self.sixels is not None and cell != self.sixels.cell:
            self.sixels.cell = cell
            self._app.refresh()

    def _load(self, loading: Coroutine[Any, Any, None]) -> None:
        self.in_full = True
        self._app.run_worker(loading, group="graphics", exit_on_error=False)

    async def _load_kitty(self) -> None:
        from birdplane.tui import kitty

        marks = await asyncio.to_thread(kitty.load_marks)
        self.kitty = kitty.Kitty(self._app.write, *marks) if marks is not None else None
        self.in_full = self.kitty is not None

    async def _load_sixels(self, cell: tuple[int, int], colours: int | None) -> None:
        from birdplane.tui import sixel

        encoder = await asyncio.to_thread(sixel.load_encoder)
        self.sixels = sixel.Sixels(encoder, graphics.cell_size() or cell, colours) if encoder else None
        self.in_full = self.sixels is not None
        self._app.refresh()
