"""`events.jsonl`: one writer appends a line for each event, any number of readers follow.

A later start from step S makes void what was told before it of steps after S: a run that was killed goes on
from its last checkpoint and tells of the steps since then again. The writer takes such lines out (`rewrite`)
before it appends the start; readers notice, and apply the same rule to files in which that was not done.
Imports nothing heavy.
"""

from __future__ import annotations

from birdplane.eventlog.lines import ends_with_newline, read_lines
from birdplane.eventlog.reading import EventReader, History, Tail
from birdplane.eventlog.summary import Summary, last_event, summarise
from birdplane.eventlog.writing import EventWriter, rewrite

__all__ = [
    "EventReader",
    "EventWriter",
    "History",
    "Summary",
    "Tail",
    "ends_with_newline",
    "last_event",
    "read_lines",
    "rewrite",
    "summarise",
]
