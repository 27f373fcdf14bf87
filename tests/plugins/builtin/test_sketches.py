"""The drawn dataset: what a picture depends on, what it never depends on, and what it may not give away."""

from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from birdplane.errors import UsageError
from birdplane_builtin.sketches import AIRPLANE, BIRD, Sketches

PLUGINS = Path(__file__).parents[3] / "plugins"


def digest(sketches: Sketches) -> str:
    return hashlib.sha256(sketches.images(range(24)).tobytes()).hexdigest()


def test_the_same_arguments_draw_the_same_pictures() -> None:
    one, other = (Sketches(split="train", difficulty=1.0, seed=3) for _ in range(2))
    assert np.array_equal(one.images(range(24)), other.images(range(24)))


def test_another_process_draws_the_same_pictures() -> None:
    program = f"""
import hashlib, sys
sys.path.insert(0, {str(PLUGINS)!r})
from birdplane_builtin.sketches import Sketches
pictures = Sketches(split="test", seed=7).images(range(24))
print(hashlib.sha256(pictures.tobytes()).hexdigest())
"""
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == digest(Sketches(split="test", seed=7))


def test_a_picture_does_not_depend_on_its_company() -> None:
    sketches = Sketches(split="train", difficulty=0.8)
    together = sketches.images(range(160))
    assert np.array_equal(sketches.images([150, 3, 77]), together[[150, 3, 77]])
    assert np.array_equal(sketches.images([64]), together[64:65])


def test_a_longer_training_split_begins_with_the_same_pictures() -> None:
    short, long = Sketches(split="train", train=40), Sketches(split="train", train=1_000_000)
    assert np.array_equal(short.images(range(40)), long.images(range(40)))
    assert np.array_equal(short.labels(range(40)), long.labels(range(40)))


def test_the_length_of_the_other_split_changes_nothing() -> None:
    assert digest(Sketches(split="test", train=30)) == digest(Sketches(split="test", train=4000))


def test_the_splits_share_no_picture() -> None:
    train = {image.tobytes() for image in Sketches(split="train").images(range(300))}
    test = {image.tobytes() for image in Sketches(split="test").images(range(300))}
    assert len(train) == len(test) == 300
    assert not train & test


@pytest.mark.parametrize("change", [{"seed": 1}, {"difficulty": 0.6}, {"size": 33}])
def test_seed_difficulty_and_size_change_the_pictures(change: dict[str, float]) -> None:
    assert digest(Sketches(split="train", **change)) != digest(Sketches(split="train"))  # type: ignore[arg-type]


@pytest.mark.parametrize("length", [1, 2, 7, 1000, 4001])
def test_labels_are_balanced_within_one(length: int) -> None:
    labels = Sketches(split="train", train=length).labels(range(length))
    airplanes, birds = np.bincount(labels, minlength=2)
    assert abs(airplanes - birds) <= 1


def test_labels_do_not_simply_alternate() -> None:
    labels = Sketches(split="train").labels(range(1000))
    assert 200 < np.count_nonzero(labels[::2] == BIRD) < 300


@pytest.mark.parametrize("size", [8, 15, 32, 65, 128, 200])
def test_pictures_have_the_size_that_was_asked_for(size: int) -> None:
    sketches = Sketches(split="test", size=size)
    images = sketches.images([0, 1])
    assert images.shape == (2, 3, size, size)
    assert images.dtype == np.uint8
    assert sketches[0][0].size == (size, size)


def test_an_item_is_an_rgb_picture_and_an_integer_and_equals_the_batch() -> None:
    sketches = Sketches(split="train")
    picture, label = sketches[5]
    assert isinstance(picture, Image.Image)
    assert picture.mode == "RGB"
    assert type(label) is int
    assert np.array_equal(np.asarray(picture).transpose(2, 0, 1), sketches.images([5])[0])
    assert label == sketches.labels([5])[0]


def test_items_at_once_are_the_items_one_by_one() -> None:
    sketches = Sketches(split="train")
    for (picture, label), index in zip(sketches.__getitems__([9, 2, -1]), [9, 2, -1], strict=True):
        assert (picture.tobytes(), label) == (sketches[index][0].tobytes(), sketches[index][1])


