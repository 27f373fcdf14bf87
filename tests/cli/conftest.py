"""The command line in this process: as the console script runs it, without starting Python anew."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from birdplane.cli import main
from birdplane.plugins import DISABLE_VARIABLE
from birdplane.registry import catalog


@dataclass(frozen=True)
class Ran:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def birdplane(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    """Run `birdplane ARGUMENTS...` in this process."""
    monkeypatch.setenv(DISABLE_VARIABLE, "*")

    def run(*arguments: str | Path) -> Ran:
        monkeypatch.setattr(sys, "argv", ["birdplane", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        out, err = capsys.readouterr()
        return Ran(int(left.value.code or 0), out, err)

    return run


@pytest.fixture
def register() -> Iterator[Callable[..., None]]:
    """Register components, by kind and name, until the test is over."""
    added: list[tuple[str, str]] = []

    def add(kind: str, name: str, target: Callable[..., Any], **record: Any) -> None:
        catalog()[kind].register(name, target, **record)
        added.append((kind, name))

    yield add
    for kind, name in added:
        registry = catalog()[kind]
        del registry._entries[name]
        registry._signatures.pop(name, None)
