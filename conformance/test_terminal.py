"""Terminals: process.terminal and consoleSize, --console-socket, and `run` on a terminal."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import stat
import struct
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.bundle import Bundle
from conformance.runtime import TIMEOUT, Container, Deadline, Runtime, nothing_left

departs = pytest.mark.departs


class Terminal:
    """The master side of a pseudoterminal."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.text = ""

    def wait_text(self, text: str) -> str:
        """Read until `text` was read; all that was read so far."""
        end = Deadline()
        while text not in self.text:
            assert end.left(), f"no {text!r} in {self.text!r}"
            if not self._read(min(1, end.left())):
                raise AssertionError(f"closed, and no {text!r} in {self.text!r}")
            end.look(self.text)
        return self.text

    def wait_end(self) -> str:
        """Read until the other side is closed; all that was read."""
        end = Deadline()
        while self._read(min(1, end.left())):
            assert end.left(), f"still open after {self.text!r}"
            end.look(self.text)
        return self.text

    def _read(self, seconds: float) -> bool:
        """Read once; False at the end, which the kernel reports as EIO."""
        if not select.select([self.descriptor], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self.descriptor, 65536)
        except OSError:
            return False
        self.text += data.decode(errors="replace")
        return bool(data)

    def write(self, text: str) -> None:
        """Type."""
        os.write(self.descriptor, text.encode())

    def set_size(self, rows: int, columns: int) -> None:
        """Change the size; the foreground process group gets a SIGWINCH."""
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self.descriptor, termios.TIOCSWINSZ, size)


