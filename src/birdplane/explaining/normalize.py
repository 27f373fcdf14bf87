"""What normalizing does to the chapter's net: the same pictures, weights and batches, given in three ways.

bytes        0 to 255, as they are stored
to-tensor    0 to 1
normalize    each channel to mean 0 and standard deviation 1
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from birdplane.assembly import build_splits
from birdplane.data import Pictures, mix
from birdplane.errors import UsageError
from birdplane.pipeline import Pipeline
from birdplane.registry import losses, models, transforms

#: Pictures that are looked at, evenly spread over the training split.
PICTURES = 2000
STEPS = 100
RATE = 0.01
_BATCH = 64
_WIDTH = 512
#: tanh is called saturated where its slope, 1 - tanh^2, is below this.
SATURATED = 0.05


@dataclass(frozen=True)
class Variant:
    """One way to give pictures to the net.

    Attributes:
        name: `bytes`, `to-tensor` or `normalize`.
        mean, std: of each channel.
        saturated: the share of the hidden activations, 0 to 1, whose slope is below `SATURATED`, before training.
        slope: the mean of the slopes of tanh, 0 to 1, before training.
        gradient: the length of the gradient of the first layer's weights, before training.
        first_loss, last_loss: mean cross-entropy over all the pictures, before and after `STEPS` steps.
    """

    name: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    saturated: float
    slope: float
    gradient: float
    first_loss: float
    last_loss: float


@dataclass(frozen=True)
class NormalizeExperiment:
    """The variants, and what they were measured on: `steps` of plain gradient descent at `rate`, batches of
    `batch_size`."""

    pipeline: str
    pictures: int
    steps: int
    rate: float
    batch_size: int
    variants: tuple[Variant, ...]


def explain(pipeline: Pipeline, *, pictures: int = PICTURES, steps: int = STEPS) -> NormalizeExperiment:
    """Give the training pictures of a pipeline to a net 512-tanh in three ways; nothing is written.

    Raises:
        UsageError: the pipeline has problems.
        BirdplaneError: the pictures are missing or damaged.
    """
    pipeline.require_sound()
    splits = build_splits(pipeline)
    if pictures < 1 or steps < 1:
        raise UsageError("normalize: at least 1 picture and 1 step are needed")
    images_NCHW, labels_N = _spread(splits.train, pictures)
    floats_NCHW = transforms.create("to-tensor")(images_NCHW)
    measured = transforms.create("normalize").fit([floats_NCHW])
    ways = {
        "bytes": images_NCHW.float(),
        "to-tensor": floats_NCHW,
        "normalize": transforms.create("normalize", **measured)(floats_NCHW),
    }
    variants = tuple(
        _variant(name, given_NCHW, labels_N, len(splits.classes), pipeline.seed, steps)
        for name, given_NCHW in ways.items()
    )
    return NormalizeExperiment(pipeline.source, len(labels_N), steps, RATE, _BATCH, variants)


def _spread(pictures: Pictures, most: int) -> tuple[Tensor, Tensor]:
    count = min(most, len(pictures))
    chosen = torch.linspace(0, len(pictures) - 1, count, dtype=torch.float64).round().long()
    images, labels = pictures.decode(chosen.tolist())
    return torch.from_numpy(images), torch.from_numpy(labels)


def _variant(
    name: str, images_NCHW: Tensor, labels_N: Tensor, classes: int, seed: int, steps: int
) -> Variant:
    net = _net(images_NCHW, classes, seed)
    first = next(layer for layer in net.modules() if isinstance(layer, nn.Linear))
    loss = losses.create("cross-entropy")
    hidden: list[Tensor] = []
    tanh = next(layer for layer in net.modules() if isinstance(layer, nn.Tanh))
    watching = tanh.register_forward_hook(lambda _, __, output: hidden.append(output.detach()))
    first_loss = loss(net(images_NCHW), labels_N)
    watching.remove()
    first_loss.backward()
    slopes = 1 - hidden[0].square()
    assert first.weight.grad is not None
    gradient = first.weight.grad.norm().item()
    by_channel_CX = images_NCHW.transpose(0, 1).flatten(1).double()
    _train(net, images_NCHW, labels_N, seed, steps)
    with torch.no_grad():
        last_loss = loss(net(images_NCHW), labels_N)
    return Variant(
        name=name,
        mean=tuple(by_channel_CX.mean(1).tolist()),
        std=tuple(by_channel_CX.std(1, correction=0).tolist()),
        saturated=(slopes < SATURATED).float().mean().item(),
        slope=slopes.mean().item(),
        gradient=gradient,
        first_loss=first_loss.item(),
        last_loss=last_loss.item(),
    )


def _net(images_NCHW: Tensor, classes: int, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        net: nn.Module = models.create(
            "fully-connected",
            input_shape=tuple(images_NCHW.shape[1:]),
            num_classes=classes,
            hidden=[_WIDTH],
            activation="tanh",
        )
    return net


def _train(net: nn.Module, images_NCHW: Tensor, labels_N: Tensor, seed: int, steps: int) -> None:
    """Take steps of plain gradient descent, on the same batches for every variant."""
    loss = losses.create("cross-entropy")
    generator = torch.Generator().manual_seed(mix(seed, 1))
    for _ in range(steps):
        chosen = torch.randint(len(labels_N), (min(_BATCH, len(labels_N)),), generator=generator)
        net.zero_grad(set_to_none=True)
        loss(net(images_NCHW[chosen]), labels_N[chosen]).backward()
        with torch.no_grad():
            for parameter in net.parameters():
                if parameter.grad is not None:
                    parameter.sub_(RATE * parameter.grad)
