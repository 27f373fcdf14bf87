"""What plugins do wrong, each as an installed distribution: it is told once, and everything else goes on working."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from birdplane import listeners
from birdplane.events import Alert
from birdplane.plugins import load_plugins
from birdplane.quarantine import Verdict
from birdplane.runs import Run

Write = Callable[..., Path]

#: A plugin's hook, and the name of what it brings.
COMPONENTS = """
from birdplane import Transform, hookimpl
@hookimpl
def birdplane_components():
    return [Transform(name="fine", target="good_module:fine", summary="Leaves it as it is.")]
"""
NEIGHBOUR = (
    COMPONENTS
    + """
def fine():
    return lambda images_NCHW: images_NCHW
@hookimpl
def birdplane_commands(app):
    @app.command()
    def greet():
        print("good day")
"""
)


@dataclass(frozen=True)
class Wrong:
    """A plugin that misbehaves: its source, and what `list-plugins` is to say of it."""

    source: str
    reason: str = ""
    status: str = "broken"
    note: str = ""


def _brings(line: str) -> str:
    return f"from birdplane import *\n@hookimpl\ndef birdplane_components():\n    {line}\n"


def _prepared(line: str) -> str:
    """A plugin that works, once this line was run at its import."""
    return f"{line}\n{COMPONENTS}"


WRONG = {
    "raises": Wrong("raise RuntimeError('no luck')", "RuntimeError: no luck"),
    "exits": Wrong("raise SystemExit('bye')", "SystemExit: bye"),
    "interrupts": Wrong("raise KeyboardInterrupt('mine')", "KeyboardInterrupt: mine"),
    "ends-for-good": Wrong("import os; os._exit(3)", "ends the process when imported (exit status 3)"),
    "dies": Wrong(
        "import os, signal; os.kill(os.getpid(), signal.SIGABRT)", "ends the process when imported (SIGABRT)"
    ),
    "never-ends": Wrong("while True: pass", "did not finish importing within 3 s"),
    "needs-more": Wrong(
        "import no_such_package_at_all",
        "ModuleNotFoundError: No module named 'no_such_package_at_all': perhaps python -m pip install no-such",
    ),
    "has-no-hooks": Wrong("x = 1", "not a plugin: 'has_no_hooks_module' implements none of birdplane_components"),
    "forgets-hookimpl": Wrong(
        "def birdplane_components(): return []", "birdplane_components lacks the decorator @birdplane.hookimpl"
    ),
    "takes-more": Wrong(
        "from birdplane import hookimpl\n@hookimpl\ndef birdplane_event(run, event, colour): ...",
        "birdplane_event takes (run, event) in this birdplane 0.1.0, not (run, event, colour)",
        "incompatible",
    ),
    "paints": Wrong(
        "from birdplane import hookimpl\n@hookimpl\ndef birdplane_paint(canvas): ...",
        "it implements birdplane_paint, which this birdplane 0.1.0 does not have",
        "incompatible",
    ),
    "paints-if-it-can": Wrong(
        COMPONENTS + "@hookimpl(optionalhook=True)\ndef birdplane_paint(canvas): ...\n", status="ok"
    ),
    "is-newer": Wrong(
        "from birdplane import Robot", "ImportError: cannot import name 'Robot' from 'birdplane'", "incompatible"
    ),
    "returns-a-number": Wrong(_brings("return 3"), "TypeError: 'int' object is not iterable"),
    "returns-texts": Wrong(
        _brings("return ['fine']"), "TypeError: birdplane_components returned 'fine', which is no component"
    ),
    "returns-nothing": Wrong(_brings("pass"), "TypeError: birdplane_components returned None, not components"),
    "returns-one": Wrong(
        _brings("return Transform(name='one', target=abs)"),
        "TypeError: birdplane_components returned a Transform, not a list",
    ),
    "has-no-text": Wrong(
        _brings("return [Transform(name='one', target=abs, summary=None)]"),
        "TypeError: the summary of 'one' is None, not text",
    ),
    "raises-halfway": Wrong(
        _brings("yield Transform(name='one', target=abs); raise KeyError('two')"), "KeyError: 'two'"
    ),
    "never-stops": Wrong(
        _brings("from itertools import count; yield from (Transform(name=f't{n}', target=abs) for n in count())"),
        "ValueError: it brings more than 10,000 components",
    ),
    "leaves-in-a-hook": Wrong(_brings("raise SystemExit('out')"), "SystemExit: out"),
    "brings-two": Wrong(
        _brings("return [Transform(name='one', target=abs), Transform(name='one', target=abs)]"),
        "ValueError: it brings two transforms named 'one'",
    ),
    "birdplane": Wrong(COMPONENTS, "the name 'birdplane' is birdplane's own"),
    "asks-too-early": Wrong(
        "from birdplane import models; models.names()",
        "BirdplaneError: a plugin must not ask for components or plugins while it is imported",
    ),
    "cannot-be-shown": Wrong(
        "class Odd(Exception):\n    def __str__(self): raise ValueError\nraise Odd",
        "Odd: its text cannot be shown",
    ),
    "prints": Wrong(
        _prepared("import os; print('hello', flush=True); os.system('echo from a child')"),
        status="ok",
        note="prints: hello",
    ),
    "logs": Wrong(
        _prepared("import logging, sys; logging.basicConfig(stream=sys.stdout, level=0); logging.error('log')"),
        status="ok",
        note="prints: ERROR:root:log",
    ),
    "seeds": Wrong(
        _prepared("import random; random.seed(0)"),
        status="ok",
        note="changes the global random state, which was set back",
    ),
    "moves": Wrong(
        _prepared("import os; os.chdir('/')"), status="ok", note="changes the working folder, which was set back"
    ),
    "takes-signals": Wrong(
        _prepared("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)"),
        status="ok",
        note="changes the handler of SIGTERM, which was set back",
    ),
    "sets-variables": Wrong(
        _prepared("import os; os.environ['BIRDPLANE_RUNS'] = '/nowhere'"),
        status="ok",
        note="changes the variable BIRDPLANE_RUNS, which was set back",
    ),
    "comes-first": Wrong(
        _prepared("import sys; sys.path.insert(0, '/nowhere')"),
        status="ok",
        note="changes sys.path; what it added was put last",
    ),
    "silences": Wrong(
        _prepared("import warnings; warnings.simplefilter('ignore')"),
        status="ok",
        note="changes the filters of warnings, which were set back",
    ),
    "hides": Wrong(
        _brings("return [Model(name='fully-connected', target=abs)]"),
        status="ok",
        note="its model 'fully-connected' must be called 'hides/fully-connected': the bare name is birdplane's own",
    ),
    "claims-what-is-ours": Wrong(
        "from typing import Annotated\nfrom annotated_types import Ge\nfrom birdplane import *\n"
        "def claims(*, input_shape, num_classes: Annotated[int, Ge(2)] = 3): ...\n"
        + _brings("return [Model(name='claims', target=claims)]"),
        status="ok",
    ),
    "cannot-be-read": Wrong(
        "class Unreadable:\n    __signature__ = 3\n    def __call__(self): ...\n"
        + _brings("return [Loss(name='unreadable', target=Unreadable())]"),
        status="ok",
    ),
    "commands-fail": Wrong(
        "from birdplane import hookimpl\n@hookimpl\ndef birdplane_commands(app): raise SystemExit('no')",
        "its commands are missing: SystemExit: no",
    ),
    "replaces-train": Wrong(
        "from birdplane import hookimpl\n@hookimpl\ndef birdplane_commands(app):\n"
        "    @app.command()\n    def train(): print('mine')\n",
        "its command 'train' is left out: that name is birdplane's own",
    ),
    "has-an-odd-command": Wrong(
        "from birdplane import hookimpl\n@hookimpl\ndef birdplane_commands(app):\n"
        "    @app.command()\n    def odd(x: 'NoSuchType'): ...\n",
        "its command 'odd' cannot be built: NameError: name 'NoSuchType' is not defined",
    ),
    "fails-on-events": Wrong(
        "from birdplane import hookimpl\n@hookimpl\ndef birdplane_event(run, event): raise SystemExit('full')",
        status="ok",
    ),
    "hangs-on-events": Wrong(
        "import time\nfrom birdplane import hookimpl\n@hookimpl\ndef birdplane_event(run, event):\n"
        "    print('heard', event.event)\n    time.sleep(1.3 * (event.event == 'epoch'))\n",
        status="ok",
    ),
    "meddles-on-events": Wrong(
        "from birdplane import hookimpl\n@hookimpl\ndef birdplane_event(run, event):\n"
        "    import os, torch\n    os.chdir('/'); torch.manual_seed(0)\n",
        status="ok",
    ),
}  # fmt: skip
#: What is not said before a command needs it, and is no trouble of the plugin's as a whole.
QUIET = [name for name, wrong in WRONG.items() if wrong.status == "ok"]


@dataclass
class Place:
    """A folder of installed plugins, and a cache of its own for what is known of them."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def site(self) -> Path:
        return self.folder / "site"

    @property
    def verdicts(self) -> Path:
        return self.folder / "cache" / "plugins.json"

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "PYTHONPATH": str(self.site),
            "BIRDPLANE_CACHE": str(self.folder / "cache"),
            "BIRDPLANE_PLUGIN_SECONDS": "3",
            **self.variables,
        }

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "birdplane", *map(str, arguments)],
            cwd=self.folder, env=self.environment(), capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    def plugins(self, *arguments: str) -> dict[str, dict[str, object]]:
        ran = self.run("list-plugins", "--json", *arguments)
        assert ran.returncode == 0, ran.stderr
        return {plugin["name"]: plugin for plugin in json.loads(ran.stdout)}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory, write_plugin: Write) -> Place:
    """Every wrong plugin at once, and between them one that is as it should be."""
    place = Place(tmp_path_factory.mktemp("crowd"))
    for name, wrong in WRONG.items():
        write_plugin(place.site, name, wrong.source, package=f"package-{name}")
    write_plugin(place.site, "good", NEIGHBOUR)
    place.run("list-plugins")  # tried apart here, once
    return place


