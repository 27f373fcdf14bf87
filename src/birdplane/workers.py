"""Processes that decode pictures for a training: started, watched, and never left behind.

torch's own loader shares locks and a pipe between its workers: one that is killed while it holds a lock, or has
handed over half a batch, leaves everybody waiting. Here each worker has a pipe of its own and shares nothing: its end
is the end of its pipe. What passes through are arrays as bytes; nothing is unpickled on the way back.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch

from birdplane import failures, processes
from birdplane.errors import BirdplaneError, described

Decoded = tuple[np.ndarray, np.ndarray]
Decode = Callable[[list[int]], Decoded]

#: How many batches each worker is ahead.
_AHEAD = 4
#: How long a process whose pipe has ended may take to be gone.
_PATIENCE_SECONDS = 5.0


def decoded_by_workers(decode: Decode, slices: Iterable[list[int]], count: int) -> Iterator[Decoded]:
    """Yield what `decode` makes of each list of indices, in order; `count` processes are ahead with it.

    Where processes are not forked, both arguments are to be picklable.

    Raises:
        LostWorker: a process is gone, by whatever signal, at whatever moment.
        BirdplaneError: they cannot be started, or what `decode` raised, in words.
    """
    workers: list[_Worker] = []
    try:
        try:
            for number in range(count):
                workers.append(_Worker(decode, slices, number, count))  # noqa: PERF401 - ended even if one fails
        except OSError as error:
            raise failures.no_workers(error, count) from error
        for turn, _ in enumerate(slices):
            yield workers[turn % count].next()
    finally:
        for worker in workers:
            worker.end()


class _Worker:
    """One process, which decodes every `count`-th batch from its number on."""

    def __init__(self, decode: Decode, slices: Iterable[list[int]], number: int, count: int) -> None:
        self._pipe, theirs = multiprocessing.Pipe(duplex=False)
        about_us = os.getpid(), processes.process_started(os.getpid()) or ""
        self._process = multiprocessing.Process(
            target=_work,
            args=(theirs, decode, slices, number, count, about_us),
            name=f"decoding worker {number}",
            daemon=True,
        )
        try:
            self._process.start()
        except BaseException:
            self._pipe.close()
            raise
        finally:
            theirs.close()  # before the next one is forked: only the worker itself may hold it open

    def next(self) -> Decoded:
        """Wait for its next batch."""
        try:
            told = json.loads(self._pipe.recv_bytes())
            if "wrong" in told:
                raise BirdplaneError(told["wrong"])
            images, labels = (self._array(*about) for about in told["arrays"])
        except (EOFError, OSError) as error:
            self._process.join(_PATIENCE_SECONDS)
            raise failures.lost_worker(self._process.pid or 0, self._process.exitcode) from error
        return images, labels

    def _array(self, dtype: str, shape: list[int]) -> np.ndarray:
        array = np.empty(shape, dtype)
        self._pipe.recv_bytes_into(array.reshape(-1).view(np.uint8).data)
        return array

    def end(self) -> None:
        """End it, whatever it does: it holds nothing that another could miss."""
        self._pipe.close()
        self._process.kill()
        self._process.join()
        self._process.close()


# In the worker.


def _work(
    pipe: Connection,
    decode: Decode,
    slices: Iterable[list[int]],
    number: int,
    count: int,
    parent: tuple[int, str],
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C in a terminal reaches all; who started it decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    processes.end_when_gone(*parent)
    torch.set_num_threads(1)
    batches: queue.Queue[Any] = queue.Queue(_AHEAD)
    sending = threading.Thread(target=_send, args=(pipe, batches), name="sending", daemon=True)
    sending.start()
    for indices in islice(slices, number, None, count):
        try:
            batches.put(decode(indices))
        except BirdplaneError as error:
            batches.put(str(error))
            break
        except Exception as error:
            batches.put(f"dataset: {described(error)}")
            break
    batches.put(None)
    sending.join()


def _send(pipe: Connection, batches: queue.Queue[Any]) -> None:
    with contextlib.suppress(OSError):
        while (batch := batches.get()) is not None:
            if isinstance(batch, str):
                pipe.send_bytes(json.dumps({"wrong": batch}).encode())
                continue
            arrays = [np.ascontiguousarray(array) for array in batch]
            about = [(array.dtype.str, array.shape) for array in arrays]
            pipe.send_bytes(json.dumps({"arrays": about}).encode())
            for array in arrays:
                pipe.send_bytes(array.reshape(-1).view(np.uint8).data)
        return
    os._exit(0)  # nobody is there to read any more
