"""NOTIFY_SOCKET: a service manager, played by this test, learns when a container is ready."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.runtime import Container, wait_for
from tests.root.host import Host, map_ids

# Goes to the directory first: another user could not walk there.
SENDER = """
import os, socket, sys
user, path, *messages = sys.argv[1:]
os.chdir(os.path.dirname(path))
os.setresgid(int(user), int(user), int(user))
os.setresuid(int(user), int(user), int(user))
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.connect(os.path.basename(path))
for each in messages:
    s.send(each.replace("|", chr(10)).encode())
"""


class Manager:
    """What systemd does with NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address.replace("@", "\0"))
        self.socket.settimeout(30)
        self.env = {**os.environ, "NOTIFY_SOCKET": address}

    def next(self) -> str:
        """The next message; a descriptor with it is closed, which answers a barrier."""
        data, rights, _, _ = socket.recv_fds(self.socket, 4096, 4)
        for descriptor in rights:
            os.close(descriptor)
        return data.decode()

    def quiet(self) -> bool:
        self.socket.setblocking(False)
        try:
            self.next()
        except BlockingIOError:
            return True
        return False


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, workplace: Path) -> Iterator[Manager]:
    path = str(workplace / "manager")
    manager = Manager(path if request.param == "path" else "@" + path)
    yield manager
    manager.socket.close()


def say(container: Container, *messages: str, user: int = 0) -> None:
    """Send datagrams, | for a newline, through the mount that the container has."""
    wait_for(lambda: socket_of(container), "the socket for the container")
    path = f"/proc/{container.pid}/root/run/notify/notify.sock"
    command = ["/usr/bin/python3", "-c", SENDER, str(user), path]
    subprocess.run([*command, *messages], check=True)


def socket_of(container: Container) -> bool:
    path = container.runtime.root / container.id / "notify/notify.sock"
    return path.is_socket() and stat.S_IMODE(path.stat().st_mode) == 0o777


def begin(container: Container, manager: Manager, *arguments: str) -> subprocess.Popen[bytes]:
    """Run a verb in the background."""
    return subprocess.Popen(
        container.runtime.command(*arguments), env=manager.env, stdin=subprocess.DEVNULL
    )


@pytest.mark.rows("R297")
def test_start_waits_for_ready_and_passes_it_on(container: Container, manager: Manager) -> None:
    container.bundle.args("/bin/sleep", "1000")
    container.create(env=manager.env)
    start = begin(container, manager, "start", container.id)
    say(container, "STATUS=warming up", "STATUS=warm|READY=1|MAINPID=7")
    assert manager.next() == "READY=1"
    assert manager.next() == f"MAINPID={container.pid}"
    assert start.poll() is None
    assert manager.next() == "BARRIER=1"
    assert start.wait(30) == 0
    assert manager.quiet()
    container.delete("--force")
    assert not (container.runtime.root / container.id).exists()


@pytest.mark.rows("R297")
def test_start_returns_when_the_container_ends(container: Container, manager: Manager) -> None:
    container.bundle.args("/bin/true")
    container.create(env=manager.env).start(env=manager.env).wait_stopped()
    assert manager.quiet()


@pytest.mark.rows("R297")
def test_what_the_container_sees(container: Container, workplace: Path) -> None:
    manager = Manager(str(workplace / "manager"))
    container.bundle.sh("echo $NOTIFY_SOCKET; grep ' /run/notify ' /proc/self/mountinfo")
    container.create(env=manager.env).start().wait_stopped()
    address, mount = container.output().splitlines()
    assert address == "/run/notify/notify.sock"
    assert {"ro", "nosuid", "nodev", "noexec"} <= set(mount.split()[5].split(","))


@pytest.mark.rows("R297")
def test_a_user_namespace_can_notify(container: Container, workplace: Path) -> None:
    manager = Manager(str(workplace / "manager"))
    map_ids(container.bundle)
    container.bundle.args("/bin/sleep", "1000")
    container.create(env=manager.env)
    start = begin(container, manager, "start", container.id)
    say(container, "READY=1", user=100000)
    assert manager.next() == "READY=1"
    assert manager.next().startswith("MAINPID=") and manager.next() == "BARRIER=1"
    assert start.wait(30) == 0


@pytest.mark.rows("R297")
def test_run_in_the_foreground_names_itself(
    container: Container, workplace: Path, host: Host
) -> None:
    manager = Manager(str(workplace / "manager"))
    container.bundle.args("/bin/sleep", "1000")
    container.bundle.save()
    files = ["--bundle", str(container.bundle.path), "--pid-file", str(container.pid_file)]
    run = begin(container, manager, "run", *files, container.id)
    wait_for(lambda: socket_of(container), "the socket for the container")
    container.pid = int(container.pid_file.read_text())
    say(container, "STATUS=not yet", "READY=1")
    assert [manager.next(), manager.next()] == ["READY=1", f"MAINPID={run.pid}"]
    container.kill("KILL")
    assert run.wait(30) == 128 + 9
    host.clean(container)


@pytest.mark.rows("R297")
def test_run_detached_names_the_container(container: Container, workplace: Path) -> None:
    manager = Manager(str(workplace / "manager"))
    container.bundle.args("/bin/sleep", "1000")
    container.bundle.save()
    files = ["--bundle", str(container.bundle.path), "--pid-file", str(container.pid_file)]
    run = begin(container, manager, "run", "--detach", *files, container.id)
    wait_for(lambda: socket_of(container), "the socket for the container")
    container.pid = int(container.pid_file.read_text())
    say(container, "READY=1")
    said = [manager.next() for _ in range(3)]
    assert said == ["READY=1", f"MAINPID={container.pid}", "BARRIER=1"]
    assert run.wait(30) == 0


@pytest.mark.rows("R297")
def test_a_start_that_was_killed_is_repeated(container: Container, workplace: Path) -> None:
    manager = Manager(str(workplace / "manager"))
    container.bundle.args("/bin/true")
    container.create(env=manager.env)
    stale = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    stale.bind(str(container.runtime.root / container.id / "notify/notify.sock"))
    stale.close()
    container.start(env=manager.env).wait_stopped()


@pytest.mark.rows("R297")
def test_a_manager_that_is_gone_stops_nobody(container: Container, workplace: Path) -> None:
    env = {**os.environ, "NOTIFY_SOCKET": str(workplace / "nobody")}
    container.bundle.args("/bin/sleep", "1000")
    container.create(env=env)
    start = subprocess.Popen(container.runtime.command("start", container.id), env=env)
    say(container, "READY=1")
    assert start.wait(30) == 0


@pytest.mark.rows("R297")
def test_the_names_of_activated_sockets(container: Container, workplace: Path) -> None:
    (workplace / "file").write_text("")
    container.bundle.sh("echo $LISTEN_FDS $LISTEN_PID $LISTEN_FDNAMES")
    env = {**os.environ, "LISTEN_FDS": "1", "LISTEN_FDNAMES": "web"}
    given = {"env": env, "redirections": f"3<{workplace / 'file'}"}
    assert container.finish(before="export LISTEN_PID=$$", **given) == "1 1 web\n"
