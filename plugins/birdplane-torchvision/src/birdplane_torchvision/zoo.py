"""The names of torchvision's classifiers, and what can be set of each. Imports neither torchvision nor torch."""

from __future__ import annotations

import importlib.util
import re
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typing_extensions import Doc

from birdplane import BirdplaneError, Model

if TYPE_CHECKING:
    from torch import nn

#: A classifier is a function under `@register_model()` in a module of `torchvision.models` itself; what detects or
#: segments is in packages below it.
_REGISTERED = re.compile(r"^@register_model\(\)\n(?:@.*\n)*def (\w+)\(", re.MULTILINE)


def names() -> list[str]:
    """Return the names of all classifiers of the installed torchvision, sorted.

    Raises:
        BirdplaneError: torchvision is not installed, or its source cannot be read.
    """
    return sorted(modules())


@cache
def modules() -> dict[str, str]:
    """Return the module of `torchvision.models` that each model is defined in, by the model's name.

    Raises:
        BirdplaneError: torchvision is not installed, or its source cannot be read.
    """
    spec = importlib.util.find_spec("torchvision")
    if spec is None or not spec.origin:
        raise BirdplaneError("torchvision is not installed: pip install torchvision")
    found = {}
    try:
        for path in sorted(Path(spec.origin).with_name("models").glob("*.py")):
            for name in _REGISTERED.findall(path.read_text(encoding="utf-8")):
                found[name] = path.stem
    except OSError as error:
        raise BirdplaneError(
            f"{error.filename}: torchvision's source cannot be read: {error.strerror}"
        ) from error
    if not found:
        raise BirdplaneError(f"{spec.origin}: no models are found in its source; is this version supported?")
    return found


def member(name: str) -> Model:
    """Return the record of a model."""
    return Model(name=name, target=partial(build, name), summary=f"torchvision's {name} ({modules()[name]}).")


def build(
    name: str,
    /,
    *,
    input_shape: tuple[int, int, int],
    num_classes: int,
    pretrained: Annotated[
        bool,
        Doc("Start from the weights that torchvision recommends; they are downloaded once."),
    ] = False,
    weights: Annotated[Path | None, Doc("Start from these weights: a .safetensors file.")] = None,
) -> nn.Module:
    """Build a model of torchvision's for these pictures and classes. It yields logits_NK.

    Grey pictures are given to it as three equal channels.

    Raises:
        UsageError: it cannot take pictures of this shape, or has no weights to be had.
        BirdplaneError: the weights cannot be downloaded or read, or do not fit.
    """
    from birdplane_torchvision.building import Wanted, built

    return built(Wanted(name, input_shape, num_classes), pretrained=pretrained, weights=weights)
