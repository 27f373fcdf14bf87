"""The built-in optimizers: torch's own steps, by the fused kernel where there is one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from birdplane import UsageError
from birdplane_builtin.optimizers import adam, adamw, sgd

OPTIMIZERS = [sgd, adam, adamw]


def net(seed: int = 0, dtype: torch.dtype = torch.float32) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2)).to(dtype)


def descend(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 5) -> list[torch.Tensor]:
    images, labels = torch.randn(8, 6, generator=torch.Generator().manual_seed(1)), torch.arange(8) % 2
    for _ in range(steps):
        optimizer.zero_grad()
        outputs = model(images.to(next(model.parameters()).dtype))
        nn.functional.cross_entropy(outputs, labels).backward()
        optimizer.step()
    return [parameter.detach().clone() for parameter in model.parameters()]


@pytest.mark.parametrize(
    ("ours", "options", "theirs"),
    [
        (sgd, {"lr": 0.1}, lambda p: torch.optim.SGD(p, lr=0.1)),
        (
            sgd,
            {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
            lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
        ),
        (
            adam,
            {"lr": 0.1, "beta1": 0.8, "beta2": 0.9, "eps": 1e-6, "weight_decay": 0.01},
            lambda p: torch.optim.Adam(p, lr=0.1, betas=(0.8, 0.9), eps=1e-6, weight_decay=0.01),
        ),
        (
            adamw,
            {"lr": 0.1, "beta1": 0.8, "beta2": 0.9, "eps": 1e-6, "weight_decay": 0.1},
            lambda p: torch.optim.AdamW(p, lr=0.1, betas=(0.8, 0.9), eps=1e-6, weight_decay=0.1),
        ),
    ],
    ids=["sgd", "sgd-nesterov", "adam", "adamw"],
)
def test_steps_are_those_of_torchs_optimizer(
    ours: Callable[..., Any], options: dict[str, Any], theirs: Callable[..., Any]
) -> None:
    one, two = net(), net()
    made = descend(one, ours(params=one.parameters(), **options))
    torch.testing.assert_close(made, descend(two, theirs(two.parameters())))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_on_the_cpu_the_step_is_fused(optimizer: Callable[..., Any], dtype: torch.dtype) -> None:
    model = net(dtype=dtype)
    made = optimizer(params=model.parameters())
    assert made.param_groups[0]["fused"] is True
    before = [parameter.detach().clone() for parameter in model.parameters()]
    after = descend(model, made, steps=2)
    assert not any(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_where_torch_has_no_fused_kernel_it_chooses_itself(optimizer: Callable[..., Any]) -> None:
    made = optimizer(params=net().to("meta").parameters())
    assert made.param_groups[0]["fused"] is None


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_parameters_come_as_tensors_as_groups_or_with_their_names(optimizer: Callable[..., Any]) -> None:
    model = net()
    groups = [
        {"params": model[0].parameters(), "lr": 0.5},
        {"params": [model[2].weight]},
        {"params": model[2].bias},
    ]
    for params in (list(model.parameters()), groups, model.named_parameters()):
        made = optimizer(params=params)
        assert sum(len(group["params"]) for group in made.param_groups) == 4
        assert made.param_groups[0]["fused"] is True


def test_sgds_defaults_are_the_books() -> None:
    group = sgd(params=net().parameters()).param_groups[0]
    assert (group["lr"], group["momentum"], group["nesterov"], group["weight_decay"]) == (0.01, 0, False, 0)


def test_nesterov_without_momentum_is_refused_in_words() -> None:
    with pytest.raises(UsageError, match="nesterov looks ahead along the momentum, which is 0"):
        sgd(params=net().parameters(), nesterov=True)
