"""The pipeline that is being built: any state of it may be wrong, and every change can be undone."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from birdplane.pipeline import Pipeline, Problem, dump_toml
from birdplane.tui.signatures import ScreenCatalog, screen_catalog

#: What a draft is called that came from nowhere.
UNTITLED = "untitled"


@dataclass
class _Origin:
    """Where versions of the draft come from: a file or recipe, and what that holds; None if it holds nothing."""

    source: str
    base: dict[str, Any] | None


@dataclass(frozen=True)
class _Version:
    document: dict[str, Any]
    origin: _Origin


class Draft:
    """A pipeline that is being built.

    Args:
        document: what a pipeline file parses to, in plain dicts and lists; see `docs/pipeline.md`.
        source: the file or the recipe that it is; `UNTITLED` for neither.
        catalog: where names are looked up; by default the installed plugins, and torch is not imported.
    """

    def __init__(self, document: dict[str, Any], source: str, catalog: ScreenCatalog | None = None) -> None:
        self.catalog = catalog or screen_catalog()
        self._now = _opened(document, source)
        self._past: list[_Version] = []
        self._future: list[_Version] = []
        self._merging = ""

    @property
    def source(self) -> str:
        return self._now.origin.source

    @property
    def base(self) -> dict[str, Any] | None:
        """What the file or recipe holds that the draft came from; None where it came from neither."""
        return deepcopy(self._now.origin.base)

    @property
    def is_changed(self) -> bool:
        """Whether it differs from the file or recipe that it came from."""
        return self._now.document != (self._now.origin.base or {})

    @property
    def can_undo(self) -> bool:
        return bool(self._past)

    @property
    def can_redo(self) -> bool:
        return bool(self._future)

    @property
    def document(self) -> dict[str, Any]:
        """A copy; to change the draft, hand a changed copy to `change`."""
        return deepcopy(self._now.document)

    @property
    def pipeline(self) -> Pipeline:
        return Pipeline(self._now.document, self.source, self.catalog)

    def change(self, document: dict[str, Any], merge: str = "") -> None:
        """Take a new document; the old one can be brought back.

        Args:
            document: the new one.
            merge: what is being changed: consecutive changes of one thing are undone together, so that an undo
                takes back a value and not a letter.
        """
        if document == self._now.document:
            return
        if not merge or merge != self._merging:
            self._past.append(self._now)
        self._now = _Version(deepcopy(document), self._now.origin)
        self._future.clear()
        self._merging = merge

    def open(self, document: dict[str, Any], source: str) -> None:
        """Take another pipeline in the place of this one, which an undo brings back."""
        self._past.append(self._now)
        self._now = _opened(document, source)
        self._future.clear()
        self._merging = ""

    def saved(self, source: str) -> None:
        """Note that a file holds the draft as it is now."""
        self._now.origin.source = source
        self._now.origin.base = deepcopy(self._now.document)
        self._merging = ""

    def undo(self) -> bool:
        """Go back one change; return whether there was one."""
        return self._travel(self._past, self._future)

    def redo(self) -> bool:
        """Take back the last undo; return whether there was one."""
        return self._travel(self._future, self._past)

    def _travel(self, back: list[_Version], forth: list[_Version]) -> bool:
        self._merging = ""
        if not back:
            return False
        forth.append(self._now)
        self._now = back.pop()
        return True

    def problems(self) -> list[Problem]:
        return self.pipeline.problems()

    def to_toml(self) -> str:
        """Return the text to save: as complete as the draft allows."""
        return dump_toml(self._now.document) if self.problems() else self.pipeline.to_toml()


def _opened(document: dict[str, Any], source: str) -> _Version:
    base = None if source == UNTITLED else deepcopy(document)
    return _Version(deepcopy(document), _Origin(source, base))
