"""In which settings runs differ, and nothing else. Knows no terminal."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from birdplane.errors import BirdplaneError
from birdplane.runs import Run


def settings(run: Run) -> dict[str, str]:
    """Return the run's pipeline as `{"model.width": "32", ...}`; what cannot be read is empty."""
    try:
        document = tomllib.loads(run.pipeline_toml())
    except (BirdplaneError, tomllib.TOMLDecodeError):
        return {}
    return dict(_flat("", document))


def _flat(prefix: str, value: Any) -> list[tuple[str, str]]:
    if isinstance(value, Mapping):
        # `model.use = "swift"` reads as `model = swift`.
        return [
            pair
            for key, inner in value.items()
            for pair in _flat(prefix if key == "use" and prefix else f"{prefix}.{key}".lstrip("."), inner)
        ]
    if isinstance(value, list) and value and all(isinstance(inner, Mapping) for inner in value):
        chain = (prefix, " > ".join(str(inner.get("use", "?")) for inner in value))
        parts = [pair for inner in value for pair in _transform(prefix, inner)]
        return [chain, *parts]
    return [(prefix, value if isinstance(value, str) else _written(value))]


def _transform(prefix: str, entry: Mapping[str, Any]) -> list[tuple[str, str]]:
    # By name rather than by position: a transform that one run has in front of the others shifts no row.
    name = str(entry.get("use", "?"))
    rest = {key: value for key, value in entry.items() if key != "use"}
    return [pair for key, value in rest.items() for pair in _flat(f"{prefix}.{name}.{key}", value)]


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


def differing(all_settings: Sequence[Mapping[str, str]]) -> list[tuple[str, list[str]]]:
    """Return (key, value in each run) for the keys that are not the same in all, in the order of the pipeline."""
    keys = list(dict.fromkeys(key for one in all_settings for key in one))
    rows = [(key, [one.get(key, "-") for one in all_settings]) for key in keys]
    return [(key, values) for key, values in rows if len(set(values)) > 1]
