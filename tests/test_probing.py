"""Probing: pictures are moved as they should be, and the figures are what anybody would count."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from birdplane import Pipeline, UsageError
from birdplane.assembly import build_splits
from birdplane.inspection import TrainedModel
from birdplane.probing import FILLS, Change, Cost, Probe, around, offsets, scale
from birdplane.probing.drawing import colour_of, ink_on, png, points, svg
from birdplane.probing.measuring import padded, probe
from birdplane.registry import models
from birdplane.runs import Run
from birdplane.training import train

Tiny = Callable[..., Pipeline]
#: A value of `transforms`.
_SHIFTED = '["to-tensor", "normalize", {use = "random-shift", fill = "edge"}]'
_MODES = {"edge": "replicate", "reflect": "reflect", "wrap": "circular", "zero": "constant"}


def trained(pipeline: Pipeline, folder: Path, name: str) -> Run:
    run = Run.create(folder, name, pipeline_toml=pipeline.to_toml())
    for _ in train(pipeline, run):
        pass
    return run


@pytest.fixture(scope="module")
def model(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    """With more validation pictures than go in one batch, and a random transform."""
    pipeline = tiny("dataset.test=600", f"transforms={_SHIFTED}", "training.epochs=2")
    return TrainedModel(trained(pipeline, tmp_path_factory.mktemp("runs"), "tiny"), "last", "cpu")


@pytest.fixture(scope="module")
def wrapped(model: TrainedModel) -> Probe:
    return probe(model, "tiny", reach=5, step=2, fill="wrap")


# Moving pictures.


@pytest.mark.parametrize("fill", FILLS)
def test_the_gaps_are_filled_as_torch_fills_them(fill: str) -> None:
    images = torch.randint(
        0, 256, (3, 2, 5, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    wide = padded(images, 4, fill)
    assert wide.dtype == torch.uint8
    assert torch.equal(wide.float(), nn.functional.pad(images.float(), (4, 4, 4, 4), mode=_MODES[fill]))


@pytest.mark.parametrize("fill", FILLS)
def test_nothing_is_added_to_pictures_that_are_not_moved(fill: str) -> None:
    images = torch.arange(24, dtype=torch.uint8).view(1, 1, 4, 6)
    assert torch.equal(padded(images, 0, fill), images)


@pytest.mark.parametrize(
    ("reach", "step", "expected"),
    [(4, 2, (-4, -2, 0, 2, 4)), (5, 2, (-5, -4, -2, 0, 2, 4, 5)), (0, 1, (0,)), (2, 9, (-2, 0, 2))],
)
def test_the_grid_has_the_middle_and_both_ends(reach: int, step: int, expected: tuple[int, ...]) -> None:
    assert offsets(reach, step) == expected


# Measuring.


def test_the_middle_is_what_an_evaluation_finds(model: TrainedModel, wrapped: Probe) -> None:
    assert wrapped.unmoved == model.evaluate("validation").accuracy
    assert (wrapped.pictures, wrapped.available) == (600, 600)


def test_every_position_is_the_accuracy_of_pictures_moved_right_and_down(
    model: TrainedModel, wrapped: Probe
) -> None:
    images, labels = stored(model)
    for row, dy in enumerate(wrapped.offsets):
        for column, dx in enumerate(wrapped.offsets):
            moved = torch.roll(images, shifts=(dy, dx), dims=(2, 3))
            assert wrapped.accuracy[row][column] == accuracy(model, moved, labels)


def test_a_cost_is_the_mean_of_the_eight_positions_at_that_distance(
    model: TrainedModel, wrapped: Probe
) -> None:
    images, labels = stored(model)
    assert [cost.pixels for cost in wrapped.costs] == [4, 5]
    for cost in wrapped.costs:
        moved = [torch.roll(images, (dy, dx), (2, 3)) for dx, dy in around(cost.pixels)]
        mean = sum(accuracy(model, one, labels) for one in moved) / 8
        assert cost.accuracy == pytest.approx(mean)
        assert cost.cost == pytest.approx(wrapped.unmoved - mean)


def test_a_cost_does_not_depend_on_the_grid(model: TrainedModel, wrapped: Probe) -> None:
    assert probe(model, "tiny", reach=5, step=5, fill="wrap").costs == wrapped.costs


def test_flips_and_brightness_are_those_of_the_stored_bytes(model: TrainedModel, wrapped: Probe) -> None:
    images, labels = stored(model)
    found = {change.what: change.accuracy for change in wrapped.changes}
    assert found["mirrored, left to right"] == accuracy(model, images.flip(3), labels)
    assert found["upside down"] == accuracy(model, images.flip(2), labels)
    darker = (images.float() * 0.5).round().to(torch.uint8)
    brighter = (images.float() * 2).clamp(max=255).to(torch.uint8)
    assert found["x 0.5"] == accuracy(model, darker, labels)
    assert found["x 2"] == accuracy(model, brighter, labels)


def test_the_same_seed_draws_the_same_noise_and_another_seed_another(model: TrainedModel) -> None:
    def noise(seed: int) -> list[float]:
        found = probe(model, "tiny", reach=0, seed=seed)
        return [change.accuracy for change in found.changes if change.kind == "noise"]

    assert noise(1) == noise(1)
    assert noise(1) != noise(2)


def test_fewer_pictures_are_spread_over_the_split(model: TrainedModel) -> None:
    images, labels = stored(model)
    found = probe(model, "tiny", reach=0, pictures=3)
    spread = torch.tensor([0, 300, 599])  # 299.5, to the even neighbour
    assert found.pictures == 3
    assert found.unmoved == accuracy(model, images[spread], labels[spread])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"reach": 8}, "8x8 can be moved by 7 pixels"),
        ({"fill": "egde"}, "did you mean 'edge'"),
        ({"step": 0}, "step of 1 or more"),
    ],
)
def test_what_cannot_be_is_refused(model: TrainedModel, given: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        probe(model, "tiny", **given)  # type: ignore[arg-type]


@pytest.fixture
def colours_only() -> Iterator[str]:
    """The name of a model that sees nothing but how much of each colour there is."""

    @models.register("colours-only", summary="The mean colour, and a line through it.")
    def colours_only(*, input_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(input_shape[0], num_classes))

    yield "colours-only"
    del models._entries["colours-only"]
    models._signatures.pop("colours-only", None)


def test_a_net_that_ignores_places_loses_nothing_to_a_shift(
    colours_only: str, tiny: Tiny, tmp_path: Path
) -> None:
    pipeline = tiny(f"model={colours_only}", "training.epochs=1")
    found = probe(
        TrainedModel(trained(pipeline, tmp_path, "colours"), "last", "cpu"), "colours", reach=4, fill="wrap"
    )
    low, high = scale([found])
    assert high - low <= 1 / found.pictures  # a sum in another order may turn the closest decision
    assert all(abs(cost.cost) <= 1 / found.pictures for cost in found.costs)


def stored(model: TrainedModel) -> tuple[Tensor, Tensor]:
    validation = build_splits(model.assembly.pipeline).validation
    images, labels = validation.decode(range(len(validation)))
    return torch.from_numpy(images), torch.from_numpy(labels)


def accuracy(model: TrainedModel, images: Tensor, labels: Tensor) -> float:
    hits = [
        (model.probabilities(images[at : at + 512]).argmax(1) == labels[at : at + 512]).sum().item()
        for at in range(0, len(images), 512)
    ]
    return sum(hits) / len(labels)


# Drawing.


def made_up(run: str = "one", low: float = 0.5) -> Probe:
    values = ((0.6, 0.7, low), (0.7, 0.9, 0.7), (0.6, 0.7, 0.6))
    changes = (Change("flip", "upside down", 0.5),)
    return Probe(run, 100, 100, "edge", (-4, 0, 4), values, (Cost(4, 0.65, 0.25),), changes)


def test_the_svg_has_a_cell_and_a_number_for_each_position() -> None:
    document = ET.fromstring(svg([made_up(), made_up("two & <three>")]))
    texts = [element.text for element in document.iter() if element.tag.endswith("text")]
    assert [text for text in texts if text == "90"] == ["90", "90"]
    assert "two & <three>" in texts
    assert "4 pixels cost 25.0 points" in texts
    fills = [element.get("fill") for element in document.iter() if element.tag.endswith("rect")]
    best = "#{:02x}{:02x}{:02x}".format(*colour_of(1.0))
    assert fills.count(best) == 3  # the best cell of both, and the end of the scale


def test_the_svg_needs_nothing_from_elsewhere() -> None:
    text = svg([made_up()])
    assert text.count("http") == 1
    assert "href" not in text


def test_the_png_has_the_colours_of_one_scale_for_all() -> None:
    image = Image.open(io.BytesIO(png([made_up(), made_up("two", low=0.4)])))
    colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 20) or []}
    assert {colour_of(0.0), colour_of(1.0), colour_of(0.2)} <= colours


def test_many_positions_are_smaller_cells_without_numbers() -> None:
    grid = offsets(20, 1)
    values = tuple(tuple(0.5 + 0.01 * (row % 7) for _ in grid) for row in range(len(grid)))
    many = Probe("many", 10, 10, "zero", grid, values, (), ())
    texts = [element.text for element in ET.fromstring(svg([many])).iter() if element.tag.endswith("text")]
    assert "52" not in texts
    assert "0" in texts


def test_a_number_can_be_read_on_every_colour_of_the_scale() -> None:
    def light(colour: tuple[int, int, int]) -> float:
        parts = [
            part / 255 / 12.92 if part <= 10 else ((part / 255 + 0.055) / 1.055) ** 2.4 for part in colour
        ]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    for step in range(101):
        darker, lighter = sorted(light(one) for one in (colour_of(step / 100), ink_on(colour_of(step / 100))))
        assert (lighter + 0.05) / (darker + 0.05) > 4.5  # what WCAG 2 asks for of small text


def test_points_are_never_minus_zero() -> None:
    assert [points(value) for value in (0.0354, -0.00001, -0.012)] == [
        "3.5 points",
        "0.0 points",
        "-1.2 points",
    ]


# The chapter's claim: what is learned at one place is not known at another.

#: A moment of training; each plane and bird is in the middle.
_SMALL = (
    "dataset.train=400",
    "dataset.size=16",
    "training.epochs=4",
    "optimizer=adamw",
    "optimizer.lr=0.002",
)


def test_a_fully_connected_net_knows_things_only_where_it_has_seen_them(tiny: Tiny, tmp_path: Path) -> None:
    book = price(tiny(*_SMALL, "model.hidden=[128]"), tmp_path, "book")
    shifted = price(tiny(*_SMALL, "model.hidden=[128]", f"transforms={_SHIFTED}"), tmp_path, "shifted")
    assert book[4] > 0.2
    assert shifted[4] < 0.5 * book[4]


@pytest.mark.long
def test_of_real_pictures_random_shifts_and_convolutions_know_more_when_they_are_moved(
    cifar2_archive: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BIRDPLANE_CACHE", str(tmp_path / "cache"))
    archive, digest = cifar2_archive
    own = (f"dataset.source={str(archive)!r}", f"dataset.sha256={digest!r}", "training.epochs=20")

    def cost(recipe: str, name: str, *assignments: str) -> dict[int, float]:
        pipeline = Pipeline.load(recipe).override([*own, "training.device=cpu", *assignments])
        return price(pipeline, tmp_path, name)

    book = cost("book", "book")
    shifted = cost("book", "shifted", f"transforms={_SHIFTED}")
    convolutional = cost("book-conv", "convolutional")
    assert 0.02 < book[4] < book[8]
    assert shifted[4] < book[4]
    assert shifted[8] < book[8]
    assert convolutional[4] < book[4]


def price(pipeline: Pipeline, folder: Path, name: str) -> dict[int, float]:
    """Train a pipeline; return what shifts cost it, by the pixels."""
    model = TrainedModel(trained(pipeline, folder, name), "last", "cpu")
    return {cost.pixels: cost.cost for cost in probe(model, name, step=4).costs}
