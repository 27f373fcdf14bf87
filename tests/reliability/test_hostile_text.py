"""Names and sentences from strangers' files do nothing to a terminal, wherever they are printed."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from birdplane.cli import main
from birdplane.plugins import DISABLE_VARIABLE
from birdplane.runs import Run

#: It sets the title, clears the screen, turns the text around and begins lines of its own.
EVIL = "\x1b]0;owned\x07\x1b[2J\u202eerror\r\n\x9b31m\u2028"


def harmless(text: str) -> bool:
    """Whether printed text has no control characters but the ends of its lines."""
    return not any(c in text for c in "\x1b\x07\r\x9b\u202e\u2028") and "\0" not in text


@pytest.fixture
def printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Run a command in the folder of the runs, and return all that it printed."""
    monkeypatch.setenv(DISABLE_VARIABLE, "*")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["birdplane", *arguments])
        with pytest.raises(SystemExit):
            main()
        return "".join(capsys.readouterr())

    return run


@pytest.fixture
def evil_run(tmp_path: Path, tiny_run: Run) -> str:
    """A run whose name, classes, alerts, states, reasons, log and device are all hostile text."""
    name = "evil\x1b[31m\u202e"
    folder = tmp_path / "runs" / name
    shutil.copytree(tiny_run.path, folder)
    records = [
        json.loads(line) for line in (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    for record in records:
        if record["event"] == "start":
            record["facts"] |= {"classes": [EVIL, EVIL * 2], "device_name": EVIL, "precision": EVIL}
            record["facts"]["origins"] = {
                "model": {"name": EVIL, "plugin": EVIL, "package": EVIL, "version": EVIL}
            }
            record["fitted"] = {EVIL: {EVIL: [1.0]}, "1": {"mean": EVIL}}
        if record["event"] == "end":
            record |= {"status": "failed", "reason": EVIL}
    at = {"time": records[0]["time"], "epoch": 0, "step": 0}
    records.insert(1, {"event": "alert", **at, "kind": EVIL, "message": EVIL})
    records.insert(2, {"event": "heartbeat", **at, "state": EVIL, "what": EVIL})
    (folder / "events.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (folder / "log.txt").write_text(f"RuntimeError: {EVIL}")
    return name


@pytest.mark.parametrize("command", [["runs"], ["runs", "--json"], ["list"]])
def test_a_list_shows_hostile_names_without_their_codes(
    printed: Callable[..., str], evil_run: str, command: list[str]
) -> None:
    assert harmless(printed(*command))


@pytest.mark.parametrize("more", [["--plain"], ["--json"]])
def test_a_run_that_is_watched_shows_hostile_events_without_their_codes(
    printed: Callable[..., str], evil_run: str, more: list[str]
) -> None:
    text = printed("watch", evil_run, *more)
    assert "failed" in text
    assert harmless(text), ascii(text)


def test_a_crash_is_told_with_its_log_without_its_codes(
    printed: Callable[..., str], evil_run: str, tmp_path: Path
) -> None:
    events = tmp_path / "runs" / evil_run / "events.jsonl"
    lines = events.read_text().splitlines(keepends=True)
    events.write_text("".join(line for line in lines if '"event": "end"' not in line))
    for command in (["runs"], ["stop", evil_run], ["watch", evil_run, "--plain"]):
        text = printed(*command)
        assert "last in its log" in text
        assert harmless(text), ascii(text)


@pytest.mark.parametrize("command", ["evaluate", "predict", "resume", "watch", "stop", "compare"])
def test_a_name_that_is_not_there_is_told_of_without_its_codes(
    printed: Callable[..., str], command: str
) -> None:
    text = printed(
        command, EVIL.replace("\r\n", "\n"), *(["x.png"] if command in ("predict", "compare") else [])
    )
    assert text
    assert harmless(text), ascii(text)


def test_hostile_class_folders_are_told_of_without_their_codes(
    printed: Callable[..., str], tmp_path: Path
) -> None:
    for name in ("a\x1b[31m\n", "b\u202e\x07"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
    text = printed("check", "demo", "--set", "dataset=image-folder", "--set", "dataset.path=pictures")
    assert "has no picture" in text
    assert harmless(text), ascii(text)
