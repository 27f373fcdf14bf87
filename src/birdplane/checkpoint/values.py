"""Values that JSON does not have, in JSON.

A dict of one key that begins with "$" stands for a value: $float (the bits of what is not finite), $tuple,
$dict (keys that are not strings, or a dict that looks like one of these), $tensor (a name in a group).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from typing import Any

from torch import Tensor


def encode(value: Any, tensors: dict[str, Tensor] | None = None, path: str = "") -> Any:
    """Return `value` as plain JSON from which `decode` makes the same value, bit by bit.

    Tensors in it are put into `tensors` under their place in the value.

    Raises:
        TypeError: there is something in it that cannot be kept.
    """
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"$float": struct.pack(">d", value).hex()}
    if isinstance(value, Tensor) and tensors is not None:
        tensors[path] = value
        return {"$tensor": path}
    if isinstance(value, list | tuple):
        items = [encode(item, tensors, _below(path, at)) for at, item in enumerate(value)]
        return {"$tuple": items} if isinstance(value, tuple) else items
    if isinstance(value, dict):
        return _encode_dict(value, tensors, path)
    raise TypeError(f"a {type(value).__name__} cannot be kept in a checkpoint{f' ({path})' if path else ''}")


def _encode_dict(value: dict[Any, Any], tensors: dict[str, Tensor] | None, path: str) -> Any:
    pairs = [(key, encode(inner, tensors, _below(path, key))) for key, inner in value.items()]
    if all(type(key) is str for key, _ in pairs) and not any(key.startswith("$") for key, _ in pairs):
        return dict(pairs)
    return {"$dict": [[encode(key), inner] for key, inner in pairs]}


def _below(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def decode(value: Any, tensors: Mapping[str, Tensor] | None = None) -> Any:
    """Return the value that `encode` was given.

    Raises:
        ValueError: it is not what `encode` returns.
    """
    if isinstance(value, list):
        return [decode(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) != 1 or not (kind := next(iter(value))).startswith("$"):
        return {key: decode(inner, tensors) for key, inner in value.items()}
    content = value[kind]
    match kind:
        case "$float":
            return struct.unpack(">d", bytes.fromhex(content))[0]
        case "$tuple":
            return tuple(decode(item, tensors) for item in content)
        case "$dict":
            return {decode(key): decode(inner, tensors) for key, inner in content}
        case "$tensor" if tensors is not None and content in tensors:
            return tensors[content]
    raise ValueError(f"{kind} {content!r} is not known here")
