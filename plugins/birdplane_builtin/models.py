"""The models: what can be set of each, and what it needs. The networks themselves are in `nets.py`.

Each is called with `input_shape`, (channels, height, width), and `num_classes`, and yields logits_NK.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge, Lt, MinLen
from typing_extensions import Doc

from birdplane import UsageError

if TYPE_CHECKING:
    from torch import nn

Activation = Annotated[
    Literal["tanh", "relu", "leaky-relu", "elu", "gelu", "silu", "sigmoid"],
    Doc("The function between two layers."),
]
Dropout = Annotated[float, Ge(0), Lt(1)]
Width = Annotated[int, Ge(1)]


def fully_connected(
    *,
    input_shape: tuple[int, int, int],
    num_classes: int,
    hidden: Annotated[
        list[Width], Doc("Neurons of each hidden layer, from input to output; none: a linear classifier.")
    ] = [512],  # noqa: B006 - read only
    activation: Activation = "tanh",
    dropout: Annotated[Dropout, Doc("The share of each hidden layer that is silenced while training.")] = 0.0,
) -> nn.Sequential:
    """Every input meets every output: the nets of chapter 7.

    3,072 inputs, 512 hidden and 2 outputs are 1,574,402 parameters.
    """
    from birdplane_builtin import nets

    return nets.fully_connected([prod(input_shape), *hidden, num_classes], activation, dropout)


def convolutional(
    *,
    input_shape: tuple[int, int, int],
    num_classes: int,
    width: Annotated[int, Ge(2), Doc("Channels of the first convolution; the second has half as many.")] = 16,
    activation: Activation = "tanh",
    dropout: Annotated[
        Dropout, Doc("The share of the channels that is silenced after each pooling, while training.")
    ] = 0.0,
) -> nn.Sequential:
    """Chapter 8's net: two 3x3 convolutions, each followed by a pooling, and a hidden layer of 32.

    18,090 parameters for two classes of 3x32x32; 38,386 at a width of 32.

    Raises:
        UsageError: the pictures are smaller than 4x4.
    """
    from birdplane_builtin import nets

    _survives_two_poolings("convolutional", input_shape)
    return nets.convolutional(input_shape, num_classes, width, activation, dropout)


def resnet(
    *,
    input_shape: tuple[int, int, int],
    num_classes: int,
    widths: Annotated[
        list[Width], MinLen(1), Doc("Channels of each stage; each stage but the first halves the size.")
    ] = [16, 32, 64],  # noqa: B006 - read only
    blocks: Annotated[int, Ge(1), Doc("Blocks of two convolutions in each stage.")] = 3,
    dropout: Annotated[Dropout, Doc("The share of the last features that is silenced while training.")] = 0.0,
) -> nn.Sequential:
    """The small residual net for 32x32 pictures of He et al. (2015, section 4.2).

    With the defaults it is their ResNet-20, with 1x1 convolutions where a shortcut changes its width: 271,954
    parameters for two classes.
    """
    from birdplane_builtin import nets

    return nets.resnet(input_shape[0], num_classes, widths, blocks, dropout)


def residual(
    *,
    input_shape: tuple[int, int, int],
    num_classes: int,
    width: Annotated[int, Ge(1), Doc("Channels of every convolution.")] = 32,
    blocks: Annotated[int, Ge(1), Doc("Residual blocks of one convolution each.")] = 100,
) -> nn.Sequential:
    """Chapter 8's very deep net: many residual blocks of one convolution, at half the pictures' size.

    Raises:
        UsageError: the pictures are smaller than 4x4.
    """
    from birdplane_builtin import nets

    _survives_two_poolings("residual", input_shape)
    return nets.residual(input_shape, num_classes, width, blocks)


def swift(
    *,
    input_shape: tuple[int, int, int],
    num_classes: int,
    widths: Annotated[
        list[Width], MinLen(1), Doc("Channels of each stage; each stage halves the size while it can.")
    ] = [32, 64, 64],  # noqa: B006 - read only
    depths: Annotated[
        list[Width], MinLen(1), Doc("Convolutions of each stage; as many numbers as widths.")
    ] = [2, 2, 1],  # noqa: B006 - read only
    patterns: Annotated[
        int,
        Ge(1),
        Doc("Patterns of 4x4 patches that are kept, the most frequent first; two channels each."),
    ] = 16,
    mirror: Annotated[
        bool,
        Doc(
            "Judge a picture and its mirror image together, outside training: where left and right are alike."
        ),
    ] = False,
) -> nn.Module:
    """A small convolutional net that learns in seconds on a CPU; its first layer is measured, not learned.

    Raises:
        UsageError: the pictures are smaller than 8x8, or `widths` and `depths` differ in length.
    """
    from birdplane_builtin.swift import Swift

    channels, height, width = input_shape
    if height < 8 or width < 8:
        raise UsageError(
            f"swift: the pictures are {channels}x{height}x{width} (channels x height x width); it needs at "
            "least 8x8 pixels"
        )
    if len(widths) != len(depths):
        raise UsageError(
            f"swift: widths has {len(widths)} stages and depths {len(depths)}; give one of each a stage"
        )
    return Swift(
        input_shape=input_shape,
        num_classes=num_classes,
        widths=widths,
        depths=depths,
        patterns=patterns,
        mirror=mirror,
    )


def _survives_two_poolings(model: str, input_shape: tuple[int, int, int]) -> None:
    channels, height, width = input_shape
    if height < 4 or width < 4:
        raise UsageError(
            f"{model}: the pictures are {channels}x{height}x{width} (channels x height x width); it halves "
            "their size twice, so it needs at least 4x4 pixels"
        )
