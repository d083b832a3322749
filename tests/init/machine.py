"""Drive the init by itself: give it a plan, speak with it, read its results.

done = perform([op.umask(0), op.exit(3)])      to its end: .status, .failed, .errors
with Init([...]) as init:                      step by step: .receive(), .answer(), .wait()
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from pyruntime.plan.encode import encode, results_size
from pyruntime.plan.operation import Operation

PROGRAM = Path(__file__).resolve().parents[2] / "pyruntime/init/pyruntime-init"
SLOTS = 32
TIMEOUT = 60
EMPTY = struct.pack("<Qiiq", 0, -1, 0, 0)
EBADMSG = 74


class Done:
    """How an init ended.

    `status` is the exit status, negative for a signal. `failed` is the index of
    the operation that ended the plan, -1 if none did, and `error` its errno.
    `values` and `errors` are the results of each operation.
    """

    def __init__(self, status: int, content: bytes, messages: list[tuple[int, int, int]]) -> None:
        self.status = status
        self.begin, self.failed, self.error, self.detail = struct.unpack_from("<Qiiq", content)
        rows = list(struct.iter_unpack("<qiiQ", content[24:]))
        self.values = [row[0] for row in rows]
        self.errors = [row[1] for row in rows]
        self.ends = [row[3] for row in rows]
        self.messages = messages

    @property
    def rejected(self) -> bool:
        """Was the plan refused before any of it was performed?"""
        return (self.status, self.failed, self.error, self.begin) == (1, 0, EBADMSG, 0)


def memory(content: bytes) -> int:
    """A file in memory."""
    descriptor = os.memfd_create("test")
    os.write(descriptor, content)
    return descriptor


class Init:
    """A started init on the bytes of a plan."""

    def __init__(
        self,
        plan: Sequence[Operation] | bytes,
        *,
        failure: tuple[int, int] = (-1, 0),
        results: bytes | None = None,
        inherit: Sequence[int] = (),
        command: Sequence[str] = (str(PROGRAM),),
        **options: Any,
    ) -> None:
        if not isinstance(plan, bytes):
            results = EMPTY + bytes(results_size(list(plan)) - len(EMPTY))
            plan = encode(list(plan), SLOTS, failure)
        self.results = memory(EMPTY + bytes(24 * 64) if results is None else results)
        self.ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.ours.settimeout(TIMEOUT)
        numbers = [memory(plan), self.results, theirs.fileno()]
        options.setdefault("stdin", subprocess.DEVNULL)
        options.setdefault("stdout", subprocess.PIPE)
        self.process = subprocess.Popen(
            [*command, *map(str, numbers)],
            pass_fds=[*numbers, *inherit],
            stderr=subprocess.DEVNULL,
            env={},
            **options,
        )
        theirs.close()
        os.close(numbers[0])
        self.messages: list[tuple[int, int, int]] = []

    def __enter__(self) -> Init:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
        self.ours.close()
        os.close(self.results)

    def receive(self) -> tuple[int, int, int] | None:
        """The next message as (kind, index, value); None when the init has left."""
        data = self.ours.recv(16)
        if not data:
            return None
        kind, index, value = struct.unpack("<IIq", data)
        self.messages.append((kind, index, value))
        return kind, index, value

    def answer(self) -> None:
        """Let it go on after a sync."""
        self.ours.send(b".")

    def wait(self) -> Done:
        """Wait for its end."""
        output, _ = self.process.communicate(timeout=TIMEOUT)
        self.output = output or b""
        while True:
            try:
                if self.receive() is None:
                    break
            except ConnectionResetError:
                break
        size = os.fstat(self.results).st_size
        return Done(self.process.returncode, os.pread(self.results, size, 0), self.messages)


def perform(plan: Sequence[Operation] | bytes, **options: Any) -> Done:
    """Perform a plan to its end. Nobody answers its syncs."""
    with Init(plan, **options) as init:
        return init.wait()


def output(plan: Sequence[Operation], **options: Any) -> str:
    """What the program wrote that the plan became."""
    with Init(plan, **options) as init:
        done = init.wait()
        assert done.failed == -1, (done.failed, os.strerror(done.error))
        return init.output.decode()
