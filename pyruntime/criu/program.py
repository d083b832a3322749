"""The program criu: found, started, asked for its release."""

from __future__ import annotations

import _socket
import posix

from pyruntime import failures
from pyruntime.criu import messages
from pyruntime.criu.conversation import Conversation
from pyruntime.descriptors import close_on_exec
from pyruntime.errors import CriuError
from pyruntime.hooks import DEFAULT_SIGNALS

TYPE_CHECKING = False
if TYPE_CHECKING:
    Environment = dict[bytes, bytes]

PATH = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SOCKET = 3  # criu's number of the socket
OLDEST = (3, 16)  # the first that changes LSM profiles as it says
ARGUMENTS = ("criu", "swrk", str(SOCKET))


def environment() -> Environment:
    """Ours, with a PATH: CRIU starts tar, iptables and others. Engines do not always pass one."""
    return {b"PATH": PATH, **posix.environ}


def find() -> str:
    """The absolute path of criu. Raises CriuError."""
    for directory in environment()[b"PATH"].split(b":"):
        path = (directory or b".") + b"/criu"
        if path[:1] == b"/" and posix.access(path, posix.X_OK):
            return path.decode("utf-8", "surrogateescape")
    raise CriuError("criu: executable file not found in $PATH (install the package criu)")


def start(path: str) -> tuple[int, Conversation]:
    """Start criu, whose own output is nobody's business; its pid and the socket to it.

    Nothing that the caller left open reaches it.
    """
    close_on_exec(3)
    ours, theirs = pair()
    null = posix.open("/dev/null", posix.O_RDWR | posix.O_CLOEXEC)
    actions = [(posix.POSIX_SPAWN_DUP2, null, number) for number in range(3)]
    actions.append((posix.POSIX_SPAWN_DUP2, theirs.fileno(), SOCKET))
    try:
        pid = posix.posix_spawn(
            path,
            ARGUMENTS,
            environment(),
            file_actions=actions,
            setsigmask=[],
            setsigdef=DEFAULT_SIGNALS,
        )
    except OSError as error:
        raise CriuError(f"{path}: {failures.reason(error.errno or 0)}") from None
    finally:
        posix.close(null)
        theirs.close()
    return pid, Conversation(ours)


def pair() -> tuple[_socket.socket, _socket.socket]:
    """Our end and criu's. By our end CRIU knows whose descriptors are meant in a request."""
    return _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)


def end(pid: int, conversation: Conversation) -> int:
    """Hang up, which ends criu if it has not ended yet; its wait status."""
    conversation.close()
    return posix.waitpid(pid, 0)[1]


def check_version(path: str) -> tuple[int, int]:
    """Major and minor release. Raises CriuError if it is too old."""
    pid, conversation = start(path)
    try:
        answer = conversation.ask({"type": messages.VERSION})
    finally:
        end(pid, conversation)
    found = answer.get("version")
    if not found:
        raise CriuError(f"{path} does not answer as CRIU does")
    version = found.get("major_number", 0), found.get("minor_number", 0)
    if version < OLDEST:
        raise CriuError(
            f"{path} is version {version[0]}.{version[1]}; {OLDEST[0]}.{OLDEST[1]} or later "
            "is needed"
        )
    return version
