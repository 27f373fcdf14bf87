"""The pipeline file: in and out, overrides, and everything that can be known to be wrong with it."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from birdplane import Model, Pipeline, UsageError
from birdplane.pipeline import Choice, dump_toml
from birdplane.registry import Catalog, catalog, recipes

Tiny = Callable[..., Pipeline]
WHOLE = """
seed = 7
[dataset]
use = "sketches"
[model]
use = "fully-connected"
[loss]
use = "nll"
[optimizer]
use = "sgd"
"""


def problems(pipeline: Pipeline) -> list[str]:
    return [str(problem) for problem in pipeline.problems()]


# In and out.


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_is_sound_and_its_complete_file_means_the_same(name: str) -> None:
    recipe = Pipeline.load(name)
    assert problems(recipe) == []
    again = Pipeline.from_toml(recipe.to_toml())
    assert again.complete() == recipe.complete()
    assert again.to_toml() == recipe.to_toml()


def test_the_complete_pipeline_holds_the_seed_and_every_default() -> None:
    complete = Pipeline.from_toml(WHOLE).complete()
    assert complete["seed"] == 7
    assert complete["dataset"] == {
        "use": "sketches", "train": 4000, "test": 1000, "size": 32, "difficulty": 0.5, "seed": 0,
    }  # fmt: skip
    assert complete["transforms"] == []
    assert complete["output"] == {"use": "log-softmax"}
    assert complete["schedule"]["use"] == "constant"
    assert complete["training"]["epochs"] == 10
    assert complete["training"]["memory_limit"] == 2048
    assert "checkpoint_steps" not in complete["training"]


def test_a_pipeline_without_a_seed_has_the_seed_0() -> None:
    assert Pipeline.from_toml(WHOLE.replace("seed = 7", "")).complete()["seed"] == 0


def test_a_section_may_be_given_as_a_name_alone() -> None:
    text = 'dataset = "sketches"\nmodel = "fully-connected"\nloss = "nll"\noptimizer = "sgd"\n'
    found = problems(Pipeline.from_toml(text))
    assert found == [] or all("should be a table" in problem for problem in found)


def test_transforms_may_be_given_as_names() -> None:
    pipeline = Pipeline.from_toml('transforms = ["to-tensor", {use = "normalize"}]\n' + WHOLE)
    assert problems(pipeline) == []
    assert pipeline.transforms == [Choice("to-tensor"), Choice("normalize")]
    assert Pipeline.from_toml(pipeline.to_toml()).transforms == [Choice("to-tensor"), Choice("normalize")]


def test_a_document_of_paths_tuples_and_odd_text_survives_toml() -> None:
    document = {
        "seed": 1,
        "dataset": {"use": "d", "path": Path("a b/ü"), "size": (3, 4), "text": 'a"\n\\b\x7f'},
    }
    read = tomllib.loads(dump_toml(document))
    assert read["dataset"] == {"use": "d", "path": str(Path("a b/ü")), "size": [3, 4], "text": 'a"\n\\b\x7f'}


def test_the_document_that_is_handed_out_is_a_copy(tiny: Tiny) -> None:
    pipeline = tiny()
    pipeline.document["model"]["hidden"].append(3)
    assert pipeline.document["model"]["hidden"] == [8]


def test_a_full_name_is_written_for_a_bare_one() -> None:
    models = Catalog()
    pipeline = Pipeline.from_toml(WHOLE, catalog=models).override(["model.use=thing"])
    models["model"].register("thing", lambda *, width=3: width)
    assert pipeline.complete()["model"] == {"use": "thing", "width": 3}


# Loading.


def test_a_recipe_is_loaded_by_its_name_and_a_file_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "net.toml"
    path.write_text(WHOLE, encoding="utf-8")
    assert Pipeline.load(path).seed == 7
    assert Pipeline.load("book").choice("model").use == "fully-connected"


def test_a_recipe_wins_over_a_folder_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "book").mkdir()
    monkeypatch.chdir(tmp_path)
    assert Pipeline.load("book").choice("dataset").use == "cifar2"


def test_a_wrong_recipe_is_answered_with_the_nearest_and_all_that_there_are() -> None:
    with pytest.raises(UsageError) as caught:
        Pipeline.load("boook")
    assert str(caught.value).startswith("boook: neither a file nor a recipe; did you mean 'book'? (recipes: ")


def test_what_cannot_be_read_is_told_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.toml: cannot be read: No such file or directory"):
        Pipeline.load(tmp_path / "none.toml")
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(UsageError, match=r"folder\.toml: cannot be read: Is a directory"):
        Pipeline.load(tmp_path / "folder.toml")
    (tmp_path / "latin.toml").write_bytes(b"seed = 1 # \xe4\n")
    with pytest.raises(UsageError, match=r"latin\.toml: not a text file in UTF-8"):
        Pipeline.load(tmp_path / "latin.toml")


@pytest.mark.parametrize("text", ["seed = ", "[a\n", "a = 1\na = 2", "x = [" * 5000])
def test_malformed_toml_is_told_in_one_line_with_its_place(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        Pipeline.from_toml(text, "net.toml")
    assert str(caught.value).startswith("net.toml: not valid TOML: ")
    assert "\n" not in str(caught.value)


# Overrides.


@pytest.mark.parametrize(
    ("assignment", "section", "value"),
    [
        ("training.epochs=3", ("training", "epochs"), 3),
        ("model.hidden=[4, 5]", ("model", "hidden"), [4, 5]),
        ("model.activation=relu", ("model", "activation"), "relu"),
        ('model.activation="relu"', ("model", "activation"), "relu"),
        ("optimizer.lr=1e-3", ("optimizer", "lr"), 0.001),
        ("optimizer.lr=.004", ("optimizer", "lr"), 0.004),
        ("dataset.seed = 4", ("dataset", "seed"), 4),
        ("model.activation=a=b", ("model", "activation"), "a=b"),
        ("schedule.use=cosine", ("schedule", "use"), "cosine"),
    ],
)
def test_an_override_sets_a_key(tiny: Tiny, assignment: str, section: tuple[str, str], value: Any) -> None:
    assert tiny(assignment).document[section[0]][section[1]] == value


def test_overriding_leaves_the_pipeline_itself_as_it_was(tiny: Tiny) -> None:
    pipeline = tiny()
    pipeline.override(["training.epochs=9", "transforms.0.use=cutout"])
    assert pipeline.training.epochs == 3
    assert pipeline.transforms[0].use == "to-tensor"


def test_another_use_drops_the_parameters_of_what_stood_there(tiny: Tiny) -> None:
    assert tiny("model.use=convolutional").document["model"] == {"use": "convolutional"}
    assert tiny("model.use=fully-connected").document["model"] == {"use": "fully-connected", "hidden": [8]}
    assert tiny("model=convolutional").document["model"] == {"use": "convolutional"}


def test_transforms_are_counted_from_0(tiny: Tiny) -> None:
    document = tiny("transforms.1.mean=[0.5]", "transforms.1.std=[0.2]").document
    assert document["transforms"][1] == {"use": "normalize", "mean": [0.5], "std": [0.2]}
    assert tiny("transforms.1=random-flip").transforms[1] == Choice("random-flip")
    assert tiny("transforms=[]").transforms == []


def test_the_seed_is_overridden_by_its_name(tiny: Tiny) -> None:
    assert tiny("seed=11").seed == 11


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("training.epochs", "--set training.epochs: expected key=value, such as training.epochs=3"),
        (
            "epochs=3",
            "--set epochs: no such section; did you mean 'training.epochs'? (allowed: seed, dataset",
        ),
        ("modle.use=x", "--set modle.use: no such section; did you mean 'model'? (allowed: "),
        ("transforms.9.mean=1", "--set transforms.9.mean: there are 2 transforms, counted from 0"),
        ("transforms.one.mean=1", "--set transforms.one.mean: there are 2 transforms, counted from 0"),
        ("transforms.0.a.b=1", "--set transforms.0.a.b: too deep: a key is transforms.0.name"),
        ("model.a.b=1", "--set model.a.b: too deep: a key is section.name, or transforms.0.name"),
        ("seed.a=1", "--set seed.a: too deep"),
        ("=3", "--set : not a key such as training.epochs"),
        ("model.=3", "--set model.: not a key such as training.epochs"),
    ],
)
def test_a_wrong_override_is_answered_in_one_line(tiny: Tiny, assignment: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        tiny(assignment)
    assert str(caught.value).startswith(message)


# Problems.


def test_a_sound_pipeline_has_none(tiny: Tiny) -> None:
    assert problems(tiny()) == []
    tiny().require_sound()


@pytest.mark.parametrize(
    ("assignment", "problem"),
    [
        (
            "model.use=fully-conected",
            "model.use: no model is called 'fully-conected'; did you mean 'fully-connected'?",
        ),
        ("loss.use=xent", "loss.use: no loss is called 'xent'"),
        ("model.use=3", "model.use: should name a model, not 3"),
        (
            "model.hiden=[3]",
            "model.hiden: model 'fully-connected' has no such parameter; did you mean 'hidden'?",
        ),
        ("model.hidden=3", "model.hidden: should be a list, not 3"),
        ("model.hidden=[0]", "model.hidden[0]: should be greater than or equal to 1, not 0"),
        ("model.activation=tahn", "model.activation: should be 'tanh', "),
        ("optimizer.lr=nan", "optimizer.lr: should be a finite number, not NaN"),
        ("optimizer.lr=0", "optimizer.lr: should be greater than 0, not 0"),
        ("optimizer.lr=fast", 'optimizer.lr: should be a number, not "fast"'),
        ("transforms.1.mean=x", 'transforms.1.mean: should be a list, not "x"'),
        (
            "transforms.0.use=to_tensor",
            "transforms.0.use: no transform is called 'to_tensor'; did you mean 'to-tensor'?",
        ),
        ("training.epochs=0", "training.epochs: should be greater than or equal to 1, not 0"),
        ("training.epochs=true", "training.epochs: should be an integer, not true"),
        ("training.epoch=1", "training.epoch: [training] has no such parameter; did you mean 'epochs'?"),
        ("training.holdout=1.0", "training.holdout: should be less than 1, not 1.0"),
        (
            "training.precision=bfloat61",
            "training.precision: should be 'float32' or 'bfloat16', not \"bfloat61\"; did you mean",
        ),
        ("seed=-1", "seed: should be an integer from 0 to 2**63 - 1, not -1"),
        ("seed=true", "seed: should be an integer from 0 to 2**63 - 1, not True"),
        ("seed=x", "seed: should be an integer from 0 to 2**63 - 1, not 'x'"),
        ("transforms=3", "transforms: should be a list of tables, [[transforms]], not 3"),
        ("transforms=[3]", "transforms.0: should be a table with `use`, or a name, not 3"),
        ("output.use=softmaks", "output.use: no output layer 'softmaks'; did you mean 'softmax'?"),
        ("output.dim=1", "output.dim: no such key (allowed: use)"),
        ("dataset.split=test", "dataset.split: dataset 'sketches' has no such parameter"),
        ("model.num_classes=3", "model.num_classes: model 'fully-connected' has no such parameter"),
    ],
)
def test_a_problem_is_told_with_its_key_and_what_is_allowed(
    tiny: Tiny, assignment: str, problem: str
) -> None:
    (found,) = problems(tiny(assignment))
    assert found.startswith(problem)


@pytest.mark.parametrize("section", ["dataset", "model", "loss", "optimizer"])
def test_a_missing_section_is_told(tiny: Tiny, section: str) -> None:
    document = tiny().document
    del document[section]
    assert problems(Pipeline(document)) == [
        f"{section}: is missing: a pipeline needs a section [{section}] with `use`"
    ]


def test_a_section_without_use_is_told() -> None:
    assert problems(Pipeline.from_toml(WHOLE.replace('use = "nll"', ""))) == [
        "loss.use: should name a loss, not None"
    ]


def test_an_unknown_section_is_told_with_the_nearest() -> None:
    (found,) = problems(Pipeline.from_toml(WHOLE + "[modell]\n"))
    assert found.startswith("modell: no such section; did you mean 'model'? (allowed: seed, dataset, ")


def test_a_section_that_is_no_table_is_told() -> None:
    (found,) = problems(Pipeline.from_toml("training = 3\n" + WHOLE))
    assert found == "training: should be a table, [training], not 3"


def test_all_problems_are_told_at_once_and_the_first_one_is_raised(tiny: Tiny) -> None:
    wrong = tiny("model.hidden=3", "optimizer.lr=0", "training.epochs=0")
    assert len(wrong.problems()) == 3
    with pytest.raises(UsageError) as caught:
        wrong.require_sound()
    assert (
        str(caught.value)
        == "tiny.toml: model.hidden: should be a list, not 3 (and 2 more: `birdplane check`)"
    )
    with pytest.raises(UsageError):
        wrong.complete()


# What reaches the loss.


@pytest.mark.parametrize(
    ("loss", "layer", "leaves"),
    [
        ("nll", "log-softmax", "log-probabilities"),
        ("cross-entropy", "none", "logits"),
        ("mse", "softmax", "probabilities"),
    ],
)
def test_the_automatic_output_layer_is_what_the_loss_asks_for(
    tiny: Tiny, loss: str, layer: str, leaves: str
) -> None:
    pipeline = tiny(f"loss.use={loss}")
    assert (pipeline.output_layer, pipeline.leaves()) == (layer, leaves)
    assert problems(pipeline) == []


@pytest.mark.parametrize(
    ("loss", "layer", "message"),
    [
        ("nll", "none", "the loss 'nll' wants log-probabilities, but is fed logits"),
        ("nll", "softmax", "the loss 'nll' wants log-probabilities, but is fed probabilities"),
        ("cross-entropy", "softmax", "the loss 'cross-entropy' wants logits, but is fed probabilities"),
        (
            "cross-entropy",
            "log-softmax",
            "the loss 'cross-entropy' wants logits, but is fed log-probabilities",
        ),
        ("mse", "none", "the loss 'mse' wants probabilities, but is fed logits"),
    ],
)
def test_a_loss_that_is_fed_the_wrong_output_is_refused_with_a_mend_that_mends(
    tiny: Tiny, loss: str, layer: str, message: str
) -> None:
    wrong = tiny(f"loss.use={loss}", f"output.use={layer}")
    (problem,) = wrong.problems()
    assert str(problem) == f"output.use: {message} (mend: --set output.use=auto)"
    assert problems(wrong.override([problem.mend])) == []


def ending_in(output: str) -> Catalog:
    models = Catalog()
    models["model"].register("own", lambda: None, output=output)
    return models


def test_an_output_layer_on_top_of_a_models_own_is_refused_with_a_mend_that_mends(tiny: Tiny) -> None:
    wrong = tiny(
        "model.use=own", "loss.use=nll", "output.use=softmax", catalog=ending_in("log-probabilities")
    )
    (problem,) = wrong.problems()
    assert "the model 'own' yields log-probabilities itself: an output layer on top is wrong" in str(problem)
    assert problems(wrong.override([problem.mend])) == []


def test_a_models_own_output_is_taken_as_it_is(tiny: Tiny) -> None:
    pipeline = tiny("model.use=own", "loss.use=nll", catalog=ending_in("log-probabilities"))
    assert pipeline.output_layer == "none"
    assert problems(pipeline) == []


def test_a_models_own_output_that_the_loss_cannot_take_is_refused_without_a_false_mend(tiny: Tiny) -> None:
    (problem,) = tiny("model.use=own", "loss.use=nll", catalog=ending_in("probabilities")).problems()
    assert str(problem) == "output.use: the loss 'nll' wants log-probabilities, but is fed probabilities"


def test_a_component_that_cannot_be_loaded_is_a_problem_not_a_crash(tiny: Tiny) -> None:
    models = Catalog()
    models["model"].register("gone", "no_such_module_here:net")
    (found,) = problems(tiny("model.use=gone", catalog=models))
    assert found.startswith(
        "model.use: model 'gone': cannot load 'no_such_module_here:net': ModuleNotFoundError"
    )


def test_a_component_whose_signature_cannot_be_read_is_a_problem_not_a_crash(tiny: Tiny) -> None:
    models = Catalog()

    def odd(*, width: Nowhere = 3) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    models["model"].register("odd", odd)
    (found,) = problems(tiny("model.use=odd", catalog=models))
    assert found.startswith("model.use: model 'odd': its annotations cannot be read")


def test_a_model_record_of_another_name_is_found(tiny: Tiny) -> None:
    assert isinstance(catalog()["model"].get("fully-connected"), Model)


def test_checking_a_recipe_imports_no_torch() -> None:
    program = (
        "import sys\n"
        "from birdplane import Pipeline, recipes\n"
        "assert not any(Pipeline.load(name).problems() for name in recipes.names())\n"
        "Pipeline.load('book').to_toml()\n"
        "print(*sorted({'torch', 'torchvision'} & sys.modules.keys()))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
