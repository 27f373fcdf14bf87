"""timm's image classifiers as `timm/...`, and `timm/preprocess`, which gives a model the pictures it was trained on.

Imports neither torch nor timm: names are read from timm's source, and what needs torch is imported when it is built.
"""

from __future__ import annotations

from birdplane import Family, Transform, hookimpl
from birdplane.components import Component


@hookimpl
def birdplane_components() -> list[Component | Family]:
    """The models, listed on demand, and the transform that goes before them."""
    return [
        Family(kind="model", names="birdplane_timm.zoo:names", member="birdplane_timm.zoo:member"),
        Transform(
            name="preprocess",
            target="birdplane_timm.preprocess:Preprocess",
            summary="Resizes and normalizes pictures as timm does for one of its models.",
        ),
    ]
