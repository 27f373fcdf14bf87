"""The conformance kit: birdplane's own plugin passes it, and each check finds the component that it is for."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
import torch
from annotated_types import Ge
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import Doc

from birdplane.components import KINDS
from birdplane.errors import UsageError
from birdplane.plugins import load_plugins
from birdplane.registry import Catalog
from birdplane.testing import (
    Check,
    CheckFailed,
    CheckSkipped,
    checks,
    checks_of_component,
    functions,
    name_of,
    outcomes,
    parametrize_checks,
)
from birdplane.testing.giving import Given
from birdplane_builtin.sketches import Sketches

OWN = load_plugins(frozenset({"*"}))


# birdplane's own plugin.


@parametrize_checks("builtin", plugins=OWN, parameters={"sketches": {"train": 60, "test": 60, "size": 16}})
def test_birdplanes_own_plugin_conforms(check: Check) -> None:
    check()


def test_a_dataset_of_ones_own_conforms_with_the_parameters_that_it_needs(tmp_path: Path) -> None:
    drawn = Sketches(split="train", train=40, size=16)
    for index in range(40):
        picture, label = drawn[index]
        folder = tmp_path / "pictures" / drawn.classes[label]
        folder.mkdir(parents=True, exist_ok=True)
        picture.save(folder / f"{index}.png")
    given = {"image-folder": {"path": str(tmp_path / "pictures"), "size": 16}}
    found = [
        check for check in checks("builtin", parameters=given, plugins=OWN) if "image-folder" in check.id
    ]
    assert {outcome.check.name: outcome.reason for outcome in outcomes(found) if outcome.reason} == {}


# Wrong components, one a check.


@dataclass(frozen=True)
class Wrong:
    """A component that is wrong in one way, with what its record says besides its name."""

    target: Any
    record: dict[str, Any] = field(default_factory=dict)


class Pictures:
    """A dataset in order, of 20 pictures a split."""

    classes: tuple[str, ...] = ("dark", "light")

    def __init__(self, split: str) -> None:
        self._first = 0 if split == "train" else 100

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> Any:
        pixels = np.full((8, 8, 3), self._first + index, np.uint8)
        return Image.fromarray(pixels), index % 2


class OneClass(Pictures):
    classes = ("alone",)

    def __getitem__(self, index: int) -> Any:
        return super().__getitem__(index)[0], 0


class Floats(Pictures):
    def __getitem__(self, index: int) -> Any:
        return torch.zeros(3, 8, 8), index % 2


class LabelsFromOne(Pictures):
    def __getitem__(self, index: int) -> Any:
        return super().__getitem__(index)[0], index % 2 + 1


class BatchesInItsOwnOrder(Pictures):
    def images(self, indices: np.ndarray) -> np.ndarray:
        return np.stack([np.asarray(self[i][0]).transpose(2, 0, 1) for i in sorted(indices)])

    def labels(self, indices: np.ndarray) -> np.ndarray:
        return np.array([self[i][1] for i in indices])


class OneSplit(Pictures):
    def __init__(self, split: str) -> None:
        super().__init__("train")


class Drawn(Pictures):
    def __getitem__(self, index: int) -> Any:
        pixels = np.random.default_rng().integers(255, size=(8, 8, 3), dtype=np.uint8)
        return Image.fromarray(pixels), index % 2


class WithAnOpenFile(Pictures):
    def __init__(self, split: str) -> None:
        super().__init__(split)
        self._name = lambda index: f"{index}.png"


def in_place(images_NCHW: Tensor) -> Tensor:
    return images_NCHW.mul_(2)


class Measuring:
    """A transform that measures, and forgets."""

    def __init__(self, *, mean: Annotated[float | None, Doc("What is taken off.")] = None) -> None:
        self.mean = 0.0

    def fit(self, batches: Iterator[Tensor]) -> dict[str, Any]:
        return {"mean": next(batches).float().mean().item()}

    def __call__(self, images_NCHW: Tensor) -> Tensor:
        return images_NCHW - 0.0


def bound_to_the_processor() -> Callable[[Tensor], Tensor]:
    weight = torch.ones(3, 1, 1)
    return lambda images_NCHW: images_NCHW * weight


def net(num_classes: int, size: int, *layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(size, num_classes), *layers)


def size_of(shape: tuple[int, int, int]) -> int:
    return shape[0] * shape[1] * shape[2]


class Net(nn.Module):
    """A linear classifier, to be wrong in one way."""

    def __init__(self, input_shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(size_of(input_shape), num_classes)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        outputs: Tensor = self.linear(images_NCHW.flatten(1))
        return outputs


class WithAnIdleLayer(Net):
    def __init__(self, input_shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__(input_shape, num_classes)
        self.idle = nn.Linear(2, 2)


class WithWeightsElsewhere(Net):
    def __init__(self, input_shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__(input_shape, num_classes)
        self.scale = [1.0]

    def forward(self, images_NCHW: Tensor) -> Tensor:
        if self.training:
            self.scale[0] += 1
        return super().forward(images_NCHW) * self.scale[0]


class WithItsOwnChance(Net):
    def __init__(self, input_shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__(input_shape, num_classes)
        with torch.no_grad():
            self.linear.bias.fill_(random.SystemRandom().random())


class WithDropoutAlways(Net):
    def forward(self, images_NCHW: Tensor) -> Tensor:
        return super().forward(functional.dropout(images_NCHW, 0.5, training=True))


class Miscalibrated(Net):
    def calibrate(self, images_NCHW: Tensor) -> None:
        with torch.no_grad():
            self.linear.bias.fill_(float("nan"))


class LookingAtNumbers(Net):
    def forward(self, images_NCHW: Tensor) -> Tensor:
        if images_NCHW.abs().max().item() > 1e9:
            raise ValueError("these are no pictures")
        return super().forward(images_NCHW)


class OverflowingInBfloat16(Net):
    def forward(self, images_NCHW: Tensor) -> Tensor:
        outputs = super().forward(images_NCHW)
        return outputs / (outputs.dtype != torch.bfloat16)


class OnTheProcessor(Net):
    def forward(self, images_NCHW: Tensor) -> Tensor:
        if images_NCHW.device.type not in ("cpu", "meta"):
            raise RuntimeError("expected pictures on the processor")
        return super().forward(images_NCHW)


def weighted_on_the_processor() -> Callable[[Tensor, Tensor], Tensor]:
    weight = torch.ones(())
    return lambda outputs_NK, labels_N: (
        functional.cross_entropy(outputs_NK, labels_N) + weight.cpu().view(1)[0]
    )


class Climbing(torch.optim.SGD):
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad.neg_()
        super().step(closure)


class Headlong(torch.optim.Optimizer):
    """Goes by its own pace, whatever its groups say."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, {"lr": 0.01})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.sub_(parameter.grad, alpha=0.01)


