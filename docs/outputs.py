"""Pages whose outputs are made when the pages are built: their examples are run, and what they print is put in.

Such a page has MARK in it. It is run once: what its examples printed is kept in `build/outputs` until one of
them, the source or torch changes. A translation shows the same examples, so that it is filled from the same run.

Run as a program, it writes what is printed now into the pages themselves, translations too.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import examples
import filelock
from examples import ROOT, Block, Outcome, Printed

MARK = "<!-- outputs: made when this page is built -->"
TRANSLATIONS = sorted((ROOT / "docs" / "ko").glob("*.md"))
KEPT = ROOT / "build" / "outputs"
#: What the outputs depend on besides the examples themselves.
_SOURCES = ("src/birdplane", "plugins/birdplane_builtin", "docs/examples.py", "docs/outputs.py")


def outcomes(page: Path, kept: Path | None = None) -> list[Outcome]:
    """Return what became of the examples of a page; they are run only if that is not known from before."""
    markdown = page.read_text(encoding="utf-8")
    found = examples.blocks(markdown)
    file = (kept or KEPT) / f"{_key(markdown)}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(file.with_suffix(".lock")):
        printed = _read(file) if file.is_file() else _run(markdown)
        came = [examples.compared(page, found, one) for one in printed]
        if not any(outcome.trouble.startswith("exit") for outcome in came):
            file.write_text(json.dumps([asdict(one) for one in printed]), encoding="utf-8")
    return came


def filled(page: Path, kept: Path | None = None) -> str:
    """Return the text of a page with what its examples print.

    Raises:
        RuntimeError: an example fails, or prints something else than what is shown around a `...`.
    """
    lines = page.read_text(encoding="utf-8").splitlines()
    for outcome in sorted(outcomes(page, kept), key=lambda outcome: outcome.span, reverse=True):
        if outcome.trouble and (outcome.trouble.startswith("exit") or "..." in outcome.shown):
            raise RuntimeError(str(outcome))
        if outcome.span != (0, 0):
            lines[slice(*outcome.span)] = examples.placed(outcome.shown, outcome.printed)
    return "\n".join(lines) + "\n"


def code(markdown: str) -> list[tuple[object, ...]]:
    """Return the examples of a page without what they print: what a translation has in common with its page."""
    return [_code(block) for block in examples.blocks(markdown)]


def _code(block: Block) -> tuple[object, ...]:
    body: Sequence[str] = block.lines
    if block.not_run or block.language == "text":
        body = ()
    elif block.language == "console":
        body = [command.text for command in examples.commands(block)]
    return (block.language, block.title, bool(block.not_run), block.given, tuple(body))


def _run(markdown: str) -> list[Printed]:
    print("running the examples of a page; this takes a minute or two", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        return list(examples.run(markdown, examples.Place(Path(folder))))


def _read(file: Path) -> list[Printed]:
    records = json.loads(file.read_text(encoding="utf-8"))
    return [Printed(**{**record, "lines": tuple(record["lines"])}) for record in records]


def _key(markdown: str) -> str:
    """Return a name for all that the outputs depend on."""
    digest = hashlib.sha256(repr(code(markdown)).encode())
    digest.update(repr((platform.python_version(), importlib.metadata.version("torch"))).encode())
    for file in _files():
        digest.update(f"{file.relative_to(ROOT)}".encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:32]


def _files() -> Iterator[Path]:
    for name in _SOURCES:
        place = ROOT / name
        inside = place.rglob("*") if place.is_dir() else [place]
        yield from sorted(file for file in inside if file.is_file() and "__pycache__" not in file.parts)


def made(page: Path) -> bool:
    """Return whether the outputs of a page are made when it is built."""
    return MARK in page.read_text(encoding="utf-8")


if __name__ == "__main__":
    for page in [*examples.PAGES, *TRANSLATIONS]:
        if made(page):
            page.write_text(filled(page), encoding="utf-8")
