"""What anybody has written for plain PyTorch works here unchanged, and to the very same numbers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from birdplane import Pipeline
from birdplane.events import Epoch, Event, Progress, Start
from birdplane.registry import Catalog
from birdplane.runs import Run
from birdplane.training import Trainer, train
from birdplane_builtin.sketches import Sketches

Tiny = Callable[..., Pipeline]


class PlainDataset(torch.utils.data.Dataset[tuple[Image.Image, int]]):
    """A dataset as tutorials write them: PIL images by index, and no more. The pictures are the sketches'."""

    def __init__(self, split: str, train: int = 64, test: int = 32) -> None:
        count = train if split == "train" else test
        sketches = Sketches(split=split, train=train, test=test, size=8, difficulty=0.2)  # type: ignore[arg-type]
        self._items = [sketches[index] for index in range(count)]

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return self._items[index]


@pytest.fixture
def catalog() -> Catalog:
    """birdplane's components, and those of a third party that knows nothing of birdplane."""
    catalog = Catalog()
    catalog["dataset"].register("plain", PlainDataset)
    transforms = catalog["transform"]
    transforms.register("their-to-tensor", torchvision.transforms.ToTensor, per_sample=True)
    transforms.register("their-normalize", their_normalize, per_sample=True)
    transforms.register("their-flip", lambda: v2.RandomHorizontalFlip(0.5), per_sample=True, random=True)
    catalog["model"].register("theirs", their_model)
    catalog["loss"].register("their-loss", torch.nn.CrossEntropyLoss)
    catalog["optimizer"].register("their-sgd", torch.optim.SGD)
    return catalog


def their_normalize(mean: list[float], std: list[float]) -> Callable[[Tensor], Tensor]:
    normalize: Callable[[Tensor], Tensor] = torchvision.transforms.Normalize(mean, std)
    return normalize


def their_model(num_classes: int) -> torch.nn.Module:
    return torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(192, 4), torch.nn.ReLU(), torch.nn.Linear(4, num_classes)
    )


STATISTICS = "mean=[0.5, 0.4, 0.3], std=[0.2, 0.25, 0.3]"
OURS = f"transforms=[{{use='to-tensor'}}, {{use='normalize', {STATISTICS}}}, {{use='random-flip'}}]"
THEIRS = (
    f"transforms=[{{use='their-to-tensor'}}, {{use='their-normalize', {STATISTICS}}}, {{use='random-flip'}}]"
)


def trained(pipeline: Pipeline) -> tuple[Trainer, list[Event]]:
    trainer = train(pipeline)
    return trainer, list(trainer)


def figures(events: list[Event]) -> list[tuple[Any, ...]]:
    return [
        (event.train_loss, event.train_accuracy, event.validation_loss, event.validation_accuracy)
        for event in events
        if isinstance(event, Epoch)
    ]


@pytest.fixture
def ours(tiny: Tiny) -> tuple[Trainer, list[Event]]:
    return trained(tiny(OURS))


@pytest.mark.parametrize(
    "assignments",
    [
        ("dataset.use=plain", OURS),
        (THEIRS,),
        ("dataset.use=plain", THEIRS),
    ],
    ids=["dataset", "transforms", "both"],
)
def test_a_plain_dataset_and_transforms_of_single_pictures_train_to_the_numbers_of_the_batched_path(
    tiny: Tiny, catalog: Catalog, ours: tuple[Trainer, list[Event]], assignments: tuple[str, ...]
) -> None:
    theirs = trained(tiny(*assignments, catalog=catalog))
    assert figures(theirs[1]) == figures(ours[1])
    weights, others = theirs[0].model.state_dict(), ours[0].model.state_dict()
    assert all(torch.equal(weights[name], others[name]) for name in others)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_plain_dataset_that_streams_trains_to_the_same_numbers(
    tiny: Tiny,
    catalog: Catalog,
    ours: tuple[Trainer, list[Event]],
    monkeypatch: pytest.MonkeyPatch,
    workers: int,
) -> None:
    monkeypatch.setattr("birdplane.assembly.MIB", 100)  # 64 pictures of 192 bytes are over the limit
    settings = ("training.memory_limit=1", f"training.workers={workers}")
    _, events = trained(tiny("dataset.use=plain", THEIRS, *settings, catalog=catalog))
    (start,) = [event for event in events if isinstance(event, Start)]
    assert not start.facts["resident"]
    assert figures(events) == figures(ours[1])


