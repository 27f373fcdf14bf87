"""Make a process's own system calls fail, or kill it at one, by number: the kernel asks another process first.

Linux only (`seccomp` with user notifications, 5.9 or later), on x86-64 and 64-bit Arm. Nothing of the product is
replaced: a call that is to fail is not carried out, and its caller gets the error from the kernel.
"""

from __future__ import annotations

import array
import ctypes
import fcntl
import os
import platform
import select
import signal
import socket
import struct
from collections.abc import Callable
from pathlib import Path

#: What writes, flushes, renames or creates, with the place of the path or descriptor among its arguments.
_CALLS = {
    "x86_64": {
        1: ("write", 0), 74: ("flush", 0), 75: ("flush", 0), 82: ("rename", 0), 264: ("rename", 1),
        316: ("rename", 1), 83: ("mkdir", 0), 258: ("mkdir", 1), 257: ("create", 1),
    },
    "aarch64": {
        64: ("write", 0), 82: ("flush", 0), 83: ("flush", 0), 38: ("rename", 1), 276: ("rename", 1),
        34: ("mkdir", 1), 56: ("create", 1),
    },
}.get(platform.machine(), {})  # fmt: skip
_SECCOMP = {"x86_64": 317, "aarch64": 277}.get(platform.machine(), -1)
_PR_SET_NO_NEW_PRIVS, _PR_SET_PTRACER, _PTRACER_ANY = 38, 0x59616D61, 2**64 - 1
_SET_MODE_FILTER, _NEW_LISTENER, _CONTINUE = 1, 8, 1
_RECEIVE, _SEND = 0xC0502100, 0xC0182101
_NOTIFY, _ALLOW = 0x7FC00000, 0x7FFF0000


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]


def supported() -> bool:
    """Whether this system can do it: tried in a child."""
    if not _CALLS or platform.system() != "Linux":
        return False
    child = os.fork()
    if child == 0:
        try:
            os.close(_install())
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def submit(channel: socket.socket) -> None:
    """Let this process's calls be asked for at the other end of `channel`, from now on."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PTRACER, ctypes.c_ulong(_PTRACER_ANY), 0, 0, 0)
    listener = _install()
    socket.send_fds(channel, [b"x"], [listener])
    os.close(listener)
    channel.close()


def _install() -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
    numbers = sorted(_CALLS)
    code = struct.pack("=HBBI", 0x20, 0, 0, 0)  # load the call's number
    for at, number in enumerate(numbers):
        code += struct.pack("=HBBI", 0x15, len(numbers) - at, 0, number)  # equal: on to the last instruction
    code += struct.pack("=HBBI", 0x06, 0, 0, _ALLOW) + struct.pack("=HBBI", 0x06, 0, 0, _NOTIFY)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(code) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    listener = int(libc.syscall(_SECCOMP, _SET_MODE_FILTER, _NEW_LISTENER, ctypes.byref(program)))
    if listener < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return listener


def supervise(channel: socket.socket, pid: int, within: str, nth: int, code: int) -> list[str]:
    """Answer for the process `pid` until it is gone; return the calls counted: `write <path>` and so on.

    The nth call (from 1) at a path that contains `within` fails with the error `code`; for 0 the process is killed
    there instead, the call not carried out. For a negative `nth` every later call there fails too, as on a disk
    that is full.
    """
    _, (listener,), _, _ = socket.recv_fds(channel, 1, 1)
    channel.close()
    told: list[str] = []
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    while True:
        ((_, happened),) = poll.poll()
        if not happened & select.POLLIN:
            return told
        request = array.array("B", bytes(80))
        try:
            fcntl.ioctl(listener, _RECEIVE, request)
        except OSError:
            continue  # it died in between
        identity, thread, _, number, _, _, *arguments = struct.unpack("=QIIiIQ6Q", request)
        call = _described(thread, number, arguments)
        error = 0
        if call is not None and within in call:
            told.append(call)
            if len(told) == abs(nth) or (nth < 0 and len(told) > -nth):
                error = code
                if not code:
                    os.kill(pid, signal.SIGKILL)
        answer = struct.pack("=QqiI", identity, 0, -error, 0 if error else _CONTINUE)
        try:
            fcntl.ioctl(listener, _SEND, answer)
        except OSError:
            continue


def _described(thread: int, number: int, arguments: list[int]) -> str | None:
    kind, place = _CALLS[number]
    if kind == "create" and not arguments[2] & os.O_CREAT:
        return None
    try:
        if kind in ("write", "flush"):
            return f"{kind} {Path(f'/proc/{thread}/fd/{arguments[0]}').readlink()}"
        with Path(f"/proc/{thread}/mem").open("rb", buffering=0) as memory:
            memory.seek(arguments[place])
            return f"{kind} {memory.read(4096).split(bytes(1))[0].decode()}"
    except OSError:
        return None


def run_supervised(
    act: Callable[[], object], within: str, nth: int, code: int
) -> tuple[int, Callable[[], list[str]]]:
    """Run `act` in a fork under supervision; return its process number, and what waits for the calls counted.

    The process is to be waited for first.
    """
    ours, theirs = socket.socketpair()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        ours.close()
        submit(theirs)
        act()
        os._exit(0)
    theirs.close()
    watcher = os.fork()
    if watcher == 0:
        os.close(reader)
        with os.fdopen(writer, "w") as out:
            out.write("\n".join(supervise(ours, pid, within, nth, code)))
        os._exit(0)
    ours.close()
    os.close(writer)

    def counted() -> list[str]:
        with os.fdopen(reader) as told:
            calls = told.read().splitlines()
        os.waitpid(watcher, 0)
        return calls

    return pid, counted
