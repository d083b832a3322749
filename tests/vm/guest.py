"""A running guest: start it or resume it, give it files, run a command in it.

    with Guest(machine) as guest:
        guest.boot(disk)                    or guest.resume(snapshot)
        guest.attach(tar)                   the file is /dev/vdb inside
        status = guest.run("cat /dev/vdb", 60.0, write)
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.vm.failures import Failure, GuestDied, TimedOut
from tests.vm.host import tail
from tests.vm.machine import Machine
from tests.vm.qmp import Monitor

BOOT_DEADLINE = 300.0
CONNECT_DEADLINE = 60.0
MAPPED_MEMORY = [{"capability": "mapped-ram", "state": True}]


def lines_of(stream: Iterator[bytes]) -> Iterator[dict[str, Any]]:
    """Messages, one a line of JSON, out of parts that end anywhere."""
    rest = b""
    for part in stream:
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            yield json.loads(line)


class Guest:
    """One QEMU process, with the directory for its sockets; both end with the context."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._place = Path(tempfile.mkdtemp(prefix="guest."))
        self._process: subprocess.Popen[bytes] | None = None
        self._deadline = 0.0

    def __enter__(self) -> Guest:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end()

    def boot(self, disk: Path, *, keep: bool = False) -> float:
        """Start from power on and wait for the agent; the guest's seconds since its boot."""
        self._start(self.machine.command(self._place, disk, keep=keep, incoming=False))
        self._deadline = time.monotonic() + BOOT_DEADLINE
        return float(next(self._messages)["ready"])

    def resume(self, memory: Path, disk: Path) -> None:
        """Continue a snapshot."""
        self._start(self.machine.command(self._place, disk, keep=False, incoming=True))
        self.monitor.execute("migrate-set-capabilities", capabilities=MAPPED_MEMORY)
        self.monitor.execute("migrate-incoming", uri=f"file:{memory}")
        self.wait_until("query-status", {"paused", "running"}, {"shutdown", "internal-error"})
        self.monitor.execute("cont")

    def save(self, memory: Path) -> None:
        """Write the guest's memory to a file and end it; its disk is as of that moment."""
        self.monitor.execute("stop")
        self.monitor.execute("migrate-set-capabilities", capabilities=MAPPED_MEMORY)
        self.monitor.execute("migrate", uri=f"file:{memory}")
        self.wait_until("query-migrate", {"completed"}, {"failed", "cancelled"})
        self.monitor.execute("quit")
        assert self._process is not None
        self._process.wait()

    def attach(self, file: Path) -> None:
        """Show a file to the guest, read only, as the next disk."""
        disk = {"driver": "file", "filename": str(file), "read-only": True}
        self.monitor.execute(
            "blockdev-add", driver="raw", file=disk, **{"node-name": "tree", "read-only": True}
        )
        self.monitor.execute("device_add", driver="virtio-blk-pci", drive="tree", addr="0x8")

    def run(self, script: str, seconds: float, write: Callable[[bytes], None]) -> int:
        """Run a bash script in the guest, pass on what it writes, return its status.

        Raises TimedOut after `seconds`, GuestDied if the machine ends before the script.
        """
        self._deadline = time.monotonic() + seconds
        request = json.dumps({"script": script, "time": time.time()}).encode() + b"\n"
        self._agent.sendall(request)
        for message in self._messages:
            if "output" in message:
                write(base64.b64decode(message["output"]))
            if "exit" in message:
                return int(message["exit"])
        raise GuestDied("the guest ended without a word")

    def end(self) -> None:
        """Stop the machine and remove its directory."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._place, ignore_errors=True)

    def wait_until(self, query: str, good: set[str], bad: set[str]) -> None:
        """Ask QEMU until the status is one of `good`; Failure if it is one of `bad`."""
        while (status := self.monitor.execute(query).get("status")) not in good:
            if status in bad:
                raise Failure(f"QEMU's {query} says {status}")
            time.sleep(0.01)

    def _start(self, command: list[str]) -> None:
        with open(self._place / "errors", "wb") as errors:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors
            )
        self.monitor = Monitor(self._connect("qmp"))
        self._agent = self._connect("agent")
        self._messages = lines_of(self._parts())

    def _connect(self, name: str) -> socket.socket:
        deadline = time.monotonic() + CONNECT_DEADLINE
        connection = socket.socket(socket.AF_UNIX)
        while True:
            try:
                connection.connect(str(self._place / name))
                return connection
            except OSError as error:
                self._check_alive()
                if time.monotonic() > deadline:
                    raise GuestDied(f"no connection to QEMU: {error.strerror}") from None
                time.sleep(0.01)

    def _parts(self) -> Iterator[bytes]:
        """What the agent sends, until the deadline."""
        while True:
            left = self._deadline - time.monotonic()
            if left <= 0 or not select.select([self._agent], [], [], left)[0]:
                raise TimedOut("the time is over" + self.last_words())
            try:
                part = self._agent.recv(65536)
            except ConnectionResetError:
                part = b""
            if not part:
                raise GuestDied("the guest ended" + self.last_words())
            yield part

    def _check_alive(self) -> None:
        assert self._process is not None
        if self._process.poll() is not None:
            raise GuestDied(f"QEMU ended with {self._process.returncode}{self.last_words()}")

    def last_words(self) -> str:
        """The end of what QEMU and the guest's kernel printed, for a failure's text."""
        found = ""
        for name in ("errors", "console"):
            path = self._place / name
            text = tail(path.read_bytes()) if path.exists() and os.path.getsize(path) else ""
            found += f"\n-- {name}:\n{text}" if text else ""
        return found
