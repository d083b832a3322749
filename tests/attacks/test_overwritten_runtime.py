"""CVE-2019-5736: a container replaces the runtime's program through /proc/PID/exe."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.conftest import MakeContainer
from conformance.runtime import Container, Runtime
from conformance.test_namespaces import Pair

EVERYTHING = ["CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH"]


@pytest.fixture(autouse=True)
def program(runtime: Runtime) -> Iterator[Path]:
    """The program of the runtime, which must be the same at the end; repaired if not."""
    path = Path(runtime.program).resolve()
    before = path.read_bytes()
    yield path
    after = path.read_bytes()
    if after != before:
        path.write_bytes(before)
    assert after == before


def executable_of(pid: int) -> Path:
    """A way to the executable of a process."""
    return Path(f"/proc/{pid}/exe")


@pytest.mark.rows("R41", "R66")
@pytest.mark.parametrize("arguments", [["/proc/self/exe"], ["/proc/self/exe", "init"]])
def test_entry_point_is_the_runtime(container: Container, arguments: list[str]) -> None:
    """The process is whatever has just set up the container."""
    container.bundle.args(*arguments)
    if container.try_create().status == 0:
        container.runtime.run("start", container.id)
        container.wait_stopped()


@pytest.mark.rows("R66")
def test_interpreter_is_the_runtime(container: Container) -> None:
    """The same through the first line of a script."""
    container.bundle.file("/bin/evil", "#!/proc/self/exe\n", 0o755)
    container.bundle.args("/bin/evil")
    if container.try_create().status == 0:
        container.runtime.run("start", container.id)
        container.wait_stopped()


@pytest.mark.rows("R66", "R291")
def test_exec_of_the_runtime(container: Container) -> None:
    """The same through exec."""
    container.bundle.file("/bin/evil", "#!/proc/self/exe\n", 0o755)
    container.create().start()
    for command in ("/proc/self/exe", "/bin/evil"):
        container.exec(command)
    assert container.status() == "running"


@pytest.mark.rows("R36")
def test_init_cannot_be_written_from_the_host(container: Container) -> None:
    """Not even root of the host can open or change what the waiting init executes."""
    container.create()
    exe = executable_of(container.pid)
    before = exe.read_bytes()
    with pytest.raises(OSError):
        descriptor = os.open(exe, os.O_WRONLY)
        try:
            os.pwrite(descriptor, before[:1], 0)
        finally:
            os.close(descriptor)
    assert exe.read_bytes() == before


@pytest.mark.rows("R36")
def test_init_is_not_the_file_on_the_host(container: Container, program: Path) -> None:
    """What init executes is a copy, or a mount that cannot be written to."""
    container.create()
    target = os.readlink(executable_of(container.pid))
    if os.path.isfile(target) and os.path.samefile(target, executable_of(container.pid)):
        pytest.fail(f"init executes {target} of the host")


WRITE = """
for exe in /proc/[0-9]*/exe; do
  case $(readlink $exe) in */busybox|'') ;; *)
    tail -c 4 $exe >/dev/null && echo looked at $exe
    echo overwritten >>$exe && echo wrote to $exe
    echo overwritten | dd of=$exe conv=notrunc && echo wrote to $exe ;;
  esac
done 2>/dev/null
echo done
"""


@pytest.mark.rows("R36", "R131")
def test_write_from_a_neighbour(pair: Pair) -> None:
    """A container with the same processes writes to the init of another while that waits."""
    victim, evil = pair
    evil.bundle.sh("until [ -e /go ]; do sleep 0.02; done" + WRITE + "sleep 1000")
    evil.bundle.capability(*EVERYTHING)
    evil.create().start()
    victim.bundle.namespace("pid", f"/proc/{evil.pid}/ns/pid")
    victim.bundle.sh("echo works; sleep 1000")
    victim.create()
    before = executable_of(victim.pid).read_bytes()
    (evil.bundle.rootfs / "go").touch()
    output = evil.wait_output("done")
    assert "wrote" not in output
    assert executable_of(victim.pid).read_bytes() == before
    victim.start().wait_output("works")


HOLD = """
until [ -e /go ]; do sleep 0.02; done
for exe in /proc/[0-9]*/exe; do
  case $(readlink $exe) in */busybox|'') ;; *) exec 9<$exe && break;; esac
done 2>/dev/null
echo held
until [ -e /now ]; do sleep 0.02; done
{ echo overwritten >>/proc/self/fd/9 && echo wrote; } 2>/dev/null
echo done
sleep 1000
"""


@pytest.mark.rows("R36", "R131")
def test_write_after_init_has_gone(pair: Pair, make_container: MakeContainer) -> None:
    """The descriptor is opened for reading while init runs, and for writing when nothing does."""
    victim, evil = pair
    evil.bundle.sh(HOLD)
    evil.bundle.capability(*EVERYTHING)
    evil.create().start()
    victim.bundle.namespace("pid", f"/proc/{evil.pid}/ns/pid")
    victim.bundle.sh("echo works; sleep 1000")
    victim.create()
    (evil.bundle.rootfs / "go").touch()
    evil.wait_output("held")
    victim.start().wait_output("works")
    (evil.bundle.rootfs / "now").touch()
    assert "wrote" not in evil.wait_output("done")
    again = make_container()
    again.bundle.sh("echo works")
    assert again.finish() == "works\n"
