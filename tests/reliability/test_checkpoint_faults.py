"""Whatever fails while a checkpoint is written, and whatever becomes of it on the disk, the one before it loads."""

from __future__ import annotations

import errno
import os
import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from birdplane import checkpoint

Fault = Callable[..., Any]

SAVE = """
import sys
import torch
from birdplane import checkpoint
from birdplane.errors import BirdplaneError
folder, step = Path(sys.argv[2]), int(sys.argv[3])
try:
    checkpoint.save(folder, step, tensors={"model": {"weight": torch.full((40, 100), 7.0)}}, state={"step": step})
    checkpoint.prune(folder)
except BirdplaneError as error:
    print(error)
    sys.exit(1)
"""


def save(folder: Path, step: int, value: float) -> Path:
    tensors = {
        "model": {"weight": torch.full((40, 100), value)},
        "optimizer": {"momentum": torch.rand(40, 100)},
    }
    return checkpoint.save(folder, step, tensors=tensors, state={"step": step, "loss": 0.1})


def value_of(found: checkpoint.Checkpoint | None) -> float | None:
    return found.tensors["model"]["weight"][0, 0].item() if found else None


def assert_sound(folder: Path, *values: float) -> None:
    """Check that the newest checkpoint holds one of these values, that none is damaged, and that saving goes on."""
    found, damaged = checkpoint.newest(folder)
    assert damaged == []
    assert value_of(found) in values
    save(folder, 9, 9.0)
    assert value_of(checkpoint.newest(folder)[0]) == 9
    assert [name for name in os.listdir(folder) if name.startswith(".")] == []  # noqa: PTH208 - names alone


# --- system calls that fail -------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [3, 2], ids=["a new step", "the same step again"])
@pytest.mark.parametrize(
    "code",
    [
        pytest.param(errno.ENOSPC, id="ENOSPC"),
        pytest.param(errno.EIO, id="EIO", marks=pytest.mark.long),
        pytest.param(0, id="killed", marks=pytest.mark.long),
    ],
)
def test_whichever_call_of_a_save_fails_the_checkpoint_before_it_loads(
    forge: Any, fault: Fault, tmp_path: Path, code: int, step: int
) -> None:
    struck = 0
    for nth in range(1, 100):
        folder = tmp_path / f"{nth}-checkpoints"
        for before in (1, 2):
            save(folder, before, float(before))
        left = forge.run("-c", SAVE, folder, step, fault=fault(str(folder), nth, code))
        if len(left.calls) < nth:
            break
        struck += 1
        assert left.code in ((-9,) if code == 0 else (0, 1)), left.out
        if left.code == 1:
            (line,) = left.out.splitlines()
            assert line.startswith(f"cannot save the checkpoint of step {step} in {str(folder)!r}: the disk ")
        assert_sound(folder, 2.0, 7.0)
    print(f"{struck} of {struck} calls")
    # Three files created, written and flushed, and two folders made, renamed and flushed.
    assert struck >= 12


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_fails_from_some_call_on_leaves_the_checkpoint_before(
    forge: Any, fault: Fault, tmp_path: Path, code: int
) -> None:
    for nth in (2, 4, 7, 10, 13):
        folder = tmp_path / f"{nth}-checkpoints"
        save(folder, 1, 1.0)
        left = forge.run("-c", SAVE, folder, 3, fault=fault(str(folder), -nth, code))
        assert left.code == 1, left.out
        assert len(left.out.splitlines()) == 1
        assert_sound(folder, 1.0, 7.0)


def test_a_save_flushes_every_file_the_manifest_last_and_then_the_folders_that_hold_them(
    forge: Any, fault: Fault, tmp_path: Path
) -> None:
    never = fault(str(tmp_path), 10_000, errno.EIO)
    left = forge.run("-c", SAVE, tmp_path / "checkpoints", 3, fault=never)
    assert left.code == 0, left.out
    calls = [call.replace(str(tmp_path), "run") for call in left.calls]
    new = "run/checkpoints/.00000003.new"
    files = [f"{new}/{name}" for name in ("model.safetensors", "state.json", "manifest.json")]
    assert calls == [
        "mkdir run/checkpoints",
        "flush run",
        f"mkdir {new}",
        *(f"{call} {file}" for file in files for call in ("create", "write", "flush")),
        f"flush {new}",
        f"rename {new}",
        "flush run/checkpoints",
    ]


@pytest.mark.parametrize(("nth", "code"), [(1, 1), (3, 1), (4, 0)], ids=["file", "last file", "folder"])
def test_a_file_system_that_cannot_flush_folders_will_do_but_files_must_be_flushed(
    forge: Any, fault: Fault, tmp_path: Path, nth: int, code: int
) -> None:
    refused = fault(f"flush {tmp_path}/.00000003.new", nth, errno.EINVAL)
    left = forge.run("-c", SAVE, tmp_path, 3, fault=refused)
    assert left.code == code, left.out
    assert checkpoint.steps(tmp_path) == ([] if code else [3])


# --- a disk that is full ----------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """A function from a size in bytes to an empty file system of that size."""
    mounted: list[Path] = []

    def mount(size: int) -> Path:
        place = tmp_path / f"disk-{size}"
        place.mkdir()
        made = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)],
            capture_output=True,
            check=False,
        )
        if made.returncode:
            pytest.skip("this user cannot mount a small file system")
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", str(place)], check=True)


def test_on_a_disk_too_small_for_the_second_checkpoint_the_first_loads(
    forge: Any, small_disk: Callable[[int], Path]
) -> None:
    refused = 0
    for pages in range(11, 22):
        folder = small_disk(pages * 4096) / "checkpoints"
        try:
            save(folder, 1, 1.0)
        except checkpoint.BirdplaneError:
            continue
        left = forge.run("-c", SAVE, folder, 2)
        refused += left.code == 1
        if left.code == 1:
            assert "the disk is full; make room" in left.out
        found, damaged = checkpoint.newest(folder)
        assert (value_of(found), damaged) == (1.0 if left.code else 7.0, [])
    print(f"{refused} disks of different sizes were too small")
    assert refused >= 2


# --- damage -----------------------------------------------------------------------------------------------


def test_of_200_truncations_and_1000_flipped_bits_none_is_loaded(tmp_path: Path) -> None:
    dice = random.Random(0)
    save(tmp_path, 1, 1.0)
    path = save(tmp_path, 2, 2.0)
    files = sorted(path.iterdir())
    assert len(files) == 4
    for trial in range(1200):
        file = files[trial % len(files)]
        sound = file.read_bytes()
        damaged = bytearray(sound)
        if trial < 200:
            del damaged[dice.randrange(len(damaged)) :]
        else:
            damaged[dice.randrange(len(damaged))] ^= 1 << dice.randrange(8)
        file.write_bytes(damaged)
        found, told = checkpoint.newest(tmp_path)
        assert (value_of(found), [error.path for error in told]) == (1.0, [path])
        assert f"is damaged: {file.name} " in str(told[0])
        file.write_bytes(sound)
    assert value_of(checkpoint.newest(tmp_path)[0]) == 2.0
