"""Hand a seccomp notify descriptor to the agent at `listenerPath` (hot lane; R234, R241).

The connection is made before the filter is loaded, while the host's path is still in
reach; descriptor and container process state go out when the container's init has
loaded it.
"""

from __future__ import annotations

import _socket
import struct

from pyruntime.descriptors import connect_to
from pyruntime.errors import OperationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_JSON_PATH = "linux.seccomp.listenerPath"


def connect(path: str) -> _socket.socket:
    """Return a close-on-exec connection to the agent that listens at `path`.

    A path that is not absolute is taken from "/". Raises OperationError.
    """
    path = path if path.startswith("/") else "/" + path
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        connect_to(connection, path)
    except OSError as error:
        connection.close()
        raise _failure("connect", path, error) from None
    return connection


def send(listener: _socket.socket | str, listener_fd: int, process_state: bytes) -> None:
    """Send one container process state with its descriptor, then close the connection.

    `listener` is what `connect` returned, or the path if nothing stands against
    connecting only now. The descriptor travels with the first sendmsg and no other,
    however many the kernel needs; the connection is closed in any case, for it must
    not be used again. `listener_fd` stays open. Raises OperationError.
    """
    connection = connect(listener) if isinstance(listener, str) else listener
    rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack("i", listener_fd))]
    rest = memoryview(process_state)
    try:
        rest = rest[connection.sendmsg([rest], rights, _socket.MSG_NOSIGNAL) :]
        while rest:
            rest = rest[connection.send(rest, _socket.MSG_NOSIGNAL) :]
    except OSError as error:
        raise _failure("sendmsg", "container process state", error) from None
    finally:
        connection.close()


def process_state(state: dict[str, Any], pid: int, metadata: str) -> dict[str, Any]:
    """Return the container process state (R241): what the agent reads as JSON.

    `state` is the OCI state with status "creating" for the container's init and
    "running" for a process of exec; `pid` is that process in the runtime's pid
    namespace; `metadata` is listenerMetadata and left out if empty.
    """
    document: dict[str, Any] = {
        "ociVersion": state["ociVersion"],
        "fds": ["seccompFd"],
        "pid": pid,
    }
    if metadata:
        document["metadata"] = metadata
    document["state"] = state
    return document


def _failure(call: str, what: str, error: OSError) -> OperationError:
    reason = error.strerror or str(error)
    return OperationError(f"{_JSON_PATH}: {call} {what}: {reason}", _JSON_PATH, error.errno or 0)
