"""Run a command and learn what it cost: wall time, processor time, peak memory.

The bench makes itself the reaper of orphans, so that the processes a runtime leaves behind (the
init of a container, above all) come back here and can be counted.
"""

from __future__ import annotations

import ctypes
import os
import select
import time

PR_SET_CHILD_SUBREAPER = 36
CPUCLOCK_SCHED = 2


class Sample:
    """What one command cost: `wall` and `cpu` in milliseconds."""

    __slots__ = ("cpu", "wall")

    def __init__(self, wall: float, cpu: float) -> None:
        self.wall = wall
        self.cpu = cpu


class CommandFailed(Exception):
    """A measured command did not do what it was asked; the text says which and why."""


class TooSlow(CommandFailed):
    """A command or a process did not end in time."""


def adopt_orphans() -> None:
    """Make this process the reaper of its descendants (prctl(2), PR_SET_CHILD_SUBREAPER).

    Raises OSError when the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def spawn(command: list[str], output: str, stdout: int | None = None) -> int:
    """Start `command` with no input; its output goes to the file `output`. Returns the pid."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 2, output, flags | os.O_APPEND, 0o600),
        (os.POSIX_SPAWN_DUP2, 2 if stdout is None else stdout, 1),
    ]
    return os.posix_spawn(command[0], command, os.environ, file_actions=actions)


def cpu_of(pid: int) -> float:
    """Return the milliseconds of processor time that a live process has used.

    It reads the process's own clock (clock_getcpuclockid(3)), which counts nanoseconds and the
    threads that have ended; /proc/PID/stat counts in ticks of 10 ms.
    """
    return time.clock_gettime((~pid << 3) | CPUCLOCK_SCHED) * 1000


def reap(pid: int, seconds: float = 60) -> tuple[int, float, int]:
    """Wait for `pid`; return its exit status, its processor time in ms and its peak RSS in KiB.

    Raises TooSlow when it is still running after `seconds`.
    """
    pidfd = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        if not poll.poll(seconds * 1000):
            raise TooSlow(f"process {pid} still runs after {seconds} s")
    finally:
        os.close(pidfd)
    _, status, usage = os.wait4(pid, 0)
    cpu = (usage.ru_utime + usage.ru_stime) * 1000
    return os.waitstatus_to_exitcode(status), cpu, usage.ru_maxrss


def reap_strays() -> float:
    """Reap every descendant that has ended; return their processor time in ms."""
    total = 0.0
    while True:
        try:
            pid, _, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return total
        if pid == 0:
            return total
        total += (usage.ru_utime + usage.ru_stime) * 1000


def measure(command: list[str], output: str, seconds: float = 60) -> Sample:
    """Run `command` to its end and return what it and the processes it waited for cost.

    Raises CommandFailed, with what it printed, when it fails, and TooSlow, after having killed
    it, when it takes longer than `seconds`.
    """
    start = time.perf_counter()
    pid = spawn(command, output)
    try:
        code, cpu, _ = reap(pid, seconds)
    except TooSlow:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        raise TooSlow(f"{' '.join(command)}: not done after {seconds} s") from None
    wall = (time.perf_counter() - start) * 1000
    if code != 0:
        with open(output, encoding="utf-8", errors="replace") as file:
            raise CommandFailed(f"{' '.join(command)}: exit {code}: {file.read().strip()}")
    return Sample(wall, cpu)