class KeepingAnObject(torch.optim.SGD):
    def step(self, closure: Any = None) -> None:
        super().step(closure)
        self.param_groups[0]["history"] = object()


class Forgetting(torch.optim.SGD):
    """Counts its steps where nothing is kept."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, lr=0.01)
        self.taken = 0

    def step(self, closure: Any = None) -> None:
        self.taken += 1
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad.div_(self.taken)
        super().step(closure)


class OffTheGpu(torch.optim.SGD):
    def step(self, closure: Any = None) -> None:
        if self.param_groups[0]["params"][0].device.type != "cpu":
            raise RuntimeError("expected weights on the processor")
        super().step(closure)


def moody(total_steps: int) -> Callable[[int], float]:
    asked: list[int] = []

    def factor(step: int) -> float:
        asked.append(step)
        return 1 / len(asked)

    return factor


def recipe(**changes: str) -> str:
    parts = {
        **{"dataset": "sketches", "model": "fully-connected", "loss": "nll", "optimizer": "sgd"},
        **changes,
    }
    return "\n".join(f'[{section}]\nuse = "{name}"' for section, name in parts.items())


def like_this() -> str:
    return recipe()


#: A right component of each kind, which passes; the wrong ones differ from it in one thing.
RIGHT: dict[str, Wrong] = {
    "dataset": Wrong(Pictures),
    "transform": Wrong(lambda: lambda images_NCHW: images_NCHW.flip(3)),
    "model": Wrong(Net),
    "loss": Wrong(lambda: functional.cross_entropy),
    "optimizer": Wrong(lambda params: torch.optim.SGD(params, lr=0.01)),
    "schedule": Wrong(lambda total_steps: lambda step: 1.0),
    "recipe": Wrong(like_this),
}


def undocumented(kind: str) -> Callable[..., Any]:
    """A right component with a parameter of which nothing is told."""
    right = RIGHT[kind].target
    return {
        "dataset": lambda split, size=1: right(split),
        "transform": lambda size=1: right(),
        "model": lambda input_shape, num_classes, size=1: right(input_shape, num_classes),
        "loss": lambda size=1: right(),
        "optimizer": lambda params, size=1: right(params),
        "schedule": lambda total_steps, size=1: right(total_steps),
    }[kind]


def with_an_illegal_default(kind: str) -> Callable[..., Any]:
    """A right component with a parameter whose default is out of its bounds."""
    made = undocumented(kind)
    made.__annotations__["size"] = Annotated[int, Ge(2), Doc("How large.")]
    return made


def wrong_in_any_kind(kind: str) -> dict[str, Wrong]:
    """What may be wrong in every kind but recipes."""
    if kind == "recipe":
        return {}
    return {
        "has-a-summary": Wrong(RIGHT[kind].target, {"summary": ""}),
        "target-resolves": Wrong("birdplane_builtin.no_such_module:thing"),
        "takes-legal-parameters": Wrong(with_an_illegal_default(kind)),
        "tells-what-its-parameters-do": Wrong(undocumented(kind)),
    }


OF_ITS_KIND: dict[str, dict[str, Wrong]] = {
    "dataset": {
        "builds": Wrong(OneClass),
        "items-are-pictures": Wrong(Floats),
        "labels-are-of-its-classes": Wrong(LabelsFromOne),
        "batches-agree-with-items": Wrong(BatchesInItsOwnOrder),
        "splits-differ": Wrong(OneSplit),
        "repeats": Wrong(Drawn),
        "survives-spawn": Wrong(WithAnOpenFile),
    },
    "transform": {
        "builds": Wrong(lambda: 3),
        "takes-pictures": Wrong(lambda: lambda image, size: image),
        "keeps-the-batch": Wrong(lambda: lambda images_NCHW: images_NCHW.flip(3)[:4]),
        "leaves-bytes-or-finite-floats": Wrong(lambda: lambda images_NCHW: (images_NCHW.float() - 3).log()),
        "leaves-its-input-alone": Wrong(lambda: in_place),
        "is-random-only-when-it-says-so": Wrong(
            lambda: lambda images: images + torch.rand(len(images), 1, 1, 1)
        ),
        "repeats-under-a-seed": Wrong(
            lambda: lambda images, generator: images + torch.rand(len(images), 1, 1, 1), {"random": True}
        ),
        "measures-what-makes-it-anew": Wrong(Measuring),
        "runs-on-the-gpu": Wrong(bound_to_the_processor),
    },
    "model": {
        "builds": Wrong(lambda input_shape, num_classes: nn.Flatten()),
        "yields-one-number-a-class": Wrong(
            lambda input_shape, num_classes: Net(input_shape, num_classes + 1)
        ),
        "yields-what-it-says": Wrong(
            lambda input_shape, num_classes: net(num_classes, size_of(input_shape), nn.Softmax(1))
        ),
        "gradients-reach-every-parameter": Wrong(WithAnIdleLayer),
        "state-round-trips": Wrong(WithWeightsElsewhere),
        "a-seeded-build-repeats": Wrong(WithItsOwnChance),
        "evaluation-is-not-random": Wrong(WithDropoutAlways),
        "calibrates": Wrong(Miscalibrated),
        "runs-on-meta": Wrong(LookingAtNumbers),
        "runs-in-bfloat16": Wrong(OverflowingInBfloat16),
        "runs-on-the-gpu": Wrong(OnTheProcessor),
    },
    "loss": {
        "builds": Wrong(lambda: 3),
        "yields-a-finite-number": Wrong(
            lambda: (
                lambda outputs_NK, labels_N: functional.cross_entropy(outputs_NK, labels_N, reduction="none")
            )
        ),
        "has-a-finite-gradient": Wrong(
            lambda: lambda outputs_NK, labels_N: functional.cross_entropy(outputs_NK.detach(), labels_N)
        ),
        "is-the-mean-over-the-batch": Wrong(
            lambda: (
                lambda outputs_NK, labels_N: functional.cross_entropy(outputs_NK, labels_N, reduction="sum")
            )
        ),
        "runs-on-the-gpu": Wrong(weighted_on_the_processor),
    },
    "optimizer": {
        "builds": Wrong(lambda params: torch.optim.SGD([params[0]], lr=0.01)),
        "lowers-a-loss": Wrong(lambda params: Climbing(params, lr=0.01)),
        "obeys-the-learning-rate": Wrong(Headlong),
        "state-can-be-kept": Wrong(lambda params: KeepingAnObject(params, lr=0.01)),
        "goes-on-from-its-state": Wrong(Forgetting),
        "runs-on-the-gpu": Wrong(lambda params: OffTheGpu(params, lr=0.01)),
    },
    "schedule": {
        "builds": Wrong(lambda total_steps: total_steps),
        "is-finite-and-not-negative": Wrong(lambda total_steps: lambda step: 0.5 - step),
        "is-a-pure-function": Wrong(moody),
    },
    "recipe": {
        "has-a-summary": Wrong(like_this, {"summary": ""}),
        "can-be-read": Wrong(lambda: "[dataset"),
        "has-no-problems": Wrong(lambda: recipe(model="no-such-model")),
    },
}
WRONG = {
    (kind, check): wrong
    for kind, of_kind in OF_ITS_KIND.items()
    for check, wrong in {**wrong_in_any_kind(kind), **of_kind}.items()
}
#: In a process of its own this file is not found: what is checked there is checked of birdplane's own datasets.
ELSEWHERE = "survives-spawn"


def failed(kind: str, component: Wrong, *, but: str = "") -> dict[str, str]:
    """Return the checks that fail of a component, and why; `but` is one that is not made."""
    catalog = Catalog(lambda: OWN)
    catalog[kind].register("odd", component.target, **{"summary": "For tests.", **component.record})
    found = [check for check in checks_of_component(kind, "odd", within=catalog) if check.name != but]
    return {outcome.check.name: outcome.reason for outcome in outcomes(found) if outcome.status == "failed"}


@pytest.mark.parametrize(("kind", "check"), WRONG, ids=lambda value: value)
def test_a_wrong_component_fails_the_check_for_that_and_no_other(kind: str, check: str) -> None:
    if check == "runs-on-the-gpu" and not torch.cuda.is_available():
        pytest.skip("there is no GPU here")
    found = failed(kind, WRONG[kind, check], but="" if check == ELSEWHERE else ELSEWHERE)
    assert list(found) == [check]
    assert found[check]
    assert "\n" not in found[check]


@pytest.mark.parametrize("kind", RIGHT)
def test_a_right_component_fails_none(kind: str) -> None:
    assert failed(kind, RIGHT[kind], but=ELSEWHERE) == {}


def test_every_check_has_something_wrong_that_fails_it() -> None:
    subjects = ("plugin", "family", *KINDS)
    there = {(subject, name_of(function)) for subject in subjects for function in functions(subject)}
    assert there == set(WRONG) | set(WRONG_PLUGINS)


# What is not a failure.


def outcome_of(catalog: Catalog, kind: str, check: str) -> None:
    (found,) = [one for one in checks_of_component(kind, "odd", within=catalog) if one.name == check]
    found()


def test_what_needs_a_parameter_or_a_download_is_skipped_with_the_reason() -> None:
    catalog = Catalog(lambda: OWN)

    def at_hand() -> Any:
        return type("Told", (), {"ready": False, "place": "somewhere", "size": None})()

    class Far(Pictures):
        availability = staticmethod(at_hand)

    catalog["dataset"].register("odd", Far)
    with pytest.raises(CheckSkipped, match="not at hand: expected in 'somewhere'"):
        outcome_of(catalog, "dataset", "builds")
    catalog["loss"].register("odd", lambda weight: functional.cross_entropy)
    with pytest.raises(CheckSkipped, match="needs weight, and none was given"):
        outcome_of(catalog, "loss", "builds")


def test_a_model_for_one_shape_is_tried_with_that_alone() -> None:
    def fixed(num_classes: int) -> nn.Module:
        return net(num_classes, 3 * 8 * 8)

    catalog = Catalog(lambda: OWN)
    catalog["model"].register("odd", fixed, summary="For tests.")
    plain = outcomes(checks_of_component("model", "odd", within=catalog))
    assert [one.check.name for one in plain if one.status == "failed"] == ["yields-one-number-a-class"]
    given = {"input_shape": [3, 8, 8]}
    told = outcomes(checks_of_component("model", "odd", parameters=given, within=catalog))
    assert [one.check.name for one in told if one.status == "failed"] == []


def test_a_model_may_refuse_shapes_but_not_all() -> None:
    def choosy(input_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        if input_shape != (3, 32, 32):
            raise UsageError("choosy: takes 3x32x32 alone")
        return Net(input_shape, num_classes)

    def refusing(input_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        raise UsageError("refusing: takes nothing")

    assert failed("model", Wrong(choosy)) == {}
    assert list(failed("model", Wrong(refusing))) == ["builds"]


def test_what_a_component_raises_is_the_reason_in_one_line() -> None:
    def raising() -> Any:
        raise ZeroDivisionError("by\nnothing")

    assert failed("transform", Wrong(raising)) == {"builds": "ZeroDivisionError: by nothing"}


# A plugin as it is installed, and the command.

#: Schedules need no torch, so their checks take no time.
PLUGIN = """
from typing import Annotated
from typing_extensions import Doc
from birdplane import Family, Loss, Model, Recipe, Schedule, hookimpl