@pytest.fixture(scope="module")
def listed(crowd: Place) -> dict[str, dict[str, object]]:
    return crowd.plugins()


# --- all of them at once ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WRONG)
def test_what_a_plugin_does_wrong_is_told_with_its_package(
    name: str, listed: dict[str, dict[str, object]]
) -> None:
    wrong, found = WRONG[name], listed[name]
    assert (found["package"], found["version"], found["status"]) == (f"package-{name}", "1.2", wrong.status)
    assert str(found["reason"]).startswith(wrong.reason)
    assert bool(found["reason"]) == bool(wrong.reason)
    notes = found["notes"]
    assert isinstance(notes, list)
    assert [note for note in notes if note.startswith(wrong.note)] == notes
    assert bool(notes) == bool(wrong.note)


def test_the_table_names_each_once_and_has_nothing_on_stderr(crowd: Place) -> None:
    ran = crowd.run("list-plugins")
    assert (ran.returncode, [line for line in ran.stderr.splitlines() if line != "from a child"]) == (0, [])
    for name, wrong in WRONG.items():
        (row,) = [line for line in ran.stdout.splitlines() if f" package-{name} " in line]
        assert row.split()[:4] == [name, "1.2", f"package-{name}", wrong.status]
        assert wrong.reason in row
        assert wrong.note in ran.stdout
    (good,) = [line for line in ran.stdout.splitlines() if line.startswith("good ")]
    assert good.endswith("1 transform, adds commands")


