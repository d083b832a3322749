"""Giving the listener of a notifying filter to its agent (R234, R241)."""

from __future__ import annotations

import _socket
import posix
import struct

from pyruntime import documents
from pyruntime.errors import ConfigError
from pyruntime.init_process import InitProcess
from pyruntime.plan import operations as op
from pyruntime.plan.builder import Plan
from pyruntime.seccomp import listener

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# The init says that the filter is loaded, and waits, by these: to be asked about
# them before the agent listens would be to wait for ever.
NEEDED = ("read", "write")


def check(seccomp: dict[str, Any]) -> None:
    """Refuse to notify about calls that the init makes before the agent has the listener."""
    for index, rule in enumerate(seccomp.get("syscalls") or ()):
        if rule["action"] == "SCMP_ACT_NOTIFY":
            for name in NEEDED:
                if name in rule["names"]:
                    raise ConfigError(
                        [
                            f".linux.seccomp.syscalls[{index}].names: SCMP_ACT_NOTIFY cannot be "
                            f"used for the {name} syscall"
                        ]
                    )


def connect(seccomp: dict[str, Any]) -> _socket.socket:
    """A connection to the agent, made while its path can be seen."""
    check(seccomp)
    return listener.connect(seccomp["listenerPath"])


def hand_over(
    connection: _socket.socket,
    seccomp: dict[str, Any],
    state: dict[str, Any],
    pid: int,
    number: int,
) -> None:
    """Fetch descriptor `number` of process `pid`, send it with the state, and close both."""
    descriptor = fetch(pid, number)
    try:
        metadata = seccomp.get("listenerMetadata") or ""
        document = listener.process_state(state, pid, metadata)
        listener.send(connection, descriptor, documents.dumps(document).encode())
    finally:
        posix.close(descriptor)


def fetch(pid: int, number: int) -> int:
    """A copy of another process's descriptor. Python has no pidfd_getfd, a plan does."""
    ours, theirs = _socket.socketpair()
    plan = Plan()
    plan.at = ".linux.seccomp"
    socket, pidfd, copy = plan.slot("socket"), plan.slot("pidfd"), plan.slot("copy")
    plan.add(op.load_fd(socket, theirs.fileno()))
    plan.add(op.pidfd_open(pidfd, pid))
    plan.add(op.pidfd_getfd(copy, pidfd, number))
    plan.add(op.send_fd(socket, copy, b"."))
    init = InitProcess(plan)
    init.spawn([theirs.fileno()])
    theirs.close()
    try:
        _, rights, _, _ = ours.recvmsg(1, _socket.CMSG_SPACE(4), _socket.MSG_CMSG_CLOEXEC)
        if not rights:
            raise init.failure()
        return int(struct.unpack("i", rights[0][2][:4])[0])
    finally:
        ours.close()
        init.reap()
        init.close()
