"""Batches: their order and randomness, resident or streamed, and what kinds of datasets and transforms work."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from PIL import Image
from torch import Tensor

from birdplane.data import Batches, Chain, Layout, Pictures, Splits, Step, mix, permutation, split
from birdplane.errors import BirdplaneError, UsageError
from birdplane_builtin.sketches import Sketches
from birdplane_builtin.transforms import Normalize, RandomFlip, RandomShift, ToTensor

CPU = torch.device("cpu")


class Plain(torch.utils.data.Dataset[Any]):
    """What anybody writes: PIL images and labels, and neither classes nor splits."""

    def __init__(
        self, count: int = 20, size: tuple[int, int] = (6, 5), mode: str = "RGB", classes: int = 2
    ) -> None:
        self._count, self._shape, self._mode, self._classes = count, size, mode, classes

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        if not 0 <= index < self._count:
            raise IndexError(index)
        colour = (index * 7 % 256, index % 256, 255 - index % 256)
        picture = Image.new("RGB", self._shape, colour)
        picture.putpixel((index % self._shape[0], 0), (255, 255, 255))
        return picture.convert(self._mode), index % self._classes


def sketches(count: int = 40) -> Pictures:
    return Pictures(Sketches(split="train", train=count, size=8))


def fixed_then_random(seed: int = 5) -> Chain:
    return Chain(
        [
            Step("transforms.0 (to-tensor)", ToTensor()),
            Step("transforms.1 (normalize)", Normalize(mean=[0.5, 0.4, 0.3], std=[0.2, 0.2, 0.2])),
            Step("transforms.2 (random-shift)", RandomShift(pixels=2), random=True),
            Step("transforms.3 (random-flip)", RandomFlip(), random=True),
        ],
        seed,
    )


def batches(pictures: Pictures, chain: Chain | None = None, **options: Any) -> Batches:
    settings: dict[str, Any] = {"batch_size": 16, "seed": 5, "training": True, **options}
    layout = settings.pop("layout", Layout(CPU))
    return Batches(
        pictures,
        fixed_then_random() if chain is None else chain,
        layout,
        settings.pop("batch_size"),
        **settings,
    )


def collected(batches: Batches, epoch: int = 0, start: int = 0) -> list[tuple[Tensor, Tensor]]:
    return [(images.clone(), labels.clone()) for images, labels in batches.epoch(epoch, start)]


def same(left: list[tuple[Tensor, Tensor]], right: list[tuple[Tensor, Tensor]]) -> bool:
    return len(left) == len(right) and all(
        torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(left, right, strict=True)
    )


# Order and randomness.


def test_a_mixed_seed_depends_on_every_part_and_on_nothing_else() -> None:
    seeds = {mix(*parts) for parts in [(0,), (1,), (0, 0), (0, 1), (1, 0), (0, 0, 0), (2**63 - 1, 3, 4)]}
    assert len(seeds) == 7
    assert mix(1, 2, 3) == mix(1, 2, 3)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_an_order_is_a_permutation_that_seed_and_epoch_alone_decide() -> None:
    first = permutation(3, 1, 100)
    torch.manual_seed(99)
    torch.rand(7)
    assert torch.equal(first, permutation(3, 1, 100))
    assert torch.equal(first.sort().values, torch.arange(100))
    assert not torch.equal(first, permutation(3, 2, 100))
    assert not torch.equal(first, permutation(4, 1, 100))


def test_making_batches_leaves_the_global_generator_alone() -> None:
    jitter = Step("transforms.0 (noise)", lambda image: image, random=True, per_sample=True)
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    collected(batches(sketches(), Chain([jitter], 0)))
    collected(batches(sketches()))
    assert torch.equal(torch.rand(3), expected)


def test_epochs_differ_in_order_and_augmentation_and_repeat_themselves() -> None:
    one = batches(sketches())
    assert same(collected(one, 0), collected(one, 0))
    assert not same(collected(one, 0), collected(one, 1))
    assert same(collected(one, 1), collected(batches(sketches()), 1))
    assert not same(collected(one, 0), collected(batches(sketches(), seed=6), 0))


def test_every_picture_comes_once_an_epoch_with_its_label() -> None:
    pictures = Pictures(Plain(37))
    images = torch.cat([images for images, _ in batches(pictures, Chain([], 0)).epoch(4)])
    labels = torch.cat([labels for _, labels in batches(pictures, Chain([], 0)).epoch(4)])
    assert torch.equal(labels, permutation(5, 4, 37) % 2)
    assert torch.equal(images, torch.from_numpy(pictures.decode(permutation(5, 4, 37).tolist())[0]))


# Resident and streamed.


@pytest.mark.parametrize("workers", [0, 2])
def test_streamed_batches_are_bit_for_bit_those_from_memory(workers: int) -> None:
    resident = batches(sketches())
    streamed = batches(sketches(), memory_limit=100, workers=workers)
    assert (resident.resident, streamed.resident) == (True, False)
    for epoch, start in [(0, 0), (3, 1)]:
        assert same(collected(resident, epoch, start), collected(streamed, epoch, start))


def test_it_makes_no_difference_whether_the_fixed_transforms_are_kept() -> None:
    pictures = sketches()
    kept = batches(pictures, memory_limit=pictures.nbytes)
    computed = batches(pictures, memory_limit=pictures.nbytes)
    size = pictures.nbytes
    assert same(collected(kept), collected(computed))
    # Floats take four times the bytes: with a chain that doubles the pictures they no longer fit.
    wide = Chain([Step("transforms.0 (double)", lambda images: images.repeat(1, 1, 2, 2).float())], 5)
    assert same(
        collected(batches(pictures, wide, memory_limit=size)),
        collected(batches(pictures, wide, memory_limit=100 * size)),
    )


def test_fixed_transforms_are_applied_once_a_picture_where_their_result_is_kept() -> None:
    seen = 0

    def counting(images: Tensor) -> Tensor:
        nonlocal seen
        seen += len(images)
        return images.float()

    kept = batches(sketches(), Chain([Step("transforms.0 (count)", counting)], 5))
    for epoch in range(4):
        collected(kept, epoch)
    assert seen <= 41  # each picture, and one to learn the size


def test_a_split_over_the_memory_limit_is_streamed() -> None:
    pictures = sketches()
    assert batches(pictures, memory_limit=pictures.nbytes).resident
    assert not batches(pictures, memory_limit=pictures.nbytes - 1).resident


def test_a_million_sketches_stream_in_constant_memory() -> None:
    pictures = Pictures(Sketches(split="train", train=1_000_000, size=16))
    million = batches(pictures, memory_limit=64 * 2**20, batch_size=32)
    assert (million.resident, million.steps) == (False, 31_250)
    process = psutil.Process()
    epoch = million.epoch()
    for _ in islice(epoch, 50):
        pass
    before = process.memory_info().rss
    for _ in islice(epoch, 250):
        pass
    # 8,000 pictures of 768 bytes, 3,072 as floats: kept, they would take 6 MB or 31.
    assert process.memory_info().rss - before < 4 * 2**20


@pytest.mark.parametrize("limit", [2**31, 100])
@pytest.mark.parametrize("start", [0, 1, 2, 3])
def test_an_epoch_can_be_begun_in_its_middle(limit: int, start: int) -> None:
    whole = collected(batches(sketches(), memory_limit=limit), 2)
    assert same(whole[start:], collected(batches(sketches(), memory_limit=limit), 2, start))


def test_the_incomplete_batch_is_left_out_where_that_is_asked_for() -> None:
    assert [len(labels) for _, labels in batches(sketches()).epoch()] == [16, 16, 8]
    assert [len(labels) for _, labels in batches(sketches(), drop_last=True).epoch()] == [16, 16]
    assert (len(batches(sketches())), len(batches(sketches(), drop_last=True))) == (3, 2)


def test_leaving_out_the_only_batch_is_refused() -> None:
    with pytest.raises(BirdplaneError, match=r"training\.batch_size: 64 is more than the 40 pictures"):
        batches(sketches(), batch_size=64, drop_last=True)


@pytest.mark.parametrize("limit", [2**31, 100])
def test_evaluation_is_in_order_and_leaves_random_transforms_out(limit: int) -> None:
    pictures = sketches()
    plain = batches(pictures, training=False, memory_limit=limit)
    images = torch.cat([images for images, _ in plain.epoch()])
    fixed = Normalize(mean=[0.5, 0.4, 0.3], std=[0.2, 0.2, 0.2])
    assert torch.equal(images, fixed(ToTensor()(torch.from_numpy(pictures.decode(range(40))[0]))))


@pytest.mark.parametrize("limit", [2**31, 100])
@pytest.mark.parametrize(
    "chain", [fixed_then_random(), Chain([Step("transforms.0 (to-tensor)", ToTensor())], 0)]
)
def test_channels_last_changes_the_memory_layout_and_no_value(limit: int, chain: Chain) -> None:
    usual = collected(batches(sketches(), chain))
    other = list(
        batches(sketches(), chain, layout=Layout(CPU, channels_last=True), memory_limit=limit).epoch()
    )
    assert same(usual, other)
    assert all(images.is_contiguous(memory_format=torch.channels_last) for images, _ in other)
    assert all(images.is_contiguous() for images, _ in usual)


def test_floats_come_in_the_precision_that_is_computed_in() -> None:
    images, labels = next(batches(sketches(), layout=Layout(CPU, torch.bfloat16)).epoch())
    assert (images.dtype, labels.dtype) == (torch.bfloat16, torch.int64)


@pytest.mark.parametrize("limit", [2**31, 100])
def test_measuring_is_given_the_stored_pictures_in_order(limit: int) -> None:
    pictures = sketches()
    raw = torch.cat(list(batches(pictures, memory_limit=limit).raw(7)))
    assert torch.equal(raw, torch.from_numpy(pictures.decode(range(40))[0]))


# Splits.


def parts(splits: Splits) -> tuple[list[int], list[int]]:
    def brightness(pictures: Pictures) -> list[int]:
        return [int(image[1, -1, -1]) for image in pictures.decode(range(len(pictures)))[0]]

    return brightness(splits.train), brightness(splits.validation)


def test_a_plain_dataset_is_divided_four_fifths_to_one_by_the_seed() -> None:
    splits = split(lambda: Plain(50), False, 1, 0)
    train, validation = parts(splits)
    assert (len(train), len(validation)) == (40, 10)
    assert sorted([*train, *validation]) == list(range(50))
    assert parts(split(lambda: Plain(50), False, 1, 0)) == (train, validation)
    assert parts(split(lambda: Plain(50), False, 2, 0)) != (train, validation)
    assert splits.classes == ("0", "1")


def with_split(split: str) -> Plain:
    return Plain(30 if split == "train" else 12)


def test_a_dataset_that_knows_its_splits_is_asked_for_them() -> None:
    splits = split(with_split, True, 1, 0)
    assert (len(splits.train), len(splits.validation)) == (30, 12)


def test_a_holdout_is_drawn_from_the_training_pictures_and_the_test_split_stays_unread() -> None:
    asked = []

    def make(split: str) -> Plain:
        asked.append(split)
        return with_split(split)

    splits = split(make, True, 1, 0.2)
    train, validation = parts(splits)
    assert asked == ["train"]
    assert (len(train), len(validation)) == (24, 6)
    assert sorted([*train, *validation]) == list(range(30))
    assert parts(split(make, True, 1, 0.2)) == (train, validation)
    assert parts(split(make, True, 2, 0.2)) != (train, validation)


def test_a_holdout_of_a_plain_dataset_never_holds_its_test_pictures() -> None:
    _, test = parts(split(lambda: Plain(50), False, 1, 0))
    train, validation = parts(split(lambda: Plain(50), False, 1, 0.25))
    assert (len(train), len(validation)) == (30, 10)
    assert not {*test} & {*train, *validation}


def test_too_few_pictures_to_divide_are_told() -> None:
    with pytest.raises(BirdplaneError, match=r"dataset: 2 pictures cannot be divided with 0\.2 held out"):
        split(lambda: Plain(2), False, 0, 0)


def test_classes_come_from_the_dataset_or_else_from_its_labels() -> None:
    assert split(lambda split: Sketches(split=split, train=8, test=8, size=8), True, 0, 0).classes == (
        "airplane",
        "bird",
    )
    assert split(lambda: Plain(50, classes=3), False, 0, 0).classes == ("0", "1", "2")


def test_a_dataset_with_one_class_is_told() -> None:
    with pytest.raises(
        BirdplaneError, match=r"dataset: the labels are \[0\]: expected 0, 1, \.\.\. of two classes or more"
    ):
        split(lambda: Plain(50, classes=1), False, 0, 0)


# Datasets of anybody's.


class Listed:
    def __init__(self, *items: Any) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]


def grey(height: int, width: int) -> Image.Image:
    return Image.new("L", (width, height), 9)


@pytest.mark.parametrize(
    ("mode", "shape"),
    [("RGB", (3, 5, 6)), ("L", (1, 5, 6)), ("RGBA", (3, 5, 6)), ("P", (3, 5, 6)), ("CMYK", (3, 5, 6))],
)
def test_pictures_of_any_mode_become_colour_or_grey(mode: str, shape: tuple[int, int, int]) -> None:
    assert Pictures(Plain(4, mode=mode)).shape == shape


def test_pictures_may_be_arrays_and_tensors_too() -> None:
    array = np.full((3, 4, 5), 7, np.uint8)
    images, labels = Pictures(Listed((array, 1), (torch.from_numpy(array), np.int64(0)))).decode([0, 1])
    assert images.shape == (2, 3, 4, 5)
    assert labels.tolist() == [1, 0]


def test_a_dataset_that_decodes_many_at_once_is_asked_so() -> None:
    asked: list[Sequence[int]] = []

    class Quick:
        def __len__(self) -> int:
            return 10

        def images(self, indices: Sequence[int]) -> np.ndarray:
            asked.append(list(indices))
            return np.zeros((len(indices), 3, 4, 4), np.uint8)

        def labels(self, indices: Sequence[int]) -> np.ndarray:
            return np.asarray(indices) % 2

    assert Pictures(Quick()).decode([3, 4, 5])[1].tolist() == [1, 0, 1]
    assert [3, 4, 5] in asked


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ((), "dataset: there are no pictures in it"),
        ((3,), r"dataset: item 0 is not \(picture, integer\) but int"),
        (((grey(4, 4), "cat"),), r"dataset: item 0 is not \(picture, integer\) but tuple"),
        (
            ((np.zeros((3, 4, 4), np.float32), 0),),
            r"dataset: picture 0 is ndarray of float32 \(3, 4, 4\): expected a PIL",
        ),
        (
            ((np.zeros((4, 4), np.uint8), 0),),
            r"dataset: picture 0 is ndarray of uint8 \(4, 4\): expected a PIL image",
        ),
    ],
)
def test_what_is_no_labelled_picture_is_told_with_its_number(items: tuple[Any, ...], message: str) -> None:
    with pytest.raises(BirdplaneError, match=message):
        Pictures(Listed(*items))


@pytest.mark.parametrize(("limit", "workers"), [(2**31, 0), (10, 0), (10, 1)])
def test_pictures_of_different_sizes_are_told_with_their_numbers(limit: int, workers: int) -> None:
    pictures = Pictures(Listed((grey(4, 4), 0), (grey(4, 4), 1), (grey(4, 5), 0)))
    expected = (
        "dataset: picture 2 is 5x4 with 1 channels, picture 0 is 4x4 with 1 channels: all must have one size"
    )
    with pytest.raises(BirdplaneError) as caught:
        collected(batches(pictures, Chain([], 0), memory_limit=limit, training=False, workers=workers))
    assert str(caught.value) == expected


def test_pictures_of_different_sizes_are_told_wherever_they_lie() -> None:
    items = [(grey(4, 4), 0)] * 500 + [(grey(4, 5), 1)] * 100
    with pytest.raises(BirdplaneError, match="dataset: picture 500 is 5x4 with 1 channels, picture 0 is 4x4"):
        collected(batches(Pictures(Listed(*items)), Chain([], 0)))


def test_a_label_that_is_of_no_class_is_told_with_its_picture_even_late_in_the_dataset() -> None:
    class Named(Listed):
        classes = ("cat", "dog")

    def make(split: str) -> Named:
        return Named(*[(grey(4, 4), index % 2) for index in range(600)], (grey(4, 4), 2))

    train = split(make, True, 0, 0).train
    expected = "dataset: picture 600 has the label 2, but there are 2 classes, counted from 0"
    for limit in (2**31, 10):
        with pytest.raises(BirdplaneError) as caught:
            collected(batches(train, Chain([], 0), memory_limit=limit))
        assert str(caught.value) == expected


# Transforms of anybody's.


def chain_of(*steps: Step) -> Callable[..., Tensor]:
    chain = Chain(steps, 3)
    images = torch.from_numpy(sketches(8).decode(range(8))[0])
    return lambda position=None: chain(images, position)


def test_a_transform_of_single_pictures_gets_pil_images_as_long_as_they_are_stored() -> None:
    seen: list[Any] = []

    def note(image: Any) -> Any:
        seen.append(type(image).__name__)
        return image

    by_sample = Step("transforms.0 (note)", note, per_sample=True)
    result = chain_of(by_sample, Step("transforms.1 (to-tensor)", ToTensor()), by_sample)()
    assert seen == ["Image"] * 8 + ["Tensor"] * 8
    assert torch.equal(result, ToTensor()(torch.from_numpy(sketches(8).decode(range(8))[0])))


def test_the_randomness_of_single_pictures_follows_the_position() -> None:
    noise = Step("transforms.0 (noise)", lambda image: torch.rand(3, 2, 2), random=True, per_sample=True)
    apply = chain_of(noise)
    assert torch.equal(apply((1, 2)), apply((1, 2)))
    assert not torch.equal(apply((1, 2)), apply((1, 3)))
    assert not torch.equal(apply((1, 2))[0], apply((1, 2))[1])
    assert torch.equal(apply(None), torch.from_numpy(sketches(8).decode(range(8))[0]))


def test_two_random_transforms_of_a_kind_do_not_draw_the_same() -> None:
    def shift(images: Tensor, generator: torch.Generator) -> Tensor:
        return images + torch.rand(len(images), 1, 1, 1, generator=generator)

    once = chain_of(Step("a", lambda i: i.float() * 0), Step("b", shift, random=True))((0, 0))
    twice = chain_of(
        Step("a", lambda i: i.float() * 0), Step("b", shift, random=True), Step("c", shift, random=True)
    )((0, 0))
    assert not torch.allclose(twice, 2 * once)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (lambda images: 3, r"transforms\.1 \(odd\): expected 8 pictures \(N, C, H, W\) back, got int"),
        (lambda images: images[:2], r"transforms\.1 \(odd\): expected 8 pictures .* got \(2, 3, 8, 8\)"),
        (lambda images: images[0], r"transforms\.1 \(odd\): expected 8 pictures .* got \(3, 8, 8\)"),
        (
            lambda images: images @ torch.ones(3, 3),
            r"transforms\.1 \(odd\): fails on a batch \(8, 3, 8, 8\): ",
        ),
        (
            lambda: 3,
            r"transforms\.1 \(odd\): fails on a batch \(8, 3, 8, 8\): .*takes 0 positional arguments",
        ),
        (
            lambda images, generator: images,
            r"missing 1 required .* \(it is given the batch, and a generator as well where its record says random",
        ),
    ],
)
def test_a_transform_that_does_not_fit_is_told_with_its_key(step: Callable[..., Any], message: str) -> None:
    with pytest.raises(BirdplaneError, match=message):
        chain_of(Step("transforms.0 (to-tensor)", ToTensor()), Step("transforms.1 (odd)", step))()


def test_a_transform_of_single_pictures_that_leaves_different_shapes_is_told() -> None:
    sizes: Iterator[int] = iter(range(1, 100))
    odd = Step("transforms.0 (odd)", lambda image: torch.zeros(3, next(sizes), 2), per_sample=True)
    with pytest.raises(
        BirdplaneError, match=r"transforms\.0 \(odd\): it leaves pictures of different shapes: \(3, 1, 2\)"
    ):
        chain_of(odd)()


def test_what_a_transform_tells_a_person_keeps_its_kind_and_gets_its_key() -> None:
    def refuse(images: Tensor) -> Tensor:
        raise UsageError("it wants grey pictures")

    with pytest.raises(UsageError, match=r"transforms\.0 \(grey\): it wants grey pictures"):
        chain_of(Step("transforms.0 (grey)", refuse))()
