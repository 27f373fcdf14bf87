"""What a screen says in place of pictures: what is missing, went wrong, or is waited for, and the keys for it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from textual.content import Content

from birdplane.text import amount, duration, plain, size
from birdplane.tui.asking import HelperTrouble, Progress
from birdplane.tui.cells import MUTED, bar

_BAR = 40


def key_lines(*pairs: tuple[str, str]) -> Content:
    """Return a line for each key and what it does."""
    width = max(len(key) for key, _ in pairs)
    lines = [Content.assemble((f"{key:<{width}}", "bold $text-accent"), f"   {does}") for key, does in pairs]
    return Content("\n").join(lines)


def paragraphs(*parts: Content | str) -> Content:
    """Return the parts with an empty line between them; empty ones are left out."""
    contents = [Content(part) if isinstance(part, str) else part for part in parts]
    return Content("\n\n").join(content for content in contents if len(content))


def trouble_words(trouble: HelperTrouble, source: str, *keys: tuple[str, str]) -> Content:
    """Return what the helper refused or why it did not answer, and the keys that may help."""
    return paragraphs(Content.styled(trouble_sentence(trouble, source), "$text-error"), key_lines(*keys))


def trouble_sentence(trouble: HelperTrouble, source: str) -> str:
    """Return why there is no answer, without the pipeline's name, which stands on the screen already."""
    return plain(str(trouble)).removeprefix(f"{source}: ")


def missing_words(name: str, missing: dict[str, Any]) -> Content:
    """Return what is not on this machine, how much it is, where it will lie, and what can be done about it."""
    many = size(missing["size"]) if missing.get("size") else "of unknown size"
    place = str(missing["place"])
    home = str(Path.home())
    shown = "~" + place[len(home) :] if place.startswith(home + "/") else place
    return paragraphs(
        Content.assemble("The pictures of ", (plain(name), "bold"), " are not on this machine yet."),
        Content.assemble(("download  ", MUTED), many, ("\nplace     ", MUTED), plain(shown)),
        key_lines(
            ("g", f"get them ({many})" if missing.get("size") else "get them"),
            ("o", "offline: take drawn pictures instead"),
        ),
    )


def require_pictures(answer: dict[str, Any]) -> None:
    """Raise `HelperTrouble` where an answer about a run says that its pictures are not here."""
    if answer.get("missing"):
        place = answer["missing"]["place"]
        raise HelperTrouble(f"the run's pictures are not on this machine: expected in {place!r}", "failed")


class Waiting:
    """Words for what is being waited for, with a bar as soon as it is known how far it is."""

    def __init__(self, sentence: str) -> None:
        self._sentence = sentence
        self._progress: Progress | None = None
        self._title = ""
        self._began = 0.0

    def take(self, progress: Progress) -> None:
        """Note how far it is."""
        if progress.title != self._title or progress.done == 0:
            self._title, self._began = progress.title, time.monotonic()
        self._progress = progress

    def words(self, width: int, ascii_only: bool = False) -> Content:
        """Return the sentence, and a bar with amounts."""
        progress = self._progress
        if progress is None:
            return Content(self._sentence)
        lines = [Content(plain(progress.title))]
        if progress.total:
            strong, weak = bar(progress.done / progress.total, min(_BAR, max(10, width - 4)), ascii_only)
            lines.append(Content.assemble((strong, "$text-accent"), (weak, "$foreground 20%")))
        lines.append(Content.styled(self._amount(progress), MUTED))
        return Content("\n").join(lines)

    def line(self) -> str:
        """Return the same in one line, without a bar."""
        progress = self._progress
        return f"{plain(progress.title)}, {self._amount(progress)}" if progress else self._sentence

    def _amount(self, progress: Progress) -> str:
        seconds = max(time.monotonic() - self._began, 1e-9)
        rate = progress.done / seconds
        parts = [amount(progress.done, progress.total, progress.unit)]
        # Before a second has gone, a rate says nothing.
        if seconds >= 1 and progress.done:
            if progress.unit == "B":
                parts.append(f"{size(rate)}/s")
            if progress.total:
                parts.append(f"{duration(max(0.0, (progress.total - progress.done) / rate))} left")
        return ", ".join(parts)
