"""evaluate and predict, on a run that was trained for the tests."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from birdplane.events import Epoch
from birdplane.runs import Run

Birdplane = Callable[..., Any]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, size, mode in (("b.png", (40, 30), "RGB"), ("a.JPG", (8, 8), "L"), ("c.gif", (9, 70), "P")):
        Image.new(mode, size, 100).save(folder / name)
    (folder / "notes.txt").write_text("not a picture")
    (folder / ".hidden.png").write_bytes(b"")
    return folder


class TestEvaluate:
    def test_repeats_what_training_found(self, birdplane: Birdplane, tiny_run: Run) -> None:
        epochs = [event for event in tiny_run.events([Epoch]) if isinstance(event, Epoch)]
        found = birdplane("evaluate", tiny_run.path, "--checkpoint", "last", "--device", "cpu", "--json").json
        train, validation = found["splits"]
        assert validation["accuracy"] == epochs[-1].validation_accuracy
        assert validation["loss"] == pytest.approx(epochs[-1].validation_loss)
        assert (train["count"], validation["count"]) == (64, 32)

    def test_the_best_checkpoint_is_taken_by_default(self, birdplane: Birdplane, tiny_run: Run) -> None:
        found = birdplane("evaluate", tiny_run.path, "--json").json
        assert found["checkpoint"] == "best"
        assert found["splits"][1]["accuracy"] == tiny_run.summary().best_accuracy

    def test_shows_which_class_is_taken_for_which(self, birdplane: Birdplane, tiny_run: Run) -> None:
        out = birdplane("evaluate", tiny_run.path).out
        airplane = [line for line in out.splitlines() if line.startswith("  airplane")]
        assert len(airplane) == 2
        counts = airplane[1].split()[1:3]
        assert sum(map(int, counts)) == 16

    def test_a_device_that_is_not_there_is_named(self, birdplane: Birdplane, tiny_run: Run) -> None:
        ran = birdplane("evaluate", tiny_run.path, "--device", "tpu9")
        assert ran.code == 2
        assert ran.err.startswith("error: --device: 'tpu9' is no device")
        assert len(ran.err.splitlines()) == 1

    def test_a_run_without_a_checkpoint_is_named(
        self, birdplane: Birdplane, tiny_run: Run, tmp_path: Path
    ) -> None:
        bare = Run.create(tmp_path, "bare", pipeline_toml=tiny_run.pipeline_toml())
        ran = birdplane("evaluate", bare.path)
        assert ran.code == 1
        assert "'bare'" in ran.err
        assert "no checkpoint yet" in ran.err

    def test_a_damaged_checkpoint_is_no_traceback(
        self, birdplane: Birdplane, tiny_run: Run, tmp_path: Path
    ) -> None:
        copy = tmp_path / "copy"
        shutil.copytree(tiny_run.path, copy)
        for file in copy.rglob("*.safetensors"):
            file.write_bytes(file.read_bytes()[:-3])
        ran = birdplane("evaluate", copy)
        assert ran.code == 1
        assert ran.err.startswith("error: run 'copy' cannot be used")


class TestPredict:
    def test_draws_a_bar_for_each_class(self, birdplane: Birdplane, tiny_run: Run, pictures: Path) -> None:
        ran = birdplane("predict", tiny_run.path, pictures / "b.png")
        heading, first, second = ran.out.splitlines()
        assert heading.startswith(f"{pictures / 'b.png'}: ")
        shares = [float(line.split()[-2]) for line in (first, second)]
        assert shares[0] >= shares[1]
        assert sum(shares) == pytest.approx(100, abs=0.02)

    def test_json_is_a_list_with_probabilities(
        self, birdplane: Birdplane, tiny_run: Run, pictures: Path
    ) -> None:
        (found,) = birdplane("predict", tiny_run.path, pictures / "b.png", "--json").json
        assert set(found) == {"file", "label", "probabilities"}
        assert found["label"] == max(found["probabilities"], key=found["probabilities"].get)
        assert sum(found["probabilities"].values()) == pytest.approx(1)

    def test_a_folder_means_its_pictures_in_order(
        self, birdplane: Birdplane, tiny_run: Run, pictures: Path
    ) -> None:
        ran = birdplane("predict", tiny_run.path, pictures, "--json")
        assert ran.code == 0
        assert [Path(found["file"]).name for found in ran.json] == ["a.JPG", "b.png", "c.gif"]

    def test_a_bad_file_does_not_lose_the_others(
        self, birdplane: Birdplane, tiny_run: Run, pictures: Path, tmp_path: Path
    ) -> None:
        empty = tmp_path / "empty"
        empty.mkdir()
        ran = birdplane(
            "predict",
            tiny_run.path,
            pictures / "notes.txt",
            "nowhere.png",
            empty,
            pictures / "b.png",
            "--json",
        )
        assert ran.code == 1
        assert [Path(found["file"]).name for found in ran.json] == ["b.png"]
        assert len(ran.err.splitlines()) == 3
        for name in ("notes.txt", "nowhere.png", "empty"):
            assert name in ran.err

    def test_a_name_with_escape_codes_is_shown_without_them(
        self, birdplane: Birdplane, tiny_run: Run, pictures: Path
    ) -> None:
        odd = pictures / "\x1b[31mred.png"
        shutil.copy(pictures / "b.png", odd)
        ran = birdplane("predict", tiny_run.path, odd)
        assert ran.code == 0
        assert "\x1b" not in ran.out
