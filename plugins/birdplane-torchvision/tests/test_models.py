"""torchvision's classifiers: their names, without torchvision; each built for any pictures that it can take."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from birdplane_torchvision import zoo
from safetensors.torch import save_file

from birdplane import BirdplaneError, UsageError, models, transforms


def built(
    name: str, side: int = 32, channels: int = 3, classes: int = 2, **parameters: Any
) -> torch.nn.Module:
    model: torch.nn.Module = models.create(
        f"torchvision/{name}", input_shape=(channels, side, side), num_classes=classes, **parameters
    )
    return model


def test_the_names_read_from_the_source_are_those_that_torchvision_registers() -> None:
    assert zoo.names() == sorted(torchvision.models.list_models(torchvision.models))


def test_listing_and_describing_imports_neither_torch_nor_torchvision() -> None:
    program = (
        "import sys; from birdplane import datasets, models; names = models.names() + datasets.names();"
        "models.get('torchvision/resnet18'); models.signature('torchvision/resnet18');"
        "datasets.signature('torchvision/mnist');"
        "print(len(names), sorted({'torch', 'torchvision', 'numpy'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    count, _, imported = done.stdout.strip().partition(" ")
    assert int(count) > 90
    assert imported == "[]"


@pytest.mark.parametrize("name", [name for name in zoo.names() if zoo.modules()[name] != "regnet"])
def test_each_has_as_many_outputs_as_classes_in_training_too(name: str) -> None:
    with torch.device("meta"), torch.no_grad():
        try:
            side, model = 64, built(name, 64, classes=7)
        except UsageError as error:
            side = int(str(error).partition(", but ")[2].partition("x")[0])
            model = built(name, side, classes=7)
        assert model.train()(torch.empty(2, 3, side, side)).shape == (2, 7)


@pytest.mark.parametrize("name", ["regnet_y_400mf", "regnet_x_400mf"])
def test_regnets_which_cannot_be_built_without_values_take_small_pictures(name: str) -> None:
    assert built(name, classes=3)(torch.zeros(2, 3, 32, 32)).shape == (2, 3)


def test_grey_pictures_are_taken_as_three_equal_channels_and_others_are_refused() -> None:
    grey = built("resnet18", 28, channels=1).eval()
    picture = torch.rand(2, 1, 28, 28)
    assert torch.equal(grey(picture), grey(picture.expand(-1, 3, -1, -1)))
    with pytest.raises(UsageError, match="takes pictures of 3 channels, or grey ones; these have 4"):
        built("resnet18", channels=4)


def test_pictures_that_are_too_small_are_refused_with_the_mend() -> None:
    with pytest.raises(UsageError) as told:
        built("alexnet")
    assert str(told.value) == (
        "torchvision/alexnet cannot take pictures of 32x32, but 64x64 (mend: as the last transform, "
        '{ use = "torchvision/preprocess", model = "alexnet", size = 64 })'
    )


@pytest.mark.parametrize(
    ("name", "own"),
    [("resnet18", {"fc.weight", "fc.bias"}), ("squeezenet1_1", {"classifier.1.weight", "classifier.1.bias"})],
)
def test_weights_of_a_file_are_taken_but_for_the_last_layer_of_other_classes(
    tmp_path: Path, name: str, own: set[str]
) -> None:
    theirs = torchvision.models.get_model(name).state_dict()
    save_file(theirs, tmp_path / "w.safetensors")
    ours = built(name, weights=str(tmp_path / "w.safetensors")).state_dict()
    assert {n for n in ours if not torch.equal(ours[n], theirs[n])} == own


def test_weights_that_do_not_fit_or_are_no_safetensors_are_refused_in_one_line(tmp_path: Path) -> None:
    save_file(torchvision.models.resnet18().state_dict(), tmp_path / "w.safetensors")
    for name in ("resnet34", "alexnet", "resnet50"):
        with pytest.raises(BirdplaneError, match=f"does not fit torchvision/{name}: ") as told:
            built(name, 64, weights=str(tmp_path / "w.safetensors"))
        assert "\n" not in str(told.value)
    with pytest.raises(UsageError, match=r"is no .safetensors file; birdplane reads no other, and no pickle"):
        built("resnet18", weights=str(tmp_path / "w.pth"))


def test_weights_that_cannot_be_downloaded_are_told_in_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(
        BirdplaneError, match=r"^pretrained: the weights of resnet18 cannot be had from "
    ) as told:
        built("resnet18", pretrained=True)
    assert "\n" not in str(told.value)
    assert capfd.readouterr() == ("", "")


def test_preprocess_is_what_the_recommended_weights_say() -> None:
    images_NCHW = torch.randint(0, 256, (2, 3, 40, 60), dtype=torch.uint8)
    theirs = torchvision.models.ResNet18_Weights.DEFAULT.transforms()
    assert torch.equal(
        transforms.create("torchvision/preprocess", model="resnet18")(images_NCHW), theirs(images_NCHW)
    )
    small = transforms.create("torchvision/preprocess", model="resnet18", size=64)
    assert small(images_NCHW[:, :1]).shape == (2, 3, 64, 64)
