"""The command line. What is heavy is imported inside the commands: `birdplane --help` must feel like nothing."""

from __future__ import annotations

import io
import itertools
import os
import sys
from typing import Annotated

import typer

from birdplane.errors import BirdplaneError

app = typer.Typer(
    name="birdplane",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Assemble, train and understand small image classifiers.",
    epilog="Start with: birdplane train demo",
)
_debug = False
_DISABLE = "--disable-plugin"
#: The commands that tell of broken plugins themselves.
_TELLING = ("list-plugins", "doctor")


def _version(wanted: bool) -> None:
    if wanted:
        from birdplane import __version__

        typer.echo(f"birdplane {__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    disable_plugin: Annotated[
        list[str] | None,
        typer.Option(
            "--disable-plugin",
            metavar="NAME",
            help="Do not even import this plugin; * for all but birdplane's own.",
        ),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """Assemble, train and understand small image classifiers."""
    global _debug
    _debug = debug
    _disable(disable_plugin or [])
    if context.invoked_subcommand not in _TELLING:
        _mention_broken()


def _disable(names: list[str]) -> None:
    if names:
        from birdplane.plugins import DISABLE_VARIABLE

        given = [name for name in os.environ.get(DISABLE_VARIABLE, "").split(",") if name]
        os.environ[DISABLE_VARIABLE] = ",".join([*given, *(name for name in names if name not in given)])


def _named_to_disable(arguments: list[str]) -> list[str]:
    """Return the values of `--disable-plugin`: plugins add their commands before the options are parsed."""
    separate = [after for word, after in itertools.pairwise(arguments) if word == _DISABLE]
    joined = [word.partition("=")[2] for word in arguments if word.startswith(_DISABLE + "=")]
    return [*separate, *joined]


def _mention_broken() -> None:
    """Say on stderr which plugins do not work, where they are loaded already: nothing is loaded for this."""
    plugins = sys.modules.get("birdplane.plugins")
    if plugins is not None and plugins.installed.cache_info().currsize:
        from birdplane.cli.screen import print_warning

        for plugin in plugins.installed().trouble():
            print_warning(
                f"the plugin {plugin.name!r} of {plugin.package} {plugin.version} is {plugin.status}: "
                f"{plugin.reason} (see `birdplane list-plugins`)"
            )


# The commands register themselves with `app`.
from birdplane.cli import catalog, cockpit, doctor, inspecting, running, training  # noqa: E402, F401


def main() -> None:
    """The console script: run a command; a person's mistake is one line on stderr, never a traceback.

    Leaves with 0 when done, 1 when it failed, 2 for wrong usage or a wrong pipeline, 130 and 143 on signals.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a file's name that the terminal cannot show is no failure
    _disable(_named_to_disable(sys.argv[1:]))
    try:
        if cockpit.opened_quickly(sys.argv[1:]):
            return
        _add_plugin_commands()
        app()
    except training.LeaveAtOnce as leave:
        sys.stdout.flush()
        os._exit(int(leave.code or 0))
    except BirdplaneError as error:
        _fail(error, str(error), error.exit_code)
    except BrokenPipeError:
        # The reader, such as `head`, has left; what Python would still flush has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except Exception as error:
        _fail(
            error,
            f"{type(error).__name__}: {error} (a fault in birdplane or a plugin; --debug shows where)",
            1,
        )


def _fail(error: Exception, message: str, code: int) -> None:
    if _debug:
        import traceback

        traceback.print_exception(error)
    from birdplane.cli.screen import print_error

    print_error(message)
    sys.exit(code)


def _add_plugin_commands() -> None:
    """Let plugins add their commands. Only where there is a plugin besides the built-in one, which has none:
    without another, nothing of birdplane's own plugin machinery is imported for `--help`."""
    import importlib.metadata

    if all(point.name == "builtin" for point in importlib.metadata.entry_points(group="birdplane")):
        return
    from birdplane.cli.screen import print_warning
    from birdplane.plugins import installed

    for name, error in installed().call_each("birdplane_commands", app=app).items():
        print_warning(f"the commands of the plugin {name!r} are missing: {type(error).__name__}: {error}")
