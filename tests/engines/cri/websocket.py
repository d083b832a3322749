"""The streams of a CRI exec or attach, over a WebSocket (RFC 6455).

Each message is one byte for the channel and the data after it: 0 standard input, 1 standard
output, 2 standard error, 3 how it ended, 4 the terminal's size.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import struct
from collections.abc import Iterator
from urllib.parse import urlsplit

STDIN, STDOUT, STDERR, ENDED, SIZE = range(5)
BINARY, CLOSE = 2, 8  # opcodes
FINAL, MASKED = 0x80, 0x80
PROTOCOL = "v4.channel.k8s.io"
LIMIT = 60  # seconds without any data


class Streams:
    """Connected to the URL that the server gave. Raises OSError, also when it refuses."""

    def __init__(self, url: str) -> None:
        at = urlsplit(url)
        self.socket = socket.create_connection((at.hostname, at.port), LIMIT)
        self.file = self.socket.makefile("rb")
        key = base64.b64encode(os.urandom(16)).decode()
        lines = (
            f"GET {at.path} HTTP/1.1",
            f"Host: {at.netloc}",
            "Connection: Upgrade",
            "Upgrade: websocket",
            f"Origin: http://{at.netloc}",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {key}",
            f"Sec-WebSocket-Protocol: {PROTOCOL}",
        )
        self.socket.sendall("\r\n".join((*lines, "", "")).encode())
        answer = self.file.readline().decode().strip()
        while self.file.readline().strip():
            pass
        if " 101 " not in answer:
            raise ConnectionRefusedError(answer)

    def send(self, channel: int, data: bytes) -> None:
        """Send at most 124 bytes: more have a longer head."""
        assert len(data) < 125
        mask = os.urandom(4)
        message = bytes([channel]) + data
        masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(message))
        self.socket.sendall(bytes([FINAL | BINARY, MASKED | len(message)]) + mask + masked)

    def resize(self, columns: int, rows: int) -> None:
        """Tell the size of the terminal."""
        self.send(SIZE, json.dumps({"Width": columns, "Height": rows}).encode())

    def messages(self) -> Iterator[tuple[int, bytes]]:
        """Channel and data of each message, until the server closes."""
        while head := self.file.read(2):
            opcode, length = head[0] & 0x0F, head[1]
            if length == 126:
                (length,) = struct.unpack(">H", self.file.read(2))
            elif length == 127:
                (length,) = struct.unpack(">Q", self.file.read(8))
            message = self.file.read(length)
            if opcode == CLOSE:
                return
            if message:
                yield message[0], message[1:]

    def read_until(self, text: bytes) -> bytes:
        """Standard output up to this text, or to its end."""
        got = b""
        for channel, data in self.messages():
            got += data if channel == STDOUT else b""
            if text in got:
                break
        return got

    def read_all(self) -> dict[int, bytes]:
        """All that is sent, by channel."""
        got = dict.fromkeys((STDOUT, STDERR, ENDED), b"")
        for channel, data in self.messages():
            got[channel] += data
        return got

    def close(self) -> None:
        """Go away."""
        self.file.close()
        self.socket.close()
