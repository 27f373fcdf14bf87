"""Training: a pipeline in, events out."""

from __future__ import annotations

from birdplane import __version__, durable
from birdplane.distributed import Requests, Team
from birdplane.errors import UsageError
from birdplane.pipeline import Pipeline
from birdplane.runs import FORMAT, Run
from birdplane.training.trainer import StoppedEarly, Trainer

__all__ = ["StoppedEarly", "Trainer", "follow", "resume", "train"]


def train(
    pipeline: Pipeline, run: Run | None = None, requests: Requests | None = None, team: Team | None = None
) -> Trainer:
    """Train a pipeline: iterate over the result to do so, and to get its events.

    Args:
        pipeline: what to train.
        run: the folder to record it in: events, checkpoints; None records nothing.
        requests: polled ten times a second for pause, resume and stop; a run's own control file by default.
        team: the processes that train together, of which this is one; run and requests are its leader's.

    Raises:
        UsageError: the pipeline has problems; nothing was done.
        BirdplaneError (while iterating): the data is missing or damaged, parts do not fit, a loss is not finite.
    """
    pipeline.require_sound()
    return Trainer(pipeline, run, requests, team)


def resume(run: Run, requests: Requests | None = None, team: Team | None = None) -> Trainer:
    """Go on with a run from its newest whole checkpoint, or from its beginning if there is none.

    On the same device with the same versions the result is, bit for bit, that of a run that never stopped.

    Raises:
        UsageError: the run's pipeline has problems, for example because a plugin is no longer installed; or the run
            is of a later version of birdplane, whose records this one does not know.
    """
    return Trainer(_pipeline_of(run), run, requests, team, resuming=True)


def follow(pipeline: Pipeline, team: Team) -> Trainer:
    """Train along with the leader of a team, which resumes a run with this pipeline, and says where to begin.

    Raises:
        UsageError: the pipeline has problems here.
    """
    pipeline.require_sound()
    return Trainer(pipeline, None, None, team, resuming=True)


def _pipeline_of(run: Run) -> Pipeline:
    try:
        start = run.summary().start
    except OSError as error:
        raise durable.trouble(error, "read", run.path / "events.jsonl") from error
    facts = start.facts if start else {}
    by = facts.get("birdplane", __version__)
    made = (
        ""
        if by == __version__
        else f"the run {run.name!r} was made by birdplane {by}, and this is {__version__}"
    )
    kind = facts.get("format", FORMAT)
    if type(kind) is not int or kind > FORMAT:
        raise UsageError(
            f"{made or f'the run {run.name!r} was made by a later birdplane'}: its folder is of format {kind}, of "
            f"which only {FORMAT} is known here; go on with that version (pip install --upgrade birdplane)"
        )
    try:
        pipeline = Pipeline.from_toml(run.pipeline_toml(), str(run.path / "pipeline.toml"))
        pipeline.require_sound()
    except UsageError as error:
        if not made:
            raise
        raise UsageError(f"{error}; {made}") from error
    return pipeline
