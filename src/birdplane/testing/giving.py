"""The parameters that components are checked with, by the names that they were given under."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from birdplane.errors import UsageError, nearest

Parameters = Mapping[str, Mapping[str, Any]]


class Given:
    """Parameters by names: full or bare, with wildcards, with `kind:` before them.

    Raises:
        UsageError: an `input_shape` is none.
    """

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = {key: dict(values) for key, values in parameters.items()}
        self._used: set[str] = set()
        for key, values in self._parameters.items():
            shape = values.get("input_shape")
            if shape is not None and not _is_shape(shape):
                raise UsageError(f"{key}: input_shape should be [channels, height, width], not {shape!r}")

    def names(self, kind: str, name: str, prefix: str) -> bool:
        """Tell whether a component is named in full, without wildcards."""
        return any(spelling in self._parameters for spelling in _spellings(kind, name, prefix))

    def to(self, kind: str, name: str, prefix: str) -> dict[str, Any]:
        """Return the parameters of a component; what is said of many gives way to what is said of it alone."""
        values: dict[str, Any] = {}
        spellings = _spellings(kind, name, prefix)
        for key in sorted(self._parameters, key=lambda key: key in spellings):
            if any(fnmatchcase(spelling, key) for spelling in spellings):
                self._used.add(key)
                values |= self._parameters[key]
        return values

    def require_all_used(self, subjects: Iterable[str]) -> None:
        unused = [key for key in self._parameters if key not in self._used]
        if unused:
            names = [subject.partition(":")[2] for subject in subjects]
            raise UsageError(f"nothing that is checked is called {unused[0]!r}{nearest(unused[0], names)}")


def _spellings(kind: str, name: str, prefix: str) -> tuple[str, ...]:
    bare = name.removeprefix(prefix)
    return name, bare, f"{kind}:{name}", f"{kind}:{bare}"


def _is_shape(value: Any) -> bool:
    counts = isinstance(value, list | tuple) and len(value) == 3
    return counts and all(type(count) is int and count > 0 for count in value)
