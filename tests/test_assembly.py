"""A pipeline's parts fitted to one another, and what is said where they do not fit."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from birdplane import BirdplaneError, Pipeline, UsageError
from birdplane.assembly import (
    Assembly,
    available_devices,
    build_splits,
    environment,
    pick_device,
    usable_precision,
)
from birdplane.registry import Catalog

Tiny = Callable[..., Pipeline]
CPU = torch.device("cpu")


def assembled(pipeline: Pipeline) -> tuple[Assembly, tuple[Tensor, Tensor]]:
    """Build everything up to the model and return it with a batch of two, as training does."""
    splits = build_splits(pipeline)
    assembly = Assembly(pipeline, splits.classes, CPU, "float32")
    assembly.build_chain(splits.train)
    batch = next(assembly.batches(splits.validation, batch_size=2).epoch())
    assembly.build_model(tuple(batch[0].shape[1:]))  # type: ignore[arg-type]
    return assembly, batch


def checked(pipeline: Pipeline) -> Assembly:
    assembly, batch = assembled(pipeline)
    assembly.check_shapes(batch)
    return assembly


def with_model(build: Callable[..., Any], **record: Any) -> Catalog:
    catalog = Catalog()
    catalog["model"].register("own", build, **record)
    return catalog


def with_dataset(build: Callable[..., Any]) -> Catalog:
    catalog = Catalog()
    catalog["dataset"].register("own", build)
    return catalog


def message_of(pipeline: Pipeline) -> str:
    with pytest.raises(BirdplaneError) as caught:
        checked(pipeline)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Devices and precision.


def test_the_automatic_device_is_the_first_of_those_that_are_there() -> None:
    assert str(pick_device("auto")) == available_devices()[0]
    assert pick_device("cpu") == CPU
    assert available_devices()[-1] == "cpu"


def test_a_device_that_is_not_there_is_told_with_those_that_are() -> None:
    absent = "cuda:99" if torch.cuda.is_available() else "cuda"
    with pytest.raises(UsageError) as caught:
        pick_device(absent)
    here = ", ".join(available_devices())
    assert str(caught.value) == f"training.device: '{absent}' is not there (here: auto, {here})"


def test_a_word_that_is_no_device_is_told() -> None:
    with pytest.raises(UsageError, match=r"training\.device: 'gpu' is no device \(here: auto, "):
        pick_device("gpu")


def test_float32_is_computed_in_without_an_excuse() -> None:
    assert usable_precision("float32", CPU) == ("float32", "")


@pytest.mark.parametrize(("pays", "precision"), [(True, "bfloat16"), (False, "float32")])
def test_bfloat16_is_replaced_where_the_device_is_slow_at_it(
    monkeypatch: pytest.MonkeyPatch, pays: bool, precision: str
) -> None:
    monkeypatch.setattr("birdplane.assembly.bfloat16_pays", lambda device: pays)
    used, excuse = usable_precision("bfloat16", CPU)
    assert used == precision
    assert excuse == ("" if pays else "bfloat16 is slow on this CPU: computing in float32")


#: Probes at rest, and while each processor has two processes that never wait.
_PROBING = """
import os, subprocess, sys, torch
from birdplane.assembly import bfloat16_pays

def pays():
    return bfloat16_pays(torch.device("cpu"))

found = [pays()]
command = [sys.executable, "-c", "print(flush=True)\\nwhile True: pass"]
busy = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2 * os.cpu_count())]
for process in busy:
    process.stdout.readline()
found += [pays() for _ in range(5)]
for process in busy:
    process.kill()
