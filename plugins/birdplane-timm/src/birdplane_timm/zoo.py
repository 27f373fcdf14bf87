"""The names of timm's models, and what can be set of each. Imports neither timm nor torch.

A model of timm's is a function under `@register_model` in a module of `timm.models`. To import them takes seconds; to
look for those lines takes less than a tenth of one.
"""

from __future__ import annotations

import importlib.util
import re
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge, Lt
from typing_extensions import Doc

from birdplane import BirdplaneError, Model

if TYPE_CHECKING:
    from torch import nn

_REGISTERED = re.compile(r"^@register_model\n(?:@.*\n)*def (\w+)\(", re.MULTILINE)


def names() -> list[str]:
    """Return the names of all classifiers of the installed timm, sorted.

    timm's encoders for language models, which yield a picture's parts and no classes, are left out: `..._enc`.

    Raises:
        BirdplaneError: timm is not installed, or its source cannot be read.
    """
    return sorted(name for name in modules() if not name.endswith("_enc"))


@cache
def modules() -> dict[str, str]:
    """Return the module of `timm.models` that each model is defined in, by the model's name.

    Raises:
        BirdplaneError: timm is not installed, or its source cannot be read.
    """
    spec = importlib.util.find_spec("timm")
    if spec is None or not spec.origin:
        raise BirdplaneError("timm is not installed: pip install timm")
    found = {}
    try:
        for path in sorted(Path(spec.origin).with_name("models").glob("*.py")):
            for name in _REGISTERED.findall(path.read_text(encoding="utf-8")):
                found[name] = path.stem
    except OSError as error:
        raise BirdplaneError(f"{error.filename}: timm's source cannot be read: {error.strerror}") from error
    if not found:
        raise BirdplaneError(
            f"{spec.origin}: no models are found in timm's source; is this version supported?"
        )
    return found


def member(name: str) -> Model:
    """Return the record of a model."""
    return Model(name=name, target=partial(build, name), summary=f"timm's {name} ({modules()[name]}).")


def build(
    name: str,
    /,
    *,
    input_shape: tuple[int, int, int],
    num_classes: int,
    pretrained: Annotated[
        bool, Doc("Start from the weights that timm offers; they are downloaded once, as safetensors.")
    ] = False,
    tag: Annotated[
        str | None, Doc("Which of the weights that timm offers, such as a1_in1k; left out: timm's choice.")
    ] = None,
    weights: Annotated[Path | None, Doc("Start from these weights: a .safetensors file.")] = None,
    drop_rate: Annotated[
        float, Ge(0), Lt(1), Doc("The share of the last features that is silenced while training.")
    ] = 0.0,
    drop_path_rate: Annotated[
        float | None,
        Ge(0),
        Lt(1),
        Doc("The share of the residual branches that is skipped while training; left out: the model's own."),
    ] = None,
) -> nn.Module:
    """Build a model of timm's for these pictures and classes. It yields logits_NK.

    Raises:
        UsageError: it cannot take pictures of this size, has no such parameter, or has no weights to be had.
        BirdplaneError: the weights cannot be downloaded or read, or do not fit.
    """
    from birdplane_timm.building import Wanted, built

    return built(
        Wanted(name, tag, input_shape, num_classes, drop_rate, drop_path_rate),
        pretrained=pretrained,
        weights=weights,
    )
