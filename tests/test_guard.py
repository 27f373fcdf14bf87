"""What a plugin changes of the process is set back: random states, of modules that it brings or that are at hand."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: What a plugin does, and what is there before it.
SEEDED = {
    "numpy, at hand": ("import numpy", "numpy.random.seed(0)", "numpy.random.random()"),
    "numpy, brought along": ("", "import numpy; numpy.random.seed(0)", "__import__('numpy').random.random()"),
    "torch, at hand": ("import torch", "torch.manual_seed(0)", "torch.rand(1).item()"),
    "torch, brought along": ("", "import torch; torch.manual_seed(0)", "__import__('torch').rand(1).item()"),
}


def ran(program: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize("what", SEEDED)
def test_a_seed_of_numpy_or_torch_does_not_outlast_the_plugin(what: str) -> None:
    before, seeds, drawn = SEEDED[what]
    program = f"""
from birdplane.guard import guarded
{before}
with guarded() as notes:
    {seeds}
print({drawn})
{seeds}
print({drawn})
print([note for note in notes if "random" in note])
"""
    found, with_the_seed, notes = ran(program)
    assert found != with_the_seed
    assert notes == "['changes the global random state, which was set back']"


@pytest.mark.parametrize("module", ["numpy", "torch"])
def test_to_import_numpy_or_torch_is_no_change_of_the_random_state(module: str) -> None:
    program = f"""
from birdplane.guard import guarded
with guarded() as notes:
    import {module}
print([note for note in notes if "random" in note])
"""
    assert ran(program) == ["[]"]
