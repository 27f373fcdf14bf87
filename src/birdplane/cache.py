"""Where birdplane keeps what can be fetched or made again."""

from __future__ import annotations

import os
from pathlib import Path

from birdplane.errors import BirdplaneError


def cache_folder() -> Path:
    """Return the folder for what can be fetched or made again; it need not exist yet.

    It is `BIRDPLANE_CACHE`, else the user's cache folder.

    Raises:
        BirdplaneError: there is no home folder to put it in.
    """
    chosen = os.environ.get("BIRDPLANE_CACHE")
    if not chosen:
        from platformdirs import user_cache_dir

        chosen = user_cache_dir("birdplane", appauthor=False)
        if not Path(chosen).is_absolute():
            raise BirdplaneError(
                "no home folder to keep downloads in; set BIRDPLANE_CACHE to a folder you may write"
            )
    return Path(chosen).expanduser().absolute()
