"""What happens in a run, as records that are written to `events.jsonl` and read by everything else."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """The base of all events: what every line has.

    `time` is in seconds since 1970, as `time.time()` gives it; `epoch` counts from 1; `step` is the number
    of steps that the run has done.
    """

    event: ClassVar[str]

    time: float
    epoch: int
    step: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Start(Event):
    """Training begins, or goes on after a stop: `epoch` and `step` say where.

    `facts` holds what is known only now: device, precision, versions, sizes of the splits, classes, parameter
    count, and `origins`, the package and version that brought each part. `fitted` holds what transforms measured,
    by position in the chain.
    """

    event: ClassVar[str] = "start"

    epochs: int
    steps_per_epoch: int
    facts: dict[str, Any] = field(default_factory=dict)
    fitted: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress(Event):
    """A summary of the training losses of the `count` steps since the last one.

    `accuracy` is the share of right answers over those steps. `samples_per_second` and `wait` (the share of
    the time spent waiting for data, 0 to 1) are over the same steps. The memory, of late, is in bytes: of the
    process, and on a GPU what its tensors take and what it keeps for them; null where that is not known.
    """

    event: ClassVar[str] = "progress"

    count: int
    mean: float
    min: float
    max: float
    last: float
    accuracy: float
    learning_rate: float
    samples_per_second: float
    wait: float
    memory: int | None = None
    gpu_allocated: int | None = None
    gpu_reserved: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Epoch(Event):
    """An epoch is over. Losses are means over samples, accuracies shares from 0 to 1.

    The training figures are taken while the weights change; the validation figures afterwards. They are null
    where an epoch was not validated. `best_accuracy` is the best validation accuracy of the run so far: with
    it a list of runs need not search a long file.
    """

    event: ClassVar[str] = "epoch"

    train_loss: float
    train_accuracy: float
    validation_loss: float | None
    validation_accuracy: float | None
    train_seconds: float
    validation_seconds: float
    best_accuracy: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint(Event):
    """A checkpoint was written whole. `best` says that no earlier one validated better."""

    event: ClassVar[str] = "checkpoint"

    path: str
    best: bool
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Alert(Event):
    """Something a person should know, in a sentence. `kind` is a short word such as `overfitting`."""

    event: ClassVar[str] = "alert"

    kind: str
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Heartbeat(Event):
    """The process is alive although there is nothing else to tell: `state` is `paused`, or says what goes on.

    To be told when it begins and every 10 seconds or so: from another host nothing else is to be seen. Before the
    first step `state` is `preparing`, and `what` a phrase for what is prepared. The memory is as in `Progress`.
    """

    event: ClassVar[str] = "heartbeat"

    state: str
    what: str = ""
    memory: int | None = None
    gpu_allocated: int | None = None
    gpu_reserved: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class End(Event):
    """Training is over. `status` is `done`, `stopped` (to be resumed) or `failed`, `reason` a sentence."""

    event: ClassVar[str] = "end"

    status: str
    reason: str = ""


KINDS: dict[str, type[Event]] = {
    kind.event: kind for kind in (Start, Progress, Epoch, Checkpoint, Alert, Heartbeat, End)
}

#: What a field of each type may be in a line; a float may also be one of `_NOT_FINITE`.
_ACCEPTED: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "int | None": (int, type(None)),
    "float": (float, int),
    "float | None": (float, int, type(None)),
    "str": (str,),
    "bool": (bool,),
    "dict[str, Any]": (dict,),
    "dict[str, dict[str, Any]]": (dict,),
}
_FIELDS = {name: [(f.name, _ACCEPTED[str(f.type)]) for f in fields(kind)] for name, kind in KINDS.items()}
_NOT_FINITE = ("nan", "inf", "-inf")


def to_json(event: Event, *, ascii_only: bool = False) -> str:
    """Return the event as a line of JSON, without a newline. What is not finite becomes a string: `"nan"`.

    `ascii_only` escapes everything else, for a terminal.
    """
    record = {"event": event.event, **{name: getattr(event, name) for name, _ in _FIELDS[event.event]}}
    return json.dumps(_plain(record), ensure_ascii=ascii_only, allow_nan=False)


def from_json(line: str) -> Event | None:
    """Return the event of a line, or None for a kind that this version does not know.

    Fields that this version does not know are left out.

    Raises:
        ValueError: the line is not such a record.
    """
    try:
        record = json.loads(line)
    except RecursionError as error:
        raise ValueError("not an event: nested too deeply") from error
    if not isinstance(record, dict) or not isinstance(record.get("event"), str):
        raise ValueError("not an event")
    kind = KINDS.get(record["event"])
    if kind is None:
        return None
    values = {
        name: _checked(name, record[name], accepted)
        for name, accepted in _FIELDS[kind.event]
        if name in record
    }
    try:
        return kind(**values)
    except TypeError as error:
        raise ValueError(f"not a whole {record['event']!r} event: {error}") from error


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value


def _checked(name: str, value: Any, accepted: tuple[type, ...]) -> Any:
    # By `type`, as a JSON true is no number.
    if type(value) is accepted[0]:
        return value
    if accepted[0] is float and (type(value) is int or value in _NOT_FINITE):
        try:
            return float(value)
        except OverflowError as error:
            raise ValueError(f"{name} is beyond all bounds") from error
    if type(value) in accepted:
        return value
    raise ValueError(f"{name} is {value!r}")
