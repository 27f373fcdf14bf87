"""What a system does to a training: each is one line that says what, where and what next, and the run is intact."""

from __future__ import annotations

import errno
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from birdplane import checkpoint, failures
from birdplane.checkpoint.manifest import sealed
from birdplane.clock import Clock
from birdplane.events import End, Epoch, Event, Start
from birdplane.pipeline import Pipeline
from birdplane.runs import Run, list_runs
from birdplane.training import resume, train
from birdplane.training.memory import largest_batch
from birdplane.workers import decoded_by_workers

Tiny = Callable[..., Pipeline]
Mount = Callable[[str, str], Path]

PATIENCE = 60.0
#: The end of a script that has changed something of its process: `birdplane` with the rest of the arguments.
COMMAND = """
import sys
from birdplane.cli import main
sys.argv = ["birdplane", *sys.argv[2:]]
main()
"""
#: Pictures that are streamed: just more than the 1 MiB that may be kept.
STREAMED = (
    "dataset.train=360", "dataset.size=32", "training.memory_limit=1", "training.batch_size=4",
    "training.workers=2", "training.checkpoint_steps=20", "training.epochs=2", "optimizer.momentum=0.9",
)  # fmt: skip


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Mount a file system in memory at a name, with options."""
    mounted: list[Path] = []

    def make(name: str, options: str) -> Path:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        if not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("mounting is not permitted here")
        mounted.append(folder)
        return folder

    yield make
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def pairs(*assignments: str) -> list[str]:
    return [word for assignment in assignments for word in ("--set", assignment)]


def told(left: Any) -> str:
    """The one line on stderr of a command that failed."""
    assert left.code == 1, left.out
    assert "Traceback" not in left.out
    (line,) = [line for line in left.out.splitlines() if line.startswith("error: ")]
    return str(line.removeprefix("error: "))


def until(happens: Callable[[], Any], process: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while not happens():
        assert time.monotonic() < deadline, "it never happened"
        assert not process.gone, process.wait().out
        time.sleep(0.005)


def newest(run: Run) -> checkpoint.Checkpoint:
    """The newest checkpoint of a run of which all are whole."""
    found, damaged = checkpoint.newest(run.checkpoints)
    assert damaged == []
    assert found is not None
    return found


def assert_same_end(run: Run, other: Run) -> None:
    left, right = newest(run), newest(other)
    assert left.step == right.step
    assert left.tensors.keys() == right.tensors.keys()
    for group, tensors in left.tensors.items():
        assert all(torch.equal(tensor, right.tensors[group][name]) for name, tensor in tensors.items())
    assert left.state["optimizer"] == right.state["optimizer"]
    epochs = [event.epoch for event in run.events([Epoch])]
    assert epochs == list(range(1, len(epochs) + 1))


def trained(pipeline: Pipeline, folder: Path, name: str = "whole") -> Run:
    """The run that nothing happened to."""
    run = Run.create(folder, name, pipeline_toml=pipeline.to_toml())
    for _ in train(pipeline, run):
        pass
    return run


def shortened(run: Run) -> int:
    """Let a stopped run end with the epoch after the next; return which one that is."""
    path = run.path / "pipeline.toml"
    epochs = newest(run).state["position"]["epoch"] + 2
    path.write_text(re.sub(r"epochs = \d+", f"epochs = {epochs}", path.read_text()))
    return int(epochs)


# The disk.


def test_a_disk_that_fills_up_is_told_and_with_room_the_run_ends_as_if_it_had_not(
    forge: Any, mount: Mount, tiny: Tiny, tiny_file: Path, runs: Path
) -> None:
    disk = mount("disk", "size=128k")
    settings = ("training.epochs=40", "optimizer.momentum=0.9")
    often = ("training.checkpoint_steps=1",)
    line = told(forge.run("train", tiny_file, "--run", "r", "--runs", disk, *pairs(*settings, *often)))
    run = Run(disk / "r")
    saved = newest(run).step
    assert "the disk is full; make room" in line
    assert line.endswith(f"; `birdplane resume r` then goes on from step {saved}")
    status = run.status()
    assert (status.state, status.reason) == ("failed", line)
    remount(disk, "size=4m")
    left = forge.run("resume", "r", "--runs", disk)
    assert left.code == 0, left.out
    assert f"step {saved}" in left.out
    assert_same_end(run, trained(tiny(*settings), runs))


@pytest.mark.parametrize(
    ("where", "code"),
    [
        ("events.jsonl", errno.ENOSPC),
        ("events.jsonl", errno.EDQUOT),
        pytest.param("events.jsonl", errno.EIO, marks=pytest.mark.long),
        pytest.param("events.jsonl", errno.EROFS, marks=pytest.mark.long),
        pytest.param("/checkpoints/", errno.ENOSPC, marks=pytest.mark.long),
        pytest.param("/checkpoints/", errno.EDQUOT, marks=pytest.mark.long),
        ("/checkpoints/", errno.EIO),
        ("/checkpoints/", errno.EROFS),
    ],
)
def test_what_the_disk_answers_is_told_in_words_and_the_checkpoint_before_it_is_whole(
    forge: Any, fault: Any, tiny_file: Path, runs: Path, where: str, code: int
) -> None:
    words = {
        errno.ENOSPC: "the disk is full; make room",
        errno.EDQUOT: "your disk quota is used up; make room",
        errno.EIO: "the disk reports an input/output error",
        errno.EROFS: "the file system is read-only",
    }
    settings = pairs("training.epochs=300", "training.checkpoint_steps=3")
    # From some call on all fail, as those of a disk do that is full or gone.
    broken = fault(where, -40, code)
    line = told(forge.run("train", tiny_file, "--run", "r", "--runs", runs, *settings, fault=broken))
    run = Run(runs / "r")
    assert words[code] in line
    assert str(runs / "r" / where.strip("/")) in line
    assert line.endswith(f"; `birdplane resume r` then goes on from step {newest(run).step}")
    status = run.status()
    if where == "events.jsonl":  # nothing can be written into it any more, an end neither
        assert status.state == "crashed"
        assert "it could not write any more" in status.reason
    else:
        assert (status.state, status.reason) == ("failed", line)


def test_a_limit_on_the_size_of_files_is_told(forge: Any, tiny_file: Path, runs: Path) -> None:
    script = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n" + COMMAND
    settings = pairs("training.epochs=300", "training.checkpoint_steps=10")
    line = told(forge.run("-c", script, "train", tiny_file, "--run", "r", "--runs", runs, *settings))
    assert "a file may not be that large here (ulimit -f" in line
    assert newest(Run(runs / "r")).step > 0


def test_only_a_run_that_is_kept_is_said_to_go_on(
    forge: Any, fault: Any, tiny_file: Path, runs: Path
) -> None:
    """Whichever line of its record is the first for which there is no room."""
    kept = []
    for nth in range(1, 9):
        full = fault("write " + str(runs / "r" / "events.jsonl"), -nth, errno.ENOSPC)
        line = told(forge.run("train", tiny_file, "--run", "r", "--runs", runs, fault=full))
        words = f"cannot write '{runs / 'r' / 'events.jsonl'}': the disk is full; make room"
        kept.append((runs / "r").exists())
        assert line.endswith(words + "; `birdplane resume r` then goes on from its beginning" * kept[-1])
        shutil.rmtree(runs / "r", ignore_errors=True)
    assert kept == sorted(kept)
    assert set(kept) == {False, True}


def test_a_folder_that_is_read_only_is_told_and_what_is_in_it_is_shown(
    forge: Any, mount: Mount, tiny: Tiny, tiny_file: Path
) -> None:
    disk = mount("disk", "size=8m")
    run = trained(tiny(), disk, "r")
    (run.path / "events.jsonl").write_bytes(b"".join((run.path / "events.jsonl").open("rb").readlines()[:-1]))
    remount(disk, "ro")
    line = told(forge.run("train", tiny_file, "--runs", disk))
    assert line == f"cannot make a run in {str(disk)!r}: the file system is read-only"
    line = told(forge.run("resume", "r", "--runs", disk))
    assert line == f"cannot lock {str(run.path)!r}: the file system is read-only"
    assert forge.run("runs", "--runs", disk).code == 0
    assert forge.run("evaluate", "r", "--runs", disk).code == 0


# Homes and places for what is temporary.


@pytest.mark.parametrize(
    "home", [None, *(pytest.param(home, marks=pytest.mark.long) for home in ("", "/proc/nothing"))]
)
def test_training_needs_no_home_and_no_folder_for_temporary_files(
    forge: Any, tiny_file: Path, runs: Path, home: str | None
) -> None:
    script = "import os\nos.environ.pop('HOME')\n" if home is None else ""
    environment = {"TMPDIR": "/nowhere", **({} if home is None else {"HOME": home})}
    settings = pairs(*STREAMED, "training.epochs=1")
    left = forge.run(
        "-c", script + COMMAND, "train", tiny_file, "--run", "r", "--runs", runs, *settings, **environment
    )
    assert left.code == 0, left.out
    assert Run(runs / "r").status().state == "done"


def test_a_home_that_cannot_be_written_is_told_where_it_is_needed(
    forge: Any, mount: Mount, runs: Path
) -> None:
    home = mount("home", "ro,size=1m")
    line = told(forge.run("train", "book", "--runs", runs, HOME=str(home), XDG_CACHE_HOME=""))
    assert str(home) in line
    assert line.endswith("set BIRDPLANE_CACHE to a folder you may write")


# Memory.

GREEDY = """
import torch
from torch import nn
from birdplane.registry import catalog
class Greedy(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(192, 2)
    def forward(self, images):
        if self.training and len(images) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return self.linear(images.flatten(1))
catalog()["model"].register("greedy", Greedy)
"""


def test_a_gpu_out_of_memory_is_told_with_a_batch_size_that_was_tried(
    forge: Any, tiny_file: Path, runs: Path
) -> None:
    settings = pairs("model={use='greedy'}")
    command = ("-c", GREEDY + COMMAND, "train", tiny_file, "--runs", runs, *settings)
    line = told(forge.run(*command, "--run", "r"))
    assert (
        line == "out of memory at step 1: there is enough for batches of 4: try --set training.batch_size=4"
    )
    assert Run(runs / "r").status().reason == line
    left = forge.run(*command, "--run", "again", *pairs("training.batch_size=4"))
    assert left.code == 0, left.out


LIMITED = """
import resource
with open("/proc/self/statm") as file:
    size = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + 250 * 2**20, -1))
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_AS"), reason="memory cannot be limited here")
def test_a_processor_out_of_memory_is_told_with_a_batch_size_that_was_tried(
    forge: Any, tiny_file: Path, runs: Path
) -> None:
    settings = pairs(
        "dataset.train=4096", "model.hidden=[4096]", "training.batch_size=4096", "training.epochs=1"
    )
    command = ("-c", LIMITED + COMMAND, "train", tiny_file, "--runs", runs, *settings)
    line = told(forge.run(*command, "--run", "r"))
    found = re.fullmatch(
        r"out of memory at step 1: there is enough for batches of (\d+): try --set training\.batch_size=\1",
        line,
    )
    assert found is not None, line
    assert Run(runs / "r").status().reason == line
    left = forge.run(*command, "--run", "again", *pairs(f"training.batch_size={found[1]}"))
    assert left.code == 0, left.out


