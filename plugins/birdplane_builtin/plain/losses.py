"""The losses: an expression of `outputs` and `labels`."""

from __future__ import annotations

from typing import Any

from birdplane.plain import Plain, call

_IMPORTS = ("from torch.nn import functional",)


def nll() -> Plain:
    return Plain(use="functional.nll_loss(outputs, labels)", imports=_IMPORTS)


def cross_entropy(*, label_smoothing: float) -> Plain:
    smoothing: dict[str, Any] = {"label_smoothing": label_smoothing} if label_smoothing else {}
    return Plain(use=call("functional.cross_entropy", "outputs", "labels", **smoothing), imports=_IMPORTS)


def mse() -> Plain:
    target = "functional.one_hot(labels, outputs.shape[1]).float()"
    return Plain(use=f"functional.mse_loss(outputs, {target})", imports=_IMPORTS)
