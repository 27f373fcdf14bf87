"""The examples of the README and of these pages: found, run in page order, and compared with what is shown.

A fenced block is an example if its language is one of these:

    console   `$ command` lines, each followed by what it prints; `^C` in it: SIGINT is sent there, a line `...`
              stands for any lines
    bash      commands whose output is not shown
    python    the blocks of a page are one program, as in a notebook; a `text` block right after one is what
              it prints
    toml      a pipeline, or a part of one; of the title `tui.toml`, settings of the cockpit

A block with `title="path"` is that file, and is written before what follows it. HTML comments on the line before a
block change that:

    <!-- not run: reason -->             it is shown only
    <!-- given: photo.jpg, pictures/ --> a picture of that name, or a folder of pictures by class, is there; an
                                         archive (.tar.gz) of pictures too, where there are real ones

Run as a program, it runs the examples of the pages it is given and writes what they print into the pages
anew, where that differs in more than its numbers. Pages that `outputs.py` fills are its own to write.
"""

from __future__ import annotations

import json
import os
import re
import selectors
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
#: The run that the pages speak of; it is trained once, and every page is given a copy of it.
DEMO = "birdplane train demo"
#: What the file of the cockpit's settings is called.
SETTINGS = "tui.toml"
_SECONDS = 240
_FENCE = re.compile(r"(?P<indent> *)(?P<ticks>```+)(?P<language>[a-z]*) *(?P<info>.*)")
_COMMENT = re.compile(r"\s*<!-- (?P<what>not run|given): (?P<text>.*?) -->\s*")
_TITLE = re.compile(r'title="([^"]+)"')


@dataclass(frozen=True)
class Block:
    """One fenced block: the number of its first line and its lines, without indentation."""

    line: int
    language: str
    lines: tuple[str, ...]
    title: str = ""
    not_run: str = ""
    given: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        return "\n".join(self.lines) + "\n"


@dataclass(frozen=True)
class Command:
    """A command of a console block and the lines shown below it; `first` counts those from the block's first."""

    text: str
    shown: tuple[str, ...]
    first: int


def blocks(markdown: str) -> list[Block]:
    """Return the fenced blocks of a page."""
    found: list[Block] = []
    lines = markdown.splitlines()
    at = 0
    comments: dict[str, str] = {}
    while at < len(lines):
        comment, fence = _COMMENT.fullmatch(lines[at]), _FENCE.fullmatch(lines[at])
        if comment:
            comments[comment["what"]] = comment["text"]
        elif fence:
            end = next(i for i in range(at + 1, len(lines)) if lines[i].strip() == fence["ticks"])
            body = tuple(line.removeprefix(fence["indent"]) for line in lines[at + 1 : end])
            title = _TITLE.search(fence["info"])
            given = tuple(name.strip() for name in comments.get("given", "").split(",") if name.strip())
            found.append(
                Block(
                    line=at + 1,
                    language=fence["language"],
                    lines=body,
                    title=title[1] if title else "",
                    not_run=comments.get("not run", ""),
                    given=given,
                )
            )
            comments, at = {}, end
        elif lines[at].strip():
            comments = {}
        at += 1
    return found


def commands(block: Block) -> list[Command]:
    """Return the commands of a console block; a command that ends in a backslash goes on in the next line."""
    found: list[Command] = []
    at = 0
    while at < len(block.lines):
        if not block.lines[at].startswith("$ "):
            raise ValueError(f"line {block.line + at + 1}: a console block begins with `$ command`")
        text = block.lines[at][2:]
        at += 1
        while text.endswith("\\"):
            text = f"{text[:-1].rstrip()} {block.lines[at].removeprefix('>').strip()}"
            at += 1
        begin = at
        while at < len(block.lines) and not block.lines[at].startswith("$ "):
            at += 1
        found.append(Command(text, block.lines[begin:at], begin))
    return found


# --- running them -----------------------------------------------------------------------------------------


