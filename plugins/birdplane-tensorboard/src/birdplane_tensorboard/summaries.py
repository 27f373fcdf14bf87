"""What of a run becomes which of TensorBoard's summaries."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tensorboardX.proto.api_pb2 import DataType, Experiment, HParamInfo, MetricInfo, MetricName, Status
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo
from tensorboardX.proto.summary_pb2 import Summary, SummaryMetadata

#: The tags, by the fields of the events that they show. All stand over the step.
PROGRESS = {
    "train/loss": "mean",
    "train/accuracy": "accuracy",
    "train/learning_rate": "learning_rate",
    "speed/samples_per_second": "samples_per_second",
    "speed/waiting_for_data": "wait",
}
EPOCH = {
    "epoch/train_loss": "train_loss",
    "epoch/train_accuracy": "train_accuracy",
    "epoch/validation_loss": "validation_loss",
    "epoch/validation_accuracy": "validation_accuracy",
    "epoch/best_accuracy": "best_accuracy",
    "epoch/number": "epoch",
    "speed/train_seconds": "train_seconds",
    "speed/validation_seconds": "validation_seconds",
}
#: The columns of TensorBoard's table of hyper-parameters besides these themselves.
METRICS = (
    "epoch/validation_accuracy",
    "epoch/best_accuracy",
    "epoch/validation_loss",
    "epoch/train_loss",
    "epoch/train_accuracy",
)


def scalars(event: Any, tags: Mapping[str, str]) -> Summary:
    """Return the summary of an event's numbers; what it does not have (a validation left out) is left out."""
    values = ((tag, getattr(event, field)) for tag, field in tags.items())
    return Summary(
        value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values if value is not None]
    )


def picture(tag: str, png: bytes, size: tuple[int, int], description: str) -> Summary:
    """Return the summary of a picture: `size` is (width, height) in pixels."""
    image = Summary.Image(width=size[0], height=size[1], colorspace=3, encoded_image_string=png)
    plugin = SummaryMetadata.PluginData(plugin_name="images")
    metadata = SummaryMetadata(display_name=tag, summary_description=description, plugin_data=plugin)
    return Summary(value=[Summary.Value(tag=tag, image=image, metadata=metadata)])


def flat(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, number, truth value or text) of every leaf of a parsed pipeline file.

    Lists of tables, such as the transforms, are numbered from 0; other lists become JSON.
    """
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from flat(inner, f"{key}.{name}" if key else name)
    elif isinstance(value, list) and value and all(isinstance(inner, dict) for inner in value):
        for index, inner in enumerate(value):
            yield from flat(inner, f"{key}.{index}")
    elif isinstance(value, bool | int | float | str):
        yield key, value
    else:
        yield key, json.dumps(value, default=str)


def hyperparameters(pipeline: Mapping[str, Any], name: str, began: float) -> list[Summary]:
    """Return the summaries that enter a run into TensorBoard's table of hyper-parameters."""
    values = dict(flat(pipeline))
    start = SessionStartInfo(group_name=name, start_time_secs=began)
    infos = []
    for key, value in values.items():
        # In this order: a truth value is an int as well.
        if isinstance(value, bool):
            start.hparams[key].bool_value = value
            kind = "DATA_TYPE_BOOL"
        elif isinstance(value, int | float):
            start.hparams[key].number_value = value
            kind = "DATA_TYPE_FLOAT64"
        else:
            start.hparams[key].string_value = value
            kind = "DATA_TYPE_STRING"
        infos.append(HParamInfo(name=key, type=DataType.Value(kind)))
    metrics = [MetricInfo(name=MetricName(tag=tag)) for tag in METRICS]
    return [
        _hparams("experiment", experiment=Experiment(hparam_infos=infos, metric_infos=metrics)),
        _hparams("session_start_info", session_start_info=start),
    ]


def session_end(status: str, ended: float) -> Summary:
    """Return the summary that says how a run ended: `done`, `stopped` or `failed`."""
    state = {"done": "STATUS_SUCCESS", "failed": "STATUS_FAILURE"}.get(status, "STATUS_UNKNOWN")
    info = SessionEndInfo(status=Status.Value(state), end_time_secs=ended)
    return _hparams("session_end_info", session_end_info=info)


def _hparams(kind: str, **content: Any) -> Summary:
    data = HParamsPluginData(version=0, **content).SerializeToString()
    plugin = SummaryMetadata.PluginData(plugin_name="hparams", content=data)
    return Summary(
        value=[Summary.Value(tag=f"_hparams_/{kind}", metadata=SummaryMetadata(plugin_data=plugin))]
    )
