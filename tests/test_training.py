"""Training: the numbers, step by step, and the events."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from birdplane import BirdplaneError, Pipeline, UsageError, checkpoint
from birdplane.assembly import Assembly, build_splits
from birdplane.data import permutation
from birdplane.events import Alert, Checkpoint, End, Epoch, Event, Heartbeat, Progress, Start
from birdplane.optimization import Average, Guard, NotFinite, Optimization, Position
from birdplane.registry import Catalog
from birdplane.runs import Run
from birdplane.training import Trainer, train

Tiny = Callable[..., Pipeline]
Action = Literal["pause", "resume", "stop"]


def trained(pipeline: Pipeline, run: Run | None = None) -> tuple[Trainer, list[Event]]:
    trainer = train(pipeline, run)
    return trainer, list(trainer)


def weights(trainer: Trainer) -> dict[str, Tensor]:
    return trainer.model.state_dict()


def equal(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def of_kind(kind: type[Event], events: list[Event]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


@pytest.fixture
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """A summary after every step, so that each step's loss is an event."""
    monkeypatch.setattr("birdplane.training.trainer._SUMMARY_SECONDS", 0.0)


def losses(events: list[Event]) -> list[float]:
    progress = of_kind(Progress, events)
    assert all(event.count == 1 for event in progress)
    return [event.last for event in progress]


# The numbers.


@pytest.mark.usefixtures("every_step")
def test_the_books_losses_are_step_by_step_those_of_a_loop_written_by_hand(tiny: Tiny) -> None:
    seed, epochs, size = 11, 3, 64
    book = Pipeline.load("book").document
    book["seed"] = seed
    book["dataset"] = {"use": "sketches", "train": 200, "test": 20, "size": 16}
    book["training"] = {**book["training"], "epochs": epochs, "device": "cpu"}
    trainer, events = trained(Pipeline(book, "book"))

    train_pictures = build_splits(Pipeline(book, "book")).train
    images_NCHW, labels_N = map(torch.from_numpy, train_pictures.decode(range(200)))
    images_NCHW = images_NCHW.to(torch.float32) / 255
    measured = trainer.assembly.fitted["1"]
    mean, std = (torch.tensor(measured[key]).view(3, 1, 1) for key in ("mean", "std"))
    images_NCHW = (images_NCHW - mean) / std
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(768, 512), nn.Tanh(), nn.Linear(512, 2), nn.LogSoftmax(dim=1))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2, fused=True)
    loss_of = nn.NLLLoss()
    by_hand = []
    for epoch in range(epochs):
        order = permutation(seed, epoch, 200)
        for indices in order.split(size):
            loss = loss_of(model(images_NCHW[indices].view(len(indices), -1)), labels_N[indices])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            by_hand.append(loss.item())

    assert losses(events) == by_hand
    assert [p.tolist() for p in trainer.model.parameters()] == [p.tolist() for p in model.parameters()]


@pytest.mark.usefixtures("every_step")
def test_cross_entropy_on_logits_trains_as_nll_on_log_probabilities_does(tiny: Tiny) -> None:
    one, events = trained(tiny("loss.use=cross-entropy"))
    other, others = trained(tiny("loss.use=nll"))
    assert losses(events) == losses(others)
    assert equal(weights(one), weights(other))


@pytest.mark.parametrize(
    "settings",
    [
        (),
        ("model.dropout=0.5",),
        ("model.use=convolutional", "model.dropout=0.3", "optimizer.use=adamw"),
        ("transforms=[{use='random-shift'}, {use='to-tensor'}, {use='random-flip'}]",),
        ("transforms=[{use='color-jitter'}, {use='to-tensor'}]",),
    ],
    ids=["plain", "dropout", "convolutional", "augmented", "by-sample"],
)
def test_one_seed_gives_one_result_and_another_seed_another(tiny: Tiny, settings: tuple[str, ...]) -> None:
    first, _ = trained(tiny(*settings))
    torch.manual_seed(123)
    again, _ = trained(tiny(*settings))
    other, _ = trained(tiny(*settings, "seed=1"))
    assert equal(weights(first), weights(again))
    assert not equal(weights(first), weights(other))


