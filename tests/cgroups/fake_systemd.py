"""A systemd that is only a Unix socket: it answers D-Bus calls as a test tells it to.

    with FakeSystemd(path) as fake:
        fake.refuse["StartTransientUnit"] = [("org...UnitExists", "exists")]   # then it accepts
        fake.result = "failed"            # what becomes of jobs; None: they never end
        fake.calls                        # (member, body) in the order in which they came
        fake.units                        # name -> {property: (signature, value)}

`version` is what it says of itself. `unknown` are properties that it has never heard of.
`on_start(name, properties)` and `on_stop(name)` make a unit's cgroup, and remove it.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from jeepney import (
    Header,
    HeaderFields,
    Message,
    MessageType,
    Parser,
    new_error,
    new_method_return,
)
from jeepney.low_level import Endianness

UNIT_EXISTS = "org.freedesktop.systemd1.UnitExists"
NO_SUCH_UNIT = "org.freedesktop.systemd1.NoSuchUnit"
READ_ONLY = "org.freedesktop.DBus.Error.PropertyReadOnly"
MANAGER = "org.freedesktop.systemd1.Manager"

Properties = dict[str, tuple[str, Any]]


class FakeSystemd:
    """A thread that listens, and one for each connection."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.units: dict[str, Properties] = {}
        self.refuse: dict[str, list[tuple[str, str]]] = {}
        self.silent: set[str] = set()  # calls that are never answered
        self.unknown: set[str] = set()
        self.result: str | None = "done"
        self.version = "257"
        self.control_group = ""
        self.signal_first = False
        self.greeting = b"DATA\r\nOK 0123456789abcdef\r\n"
        self.on_start: Callable[[str, Properties], None] = lambda name, properties: None
        self.on_stop: Callable[[str], None] = lambda name: None
        self.jobs = 0
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen()
        self.thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> FakeSystemd:
        self.thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(30)

    def members(self) -> list[str]:
        """The calls so far, without those that every connection makes."""
        return [name for name, _ in self.calls if name not in ("Hello", "AddMatch", "Subscribe")]

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._attend, args=(connection,), daemon=True).start()

    def _attend(self, connection: socket.socket) -> None:
        with connection:
            try:
                self._converse(connection)
            except ConnectionError:
                return

    def _converse(self, connection: socket.socket) -> None:
        text = b""
        while not text.endswith(b"BEGIN\r\n"):
            piece = connection.recv(1)
            if not piece:
                return
            text += piece
        connection.sendall(self.greeting)
        parser = Parser()
        while data := connection.recv(65536):
            for message in parser.feed(data):
                for number, answer in enumerate(self._answers(message)):
                    connection.sendall(answer.serialise(serial=number + 1))

    def _answers(self, message: Message) -> list[Message]:
        member: str = message.header.fields[HeaderFields.member]
        self.calls.append((member, message.body))
        if self.refuse.get(member):
            name, text = self.refuse[member].pop(0)
            return [new_error(message, name, "s", (text,))]
        if member in self.silent:
            return []
        handler = getattr(self, "_" + member, None)
        if handler is None:
            return [new_method_return(message)]
        answers: list[Message] = handler(message)
        return answers

    # The calls

    def _StartTransientUnit(self, message: Message) -> list[Message]:  # noqa: N802
        name, _, pairs, _ = message.body
        properties = dict(pairs)
        for each in properties:
            if each in self.unknown:
                text = f"Cannot set property {each}, or unknown property."
                return [new_error(message, READ_ONLY, "s", (text,))]
        if name in self.units:
            return [new_error(message, UNIT_EXISTS, "s", (f"Unit {name} already exists.",))]
        self.units[name] = properties
        self.on_start(name, properties)
        return self._job(message, name)

    def _StopUnit(self, message: Message) -> list[Message]:  # noqa: N802
        name = message.body[0]
        if name not in self.units:
            return [new_error(message, NO_SUCH_UNIT, "s", (f"Unit {name} not loaded.",))]
        del self.units[name]
        self.on_stop(name)
        return self._job(message, name)

    def _ResetFailedUnit(self, message: Message) -> list[Message]:  # noqa: N802
        return [new_error(message, NO_SUCH_UNIT, "s", ("not loaded.",))]

    def _SetUnitProperties(self, message: Message) -> list[Message]:  # noqa: N802
        name, _, pairs = message.body
        self.units[name].update(dict(pairs))
        return [new_method_return(message)]

    def _Get(self, message: Message) -> list[Message]:  # noqa: N802
        interface, name = message.body
        values = {"Version": self.version, "ControlGroup": self.control_group}
        if interface != MANAGER:
            unit = next(iter(self.units), "gone")
            values["ControlGroup"] = f"{self.control_group}/system.slice/{unit}"
        return [new_method_return(message, "v", (("s", values[name]),))]

    def _GetAll(self, message: Message) -> list[Message]:  # noqa: N802
        unit = next(iter(self.units.values()), {})
        return [new_method_return(message, "a{sv}", (unit,))]

    def _job(self, message: Message, name: str) -> list[Message]:
        self.jobs += 1
        path = f"/org/freedesktop/systemd1/job/{self.jobs}"
        answer = new_method_return(message, "o", (path,))
        if self.result is None:
            return [answer]
        ended = _signal("JobRemoved", "uoss", (self.jobs, path, name, self.result))
        return [ended, answer] if self.signal_first else [answer, ended]


def _signal(member: str, signature: str, body: tuple[Any, ...]) -> Message:
    fields = {
        HeaderFields.path: "/org/freedesktop/systemd1",
        HeaderFields.interface: MANAGER,
        HeaderFields.member: member,
        HeaderFields.signature: signature,
    }
    return Message(Header(Endianness.little, MessageType.signal, 0, 1, 0, 0, fields), body)
