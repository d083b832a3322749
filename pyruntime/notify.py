"""Readiness of a container for a service manager (sd_notify(3), R297).

The manager's socket is not given to the container. It gets ROOT/ID/notify, read-only at
/run/notify, with a socket of the runtime's in it; of what comes through that, READY is
passed on, with the pid that the manager is to watch.
"""

from __future__ import annotations

import _socket
import errno
import posix
import select
import struct

from pyruntime import processes, state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VARIABLE = b"NOTIFY_SOCKET"
DIRECTORY = "notify"
SOCKET = "notify.sock"
INSIDE = "/run/notify"
ADDRESS_INSIDE = f"{INSIDE}/{SOCKET}"
DIRECTORY_MODE = 0o755
SOCKET_MODE = 0o777
BARRIER_MILLISECONDS = 30_000
LARGEST = 1 << 16


def wanted() -> bool:
    """Has the service manager that started us given a socket?"""
    return bool(posix.environ.get(VARIABLE))


def mount(container_directory: str) -> dict[str, Any]:
    """The bind mount that shows the container its directory, as an entry of `mounts`."""
    return {
        "destination": INSIDE,
        "type": "bind",
        "source": f"{container_directory}/{DIRECTORY}",
        "options": ["bind", "ro", "nosuid", "noexec", "nodev"],
    }


class Proxy:
    """The socket that the container writes to. `descriptor` becomes readable with a message."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        kind = _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC
        self.socket = _socket.socket(_socket.AF_UNIX, kind)
        flags = posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC
        place = posix.open(directory, flags)
        try:
            # By the descriptor, for the address of a socket has at most 107 bytes.
            self._bind(f"/proc/self/fd/{place}/{SOCKET}")
        except BaseException:
            self.socket.close()
            raise
        finally:
            posix.close(place)

    def _bind(self, path: str) -> None:
        """Raises OSError(EADDRINUSE) while another start listens there."""
        try:
            self.socket.bind(path)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or _listens(path):
                raise
            posix.unlink(path)  # of a start that was killed
            self.socket.bind(path)
        posix.chmod(path, SOCKET_MODE)

    @property
    def descriptor(self) -> int:
        return self.socket.fileno()

    def receive(self) -> bytes:
        """The READY line of the next message, empty if it has none."""
        for line in self.socket.recv(LARGEST).split(b"\n"):
            if line.startswith(b"READY="):
                return line
        return b""

    def wait(self, pid: int, started: int) -> None:
        """Wait for READY and pass it on with the container's pid, or until that has ended.

        The manager must have looked at the message while we live: hence the barrier.
        """
        container = processes.open_pidfd(pid, started)
        if container == -1:
            return
        poll = select.poll()
        poll.register(container, select.POLLIN)
        poll.register(self.descriptor, select.POLLIN)
        try:
            while True:
                ready = dict(poll.poll())
                line = self.receive() if self.descriptor in ready else b""
                if line:
                    forward(line, pid)
                    barrier()
                    return
                if container in ready and self.descriptor not in ready:
                    return
        finally:
            posix.close(container)

    def close(self) -> None:
        """Listen no longer; what the container says from now on reaches nobody."""
        self.socket.close()
        try:
            posix.unlink(f"{self.directory}/{SOCKET}")
        except OSError:
            return  # deleted together with the container


def open_proxy(container: state.Container) -> Proxy | None:
    """The socket for a container made with NOTIFY_SOCKET; None if there is nothing to do.

    Also None while another start has it: that start, or this one, will be refused.
    """
    directory = container.path(DIRECTORY)
    if not wanted() or not state.exists(directory):
        return None
    try:
        return Proxy(directory)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return None
        raise


def forward(line: bytes, pid: int) -> None:
    """Tell the manager READY, and whom to watch. One that does not listen is not told."""
    _send(line, [])
    _send(b"MAINPID=%d" % pid, [])


def barrier() -> None:
    """Wait until the manager has read everything, or 30 s (sd_notify_barrier(3))."""
    ours, theirs = posix.pipe()
    try:
        rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack("i", theirs))]
        sent = _send(b"BARRIER=1", rights)
        posix.close(theirs)
        if sent:
            poll = select.poll()
            poll.register(ours, 0)  # POLLHUP comes unasked
            poll.poll(BARRIER_MILLISECONDS)
    finally:
        posix.close(ours)


def _send(data: bytes, rights: list[Any]) -> bool:
    address = posix.environ[VARIABLE]
    if address.startswith(b"@"):
        address = b"\0" + address[1:]
    sender = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
    try:
        sender.sendmsg([data], rights, 0, address)
    except OSError:
        return False
    finally:
        sender.close()
    return True


def _listens(path: str) -> bool:
    probe = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
    try:
        probe.connect(path)
    except OSError:
        return False
    finally:
        probe.close()
    return True
