"""Filters in the kernel: a child loads one and reports what happens to its calls."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pyruntime.seccomp import listener
from pyruntime.seccomp.filter import Filter, filter_for
from tests.seccomp.profiles import binding, kernel_flags, large, profile, rule

# Reads a job from its standard input, loads the filter, makes the calls, prints
# [what seccomp(2) returned, the errno of each call]. All it needs is loaded before.
CHILD = """
import ctypes, json, os, sys
job = json.loads(sys.stdin.readline())
libc = ctypes.CDLL(None, use_errno=True)
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]
def call(number, *arguments):
    ctypes.set_errno(0)
    given = [ctypes.c_long(argument) for argument in arguments]
    result = libc.syscall(ctypes.c_long(number), *given)
    return result, ctypes.get_errno()
code = bytes.fromhex(job["program"])
buffer = ctypes.create_string_buffer(code, len(code))
program = Program(len(code) // 8, ctypes.addressof(buffer))
assert libc.prctl(38, 1, 0, 0, 0) == 0
if job["prctl"]:
    loaded = libc.prctl(22, 2, ctypes.byref(program), 0, 0), ctypes.get_errno()
else:
    loaded = call(job["seccomp"], 1, job["flags"], ctypes.addressof(program))
os.write(1, (json.dumps(loaded) + chr(10)).encode())
if job["wait"]:
    os.read(0, 1)
results = [call(*each)[1] for each in job["calls"]]
os.write(1, (json.dumps(results) + chr(10)).encode())
os._exit(0)
"""


def native(name: str) -> int:
    """Return the number of a system call on this machine."""
    number: int = binding().resolve_syscall(0, name)
    return number


def job(filter_: Filter, calls: list[list[int]], **members: Any) -> bytes:
    """Return the line that a child reads."""
    document = {
        "program": filter_.program.hex(),
        "flags": filter_.flags,
        "seccomp": native("seccomp"),
        "calls": calls,
        "prctl": False,
        "wait": False,
        **members,
    }
    return (json.dumps(document) + "\n").encode()


def load(filter_: Filter, calls: list[list[int]], **members: Any) -> tuple[int, list[Any]]:
    """Run a child with a filter; return its wait status and the lines it printed."""
    child = subprocess.run(
        [sys.executable, "-IS", "-c", CHILD],
        input=job(filter_, calls, **members),
        capture_output=True,
        timeout=120,
    )
    lines = [json.loads(line) for line in child.stdout.splitlines()]
    if lines and lines[0][0] < 0:
        pytest.skip(f"the kernel lets no filter be loaded here: {os.strerror(lines[0][1])}")
    return child.returncode, lines


@pytest.fixture
def directory(tmp_path: Path) -> str:
    binding()
    return str(tmp_path / "cache")


def native_profile(*rules: dict[str, Any], **members: Any) -> dict[str, Any]:
    return profile(*rules, architectures=[], **members)


@pytest.mark.rows("R237", "R238")
@pytest.mark.parametrize("prctl", [False, True])
def test_errno_in_the_kernel(directory: str, prctl: bool) -> None:
    seccomp = native_profile(
        rule("sethostname", "ERRNO", errnoRet=errno.EXDEV), rule("setdomainname", "ERRNO")
    )
    calls = [[native(name), 0, 0] for name in ("sethostname", "setdomainname", "getppid")]
    for _ in ("compiled", "from the cache"):
        status, lines = load(filter_for(seccomp, directory), calls, prctl=prctl)
        assert (status, lines[1]) == (0, [errno.EXDEV, errno.EPERM, 0])


@pytest.mark.rows("R237")
@pytest.mark.parametrize("action", ["KILL", "KILL_PROCESS", "KILL_THREAD", "TRAP"])
def test_killed_by_the_kernel(directory: str, action: str) -> None:
    filter_ = filter_for(native_profile(rule("sethostname", action)), directory)
    status, lines = load(filter_, [[native("sethostname"), 0, 0]])
    assert status == -signal.SIGSYS
    assert len(lines) == 1


@pytest.mark.rows("R233")
def test_the_kernel_takes_the_flags(directory: str) -> None:
    flags = [name for name in kernel_flags() if "WAIT_KILLABLE" not in name]
    for chosen in (None, [], flags):
        filter_ = filter_for(native_profile(flags=chosen), directory)
        assert load(filter_, [])[1] == [[0, 0], []]


@pytest.mark.rows("R240")
def test_large_profile_in_the_kernel(directory: str) -> None:
    seccomp = large()
    if os.uname().machine != "x86_64":
        seccomp["architectures"] = []
    filter_ = filter_for(seccomp, directory)
    calls = [
        [native("getppid")],
        [native("unshare"), 0],
        [native("clone3"), 0, 0],
        [0x3FFF],
        [native("personality"), 0xFFFFFFFF],
        [native("personality"), 9],
    ]
    status, lines = load(filter_, calls)
    assert status == 0
    expected = [0, errno.EPERM, errno.ENOSYS, errno.ENOSYS, 0, errno.EPERM]
    assert lines[1] == expected


# <linux/seccomp.h>: _IOWR('!', 0, struct seccomp_notif), _IOWR('!', 1, ..._notif_resp)
NOTIF_RECV = 0xC0502100
NOTIF_SEND = 0xC0182101
PIDFD_GETFD = 438


def take_descriptor(pid: int, number: int) -> int:
    """Return a duplicate of another process's descriptor."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    pidfd = os.pidfd_open(pid)
    try:
        taken: int = libc.syscall(PIDFD_GETFD, pidfd, number, 0)
    finally:
        os.close(pidfd)
    if taken < 0:
        pytest.skip(f"pidfd_getfd: {os.strerror(ctypes.get_errno())}")
    return taken


def answer_one(descriptor: int) -> int:
    """Answer the next notified call with EXDEV; return its number."""
    notification = bytearray(80)
    fcntl.ioctl(descriptor, NOTIF_RECV, notification)
    identifier, _, _, number = struct.unpack_from("=QIIi", notification)
    fcntl.ioctl(descriptor, NOTIF_SEND, struct.pack("=QqiI", identifier, 0, -errno.EXDEV, 0))
    return int(number)


@pytest.mark.rows("R234", "R241", "R237")
def test_notify_through_the_listener(tmp_path: Path, directory: str) -> None:
    """From a process under a filter to the agent that answers for the kernel."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "agent"))
    server.listen(1)
    seccomp = native_profile(
        rule("sethostname", "NOTIFY"), listenerPath=str(tmp_path / "agent"), flags=[]
    )
    filter_ = filter_for(seccomp, directory)
    connection = listener.connect(seccomp["listenerPath"])
    agent, _ = server.accept()
    child = subprocess.Popen(
        [sys.executable, "-IS", "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdin and child.stdout
    with child, server, agent:
        try:
            child.stdin.write(job(filter_, [[native("sethostname"), 0, 0]], wait=True))
            child.stdin.flush()
            number, failure = json.loads(child.stdout.readline())
            if number < 0:
                pytest.skip(f"no listener can be had here: {os.strerror(failure)}")
            taken = take_descriptor(child.pid, number)
            state = listener.process_state({"ociVersion": "1.3.0"}, child.pid, "")
            listener.send(connection, taken, json.dumps(state).encode())
            os.close(taken)
            data, (received,), _, _ = socket.recv_fds(agent, 4096, 4)
            assert json.loads(data)["pid"] == child.pid
            child.stdin.write(b"g")
            child.stdin.flush()
            assert answer_one(received) == native("sethostname")
            assert json.loads(child.stdout.readline()) == [errno.EXDEV]
            os.close(received)
        finally:
            child.kill()
