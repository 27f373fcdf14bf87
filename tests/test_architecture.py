"""Imports point one way, nothing unpickles, and what is quick to start stays so."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

import birdplane
import birdplane_builtin

SOURCE = Path(birdplane.__file__).parent
BUILTIN = Path(birdplane_builtin.__file__).parent
DOCUMENT = Path(__file__).parents[1] / "docs" / "architecture.md"
#: What anybody's plugin may import besides the public names; none of it imports torch.
OPEN_TO_PLUGINS = ("errors", "plain", "components", "reporting", "cache", "durable", "pictures")
WITHOUT_TORCH = (
    *OPEN_TO_PLUGINS,
    "registry",
    "pipeline",
    "availability",
    "events",
    "eventlog",
    "runs",
    "launch",
    "cli",
)


def documented_order() -> list[str]:
    """The modules in the order of the table in docs/architecture.md: each imports only from those above it."""
    return re.findall(r"^\| `(\w+)` \|", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)


def present() -> set[str]:
    found = [path for path in SOURCE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()]
    return {path.stem for path in found if not path.stem.startswith("__")}


def sources(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def named(path: Path) -> str:
    return path.relative_to(SOURCE.parent if path.is_relative_to(SOURCE) else BUILTIN.parent).as_posix()


def imports(path: Path) -> Iterator[str]:
    """Yield what a file imports, anywhere in it, as `module` or `module.name`; not what only type checkers see."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def of_birdplane(path: Path) -> list[str]:
    return [name for name in imports(path) if name.startswith("birdplane.")]


def imported_modules(path: Path, modules: Collection[str]) -> Iterator[str]:
    """Yield those of the modules that a file imports, or of which it imports a name."""
    for name in of_birdplane(path):
        for module in (
            name,
            f"{name}.__init__",
            name.rpartition(".")[0],
            f"{name.rpartition('.')[0]}.__init__",
        ):
            if module in modules:
                yield module
                break


def test_the_table_of_modules_names_every_module_once() -> None:
    order = documented_order()
    assert len(order) == len(set(order))
    assert set(order) == present()


@pytest.mark.parametrize("path", sources(SOURCE), ids=named)
def test_a_module_imports_only_from_those_above_it(path: Path) -> None:
    order = documented_order()
    own = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    if own == "__main__":
        return  # the console script's other form: above everything
    # What `import birdplane` gives stands on the pipeline and on all above it.
    place = order.index("pipeline") + 1 if own == "__init__" else order.index(own)
    public = {f"birdplane.{name}" for name in birdplane.__all__}
    for name in of_birdplane(path):
        imported = "pipeline" if name in public else name.split(".")[1]
        if imported != own:
            assert imported in order[:place], f"{own} imports {name}"


@pytest.mark.parametrize("package", sorted(path.parent for path in SOURCE.glob("*/__init__.py")), ids=named)
def test_the_modules_of_a_package_import_one_another_one_way(package: Path) -> None:
    modules = {
        ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts): path for path in sources(package)
    }
    # Commands register themselves with `cli`, which imports them for that.
    graph = {
        name: {word for word in imported_modules(path, modules) if word != name}
        for name, path in modules.items()
        if name != "birdplane.cli.__init__"
    }
    tuple(graphlib.TopologicalSorter(graph).static_order())  # raises where there is a circle


@pytest.mark.parametrize("path", sources(BUILTIN), ids=named)
def test_birdplanes_own_plugin_takes_no_private_path(path: Path) -> None:
    allowed = {f"birdplane.{name}" for name in birdplane.__all__}
    for name in of_birdplane(path):
        module = name.split(".")[1]
        assert name in allowed or module in OPEN_TO_PLUGINS, f"{named(path)} imports {name}"
        assert not any(part.startswith("_") for part in name.split(".")), f"{named(path)} imports {name}"


@pytest.mark.parametrize("path", [*sources(SOURCE), *sources(BUILTIN)], ids=named)
def test_nothing_unpickles_or_evaluates_text(path: Path) -> None:
    unpickling = {"pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
    assert not {name.split(".")[0] for name in imports(path)} & unpickling
    called = {
        ast.unparse(node.func)
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and not _refuses_pickles(node)
    }
    assert not called & {
        "eval",
        "exec",
        "torch.load",
        "torch.save",
        "np.load",
        "numpy.load",
        "yaml.load",
        "os.system",
    }


def _refuses_pickles(call: ast.Call) -> bool:
    return any(word.arg == "allow_pickle" and ast.unparse(word.value) == "False" for word in call.keywords)


def loaded_by(program: str) -> set[str]:
    program += "\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_importing_birdplane_imports_nothing_heavy() -> None:
    assert not loaded_by("import birdplane") & {
        "torch", "torchvision", "numpy", "PIL", "pydantic", "textual", "rich", "typer", "tomlkit", "safetensors",
        "birdplane_builtin",
    }  # fmt: skip


def test_what_shows_things_imports_no_torch() -> None:
    program = "\n".join(f"import birdplane.{module}" for module in WITHOUT_TORCH)
    assert not loaded_by(program) & {"torch", "torchvision", "numpy", "textual", "safetensors"}


def test_every_public_name_is_there() -> None:
    for name in birdplane.__all__:
        assert getattr(birdplane, name) is not None
