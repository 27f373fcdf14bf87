"""A run folder: made, locked, written, read, asked and listed, by real processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from birdplane import durable, processes
from birdplane.errors import BirdplaneError, UsageError
from birdplane.events import Alert, Checkpoint, End, Epoch, Event, Heartbeat, Progress, Start
from birdplane.runs import Listing, Run, RunLocked, list_runs, runs_folder

Children = Callable[..., subprocess.Popen[str]]

HEAD = """
import json, os, signal, sys, time
from pathlib import Path
from birdplane.events import *
from birdplane.runs import Run
folder, *rest = sys.argv[1:]
folder = Path(folder)
def say(*words): print(*words, flush=True)
def heard(): return sys.stdin.readline().strip()
"""


@pytest.fixture
def children() -> Iterator[Children]:
    """Start Python children that run a script after `HEAD`; none outlives the test."""
    started: list[subprocess.Popen[str]] = []

    def start(script: str, *arguments: str | Path) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, "-c", HEAD + script, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        started.append(child)
        return child

    yield start
    for child in started:
        child.kill()
        child.communicate()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path, "first", pipeline_toml="seed = 0\n")


def start(step: int = 0, *, at: float = 1.0) -> Start:
    return Start(time=at, epoch=step // 10 + 1, step=step, epochs=10, steps_per_epoch=10)


def progress(step: int) -> Progress:
    return Progress(
        time=float(step),
        epoch=(step - 1) // 10 + 1,
        step=step,
        count=1,
        mean=0.5,
        min=0.5,
        max=0.5,
        last=0.5,
        accuracy=0.5,
        learning_rate=0.1,
        samples_per_second=100.0,
        wait=0.0,
    )


def epoch(number: int, accuracy: float | None = 0.5, best: float | None = None) -> Epoch:
    return Epoch(
        time=number * 10.0,
        epoch=number,
        step=number * 10,
        train_loss=1 / number,
        train_accuracy=0.5,
        validation_loss=0.6,
        validation_accuracy=accuracy,
        train_seconds=1.0,
        validation_seconds=0.1,
        best_accuracy=best,
    )


def end(status: str = "done", step: int = 20, *, at: float = 30.0, reason: str = "") -> End:
    return End(time=at, epoch=2, step=step, status=status, reason=reason)


def write(run: Run, *events: Event) -> None:
    for event in events:
        run.append(event)
    run.close()


def epochs_of(events: list[Event]) -> list[int]:
    return [event.epoch for event in events if isinstance(event, Epoch)]


def line_of(child: subprocess.Popen[str]) -> str:
    assert child.stdout
    return child.stdout.readline().strip()


def tell(child: subprocess.Popen[str], word: str = "go") -> None:
    assert child.stdin
    child.stdin.write(word + "\n")
    child.stdin.flush()


# --- where runs are ---------------------------------------------------------------------------------------


def test_the_runs_folder_is_the_given_one_then_that_of_the_environment_then_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("BIRDPLANE_RUNS", raising=False)
    assert runs_folder() == Path("runs")
    monkeypatch.setenv("BIRDPLANE_RUNS", "/elsewhere")
    assert runs_folder() == Path("/elsewhere")
    assert runs_folder(Path("here")) == Path("here")


def test_listing_runs_imports_nothing_heavy(children: Children, run: Run) -> None:
    script = """
