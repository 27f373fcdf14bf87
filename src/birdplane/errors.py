"""The one exception that people see as a sentence instead of a traceback."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable

from birdplane.text import one_line

#: How many letters may be wrong, missing, too many or swapped for a spelling to be meant by another for sure.
_SLIPS = 2
#: From 0 to 1: how alike two spellings must be, beyond that, for one to be meant by the other.
_CLOSE = 0.6
#: What is longer is no misspelling of a name.
_LONGEST = 200


class BirdplaneError(Exception):
    """Something a person can mend: the message is one line that says what, where and what is allowed.

    Whatever it quotes from files, its text is one line, without escape codes and of a bearable length.
    `exit_code` is what the command line leaves with: 1 for work that failed, 2 for wrong usage.
    """

    exit_code = 1

    def __str__(self) -> str:
        return one_line(super().__str__())


class UsageError(BirdplaneError):
    """What was asked for cannot be right: a wrong name, key, value or combination."""

    exit_code = 2


def message_of(error: BaseException) -> str:
    """Return what an exception of anybody's says, in one line; its type's name where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


def described(error: BaseException) -> str:
    """Return an exception of anybody's in one line: `ValueError: what it says`."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": ")


def nearest(word: str, allowed: Iterable[str]) -> str:
    """Return `"; did you mean 'x'?"` for the closest allowed spelling, or an empty string.

    Case and the two kinds of dash are ignored, so `Cross_Entropy` finds `cross-entropy`.
    """
    if len(word) > _LONGEST:
        return ""
    by_folded = {_folded(name): name for name in allowed}
    folded = _folded(word)
    close = (
        _by_slips(folded, by_folded)
        or _closest(folded, by_folded)
        or next((name for name in sorted(by_folded) if len(folded) >= 3 and folded in name), None)
    )
    return f"; did you mean {by_folded[close]!r}?" if close else ""


def _by_slips(word: str, names: Iterable[str]) -> str | None:
    """Return the name that the fewest slips of the fingers make the word from, if they are few and leave a letter
    of it. Of several, it is one with the very same letters, else one that begins alike, else the most alike."""
    letters, begin = Counter(word), word[:1]
    best: tuple[int, bool, bool, float, str] | None = None
    for name in names:
        if abs(len(name) - len(word)) > _SLIPS:
            continue
        its = Counter(name)
        # Each slip adds at most one letter, and takes at most one away: a bound that spares most of the work.
        if max((letters - its).total(), (its - letters).total()) > _SLIPS:
            continue
        slips = _slips(word, name)
        if slips > _SLIPS or slips >= max(len(word), len(name)):
            continue
        alike = difflib.SequenceMatcher(None, name, word).ratio()
        found = (slips, its != letters, not name.startswith(begin), -alike, name)
        best = found if best is None else min(best, found)
    return best[-1] if best else None


def _slips(one: str, other: str) -> int:
    """Return how many letters must be changed, left out, put in or swapped with the next to make one the other."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, left in enumerate(one):
        earlier, before, row = before, row, [i + 1]
        for j, right in enumerate(other):
            cost = min(before[j] + (left != right), before[j + 1] + 1, row[j] + 1)
            if i and j and left == other[j - 1] and one[i - 1] == right:
                cost = min(cost, earlier[j - 1] + 1)
            row.append(cost)
    return row[-1]


def _closest(word: str, names: Iterable[str]) -> str | None:
    """Return what `difflib.get_close_matches` puts first. Of thousands of names, such as a model zoo's, few are
    compared in full: their quick ratio, an upper bound, says in which order, and when none can be closer."""
    matcher = difflib.SequenceMatcher(b=word)
    bounds = []
    for name in names:
        matcher.set_seq1(name)
        if matcher.real_quick_ratio() >= _CLOSE and (bound := matcher.quick_ratio()) >= _CLOSE:
            bounds.append((bound, name))
    best = (_CLOSE, "")
    for bound, name in sorted(bounds, reverse=True):
        if bound < best[0]:
            break
        matcher.set_seq1(name)
        best = max(best, (matcher.ratio(), name))
    return best[1] or None


def _folded(name: str) -> str:
    return name.casefold().replace("_", "-")
