"""Events go into a line and come back from it."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from birdplane import events
from birdplane.events import Alert, End, Epoch, Event, Heartbeat, Progress, Start

EPOCH = Epoch(
    time=1.5,
    epoch=2,
    step=20,
    train_loss=0.5,
    train_accuracy=0.75,
    validation_loss=None,
    validation_accuracy=None,
    train_seconds=3.25,
    validation_seconds=0.0,
)


@pytest.mark.parametrize(
    "event",
    [
        EPOCH,
        Start(time=1.0, epoch=1, step=0, epochs=3, steps_per_epoch=10, facts={"classes": ["bird", "plane"]}),
        Alert(
            time=2.0,
            epoch=1,
            step=3,
            kind="overfitting",
            message="zwölf\nlines \u2028 and \udc80 a stray byte",
        ),
        End(time=3.0, epoch=3, step=30, status="done"),
        Heartbeat(
            time=1.0,
            epoch=1,
            step=0,
            state="preparing",
            what="decoding",
            memory=5,
            gpu_allocated=3,
            gpu_reserved=4,
        ),
    ],
    ids=lambda event: event.event,
)
def test_an_event_comes_back_from_its_line(event: Event) -> None:
    line = events.to_json(event)

    assert "\n" not in line
    assert events.from_json(line) == event


def test_a_line_from_before_memory_was_told_is_read() -> None:
    beat = events.from_json('{"event": "heartbeat", "time": 1.0, "epoch": 1, "step": 2, "state": "paused"}')
    progress = events.from_json(
        '{"event": "progress", "time": 1.0, "epoch": 1, "step": 2, "count": 1, "mean": 1, "min": 1, "max": 1, '
        '"last": 1, "accuracy": 0, "learning_rate": 0.1, "samples_per_second": 9, "wait": 0}'
    )

    assert isinstance(beat, Heartbeat)
    assert (beat.what, beat.memory, beat.gpu_reserved) == ("", None, None)
    assert isinstance(progress, Progress)
    assert (progress.memory, progress.gpu_allocated, progress.gpu_reserved) == (None, None, None)


@pytest.mark.parametrize("memory", ['"much"', "1.5", "true", "[1]"])
def test_memory_that_is_no_number_of_bytes_is_refused(memory: str) -> None:
    line = f'{{"event": "heartbeat", "time": 1, "epoch": 1, "step": 2, "state": "x", "memory": {memory}}}'
    with pytest.raises(ValueError, match="memory"):
        events.from_json(line)


@settings(deadline=None)
@given(st.floats())
def test_every_float_comes_back_from_strict_json(value: float) -> None:
    line = events.to_json(Epoch(**{**_fields(EPOCH), "train_loss": value}))

    json.loads(line, parse_constant=pytest.fail)
    back = events.from_json(line)
    assert isinstance(back, Epoch)
    assert back.train_loss == value or (math.isnan(back.train_loss) and math.isnan(value))
    assert math.copysign(1, back.train_loss) == math.copysign(1, value) or math.isnan(value)


def test_what_is_not_finite_inside_facts_is_kept_as_text() -> None:
    start = Start(
        time=1.0, epoch=1, step=0, epochs=1, steps_per_epoch=1, facts={"a": [math.inf, {"b": math.nan}]}
    )

    assert json.loads(events.to_json(start))["facts"] == {"a": ["inf", {"b": "nan"}]}


def test_an_unknown_kind_is_passed_over() -> None:
    assert events.from_json('{"event": "eclipse", "time": 1}') is None


def test_an_unknown_field_is_left_out() -> None:
    record = {**json.loads(events.to_json(EPOCH)), "colour": "blue"}

    assert events.from_json(json.dumps(record)) == EPOCH


@pytest.mark.parametrize(
    "line",
    [
        "",
        "null",
        "[]",
        "{}",
        '{"event": 3}',
        '{"event": "epoch"}',
        '{"event": "end", "time": "soon", "epoch": 1, "step": 1, "status": "done"}',
        '{"event": "end", "time": 1, "epoch": 1, "step": null, "status": "done"}',
        '{"event": "end", "time": 1, "epoch": 1, "step": true, "status": "done"}',
        '{"event": "end", "time": 1, "epoch": 1, "step": 1.5, "status": "done"}',
        '{"event": "end", "time": 1, "epoch": 1, "step": 1, "status": ["done"]}',
        '{"event": "end", "time": 1' + "0" * 400 + ', "epoch": 1, "step": 1, "status": "done"}',
        "[" * 100_000,
        "1" * 10_000,
    ],
    ids=lambda line: line[:60],
)
def test_a_line_that_is_no_whole_event_is_refused(line: str) -> None:
    with pytest.raises(ValueError):
        events.from_json(line)


def test_a_whole_number_is_good_enough_for_a_float() -> None:
    record = {**json.loads(events.to_json(EPOCH)), "train_loss": 1}

    back = events.from_json(json.dumps(record))
    assert isinstance(back, Epoch)
    assert isinstance(back.train_loss, float)


def test_every_kind_is_known_by_its_name() -> None:
    assert list(events.KINDS) == ["start", "progress", "epoch", "checkpoint", "alert", "heartbeat", "end"]
    assert events.KINDS["progress"] is Progress


def _fields(event: Event) -> dict[str, object]:
    return {name: value for name, value in json.loads(events.to_json(event)).items() if name != "event"}