from birdplane.runs import list_runs
assert list_runs(folder)
say(sorted({"torch", "numpy", "pydantic", "psutil", "filelock", "textual"} & set(sys.modules)))
"""
    assert line_of(children(script, run.path.parent)) == "[]"


# --- making and finding -----------------------------------------------------------------------------------


def test_a_new_run_holds_its_pipeline_and_is_new(run: Run) -> None:
    assert run.pipeline_toml() == "seed = 0\n"
    assert run.status().state == "new"
    assert [path.name for path in run.path.parent.iterdir()] == ["first"]


def test_runs_without_a_name_are_numbered_on_from_the_highest(tmp_path: Path) -> None:
    names = [Run.create(tmp_path, stem="cifar2", pipeline_toml="").name for _ in range(2)]
    (tmp_path / "cifar2-41").mkdir()
    names.append(Run.create(tmp_path, stem="cifar2", pipeline_toml="").name)

    assert names == ["cifar2-1", "cifar2-2", "cifar2-42"]


def test_a_name_that_is_taken_is_refused_with_what_to_do(run: Run) -> None:
    with pytest.raises(UsageError, match=r"'first' exists already.*birdplane resume first"):
        Run.create(run.path.parent, "first", pipeline_toml="seed = 1\n")
    assert run.pipeline_toml() == "seed = 0\n"


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", ".hidden", "a/b", "a\\b", "../up", "-x", "a b", "é", "x" * 101, "a.", "con", "NUL.txt"],
)
def test_a_name_that_is_no_plain_word_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a run"):
        Run.create(tmp_path, name, pipeline_toml="")
    assert list(tmp_path.iterdir()) == []


def test_two_processes_that_make_runs_at_once_never_get_the_same(children: Children, tmp_path: Path) -> None:
    script = """
say("ready"); heard()
for _ in range(20): say(Run.create(folder, stem="r", pipeline_toml="x = 1").name)
"""
    pair = [children(script, tmp_path) for _ in range(2)]
    assert [line_of(child) for child in pair] == ["ready", "ready"]
    for child in pair:
        tell(child)
    names = [line_of(child) for child in pair for _ in range(20)]

    assert sorted(names) == sorted(f"r-{number}" for number in range(1, 41))
    assert all((tmp_path / name / "pipeline.toml").read_text() == "x = 1" for name in names)


def test_a_run_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> None:
        path.write_bytes(data[:1])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(durable, "write_file", full)
    with pytest.raises(BirdplaneError, match="the disk is full"):
        Run.create(tmp_path, "second", pipeline_toml="seed = 0\n")
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_place_of_the_runs_folder_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(BirdplaneError, match="cannot make a run in") as caught:
        Run.create(tmp_path / "runs", pipeline_toml="")
    assert "\n" not in str(caught.value)


def test_a_run_is_opened_by_name_or_by_path(run: Run, tmp_path: Path) -> None:
    assert Run.open(tmp_path, "first").path == run.path
    assert Run.open(tmp_path / "elsewhere", run.path).path == run.path


@pytest.mark.parametrize("word", ["", "x" * 5000, "a\0b", "../first/.."])
def test_a_word_that_cannot_be_a_run_is_refused(run: Run, word: str) -> None:
    with pytest.raises(UsageError):
        Run.open(run.path, word)


def test_an_unknown_run_is_answered_with_the_nearest_name(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no run 'frist' in .*; did you mean 'first'"):
        Run.open(tmp_path, "frist")


# --- one writer -------------------------------------------------------------------------------------------

HOLD = """
run = Run(folder)
with run.lock():
    run.append(Start(time=time.time(), epoch=1, step=0, epochs=3, steps_per_epoch=10))
    say("held"); heard()
say("free"); heard()
"""


@pytest.mark.alone
def test_a_second_starter_is_refused_at_once_and_told_who_trains(children: Children, run: Run) -> None:
    child = children(HOLD, run.path)
    assert line_of(child) == "held"

    begun = time.monotonic()
    with pytest.raises(RunLocked, match=f"pid {child.pid} on host {socket.gethostname()} since 20"):
        run.lock().acquire()
    assert time.monotonic() - begun < 1
    assert run.status().state == "running"
    assert run.status().pid == child.pid

    tell(child)
    assert line_of(child) == "free"
    with run.lock():
        assert run.status().pid == os.getpid()


def test_the_lock_of_a_killed_process_is_free_and_its_run_crashed(children: Children, run: Run) -> None:
    child = children(HOLD, run.path)
    assert line_of(child) == "held"
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

    # Its parent has not collected it: to the system there still is a process of that number.
    assert run.status().state == "crashed"
    with run.lock():
        assert run.status().state == "running"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_worker_that_outlives_a_killed_process_does_not_hold_the_lock(children: Children, run: Run) -> None:
    script = """
