"""process.selinuxLabel and linux.mountLabel: labels read back from the kernel."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import pytest

from conformance.runtime import Container
from tests.root.host import Host

MOUNTED = Path("/sys/fs/selinux")
CONTAINER_TYPES = ("container_t", "svirt_lxc_net_t")
LEVEL = "s0:c11,c22"
KEYCTL_GET_SECURITY = 17


def known(context: str) -> bool:
    """Whether the loaded policy has such a context."""
    try:
        descriptor = os.open(MOUNTED / "context", os.O_RDWR)
    except OSError:
        return False
    try:
        os.write(descriptor, context.encode() + b"\0")
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


@pytest.fixture(scope="session")
def label() -> str:
    """A label for processes that the policy of this host knows."""
    if not (MOUNTED / "enforce").exists():
        pytest.skip("SELinux is not enabled on this host")
    for kind in CONTAINER_TYPES:
        context = f"system_u:system_r:{kind}:{LEVEL}"
        if known(context):
            return context
    pytest.skip("the SELinux policy has no type for containers")


@pytest.fixture(scope="session")
def file_label(label: str) -> str:
    """A label for files that goes with it."""
    for kind in ("container_file_t", "svirt_sandbox_file_t"):
        context = f"system_u:object_r:{kind}:{LEVEL}"
        if known(context):
            return context
    pytest.skip("the SELinux policy has no type for files of containers")


def of_process(pid: int) -> str:
    """The label of a process."""
    return Path(f"/proc/{pid}/attr/current").read_text().rstrip("\0\n")


def of_key(number: int) -> str:
    """The label of a key or keyring, by keyctl(2)."""
    call = {"x86_64": 250, "aarch64": 219}.get(os.uname().machine)
    if call is None:
        pytest.skip(f"needs the number of keyctl(2) on {os.uname().machine}")
    text = ctypes.create_string_buffer(256)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(call, KEYCTL_GET_SECURITY, number, text, len(text)) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return text.value.decode()


@pytest.mark.rows("R73")
@pytest.mark.parametrize("promise", [False, True], ids=["", "noNewPrivileges"])
def test_the_process_has_its_label(container: Container, label: str, promise: bool) -> None:
    container.bundle.process["selinuxLabel"] = label
    container.bundle.process["noNewPrivileges"] = promise
    container.bundle.sh("cat /proc/self/attr/current; sleep 1000")
    container.create()
    assert of_process(container.pid) != label  # it is for the program alone
    container.start()
    assert container.wait_output("container_t").rstrip("\0\n") == label
    assert of_process(container.pid) == label


@pytest.mark.rows("R73", "R291")
def test_exec_has_it_too(container: Container, label: str) -> None:
    container.bundle.process["selinuxLabel"] = label
    container.create().start()
    result = container.exec("cat", "/proc/self/attr/current")
    assert result.stdout.rstrip("\0\n") == label, str(result)
    other = label.replace("c22", "c33")
    result = container.exec("cat", "/proc/self/attr/current", flags=("--process-label", other))
    assert result.stdout.rstrip("\0\n") == other, str(result)


@pytest.mark.rows("R73", "R36", "R1")
def test_a_label_that_the_policy_has_not(container: Container, label: str, host: Host) -> None:
    container.bundle.process["selinuxLabel"] = "no:such:label:s0"
    error = container.refused()
    assert 'process.selinuxLabel: set \\"no:such:label:s0\\"' in error
    assert "the SELinux policy has no such label" in error
    host.clean(container)


@pytest.mark.rows("R73", "R220")
def test_the_session_keyring_has_it(container: Container, label: str) -> None:
    """Or the program could not use it, for it is made before the program is there."""
    container.bundle.process["selinuxLabel"] = label
    container.bundle.sh("cat /proc/self/attr/keycreate; echo end; sleep 1000")
    container.create().start()
    assert container.wait_output("end").strip("\0\n") == "end"  # and no label for keys stays
    keys = Path("/proc/keys").read_text() if Path("/proc/keys").exists() else ""
    if f"_ses.{container.id}" not in keys:
        pytest.skip("the keyring cannot be seen from here")
    line = next(line for line in keys.splitlines() if f"_ses.{container.id}" in line)
    assert of_key(int(line.split()[0], 16)) == label


@pytest.mark.rows("R217")
def test_new_file_systems_have_the_mount_label(
    container: Container, label: str, file_label: str
) -> None:
    """Those that the container gets of its own; what is bound keeps its labels."""
    bundle = container.bundle
    bundle.process["selinuxLabel"] = label
    bundle.linux["mountLabel"] = file_label
    bundle.linux["maskedPaths"] = ["/sys/firmware"]
    bundle.mount("/data", "tmpfs", "tmpfs", ["mode=755"])
    source = bundle.path / "source"
    source.mkdir()
    bundle.mount("/bound", "bind", str(source), ["bind"])
    container.create().start()
    root = f"/proc/{container.pid}/root"
    for place in ("/dev", "/dev/shm", "/data"):
        found = os.getxattr(root + place, "security.selinux").rstrip(b"\0").decode()
        assert (place, found) == (place, file_label)
    bound = os.getxattr(root + "/bound", "security.selinux")
    assert bound == os.getxattr(source, "security.selinux")


@pytest.mark.rows("R73", "R4")
def test_a_host_without_selinux(container: Container) -> None:
    """A label that nothing would enforce is refused."""
    if (MOUNTED / "enforce").exists():
        pytest.skip("SELinux is enabled on this host")
    container.bundle.process["selinuxLabel"] = "system_u:system_r:container_t:s0"
    assert "SELinux is not enabled on this host" in container.refused()