@pytest.mark.skipif(sys.platform != "linux", reason="memory cannot be limited here")
def test_too_little_memory_for_pytorch_itself_is_told_and_leaves_nothing_behind(
    tiny_file: Path, runs: Path
) -> None:
    command = [sys.executable, "-m", "birdplane", "train", str(tiny_file), "--runs", str(runs)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (800 << 20, 800 << 20)),
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"error: out of memory while lib\S+ is loaded: end other programs, .*\n", done.stderr)
    assert list(runs.iterdir()) == []


def test_too_little_memory_to_evaluate_is_told(forge: Any, tiny: Tiny, runs: Path) -> None:
    run = trained(tiny("model.hidden=[30000, 3000]", "training.epochs=1"), runs)
    left = forge.run("-c", LIMITED.replace("250", "100") + COMMAND, "evaluate", run.path)
    assert told(left).startswith("out of memory: end other programs, or try a smaller model")


def test_weights_are_not_touched_by_trying_batch_sizes(tiny: Tiny) -> None:
    trainer = train(
        tiny("model.dropout=0.5", "optimizer.use=adamw", "training.average=0.9", "training.epochs=1")
    )
    list(trainer)
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    average = {name: tensor.clone() for name, tensor in trainer._optimization.weights.items()}
    assert largest_batch(trainer.assembly, trainer._optimization, trainer._parts.splits.train, 16) == 16
    assert all(torch.equal(tensor, before[name]) for name, tensor in trainer.model.state_dict().items())
    assert all(torch.equal(tensor, average[name]) for name, tensor in trainer._optimization.weights.items())