lock = Run(folder).lock(); lock.acquire()
reader, writer = os.pipe()
if os.fork() == 0:
    say("worker"); heard(); os._exit(0)
heard()
"""
    child = children(script, run.path)
    assert line_of(child) == "worker"
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

    with run.lock():
        pass
    tell(child)


def test_of_two_processes_that_start_at_once_one_wins_each_time(children: Children, run: Run) -> None:
    script = """
from birdplane.runs import RunLocked
while heard():
    lock = Run(folder).lock()
    try: lock.acquire(); say("won")
    except RunLocked: say("lost")
    heard(); lock.release(); say("done")
"""
    pair = [children(script, run.path) for _ in range(2)]
    for _ in range(20):
        for word in ("start", "release"):
            for child in pair:
                tell(child, word)
            answers = sorted(line_of(child) for child in pair)
            assert answers == (["lost", "won"] if word == "start" else ["done", "done"])


def test_a_released_lock_leaves_no_holder_behind(run: Run) -> None:
    with run.lock():
        assert run.holder() is not None
    assert run.holder() is None


# --- writing events ---------------------------------------------------------------------------------------


def test_events_come_back_in_order(run: Run) -> None:
    told = [
        start(),
        progress(5),
        epoch(1),
        Alert(time=1.0, epoch=1, step=10, kind="x", message="\udc80 ü"),
        end(),
    ]
    write(run, *told)

    assert list(run.events()) == told
    assert list(run.events({Epoch, End})) == [told[2], told[4]]


def test_a_torn_last_line_is_not_read_and_gone_with_the_next_event(run: Run) -> None:
    write(run, start(), epoch(1))
    path = run.path / "events.jsonl"
    whole = path.read_bytes()
    for cut in range(len(whole) - 1, whole.index(b"\n"), -40):
        path.write_bytes(whole[:cut])
        assert list(run.events()) == [start()]
        write(run, epoch(1))
        assert path.read_bytes() == whole


def test_a_file_that_is_one_torn_line_begins_anew(run: Run) -> None:
    (run.path / "events.jsonl").write_bytes(b'{"event": "sta')
    write(run, start())

    assert list(run.events()) == [start()]


def test_a_broken_line_in_the_middle_is_passed_over_and_counted(run: Run) -> None:
    write(run, start())
    with (run.path / "events.jsonl").open("ab") as file:
        file.write(b'\x00\xff garbage\n{"event": "eclipse"}\n{"event": "end"}\n')
    write(run, epoch(1))

    reader, tail = run.events(), run.tail()
    assert list(reader) == tail.poll() == [start(), epoch(1)]
    assert reader.skipped == tail.skipped == 2


def test_a_process_killed_while_it_writes_leaves_whole_lines(children: Children, run: Run) -> None:
    script = """
run = Run(folder); run.append(Start(time=0.0, epoch=1, step=0, epochs=1, steps_per_epoch=1)); say("writing")
for step in range(10**9):
    run.append(Alert(time=0.0, epoch=1, step=step, kind="x", message="y" * (step % 3000)))
"""
    for _ in range(3):
        child = children(script, run.path)
        assert line_of(child) == "writing"
        tail = run.tail()
        while len(tail.poll()) < 20:
            pass
        child.kill()
        child.wait()
    write(run, end())

    reader = run.events()
    assert isinstance(list(reader)[-1], End)
    assert reader.skipped == 0


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on a file's size")
def test_a_write_that_finds_no_room_leaves_no_half_line(children: Children, run: Run) -> None:
    script = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
run = Run(folder)
try:
    for step in range(100): run.append(Alert(time=0.0, epoch=1, step=step, kind="x", message="y" * 100))
except Exception as error: say(type(error).__name__, error)
"""
    said = line_of(children(script, run.path))

    assert said.startswith("BirdplaneError cannot write")
    assert (run.path / "events.jsonl").read_bytes().endswith(b"}\n")
    assert len(list(run.events())) == 2000 // (
        (run.path / "events.jsonl").stat().st_size // len(list(run.events()))
    )


