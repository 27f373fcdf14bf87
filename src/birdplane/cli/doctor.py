"""`birdplane doctor`: is this installation sound?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from birdplane.cli import app
from birdplane.cli.options import Json
from birdplane.cli.screen import print_facts, print_heading, print_json
from birdplane.text import size

if TYPE_CHECKING:
    from birdplane.diagnosis import Findings


@app.command()
def doctor(json: Json = False) -> None:
    """Say what is installed and whether it works together."""
    from birdplane.diagnosis import examine

    findings = examine()
    if json:
        print_json({"sound": not findings.trouble, **findings.__dict__})
    else:
        _print(findings)
    if findings.trouble:
        raise typer.Exit(1)


def _print(findings: Findings) -> None:
    system = findings.system
    print_heading("versions")
    versions = {"python": system["python"], **findings.versions}
    print_facts([(f"  {name}", version or "not installed") for name, version in versions.items()])
    print_heading("machine")
    print_facts(
        [
            ("  system", f"{system['system']}, {system['machine']}"),
            ("  processors", f"{system['cpus']}, {findings.threads or '?'} threads for torch"),
            ("  memory", size(system["memory"])),
            *((f"  {device['name']}", _device(device)) for device in findings.devices),
        ]
    )
    print_heading("folders")
    print_facts(
        [
            ("  runs", f"{findings.runs['folder']}: {_runs(findings)}"),
            ("  cache", f"{findings.cache['folder']}: {_cached(findings)}"),
        ]
    )
    if findings.settings:
        print_heading("settings")
        print_facts([(f"  {name}", value) for name, value in findings.settings.items()])
    print_heading("plugins")
    print_facts(
        [
            (
                f"  {p['name']}",
                f"{p['package']} {p['version']}: {p['status']}" + (f", {p['reason']}" if p["reason"] else ""),
            )
            for p in findings.plugins
        ]
    )
    print()
    if not findings.trouble:
        print("All is well.")
    for trouble in findings.trouble:
        print_facts(
            [("trouble:", trouble["what"]), *([("mend:", trouble["mend"])] if trouble["mend"] else [])]
        )


def _device(device: dict[str, Any]) -> str:
    memory = f", {size(device['memory'])}" if device["memory"] else ""
    quick = "quick" if device["bfloat16"] else "slow, so float32 is taken instead"
    return f"{device['label']}{memory}, bfloat16 is {quick}".removeprefix(", ")


def _runs(findings: Findings) -> str:
    return f"{findings.runs['count']} runs" if findings.runs["exists"] else "not there yet"


def _cached(findings: Findings) -> str:
    contents = findings.cache["contents"]
    return ", ".join(f"{entry['name']} {size(entry['bytes'])}" for entry in contents) or "empty"
