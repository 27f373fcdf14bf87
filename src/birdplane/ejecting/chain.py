"""The transforms of a script: what is done to every picture once, and what is done to a batch at each step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from birdplane.assembly import Assembly
from birdplane.components import Transform
from birdplane.ejecting.parts import Part

_CHANCE = "chance = torch.Generator(DEVICE).manual_seed(mix(SEED, epoch, step, {number}))"
_SEEDED = "torch.manual_seed(mix(SEED, epoch, step, {number}))"


@dataclass
class Chain:
    """Statements that make `images` of `images`.

    `prepared` come before the first random transform; of those after it, `changed` are for training, and
    `finished` for evaluation. `made` are the objects that they use.
    """

    made: list[str] = field(default_factory=list)
    prepared: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    finished: list[str] = field(default_factory=list)
    imports: set[str] = field(default_factory=set)
    #: Whether what is prepared might depend on how many pictures are prepared at once.
    in_parts: bool = False


def chain_of(
    parts: Sequence[Part], records: Sequence[Transform], before: Sequence[torch.Tensor], assembly: Assembly
) -> Chain:
    """Return the transforms as statements.

    Args:
        parts: the transforms as source, in their order.
        records: theirs.
        before: a batch as each is given it, and as the last leaves it.
        assembly: with the transforms built.
    """
    chain = Chain()
    for index, (part, record) in enumerate(zip(parts, records, strict=True)):
        fixed = index < assembly.chain.fixed
        if not part.plain.use:
            continue
        lines: list[str] = []
        if record.random:
            form = _SEEDED if record.per_sample else _CHANCE
            lines.append(form.format(number=index + 1))
        if record.per_sample or part.foreign:
            chain.made.append(f"transform_{index} = {part.plain.use}")
            chain.in_parts |= fixed
        if record.per_sample:
            lines += _each(f"transform_{index}", chain, before[index], before[index + 1])
        elif part.foreign:
            lines.append(f"images = transform_{index}(images{', chance' if record.random else ''})")
        else:
            lines += part.plain.use.split("\n")
        if fixed:
            chain.prepared += lines
        else:
            chain.changed += lines
            chain.finished += [] if record.random else lines
    return chain


def _each(name: str, chain: Chain, before: torch.Tensor, after: torch.Tensor) -> list[str]:
    """Return the statements that change picture by picture: PIL images as long as they are bytes."""
    functions = []
    if before.dtype is torch.uint8:
        functions.append("to_pil_image")
    made = f"{name}({'to_pil_image(image)' if functions else 'image'})"
    if before.dtype is torch.uint8 and after.dtype is torch.uint8:
        functions.append("pil_to_tensor")
        made = f"pil_to_tensor({made})"
    if functions:
        chain.imports.add(f"from torchvision.transforms.v2.functional import {', '.join(functions)}")
    changed = f"changed = [{made} for image in images.cpu()]"
    return [changed, "images = torch.stack(changed).to(DEVICE)"]