@dataclass
class Place:
    """A folder in which a page's examples are run, with the runs and the cache of birdplane in it."""

    folder: Path
    #: In CIFAR-10's layout, with other pictures; None where there are none to make it of.
    archive: Path | None = None
    path: list[Path] = field(default_factory=list)
    background: bool = False
    #: The folder of an environment's programs, where pip is to install in earnest; None: it is only as if.
    programs: Path | None = None

    @property
    def environment(self) -> dict[str, str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith("BIRDPLANE_")}
        programs = self.programs or Path(sys.executable).parent
        return {
            **own,
            "BIRDPLANE_CACHE": str(self.folder / ".cache"),
            "CUDA_VISIBLE_DEVICES": "",
            "COLUMNS": "100",
            "TERM": "dumb",
            "NO_COLOR": "1",
            "PYTHONIOENCODING": "utf-8",
            "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', '')}",
            "PYTHONPATH": os.pathsep.join(map(str, self.path)),
        }

    def run(self, command: Command) -> tuple[list[str], int]:
        """Run a command of a console block; return what it printed and its exit status."""
        words = command.text.split()
        if words[:2] == ["pip", "install"] and self.programs is None:
            self._install(self.folder / words[-1])
            return list(command.shown), 0
        if "^C" in command.shown:
            return self._interrupted(command)
        done = self._shell(command.text)
        deadline = time.monotonic() + _SECONDS
        while done.returncode and self.background and time.monotonic() < deadline:
            # A person would not type it before what is in the background has begun.
            time.sleep(0.5)
            done = self._shell(command.text)
        self.background = self.background or command.text.endswith("&")
        return self._told(done.stdout + done.stderr), done.returncode

    def _told(self, text: str) -> list[str]:
        """Return the lines with the cache where it is on a reader's machine, if that is Linux."""
        return text.replace(str(self.folder / ".cache"), "~/.cache/birdplane").splitlines()

    def _shell(self, text: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", text],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )

    def _interrupted(self, command: Command) -> tuple[list[str], int]:
        """Send SIGINT when the line has been printed that is shown before `^C`."""
        last = masked(command.shown[command.shown.index("^C") - 1])
        printed: list[str] = []
        with subprocess.Popen(
            shlex.split(command.text),
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            assert process.stdout is not None
            for line in _until(process.stdout, time.monotonic() + _SECONDS):
                printed.append(line)
                if masked(line) == last and "^C" not in printed:
                    process.send_signal(signal.SIGINT)
                    printed.append("^C")
            return printed, process.wait(_SECONDS)

    def give(self, name: str) -> bool:
        """Put a picture there, or a folder of pictures by class, or the archive; return whether it is there."""
        if name.endswith(".tar.gz"):
            if self.archive is not None:
                shutil.copy(self.archive, self.folder / name)
            return self.archive is not None
        from birdplane_builtin.sketches import Sketches

        drawn = Sketches(split="train", train=120)
        target = self.folder / name
        if not name.endswith("/"):
            drawn[1][0].resize((96, 64)).save(target)
            return True
        for index in range(len(drawn)):
            picture, label = drawn[index]
            file = target / drawn.classes[label] / f"{index:03d}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            picture.resize((48, 40)).save(file)
        return True

    def _install(self, project: Path) -> None:
        """Do what an editable install does, without its build tools: code and entry points on the path."""
        about = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        name = about["name"].replace("-", "_")
        record = project / ".installed" / f"{name}-{about['version']}.dist-info"
        record.mkdir(parents=True)
        (record / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {about['name']}\nVersion: {about['version']}\n"
        )
        groups = about["entry-points"].items()
        points = "".join(
            f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in named.items())
            for group, named in groups
        )
        (record / "entry_points.txt").write_text(points)
        self.path += [project / "src" if (project / "src").is_dir() else project, record.parent]


#: Printed after each block that a notebook has run.
_MARK = "\x00"
_CELLS = """
import json, sys
for _cell in sys.stdin:
    exec(compile(json.loads(_cell), "<block>", "exec"), globals())
    print("\\0", flush=True)
"""


class Notebook:
    """A Python process in which blocks are run one after the other. As a context, it is ended on the way out."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Notebook:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            with self._process:
                self._process.kill()

    def run(self, block: str) -> tuple[list[str], int]:
        """Run a block; return what it printed, and the exit status: that of the process if it ends there, else 0."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-u", "-c", _CELLS],
                cwd=self._place.folder,
                env=self._place.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(block) + "\n")
        self._process.stdin.flush()
        printed: list[str] = []
        late = threading.Timer(_SECONDS, self._process.kill)
        late.start()
        try:
            for line in self._process.stdout:
                text, mark, _ = line.rstrip("\n").partition(_MARK)
                printed += [text] if text or not mark else []
                if mark:
                    return printed, 0
        finally:
            late.cancel()
        return printed, self._process.wait()


def _until(stream: object, deadline: float) -> Iterator[str]:
    """Yield lines; give up at the deadline."""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)  # type: ignore[arg-type]
        while selector.select(max(0.0, deadline - time.monotonic())):
            line = stream.readline()  # type: ignore[attr-defined]
            if not line:
                return
            yield line.rstrip("\n")
    raise TimeoutError("it neither ends nor prints anything")


