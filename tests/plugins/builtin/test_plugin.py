"""What the built-in plugin registers: every record can be read, and without torch."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from typing import Any

import pytest

from birdplane.components import Component, Recipe
from birdplane.params import Signature
from birdplane_builtin import MODELS, RECIPES, birdplane_components

RECORDS = [record for record in birdplane_components() if not isinstance(record, Recipe)]
BOOK = [record for record in RECIPES if record.name.startswith("book")]


def title(record: Component) -> str:
    return f"{record.kind}-{record.name}"


@pytest.mark.parametrize("record", RECORDS, ids=title)
def test_every_parameter_says_what_it_is_for(record: Component) -> None:
    signature = Signature(record.resolve(), record.reserved, title(record))
    assert record.summary
    assert all(parameter.help for parameter in signature.parameters.values())


@pytest.mark.parametrize("record", RECORDS, ids=title)
def test_every_default_is_valid(record: Component) -> None:
    signature = Signature(record.resolve(), record.reserved, title(record))
    required = {name for name, parameter in signature.parameters.items() if parameter.required}
    assert {key for key, _ in signature.problems({})} == required


@pytest.mark.parametrize("record", MODELS, ids=title)
def test_every_model_asks_for_the_shape_and_the_classes(record: Component) -> None:
    assert Signature(record.resolve(), record.reserved, title(record)).wants == {"input_shape", "num_classes"}


def test_reading_all_signatures_imports_no_torch() -> None:
    program = (
        "import sys\n"
        "from birdplane_builtin import birdplane_components\n"
        "[record.resolve() for record in birdplane_components() if record.kind != 'recipe']\n"
        "print(*sorted({'torch', 'torchvision', 'numpy'} & sys.modules.keys()))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize(
    ("recipe", "model", "output", "loss", "layout"),
    [
        ("book", {"use": "fully-connected", "hidden": [512]}, "log-softmax", "nll", {}),
        ("book-deep", {"use": "fully-connected", "hidden": [1024, 512, 128]}, "none", "cross-entropy", {}),
        (
            "book-conv",
            {"use": "convolutional", "width": 16},
            "none",
            "cross-entropy",
            {"channels_last": True},
        ),
    ],
)
def test_the_books_recipes_are_the_chapters_rows(
    recipe: str, model: dict[str, Any], output: str, loss: str, layout: dict[str, bool]
) -> None:
    made = tomllib.loads(next(record for record in BOOK if record.name == recipe).text())
    assert made == {
        "seed": 0,
        "dataset": {"use": "cifar2"},
        "transforms": [{"use": "to-tensor"}, {"use": "normalize"}],
        "model": {**model, "activation": "tanh"},
        "output": {"use": output},
        "loss": {"use": loss},
        "optimizer": {"use": "sgd", "lr": 0.01},
        "training": {"epochs": 100, "batch_size": 64, "device": "auto", "precision": "float32", **layout},
    }
