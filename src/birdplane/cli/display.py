"""A run's events drawn as text: a table that grows by a line an epoch, and on a terminal a line that moves."""

from __future__ import annotations

import math
import shutil
import sys
import time
from collections.abc import Mapping
from typing import Protocol, TextIO

from birdplane import durable
from birdplane.events import Alert, End, Epoch, Event, Heartbeat, Progress, Start, to_json
from birdplane.text import duration, plain

_BLOCKS = " ▏▎▍▌▋▊▉█"


class Display(Protocol):
    """Shows events as they come. Of the past only the kinds in `lasting` matter to it; None: all."""

    lasting: tuple[type[Event], ...] | None

    def show(self, event: Event) -> None: ...

    def close(self) -> None: ...


def choose(name: str, *, plain_text: bool, json_lines: bool, outlives: bool = False) -> Display:
    """Return the display for stdout: JSON lines, a live table on a terminal, plain lines elsewhere.

    What `outlives` its reader, as a training does, goes on where the pipe that it writes to has nobody at its other
    end any more, such as that of a connection that was lost.
    """
    if json_lines:
        return JsonLines(sys.stdout, outlives=outlives)
    live = sys.stdout.isatty() and not plain_text and _understands_escapes()
    return Table(name, sys.stdout, live=live, outlives=outlives)


def _understands_escapes() -> bool:
    import os

    return os.environ.get("TERM", "") not in ("", "dumb")


class JsonLines:
    """Each event as a line of JSON, as in `events.jsonl`."""

    lasting: tuple[type[Event], ...] | None = None

    def __init__(self, out: TextIO, *, outlives: bool = False) -> None:
        self._out: TextIO | None = out
        self._outlives = outlives

    def show(self, event: Event) -> None:
        if self._out is None:
            return
        try:
            print(to_json(event, ascii_only=True), file=self._out, flush=True)
        except BrokenPipeError:
            if not self._outlives:
                raise
            self._out = None
        except OSError as error:
            raise durable.trouble(error, "write to", "stdout") from error

    def close(self) -> None:
        """Nothing is left open."""


