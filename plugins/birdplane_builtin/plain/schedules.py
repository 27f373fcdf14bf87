"""The schedules: a function of the step to the factor of the learning rate; nothing where that is 1 throughout."""

from __future__ import annotations

from birdplane.plain import Plain, literal


def constant(*, total_steps: int, warmup: float) -> Plain:
    if not round(warmup * total_steps):
        return Plain(use="")
    return _factor(
        "up in a line, then 1",
        f"climb = round({literal(warmup)} * STEPS)",
        "return (step + 1) / climb if step < climb else 1.0",
    )


def one_cycle(*, total_steps: int, start: float, peak: float, final: float) -> Plain:
    if total_steps < 2:
        return Plain(use="")
    first, top, last = literal(start), literal(peak), literal(final)
    rise = f"{first} + (1 - {first}) * (share / {top})"
    fall = f"{last} + (1 - {last}) * ((1 - share) / (1 - {top}))"
    lines = ["share = step / (STEPS - 1)", f"if share < {top}:", f"    return {rise}"] if peak else []
    lines = lines or ["share = step / (STEPS - 1)"]
    lines.append(f"return {fall}" if peak < 1 else "return 1.0")
    return _factor(f"a triangle from {first} up to 1 and down to {last}", *lines)


def cosine(*, total_steps: int, warmup: float, final: float) -> Plain:
    climb = round(warmup * total_steps)
    share, last = literal(warmup), literal(final)
    lines = [f"climb = round({share} * STEPS)", "if step < climb:", "    return (step + 1) / climb"]
    if total_steps - 1 - climb < 1:
        return _factor("up in a line, then 1", *lines, "return 1.0") if climb else Plain(use="")
    done = "(step - climb) / (STEPS - 1 - climb)" if climb else "step / (STEPS - 1)"
    lines = lines if climb else []
    half = f"return {last} + (1 - {last}) * (1 + math.cos(math.pi * ({done}))) / 2"
    return _factor(f"half a cosine from 1 down to {last}", *lines, half, imports=("import math",))


def _factor(told: str, *lines: str, imports: tuple[str, ...] = ()) -> Plain:
    body = [f'"""Return the factor of the learning rate: {told}."""', *lines]
    code = "\n".join(["def factor(step):", *(f"    {line}" for line in body)])
    return Plain(use="factor", code=code, imports=imports)
