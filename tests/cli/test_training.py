"""`birdplane train`, `resume` and `watch`: what is printed, what is left on the disk, and how signals end it."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from birdplane.checkpoint import newest
from birdplane.events import Checkpoint, End, Epoch, Event, Heartbeat, Progress, Start, from_json
from birdplane.pipeline import Pipeline
from birdplane.runs import Run

Birdplane = Callable[..., Any]
Started = Callable[..., subprocess.Popen[str]]
ENDLESS = ("--set", "training.epochs=1000000")
PATIENCE = 60.0


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the runs, also for commands that are not told of it."""
    folder = tmp_path / "runs"
    monkeypatch.setenv("BIRDPLANE_RUNS", str(folder))
    return folder


@pytest.fixture
def started(runs: Path) -> Iterator[Started]:
    """Start `birdplane ARGUMENTS...` as a process of its own; none outlives the test."""
    processes: list[subprocess.Popen[str]] = []

    def start(*arguments: str | Path, **options: Any) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "birdplane", *map(str, arguments)]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        processes.append(subprocess.Popen(command, text=True, start_new_session=True, **streams))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def until(happens: Callable[[], Any], process: subprocess.Popen[str] | None = None) -> None:
    """Wait until something is so, but not for ever, and not for a process that has left."""
    deadline = time.monotonic() + PATIENCE
    while not happens():
        assert time.monotonic() < deadline, "it never happened"
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.01)


def steps(run: Run) -> int:
    return max((event.step for event in run.events([Progress])), default=0)


def trains(run: Run, beyond: int = 0) -> Callable[[], bool]:
    return lambda: steps(run) > beyond


