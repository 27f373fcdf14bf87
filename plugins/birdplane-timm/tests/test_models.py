"""timm's models: their names, without timm; each built for any pictures that it can take; their weights."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from birdplane_timm import zoo
from safetensors.torch import save_file
from timm.models import get_pretrained_cfg

from birdplane import BirdplaneError, UsageError, models

_ENCODERS = {name for name in timm.list_models() if name.endswith("_enc")}
_CHOSEN = random.Random(4).sample(sorted(set(timm.list_models()) - _ENCODERS), 100)


def built(
    name: str, side: int = 32, channels: int = 3, classes: int = 2, **parameters: Any
) -> torch.nn.Module:
    model: torch.nn.Module = models.create(
        f"timm/{name}", input_shape=(channels, side, side), num_classes=classes, **parameters
    )
    return model


def test_the_names_read_from_the_source_are_those_that_timm_registers() -> None:
    assert set(zoo.modules()) == set(timm.list_models())
    assert set(zoo.names()) == set(timm.list_models()) - _ENCODERS
    assert len(zoo.names()) > 1000


def test_what_is_left_out_classifies_nothing() -> None:
    assert {get_pretrained_cfg(name).num_classes for name in _ENCODERS} == {0}
    assert len(_ENCODERS) < 10


def test_listing_and_describing_imports_neither_torch_nor_timm() -> None:
    program = (
        "import sys, time; from birdplane import models; names = models.names(); models.get('timm/resnet18');"
        "models.signature('timm/resnet18');"
        "print(len(names), sorted({'torch', 'timm', 'numpy', 'huggingface_hub'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    count, _, imported = done.stdout.strip().partition(" ")
    assert int(count) > 1000
    assert imported == "[]"


def assert_builds_at_64_or_its_smallest_size(name: str) -> None:
    with torch.device("meta"), torch.no_grad():
        try:
            side, model = 64, built(name, 64, classes=7)
        except UsageError as error:
            side = int(str(error).partition(", but ")[2].partition("x")[0])
            model = built(name, side, classes=7)
        assert all(parameter.is_meta for parameter in model.parameters())
        assert model.eval()(torch.empty(2, 3, side, side)).shape == (2, 7)


@pytest.mark.parametrize("name", _CHOSEN[:12])
def test_a_dozen_drawn_by_chance_have_as_many_outputs_as_classes(name: str) -> None:
    assert_builds_at_64_or_its_smallest_size(name)


@pytest.mark.long
@pytest.mark.parametrize("name", _CHOSEN[12:])
def test_a_hundred_drawn_by_chance_have_as_many_outputs_as_classes(name: str) -> None:
    assert_builds_at_64_or_its_smallest_size(name)


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
def test_a_model_takes_small_and_grey_pictures(name: str) -> None:
    assert built(name, channels=1, classes=3).eval()(torch.zeros(2, 1, 32, 32)).shape == (2, 3)


def test_pictures_that_are_too_small_are_refused_with_the_size_and_the_mend() -> None:
    with pytest.raises(UsageError) as told:
        built("crossvit_9_240", 32)
    assert str(told.value) == (
        "timm/crossvit_9_240 cannot take pictures of 32x32, but 240x240 (mend: as the last transform, "
        '{ use = "timm/preprocess", model = "crossvit_9_240" })'
    )


def test_a_parameter_that_a_model_does_not_have_is_named() -> None:
    assert built("resnet18", drop_rate=0.5, drop_path_rate=0.1) is not None
    with pytest.raises(UsageError, match=r"^drop_path_rate: timm/vgg11 has no such parameter; leave it out$"):
        built("vgg11", drop_path_rate=0.1)


def test_a_seeded_build_repeats() -> None:
    def weights() -> dict[str, torch.Tensor]:
        torch.manual_seed(3)
        return built("resnet10t").state_dict()

    first, second = weights(), weights()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("resnet18", {"fc.weight", "fc.bias"}),
        ("mobilenetv3_small_050", {"classifier.weight", "classifier.bias"}),
        ("vit_tiny_patch16_224", {"head.weight", "head.bias", "pos_embed"}),
    ],
)
def test_weights_of_a_file_are_taken_but_for_the_last_layer_and_positions_of_another_size(
    tmp_path: Path, name: str, own: set[str]
) -> None:
    theirs = timm.create_model(name).state_dict()
    save_file(theirs, tmp_path / "w.safetensors")
    model = built(name, weights=str(tmp_path / "w.safetensors"))
    ours = model.state_dict()
    differing = {n for n in ours if ours[n].shape != theirs[n].shape or not torch.equal(ours[n], theirs[n])}
    assert differing == own
    assert model.eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 2)


def test_weights_for_the_same_classes_are_taken_whole(tmp_path: Path) -> None:
    theirs = built("resnet10t").state_dict()
    save_file(theirs, tmp_path / "w.safetensors")
    ours = built("resnet10t", weights=str(tmp_path / "w.safetensors")).state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_weights_that_do_not_fit_or_are_no_safetensors_are_refused_in_one_line(tmp_path: Path) -> None:
    save_file(built("resnet10t").state_dict(), tmp_path / "other.safetensors")
    with pytest.raises(BirdplaneError, match="these weights do not fit timm/resnet18: ") as told:
        built("resnet18", weights=str(tmp_path / "other.safetensors"))
    assert "\n" not in str(told.value)
    (tmp_path / "cut.safetensors").write_bytes(b"no")
    with pytest.raises(BirdplaneError, match="is damaged, or is no safetensors file"):
        built("resnet18", weights=str(tmp_path / "cut.safetensors"))
    torch.save({}, tmp_path / "pickle.pth")
    with pytest.raises(UsageError, match=r"no .safetensors file; birdplane reads no other, and no pickle"):
        built("resnet18", weights=str(tmp_path / "pickle.pth"))
    with pytest.raises(UsageError, match="weights: there is no file"):
        built("resnet18", weights=str(tmp_path / "absent.safetensors"))


def kept_by_the_hub(folder: Path, repository: str, **files: bytes) -> dict[str, str]:
    """Lay files where the hub's client keeps what it has downloaded; return the environment that says so."""
    place = folder / "hub" / f"models--{repository.replace('/', '--')}"
    revision = "0" * 40
    (place / "snapshots" / revision).mkdir(parents=True)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(revision)
    for name, content in files.items():
        (place / "snapshots" / revision / name.replace("__", ".")).write_bytes(content)
    return {"HF_HOME": str(folder), "HF_HUB_OFFLINE": "1"}


