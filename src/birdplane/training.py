"""Training: a pipeline in, events out."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from birdplane import checkpoint
from birdplane.alerts import Watcher
from birdplane.assembly import (
    Assembly,
    build_splits,
    environment,
    naming,
    pick_device,
    usable_precision,
)
from birdplane.errors import BirdplaneError
from birdplane.events import Alert, Checkpoint, End, Epoch, Event, Heartbeat, Progress, Start
from birdplane.inspection import score
from birdplane.optimization import Optimization, Position
from birdplane.pipeline import Pipeline
from birdplane.plugins import installed
from birdplane.runs import Run

_SUMMARY_SECONDS = 0.1
_HEARTBEAT_SECONDS = 1.0
_CHECKPOINT_SHARE = 0.02


class Requests(Protocol):
    """Where pause, resume and stop come from."""

    def poll(self) -> list[Literal["pause", "resume", "stop"]]: ...


def train(pipeline: Pipeline, run: Run | None = None, requests: Requests | None = None) -> Trainer:
    """Train a pipeline: iterate over the result to do so, and to get its events.

    Args:
        pipeline: what to train.
        run: the folder to record it in: events, checkpoints; None records nothing.
        requests: polled ten times a second for pause, resume and stop; a run's own control file by default.

    Raises:
        UsageError: the pipeline has problems; nothing was done.
        BirdplaneError (while iterating): the data is missing or damaged, parts do not fit, a loss is not finite.
    """
    pipeline.require_sound()
    return Trainer(pipeline, run, requests)


def resume(run: Run, requests: Requests | None = None) -> Trainer:
    """Go on with a run from its newest whole checkpoint, or from its beginning if there is none.

    On the same device with the same versions the result is, bit for bit, that of a run that never stopped.

    Raises:
        UsageError: the run's pipeline has problems, for example because a plugin is no longer installed.
    """
    pipeline = Pipeline.from_toml(run.pipeline_toml(), str(run.path / "pipeline.toml"))
    pipeline.require_sound()
    return Trainer(pipeline, run, requests, resuming=True)


@dataclass
class _Sums:
    """Sums over the samples of the epoch so far, in the order of the steps, so that they too resume exactly."""

    loss: float = 0.0
    correct: int = 0
    count: int = 0
    seconds: float = 0.0


@dataclass
class _Best:
    """The epoch (from 1) and step after which validation was best."""

    epoch: int
    step: int
    accuracy: float
    loss: float

    def beaten_by(self, accuracy: float, loss: float) -> bool:
        return (accuracy, -loss) > (self.accuracy, -self.loss)


@dataclass
class _Window:
    """The steps since the last summary. Losses stay on the device until then."""

    losses: list[Tensor] = field(default_factory=list)
    correct: list[Tensor] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    began: float = field(default_factory=time.perf_counter)
    waited: float = 0.0

    def add(self, loss: Tensor, correct: Tensor, size: int) -> None:
        self.losses.append(loss)
        self.correct.append(correct)
        self.sizes.append(size)


@dataclass
class _Untold:
    """The steps that no progress has told of yet. Epochs may be shorter than the time between two."""

    losses: list[float] = field(default_factory=list)
    correct: int = 0
    samples: int = 0
    seconds: float = 0.0
    waited: float = 0.0


class Trainer:
    """Trains while it is iterated over.

    Attributes:
        model: the network, from the `Start` event on.
        assembly: all parts that were built.
    """

    def __init__(
        self, pipeline: Pipeline, run: Run | None, requests: Requests | None, *, resuming: bool = False
    ) -> None:
        self.pipeline = pipeline
        self.run = run
        self.settings = pipeline.training
        self._resuming = resuming
        self._requests = requests
        self._position = Position()
        self._sums = _Sums()
        self._best: _Best | None = None
        #: The weights that validated best, where they are no longer those of the model.
        self._best_weights: dict[str, Tensor] | None = None
        self._watcher = Watcher()
        self._window = _Window()
        self._untold = _Untold()
        self._told_at = -math.inf
        self._stop = False
        self._last_saved = time.perf_counter()
        self._save_cost = 0.0
        self._saved_step = -1

    @property
    def model(self) -> nn.Module:
        return self.assembly.model

    def __iter__(self) -> Iterator[Event]:
        """Train, and yield the events, each after it was recorded and told to the plugins."""
        if self.run is None:
            yield from self._told(self._events())
            return
        with self.run.lock():
            self._requests = self._requests or self.run.requests()
            try:
                yield from self._told(self._recorded(self._events()))
            finally:
                self.run.close()

    def _recorded(self, events: Iterator[Event]) -> Iterator[Event]:
        assert self.run is not None
        for event in events:
            self.run.append(event)
            yield event

    def _told(self, events: Iterator[Event]) -> Iterator[Event]:
        plugins = installed()
        listening = plugins.implementing("birdplane_event")
        complained: set[str] = set()
        for event in events:
            yield event
            if not listening:
                continue
            for name, error in plugins.call_each("birdplane_event", run=self.run, event=event).items():
                if name not in complained:
                    complained.add(name)
                    reason = f"the plugin {name!r} failed on an event: {type(error).__name__}: {error}"
                    alert = self._alert("plugin", reason)
                    if self.run is not None and not isinstance(event, End):  # which is the last line of a run
                        self.run.append(alert)
                    yield alert

    def _events(self) -> Iterator[Event]:
        try:
            yield self._heartbeat("preparing")
            with naming(self.pipeline.source):
                yield from self._prepare()
            while self._position.epoch < self.settings.epochs and not self._stop:
                yield from self._epoch()
            yield from self._summary(at_once=True)
            if self._position.step != self._saved_step:
                yield from self._save()
            if self._stop:
                yield self._end("stopped", "asked to stop; `birdplane resume` goes on")
            else:
                yield self._end("done")
        except BirdplaneError as error:
            yield self._end("failed", str(error))
            raise
        except Exception as error:
            message = self._in_words(error)
            yield self._end("failed", message)
            raise BirdplaneError(message) from error

    def _in_words(self, error: Exception) -> str:
        """Say what a component's code or the device raised, with the batch size to try when memory ran out."""
        message = " ".join(str(error).split())
        out_of_memory = (
            isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in message
        )
        if out_of_memory:
            half = max(1, self.settings.batch_size // 2)
            return f"out of memory at step {self._position.step + 1}: try --set training.batch_size={half}"
        return f"step {self._position.step + 1}: {type(error).__name__}: {message}"

    # Before the first step.

    def _prepare(self) -> Iterator[Event]:
        device = pick_device(self.settings.device)
        precision, excuse = usable_precision(self.settings.precision, device)
        splits = build_splits(self.pipeline)
        self.assembly = Assembly(self.pipeline, splits.classes, device, precision)
        saved, damaged = self._newest_checkpoint()
        self.assembly.build_chain(splits.train, saved.state["fitted"] if saved else None)
        sample = next(self.assembly.batches(splits.validation, batch_size=2).epoch())
        self._input_shape: tuple[int, int, int] = tuple(sample[0].shape[1:])  # type: ignore[assignment]
        self._stored_shape = splits.train.shape
        self.assembly.build_model(self._input_shape)
        self.assembly.check_shapes(sample)
        self._train_batches = self.assembly.batches(splits.train, training=True)
        self._validation_batches = self.assembly.batches(splits.validation)
        self._facts = self._known_facts(splits.train, splits.validation)
        if not saved:
            self._calibrate()
        steps = self.settings.epochs * self._train_batches.steps
        self._optimization = Optimization(self.assembly, steps)
        if saved:
            self._restore(saved)
        self._rewind()
        yield self._start()
        for unusable in damaged:
            yield self._alert("checkpoint", f"{unusable}; going on from the one before")
        if excuse:
            yield self._alert("precision", excuse)
        if saved and (differences := self._differences(saved.state["environment"])):
            yield self._alert("environment", f"not bit-exact: {differences}")
        if splits.skipped:
            names = ", ".join(name for name, _ in splits.skipped[:5])
            more = ", ..." if len(splits.skipped) > 5 else ""
            yield self._alert(
                "skipped", f"{len(splits.skipped)} pictures cannot be read and are left out: {names}{more}"
            )

    def _newest_checkpoint(
        self,
    ) -> tuple[checkpoint.Checkpoint | None, list[checkpoint.DamagedCheckpoint]]:
        if not self._resuming or self.run is None:
            return None, []
        return checkpoint.newest(self.run.checkpoints)

    def _known_facts(self, train: Any, validation: Any) -> dict[str, Any]:
        return {
            **environment(self.assembly.device),
            "precision": self.assembly.precision,
            "classes": list(self.assembly.classes),
            "input_shape": list(self._input_shape),
            "train_pictures": len(train),
            "validation_pictures": len(validation),
            "parameters": self.assembly.parameter_count(),
            "resident": self._train_batches.resident,
        }

    def _calibrate(self) -> None:
        """Let a model that wants to see pictures before the first step see some: those of a first epoch."""
        calibrate = getattr(self.model, "calibrate", None)
        if calibrate is None:
            return
        seen: list[Tensor] = []
        for images, _ in self._train_batches.epoch(0):
            seen.append(images)
            if sum(map(len, seen)) >= 2000:
                break
        calibrate(torch.cat(seen).float())

    # Steps.

    def _epoch(self) -> Iterator[Event]:
        position = self._position
        self.model.train()
        batches = self._train_batches.epoch(position.epoch, position.epoch_step)
        self._window = _Window()
        asked = time.perf_counter()
        for batch in batches:
            began = time.perf_counter()
            self._window.waited += began - asked
            self._window.add(*self._optimization.step(*batch, position), len(batch[1]))
            position.advance()
            asked = time.perf_counter()
            if position.epoch_step == self._train_batches.steps:
                break  # what comes between steps comes after the validation, with the epoch in the record
            if asked - self._window.began >= _SUMMARY_SECONDS or self._due_by_steps():
                yield from self._between_steps()
                if self._stop:
                    return
                asked = time.perf_counter()
        yield from self._summary()
        yield from self._finish_epoch()

    def _between_steps(self) -> Iterator[Event]:
        yield from self._summary()
        yield from self._obey()
        if self._due_by_steps() or self._due_by_time():
            yield from self._save()

    def _summary(self, at_once: bool = False) -> Iterator[Event]:
        """Read the latest losses and tell of them, where the last progress is not too recent for that."""
        self._read_window()
        untold, losses = self._untold, self._untold.losses
        now = time.perf_counter()
        if not losses or not (at_once or now - self._told_at >= _SUMMARY_SECONDS):
            return
        self._untold, self._told_at = _Untold(), now
        yield Progress(
            time=time.time(),
            epoch=self._shown_epoch(),
            step=self._position.step,
            count=len(losses),
            mean=math.fsum(losses) / len(losses),
            min=min(losses),
            max=max(losses),
            last=losses[-1],
            accuracy=untold.correct / untold.samples,
            learning_rate=self._optimization.learning_rate,
            samples_per_second=untold.samples / untold.seconds,
            wait=min(1.0, untold.waited / untold.seconds),
        )
        self._window.began = time.perf_counter()

    def _read_window(self) -> None:
        """Fetch the losses since the last time from the device, and begin a new window."""
        window, untold, sums = self._window, self._untold, self._sums
        if not window.losses:
            return
        losses = torch.stack(window.losses).tolist()
        correct = torch.stack(window.correct).tolist()
        seconds = max(time.perf_counter() - window.began, 1e-9)
        for loss, right, size in zip(losses, correct, window.sizes, strict=True):
            sums.loss += loss * size
            sums.correct += right
            sums.count += size
        sums.seconds += seconds
        self._window = _Window()
        self._optimization.check(losses, self._position)
        untold.losses += losses
        untold.correct += sum(correct)
        untold.samples += sum(window.sizes)
        untold.seconds += seconds
        untold.waited += window.waited

    def _finish_epoch(self) -> Iterator[Event]:
        position, sums = self._position, self._sums
        number = position.epoch + 1
        loss = accuracy = None
        began = time.perf_counter()
        if number % self.settings.validate_every == 0 or number == self.settings.epochs:
            yield self._heartbeat("validating")
            with self._optimization.validating():
                loss, accuracy = score(self.assembly, self._validation_batches)
            self._keep_if_best(_Best(number, position.step, accuracy, loss))
        event = Epoch(
            time=time.time(),
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
        self._sums = _Sums()
        yield event
        for kind, message in self._watcher.judge(event):
            yield self._alert(kind, message)
        # Between the epochs too: where they are shorter than a summary, nothing else would ever ask.
        yield from self._obey()
        if not self._stop and (self._due_by_steps() or self._due_by_time()):
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
            self._window.began = time.perf_counter()
            yield self._heartbeat("training")

    # Checkpoints.

    def _due_by_steps(self) -> bool:
        every = self.settings.checkpoint_steps
        return (
            every is not None and self._position.step % every == 0 and self._position.step != self._saved_step
        )

    def _due_by_time(self) -> bool:
        since = time.perf_counter() - self._last_saved
        return since >= max(self.settings.checkpoint_seconds, self._save_cost / _CHECKPOINT_SHARE)

    def _save(self) -> Iterator[Event]:
        self._last_saved = began = time.perf_counter()
        if self.run is None:
            return
        yield from self._summary(at_once=True)
        # What led here must be on the disk before a checkpoint says that it is past.
        self.run.sync()
        groups, rest = self._optimization.state()
        if self._best_weights is not None:
            groups["best"] = self._best_weights
        path = checkpoint.save(
            self.run.checkpoints,
            self._position.step,
            tensors=groups,
            state={**self._state(), "optimizer": rest},
        )
        checkpoint.prune(self.run.checkpoints, keep=2)
        self._saved_step = self._position.step
        self._last_saved = time.perf_counter()
        self._save_cost = self._last_saved - began
        self._window.began = self._last_saved
        yield Checkpoint(
            time=time.time(),
            epoch=self._shown_epoch(),
            step=self._position.step,
            path=str(path.relative_to(self.run.path)),
            best=self._best is not None and self._best.step == self._position.step,
            seconds=self._save_cost,
        )

    def _state(self) -> dict[str, Any]:
        return {
            "position": asdict(self._position),
            "sums": asdict(self._sums),
            "best": asdict(self._best) if self._best else None,
            "fitted": self.assembly.fitted,
            "classes": list(self.assembly.classes),
            "input_shape": list(self._input_shape),
            "stored_shape": list(self._stored_shape),
            "environment": {**environment(self.assembly.device), "precision": self.assembly.precision},
        }

    def _restore(self, saved: checkpoint.Checkpoint) -> None:
        self._optimization.restore(saved.tensors, saved.state["optimizer"])
        self._position = Position(**saved.state["position"])
        self._sums = _Sums(**saved.state["sums"])
        if saved.state["best"]:
            self._best = _Best(**saved.state["best"])
            self._best_weights = {
                name: tensor.to(self.assembly.device) for name, tensor in saved.tensors["best"].items()
            }
        self._saved_step = self._position.step

    def _rewind(self) -> None:
        """Take out of the record what will happen again, and let the watcher see what stands."""
        if self.run is None:
            return
        self.run.rewind(self._position.step)
        checkpoint.rewind(self.run.checkpoints, self._position.step)
        for event in self.run.events([Epoch]):
            assert isinstance(event, Epoch)
            self._watcher.judge(event)

    def _differences(self, before: dict[str, Any]) -> str:
        now = {**environment(self.assembly.device), "precision": self.assembly.precision}
        told = [
            f"{key} was {before.get(key)}, is {now[key]}"
            for key in ("birdplane", "torch", "device_name", "threads", "precision")
            if before.get(key) != now[key]
        ]
        return "; ".join(told)

    # Events.

    def _shown_epoch(self) -> int:
        """The epoch that the last step belonged to, from 1."""
        return min(
            self._position.epoch + (self._position.epoch_step > 0 or self._position.step == 0),
            self.settings.epochs,
        )

    def _start(self) -> Start:
        return Start(
            time=time.time(),
            epoch=self._position.epoch,
            step=self._position.step,
            epochs=self.settings.epochs,
            steps_per_epoch=self._train_batches.steps,
            facts=self._facts,
            fitted=self.assembly.fitted,
        )

    def _alert(self, kind: str, message: str) -> Alert:
        return Alert(
            time=time.time(), epoch=self._shown_epoch(), step=self._position.step, kind=kind, message=message
        )

    def _heartbeat(self, state: str) -> Heartbeat:
        return Heartbeat(time=time.time(), epoch=self._shown_epoch(), step=self._position.step, state=state)

    def _end(self, status: Literal["done", "stopped", "failed"], reason: str = "") -> End:
        return End(
            time=time.time(),
            epoch=self._shown_epoch(),
            step=self._position.step,
            status=status,
            reason=reason,
        )
