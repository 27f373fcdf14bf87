"""The built-in losses against their formulas and against each other."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from birdplane_builtin.losses import cross_entropy, mse, nll

LABELS = torch.tensor([0, 2, 1, 2, 0, 1])


def scores(dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return (5 * torch.randn(6, 3, generator=generator, dtype=torch.float64)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_cross_entropy_is_log_softmax_and_nll_in_values_and_gradients(dtype: torch.dtype) -> None:
    one = scores(dtype).requires_grad_()
    two = scores(dtype).requires_grad_()
    in_one = cross_entropy()(one, LABELS)
    in_two = nll()(two.log_softmax(1), LABELS)
    in_one.backward()
    in_two.backward()
    assert torch.equal(in_one, in_two)
    assert one.grad is not None
    assert two.grad is not None
    assert torch.equal(one.grad, two.grad)


def test_nll_is_minus_the_mean_log_probability_of_the_right_class() -> None:
    log_probabilities = scores(torch.float64).log_softmax(1)
    expected = -sum(log_probabilities[i, c].item() for i, c in enumerate(LABELS.tolist())) / 6
    assert nll()(log_probabilities, LABELS).item() == pytest.approx(expected, rel=1e-14)


def test_label_smoothing_spreads_its_share_over_all_classes() -> None:
    logits = scores(torch.float64)
    target = 0.9 * nn.functional.one_hot(LABELS, 3).double() + 0.1 / 3
    expected = -(target * logits.log_softmax(1)).sum(1).mean().item()
    assert cross_entropy(label_smoothing=0.1)(logits, LABELS).item() == pytest.approx(expected, rel=1e-14)


def test_mse_is_torchs_against_one_hot_targets() -> None:
    probabilities = scores().softmax(1)
    expected = nn.MSELoss()(probabilities, nn.functional.one_hot(LABELS, 3).float())
    assert torch.equal(mse()(probabilities, LABELS), expected)


def test_mse_hardly_slopes_where_cross_entropy_slopes_most() -> None:
    """The chapter's example: the right class predicted with 0.001."""
    label = torch.tensor([0])
    logits = torch.tensor([[0.001, 0.999]], dtype=torch.float64).log()
    one, two = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    squared, crossed = mse()(one.softmax(1), label), cross_entropy()(two, label)
    squared.backward()
    crossed.backward()
    assert squared.item() == pytest.approx(0.998, abs=1e-4)
    assert crossed.item() == pytest.approx(6.9, abs=0.01)
    assert one.grad is not None
    assert two.grad is not None
    assert two.grad.abs().max() > 200 * one.grad.abs().max()


@pytest.mark.parametrize("loss", [nll(), cross_entropy(), cross_entropy(label_smoothing=0.2), mse()])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_outputs_of_half_precision_are_widened_before_anything_is_computed(
    loss: Callable[[Tensor, Tensor], Tensor], dtype: torch.dtype
) -> None:
    outputs = scores(dtype).log_softmax(1)
    with torch.autocast("cpu", torch.bfloat16):
        made = loss(outputs, LABELS)
    assert made.dtype == torch.float32
    assert torch.equal(made, loss(outputs.float(), LABELS))


@pytest.mark.parametrize("loss", [nll(), cross_entropy(), mse()])
def test_a_label_that_is_no_class_is_an_error(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    with pytest.raises((RuntimeError, IndexError)):
        loss(scores(), torch.tensor([0, 1, 2, 3, 0, 0]))