def test_two_packages_that_bring_plugins_of_one_name_are_told_apart_and_hide_no_other(
    place: Place, write_plugin: Write
) -> None:
    for number in ("one", "two"):
        write_plugin(place.site, "same", NEIGHBOUR, package=f"package-{number}")
    write_plugin(place.site, "good", COMPONENTS + "def fine(): ...\n")
    rows = [
        line.split() for line in place.run("list-plugins").stdout.splitlines() if line.startswith("same ")
    ]
    assert sorted(row[3] for row in rows) == ["broken", "ok"]
    (winner,) = [row[2] for row in rows if row[3] == "ok"]
    ran = place.run("list", "transforms", "--json")
    assert {"good/fine", "same/fine"} <= {entry["name"] for entry in json.loads(ran.stdout)}
    assert (
        ran.stderr.count(f"is broken: the name is taken by {winner} 1.2") == len(ran.stderr.splitlines()) == 1
    )


def test_the_lists_have_what_the_others_bring_and_each_reason_is_on_stderr_once(crowd: Place) -> None:
    ran = crowd.run("list", "transforms", "--json")
    assert ran.returncode == 0
    names = [entry["name"] for entry in json.loads(ran.stdout)]
    assert {"good/fine", "to-tensor", "prints/fine", "moves/fine"} <= set(names)
    for name, wrong in WRONG.items():
        told = [line for line in ran.stderr.splitlines() if f"of package-{name} " in line]
        assert [line for line in told if wrong.reason and wrong.reason in line] == told
        assert len(told) == (0 if name in QUIET else 1)