def test_a_dataset_without_a_split_or_classes_is_divided_and_trains(tiny: Tiny, catalog: Catalog) -> None:
    catalog["dataset"].register("undivided", lambda: PlainDataset("train", 50))
    trainer, events = trained(tiny("dataset.use=undivided", catalog=catalog))
    (start,) = [event for event in events if isinstance(event, Start)]
    assert (start.facts["train_pictures"], start.facts["validation_pictures"]) == (40, 10)
    assert trainer.assembly.classes == ("0", "1")


def test_a_random_torchvision_transform_is_repeatable_and_left_out_in_evaluation(
    tiny: Tiny, catalog: Catalog
) -> None:
    flipped = tiny("transforms=[{use='their-flip'}, {use='their-to-tensor'}]", catalog=catalog)
    plain = tiny("transforms=[{use='their-to-tensor'}]", "training.epochs=1", catalog=catalog)
    torch.manual_seed(1)
    first = figures(trained(flipped)[1])
    torch.manual_seed(2)
    assert figures(trained(flipped)[1]) == first
    assert first[0][0] != figures(trained(plain)[1])[0][0]
    # One epoch at a rate of almost 0: what validates has seen no flip.
    still = ("optimizer.lr=1e-30", "training.epochs=1")
    assert (
        figures(trained(flipped.override(still))[1])[0][2] == figures(trained(plain.override(still))[1])[0][2]
    )


def test_losses_and_optimizers_of_torch_itself_can_be_used(tiny: Tiny, catalog: Catalog) -> None:
    their_parts = (
        "loss.use=their-loss",
        "optimizer.use=their-sgd",
        "optimizer.lr=0.1",
        "optimizer.fused=true",
    )
    theirs = trained(tiny("model.use=theirs", *their_parts, catalog=catalog))
    mixed = trained(tiny("model.use=theirs", catalog=catalog))
    assert figures(theirs[1]) == figures(mixed[1])


PLUGIN = """
import torchvision
from birdplane import Dataset, Transform, hookimpl

class Stripes:
    '''Plain: PIL images and labels.'''
    def __len__(self):
        return 60
    def __getitem__(self, index):
        from PIL import Image
        picture = Image.new("RGB", (8, 8), (index, 90, 200))
        picture.putpixel((3, 3), (255 * (index % 3), 0, 0))
        return picture, index % 3

told = []

@hookimpl
def birdplane_components():
    return [
        Dataset(name="stripes", target=Stripes, summary="Stripes"),
        Transform(name="their-tensor", target="torchvision.transforms:ToTensor", per_sample=True),
    ]

@hookimpl
def birdplane_event(run, event):
    if event.event == "epoch":
        print("told", event.epoch, run.name, flush=True)
    if event.event == "end":
        raise ValueError("full")
"""


def test_an_installed_plugin_brings_its_parts_and_is_told_of_events(
    tmp_path: Path, tiny_file: Path, write_plugin: Callable[..., Path]
) -> None:
    site = write_plugin(tmp_path / "site", "zoo", PLUGIN.replace("import torchvision\n", ""))
    command = [
        sys.executable, "-m", "birdplane", "train", tiny_file, "--runs", tmp_path / "runs", "--run", "r",
        "--set", "dataset.use=stripes", "--set", "transforms=['zoo/their-tensor']", "--set", "training.epochs=2",
    ]  # fmt: skip
    done = subprocess.run(
        [*map(str, command)], env={**os.environ, "PYTHONPATH": str(site)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("told")] == ["told 1 r", "told 2 r"]
    assert "! the plugin 'zoo' of birdplane-zoo 1.2 failed on an event: ValueError: full" in done.stdout
    assert Run(tmp_path / "runs" / "r").status().state == "done"
    written = (tmp_path / "runs" / "r" / "pipeline.toml").read_text()
    assert 'use = "zoo/stripes"' in written
    events = [
        json.loads(line) for line in (tmp_path / "runs" / "r" / "events.jsonl").read_text().splitlines()
    ]
    (start,) = [event for event in events if event["event"] == "start"]
    assert start["facts"]["classes"] == ["0", "1", "2"]
    assert start["facts"]["train_pictures"] == 48


def test_progress_is_counted_in_steps_for_third_party_parts_too(tiny: Tiny, catalog: Catalog) -> None:
    events = trained(tiny("dataset.use=plain", THEIRS, catalog=catalog))[1]
    assert sum(event.count for event in events if isinstance(event, Progress)) == 12
