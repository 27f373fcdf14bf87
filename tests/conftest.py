"""What tests of every kind share: a tiny pipeline, plugins on disk, and the real pictures, if they are here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
import textwrap
import venv
from collections.abc import Callable, Iterator
from pathlib import Path

import filelock
import pytest

from birdplane.pipeline import Pipeline
from birdplane.registry import Catalog
from birdplane.runs import Run

# Started in the background, a shell's children ignore Ctrl-C, and theirs with them: here it is what is tested.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Before torch is imported: tiny nets gain nothing from more threads, and sums in another order differ.
os.environ.setdefault("OMP_NUM_THREADS", "1")

#: A pipeline that is trained in no time: 4 steps an epoch.
TINY = """
[dataset]
use = "sketches"
train = 64
test = 32
size = 8
difficulty = 0.2
[[transforms]]
use = "to-tensor"
[[transforms]]
use = "normalize"
[model]
use = "fully-connected"
hidden = [8]
[loss]
use = "cross-entropy"
[optimizer]
use = "sgd"
lr = 0.1
[training]
epochs = 3
batch_size = 16
device = "cpu"
"""

#: What pip is told, besides, in `environment`.
_AT_HAND = ["--no-index", "--no-build-isolation", "--disable-pip-version-check"]
_SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture(scope="module")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache that is empty at first, for all tests of a module that asks for it by `usefixtures`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BIRDPLANE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def real_pictures() -> Path:
    """The zip of CIFAR-10's pictures: `train/<class>/*.jpg`, 5,000 a class, and `test/<class>/*.jpg`, 500."""
    path = _SHARED / "data" / "cifar10-images.zip"
    if not path.is_file():
        pytest.skip(
            f"the real pictures are absent: there is no {path.name} in shared/data beside the checkout"
        )
    return path


@pytest.fixture(scope="session")
def cifar2_archive(real_pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """An archive in CIFAR-10's binary layout with the real airplanes and birds, and its SHA-256.

    10,000 pictures to train and 1,000 to test. It takes some seconds to make and is made once a session, also
    where that is spread over several processes.
    """
    script = _SHARED / "bin" / "make_cifar10_archive.py"
    if not script.is_file():
        pytest.skip(f"the real pictures cannot be packed: there is no {script.name} in shared/bin")
    spread = "PYTEST_XDIST_WORKER" in os.environ
    folder = tmp_path_factory.getbasetemp().parent if spread else tmp_path_factory.mktemp("cifar2")
    archive, digest = folder / "cifar2-binary.tar.gz", folder / "cifar2-binary.sha256"
    with filelock.FileLock(folder / "cifar2-binary.lock"):
        if not digest.is_file():
            command = [sys.executable, str(script), str(archive), "--classes", "airplane", "bird"]
            made = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
            digest.write_text(made.stdout.strip(), encoding="ascii")
    return archive, digest.read_text(encoding="ascii")


@pytest.fixture(scope="session")
def tiny() -> Callable[..., Pipeline]:
    """A function from overrides, such as `"training.epochs=3"`, to a pipeline that is trained in no time."""

    def make(*assignments: str, catalog: Catalog | None = None) -> Pipeline:
        return Pipeline.from_toml(TINY, "tiny.toml", catalog).override(assignments)

    return make


@pytest.fixture
def tiny_file(tmp_path: Path) -> Path:
    """The file of a pipeline that is trained in no time."""
    path = tmp_path / "tiny.toml"
    path.write_text(TINY, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def write_plugin() -> Callable[..., Path]:
    """A function that writes a plugin, module and distribution, into a folder that can be put on `sys.path`.

    The distribution is what pip would leave there: `<name>-<version>.dist-info` with its entry point.
    """

    def write(
        folder: Path, name: str, source: str, *, package: str | None = None, version: str = "1.2"
    ) -> Path:
        module, package = f"{name.replace('-', '_')}_module", package or f"birdplane-{name}"
        folder.mkdir(exist_ok=True)
        (folder / f"{module}.py").write_text(textwrap.dedent(source), encoding="utf-8")
        information = folder / f"{package.replace('-', '_')}-{version}.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
        (information / "entry_points.txt").write_text(f"[birdplane]\n{name} = {module}\n")
        return folder

    return write


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run of a small net on 64 small sketches. To be read: a test that writes makes its own."""
    from birdplane.training import train

    pipeline = Pipeline.from_toml(TINY, "tiny.toml")
    run = Run.create(tmp_path_factory.mktemp("runs"), "tiny", pipeline_toml=pipeline.to_toml())
    for _ in train(pipeline, run):
        pass
    return run


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """The folder of the programs of an empty environment, with `python`, `pip` and `birdplane`.

    What pip installs goes into it and nowhere else. What is installed where the tests run can be imported from
    it, after its own: torch is not installed anew. Nothing is fetched, so its pip looks at no index, whatever it is
    told, and takes the tools that build a package from there, too.
    """
    folder = tmp_path / "environment"
    venv.create(folder, symlinks=os.name != "nt")
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    within = {"base": str(folder), "platbase": str(folder)}
    packages = Path(sysconfig.get_path("purelib", "venv", vars=within))
    here = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    lines = [f"import site; site.addsitedir({path!r})" for path in dict.fromkeys(here)]
    (packages / "of-the-tests.pth").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for name, module, given in (
        ("birdplane", "birdplane.cli", []),
        ("pip", "pip._internal.cli.main", _AT_HAND),
    ):
        lines = [
            f"#!{programs / 'python'}",
            "import sys",
            f"from {module} import main",
            "if __name__ == '__main__':",
            f"    sys.argv += {given!r}",
            "    sys.exit(main())",
        ]
        (programs / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
        (programs / name).chmod(0o755)
    return programs