def steady(total_steps):
    return lambda step: 1.0

def scaled(total_steps, factor: Annotated[float, Doc("Of every step.")]):
    return lambda step: factor * 1.0

def broken(total_steps):
    raise ValueError("no such luck")

@hookimpl
def birdplane_components():
    return COMPONENTS
"""
SOUND = """[
    Family(
        kind="schedule",
        names=lambda: [f"steady-{number}" for number in range(50)],
        member=lambda name: Schedule(name=name, target=steady, summary="Steady."),
    ),
    Schedule(name="scaled", target=scaled, summary="Scaled."),
]"""
BROKEN = '[Schedule(name="broken", target=broken, summary="Raises.")]'
#: Plugins and families that are wrong in one way each, by what their module is.
WRONG_PLUGINS = {
    ("plugin", "loads"): "import no_such_package_at_all",
    ("plugin", "imports-no-torch"): "import torch\n" + PLUGIN.replace("COMPONENTS", "[]"),
    ("plugin", "prints-nothing"): "print('hello')\n" + PLUGIN.replace("COMPONENTS", "[]"),
    ("family", "lists-its-members"): PLUGIN.replace(
        "COMPONENTS",
        '[Family(kind="model", names=lambda: [], member=lambda name: Model(name=name, target=abs))]',
    ),
    ("family", "describes-its-members"): PLUGIN.replace(
        "COMPONENTS",
        '[Family(kind="loss", names=lambda: ["one", "two"], member=lambda name: Loss(name="one", target=abs))]',
    ),
}
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """A function that runs `birdplane check-plugin ARGUMENTS...` with what is installed in the folder `site`."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "birdplane", "check-plugin", *arguments],
            env={
                **os.environ,
                "PYTHONPATH": str(tmp_path / "site"),
                "BIRDPLANE_DISABLE_PLUGINS": "",
                "BIRDPLANE_CACHE": str(tmp_path / "cache"),
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


def test_the_command_checks_some_of_a_family_and_what_stands_by_itself(
    tmp_path: Path, write_plugin: Callable[..., Path], command: Command
) -> None:
    write_plugin(tmp_path / "site", "my-zoo", PLUGIN.replace("COMPONENTS", SOUND))
    done = command("My_Zoo", "--members", "2", "--set", "scaled.factor=0.5", "--json")
    report = json.loads(done.stdout)
    assert (done.returncode, report["package"], report["version"]) == (0, "birdplane-my-zoo", "1.2")
    members = {one["subject"] for one in report["checks"] if "/steady-" in one["subject"]}
    assert len(members) == 2
    assert {one["status"] for one in report["checks"]} == {"passed"}
    assert (report["passed"], report["failed"], report["skipped"]) == (len(report["checks"]), 0, 0)


def test_the_report_is_a_line_a_component_and_the_reasons(
    tmp_path: Path, write_plugin: Callable[..., Path], command: Command
) -> None:
    write_plugin(tmp_path / "site", "sad", PLUGIN.replace("COMPONENTS", BROKEN))
    done = command("sad")
    assert done.returncode == 1
    assert done.stdout.splitlines()[:4] == [
        "plugin:sad           ok      3 passed",
        "schedule:sad/broken  FAILED  4 passed, 1 failed, 2 skipped",
        "    FAILED   builds: ValueError: no such luck",
        "             It can be built with its defaults for runs of any number of steps, one included.",
    ]
    assert "    2  it cannot be built: see the check builds" in done.stdout
    assert "\nsad (birdplane-sad 1.2): 7 passed, 1 failed, 2 skipped, in " in done.stdout


@pytest.mark.parametrize(("subject", "check"), WRONG_PLUGINS, ids=lambda value: value)
def test_a_wrong_plugin_or_family_fails_the_check_for_that_and_no_other(
    tmp_path: Path, write_plugin: Callable[..., Path], command: Command, subject: str, check: str
) -> None:
    write_plugin(tmp_path / "site", "odd", WRONG_PLUGINS[subject, check])
    (tmp_path / "site" / "torch.py").touch()  # of that name is enough, and takes no seconds to import
    done = command("odd", "--members", "0", "--json")
    found = [one for one in json.loads(done.stdout)["checks"] if one["status"] == "failed"]
    assert [(one["subject"].partition(":")[0], one["check"]) for one in found] == [(subject, check)]
    told = {
        "loads": "No module named 'no_such_package_at_all'",
        "imports-no-torch": "odd_module.py:1",
        "prints-nothing": "'hello'",
        "lists-its-members": "it has no members",
        "describes-its-members": "'two'",
    }
    assert told[check] in found[0]["reason"]
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["buildin"], "no plugin is called 'buildin'; did you mean 'builtin'?"),
        (["builtin", "--set", "sketch.size=8"], "nothing that is checked is called 'sketch'; did you mean"),
        (["builtin", "--only", "fish:*"], "--only fish:*: nothing that is checked is called like this"),
        (["builtin", "--set", "size=8"], "--set size=8: expected NAME.KEY=VALUE"),
        (
            ["builtin", "--set", "resnet.input_shape=3"],
            "input_shape should be [channels, height, width], not 3",
        ),
    ],
    ids=["name", "component", "only", "assignment", "shape"],
)
def test_wrong_usage_is_one_line_with_the_nearest_spelling(
    command: Command, arguments: list[str], reason: str
) -> None:
    done = command(*arguments)
    assert done.returncode == 2
    assert reason in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_what_is_said_of_one_component_goes_before_what_is_said_of_many() -> None:
    given = {"sketches": {"size": 16}, "*": {"size": 8, "train": 20}}
    subject = Given(given).to("dataset", "sketches", "")
    assert subject == {"size": 16, "train": 20}


