"""The command line. What is heavy is imported inside the commands: `birdplane --help` must feel like nothing."""

from __future__ import annotations

import io
import itertools
import os
import sys
from typing import Annotated, NoReturn

import typer

from birdplane.durable import trouble
from birdplane.errors import BirdplaneError
from birdplane.processes import wait_briefly

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
_TELLING = ("list-plugins", "doctor", "check-plugin")
_tells_itself = False


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
    global _debug, _tells_itself
    _debug = debug
    _tells_itself = context.invoked_subcommand in _TELLING
    _disable(disable_plugin or [])
    if not _tells_itself:
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

        troubles = [
            f"{plugin} is {plugin.status}: {plugin.reason}" for plugin in plugins.installed().trouble()
        ]
        extending = sys.modules.get("birdplane.cli.extending")
        for trouble in [*troubles, *(extending.missing_commands() if extending else [])]:
            print_warning(f"{trouble} (see `birdplane list-plugins`)")


def _mention_what_showed() -> None:
    """Say on stderr which families failed, and what modules changed, while the command ran: nothing is listed or
    imported for this."""
    registry = sys.modules.get("birdplane.registry")
    if registry is not None and registry.catalog.cache_info().currsize:
        from birdplane.cli.screen import print_warning

        for trouble in [] if _tells_itself else registry.catalog().trouble():
            print_warning(f"{trouble} (see `birdplane list-plugins`)")
        for note in registry.catalog().notes():
            print_warning(note)


# The commands register themselves with `app`.
from birdplane.cli import (  # noqa: E402
    catalog,  # noqa: F401
    cockpit,  # noqa: F401
    comparing,  # noqa: F401
    conformance,  # noqa: F401
    doctor,  # noqa: F401
    ejecting,  # noqa: F401
    explaining,  # noqa: F401
    exporting,  # noqa: F401
    inspecting,  # noqa: F401
    leaving,
    mistakes,  # noqa: F401
    probing,  # noqa: F401
    report,  # noqa: F401
    running,  # noqa: F401
    scaffold,  # noqa: F401
    training,  # noqa: F401
)


def main() -> None:
    """The console script: run a command; a person's mistake is one line on stderr, never a traceback.

    Leaves with 0 when done, 1 when it failed, 2 for wrong usage or a wrong pipeline, 130 and 143 on signals.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a file's name that the terminal cannot show is no failure
    wait_briefly()
    _disable(_named_to_disable(sys.argv[1:]))
    try:
        _add_plugin_commands()
        app()
    except leaving.LeaveAtOnce as leave:
        sys.stdout.flush()
        os._exit(int(leave.code or 0))
    except BirdplaneError as error:
        fail(error)
    except BrokenPipeError:
        # The reader, such as `head`, has left; what Python would still flush has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except KeyboardInterrupt:
        sys.exit(130)  # while plugins were loaded; commands have their own words for it
    except Exception as error:
        fail(error)
    finally:
        _mention_what_showed()


def fail(error: Exception) -> NoReturn:
    """Say in one line what went wrong, and leave."""
    if _debug:
        import traceback

        traceback.print_exception(error)
    from birdplane.cli.screen import print_error

    if isinstance(error, BirdplaneError):
        print_error(str(error))
        sys.exit(error.exit_code)
    if isinstance(error, OSError) and error.filename is not None:
        print_error(str(trouble(error, "use", os.fsdecode(error.filename))))
        sys.exit(1)
    if no_memory := _short_of_memory(error):
        print_error(no_memory)
        sys.exit(1)
    print_error(f"{type(error).__name__}: {error} (a fault in birdplane or a plugin; --debug shows where)")
    sys.exit(1)


def _short_of_memory(error: Exception) -> str:
    """Return the one line for memory that ran out in a command, or an empty one for any other error."""
    if isinstance(error, ImportError) and "failed to map segment" in str(error):
        library = str(error).partition(":")[0]
        return f"out of memory while {library} is loaded: end other programs, or raise the limit (ulimit -v)"
    failures = sys.modules.get("birdplane.failures")
    if not isinstance(error, MemoryError) and not (failures and failures.ran_out_of_memory(error)):
        return ""
    return "out of memory: end other programs, or try a smaller model or smaller pictures (--device cpu, if on a GPU)"


def _add_plugin_commands() -> None:
    """Let plugins add their commands. Only where there is a plugin besides the built-in one, which has none:
    without another, nothing of birdplane's own plugin machinery is imported for `--help`."""
    import importlib.metadata

    if all(point.name == "builtin" for point in importlib.metadata.entry_points(group="birdplane")):
        return
    from birdplane.cli.extending import add_commands
    from birdplane.plugins import installed

    add_commands(app, installed())
