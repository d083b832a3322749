"""A whole Debian in a container: its shell on a terminal, and its package manager."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.runtime import Container
from tests.root.host import Host

SUITE = "bookworm"
DEADLINE = 60.0
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
    done = subprocess.run(
        ["debootstrap", "--variant=minbase", SUITE, str(target)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=280,
    )
    if done.returncode != 0:
        lines = (done.stdout + done.stderr).strip().splitlines() or ["no reason given"]
        pytest.skip(f"debootstrap failed: {lines[-1]}")
    target.parent.chmod(0o755)
    yield target
    shutil.rmtree(target, ignore_errors=True)


@pytest.fixture
def bundled(container: Container, debian: Path) -> Container:
    """The container with Debian as its root."""
    container.bundle.config["root"]["path"] = str(debian)
    container.bundle.capability(*CAPABILITIES)
    container.bundle.mount("/tmp", "tmpfs", "tmpfs", ["mode=1777"])
    return container


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


@pytest.mark.slow
@pytest.mark.rows("R19", "R62", "R63", "R154")
def test_bash_on_a_terminal(bundled: Container, host: Host) -> None:
    bundled.bundle.args("/bin/bash", "--norc", "--noprofile")
    bundled.bundle.env("PS1=READY>")
    bundled.bundle.process["consoleSize"] = {"height": 33, "width": 77}
    console = created(bundled)
    try:
        bundled.start()
        console.wait("READY>")
        console.type("tty; stty size; echo $((6 * 7))-done")
        text = console.wait("42-done")
        assert "/dev/pts/0" in text
        assert "33 77" in text
        assert "no job control" not in text
        console.wait("READY>")
        console.type("sleep 1000")
        console.wait("sleep 1000")
        console.type("\x03")  # the terminal makes it SIGINT for the foreground job
        console.wait("READY>")
        console.type("echo $?-status")
        console.wait("130-status")
        console.type("exit 9")
        assert bundled.exit_status() == 9
    finally:
        os.close(console.descriptor)
    bundled.delete()
    host.clean(bundled)


@pytest.mark.slow
@pytest.mark.rows("R19", "R66")
def test_apt_lists_packages(bundled: Container, host: Host) -> None:
    bundled.bundle.args("apt", "list", "--installed")
    text = bundled.finish()
    assert "bash/" in text
    assert "apt/" in text
    bundled.delete()
    host.clean(bundled)


@pytest.mark.slow
def test_run_passes_the_callers_terminal_on(bundled: Container, host: Host) -> None:
    """`run` on a terminal: the program has one too, and its bytes go both ways."""
    if not bundled.runtime.lists_verb("run"):
        pytest.skip("no verb run")
    bundled.bundle.args("/bin/bash", "--norc", "--noprofile")
    bundled.bundle.env("PS1=READY>")
    bundled.bundle.process["terminal"] = True
    bundled.bundle.save()
    pid, master = pty.fork()
    if pid == 0:
        command = bundled.runtime.command("run", "-b", str(bundled.bundle.path), bundled.id)
        os.execv(command[0], command)
    fcntl.fcntl(master, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    console = Console(master)
    console.wait("READY>")
    console.type("echo $((6 * 7))-done")
    console.wait("42-done")
    console.wait("READY>")
    console.type("exit 5")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 5
    os.close(master)
    host.clean(bundled)
