"""Start the training of a run as a process of its own, which outlives whoever started it. Imports no torch."""

from __future__ import annotations

import subprocess
import sys
import threading

from birdplane.errors import BirdplaneError
from birdplane.runs import Run


def launch(run: Run) -> int:
    """Start or go on training a run in a new process and session; return its pid at once.

    What it prints goes to the run's `log.txt`, and how it ended is noted in the run's folder for as long as this
    process lives to see it. A refusal, such as another process that trains the run, stands in the log.

    Raises:
        BirdplaneError: the process cannot be started or the log cannot be written.
    """
    command = [sys.executable, "-m", "birdplane", "resume", str(run.path.resolve()), "--plain"]
    try:
        with run.log.open("ab") as log:
            # Streams named one by one: inside a Textual program the standard ones are stand-ins without a number.
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
    except OSError as error:
        raise BirdplaneError(f"cannot start training {run.name!r}: {error}") from error
    threading.Thread(target=_note_end, args=(run, process), name=f"wait-{run.name}", daemon=True).start()
    return process.pid


def _note_end(run: Run, process: subprocess.Popen[bytes]) -> None:
    code = process.wait()
    if run.path.is_dir():
        run.record_exit(process.pid, code)