@pytest.mark.parametrize("workers", [0, 2])
def test_streamed_training_is_bit_for_bit_that_from_memory(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    pipeline = tiny(
        "transforms=[{use='to-tensor'}, {use='normalize'}, {use='random-shift'}, {use='random-flip'}]",
        "training.memory_limit=1",
        f"training.workers={workers}",
    )
    resident, others = trained(pipeline)
    monkeypatch.setattr("birdplane.assembly.MIB", 100)  # bytes: less than the 64 pictures take
    streamed, events = trained(pipeline)
    assert [of_kind(Start, told)[0].facts["resident"] for told in (events, others)] == [False, True]
    assert equal(weights(streamed), weights(resident))


def test_a_schedule_multiplies_the_rate_of_every_step(tiny: Tiny, every_step: None) -> None:
    _, events = trained(
        tiny("schedule.use=one-cycle", "schedule.start=0.5", "schedule.peak=0.5", "optimizer.lr=0.2")
    )
    rates = [event.learning_rate for event in of_kind(Progress, events)]
    # 12 steps: x = step / 11; 0.5 + 0.5 * x / 0.5 up to the middle, (1 - x) / 0.5 after it.
    expected = [0.2 * (0.5 + x if x < 0.5 else 2 * (1 - x)) for x in (step / 11 for step in range(12))]
    assert rates == pytest.approx(expected)


def test_the_moving_average_is_its_formula(tiny: Tiny) -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    average = Average(model, 0.75)
    expected = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for step in range(3):
        model(torch.randn(4, 3))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * (step + 1))
        average.update()
        for name, live in model.state_dict().items():
            expected[name] = 0.75 * expected[name] + 0.25 * live if live.is_floating_point() else live.clone()
    assert all(torch.allclose(average.weights[name], expected[name]) for name in expected)
    assert average.weights["1.num_batches_tracked"] == 3


def test_the_averaged_weights_validate_and_the_others_learn(tiny: Tiny) -> None:
    plain, events = trained(tiny())
    averaged, others = trained(tiny("training.average=0.9"))
    assert equal(weights(plain), weights(averaged))
    assert [e.train_loss for e in of_kind(Epoch, events)] == [e.train_loss for e in of_kind(Epoch, others)]
    assert [e.validation_loss for e in of_kind(Epoch, events)] != [
        e.validation_loss for e in of_kind(Epoch, others)
    ]


def test_weight_decay_can_be_kept_off_biases(tiny: Tiny) -> None:
    everything = ("optimizer.weight_decay=0.5", "training.epochs=1")
    whole, _ = trained(tiny(*everything))
    spared, _ = trained(tiny(*everything, "training.decay_norm_and_bias=false"))
    undecayed, _ = trained(tiny("training.epochs=1"))
    assert not equal(weights(whole), weights(spared))
    assert not equal(weights(undecayed), weights(spared))


def test_an_epochs_figures_are_means_over_samples(tiny: Tiny, every_step: None) -> None:
    _, events = trained(tiny("dataset.train=40", "training.epochs=1"))
    sizes = [16, 16, 8]
    steps, (epoch,) = of_kind(Progress, events), of_kind(Epoch, events)
    assert epoch.train_loss == pytest.approx(sum(s.last * n for s, n in zip(steps, sizes, strict=True)) / 40)
    assert epoch.train_accuracy == pytest.approx(
        sum(s.accuracy * n for s, n in zip(steps, sizes, strict=True)) / 40
    )


def test_validation_is_as_rare_as_asked_but_never_left_out_at_the_end(tiny: Tiny) -> None:
    _, events = trained(tiny("training.epochs=5", "training.validate_every=2"))
    assert [event.validation_loss is not None for event in of_kind(Epoch, events)] == [
        False,
        True,
        False,
        True,
        True,
    ]