# --- comparing --------------------------------------------------------------------------------------------

_MASKS = [
    (re.compile(r"[░▒▓█](?=\d)"), " "),
    (re.compile(r"[█▏▎▍▌▋▊▉]+ *"), "█ "),
    (re.compile(r"#{2,} *"), "█ "),
    (re.compile(r"\b(now|\d+ (s|min|h) ago)$"), "AGO"),
    (re.compile(r"\d+:\d\d(:\d\d)? (min|h)\b|\d+(\.\d+)? (ms|s)\b"), "TIME"),
    (re.compile(r"[-+]?\d[\d,]*(\.\d*)?(e[-+]?\d+)?"), "0"),
    (re.compile(r"\b(cpu|mps)\b"), "cpu"),
    (re.compile(r"[-─━═+│┃|]{3,}"), "-"),
    (re.compile(r"\s+"), " "),
]


def masked(line: str) -> str:
    """Return the line without what differs from run to run: numbers, times, the lengths of bars, widths."""
    for pattern, instead in _MASKS:
        line = pattern.sub(instead, line)
    return line.strip()


def difference(shown: Sequence[str], printed: Sequence[str]) -> str:
    """Return what is shown and was not printed, or the other way round; an empty string if they agree.

    Numbers are not compared, nor empty lines. A line `...` stands for any lines. Alerts (`  ! ...`) depend on the
    machine and may be printed without being shown.
    """
    want = [masked(line) if line.strip() != "..." else "..." for line in shown if line.strip()]
    have = [masked(line) for line in printed if line.strip()]
    alerts = {line for line in want if line.startswith("! ")}
    have = [line for line in have if not line.startswith("! ") or line in alerts]
    return _difference(want, have)


def _difference(want: list[str], have: list[str]) -> str:
    at = 0
    anywhere = False
    for line in want:
        if line == "...":
            anywhere = True
            continue
        here = next((i for i in range(at, len(have)) if have[i] == line), None) if anywhere else at
        if here is None or here >= len(have) or have[here] != line:
            found = have[at] if at < len(have) else "the end"
            return f"shown: {line!r}; printed: {found!r}"
        at, anywhere = here + 1, False
    return "" if anywhere or at >= len(have) else f"printed, but not shown: {have[at]!r}"


def placed(shown: Sequence[str], printed: Sequence[str]) -> list[str]:
    """Return what is shown as it was printed now; where there is a `...`, it and what it leaves out stay out.

    They must agree: `difference` finds nothing.
    """
    if not any(line.strip() == "..." for line in shown):
        return [line.rstrip() for line in printed]
    lines, at = [], 0
    for line in shown:
        if line.strip() not in ("", "...", "^C"):
            same = [i for i in range(at, len(printed)) if masked(printed[i]) == masked(line)]
            # Of many that differ in numbers alone, as epochs do, it is the one that begins with the same one.
            here = next((i for i in same if printed[i].split()[0] == line.split()[0]), same[0])
            lines.append(printed[here].rstrip())
            at = here + 1
        else:
            lines.append(line)
    return lines


# --- a page -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Printed:
    """What an example printed: the numbers of its block and of its command there, the lines, the exit status."""

    block: int
    command: int
    lines: tuple[str, ...]
    status: int


@dataclass(frozen=True)
class Outcome:
    """What became of an example: where it stands, what it printed, and what is wrong, if anything."""

    page: Path
    line: int
    text: str
    shown: tuple[str, ...]
    printed: tuple[str, ...]
    trouble: str = ""
    #: The lines of the page that hold `shown`, counted from 0.
    span: tuple[int, int] = (0, 0)

    def __str__(self) -> str:
        printed = "\n    ".join(self.printed[-25:])
        return f"{self.page.name}:{self.line}: {self.text}\n  {self.trouble}\n  it printed:\n    {printed}"


def run_page(page: Path, place: Place, demo: tuple[Path, list[str]] | None = None) -> Iterator[Outcome]:
    """Run the examples of a page in their order, and compare what they print with what it shows.

    `demo` is the folder of the run `demo-1` and what its training printed: a page that speaks of it has it.
    """
    markdown = page.read_text(encoding="utf-8")
    for printed in run(markdown, place, demo):
        yield compared(page, blocks(markdown), printed)