def left(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out, err


# What is printed.


def test_training_prints_plain_lines_where_there_is_no_terminal(
    birdplane: Birdplane, tiny_file: Path, runs: Path
) -> None:
    ran = birdplane("train", tiny_file)
    assert (ran.code, ran.err) == (0, "")
    assert "\x1b" not in ran.out
    assert "\r" not in ran.out
    lines = ran.out.splitlines()
    assert lines[0].startswith("tiny-1 · 1,562 parameters · 64 + 32 pictures · airplane, bird · cpu float32")
    assert lines[1].startswith("transforms.1 measured mean (0.")
    assert lines[2].split() == [
        "epoch",
        "train",
        "loss",
        "accuracy",
        "validation",
        "loss",
        "accuracy",
        "time",
    ]
    assert [line.split()[0] for line in lines[3:6]] == ["1", "2", "3"]
    assert re.fullmatch(r"done after \d+\.\d s", lines[6])
    assert re.fullmatch(r"best validation accuracy \d+\.\d\d % at epoch [123]", lines[7])
    assert lines[8] == f"the run is in {runs / 'tiny-1'}; next:"


def test_the_commands_that_are_suggested_exist_and_name_the_run(
    birdplane: Birdplane, tiny_file: Path, tmp_path: Path
) -> None:
    ran = birdplane("train", tiny_file, "--runs", tmp_path / "mine", "--run", "first")
    suggested = [line.split() for line in ran.out.splitlines() if line.startswith("  birdplane")]
    assert all(birdplane(words[1], "--help").code == 0 for words in suggested)
    assert suggested[0][:5] == ["birdplane", "evaluate", "first", "--runs", str(tmp_path / "mine")]


def after_preparation(events: Iterable[Event]) -> list[Event]:
    """Leave out how far the preparation was: that is in the record alone, for who reads it meanwhile."""
    return [event for event in events if not (isinstance(event, Heartbeat) and event.state == "preparing")]


def test_json_lines_are_the_events_of_the_run(birdplane: Birdplane, tiny_file: Path, runs: Path) -> None:
    ran = birdplane("train", tiny_file, "--json", "--run", "r")
    assert (ran.code, ran.err) == (0, "")
    printed = [from_json(line) for line in ran.out.splitlines()]
    assert after_preparation(printed) == after_preparation(Run(runs / "r").events())
    assert isinstance(printed[-1], End)


def test_the_run_holds_what_was_asked_for_complete(birdplane: Birdplane, tiny_file: Path, runs: Path) -> None:
    birdplane("train", tiny_file, "--set", "seed=7", "--set", "optimizer.lr=0.05", "--run", "r")
    text = (runs / "r" / "pipeline.toml").read_text()
    assert "seed = 7\n" in text
    assert "lr = 0.05\n" in text
    assert "momentum = 0.0\n" in text
    again = birdplane("train", runs / "r" / "pipeline.toml", "--run", "again", "--json")
    assert again.code == 0
    assert (runs / "again" / "pipeline.toml").read_text() == text
    first, second = (
        [event.train_loss for event in Run(runs / name).events([Epoch]) if isinstance(event, Epoch)]
        for name in ("r", "again")
    )
    assert first == second


def test_runs_are_numbered_after_their_pipeline(birdplane: Birdplane, tiny_file: Path, runs: Path) -> None:
    for _ in range(2):
        assert birdplane("train", tiny_file, "--set", "training.epochs=1").code == 0
    assert sorted(path.name for path in runs.iterdir()) == ["tiny-1", "tiny-2"]


# Bad input: one line, and nothing half-written.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "model.hidden=[0]"], "tiny.toml: model.hidden[0]: should be greater than or equal to 1, not 0"),
        (["--set", "model.use=fuly-connected"], "'fuly-connected'; did you mean 'fully-connected'?"),
        (["--set", "training.epochs=many"], 'tiny.toml: training.epochs: should be an integer, not "many"'),
        (["--set", "output.use=softmax"], "wants logits, but is fed probabilities (mend: --set output.use=auto)"),
        (["--set", "epochs=3"], "--set epochs: no such section; did you mean 'training.epochs'?"),
        (["--run", "../outside"], "'../outside' cannot name a run: "),
        (["--run", ""], "'' cannot name a run: "),
    ],
)  # fmt: skip
def test_a_wrong_pipeline_is_one_line_exit_code_2_and_no_folder(
    birdplane: Birdplane, tiny_file: Path, runs: Path, arguments: list[str], message: str
) -> None:
    ran = birdplane("train", tiny_file, *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("error: ")
    assert ran.err.count("\n") == 1
    assert message in ran.err
    assert not runs.exists() or list(runs.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("seed = ", "broken.toml: not valid TOML: "),
        ("", "broken.toml: dataset: is missing: "),
        ("\udcff", "UTF-8"),
    ],
)
def test_a_file_that_is_no_pipeline_is_one_line(
    birdplane: Birdplane, tmp_path: Path, runs: Path, content: str, message: str
) -> None:
    (tmp_path / "broken.toml").write_bytes(content.encode("utf-8", "surrogateescape"))
    ran = birdplane("train", tmp_path / "broken.toml")
    assert ran.code == 2
    assert message in ran.err
    assert ran.err.count("\n") == 1
    assert not runs.exists()


@pytest.mark.parametrize(
    ("assignment", "code", "message"),
    [
        ("training.device=cuda:77", 2, "tiny.toml: training.device: 'cuda:77' is not there (here: auto, "),
        ("transforms=[]", 2, "tiny.toml: transforms: uint8 pictures reach the model, which needs floats"),
        ("transforms.1.mean=[0.5]", 2, "transforms.1: normalize: give both mean and std"),
        ("dataset={use='image-folder', path='nowhere', size=8}", None, "nowhere"),
        ("optimizer.nesterov=true", None, "nesterov looks ahead along the momentum, which is 0"),
    ],
)
def test_what_turns_out_not_to_fit_leaves_no_folder_either(
    birdplane: Birdplane, tiny_file: Path, runs: Path, assignment: str, code: int | None, message: str
) -> None:
    ran = birdplane("train", tiny_file, "--set", assignment)
    assert ran.code in ((1, 2) if code is None else (code,))
    (line,) = ran.err.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert not runs.exists() or list(runs.iterdir()) == []


def test_a_name_that_is_taken_is_refused_and_the_run_that_has_it_stays(
    birdplane: Birdplane, tiny_file: Path, runs: Path
) -> None:
    birdplane("train", tiny_file, "--run", "r")
    before = (runs / "r" / "events.jsonl").read_bytes()
    ran = birdplane("train", tiny_file, "--run", "r")
    assert ran.code == 2
    assert f"the run 'r' exists already in {str(runs)!r}; go on with `birdplane resume r`" in ran.err
    assert (runs / "r" / "events.jsonl").read_bytes() == before
    assert [path.name for path in runs.iterdir()] == ["r"]


