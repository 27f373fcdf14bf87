"""Is this installation sound? What is installed, whether it works together, and what mends it.

Nothing here imports torch or torchvision: each is tried in a process of its own, so this runs where they cannot
be imported.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_SECONDS = 120  # a first import from a cold disk can take a minute
_VARIABLES = (
    "BIRDPLANE_RUNS",
    "BIRDPLANE_CACHE",
    "BIRDPLANE_DISABLE_PLUGINS",
    "BIRDPLANE_PLUGIN_SECONDS",
    "OMP_NUM_THREADS",
    "CUDA_VISIBLE_DEVICES",
)

_PROBES = {
    "torch": """
import json, torch
from birdplane.assembly import available_devices, bfloat16_pays
devices = []
for name in available_devices():
    device = torch.device(name)
    label, memory = "", None
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        label, memory = properties.name, properties.total_memory
    devices.append({"name": name, "label": label, "memory": memory, "bfloat16": bfloat16_pays(device)})
print(json.dumps({"version": torch.__version__, "cuda": torch.version.cuda, "threads": torch.get_num_threads(),
                  "devices": devices}))
""",
    "torchvision": """
import json, torch, torchvision
from torchvision.transforms import v2
keep = torchvision.ops.nms(torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 2]]), torch.tensor([1.0, 0.5]), 0.5)
assert keep.tolist() == [0], keep
print(json.dumps({"version": torchvision.__version__}))
""",
}


@dataclass
class Findings:
    """What the doctor saw. `trouble` are pairs of what is wrong and what mends it."""

    versions: dict[str, str | None] = field(default_factory=dict)
    system: dict[str, Any] = field(default_factory=dict)
    devices: list[dict[str, Any]] = field(default_factory=list)
    threads: int | None = None
    cache: dict[str, Any] = field(default_factory=dict)
    runs: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    plugins: list[dict[str, str]] = field(default_factory=list)
    trouble: list[dict[str, str]] = field(default_factory=list)

    def complain(self, what: str, mend: str) -> None:
        self.trouble.append({"what": what, "mend": mend})


def examine() -> Findings:
    """Look at the installation. What does not work is told in `trouble`; nothing is raised for it."""
    running = {name: _started(code) for name, code in _PROBES.items()}
    findings = Findings()
    findings.system = _system()
    findings.settings = {name: os.environ[name] for name in _VARIABLES if os.environ.get(name)}
    _look_at_packages(findings)
    _look_at_folders(findings)
    _look_at_plugins(findings)
    probed = {name: _finished(process) for name, process in running.items()}
    _look_at_torch(findings, probed)
    return findings


def _system() -> dict[str, Any]:
    import psutil  # type: ignore[import-untyped, unused-ignore]

    return {
        "python": platform.python_version(),
        "system": platform.platform(terse=True),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "memory": psutil.virtual_memory().total,
    }


# --- packages ---------------------------------------------------------------------------------------------


def _look_at_packages(findings: Findings) -> None:
    """Compare what is installed with what birdplane asks for."""
    asked = {"birdplane": "", **_requirements("birdplane")}
    for name, bounds in asked.items():
        version = findings.versions[name] = _version(name)
        if version is None:
            findings.complain(f"{name} is not installed", _pip(f"{name}{bounds}"))
        elif not satisfies(version, bounds):
            findings.complain(
                f"{name} {version} is installed; birdplane needs {bounds}", _pip(f"{name}{bounds}")
            )


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _requirements(name: str) -> dict[str, str]:
    """Return what a package needs always: names, and bounds such as `>=2.11`."""
    try:
        lines = importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    plain = (re.fullmatch(r"\s*([\w.-]+)\s*(?:\[[^]]*\])?\s*\(?([^;()]*)\)?\s*", line) for line in lines)
    return {match[1].casefold(): match[2].replace(" ", "") for match in plain if match}


def satisfies(version: str, bounds: str) -> bool:
    """Tell whether a version is within bounds such as `>=2.11,<3`; what cannot be read counts as satisfied."""
    return all(_within(version, bound) for bound in bounds.split(",") if bound)


def _within(version: str, bound: str) -> bool:
    match = re.fullmatch(r"(===?|~=|!=|<=|>=|<|>)([\w.*+!-]+)", bound)
    if match is None:
        return True
    sign, wanted = match.groups()
    left, right = _numbers(version), _numbers(wanted)
    if wanted.endswith(".*") or sign == "~=":
        prefix = right if wanted.endswith(".*") else right[:-1]
        same = left[: len(prefix)] == prefix
        return not same if sign == "!=" else same and (sign == "==" or left >= right)
    width = max(len(left), len(right))
    left, right = (numbers + (0,) * (width - len(numbers)) for numbers in (left, right))
    return {
        "<": left < right,
        ">": left > right,
        "<=": left <= right,
        ">=": left >= right,
        "!=": left != right,
    }.get(sign, left == right)


def _numbers(version: str) -> tuple[int, ...]:
    """Return the release of a version: (2, 15, 0) of `2.15.0+cu130`."""
    match = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(map(int, match[0].split("."))) if match else ()


def _pip(*requirements: str, index: str = "") -> str:
    quoted = [f"'{text}'" if re.search(r"[<>=!~]", text) else text for text in requirements]
    return " ".join(
        ["python -m pip install --upgrade", *quoted, *([f"--index-url {index}"] if index else [])]
    )


# --- torch and torchvision --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Probed:
    """What an import in a process of its own came to: facts, or the last line that it said."""

    facts: dict[str, Any] | None
    error: str = ""


def _started(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )


def _finished(process: subprocess.Popen[str]) -> Probed:
    try:
        output, errors = process.communicate(timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return Probed(None, f"it is not imported after {_SECONDS} s")
    if process.returncode < 0:
        from birdplane.processes import signal_name

        return Probed(None, f"importing it ends the process with {signal_name(-process.returncode)}")
    try:
        return Probed(json.loads(output.splitlines()[-1]))
    except (ValueError, IndexError):
        return Probed(None, _last_error(errors) or f"exit code {process.returncode} without a word")


def _last_error(errors: str) -> str:
    """Return the line that names the exception: the last one that is not indented and has a colon."""
    lines = [line.strip() for line in errors.splitlines() if line.strip() and not line[0].isspace()]
    named = [line for line in lines if re.match(r"[\w.]+(?:Error|Exception|Warning|Interrupt|Exit)\b", line)]
    return (named or lines or [""])[-1]


def _look_at_torch(findings: Findings, probed: dict[str, Probed]) -> None:
    torch, vision = probed["torch"], probed["torchvision"]
    if torch.facts:
        findings.versions["torch"] = torch.facts["version"]
        findings.devices = torch.facts["devices"]
        findings.threads = torch.facts["threads"]
    elif findings.versions.get("torch"):
        findings.complain(f"torch cannot be imported: {torch.error}", _mend_torch(findings, torch.error))
    if vision.facts:
        findings.versions["torchvision"] = vision.facts["version"]
    misfit = _misfit(findings)
    if misfit:
        symptom = f" ({vision.error})" if vision.error else ""
        findings.complain(f"{misfit}{symptom}", _mend_pair(findings))
    elif torch.facts and not vision.facts and findings.versions.get("torchvision"):
        findings.complain(_explained(findings, vision.error), _mend_pair(findings))


def _misfit(findings: Findings) -> str:
    """Return in words what torchvision's own metadata says of the torch beside it; nothing if they fit."""
    torch, vision = findings.versions.get("torch"), findings.versions.get("torchvision")
    wants = _requirements("torchvision").get("torch", "")
    if not torch or not vision or satisfies(torch, wants):
        return ""
    return (
        f"torchvision {vision} does not fit torch {torch}: it was built for torch {wants.removeprefix('==')}"
    )