class Table:
    """A line an epoch; with `live`, a line below that is rewritten at most ten times a second.

    A terminal that goes away does not end the training: from then on nothing is drawn.
    """

    # Heartbeats are few, and the last may stand for long: paused, or preparing.
    lasting: tuple[type[Event], ...] | None = (Start, Epoch, Heartbeat, Alert, End)

    def __init__(self, name: str, out: TextIO, *, live: bool, outlives: bool = False) -> None:
        self._name = plain(name)
        self._out: TextIO | None = out
        self._outlives = outlives
        self._live = live
        self._unicode = (getattr(out, "encoding", "") or "").lower().replace("-", "") == "utf8"
        self._start: Start | None = None
        self._drawn = 0.0
        self._best: Epoch | None = None
        self._short_epochs = False

    def show(self, event: Event) -> None:
        if isinstance(event, Start):
            self._on_start(event)
        elif isinstance(event, Progress):
            self._moving(self._progress(event))
        elif isinstance(event, Heartbeat):
            # Told at once, unless epochs are so short that it would but flicker.
            what = f": {plain(event.what)}" if event.what else ""
            self._moving(f"  {plain(event.state)}{what} ...", now=not self._short_epochs)
        elif isinstance(event, Epoch):
            self._on_epoch(event)
        elif isinstance(event, Alert):
            self._line(f"  ! {plain(event.message)}")
        elif isinstance(event, End):
            self._on_end(event)

    def close(self) -> None:
        self._moving("", now=True)

    def _on_start(self, event: Start) -> None:
        self._start = event
        facts = event.facts
        dot = " · " if self._unicode else " - "
        described = [
            self._name,
            f"{facts['parameters']:,} parameters" if "parameters" in facts else "",
            f"{facts.get('train_pictures', 0):,} + {facts.get('validation_pictures', 0):,} pictures",
            ", ".join(plain(str(name)) for name in facts.get("classes", [])[:10]),
            f"{plain(str(facts.get('device_name', '')))} {facts.get('precision', '')}",
        ]
        self._line(dot.join(part for part in described if part))
        for name, version in _packages(facts):
            self._line(plain(f"with parts from {name} {version}"))
        for position, values in event.fitted.items():
            shown = ", ".join(f"{key} {_rounded(value)}" for key, value in values.items())
            self._line(f"transforms.{position} measured {shown}")
        if event.step:
            self._line(f"going on from epoch {event.epoch + 1}, step {event.step}")
        self._line("epoch   train loss  accuracy   validation loss  accuracy      time")

    def _on_epoch(self, event: Epoch) -> None:
        self._short_epochs = event.train_seconds + event.validation_seconds < 0.5
        best = self._best
        if event.validation_accuracy is not None and (
            best is None or event.validation_accuracy > (best.validation_accuracy or 0)
        ):
            self._best = event
        self._line(
            f"{event.epoch:5d}   {event.train_loss:10.4f}  {_percent(event.train_accuracy)}   "
            f"{_or_dash(event.validation_loss, '15.4f', 15)}  {_percent(event.validation_accuracy)}  "
            f"{duration(event.train_seconds + event.validation_seconds):>8}"
        )

    def _on_end(self, event: End) -> None:
        took = duration(event.time - self._start.time if self._start else 0.0)
        if event.status == "failed":
            self._line(f"failed after {took}: {plain(event.reason)}")
            return
        reason = f" ({plain(event.reason)})" if event.reason else ""
        self._line(f"{event.status} after {took}{reason}")
        if self._best is not None and self._best.validation_accuracy is not None:
            accuracy = _percent(self._best.validation_accuracy).strip()
            self._line(f"best validation accuracy {accuracy} at epoch {self._best.epoch}")

    def _progress(self, event: Progress) -> str:
        start = self._start
        if start is None:
            return ""
        within = (event.step - 1) % start.steps_per_epoch + 1
        left = (start.epochs * start.steps_per_epoch - event.step) * (event.time - start.time)
        left /= max(event.step - start.step, 1)
        waiting = f"  {event.wait:.0%} waiting for data" if event.wait > 0.2 else ""
        pace = f"{event.samples_per_second:,.0f} pictures/s"
        figures = f"  loss {event.mean:.4f}  {pace}  {duration(left)} left{waiting}"
        width = max(4, min(22, shutil.get_terminal_size().columns - 1 - 8 - len(figures)))
        return f"{event.epoch:5d}   {self._bar(within / start.steps_per_epoch, width)}{figures}"

    def _bar(self, share: float, width: int) -> str:
        if not self._unicode:
            return ("#" * round(share * width)).ljust(width, ".")
        full, part = divmod(round(share * width * 8), 8)
        return ("█" * full + (_BLOCKS[part] if part else "")).ljust(width)

    def _moving(self, text: str, now: bool = False) -> None:
        moment = time.monotonic()
        if not self._live or (not now and moment - self._drawn < 0.1):
            return
        self._drawn = moment
        self._write(f"\r\x1b[K{text[: shutil.get_terminal_size().columns - 1]}")

    def _line(self, text: str) -> None:
        text = plain(text)  # whatever of it is from the run's file
        self._write(f"\r\x1b[K{text}\n" if self._live else f"{text}\n")

    def _write(self, text: str) -> None:
        if self._out is None:
            return
        try:
            self._out.write(text if self._unicode else text.encode("ascii", "replace").decode())
            self._out.flush()
        except BrokenPipeError:
            if not self._outlives:
                raise
            self._out = None
        except OSError:
            self._out = None


def _percent(share: float | None) -> str:
    return f"{100 * share:6.2f} %" if share is not None else f"{'-':>8}"


def _or_dash(value: float | None, form: str, width: int) -> str:
    return format(value, form) if value is not None and math.isfinite(value) else "-".rjust(width)


def _packages(facts: Mapping[str, object]) -> list[tuple[str, str]]:
    """Return the packages besides birdplane that brought parts of a run, as its record says, with their versions."""
    origins = facts.get("origins")
    parts = [part for part in origins.values() if isinstance(part, dict)] if isinstance(origins, dict) else []
    found = {str(part.get("package") or ""): str(part.get("version") or "") for part in parts}
    return sorted((name, version) for name, version in found.items() if name not in ("", "birdplane"))


def _rounded(value: object) -> str:
    if isinstance(value, list):
        return "(" + ", ".join(_rounded(inner) for inner in value) + ")"
    return f"{value:.4f}" if isinstance(value, float) else plain(str(value))
