"""What stands in front of a screen, which is dimmed behind it and may go on changing there."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import TypeVar

from rich.console import RenderableType
from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.renderables.background_screen import BackgroundScreen
from textual.screen import ModalScreen

_Result = TypeVar("_Result")


class Modal(ModalScreen[_Result]):
    """A screen in front of another one, which is dimmed: cheaply, as it is drawn anew with every frame behind it."""

    def render(self) -> RenderableType:
        drawn = super().render()
        return _Dimmed(drawn.screen, drawn.color) if isinstance(drawn, BackgroundScreen) else drawn


class _Dimmed(BackgroundScreen):
    """The screen behind. A few styles make up all of it: each is mixed with the colour once, not once a segment."""

    @classmethod
    def process_segments(cls, segments: Iterable[Segment], color: Color) -> Iterable[Segment]:
        for text, style, control in segments:
            yield Segment(text, style if control else _dimmed(style, color), control)


@lru_cache(maxsize=1024)
def _dimmed(style: Style | None, color: Color) -> Style | None:
    (segment,) = BackgroundScreen.process_segments([Segment(" ", style)], color)
    return segment.style
