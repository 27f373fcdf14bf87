"""The chain of transforms: of batches on the device, or of single pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from birdplane.data.order import mix
from birdplane.data.pixels import pixels_of
from birdplane.errors import BirdplaneError, message_of


@dataclass(frozen=True)
class Step:
    """One transform of the chain: `key` is where it stands, such as `transforms.1 (normalize)`."""

    key: str
    apply: Callable[..., Any]
    random: bool = False
    per_sample: bool = False


class Chain:
    """The transforms in their order. Random ones are applied in training alone."""

    def __init__(self, steps: Sequence[Step], seed: int) -> None:
        self._steps = tuple(steps)
        self._seed = seed
        fixed = next((i for i, step in enumerate(steps) if step.random), len(steps))
        #: How many steps come before the first random one: their result can be kept.
        self.fixed = fixed

    def __len__(self) -> int:
        return len(self._steps)

    @property
    def steps(self) -> tuple[Step, ...]:
        """The transforms, in their order."""
        return self._steps

    def prepare(self, images_NCHW: Tensor) -> Tensor:
        """Apply the steps before the first random one."""
        for step in self._steps[: self.fixed]:
            images_NCHW = _apply(step, images_NCHW)
        return images_NCHW

    def finish(self, images_NCHW: Tensor, position: tuple[int, ...] | None) -> Tensor:
        """Apply the steps from the first random one on.

        `position` is (epoch, step) in training, and of a share its number and how many there are as well; None,
        in evaluation, leaves the random ones out.
        """
        for number, step in enumerate(self._steps[self.fixed :], self.fixed):
            if not step.random:
                images_NCHW = _apply(step, images_NCHW)
            elif position is not None:
                images_NCHW = _apply(step, images_NCHW, mix(self._seed, *position, number + 1))
        return images_NCHW

    def __call__(self, images_NCHW: Tensor, position: tuple[int, ...] | None = None) -> Tensor:
        return self.finish(self.prepare(images_NCHW), position)

    def trace(self, images_NCHW: Tensor, position: tuple[int, int]) -> Iterator[tuple[Step, Tensor]]:
        """Yield each step and what it leaves of a batch in training, for showing how a batch changes."""
        for number, step in enumerate(self._steps, 1):
            images_NCHW = _apply(
                step, images_NCHW, mix(self._seed, *position, number) if step.random else None
            )
            yield step, images_NCHW


def _called_with(error: BaseException) -> str:
    """Return how a transform is called, as a clause, where it takes another number of arguments."""
    if not (isinstance(error, TypeError) and "positional argument" in str(error)):
        return ""
    return " (it is given the batch, and a generator as well where its record says random=True)"


def _apply(step: Step, images_NCHW: Tensor, seed: int | None = None) -> Tensor:
    try:
        if step.per_sample:
            return _by_sample(step, images_NCHW, seed)
        if seed is None:
            result = step.apply(images_NCHW)
        else:
            result = step.apply(images_NCHW, torch.Generator(images_NCHW.device).manual_seed(seed))
    except BirdplaneError as error:
        raise type(error)(f"{step.key}: {error}") from error
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        shape = tuple(images_NCHW.shape)
        what = f"fails on a batch {shape}: {message_of(error)}{_called_with(error)}"
        raise BirdplaneError(f"{step.key}: {what}") from error
    if not isinstance(result, Tensor) or result.ndim != 4 or len(result) != len(images_NCHW):
        came = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
        raise BirdplaneError(
            f"{step.key}: expected {len(images_NCHW)} pictures (N, C, H, W) back, got {came}"
        )
    return result


def _by_sample(step: Step, images_NCHW: Tensor, seed: int | None) -> Tensor:
    """Apply a transform of single pictures: PIL images as long as they are uint8, CHW tensors afterwards."""
    as_pil = images_NCHW.dtype is torch.uint8
    with _seeded(seed):
        results = [step.apply(_to_pil(image) if as_pil else image) for image in images_NCHW.cpu()]
    tensors = [
        r if isinstance(r, Tensor) else torch.from_numpy(pixels_of(r, i)) for i, r in enumerate(results)
    ]
    sizes = {tuple(tensor.shape) for tensor in tensors}
    if len(sizes) > 1:
        raise BirdplaneError(
            f"it leaves pictures of different shapes: {', '.join(map(str, sorted(sizes)[:3]))}"
        )
    return torch.stack(tensors).to(images_NCHW.device)


def _to_pil(image_CHW: Tensor) -> Any:
    from PIL import Image

    pixels = image_CHW.numpy()
    return Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))


@contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    if seed is None:
        yield
        return
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
