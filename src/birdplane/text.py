"""Facts as people read them: text that is not ours, sizes, durations."""

from __future__ import annotations

import unicodedata


def plain(text: str) -> str:
    """Return text from a file, a plugin or a picture's name as one line without control or escape codes."""
    if text.isprintable():  # nearly always, and lists have thousands of names
        return text
    return "".join(
        character if unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp") else " "
        for character in text
    )


def brief(value: object, most: int = 60) -> str:
    """Return a value from a file as Python writes it, in one line of at most `most` characters; never fails."""
    try:
        found = plain(repr(value[: most + 1] if isinstance(value, str | bytes) else value))
    except (ValueError, RecursionError):  # an integer of thousands of digits; lists in lists without end
        return f"a {type(value).__name__} that is too large to show"
    return found if len(found) <= most else found[: most - 3] + "..."


def brief_name(name: str) -> str:
    """Return a key, or a file's name, as messages show it: in one line, and not without end."""
    return plain(name if len(name) <= 200 else f"{name[:200]}...")


def one_line(message: str, most: int = 2000) -> str:
    """Return a message as one line; of one that is very long, the beginning and the end."""
    line = plain(message)
    return line if len(line) <= most else f"{line[: most // 2]} ... {line[-most // 2 :]}"


def size(count: float) -> str:
    """Return a number of bytes as people say it: `512 B`, `6.3 MB`, `1.2 GB`."""
    if count < 1000:
        return f"{count:.0f} B"
    for unit in ("kB", "MB"):
        count /= 1000
        if count < 999.5:
            return f"{count:.1f} {unit}" if count < 99.95 else f"{count:.0f} {unit}"
    return f"{count / 1000:.1f} GB"


def amount(done: int, total: int | None, unit: str) -> str:
    """Return how far something is: `52 MB of 170 MB` for the unit `B`, else `300 of 4,000 pictures`; nothing where
    nothing is counted."""
    if unit == "B":
        return size(done) + (f" of {size(total)}" if total else "")
    return f"{done:,}" + (f" of {total:,}" if total else "") + f" {unit}" if unit else ""


def duration(seconds: float) -> str:
    """Return seconds as a person says them: `0.4 s`, `12 s`, `3:05 min`, `1:02:10 h`; less than none is none."""
    seconds = max(0.0, seconds)
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d} min"
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d} h"


def ago(seconds: float) -> str:
    """Return an age roughly: `now`, `5 min ago`, `3 h ago`, `12 days ago`."""
    if seconds < 60:
        return "now"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min ago"
    if seconds < 48 * 3600:
        return f"{seconds // 3600:.0f} h ago"
    return f"{seconds // 86400:.0f} days ago"