def test_threads_of_one_process_do_not_tear_each_others_lines(run: Run) -> None:
    def talk(number: int) -> None:
        for step in range(100):
            run.append(Alert(time=0.0, epoch=number, step=step, kind="x", message="y" * 5000))

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    reader = run.events()
    assert len(list(reader)) == 400
    assert reader.skipped == 0


# --- going back -------------------------------------------------------------------------------------------


def crashed_after_three_epochs(run: Run) -> list[Event]:
    saved = Checkpoint(time=1.0, epoch=1, step=10, path="checkpoints/00000010", best=True, seconds=0.1)
    told = [start(), progress(9), epoch(1), saved, progress(15), epoch(2), epoch(3), progress(33)]
    write(run, *told)
    return told


def test_rewinding_takes_out_what_was_told_of_later_steps(run: Run) -> None:
    told = crashed_after_three_epochs(run)
    run.rewind(10)
    write(run, start(10), epoch(2), epoch(3))

    assert list(run.events()) == [*told[:4], start(10), epoch(2), epoch(3)]
    assert not list(run.path.glob(".*.new"))


def test_rewinding_drops_torn_and_broken_lines_and_keeps_unknown_kinds(run: Run) -> None:
    path = run.path / "events.jsonl"
    write(run, start(), epoch(1))
    with path.open("ab") as file:
        file.write(b'garbage\n{"event": "eclipse", "totality": 1}\n{"event": "epo')
    run.rewind(10)

    lines = path.read_text().splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["start", "epoch", "eclipse"]


def test_rewinding_to_the_end_does_not_touch_the_file(run: Run) -> None:
    crashed_after_three_epochs(run)
    before = (run.path / "events.jsonl").stat()
    run.rewind(33)

    after = (run.path / "events.jsonl").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_rewinding_a_run_without_events_does_nothing(run: Run) -> None:
    run.rewind(0)
    assert not (run.path / "events.jsonl").exists()


