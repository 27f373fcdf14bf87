"""birdplane: assemble, train and understand small image classifiers. Importing it imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from birdplane.components import (
        Dataset,
        Family,
        Loss,
        Model,
        Optimizer,
        Output,
        Recipe,
        Schedule,
        Transform,
    )
    from birdplane.errors import BirdplaneError, UsageError
    from birdplane.hookspecs import hookimpl
    from birdplane.pipeline import Pipeline
    from birdplane.registry import datasets, losses, models, optimizers, recipes, schedules, transforms

__version__ = "0.1.0"

__all__ = [
    "BirdplaneError",
    "Dataset",
    "Family",
    "Loss",
    "Model",
    "Optimizer",
    "Output",
    "Pipeline",
    "Recipe",
    "Schedule",
    "Transform",
    "UsageError",
    "__version__",
    "datasets",
    "hookimpl",
    "losses",
    "models",
    "optimizers",
    "recipes",
    "schedules",
    "transforms",
]

#: Where each public name comes from. It is imported when it is first asked for: `birdplane --help` needs none.
_HOMES = {
    "birdplane.components": (
        "Dataset",
        "Family",
        "Loss",
        "Model",
        "Optimizer",
        "Output",
        "Recipe",
        "Schedule",
        "Transform",
    ),
    "birdplane.errors": ("BirdplaneError", "UsageError"),
    "birdplane.hookspecs": ("hookimpl",),
    "birdplane.pipeline": ("Pipeline",),
    "birdplane.registry": (
        "datasets",
        "losses",
        "models",
        "optimizers",
        "recipes",
        "schedules",
        "transforms",
    ),
}


def __getattr__(name: str) -> Any:
    import importlib

    for home, names in _HOMES.items():
        if name in names:
            globals()[name] = found = getattr(importlib.import_module(home), name)
            return found
    raise AttributeError(f"module 'birdplane' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(globals().keys() | set(__all__))
