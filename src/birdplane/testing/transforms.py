"""Checks of transforms: on pictures as they are stored, bytes, and as `to-tensor` leaves them, floats of 0 to 1."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from birdplane.data import Chain, Step
from birdplane.errors import described
from birdplane.testing.checking import CheckFailed, CheckSkipped, Subject, require, skip
from birdplane.testing.describing import COMPONENT
from birdplane.testing.devices import accelerator

_COUNT = 24  # pictures in a batch: a transform that touches one picture in ten touches one of these
_SEEDS = (11, 22, 33, 44)


def _pictures() -> Tensor:
    """Return a batch as stored: uint8 (N, 3, 32, 32), no two pictures alike."""
    return torch.randint(256, (_COUNT, 3, 32, 32), dtype=torch.uint8, generator=_generator(0))


def _generator(seed: int, device: str = "cpu") -> torch.Generator:
    return torch.Generator(device).manual_seed(seed)


def _batches() -> tuple[Tensor, Tensor]:
    stored = _pictures()
    return stored, stored.float() / 255


def _applied(subject: Subject, transform: Any, images_NCHW: Tensor, seed: int = 11) -> Any:
    """Return what it leaves, whatever that is, of a batch in training."""
    record = subject.record
    if record.per_sample:
        chain = Chain([Step(subject.name, transform, record.random, True)], seed)
        return chain(images_NCHW, (0, 0))
    if record.random:
        return transform(images_NCHW, _generator(seed, images_NCHW.device.type))
    return transform(images_NCHW)


def _made(subject: Subject) -> Any:
    """Return it built, and measured where it measures."""
    return subject.kept("measured", lambda: _measured(subject, subject.built()))


def _measured(subject: Subject, transform: Any) -> Any:
    if not hasattr(transform, "fit") or getattr(transform, "fitted", False):
        return transform
    try:
        return subject.registry.create(subject.name, **{**subject.parameters, **_fit(transform)})
    except Exception as error:
        raise CheckSkipped("it cannot measure: see the check measures-what-makes-it-anew") from error


def _fit(transform: Any) -> dict[str, Any]:
    """Return what it measures: on bytes, or on floats where it refuses these."""
    refused: Exception | None = None
    for images in _batches():
        try:
            measured: dict[str, Any] = transform.fit(iter(torch.split(images.clone(), 10)))
        except Exception as error:
            refused = error
        else:
            return measured
    assert refused is not None
    raise refused


def _accepted(subject: Subject) -> list[tuple[Tensor, Any]]:
    """Return each batch that it takes, and what it leaves of it."""
    transform = _made(subject)
    taken = []
    for images in _batches():
        try:
            taken.append((images, _applied(subject, transform, images.clone())))
        except Exception:  # it need not take both; that it takes one is a check of its own
            continue
    return taken or skip("it takes no pictures: see the check takes-pictures")


def _sound(subject: Subject) -> list[tuple[Tensor, Tensor]]:
    """Return as much, where all of it are batches; for checks of more than that."""
    taken = _accepted(subject)
    if not all(isinstance(left, Tensor) for _, left in taken):
        skip("it leaves no batch: see the check keeps-the-batch")
    return taken


def builds(subject: Subject) -> None:
    """It can be built with its defaults, and is callable."""
    transform = subject.kept("built ", subject.create)
    require(callable(transform), f"its target returned a {type(transform).__name__}, which cannot be called")


def takes_pictures(subject: Subject) -> None:
    """It takes pictures of bytes, 0 to 255, or of floats, 0 to 1, or both."""
    transform = _made(subject)
    refused = []
    for images in _batches():
        try:
            _applied(subject, transform, images.clone())
        except Exception as error:
            refused.append(f"{str(images.dtype).removeprefix('torch.')}: {described(error)}")
    require(len(refused) < 2, "; ".join(refused))


def keeps_the_batch(subject: Subject) -> None:
    """What leaves is a tensor (N, C, H, W) of as many pictures as came, of a single one too."""
    for images, left in _accepted(subject):
        for came, out in (
            (images, left),
            (images[:1], _applied(subject, _made(subject), images[:1].clone())),
        ):
            shape = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
            good = isinstance(out, Tensor) and out.ndim == 4 and len(out) == len(came)
            require(good, f"it leaves {shape} of a batch {tuple(came.shape)}")


def leaves_bytes_or_finite_floats(subject: Subject) -> None:
    """What leaves is uint8 or floats, and every number is finite."""
    for images, left in _sound(subject):
        good = left.dtype == torch.uint8 or left.is_floating_point()
        require(good, f"it leaves {left.dtype} of {images.dtype}")
        require(
            bool(left.float().isfinite().all()), f"it leaves numbers that are not finite of {images.dtype}"
        )


def leaves_its_input_alone(subject: Subject) -> None:
    """The batch that it is given is as it was afterwards: it may be the stored pictures themselves."""
    transform = _made(subject)
    for images, _ in _accepted(subject):
        given = images.clone()
        _applied(subject, transform, given)
        require(torch.equal(given, images), "it writes into the batch that it is given")


def is_random_only_when_it_says_so(subject: Subject) -> None:
    """With `random=True` another seed gives another batch; without it, the same comes every time."""
    transform = _made(subject)
    for images, _ in _sound(subject):
        left = []
        for seed in _SEEDS:
            with _elsewhere(seed):
                left.append(_applied(subject, transform, images.clone(), seed))
        same = all(_same(left[0], other) for other in left[1:])
        if subject.record.random:
            require(not same, "its record says random=True, and other seeds give the same batch")
        else:
            require(same, "its record does not say random=True, and the same batch becomes another one")


def repeats_under_a_seed(subject: Subject) -> None:
    """Under one seed it gives the same batch, whatever was drawn elsewhere: it draws from its generator alone."""
    if not subject.record.random:
        return
    transform = _made(subject)
    for images, _ in _sound(subject):
        left = []
        for elsewhere in _SEEDS:
            with _elsewhere(elsewhere):
                left.append(_applied(subject, transform, images.clone()))
        same = all(_same(left[0], other) for other in left[1:])
        require(same, "under the same seed it gives another batch: it draws from something else")


def measures_what_makes_it_anew(subject: Subject) -> None:
    """What `fit` returns, where it has one, are parameters of its own, with which it need not measure again."""
    transform = subject.built()
    if not hasattr(transform, "fit") or getattr(transform, "fitted", False):
        return
    measured = _fit(transform)
    require(isinstance(measured, dict), f"fit returns a {type(measured).__name__}, not a dict of parameters")
    try:
        kept = json.loads(json.dumps(measured, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise CheckFailed(f"what fit returns cannot be kept with the run: {error}") from error
    anew = subject.registry.create(subject.name, **{**subject.parameters, **kept})
    require(
        bool(getattr(anew, "fitted", False)),
        "made anew with what fit returned, its attribute fitted is not true",
    )


def runs_on_the_gpu(subject: Subject) -> None:
    """It takes a batch on the GPU and leaves one there, of the same shape and type as on the processor."""
    device = accelerator()
    transform = _made(subject)
    for images, left in _sound(subject):
        there = _applied(subject, transform, images.to(device))
        require(there.device.type == device.type, f"it leaves a batch on {there.device}")
        same = (there.shape, there.dtype) == (left.shape, left.dtype)
        require(same, f"on the GPU it leaves {there.dtype} {tuple(there.shape)}")


def _same(one: Any, other: Any) -> bool:
    """Tell whether two batches are one, numbers that are none included: that is for another check."""
    if not isinstance(other, Tensor) or one.dtype != other.dtype:
        return False
    return torch.equal(one.nan_to_num(), other.nan_to_num())


@contextmanager
def _elsewhere(seed: int) -> Iterator[None]:
    """Let the global generators, which a transform has no business with, stand somewhere else in the block."""
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


TRANSFORM = (
    *COMPONENT,
    builds,
    takes_pictures,
    keeps_the_batch,
    leaves_bytes_or_finite_floats,
    leaves_its_input_alone,
    is_random_only_when_it_says_so,
    repeats_under_a_seed,
    measures_what_makes_it_anew,
    runs_on_the_gpu,
)
