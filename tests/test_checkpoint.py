"""Checkpoints are there whole or not at all, and come back bit by bit."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from birdplane import checkpoint
from birdplane.checkpoint import DamagedCheckpoint
from birdplane.checkpoint.manifest import sealed
from birdplane.errors import BirdplaneError


def save(folder: Path, step: int, value: float | None = None) -> Path:
    tensors = {"model": {"weight": torch.full((3, 4), float(step if value is None else value))}}
    return checkpoint.save(folder, step, tensors=tensors, state={"epoch": step, "loss": 0.1})


def value_of(found: checkpoint.Checkpoint | None) -> float | None:
    return found.tensors["model"]["weight"][0, 0].item() if found else None


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def bits(tensor: Tensor) -> bytes:
    return bytes(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())


# --- what comes back --------------------------------------------------------------------------------------


def test_tensors_of_every_layout_and_type_come_back(tmp_path: Path) -> None:
    base = torch.randn(6, 4)
    tensors = {
        "plain": base,
        "same": base,
        "transposed": base.t(),
        "part": base[2:, 1:3],
        "channels_last": torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
        "scalar": torch.tensor(3.5),
        "empty": torch.empty(0, 3),
        "expanded": torch.tensor([1.0]).expand(5),
        "bfloat16": torch.randn(5).bfloat16(),
        "half": torch.tensor([math.nan, math.inf, -0.0]).half(),
        "double": torch.randn(5, dtype=torch.float64),
        "flags": torch.tensor([True, False]),
        "counts": torch.arange(5),
        "pixels": torch.arange(5, dtype=torch.uint8),
        "parameter": nn.Parameter(torch.randn(3)),
    }
    path = checkpoint.save(tmp_path, 7, tensors={"model": tensors, "nothing": {}}, state=None)
    loaded = checkpoint.load(path)

    assert loaded.tensors["nothing"] == {}
    assert list(loaded.tensors["model"]) == sorted(tensors) or set(loaded.tensors["model"]) == set(tensors)
    for name, tensor in tensors.items():
        back = loaded.tensors["model"][name]
        assert (back.shape, back.dtype, bits(back)) == (tensor.shape, tensor.dtype, bits(tensor)), name
        assert back.is_contiguous()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.just("$float") | st.integers(), inner, max_size=3)
    ),
    max_leaves=10,
)


@settings(max_examples=60, deadline=None)
@given(VALUES)
def test_any_state_comes_back_from_strict_json_to_the_last_bit(value: Any) -> None:
    text = json.dumps(checkpoint.encode(value), allow_nan=False)

    assert _exact(checkpoint.decode(json.loads(text))) == _exact(value)


def _exact(value: Any) -> Any:
    if isinstance(value, float):
        return struct.pack(">d", value)
    if isinstance(value, list | tuple):
        return type(value)(_exact(item) for item in value)
    if isinstance(value, dict):
        return [(key, _exact(inner)) for key, inner in value.items()]
    return (type(value), value)


def test_a_state_that_cannot_be_kept_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"a set cannot be kept in a checkpoint \(metrics\.seen\)"):
        checkpoint.save(tmp_path, 1, tensors={}, state={"metrics": {"seen": {1}}})
    assert visible(tmp_path) == []


def test_a_checkpoint_has_the_permissions_that_the_umask_gives(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        path = save(tmp_path / "checkpoints", 1570)
    finally:
        os.umask(before)

    assert path.name == "00001570"
    assert path.stat().st_mode & 0o777 == 0o750
    assert {file.name: file.stat().st_mode & 0o777 for file in path.iterdir()} == {
        "model.safetensors": 0o640,
        "state.json": 0o640,
        "manifest.json": 0o640,
    }


@pytest.mark.parametrize("group", ["", "Model", "../model", "a/b", "a.b"])
def test_a_group_name_that_is_no_plain_word_is_refused(tmp_path: Path, group: str) -> None:
    with pytest.raises(ValueError, match="cannot name a group"):
        checkpoint.save(tmp_path, 1, tensors={group: {}}, state=None)


# --- damage -----------------------------------------------------------------------------------------------


def damages(path: Path) -> Iterator[tuple[str, bytes, bytes]]:
    """Yield (file, whole content, damaged content): flipped bits and truncations all over each file."""
    for file in sorted(path.iterdir()):
        whole = file.read_bytes()
        for at in range(0, len(whole) * 8, max(1, len(whole) * 8 // 70)):
            flipped = bytearray(whole)
            flipped[at // 8] ^= 1 << at % 8
            yield file.name, whole, bytes(flipped)
        for at in range(0, len(whole), max(1, len(whole) // 20)):
            yield file.name, whole, whole[:at]


def test_every_flipped_bit_and_every_truncation_is_detected_and_the_one_before_used(tmp_path: Path) -> None:
    save(tmp_path, 1)
    path = save(tmp_path, 2)
    count = 0
    for name, whole, damaged in damages(path):
        (path / name).write_bytes(damaged)
        found, told = checkpoint.newest(tmp_path)
        assert value_of(found) == 1, (name, count)
        assert [(error.path, name in str(error)) for error in told] == [(path, True)]
        assert "\n" not in str(told[0])
        (path / name).write_bytes(whole)
        count += 1
    assert count > 200
    assert value_of(checkpoint.load(path)) == 2


@pytest.mark.parametrize("name", ["model.safetensors", "state.json", "manifest.json"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    path = save(tmp_path, 1)
    (path / name).unlink()

    with pytest.raises(DamagedCheckpoint, match=f"{name} is missing"):
        checkpoint.load(path)


def test_a_file_that_does_not_belong_is_named(tmp_path: Path) -> None:
    path = save(tmp_path, 1)
    (path / "weights.pkl").write_bytes(b"")

    with pytest.raises(DamagedCheckpoint, match=r"weights.pkl does not belong to it"):
        checkpoint.load(path)


def test_a_link_in_place_of_a_file_is_not_followed(tmp_path: Path) -> None:
    path = save(tmp_path / "checkpoints", 1)
    (path / "state.json").rename(tmp_path / "state.json")
    (path / "state.json").symlink_to(tmp_path / "state.json")

    with pytest.raises(DamagedCheckpoint, match=r"state.json is not a file"):
        checkpoint.load(path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (None, "does not list state.json"),
        ({}, "does not list state.json"),
        ({"state.json": None}, "does not tell the size and sum of state.json"),
        (
            {"state.json": {"size": 1, "sha256": ""}, "../secret": {"size": 1, "sha256": ""}},
            "lists '../secret'",
        ),
    ],
)
def test_a_manifest_that_somebody_else_made_is_not_trusted(tmp_path: Path, files: Any, message: str) -> None:
    path = save(tmp_path, 1)
    content = {"format": 1, "step": 1, "files": files}
    (path / "manifest.json").write_bytes(sealed(content))

    with pytest.raises(DamagedCheckpoint, match=message):
        checkpoint.load(path)


def test_a_checkpoint_of_a_later_version_is_not_passed_over_as_if_it_were_damaged(tmp_path: Path) -> None:
    save(tmp_path, 1)
    path = save(tmp_path, 2)
    (path / "manifest.json").write_bytes(sealed({"format": 2}))

    with pytest.raises(checkpoint.LaterCheckpoint, match="of format 2, of which only up to 1 is known here"):
        checkpoint.newest(tmp_path)


def test_a_checkpoint_of_no_format_is_damaged(tmp_path: Path) -> None:
    save(tmp_path, 1)
    path = save(tmp_path, 2)
    (path / "manifest.json").write_bytes(sealed({"format": "2"}))

    found, told = checkpoint.newest(tmp_path)
    assert value_of(found) == 1
    assert "is of format 2; this version reads 1" in str(told[0])


def test_a_checkpoint_under_another_steps_name_is_damaged(tmp_path: Path) -> None:
    save(tmp_path, 1).rename(tmp_path / "00000002")

    with pytest.raises(DamagedCheckpoint, match="that of step 1"):
        checkpoint.load(tmp_path / "00000002")


def test_where_all_are_damaged_there_is_none_and_each_is_told(tmp_path: Path) -> None:
    for step in (1, 2):
        (save(tmp_path, step) / "manifest.json").write_text("[" * 100_000)

    found, told = checkpoint.newest(tmp_path)
    assert found is None
    assert [error.path.name for error in told] == ["00000002", "00000001"]


def test_a_folder_that_is_not_there_has_no_checkpoint(tmp_path: Path) -> None:
    assert checkpoint.newest(tmp_path / "nowhere") == (None, [])


# --- trouble while writing --------------------------------------------------------------------------------


class Fault:
    """Calls `strike` in place of the nth write, flush, rename or mkdir from now on."""

    def __init__(self, patch: pytest.MonkeyPatch, nth: int, strike: Callable[[], None]) -> None:
        self.left = nth
        self.strike = strike
        for owner, name in ((os, "write"), (os, "fsync"), (Path, "rename"), (Path, "mkdir")):
            patch.setattr(owner, name, self._instead(getattr(owner, name)))

    def _instead(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                self.strike()
            return real(*arguments, **named)

        return call


def strikes(code: int) -> Callable[[], None]:
    def strike() -> None:
        raise OSError(code, os.strerror(code))

    return strike


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("step", [2, 1], ids=["a new step", "the same step again"])
def test_whatever_fails_in_writing_the_one_before_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, step: int
) -> None:
    for nth in range(1, 100):
        folder = tmp_path / str(nth)
        save(folder, 1)
        with monkeypatch.context() as patch:
            fault = Fault(patch, nth, strikes(code))
            told = _trouble_in_saving(folder, step)
        if fault.left > 0:
            break
        assert told
        assert "\n" not in told
        found, damaged = checkpoint.newest(folder)
        assert value_of(found) in (1.0, 7.0)
        assert damaged == []
        assert value_of(checkpoint.load(save(folder, 3))) == 3
        assert [name for name in visible(folder) if name.startswith(".")] == []
    assert nth > 10


def _trouble_in_saving(folder: Path, step: int) -> str:
    try:
        save(folder, step, 7.0)
    except BirdplaneError as error:
        return str(error)
    return ""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("step", [2, 1], ids=["a new step", "the same step again"])
def test_wherever_a_kill_falls_a_whole_checkpoint_is_left(tmp_path: Path, step: int) -> None:
    killed = 0
    for nth in range(1, 100):
        folder = tmp_path / str(nth)
        save(folder, 1)
        status = _in_a_fork(lambda: _save_until_killed(folder, step, nth))  # noqa: B023 - called at once
        if not os.WIFSIGNALED(status):
            break
        killed += 1
        found, damaged = checkpoint.newest(folder)
        assert value_of(found) in (1.0, 7.0)
        assert damaged == []
        save(folder, 3)
        assert set(visible(folder)) <= {"00000001", "00000002", "00000003"}
        assert value_of(checkpoint.load(folder / "00000001")) in (1.0, 7.0)
    assert killed > 10


def _save_until_killed(folder: Path, step: int, nth: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        Fault(patch, nth, lambda: os.kill(os.getpid(), signal.SIGKILL))
        save(folder, step, 7.0)


def _in_a_fork(act: Callable[[], object]) -> int:
    child = os.fork()
    if child == 0:
        try:
            act()
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1]


# --- keeping some -----------------------------------------------------------------------------------------


def test_the_last_two_and_the_best_are_kept(tmp_path: Path) -> None:
    for step in range(1, 7):
        save(tmp_path, step)
    removed = checkpoint.prune(tmp_path, best=2)

    assert [path.name for path in removed] == ["00000001", "00000003", "00000004"]
    assert visible(tmp_path) == ["00000002", "00000005", "00000006"]
    assert checkpoint.steps(tmp_path) == [2, 5, 6]


def test_pruning_never_removes_the_last(tmp_path: Path) -> None:
    save(tmp_path, 1)
    assert checkpoint.prune(tmp_path) == []
    with pytest.raises(ValueError, match="at least one"):
        checkpoint.prune(tmp_path, keep=0)


def test_a_run_that_goes_on_from_an_earlier_step_leaves_no_later_ones(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save(tmp_path, step)
    checkpoint.rewind(tmp_path, 1)

    assert visible(tmp_path) == ["00000001"]


def test_damaged_ones_are_set_aside_until_two_later_ones_are_there(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save(tmp_path, step)
    (tmp_path / "00000002" / "state.json").unlink()
    (tmp_path / "00000003").rename(tmp_path / ".00000003.old")
    damaged = [tmp_path / "00000002", tmp_path / ".00000003.old"]
    for _ in range(2):  # again, as after a kill in its midst: nothing more happens
        checkpoint.rewind(tmp_path, 1, damaged)
        assert visible(tmp_path) == [".00000002.damaged", ".00000003.damaged", "00000001"]
        assert checkpoint.steps(tmp_path) == [1]
    seen = []
    for step in (2, 3, 4, 5):
        save(tmp_path, step)
        checkpoint.prune(tmp_path)
        seen.append(visible(tmp_path))

    assert seen == [
        [".00000002.damaged", ".00000003.damaged", "00000001", "00000002"],
        [".00000002.damaged", ".00000003.damaged", "00000002", "00000003"],
        [".00000003.damaged", "00000003", "00000004"],
        ["00000004", "00000005"],
    ]


def test_a_removal_cut_short_leaves_nothing_that_looks_damaged(tmp_path: Path) -> None:
    path = save(tmp_path, 1)
    path.rename(tmp_path / ".00000001.gone")
    (tmp_path / ".00000001.gone" / "state.json").unlink()

    assert checkpoint.newest(tmp_path) == (None, [])
    save(tmp_path, 2)
    assert visible(tmp_path) == ["00000002"]


# --- tensors in their places ------------------------------------------------------------------------------


def test_loading_a_model_keeps_its_layout(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source, target = (
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)).to(memory_format=torch.channels_last)
        for _ in "ab"
    )
    path = checkpoint.save(tmp_path, 1, tensors={"model": source.state_dict()}, state=None)
    strides = target[0].weight.stride()
    checkpoint.load_tensors(target.state_dict(), checkpoint.load(path).tensors["model"])

    assert all(
        torch.equal(a, b)
        for a, b in zip(source.state_dict().values(), target.state_dict().values(), strict=True)
    )
    assert target[0].weight.stride() == strides != torch.empty(8, 3, 3, 3).stride()


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        ({}, "it has no 'weight' for the model"),
        ({"weight": torch.ones(2), "bias": torch.ones(2)}, "the model has no 'bias'"),
        (
            {"weight": torch.ones(3)},
            r"'weight' of the model is float32 \[2\], in the checkpoint float32 \[3\]",
        ),
        ({"weight": torch.ones(2).double()}, r"in the checkpoint float64 \[2\]"),
    ],
)
def test_a_model_that_does_not_fit_is_refused_and_unchanged(saved: dict[str, Tensor], message: str) -> None:
    live = {"weight": torch.zeros(2)}
    with pytest.raises(BirdplaneError, match=message):
        checkpoint.load_tensors(live, saved)
    assert torch.equal(live["weight"], torch.zeros(2))


Make = Callable[[list[dict[str, Any]]], torch.optim.Optimizer]

OPTIMIZERS: dict[str, Make] = {
    "sgd": lambda groups: torch.optim.SGD(groups, lr=0.1),
    "sgd with momentum": lambda groups: torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True),
    "fused sgd": lambda groups: torch.optim.SGD(groups, lr=0.1, momentum=0.9, fused=True),
    "adam": lambda groups: torch.optim.Adam(groups, lr=0.01),
    "adam with amsgrad": lambda groups: torch.optim.Adam(groups, lr=0.01, amsgrad=True),
    "fused adamw": lambda groups: torch.optim.AdamW(groups, lr=0.01, fused=True),
    "foreach adamw": lambda groups: torch.optim.AdamW(groups, lr=0.01, foreach=True),
    "adam with a tensor rate": lambda groups: torch.optim.Adam(groups, lr=torch.tensor(0.01), fused=True),
    "adagrad": lambda groups: torch.optim.Adagrad(groups, lr=0.1),
    "rmsprop": lambda groups: torch.optim.RMSprop(groups, lr=0.01, momentum=0.5),
    "lbfgs": lambda groups: torch.optim.LBFGS(
        [p for group in groups for p in group["params"]], lr=0.1, max_iter=2
    ),
}


def network(layout: torch.memory_format = torch.channels_last) -> nn.Module:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2), nn.Linear(2, 2))
    return net.to(memory_format=layout)


def optimizer_of(net: nn.Module, make: Make) -> torch.optim.Optimizer:
    convolution, _, _, linear, _unused = net
    groups = [{"params": list(convolution.parameters()), "weight_decay": 0.01}]
    return make([*groups, {"params": [*linear.parameters(), *_unused.parameters()]}])


def train(net: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        images = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(step))

        def closure(images: Tensor = images) -> float:
            optimizer.zero_grad()
            # The last layer gets no gradient, so its parameters have no state.
            loss = net[:4](images).square().mean()
            loss.backward()
            return float(loss.detach())

        optimizer.step(closure)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_goes_on_from_a_checkpoint_to_the_very_same_numbers(tmp_path: Path, name: str) -> None:
    # LBFGS itself cannot do with any other layout.
    layout = torch.contiguous_format if name == "lbfgs" else torch.channels_last
    whole = network(layout)
    whole_optimizer = optimizer_of(whole, OPTIMIZERS[name])
    train(whole, whole_optimizer, range(3))
    tensors, state = checkpoint.optimizer_state(whole_optimizer)
    groups = {"model": whole.state_dict(), "optimizer": tensors}
    path = checkpoint.save(tmp_path, 3, tensors=groups, state={"optimizer": state})
    train(whole, whole_optimizer, range(3, 6))

    loaded = checkpoint.load(path)
    resumed = network(layout)
    optimizer = optimizer_of(resumed, OPTIMIZERS[name])
    checkpoint.load_tensors(resumed.state_dict(), loaded.tensors["model"])
    checkpoint.load_optimizer_state(optimizer, loaded.tensors["optimizer"], loaded.state["optimizer"])
    train(resumed, optimizer, range(3, 6))

    assert list(map(_layout, resumed.parameters())) == list(map(_layout, whole.parameters()))
    mine, theirs = checkpoint.optimizer_state(optimizer), checkpoint.optimizer_state(whole_optimizer)
    assert mine[1] == theirs[1]
    assert {key: _layout(value) for key, value in mine[0].items()} == {
        key: _layout(value) for key, value in theirs[0].items()
    }


def _layout(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.dtype, tensor.device, tensor.shape, tensor.stride(), bits(tensor)


def test_loading_into_an_optimizer_that_has_run_copies_into_its_tensors() -> None:
    net = network()
    optimizer = optimizer_of(net, OPTIMIZERS["fused adamw"])
    train(net, optimizer, range(2))
    tensors, state = checkpoint.optimizer_state(optimizer)
    kept = {name: tensor.clone() for name, tensor in tensors.items()}
    train(net, optimizer, range(2, 4))
    places = {name: tensor.data_ptr() for name, tensor in checkpoint.optimizer_state(optimizer)[0].items()}
    checkpoint.load_optimizer_state(optimizer, kept, state)

    after, _ = checkpoint.optimizer_state(optimizer)
    assert {name: tensor.data_ptr() for name, tensor in after.items()} == places
    assert all(torch.equal(after[name], kept[name]) for name in kept)


def test_how_an_optimizer_computes_stays_while_what_it_computes_is_loaded() -> None:
    net = network()
    tensors, state = checkpoint.optimizer_state(optimizer_of(net, OPTIMIZERS["fused adamw"]))
    optimizer = optimizer_of(net, lambda groups: torch.optim.AdamW(groups, lr=0.5, foreach=True))
    checkpoint.load_optimizer_state(optimizer, tensors, state)

    assert [(group["lr"], group["fused"], group["foreach"]) for group in optimizer.param_groups] == [
        (0.01, None, True),
        (0.01, None, True),
    ]


def test_the_state_of_another_optimizer_is_refused() -> None:
    tensors, state = checkpoint.optimizer_state(torch.optim.SGD(network().parameters(), lr=0.1))
    with pytest.raises(BirdplaneError, match="it is of SGD, not of Adam"):
        checkpoint.load_optimizer_state(torch.optim.Adam(network().parameters()), tensors, state)
    with pytest.raises(BirdplaneError, match="its SGD is over parameters of other shapes"):
        checkpoint.load_optimizer_state(torch.optim.SGD([torch.zeros(3)], lr=0.1), tensors, state)