def test_the_best_accuracy_so_far_is_in_every_epoch(tiny: Tiny) -> None:
    epochs = of_kind(Epoch, trained(tiny("training.epochs=6"))[1])
    so_far = [max(e.validation_accuracy for e in epochs[: n + 1]) for n in range(6)]
    assert [event.best_accuracy for event in epochs] == so_far


# The events.


def test_events_come_in_their_order_and_account_for_every_step(tiny: Tiny, tmp_path: Path) -> None:
    run = Run.create(tmp_path, "r", pipeline_toml=tiny().to_toml())
    _, events = trained(tiny(), run)
    kinds = [event.event for event in events if not isinstance(event, Heartbeat)]
    assert kinds[0] == "start"
    assert kinds[-2:] == ["checkpoint", "end"]
    assert kinds.count("epoch") == 3
    assert sum(event.count for event in of_kind(Progress, events)) == 12
    assert [event.step for event in of_kind(Epoch, events)] == [4, 8, 12]
    assert [event.epoch for event in of_kind(Epoch, events)] == [1, 2, 3]
    assert [event.step for event in events] == sorted(event.step for event in events)
    assert (events[-1].status, events[-1].step) == ("done", 12)  # type: ignore[attr-defined]
    # What it does before there is anything to yield is told in the file alone.
    told = [
        event for event in run.events() if not (isinstance(event, Heartbeat) and event.state == "preparing")
    ]
    assert told == [
        event for event in events if not (isinstance(event, Heartbeat) and event.state == "preparing")
    ]


def test_the_start_tells_what_is_known_only_now(tiny: Tiny) -> None:
    (start,) = of_kind(Start, trained(tiny())[1])
    assert (start.epochs, start.steps_per_epoch) == (3, 4)
    facts = start.facts
    assert facts["classes"] == ["airplane", "bird"]
    assert (facts["train_pictures"], facts["validation_pictures"]) == (64, 32)
    assert facts["input_shape"] == [3, 8, 8]
    assert facts["parameters"] == 192 * 8 + 8 + 8 * 2 + 2
    assert (facts["device"], facts["precision"], facts["torch"]) == ("cpu", "float32", torch.__version__)
    assert len(start.fitted["1"]["mean"]) == 3


def test_progress_is_told_at_most_ten_times_a_second_however_short_the_epochs(tiny: Tiny) -> None:
    _, events = trained(tiny("training.epochs=60"))
    times = [event.time for event in of_kind(Progress, events)]
    spans = [later - earlier for earlier, later in pairwise(times)]
    # The last one tells what is left, and may come early.
    assert all(span > 0.09 for span in spans[:-1])
    assert sum(event.count for event in of_kind(Progress, events)) == 240


