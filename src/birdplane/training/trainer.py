"""The loop: epochs of steps, validated; between them what was asked is obeyed, and checkpoints are saved."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, nn

from birdplane import checkpoint, failures, reporting
from birdplane.alerts import Watcher
from birdplane.assembly import Assembly, naming, pick_device
from birdplane.clock import Clock
from birdplane.distributed import LostRank, Requests, Team
from birdplane.errors import BirdplaneError, described
from birdplane.events import Alert, Checkpoint, End, Epoch, Event, Heartbeat, Progress, Start
from birdplane.footprint import Gauge
from birdplane.inspection import score
from birdplane.listeners import Listeners
from birdplane.optimization import Position
from birdplane.pipeline import Pipeline
from birdplane.plugins import installed
from birdplane.runs import Run
from birdplane.text import amount
from birdplane.training.environment import differences, environment_of
from birdplane.training.memory import largest_batch, short_at_step, short_before_training, short_in_a_team
from birdplane.training.meter import Meter, Sums
from birdplane.training.preparation import Prepared, prepare
from birdplane.training.recording import recorded, told
from birdplane.training.saving import Saving

_SUMMARY_SECONDS = 0.1
_HEARTBEAT_SECONDS = 1.0


@dataclass
class _Best:
    """The epoch (from 1) and step after which validation was best."""

    epoch: int
    step: int
    accuracy: float
    loss: float

    def beaten_by(self, accuracy: float, loss: float) -> bool:
        return (accuracy, -loss) > (self.accuracy, -self.loss)


class StoppedEarly(BaseException):
    """Raised by a handler of signals before the `Start` event, it ends a training in order, with nothing saved."""


class Trainer:
    """Trains while it is iterated over.

    Attributes:
        model: the network, from the `Start` event on.
        assembly: all parts that were built.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        run: Run | None,
        requests: Requests | None,
        team: Team | None = None,
        *,
        resuming: bool = False,
    ) -> None:
        self.pipeline = pipeline
        self.run = run
        self.settings = pipeline.training
        self._resuming = resuming
        self._team = team or Team()
        self._requests = requests
        #: Whether all parts are built; whether that was told, and there is a run to go on with.
        self._ready = False
        self._begun = False
        self._parts: Prepared
        self._device: torch.device | None = None
        self._position = Position()
        self._best: _Best | None = None
        #: The weights that validated best, where they are no longer those of the model.
        self._best_weights: dict[str, Tensor] | None = None
        self._watcher = Watcher()
        self._clock = Clock()
        self._gauge = Gauge()
        self._meter = Meter()
        self._told_at = -math.inf
        self._stop = False
        self._saving = Saving(self.settings)
        #: What was last told of the preparation, and when.
        self._preparation = "", -math.inf

    @property
    def assembly(self) -> Assembly:
        return self._parts.assembly

    @property
    def model(self) -> nn.Module:
        return self.assembly.model

    def __iter__(self) -> Iterator[Event]:
        """Train, and yield the events, each after it was recorded and told to the plugins."""
        if self.run is None:
            self._requests = self._team.requests(self._requests)
            yield from self._heard(self._events())
            return
        with self.run.lock():
            self._requests = self._team.requests(self._requests or self.run.requests())
            try:
                yield from self._heard(recorded(self._events(), self.run))
            finally:
                self.run.close()

    def _heard(self, events: Iterator[Event]) -> Iterator[Event]:
        if not self._team.leads:
            return events
        return told(events, Listeners(installed(), self.run), self.run, self._alert)

    def _events(self) -> Generator[Event]:
        try:
            yield self._heartbeat("preparing")
            with naming(self.pipeline.source):
                yield from self._prepare()
            while self._position.epoch < self.settings.epochs and not self._stop:
                yield from self._epoch()
            yield from self._summary(at_once=True)
            if self._position.step != self._saving.step:
                yield from self._save()
            if self._stop:
                yield self._end("stopped", "asked to stop; `birdplane resume` goes on")
            else:
                yield self._end("done")
        except StoppedEarly:
            yield self._end("stopped", "asked to stop before the first step")
        except LostRank as error:
            if not self._team.watched:  # else whoever watches knows better which one, and why
                yield self._end("failed", str(error))
            raise
        except Exception as error:
            in_words = self._in_words(error)
            yield self._end("failed", str(in_words))
            if in_words is error:
                raise
            raise in_words from error

    def _in_words(self, error: Exception) -> BirdplaneError:
        """Say what a component's code, the system or the device raised, and what to do about it."""
        from_the_system = isinstance(error, OSError) or isinstance(error.__cause__, OSError)
        if from_the_system and self.run is not None and not self.run.in_place():
            return self.run.gone()
        if failures.ran_out_of_memory(error):
            return BirdplaneError(self._out_of_memory(error))
        if isinstance(error, failures.LostWorker) or isinstance(error.__cause__, OSError):
            return BirdplaneError(f"{error}{self._going_on()}")
        if isinstance(error, BirdplaneError):
            return error
        return BirdplaneError(f"step {self._position.step + 1}: {described(error)}")

    def _going_on(self) -> str:
        """Say how a run goes on that the system has ended, and that is whole."""
        if self.run is None or not self._begun:
            return ""
        step = f"step {self._saving.step}" if self._saving.step > 0 else "its beginning"
        return f"; `birdplane resume {self.run.name}` then goes on from {step}"

    def _out_of_memory(self, error: Exception) -> str:
        """Say when memory ran out, and what batch size there is enough for: that was tried."""
        if not self._ready:
            return short_before_training(self._preparation[0] or "preparing")
        step, size = self._position.step + 1, self.settings.batch_size
        if self._team.size > 1:  # to try a step takes all of them
            return short_in_a_team(step, size, self._team.size)
        failures.let_go(error)
        fits = largest_batch(self.assembly, self._optimization, self._parts.splits.train, size)
        return short_at_step(step, size, fits)

    # Before the first step.

    def _prepare(self) -> Iterator[Event]:
        self._device = self._team.device(self.settings.device, pick_device(self.settings.device))
        saved, damaged = self._newest_checkpoint()
        with reporting.also(self._note_preparation):
            self._parts = parts = prepare(
                self.pipeline,
                self._device,
                self._team,
                saved.state["fitted"] if saved else None,
                lambda what: self._note_preparation(what, 0, None, ""),
            )
        self._optimization = parts.optimization
        self._ready = True
        if saved:
            self._restore(saved)
        self._rewind(damaged)
        yield self._start()
        self._begun = True
        for unusable in damaged:
            before = "the one before" if saved else "the beginning: there is none before"
            yield self._alert("checkpoint", f"{unusable}; going on from {before}")
        if parts.excuse:
            yield self._alert("precision", parts.excuse)
        if saved and (changes := differences(saved.state["environment"], self._environment)):
            yield self._alert("environment", f"not bit-exact: {changes}")
        if skipped := parts.splits.skipped:
            names = ", ".join(name for name, _ in skipped[:5])
            more = ", ..." if len(skipped) > 5 else ""
            yield self._alert(
                "skipped", f"{len(skipped)} pictures cannot be read and are left out: {names}{more}"
            )

    def _newest_checkpoint(
        self,
    ) -> tuple[checkpoint.Checkpoint | None, list[checkpoint.DamagedCheckpoint]]:
        if not self._resuming:
            return None, []
        self._note_preparation("reading the checkpoint", 0, None, "")
        folder = self.run.checkpoints if self.run is not None else None
        saved, damaged = checkpoint.newest(folder, checkpoint.OF_A_TRAINING) if folder else (None, [])
        return self._team.agreed_checkpoint(saved), damaged

    def _note_preparation(self, title: str, done: int, total: int | None, unit: str) -> None:
        """Put into the record how far a download or the like is: who reads it has nothing else to see yet."""
        now, (before, at) = time.monotonic(), self._preparation
        if self.run is not None and (title != before or now - at >= _HEARTBEAT_SECONDS):
            self._preparation = title, now
            far = amount(done, total, unit)
            self.run.append(self._heartbeat("preparing", f"{title}, {far}" if far else title))

    # Steps.

    def _epoch(self) -> Iterator[Event]:
        position, train = self._position, self._parts.train
        self.model.train()
        batches = train.epoch(position.epoch, position.epoch_step, self._team.share)
        self._meter.begin()
        asked = time.perf_counter()
        for batch in batches:
            waited = time.perf_counter() - asked
            size = train.size_at(position.epoch_step)
            self._meter.add(*self._optimization.step(*batch, position, size), size, waited)
            position.advance()
            asked = time.perf_counter()
            if position.epoch_step == train.steps:
                break  # what comes between steps comes after the validation, with the epoch in the record
            if self._due_between(asked) or self._saving.due_by_steps(position.step):
                yield from self._between_steps()
                if self._stop:
                    return
                asked = time.perf_counter()
        yield from self._summary()
        yield from self._finish_epoch()

    def _due_between(self, now: float) -> bool:
        """Tell whether it is time to look at what was asked. A team's processes must find so after the same step."""
        if self._team.size > 1:
            return self._team.meets()
        return now - self._meter.began >= _SUMMARY_SECONDS

    def _between_steps(self) -> Iterator[Event]:
        yield from self._summary()
        yield from self._obey()
        if self._saving.due(self._position.step):
            yield from self._save()

    def _summary(self, at_once: bool = False) -> Iterator[Event]:
        """Read the latest losses and tell of them, where the last progress is not too recent for that."""
        self._optimization.check(self._meter.read(), self._position)
        now = time.perf_counter()
        if not self._meter.untold.losses or not (at_once or now - self._told_at >= _SUMMARY_SECONDS):
            return
        self._told_at = now
        untold = self._meter.take()
        yield Progress(
            **self._moment(),
            count=len(untold.losses),
            mean=untold.mean,
            min=min(untold.losses),
            max=max(untold.losses),
            last=untold.losses[-1],
            accuracy=untold.correct / untold.samples,
            learning_rate=self._optimization.learning_rate,
            samples_per_second=untold.samples / untold.seconds,
            wait=min(1.0, untold.waited / untold.seconds),
            **self._memory(),
        )
        self._meter.begin()

    def _finish_epoch(self) -> Iterator[Event]:
        position, sums = self._position, self._meter.sums
        number = position.epoch + 1
        loss = accuracy = None
        began = time.perf_counter()
        if number % self.settings.validate_every == 0 or number == self.settings.epochs:
            yield self._heartbeat("validating")
            with self._optimization.validating():
                loss, accuracy = score(self.assembly, self._parts.validation, self._team)
            self._keep_if_best(_Best(number, position.step, accuracy, loss))
        event = Epoch(
            time=self._clock(),
            epoch=number,
            step=position.step,
            train_loss=sums.loss / sums.count,
            train_accuracy=sums.correct / sums.count,
            validation_loss=loss,
            validation_accuracy=accuracy,
            train_seconds=sums.seconds,
            validation_seconds=time.perf_counter() - began,
            best_accuracy=self._best.accuracy if self._best else None,
        )
        position.epoch, position.epoch_step = number, 0
        self._meter.sums = Sums()
        yield event
        for kind, message in self._watcher.judge(event):
            yield self._alert(kind, message)
        # Between the epochs too: where they are shorter than a summary, nothing else would ever ask.
        yield from self._obey()
        if not self._stop and self._saving.due(position.step):
            yield from self._save()

    def _keep_if_best(self, candidate: _Best) -> None:
        if self._best is None or self._best.beaten_by(candidate.accuracy, candidate.loss):
            self._best = candidate
            self._best_weights = {
                name: tensor.detach().clone() for name, tensor in self._optimization.weights.items()
            }

    # Asked from outside.

    def _obey(self) -> Iterator[Event]:
        paused = False
        told = 0.0
        while True:
            if self.run is not None:
                self.run.check_in_place()
            for action in self._requests.poll() if self._requests is not None else []:
                paused = {"pause": True, "resume": False}.get(action, paused)
                self._stop = self._stop or action == "stop"
            if self._stop or not paused:
                break
            if time.monotonic() - told >= _HEARTBEAT_SECONDS:
                told = time.monotonic()
                yield self._heartbeat("paused")
            time.sleep(_SUMMARY_SECONDS)
        if told:
            self._meter.begin()
            yield self._heartbeat("training")

    # Checkpoints.

    def _save(self) -> Iterator[Event]:
        if self.run is None:
            return
        yield from self._summary(at_once=True)
        groups, rest = self._optimization.state()
        if self._best_weights is not None:
            groups["best"] = self._best_weights
        path = self._saving.save(
            self.run, self._position.step, tensors=groups, state={**self._state(), "optimizer": rest}
        )
        self._meter.begin()
        yield Checkpoint(
            **self._moment(),
            path=str(path.relative_to(self.run.path)),
            best=self._best is not None and self._best.step == self._position.step,
            seconds=self._saving.seconds,
        )

    def _state(self) -> dict[str, Any]:
        return {
            "position": asdict(self._position),
            "sums": asdict(self._meter.sums),
            "best": asdict(self._best) if self._best else None,
            "fitted": self.assembly.fitted,
            "classes": list(self.assembly.classes),
            "input_shape": list(self._parts.input_shape),
            "stored_shape": list(self._parts.splits.train.shape),
            "environment": self._environment,
        }

    def _restore(self, saved: checkpoint.Checkpoint) -> None:
        self._optimization.restore(saved.tensors, saved.state["optimizer"])
        self._position = Position(**saved.state["position"])
        self._meter.sums = Sums(**saved.state["sums"])
        if saved.state["best"]:
            self._best = _Best(**saved.state["best"])
            self._best_weights = {
                name: tensor.to(self.assembly.device) for name, tensor in saved.tensors["best"].items()
            }
        self._saving.step = self._position.step

    def _rewind(self, damaged: list[checkpoint.DamagedCheckpoint]) -> None:
        """Take out of the record what will happen again, and let the watcher see what stands."""
        if self.run is None:
            return
        self.run.rewind(self._position.step)
        checkpoint.rewind(self.run.checkpoints, self._position.step, [error.path for error in damaged])
        for event in self.run.events([Epoch]):
            assert isinstance(event, Epoch)
            self._watcher.judge(event)

    @cached_property
    def _environment(self) -> dict[str, Any]:
        return environment_of(self.assembly, self._team.size)

    # Events.

    def _shown_epoch(self) -> int:
        """The epoch that the last step belonged to, from 1."""
        return min(
            self._position.epoch + (self._position.epoch_step > 0 or self._position.step == 0),
            self.settings.epochs,
        )

    def _moment(self) -> dict[str, Any]:
        """Return the fields that all events have."""
        return {"time": self._clock(), "epoch": self._shown_epoch(), "step": self._position.step}

    def _memory(self) -> dict[str, Any]:
        """Return the fields of an event that tell of memory."""
        return asdict(self._gauge(self._device))

    def _start(self) -> Start:
        return Start(
            time=self._clock(),
            epoch=self._position.epoch,
            step=self._position.step,
            epochs=self.settings.epochs,
            steps_per_epoch=self._parts.train.steps,
            facts=self._parts.facts(self._team.size),
            fitted=self.assembly.fitted,
        )

    def _alert(self, kind: str, message: str) -> Alert:
        return Alert(**self._moment(), kind=kind, message=message)

    def _heartbeat(self, state: str, what: str = "") -> Heartbeat:
        return Heartbeat(**self._moment(), state=state, what=what, **self._memory())

    def _end(self, status: Literal["done", "stopped", "failed"], reason: str = "") -> End:
        return End(**self._moment(), status=status, reason=reason)
