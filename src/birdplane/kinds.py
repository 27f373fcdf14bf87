"""The kinds of components, by name: alone, as lists of commands and their help need no more of components."""

from __future__ import annotations

KIND_NAMES = ("dataset", "transform", "model", "loss", "optimizer", "schedule", "recipe")
PLURALS = {kind: f"{kind}es" if kind.endswith("s") else f"{kind}s" for kind in KIND_NAMES}
