"""The process that tells MLflow of a run, seen from the training.

MLflow takes seconds to import and a server may be slow or away: the training waits for none of it, and its process
is left as it was.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path

from birdplane import BirdplaneError

#: Seconds that the end of a training waits for the last to be delivered; the messenger goes on without it.
_PATIENCE = 0.25
#: MLflow waits for minutes by default. What is set already is left alone.
_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}


class Messenger:
    """Starts `birdplane_mlflow.follow` for the run at `path`. It ends after the run's end, or with this process.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, path: Path) -> None:
        self._failure = ""
        with (path / "mlflow.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "birdplane_mlflow.follow", str(path.absolute())],
                # Nothing is ever sent through it: that it closes tells that this process is over.
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                encoding="utf-8",
                env={**_SETTINGS, **os.environ},
                # Ctrl-C is meant for the training.
                start_new_session=True,
            )
        threading.Thread(target=self._listen, name="birdplane-mlflow", daemon=True).start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._failure = self._failure or line.strip()
        code = self._process.wait()
        if code != 0 and not self._failure:
            self._failure = (
                f"the process that tells MLflow ended with {code}; see mlflow.log in the run's folder"
            )

    def complain(self) -> None:
        """Raise `BirdplaneError` where MLflow cannot be told: once would do, birdplane tells it once."""
        if self._failure:
            raise BirdplaneError(f"MLflow cannot be written to; training goes on: {self._failure}")

    def finish(self) -> None:
        """Give it a moment to deliver the end of the run. Raises as `complain` does."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_PATIENCE)
        self.complain()