def test_a_summary_holds_the_least_the_greatest_the_mean_and_the_last(
    tiny: Tiny, every_step: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    single = losses(trained(tiny("training.epochs=1"))[1])
    monkeypatch.setattr("birdplane.training.trainer._SUMMARY_SECONDS", 1000.0)
    (summary,) = of_kind(Progress, trained(tiny("training.epochs=1"))[1])
    assert (summary.count, summary.min, summary.max, summary.last) == (
        4,
        min(single),
        max(single),
        single[-1],
    )
    assert summary.mean == pytest.approx(sum(single) / 4)


def test_without_a_run_nothing_is_written(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _, events = trained(tiny())
    assert of_kind(Checkpoint, events) == []
    assert list(tmp_path.iterdir()) == []


def test_a_pipeline_with_problems_is_refused_before_anything_is_done(tiny: Tiny) -> None:
    with pytest.raises(UsageError, match=r"tiny\.toml: model\.hidden"):
        train(tiny("model.hidden=3"))


def test_checkpoints_come_by_the_clock_in_the_midst_of_an_epoch_and_take_two_percent_of_it_at_most(
    tiny: Tiny, tmp_path: Path
) -> None:
    pipeline = tiny(
        "dataset.train=4000",
        "training.batch_size=1",
        "training.epochs=1000",
        "training.checkpoint_seconds=0.05",
    )
    run = Run.create(tmp_path, "r", pipeline_toml=pipeline.to_toml())
    saved = []
    for event in train(pipeline, run):
        if isinstance(event, Checkpoint):
            saved.append(event)
            if len(saved) == 4:
                run.request("stop")
    assert any(event.step % 4000 for event in saved[:4])
    for before, after in pairwise(saved[:4]):
        waited = after.time - after.seconds - before.time
        assert waited > max(0.05, 49 * before.seconds) - 0.01


def test_checkpoints_come_every_so_many_steps_where_that_is_asked_for(tiny: Tiny, tmp_path: Path) -> None:
    pipeline = tiny("training.checkpoint_steps=3")
    run = Run.create(tmp_path, "r", pipeline_toml=pipeline.to_toml())
    _, events = trained(pipeline, run)
    assert [event.step for event in of_kind(Checkpoint, events)] == [3, 6, 9, 12]
    assert sorted(path.name for path in run.checkpoints.iterdir()) == ["00000009", "00000012"]


def test_a_model_that_wants_to_see_pictures_first_is_shown_transformed_ones_once(tiny: Tiny) -> None:
    seen: list[Tensor] = []

    class Curious(nn.Sequential):
        def calibrate(self, images_NCHW: Tensor) -> None:
            seen.append(images_NCHW)

    catalog = Catalog()
    catalog["model"].register("curious", lambda: Curious(nn.Flatten(), nn.Linear(192, 2)))
    trained(tiny("model.use=curious", catalog=catalog))
    (images,) = seen
    assert images.shape == (64, 3, 8, 8)
    assert images.dtype == torch.float32
    assert abs(images.mean().item()) < 0.2


# Asked from outside.


class Script:
    """Requests that come at given polls; every poll is counted."""

    def __init__(self, **at: Any) -> None:
        self.polls = 0
        self._at: dict[int, Action] = {int(key.removeprefix("poll")): value for key, value in at.items()}

    def poll(self) -> list[Action]:
        self.polls += 1
        return [self._at[self.polls]] if self.polls in self._at else []


def test_a_stop_ends_between_two_steps_with_a_checkpoint(
    tiny: Tiny, tmp_path: Path, every_step: None
) -> None:
    run = Run.create(tmp_path, "r", pipeline_toml=tiny().to_toml())
    events = list(train(tiny(), run, Script(poll6="stop")))
    assert [event.event for event in events[-2:]] == ["checkpoint", "end"]
    end = events[-1]
    assert isinstance(end, End)
    assert (end.status, end.step) == ("stopped", 6)  # three polls between the steps of an epoch, one after it
    assert run.status().state == "stopped"


def test_requests_of_a_run_come_through_its_control_file(
    tiny: Tiny, tmp_path: Path, every_step: None
) -> None:
    run = Run.create(tmp_path, "r", pipeline_toml=tiny().to_toml())
    run.request("stop")  # of before: not meant for this process
    reader = Run.open(tmp_path, "r")
    states: list[str] = []

    def answer(state: str) -> None:
        reader.request("resume" if state == "paused" else "stop")

    for event in train(tiny("training.epochs=1000"), run):
        if isinstance(event, Progress) and event.step == 2:
            reader.request("pause")
        if isinstance(event, Heartbeat) and event.state in ("paused", "training"):
            states.append(event.state)
            assert reader.status().state == ("paused" if event.state == "paused" else "running")
            answer(event.state)
        last = event
    assert states == ["paused", "training"]
    assert isinstance(last, End)
    assert (last.status, last.step) == ("stopped", 3)


def test_a_paused_run_gives_a_sign_of_life_about_every_second_and_takes_no_step(tiny: Tiny) -> None:
    script = Script(poll1="pause", poll25="resume")
    events = list(train(tiny(), None, script))
    paused = [event for event in of_kind(Heartbeat, events) if event.state == "paused"]
    assert len(paused) >= 2
    assert len({event.step for event in paused}) == 1
    spans = [later.time - earlier.time for earlier, later in pairwise(paused)]
    assert all(0.9 < span < 10 for span in spans)
    assert isinstance(events[-1], End)


def test_a_paused_run_can_be_stopped(tiny: Tiny) -> None:
    events = list(train(tiny(), None, Script(poll1="pause", poll3="stop")))
    assert isinstance(events[-1], End)
    assert events[-1].status == "stopped"


class PauseOfASecond:
    """Asks for a pause at the first poll, and to go on at the first one a second later."""

    def __init__(self) -> None:
        self._ends: float | None = None

    def poll(self) -> list[Action]:
        now = time.monotonic()
        if self._ends is None:
            self._ends = now + 1.0
            return ["pause"]
        return ["resume"] if now >= self._ends else []


def test_a_pause_is_not_counted_as_training_time(tiny: Tiny, every_step: None) -> None:
    began = time.monotonic()
    events = list(train(tiny("training.epochs=1"), None, PauseOfASecond()))
    (epoch,) = of_kind(Epoch, events)
    assert time.monotonic() - began - epoch.train_seconds > 1.0


def test_a_folder_that_goes_away_in_the_midst_of_a_save_is_told_as_at_any_other_moment(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run.create(tmp_path / "runs", "r", pipeline_toml=tiny().to_toml())
    save = checkpoint.save

    def moved_meanwhile(*where: Any, **what: Any) -> Path:
        run.path.rename(tmp_path / "elsewhere")
        return save(*where, **what)

    monkeypatch.setattr(checkpoint, "save", moved_meanwhile)
    with pytest.raises(BirdplaneError, match=r"'.*/runs/r' is gone: it was deleted or moved"):
        list(train(tiny(), run))
    assert not run.path.exists()
    status = Run(tmp_path / "elsewhere").status()
    assert (status.state, status.reason.split(":")[0]) == (
        "failed",
        f"the run's folder {str(run.path)!r} is gone",
    )


def test_a_run_is_trained_by_one_process_at_a_time(tiny: Tiny, tmp_path: Path) -> None:
    run = Run.create(tmp_path, "r", pipeline_toml=tiny().to_toml())
    first = iter(train(tiny(), run))
    next(first)
    with pytest.raises(BirdplaneError, match="the run 'r' is being trained by pid"):
        next(iter(train(tiny(), Run.open(tmp_path, "r"))))
    first.close()  # type: ignore[attr-defined]
    assert trained(tiny(), Run.open(tmp_path, "r"))[1][-1].event == "end"


# What goes wrong.


def failing(pipeline: Pipeline, run: Run | None = None) -> tuple[str, list[Event]]:
    events: list[Event] = []
    trainer = train(pipeline, run)
    with pytest.raises(BirdplaneError) as caught:
        events.extend(trainer)
    assert "\n" not in str(caught.value)
    end = events[-1]
    assert isinstance(end, End)
    assert (end.status, end.reason) == ("failed", str(caught.value))
    return str(caught.value), events


def losses_that_turn(values: Iterator[float]) -> Catalog:
    """A loss that is cross-entropy plus the next of `values`: 0 changes nothing."""
    catalog = Catalog()

    def turning() -> Callable[[Tensor, Tensor], Tensor]:
        def loss(outputs: Tensor, labels: Tensor) -> Tensor:
            offset = next(values) if outputs.requires_grad else 0.0
            return nn.functional.cross_entropy(outputs, labels) + offset

        return loss

    catalog["loss"].register("turning", turning)
    return catalog


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_stops_before_it_reaches_the_weights(tiny: Tiny, bad: float) -> None:
    catalog = losses_that_turn(iter([0.0] * 6 + [bad] * 100))
    trainer = train(tiny("loss.use=turning", catalog=catalog))
    with pytest.raises(NotFinite) as caught:
        list(trainer)
    assert str(caught.value) == (
        f"the loss is {bad} at step 7 (epoch 2); the weights are those before that step: try a lower optimizer.lr, "
        "or normalize the pictures"
    )
    assert all(tensor.isfinite().all() for tensor in weights(trainer).values())
    assert equal(weights(trainer), weights_after_six_steps(tiny))


def weights_after_six_steps(tiny: Tiny) -> dict[str, Tensor]:
    assembly, batches = parts(tiny())
    optimization, position = Optimization(assembly, 12), Position()
    for epoch in range(2):
        position.epoch, position.epoch_step = epoch, 0
        for images, labels in batches.epoch(epoch):
            if position.step < 6:
                optimization.step(images, labels, position)
                position.advance()
    return assembly.model.state_dict()


def parts(pipeline: Pipeline) -> tuple[Assembly, Any]:
    splits = build_splits(pipeline)
    assembly = Assembly(pipeline, splits.classes, torch.device("cpu"), "float32")
    assembly.build_chain(splits.train)
    assembly.build_model(splits.train.shape)
    assembly.model.train()
    return assembly, assembly.batches(splits.train, training=True)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_a_guard_that_does_not_wait_for_the_device_leaves_the_weights_as_they_were(
    tiny: Tiny, optimizer: str
) -> None:
    pipeline = tiny(
        "loss.use=turning",
        f"optimizer.use={optimizer}",
        catalog=losses_that_turn(iter([0.0, 0.0, math.nan, 0.0])),
    )
    assembly, batches = parts(pipeline)
    optimization, position = Optimization(assembly, 12), Position()
    assert all(group["fused"] for group in optimization.optimizer.param_groups)
    optimization._guard = Guard(optimization.optimizer, torch.device("cpu"), waits=False)
    found: list[float] = []
    kept: list[dict[str, Tensor]] = []
    for images, labels in batches.epoch(0):
        found.append(optimization.step(images, labels, position)[0].item())
        position.advance()
        kept.append({name: tensor.clone() for name, tensor in assembly.model.state_dict().items()})
    assert not equal(kept[0], kept[1])
    assert equal(kept[1], kept[2])
    assert equal(kept[2], kept[3])  # from the bad step on, nothing is learned
    with pytest.raises(NotFinite, match="the loss is nan at step 3"):
        optimization.check(found, position)


def test_a_model_without_anything_to_learn_is_told(tiny: Tiny) -> None:
    catalog = Catalog()
    catalog["model"].register(
        "fixed", lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Softmax(1), _First2())
    )
    message, events = failing(tiny("model.use=fixed", catalog=catalog))
    assert message == "tiny.toml: model: it has no parameters to learn"
    assert of_kind(Start, events) == []


class _First2(nn.Module):
    def forward(self, outputs: Tensor) -> Tensor:
        return outputs[:, :2]


def test_memory_that_runs_out_whatever_the_batch_size_is_told(tiny: Tiny) -> None:
    class Greedy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(192, 2)

        def forward(self, images: Tensor) -> Tensor:
            if self.training:
                torch.empty(2**60, dtype=torch.uint8)
            return self.linear(images.flatten(1))  # type: ignore[no-any-return]

    catalog = Catalog()
    catalog["model"].register("greedy", Greedy)
    message, _ = failing(tiny("model.use=greedy", catalog=catalog))
    assert message == (
        "out of memory at step 1, and for a single picture too: try a smaller model or smaller pictures; "
        "--set training.memory_limit=1 decodes pictures when they are needed, and keeps none"
    )


def test_what_a_model_raises_in_a_step_is_told_with_the_step(tiny: Tiny) -> None:
    class Moody(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.calls = nn.Linear(192, 2), 0

        def forward(self, images: Tensor) -> Tensor:
            self.calls += self.training
            if self.calls == 6:
                raise ArithmeticError("not\ntoday")
            return self.linear(images.flatten(1))  # type: ignore[no-any-return]

    catalog = Catalog()
    catalog["model"].register("moody", Moody)
    message, events = failing(tiny("model.use=moody", catalog=catalog))
    assert message == "step 6: ArithmeticError: not today"
    assert len(of_kind(Epoch, events)) == 1


def test_a_label_that_is_out_of_range_late_in_the_dataset_is_told_in_words(tiny: Tiny) -> None:
    class Odd:
        classes = ("a", "b")

        def __init__(self, split: str) -> None: ...

        def __len__(self) -> int:
            return 20

        def __getitem__(self, index: int) -> Any:
            return torch.full((3, 8, 8), index, dtype=torch.uint8), 7 if index == 19 else index % 2

    catalog = Catalog()
    catalog["dataset"].register("odd", Odd)
    message, _ = failing(tiny("dataset.use=odd", catalog=catalog))
    assert (
        message == "tiny.toml: dataset: picture 19 has the label 7, but there are 2 classes, counted from 0"
    )


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (("training.device=cuda:99",), "tiny.toml: training.device: 'cuda:99' is not there (here: auto, "),
        (
            ("transforms.1.mean=[0.5, 0.5]", "transforms.1.std=[0.5, 0.5]"),
            "tiny.toml: transforms.1 (normalize): mean and std are for 2 channels, the pictures have 3",
        ),
        (
            ("training.drop_last=true", "training.batch_size=65"),
            "tiny.toml: training.batch_size: 65 is more than the 64",
        ),
        (
            ("training.holdout=0.001",),
            "tiny.toml: dataset: 64 pictures cannot be divided with 0.001 held out",
        ),
    ],
)
def test_what_does_not_fit_is_told_with_the_file_and_the_key(
    tiny: Tiny, assignments: tuple[str, ...], message: str
) -> None:
    assert failing(tiny(*assignments))[0].startswith(message)


@pytest.mark.parametrize("kind", ["optimizer", "schedule"])
def test_what_an_optimizer_or_a_schedule_raises_is_told_with_its_key_and_whose_it_is(
    tiny: Tiny, kind: str
) -> None:
    def odd() -> None:
        raise KeyError("momentum")

    catalog = Catalog()
    catalog[kind].register("odd", odd)
    message, events = failing(tiny(f"{kind}.use=odd", catalog=catalog))
    assert message == f"tiny.toml: {kind}: {kind} 'odd' of python fails: KeyError: 'momentum'"
    assert of_kind(Start, events) == []


def test_an_optimizer_that_refuses_its_parameters_is_told_with_its_key(tiny: Tiny) -> None:
    message, _ = failing(tiny("optimizer.nesterov=true"))
    assert message.startswith(
        "tiny.toml: optimizer: sgd: nesterov looks ahead along the momentum, which is 0"
    )


def test_pictures_that_a_dataset_left_out_are_told(tiny: Tiny) -> None:
    class Gappy:
        classes = ("a", "b")
        skipped = [(f"{number}.jpg", "cut short") for number in range(7)]

        def __init__(self, split: str) -> None: ...

        def __len__(self) -> int:
            return 20

        def __getitem__(self, index: int) -> Any:
            return torch.full((3, 8, 8), index, dtype=torch.uint8), index % 2

    catalog = Catalog()
    catalog["dataset"].register("gappy", Gappy)
    (alert,) = of_kind(Alert, trained(tiny("dataset.use=gappy", catalog=catalog))[1])
    assert alert.kind == "skipped"
    assert alert.message == (
        "7 pictures cannot be read and are left out: 0.jpg, 1.jpg, 2.jpg, 3.jpg, 4.jpg, ..."
    )


def test_overfitting_is_pointed_out(tiny: Tiny) -> None:
    _, events = trained(
        tiny(
            "dataset.train=32", "dataset.difficulty=1.0", "model.hidden=[128]", "model.activation=relu",
            "training.epochs=60", "optimizer.use=adam", "optimizer.lr=0.01",
        )
    )  # fmt: skip
    kinds = [event.kind for event in of_kind(Alert, events)]
    assert kinds.count("overfitting") == 1


def test_an_iteration_that_is_given_up_frees_the_run(tiny: Tiny, tmp_path: Path) -> None:
    run = Run.create(tmp_path, "r", pipeline_toml=tiny().to_toml())
    for event in train(tiny(), run):
        if isinstance(event, Start):
            break
    assert not run.status().live
    with Run.open(tmp_path, "r").lock() as again:
        assert again.status().live