class ConsoleSocket:
    """A listening socket that receives the master of a container's terminal."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX)
        directory = os.open(path.parent, os.O_PATH)
        self.socket.bind(f"/proc/self/fd/{directory}/{path.name}")
        os.close(directory)
        self.socket.listen()
        self.socket.settimeout(TIMEOUT)
        self.descriptors: list[int] = []

    def receive(self) -> tuple[bytes, list[int]]:
        """The data and the descriptors of the message, when the sender has gone."""
        connection, _ = self.socket.accept()
        connection.settimeout(TIMEOUT)
        with connection:
            data, descriptors, _, _ = socket.recv_fds(connection, 4096, 8)
            self.descriptors += descriptors
            assert connection.recv(1) == b""
        return data, list(descriptors)

    def terminal(self) -> Terminal:
        """The terminal that arrived."""
        _, descriptors = self.receive()
        assert len(descriptors) == 1
        return Terminal(descriptors[0])

    def close(self) -> None:
        """Close the socket and all that it received."""
        self.socket.close()
        for descriptor in self.descriptors:
            os.close(descriptor)


@pytest.fixture
def console(workplace: Path) -> Iterator[ConsoleSocket]:
    """A console socket."""
    console = ConsoleSocket(workplace / "console.sock")
    yield console
    console.close()


def create_on(console: ConsoleSocket, container: Container) -> Terminal:
    """Create a container with a terminal; its master."""
    container.bundle.process["terminal"] = True
    container.create("--console-socket", str(console.path))
    return console.terminal()


# --console-socket


@pytest.mark.rows("R62", "R290")
def test_message_on_the_console_socket(container: Container, console: ConsoleSocket) -> None:
    container.bundle.process["terminal"] = True
    container.create("--console-socket", str(console.path))
    data, descriptors = console.receive()
    assert 0 < len(data) < 4096
    assert len(descriptors) == 1
    assert os.isatty(descriptors[0])
    assert stat.S_ISCHR(os.fstat(descriptors[0]).st_mode)


@pytest.mark.rows("R62")
def test_terminal_is_stdio(
    container: Container, bundle: Bundle, console: ConsoleSocket
) -> None:
    bundle.sh("for fd in 0 1 2; do readlink /proc/self/fd/$fd; [ -t $fd ] && echo tty; done")
    terminal = create_on(console, container)
    container.start()
    lines = terminal.wait_end().split("\r\n")
    assert lines[1::2] == ["tty"] * 3
    assert len(set(lines[0:6:2])) == 1
    assert lines[0].startswith("/dev/")
    assert container.output() == ""


@pytest.mark.rows("R62")
def test_terminal_carries_both_ways(
    container: Container, bundle: Bundle, console: ConsoleSocket
) -> None:
    bundle.sh("stty -echo; echo ready; read line; echo got $line; exit 4")
    terminal = create_on(console, container)
    container.start()
    terminal.wait_text("ready")
    terminal.write("some words\n")
    terminal.wait_text("got some words\r\n")
    assert container.exit_status() == 4


@pytest.mark.rows("R62")
def test_terminal_is_the_controlling_one(
    container: Container, bundle: Bundle, console: ConsoleSocket
) -> None:
    bundle.sh("trap 'echo interrupted; exit 5' INT; echo to tty >/dev/tty; read line")
    terminal = create_on(console, container)
    container.start()
    terminal.wait_text("to tty\r\n")
    terminal.write("\x03")
    terminal.wait_text("interrupted\r\n")
    assert container.exit_status() == 5


@pytest.mark.rows("R62")
def test_dev_console_is_the_terminal(
    container: Container, bundle: Bundle, console: ConsoleSocket
) -> None:
    bundle.sh("echo by console >/dev/console; stat -L -c '%t %T' /dev/console /proc/self/fd/0")
    terminal = create_on(console, container)
    container.start()
    lines = terminal.wait_end().split("\r\n")
    assert lines[0] == "by console"
    assert lines[1] == lines[2]


@pytest.mark.rows("R62", "R67")
def test_terminal_belongs_to_the_user(
    container: Container, bundle: Bundle, console: ConsoleSocket
) -> None:
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    bundle.sh("stat -L -c %u /proc/self/fd/0; echo opened >$(readlink /proc/self/fd/0)")
    terminal = create_on(console, container)
    container.start()
    assert terminal.wait_end().split("\r\n")[:2] == ["1000", "opened"]


@pytest.mark.rows("R63")
@pytest.mark.parametrize("rows, columns", [(24, 80), (33, 121)])
def test_console_size(
    container: Container, bundle: Bundle, console: ConsoleSocket, rows: int, columns: int
) -> None:
    bundle.process["consoleSize"] = {"height": rows, "width": columns}
    bundle.args("stty", "size")
    terminal = create_on(console, container)
    container.start()
    assert terminal.wait_end() == f"{rows} {columns}\r\n"


@pytest.mark.rows("R63")
def test_console_size_is_ignored_without_terminal(container: Container, bundle: Bundle) -> None:
    bundle.process["consoleSize"] = {"height": 24, "width": 80}
    bundle.args("echo", "ran")
    assert container.finish() == "ran\n"


@pytest.mark.rows("R62")
def test_resize(container: Container, bundle: Bundle, console: ConsoleSocket) -> None:
    bundle.sh("trap 'stty size' WINCH; echo ready; while :; do sleep 0.1; done")
    terminal = create_on(console, container)
    container.start()
    terminal.wait_text("ready")
    terminal.set_size(44, 99)
    terminal.wait_text("44 99\r\n")


@pytest.mark.rows("R62")
def test_end_of_the_container_closes_the_terminal(
    container: Container, bundle: Bundle, console: ConsoleSocket
) -> None:
    bundle.args("echo", "bye")
    terminal = create_on(console, container)
    container.start()
    assert terminal.wait_end() == "bye\r\n"


@pytest.mark.rows("R62")
@departs("runc", "R62 1.1 cannot connect to a long path")
def test_long_path_of_the_console_socket(container: Container, workplace: Path) -> None:
    directory = workplace / ("d" * 100)
    directory.mkdir()
    console = ConsoleSocket(directory / "console.sock")
    terminal = create_on(console, container)
    assert os.isatty(terminal.descriptor)
    console.close()


@pytest.mark.rows("R62")
@departs("crun", "R62 1.8 allocates a terminal that nobody reads")
def test_terminal_without_console_socket(container: Container, bundle: Bundle) -> None:
    bundle.process["terminal"] = True
    assert "console socket" in container.refused()


@pytest.mark.rows("R62")
@departs("crun", "R62 ignores the socket")
def test_console_socket_without_terminal(container: Container, console: ConsoleSocket) -> None:
    assert "console socket" in container.refused("--console-socket", str(console.path))


@pytest.mark.rows("R62")
def test_console_socket_that_is_not_there(
    container: Container, bundle: Bundle, workplace: Path
) -> None:
    bundle.process["terminal"] = True
    container.refused("--console-socket", str(workplace / "nobody.sock"))


@pytest.mark.rows("R62")
def test_console_socket_where_nobody_listens(
    container: Container, bundle: Bundle, console: ConsoleSocket
) -> None:
    bundle.process["terminal"] = True
    console.socket.close()
    container.refused("--console-socket", str(console.path))


# run on a terminal


class OnTerminal:
    """`run`, or another verb, as the session leader of a terminal of ours."""

    def __init__(
        self,
        container: Container,
        rows: int = 25,
        columns: int = 81,
        words: tuple[str, ...] = ("run",),
    ) -> None:
        container.bundle.process["terminal"] = True
        container.bundle.save()
        master, self.slave = os.openpty()
        self.terminal = Terminal(master)
        self.terminal.set_size(rows, columns)
        self.attributes = termios.tcgetattr(self.slave)
        command = container.runtime.command(
            *words, "--bundle", str(container.bundle.path), container.id
        )
        leader = (
            "import fcntl, os, sys, termios;"
            "os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
        )
        self.process = subprocess.Popen(
            ["/usr/bin/python3", "-IS", "-c", leader, *command],
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
        )

    def close(self) -> None:
        """End what is left, and close."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.slave)
        os.close(self.terminal.descriptor)


