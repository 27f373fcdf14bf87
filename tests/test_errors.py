"""Errors for people, and the nearest right spelling."""

from __future__ import annotations

import pytest

from birdplane.errors import BirdplaneError, UsageError, nearest

NAMES = ["cross-entropy", "fully-connected", "nll", "random-flip", "random-shift"]


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("cross-entrpy", "cross-entropy"),
        ("Cross_Entropy", "cross-entropy"),
        ("NLL", "nll"),
        ("fully", "fully-connected"),
        ("random-flp", "random-flip"),
        ("connected", "fully-connected"),
    ],
)
def test_a_near_miss_is_answered_with_the_right_spelling(word: str, meant: str) -> None:
    assert nearest(word, NAMES) == f"; did you mean {meant!r}?"


@pytest.mark.parametrize("word", ["zebra", "", "x", "zz"])
def test_a_word_that_resembles_nothing_is_answered_with_nothing(word: str) -> None:
    assert nearest(word, NAMES) == ""


def test_the_spelling_is_given_as_it_is_allowed_not_as_it_was_folded() -> None:
    assert nearest("BATCH-SIZE", ["batch_size"]) == "; did you mean 'batch_size'?"


def test_no_names_have_no_nearest() -> None:
    assert nearest("anything", []) == ""


def test_wrong_usage_and_failed_work_leave_with_different_codes() -> None:
    assert (BirdplaneError.exit_code, UsageError.exit_code) == (1, 2)
    assert issubclass(UsageError, BirdplaneError)
