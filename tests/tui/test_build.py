"""The Build screen, by keys: the chain, its marks, what the helper finds, files, and the way to a started run."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from textual import events
from textual.pilot import Pilot

from birdplane.errors import BirdplaneError
from birdplane.pipeline import Pipeline
from birdplane.plugins import load_plugins
from birdplane.runs import Run
from birdplane.tui.app import BirdplaneApp
from birdplane.tui.asking import HelperTrouble
from birdplane.tui.draft import Draft
from birdplane.tui.side import Side
from birdplane.tui.signatures import ScreenCatalog

App = Callable[..., BirdplaneApp]
Drive = Callable[..., None]
Until = Callable[..., Awaitable[None]]
Golden = Callable[[Pilot[Any], str], Awaitable[None]]
Text = Callable[[Pilot[Any]], str]


class FakeHelper:
    """Answers as the helper does, at once; an exception among the answers is raised."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def start(self) -> None:
        return None

    def close(self) -> None:
        return None

    async def ask(self, question: str, **values: Any) -> dict[str, Any]:
        self.asked.append((question, values))
        await asyncio.sleep(0)
        answer = self.answers.get(question) or _rehearsed(values)
        if isinstance(answer, Exception):
            raise answer
        return answer


def _rehearsed(values: dict[str, Any]) -> dict[str, Any]:
    transforms = values["document"].get("transforms", [])
    kept = [
        {"key": f"transforms.{i} ({entry['use']})", "shape": [3, 32, 32], "values": "float32"}
        for i, entry in enumerate(transforms)
    ]
    ends = [{"key": key, "shape": [2], "values": "logits"} for key in ("model (m)", "output (none)")]
    return {
        "classes": ["airplane", "bird"],
        "train_pictures": 4000,
        "validation_pictures": 1000,
        "stages": [{"key": "dataset", "shape": [3, 32, 32], "values": "uint8"}, *kept, *ends],
        "parameters": 38_386,
        "memory": {"total": 99_100_000},
        "device": "cpu",
        "precision": "float32",
        "notes": [],
        "epochs": 8,
        "steps_per_epoch": 63,
    }


