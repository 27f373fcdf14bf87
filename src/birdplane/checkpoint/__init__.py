"""Checkpoints: folders of safetensors and JSON, there whole or not at all; no pickle is read or written.

    <run>/checkpoints/<step>/
      <group>.safetensors   one for each group of tensors: model, optimizer, ...
      state.json            everything else
      manifest.json         size and SHA-256 of each file, and its own; written last

A checkpoint is written into a hidden folder beside, flushed file by file, and renamed into place. A kill or a
power cut at any instant leaves the ones before it as they were. One that is damaged is passed over, and set aside as
`.<step>.damaged` by the training that goes on from another, until that has saved two later ones.
"""

from __future__ import annotations

from birdplane.checkpoint.damage import DamagedCheckpoint, LaterCheckpoint
from birdplane.checkpoint.layout import FORMAT
from birdplane.checkpoint.reading import OF_A_TRAINING, Checkpoint, load, newest, steps
from birdplane.checkpoint.restoring import load_optimizer_state, load_tensors, optimizer_state
from birdplane.checkpoint.values import decode, encode
from birdplane.checkpoint.writing import prune, rewind, save

__all__ = [
    "FORMAT",
    "OF_A_TRAINING",
    "Checkpoint",
    "DamagedCheckpoint",
    "LaterCheckpoint",
    "decode",
    "encode",
    "load",
    "load_optimizer_state",
    "load_tensors",
    "newest",
    "optimizer_state",
    "prune",
    "rewind",
    "save",
    "steps",
]