_PROGRAM = """
import json, sys, torch
from birdplane import BirdplaneError, models
opened = []
sys.addaudithook(lambda event, arguments: opened.append(str(arguments[0])) if event == "open" else None)
unpickled = []
sys.addaudithook(lambda event, arguments: unpickled.append(event) if event == "pickle.find_class" else None)
torch.load = lambda *arguments, **keywords: unpickled.append("torch.load")
try:
    model = models.create("timm/resnet10t", input_shape=(3, 32, 32), num_classes=2, pretrained=True)
    told = model.state_dict()["layer1.0.conv1.weight"].double().sum().item()
except BirdplaneError as error:
    told = str(error)
print(json.dumps([told, unpickled, [name for name in opened if "pytorch_model" in name]]))
"""


def loaded(environment: dict[str, str]) -> Any:
    import os

    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def test_pretrained_weights_come_from_the_hubs_safetensors_and_from_no_pickle(tmp_path: Path) -> None:
    repository = get_pretrained_cfg("resnet10t").hf_hub_id
    theirs = timm.create_model("resnet10t").state_dict()
    save_file(theirs, tmp_path / "w.safetensors")
    torch.save(theirs, tmp_path / "w.bin")
    both = kept_by_the_hub(
        tmp_path / "both",
        repository,
        model__safetensors=(tmp_path / "w.safetensors").read_bytes(),
        pytorch_model__bin=(tmp_path / "w.bin").read_bytes(),
    )
    (total, unpickled, opened), _ = loaded(both)
    assert total == theirs["layer1.0.conv1.weight"].double().sum().item()
    assert (unpickled, opened) == ([], [])
    pickled = kept_by_the_hub(
        tmp_path / "pickled", repository, pytorch_model__bin=(tmp_path / "w.bin").read_bytes()
    )
    (told, unpickled, opened), errors = loaded(pickled)
    assert told == (
        "pretrained: the weights of resnet10t cannot be downloaded: HF_HUB_OFFLINE is set, and they are not in its "
        "cache; give its file by weights, or leave pretrained out"
    )
    assert (unpickled, opened, errors) == ([], [], "")


def test_weights_that_cannot_be_reached_are_told_in_one_line_at_once(tmp_path: Path) -> None:
    environment = {"HF_HOME": str(tmp_path), "HF_ENDPOINT": "http://hub.invalid"}
    environment |= dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "")
    environment |= dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "")
    (told, _, _), errors = loaded(environment)
    assert told.startswith(
        "pretrained: the weights of resnet10t cannot be downloaded: no address for hub.invalid"
    )
    assert "\n" not in told
    assert errors == ""


def test_a_model_without_weights_and_a_wrong_tag_are_told() -> None:
    with pytest.raises(UsageError, match="timm offers no weights for"):
        built(next(n for n in zoo.names() if not timm.is_model_pretrained(n)), 224, pretrained=True)
    with pytest.raises(UsageError, match="did you mean 'a1_in1k'"):
        built("resnet18", pretrained=True, tag="a1_in1")
    with pytest.raises(UsageError, match="give pretrained or weights, not both"):
        built("resnet18", pretrained=True, weights="w.safetensors")
