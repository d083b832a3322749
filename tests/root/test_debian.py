"""A whole Debian in a container: its shell on a terminal, and its package manager."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import shutil
import socket
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conformance.conftest import MakeContainer
from conformance.runtime import Container, wait_for
from tests.root.host import Host

SUITE = "bookworm"
DEADLINE = 60.0
PATIENCE = 600
CAPABILITIES = (
    "CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_FSETID CAP_SETGID CAP_SETUID CAP_SETFCAP"
).split()


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The root file system of a minimal Debian."""
    if os.environ.get("OFFLINE"):
        pytest.skip("OFFLINE is set: debootstrap would download")
    if shutil.which("debootstrap") is None:
        pytest.skip("no debootstrap")
    target = tmp_path_factory.mktemp("debian") / "rootfs"
    command = ["debootstrap", "--variant=minbase", SUITE, str(target)]
    options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True}
    try:
        done = subprocess.run(command, timeout=PATIENCE, **options)
    except subprocess.TimeoutExpired:
        pytest.skip(f"debootstrap took more than {PATIENCE} s")
    if done.returncode != 0:
        lines = (done.stdout + done.stderr).strip().splitlines() or ["no reason given"]
        pytest.skip(f"debootstrap failed: {lines[-1]}")
    target.parent.chmod(0o755)
    yield target
    shutil.rmtree(target, ignore_errors=True)


class Console:
    """The master of the container's terminal."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.text = ""

    def wait(self, text: str) -> str:
        """Wait until the text comes; what came before it. The rest is kept."""
        end = time.monotonic() + DEADLINE
        while text not in self.text:
            left = end - time.monotonic()
            assert left > 0, f"no {text!r} in {self.text!r}"
            if select.select([self.descriptor], [], [], left)[0]:
                self.text += os.read(self.descriptor, 4096).decode(errors="replace")
        before, _, self.text = self.text.partition(text)
        return before

    def foreground(self) -> str:
        """The name of the process that leads the terminal's foreground: whom keys reach."""
        group = struct.unpack("i", fcntl.ioctl(self.descriptor, termios.TIOCGPGRP, bytes(4)))[0]
        try:
            return Path(f"/proc/{group}/comm").read_text().strip()
        except FileNotFoundError:
            return ""

    def type(self, line: str) -> None:
        os.write(self.descriptor, line.encode() + b"\n")


def created(container: Container) -> Console:
    """Create the container on a terminal."""
    container.bundle.process["terminal"] = True
    path = container.runtime.workplace / "console"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)
        container.create("--console-socket", str(path))
        connection, _ = listener.accept()
    _, descriptors, _, _ = socket.recv_fds(connection, 100, 1)
    connection.close()
    return Console(descriptors[0])


# One test, for the sake of one debootstrap: side by side each process would have its own.
@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.rows("R19", "R62", "R63", "R66", "R154")
def test_debian(debian: Path, make_container: MakeContainer, host: Host) -> None:
    for part in (bash_on_a_terminal, apt_lists_packages, run_passes_the_terminal_on):
        container = make_container()
        container.bundle.config["root"]["path"] = str(debian)
        container.bundle.capability(*CAPABILITIES)
        container.bundle.mount("/tmp", "tmpfs", "tmpfs", ["mode=1777"])
        part(container)
        host.clean(container)


def bash_on_a_terminal(container: Container) -> None:
    """Its size, job control, and what a key does."""
    container.bundle.args("/bin/bash", "--norc", "--noprofile").env("PS1=READY>")
    container.bundle.process["consoleSize"] = {"height": 33, "width": 77}
    console = created(container)
    try:
        container.start()
        assert "no job control" not in console.wait("READY>")
        console.type("tty; stty size; echo $((6 * 7))-done")
        text = console.wait("42-done")
        assert "/dev/pts/0" in text
        assert "33 77" in text
        console.wait("READY>")
        console.type("(echo $((5 * 5))-sleeps; exec sleep 1000)")
        console.wait("25-sleeps")
        wait_for(lambda: console.foreground() == "sleep", "sleep in the foreground")
        os.write(console.descriptor, b"\x03")  # the terminal makes it SIGINT for the job
        console.wait("READY>")
        console.type("echo $?-status")
        console.wait("130-status")
        console.wait("READY>")
        console.type("exit 9")
        assert container.exit_status() == 9
    finally:
        os.close(console.descriptor)
    container.delete()


def apt_lists_packages(container: Container) -> None:
    container.bundle.args("apt", "list", "--installed")
    text = container.finish()
    assert "bash/" in text
    assert "apt/" in text
    container.delete()


def run_passes_the_terminal_on(container: Container) -> None:
    """`run` on a terminal: the program has one too, and bytes go both ways."""
    container.bundle.args("/bin/bash", "--norc", "--noprofile").env("PS1=READY>")
    container.bundle.process["terminal"] = True
    container.bundle.save()
    pid, master = pty.fork()
    if pid == 0:
        command = container.runtime.command("run", "-b", str(container.bundle.path), container.id)
        os.execv(command[0], command)
    console = Console(master)
    try:
        console.wait("READY>")
        console.type("echo $((6 * 7))-done")
        console.wait("42-done")
        console.wait("READY>")
        console.type("exit 5")
        wait_for_end(console)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 5
    finally:
        os.close(master)


def wait_for_end(console: Console) -> None:
    """Read until nobody has the terminal open any more."""
    try:
        while os.read(console.descriptor, 4096):
            pass
    except OSError:  # EIO
        pass