def test_lengths_and_classes() -> None:
    assert len(Sketches(split="train")) == 4000
    assert len(Sketches(split="test", test=12)) == 12
    assert Sketches.classes == ("airplane", "bird")
    assert (Sketches.classes[AIRPLANE], Sketches.classes[BIRD]) == ("airplane", "bird")


def test_a_negative_index_counts_from_the_end() -> None:
    sketches = Sketches(split="train", train=20)
    assert np.array_equal(sketches.images([-1, -20]), sketches.images([19, 0]))
    assert np.array_equal(sketches.labels([-1, -20]), sketches.labels([19, 0]))


@pytest.mark.parametrize("index", [20, -21, 10**9])
def test_an_index_outside_is_an_index_error(index: int) -> None:
    sketches = Sketches(split="train", train=20)
    with pytest.raises(IndexError, match=f"{index} is outside 20 train pictures"):
        sketches[index]
    with pytest.raises(IndexError):
        sketches.images([0, index])
    with pytest.raises(IndexError):
        sketches.labels([0, index])


def test_iterating_ends_with_the_last_picture() -> None:
    assert len(list(Sketches(split="train", train=5))) == 5  # type: ignore[call-overload]


def test_no_indices_give_no_pictures() -> None:
    sketches = Sketches(split="train")
    assert sketches.images([]).shape == (0, 3, 32, 32)
    assert sketches.labels([]).shape == (0,)


def test_an_index_must_be_an_integer() -> None:
    with pytest.raises(TypeError, match="integers, not float64"):
        Sketches(split="train").images([0.5])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"split": "validation"}, "split is 'validation'; it must be train or test"),
        ({"train": 0}, "train is 0; it must be at least 1"),
        ({"test": -1}, "test is -1; it must be at least 1"),
        ({"size": 7}, "size is 7; it must be from 8 to 512"),
        ({"size": 513}, "size is 513; it must be from 8 to 512"),
        ({"difficulty": 1.1}, r"difficulty is 1\.1; it must be from 0 to 1"),
        ({"difficulty": float("nan")}, "difficulty is nan; it must be from 0 to 1"),
        ({"seed": -1}, "seed is -1; it must be from 0 to"),
    ],
)
def test_what_is_out_of_bounds_is_refused_by_name(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Sketches(**{"split": "train", **wrong})  # type: ignore[arg-type]


def test_a_million_pictures_take_no_memory_until_drawn() -> None:
    Sketches(split="train").images(range(64))
    tracemalloc.start()
    try:
        sketches = Sketches(split="train", train=1_000_000)
        for start in range(0, 1_000_000, 200_000):
            sketches.images(range(start, start + 64))
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 1e6
    assert peak < 32e6


def test_a_worker_can_be_handed_the_dataset() -> None:
    sketches = Sketches(split="test", seed=5, difficulty=0.2)
    copy = pickle.loads(pickle.dumps(sketches))
    assert len(pickle.dumps(sketches)) < 1000
    assert digest(copy) == digest(sketches)


@pytest.mark.parametrize("difficulty", [0.0, 0.5, 1.0])
def test_the_mean_colours_of_both_classes_agree(difficulty: float) -> None:
    sketches = Sketches(split="train", difficulty=difficulty, size=16)
    means_NC = sketches.images(range(1200)).mean(axis=(2, 3))
    labels = sketches.labels(range(1200))
    error = means_NC.std(axis=0) * np.sqrt(2 / 600)  # of the difference between two means of 600 pictures
    apart = np.abs(means_NC[labels == BIRD].mean(axis=0) - means_NC[labels == AIRPLANE].mean(axis=0))
    assert (apart < 3 * error).all()


def test_the_easiest_pictures_have_the_same_plain_sky() -> None:
    images = Sketches(split="train", difficulty=0.0).images(range(50))
    corners = images[:, :, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners == corners[0]).all()


def test_importing_it_imports_no_torch() -> None:
    program = f"""
import sys
sys.path.insert(0, {str(PLUGINS)!r})
from birdplane_builtin.sketches import Sketches
Sketches(split="train")[0]
print("torch" in sys.modules)
"""
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"
