"""The built-in transforms: equal to torchvision's where it has the same, and random picture by picture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import ToTensor as TorchvisionToTensor
from torchvision.transforms import functional as v1
from torchvision.transforms import v2

from birdplane import BirdplaneError, UsageError
from birdplane_builtin.transforms import (
    Cutout,
    Normalize,
    RandomCrop,
    RandomFlip,
    RandomShift,
    ToTensor,
    _cut_by_coordinates,
    _cut_windows,
    color_jitter,
    random_rotation,
)

BOOK_MEAN, BOOK_STD = [0.4915, 0.4823, 0.4468], [0.2470, 0.2435, 0.2616]
LAYOUTS = [torch.contiguous_format, torch.channels_last]
FILLS = ["zero", "edge", "reflect", "wrap"]
RANDOM: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "random-shift": RandomShift(pixels=3),
    "random-crop": RandomCrop(padding=3),
    "random-flip": RandomFlip(),
    "cutout": Cutout(size=4),
}


def pictures(count: int = 16, channels: int = 3, height: int = 9, width: int = 12) -> Tensor:
    """Return uint8 pictures in which every value from 0 to 255 comes up."""
    numbers = torch.arange(count * channels * height * width) * 89 % 256
    return numbers.to(torch.uint8).view(count, channels, height, width)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def as_pil(image_CHW: Tensor) -> Image.Image:
    return Image.fromarray(image_CHW.permute(1, 2, 0).contiguous().numpy())


# to-tensor


def test_to_tensor_is_bit_equal_to_torchvisions_on_pil_pictures() -> None:
    images = pictures()
    each = [as_pil(image) for image in images]
    made = ToTensor()(images)
    assert made.dtype == torch.float32
    assert torch.equal(made, torch.stack([v1.to_tensor(image) for image in each]))
    assert torch.equal(made, torch.stack([TorchvisionToTensor()(image) for image in each]))


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_to_tensor_puts_the_channel_of_a_pil_picture_first_as_torchvision_does(mode: str) -> None:
    picture = as_pil(pictures(1)[0]).convert(mode)
    made = ToTensor()(picture)
    assert torch.equal(made, TorchvisionToTensor()(picture))
    assert made.is_contiguous()


def test_to_tensor_refuses_a_pil_picture_of_other_numbers() -> None:
    with pytest.raises(UsageError, match="makes floats of uint8"):
        ToTensor()(Image.new("F", (4, 4)))


def test_to_tensor_is_within_one_rounding_of_torchvisions_to_dtype() -> None:
    images = pictures()
    scaled = v2.functional.to_dtype(images, torch.float32, scale=True)
    torch.testing.assert_close(ToTensor()(images), scaled, rtol=2**-23, atol=0)


def test_to_tensor_divides_every_value_by_255_correctly_rounded() -> None:
    values = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    expected = torch.tensor([value / 255 for value in range(256)]).view(1, 1, 16, 16)
    assert torch.equal(ToTensor()(values), expected)


def test_to_tensor_refuses_floats_in_one_line() -> None:
    with pytest.raises(UsageError, match="and the pictures are float32") as caught:
        ToTensor()(pictures().float())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_to_tensor_keeps_the_layout_and_the_batch_it_is_given(layout: torch.memory_format) -> None:
    images = pictures().contiguous(memory_format=layout)
    before = images.clone()
    assert ToTensor()(images).is_contiguous(memory_format=layout)
    assert torch.equal(images, before)


# normalize


def test_normalize_is_bit_equal_to_torchvisions_old_and_new() -> None:
    images = ToTensor()(pictures())
    made = Normalize(mean=BOOK_MEAN, std=BOOK_STD)(images)
    assert torch.equal(made, v1.normalize(images, BOOK_MEAN, BOOK_STD))
    assert torch.equal(made, v2.functional.normalize(images, BOOK_MEAN, BOOK_STD))
    assert torch.equal(made, torch.stack([v2.Normalize(BOOK_MEAN, BOOK_STD)(image) for image in images]))


@pytest.mark.parametrize("sizes", [[16], [1] * 16, [5, 5, 5, 1]], ids=str)
def test_normalize_measures_the_two_pass_statistics_in_one_pass(sizes: list[int]) -> None:
    images = ToTensor()(pictures())
    measured = Normalize().fit(iter(images.split(sizes)))
    pixels = images.double().transpose(0, 1).flatten(1)
    torch.testing.assert_close(measured["mean"], pixels.mean(1).tolist(), rtol=0, atol=1e-12)
    torch.testing.assert_close(measured["std"], pixels.std(1, correction=0).tolist(), rtol=0, atol=1e-12)


def test_normalize_measures_a_small_deviation_beside_a_large_mean() -> None:
    noise = torch.randn(300, 1, 8, 8, generator=seeded(), dtype=torch.float64)
    measured = Normalize().fit((noise * 1e-4 + 1e4).split(64))
    expected = (noise * 1e-4 + 1e4).std(correction=0).item()
    assert measured["std"][0] == pytest.approx(expected, rel=1e-9)


def test_normalized_by_what_was_measured_each_channel_has_mean_0_and_deviation_1() -> None:
    images = ToTensor()(pictures(64))
    normalize = Normalize(**Normalize().fit([images]))
    assert normalize.fitted
    made = normalize(images).double()
    torch.testing.assert_close(made.mean((0, 2, 3)), torch.zeros(3).double(), rtol=0, atol=1e-6)
    torch.testing.assert_close(made.std((0, 2, 3), correction=0), torch.ones(3).double(), rtol=0, atol=1e-6)


def test_normalize_asks_to_be_fitted_first() -> None:
    assert not Normalize().fitted
    with pytest.raises(BirdplaneError, match=r"measure them with fit\(\)"):
        Normalize()(ToTensor()(pictures()))


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"mean": [0.5]}, "both mean and std"),
        ({"std": [0.5]}, "both mean and std"),
        ({"mean": [0.5, 0.5], "std": [0.5]}, "mean has 2, std 1"),
        ({"mean": [], "std": []}, "one value a channel"),
        ({"mean": [0.5], "std": [0.0]}, "std is 0; a standard deviation is above 0"),
        ({"mean": [0.5], "std": [-1.0]}, "std is -1"),
    ],
)
def test_normalize_refuses_statistics_that_cannot_be(parameters: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Normalize(**parameters)


@pytest.mark.parametrize("value", [0, 0.1, 0.25, 1])
def test_normalize_names_the_channel_that_is_the_same_everywhere(value: float) -> None:
    images = ToTensor()(pictures())
    images[:, 1] = value
    with pytest.raises(UsageError, match=r"channel 1 .* standard deviation is 0"):
        Normalize().fit(images.split(5))


def test_normalize_says_that_there_are_no_pictures() -> None:
    with pytest.raises(BirdplaneError, match="no training pictures"):
        Normalize().fit([])


def test_normalize_refuses_bytes_and_other_numbers_of_channels() -> None:
    given = Normalize(mean=BOOK_MEAN, std=BOOK_STD)
    with pytest.raises(UsageError, match="the pictures are uint8; put to-tensor before it"):
        given(pictures())
    with pytest.raises(UsageError, match="normalize needs floats"):
        Normalize().fit([pictures()])
    with pytest.raises(UsageError, match="for 3 channels, the pictures have 1"):
        given(ToTensor()(pictures(channels=1)))


# what all random transforms share


@pytest.fixture(params=RANDOM)
def transform(request: pytest.FixtureRequest) -> Callable[[Tensor, torch.Generator], Tensor]:
    return RANDOM[request.param]


def test_a_generators_state_alone_decides(transform: Callable[..., Tensor]) -> None:
    images = pictures(64)
    assert torch.equal(transform(images, seeded(1)), transform(images, seeded(1)))
    assert not torch.equal(transform(images, seeded(1)), transform(images, seeded(2)))


def test_nothing_is_taken_from_torchs_global_generator(transform: Callable[..., Tensor]) -> None:
    before = torch.get_rng_state()
    transform(pictures(), seeded())
    assert torch.equal(torch.get_rng_state(), before)


def test_pictures_of_one_batch_are_treated_differently(transform: Callable[..., Tensor]) -> None:
    alike = pictures(1).expand(64, -1, -1, -1).contiguous()
    assert len(transform(alike, seeded()).flatten(1).unique(dim=0)) > 1


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32], ids=str)
def test_layout_and_type_stay_and_the_batch_is_not_altered(
    transform: Callable[..., Tensor], layout: torch.memory_format, dtype: torch.dtype
) -> None:
    images = pictures().to(dtype).contiguous(memory_format=layout)
    before = images.clone()
    made = transform(images, seeded())
    assert (made.dtype, made.shape) == (dtype, images.shape)
    assert made.is_contiguous(memory_format=layout)
    assert torch.equal(images, before)
    assert torch.equal(made, transform(before.contiguous(), seeded()))


# random-shift and random-crop


def source(place: int, size: int, fill: str) -> int | None:
    """Return where, by the meaning of the fills, a line outside of the picture comes from."""
    if 0 <= place < size:
        return place
    if fill == "edge":
        return 0 if place < 0 else size - 1
    if fill == "reflect":
        return -place if place < 0 else 2 * (size - 1) - place
    return place % size if fill == "wrap" else None


def shifted(image_CHW: Tensor, down: int, right: int, fill: str) -> Tensor:
    made = torch.zeros_like(image_CHW)
    for row in range(image_CHW.shape[1]):
        for column in range(image_CHW.shape[2]):
            from_row = source(row - down, image_CHW.shape[1], fill)
            from_column = source(column - right, image_CHW.shape[2], fill)
            if from_row is not None and from_column is not None:
                made[:, row, column] = image_CHW[:, from_row, from_column]
    return made


def moves(images: Tensor, made: Tensor, pixels: int, fill: str) -> list[tuple[int, int]]:
    """Return by how much each picture was moved, found by trying all moves."""
    steps = range(-pixels, pixels + 1)
    found = []
    for image, result in zip(images, made, strict=True):
        fitting = [
            (down, right)
            for down in steps
            for right in steps
            if torch.equal(shifted(image, down, right, fill), result)
        ]
        assert len(fitting) == 1
        found += fitting
    return found


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("channels", [1, 3])
def test_each_picture_is_moved_whole_and_the_border_filled_as_asked(
    fill: Any, layout: torch.memory_format, channels: int
) -> None:
    images = torch.randint(0, 256, (12, channels, 5, 7), dtype=torch.uint8, generator=seeded())
    made = RandomShift(pixels=2, fill=fill)(images.contiguous(memory_format=layout), seeded())
    assert len(set(moves(images, made, 2, fill))) > 4


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_gpus_way_to_cut_gives_what_the_cpus_gives(layout: torch.memory_format, channels: int) -> None:
    padded = pictures(channels=channels).contiguous(memory_format=layout)
    top, left = torch.randint(5, (2, len(padded)), generator=seeded())
    assert torch.equal(_cut_by_coordinates(padded, top, left, 5, 8), _cut_windows(padded, top, left, 5, 8))


def test_every_move_up_to_the_most_is_as_likely_as_any_other() -> None:
    bright = torch.zeros(9000, 1, 5, 5)
    bright[:, :, 2, 2] = 1
    made = RandomShift(pixels=1)(bright, seeded()).mean(0)[0]
    torch.testing.assert_close(made[1:4, 1:4], torch.full((3, 3), 1 / 9), rtol=0, atol=0.015)
    assert made.sum() == pytest.approx(1)


def test_random_crop_is_random_shift_by_another_name() -> None:
    images = pictures()
    cropped = RandomCrop(padding=3, fill="edge")(images, seeded())
    assert torch.equal(cropped, RandomShift(pixels=3, fill="edge")(images, seeded()))


def test_no_pixels_is_no_move() -> None:
    images = pictures()
    assert torch.equal(RandomShift(pixels=0)(images, seeded()), images)


@pytest.mark.parametrize(("fill", "most"), [("zero", 9), ("edge", 9), ("reflect", 8), ("wrap", 9)])
def test_a_move_further_than_the_fill_has_pixels_is_refused(fill: Any, most: int) -> None:
    images = pictures(height=9)
    RandomShift(pixels=most, fill=fill)(images, seeded())
    with pytest.raises(
        UsageError, match=f"moved by {most} pixels at most with fill '{fill}', not by {most + 1}"
    ):
        RandomShift(pixels=most + 1, fill=fill)(images, seeded())


# random-flip


def test_pictures_are_mirrored_left_to_right_or_left_alone() -> None:
    images = pictures(200)
    made = RandomFlip(p=0.25)(images, seeded())
    mirrored = (made == images.flip(3)).flatten(1).all(1)
    same = (made == images).flatten(1).all(1)
    assert torch.equal(mirrored, ~same)
    assert 30 <= mirrored.sum() <= 70


def test_a_flip_with_probability_0_or_1_is_certain() -> None:
    images = pictures()
    assert torch.equal(RandomFlip(p=0)(images, seeded()), images)
    assert torch.equal(RandomFlip(p=1)(images, seeded()), images.flip(3))


# cutout


@pytest.mark.parametrize("size", [1, 2, 3, 4, 30])
def test_holes_are_squares_of_zeros_around_any_pixel(size: int) -> None:
    height, width = 5, 7
    images = torch.ones(400, 2, height, width)
    seen = set()
    for image in Cutout(size=size)(images, seeded()):
        seen.add(tuple(image[0].flatten().tolist()))
        assert torch.equal(image[0], image[1])
    expected = set()
    for middle_row in range(height):
        for middle_column in range(width):
            hole = torch.ones(height, width)
            top, left = middle_row - size // 2, middle_column - size // 2
            hole[max(top, 0) : top + size, max(left, 0) : left + size] = 0
            expected.add(tuple(hole.flatten().tolist()))
    assert seen == expected


def test_a_hole_of_size_0_is_none() -> None:
    assert torch.equal(Cutout(size=0)(pictures(), seeded()), pictures())


# torchvision's, by sample


def test_color_jitter_and_rotation_follow_torchs_global_seed_on_pil_and_tensors() -> None:
    image = pictures(1)[0]
    for made in (color_jitter(hue=0.1), random_rotation(degrees=30, fill=0.5)):
        for given in (image, as_pil(image)):
            torch.manual_seed(5)
            first = v2.functional.to_image(made(given))
            torch.manual_seed(5)
            assert torch.equal(v2.functional.to_image(made(given)), first)
            assert first.shape == image.shape


# on a GPU


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_on_a_gpu_nothing_waits_and_numbers_are_the_cpus() -> None:
    images = pictures(64).cuda()
    generator = torch.Generator("cuda").manual_seed(0)
    chain = [ToTensor(), Normalize(mean=BOOK_MEAN, std=BOOK_STD)]
    expected = chain[1](chain[0](pictures(64)))
    chain[1](chain[0](images))
    torch.cuda.set_sync_debug_mode("error")
    try:
        made = chain[1](chain[0](images))
        for transform in RANDOM.values():
            transform(made, generator)
        for fill in FILLS:
            for dtype in (torch.uint8, torch.float32):
                RandomShift(pixels=3, fill=fill)(images.to(dtype), generator)  # type: ignore[arg-type]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(made.cpu(), expected)
