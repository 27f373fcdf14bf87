"""Between the draft and what is outside it: files, recipes, the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from birdplane.errors import BirdplaneError
from birdplane.pipeline import Pipeline
from birdplane.registry import Catalog
from birdplane.tui.checking import is_missing
from birdplane.tui.command import command_line
from birdplane.tui.dialogs import SaveAs
from birdplane.tui.draft import UNTITLED, Draft
from birdplane.tui.knowledge import Knowledge
from birdplane.tui.picker import Item, Picker, items_of, news_of, trouble_of
from birdplane.tui.saving import nearby, save
from birdplane.tui.steps import Document, Step

#: What `load` takes for an empty chain.
EMPTY = "new:"
_RECIPE, _FILE = "recipe:", "file:"


def picker(draft: Draft) -> Picker:
    """Return the picker of recipes and of the pipeline files here; any other path can be typed."""
    recipes = [
        Item(_RECIPE + item.value, item.name, item.summary, item.origin)
        for item in items_of(draft.catalog["recipe"])
    ]
    files = [Item(f"{_FILE}{path}", str(path), "", "file") for path in nearby(Path.cwd())]
    empty = Item(EMPTY, UNTITLED, "An empty chain.")
    items = [*recipes, *files, empty]
    current = next((item.value for item in items if item.name == draft.source), "")
    return Picker(
        "Open a recipe or a pipeline file",
        items,
        current,
        [*trouble_of(draft.catalog), *news_of(draft.catalog)],
        _typed,
    )


def _typed(text: str) -> Item | None:
    """Return the file that was typed in full, if it is one."""
    path = Path(text.strip()).expanduser()
    try:
        there = path.is_file()
    except (OSError, ValueError):
        return None
    return Item(f"{_FILE}{path}", str(path), "", "file") if there else None


def load(value: str, catalog: Catalog) -> tuple[Document, str]:
    """Return the document and the name of what was picked.

    Raises:
        BirdplaneError: it cannot be read.
    """
    if value == EMPTY:
        return {}, UNTITLED
    if value.startswith(_RECIPE):
        pipeline = Pipeline.load(value.removeprefix(_RECIPE), catalog)
    else:
        path = Path(value.removeprefix(_FILE))
        try:
            pipeline = Pipeline.from_toml(path.read_text(encoding="utf-8"), str(path), catalog)
        except (OSError, UnicodeDecodeError) as error:
            raise BirdplaneError(f"{path}: cannot be read: {error}") from error
    return pipeline.document, pipeline.source


def save_dialog(draft: Draft) -> SaveAs:
    """Return the question under which name to save: its own for a file, one made of a recipe's otherwise."""
    path = Path(draft.source)
    if path.suffix == ".toml":
        return SaveAs(draft.source, path)
    stem = "pipeline" if draft.source == UNTITLED else path.name
    return SaveAs(f"{stem}.toml", None)


def save_draft(draft: Draft, path: Path) -> None:
    """Write the draft to a file, which it is from then on. Raises `BirdplaneError` where that fails."""
    save(draft.document, path, draft.source)
    draft.saved(str(path))


def command_of(draft: Draft, known: Knowledge) -> str:
    """Return the command line that does what the draft says; from the nearest recipe where it is no file yet.

    Empty where something is not chosen yet.
    """
    if any(is_missing(problem) for problem in known.all):
        return ""
    if draft.base is not None:
        return command_line(draft.document, draft.source, draft.base)
    lines = [command_line(draft.document, name, base) for name, base in _recipes(draft.catalog).items()]
    return min(lines, key=len, default="")


def _recipes(catalog: Catalog) -> dict[str, Document]:
    found = {}
    for name in catalog["recipe"].names():
        try:
            found[name] = Pipeline.load(name, catalog).document
        except BirdplaneError:
            continue
    return found


def kept(step: Step, name: str, catalog: Catalog) -> dict[str, Any]:
    """Return the parameters of a step that another component has as well and can take as they are."""
    try:
        signature = catalog[step.kind].signature(name)
        wrong = {key.partition("[")[0] for key, _ in signature.problems(step.given)}
    except Exception:  # a plugin's own code
        return {}
    return {
        key: value for key, value in step.given.items() if key in signature.parameters and key not in wrong
    }
