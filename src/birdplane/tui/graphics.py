"""Whether the terminal shows pictures in full: by kitty's graphics protocol, or by sixels.

Only where the extra `pictures` is installed. The terminal is asked after the first paint, through the cockpit's own
input, and its answers are taken out before anything could take them for keys: nothing is waited for, however slow the
connection.

A terminal that has sixels is drawn on with sixels, whatever else it says: WezTerm and Konsole say that they know
kitty's protocol, and do not know its placeholders. Sixels are large, so over SSH, and where tmux or screen is between
us and the terminal, they are drawn only if the settings ask for them.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from textual.app import App
    from textual.message import Message

#: What every terminal answers, so that the end of the answers is known; a 4 among its numbers stands for sixels.
_ATTRIBUTES = "\x1b[c"
#: Whether a pixel can be shown by kitty's protocol.
_KITTY_QUERY = "\x1b_Gi=1,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\"
#: How large a cell is, in pixels, and how many colours a sixel picture may have. Only for those that have sixels:
#: others may take the second for an order to scroll.
SIXEL_QUERY = f"\x1b[16t\x1b[?1;1;0S{_ATTRIBUTES}"
_ANSWER = re.compile(
    r"\x1b_G(?P<graphics>[^\x1b]*)\x1b\\"
    r"|\x1b\[\?(?P<attributes>[\d;]*)c"
    r"|\x1b\[6;(?P<height>\d+);(?P<width>\d+)t"
    r"|\x1b\[\?1;(?P<colours>[\d;]*)S"
)
#: The beginning of an answer whose rest is still to come.
_BEGUN = re.compile(r"\x1b(?:_(?:G[^\x1b]*\x1b?)?|\[(?:\?[\d;]*|6[\d;]*)?)?\Z")
_SIXEL = "4"
#: Seconds after which the beginning of an answer is taken for keys: the Escape key is one.
_PATIENCE_SECONDS = 0.05
#: Seconds that an answer may take, over any connection.
_MOST_SECONDS = 10.0
#: How many times as many pixels a picture is asked for as half blocks could show.
DETAIL = 4


@dataclass(frozen=True)
class Answer:
    """What the terminal said of itself so far.

    Attributes:
        kitty: whether it knows kitty's protocol.
        sixel: whether it has sixels.
        cell: width and height of a cell in pixels, where it told.
        colours: how many colours a sixel picture may have, where it told.
    """

    kitty: bool = False
    sixel: bool = False
    cell: tuple[int, int] | None = None
    colours: int | None = None


def possible() -> bool:
    """Tell whether pictures can be drawn in full at all: the extra is there."""
    return sys.platform != "win32" and importlib.util.find_spec("textual_image") is not None


def shows_colour(app: App[Any]) -> bool:
    """Tell whether pictures can be drawn in colour; sixteen colours are too few to know a bird by."""
    if getattr(app, "ascii_only", False) or app.no_color:
        return False
    return app.console.color_system in ("256", "truecolor", "windows")


def query(pictures: str) -> str:
    """Return what to ask the terminal first, for the setting `pictures`; nothing, if half blocks it is anyway."""
    if pictures == "sixel":
        # Nothing else: tmux takes kitty's question for the title of a window.
        return _ATTRIBUTES
    between = os.environ.get("TMUX") or os.environ.get("STY")
    return "" if pictures != "auto" or between else _KITTY_QUERY + _ATTRIBUTES


def listen(on_answer: Callable[[Answer], None]) -> Answers | None:
    """Take the terminal's answers out of the input, where they are expected; None where that is not possible.

    To be called before the program runs; `on_answer` is called in the thread that reads the input, once for each
    question.
    """
    from textual.drivers import linux_driver

    parser: Any = getattr(linux_driver, "XTermParser", None)
    if parser is None:
        return None
    answers = Answers(on_answer)

    class Listening(parser):  # type: ignore[misc]
        """Textual's parser behind one that knows the answers."""

        def feed(self, data: str) -> Iterable[Message]:
            rest = answers.without(data)
            if rest or not data:  # nothing at all would be the end of the input
                yield from super().feed(rest)

        def tick(self) -> Iterable[Message]:
            if late := answers.overdue():
                yield from super().feed(late)
            yield from super().tick()

    setattr(linux_driver, "XTermParser", Listening)  # noqa: B010 - the name is not the driver's own
    return answers


class Answers:
    """Finds the answers to the questions in what a terminal sends, in whatever pieces it comes."""

    def __init__(self, on_answer: Callable[[Answer], None]) -> None:
        self._on_answer = on_answer
        self._begun = ""
        self._since = self._awaited_until = 0.0
        self._answer = Answer()

    def expect(self) -> None:
        """Look for an answer from now on: a question is about to be asked."""
        self._awaited_until = time.monotonic() + _MOST_SECONDS

    def without(self, data: str) -> str:
        """Return what is no answer."""
        if not self._begun and time.monotonic() > self._awaited_until:
            return data  # or the Escape key would be late for nothing
        rest = _ANSWER.sub(self._note, self._begun + data)
        begun = _BEGUN.search(rest) if data else None
        at = begun.start() if begun else len(rest)
        self._begun, self._since = rest[at:], time.monotonic()
        return rest[:at]

    def overdue(self) -> str:
        """Return what looked like the beginning of an answer for too long."""
        if self._begun and time.monotonic() - self._since >= _PATIENCE_SECONDS:
            begun, self._begun = self._begun, ""
            return begun
        return ""

    def _note(self, match: re.Match[str]) -> str:
        if match["graphics"] is not None:
            self._answer = replace(self._answer, kitty=match["graphics"].endswith(";OK"))
        elif match["height"] is not None:
            cell = int(match["width"]), int(match["height"])
            self._answer = replace(self._answer, cell=cell if min(cell) > 0 else None)
        elif match["colours"] is not None:
            status, _, colours = match["colours"].partition(";")
            if status == "0" and colours.isdigit() and int(colours) > 1:
                self._answer = replace(self._answer, colours=int(colours))
        else:
            self._answer = replace(self._answer, sixel=_SIXEL in match["attributes"].split(";")[1:])
            self._awaited_until = 0.0
            self._on_answer(self._answer)
        return ""


def cell_size() -> tuple[int, int] | None:
    """Return width and height of a cell in pixels as the terminal's driver knows them; many do not."""
    import fcntl
    import struct
    import termios

    try:
        told = fcntl.ioctl(sys.__stderr__ or 2, termios.TIOCGWINSZ, bytes(8))
    except OSError:
        return None
    rows, columns, width, height = struct.unpack("HHHH", told)
    cell = width // max(1, columns), height // max(1, rows)
    return cell if min(cell) > 0 else None