def test_what_says_that_memory_ran_out_is_known_wherever_it_came_from() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**60, dtype=torch.uint8)
    wrapped = failures.BirdplaneError("transforms.0: fails")
    wrapped.__cause__ = raised.value
    assert failures.ran_out_of_memory(wrapped)
    assert failures.ran_out_of_memory(MemoryError())
    assert not failures.ran_out_of_memory(RuntimeError("shapes do not fit"))


# Decoding workers.


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    return stat.rpartition(b")")[2].split()[0] not in (b"Z", b"X")


def test_a_decoding_worker_that_is_killed_is_told_and_the_run_ends_as_if_it_had_not_been(
    forge: Any, tiny: Tiny, tiny_file: Path, runs: Path
) -> None:
    process = forge.start("train", tiny_file, "--run", "r", "--runs", runs, *pairs(*STREAMED))
    run = Run(runs / "r")
    until(lambda: checkpoint.steps(run.checkpoints) and len(children(process.pid)) == 2, process)
    os.kill(children(process.pid)[0], 9)
    line = told(process.wait())
    killed = (
        r"training\.workers: a decoding worker \(pid \d+\) was killed by SIGKILL, perhaps for want of memory "
    )
    assert re.match(killed, line), line
    assert line.endswith(f"; `birdplane resume r` then goes on from step {newest(run).step}")
    assert run.status().reason == line
    assert forge.run("resume", "r", "--runs", runs).code == 0
    assert_same_end(run, trained(tiny(*STREAMED, "training.workers=0"), runs))