@pytest.fixture
def on_terminal(container: Container) -> Iterator[type[OnTerminal]]:
    """The class OnTerminal, whose instances are closed after the test."""
    made: list[OnTerminal] = []

    class Tracked(OnTerminal):
        def __init__(self, container: Container, rows: int = 25, columns: int = 81) -> None:
            made.append(self)
            super().__init__(container, rows, columns)

    yield Tracked
    for instance in made:
        instance.close()


@pytest.mark.rows("R62", "R290")
def test_run_on_a_terminal(
    runtime: Runtime, container: Container, bundle: Bundle, on_terminal: type[OnTerminal]
) -> None:
    bundle.sh("stty -echo; echo ready; read line; echo got $line; exit 6")
    run = on_terminal(container)
    run.terminal.wait_text("ready\r\n")
    run.terminal.write("hello\n")
    run.terminal.wait_text("got hello\r\n")
    assert run.process.wait(TIMEOUT) == 6
    assert termios.tcgetattr(run.slave) == run.attributes
    nothing_left(runtime, container.id, bundle)


@pytest.mark.rows("R62", "R63")
@departs("crun", "R62 1.8 does not copy the first size")
def test_run_takes_the_size_of_our_terminal(
    container: Container, bundle: Bundle, on_terminal: type[OnTerminal]
) -> None:
    bundle.sh(
        "trap 'stty size' WINCH; echo ready; "
        "while [ \"$(stty size)\" != '33 77' ]; do sleep 0.1; done; echo first size; "
        "while [ \"$(stty size)\" != '44 99' ]; do sleep 0.1; done; echo second size"
    )
    run = on_terminal(container, 33, 77)
    run.terminal.wait_text("first size")
    run.terminal.set_size(44, 99)
    run.terminal.wait_text("second size")
    assert run.process.wait(TIMEOUT) == 0


@pytest.mark.rows("R62")
def test_interrupt_reaches_the_container(
    container: Container, bundle: Bundle, on_terminal: type[OnTerminal]
) -> None:
    """Our terminal is raw meanwhile: ^C is a byte for the container's terminal."""
    bundle.sh("trap 'echo interrupted; exit 8' INT; echo ready; while :; do sleep 0.1; done")
    run = on_terminal(container)
    run.terminal.wait_text("ready")
    run.terminal.write("\x03")
    run.terminal.wait_text("interrupted")
    assert run.process.wait(TIMEOUT) == 8


@pytest.mark.rows("R62")
def test_much_output_arrives_whole(
    container: Container, bundle: Bundle, on_terminal: type[OnTerminal]
) -> None:
    bundle.sh("seq 1 20000; echo the end")
    run = on_terminal(container)
    run.terminal.wait_text("the end\r\n")
    assert run.process.wait(TIMEOUT) == 0
    numbers = run.terminal.text.split("\r\n")[:20000]
    assert numbers == [str(number) for number in range(1, 20001)]


@pytest.mark.rows("R62")
def test_signal_to_run_on_a_terminal(
    container: Container, bundle: Bundle, on_terminal: type[OnTerminal]
) -> None:
    bundle.sh("trap 'echo caught; exit 9' TERM; echo ready; while :; do sleep 0.1; done")
    run = on_terminal(container)
    run.terminal.wait_text("ready")
    run.process.send_signal(signal.SIGTERM)
    run.terminal.wait_text("caught")
    assert run.process.wait(TIMEOUT) == 9
