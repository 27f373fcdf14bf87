"""The hooks that a plugin may implement. A plugin imports `hookimpl` and the records from `birdplane`, no torch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    import typer

    from birdplane.components import Component
    from birdplane.events import Event
    from birdplane.runs import Run

hookspec = pluggy.HookspecMarker("birdplane")
hookimpl = pluggy.HookimplMarker("birdplane")


@hookspec
def birdplane_components() -> Iterable[Component]:
    """Return the components that the plugin brings.

    A whole plugin:

        from birdplane import Transform, hookimpl

        def invert():
            return lambda images_NCHW: 1 - images_NCHW

        @hookimpl
        def birdplane_components():
            return [Transform(name="invert", target=invert, summary="Turn every picture into its negative")]
    """
    raise AssertionError("pluggy never calls a specification")


@hookspec
def birdplane_event(run: Run | None, event: Event) -> None:
    """Be told of an event of a training run, after it was written to the run's folder.

    `run` is the run's folder, or None where training writes none. An exception ends neither the training nor the
    other plugins; it becomes an alert that names the plugin. A plugin hears of all events in one thread of its own,
    which is not the main one; what takes longer than a second goes on beside the training. Prints go to stderr.

        from birdplane import hookimpl

        @hookimpl
        def birdplane_event(run, event):
            if event.event == "epoch":
                print(event.epoch, event.validation_accuracy)
    """


@hookspec
def birdplane_commands(app: typer.Typer) -> None:
    """Add commands to `birdplane`. Import what is heavy inside the commands: this hook runs at every start.

    from birdplane import hookimpl

    @hookimpl
    def birdplane_commands(app):
        @app.command()
        def hello():
            print("hello")
    """