def run(markdown: str, place: Place, demo: tuple[Path, list[str]] | None = None) -> Iterator[Printed]:
    """Run the examples of a page in their order. After a Python block that fails no other is run."""
    if demo is not None and "demo-1" in markdown:
        shutil.copytree(demo[0], place.folder / "runs" / "demo-1")
    with Notebook(place) as notebook:
        ended = False
        for number, block in enumerate(blocks(markdown)):
            if block.not_run or not all(place.give(name) for name in block.given):
                continue
            if block.title:
                file = place.folder / block.title
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(block.text, encoding="utf-8")
            elif block.language in ("console", "bash"):
                yield from _commands_of(number, block, place, demo)
            elif block.language == "python" and not ended:
                lines, status = notebook.run(block.text)
                ended = status != 0
                yield Printed(number, 0, tuple(lines), status)


def _commands_of(
    number: int, block: Block, place: Place, demo: tuple[Path, list[str]] | None
) -> Iterator[Printed]:
    for index, command in enumerate(_typed(block)):
        if demo is not None and command.text == DEMO:
            lines, status = demo[1], 0
        else:
            lines, status = place.run(command)
        yield Printed(number, index, tuple(lines), status)


def _typed(block: Block) -> list[Command]:
    return commands(block) if block.language == "console" else [Command(block.text, (), 0)]


def compared(page: Path, found: list[Block], printed: Printed) -> Outcome:
    """Return what became of an example, by what the page shows of it; `found` are the page's blocks."""
    block = found[printed.block]
    if block.language == "python":
        return _cell_compared(page, found, printed)
    command = _typed(block)[printed.command]
    shows = block.language == "console"
    expected = {0, 130} if "^C" in command.shown else {0}
    if any(line.startswith("error: ") for line in command.shown):
        expected = {1, 2}
    trouble = difference(command.shown, printed.lines) if shows else ""
    if printed.status not in expected:
        trouble = f"exit status {printed.status}"
    first = block.line + command.first
    span = (first, first + len(command.shown)) if shows else (0, 0)
    return Outcome(page, block.line, command.text, command.shown, printed.lines, trouble, span)


def _cell_compared(page: Path, found: list[Block], printed: Printed) -> Outcome:
    after = found[printed.block + 1] if printed.block + 1 < len(found) else None
    shown: tuple[str, ...] = ()
    span = (0, 0)
    trouble = f"exit status {printed.status}" if printed.status else ""
    if after is not None and after.language == "text" and not after.not_run:
        shown, span = after.lines, (after.line, after.line + len(after.lines))
        trouble = trouble or difference(shown, printed.lines)
    line = found[printed.block].line
    return Outcome(page, line, "a Python block", shown, printed.lines, trouble, span)


def fragment_problems(block: Block) -> list[str]:
    """Return what is wrong with a TOML block as a pipeline; a part of one is laid over the recipe `demo`."""
    from birdplane.pipeline import SECTIONS, Pipeline

    part = tomllib.loads(block.text)
    if "project" in part:
        return []
    if block.title == SETTINGS:
        return _settings_problems(part)
    whole = Pipeline.load("demo").document
    if {"dataset", "model", "loss", "optimizer"} <= part.keys():
        whole = {}
    unknown = [key for key in part if key not in (*SECTIONS, "seed")]
    return [f"no section {key}" for key in unknown] or [
        str(p) for p in Pipeline({**whole, **part}).problems()
    ]


def _settings_problems(part: dict[str, object]) -> list[str]:
    from birdplane.errors import UsageError
    from birdplane.params import Signature
    from birdplane.tui.settings import Settings

    try:
        Signature(Settings, frozenset(), "settings").validate(part, "")
    except UsageError as error:
        return [str(error)]
    return []


def train_demo(folder: Path) -> tuple[Path, list[str]]:
    """Train the demo in a folder; return its run and what was printed."""
    printed, status = Place(folder).run(Command(DEMO, (), 0))
    if status:
        raise RuntimeError("\n".join(printed))
    return folder / "runs" / "demo-1", printed


def refresh(pages: list[Path], folder: Path) -> None:
    """Run the pages and write into them what their examples print, where it is not what is shown."""
    demo = train_demo(folder)
    for page in pages:
        here = folder / page.stem
        here.mkdir()
        outcomes = list(run_page(page, Place(here), demo))
        lines = page.read_text(encoding="utf-8").splitlines()
        for outcome in sorted(outcomes, key=lambda outcome: outcome.span, reverse=True):
            if outcome.trouble:
                print(outcome)
            if outcome.trouble.startswith(("shown", "printed")) and "..." not in outcome.shown:
                lines[slice(*outcome.span)] = [line.rstrip() for line in outcome.printed]
        page.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as temporary:
        refresh([Path(name).resolve() for name in sys.argv[1:]] or PAGES, Path(temporary))
