"""Below the chain: whether the draft fits, what it costs, and the command line that does the same."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from birdplane.text import plain
from birdplane.tui import wording
from birdplane.tui.facts import fitted
from birdplane.tui.knowledge import Knowledge


class Below(Vertical):
    """A message, verdict, figures, one batch's figures, remarks, command line: a line each, empty ones left out."""

    DEFAULT_CSS = """
    Below {
        height: auto; padding: 0 2;
        #said { height: auto; max-height: 3; color: $text-accent; text-style: bold; }
        #said.-wrong { color: $text-error; }
        #verdict { height: auto; max-height: 2; }
        #figures { height: 1; }
        #batch { height: auto; }
        #remarks { height: auto; max-height: 2; color: $text-muted; }
        #command { height: auto; max-height: 3; color: $text-muted; }
    }
    """

    def compose(self) -> ComposeResult:
        for name in ("said", "verdict", "figures", "batch", "remarks", "command"):
            yield Static(id=name, markup=False)

    def show(self, known: Knowledge, mend: str, remarks: Sequence[str], command: str) -> None:
        """Show what is known of the draft.

        Args:
            known: of it.
            mend: what the key for mending does now, in words; empty where nothing can be done.
            remarks: sentences that are always true, such as which plugin is broken.
            command: the command line.
        """
        width = max(10, self.app.size.width - 4)
        self._put("verdict", wording.verdict(known, mend, width))
        parts = wording.figures(known)
        self._put("figures", fitted(parts, width) if parts else Content(""))
        self._put("batch", Content(plain(wording.batch_words(known.batch, known.trying))))
        self._put("remarks", Content("\n".join(plain(text) for text in [*wording.notes(known), *remarks])))
        copies = ("   y copies it", "$foreground 40%")
        self._put("command", Content.assemble(plain(command), copies) if command else Content(""))

    def say(self, text: str, wrong: bool) -> None:
        """Show a message above the rest; an empty one takes it away."""
        self._put("said", Content(plain(text)))
        self.query_one("#said").set_class(wrong, "-wrong")

    def _put(self, name: str, content: Content) -> None:
        static = self.query_one(f"#{name}", Static)
        static.update(content)
        # The figures keep their line while there are none: the chain is not to jump.
        static.display = bool(content.plain) or name == "figures"
