"""A new plugin as a package: files made of `template/`, which appear under their folder's name all at once.

In the name and the text of a template, `{{name}}` is the plugin's name, `{{module}}` its module and `{{version}}` the
least birdplane that it needs; every template's name ends in `.in`, so that no tool takes it for a program.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import tempfile
import unicodedata
from pathlib import Path

from birdplane.durable import trouble
from birdplane.errors import UsageError
from birdplane.plugins import GROUP

#: Names that are birdplane's own, besides those of installed plugins: itself, its plugins, and what it imports.
RESERVED = ("birdplane", "builtin", "mlflow", "tensorboard", "timm", "torchvision")
_LONGEST = 40
_NAME = re.compile(rf"(?=.{{1,{_LONGEST}}}$)[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
_TEMPLATE = Path(__file__).parent / "template"


def write_plugin(name: str, into: Path, version: str) -> Path:
    """Write the package `birdplane-<name>` into the folder `into` and return its folder.

    Either all of it is there afterwards or nothing. `version` is that of this birdplane, which the package will
    need at least.

    Raises:
        UsageError: the name is malformed or taken, or there is something under the folder's name already.
        BirdplaneError: it cannot be written.
    """
    _check_name(name)
    folder = into / f"birdplane-{name}"
    if not into.is_dir():
        raise UsageError(f"there is no folder {str(into)!r} to write the plugin into")
    if os.path.lexists(folder):
        raise UsageError(f"{str(folder)!r} is there already; nothing is overwritten")
    given = {"name": name, "module": _module(name), "version": ".".join(version.split(".")[:2])}
    beside = None
    try:
        beside = Path(tempfile.mkdtemp(prefix=f".birdplane-{name}-", dir=into))
        _fill(beside / folder.name, given)
        (beside / folder.name).rename(folder)  # fails where somebody has just put something there
    except OSError as error:
        raise trouble(error, "write", folder) from error
    finally:
        if beside is not None:
            shutil.rmtree(beside, ignore_errors=True)
    return folder


def _fill(folder: Path, given: dict[str, str]) -> None:
    for template in sorted(_TEMPLATE.rglob("*.in")):
        path = template.relative_to(_TEMPLATE).as_posix().removesuffix(".in")
        file = folder / path.replace("birdplane_NAME", given["module"])
        file.parent.mkdir(parents=True, exist_ok=True)
        text = template.read_text(encoding="utf-8")
        for mark, value in given.items():
            text = text.replace("{{" + mark + "}}", value)
        file.write_text(text, encoding="utf-8", newline="\n")


def _module(name: str) -> str:
    return f"birdplane_{name.replace('-', '_')}"


# --- names ------------------------------------------------------------------------------------------------


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        legal = _nearest_legal(name)
        raise UsageError(
            f"a plugin cannot be called {name!r}: a name is lower-case words of a to z and 0 to 9, joined by dashes, "
            f"from a letter on and of {_LONGEST} characters at most"
            + (f"; did you mean {legal!r}?" if legal else "")
        )
    if name.startswith("birdplane-"):
        raise UsageError(
            f"the package will be called 'birdplane-{name}': leave 'birdplane-' out; "
            f"did you mean {name.removeprefix('birdplane-')!r}?"
        )
    owner = _owner(name)
    if owner:
        raise UsageError(f"the name {name!r} is taken: {owner}; choose another")


def _nearest_legal(name: str) -> str:
    """Return the name with what is not allowed left out or written otherwise; empty where nothing remains."""
    plain = unicodedata.normalize("NFKD", name.casefold()).encode("ascii", "ignore").decode()
    words = re.findall(r"[a-z0-9]+", plain)
    if words[:1] == ["birdplane"]:
        words = words[1:]
    return "-".join(words).lstrip("0123456789-")[:_LONGEST].rstrip("-")


def _owner(name: str) -> str:
    """Say who has the name already; an empty string where nobody has. Imports no plugin."""
    if name in RESERVED:
        return "it is one of birdplane's own"
    for point in importlib.metadata.entry_points(group=GROUP):
        if _normal(point.name) == name:
            package = f"{point.dist.name} {point.dist.version}" if point.dist else point.value
            return f"{package} is installed and brings a plugin of that name"
    try:
        found = importlib.metadata.distribution(f"birdplane-{name}")
    except importlib.metadata.PackageNotFoundError:
        pass
    else:
        return f"{found.name} {found.version} is installed"
    if importlib.util.find_spec(_module(name)) is not None:
        return f"there is a module {_module(name)!r} already"
    return ""


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
