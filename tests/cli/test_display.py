"""The table of a run: what it says of each event, on a terminal and elsewhere."""

from __future__ import annotations

import dataclasses
import io
import itertools
from typing import Any

import pytest

from birdplane import reporting
from birdplane.cli.display import JsonLines, Table, choose
from birdplane.cli.screen import showing_preparation
from birdplane.events import (
    Alert,
    Checkpoint,
    End,
    Epoch,
    Event,
    Heartbeat,
    Progress,
    Start,
    from_json,
    to_json,
)

FACTS: dict[str, Any] = {
    "parameters": 1574402,
    "train_pictures": 10000,
    "validation_pictures": 2000,
    "classes": ["airplane", "bird"],
    "device_name": "cpu",
    "precision": "float32",
}


class Terminal(io.StringIO):
    encoding = "utf-8"


class OldTerminal(io.StringIO):
    encoding = "ascii"


def start(step: int = 0, **facts: Any) -> Start:
    fitted = {"1": {"mean": [0.49154, 0.5], "std": [0.25, 0.125]}}
    return Start(
        time=0.0,
        epoch=step // 4,
        step=step,
        epochs=3,
        steps_per_epoch=4,
        facts={**FACTS, **facts},
        fitted=fitted,
    )


def progress(step: int, wait: float = 0.0) -> Progress:
    return Progress(
        time=0.0, epoch=1, step=step, count=1, mean=0.61234, min=0.6, max=0.7, last=0.6, accuracy=0.5,
        learning_rate=0.1, samples_per_second=12345.6, wait=wait,
    )  # fmt: skip


def epoch(number: int, loss: float | None, accuracy: float | None) -> Epoch:
    return Epoch(
        time=0.0, epoch=number, step=4 * number, train_loss=0.5, train_accuracy=0.75, validation_loss=loss,
        validation_accuracy=accuracy, train_seconds=1.2, validation_seconds=0.3,
    )  # fmt: skip


def end(status: str, reason: str = "") -> End:
    return End(time=0.0, epoch=3, step=12, status=status, reason=reason)


def shown(*events: Event, live: bool = False, out: io.StringIO | None = None) -> str:
    out = out if out is not None else Terminal()
    table = Table("book-1", out, live=live)
    for event in events:
        table.show(event)
    table.close()
    return out.getvalue()


def test_the_start_says_what_is_trained_on_what() -> None:
    lines = shown(start()).splitlines()
    assert (
        lines[0] == "book-1 · 1,574,402 parameters · 10,000 + 2,000 pictures · airplane, bird · cpu float32"
    )
    assert lines[1] == "transforms.1 measured mean (0.4915, 0.5000), std (0.2500, 0.1250)"
    assert lines[2] == "epoch   train loss  accuracy   validation loss  accuracy      time"


def test_a_run_that_goes_on_says_from_where() -> None:
    assert "going on from epoch 2, step 6" in shown(start(6)).splitlines()


def test_every_epoch_is_a_line_below_the_heads_of_its_columns() -> None:
    lines = shown(start(), epoch(1, 0.4567, 0.8125), epoch(2, None, None)).splitlines()
    assert lines[3] == "    1       0.5000   75.00 %            0.4567   81.25 %     1.5 s"
    assert lines[4] == "    2       0.5000   75.00 %                 -         -     1.5 s"
    head = lines[2]
    for word in ("train loss", "validation loss"):
        at = head.index(word) + len(word)
        assert lines[3][at - 1] in "0123456789"
        assert lines[3][at] == " "


def test_the_end_names_the_best_epoch() -> None:
    lines = shown(
        start(), epoch(1, 0.5, 0.7), epoch(2, 0.4, 0.9), epoch(3, 0.6, 0.9), end("done")
    ).splitlines()
    assert lines[-2].startswith("done after ")
    assert lines[-1] == "best validation accuracy 90.00 % at epoch 2"


def test_a_stop_and_a_failure_are_told_with_their_reason() -> None:
    assert "stopped after 0.0 s (asked to)" in shown(start(), end("stopped", "asked to"))
    assert (
        shown(start(), end("failed", "the loss is nan")).splitlines()[-1]
        == "failed after 0.0 s: the loss is nan"
    )


def test_an_alert_is_a_line_of_its_own() -> None:
    alert = Alert(time=0.0, epoch=1, step=1, kind="overfitting", message="overfitting: since epoch 1")
    assert shown(start(), alert).splitlines()[-1] == "  ! overfitting: since epoch 1"


def test_elsewhere_than_on_a_terminal_nothing_moves() -> None:
    heartbeat = Heartbeat(time=0.0, epoch=1, step=0, state="validating")
    saved = Checkpoint(time=0.0, epoch=1, step=1, path="checkpoints/1", best=True, seconds=0.1)
    text = shown(start(), progress(1), heartbeat, saved)
    assert text == shown(start())
    assert "\x1b" not in text


def test_on_a_terminal_the_moving_line_has_a_bar_the_loss_the_pace_and_the_time_left() -> None:
    text = shown(start(), progress(2), live=True)
    moving = text.split("\r\x1b[K")[-2]
    assert moving.startswith("    1   ███████████             loss 0.6123  12,346 pictures/s  ")
    assert moving.endswith(" left")
    assert text.endswith("\r\x1b[K")