def test_decoding_workers_do_not_outlive_a_training_that_is_killed(
    forge: Any, tiny_file: Path, runs: Path
) -> None:
    # Batches too large for a pipe: a worker that cannot hand one over would wait for ever.
    settings = pairs(
        *STREAMED, "training.batch_size=120", "training.epochs=100000", "training.checkpoint_steps=1"
    )
    process = forge.start("train", tiny_file, "--run", "r", "--runs", runs, *settings)
    until(lambda: checkpoint.steps(runs / "r" / "checkpoints") and len(children(process.pid)) == 2, process)
    workers = children(process.pid)
    process.kill()
    deadline = time.monotonic() + 10
    while any(map(alive, workers)):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("size", [4, 400])
def test_a_worker_that_dies_at_any_moment_is_noticed_at_once(size: int) -> None:
    def drawn(indices: list[int]) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros((1, 3, size, size), dtype=np.uint8), np.zeros(1, dtype=np.int64)

    before = set(children(os.getpid()))
    for number in range(8):
        batches = decoded_by_workers(drawn, [[number] for number in range(100_000)], 2)
        next(batches)
        worker = max(set(children(os.getpid())) - before)
        # Large ones are more than a pipe holds: it stands in the midst of handing one over, as nobody reads.
        time.sleep(0.005 * number)
        os.kill(worker, signal.SIGKILL)
        began = time.monotonic()
        with pytest.raises(failures.LostWorker, match=rf"worker \(pid {worker}\) was killed by SIGKILL"):
            list(batches)
        assert time.monotonic() - began < 5


