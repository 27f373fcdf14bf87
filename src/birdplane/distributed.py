"""What the processes of one training tell one another, over torch.distributed: gloo on CPUs, NCCL on GPUs.

Each takes its share of every batch; gradients are averaged by samples, so that the batch is what it is for one
process. Rank 0 leads: it decides, and alone writes. Every call here is made by all processes in the same order.
Only tensors and JSON are sent: torch's own functions for objects would unpickle them.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, Protocol

import safetensors.torch
import torch
import torch.distributed as dist
from torch import Tensor, nn

from birdplane import checkpoint
from birdplane.errors import BirdplaneError, UsageError, message_of
from birdplane.ranks import LOST_EXIT_CODE, Place

Action = Literal["pause", "resume", "stop"]

#: How long a process is waited for while all prepare: one may download or decode for the others.
_PATIENCE = timedelta(hours=24)
#: How long it is waited for in training, where it may validate or save. One that died is noticed at once where its
#: connections are closed; this is for one that hangs, or whose machine is gone.
SILENCE_SECONDS = 40
#: The processes agree on what was asked of them about every so many seconds.
_MEETING_SECONDS = 0.1
_MOST_STEPS_BETWEEN_MEETINGS = 1000
_ACTIONS: tuple[Action, ...] = ("pause", "resume")


class LostRank(BirdplaneError):  # noqa: N818 - it reads as what it is
    """Another process of this training is gone or does not answer."""

    exit_code = LOST_EXIT_CODE


class Requests(Protocol):
    """Where pause, resume and stop come from."""

    def poll(self) -> list[Action]: ...


@contextmanager
def communicating() -> Iterator[None]:
    """Turn what torch raises for a lost process into `LostRank`."""
    try:
        yield
    except RuntimeError as error:
        text = message_of(error)
        if not isinstance(error, dist.DistError) and "gloo" not in text and "NCCL" not in text:
            raise
        # Without the place in torch's source in front, and its general advice behind.
        short = re.sub(r"^\[[^\]]*\]\s*", "", text).partition(". This is ")[0][:200]
        raise LostRank(f"another process of this training is gone or does not answer: {short}") from error


class Team:
    """The processes that train together; without a place, this one alone, and every call returns at once.

    Attributes:
        rank: this process's number; 0 leads.
        size: how many there are.
    """

    def __init__(self, place: Place | None = None) -> None:
        self.place = place
        self.rank = place.rank if place else 0
        self.size = place.size if place else 1
        self._steps_to_meeting = 1
        self._steps_between = 1
        self._steps_since = 0
        self._met = time.perf_counter()
        self._quick: Any = None

    @property
    def leads(self) -> bool:
        return self.rank == 0

    @property
    def share(self) -> tuple[int, int]:
        """Which part of every batch is this process's, of how many."""
        return self.rank, self.size

    @property
    def watched(self) -> bool:
        """Whether the process that started this one tells in the run what became of it."""
        return self.place is not None and self.place.watched

    # Coming and going.

    def join(self) -> None:
        """Find the other processes. Blocks until all are there.

        Raises:
            BirdplaneError: they cannot be found.
        """
        place = self.place
        if place is None:
            return
        gpus = torch.cuda.device_count() if dist.is_nccl_available() and torch.cuda.is_available() else 0
        backend = "cpu:gloo,cuda:nccl" if gpus >= place.local_size else "gloo"
        if backend != "gloo":
            torch.cuda.set_device(place.local_rank)
        how: dict[str, Any] = {"init_method": "env://"}
        if place.store is not None:
            how = {"store": dist.FileStore(place.store, place.size)}  # type: ignore[attr-defined, unused-ignore]
        try:
            dist.init_process_group(backend, rank=place.rank, world_size=place.size, timeout=_PATIENCE, **how)
            self._quick = dist.new_group(timeout=timedelta(seconds=SILENCE_SECONDS))
        except (RuntimeError, ValueError) as error:
            text = message_of(error)
            raise LostRank(
                f"process {place.rank} of {place.size} does not find the others: {text}"
            ) from error

    def leave(self) -> None:
        """Let the others go."""
        if self._quick is not None:
            self._quick = None
            dist.destroy_process_group()

    # Preparing: in no hurry.

    def agreed(self, value: Any) -> Any:
        """Return rank 0's value, which may be what a checkpoint's state may; the others' is not looked at."""
        if self.size == 1:
            return value
        data = self._sent(json.dumps(checkpoint.encode(value)).encode() if self.leads else b"")
        return value if self.leads else checkpoint.decode(json.loads(data))

    def agreed_checkpoint(self, saved: checkpoint.Checkpoint | None) -> checkpoint.Checkpoint | None:
        """Return rank 0's checkpoint: the others need no run folder, which may be on another machine."""
        if self.size == 1:
            return saved
        groups = sorted(saved.tensors) if saved else []
        about = self.agreed({"step": saved.step, "groups": groups, "state": saved.state} if saved else None)
        if about is None:
            return None
        tensors = {
            group: safetensors.torch.load(
                self._sent(safetensors.torch.save(saved.tensors[group]) if saved and self.leads else b"")
            )
            for group in about["groups"]
        }
        return saved if self.leads else checkpoint.Checkpoint(about["step"], Path(), tensors, about["state"])

    @contextmanager
    def one_first(self) -> Iterator[None]:
        """Let one process of each machine do what is inside before the others: what it fetches is there then."""
        if self.place is not None and self.place.local_rank != 0:
            self._wait_for_all()
        yield
        if self.place is not None and self.place.local_rank == 0:
            self._wait_for_all()

    def _wait_for_all(self) -> None:
        with communicating():
            dist.all_reduce(torch.zeros(1))

    def _sent(self, data: bytes) -> bytes:
        """Return rank 0's bytes."""
        with communicating():
            size = torch.tensor([len(data)])
            dist.broadcast(size, 0)
            buffer = torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else torch.empty(0)
            if not self.leads:
                buffer = torch.empty(int(size), dtype=torch.uint8)
            dist.broadcast(buffer, 0)
        return bytes(buffer.numpy())

    def device(self, name: str, picked: torch.device) -> torch.device:
        """Return this process's device, where `picked` is what `name` stands for on this machine.

        Raises:
            UsageError: there is none for each process.
        """
        if self.place is None or picked.type == "cpu":
            return picked
        if picked.type != "cuda":
            raise UsageError(
                f"training.device: several processes train on the CPU or on CUDA's GPUs, not on {picked.type} "
                "(mend: --set training.device=cpu)"
            )
        if ":" in name:
            raise UsageError(
                f"training.device: {name!r} is one GPU, and each of the {self.size} processes takes one "
                "(mend: --set training.device=cuda)"
            )
        local, there = self.place.local_size, torch.cuda.device_count()
        if there < local:
            raise UsageError(
                f"training.device: {local} processes on this machine need {local} GPUs, and there {_are(there)} "
                f"(mend: --nproc {there}, or --set training.device=cpu)"
            )
        return torch.device("cuda", self.place.local_rank)

    def wrapped(
        self, model: nn.Module, forward: Callable[..., Any], try_step: Callable[[Callable[..., Any]], bool]
    ) -> Callable[..., Any]:
        """Return `forward`, that of `model`, such that gradients are summed over all processes after a backward.

        `try_step` takes a forward, makes a backward with it, forgets the gradients, and returns whether every
        parameter had one. The layout in which gradients are summed is settled by it, before the first step: summed
        in another order, a resumed run would not be bit-exact.
        """
        if self.size == 1:
            return forward
        whole = try_step(model)
        module = forward if isinstance(forward, nn.Module) else model
        with communicating():
            parallel = nn.parallel.DistributedDataParallel(
                module, process_group=self._quick, find_unused_parameters=not whole
            )
            try_step(parallel)
        return parallel

    # Training.

    def totals(self, loss: Tensor, correct: Tensor, count: int, whole: int) -> tuple[Tensor, Tensor]:
        """Return the mean loss and the right answers of a whole batch of `whole` pictures, from those of a share.

        `loss` is the mean over this process's `count` pictures; it is left out where there are none. Both stay on
        the device.
        """
        if self.size == 1:
            return loss, correct
        sums = torch.zeros(2, dtype=torch.float64, device=loss.device)
        if count:
            sums[0], sums[1] = loss.double() * count, correct
        self._add(sums)
        return (sums[0] / whole).to(loss.dtype), sums[1].to(correct.dtype)

    def weight(self, count: int, whole: int) -> float:
        """Return the factor of a share's mean loss with which the mean of the processes' gradients is the batch's."""
        return count * self.size / whole

    def added(self, *values: Tensor) -> list[float]:
        """Return the sums of single numbers over all processes."""
        if self.size == 1:
            return [value.item() for value in values]
        sums = torch.stack([value.double() for value in values])
        self._add(sums)
        return sums.tolist()

    def same_buffers(self, model: nn.Module) -> None:
        """Give all processes rank 0's buffers, such as running means, which each takes from its own share."""
        if self.size > 1:
            with torch.no_grad(), communicating():
                for buffer in model.buffers():
                    dist.broadcast(buffer, 0, group=self._quick)

    def _add(self, sums: Tensor) -> None:
        with communicating():
            dist.all_reduce(sums, group=self._quick)

    # What is asked from outside.

    def meets(self) -> bool:
        """Tell whether all agree after this step on what was asked of them; to be called once a step."""
        self._steps_since += 1
        self._steps_to_meeting -= 1
        return self._steps_to_meeting <= 0

    def requests(self, own: Requests | None) -> Requests | None:
        """Return what answers all processes alike: with what rank 0's requests have."""
        return own if self.size == 1 else _Meetings(self, own)

    def _meet(self, actions: Sequence[Action]) -> list[Action]:
        now = time.perf_counter()
        if self._steps_since:
            wanted = int(self._steps_since * _MEETING_SECONDS / max(now - self._met, 1e-6))
            most = min(_MOST_STEPS_BETWEEN_MEETINGS, 2 * self._steps_between)
            self._steps_between = max(1, min(most, wanted))
        self._steps_since, self._met = 0, now
        last = next((action for action in reversed(actions) if action in _ACTIONS), None)
        code = _ACTIONS.index(last) + 1 if last else 0
        message = torch.tensor([code, "stop" in actions, self._steps_between])
        with communicating():
            dist.broadcast(message, 0, group=self._quick)
        code, stop, self._steps_between = message.tolist()
        self._steps_to_meeting = self._steps_between
        return [*([_ACTIONS[code - 1]] if code else []), *(["stop"] if stop else [])]


class _Meetings:
    """Requests that all processes are given alike: every poll is a meeting."""

    def __init__(self, team: Team, own: Requests | None) -> None:
        self._team = team
        self._own = own

    def poll(self) -> list[Action]:
        return self._team._meet(self._own.poll() if self._own is not None and self._team.leads else [])


def _are(count: int) -> str:
    return "is 1" if count == 1 else f"are {count}"