def test_a_neighbours_command_works_and_birdplanes_own_are_not_replaced(crowd: Place) -> None:
    assert crowd.run("greet").stdout == "good day\n"
    assert "Train a pipeline" in crowd.run("train", "--help").stdout


def test_the_demo_trains_whatever_hooks_do_and_alerts_name_them_once(crowd: Place) -> None:
    small = (
        "dataset.train=64",
        "dataset.test=32",
        "training.epochs=3",
        "training.batch_size=16",
        "training.device=cpu",
    )
    ran = crowd.run(
        "train", "demo", "--runs", crowd.folder / "runs", "--run", "r", "--json",
        *[word for setting in small for word in ("--set", setting)],
        "--set", "transforms=['to-tensor', 'good/fine']",
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    for name, wrong in WRONG.items():
        told = [line for line in ran.stderr.splitlines() if f"of package-{name} " in line]
        assert len(told) == (0 if name in QUIET else 1), wrong
    events = [json.loads(line) for line in ran.stdout.splitlines()]
    alerts = [event["message"] for event in events if event["event"] == "alert" and event["kind"] == "plugin"]
    assert sorted(alerts) == [
        "the plugin 'fails-on-events' of package-fails-on-events 1.2 failed on an event: SystemExit: full",
        "the plugin 'hangs-on-events' of package-hangs-on-events 1.2 takes more than 1 s to hear of an event; "
        "the training does not wait for it any longer",
        "the plugin 'meddles-on-events' of package-meddles-on-events 1.2 changes the global random state, "
        "which was set back (while hearing of an event)",
        "the plugin 'meddles-on-events' of package-meddles-on-events 1.2 changes the working folder, "
        "which was set back (while hearing of an event)",
    ]
    run = Run(crowd.folder / "runs" / "r")
    assert run.status().state == "done"
    assert len([event for event in run.events([Alert]) if event.kind == "plugin"]) == len(alerts)
    # The one that hangs hears of everything all the same, and prints nothing where JSON is expected.
    assert [ran.stderr.count(f"heard {kind}") for kind in ("epoch", "end")] == [3, 1]


@pytest.mark.parametrize(
    ("name", "way", "spelling"),
    [
        ("ends-for-good", "variable", "ends_for_good"),
        ("ends-for-good", "option", "ends_for_good"),
        ("ends_for_good", "option", "ends-for-good"),
        ("ends_for_good", "variable", "ends-for-good"),
        ("ends-for-good", "option=", "*"),
    ],
)
def test_one_that_is_blocked_is_neither_tried_nor_imported(
    place: Place, write_plugin: Write, name: str, way: str, spelling: str
) -> None:
    trace = place.folder / "trace"
    write_plugin(place.site, name, f"open({str(trace)!r}, 'w').close(); import os; os._exit(3)")
    words = {
        "variable": [],
        "option": ["--disable-plugin", spelling],
        "option=": [f"--disable-plugin={spelling}"],
    }[way]
    if way == "variable":
        place.variables["BIRDPLANE_DISABLE_PLUGINS"] = spelling
    ran = place.run(*words, "list-plugins", "--json")
    assert [(p["name"], p["status"]) for p in json.loads(ran.stdout)][1:] == [(name, "disabled")]
    assert not trace.exists()


# --- tried apart ------------------------------------------------------------------------------------------


def test_a_verdict_is_kept_until_the_plugin_changes(place: Place, write_plugin: Write) -> None:
    counted = f"import os\nwith open({str(place.folder / 'trace')!r}, 'a') as f: f.write('x')\n"
    write_plugin(place.site, "new", counted + "os._exit(3)")
    for _ in range(2):
        assert place.plugins()["new"]["status"] == "broken"
    assert (place.folder / "trace").read_text() == "x"
    (place.site / "new_module.py").write_text(counted + COMPONENTS)
    assert place.plugins()["new"]["status"] == "ok"
    assert (place.folder / "trace").read_text() == "xxx"  # apart, and then here
    assert place.plugins()["new"]["status"] == "ok"
    assert (place.folder / "trace").read_text() == "xxxx"


def test_a_change_in_a_file_that_the_plugin_imports_counts_too(place: Place, write_plugin: Write) -> None:
    write_plugin(place.site, "new", "")
    (place.site / "new_module.py").unlink()
    package = place.site / "new_module"
    package.mkdir()
    (package / "__init__.py").write_text("import new_module.parts\n" + COMPONENTS)
    (package / "parts.py").write_text("")
    assert place.plugins()["new"]["status"] == "ok"
    (package / "parts.py").write_text("import os; os._exit(4)")
    assert place.plugins()["new"]["reason"] == "ends the process when imported (exit status 4)"


def test_a_bad_one_is_tried_again_when_asked(place: Place, write_plugin: Write) -> None:
    ready = place.folder / "ready"
    wait = f"import os, time\nwhile not os.path.exists({str(ready)!r}): time.sleep(0.01)\n"
    write_plugin(place.site, "slow", wait + COMPONENTS)
    place.variables["BIRDPLANE_PLUGIN_SECONDS"] = "0.4"
    assert place.plugins()["slow"]["reason"] == "did not finish importing within 0.4 s"
    ready.touch()
    assert place.plugins()["slow"]["status"] == "broken"
    assert place.plugins("--retry")["slow"]["status"] == "ok"


def test_a_verdict_of_too_slow_does_not_hold_for_a_longer_limit() -> None:
    verdict = Verdict("did not finish importing within 2 s", limit=2)
    assert [verdict.holds({}, limit) for limit in (1, 2, 3)] == [True, True, False]


def test_one_that_ends_the_process_late_is_not_put_on_its_neighbour(
    place: Place, write_plugin: Write
) -> None:
    late = "import os, threading; threading.Timer(0.2, os._exit, [3]).start()\n"
    write_plugin(place.site, "a-late", late + COMPONENTS)
    write_plugin(place.site, "b-patient", "import time; time.sleep(0.4)\n" + COMPONENTS)
    place.run("list-plugins")
    verdicts = json.loads(place.verdicts.read_text())["verdicts"]
    assert [record["reason"] for key, record in verdicts.items() if key.startswith("b-patient")] == [""]


@pytest.mark.parametrize("content", ["[", '{"format": 1, "verdicts": {"x": 3}}'])
def test_a_damaged_file_of_verdicts_is_made_anew(place: Place, write_plugin: Write, content: str) -> None:
    write_plugin(place.site, "bad", "import os; os._exit(3)")
    place.verdicts.parent.mkdir()
    place.verdicts.write_text(content)
    assert place.plugins()["bad"]["status"] == "broken"
    assert "exit status 3" in place.verdicts.read_text()


def test_without_a_cache_that_can_be_written_it_is_tried_each_time(place: Place, write_plugin: Write) -> None:
    write_plugin(place.site, "bad", "import os; os._exit(3)")
    (place.folder / "cache").write_text("a file")
    for _ in range(2):
        assert place.plugins()["bad"]["reason"] == "ends the process when imported (exit status 3)"


def test_a_limit_that_is_no_number_is_told(place: Place, write_plugin: Write) -> None:
    write_plugin(place.site, "good", NEIGHBOUR)
    place.variables["BIRDPLANE_PLUGIN_SECONDS"] = "soon"
    ran = place.run("list")
    assert ran.returncode == 2
    assert ran.stderr.startswith("error: BIRDPLANE_PLUGIN_SECONDS: 'soon' is no number of seconds")


@pytest.fixture
def interrupted(place: Place) -> Iterator[Callable[[Path], subprocess.Popen[str]]]:
    """A function that starts birdplane, waits for a file of the plugin's, and presses Ctrl-C."""
    started: list[subprocess.Popen[str]] = []

    def start(ready: Path) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "birdplane", "list-plugins"], cwd=place.folder, env=place.environment(),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        deadline = time.monotonic() + 30
        while not ready.exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("seconds", ["60", "0"], ids=["tried apart", "imported here"])
