"""Draw the picture of a report: `make docs-assets` writes `docs/assets/report.png`, where there is a Chromium.

It is the report of the demo, which is trained here; given the file of a report, it is of that one.
"""

from __future__ import annotations

import importlib.util
import io
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType

from PIL import Image

_ROOT = Path(__file__).parents[1]
_PICTURE = _ROOT / "docs" / "assets" / "report.png"
_WIDTH, _HEIGHT = 1100, 1480


def _browser() -> ModuleType:
    """Import the driver of the browser from the tests, which are no package."""
    spec = importlib.util.spec_from_file_location("browser", _ROOT / "tests" / "browser.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _made(folder: Path) -> Path:
    """Train the demo, and return the file of its report."""
    birdplane = [sys.executable, "-m", "birdplane"]
    for command in (["train", "demo", "--plain"], ["report", "demo-1"]):
        subprocess.run([*birdplane, *command], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return folder / "demo-1.html"


def main() -> None:
    """Write the picture."""
    driver = _browser()
    program = driver.found()
    if program is None:
        sys.exit("there is no Chromium here: the picture of the report stays as it is")
    with tempfile.TemporaryDirectory() as folder, driver.Browser(program) as browser:
        file = Path(sys.argv[1]) if len(sys.argv) > 1 else _made(Path(folder))
        browser.look(width=_WIDTH, height=_HEIGHT)
        browser.open(file.resolve().as_uri())
        picture = Image.open(io.BytesIO(browser.picture(whole=False)))
    picture.convert("RGB").save(_PICTURE, optimize=True)


if __name__ == "__main__":
    main()
