"""The experiments of `explain`: what they measure is what the chapter and the closed forms say."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from birdplane import BirdplaneError, Pipeline, UsageError
from birdplane.assembly import Assembly, build_splits
from birdplane.explaining import loss, normalize, parameters, shapes, softmax

Tiny = Callable[..., Pipeline]


@pytest.fixture(scope="module")
def losses() -> loss.LossExperiment:
    return loss.explain()


class TestLoss:
    def test_the_chapters_example_has_the_chapters_losses(self, losses: loss.LossExperiment) -> None:
        assert losses.example.probability == pytest.approx(0.001, abs=1e-12)
        assert losses.example.mse.loss == pytest.approx(0.998, abs=5e-4)
        assert losses.example.cross_entropy.loss == pytest.approx(6.9, abs=0.05)

    def test_at_the_chapters_example_autograd_agrees_with_the_closed_forms(
        self, losses: loss.LossExperiment
    ) -> None:
        p = 0.001
        assert losses.example.mse.by_score == pytest.approx(-2 * p * (1 - p) ** 2, abs=1e-6)
        assert losses.example.mse.by_probability == pytest.approx(-2 * (1 - p), abs=1e-6)
        assert losses.example.cross_entropy.by_score == pytest.approx(-(1 - p), abs=1e-6)
        assert losses.example.cross_entropy.by_probability == pytest.approx(-1 / p, abs=1e-6)

    def test_it_does_so_everywhere(self, losses: loss.LossExperiment) -> None:
        for place in (*losses.curve, losses.example, losses.steepest):
            for slopes in (place.mse, place.cross_entropy):
                assert slopes.by_score == pytest.approx(slopes.by_score_formula, abs=1e-12)
                assert slopes.by_probability == pytest.approx(slopes.by_probability_formula, rel=1e-9)

    def test_the_squared_error_is_steepest_where_it_is_said_to_be(self, losses: loss.LossExperiment) -> None:
        steepest = min(losses.curve, key=lambda place: place.mse.by_score)
        assert steepest.score == pytest.approx(losses.steepest.score, abs=0.06)
        assert losses.steepest.mse.by_score <= steepest.mse.by_score

    def test_where_the_net_is_most_wrong_only_the_squared_errors_slope_vanishes(
        self, losses: loss.LossExperiment
    ) -> None:
        assert abs(losses.vanished.mse.by_score) < 1e-4
        assert abs(losses.vanished.cross_entropy.by_score) > 0.999
        assert losses.ratio > 10_000


@pytest.fixture(scope="module")
def ways() -> softmax.SoftmaxExperiment:
    return softmax.explain()


class TestSoftmax:
    def test_each_way_breaks_where_float32_ends(self, ways: softmax.SoftmaxExperiment) -> None:
        # exp overflows above log(3.4e38) = 88.72; the smallest float32 is 1.4e-45, whose logarithm is -103.3.
        assert ways.breaks["by-hand"].value == pytest.approx(88.72, abs=0.02)
        assert ways.breaks["softmax"].value == pytest.approx(104, abs=1)
        assert ways.breaks["softmax"].slope == pytest.approx(88.72, abs=0.5)
        assert ways.breaks["log-softmax"] == softmax.Break(None, None)

    def test_log_softmax_is_right_throughout(self, ways: softmax.SoftmaxExperiment) -> None:
        for row in ways.rows:
            assert row.found["log-softmax"].value == pytest.approx(row.true, rel=1e-6)
            right = 1 / (1 + math.exp(-row.score))
            assert row.found["log-softmax"].slope == pytest.approx(-right, abs=1e-6)

    def test_what_is_lost_is_infinite_or_no_number(self, ways: softmax.SoftmaxExperiment) -> None:
        last = ways.rows[-1]
        assert last.found["by-hand"].value == -math.inf
        assert last.found["softmax"].value == -math.inf
        assert math.isnan(last.found["softmax"].slope)

    def test_all_ways_agree_while_scores_are_small(self, ways: softmax.SoftmaxExperiment) -> None:
        for one in ways.rows[0].found.values():
            assert one.value == pytest.approx(ways.rows[0].true, rel=1e-6)


@pytest.fixture(scope="module")
def variants(tiny: Tiny) -> dict[str, normalize.Variant]:
    pipeline = tiny("dataset.train=200", "dataset.size=16")
    return {one.name: one for one in normalize.explain(pipeline, steps=60).variants}


class TestNormalize:
    def test_the_three_ways_have_the_statistics_of_their_names(
        self, variants: dict[str, normalize.Variant]
    ) -> None:
        raw, floats, normalized = (variants[name] for name in ("bytes", "to-tensor", "normalize"))
        assert [value / 255 for value in raw.mean] == pytest.approx(list(floats.mean), rel=1e-5)
        assert normalized.mean == pytest.approx((0, 0, 0), abs=1e-5)
        assert normalized.std == pytest.approx((1, 1, 1), abs=1e-5)

    def test_bytes_saturate_tanh_and_normalized_pictures_do_not(
        self, variants: dict[str, normalize.Variant]
    ) -> None:
        assert variants["bytes"].saturated > 0.9
        assert variants["normalize"].saturated < 0.05
        assert variants["bytes"].slope < 0.1 < variants["normalize"].slope

    def test_normalized_pictures_are_learned_best(self, variants: dict[str, normalize.Variant]) -> None:
        after = {name: one.last_loss for name, one in variants.items()}
        assert after["normalize"] == min(after.values())
        assert after["normalize"] < variants["normalize"].first_loss

    def test_it_comes_out_the_same_again(self, tiny: Tiny) -> None:
        assert normalize.explain(tiny(), steps=2) == normalize.explain(tiny(), steps=2)

    def test_the_gradient_is_that_of_the_loss_over_all_pictures(self, tiny: Tiny) -> None:
        found = normalize.explain(tiny(), steps=1).variants[2]
        pipeline = tiny("model.hidden=[512]", "model.activation=tanh", "training.batch_size=64")
        splits = build_splits(pipeline)
        assembly = Assembly(pipeline, splits.classes, torch.device("cpu"), "float32")
        assembly.build_chain(splits.train)
        images, labels = next(assembly.batches(splits.train).epoch())
        assembly.build_model((3, 8, 8))
        value = assembly.loss(assembly.outputs(images), labels)
        value.backward()
        (first, *_) = assembly.model.parameters()
        assert first.grad is not None
        assert found.gradient == pytest.approx(first.grad.norm().item(), rel=1e-5)
        assert found.first_loss == pytest.approx(value.item(), rel=1e-5)


class TestParameters:
    def test_the_chapters_nets_have_the_chapters_numbers(self) -> None:
        found = parameters.explain(sides=[32])
        counts = {growth.net: growth.parameters for growth in found.nets}
        assert counts["fully-connected 512"] == (1_574_402,)
        assert counts["convolutional 16"] == (18_090,)

    def test_only_what_gives_each_place_weights_of_its_own_grows(self) -> None:
        full, convolutional, resnet = parameters.explain(sides=[16, 32, 64]).nets
        growing = [layer.kind for layer in full.layers if len(set(layer.parameters)) > 1]
        assert growing == ["Linear"]
        kinds = {layer.kind: len(set(layer.parameters)) for layer in convolutional.layers[:2]}
        assert kinds == {"Conv2d": 1}
        assert len(set(resnet.parameters)) == 1

    def test_the_layers_add_up(self) -> None:
        for growth in parameters.explain(sides=[32]).nets:
            assert growth.parameters[0] == sum(layer.parameters[0] or 0 for layer in growth.layers)

    def test_a_pipelines_own_model_is_counted(self, tiny: Tiny) -> None:
        (growth,) = parameters.explain(tiny(), sides=[8, 16]).nets
        assert growth.parameters == (3 * 64 * 8 + 8 + 8 * 2 + 2, 3 * 256 * 8 + 8 + 8 * 2 + 2)

    def test_a_size_for_which_there_is_no_net_is_left_out_with_the_reason(self, tiny: Tiny) -> None:
        (growth,) = parameters.explain(tiny("model=convolutional"), sides=[2, 32]).nets
        assert growth.parameters == (None, 18_090)
        assert "at least 4x4" in growth.trouble

    def test_weights_of_any_size_take_no_memory(self) -> None:
        (full, *_) = parameters.explain(sides=[100_000]).nets
        assert full.parameters == (3 * 100_000**2 * 512 + 512 + 512 * 2 + 2,)


class TestShapes:
    def test_a_picture_is_followed_from_pil_to_the_loss(self, tiny: Tiny) -> None:
        stops = shapes.explain(tiny()).stops
        assert [(stop.kind, stop.shape, stop.layout) for stop in stops] == [
            ("dataset", (8, 8, 3), "H W C"),
            ("dataset", (1, 3, 8, 8), "N C H W"),
            ("transform", (1, 3, 8, 8), "N C H W"),
            ("transform", (1, 3, 8, 8), "N C H W"),
            ("model", (1, 192), "N K"),
            ("model", (1, 8), "N K"),
            ("model", (1, 8), "N K"),
            ("model", (1, 2), "N K"),
            ("output", (1, 2), "N K"),
            ("output", (1, 2), "N K"),
            ("loss", (), "one number"),
        ]
        assert [stop.dtype for stop in stops[:4]] == ["uint8", "uint8", "float32", "float32"]

    def test_the_numbers_are_those_of_the_picture(self, tiny: Tiny) -> None:
        pipeline = tiny()
        stops = shapes.explain(pipeline).stops
        images, _ = build_splits(pipeline).train.decode([0])
        assert (stops[0].low, stops[0].high) == (images.min(), images.max())
        assert stops[2].high == pytest.approx(images.max() / 255)
        shares = stops[-2]
        assert (shares.low or 0) + (shares.high or 0) == pytest.approx(1)

    def test_the_parameters_add_up(self, tiny: Tiny) -> None:
        stops = shapes.explain(tiny()).stops
        assert sum(stop.parameters for stop in stops) == 192 * 8 + 8 + 8 * 2 + 2

    def test_a_layer_that_is_used_twice_has_its_parameters_once(self, tiny: Tiny) -> None:
        pipeline = tiny("model=swift", "model.widths=[4]", "model.depths=[1]", "model.mirror=true")
        stops = [stop for stop in shapes.explain(pipeline).stops if stop.kind == "model"]
        first, second = stops[: len(stops) // 2], stops[len(stops) // 2 :]
        assert [f"{stop.name}, again" for stop in first] == [stop.name for stop in second]
        (growth,) = parameters.explain(pipeline, sides=[8]).nets
        assert sum(stop.parameters for stop in stops) == growth.parameters[0]
        assert sum(stop.parameters for stop in second) == 0

    def test_a_random_transform_is_marked(self, tiny: Tiny) -> None:
        stops = shapes.explain(tiny('transforms=["to-tensor", "normalize", "random-flip"]')).stops
        assert [stop.name for stop in stops if stop.random] == ["random-flip"]

    def test_another_layout_in_memory_is_told(self, tiny: Tiny) -> None:
        pipeline = tiny("model=convolutional", "training.channels_last=true")
        (first, *_) = [stop for stop in shapes.explain(pipeline).stops if stop.kind == "model"]
        assert first.layout == "N C H W, in memory N H W C"

    def test_parts_that_do_not_fit_are_told_in_a_sentence(self, tiny: Tiny) -> None:
        with pytest.raises(BirdplaneError, match=r"transforms\.0"):
            shapes.explain(tiny("transforms.0=normalize", "transforms.1=to-tensor"))

    def test_a_pipeline_with_a_problem_is_refused(self, tiny: Tiny) -> None:
        with pytest.raises(UsageError, match="did you mean 'hidden'"):
            shapes.explain(tiny("model.hiden=[3]"))