def test_a_rewind_that_cannot_be_written_leaves_the_file_as_it_was(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = crashed_after_three_epochs(run)

    def broken(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(durable, "sync_file", broken)
    with pytest.raises(BirdplaneError, match=r"cannot rewrite .*input/output error"):
        run.rewind(10)
    assert list(run.events()) == told
    assert not list(run.path.glob(".*.new"))


def test_history_has_every_epoch_once_even_where_nothing_was_rewound(run: Run) -> None:
    history = run.history()
    crashed_after_three_epochs(run)
    assert len(history.poll()) == 8
    write(run, start(10), epoch(2), start(15), epoch(2), epoch(3))

    assert history.poll() == [start(10), start(15), epoch(2), epoch(3)]
    assert epochs_of(history.events) == [1, 2, 3]
    assert history.revision > 0
    assert run.history().poll() == history.events
    run.rewind(30)
    assert list(run.events()) == history.events


# --- following --------------------------------------------------------------------------------------------


def test_a_tail_gives_each_event_once(run: Run) -> None:
    tail = run.tail()
    assert tail.poll() == []
    write(run, start(), progress(5))
    assert tail.poll() == [start(), progress(5)]
    assert tail.poll() == []
    write(run, epoch(1))
    assert tail.poll() == [epoch(1)]
    assert tail.restarts == 0


def test_a_tail_waits_for_the_rest_of_a_line(run: Run) -> None:
    write(run, start(), epoch(1))
    path = run.path / "events.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    tail = run.tail()
    assert tail.poll() == [start()]
    assert tail.behind == 0
    with path.open("ab") as file:
        file.write(whole[-10:])
    assert tail.poll() == [epoch(1)]


def test_a_tail_reads_a_long_file_in_pieces(run: Run) -> None:
    told = [progress(step) for step in range(1, 200)]
    write(run, *told)
    tail, pieces = run.tail(), []
    while not pieces or tail.behind:
        pieces.append(tail.poll(limit=1000))

    assert [event for piece in pieces for event in piece] == told
    assert len(pieces) > 10


def test_a_tail_begins_anew_when_the_run_was_rewound(run: Run) -> None:
    told = crashed_after_three_epochs(run)
    tail, history = run.tail(), run.history()
    tail.poll()
    history.poll()
    run.rewind(10)
    write(run, start(10), *[progress(step) for step in range(11, 40)])

    assert tail.poll()[:5] == [*told[:4], start(10)]
    assert tail.restarts == 1
    history.poll()
    assert history.events == list(run.events())
    assert history.revision == 1


def test_a_tail_notices_other_content_under_the_same_file_number(run: Run) -> None:
    write(run, start(), epoch(1))
    tail = run.tail()
    tail.poll()
    path = run.path / "events.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"epoch": 1', b'"epoch": 7'))
    write(run, epoch(2))

    assert [event.epoch for event in tail.poll()] == [7, 7, 2]
    assert tail.restarts == 1


def test_a_tail_survives_the_file_going_away(run: Run) -> None:
    write(run, start())
    tail = run.tail()
    tail.poll()
    (run.path / "events.jsonl").unlink()
    assert tail.poll() == []
    write(run, start(10))
    assert tail.poll() == [start(10)]


# --- how it stands ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["done", "stopped", "failed"])
def test_a_run_that_ended_says_how_and_why(run: Run, status: str) -> None:
    write(run, start(), end(status, reason="because"))

    assert (run.status().state, run.status().reason) == (status, "because")


def test_a_paused_run_is_told_from_a_running_one(run: Run) -> None:
    with run.lock():
        run.append(start())
        run.append(Heartbeat(time=2.0, epoch=1, step=3, state="paused"))
        assert run.status().state == "paused"
        run.append(progress(4))
        assert run.status().state == "running"


def test_a_run_is_preparing_until_it_starts_and_says_with_what(run: Run) -> None:
    with run.lock():
        assert (run.status().state, run.status().live) == ("preparing", True)
        run.append(
            Heartbeat(time=1.0, epoch=1, step=0, state="preparing", what="downloading x, 5 MB of 9 MB")
        )
        assert run.status().state == "preparing"
        assert run.status().reason == "downloading x, 5 MB of 9 MB"
        assert [(line.state, line.reason) for line in list_runs(run.path.parent)] == [
            ("preparing", "downloading x, 5 MB of 9 MB")
        ]
        run.append(start())
        assert run.status().state == "running"


def test_a_run_taken_up_again_prepares_before_it_has_told_so(run: Run) -> None:
    write(run, start(), end("stopped"))
    with run.lock():
        assert run.status().state == "preparing"
        run.append(end("done", at=time.time()))
        assert run.status().state == "done"


def test_a_crash_is_told_with_the_signal_and_the_end_of_the_log(children: Children, run: Run) -> None:
    child = children(HOLD, run.path)
    assert line_of(child) == "held"
    run.log.write_text("10%\r50%\rhalfway\n\nRuntimeError: out of luck\n")
    child.send_signal(signal.SIGKILL)
    run.record_exit(child.pid, child.wait())

    status = run.status()
    assert status.state == "crashed"
    assert (
        status.reason
        == "killed by SIGKILL (perhaps for want of memory); last in its log: RuntimeError: out of luck"
    )
    assert run.log_tail() == ["halfway", "RuntimeError: out of luck"]


def test_a_fatal_error_is_found_above_the_end_of_the_log(run: Run) -> None:
    write(run, start())
    run.log.write_text("Fatal Python error: Segmentation fault\n\nCurrent thread:\n  File x\n")

    assert (
        run.status().reason == "the process is gone; last in its log: Fatal Python error: Segmentation fault"
    )


def test_a_process_that_died_before_it_began_is_a_crash(run: Run) -> None:
    run.record_exit(12345, 1)

    assert run.status().state == "crashed"
    assert "exit code 1" in run.status().reason


def test_a_copy_of_a_running_run_is_not_running(run: Run, tmp_path: Path) -> None:
    with run.lock():
        run.append(start())
        shutil.copytree(run.path, tmp_path / "copy")
        assert Run(tmp_path / "copy").status().state == "crashed"
        with Run(tmp_path / "copy").lock():
            pass


def test_a_run_moved_while_it_runs_still_runs(run: Run, tmp_path: Path) -> None:
    with run.lock():
        run.append(start())
        run.path.rename(tmp_path / "moved")
        assert Run(tmp_path / "moved").status().state == "running"


def test_a_process_number_given_to_another_process_is_not_the_holder(run: Run) -> None:
    with run.lock():
        record = json.loads((run.path / "process.json").read_text())
    (run.path / "process.json").write_text(json.dumps({**record, "started": "1"}))

    assert run.status().state == "crashed"


def test_of_a_run_on_another_host_only_its_silence_is_known(run: Run) -> None:
    write(run, start())
    with run.lock():
        record = json.loads((run.path / "process.json").read_text())
    (run.path / "process.json").write_text(json.dumps({**record, "host": "faraway"}))

    assert run.status().state == "running"
    later = run.status(now=lambda: time.time() + 3600)
    assert (later.state, later.reason[:16]) == ("unknown", "on host faraway,")


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"pid": "x"}', "\0", '{"pid": 1, "started": "1", "since": 0}']
)
def test_a_broken_process_file_is_no_holder(run: Run, content: str) -> None:
    (run.path / "process.json").write_text(content)
    write(run, start())

    assert run.status().state in ("crashed", "running", "unknown")