def test_ctrl_c_ends_birdplane_also_where_the_plugin_swallows_it(
    place: Place, write_plugin: Write, interrupted: Callable[[Path], subprocess.Popen[str]], seconds: str
) -> None:
    ready = place.folder / "ready"
    source = f"""
    import time
    try:
        open({str(ready)!r}, "w").write("ready")
        time.sleep(60)
    except BaseException:
        pass
    """
    write_plugin(place.site, "deaf", source)
    place.variables["BIRDPLANE_PLUGIN_SECONDS"] = seconds
    process = interrupted(ready)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (130, "", "")


# --- what shows when a component is used, or an event heard -----------------------------------------------


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (
            "claims-what-is-ours/claims",
            "model 'claims-what-is-ours/claims': its parameter 'num_classes' has help or bounds as if a user set it",
        ),
        (
            "cannot-be-read/unreadable",
            "loss 'cannot-be-read/unreadable': its signature cannot be read",
        ),
    ],
)
def test_a_component_whose_parameters_cannot_be_had_is_told_with_its_package(
    crowd: Place, name: str, reason: str
) -> None:
    ran = crowd.run("show", name)
    assert ran.returncode == 2
    (line,) = [line for line in ran.stderr.splitlines() if line.startswith("error: ")]
    assert line.startswith(f"error: {reason}")
    assert line.endswith(f"(from package-{name.partition('/')[0]} 1.2)")


