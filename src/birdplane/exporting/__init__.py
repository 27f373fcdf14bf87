"""A run's model as one file that needs no birdplane: written and checked (`writing`), and used again (`using`).

Imports no torch: what is said of a file is plain data.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from birdplane.errors import BirdplaneError, UsageError, nearest

Format = Literal["torch", "onnx"]
Input = Literal["uint8", "float32"]

#: The ending of a file of each format.
SUFFIXES: dict[str, str] = {"torch": ".pt2", "onnx": ".onnx"}
INPUTS: tuple[str, ...] = ("uint8", "float32")
#: Of the facts in a file; it grows when a version writes what an earlier one would read wrongly.
VERSION = 1
#: Where a file has its facts: a property of an ONNX model, and a file within a `.pt2`.
PROPERTY = "birdplane"
EXTRA_FILE = "birdplane.json"
#: The names of what goes in and of what comes out.
IMAGES, PROBABILITIES = "images", "probabilities"

_MOST_CLASSES = 100_000
_LARGEST_SIDE = 16_384


@dataclass(frozen=True)
class Facts:
    """What a file says of itself: `shape` is (channels, height, width) of the pictures that it takes.

    `input` says how they are given: `uint8` from 0 to 255, or `float32` from 0 to 1.
    """

    run: str
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    input: str

    def to_json(self) -> str:
        """Return the facts as one line of JSON."""
        return json.dumps({"version": VERSION, **asdict(self)})

    @classmethod
    def from_json(cls, text: str, file: Path) -> Facts:
        """Return the facts that stand in a file from anybody.

        Raises:
            UsageError: they are not such facts, or of a later version.
        """
        try:
            record = json.loads(text)
            version = record["version"]
            classes, shape = tuple(record["classes"]), tuple(record["shape"])
            whole = cls(record["run"], classes, shape, record["input"])
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise not_ours(file) from error
        if version != VERSION:
            raise UsageError(f"{file}: was exported by another version of birdplane; export the run again")
        sound = (
            isinstance(whole.run, str)
            and 2 <= len(classes) <= _MOST_CLASSES
            and all(isinstance(name, str) for name in classes)
            and len(shape) == 3
            and all(type(side) is int and 1 <= side <= _LARGEST_SIDE for side in shape)
            and shape[0] in (1, 3)
            and whole.input in INPUTS
        )
        if not sound:
            raise not_ours(file)
        return whole


def not_ours(file: Path) -> UsageError:
    """Return what a person is told of a file that `birdplane export` has not written."""
    return UsageError(
        f"{file}: it was not written by `birdplane export`: it does not say which classes it tells"
    )


def target(run: str, asked: str | None, output: Path | None) -> tuple[Format, Path]:
    """Return the format and the file to write: by the file's ending where no format is asked for, else torch.

    Raises:
        UsageError: there is no such format, the ending is another format's, or there is no such folder.
    """
    if asked is not None and asked not in SUFFIXES:
        raise UsageError(
            f"--format: there is no {asked!r}{nearest(asked, SUFFIXES)} (allowed: {', '.join(SUFFIXES)})"
        )
    by_ending = next((name for name, suffix in SUFFIXES.items() if output and output.suffix == suffix), None)
    if asked and by_ending and asked != by_ending:
        raise UsageError(f"--output {output}: the ending is that of {by_ending}, and --format is {asked}")
    chosen = asked or by_ending or "torch"
    file = output or Path(f"{run}{SUFFIXES[chosen]}")
    if file.suffix != SUFFIXES[chosen]:
        raise UsageError(f"--output {file}: a file of the format {chosen} ends in {SUFFIXES[chosen]}")
    if not file.parent.is_dir():
        raise UsageError(f"--output {file}: there is no folder {str(file.parent)!r}")
    if file.is_dir():
        raise UsageError(f"--output {file}: is a folder")
    return ("onnx" if chosen == "onnx" else "torch"), file


def require_onnx() -> None:
    """Check that the packages of the extra `onnx` are there, without importing them.

    Raises:
        BirdplaneError: one is not; the message says how to get them.
    """
    import importlib.util

    lacking = [name for name in ("onnx", "onnxruntime", "onnxscript") if not importlib.util.find_spec(name)]
    if lacking:
        raise BirdplaneError(f"ONNX needs {', '.join(lacking)}: pip install 'birdplane[onnx]'")