def test_a_worker_that_leaves_of_itself_is_told_with_its_exit_code() -> None:
    def leaving(indices: list[int]) -> tuple[np.ndarray, np.ndarray]:
        os._exit(3)

    with pytest.raises(failures.LostWorker, match=r"\(pid \d+\) left with exit code 3"):
        list(decoded_by_workers(leaving, [[0], [1]], 1))


def test_what_decoding_raises_in_a_worker_is_told_without_a_traceback() -> None:
    def failing(indices: list[int]) -> tuple[np.ndarray, np.ndarray]:
        raise ZeroDivisionError("by\nzero")

    with pytest.raises(failures.BirdplaneError, match="dataset: ZeroDivisionError: by zero"):
        list(decoded_by_workers(failing, [[0], [1]], 2))


def test_decoding_workers_are_let_go_when_nobody_wants_more_batches() -> None:
    def small(indices: list[int]) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros((1, 3, 4, 4), dtype=np.uint8), np.zeros(1, dtype=np.int64)

    before = set(children(os.getpid()))
    batches = decoded_by_workers(small, [[number] for number in range(1000)], 2)
    next(batches)
    workers = set(children(os.getpid())) - before
    assert len(workers) == 2
    batches.close()  # type: ignore[attr-defined]
    del batches
    deadline = time.monotonic() + 10
    while any(map(alive, workers)):
        assert time.monotonic() < deadline
        time.sleep(0.02)


SHARED_MEMORY = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS, MS_REC_PRIVATE = 0x20000, 0x44000
if libc.unshare(CLONE_NEWNS) or libc.mount(b"none", b"/", None, MS_REC_PRIVATE, None) or libc.mount(
    b"tmpfs", b"/dev/shm", b"tmpfs", 0, b"size=64k"
):
    raise SystemExit(77)
"""


def test_decoding_workers_need_no_shared_memory(forge: Any, tiny_file: Path, runs: Path) -> None:
    settings = pairs(*STREAMED, "training.epochs=1", "training.workers=8")
    left = forge.run(
        "-c", SHARED_MEMORY + COMMAND, "train", tiny_file, "--run", "r", "--runs", runs, *settings
    )
    if left.code == 77:
        pytest.skip("mounting is not permitted here")
    assert left.code == 0, left.out
    assert Run(runs / "r").status().state == "done"


PROCESSES = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24))
"""


def test_workers_that_cannot_be_started_are_told_with_the_mend(
    forge: Any, tiny_file: Path, runs: Path
) -> None:
    settings = pairs(*STREAMED, "training.workers=40")
    left = forge.run("-c", PROCESSES + COMMAND, "train", tiny_file, "--run", "r", "--runs", runs, *settings)
    line = told(left)
    assert line.startswith("training.workers: 40 decoding workers cannot be started: Too many open files")
    assert "(mend: fewer, or --set training.workers=0)" in line
    assert Run(runs / "r").status().state == "failed"


# The clock.


def test_a_clock_goes_on_where_the_systems_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    clock = Clock()
    now[0] = 1010.0
    assert clock() == 1010.0
    now[0] = 10.0
    after = clock()
    assert 1010.0 <= after < 1011.0
    now[0] = 15.0
    assert after + 5.0 <= clock() < after + 6.0
    now[0] = 5000.0
    assert clock() > 5000.0  # ahead by what it was set back, and never less than before