def _explained(findings: Findings, error: str) -> str:
    torch, vision = findings.versions.get("torch"), findings.versions.get("torchvision")
    if re.search(
        r"torchvision::|undefined symbol|different CUDA|libtorch|_C\.(?:so|pyd)|has no attribute 'extension'",
        error,
    ):
        return (
            f"torchvision {vision} and torch {torch} do not fit each other: each torchvision works with the torch it "
            f"was built for, from the same index (one for CPU, one for CUDA) ({error})"
        )
    return f"torchvision cannot be imported: {error}"


def _mend_torch(findings: Findings, error: str) -> str:
    if "SIGILL" in error:
        return "this processor lacks instructions that torch is built with; an older torch may run on it"
    if "compiled using NumPy 1" in error:
        return _pip("torch", "numpy", index=_index(findings))
    return _mend_pair(findings)


def _mend_pair(findings: Findings) -> str:
    """Return the command that installs a torch and a torchvision made for one another."""
    asked = _requirements("birdplane")
    wanted = [f"{name}{asked.get(name, '')}" for name in ("torch", "torchvision")]
    return _pip("--force-reinstall", *wanted, index=_index(findings))


def _index(findings: Findings) -> str:
    """Return where torch came from, by its version's local part: 2.15.0+cpu is from the index for CPUs."""
    _, _, local = (findings.versions.get("torch") or "").partition("+")
    return (
        f"https://download.pytorch.org/whl/{local}"
        if re.fullmatch(r"cpu|xpu|cu\d+|rocm[\d.]+", local)
        else ""
    )


