"""What is said between us and `criu swrk`, over a socket that keeps messages apart."""

from __future__ import annotations

import _socket
import posix
import struct

from pyruntime.criu import messages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    # What is to happen at a notification; it gets the pid and the descriptors that came with it.
    Act = Callable[[int, list[int]], None]

LIMIT = 1 << 16
DESCRIPTORS = 4


class Conversation:
    """One request to criu at a time, with the notifications that come before its answer."""

    def __init__(self, socket: _socket.socket) -> None:
        self.socket = socket

    def ask(self, request: dict[str, Any], acts: Mapping[str, Act] | None = None) -> dict[str, Any]:
        """Send a request; criu's answer, with `success` or without; {} if it leaves without one.

        At each notification that `acts` has a name for that is done, and criu goes on
        when it has been. What an act raises ends criu's work: it takes back what it did.
        Raises CriuError for an answer that is none.
        """
        self._send(request)
        while True:
            answer, descriptors = self._receive()
            try:
                if answer.get("type") != messages.NOTIFY or not answer.get("success"):
                    return answer
                notification = answer.get("notify") or {}
                act = (acts or {}).get(notification.get("script", ""))
                if act is not None:
                    act(notification.get("pid", 0), descriptors)
            except BaseException:
                self._send({"type": messages.NOTIFY, "notify_success": False})
                raise
            finally:
                for descriptor in descriptors:
                    posix.close(descriptor)
            self._send({"type": messages.NOTIFY, "notify_success": True})

    def _send(self, request: dict[str, Any]) -> None:
        try:
            self.socket.send(messages.encode("request", request))
        except (BrokenPipeError, ConnectionResetError):
            pass  # the end of the stream says the same, after what criu has still said

    def _receive(self) -> tuple[dict[str, Any], list[int]]:
        try:
            data, ancillary, _, _ = self.socket.recvmsg(
                LIMIT, _socket.CMSG_SPACE(4 * DESCRIPTORS), _socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionResetError:
            data, ancillary = b"", []
        descriptors = [
            number
            for level, kind, rights in ancillary
            if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS)
            for (number,) in struct.iter_unpack("i", rights[: len(rights) & ~3])
        ]
        return messages.decode("response", data), descriptors

    def close(self) -> None:
        """Hang up."""
        self.socket.close()