SET_BACK = """
import time
real, began = time.time, time.monotonic()
time.time = lambda: real() - AGO - (7200 if time.monotonic() > began + 0.3 else 0)
"""


def test_a_clock_that_is_set_back_during_and_between_trainings_harms_no_record(
    forge: Any, tiny_file: Path, runs: Path
) -> None:
    settings = pairs("training.epochs=1000000")
    run = Run(runs / "r")
    process = forge.start(
        "-c",
        SET_BACK.replace("AGO", "0") + COMMAND,
        "train",
        tiny_file,
        "--run",
        "r",
        "--runs",
        runs,
        *settings,
    )
    until(lambda: run.status().state == "running" and run.summary().epoch, process)
    time.sleep(0.5)  # past the moment at which the clock is set back
    run.request("stop")
    left = process.wait()
    assert "-" not in left.out.rpartition(" after ")[2].split("\n")[0]
    times = [event.time for event in run.events()]
    assert times == sorted(times)
    epochs = shortened(run)
    left = forge.run("-c", SET_BACK.replace("AGO", "86400") + COMMAND, "resume", "r", "--runs", runs)
    assert left.code == 0, left.out
    session = list(run.events())
    start = max(number for number, event in enumerate(session) if isinstance(event, Start))
    times = [event.time for event in session[start:]]
    assert times == sorted(times)
    assert times[0] < session[0].time  # the day before
    assert run.status().state == "done"
    assert [event.epoch for event in run.events([Epoch])] == list(range(1, epochs + 1))
    watched = forge.run("watch", "r", "--runs", runs)
    assert watched.code == 0
    assert "done after" in watched.out
    (record,) = json.loads(forge.run("runs", "--json", "--runs", runs).out)
    assert 0 <= record["seconds"] < 3600


def test_a_record_whose_times_go_back_has_no_negative_durations(forge: Any, runs: Path) -> None:
    run = Run.create(runs, "r", pipeline_toml="")
    events: list[Event] = [
        Start(time=5000.0, epoch=0, step=0, epochs=1, steps_per_epoch=4),
        End(time=1000.0, epoch=1, step=4, status="done"),
    ]
    for event in events:
        run.append(event)
    run.close()
    (line,) = list_runs(runs)
    assert (line.state, line.seconds) == ("done", 0.0)
    assert "done after 0.0 s" in forge.run("watch", "r", "--runs", runs).out


# The folder.


def stopped(forge: Any, tiny_file: Path, runs: Path) -> Run:
    run = Run(runs / "r")
    process = forge.start("train", tiny_file, "--run", "r", "--runs", runs, *pairs("training.epochs=1000000"))
    until(lambda: run.summary().epoch, process)
    run.request("stop")
    process.wait()
    assert run.status().state == "stopped"
    shortened(run)
    return run


