"""`birdplane explain`: small experiments on real numbers, as charts and tables."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from birdplane.cli import app
from birdplane.cli.options import Json, Set
from birdplane.cli.screen import percent, print_heading, print_json, print_table, showing_preparation
from birdplane.errors import BirdplaneError, UsageError, nearest
from birdplane.text import plain

if TYPE_CHECKING:
    from birdplane.explaining.loss import Place
    from birdplane.explaining.parameters import Growth
    from birdplane.explaining.shapes import Stop
    from birdplane.pipeline import Pipeline

#: What can be explained, and whether a pipeline is taken: by default (a recipe), if named (None), or never ("").
TOPICS: dict[str, str | None] = {
    "loss": "",
    "softmax": "",
    "normalize": "demo",
    "parameters": None,
    "shapes": "demo",
}


@app.command()
def explain(
    topic: Annotated[str, typer.Argument(help=f"One of {', '.join(TOPICS)}.")],
    pipeline: Annotated[
        str | None,
        typer.Argument(
            help="A pipeline file, or a recipe's name: for normalize and shapes (else demo) and parameters (else "
            "the chapter's nets).",
            show_default=False,
        ),
    ] = None,
    assignments: Set = None,
    json: Json = False,
) -> None:
    """Show what the chapter says on real numbers, worked out now.

    loss: loss and slope against the score of the right class, squared error beside cross-entropy. softmax: where
    the logarithm of a softmax is lost in float32. normalize: what it does to a net's first steps. parameters: how
    nets grow with the picture. shapes: a picture's way through a pipeline.
    """
    if topic not in TOPICS:
        raise UsageError(
            f"there is nothing on {topic!r}{nearest(topic, TOPICS)} (topics: {', '.join(TOPICS)})"
        )
    asked = _asked(topic, pipeline, assignments or [])
    with showing_preparation():
        found = _explained(topic, asked)
    if json:
        print_json({"topic": topic, **_named(asdict(found))})
        return
    _PRINTERS[topic](found)


def _asked(topic: str, name: str | None, assignments: list[str]) -> Pipeline | None:
    default = TOPICS[topic]
    if default == "" and (name or assignments):
        raise UsageError(f"explain {topic} takes no pipeline")
    name = name or default
    if not name:
        if assignments:
            raise UsageError(f"explain {topic}: --set needs a pipeline to change")
        return None
    from birdplane.availability import missing
    from birdplane.pipeline import Pipeline

    pipeline = Pipeline.load(name).override(assignments)
    pipeline.require_sound()
    # Before torch, which takes seconds to import. Only what is looked at: parameters need no picture.
    lack = missing(pipeline) if topic != "parameters" else None
    if lack is not None:
        raise BirdplaneError(f"{pipeline.source}: dataset: its pictures are not here yet: {lack}")
    return pipeline


def _explained(topic: str, pipeline: Pipeline | None) -> Any:
    from importlib import import_module

    function = import_module(f"birdplane.explaining.{topic}").explain
    return function(pipeline) if TOPICS[topic] != "" else function()


def _named(value: Any) -> Any:
    """Return a record with what JSON has no number for as text: `"inf"`, `"-inf"`, `"nan"`."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _named(inner) for key, inner in value.items()}
    return [_named(inner) for inner in value] if isinstance(value, list | tuple) else value


# --- loss -------------------------------------------------------------------------------------------------


def _print_loss(found: Any) -> None:
    from birdplane.cli.plotting import plotted

    print_heading("loss against the score of the right class (the wrong one has 0)")
    print(*_curves(found.curve, lambda slopes: slopes.loss, (0.0, 10.0), plotted), sep="\n")
    print()
    print_heading("its slope: how hard the score is pushed up (minus the derivative)")
    print(*_curves(found.curve, lambda slopes: -slopes.by_score, (0.0, 1.0), plotted), sep="\n")
    print()
    wanted = [found.example, found.steepest, _nearest_to(found.curve, 0.0), _nearest_to(found.curve, 5.0)]
    print_table(
        [
            [
                f"{place.score:.2f}",
                f"{place.probability:.3f}",
                f"{place.mse.loss:.3f}",
                f"{-place.mse.by_score:.4f}",
                f"{place.cross_entropy.loss:.3f}",
                f"{-place.cross_entropy.by_score:.4f}",
            ]
            for place in wanted
        ],
        ["score", "probability", "squared error", "slope", "cross-entropy", "slope"],
    )
    print()
    example, steepest, worst = found.example, found.steepest, found.vanished
    print(
        f"At a probability of {example.probability:.3f}, as wrong as in the chapter, the squared error is "
        f"{example.mse.loss:.3f} of at most 1,\nand pushes with {-example.mse.by_score:.4f}; cross-entropy is "
        f"{example.cross_entropy.loss:.1f}, and pushes with {-example.cross_entropy.by_score:.3f}."
    )
    print(
        f"The squared error pushes most, {-steepest.mse.by_score:.3f}, at a probability of "
        f"{steepest.probability:.2f}. At a score of {worst.score:.0f} its slope has vanished:\n"
        f"cross-entropy's is {found.ratio:,.0f} times as steep there."
    )
    gap = max(_gap(place) for place in (*found.curve, example, steepest))
    print(f"Slopes are autograd's; the closed forms differ from them by {gap:.0e} at most.")


def _curves(curve: tuple[Place, ...], value: Any, bounds: tuple[float, float], plotted: Any) -> list[str]:
    ways = {"squared error of the probabilities": "mse", "cross-entropy": "cross_entropy"}
    curves = [
        (words, [(place.score, value(getattr(place, name))) for place in curve])
        for words, name in reversed(ways.items())
    ]
    lines: list[str] = plotted(curves, bounds=bounds)
    return lines


