"""compare, train --seeds and export: what they print, and that an interrupted group goes on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from birdplane import groups
from birdplane.events import Epoch, Progress
from birdplane.runs import Run

Birdplane = Callable[..., Any]
PATIENCE = 60.0


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "runs"
    monkeypatch.setenv("BIRDPLANE_RUNS", str(folder))
    monkeypatch.setenv("BIRDPLANE_CACHE", str(tmp_path / "cache"))
    return folder


def trained(birdplane: Birdplane, *arguments: str | Path) -> Any:
    ran = birdplane("train", *arguments)
    assert ran.code == 0, ran.err
    return ran


def test_seeds_train_a_run_each_and_report_mean_and_spread(
    birdplane: Birdplane, tiny_file: Path, runs: Path
) -> None:
    ran = trained(birdplane, tiny_file, "--seeds", "3", "--run", "g", "--set", "seed=4")
    assert [line for line in ran.out.splitlines() if line.endswith("one of 3:")] == [
        "g-s4, one of 3:",
        "g-s5, one of 3:",
        "g-s6, one of 3:",
    ]
    assert [Run(runs / f"g-s{seed}").status().state for seed in (4, 5, 6)] == ["done"] * 3
    best = [Run(runs / f"g-s{seed}").summary().best_accuracy or 0 for seed in (4, 5, 6)]
    mean = sum(best) / 3
    spread = (sum((value - mean) ** 2 for value in best) / 2) ** 0.5
    (line,) = [line for line in ran.out.splitlines() if line.startswith("  best accuracy")]
    shown = [f"{100 * value:.2f}" for value in (mean, spread, min(best), max(best))]
    assert [word for word in line.split() if word[0].isdigit()] == shown
    assert ran.out.splitlines()[-1] == "beside others: birdplane compare g OTHER"


def test_a_run_of_a_group_is_the_run_that_its_seed_alone_gives(
    birdplane: Birdplane, tiny_file: Path, runs: Path
) -> None:
    trained(birdplane, tiny_file, "--seeds", "2", "--run", "g")
    trained(birdplane, tiny_file, "--set", "seed=1", "--run", "alone")
    losses = [
        [event.train_loss for event in Run(runs / name).events([Epoch]) if isinstance(event, Epoch)]
        for name in ("g-s1", "alone")
    ]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 3


def test_an_interrupted_group_goes_on_with_what_is_left(
    birdplane: Birdplane, tiny_file: Path, runs: Path
) -> None:
    command = [sys.executable, "-m", "birdplane", "train", str(tiny_file), "--seeds", "3", "--run", "g"]
    whole = "training.epochs=150"
    process = subprocess.Popen(
        [*command, "--set", whole], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    second = Run(runs / "g-s1")
    deadline = time.monotonic() + PATIENCE
    while not any(isinstance(event, Progress) for event in second.events([Progress])):
        assert time.monotonic() < deadline, "the second run never began"
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (130, "")
    assert out.splitlines()[-1] == "all that are left: birdplane resume g"
    states = [Run(runs / f"g-s{seed}").status().state for seed in range(3)]
    assert states == ["done", "stopped", "new"]
    first = (runs / "g-s0" / "events.jsonl").read_bytes()
    again = birdplane("resume", "g", "--json")
    assert again.code == 0, again.err
    assert (runs / "g-s0" / "events.jsonl").read_bytes() == first
    assert [Run(runs / f"g-s{seed}").status().state for seed in range(3)] == ["done"] * 3
    report = json.loads(again.out.splitlines()[-1])
    assert (report["event"], report["runs"], report["seeds"]) == (
        "group",
        ["g-s0", "g-s1", "g-s2"],
        [0, 1, 2],
    )
    assert report["best_accuracy"]["count"] == 3
    refused = birdplane("resume", "g")
    assert refused.code == 2
    assert "all 3 runs of 'g' are done" in refused.err


def test_a_group_in_which_no_training_began_leaves_nothing_behind(
    birdplane: Birdplane, tiny_file: Path, runs: Path
) -> None:
    ran = birdplane("train", tiny_file, "--seeds", "2", "--run", "g", "--set", "training.device=cuda:77")
    assert ran.code == 2
    assert "training.device" in ran.err
    assert list(runs.iterdir()) == []
    assert birdplane("train", tiny_file, "--seeds", "1").err.startswith("error: --seeds: ")


def test_compare_shows_the_settings_that_differ_the_figures_the_curves_and_the_verdict(
    birdplane: Birdplane, tiny_file: Path, runs: Path
) -> None:
    trained(birdplane, tiny_file, "--seeds", "2", "--run", "low")
    trained(birdplane, tiny_file, "--run", "high", "--set", "optimizer.lr=0.2")
    ran = birdplane("compare", "low", "high")
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert lines[0].split() == ["set", "differently", "low", "high"]
    rows = {line.rpartition("  ")[0].strip(): line for line in lines}
    assert any(line.split() == ["optimizer.lr", "0.1", "0.2"] for line in lines)
    assert any(line.split() == ["seed", "0,", "1", "0"] for line in lines)
    assert any(line.startswith("best accuracy") and "±" in line for line in lines)
    assert {"validation loss", "validation accuracy, %"} <= set(lines)
    assert "model.hidden" not in rows
    judged = [line for line in lines if " of high: " in line]
    assert [line.split(" of ")[0] for line in judged] == ["best accuracy", "final accuracy", "final loss"]
    assert all("twice the standard error is" in line for line in judged)

    found = birdplane("compare", "low", "high", "--json").json
    assert found["differing"]["optimizer.lr"] == ["0.1", "0.2"]
    assert [one["name"] for one in found["runs"]] == ["low", "high"]
    low, high = (one["figures"]["final_loss"] for one in found["runs"])
    assert (low["count"], high["count"], high["spread"]) == (2, 1, None)
    (loss,) = [one for one in found["differences"] if one["figure"] == "final_loss"]
    assert loss["difference"] == pytest.approx(high["mean"] - low["mean"])
    assert loss["standard_error"] == pytest.approx((low["spread"] ** 2 * (1 / 2 + 1)) ** 0.5)
    assert loss["verdict"] == ("larger" if abs(loss["difference"]) > 2 * loss["standard_error"] else "within")


def test_two_single_runs_have_no_spread_and_that_is_said(
    birdplane: Birdplane, tiny_run: Run, runs: Path
) -> None:
    ran = birdplane("compare", tiny_run.path, tiny_run.path)
    assert ran.out.startswith("They were set the same.")
    assert "whether that is chance cannot be told" in ran.out
    assert ran.out.splitlines()[-1].startswith("`birdplane train PIPELINE --seeds 5`")


def test_a_run_that_has_not_begun_can_be_compared(
    birdplane: Birdplane, tiny_run: Run, tmp_path: Path, runs: Path
) -> None:
    Run.create(runs, "new", pipeline_toml=tiny_run.pipeline_toml())
    ran = birdplane("compare", tiny_run.path, "new")
    assert ran.code == 0, ran.err
    assert any(line.split() == ["state", "done", "new"] for line in ran.out.splitlines())
    assert birdplane("compare", "new", "nwe").err.rstrip().endswith("did you mean 'new'?")


def test_comparing_imports_no_torch(tiny_run: Run) -> None:
    program = """
