"""Descriptors that reach a container on purpose, and none by accident (R41, CVE-2024-21626)."""

from __future__ import annotations

import _socket
import posix
import struct
import sys

from pyruntime import failures, processes
from pyruntime.errors import PyruntimeError

ADDRESS_LIMIT = 107  # sun_path without its final NUL byte


def listen_fds() -> int:
    """How many descriptors systemd's socket activation passes (sd_listen_fds(3)).

    None unless they are meant for this very process: an engine's own variables may
    reach its children, whose descriptor 3 is something else.
    """
    value = posix.environ.get(b"LISTEN_FDS", b"")
    meant = posix.environ.get(b"LISTEN_PID", b"") == str(posix.getpid()).encode()
    return int(value) if meant and value.isdigit() else 0


def listen_names() -> str:
    """The names of those descriptors, with colons between them; empty if they have none."""
    return posix.environ.get(b"LISTEN_FDNAMES", b"").decode("utf-8", "surrogateescape")


def check_preserved(first: int, count: int) -> None:
    """Every descriptor that is to be kept must be open, and the caller's (R41).

    What came through the runtime's own execve is not close-on-exec, and whatever
    this process has opened is: a log, perhaps, under a number that was free.
    """
    if count < 0:
        raise PyruntimeError(f"--preserve-fds: {count} is not a number of descriptors")
    for index in range(first + count):
        try:
            given = posix.get_inheritable(3 + index)
        except OSError:
            given = False
        if not given:
            raise PyruntimeError(
                f"unable to stat preserved-fd {index} (of {count}): descriptor {3 + index} "
                "is not open"
            )


def close_on_exec(first: int) -> None:
    """No descriptor that the caller leaked reaches the init (CVE-2024-21626)."""
    for name in posix.listdir("/proc/self/fd"):
        if int(name) >= first:
            try:
                posix.set_inheritable(int(name), False)
            except OSError:
                continue  # the descriptor with which the directory was read


def check_console(wanted: bool, path: str | None) -> None:
    """A terminal that nobody stays with needs a socket for its master, and only such a one."""
    if wanted and not path:
        raise PyruntimeError(
            "cannot allocate tty if runc will detach without setting console socket"
        )
    if path and not wanted:
        raise PyruntimeError("cannot use console socket if runc will not detach or allocate tty")


def connect(path: str) -> int:
    """A descriptor connected to the AF_UNIX stream socket at a path of any length."""
    end = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        connect_to(end, path)
    except OSError as error:
        end.close()
        raise PyruntimeError(f"dial unix {path}: {failures.reason(error.errno or 0)}") from None
    return end.detach()


def connect_to(connection: _socket.socket, path: str) -> None:
    """connect(2) to a path that may be longer than a socket address. Raises OSError."""
    if len(path.encode(sys.getfilesystemencoding(), "surrogateescape")) <= ADDRESS_LIMIT:
        connection.connect(path)
        return
    descriptor = posix.open(path, posix.O_PATH | posix.O_CLOEXEC)
    try:
        connection.connect(f"/proc/self/fd/{descriptor}")
    finally:
        posix.close(descriptor)


def send_pidfd(path: str, pid: int, kind: str) -> None:
    """Send a pidfd to the socket at a path, with runc's word: standard, or setns for exec."""
    descriptor = processes.pidfd(pid)
    receiver = _socket.socket(fileno=connect(path))
    rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack("i", descriptor))]
    receiver.sendmsg([kind.encode()], rights)
    receiver.close()
    posix.close(descriptor)