@pytest.fixture
def build(app: App, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., BirdplaneApp]:
    """A function that makes an app on the demo with a fake helper, in an empty folder: `build("loss.use=nll")`."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def make(
        *overrides: str, catalog: ScreenCatalog | None = None, source: str = "demo", **answers: Any
    ) -> BirdplaneApp:
        made = app("build", draft="demo")
        made.cockpit.helper = FakeHelper(**answers)  # type: ignore[assignment]
        document = Pipeline.load("demo").override(overrides).document
        base = Pipeline.load("demo").document
        made.cockpit.draft = Draft(base, source, catalog)
        if overrides:
            made.cockpit.draft.change(document)
        return made

    return make


async def _type(pilot: Pilot[Any], text: str) -> None:
    names = {" ": "space", ".": "full_stop", ",": "comma", "-": "minus"}
    await pilot.press(*(names.get(letter, letter) for letter in text))


async def _settled(pilot: Pilot[Any], until: Until) -> None:
    """Wait until the form is whole and nothing changes on the screen any more."""
    seen: list[str] = []

    def same() -> bool:
        seen.append(pilot.app.export_screenshot())
        return not pilot.app.screen.query_one(Side).is_busy and len(set(seen[-3:])) == 1 and len(seen) > 3

    await until(pilot, same)


def _draft(pilot: Pilot[Any]) -> dict[str, Any]:
    document: dict[str, Any] = pilot.app.cockpit.draft.document  # type: ignore[attr-defined]
    return document


# --- what is seen -----------------------------------------------------------------------------------------


def test_shows_the_demo_with_ticks_shapes_form_and_figures(
    build: App, drive: Drive, until: Until, golden: Golden, size: tuple[int, int]
) -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "it fits")
        await _settled(pilot, until)
        await golden(pilot, f"build-{size[0]}x{size[1]}")

    drive(build(), scenario, size)


def test_in_a_narrow_terminal_tab_shows_the_form_and_esc_the_chain(
    build: App, drive: Drive, until: Until, golden: Golden, text_of: Text
) -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "it fits")
        await pilot.press(*["down"] * 5, "tab")
        await until(pilot, "activation")
        await _settled(pilot, until)
        await golden(pilot, "build-form-60x16")
        await pilot.press("escape")
        await until(pilot, "Optimizer")
        assert "activation" not in text_of(pilot)

    drive(build(), scenario, (60, 16))


def test_an_empty_chain_says_what_is_still_to_choose(
    build: App, drive: Drive, until: Until, golden: Golden, size: tuple[int, int]
) -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        await pilot.press("n")
        await until(pilot, "still to choose: data, model, loss, optimizer")
        await _settled(pilot, until)
        await golden(pilot, f"build-empty-{size[0]}x{size[1]}")

    drive(build(), scenario, size)


def test_a_terminal_too_small_for_the_chain_gets_the_facts_in_a_line(
    build: App, drive: Drive, until: Until, text_of: Text
) -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "it fits")
        await pilot.resize_terminal(58, 8)
        await until(pilot, "demo   ✓ it fits")
        assert len(text_of(pilot).splitlines()) == 1
        await pilot.resize_terminal(80, 24)
        await until(pilot, "Optimizer")

    drive(build(), scenario, (80, 24))


# --- what is wrong ----------------------------------------------------------------------------------------


def test_a_loss_that_is_fed_the_wrong_output_is_mended_with_one_key(
    build: App, drive: Drive, until: Until, golden: Golden
) -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "wants log-probabilities, but is fed logits")
        await _settled(pilot, until)
        await golden(pilot, "build-mismatch-80x24")
        await pilot.press("f")
        await until(pilot, "it fits")
        assert _draft(pilot)["output"] == {"use": "auto"}

    drive(build("loss.use=nll", "output.use=none"), scenario)


def test_what_is_wrong_stands_under_the_field_as_one_types_and_nothing_is_lost(
    build: App, drive: Drive, until: Until, golden: Golden
) -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "it fits")
        await pilot.press(*["down"] * 5, "tab", "ctrl+u")
        await _type(pilot, "wide")
        await until(pilot, 'should be an integer, not "wide"')
        assert _draft(pilot)["model"]["width"] == "wide"
        await _settled(pilot, until)
        await golden(pilot, "build-wrong-value-80x24")
        await pilot.press("escape", "1", "u")
        await until(pilot, "it fits")
        assert _draft(pilot)["model"]["width"] == 32

    drive(build(), scenario)


def test_a_misspelt_parameter_of_a_file_is_named_and_mended(build: App, drive: Drive, until: Until) -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "call it activation")
        await pilot.press("f")
        await until(pilot, "it fits")
        assert _draft(pilot)["model"] == {"use": "convolutional", "activation": "relu"}

    drive(build('model={use = "convolutional", activaton = "relu"}'), scenario)


def test_what_does_not_fit_is_told_by_the_helper_and_marked_at_its_step(
    build: App, drive: Drive, until: Until, golden: Golden
) -> None:
    refusal = HelperTrouble(
        'demo: transforms: uint8 pictures reach the model, which needs floats (mend: use "to-tensor")',
        "usage",
    )

    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "uint8 pictures reach the model")
        await _settled(pilot, until)
        await golden(pilot, "build-misfit-80x24")
        await pilot.press("t")
        await until(pilot, "it cannot be trained")
        await pilot.press("f")
        assert _draft(pilot)["transforms"][0] == {"use": "to-tensor"}

    drive(build("transforms=[]", rehearse=refusal), scenario)


def test_a_helper_that_died_is_a_message_with_a_retry(
    build: App, drive: Drive, until: Until, golden: Golden
) -> None:
    made = build(rehearse=HelperTrouble("the helper process ended (killed by signal 9)", "dead"))

    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "killed by signal 9")
        await _settled(pilot, until)
        await golden(pilot, "build-helper-dead-80x24")
        made.cockpit.helper.answers.clear()  # type: ignore[attr-defined]
        await pilot.press("r")
        await until(pilot, "it fits")

    drive(made, scenario)


def test_pictures_that_are_not_here_are_said_to_be_downloaded(
    build: App, drive: Drive, until: Until, golden: Golden
) -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "sound so far; training downloads 170 MB to /cache/cifar")
        await _settled(pilot, until)
        await golden(pilot, "build-missing-140x45")

    missing = {"missing": {"place": "/cache/cifar", "size": 170_052_171}}
    drive(build(rehearse=missing), scenario, (140, 45))


# --- changing the chain -----------------------------------------------------------------------------------


def test_transforms_are_added_moved_and_removed_and_all_of_it_undone(
    build: App, drive: Drive, until: Until
) -> None:
    def chain(pilot: Pilot[Any]) -> list[str]:
        return [entry["use"] for entry in _draft(pilot)["transforms"]]

    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "it fits")
        before = chain(pilot)
        await pilot.press(*["down"] * 3, "a")
        await _type(pilot, "cutout")
        await pilot.press("enter")
        await until(pilot, lambda: chain(pilot) == ["to-tensor", "normalize", "cutout", "random-flip"])
        await pilot.press("J")
        assert chain(pilot)[3] == "cutout"
        await pilot.press("K", "K")
        assert chain(pilot)[1] == "cutout"
        await pilot.press("x")
        assert chain(pilot) == before
        await pilot.press(*["u"] * 5)
        assert chain(pilot) == before
        await pilot.press("U")
        assert "cutout" in chain(pilot)

    drive(build(), scenario)


def test_another_component_keeps_the_parameters_that_it_has_too(
    build: App, drive: Drive, until: Until
) -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "it fits")
        await pilot.press(*["down"] * 5, "enter")
        await _type(pilot, "fully")
        await pilot.press("enter")
        await until(pilot, "hidden")
        assert _draft(pilot)["model"] == {"use": "fully-connected", "activation": "gelu"}

    drive(build(), scenario)


def test_letters_typed_in_a_field_are_no_commands(build: App, drive: Drive, until: Until) -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "it fits")
        await pilot.press(*["down"] * 5, "tab", "ctrl+u")
        await _type(pilot, "qxtnyoau.f12")
        assert _draft(pilot)["model"]["width"] == "qxtnyoau.f12"
        assert len(_draft(pilot)["transforms"]) == 3

    drive(build(), scenario)


@pytest.mark.parametrize("size", [(80, 24), (60, 16)], ids=["beside", "in place"])
def test_a_digit_typed_right_after_tab_reaches_the_field_and_is_no_command(
    build: App, drive: Drive, until: Until, size: tuple[int, int]
) -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        await _settled(pilot, until)
        # Down to the optimizer and into its form, faster than anything is drawn in between.
        for key in ["end", "up", "up", "tab", "1", "tab", "0", "full_stop", "7"]:
            character = "." if key == "full_stop" else key if len(key) == 1 else None
            pilot.app.post_message(events.Key(key, character))
        await until(pilot, lambda: {"lr": 0.0041, "beta1": 0.7}.items() <= _draft(pilot)["optimizer"].items())
        assert pilot.app.current_mode == "build"

    drive(build(), scenario, size)


def test_new_is_undone_like_everything_else(build: App, drive: Drive, until: Until, text_of: Text) -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "it fits")
        await pilot.press("n")
        await until(pilot, "untitled")
        await pilot.press("u")
        await until(pilot, "it fits")
        assert "demo" in text_of(pilot)

    drive(build(), scenario)


# --- what is done with it ---------------------------------------------------------------------------------


def test_from_an_empty_chain_to_a_started_run_by_keys(
    build: App, drive: Drive, until: Until, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Run] = []
    monkeypatch.setattr("birdplane.tui.state.launch", lambda run: started.append(run) or 1)

    async def pick(pilot: Pilot[Any], key: str, name: str) -> None:
        await pilot.press(key)
        await _type(pilot, name)
        await until(pilot, "enter takes it")
        await pilot.press("enter")

    async def scenario(pilot: Pilot[Any]) -> None:
        await pilot.press("n")
        await pick(pilot, "enter", "sk")
        await pilot.press("down")
        for name in ("te", "nor", "flip"):
            await pick(pilot, "a", name)
        await pilot.press("down")
        await pick(pilot, "enter", "conv")
        await pilot.press("tab", "ctrl+u", "3", "2", "down", *["right"] * 4, "escape", "down", "down")
        await pick(pilot, "enter", "cr")
        await pilot.press("down")
        await pick(pilot, "enter", "adamw")
        await pilot.press("tab", "ctrl+u")
        await _type(pilot, "0.004")
        await pilot.press("down", "down", "down", "down", "ctrl+u")
        await _type(pilot, "0.05")
        await pilot.press("escape", "down")
        await pick(pilot, "enter", "one")
        await pilot.press("down", "tab", "ctrl+u", "8", "escape")
        await until(pilot, "birdplane train demo")
        await until(pilot, "it fits")
        await pilot.press("t")
        await until(pilot, lambda: bool(started))

    drive(build(), scenario, (140, 45))
    written = Pipeline.load(started[0].path / "pipeline.toml").complete()
    assert written == Pipeline.load("demo").complete()
    assert started[0].path.parent == runs


def test_a_run_that_cannot_be_started_is_a_message(
    build: App, drive: Drive, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(run: Run) -> int:
        raise BirdplaneError("cannot start training: no processes left")

    monkeypatch.setattr("birdplane.tui.state.launch", refuse)

    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "it fits")
        await pilot.press("t")
        await until(pilot, "no processes left")

    drive(build(), scenario, (140, 45))


def test_one_batch_shows_loss_gradient_and_time(build: App, drive: Drive, until: Until) -> None:
    batch = {
        "loss": 0.6931,
        "gradient_norm": 1.237,
        "milliseconds": 12.34,
        "batch_size": 64,
        "device": "cpu",
    }

    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "it fits")
        await pilot.press("full_stop")
        await until(pilot, "one batch of 64: loss 0.6931, gradient norm 1.24, 12.3 ms a step on cpu")

    drive(build(dry_step=batch), scenario)


def test_the_command_line_is_shown_and_copied(build: App, drive: Drive, until: Until) -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "birdplane train demo --set model.width=64 --set 'model.activation=a b'")
        await pilot.press("y")
        assert pilot.app.clipboard == "birdplane train demo --set model.width=64 --set 'model.activation=a b'"

    drive(build("model.width=64", "model.activation=a b"), scenario, (140, 45))


def test_saving_asks_for_a_name_and_before_it_overwrites(build: App, drive: Drive, until: Until) -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        Path("mine.toml").write_text("# another one\n")
        await until(pilot, "it fits")
        await pilot.press("ctrl+s", "ctrl+u")
        await _type(pilot, "mine")
        await pilot.press("enter")
        await until(pilot, "is there already")
        assert Path("mine.toml").read_text() == "# another one\n"
        await pilot.press("enter")
        await until(pilot, "saved mine.toml")

    made = build("training.epochs=3")
    drive(made, scenario)
    assert Pipeline.load("mine.toml").document == made.cockpit.draft.document
    assert made.cockpit.draft.source == "mine.toml"
    assert not made.cockpit.draft.is_changed


def test_recipes_and_files_are_opened_from_one_list(build: App, drive: Drive, until: Until) -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        Path("birds.toml").write_text('[dataset]\nuse = "cifar2"\n')
        await until(pilot, "it fits")
        await pilot.press("o")
        await _type(pilot, "birds")
        await until(pilot, "birds.toml")
        await pilot.press("enter")
        await until(pilot, "still to choose: model, loss, optimizer")
        await pilot.press("o")
        await _type(pilot, "book-deep")
        await pilot.press("enter")
        await until(pilot, "cifar2")
        assert _draft(pilot)["model"]["hidden"] == [1024, 512, 128]

    drive(build(), scenario)


def test_a_file_that_is_not_toml_leaves_the_draft_and_says_why(
    build: App, drive: Drive, until: Until
) -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        Path("bad.toml").write_text("[model]\nuse = \n")
        await until(pilot, "it fits")
        await pilot.press("o")
        await _type(pilot, "bad")
        await until(pilot, "bad.toml")
        await pilot.press("enter")
        await until(pilot, "not valid TOML")
        assert _draft(pilot)["model"]["use"] == "convolutional"

    drive(build(), scenario, (140, 45))


# --- plugins ----------------------------------------------------------------------------------------------

ZOO = '''
"""Odd things."""
from typing import Annotated, Literal
from annotated_types import Ge
from typing_extensions import Doc
from birdplane import Model, hookimpl

def good(*, input_shape, num_classes, legs: Annotated[int, Ge(2), Doc("How [red]many[/red] \\x1b[31mlegs.")] = 4,
         gait: Literal["walk", "trot"] = "trot"): ...

def unreadable(*, legs: "NoSuchType" = 4): ...

@hookimpl
def birdplane_components():
    return [Model(name="pony", target=good, summary="A [bold]pony[/bold] \\x1b[31mwith a form."),
            Model(name="ghost", target=unreadable, summary="Its schema raises."),
            Model(name="heavy", target="zoo_heavy:heavy", summary="Its module imports torch.")]
'''
HEAVY = "import torch\ndef heavy(*, input_shape, num_classes, depth: int = 3): ...\n"
BROKEN = "raise RuntimeError('listing [red]failed[/red]')\n"


@pytest.fixture
def zoo(write_plugin: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ScreenCatalog:
    """A catalog with the built-in components, a plugin whose models are odd, and one that cannot be imported."""
    folder = write_plugin(tmp_path / "site", "zoo", ZOO)
    write_plugin(folder, "wreck", BROKEN)
    (folder / "zoo_heavy.py").write_text(HEAVY)
    monkeypatch.syspath_prepend(folder)
    loaded = load_plugins()
    for name in ("zoo_module", "wreck_module", "zoo_heavy"):
        sys.modules.pop(name, None)
    return ScreenCatalog(lambda: loaded)


def test_a_plugins_component_has_its_form_and_its_text_is_no_markup(
    build: App, drive: Drive, until: Until, zoo: ScreenCatalog
) -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        await pilot.press(*["down"] * 5, "enter")
        await _type(pilot, "pony")
        await until(pilot, "birdplane-zoo 1.2")
        await pilot.press("enter")
        await until(pilot, "How [red]many[/red]  [31mlegs.")
        await until(pilot, "A [bold]pony[/bold]  [31mwith a form.")
        await until(pilot, "● trot")

    drive(build(catalog=zoo), scenario, (140, 45))


def test_a_component_whose_schema_raises_is_an_error_that_names_it_and_the_rest_works(
    build: App, drive: Drive, until: Until, zoo: ScreenCatalog
) -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        await until(pilot, "model.use: model 'zoo/ghost': its annotations cannot be read")
        await pilot.press(*["down"] * 7)
        await until(pilot, "label_smoothing")

    drive(build("model=ghost", catalog=zoo), scenario, (140, 45))


def test_a_broken_plugin_is_named_with_its_reason(
    build: App, drive: Drive, until: Until, zoo: ScreenCatalog
) -> None:
    async def scenario(pilot: Pilot[Any]) -> None:
        said = "wreck (of birdplane-wreck) is broken: RuntimeError: listing [red]failed[/red]"
        await until(pilot, said)
        await pilot.press("a")
        await until(pilot, "Add a transform")
        await until(pilot, said)

    drive(build(catalog=zoo), scenario, (140, 45))


def test_a_form_that_needs_torch_comes_from_the_helper(
    build: App, drive: Drive, until: Until, zoo: ScreenCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "torch"]:
        monkeypatch.delitem(sys.modules, name)
    field = {
        "name": "depth",
        "help": "How deep.",
        "type": {"kind": "int"},
        "required": False,
        "default": 3,
        "choices": [],
        "minimum": ">= 1",
        "maximum": "",
    }

    async def scenario(pilot: Pilot[Any]) -> None:
        await pilot.press(*["down"] * 5)
        await until(pilot, "integer >= 1; default 3")
        assert "torch" not in sys.modules

    drive(build("model=heavy", catalog=zoo, signature={"fields": [field]}), scenario, (140, 45))