@pytest.mark.parametrize("started", [processes.process_started, processes._process_started_elsewhere])
def test_a_process_has_a_beginning_for_as_long_as_it_lives(
    children: Children, started: Callable[[int], str | None]
) -> None:
    child = children("heard()", "")
    before = started(child.pid)
    assert before is not None
    assert started(child.pid) == before
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert started(child.pid) is None
    child.wait()
    assert started(child.pid) is None


# --- asking -----------------------------------------------------------------------------------------------


def test_requests_reach_the_trainer_in_order_and_once(run: Run) -> None:
    requests = run.requests()
    assert requests.poll() == []
    run.request("pause")
    run.request("resume")
    assert requests.poll() == ["pause", "resume"]
    assert requests.poll() == []


def test_a_stale_stop_does_not_stop_a_resumed_run(run: Run) -> None:
    run.request("stop")
    with run.lock():
        run.request("pause")
        requests = run.requests()
        assert requests.poll() == ["pause"]


def test_what_is_no_request_is_passed_over_and_spoils_none(run: Run) -> None:
    requests = run.requests()
    with (run.path / "control.jsonl").open("ab") as file:
        file.write(b'{"request": "explode"}\n[1]\n{"request": []}\n\xff\n{"request": "st')
    run.request("stop")

    assert requests.poll() == ["stop"]


def test_an_unknown_request_is_refused(run: Run) -> None:
    with pytest.raises(ValueError, match="pause, resume, stop"):
        run.request("explode")  # type: ignore[arg-type]


# --- lists ------------------------------------------------------------------------------------------------


def test_a_summary_has_the_last_of_each(run: Run) -> None:
    write(run, start(), progress(5), epoch(1, 0.75), progress(15), epoch(2, 0.5), end())
    summary = run.summary()

    assert (summary.start, summary.epoch, summary.progress) == (start(), epoch(2, 0.5), progress(15))
    assert (summary.last, summary.best_accuracy) == (end(), 0.75)


