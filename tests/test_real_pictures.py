"""The book's pictures: CIFAR-10's airplanes and birds. Where they are absent, these tests say so."""

from __future__ import annotations

from pathlib import Path

import pytest

from birdplane import Pipeline
from birdplane.events import Epoch, Start
from birdplane.training import Trainer, train

SMALL = "dataset.classes=['airplane', 'bird']"

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def archive(cifar2_archive: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The overrides that name the archive; its pictures are kept in a cache of these tests' own."""
    source, digest = cifar2_archive
    return [f"dataset.source={str(source)!r}", f"dataset.sha256={digest!r}"]


def trained(recipe: str, *assignments: str) -> tuple[Trainer, Start, list[Epoch]]:
    trainer = train(Pipeline.load(recipe).override([*assignments, "training.device=cpu"]))
    events = list(trainer)
    (start,) = [event for event in events if isinstance(event, Start)]
    return trainer, start, [event for event in events if isinstance(event, Epoch)]


def test_the_book_learns_to_tell_birds_from_airplanes(archive: list[str]) -> None:
    trainer, start, epochs = trained("book", *archive, "training.epochs=3")
    assert start.facts["parameters"] == 1_574_402
    assert start.facts["train_pictures"] == 10_000
    assert start.steps_per_epoch == 157
    assert trainer.assembly.classes == ("airplane", "bird")
    # The book has (0.4915, 0.4823, 0.4468) and (0.2470, 0.2435, 0.2616) for all ten classes.
    assert all(0.4 < mean < 0.7 for mean in start.fitted["1"]["mean"])
    assert all(0.15 < std < 0.3 for std in start.fitted["1"]["std"])
    assert epochs[-1].train_loss < epochs[0].train_loss
    assert epochs[-1].validation_accuracy is not None
    assert epochs[-1].validation_accuracy > 0.74  # 0.78 to 0.80 after three epochs


def test_the_same_pictures_in_a_folder_train_as_well(real_pictures: Path) -> None:
    _, start, epochs = trained(
        "book",
        "dataset.use=image-folder",
        f"dataset.path={str(real_pictures)!r}",
        "dataset.size=32",
        SMALL,
        "training.epochs=2",
    )
    assert (start.facts["train_pictures"], start.facts["validation_pictures"]) == (10_000, 1_000)
    assert epochs[-1].validation_accuracy is not None
    assert epochs[-1].validation_accuracy > 0.72


def test_the_order_of_the_real_pictures_is_repeatable(archive: list[str]) -> None:
    short = ("model.hidden=[8]", "training.epochs=1")
    assert (
        trained("book", *archive, *short)[2][0].train_loss
        == trained("book", *archive, *short)[2][0].train_loss
    )


@pytest.mark.long
def test_the_book_reaches_079_on_the_test_split_in_20_epochs(archive: list[str]) -> None:
    epochs = trained("book", *archive, "training.epochs=20")[2]
    assert epochs[-1].validation_accuracy is not None
    assert epochs[-1].validation_accuracy >= 0.79
    assert epochs[-1].train_accuracy > 0.85
