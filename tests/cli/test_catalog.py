"""list, show, list-plugins and check."""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from birdplane import Pipeline, registry
from birdplane.components import KINDS

Birdplane = Callable[..., Any]
Register = Callable[..., None]

SOUND = """
[dataset]
use = "sketches"
train = 50
test = 20
size = 16
[[transforms]]
use = "to-tensor"
[[transforms]]
use = "normalize"
[model]
use = "convolutional"
[loss]
use = "nll"
[optimizer]
use = "adam"
[training]
epochs = 2
batch_size = 8
device = "cpu"
"""


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    file = tmp_path / "sound.toml"
    file.write_text(SOUND)
    return file


class TestList:
    def test_names_everything_by_kind(self, birdplane: Birdplane) -> None:
        out = birdplane("list").out
        for word in ("datasets", "transforms", "losses", "recipes", "cifar2", "fully-connected", "book-conv"):
            assert word in out

    def test_one_kind_in_singular_or_plural(self, birdplane: Birdplane) -> None:
        assert birdplane("list", "loss").out == birdplane("list", "LOSSES").out
        assert "nll" in birdplane("list", "loss").out
        assert "cifar2" not in birdplane("list", "loss").out

    def test_a_wrong_kind_is_answered_with_the_nearest(self, birdplane: Birdplane) -> None:
        ran = birdplane("list", "modles")
        assert ran.code == 2
        assert "did you mean 'model'?" in ran.err

    def test_a_pattern_filters_the_names(self, birdplane: Birdplane) -> None:
        names = [entry["name"] for entry in birdplane("list", "dataset", "cifar*", "--json").json]
        assert names == ["cifar10", "cifar2"]

    def test_a_pattern_alone_filters_all_kinds(self, birdplane: Birdplane) -> None:
        found = birdplane("list", "c*", "--json").json
        assert {"cifar10", "cutout", "cross-entropy", "cosine"} <= {entry["name"] for entry in found}

    def test_json_says_where_each_comes_from(self, birdplane: Birdplane) -> None:
        found = birdplane("list", "--json").json
        assert {entry["kind"] for entry in found} == set(KINDS)
        assert {(entry["plugin"], entry["package"]) for entry in found} == {("builtin", "birdplane")}


class TestShow:
    def test_tells_parameters_with_defaults_bounds_and_help(self, birdplane: Birdplane) -> None:
        out = birdplane("show", "convolutional").out
        (line,) = [line for line in out.splitlines() if line.startswith("width")]
        assert "integer" in line
        assert "16" in line
        assert ">= 2" in line
        assert "Channels" in line

    def test_tells_what_a_loss_takes(self, birdplane: Birdplane) -> None:
        assert "log-probabilities" in birdplane("show", "nll").out

    def test_shows_the_text_of_a_recipe(self, birdplane: Birdplane) -> None:
        out = birdplane("show", "book").out
        assert "hidden = [512]" in out
        assert "birdplane train book" in out

    def test_a_wrong_name_is_answered_with_the_nearest(self, birdplane: Birdplane) -> None:
        ran = birdplane("show", "fully_conected")
        assert ran.code == 2
        assert "did you mean 'fully-connected'?" in ran.err

    def test_json_lists_the_parameters(self, birdplane: Birdplane) -> None:
        (details,) = birdplane("show", "convolutional", "--json").json
        width = details["parameters"][0]
        assert (width["name"], width["type"], width["default"], width["minimum"]) == (
            "width",
            "integer",
            16,
            ">= 2",
        )

    def test_a_name_of_several_kinds_shows_all_and_a_kind_chooses(
        self, birdplane: Birdplane, register: Register
    ) -> None:
        register("model", "twice", lambda: None)
        register("loss", "twice", lambda: None)
        assert [entry["kind"] for entry in birdplane("show", "twice", "--json").json] == ["model", "loss"]
        assert [entry["kind"] for entry in birdplane("show", "loss:twice", "--json").json] == ["loss"]

    @pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "recipe"])
    def test_its_examples_are_right(self, birdplane: Birdplane, kind: str) -> None:
        for entry in registry.catalog()[kind]:
            out = birdplane("show", f"{kind}:{entry.name}").out
            file = out.partition("In a pipeline file:")[2].partition("On the command line")[0]
            written = tomllib.loads("\n".join(line.strip() for line in file.splitlines()))
            given = written["transforms"][0] if kind == "transform" else written[kind]
            assert given.pop("use") == entry.name
            assert registry.catalog()[kind].signature(entry.name).problems(given) == []
            words = shlex.split(out.rpartition("train demo")[2])
            overrides = [word for word in words if word != "--set"]
            assert Pipeline.from_toml(SOUND).override(overrides).problems() == []