print(*found)
"""


def test_whether_bfloat16_pays_is_found_the_same_on_a_busy_machine() -> None:
    # In a process with as many threads as processors, which is what a training has, and the tests have not.
    own = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    command = [sys.executable, "-c", _PROBING]
    done = subprocess.run(command, env=own, check=True, capture_output=True, text=True, timeout=120)
    assert len(set(done.stdout.split())) == 1, done.stdout


def test_the_environment_holds_what_exact_numbers_depend_on() -> None:
    known = environment(CPU)
    assert known["torch"] == torch.__version__
    assert known["threads"] == torch.get_num_threads()


# Parts that fit.


def test_the_weights_follow_the_seed_and_leave_the_global_generator_alone(tiny: Tiny) -> None:
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    one, _ = assembled(tiny())
    assert torch.equal(torch.rand(2), expected)
    two, _ = assembled(tiny())
    other, _ = assembled(tiny("seed=1"))
    weights = [next(iter(assembly.model.parameters())) for assembly in (one, two, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_what_normalize_measures_is_measured_on_the_training_pictures_alone(tiny: Tiny) -> None:
    pipeline = tiny()
    assembly, _ = assembled(pipeline)
    pixels = torch.from_numpy(build_splits(pipeline).train.decode(range(64))[0]).double() / 255
    measured = assembly.fitted["1"]
    assert measured["mean"] == pytest.approx(pixels.mean(dim=(0, 2, 3)).tolist(), rel=1e-6)
    assert measured["std"] == pytest.approx(pixels.std(dim=(0, 2, 3), correction=0).tolist(), rel=1e-6)


def test_what_was_measured_before_is_not_measured_again(tiny: Tiny) -> None:
    assembly = Assembly(tiny(), ("a", "b"), CPU, "float32")
    assembly.build_chain(None, {"1": {"mean": [0.5, 0.5, 0.5], "std": [0.1, 0.2, 0.3]}})
    result = assembly.chain(torch.full((1, 3, 2, 2), 255, dtype=torch.uint8))
    assert result[0, :, 0, 0].tolist() == pytest.approx([5.0, 2.5, 1.6666667])


def test_given_statistics_are_not_measured(tiny: Tiny) -> None:
    assembly, _ = assembled(tiny("transforms.1.mean=[0.5]", "transforms.1.std=[0.5]"))
    assert assembly.fitted == {}


@pytest.mark.parametrize("loss", ["nll", "cross-entropy", "mse"])
def test_probabilities_sum_to_one_whatever_reaches_the_loss(tiny: Tiny, loss: str) -> None:
    assembly, (images, _) = assembled(tiny(f"loss.use={loss}"))
    with torch.no_grad():
        shares = assembly.probabilities(assembly.outputs(images))
        expected = torch.softmax(assembly.model(images), dim=1)
    assert torch.allclose(shares, expected)


def test_checking_the_shapes_leaves_no_trace_in_the_model(tiny: Tiny) -> None:
    assembly, batch = assembled(tiny("model.use=resnet", "model.blocks=1", "model.widths=[4]"))
    before = {name: tensor.clone() for name, tensor in assembly.model.state_dict().items()}
    assembly.check_shapes(batch)
    assert all(torch.equal(before[name], tensor) for name, tensor in assembly.model.state_dict().items())
    assert all(parameter.grad is None for parameter in assembly.model.parameters())
    assert assembly.model.training


def test_the_size_of_evaluation_batches_follows_the_size_of_the_pictures(tiny: Tiny) -> None:
    pipeline = tiny("dataset.size=64", "dataset.train=8", "dataset.test=300")
    splits = build_splits(pipeline)
    batches = Assembly(pipeline, splits.classes, CPU, "float32").batches(splits.validation)
    assert [len(labels) for _, labels in batches.epoch()] == [128, 128, 44]


# Parts that do not.


def test_a_model_with_the_wrong_number_of_outputs_is_told_in_words(tiny: Tiny) -> None:
    catalog = with_model(lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 5)))
    assert message_of(tiny("model.use=own", catalog=catalog)) == (
        "tiny.toml: model: 'own' is given pictures (3, 8, 8) and yields (2, 5): expected (2, 2), one number for each "
        "of the 2 classes"
    )


def test_a_model_that_does_not_fit_the_pictures_is_told_in_words(tiny: Tiny) -> None:
    catalog = with_model(lambda: nn.Sequential(nn.Flatten(), nn.Linear(3072, 2)))
    message = message_of(tiny("model.use=own", catalog=catalog))
    assert message.startswith("tiny.toml: model: 'own' is given pictures (3, 8, 8) and fails: ")
    assert "192" in message
    assert "3072" in message


def test_a_model_that_refuses_the_pictures_itself_is_told_with_its_key(tiny: Tiny) -> None:
    message = message_of(tiny("model.use=convolutional", "transforms=[]"))
    assert message.startswith("tiny.toml: transforms: uint8 pictures reach the model, which needs floats")
    assert 'use "to-tensor"' in message


def test_pictures_too_small_for_a_net_are_told_with_the_key(tiny: Tiny) -> None:
    def tiny_pictures() -> Any:
        return [(torch.zeros(3, 2, 2, dtype=torch.uint8), label % 2) for label in range(20)]

    pipeline = tiny(
        "dataset.use=own", "model.use=convolutional", "transforms.1.mean=[0.0]", "transforms.1.std=[1.0]",
        catalog=with_dataset(tiny_pictures),
    )  # fmt: skip
    assert message_of(pipeline).startswith("tiny.toml: model: convolutional: the pictures are 3x2x2")


def test_what_is_no_module_is_told(tiny: Tiny) -> None:
    assert message_of(tiny("model.use=own", catalog=with_model(lambda: 3))).endswith(
        "model: expected a torch.nn.Module, got int"
    )


def test_what_a_components_code_raises_is_told_with_the_key_and_whose_it_is(tiny: Tiny) -> None:
    def failing() -> Any:
        raise KeyError("no weights\nhere")

    message = message_of(tiny("model.use=own", catalog=with_model(failing)))
    assert message == "tiny.toml: model: model 'own' of python fails: KeyError: 'no weights\\nhere'"


def test_a_label_out_of_range_is_told(tiny: Tiny) -> None:
    class Odd:
        classes = ("a", "b")

        def __len__(self) -> int:
            return 20

        def __getitem__(self, index: int) -> Any:
            return torch.full((3, 8, 8), index, dtype=torch.uint8), 7

    message = message_of(tiny("dataset.use=own", catalog=with_dataset(Odd)))
    assert message == "tiny.toml: dataset: picture 0 has the label 7, but there are 2 classes, counted from 0"


def test_a_loss_that_is_not_scalar_is_told(tiny: Tiny) -> None:
    catalog = Catalog()
    catalog["loss"].register("own", lambda: lambda outputs, labels: outputs.sum(dim=1))
    message = message_of(tiny("loss.use=own", catalog=catalog))
    assert message == "tiny.toml: loss: yields (2,), expected a tensor of a single number, the mean"


def test_a_loss_that_returns_a_number_and_no_tensor_is_told(tiny: Tiny) -> None:
    catalog = Catalog()
    catalog["loss"].register("own", lambda: lambda outputs, labels: 0.5)
    message = message_of(tiny("loss.use=own", catalog=catalog))
    assert message == "tiny.toml: loss: yields float, expected a tensor of a single number, the mean"


def test_a_loss_that_fails_is_told(tiny: Tiny) -> None:
    catalog = Catalog()
    catalog["loss"].register("own", lambda: lambda outputs, labels: outputs @ labels)
    message = message_of(tiny("loss.use=own", catalog=catalog))
    assert message.startswith("tiny.toml: loss: fails on outputs (2, 2): ")


def test_a_transform_that_does_not_fit_is_told_with_the_steps_key(tiny: Tiny) -> None:
    message = message_of(tiny("transforms.1.mean=[0.5, 0.5]", "transforms.1.std=[0.5, 0.5]"))
    assert "transforms.1 (normalize): mean and std are for 2 channels, the pictures have 3" in message
    message = message_of(tiny("transforms=[{use='normalize'}]"))
    assert "transforms.0 (normalize)" in message
    assert "put to-tensor before it" in message


def test_parameters_that_a_component_refuses_itself_are_told_with_the_key(tiny: Tiny) -> None:
    message = message_of(tiny("transforms.1.mean=[0.5]"))
    assert (
        message
        == "tiny.toml: transforms.1: normalize: give both mean and std, or neither, to have them measured"
    )
