"""A run in MLflow: found or made, and brought up to what the run's folder says."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator
from typing import Any

from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from birdplane import durable

#: In the run's folder: the MLflow run that it is, so that a resumed run goes on with it.
_NOTE = "mlflow.json"
_EXPERIMENT = "birdplane"
_METRICS = (
    "train_loss",
    "train_accuracy",
    "validation_loss",
    "validation_accuracy",
    "best_accuracy",
    "train_seconds",
    "validation_seconds",
)
_STATUS = {"done": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}
#: What MLflow's stores take at most: metrics in one call, characters of a value.
_AT_ONCE, _LONGEST = 1000, 500


class Record:
    """The run's counterpart in MLflow. Everything that it does may raise what MLflow or the network raise.

    After an exception `deliver` can be called again: what arrived is not sent twice.
    """

    def __init__(self, run: Any) -> None:
        self._run = run
        self._client: MlflowClient | None = None
        self._id = ""
        #: The epochs that MLflow has.
        self._sent: set[int] = set()

    def deliver(self, start: Any, epochs: dict[int, tuple[Any, dict[str, float]]], end: Any) -> None:
        """Bring MLflow up to what the folder says: its newest start, its epochs, and its end or None.

        A kill loses what was on its way, and a resumed run tells again what has arrived: of each epoch MLflow
        keeps what it was told first.
        """
        try:
            if self._client is None:
                self._connect(start)
            client = self._client
            assert client is not None
            self._send(client, [told for number, told in epochs.items() if number not in self._sent])
            if end is not None:
                client.set_tag(self._id, "birdplane.reason", end.reason[:_LONGEST])
                client.set_terminated(self._id, _STATUS[end.status], end_time=int(end.time * 1000))
        except BaseException:
            self._client = None
            raise

    def _connect(self, start: Any) -> None:
        client = MlflowClient()
        self._id = self._resumed(client) or self._created(client, start)
        self._describe(client, start.facts)
        self._sent = {metric.step for metric in client.get_metric_history(self._id, _METRICS[0])}
        self._client = client

    def _send(self, client: MlflowClient, epochs: list[tuple[Any, dict[str, float]]]) -> None:
        # By whole epochs: one arrives with all of its numbers, or not at all.
        per_call = _AT_ONCE // (len(_METRICS) + 2)
        for first in range(0, len(epochs), per_call):
            part = epochs[first : first + per_call]
            metrics = [metric for event, more in part for metric in _metrics(event, more)]
            client.log_batch(self._id, metrics=metrics)
            self._sent.update(event.epoch for event, _ in part)

    def _resumed(self, client: MlflowClient) -> str:
        """Return the id of the MLflow run with which this run goes on, or nothing if there is none."""
        note = self._run.path / _NOTE
        if not note.is_file():
            return ""
        found: str = json.loads(note.read_text(encoding="utf-8"))["run_id"]
        try:
            client.update_run(found, status="RUNNING")
        except MlflowException as error:
            # It was made in another store, or deleted for good.
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return ""
            raise
        return found

    def _created(self, client: MlflowClient, start: Any) -> str:
        experiment = _experiment(client, os.environ.get("MLFLOW_EXPERIMENT_NAME") or _EXPERIMENT)
        made = client.create_run(
            experiment, start_time=int(start.time * 1000), run_name=self._run.name
        ).info.run_id
        durable.replace_file(self._run.path / _NOTE, json.dumps({"run_id": made}).encode())
        return str(made)

    def _describe(self, client: MlflowClient, facts: dict[str, Any]) -> None:
        tags = {
            "birdplane.run": self._run.name,
            "birdplane.version": facts.get("birdplane"),
            "mlflow.source.name": "birdplane",
            **{f"birdplane.{name}": facts.get(name) for name in ("torch", "device_name", "precision")},
            "birdplane.parameters": facts.get("parameters"),
            "birdplane.classes": ", ".join(facts.get("classes", ())),
        }
        client.log_batch(self._id, tags=[RunTag(key, str(value)[:_LONGEST]) for key, value in tags.items()])
        leaves = _flat(tomllib.loads(self._run.pipeline_toml()))
        parameters = [Param(key, str(value)[:_LONGEST]) for key, value in leaves]
        client.log_batch(self._id, params=parameters)
        client.log_artifact(self._id, str(self._run.path / "pipeline.toml"))


def _experiment(client: MlflowClient, name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name))
        except MlflowException:
            # Another training may have made it in the meantime.
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    return str(found.experiment_id)


def _metrics(epoch: Any, more: dict[str, float]) -> Iterator[Metric]:
    numbers = {name: getattr(epoch, name) for name in _METRICS} | more
    for name, value in numbers.items():
        if value is not None:
            yield Metric(name, value, int(epoch.time * 1000), epoch.epoch)


def _flat(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) of every leaf of a parsed pipeline file; the transforms are numbered from 0."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _flat(inner, f"{key}.{name}" if key else name)
    elif isinstance(value, list) and value and all(isinstance(inner, dict) for inner in value):
        for index, inner in enumerate(value):
            yield from _flat(inner, f"{key}.{index}")
    else:
        yield key, value
