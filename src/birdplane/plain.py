"""What a component is in plain PyTorch: the source that `birdplane eject` writes for it. Imports no torch."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from birdplane.errors import BirdplaneError

#: The longest line that is written where it can be divided.
WIDTH = 110


@dataclass(frozen=True, kw_only=True)
class Plain:
    """A component as source text, of the values that one pipeline gives it.

    Args:
        use: what stands where the component is used; what that is depends on its kind, and is told under `Plain
            code` in the documentation of plugins.
        code: definitions that `use` needs: functions and classes at top level, two blank lines between them.
        constants: assignments that stand at the top of the script, for its reader to change.
        imports: statements, one each, such as `"import math"` or `"from torch import nn"`.
        draws: of a model or loss: whether it draws from torch's global random state in training, as dropout does.
        files: what the script reads, by its name beside the script.
    """

    use: str
    code: str = ""
    constants: str = ""
    imports: Sequence[str] = ()
    draws: bool = False
    files: Mapping[str, bytes] = field(default_factory=dict)


def literal(value: Any) -> str:
    """Return a parameter's value as source: `None`, a truth value, number, text or path, or a list of such.

    Raises:
        BirdplaneError: it cannot be written as source.
    """
    if isinstance(value, Path):
        return literal(str(value))
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{literal(key)}: {literal(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, tuple):
        return f"({', '.join(map(literal, value))}{',' * (len(value) == 1)})"
    text = repr(value)
    try:
        same = ast.literal_eval(text) == value
    except (ValueError, SyntaxError):
        same = False
    if not same:
        raise BirdplaneError(f"a value of type {type(value).__name__} cannot be written into a script")
    if isinstance(value, str) and text.startswith("'") and '"' not in text:
        return '"' + text[1:-1].replace("\\'", "'") + '"'
    return text


def call(function: str, *arguments: str, before: int = 0, **named: Any) -> str:
    """Return a call as source: on one line, or a line an argument where that would be too long.

    Args:
        function: the text of what is called.
        *arguments: the texts of the positional arguments.
        before: columns that are taken on the first line, by indentation or an assignment.
        **named: the values of the others.
    """
    parts = [*arguments, *(f"{name}={literal(value)}" for name, value in named.items())]
    line = f"{function}({', '.join(parts)})"
    if before + len(line) <= WIDTH and "\n" not in line:
        return line
    return "\n".join(
        [f"{function}(", *(f"    {part.replace(chr(10), chr(10) + '    ')}," for part in parts), ")"]
    )
