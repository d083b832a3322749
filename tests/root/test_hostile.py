"""What a hostile image, a careless caller or a stuck hook may try, beyond the known CVEs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from conformance.bundle import Bundle
from conformance.runtime import Container, Runtime, nothing_left, wait_for


@pytest.mark.rows("R41")
@pytest.mark.parametrize("pid", ["", "1", "4242"])
def test_listen_fds_of_somebody_else(pid: str, runtime: Runtime, bundle: Bundle) -> None:
    """An engine's own LISTEN_FDS must not hand its descriptor 3 to a container."""
    bundle.sh("ls -l /proc/self/fd; echo fds=$LISTEN_FDS").save()
    command = [str(runtime.program), "--root", str(runtime.root), "run", "-b", str(bundle.path)]
    result = subprocess.run(
        ["sh", "-c", 'exec 3</root; exec "$@"', "sh", *command, "listen"],
        env={**os.environ, "LISTEN_FDS": "1", "LISTEN_PID": pid},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    assert "/root" not in result.stdout
    assert "fds=\n" in result.stdout


@pytest.mark.rows("R154")
def test_exec_where_the_null_device_is_a_fifo(container: Container) -> None:
    """To open it must not hold exec up."""
    container.bundle.sh("rm /dev/null; mkfifo /dev/null; echo ready; sleep 1000")
    container.create().start()
    container.wait_output("ready")
    assert container.exec("echo", "hi").stdout == "hi\n"


@pytest.mark.rows("R41")
def test_closed_standard_descriptors_are_not_the_init_s(
    runtime: Runtime, bundle: Bundle, container: Container
) -> None:
    bundle.args("sleep", "1000").save()
    command = [str(runtime.program), "--root", str(runtime.root), "create", "-b", str(bundle.path)]
    words = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command, container.id]
    assert subprocess.run(words, timeout=60).returncode == 0
    pid = container.state()["pid"]
    for number in range(3):
        assert os.readlink(f"/proc/{pid}/fd/{number}") == "/dev/null"


@pytest.mark.rows("R36", "R293")
def test_forced_delete_spares_ids_that_begin_with_a_dot(runtime: Runtime, bundle: Bundle) -> None:
    container = Container(runtime, bundle, ".a.99999999")
    bundle.args("sleep", "1000")
    container.create().start()
    runtime.ok("delete", "--force", "a")
    assert container.status() == "running"
    container.delete("--force")


@pytest.mark.rows("R137", "R136")
def test_time_offsets_in_a_new_user_namespace(container: Container) -> None:
    maps = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    container.bundle.namespace("user").namespace("time")
    container.bundle.linux.update(uidMappings=maps, gidMappings=maps)
    container.bundle.linux["timeOffsets"] = {"boottime": {"secs": 1000000000}}
    assert container.bundle.path.stat().st_mode & 0o005, "the mapped root must reach the bundle"
    container.bundle.sh("cat /proc/uptime")
    assert float(container.finish().split()[0]) > 1000000000


@pytest.mark.rows("R90")
def test_more_binds_than_descriptors(container: Container) -> None:
    source = container.bundle.path / "source"
    source.mkdir()
    for number in range(1100):
        container.bundle.mount(f"/m/{number}", "bind", str(source), ["bind"])
    container.bundle.sh("grep -c ' /m/' /proc/self/mountinfo")
    assert container.finish().strip() == "1100"


@pytest.mark.rows("R1", "R293")
def test_forced_delete_ends_a_create_that_is_stuck_in_a_hook(
    runtime: Runtime, container: Container, bundle: Bundle, workplace: Path
) -> None:
    mark = workplace / "in-the-hook"
    bundle.hook("createRuntime", f"touch {mark}; exec sleep 40")
    bundle.save()
    command = [str(runtime.program), "--root", str(runtime.root), "create", "-b", str(bundle.path)]
    with subprocess.Popen([*command, container.id], stderr=subprocess.DEVNULL) as process:
        wait_for(mark.exists, "the hook")
        runtime.ok("delete", "--force", container.id)
        assert process.wait(60) != 0
    nothing_left(runtime, container.id, bundle)


TYPED = """
import os, pty, subprocess, sys
master, slave = pty.openpty()
read, write = os.pipe()
process = subprocess.Popen(sys.argv[1:], stdin=read, stdout=slave, stderr=slave)
os.close(read)
os.close(slave)
os.set_blocking(write, False)
try:
    while True:
        os.write(write, b"x" * 65536)
except BlockingIOError:
    pass
try:
    while os.read(master, 65536):
        pass
except OSError:
    pass
print("status", process.wait(60))
"""


@pytest.mark.rows("R62")
def test_typing_that_nobody_reads(runtime: Runtime, bundle: Bundle) -> None:
    """The terminal fills up; the program's end is seen all the same."""
    bundle.process["terminal"] = True
    bundle.sh("stty raw -echo; sleep 1; exit 7").save()
    command = [str(runtime.program), "--root", str(runtime.root), "run", "-b", str(bundle.path)]
    result = subprocess.run(
        [sys.executable, "-c", TYPED, *command, "typed"],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert "status 7" in result.stdout, result
