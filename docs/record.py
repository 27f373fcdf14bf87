"""Record a training run in a terminal and draw it: `make docs-assets` writes `docs/assets/train.svg`.

The demo is trained in a pseudo-terminal. What arrives there is kept with its time, played into a small screen, and
written as one SVG, in which each line is shown as long as it stood on the screen. It needs no font, script or file
from elsewhere, and where nothing moves (on paper, or where a reader asked for no motion) it is the last screen.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import re
import shlex
import struct
import sys
import tempfile
import termios
import time
from dataclasses import dataclass
from html import escape
from pathlib import Path

ASSETS = Path(__file__).parent / "assets"
COMMAND = "birdplane train demo"
COLUMNS, ROWS = 100, 20
_CELL_W, _CELL_H, _SIZE, _MARGIN, _TITLE = 8.4, 19, 14, 18, 34
_LONGEST_SECONDS = 14.0  # a run that takes longer is played faster
_STILL_SECONDS = 6.0  # how long the last screen stands
_FRAME_SECONDS = 0.2  # of the replay, between two states of a line that moves
_TYPING_SECONDS = 1.2
_INK, _DIM, _GREEN, _PAPER, _FRAME = "#dfe4ec", "#8d98a9", "#8fd694", "#1b212b", "#39424f"
_EIGHTHS = " ▏▎▍▌▋▊▉█"


@dataclass
class Line:
    """A text that stood in a row of the screen from `begin` until `end`, in seconds; None: to the last."""

    row: int
    text: str
    begin: float
    end: float | None = None


def record(command: str) -> list[tuple[float, str]]:
    """Run a command in a terminal of its own, in an empty folder; return what it wrote, with the times."""
    with tempfile.TemporaryDirectory() as folder:
        child, terminal = pty.fork()
        if child == 0:
            os.chdir(folder)
            os.environ.update(TERM="xterm-256color", BIRDPLANE_RUNS="runs", PYTHONIOENCODING="utf-8")
            os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
            words = shlex.split(command)
            os.execvp(words[0], words)
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        began = time.monotonic()
        written: list[tuple[float, str]] = []
        rest = b""
        while chunk := _read(terminal):
            whole, rest = _whole(rest + chunk)
            written.append((time.monotonic() - began, whole))
        _, status = os.waitpid(child, 0)
    if status:
        raise SystemExit(f"{command} failed:\n" + "".join(text for _, text in written))
    return written


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # so Linux says that the other side is closed
        return b""


def _whole(data: bytes) -> tuple[str, bytes]:
    """Return the text, and the bytes of a last character that has not arrived whole."""
    for cut in range(min(4, len(data) + 1)):
        try:
            return data[: len(data) - cut].decode(), data[len(data) - cut :]
        except UnicodeDecodeError:
            continue
    return data.decode(errors="replace"), b""


def play(written: list[tuple[float, str]]) -> list[Line]:
    """Play what was written into a screen; return every line that stood on it."""
    lines: dict[int, str] = {}
    standing: dict[int, Line] = {}
    shown: list[Line] = []
    row = column = 0
    for moment, text in written:
        for piece in re.findall(r"\r|\n|\x1b\[[0-9;?]*[A-Za-z]|[^\r\n\x1b]+", text):
            if piece == "\r":
                column = 0
            elif piece == "\n":
                row, column = row + 1, 0
            elif piece == "\x1b[K":
                lines[row] = lines.get(row, "")[:column]
            elif not piece.startswith("\x1b"):
                before = lines.get(row, "").ljust(column)
                lines[row] = before[:column] + piece + before[column + len(piece) :]
                column += len(piece)
        for at, text_now in lines.items():
            old = standing.get(at)
            if (old.text if old else "") != text_now.rstrip():
                if old:
                    old.end = moment
                standing[at] = Line(at, text_now.rstrip(), moment)
                shown.append(standing[at])
    return [line for line in shown if line.text]


def draw(lines: list[Line], command: str) -> str:
    """Return the SVG."""
    lasts = [line for line in lines if line.end is None]
    rows = max(line.row for line in lasts) + 2
    over = max(line.begin for line in lines)
    speed = max(1.0, over / _LONGEST_SECONDS)
    whole = _TYPING_SECONDS + over / speed + _STILL_SECONDS

    def at(moment: float) -> float:
        return 100 * (_TYPING_SECONDS + moment / speed) / whole

    width, height = COLUMNS * _CELL_W + 2 * _MARGIN, rows * _CELL_H + _MARGIN + _TITLE
    body, rules = [], []
    for line in _thinned(lines, _FRAME_SECONDS * speed):
        name = f"l{len(rules)}"
        gone = "" if line.end is None else f"{at(line.end):.2f}%{{visibility:hidden}}"
        frames = f"0%{{visibility:hidden}}{at(line.begin):.2f}%{{visibility:visible}}{gone}"
        rules.append(
            f"@keyframes {name}{{{frames}}}.{name}{{animation:{name} {whole:.1f}s step-end infinite}}"
        )
        kind = name if line.end is None else f"{name} m"
        body.append(f'<g class="{kind}">{_cells(line.text, line.row + 1)}</g>')
    prompt = _text("$", 0, 0, _GREEN) + _text(command, 0, 2, _INK)
    faster = f", played {speed:.1f} times as fast" if speed > 1.05 else ""
    story = f"A terminal in which {command} runs{faster}. It ends with: " + "; ".join(
        " ".join(line.text.split()) for line in sorted(lasts, key=lambda line: line.row)
    )
    dots = "".join(
        f'<circle cx="{_MARGIN + 6 + 18 * i}" cy="17" r="5" fill="{colour}"/>'
        for i, colour in enumerate(("#e0685d", "#e3b04b", "#69b36b"))
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
            f'width="{width:.0f}" role="img">',
            f"<title>{escape(story)}</title>",
            "<style>text{white-space:pre}.m{visibility:hidden}",
            f"@media (prefers-reduced-motion:no-preference){{{''.join(rules)}}}</style>",
            f'<rect x=".5" y=".5" width="{width - 1:.0f}" height="{height - 1:.0f}" rx="9" fill="{_PAPER}" '
            f'stroke="{_FRAME}"/>{dots}',
            "<g font-family=\"ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono','Liberation Mono',"
            f'monospace" font-size="{_SIZE}">',
            prompt,
            *body,
            "</g></svg>",
        ]
    )


def _thinned(lines: list[Line], least: float) -> list[Line]:
    """Return the lines without those that stood for less than `least` seconds; the one before stays longer."""
    kept: list[Line] = []
    last: dict[int, Line] = {}
    for line in sorted(lines, key=lambda line: line.begin):
        before = last.get(line.row)
        short = line.end is not None and line.end - line.begin < least
        if short and before is not None and line.begin - before.begin < least:
            before.end = line.end
            continue
        kept.append(line)
        last[line.row] = line
    return kept


def _cells(text: str, row: int) -> str:
    """Draw a line: the blocks of a bar as a rectangle, which looks the same with any font."""
    drawn = []
    for piece in re.finditer(r"[█▏▎▍▌▋▊▉]+|[^█▏▎▍▌▋▊▉]+", text):
        if piece[0][0] in _EIGHTHS[1:]:
            eighths = sum(_EIGHTHS.index(block) for block in piece[0])
            left, top = _MARGIN + piece.start() * _CELL_W, _TITLE + row * _CELL_H + 3
            size = f'width="{eighths / 8 * _CELL_W:.1f}" height="{_CELL_H - 7}"'
            drawn.append(f'<rect x="{left:.1f}" y="{top}" {size} fill="{_GREEN}"/>')
            continue
        # Each word by itself, at its column: a font with other widths must not tear the table apart.
        words = re.finditer(r"\S+(?: \S+)*", piece[0])
        drawn += [_text(word[0], row, piece.start() + word.start(), _INK) for word in words]
    return "".join(drawn)


def _text(text: str, row: int, column: int, colour: str) -> str:
    left, base = _MARGIN + column * _CELL_W, _TITLE + row * _CELL_H + 14
    length = f'textLength="{len(text) * _CELL_W:.1f}"'
    return f'<text x="{left:.1f}" y="{base}" {length} fill="{colour}">{escape(text)}</text>'


def main() -> None:
    """Record the demo and write its picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--command", default=COMMAND, help="what to record")
    parser.add_argument("--to", type=Path, default=ASSETS / "train.svg", help="the file to write")
    given = parser.parse_args()
    given.to.parent.mkdir(parents=True, exist_ok=True)
    given.to.write_text(draw(play(record(given.command)), given.command) + "\n", encoding="utf-8")
    print(f"wrote {given.to}")


if __name__ == "__main__":
    main()
