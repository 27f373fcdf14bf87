"""Checks of models: built for a few shapes of pictures and numbers of classes, and fed random pictures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from birdplane import checkpoint
from birdplane.components import Output
from birdplane.errors import BirdplaneError, described
from birdplane.testing.checking import CheckSkipped, Subject, fail, require, skip
from birdplane.testing.describing import COMPONENT
from birdplane.testing.devices import accelerator

#: Shapes of a picture, each with a number of classes; one that the model refuses, by an error, is left out.
_TRIED = (((3, 32, 32), 2), ((1, 28, 28), 3), ((3, 48, 40), 5))
_COUNT = 4  # pictures in a batch; batch norm needs more than one


class Case:
    """One shape of pictures and number of classes."""

    def __init__(self, input_shape: tuple[int, ...], num_classes: int) -> None:
        self.input_shape = input_shape
        self.num_classes = num_classes

    def __str__(self) -> str:
        return f"for pictures {self.input_shape} and {self.num_classes} classes"

    def pictures(self, device: torch.device | str = "cpu", count: int = _COUNT) -> Tensor:
        """Return a batch as `normalize` leaves it: mean 0, standard deviation 1."""
        made = torch.randn((count, *self.input_shape), generator=torch.Generator().manual_seed(count))
        return made.to(device)

    def make(self, subject: Subject, seed: int = 0) -> Any:
        with _seeded(seed):
            return subject.create(input_shape=self.input_shape, num_classes=self.num_classes)


def _cases(subject: Subject) -> list[Case]:
    """Return what is tried: the shape that was given to check with, else a few."""
    shape, classes = subject.given.get("input_shape"), subject.given.get("num_classes")
    tried = _TRIED if shape is None else ((tuple(shape), 2),)
    if "input_shape" not in subject.wants:
        tried = tried[:1]
    return [Case(one, classes or count) for one, count in tried]


def _built(subject: Subject) -> list[tuple[Case, nn.Module]]:
    """Return the model for each case that it does not refuse; for checks of what it does once it is built."""
    built = []
    for case in _cases(subject):
        try:
            made = subject.kept(f"built {case}", lambda: case.make(subject))  # noqa: B023 - called here
        except CheckSkipped:
            raise
        except Exception:
            continue
        if isinstance(made, nn.Module) and any(p.requires_grad for p in made.parameters()):
            built.append((case, made))
    return built or skip("it cannot be built: see the check builds")


def _first(subject: Subject) -> tuple[Case, nn.Module]:
    """Return the first case that works from pictures to outputs."""
    for case, model in _built(subject):
        try:
            outputs = _evaluated(model, case.pictures())
        except Exception:
            continue
        if isinstance(outputs, Tensor) and tuple(outputs.shape) == (_COUNT, case.num_classes):
            return case, model
    return skip(_NO_OUTPUTS)


_NO_OUTPUTS = "it yields no (N, classes): see the check yields-one-number-a-class"


def _evaluated(model: nn.Module, images_NCHW: Tensor, seed: int = 0) -> Tensor:
    """Return the outputs outside training; `seed` is that of the chance which should play no part there."""
    was_training = model.training
    try:
        with torch.no_grad(), _seeded(seed):
            outputs: Tensor = model.eval()(images_NCHW)
    finally:
        model.train(was_training)
    return outputs


def builds(subject: Subject) -> None:
    """It can be built with its defaults: a torch.nn.Module with something to learn.

    Of a few shapes of pictures one must be to its liking; it refuses others with a `UsageError`.
    """
    refused = []
    for case in _cases(subject):
        try:
            model = subject.kept(f"built {case}", lambda: case.make(subject))  # noqa: B023 - called here
        except BirdplaneError as error:
            refused.append(str(error))
            continue
        except CheckSkipped:
            raise
        except Exception as error:
            fail(f"{case}: {described(error)}")
        require(isinstance(model, nn.Module), f"its target returned a {type(model).__name__}")
        learned = any(parameter.requires_grad for parameter in model.parameters())
        require(learned, "it has no parameters to learn")
    require(len(refused) < len(_cases(subject)), "; ".join(refused))


def yields_one_number_a_class(subject: Subject) -> None:
    """From pictures (N, C, H, W) comes (N, classes), finite, for any N and for the shape that it was built for."""
    for case, model in _built(subject):
        for count in (_COUNT, 1):
            try:
                outputs = _evaluated(model, case.pictures(count=count))
            except Exception as error:
                fail(f"{case}: {described(error)}")
            shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
            require(shape == (count, case.num_classes), f"{case}: it yields {shape} of {count}")
            require(bool(outputs.isfinite().all()), f"{case}: it yields numbers that are not finite")


def yields_what_it_says(subject: Subject) -> None:
    """Its outputs are what its record says: logits, log-probabilities or probabilities."""
    case, model = _first(subject)
    outputs_NK = _evaluated(model, case.pictures()).double()
    one = torch.ones(_COUNT, dtype=torch.float64)
    found = Output.LOGITS
    if torch.allclose(outputs_NK.exp().sum(1), one, atol=1e-3):
        found = Output.LOG_PROBABILITIES
    elif torch.allclose(outputs_NK.sum(1), one, atol=1e-3) and bool((outputs_NK >= 0).all()):
        found = Output.PROBABILITIES
    require(found == subject.record.output, f"its record says {subject.record.output}, and it yields {found}")


def gradients_reach_every_parameter(subject: Subject) -> None:
    """In training, every parameter that is to be learned gets a finite gradient."""
    case, model = _first(subject)
    model = case.make(subject)
    outputs_NK = model.train()(case.pictures())
    weights_NK = torch.linspace(-1, 1, outputs_NK.numel()).view_as(outputs_NK)
    (outputs_NK * weights_NK).sum().backward()
    learned = {name: p for name, p in model.named_parameters() if p.requires_grad}
    missed = [name for name, parameter in learned.items() if parameter.grad is None]
    require(not missed, f"no gradient reaches {_listed(missed)}")
    wild = [name for name, p in learned.items() if p.grad is not None and not p.grad.isfinite().all()]
    require(not wild, f"the gradient is not finite of {_listed(wild)}")


def state_round_trips(subject: Subject) -> None:
    """Its `state_dict()` holds tensors alone, and put into one built anew gives the same outputs."""
    case, model = _first(subject)
    images_NCHW = case.pictures()
    with _seeded(1):
        model.train()(images_NCHW)  # what it counts and averages in training is part of its state
    saved = model.state_dict()
    odd = [name for name, value in saved.items() if not isinstance(value, Tensor)]
    require(not odd, f"its state_dict() holds {_listed(odd)}, no tensor")
    anew = case.make(subject, seed=1)
    checkpoint.load_tensors(anew.state_dict(), {name: tensor.clone() for name, tensor in saved.items()})
    same = torch.equal(_evaluated(anew, images_NCHW), _evaluated(model, images_NCHW))
    require(same, "one built anew with its state gives other outputs: something is kept elsewhere")


def a_seeded_build_repeats(subject: Subject) -> None:
    """Built twice under one seed it has the same weights: they come from torch's global generator."""
    case, _ = _first(subject)
    one, other = (case.make(subject, seed=5).state_dict() for _ in range(2))
    require(one.keys() == other.keys(), "built twice, it has other parameters")
    differing = [name for name, tensor in one.items() if not torch.equal(tensor, other[name])]
    require(not differing, f"built twice under one seed, it differs in {_listed(differing)}")