#: The module of a component, which is imported when that is used, and what is told of it.
PARTS = """
import logging, os, random, signal, warnings
print("hello")
logging.basicConfig(level=0)
os.chdir("/")
random.seed(0)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.environ["BIRDPLANE_RUNS"] = "/nowhere"
os.environ["MINE"] = "1"
warnings.simplefilter("ignore")
def fine():
    print("built")
    return lambda images_NCHW: images_NCHW
"""
PARTS_CHANGE = (
    "changes the global random state",
    "changes the handler of SIGTERM",
    "changes the variable BIRDPLANE_RUNS",
    "changes the working folder",
)


def test_what_the_module_of_a_component_changes_when_it_is_imported_is_set_back_and_told_once(
    place: Place, write_plugin: Write, tiny_file: Path
) -> None:
    write_plugin(place.site, "odd", COMPONENTS.replace("good_module", "odd_parts"))
    (place.site / "odd_parts.py").write_text(PARTS)
    settings = ["transforms=['to-tensor', 'odd/fine']", "training.epochs=1"]
    ran = place.run("train", tiny_file, "--json", *[word for one in settings for word in ("--set", one)])
    assert ran.returncode == 0, ran.stderr
    assert [json.loads(line)["event"] for line in ran.stdout.splitlines()][-1] == "end"
    assert (place.folder / "runs" / "tiny-1" / "events.jsonl").is_file()
    told = sorted(line for line in ran.stderr.splitlines() if line not in ("hello", "built"))
    assert told == [
        f"warning: the plugin 'odd' of birdplane-odd 1.2 {change}, which was set back "
        "(while transform 'odd/fine' was imported)"
        for change in PARTS_CHANGE
    ]