def test_a_loss_that_is_not_finite_fails_with_code_1_and_keeps_the_run(
    birdplane: Birdplane, tiny_file: Path, runs: Path
) -> None:
    ran = birdplane(
        "train", tiny_file, "--set", "optimizer.lr=1e38", "--set", "model.activation=relu", "--run", "r"
    )
    assert ran.code == 1
    assert re.search(
        r"error: the loss is (nan|inf) at step \d+ \(epoch \d\); the weights are those before", ran.err
    )
    assert Run(runs / "r").status().state == "failed"


def test_debug_adds_the_traceback(birdplane: Birdplane, tiny_file: Path, runs: Path) -> None:
    ran = birdplane("--debug", "train", tiny_file, "--set", "model.hidden=3")
    assert ran.code == 2
    assert "Traceback (most recent call last)" in ran.err
    assert ran.err.splitlines()[-1].startswith("error: ")


# Going on, and watching.


def test_a_run_that_is_done_is_not_resumed(birdplane: Birdplane, tiny_file: Path, runs: Path) -> None:
    birdplane("train", tiny_file, "--run", "r")
    ran = birdplane("resume", "r")
    assert ran.code == 2
    assert "run 'r' is done; to train for longer, start a new run with more training.epochs" in ran.err


def test_a_run_that_is_not_there_is_answered_with_the_nearest(
    birdplane: Birdplane, tiny_file: Path, runs: Path
) -> None:
    birdplane("train", tiny_file, "--run", "first")
    for command in ("resume", "watch"):
        ran = birdplane(command, "frist")
        assert (ran.code, ran.err.count("\n")) == (2, 1)
        assert "did you mean 'first'?" in ran.err


def test_watching_a_finished_run_shows_what_training_it_showed(
    birdplane: Birdplane, tiny_file: Path, runs: Path
) -> None:
    trained = birdplane("train", tiny_file, "--run", "r", "--json")
    watched = birdplane("watch", "r", "--json")
    printed = [[from_json(line) for line in ran.out.splitlines()] for ran in (watched, trained)]
    assert after_preparation(printed[0]) == after_preparation(printed[1])
    table = birdplane("watch", "r")
    assert table.code == 0
    assert [line.split()[0] for line in table.out.splitlines()[3:6]] == ["1", "2", "3"]


def test_a_run_that_crashed_is_shown_and_said_to_have_crashed(
    birdplane: Birdplane, tiny_file: Path, runs: Path
) -> None:
    birdplane("train", tiny_file, "--run", "r")
    events = runs / "r" / "events.jsonl"
    whole = events.read_bytes().splitlines(keepends=True)
    events.write_bytes(b"".join(whole[:-1]))
    ran = birdplane("watch", "r")
    assert ran.code == 1
    assert len(ran.out.splitlines()) == 6
    assert ran.err.startswith("error: run 'r' is crashed: the process ")


def test_a_run_that_nobody_has_trained_yet_is_said_to_be_new(
    birdplane: Birdplane, tiny: Callable[..., Pipeline], runs: Path
) -> None:
    Run.create(runs, "r", pipeline_toml=tiny().to_toml())
    ran = birdplane("watch", "r")
    assert (ran.code, ran.err) == (1, "error: run 'r' is new: `birdplane resume r` trains it\n")


# Signals, to real processes.


