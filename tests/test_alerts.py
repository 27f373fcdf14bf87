"""What a teacher looking over the shoulder would say of a run's curves."""

from __future__ import annotations

from birdplane.alerts import Watcher
from birdplane.events import Epoch


def epoch(number: int, train_loss: float, validation_loss: float | None = None) -> Epoch:
    return Epoch(
        time=0.0,
        epoch=number,
        step=number,
        train_loss=train_loss,
        train_accuracy=0.5,
        validation_loss=validation_loss,
        validation_accuracy=None if validation_loss is None else 0.5,
        train_seconds=1.0,
        validation_seconds=1.0,
    )


def told(epochs: list[Epoch]) -> list[tuple[int, str]]:
    watcher = Watcher()
    return [(event.epoch, kind) for event in epochs for kind, _ in watcher.judge(event)]


DIVERGING = [epoch(1, 0.7, 0.6), *(epoch(1 + n, 0.6 - 0.05 * n, 0.6 + 0.05 * n) for n in range(1, 8))]


def test_overfitting_is_told_once_a_run_with_the_figures() -> None:
    assert told(DIVERGING) == [(5, "overfitting")]
    watcher = Watcher()
    sentences = [sentence for event in DIVERGING for _, sentence in watcher.judge(event)]
    assert sentences[0].startswith(
        "overfitting: since epoch 1 the validation loss has risen from 0.600 to 0.800 while the training loss fell "
        "from 0.700 to 0.400"
    )


def test_a_single_bad_epoch_is_no_trend() -> None:
    assert told([epoch(1, 0.7, 0.6), epoch(2, 0.6, 0.9), epoch(3, 0.5, 0.5), epoch(4, 0.4, 0.9)]) == []


def test_a_validation_loss_that_hardly_rises_is_not_called_overfitting() -> None:
    assert told([epoch(1, 0.7, 0.6), *(epoch(1 + n, 0.5, 0.601) for n in range(1, 10))]) == []


def test_both_losses_rising_is_not_called_overfitting() -> None:
    assert (
        told([epoch(1, 0.5, 0.5), *(epoch(1 + n, 0.5 + 0.1 * n, 0.6 + 0.1 * n) for n in range(1, 10))]) == []
    )


def test_epochs_that_were_not_validated_are_passed_over() -> None:
    assert told([epoch(number, 0.7 / number) for number in range(1, 12)]) == []


def test_a_jump_of_the_training_loss_is_told() -> None:
    assert told([epoch(1, 0.5), epoch(2, 0.6), epoch(3, 2.4), epoch(4, 0.5), epoch(5, 3.0)]) == [(3, "spike")]


def test_a_jump_among_tiny_losses_is_noise() -> None:
    assert told([epoch(1, 0.001), epoch(2, 0.09)]) == []


def test_fed_the_same_epochs_it_says_the_same() -> None:
    assert told(DIVERGING) == told(DIVERGING)
