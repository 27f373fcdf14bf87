"""The figures of a run as words, and lines of them that fit: the same facts on every screen."""

from __future__ import annotations

import math
from collections.abc import Sequence

from textual.content import Content

from birdplane.runs import Status
from birdplane.text import duration, plain, size
from birdplane.tui.monitor import Monitor

#: The style of a state's dot; the word beside it says the same without colour.
STATE_STYLES = {
    "preparing": "$text-success",
    "running": "$text-success",
    "starting": "$text-success",
    "paused": "$text-warning",
    "done": "$text-accent",
    "stopped": "$text-muted",
    "failed": "$text-error",
    "crashed": "$text-error",
    "broken": "$text-error",
}


def state_words(state: str) -> Content:
    """Return the state with its dot."""
    return Content.assemble(("● ", STATE_STYLES.get(state, "$text-muted")), state)


def fitted(parts: Sequence[Content | str], width: int, gap: int = 3) -> Content:
    """Return as many of the parts, in their order, as fit into a line; the first one in any case."""
    chosen: list[Content] = []
    used = 0
    for part in parts:
        content = Content(part) if isinstance(part, str) else part
        if not len(content):
            continue
        if chosen and used + gap + content.cell_length > width:
            break
        used += content.cell_length + (gap if chosen else 0)
        chosen.append(content)
    return Content(" " * gap).join(chosen).truncate(width, ellipsis=True)


def epoch_words(monitor: Monitor) -> str:
    """Return `epoch 3 of 8`: the epoch that is being trained."""
    if monitor.start is None:
        return ""
    steps, epochs = max(1, monitor.start.steps_per_epoch), monitor.start.epochs
    at = min(epochs, monitor.step // steps + (monitor.step < steps * epochs))
    return f"epoch {at} of {epochs}"


def step_words(monitor: Monitor) -> str:
    total = monitor.total_steps
    return f"step {monitor.step:,} of {total:,}" if total else ""


def left_words(monitor: Monitor, status: Status) -> str:
    left = monitor.seconds_left() if status.state == "running" else None
    return f"{duration(left)} left" if left is not None else ""


def progress_bar(monitor: Monitor, width: int, ascii_only: bool = False) -> Content:
    """Return a thin line, drawn strong as far as the run has come."""
    total = monitor.total_steps
    if not total or width < 5:
        return Content("")
    done = round(width * min(1.0, monitor.step / total))
    strong, weak = ("=", "-") if ascii_only else ("━", "─")
    return Content.assemble((strong * done, "$text-accent"), (weak * (width - done), "$foreground 30%"))


def pace_words(monitor: Monitor, status: Status) -> list[str]:
    """Return pictures a second and the share of time that waits for data, while it trains."""
    progress = monitor.progress
    if progress is None or status.state != "running":
        return []
    return [f"{progress.samples_per_second:,.0f} pictures/s", f"{100 * progress.wait:.0f} % waiting for data"]


def memory_words(memory: int | None, gpu: int | None = None) -> str:
    """Return the memory of the process, and beside it that of its GPU where it has one."""
    words = [f"{size(memory)} memory" if memory else "", f"GPU {size(gpu)}" if gpu else ""]
    return ", ".join(word for word in words if word)


def best_words(monitor: Monitor) -> str:
    best = monitor.best_accuracy
    return f"best {100 * best:.2f} %" if best is not None else ""


def setting_words(monitor: Monitor) -> list[str]:
    """Return what the run is trained on and how large its model is."""
    facts = monitor.start.facts if monitor.start else {}
    found = []
    if isinstance(parameters := facts.get("parameters"), int):
        found.append(f"{parameters:,} parameters")
    device = " ".join(str(facts[key]) for key in ("device", "precision") if key in facts)
    return [*found, plain(device)] if device else found


def number(value: float | None, digits: int = 4) -> str:
    """Return a figure, `-` where there is none, `nan` and `inf` as they are."""
    if value is None:
        return "-"
    return f"{value:.{digits}f}" if math.isfinite(value) else str(value)


def percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2f} %"


def epochs_of(monitor: Monitor) -> float:
    """Return how many epochs the run is to have, 0 where that is not known yet."""
    return float(monitor.start.epochs) if monitor.start else 0.0
