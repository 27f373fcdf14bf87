"""The imports of a script: put together, and sorted as linters have them."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable


def sorted_imports(statements: Iterable[str]) -> str:
    """Return import statements as a script begins with them: the standard library's, then all others."""
    modules: set[str] = set()
    names: dict[str, set[str]] = {}
    for statement in statements:
        match = re.fullmatch(r"from (\S+) import (.+)", statement)
        if match:
            names.setdefault(match[1], set()).update(name.strip() for name in match[2].split(","))
        else:
            modules.add(statement.removeprefix("import ").strip())
    lines = [(name.split()[0], f"import {name}") for name in sorted(modules, key=_folded)]
    lines += [
        (module, f"from {module} import {', '.join(sorted(names[module], key=_by_kind))}")
        for module in sorted(names, key=_folded)
    ]
    standard = [line for module, line in lines if module.partition(".")[0] in sys.stdlib_module_names]
    others = [line for module, line in lines if module.partition(".")[0] not in sys.stdlib_module_names]
    return "\n\n".join("\n".join(part) for part in (standard, others) if part)


def _folded(name: str) -> tuple[str, str]:
    return name.casefold(), name


def _by_kind(name: str) -> tuple[int, str]:
    """Constants come before classes, and these before all else."""
    return (0 if name.isupper() and len(name) > 1 else 1 if name[:1].isupper() else 2), name
