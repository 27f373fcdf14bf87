"""The console script, and `python -m birdplane` for processes that must use this very interpreter."""

from __future__ import annotations

import sys

from birdplane.processes import wait_briefly


def main() -> None:
    """Run the command line; the cockpit by a shorter way, where it is asked for by nothing but its name and a run."""
    from birdplane.tui.start import opened_quickly

    wait_briefly()
    try:
        if opened_quickly(sys.argv[1:]):
            return
    except Exception as error:
        from birdplane.cli import fail

        fail(error)
    from birdplane.cli import main as run

    run()


if __name__ == "__main__":
    main()
