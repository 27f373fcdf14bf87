"""Exported files in use again.

An ONNX file is data: ONNX Runtime computes what it describes, and nothing else. A `.pt2` is a program. To load one,
torch evaluates text that stands in it, takes functions of torch by names that stand in it, and unpickles where it is
told to. So birdplane loads those alone that it wrote itself, which it knows by their SHA-256; such a one has no
pickle in it.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from birdplane import durable
from birdplane.cache import cache_folder
from birdplane.errors import BirdplaneError, UsageError
from birdplane.exporting import (
    EXTRA_FILE,
    IMAGES,
    PROBABILITIES,
    PROPERTY,
    SUFFIXES,
    Facts,
    not_ours,
    require_onnx,
)
from birdplane.inspection import Prediction, read_picture

#: In the cache folder: the SHA-256 of each `.pt2` that was written here, a line each, the newest last.
_WRITTEN = "exports.txt"
_REMEMBERED = 10_000


class ExportedModel:
    """What is inside a file: `facts`, and a function from pictures, uint8 (N, C, H, W), to probabilities_NK."""

    def __init__(self, facts: Facts, compute: Callable[[Tensor], Tensor], file: Path) -> None:
        self.facts = facts
        self._compute = compute
        self._file = file

    def probabilities(self, images_NCHW: Tensor) -> Tensor:
        """Return probabilities_NK, float32, of stored pictures: uint8 (N, C, H, W).

        Raises:
            BirdplaneError: the file does not compute, or not a probability for each class.
        """
        given = images_NCHW.to(torch.float32) / 255 if self.facts.input == "float32" else images_NCHW
        try:
            found = self._compute(given)
        except Exception as error:
            reason = str(error).strip().split("\n")[0][:300]
            raise BirdplaneError(f"{self._file}: fails on pictures {tuple(given.shape)}: {reason}") from error
        expected = (len(given), len(self.facts.classes))
        if tuple(found.shape) != expected:
            raise BirdplaneError(f"{self._file}: yields {tuple(found.shape)}: expected {expected}")
        return found.float()

    def predict(self, files: list[Path]) -> list[Prediction]:
        """Return a prediction a file, as `TrainedModel.predict` does.

        Raises:
            BirdplaneError: a file is missing or not a picture.
        """
        found = []
        for file in files:
            picture = torch.from_numpy(read_picture(file, self.facts.shape))[None]
            shares = self.probabilities(picture)[0].tolist()
            best = max(range(len(shares)), key=shares.__getitem__)
            classes = self.facts.classes
            found.append(Prediction(str(file), classes[best], dict(zip(classes, shares, strict=True))))
        return found


def load(file: Path) -> ExportedModel:
    """Return what is in an exported file.

    Raises:
        UsageError: it is not there, not birdplane's, or a `.pt2` that was not written here.
        BirdplaneError: it cannot be read, or ONNX Runtime is not installed.
    """
    try:
        data = file.read_bytes()
    except FileNotFoundError as error:
        raise UsageError(f"{file}: there is no such file") from error
    except OSError as error:
        raise durable.trouble(error, "read", file) from error
    if file.suffix.lower() == SUFFIXES["onnx"]:
        return of_onnx(data, file)
    if hashlib.sha256(data).hexdigest() not in _written():
        raise UsageError(
            f"{file}: was not written by `birdplane export` here. A .pt2 is a program, which could do anything when "
            "it is loaded, so birdplane loads its own alone; an .onnx can be from anybody"
        )
    return of_program(data, file)


# ONNX.


def of_onnx(data: bytes, file: Path) -> ExportedModel:
    """Return what is in the bytes of an ONNX file from anybody; `file` is for messages.

    Raises:
        UsageError: it is not such a file, or has a part of itself elsewhere.
        BirdplaneError: ONNX Runtime is not installed, or does not take it.
    """
    require_onnx()
    import onnx
    import onnxruntime
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(data)
    except (DecodeError, ValueError) as error:
        raise UsageError(f"{file}: is not an ONNX file") from error
    properties = {entry.key: entry.value for entry in model.metadata_props}
    if PROPERTY not in properties:
        raise not_ours(file)
    facts = Facts.from_json(properties[PROPERTY], file)
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in _tensors(model)):
        raise UsageError(f"{file}: has weights in other files, which are not read; export it again")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        reason = str(error).strip().split("\n")[0][:300]
        raise BirdplaneError(f"{file}: ONNX Runtime does not take it: {reason}") from error

    def compute(images_NCHW: Tensor) -> Tensor:
        (found,) = session.run([PROBABILITIES], {IMAGES: images_NCHW.numpy()})
        return torch.from_numpy(np.asarray(found))

    return ExportedModel(facts, compute, file)


def _tensors(model: Any) -> Iterator[Any]:
    """Yield every tensor that is kept in a model, in graphs within graphs too."""
    waiting = [model.graph, *model.functions, *(info.initialization for info in model.training_info)]
    while waiting:
        graph = waiting.pop()
        yield from getattr(graph, "initializer", ())
        for sparse in getattr(graph, "sparse_initializer", ()):
            yield from (sparse.values, sparse.indices)
        for node in graph.node:
            for attribute in node.attribute:
                yield from (attribute.t, *attribute.tensors)
                for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                    yield from (sparse.values, sparse.indices)
                waiting += [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]


# torch.export.


def of_program(data: bytes, file: Path) -> ExportedModel:
    """Return what is in the bytes of a `.pt2` that birdplane wrote: never to be called with anybody else's.

    Raises:
        BirdplaneError: it has a pickle in it, or torch does not load it.
    """
    facts = Facts.from_json(_checked(data, file), file)
    try:
        module = torch.export.load(io.BytesIO(data)).module()
    except Exception as error:
        reason = str(error).strip().split("\n")[0][:300]
        raise BirdplaneError(f"{file}: torch does not load it: {reason}") from error

    def compute(images_NCHW: Tensor) -> Tensor:
        with torch.no_grad():
            found: Tensor = module(images_NCHW)
        return found

    return ExportedModel(facts, compute, file)


def _checked(data: bytes, file: Path) -> str:
    """Return the facts in a `.pt2`, after a look for what would be unpickled.

    Raises:
        BirdplaneError: there is such a thing, or it is not such a file.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            configs = [json.loads(archive.read(name)) for name in names if name.endswith("_config.json")]
            samples = [
                name for name in names if "/sample_inputs/" in name and archive.getinfo(name).file_size
            ]
            facts = next(archive.read(name) for name in names if name.endswith(f"/extra/{EXTRA_FILE}"))
        pickled = [
            key for config in configs for key, entry in config["config"].items() if entry["use_pickle"]
        ]
    except (zipfile.BadZipFile, StopIteration, ValueError, LookupError, TypeError, AttributeError) as error:
        raise not_ours(file) from error
    if pickled or samples:
        raise BirdplaneError(
            f"{file}: torch would unpickle {(pickled or samples)[0]!r}, and birdplane unpickles nothing"
        )
    return facts.decode("utf-8", "replace")


def remember(data: bytes) -> None:
    """Note that this `.pt2` was written here.

    Raises:
        BirdplaneError: the cache folder cannot be written.
    """
    place = cache_folder() / _WRITTEN
    digest = hashlib.sha256(data).hexdigest()
    lines = [line for line in _written() if line != digest]
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        durable.replace_file(place, "\n".join([*lines[-_REMEMBERED:], digest, ""]).encode())
    except OSError as error:
        raise durable.trouble(error, "write", place) from error


def _written() -> list[str]:
    try:
        return (cache_folder() / _WRITTEN).read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return []