def test_an_interrupt_saves_leaves_with_130_and_the_run_goes_on_from_there(
    birdplane: Birdplane, started: Started, tiny_file: Path, runs: Path
) -> None:
    run = Run(runs / "r")
    process = started("train", tiny_file, "--run", "r", "--set", "training.epochs=2000000", "--runs", runs)
    until(trains(run), process)
    assert run.status().state == "running"
    refused = birdplane("resume", "r")  # one writer
    assert refused.code == 1
    assert f"the run 'r' is being trained by pid {process.pid}" in refused.err
    process.send_signal(signal.SIGINT)
    code, out, err = left(process)
    assert (code, err) == (130, "")
    assert out.splitlines()[-1] == f"go on with: birdplane resume r --runs {runs}"
    assert run.status().state == "stopped"
    *_, saved, end = run.events([Checkpoint, End])
    assert saved.step == end.step
    found, damaged = newest(run.checkpoints)
    assert found is not None
    assert (found.step, damaged) == (end.step, [])
    (runs / "r" / "pipeline.toml").write_text(
        re.sub(r"epochs = \d+", f"epochs = {end.epoch}", (runs / "r" / "pipeline.toml").read_text())
    )
    again = birdplane("resume", "r", "--json")
    assert again.code == 0
    first = next(event for line in again.out.splitlines() if isinstance(event := from_json(line), Start))
    assert first.step == end.step
    assert [event.epoch for event in run.events([Epoch])] == list(range(1, end.epoch + 1))


def test_a_hang_up_is_ignored_and_a_termination_saves_and_leaves_with_143(
    started: Started, tiny_file: Path, runs: Path
) -> None:
    run = Run(runs / "r")
    process = started("train", tiny_file, "--run", "r", *ENDLESS, "--json", stdout=subprocess.DEVNULL)
    until(trains(run), process)
    process.send_signal(signal.SIGHUP)
    until(trains(run, beyond=steps(run) + 10), process)
    process.send_signal(signal.SIGTERM)
    assert left(process)[0] == 143
    assert run.status().state == "stopped"
    assert newest(run.checkpoints)[0] is not None


#: Pictures that take for ever: whatever is raised in their midst is passed on, or is not.
SLUGGISH = """
    import time
    from birdplane import Dataset, hookimpl

    class Sluggish:
        def __len__(self):
            return 100
        def __getitem__(self, index):
            print("sleeping", flush=True)
            time.sleep(1000)

    class Stubborn(Sluggish):
        def __getitem__(self, index):
            while True:
                try:
                    super().__getitem__(index)
                except BaseException:
                    pass

    @hookimpl
    def birdplane_components():
        return [Dataset(name="sluggish", target=Sluggish), Dataset(name="stubborn", target=Stubborn)]
    """


@pytest.fixture
def preparing(
    started: Started, tiny_file: Path, tmp_path: Path, write_plugin: Callable[..., Path]
) -> Callable[[str], subprocess.Popen[str]]:
    """Start a training that is busy with its first picture, of a dataset named."""

    def start(dataset: str) -> subprocess.Popen[str]:
        site = write_plugin(tmp_path / "site", "slow", SLUGGISH)
        environment = {**os.environ, "PYTHONPATH": str(site)}
        use = f"dataset.use={dataset}"
        process = started("train", tiny_file, "--set", use, "--run", "r", env=environment)
        assert process.stdout is not None
        assert process.stdout.readline() == "sleeping\n"
        return process

    return start


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_before_the_first_step_one_signal_is_enough_and_leaves_nothing_behind(
    preparing: Callable[[str], subprocess.Popen[str]], runs: Path, number: signal.Signals
) -> None:
    process = preparing("sluggish")
    process.send_signal(number)
    code, out, err = left(process)
    assert (code, out, err) == (
        128 + number,
        "stopped after 0.0 s (asked to stop before the first step)\n",
        "",
    )
    assert list(runs.iterdir()) == []


def test_a_second_interrupt_leaves_within_a_second_whatever_goes_on(
    preparing: Callable[[str], subprocess.Popen[str]],
) -> None:
    process = preparing("stubborn")
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None
    assert process.stdout.readline() == "sleeping\n"  # the first has come to nothing
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 130
    assert time.monotonic() - began < 1.0


def test_an_interrupt_while_torch_is_imported_leaves_with_130_and_nothing_behind(
    started: Started, tiny_file: Path, runs: Path
) -> None:
    process = started("train", tiny_file, "--run", "r")
    mapped = Path(f"/proc/{process.pid}/maps")
    if not mapped.exists():
        pytest.skip("this system does not tell which libraries a process has loaded")
    until(lambda: "libtorch" in mapped.read_text(), process)
    process.send_signal(signal.SIGINT)
    code, _, err = left(process)
    assert code == 130
    assert "Traceback" not in err
    assert not (runs / "r").exists() or Run(runs / "r").status().state == "stopped"


