"""What the helper keeps between questions: the splits of the last pipelines, what transforms measured on them,
and the last trained model. Imports no torch until something of that is asked for."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from birdplane import availability
from birdplane.errors import BirdplaneError
from birdplane.pipeline import Pipeline

if TYPE_CHECKING:
    from birdplane.assembly import Assembly
    from birdplane.data import Splits

T = TypeVar("T")
#: A pipeline around a dataset and transforms that are only looked at: the parts that do not matter.
_NEUTRAL: dict[str, Any] = {
    "model": {"use": "fully-connected"},
    "loss": {"use": "cross-entropy"},
    "optimizer": {"use": "sgd"},
}


class PicturesMissing(BirdplaneError):  # noqa: N818 - it reads as what it is
    """The pictures would have to be downloaded first, which only the question `fetch` does."""

    def __init__(self, lack: availability.Missing) -> None:
        super().__init__(str(lack))
        self.lack = lack


class Latest(Generic[T]):
    """The last few things that were made, by key."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: OrderedDict[Any, T] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Any, make: Callable[[], T]) -> T:
        """Return what was made for the key, making it if need be; the one unused for longest goes."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = make()
        with self._lock:
            self._kept[key] = made
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)
        return made

    def find(self, key: Any) -> T | None:
        with self._lock:
            return self._kept.get(key)


class Desk:
    """The helper's memory, shared by its answers.

    Args:
        pulse: called often in long answers; it raises where the answer is no longer wanted.
    """

    def __init__(self, pulse: Callable[[], None] = lambda: None) -> None:
        self.pulse = pulse
        self._splits: Latest[Splits] = Latest(2)
        self._measured: Latest[dict[str, Any]] = Latest(32)
        self.models: Latest[Any] = Latest(1)
        #: What took long to find out and is asked for again: when a screen is left and come back to.
        self.answers: Latest[Any] = Latest(8)

    def looking_at(self, document: dict[str, Any], source: str) -> Pipeline:
        """Return the pipeline's dataset and transforms in neutral surroundings: a model that does not fit, or is
        not chosen yet, is no reason not to see the pictures.

        Raises:
            UsageError: something is wrong with the dataset or the transforms.
        """
        training = document.get("training", {})
        kept = {key: training[key] for key in ("holdout", "memory_limit") if key in training}
        known: dict[str, Any] = {
            key: document[key] for key in ("seed", "dataset", "transforms") if key in document
        }
        pipeline = Pipeline({**known, **_NEUTRAL, "training": {**kept, "device": "cpu"}}, source)
        pipeline.require_sound()
        return pipeline

    def splits(self, pipeline: Pipeline, *, fetch: bool = False) -> Splits:
        """Return a sound pipeline's pictures.

        Raises:
            PicturesMissing: they would have to be downloaded, and `fetch` is not set.
        """
        from birdplane.assembly import build_splits

        lack = None if fetch else availability.missing(pipeline)
        if lack is not None:
            raise PicturesMissing(lack)
        return self._splits.get(_data_key(pipeline), lambda: build_splits(pipeline))

    def viewed(self, pipeline: Pipeline, splits: Splits, depth: int | None = None) -> Assembly:
        """Return an assembly with the pipeline's chain up to `depth` transforms, measured on all training pictures.

        What was measured is kept by all that comes before it, so that changing a later step measures nothing.
        """
        from birdplane.assembly import Assembly, pick_device

        cut = {**pipeline.document, "transforms": pipeline.document.get("transforms", [])[:depth]}
        short = Pipeline(cut, pipeline.source, pipeline.catalog)
        assembly = Assembly(short, splits.classes, pick_device(short.training.device), "float32")
        assembly.build_chain(splits.train, self.known_measures(short))
        for index, values in assembly.fitted.items():
            self._measured.get(_prefix_key(short, int(index)), lambda values=values: values)  # type: ignore[misc]
        return assembly

    def known_measures(self, pipeline: Pipeline) -> dict[str, dict[str, Any]]:
        """Return what is known already of what the transforms measure, by their position."""
        found = {}
        for index in range(len(pipeline.transforms)):
            values = self._measured.find(_prefix_key(pipeline, index))
            if values is not None:
                found[str(index)] = values
        return found


def _data_key(pipeline: Pipeline) -> str:
    document = pipeline.document
    return json.dumps([document["dataset"], pipeline.seed, pipeline.training.holdout], default=str)


def _prefix_key(pipeline: Pipeline, index: int) -> str:
    entries = pipeline.document.get("transforms", [])[: index + 1]
    return _data_key(pipeline) + json.dumps(entries, default=str)


def chain_key(pipeline: Pipeline) -> str:
    """Return a text that is the same for pipelines of the same data and transforms."""
    return _prefix_key(pipeline, len(pipeline.transforms))
