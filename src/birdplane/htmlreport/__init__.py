"""All about a run in one HTML file: what is told. `gathering` finds it out, `page` writes it.

The file needs nothing from elsewhere and says so itself: its content security policy allows its own style sheet and
pictures inside it, no script and no request. All text that is not birdplane's own is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from birdplane.events import Alert, Epoch
    from birdplane.inspection import Evaluation, Mistake
    from birdplane.probing import Probe


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a report tells.

    Attributes:
        run: its name.
        version: of the birdplane that made the report, `made` when it did, in seconds since 1970.
        state: that of the run, as in `birdplane runs`.
        checkpoint: `"best"` or `"last"`, and `step`, that of the checkpoint.
        device, precision: in which the report's own figures were computed; training's are among the facts.
        seconds: how long the epochs took, together.
        classes: their names.
        train, validation: the scores of both splits.
        mistakes: pictures of the validation split, the surest first.
        epochs, alerts: what training told that still counts.
        probe: of moved and changed pictures; None without one.
        pipeline: its TOML.
        facts: what is known of how it was trained: device, versions, sizes.
        skipped: lines of the record that could not be read.
    """

    run: str
    version: str
    made: float
    state: str
    checkpoint: str
    step: int
    device: str
    precision: str
    seconds: float
    classes: Sequence[str]
    train: Evaluation
    validation: Evaluation
    mistakes: Sequence[Mistake]
    epochs: Sequence[Epoch]
    alerts: Sequence[Alert]
    probe: Probe | None
    pipeline: str
    facts: Mapping[str, Any]
    skipped: int = 0