# --- folders and plugins ----------------------------------------------------------------------------------


def _look_at_folders(findings: Findings) -> None:
    from birdplane.errors import BirdplaneError
    from birdplane.runs import list_runs, runs_folder

    runs = runs_folder()
    try:
        count = len(list_runs(runs))
    except BirdplaneError:  # that it cannot be used is told next
        count = 0
    findings.runs = {"folder": str(runs), "exists": runs.is_dir(), "count": count}
    _check_writable(findings, runs, "BIRDPLANE_RUNS")
    from birdplane.cache import cache_folder

    cache = cache_folder()
    findings.cache = {"folder": str(cache), "exists": cache.is_dir(), "contents": _contents(cache)}
    _check_writable(findings, cache, "BIRDPLANE_CACHE")


def _contents(folder: Path) -> list[dict[str, Any]]:
    """Return the entries of the cache with the bytes below each."""
    try:
        return [{"name": entry.name, "bytes": _bytes_below(entry)} for entry in sorted(folder.iterdir())]
    except OSError:
        return []


def _bytes_below(path: Path) -> int:
    total = 0
    for file in [path] if path.is_file() else path.rglob("*"):
        try:
            total += file.stat().st_size if file.is_file() else 0
        except OSError:
            continue
    return total


def _check_writable(findings: Findings, folder: Path, variable: str) -> None:
    existing = next((path for path in (folder, *folder.absolute().parents) if path.exists()), None)
    if existing is None or not existing.is_dir() or not os.access(existing, os.W_OK):
        findings.complain(f"the folder {str(folder)!r} cannot be written", f"set {variable} to one that can")


def _look_at_plugins(findings: Findings) -> None:
    from birdplane.plugins import installed

    for plugin in installed().found:
        record = {key: getattr(plugin, key) for key in ("name", "version", "package", "status", "reason")}
        record["reason"] = record["reason"] or "; ".join(plugin.notes)
        findings.plugins.append(record)
    for plugin in installed().trouble():
        mend = f"python -m pip install --upgrade {plugin.package}" if plugin.package else ""
        also = f"; or leave it out: BIRDPLANE_DISABLE_PLUGINS={plugin.name}" if not plugin.is_builtin else ""
        findings.complain(f"the plugin {plugin.name!r} is {plugin.status}: {plugin.reason}", mend + also)
