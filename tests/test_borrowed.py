"""What other packages have, used through a plugin of three lines and unchanged: losses, transforms, datasets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from birdplane_builtin.sketches import Sketches

_LOSSES = """
from birdplane import Loss, hookimpl
birdplane_components = hookimpl(lambda: [Loss(name="smooth", target="torch.nn:CrossEntropyLoss"),
    Loss(name="likelihood", target="torch.nn:NLLLoss", accepts="log-probabilities")])
"""
_TRANSFORMS = """
from birdplane import Transform, hookimpl
birdplane_components = hookimpl(lambda: [Transform(name="jitter", target="torchvision.transforms.v2:ColorJitter",
    per_sample=True, random=True)])
"""
_DATASETS = """
from birdplane import Dataset, hookimpl
birdplane_components = hookimpl(lambda: [Dataset(name="noise", target="torchvision.datasets:FakeData")])
"""
_FOLDERS = """
from birdplane import Dataset, hookimpl
birdplane_components = hookimpl(lambda: [Dataset(name="folders", target="timm.data:create_dataset")])
"""
#: The plugin, and what of the tiny pipeline is replaced by what it brings.
BORROWED = {
    "a loss of torch": (_LOSSES, ["loss.use=smooth", "loss.label_smoothing=0.1"]),
    "a loss of torch that wants log-probabilities": (_LOSSES, ["loss.use=likelihood"]),
    "a transform of torchvision": (
        _TRANSFORMS,
        ["transforms=[{use='borrowed/jitter', brightness=0.3}, 'to-tensor']"],
    ),
    "a dataset of torchvision": (
        _DATASETS,
        ["dataset={use='noise', size=40, image_size=[3, 8, 8], num_classes=2}", "transforms=['to-tensor']"],
    ),
    "a dataset of timm": (
        _FOLDERS,
        ["dataset={use='folders', name='folder', root='pictures'}", "transforms=['to-tensor']"],
    ),
}


def draw_folders(folder: Path) -> None:
    """Put some sketches where datasets of folders find them: `train` and `test`, a folder a class."""
    for split in ("train", "test"):
        sketches = Sketches(split=split, train=24, test=12, size=8)  # type: ignore[arg-type]
        for index in range(len(sketches)):
            picture, label = sketches[index]
            place = folder / split / sketches.classes[label]
            place.mkdir(parents=True, exist_ok=True)
            picture.save(place / f"{index}.png")


@pytest.mark.parametrize("what", BORROWED)
def test_a_part_that_nobody_wrote_for_birdplane_is_trained_with(
    what: str, tmp_path: Path, tiny_file: Path, write_plugin: Callable[..., Path]
) -> None:
    if "timm" in what:
        pytest.importorskip("timm")
    source, assignments = BORROWED[what]
    draw_folders(tmp_path / "pictures")
    assert len(source.strip().splitlines()) <= 3
    site = write_plugin(tmp_path / "site", "borrowed", source)
    settings = [word for text in [*assignments, "training.epochs=1"] for word in ("--set", text)]
    done = subprocess.run(
        [sys.executable, "-m", "birdplane", "train", str(tiny_file), "--run", "r", "--json", *settings],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    events: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    (epoch,) = [event for event in events if event["event"] == "epoch"]
    assert 0 < epoch["train_loss"] < 10
    assert events[-1]["event"] == "end"
    assert "borrowed/" in (tmp_path / "runs" / "r" / "pipeline.toml").read_text(encoding="utf-8")