def test_the_bar_is_full_with_the_epochs_last_step() -> None:
    assert "█" * 22 + "  loss" in shown(start(), progress(4), live=True)


def test_waiting_for_data_is_pointed_out() -> None:
    assert "50% waiting for data" in shown(start(), progress(2, wait=0.5), live=True)
    assert "waiting" not in shown(start(), progress(2, wait=0.1), live=True)


def test_validating_is_said_at_once_but_does_not_flicker_where_epochs_are_short() -> None:
    validating = Heartbeat(time=0.0, epoch=1, step=4, state="validating")
    assert "validating ..." in shown(start(), progress(4), validating, live=True)
    quick = dataclasses.replace(epoch(1, 0.5, 0.5), train_seconds=0.01, validation_seconds=0.01)
    many = [event for _ in range(100) for event in (quick, progress(4), validating)]
    assert shown(start(), *many, live=True).count("validating ...") <= 3


def test_the_line_moves_at_most_ten_times_a_second() -> None:
    text = shown(start(), *(progress(step) for step in range(1, 200)), live=True)
    assert text.count("pictures/s") <= 3


def test_a_narrow_terminal_does_not_wrap_the_moving_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    moving = shown(start(), progress(2), live=True).split("\r\x1b[K")[-2]
    assert len(moving) == 39


def test_a_terminal_without_unicode_gets_plain_characters() -> None:
    text = shown(start(), progress(2), live=True, out=OldTerminal())
    assert text.isascii()
    assert "book-1 - 1,574,402 parameters" in text
    assert "###########...........  loss" in text


def test_text_that_is_not_ours_cannot_steer_the_terminal() -> None:
    alert = Alert(time=0.0, epoch=1, step=1, kind="skipped", message="left out: \x1b[2J\x07a\nb.jpg")
    text = shown(start(classes=["\x1b]0;owned\x07", "bird"]), alert)
    assert "\x1b" not in text
    assert "\x07" not in text
    assert text.splitlines()[-1] == "  ! left out:  [2J a b.jpg"


class Gone(Terminal):
    """A terminal that was closed: writing fails from the second line on."""

    def write(self, text: str) -> int:
        if self.getvalue():
            raise OSError(5, "Input/output error")
        return super().write(text)


def test_a_terminal_that_goes_away_is_let_go() -> None:
    out = Gone()
    assert shown(start(), epoch(1, 0.5, 0.5), end("done"), live=True, out=out).count("\n") == 1


def test_what_is_being_prepared_goes_on_when_the_terminal_has_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Away(Terminal):
        def isatty(self) -> bool:
            return True

        def write(self, text: str) -> int:
            raise OSError(5, "Input/output error")

    seconds = itertools.count()
    monkeypatch.setattr("birdplane.cli.screen.time.monotonic", lambda: float(next(seconds)))
    monkeypatch.setattr("sys.stderr", Away())
    done = 0
    with showing_preparation(), reporting.task("decoding", 10, "pictures") as advance:
        for _ in range(10):
            advance(1)
            done += 1
    assert done == 10


def test_a_long_preparation_is_one_line_that_is_taken_away_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class Here(Terminal):
        def isatty(self) -> bool:
            return True

    seconds = itertools.count()
    monkeypatch.setattr("birdplane.cli.screen.time.monotonic", lambda: float(next(seconds)))
    monkeypatch.setattr("sys.stderr", here := Here())
    with showing_preparation(), reporting.task("decoding", 10, "pictures") as advance:
        advance(5)
    assert here.getvalue() == "\r\x1b[Kdecoding  5 of 10 pictures, 1.0 s left\r\x1b[K"


class Closed(Terminal):
    tried = 0

    def write(self, text: str) -> int:
        self.tried += 1
        raise BrokenPipeError


def test_a_reader_that_leaves_the_pipe_ends_the_command() -> None:
    with pytest.raises(BrokenPipeError):
        Table("r", Closed(), live=False).show(start())


def test_what_outlives_its_reader_writes_no_more() -> None:
    table, lines = Closed(), Closed()
    for made in (Table("r", table, live=False, outlives=True), JsonLines(lines, outlives=True)):
        made.show(start())
        made.show(end("done"))
        made.close()
    assert (table.tried, lines.tried) == (1, 1)


def test_json_lines_can_be_read_back() -> None:
    out = io.StringIO()
    lines = JsonLines(out)
    events: list[Event] = [start(), progress(1), epoch(1, float("nan"), 0.5), end("done")]
    for event in events:
        lines.show(event)
    read = [event for line in out.getvalue().splitlines() if (event := from_json(line))]
    assert [to_json(event) for event in read] == [to_json(event) for event in events]


def test_the_display_follows_what_was_asked_and_what_stdout_is(monkeypatch: pytest.MonkeyPatch) -> None:
    class Tty(Terminal):
        def isatty(self) -> bool:
            return True

    def live(terminal: str, **asked: bool) -> bool:
        monkeypatch.setenv("TERM", terminal)
        chosen = choose("r", **{"plain_text": False, "json_lines": False, **asked})
        assert isinstance(chosen, Table)
        return chosen._live

    monkeypatch.setattr("sys.stdout", Terminal())
    assert not live("xterm")
    monkeypatch.setattr("sys.stdout", Tty())
    assert live("xterm")
    assert not live("dumb")
    assert not live("xterm", plain_text=True)
    assert isinstance(choose("r", plain_text=True, json_lines=True), JsonLines)
