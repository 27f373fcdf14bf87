"""The screens' side of the helper: answers, progress, death, slowness; told by small stand-ins for it."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from birdplane.tui.asking import Helper, HelperTrouble, Progress

PRELUDE = "import json, sys, time, os\ndef say(**reply): print(json.dumps(reply), flush=True)\n"
ECHO = "for line in sys.stdin:\n q = json.loads(line)\n if 'ask' in q: say(id=q['id'], answer=q)\n"


@pytest.fixture
def speaking() -> Iterator[Callable[..., Helper]]:
    """A function from a program that answers to a client of it."""
    made: list[Helper] = []

    def make(program: str, **values: Any) -> Helper:
        made.append(Helper([sys.executable, "-c", PRELUDE + program], **values))
        return made[-1]

    yield make
    for helper in made:
        helper.close()


async def trouble(question: Awaitable[Any]) -> HelperTrouble:
    with pytest.raises(HelperTrouble) as caught:
        await question
    return caught.value


def test_a_question_is_answered(speaking: Callable[..., Helper]) -> None:
    answer = asyncio.run(speaking(ECHO).ask("pictures", split="train"))
    assert answer == {"id": 1, "ask": "pictures", "split": "train"}


def test_many_questions_at_once_get_their_own_answers(speaking: Callable[..., Helper]) -> None:
    async def scenario() -> list[int]:
        helper = speaking(ECHO)
        answers = await asyncio.gather(*(helper.ask("q", number=number) for number in range(50)))
        return [answer["number"] for answer in answers]

    assert asyncio.run(scenario()) == list(range(50))


def test_one_client_serves_one_loop_after_the_other(speaking: Callable[..., Helper]) -> None:
    helper = speaking(ECHO)
    pids = set()
    for _ in range(2):
        asyncio.run(helper.ask("q"))
        pids.add(helper.pid)
    assert len(pids) == 1


def test_an_error_is_a_sentence_with_its_kind(speaking: Callable[..., Helper]) -> None:
    helper = speaking(
        "sys.stdin.readline(); say(id=1, error='it does not fit', kind='usage'); sys.stdin.read()"
    )
    found = asyncio.run(trouble(helper.ask("rehearse")))
    assert (str(found), found.kind, found.passing) == ("it does not fit", "usage", False)


def test_progress_is_told_in_order(speaking: Callable[..., Helper]) -> None:
    helper = speaking(
        "sys.stdin.readline()\nfor n in range(3): say(id=1, progress=dict(title='t', done=n, total=3, unit='B'))\n"
        "say(id=1, answer={}); sys.stdin.read()"
    )
    heard: list[Progress] = []
    asyncio.run(helper.ask("fetch", on_progress=heard.append))
    assert [progress.done for progress in heard] == [0, 1, 2]


def test_a_death_is_told_with_its_last_words(speaking: Callable[..., Helper]) -> None:
    helper = speaking("sys.stdin.readline(); sys.exit('MemoryError: too much')")
    found = asyncio.run(trouble(helper.ask("rehearse")))
    assert str(found) == "the helper process ended (exit code 1): MemoryError: too much"
    assert (found.kind, found.passing) == ("dead", True)


@pytest.mark.parametrize("log", [True, False], ids=["kept", "nowhere"])
def test_a_long_reason_is_cut_to_a_line_that_says_where_all_of_it_is(
    speaking: Callable[..., Helper], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, log: bool
) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("BIRDPLANE_CACHE", str(cache))
    if not log:
        cache.write_text("a file where the folder should be")
    helper = speaking(
        "sys.stdin.readline(); print('Traceback (most recent call last):\\n  File x', file=sys.stderr)\n"
        "print('RuntimeError: ' + 'very ' * 500 + 'wrong\\nlast of all', file=sys.stderr); sys.exit(3)"
    )
    message = str(asyncio.run(trouble(helper.ask("rehearse"))))
    assert message.startswith("the helper process ended (exit code 3): RuntimeError: very very")
    assert "\n" not in message
    assert "…" in message
    assert len(message) < 260 + len(str(tmp_path))
    if log:
        assert message.endswith(f"(all of it: {cache / 'helper.log'})")
        assert "wrong\nlast of all" in (cache / "helper.log").read_text()


def test_what_a_component_raised_is_cut_and_what_is_meant_for_people_is_not(
    speaking: Callable[..., Helper],
) -> None:
    for kind, whole in (("internal", False), ("usage", True)):
        helper = speaking(
            f"sys.stdin.readline(); say(id=1, error='ValueError: ' + 'x' * 5000, kind={kind!r}); sys.stdin.read()"
        )
        found = asyncio.run(trouble(helper.ask("rehearse")))
        assert (len(str(found)) > 5000) is whole
        assert found.kind == kind


def test_the_log_of_a_noisy_helper_stays_small(
    speaking: Callable[..., Helper], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BIRDPLANE_CACHE", str(tmp_path))
    noisy = "for n in range(300): print('n' * 10000, file=sys.stderr)\nsys.exit(1)"
    for _ in range(3):
        asyncio.run(trouble(speaking(noisy).ask("rehearse")))
        assert (tmp_path / "helper.log").stat().st_size <= 2 * (1 << 20) + 200


def test_a_killed_helper_is_told_and_the_next_question_has_another(speaking: Callable[..., Helper]) -> None:
    helper = speaking(
        "for line in sys.stdin:\n q = json.loads(line)\n if q['ask'] == 'q': say(id=q['id'], answer={})\n"
    )

    async def scenario() -> HelperTrouble:
        waiting = asyncio.ensure_future(trouble(helper.ask("never")))
        await asyncio.sleep(0)  # in its first turn the question goes out
        assert helper.pid is not None
        os.kill(helper.pid, 9)
        found = await waiting
        assert await helper.ask("q") == {}
        return found

    assert "killed by signal 9" in str(asyncio.run(scenario()))


def test_silence_becomes_trouble_and_ends_the_helper(speaking: Callable[..., Helper]) -> None:
    helper = speaking("sys.stdin.read()", patience=0.3)
    found = asyncio.run(trouble(helper.ask("rehearse")))
    assert (found.kind, helper.pid) == ("slow", None)


def test_progress_keeps_patience(speaking: Callable[..., Helper]) -> None:
    helper = speaking(
        "sys.stdin.readline()\nfor n in range(8):\n time.sleep(0.5)\n"
        " say(id=1, progress=dict(title='t', done=n, total=8, unit='B'))\nsay(id=1, answer={}); sys.stdin.read()",
        patience=3,
    )
    assert asyncio.run(helper.ask("rehearse")) == {}


def test_a_question_that_is_cancelled_is_taken_back(speaking: Callable[..., Helper]) -> None:
    helper = speaking(
        "seen = []\nfor line in sys.stdin:\n q = json.loads(line); seen.append(q)\n"
        " if q.get('ask') == 'seen': say(id=q['id'], answer=dict(seen=seen))\n"
    )

    async def scenario() -> list[Any]:
        task = asyncio.ensure_future(helper.ask("long"))
        await asyncio.sleep(0)  # in its first turn the question goes out
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        seen: list[Any] = (await helper.ask("seen"))["seen"]
        return seen

    assert asyncio.run(scenario())[1] == {"cancel": 1}


def test_a_program_that_cannot_be_started_is_trouble() -> None:
    found = asyncio.run(trouble(Helper(["/no/such/program"]).ask("q")))
    assert found.kind == "dead"
    assert "cannot be started" in str(found)


def test_noise_between_answers_is_passed_over(speaking: Callable[..., Helper]) -> None:
    helper = speaking(
        "sys.stdin.readline(); sys.stderr.write('x' * 1_000_000); print('noise'); print(json.dumps([1]));"
        " say(id=77, answer={}); say(id=1, answer={'a': 1}); sys.stdin.read()"
    )
    assert asyncio.run(helper.ask("q")) == {"a": 1}


def test_closing_ends_the_process(speaking: Callable[..., Helper]) -> None:
    helper = speaking(ECHO)
    asyncio.run(helper.ask("q"))
    pid = helper.pid
    assert pid is not None
    helper.close()
    assert not psutil.pid_exists(pid)


def test_a_helper_that_does_not_end_is_killed(speaking: Callable[..., Helper]) -> None:
    helper = speaking("q = json.loads(sys.stdin.readline()); say(id=q['id'], answer={}); time.sleep(600)")
    asyncio.run(helper.ask("q"))
    began = time.monotonic()
    helper.close()
    assert time.monotonic() - began < 5


def test_the_client_imports_no_torch() -> None:
    import subprocess

    code = (
        "import sys, birdplane.tui.asking, birdplane.tui.data, birdplane.tui.results\n"
        "print({'torch', 'torchvision', 'numpy'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
