"""What a report tells, found out: the run's record is read, and its model looks at all pictures. Needs torch."""

from __future__ import annotations

import time

import birdplane
from birdplane.events import Alert, Epoch, Start
from birdplane.htmlreport import Report
from birdplane.inspection import TrainedModel
from birdplane.runs import Run

_REACH = 8


def gather(
    run: Run, model: TrainedModel, checkpoint: str, *, mistakes: int = 24, probed: bool = True
) -> Report:
    """Return all that is told of a run.

    Args:
        run: the run.
        model: its model.
        checkpoint: which weights that are, `"best"` or `"last"`.
        mistakes: at most so many are shown.
        probed: whether moved and changed pictures are looked at as well, which takes longer than all else.

    Raises:
        BirdplaneError: the pictures are missing or damaged.
    """
    history = run.history()
    history.poll()
    epochs = [event for event in history.events if isinstance(event, Epoch)]
    starts = [event for event in history.events if isinstance(event, Start)]
    train, validation = model.judge("train"), model.judge("validation")
    probe = None
    if probed:
        from birdplane.probing.measuring import probe as measured

        height, width = model.state["stored_shape"][1:]
        probe = measured(model, run.name, reach=min(_REACH, height - 1, width - 1))
    return Report(
        run=run.name,
        version=birdplane.__version__,
        made=time.time(),
        state=run.status().state,
        checkpoint=checkpoint,
        step=model.step,
        device=str(model.assembly.device),
        precision=model.assembly.precision,
        seconds=sum(epoch.train_seconds + epoch.validation_seconds for epoch in epochs),
        classes=model.classes,
        train=model.summed_up(train),
        validation=model.summed_up(validation),
        mistakes=model.mistakes(validation, mistakes),
        epochs=epochs,
        alerts=[event for event in history.events if isinstance(event, Alert)],
        probe=probe,
        pipeline=run.pipeline_toml(),
        facts=starts[-1].facts if starts else {},
        skipped=history.skipped,
    )
