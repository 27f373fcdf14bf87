"""What a person sets once: theme, keys, refresh rate; a TOML file in the user's config folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le
from typing_extensions import Doc

from birdplane import documents
from birdplane.params import Signature


class Settings:
    """The settings of the cockpit, with their defaults.

    Raises:
        UsageError: through `load`, for a file that is not TOML or has a wrong key or value.
    """

    def __init__(
        self,
        *,
        theme: Annotated[
            str, Doc("a Textual theme, such as textual-dark, textual-light, nord, gruvbox")
        ] = "",
        refresh: Annotated[
            float, Ge(0.5), Le(30), Doc("frames a second; left out: 10, and 4 over SSH")
        ] = 10.0,
        pictures: Annotated[
            Literal["auto", "half-blocks", "sixel"],
            Doc(
                "auto: in full where the extra `pictures` is installed and the terminal says that it can; "
                "sixel: by sixels, over SSH and inside tmux too, where they can be drawn"
            ),
        ] = "auto",
        animations: Annotated[bool, Doc("smooth scrolling and the like; never over SSH")] = True,
        keys: Annotated[
            dict[str, str] | None, Doc('other keys for actions, such as {train = "ctrl+t"}')
        ] = None,
    ) -> None:
        self.theme = theme
        self.refresh = refresh
        self.pictures = pictures
        self.animations = animations
        self.keys = keys or {}


def settings_file() -> Path:
    """Return `BIRDPLANE_CONFIG`, or `tui.toml` in the user's config folder."""
    from platformdirs import user_config_path

    given = os.environ.get("BIRDPLANE_CONFIG")
    return Path(given) if given else user_config_path("birdplane") / "tui.toml"


def load(path: Path | None = None) -> Settings:
    """Read the settings; defaults where there is no file. Over SSH the refresh rate is 4 unless the file says so."""
    path = path or settings_file()
    given: dict[str, Any] = documents.read(path, str(path)) if path.exists() else {}
    if over_ssh():
        given = {"refresh": 4.0, "animations": False, **given}
    return Settings(**Signature(Settings, frozenset(), "settings").validate(given, f"{path}: "))


def over_ssh() -> bool:
    return bool(os.environ.get("SSH_CONNECTION") or os.environ.get("SSH_TTY"))
