"""Calls to systemd over D-Bus, with jeepney (imported here alone, and only under that driver).

One connection serves one command. The bus daemon is asked for if there is one; without it
the system's manager still listens on a socket of its own, for root.
"""

from __future__ import annotations

import _socket
import posix
import time

from pyruntime.errors import CgroupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SYSTEM_BUS = "/run/dbus/system_bus_socket"
PRIVATE = "/run/systemd/private"
MANAGER_PATH = "/org/freedesktop/systemd1"
MANAGER = "org.freedesktop.systemd1.Manager"
PROPERTIES = "org.freedesktop.DBus.Properties"
_SYSTEMD = "org.freedesktop.systemd1"
_DAEMON = "org.freedesktop.DBus"
_JOB_REMOVED = f"type='signal',sender='{_SYSTEMD}',interface='{MANAGER}',member='JobRemoved'"

# How long systemd may take for an answer or a job, in seconds.
PATIENCE = 30.0

# EXTERNAL without a name: the other end takes the kernel's word for who we are, which is also
# right inside a user namespace, where our own idea of our uid is not the bus's.
_GREETING = b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n"
_WELCOME = 4096  # bytes that the lines of a greeting's answer may take


class Unreachable(CgroupError):
    """There is no systemd to talk to, or it does not answer."""


class Refused(CgroupError):
    """systemd refused a call: `name` is the error's D-Bus name, `reason` its text."""

    def __init__(self, act: str, name: str, reason: str) -> None:
        self.name = name
        self.reason = reason
        super().__init__(f"systemd: {act}: {reason or name}")


class Bus:
    """A connection. Every method raises Unreachable when it breaks or takes too long."""

    def __init__(self, path: str | bytes, through_daemon: bool = True) -> None:
        self.where = path.decode() if isinstance(path, bytes) else path
        self.through_daemon = through_daemon
        self.jeepney = _load()
        self.parser = self.jeepney.Parser()
        self.serial = 0
        self.replies: dict[int, Any] = {}
        self.results: dict[str, str] = {}  # of the jobs that have ended
        self.socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        try:
            self._open(path)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the connection."""
        self.socket.close()

    def _open(self, path: str | bytes) -> None:
        try:
            self.socket.settimeout(PATIENCE)
            self.socket.connect(path)
            self.socket.sendall(_GREETING)
            self._await_welcome()
        except OSError as error:
            raise Unreachable(f"connect to D-Bus socket {self.where}: {_why(error)}") from error
        if self.through_daemon:
            serials = [
                self._post(_DAEMON, "/org/freedesktop/DBus", _DAEMON, "Hello", "", ()),
                self._post(
                    _DAEMON, "/org/freedesktop/DBus", _DAEMON, "AddMatch", "s", (_JOB_REMOVED,)
                ),
            ]
            for serial in serials:
                self._reply(serial, "greet the bus")
        self.call("Subscribe")

    def _await_welcome(self) -> None:
        """Read the lines of text that come before the first message, to the last byte."""
        text = b""
        while not text.endswith(b"\r\n") or not text.splitlines()[-1].startswith(b"OK "):
            if any(line.startswith((b"REJECTED", b"ERROR")) for line in text.splitlines()):
                raise Unreachable(f"D-Bus socket {self.where}: it does not let this user in")
            byte = self.socket.recv(1)
            text += byte
            if not byte or len(text) > _WELCOME:
                raise Unreachable(f"D-Bus socket {self.where}: it does not speak D-Bus")

    # Calls

    def call(
        self,
        member: str,
        signature: str = "",
        body: tuple[Any, ...] = (),
        path: str = MANAGER_PATH,
        interface: str = MANAGER,
    ) -> tuple[Any, ...]:
        """Call a method of systemd and return what it answers. Raises Refused."""
        serial = self._post(_SYSTEMD, path, interface, member, signature, body)
        return self._reply(serial, member)

    def get(self, name: str, path: str = MANAGER_PATH, interface: str = MANAGER) -> Any:
        """A property's value. Raises Refused."""
        (answer,) = self.call("Get", "ss", (interface, name), path, PROPERTIES)
        return answer[1]

    def await_job(self, job: str) -> str:
        """The result of a job that systemd has queued: done, failed, canceled, timeout, ..."""
        deadline = time.monotonic() + PATIENCE
        while job not in self.results:
            self._receive(deadline, "finish the job")
        return self.results[job]

    def _post(
        self,
        destination: str,
        path: str,
        interface: str,
        member: str,
        signature: str,
        body: tuple[Any, ...],
    ) -> int:
        address = self.jeepney.DBusAddress(path, bus_name=destination, interface=interface)
        message = self.jeepney.new_method_call(address, member, signature or None, body)
        if not self.through_daemon:
            message.header.fields.pop(self.jeepney.HeaderFields.destination, None)
        self.serial += 1
        try:
            self.socket.sendall(message.serialise(serial=self.serial))
        except OSError as error:
            raise Unreachable(f"D-Bus socket {self.where}: {_why(error)}") from error
        return self.serial

    def _reply(self, serial: int, act: str) -> tuple[Any, ...]:
        deadline = time.monotonic() + PATIENCE
        while serial not in self.replies:
            self._receive(deadline, f"answer {act}")
        message = self.replies.pop(serial)
        body: tuple[Any, ...] = message.body
        if message.header.message_type is self.jeepney.MessageType.error:
            name = message.header.fields.get(self.jeepney.HeaderFields.error_name, "")
            text = body[0] if body and isinstance(body[0], str) else ""
            raise Refused(act, name, text)
        return body

    def _receive(self, deadline: float, act: str) -> None:
        """Take in what has come, waiting for something if need be."""
        left = deadline - time.monotonic()
        try:
            self.socket.settimeout(max(left, 0.001))
            data = self.socket.recv(65536)
        except TimeoutError:
            raise Unreachable(f"systemd did not {act} in {PATIENCE:g} seconds") from None
        except OSError as error:
            raise Unreachable(f"D-Bus socket {self.where}: {_why(error)}") from error
        if not data:
            raise Unreachable(f"D-Bus socket {self.where}: closed by the other end")
        try:
            messages = self.parser.feed(data)
        except Exception as error:  # whatever jeepney makes of bytes that are no message
            raise Unreachable(f"D-Bus socket {self.where}: not understood: {error}") from error
        for message in messages:
            self._take(message)

    def _take(self, message: Any) -> None:
        fields, names = message.header.fields, self.jeepney.HeaderFields
        if names.reply_serial in fields:
            self.replies[fields[names.reply_serial]] = message
        elif fields.get(names.member) == "JobRemoved" and len(message.body) == 4:
            _, job, _, result = message.body
            self.results[job] = result


