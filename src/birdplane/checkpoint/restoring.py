"""Tensors in their places: saved values copied into what is live."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from birdplane.checkpoint.values import decode, encode
from birdplane.errors import BirdplaneError

#: How an optimizer computes, not what: the live one's choice stands, as it fits the device at hand.
_MANNER = ("foreach", "fused", "capturable", "differentiable")


def load_tensors(live: Mapping[str, Tensor], saved: Mapping[str, Tensor], what: str = "model") -> None:
    """Copy saved values into live tensors (such as `model.state_dict()`), whose device and layout stay.

    Raises:
        BirdplaneError: names, shapes or types are not the same; nothing was copied.
    """
    if missing := sorted(set(live) - set(saved)):
        raise BirdplaneError(f"the checkpoint does not fit: it has no {missing[0]!r} for the {what}")
    if extra := sorted(set(saved) - set(live)):
        raise BirdplaneError(f"the checkpoint does not fit: the {what} has no {extra[0]!r}")
    for name, tensor in live.items():
        if tensor.shape != saved[name].shape or tensor.dtype != saved[name].dtype:
            raise BirdplaneError(
                f"the checkpoint does not fit: {name!r} of the {what} is {_described(tensor)}, "
                f"in the checkpoint {_described(saved[name])}"
            )
    with torch.no_grad():
        for name, tensor in live.items():
            tensor.copy_(saved[name])


def _described(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def optimizer_state(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], Any]:
    """Return an optimizer's tensors by name, and the rest of its state for the checkpoint's JSON."""
    tensors: dict[str, Tensor] = {}
    content = encode(optimizer.state_dict(), tensors)
    return tensors, {"optimizer": type(optimizer).__name__, "shapes": _shapes(optimizer), "content": content}


def load_optimizer_state(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], state: Any) -> None:
    """Give an optimizer the state that `optimizer_state` returned, bit by bit.

    Live tensors are copied into; new ones get their parameter's device and layout. Whether the optimizer is
    fused, foreach or capturable stays as it is.

    Raises:
        BirdplaneError: the state is of another optimizer or other parameters; nothing was changed.
    """
    name = type(optimizer).__name__
    if state["optimizer"] != name:
        raise BirdplaneError(f"the checkpoint does not fit: it is of {state['optimizer']}, not of {name}")
    if state["shapes"] != _shapes(optimizer):
        raise BirdplaneError(f"the checkpoint does not fit: its {name} is over parameters of other shapes")
    saved = decode(state["content"], tensors)
    with torch.no_grad():
        for group, values in zip(optimizer.param_groups, saved["param_groups"], strict=True):
            _load_group(optimizer, group, values, saved["state"])


def _shapes(optimizer: torch.optim.Optimizer) -> list[list[list[int]]]:
    return [[list(parameter.shape) for parameter in group["params"]] for group in optimizer.param_groups]


def _load_group(
    optimizer: torch.optim.Optimizer, group: dict[str, Any], saved: dict[str, Any], states: dict[int, Any]
) -> None:
    for key, value in saved.items():
        if key != "params" and key not in _MANNER:
            group[key] = _placed(group.get(key), value, lambda tensor: tensor.clone())
    for parameter, number in zip(group["params"], saved["params"], strict=True):
        live, values = optimizer.state[parameter], states.get(number, {})
        for key in live.keys() - values.keys():
            del live[key]
        for key, value in values.items():
            live[key] = _placed(live.get(key), value, _place(parameter, group, key))
        if not live:
            # A parameter without state is one that the optimizer has not met yet.
            del optimizer.state[parameter]


def _place(parameter: Tensor, group: Mapping[str, Any], key: str) -> Callable[[Tensor], Tensor]:
    """Return how a new tensor of a parameter's state is made."""
    # As in torch.optim.Optimizer.load_state_dict: counting on the device would cost a synchronization.
    counts_on_cpu = key == "step" and not (group.get("fused") or group.get("capturable"))
    device = torch.device("cpu") if counts_on_cpu else parameter.device

    def make(value: Tensor) -> Tensor:
        if value.shape == parameter.shape:
            return torch.empty_like(parameter, dtype=value.dtype, device=device).copy_(value)
        return value.to(device, copy=True)

    return make


def _placed(live: Any, value: Any, make: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, list):
        return [_placed(None, item, make) for item in value]
    if not isinstance(value, Tensor):
        return value
    if isinstance(live, Tensor) and live.shape == value.shape and live.dtype == value.dtype:
        return live.copy_(value)
    return make(value)
