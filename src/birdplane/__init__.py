"""birdplane: assemble, train and understand small image classifiers. Importing it imports no torch."""

from birdplane.components import Dataset, Loss, Model, Optimizer, Output, Recipe, Schedule, Transform
from birdplane.errors import BirdplaneError, UsageError
from birdplane.hookspecs import hookimpl
from birdplane.pipeline import Pipeline
from birdplane.registry import datasets, losses, models, optimizers, recipes, schedules, transforms

__version__ = "0.1.0"

__all__ = [
    "BirdplaneError",
    "Dataset",
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