import sys
from birdplane.cli import main
try:
    main()
except SystemExit:
    pass
print("torch" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, "compare", str(tiny_run.path), "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "False"


# export.


def test_export_tells_what_was_written_and_predict_takes_it(
    birdplane: Birdplane, tiny_run: Run, tmp_path: Path, runs: Path
) -> None:
    file, picture = tmp_path / "model.pt2", tmp_path / "noise.png"
    Image.effect_noise((20, 20), 90).convert("RGB").save(picture)
    ran = birdplane("export", tiny_run.path, "--output", file)
    assert ran.code == 0, ran.err
    heading, takes, gives, checked, largest = ran.out.splitlines()
    assert heading.startswith(f"{file}: ")
    assert takes.endswith("images: uint8, 0 to 255, (any number, 3, 8, 8)")
    assert gives.endswith("probabilities: float32, (as many, 2): airplane, bird")
    assert checked.split() == ["checked", "on", "32", "pictures", "of", "its", "validation", "split"]
    assert "of a probability, from the run's own" in largest
    (found,) = birdplane("predict", file, picture, "--json").json
    (expected,) = birdplane("predict", tiny_run.path, picture, "--json").json
    assert found["label"] == expected["label"]
    assert found["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-5)


def test_what_cannot_be_exported_or_predicted_is_one_line(
    birdplane: Birdplane, tiny_run: Run, tmp_path: Path, runs: Path
) -> None:
    (tmp_path / "a.pt2").write_bytes(b"PK")
    for arguments, said in (
        (("export", "none"), "there is no run 'none'"),
        (("export", tiny_run.path, "--format", "torhc"), "did you mean 'torch'?"),
        (("export", tiny_run.path, "--input", "float16"), "allowed: uint8, float32"),
        (("predict", tmp_path / "a.pt2", tmp_path / "x.png"), "was not written by `birdplane export` here"),
        (("predict", tmp_path / "none.onnx", tmp_path / "x.png"), "there is no run"),
    ):
        ran = birdplane(*arguments)
        assert (ran.code, ran.out) == (2, "")
        assert said in ran.err
        assert len(ran.err.splitlines()) == 1
    assert groups.find(runs, "none") is None
