"""The one exception that people see as a sentence instead of a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BirdplaneError(Exception):
    """Something a person can mend: the message is one line that says what, where and what is allowed.

    `exit_code` is what the command line leaves with: 1 for work that failed, 2 for wrong usage.
    """

    exit_code = 1


class UsageError(BirdplaneError):
    """What was asked for cannot be right: a wrong name, key, value or combination."""

    exit_code = 2


def nearest(word: str, allowed: Iterable[str]) -> str:
    """Return `"; did you mean 'x'?"` for the closest allowed spelling, or an empty string.

    Case and the two kinds of dash are ignored, so `Cross_Entropy` finds `cross-entropy`.
    """
    by_folded = {_folded(name): name for name in allowed}
    folded = _folded(word)
    close = difflib.get_close_matches(folded, by_folded, n=1, cutoff=0.6) or [
        name for name in sorted(by_folded) if len(folded) >= 3 and (name.startswith(folded) or folded in name)
    ]
    return f"; did you mean {by_folded[close[0]]!r}?" if close else ""


def _folded(name: str) -> str:
    return name.casefold().replace("_", "-")