@pytest.mark.parametrize("raised", ["KeyboardInterrupt('mine')", "SystemExit('out')", "ValueError('no')"])
def test_a_component_whose_module_raises_is_told_with_its_package(
    place: Place, write_plugin: Write, raised: str
) -> None:
    write_plugin(place.site, "odd", COMPONENTS.replace("good_module", "odd_parts"))
    (place.site / "odd_parts.py").write_text(f"raise {raised}")
    ran = place.run("show", "odd/fine")
    kind, text = raised.removesuffix("')").split("('")
    assert (ran.returncode, ran.stderr) == (
        1,
        f"error: transform 'fine': cannot load 'odd_parts:fine': {kind}: {text} (from birdplane-odd 1.2)\n",
    )


def test_a_hook_that_takes_much_of_the_time_is_told_once(
    tmp_path: Path, write_plugin: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = """
    import time
    from birdplane import hookimpl
    @hookimpl
    def birdplane_event(run, event):
        time.sleep(0.02)
    """
    site = write_plugin(tmp_path / "site", "slow-tracker", source)
    monkeypatch.syspath_prepend(site)
    monkeypatch.setattr(listeners, "_JUDGED_AFTER", 0.2)
    points = [p for d in importlib.metadata.distributions(path=[str(site)]) for p in d.entry_points]
    told = listeners.Listeners(load_plugins(entry_points=lambda: points), None)
    sentences = [sentence for number in range(20) for sentence in told.tell(number)]
    assert [re.sub(r"\d+ %", "99 %", sentence) for sentence in sentences] == [
        "the plugin 'slow-tracker' of birdplane-slow-tracker 1.2 takes 99 % of the time of the training "
        "to hear of events"
    ]
    assert told.finish() == []


# --- as pip installs them ---------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("name", ["ends-for-good", "raises-halfway"])
def test_the_same_is_told_of_one_that_pip_has_installed(place: Place, write_plugin: Write, name: str) -> None:
    project = place.folder / "project"
    project.mkdir()
    module = f"{name.replace('-', '_')}_module"
    (project / f"{module}.py").write_text(WRONG[name].source)
    (project / "pyproject.toml").write_text(
        textwrap.dedent(f"""
        [build-system]
        requires = ["hatchling"]
        build-backend = "hatchling.build"
        [project]
        name = "package-{name}"
        version = "1.2"
        [project.entry-points.birdplane]
        {name} = "{module}"
        [tool.hatch.build.targets.wheel]
        include = ["{module}.py"]
        """)
    )
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target"]
    subprocess.run([*pip, str(place.site), str(project)], check=True, capture_output=True, timeout=120)
    write_plugin(place.site, "good", NEIGHBOUR)
    found = place.plugins()
    assert str(found[name]["reason"]).startswith(WRONG[name].reason)
    assert found[name]["package"] == f"package-{name}"
    assert "good/fine" in place.run("list", "transforms").stdout
