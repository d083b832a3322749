"""QEMU's control channel (QMP): one command, one answer."""

from __future__ import annotations

import json
import socket
from typing import Any

from tests.vm.failures import Failure, GuestDied


class Monitor:
    """The control channel of a running QEMU."""

    def __init__(self, connection: socket.socket) -> None:
        self._file = connection.makefile("rwb", buffering=0)
        self._read()
        self.execute("qmp_capabilities")

    def execute(self, command: str, **arguments: Any) -> Any:
        """Perform a command; its result. Raises Failure with QEMU's text, or GuestDied."""
        request = {"execute": command, "arguments": arguments}
        try:
            self._file.write(json.dumps(request).encode() + b"\n")
        except OSError as error:
            raise GuestDied(f"QEMU is gone ({error.strerror})") from None
        while True:
            answer = self._read()
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise Failure(f"QEMU refuses {command}: {answer['error']['desc']}")

    def _read(self) -> dict[str, Any]:
        try:
            line = self._file.readline()
        except OSError:
            line = b""
        if not line:
            raise GuestDied("QEMU closed its control channel")
        message = json.loads(line)
        assert isinstance(message, dict)
        return message