def test_a_summary_leaves_out_what_is_void(run: Run) -> None:
    write(run, start(), epoch(1, 0.5), epoch(2, 0.9), start(10))

    assert (run.summary().epoch, run.summary().best_accuracy) == (epoch(1, 0.5), 0.5)


@pytest.mark.parametrize("best", [None, 0.875])
def test_a_summary_of_a_long_file_finds_what_is_far_from_its_end(run: Run, best: float | None) -> None:
    write(run, start(), epoch(1, 0.875), start(10, at=2.0), progress(11))
    path = run.path / "events.jsonl"
    *_, line = path.read_bytes().splitlines(keepends=True)
    with path.open("ab") as file:
        file.write(line * 15_000)
    write(run, epoch(2, 0.5, best))
    with path.open("ab") as file:
        file.write(line * 10_000 + line[:50])
    summary = run.summary()

    assert path.stat().st_size > 5_000_000
    assert (summary.first, summary.start, summary.epoch) == (start(), start(10, at=2.0), epoch(2, 0.5, best))
    assert (summary.progress, summary.best_accuracy) == (progress(11), 0.875)


def test_a_summary_is_the_same_wherever_the_blocks_fall(run: Run) -> None:
    for length in range(16_300, 16_420, 7):
        (run.path / "events.jsonl").unlink(missing_ok=True)
        run.close()
        message = Alert(time=0.0, epoch=1, step=1, kind="x", message="y" * length)
        write(run, start(), epoch(1), message, epoch(2), message, end())
        summary = run.summary()
        assert (summary.first, summary.start, summary.epoch) == (start(), start(), epoch(2))


def test_the_list_tells_of_every_run_the_latest_first(tmp_path: Path) -> None:
    write(Run.create(tmp_path, "a", pipeline_toml=""), start(), epoch(1, 0.75), epoch(2, 0.5), end())
    write(Run.create(tmp_path, "b", pipeline_toml=""), start(), progress(5))
    Run.create(tmp_path, "c", pipeline_toml="")
    (tmp_path / "notes").mkdir()
    (tmp_path / "file").write_text("")
    runs = {run.name: run for run in list_runs(tmp_path)}

    assert list(runs) == ["c", "a", "b"]
    assert (runs["a"].state, runs["b"].state, runs["c"].state) == ("done", "crashed", "new")
    assert (runs["a"].epoch, runs["a"].epochs, runs["a"].step) == (2, 10, 20)
    assert (runs["a"].validation_accuracy, runs["a"].best_accuracy) == (0.5, 0.75)
    assert (runs["a"].train_loss, runs["b"].train_loss) == (0.5, 0.5)
    assert (runs["a"].started, runs["a"].updated, runs["a"].seconds) == (1.0, 30.0, 29.0)


def test_a_broken_run_is_listed_as_broken_and_hides_no_other(tmp_path: Path) -> None:
    for name in ("sound", "headless", "mute"):
        write(Run.create(tmp_path, name, pipeline_toml=""), start())
    (tmp_path / "headless" / "pipeline.toml").unlink()
    (tmp_path / "mute" / "events.jsonl").unlink()
    (tmp_path / "mute" / "events.jsonl").mkdir()
    states = {run.name: (run.state, run.reason) for run in list_runs(tmp_path)}

    assert states["sound"][0] == "crashed"
    assert states["headless"] == ("broken", "pipeline.toml is missing")
    assert states["mute"] == ("broken", "Is a directory")


def test_a_folder_that_is_not_there_has_no_runs(tmp_path: Path) -> None:
    assert list_runs(tmp_path / "nowhere") == []


def test_a_list_that_is_shown_again_reads_only_what_changed(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(run, start(), epoch(1), end())
    listing = Listing(tmp_path)
    before = listing.poll()
    with monkeypatch.context() as patch:
        patch.setattr("birdplane.runs.listing.summarise", lambda path: pytest.fail(f"read {path}"))
        assert listing.poll() == before
    write(run, start(10), epoch(2), end())
    assert listing.poll()[0].epoch == 2
