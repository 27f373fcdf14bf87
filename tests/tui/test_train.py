"""The Train screen."""

from __future__ import annotations
