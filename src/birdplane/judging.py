"""How good predictions are: confusion, precision and recall by class, calibration. Arithmetic alone, no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

#: As many as Guo et al. (2017) take.
BINS = 15


@dataclass(frozen=True)
class ClassScore:
    """How well one class is told. Shares are from 0 to 1, and None where nothing is to be divided by.

    Attributes:
        name: of the class.
        pictures: how many there are of it.
        taken: how many pictures are taken for it.
        precision: the share of right ones among those that are taken for it.
        recall: the share of right ones among those that are of it.
        f1: the harmonic mean of both, 2 right / (pictures + taken).
    """

    name: str
    pictures: int
    taken: int
    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True)
class Bin:
    """The predictions whose probability is above `low` and at most `high`; 0 belongs to the first bin.

    `confidence` is the mean of their probabilities, `accuracy` the share of right ones among them: None without any.
    """

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Calibration:
    """Whether what is said with 80 % is right in 80 of 100 cases.

    Attributes:
        expected_error: the mean distance between confidence and accuracy of a bin, weighted by its pictures: equation
            3 in Guo et al., On Calibration of Modern Neural Networks (2017), arXiv:1706.04599. 0 to 1; nan where a
            probability is.
        greatest_error: the greatest such distance, equation 5 there.
        bins: of equal width, from 0 to 1.
    """

    expected_error: float
    greatest_error: float
    bins: tuple[Bin, ...]


def count_confusion(labels_N: np.ndarray, predicted_N: np.ndarray, classes: int) -> list[list[int]]:
    """Return `confusion[true][predicted]`: how many pictures of a class are taken for a class."""
    import numpy as np

    cells = np.bincount(labels_N.astype(np.int64) * classes + predicted_N, minlength=classes**2)
    counts: list[list[int]] = cells.reshape(classes, classes).tolist()
    return counts


def score_classes(names: Sequence[str], confusion: Sequence[Sequence[int]]) -> tuple[ClassScore, ...]:
    """Return the score of each class, in the order of a confusion matrix's rows."""
    taken = [sum(column) for column in zip(*confusion, strict=True)]
    return tuple(
        _score(name, row[label], sum(row), taken[label])
        for label, (name, row) in enumerate(zip(names, confusion, strict=True))
    )


def _score(name: str, right: int, pictures: int, taken: int) -> ClassScore:
    return ClassScore(
        name=name,
        pictures=pictures,
        taken=taken,
        precision=right / taken if taken else None,
        recall=right / pictures if pictures else None,
        f1=2 * right / (pictures + taken) if pictures + taken else None,
    )


def calibrate(confidences_N: np.ndarray, right_N: np.ndarray, bins: int = BINS) -> Calibration:
    """Return how well the probabilities of what was predicted agree with how often that was right.

    Args:
        confidences_N: the probability of the class that was predicted, 0 to 1.
        right_N: whether it was the right one.
        bins: how many, of equal width.
    """
    import numpy as np

    edges = np.linspace(0, 1, bins + 1)
    confidences = np.asarray(confidences_N, np.float64)
    # A bin ends with its upper edge: a probability of exactly 1, which float32 rounds to, is in the last one.
    places = np.searchsorted(edges[1:-1], confidences)
    counts = np.bincount(places, minlength=bins)
    confidence = np.bincount(places, weights=confidences, minlength=bins)
    right = np.bincount(places, weights=np.asarray(right_N, np.float64), minlength=bins)
    distances = np.abs(confidence - right) / np.maximum(counts, 1)
    return Calibration(
        expected_error=float((distances * counts).sum() / max(1, counts.sum())),
        greatest_error=float(distances.max()),
        bins=tuple(
            Bin(
                float(edges[place]),
                float(edges[place + 1]),
                int(count),
                float(confidence[place] / count) if count else None,
                float(right[place] / count) if count else None,
            )
            for place, count in enumerate(counts)
        ),
    )


def confused(confusion: Sequence[Sequence[int]]) -> list[tuple[int, int, int]]:
    """Return (true, predicted, count) of all that is taken for something else, the most frequent first."""
    cells = [
        (label, taken, count)
        for label, row in enumerate(confusion)
        for taken, count in enumerate(row)
        if label != taken and count
    ]
    return sorted(cells, key=lambda cell: (-cell[2], cell[0], cell[1]))
