"""Confusion, precision, recall, calibration: as scikit-learn and torchmetrics have them, on the same predictions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from birdplane.inspection import Judged, TrainedModel
from birdplane.judging import calibrate, confused, count_confusion, score_classes
from birdplane.runs import Run


@pytest.fixture(scope="module", params=["a trained model's", "random, 7 classes", "random, 100 classes"])
def judged(request: pytest.FixtureRequest, tiny_run: Run) -> tuple[Judged, int]:
    """Predictions, and of how many classes."""
    if request.param.startswith("a trained"):
        return TrainedModel(tiny_run).judge("train"), 2
    classes = int(request.param.split()[1])
    generator = np.random.default_rng(classes)
    logits = generator.normal(size=(3000, classes)).astype(np.float32) * 3
    labels = np.where(
        generator.random(3000) < 0.6, logits.argmax(1), generator.integers(0, classes - 1, 3000)
    )
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return Judged("validation", 0.0, labels, logits.argmax(1), shares.max(1)), classes


def test_the_confusion_is_that_of_scikit_learn_and_torchmetrics(judged: tuple[Judged, int]) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    functional = pytest.importorskip("torchmetrics.functional.classification")
    found, classes = judged
    confusion = count_confusion(found.labels, found.predicted, classes)
    theirs = sklearn.confusion_matrix(found.labels, found.predicted, labels=range(classes))
    assert confusion == theirs.tolist()
    predicted, labels = torch.from_numpy(found.predicted), torch.from_numpy(found.labels)
    theirs = functional.multiclass_confusion_matrix(predicted, labels, num_classes=classes)
    assert confusion == theirs.tolist()


def test_precision_recall_and_f1_are_those_of_scikit_learn_and_torchmetrics(
    judged: tuple[Judged, int],
) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    functional = pytest.importorskip("torchmetrics.functional.classification")
    found, classes = judged
    confusion = count_confusion(found.labels, found.predicted, classes)
    scores = score_classes([str(label) for label in range(classes)], confusion)
    ours = [[score.precision or 0.0, score.recall or 0.0, score.f1 or 0.0] for score in scores]
    *theirs, support = sklearn.precision_recall_fscore_support(
        found.labels, found.predicted, labels=range(classes), zero_division=0
    )
    np.testing.assert_allclose(ours, np.transpose(theirs), atol=1e-12)
    assert [score.pictures for score in scores] == support.tolist()
    predicted, labels = torch.from_numpy(found.predicted), torch.from_numpy(found.labels)
    given: dict[str, Any] = {"num_classes": classes, "average": "none"}
    for place, name in enumerate(("precision", "recall", "f1_score")):
        theirs = getattr(functional, f"multiclass_{name}")(predicted, labels, **given)
        np.testing.assert_allclose([row[place] for row in ours], theirs.numpy(), atol=1e-6)


@pytest.mark.parametrize("bins", [10, 15])
def test_the_calibration_error_is_that_of_torchmetrics(judged: tuple[Judged, int], bins: int) -> None:
    functional = pytest.importorskip("torchmetrics.functional.classification")
    found, _ = judged
    ours = calibrate(found.confidences, found.right, bins)
    # What it calls a binary problem is that of being right: the confidence is the probability of it.
    given = torch.from_numpy(found.confidences.astype(np.float64)), torch.from_numpy(found.right.astype(int))
    for norm, value in (("l1", ours.expected_error), ("max", ours.greatest_error)):
        theirs = functional.binary_calibration_error(*given, n_bins=bins, norm=norm)
        assert value == pytest.approx(float(theirs), abs=1e-6)


def test_the_calibration_error_of_probabilities_is_that_of_torchmetrics_for_several_classes() -> None:
    functional = pytest.importorskip("torchmetrics.functional.classification")
    generator = torch.Generator().manual_seed(5)
    shares_NK = torch.softmax(3 * torch.randn(2000, 10, generator=generator), dim=1)
    labels_N = torch.randint(10, (2000,), generator=generator)
    theirs = functional.multiclass_calibration_error(shares_NK, labels_N, num_classes=10, n_bins=15)
    confidences_N, predicted_N = (part.numpy() for part in shares_NK.max(dim=1))
    ours = calibrate(confidences_N, predicted_N == labels_N.numpy())
    assert ours.expected_error == pytest.approx(float(theirs), abs=1e-6)


@pytest.mark.parametrize("bins", [10, 15])
def test_the_reliability_table_is_scikit_learns_calibration_curve(
    judged: tuple[Judged, int], bins: int
) -> None:
    sklearn = pytest.importorskip("sklearn.calibration")
    found, _ = judged
    right, said = sklearn.calibration_curve(found.right, found.confidences.astype(np.float64), n_bins=bins)
    ours = [one for one in calibrate(found.confidences, found.right, bins).bins if one.count]
    np.testing.assert_allclose([one.accuracy for one in ours], right, atol=1e-12)
    np.testing.assert_allclose([one.confidence for one in ours], said, atol=1e-12)


def test_a_bin_ends_with_its_upper_edge_and_a_certainty_is_in_the_last() -> None:
    found = calibrate(np.array([0.0, 0.5, 0.50001, 1.0]), np.array([False, True, True, True]), 2)
    assert [(one.low, one.high, one.count) for one in found.bins] == [(0.0, 0.5, 2), (0.5, 1.0, 2)]
    assert found.expected_error == pytest.approx((abs(0.5 - 1) + abs(1.50001 - 2)) / 4)


def test_what_is_divided_by_nothing_is_none() -> None:
    never_taken, absent, only = score_classes(["a", "b", "c"], [[0, 0, 3], [0, 0, 0], [0, 0, 5]])
    assert (never_taken.precision, never_taken.recall, never_taken.f1) == (None, 0.0, 0.0)
    assert (absent.precision, absent.recall, absent.f1, absent.pictures) == (None, None, None, 0)
    assert (only.precision, only.recall) == (5 / 8, 1.0)


def test_an_empty_bin_has_no_shares_and_probabilities_that_are_none_make_no_error() -> None:
    found = calibrate(np.array([0.9]), np.array([True]))
    assert {one.accuracy for one in found.bins if not one.count} == {None}
    assert math.isnan(calibrate(np.array([0.9, math.nan]), np.array([True, False])).expected_error)


def test_the_most_frequent_confusion_is_told_first() -> None:
    assert confused([[9, 1, 4], [0, 9, 0], [4, 2, 9]]) == [(0, 2, 4), (2, 0, 4), (2, 1, 2), (0, 1, 1)]
