"""list, show, list-plugins and check."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
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


_ZOO = """
    import functools
    from birdplane import Family, Model, hookimpl

    def names():
        return [f"{kind}{size}" for kind in ("resnet", "vit", "owl") for size in range(400)]

    def build(name: str, *, pretrained: bool = False, input_shape, num_classes):
        import torch
        raise NotImplementedError

    def member(name):
        return Model(name=name, target=functools.partial(build, name), summary=f"The {name}")

    @hookimpl
    def birdplane_components():
        return [
            Family(kind="model", names="zoo_module:names", member="zoo_module:member"),
            Family(kind="loss", names=lambda: ["few"], member=lambda n: __import__("birdplane").Loss(
                name=n, target="m:f", summary="One of few")),
        ]
"""
_WRECK = """
    from birdplane import Family, Loss, hookimpl

    def names():
        raise RuntimeError("no\\nnames")

    @hookimpl
    def birdplane_components():
        return [
            Family(kind="model", names=names, member=print),
            Family(kind="dataset", names=lambda: ["one"], member=lambda name: 3),
            Loss(name="fine", target="wreck_module:fine", summary="Fine"),
        ]
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, write_plugin: Callable[..., Path]) -> Path:
    folder = tmp_path_factory.mktemp("zoo") / "site"
    write_plugin(folder, "zoo", _ZOO)
    return folder


@pytest.fixture(scope="module")
def wrecked(tmp_path_factory: pytest.TempPathFactory, write_plugin: Callable[..., Path]) -> Path:
    folder = tmp_path_factory.mktemp("wreck") / "site"
    write_plugin(folder, "zoo", _ZOO)
    write_plugin(folder, "wreck", _WRECK)
    return folder


class TestFamilies:
    """A zoo of 1,200 models, and a plugin whose families are broken, installed for real."""

    @staticmethod
    def run(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        # torch cannot be imported: none of these commands may need it.
        program = (
            "import sys; sys.modules['torch'] = None; sys.argv[0] = 'birdplane'\n"
            "from birdplane.cli import main; main()"
        )
        return subprocess.run(
            [sys.executable, "-c", program, *arguments],
            env={**os.environ, "PYTHONPATH": str(site)},
            capture_output=True,
            text=True,
            check=False,
        )

    def test_a_large_one_is_one_line_with_its_package_and_a_small_one_is_listed(self, site: Path) -> None:
        ran = self.run(site, "list")
        assert (ran.returncode, ran.stderr) == (0, "")
        lines = [line.split() for line in ran.stdout.splitlines() if line.startswith("zoo/")]
        assert lines == [
            ["zoo/*", "birdplane-zoo", "1.2", "1,200", "models:", "birdplane", "list", "models", "'zoo/*'"],
            ["zoo/few", "birdplane-zoo", "1.2", "One", "of", "few"],
        ]

    def test_a_pattern_lists_and_searches_its_members(self, site: Path) -> None:
        whole = self.run(site, "list", "models", "zoo/*").stdout.splitlines()
        assert len(whole) == 1 + 1200
        assert whole[1].split() == ["zoo/resnet0", "birdplane-zoo", "1.2", "The", "resnet0"]
        found = json.loads(self.run(site, "list", "*net12?", "--json").stdout)
        assert [entry["name"] for entry in found] == [f"zoo/resnet{number}" for number in range(120, 130)]
        assert found[0] == {
            "kind": "model",
            "name": "zoo/resnet120",
            "summary": "The resnet120",
            "plugin": "zoo",
            "package": "birdplane-zoo",
            "version": "1.2",
        }

    def test_json_without_a_pattern_counts_a_large_one(self, site: Path) -> None:
        (family,) = [one for one in json.loads(self.run(site, "list", "--json").stdout) if "count" in one]
        assert (family["kind"], family["name"], family["count"]) == ("model", "zoo/*", 1200)

    def test_a_member_is_shown_like_any_component(self, site: Path) -> None:
        out = self.run(site, "show", "zoo/vit7").stdout
        assert "birdplane-zoo 1.2 (plugin zoo)" in out
        assert "zoo_module:build('vit7')" in out
        assert 'use = "zoo/vit7"' in out
        (parameter,) = [line for line in out.splitlines() if line.startswith("pretrained")]
        assert parameter.split() == ["pretrained", "true", "or", "false", "false"]

    def test_a_wrong_spelling_is_answered_with_the_nearest_member(self, site: Path) -> None:
        ran = self.run(site, "show", "zoo/restnet17")
        assert ran.returncode == 2
        assert ran.stderr == "error: nothing is called 'zoo/restnet17'; did you mean 'zoo/resnet17'?\n"

    def test_list_plugins_counts_the_members(self, site: Path) -> None:
        (zoo,) = [
            one for one in json.loads(self.run(site, "list-plugins", "--json").stdout) if one["name"] == "zoo"
        ]
        assert (zoo["status"], zoo["components"]) == ("ok", {"model": 1200, "loss": 1})
        assert "1,200 models, 1 loss" in self.run(site, "list-plugins").stdout

    def test_a_broken_one_breaks_nothing_and_is_told_once_on_stderr(self, wrecked: Path) -> None:
        ran = self.run(wrecked, "list", "models")
        assert ran.returncode == 0
        assert "zoo/*" in ran.stdout
        assert ran.stderr == (
            "warning: the plugin 'wreck' of birdplane-wreck 1.2 is broken in part: its models cannot be listed: "
            "RuntimeError: no names (see `birdplane list-plugins`)\n"
        )
        assert self.run(wrecked, "list", "losses").stderr == ""
        assert self.run(wrecked, "show", "zoo/vit7").stderr == ""

    def test_list_plugins_tells_what_is_broken_and_what_works_in_one_line(self, wrecked: Path) -> None:
        ran = self.run(wrecked, "list-plugins")
        assert (ran.returncode, ran.stderr) == (0, "")
        (line,) = [line for line in ran.stdout.splitlines() if line.startswith("wreck")]
        assert line.split()[:4] == ["wreck", "1.2", "birdplane-wreck", "broken"]
        assert "its models cannot be listed: RuntimeError: no names" in line
        assert "its dataset 'one' cannot be described: TypeError: member returned 3" in line
        assert line.endswith("the rest works: 1 dataset, 1 loss")
        listed = json.loads(self.run(wrecked, "list-plugins", "--json").stdout)
        assert [(one["name"], one["status"]) for one in listed if one["name"] in ("wreck", "zoo")] == [
            ("wreck", "broken"),
            ("zoo", "ok"),
        ]


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
        assert (ran.code, ran.err) == (0, "")
        assert f"book: sound so far; training downloads 170 MB to {tmp_path / 'cache'}" in ran.out
        told = birdplane("check", "book", "--json").json
        assert (told["sound"], told["missing"]["size"]) == (True, 170_052_171)
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