def evaluation_is_not_random(subject: Subject) -> None:
    """Outside training, the same pictures give the same outputs, and do not change it."""
    case, model = _first(subject)
    images_NCHW = case.pictures()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    first, second = (_evaluated(model, images_NCHW, seed) for seed in (1, 2))
    require(torch.equal(first, second), "the same pictures give other outputs the second time")
    changed = [name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])]
    require(not changed, f"to be evaluated changes {_listed(changed)}")


def calibrates(subject: Subject) -> None:
    """Shown some transformed pictures by `calibrate`, where it has one, its outputs stay finite numbers."""
    case, model = _first(subject)
    if not hasattr(model, "calibrate"):
        return
    model = case.make(subject)
    names = list(model.state_dict())
    model.calibrate(case.pictures(count=32))
    require(list(model.state_dict()) == names, "calibrate changes what is in its state_dict()")
    finite = bool(_evaluated(model, case.pictures()).isfinite().all())
    require(finite, "after calibrate it yields numbers that are not finite")


def runs_on_meta(subject: Subject) -> None:
    """Built on the meta device, which has shapes and no numbers, it yields (N, classes)."""
    case, _ = _first(subject)
    with torch.device("meta"):
        model = case.make(subject)
    shape = tuple(_evaluated(model, case.pictures("meta")).shape)
    require(shape == (_COUNT, case.num_classes), f"it yields {shape}")


def runs_in_bfloat16(subject: Subject) -> None:
    """Under autocast to bfloat16 its outputs and gradients are finite."""
    case, _ = _first(subject)
    model = case.make(subject)
    with torch.autocast("cpu", torch.bfloat16):
        outputs_NK = model.train()(case.pictures())
    require(bool(outputs_NK.isfinite().all()), "it yields numbers that are not finite")
    outputs_NK.float().square().sum().backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    require(all(bool(gradient.isfinite().all()) for gradient in gradients), "a gradient is not finite")


def runs_on_the_gpu(subject: Subject) -> None:
    """Moved to the GPU it yields about what it yields on the processor."""
    device = accelerator()
    case, _ = _first(subject)
    model = case.make(subject)
    here = _evaluated(model, case.pictures())
    there = _evaluated(model.to(device), case.pictures(device))
    require(there.device.type == device.type, f"its outputs are on {there.device}")
    close = torch.allclose(there.cpu(), here, rtol=0.05, atol=0.05 * float(here.abs().max()))
    require(close, "on the GPU its outputs are others")


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def _listed(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


MODEL = (
    *COMPONENT,
    builds,
    yields_one_number_a_class,
    yields_what_it_says,
    gradients_reach_every_parameter,
    state_round_trips,
    a_seeded_build_repeats,
    evaluation_is_not_random,
    calibrates,
    runs_on_meta,
    runs_in_bfloat16,
    runs_on_the_gpu,
)