def connect(user: bool) -> Bus:
    """A connection to the system's manager, or to that of the user. Raises Unreachable."""
    addresses = user_addresses() if user else system_addresses()
    refusals: list[str] = []
    for path, through_daemon in addresses:
        try:
            return Bus(path, through_daemon)
        except Unreachable as error:
            refusals.append(str(error))
    where = "of the user's systemd " if user else ""
    hint = "; use the cgroupfs manager where systemd does not run"
    if not refusals:
        hint = "; set DBUS_SESSION_BUS_ADDRESS or XDG_RUNTIME_DIR, or use the cgroupfs manager"
    why = "; ".join(refusals) or "no address is known"
    raise Unreachable(f"cgroup manager systemd: no D-Bus {where}here: {why}{hint}")


def system_addresses() -> list[tuple[str | bytes, bool]]:
    """(socket, whether a bus daemon is behind it), in the order in which to try."""
    given = posix.environ.get(b"DBUS_SYSTEM_BUS_ADDRESS", b"").decode("utf-8", "surrogateescape")
    named: list[tuple[str | bytes, bool]] = [(path, True) for path in sockets(given)]
    if named:
        return named
    if not _is_socket(SYSTEM_BUS) and _is_socket(PRIVATE):
        return [(PRIVATE, False)]
    return [(SYSTEM_BUS, True)]


def user_addresses() -> list[tuple[str | bytes, bool]]:
    """As `system_addresses`, of the user's manager."""
    given = posix.environ.get(b"DBUS_SESSION_BUS_ADDRESS", b"").decode("utf-8", "surrogateescape")
    found: list[tuple[str | bytes, bool]] = [(path, True) for path in sockets(given)]
    directory = posix.environ.get(b"XDG_RUNTIME_DIR", b"").decode("utf-8", "surrogateescape")
    if directory:
        for path, through_daemon in (
            (directory + "/bus", True),
            (directory + "/systemd/private", False),
        ):
            if path not in [each for each, _ in found] and _is_socket(path):
                found.append((path, through_daemon))
        if not found:
            found.append((directory + "/bus", True))
    return found


def sockets(addresses: str) -> list[str | bytes]:
    """The Unix sockets of a D-Bus address list; an abstract one begins with a NUL byte."""
    found: list[str | bytes] = []
    for address in addresses.split(";"):
        transport, _, rest = address.partition(":")
        if transport != "unix":
            continue
        for pair in rest.split(","):
            key, _, value = pair.partition("=")
            if key == "path" and value:
                found.append(_unescape(value))
            elif key == "abstract" and value:
                found.append(b"\0" + _unescape(value).encode())
    return found


def _unescape(text: str) -> str:
    first, *rest = text.split("%")
    try:
        return first + "".join(chr(int(part[:2], 16)) + part[2:] for part in rest)
    except ValueError:
        return text


def _is_socket(path: str) -> bool:
    try:
        return posix.stat(path).st_mode & 0o170000 == 0o140000
    except OSError:
        return False


def _why(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer in {PATIENCE:g} seconds"
    return posix.strerror(error.errno or 0).lower()


def _load() -> Any:
    from pyruntime.packages import import_package

    try:
        return import_package("jeepney")
    except ModuleNotFoundError:
        raise Unreachable(
            "cgroup manager systemd: the Python package jeepney is not installed"
            " (pip install jeepney, or apt install python3-jeepney)"
        ) from None
