"""Processes by the dozen: this one imports torch once, and forks each of the others, which are then killed for real.

It reads a JSON object a line and answers with one: `{"start": [arguments], ...}` runs `birdplane ARGUMENTS`, or a
script if the first is `-c`, in a fork; `{"wait": pid}` waits for it. It starts no thread itself, so that a fork is as
good as a new process, only three seconds sooner.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faults


def main() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch
    import torch._dynamo  # by any optimizer, and it takes as long as torch itself

    import birdplane.cli
    import birdplane.inspection
    import birdplane.training  # noqa: F401

    torch.set_num_threads(1)
    assert len(list(Path("/proc/self/task").iterdir())) == 1, (
        "a thread has started: what is forked would lack it"
    )
    able = faults.supported()
    print(json.dumps({"faults": able}), flush=True)
    counts: dict[int, Callable[[], list[str]]] = {}
    for line in sys.stdin:
        request = json.loads(line)
        if "start" in request:
            answer: dict[str, Any] = {"pid": _start(request, counts)}
        else:
            code = os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])
            counted = counts.pop(request["wait"], None)
            answer = {"code": code, "calls": counted() if counted else []}
        print(json.dumps(answer), flush=True)


def _start(request: dict[str, Any], counts: dict[int, Callable[[], list[str]]]) -> int:
    sys.stdout.flush()
    fault = request.get("fault")
    if fault:
        pid, counted = faults.run_supervised(
            lambda: _child(request), fault["within"], fault["nth"], fault["code"]
        )
        counts[pid] = counted
        return pid
    pid = os.fork()
    if pid == 0:
        _child(request)
    return pid


def _child(request: dict[str, Any]) -> None:
    """Become the process that was asked for; never returns."""
    code = 1
    try:
        # As of a process of its own: nothing of what the others are told through is left open.
        null, log = (
            os.open(os.devnull, os.O_RDONLY),
            os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        )
        for opened, number in ((null, 0), (log, 1), (log, 2)):
            os.dup2(opened, number)
        os.closerange(3, 256)
        os.environ.update(request.get("environment", {}))
        code = _run(request["start"])
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _run(arguments: list[str]) -> int:
    if arguments[0] == "-c":
        sys.argv = arguments
        exec(arguments[1], {"__name__": "__main__", "Path": Path})
        return 0
    from birdplane.cli import main as command

    sys.argv = ["birdplane", *arguments]
    command()
    return 0


if __name__ == "__main__":
    main()
