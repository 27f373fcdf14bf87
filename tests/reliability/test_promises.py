"""What docs/reliability.md promises is tested: each test that it names is there, and its command runs it."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
ROWS = [line.strip("|").split("|") for line in DOCUMENT.splitlines() if line.startswith("| ")][2:]
TESTS = {
    path.relative_to(ROOT).as_posix(): {
        node.name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    }
    for path in (ROOT / "tests").rglob("test_*.py")
}


def named(cell: str) -> list[str]:
    """Return the names of tests in a cell, as patterns: `...` stands for anything."""
    words = [word.rpartition("::")[2] for word in re.findall(r"`([^`]+)`", cell)]
    return [re.escape(word).replace(r"\.\.\.", ".*") for word in words if "_" in word and "/" not in word]


def files(cell: str) -> list[str]:
    return re.findall(r"tests/[\w/]+\.py", cell)


def test_each_test_that_is_named_is_there() -> None:
    assert len(ROWS) > 25
    every = set().union(*TESTS.values())
    for row in ROWS:
        for pattern in named(row[1]):
            assert any(re.fullmatch(pattern, name) for name in every), pattern


def test_each_command_runs_files_that_are_there_and_selects_something_of_them() -> None:
    for row in ROWS:
        words = shlex.split(row[3].strip().strip("`"))
        assert words[0] in ("pytest", "python"), row
        paths = [word for word in words if word.startswith(("tests/", "benchmarks/"))]
        assert paths, row
        assert all((ROOT / path).exists() for path in paths), row
        if "-k" in words:
            wanted = words[words.index("-k") + 1].split(" or ")
            names = set().union(*(TESTS[path] for path in paths))
            for word in wanted:
                assert any(word in name for name in names), (word, row)