def test_a_member_that_is_named_is_checked_whatever_is_drawn(
    tmp_path: Path, write_plugin: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    site = write_plugin(tmp_path / "site", "named-zoo", PLUGIN.replace("COMPONENTS", SOUND))
    monkeypatch.syspath_prepend(str(site))
    plugins = load_plugins(frozenset())
    given = {"steady-7": {}, "schedule:named-zoo/steady-9": {}}
    found = {check.subject for check in checks("named-zoo", parameters=given, members=0, plugins=plugins)}
    assert {name for name in found if "/steady-" in name} == {
        "schedule:named-zoo/steady-7",
        "schedule:named-zoo/steady-9",
    }


# In pytest.


def test_in_pytest_checks_have_readable_names_and_skips_have_reasons(
    tmp_path: Path, write_plugin: Callable[..., Path]
) -> None:
    site = write_plugin(tmp_path / "site", "my-zoo", PLUGIN.replace("COMPONENTS", SOUND))
    (tmp_path / "test_it.py").write_text(
        "from birdplane.testing import parametrize_checks\n"
        "@parametrize_checks('my-zoo', members=0, parameters={'steady-1': {}})\n"
        "def test_conformance(check):\n"
        "    check()\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rs", "-v", "test_it.py"],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(site),
            "BIRDPLANE_DISABLE_PLUGINS": "",
            "BIRDPLANE_CACHE": str(tmp_path),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    steady = "test_it.py::test_conformance[schedule:my-zoo/steady-1:is-a-pure-function] PASSED"
    assert steady in done.stdout, done.stdout
    assert "it needs factor, and none was given to check with" in done.stdout
    assert done.returncode == 0


def test_a_failed_check_names_what_is_wrong_and_what_was_expected() -> None:
    mark = parametrize_checks("builtin", plugins=OWN, parameters={"model:resnet": {"widths": []}})
    (param,) = [one for one in mark.args[1] if one.id == "model:resnet:builds"]
    with pytest.raises(CheckFailed, match=r"widths: should have at least 1 item.*torch\.nn\.Module"):
        param.values[0]()
