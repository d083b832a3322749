"""What is known of a process: its start time guards against a reused pid (R33)."""

from __future__ import annotations

import errno
import posix
import select
from _signal import pidfd_send_signal

LONGEST_WAIT = (1 << 31) - 1  # ms, poll(2)
GONE = ("Z", "X", "x")
INIT_IMAGE = "/memfd:pyruntime-init"
INIT_NAME = b"pyruntime-init"


def start_time(pid: int) -> int:
    """Field 22 of /proc/PID/stat, in clock ticks since boot; 0 if it is gone or a zombie."""
    text = _stat(pid)
    if not text:
        return 0
    # The name is in parentheses and may have any character: what follows the last one counts.
    fields = text[text.rindex(b")") + 2 :].split(b" ", 20)
    return 0 if fields[0].decode() in GONE else int(fields[19])


def _stat(pid: int) -> bytes:
    """/proc/PID/stat, empty if the process is gone."""
    try:
        descriptor = posix.open(f"/proc/{pid}/stat", posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return posix.read(descriptor, 4096)
    except ProcessLookupError:
        return b""
    finally:
        posix.close(descriptor)


def is_init(pid: int) -> bool:
    """Does the process still run the init, and not the user's program? (/proc/PID/exe)

    A plain user may not read that link: the init of a container of hers is not dumpable, and
    in another user namespace. Then the name has to do, which execve(2) changes.
    """
    try:
        return posix.readlink(f"/proc/{pid}/exe").startswith(INIT_IMAGE)
    except PermissionError:
        return _stat(pid).partition(b"(")[2].rpartition(b")")[0] == INIT_NAME
    except OSError:
        return False


def open_pidfd(pid: int, started: int) -> int:
    """A pidfd of the process that started at that time, -1 if it is gone.

    The time is read after the pidfd is open: from then on the number cannot be reused.
    """
    try:
        descriptor = posix.pidfd_open(pid)
    except OSError as error:
        # EINVAL: a thread, so the process that had this number is gone.
        if error.errno in (errno.ESRCH, errno.EINVAL):
            return -1
        raise _refusal("pidfd_open", error) from None
    except OverflowError:  # no pid has such a number
        return -1
    if start_time(pid) != started:
        posix.close(descriptor)
        return -1
    return descriptor


def pidfd(pid: int) -> int:
    """pidfd_open(2) of a process that is known to be there. Raises PyruntimeError, OSError."""
    try:
        return posix.pidfd_open(pid)
    except OSError as error:
        raise _refusal("pidfd_open", error) from None


def _refusal(call: str, error: OSError) -> Exception:
    from pyruntime import failures

    return failures.refusal(call, error)


def send(descriptor: int, signal: int) -> bool:
    """Send a signal by pidfd; False if the process is gone."""
    try:
        pidfd_send_signal(descriptor, signal)
    except ProcessLookupError:
        return False
    except OSError as error:
        raise _refusal("pidfd_send_signal", error) from None
    return True


def await_exit(descriptor: int, milliseconds: int) -> bool:
    """Wait until the process of a pidfd has exited; False if it has not in that time."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(min(milliseconds, LONGEST_WAIT)))