def test_a_run_that_was_moved_or_copied_at_rest_goes_on_under_its_new_name(
    forge: Any, tiny_file: Path, runs: Path, tmp_path: Path
) -> None:
    run = stopped(forge, tiny_file, runs)
    before = {path.relative_to(run.path): path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    shutil.copytree(run.path, runs / "copied")
    whole = trained(Pipeline.from_toml(run.pipeline_toml()), runs)
    assert forge.run("resume", "copied", "--runs", runs).code == 0
    assert before == {p.relative_to(run.path): p.read_bytes() for p in run.path.rglob("*") if p.is_file()}
    moved = run.path.rename(tmp_path / "elsewhere")
    left = forge.run("resume", moved)
    assert left.code == 0
    assert left.out.startswith("elsewhere ")
    for place in (runs / "copied", moved):
        assert Run(place).status().state == "done"
        assert_same_end(Run(place), whole)


@pytest.mark.parametrize("what", ["deleted", "moved", "replaced"])
def test_a_folder_that_goes_away_during_training_is_told_and_does_not_come_back(
    forge: Any, tiny: Tiny, tiny_file: Path, runs: Path, tmp_path: Path, what: str
) -> None:
    settings = pairs("training.epochs=1000000", "training.checkpoint_steps=50")
    process = forge.start("train", tiny_file, "--run", "r", "--runs", runs, *settings)
    run = Run(runs / "r")
    until(lambda: len(checkpoint.steps(run.checkpoints)) == 2, process)
    moved = run.path.rename(tmp_path / "elsewhere")
    if what == "deleted":
        shutil.rmtree(moved)
    elif what == "replaced":
        Run.create(runs, "r", pipeline_toml=tiny().to_toml())
    line = told(process.wait())
    assert line.startswith(f"the run's folder {str(run.path)!r} is gone: it was deleted or moved")
    if what == "replaced":  # what is there now is another's
        assert sorted(path.name for path in run.path.iterdir()) == ["pipeline.toml"]
        assert run.status().state == "new"
    else:
        assert not run.path.exists()
    if what != "deleted":
        status = Run(moved).status()
        assert (status.state, status.reason) == ("failed", line)
        assert newest(Run(moved)).step > 0


# Versions.


def with_facts(run: Run, **facts: Any) -> None:
    path = run.path / "events.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        if line["event"] == "start":
            line["facts"].update(facts)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_run_of_a_later_format_is_refused_and_left_as_it_is(
    forge: Any, tiny_file: Path, runs: Path
) -> None:
    run = stopped(forge, tiny_file, runs)
    with_facts(run, birdplane="9.1.0", format=2)
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    left = forge.run("resume", "r", "--runs", runs)
    assert left.code == 2
    assert "the run 'r' was made by birdplane 9.1.0" in left.out
    assert "go on with that version (pip install --upgrade birdplane)" in left.out
    assert before == {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}


def test_a_checkpoint_of_a_later_format_is_refused_and_none_is_thrown_away(
    forge: Any, tiny_file: Path, runs: Path
) -> None:
    run = stopped(forge, tiny_file, runs)
    path = run.checkpoints / f"{newest(run).step:08d}"
    content = json.loads((path / "manifest.json").read_bytes())
    del content["sha256"]
    (path / "manifest.json").write_bytes(sealed({**content, "format": 2}))
    kept = checkpoint.steps(run.checkpoints)
    line = told(forge.run("resume", "r", "--runs", runs))
    assert "a later birdplane wrote it; use that version (pip install --upgrade birdplane)" in line
    assert checkpoint.steps(run.checkpoints) == kept
    assert "a later birdplane wrote it" in told(forge.run("evaluate", "r", "--runs", runs))


def test_another_version_of_the_same_format_goes_on_and_says_that_it_is_another(
    tiny: Tiny, runs: Path
) -> None:
    pipeline = tiny()
    run = Run.create(runs, "r", pipeline_toml=pipeline.to_toml())
    for event in train(pipeline, run):
        if isinstance(event, Epoch):
            run.request("stop")
    with_facts(run, birdplane="0.0.9")
    with (run.path / "events.jsonl").open("a") as file:  # kinds and fields of that version are passed over
        file.write('{"event": "thought", "time": 1.0, "epoch": 1, "step": 4}\n')
        file.write(
            '{"event": "alert", "time": 1.0, "epoch": 1, "step": 4, "kind": "k", "message": "m", "mood": 1}\n'
        )
    list(resume(run))
    assert run.status().state == "done"
    text = (run.path / "pipeline.toml").read_text()
    (run.path / "pipeline.toml").write_text(text.replace("[training]", "[training]\nmomentous = 1"))
    with_facts(run, birdplane="0.0.9")
    with pytest.raises(
        failures.BirdplaneError, match=r"momentous.*; the run 'r' was made by birdplane 0\.0\.9, and"
    ):
        resume(run)
