"""The tutorial, carried out to the letter: its files are written, its commands are typed, what it shows is printed.

In an environment of its own, in which nothing is installed yet that is told of; pip, and what it builds and installs
there, are real.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from birdplane.events import Epoch
from birdplane.plugins import GROUP, Plugins, load_plugins
from birdplane.runs import Run
from birdplane.testing import checks, outcomes

_DOCS = Path(__file__).parents[1] / "docs"
_PAGE = _DOCS / "write-a-plugin.md"
#: From here on it takes long: checks in processes of their own, trainings, tests, wheels.
_LONG = "\n## Check\n"


@pytest.fixture(scope="module")
def examples() -> Iterator[ModuleType]:
    """`docs/examples.py`, which is in no package."""
    spec = importlib.util.spec_from_file_location("tutorial_examples", _DOCS / "examples.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture
def written(examples: ModuleType, tmp_path: Path) -> Path:
    """A folder with the files that the page shows, and nothing else."""
    for block in examples.blocks(_PAGE.read_text(encoding="utf-8")):
        if block.title:
            file = tmp_path / "written" / block.title
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text, encoding="utf-8")
    return tmp_path / "written"


@pytest.fixture
def loaded(examples: ModuleType, written: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plugins]:
    """birdplane's own plugin and the page's, which is on the path of this process."""
    place = examples.Place(written)
    place.run(examples.Command("pip install birdplane-moons", (), 0))
    for path in place.path:
        monkeypatch.syspath_prepend(path)
    points = importlib.metadata.entry_points(group=GROUP)
    yield load_plugins(entry_points=lambda: [p for p in points if p.name in ("builtin", "moons")])
    for name in [name for name in sys.modules if name.partition(".")[0] == "birdplane_moons"]:
        del sys.modules[name]


def test_its_plugin_keeps_to_the_contract(loaded: Plugins) -> None:
    found = [check for check in checks("moons", plugins=loaded) if check.name not in _OTHER_PROCESSES]
    ended = list(outcomes(found))
    assert [(outcome.check.id, outcome.reason) for outcome in ended if outcome.status == "failed"] == []
    assert len({outcome.check.subject for outcome in ended if outcome.status == "passed"}) == 4


#: Checks that start processes, which find what is installed and not what is on the path of this one alone.
_OTHER_PROCESSES = ("survives-spawn", "imports-no-torch")


def test_its_beginning_does_what_it_shows(examples: ModuleType, environment: Path, tmp_path: Path) -> None:
    page = tmp_path / _PAGE.name
    page.write_text(_PAGE.read_text(encoding="utf-8").partition(_LONG)[0], encoding="utf-8")
    assert _trouble(examples, page, environment, tmp_path / "place") == []


@pytest.mark.long
def test_it_does_what_it_shows(examples: ModuleType, environment: Path, tmp_path: Path) -> None:
    assert _LONG in _PAGE.read_text(encoding="utf-8")
    assert _trouble(examples, _PAGE, environment, tmp_path / "place") == []
    folded, flipped, unflipped = (
        _accuracy(tmp_path / "place" / "runs" / run) for run in ("nights-1", "demo-1", "demo-2")
    )
    assert folded > 0.8
    assert flipped < 0.65
    assert unflipped > 0.8


def _trouble(examples: ModuleType, page: Path, environment: Path, folder: Path) -> list[str]:
    """Carry a page out in a folder; return what went otherwise than it shows."""
    folder.mkdir()
    place = examples.Place(folder, programs=environment)
    return [str(outcome) for outcome in examples.run_page(page, place) if outcome.trouble]


def _accuracy(run: Path) -> float:
    """Return the best validation accuracy of a run."""
    return max(event.validation_accuracy for event in Run(run).events() if isinstance(event, Epoch))
