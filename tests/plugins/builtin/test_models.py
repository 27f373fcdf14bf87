"""The built-in models: the book's sizes and first weights, and any device, layout and picture."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn

from birdplane import UsageError
from birdplane_builtin import models
from birdplane_builtin.swift import Swift

CIFAR = (3, 32, 32)
BUILDERS: dict[str, Callable[..., nn.Module]] = {
    "fully-connected": partial(models.fully_connected, hidden=[8, 4]),
    "convolutional": models.convolutional,
    "resnet": partial(models.resnet, widths=[4, 8], blocks=1),
    "residual": partial(models.residual, width=4, blocks=2),
    "swift": partial(models.swift, widths=[4, 8], depths=[1, 1], patterns=4),
}


@pytest.fixture(params=BUILDERS)
def build(request: pytest.FixtureRequest) -> Callable[..., nn.Module]:
    return BUILDERS[request.param]


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def assert_same_weights(one: nn.Module, other: nn.Module) -> None:
    pairs = list(zip(one.parameters(), other.parameters(), strict=True))
    assert pairs
    assert all(torch.equal(a, b) for a, b in pairs)


# parameter counts


@pytest.mark.parametrize(
    ("model", "count"),
    [
        (partial(models.fully_connected), 1_574_402),
        (partial(models.fully_connected, hidden=[1024, 512, 128]), 3_737_474),
        (partial(models.fully_connected, hidden=[]), 3072 * 2 + 2),
        (partial(models.convolutional), 18_090),
        (partial(models.convolutional, width=32), 38_386),
        (partial(models.resnet), 271_954),
        (partial(models.residual), 994_530),
    ],
    ids=["book", "book-deep", "linear", "book-conv", "book-conv-wide", "resnet", "residual"],
)
def test_parameters_for_two_classes_of_cifar_are_as_documented(
    model: Callable[..., nn.Module], count: int
) -> None:
    with torch.device("meta"):
        assert parameters(model(input_shape=CIFAR, num_classes=2)) == count


# first weights


def test_the_fully_connected_nets_first_weights_are_those_of_the_books_sequential() -> None:
    torch.manual_seed(7)
    ours = models.fully_connected(input_shape=CIFAR, num_classes=2, hidden=[16, 8])
    torch.manual_seed(7)
    by_hand = nn.Sequential(
        nn.Linear(3072, 16), nn.Tanh(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 2), nn.LogSoftmax(dim=1)
    )
    assert_same_weights(ours, by_hand)
    images = torch.randn(4, *CIFAR)
    assert torch.equal(ours(images).log_softmax(1), by_hand(images.view(4, -1)))


class ChapterEight(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(16, 8, kernel_size=3, padding=1)
        self.fc1 = nn.Linear(8 * 8 * 8, 32)
        self.fc2 = nn.Linear(32, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.max_pool2d(torch.tanh(self.conv1(x)), 2)
        x = nn.functional.max_pool2d(torch.tanh(self.conv2(x)), 2)
        return self.fc2(torch.tanh(self.fc1(x.view(-1, 8 * 8 * 8))))  # type: ignore[no-any-return]


def test_the_convolutional_net_is_chapter_eights() -> None:
    torch.manual_seed(7)
    ours = models.convolutional(input_shape=CIFAR, num_classes=2)
    torch.manual_seed(7)
    by_hand = ChapterEight()
    assert_same_weights(ours, by_hand)
    images = torch.randn(4, *CIFAR)
    assert torch.equal(ours(images), by_hand(images))


@pytest.mark.parametrize("name", ["convolutional", "residual"])
def test_pictures_of_4x4_are_just_large_enough(name: str) -> None:
    assert BUILDERS[name](input_shape=(3, 4, 4), num_classes=2)(torch.randn(2, 3, 4, 4)).shape == (2, 2)


# what all models share


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 32, 32), (3, 8, 11)], ids=str)
@pytest.mark.parametrize("num_classes", [2, 10])
def test_any_picture_gives_one_number_a_class(
    build: Callable[..., nn.Module], shape: tuple[int, int, int], num_classes: int
) -> None:
    model = build(input_shape=shape, num_classes=num_classes)
    assert model(torch.randn(5, *shape)).shape == (5, num_classes)


def test_models_can_be_built_and_run_without_memory(build: Callable[..., nn.Module]) -> None:
    with torch.device("meta"):
        model = build(input_shape=CIFAR, num_classes=2)
        assert model(torch.empty(5, *CIFAR)).is_meta
    assert all(parameter.is_meta for parameter in model.parameters())


def test_channels_last_gives_the_same_numbers(build: Callable[..., nn.Module]) -> None:
    torch.manual_seed(0)
    model = build(input_shape=CIFAR, num_classes=2).eval()
    images = torch.randn(5, *CIFAR)
    expected = model(images)
    last = model.to(memory_format=torch.channels_last)(images.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(last, expected)


def test_every_weight_learns(build: Callable[..., nn.Module]) -> None:
    torch.manual_seed(0)
    model = build(input_shape=CIFAR, num_classes=2)
    nn.functional.cross_entropy(model(torch.randn(8, *CIFAR)), torch.arange(8) % 2).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("name", ["convolutional", "residual"])
@pytest.mark.parametrize("shape", [(3, 3, 32), (3, 32, 2)], ids=str)
def test_pictures_too_small_to_be_halved_twice_are_refused_in_words(
    name: str, shape: tuple[int, int, int]
) -> None:
    with pytest.raises(UsageError, match=rf"{name}: the pictures are 3x\d+x\d+ .* at least 4x4"):
        BUILDERS[name](input_shape=shape, num_classes=2)


# choices


@pytest.mark.parametrize("name", ["tanh", "relu", "leaky-relu", "elu", "gelu", "silu", "sigmoid"])
def test_an_activation_stands_after_every_layer_but_the_last(name: str) -> None:
    folded = name.replace("-", "")
    for model in (
        models.fully_connected(input_shape=(1, 4, 4), num_classes=2, hidden=[3, 3, 3], activation=name),  # type: ignore[arg-type]
        models.convolutional(input_shape=(1, 4, 4), num_classes=2, activation=name),  # type: ignore[arg-type]
    ):
        kinds = [type(module).__name__.lower() for module in model]
        assert kinds.count(folded) == 3
        assert kinds[-1] == "linear"


def test_dropout_silences_while_training_only() -> None:
    shape = (3, 8, 8)
    images = torch.randn(4, *shape)
    for model in (
        models.fully_connected(input_shape=shape, num_classes=2, dropout=0.5),
        models.convolutional(input_shape=shape, num_classes=2, dropout=0.5),
        models.resnet(input_shape=shape, num_classes=2, widths=[4], blocks=1, dropout=0.5),
    ):
        assert not torch.equal(model(images), model(images))
        model.eval()
        assert torch.equal(model(images), model(images))


def test_each_stage_of_a_resnet_but_the_first_halves_the_picture() -> None:
    model = models.resnet(input_shape=CIFAR, num_classes=2, widths=[2, 3, 4], blocks=2)
    with torch.no_grad():
        sizes = [tuple(model[:end](torch.randn(2, *CIFAR)).shape[1:]) for end in range(4, 10)]
    assert sizes == [(2, 32, 32)] * 2 + [(3, 16, 16)] * 2 + [(4, 8, 8)] * 2


def test_swift_has_the_defaults_of_its_class() -> None:
    ours, theirs = inspect.signature(models.swift).parameters, inspect.signature(Swift).parameters
    assert ours.keys() == theirs.keys()
    for name, parameter in theirs.items():
        default = list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default
        assert ours[name].default == default, name


def test_swift_refuses_in_words_what_it_cannot_do() -> None:
    with pytest.raises(UsageError, match=r"swift: the pictures are 3x7x32 .* at least 8x8"):
        models.swift(input_shape=(3, 7, 32), num_classes=2)
    with pytest.raises(UsageError, match="widths has 1 stages and depths 2"):
        models.swift(input_shape=CIFAR, num_classes=2, widths=[8], depths=[1, 1])


def test_residual_blocks_share_no_weights() -> None:
    one = parameters(models.residual(input_shape=CIFAR, num_classes=2, width=4, blocks=1))
    three = parameters(models.residual(input_shape=CIFAR, num_classes=2, width=4, blocks=3))
    assert three - one == 2 * (4 * 4 * 9 + 2 * 4)
