"""Attacks on the process that enters a container: on its descriptors, its memory, its program.

CVE-2016-9962, CVE-2019-5736, CVE-2022-29162 and CVE-2024-21626, as seen from a
container whose own process is hostile and waits for an exec.
"""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from conformance.runtime import TIMEOUT, Container, processes_in, wait_for
from conformance.test_terminal import ConsoleSocket
from tests.attacks.conftest import Outside

FAILED = 255
PTRACE = "CAP_SYS_PTRACE"


class Stall:
    """A socket that keeps whoever connects to it waiting, until it is released."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(0)
        self.fillers: list[socket.socket] = []
        while True:
            filler = socket.socket(socket.AF_UNIX)
            filler.setblocking(False)
            self.fillers.append(filler)
            if filler.connect_ex(str(path)) == errno.EAGAIN:
                break

    def release(self) -> None:
        """Accept everybody until the last one, who sends something."""
        self.listener.settimeout(TIMEOUT)
        for filler in self.fillers:
            filler.close()
        while True:
            connection, _ = self.listener.accept()
            with connection:
                if connection.recv(1):
                    return


def entered(container: Container) -> int:
    """The process that has entered the container and given up its privileges, or 0."""
    own = Path(f"/proc/{container.pid}/status").read_text()
    for pid in processes_in(container.bundle.cgroups_path):
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue
        if pid != container.pid and capabilities(status) == capabilities(own):
            return pid
    return 0


def capabilities(status: str) -> list[str]:
    """The lines on capabilities of a /proc/PID/status."""
    return [line for line in status.splitlines() if line.startswith("Cap")]


@pytest.mark.rows("R291")
def test_entering_process_cannot_be_looked_at(container: Container, workplace: Path) -> None:
    """CVE-2016-9962: its descriptors led from inside to the host.

    It is held at its last step, where it has no more privileges than whoever looks.
    """
    if container.runtime.name != "pyruntime":
        pytest.skip("other runtimes cannot be held up at this point")
    container.create().start()
    stall = Stall(workplace / "stall.sock")
    file = workplace / "pid"
    flags = ("--detach", "--pid-file", str(file), "--pidfd-socket", str(stall.path))
    command = container.runtime.command("exec", *flags, container.id, "sleep", "1001")
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        pid = wait_for(lambda: entered(container), "the process in the container")
        check_hidden(container, pid)
    finally:
        stall.release()
        assert process.wait(TIMEOUT) == 0
        os.kill(int(file.read_text()), signal.SIGKILL)
        os.waitpid(int(file.read_text()), 0)


def check_hidden(container: Container, pid: int) -> None:
    """Assert that root in the container cannot look into a process there."""
    status = Path(f"/proc/{pid}/status").read_text()
    inner = status[status.index("NSpid:") :].split("\n")[0].split()[-1]
    here = f"cd /proc/{inner} && read -r comm <comm && echo there"
    looks = [f"readlink {name}" for name in ("fd/0", "fd/1", "exe", "cwd", "root", "ns/mnt")]
    for look in [*looks, "cat environ", "cat maps", "cat <fd/0", "ls root/", "ls cwd/"]:
        result = container.exec("sh", "-c", f"{here} && {look}")
        assert result.stdout == "there\n" and result.status != 0, str(result)


def images() -> dict[str, str]:
    """The programs that the runtime consists of, and what they hold."""
    tree = Path(__file__).resolve().parent.parent.parent
    paths = [tree / "bin/pyruntime", tree / "pyruntime/init/pyruntime-init"]
    installed = tree / "build/installed/lib/pyruntime/pyruntime"
    for pattern in ("launcher/pyruntime-*", "init/pyruntime-init"):
        paths += installed.glob(pattern)
    paths.append(Path("/usr/bin/python3"))
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


@pytest.mark.rows("R291")
@pytest.mark.parametrize("program", ["/proc/self/exe", "/link", "/script"])
def test_program_that_is_the_runtime_itself(container: Container, program: str) -> None:
    """CVE-2019-5736: executing /proc/self/exe again gave a writable way to the runtime."""
    before = images()
    container.bundle.capability("CAP_DAC_OVERRIDE", PTRACE)
    os.symlink("/proc/self/exe", container.bundle.rootfs / "link")
    container.bundle.file("/script", "#!/proc/self/exe\n", 0o755)
    container.create().start()
    result = container.exec(program, "3", "4", "5")
    assert result.status != 0 and result.stdout == "", str(result)
    assert images() == before


@pytest.mark.rows("R291")
def test_image_of_the_entering_process_is_sealed(container: Container) -> None:
    """CVE-2019-5736: what waits in a created container is the image that exec starts, too."""
    container.bundle.capability("CAP_DAC_OVERRIDE", PTRACE)
    container.create()
    assert os.readlink(f"/proc/{container.pid}/exe").startswith("/memfd:")
    with pytest.raises(OSError):
        os.close(os.open(f"/proc/{container.pid}/exe", os.O_WRONLY))
    result = container.exec("sh", "-c", ": >/proc/1/exe && echo written")
    assert result.status != 0 and "written" not in result.stdout, str(result)


DESCRIPTORS = range(3, 20)


@pytest.mark.rows("R291", "R64", "R41")
@pytest.mark.parametrize("path", ["/proc/self/fd/{}", "/proc/self/fd/{}/../../..", "/link{}"])
def test_cwd_by_a_descriptor_of_the_runtime(
    container: Container, outside: Outside, path: str
) -> None:
    """CVE-2024-21626: such a cwd lay on the host. Descriptors of the caller are tried, too."""
    for number in DESCRIPTORS:
        link = container.bundle.rootfs / f"link{number}"
        link.symlink_to(f"/proc/self/fd/{number}")
    container.create().start()
    opened = f"8<{outside.path} 9<{outside.path}"
    for number in DESCRIPTORS:
        flags = ("--cwd", path.format(number))
        result = container.exec("cat", "secret", flags=flags, redirections=opened)
        assert result.status == FAILED and result.stdout == "", str(result)


@pytest.mark.rows("R291", "R64", "R41")
def test_cwd_by_a_descriptor_that_is_preserved(container: Container, outside: Outside) -> None:
    """CVE-2024-21626: whoever passes a directory on purpose passes no cwd with it."""
    container.create().start()
    flags = ("--preserve-fds", "1", "--cwd", "/proc/self/fd/3")
    result = container.exec("pwd", flags=flags, redirections=f"3<{outside.path}")
    assert result.status == FAILED and result.stdout == "", str(result)
    assert "outside of container mount namespace root" in result.stderr, str(result)


@pytest.mark.rows("R291", "R64", "R41")
def test_no_descriptor_of_the_runtime_is_left(container: Container, outside: Outside) -> None:
    """CVE-2024-21626."""
    container.create().start()
    opened = f"5<{outside.path} 9<{outside.path}"
    result = container.exec("ls", "-l", "/proc/self/fd/", redirections=opened)
    numbers = [line.split()[8] for line in result.stdout.splitlines() if "->" in line]
    assert sorted(numbers) == ["0", "1", "2"], str(result)
    assert str(outside.path) not in result.stdout


@pytest.mark.rows("R291", "R61")
@pytest.mark.parametrize("user", ["0", "1000"])
def test_no_capability_by_file_capabilities(container: Container, user: str) -> None:
    """CVE-2022-29162: inheritable bits let a file with capabilities give them to any user."""
    container.create().start()
    flags = ("--cap", "CAP_NET_RAW", "--user", user)
    result = container.exec("grep", "-E", "Cap(Inh|Amb)", "/proc/self/status", flags=flags)
    assert [int(line.split()[1], 16) for line in result.stdout.splitlines()] == [0, 0], str(result)


@pytest.mark.rows("R291", "R62")
@pytest.mark.parametrize("what", ["link", "file", "null"])
def test_multiplexer_that_is_none(
    container: Container, outside: Outside, workplace: Path, what: str
) -> None:
    """CVE-2025-52565: the terminal is opened below the root, by no link, on a devpts."""
    container.bundle.without_mount("/dev/pts").process["terminal"] = False
    container.bundle.capability("CAP_MKNOD")
    make = {"link": f"ln -s {outside.path}/ptmx", "file": "touch", "null": "mknod"}[what]
    target = "/dev/pts/ptmx c 1 3" if what == "null" else "/dev/pts/ptmx"
    script = f"mkdir -p /dev/pts; rm -f /dev/pts/ptmx; {make} {target}; echo done; sleep 1000"
    container.bundle.sh(script)
    container.create().start()
    container.wait_output("done")
    console = ConsoleSocket(workplace / "console.sock")
    try:
        flags = ("-d", "-t", "--console-socket", str(console.path))
        result = container.exec("true", flags=flags)
        assert result.status == FAILED, str(result)
        assert "symbolic link" in result.stderr or "another file system" in result.stderr
    finally:
        console.close()


@pytest.mark.rows("R291")
@pytest.mark.parametrize("kind", ["fifo", "link to a fifo", "huge file"])
def test_passwd_that_is_a_trap(container: Container, kind: str) -> None:
    """Reading HOME from the container must not hang, follow links, or use up memory."""
    passwd = container.bundle.rootfs / "etc/passwd"
    container.create().start()
    passwd.unlink()
    if kind == "fifo":
        os.mkfifo(passwd)
    elif kind == "link to a fifo":
        os.mkfifo(container.bundle.rootfs / "fifo")
        passwd.symlink_to("/fifo")
    else:
        with open(passwd, "wb") as file:
            file.truncate(1 << 40)
    result = container.exec("sh", "-c", "echo $HOME")
    assert (result.status, result.stdout) == (0, "/\n"), str(result)
