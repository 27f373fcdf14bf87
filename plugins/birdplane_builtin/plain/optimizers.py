"""The optimizers: an expression of `params`. torch's are fused, as birdplane's: another kernel rounds differently."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from birdplane.plain import Plain, call, literal

if TYPE_CHECKING:
    from torch import nn

#: Where the call stands after `optimizer = `.
_BEFORE = 12

_MUON = """
class Muon(torch.optim.Optimizer):  # orthogonal steps for convolutions, gradient descent for all else
    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for w in (w for w in group["params"] if w.grad is not None):
                velocity = self.state[w].setdefault("momentum", torch.zeros_like(w))
                change = w.grad.add(velocity.mul_(MOMENTUM).add_(w.grad), alpha=MOMENTUM)
                if w.ndim == 4:  # about the nearest orthogonal matrix, by Newton and Schulz's method
                    TALL
                    wide = WIDE.bfloat16()
                    wide = wide / (wide.norm() + 1e-7)
                    for _ in range(ITERATIONS):
                        gram = wide @ wide.T
                        gram = torch.addmm(gram, gram, gram, beta=-4.775, alpha=2.0315)
                        wide = torch.addmm(wide, gram, wide, beta=3.4445)
                    change = FOUND.to(w.dtype).view_as(w)
                w.mul_(1 - group["lr"] * DECAY).sub_(change, alpha=group["lr"])
"""
_TALL = "                    tall = len(w) > w[0].numel()\n"


def sgd(*, params: str, lr: float, momentum: float, nesterov: bool, weight_decay: float) -> Plain:
    given = {"momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay}
    return _of_torch("SGD", params, lr, {name: value for name, value in given.items() if value})


def adam(*, params: str, lr: float, beta1: float, beta2: float, eps: float, weight_decay: float) -> Plain:
    decay = {"weight_decay": weight_decay} if weight_decay else {}
    return _of_torch("Adam", params, lr, _moments(beta1, beta2, eps) | decay)


def adamw(*, params: str, lr: float, beta1: float, beta2: float, eps: float, weight_decay: float) -> Plain:
    return _of_torch("AdamW", params, lr, _moments(beta1, beta2, eps) | {"weight_decay": weight_decay})


def _moments(beta1: float, beta2: float, eps: float) -> dict[str, Any]:
    betas = {"betas": (beta1, beta2)} if (beta1, beta2) != (0.9, 0.999) else {}
    return betas | ({"eps": eps} if eps != 1e-8 else {})


def _of_torch(name: str, params: str, lr: float, given: dict[str, Any]) -> Plain:
    return Plain(use=call(f"torch.optim.{name}", params, before=_BEFORE, lr=lr, **given, fused=True))


def muon(
    *,
    lr: float,
    other_lr: float,
    momentum: float,
    weight_decay: float,
    iterations: int,
    decay_norm_and_bias: bool,
    model: nn.Module,
) -> Plain:
    """A group for each weight, as the learning rate depends on what it is of."""
    filters = [weight for weight in model.parameters() if weight.ndim == 4]
    tall = any(weight.shape[0] > weight[0].numel() for weight in filters)
    rate = f"{literal(lr)} if p.ndim == 4 else {literal(other_lr)}"
    decay = literal(weight_decay)
    if weight_decay and not decay_norm_and_bias:
        decay = f"({decay} if w.ndim > 1 else 0.0)"
    given = {
        "                    TALL\n": _TALL if tall else "",
        "WIDE": "(change.flatten(1).T if tall else change.flatten(1))" if tall else "change.flatten(1)",
        "FOUND": "(wide.T if tall else wide)" if tall else "wide",
        "ITERATIONS": str(iterations),
        "MOMENTUM": literal(momentum),
        "DECAY": decay,
    }
    code = _MUON.strip()
    for name, text in given.items():
        code = code.replace(name, text)
    return Plain(use=f'Muon([{{"params": [p], "lr": {rate}}} for p in model.parameters()], {{}})', code=code)
