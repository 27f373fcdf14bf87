"""The helper as the screens meet it: a real process, one JSON object a line."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from birdplane.inspection import TrainedModel
from birdplane.pipeline import Pipeline
from birdplane.probing.measuring import probe
from birdplane.runs import Run
from birdplane.training import train
from birdplane_builtin.sketches import Sketches

PLUGIN = """
    import sys, time
    from birdplane import Model, Loss, hookimpl

    def talkative(*, input_shape, num_classes):
        print("a model that prints")
        sys.stdout.write("and writes\\n")
        assert sys.stdin.read() == ""
        from birdplane.registry import models
        return models.create("fully-connected", hidden=[2], input_shape=input_shape, num_classes=num_classes)

    def leaving(*, input_shape, num_classes):
        raise SystemExit("a model that leaves")

    def sleeping(*, input_shape, num_classes):
        time.sleep(600)

    @hookimpl
    def birdplane_components():
        return [Model(name=f.__name__, target=f) for f in (talkative, leaving, sleeping)]
"""


class Conversation:
    """A helper process and what was said with it."""

    def __init__(self, plugins: Path) -> None:
        environment = {**os.environ, "PYTHONPATH": str(plugins), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "birdplane.helper"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        self.number = 0

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        heard: dict[str, Any] = json.loads(self.process.stdout.readline())
        return heard

    def send(self, question: str, **values: Any) -> int:
        self.number += 1
        self.say(json.dumps({"id": self.number, "ask": question, **values}))
        return self.number

    def reply(self, question: str, **values: Any) -> dict[str, Any]:
        number = self.send(question, **values)
        while True:
            heard = self.hear()
            if heard["id"] == number and "progress" not in heard:
                return heard

    def ask(self, question: str, **values: Any) -> dict[str, Any]:
        reply = self.reply(question, **values)
        assert "answer" in reply, reply
        answer: dict[str, Any] = reply["answer"]
        return answer

    def refusal(self, question: str, **values: Any) -> tuple[str, str]:
        reply = self.reply(question, **values)
        return reply["kind"], reply["error"]


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory, write_plugin: Callable[..., Path]) -> Path:
    return write_plugin(tmp_path_factory.mktemp("plugins"), "odd", PLUGIN)


@pytest.fixture(scope="module")
def helper(plugins: Path) -> Iterator[Conversation]:
    conversation = Conversation(plugins)
    yield conversation
    conversation.process.kill()
    conversation.process.communicate()


@pytest.fixture(scope="module")
def pipeline(tiny: Callable[..., Pipeline]) -> Pipeline:
    sizes = ("dataset.train=40", "dataset.test=12", "dataset.size=12", "dataset.difficulty=0.5")
    return tiny("seed=3", *sizes, "training.batch_size=8", "training.epochs=2")


@pytest.fixture(scope="module")
def document(pipeline: Pipeline) -> dict[str, Any]:
    return pipeline.document


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, pipeline: Pipeline) -> Run:
    """A trained run."""
    made = Run.create(tmp_path_factory.mktemp("runs"), "trained", pipeline_toml=pipeline.to_toml())
    for _ in train(pipeline, made):
        pass
    return made


def pixels(answer: dict[str, Any]) -> np.ndarray:
    shown = answer["thumbnails"]
    flat = np.frombuffer(base64.b64decode(shown["rgb"]), np.uint8)
    return flat.reshape(-1, shown["height"], shown["width"], 3)


def missing_document(document: dict[str, Any], place: Path) -> dict[str, Any]:
    return {**document, "dataset": {"use": "cifar2", "source": str(place / "absent.tar.gz")}}


# What a pipeline is.


def test_a_sound_pipeline_has_no_problems(helper: Conversation, document: dict[str, Any]) -> None:
    assert helper.ask("problems", document=document) == {"problems": []}


def test_problems_come_with_their_key_and_mend(helper: Conversation, document: dict[str, Any]) -> None:
    wrong = {**document, "loss": {"use": "nll"}, "output": {"use": "none"}}
    [problem] = helper.ask("problems", document=wrong)["problems"]
    assert (problem["key"], problem["mend"]) == ("output.use", "output.use=auto")


def test_a_signature_tells_what_a_form_needs(helper: Conversation) -> None:
    fields = {
        field["name"]: field for field in helper.ask("signature", kind="dataset", use="sketches")["fields"]
    }
    assert fields["size"]["type"] == {"kind": "int"}
    assert (fields["size"]["default"], fields["size"]["minimum"], fields["size"]["maximum"]) == (
        32,
        ">= 8",
        "<= 512",
    )
    assert "split" not in fields


def test_a_signature_of_choices_and_lists(helper: Conversation) -> None:
    fields = {
        field["name"]: field
        for field in helper.ask("signature", kind="model", use="fully-connected")["fields"]
    }
    assert fields["hidden"]["type"]["kind"] == "list"
    assert "tanh" in fields["activation"]["choices"]


def test_a_rehearsal_has_shapes_parameters_and_memory(helper: Conversation, document: dict[str, Any]) -> None:
    found = helper.ask("rehearse", document=document)
    assert found["stages"][0] == {"key": "dataset", "shape": [3, 12, 12], "values": "uint8"}
    assert found["stages"][-1]["shape"] == [2]
    assert found["parameters"] == 3 * 12 * 12 * 8 + 8 + 8 * 2 + 2
    assert found["memory"]["total"] > found["memory"]["weights"] > 0
    assert found["steps_per_epoch"] == 5


def test_a_misfit_is_refused_in_a_sentence(helper: Conversation, document: dict[str, Any]) -> None:
    wrong = {**document, "transforms": [{"use": "normalize"}]}
    kind, sentence = helper.refusal("rehearse", document=wrong)
    assert kind == "usage"
    assert "normalize" in sentence
    assert "\n" not in sentence


def test_missing_data_is_an_answer(helper: Conversation, document: dict[str, Any], tmp_path: Path) -> None:
    wanted = missing_document(document, tmp_path)
    for question in ("rehearse", "dry_step", "pictures", "statistics", "availability"):
        assert helper.ask(question, document=wanted)["missing"]["place"] == str(tmp_path / "absent.tar.gz")


def test_data_that_is_there_is_not_missing(helper: Conversation, document: dict[str, Any]) -> None:
    assert helper.ask("availability", document=document) == {"missing": None}
    assert helper.ask("fetch", document=document) == {"train_pictures": 40, "validation_pictures": 12}


def test_a_dry_step_has_loss_gradient_and_time(helper: Conversation, document: dict[str, Any]) -> None:
    found = helper.ask("dry_step", document=document)
    assert 0.3 < found["loss"] < 2
    assert found["gradient_norm"] > 0
    assert found["milliseconds"] > 0
    assert (found["batch_size"], found["finite"]) == (8, True)
    assert helper.ask("dry_step", document=document)["loss"] == found["loss"]


# Pictures.


def test_stored_pictures_come_pixel_by_pixel(helper: Conversation, document: dict[str, Any]) -> None:
    found = helper.ask("pictures", document=document, offset=3, count=5)
    stored = Sketches(split="train", train=40, test=12, size=12).images([3, 4, 5, 6, 7])
    assert np.array_equal(pixels(found), stored.transpose(0, 2, 3, 1))
    assert (found["total"], found["indices"], found["mapping"]) == (40, [3, 4, 5, 6, 7], "as stored")


def test_a_class_is_shown_alone(helper: Conversation, document: dict[str, Any]) -> None:
    found = helper.ask("pictures", document=document, split="validation", label=1, offset=4, count=10)
    assert (found["total"], found["labels"]) == (6, [1, 1])


def test_beyond_the_end_there_is_nothing(helper: Conversation, document: dict[str, Any]) -> None:
    found = helper.ask("pictures", document=document, offset=1000, stage=2)
    assert (found["indices"], found["thumbnails"]["rgb"]) == ([], "")


def test_floats_are_stretched_and_it_is_said_how(helper: Conversation, document: dict[str, Any]) -> None:
    scaled = helper.ask("pictures", document=document, count=4, stage=1)
    assert scaled["mapping"].startswith("0 to 1")
    assert np.array_equal(pixels(scaled), pixels(helper.ask("pictures", document=document, count=4)))
    normalized = helper.ask("pictures", document=document, count=4, stage=2)
    assert normalized["values"] == "float32"
    assert (pixels(normalized).min(), pixels(normalized).max()) == (0, 255)
    assert normalized["mapping"].startswith("-")


def test_random_transforms_draw_anew(helper: Conversation, document: dict[str, Any]) -> None:
    document = {**document, "transforms": [{"use": "random-shift"}]}
    drawn = [pixels(helper.ask("pictures", document=document, stage=1, draw=draw)) for draw in (0, 0, 1)]
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


def test_large_pictures_are_made_smaller(helper: Conversation, document: dict[str, Any]) -> None:
    document = {**document, "dataset": {"use": "sketches", "size": 96}}
    found = helper.ask("pictures", document=document, count=2, side=16)
    assert pixels(found).shape == (2, 16, 16, 3)
    assert found["shape"] == [3, 96, 96]


def test_pictures_are_shown_whatever_the_model(helper: Conversation, document: dict[str, Any]) -> None:
    document = {key: document[key] for key in ("dataset", "transforms")} | {"model": {"use": "nothing"}}
    assert helper.ask("pictures", document=document, count=1)["total"] == 40


def test_statistics_show_what_normalizing_does(helper: Conversation, document: dict[str, Any]) -> None:
    found = helper.ask("statistics", document=document)
    assert found["counts"] == {"train": [20, 20], "validation": [6, 6]}
    assert [stage["name"] for stage in found["stages"]] == ["stored", "to-tensor", "normalize"]
    assert found["stages"][0]["mean"] == pytest.approx([255 * mean for mean in found["stages"][1]["mean"]])
    assert found["stages"][2]["mean"] == pytest.approx([0, 0, 0], abs=1e-5)
    assert found["stages"][2]["std"] == pytest.approx([1, 1, 1], abs=1e-4)
    assert found["measured"] == 40


# A trained run.


def test_an_evaluation_agrees_with_the_command_line(helper: Conversation, run: Run) -> None:
    found = helper.ask("evaluate", run=str(run.path))
    expected = TrainedModel(run).evaluate("validation")
    assert found["splits"]["validation"]["confusion"] == expected.confusion
    assert found["splits"]["validation"]["accuracy"] == expected.accuracy
    assert found["splits"]["validation"]["loss"] == pytest.approx(expected.loss, rel=1e-5)
    error = expected.calibration.expected_error
    assert found["splits"]["validation"]["calibration_error"] == pytest.approx(error, abs=1e-6)
    assert found["splits"]["train"]["count"] == 40


def test_a_probe_agrees_with_the_command_line_and_goes_no_further_than_the_pictures(
    helper: Conversation, run: Run
) -> None:
    found = helper.ask("probe", run=str(run.path), fill="wrap", reach=50, step=5)
    expected = probe(TrainedModel(run), "x", reach=11, step=5, fill="wrap")
    assert found["offsets"] == [-11, -10, -5, 0, 5, 10, 11]
    assert found["accuracy"] == [list(row) for row in expected.accuracy]
    assert [change["accuracy"] for change in found["changes"]] == [
        change.accuracy for change in expected.changes
    ]
    assert (found["pictures"], found["unmoved"]) == (12, expected.unmoved)


def test_the_examples_of_all_cells_are_all_pictures(helper: Conversation, run: Run) -> None:
    cells = [[truth, taken] for truth in (0, 1) for taken in (0, 1)]
    found = [helper.ask("examples", run=str(run.path), cell=cell, count=20) for cell in cells]
    assert sorted(item["index"] for answer in found for item in answer["items"]) == list(range(12))
    for cell, answer in zip(cells, found, strict=True):
        assert all([item["label"], item["predicted"]] == cell for item in answer["items"])


def test_the_surest_mistake_comes_first(helper: Conversation, run: Run) -> None:
    items = helper.ask("examples", run=str(run.path), split="train")["items"]
    sure = [max(item["probabilities"]) for item in items]
    assert sure == sorted(sure, reverse=True)
    assert all(item["label"] != item["predicted"] for item in items)


def test_a_file_is_predicted(helper: Conversation, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "some [bold]picture.png"
    Sketches(split="test")[1][0].save(file)
    found = helper.ask("predict", run=str(run.path), path=str(file))
    assert sum(found["probabilities"]) == pytest.approx(1, abs=1e-5)
    assert pixels(found).shape == (1, 12, 12, 3)


def test_a_file_that_is_not_there_is_named(helper: Conversation, run: Run, tmp_path: Path) -> None:
    kind, sentence = helper.refusal("predict", run=str(run.path), path=str(tmp_path / "no.png"))
    assert (kind, sentence) == ("usage", f"{tmp_path / 'no.png'}: there is no such file")


def test_a_run_without_a_checkpoint_says_so(
    helper: Conversation, tmp_path: Path, tiny: Callable[..., Pipeline]
) -> None:
    new = Run.create(tmp_path, "new", pipeline_toml=tiny().to_toml())
    kind, sentence = helper.refusal("evaluate", run=str(new.path))
    assert (kind, sentence) == ("failed", "run 'new' cannot be used: it has no checkpoint yet")


# Whatever happens.


def test_an_unknown_question_is_answered_with_the_nearest(helper: Conversation) -> None:
    kind, sentence = helper.refusal("rehears")
    assert kind == "usage"
    assert "did you mean 'rehearse'?" in sentence


@pytest.mark.parametrize(
    "line", ["no json", "[]", '"ask"', '{"id": 1}', '{"id": 1, "ask": []}', "[" * 100_000]
)
def test_what_is_no_question_is_told(helper: Conversation, line: str) -> None:
    helper.say(line)
    assert helper.hear()["kind"] == "usage"


def test_wrong_values_are_told(helper: Conversation) -> None:
    assert helper.refusal("pictures", colour="red")[0] == "internal"


def test_what_a_component_prints_is_no_answer(helper: Conversation, document: dict[str, Any]) -> None:
    assert helper.ask("rehearse", document={**document, "model": {"use": "odd/talkative"}})["parameters"] > 0


def test_a_component_that_leaves_takes_nobody_along(helper: Conversation, document: dict[str, Any]) -> None:
    kind, sentence = helper.refusal("rehearse", document={**document, "model": {"use": "odd/leaving"}})
    assert (kind, sentence) == ("internal", "SystemExit: a model that leaves")
    assert helper.ask("problems", document=document) == {"problems": []}


@pytest.mark.alone
def test_a_question_that_waits_can_be_taken_back(helper: Conversation, document: dict[str, Any]) -> None:
    large = {**document, "dataset": {"use": "sketches", "train": 20_000}}
    first = helper.send("statistics", document=large)
    second = helper.send("statistics", document=large)
    while "progress" not in helper.hear():
        pass
    began = time.monotonic()
    helper.say(json.dumps({"cancel": second}))
    helper.say(json.dumps({"cancel": first}))
    ended = []
    while len(ended) < 2:
        heard = helper.hear()
        if "progress" not in heard:
            ended.append((heard["id"], heard["kind"]))
    assert ended == [(first, "cancelled"), (second, "cancelled")]
    assert time.monotonic() - began < 5


def test_it_ends_with_its_stdin_even_in_the_middle_of_an_answer(
    plugins: Path, document: dict[str, Any]
) -> None:
    conversation = Conversation(plugins)
    conversation.ask("warm")
    conversation.send("rehearse", document={**document, "model": {"use": "odd/sleeping"}})
    assert conversation.process.stdin is not None
    conversation.process.stdin.close()
    assert conversation.process.wait(10) == 0


def test_torch_is_imported_only_when_a_question_needs_it() -> None:
    code = (
        "import sys, birdplane.helper, birdplane.answers.describing as d; from birdplane.answers.desk import Desk\n"
        "d.signature(Desk(), kind='model', use='resnet'); print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