def test_watching_follows_a_run_to_its_end_and_an_interrupt_of_it_disturbs_nothing(
    started: Started, tiny_file: Path, runs: Path
) -> None:
    run = Run(runs / "r")
    process = started("train", tiny_file, "--run", "r", *ENDLESS, stdout=subprocess.DEVNULL)
    until(trains(run), process)
    interrupted = started("watch", "r", "--json")
    following = started("watch", "r", "--json")
    for watching in (interrupted, following):
        assert watching.stdout is not None
        assert json.loads(watching.stdout.readline())["event"] == "heartbeat"
    interrupted.send_signal(signal.SIGINT)
    assert left(interrupted)[0] == 0
    until(trains(run, beyond=steps(run)), process)
    run.request("stop")
    assert left(process)[0] == 0
    code, out, _ = left(following)
    assert code == 0
    assert json.loads(out.splitlines()[-1])["status"] == "stopped"


# A real terminal.


class Terminal:
    """A process on a pseudo-terminal, and all that it has written to it."""

    def __init__(self, started: Started, *arguments: str | Path) -> None:
        self._master, slave = pty.openpty()
        environment = {
            **os.environ,
            "TERM": "xterm",
            "COLUMNS": "100",
            "LINES": "30",
            "PYTHONIOENCODING": "utf-8",
        }
        self.process = started(*arguments, stdin=slave, stdout=slave, stderr=slave, env=environment)
        os.close(slave)
        self.written = ""

    def read_until(self, done: Callable[[str], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not done(self.written):
            assert time.monotonic() < deadline, self.written
            if select.select([self._master], [], [], 0.1)[0]:
                try:
                    self.written += os.read(self._master, 65536).decode("utf-8", "replace")
                except OSError:  # the process has left and so has its end
                    assert done(self.written), self.written
                    return

    def close(self) -> None:
        os.close(self._master)


def screen(written: str) -> list[str]:
    """What is to be seen after the writing: carriage return, line feed and erase-to-end are understood."""
    lines, column = [""], 0
    for part in re.findall(r"\x1b\[K|\r|\n|[^\x1b\r\n]+|\x1b", written):
        if part == "\r":
            column = 0
        elif part == "\n":
            lines.append("")
        elif part == "\x1b[K":
            lines[-1] = lines[-1][:column]
        else:
            lines[-1] = lines[-1][:column].ljust(column) + part + lines[-1][column + len(part) :]
            column += len(part)
    return [line.rstrip() for line in lines]


def test_on_a_terminal_a_line_moves_and_leaves_no_trace(
    started: Started, tiny_file: Path, runs: Path
) -> None:
    terminal = Terminal(
        started, "train", tiny_file, "--set", "training.epochs=600", "--set", "dataset.train=640"
    )
    terminal.read_until(lambda written: "birdplane list" in written.rpartition("done after")[2])
    assert "starting PyTorch" in terminal.written
    assert terminal.written.count("pictures/s") >= 3
    assert "loss" in terminal.written
    seen = screen(terminal.written)
    text = "\n".join(seen)
    assert "starting PyTorch" not in text
    assert "pictures/s" not in text
    assert "validating" not in text
    assert "preparing" not in text
    numbers = [words[0] for line in seen if (words := line.split()) and words[0].isdigit()]
    assert numbers == [str(number) for number in range(1, 601)]
    assert any(line.startswith("done after ") for line in seen)
    assert terminal.process.wait(PATIENCE) == 0
    terminal.close()


def test_a_closed_terminal_does_not_end_training(started: Started, tiny_file: Path, runs: Path) -> None:
    terminal = Terminal(started, "train", tiny_file, "--run", "r", *ENDLESS)
    terminal.read_until(lambda written: "pictures/s" in written)
    terminal.close()
    run = Run(runs / "r")
    until(trains(run, beyond=steps(run) + 20), terminal.process)
    run.request("stop")
    assert terminal.process.wait(PATIENCE) == 0
    assert run.status().state == "stopped"