def _gap(place: Place) -> float:
    return max(abs(slopes.by_score - slopes.by_score_formula) for slopes in (place.mse, place.cross_entropy))


def _nearest_to(curve: tuple[Place, ...], score: float) -> Place:
    return min(curve, key=lambda place: abs(place.score - score))


# --- softmax ----------------------------------------------------------------------------------------------


def _print_softmax(found: Any) -> None:
    print_heading(
        "log-probability of the right class, float32, as the wrong class's score grows (the right one has 0)"
    )
    ways = list(found.breaks)
    rows = [
        [
            f"{row.score:g}",
            f"{row.true:.2f}",
            *(f"{one.value:.2f}" for one in row.found.values()),
            *(f"{one.slope:.2f}" for one in row.found.values()),
        ]
        for row in found.rows
    ]
    header = ["score", "true", *ways, *(f"slope {way}" for way in ways)]
    print_table(rows, header)
    print()
    print_table(
        [
            ["by-hand", "log(exp(x) / sum(exp(x)))", _held(found.breaks["by-hand"])],
            ["softmax", "torch.log(torch.softmax(x))", _held(found.breaks["softmax"])],
            ["log-softmax", "torch.log_softmax(x)", _held(found.breaks["log-softmax"])],
        ],
        ["way", "what it computes", "where it is lost"],
    )
    print()
    print(
        "The slope, of minus the value against the right class's score, should be -1: a net that is so wrong is to"
    )
    print("be pushed hard. One nan there, and every weight is nan after the next step.")


def _held(broken: Any) -> str:
    if broken.value is None and broken.slope is None:
        return "nowhere up to 1,000"
    told = [
        f"{what} from {score:.1f} on"
        for what, score in (("value", broken.value), ("slope", broken.slope))
        if score is not None
    ]
    return ", ".join(told)


# --- normalize --------------------------------------------------------------------------------------------


def _print_normalize(found: Any) -> None:
    print_heading(
        f"{found.pictures:,} training pictures of {found.pipeline}, given in three ways to the net 512-tanh"
    )
    print_table(
        [
            [
                one.name,
                _channels(one.mean),
                _channels(one.std),
                percent(one.saturated),
                f"{one.slope:.3f}",
                f"{one.gradient:.2f}",
                f"{one.first_loss:.3f}",
                f"{one.last_loss:.3f}",
            ]
            for one in found.variants
        ],
        [
            "pictures",
            "mean",
            "deviation",
            "saturated",
            "slope",
            "gradient",
            "loss before",
            f"after {found.steps} steps",
        ],
    )
    print()
    print(
        "saturated: hidden activations at which the slope of tanh is below 0.05; slope: its mean; gradient: the"
    )
    print(
        "length of the first layer's. All before training; then plain gradient descent, the same weights and"
    )
    print(f"batches of {found.batch_size}, at a learning rate of {found.rate:g}.")


def _channels(values: tuple[float, ...]) -> str:
    digits = 0 if max(map(abs, values)) > 10 else 2
    return " ".join(f"{round(value, digits) + 0.0:.{digits}f}" for value in values)


# --- parameters -------------------------------------------------------------------------------------------


def _print_parameters(found: Any) -> None:
    print_heading(f"parameters, for pictures of {found.channels} channels and {found.classes} classes")
    header = ["net", *(f"{side}x{side}" for side in found.sides)]
    print_table([[growth.net, *map(_count, growth.parameters)] for growth in found.nets], header)
    for growth in found.nets:
        growing = [layer for layer in growth.layers if len(set(layer.parameters) - {None}) > 1]
        print()
        print(plain(f"{growth.net}: {_which(growing, growth)}"))
        if growing:
            rows = [
                [f"  {plain(layer.name)} {layer.kind}", *map(_count, layer.parameters)] for layer in growing
            ]
            print_table(rows, ["  layer", *header[1:]])
        if growth.trouble:
            print(plain(f"  {growth.trouble}"))


def _which(growing: list[Any], growth: Growth) -> str:
    if not growing:
        return "nothing grows: it has no layer in which every place of the picture has weights of its own"
    if len(growth.layers) == len(growing):
        return "all of it grows"
    one = len(growing) == 1
    return f"{len(growing)} of {len(growth.layers)} layers with weights {'grows' if one else 'grow'}"


def _count(count: int | None) -> str:
    return "-" if count is None else f"{count:,}"


# --- shapes -----------------------------------------------------------------------------------------------


def _print_shapes(found: Any) -> None:
    print_heading(f"the first training picture of {found.pipeline}: {plain(found.label)}")
    rows = [
        [
            stop.kind,
            stop.name + (" (random: in training alone)" if stop.random else ""),
            " x ".join(map(str, stop.shape)) or "1 number",
            stop.dtype,
            _between(stop),
            f"{stop.parameters:,}" if stop.parameters else "",
            stop.layout,
        ]
        for stop in found.stops
    ]
    print_table(rows, ["step", "what", "shape", "numbers", "from .. to", "parameters", "layout"])
    print()
    print(
        "H W C: height, width, channel. N: picture of the batch. K: one number a neuron, at the end one a class."
    )


def _between(stop: Stop) -> str:
    if stop.low is None or stop.high is None:
        return ""
    form = "{:.0f}" if stop.dtype == "uint8" else "{:.3f}"
    low, high = form.format(stop.low), form.format(stop.high)
    return low if low == high else f"{low} .. {high}"


_PRINTERS = {
    "loss": _print_loss,
    "softmax": _print_softmax,
    "normalize": _print_normalize,
    "parameters": _print_parameters,
    "shapes": _print_shapes,
}
