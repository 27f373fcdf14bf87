"""`birdplane list`, `show`, `list-plugins` and `check`: what there is to pick, and whether a choice fits."""

from __future__ import annotations

# In the order in which `birdplane --help` has them.
from birdplane.cli.catalog import listing, showing, plugins, checking  # isort: skip # noqa: F401
