"""`birdplane new-plugin`: a plugin to begin with."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from birdplane.cli import app
from birdplane.cli.options import Json
from birdplane.cli.screen import print_json
from birdplane.text import plain


@app.command("new-plugin")
def new_plugin(
    name: Annotated[
        str, typer.Argument(help="Lower-case words joined by dashes; the package is birdplane-NAME.")
    ],
    into: Annotated[
        Path, typer.Option("--into", metavar="FOLDER", help="Where the package's folder is made.")
    ] = Path(),
    json: Json = False,
) -> None:
    """Write a plugin to begin with: a dataset, a transform, a model and a loss, with their tests."""
    from birdplane import __version__
    from birdplane.scaffold import write_plugin

    folder = write_plugin(name, into, __version__)
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    commands = [
        ["pip", "install", "--editable", str(folder)],
        ["birdplane", "check-plugin", name],
        ["birdplane", "train", str(folder / "example.toml")],
    ]
    if json:
        print_json({"name": name, "folder": str(folder), "files": files, "next": commands})
        return
    print(plain(f"{folder}:"))
    for file in files:
        print(f"    {file}")
    print("\nNext:\n")
    for command in commands:
        print(plain(f"    {shlex.join(command)}"))