class TestListPlugins:
    def test_counts_what_each_brings(self, birdplane: Birdplane) -> None:
        (builtin,) = [
            plugin for plugin in birdplane("list-plugins", "--json").json if plugin["name"] == "builtin"
        ]
        assert builtin["status"] == "ok"
        assert builtin["components"]["loss"] == 3
        assert "3 losses" in birdplane("list-plugins").out


class TestCheck:
    def test_shows_the_chain_of_shapes(self, birdplane: Birdplane, sound: Path) -> None:
        found = birdplane("check", sound, "--json").json
        assert found["sound"] is True
        assert [(stage["key"], stage["shape"], stage["values"]) for stage in found["stages"]] == [
            ("dataset", [3, 16, 16], "uint8"),
            ("transforms.0 (to-tensor)", [3, 16, 16], "float32"),
            ("transforms.1 (normalize)", [3, 16, 16], "float32"),
            ("model (convolutional)", [2], "logits"),
            ("output (log-softmax)", [2], "log-probabilities"),
        ]

    def test_counts_parameters_steps_and_memory(self, birdplane: Birdplane, sound: Path) -> None:
        found = birdplane("check", sound, "--json").json
        assert found["parameters"] == sum(layer["parameters"] for layer in found["layers"])
        assert found["steps_per_epoch"] == 7
        memory = found["memory"]
        assert memory["weights"] == memory["gradients"] == 4 * found["parameters"]
        assert memory["optimizer"] >= 2 * memory["weights"]
        assert memory["pictures"] == 70 * 3 * 16 * 16 * (1 + 4)

    def test_tells_the_command_that_trains_it(self, birdplane: Birdplane, sound: Path) -> None:
        out = birdplane("check", sound, "--set", "model.width=4", "--layers").out
        assert f"birdplane train {sound} --set model.width=4" in out
        assert "Conv2d" in out

    def test_tells_all_problems_with_their_keys_and_mends(self, birdplane: Birdplane, sound: Path) -> None:
        ran = birdplane("check", sound, "--set", "model.widht=4", "--set", "training.epochs=0")
        assert ran.code == 2
        first, second = ran.err.splitlines()
        assert first.startswith(f"error: {sound}: model.widht: ")
        assert "did you mean 'width'?" in first
        assert second.startswith(f"error: {sound}: training.epochs: ")

    def test_tells_problems_as_json(self, birdplane: Birdplane, sound: Path) -> None:
        ran = birdplane("check", sound, "--set", "output.use=none", "--json")
        assert ran.code == 2
        (problem,) = ran.json["problems"]
        assert (problem["key"], problem["mend"]) == ("output.use", "output.use=auto")

    def test_tells_a_misfit_as_json(self, birdplane: Birdplane, sound: Path) -> None:
        ran = birdplane("check", sound, "--set", "training.device=tpu", "--json")
        assert ran.code == 2
        assert ran.json["sound"] is False
        assert ran.json["problems"][0]["key"] == "training.device"

    def test_names_pictures_that_are_not_at_hand_and_fetches_nothing(
        self, birdplane: Birdplane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("BIRDPLANE_CACHE", str(tmp_path / "cache"))
        ran = birdplane("check", "book")
        assert ran.code == 1
        assert "not at hand" in ran.err
        assert "170 MB" in ran.err
        assert not (tmp_path / "cache").exists()

    def test_notices_that_random_transforms_change_the_size(
        self, birdplane: Birdplane, sound: Path, register: Register
    ) -> None:
        register("transform", "half", lambda: lambda images, generator: images[:, :, ::2, ::2], random=True)
        ran = birdplane("check", sound, "--set", 'transforms=["to-tensor", "half"]')
        assert ran.code == 2
        assert "3, 8, 8" in ran.err

    def test_leaves_the_global_random_state_alone(self, birdplane: Birdplane, sound: Path) -> None:
        import torch

        before = torch.random.get_rng_state()
        assert birdplane("check", sound).code == 0
        assert torch.equal(before, torch.random.get_rng_state())
