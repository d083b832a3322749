"""What is on the host of a container: the runtime's directory, cgroups, mounts, processes."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Any

from conformance.bundle import Bundle
from conformance.runtime import Container, Runtime, leftovers, wait_for

TREE = Path(__file__).resolve().parents[2]
PROGRAM = TREE / "bin/pyruntime"
CLONE_NEWUSER = 0x10000000


def can_make_user_namespace() -> bool:
    """Tried in a child, for a process cannot leave one again."""
    pid = os.fork()
    if pid == 0:
        os._exit(0 if ctypes.CDLL(None).unshare(CLONE_NEWUSER) == 0 else 1)
    return os.waitpid(pid, 0)[1] == 0


def map_ids(bundle: Bundle, first: int = 100000) -> None:
    """Give the bundle a user namespace whose ids begin at `first` on the host."""
    mapping = [{"containerID": 0, "hostID": first, "size": 65536}]
    bundle.namespace("user")
    bundle.linux["uidMappings"] = bundle.linux["gidMappings"] = mapping
    for path in [bundle.rootfs, *bundle.rootfs.rglob("*")]:
        if not (path.is_file() and path.name == "busybox"):  # a hard link that others share
            os.chown(path, first, first, follow_symlinks=False)


def reap() -> None:
    """Collect whatever of our (adopted) children has ended."""
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return
        except ChildProcessError:
            return


def init_processes(parent: int | None = None) -> list[int]:
    """Processes that run our init, and are children of `parent` if it is given."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            program = os.readlink(f"/proc/{entry}/exe")
            fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if program.startswith("/memfd:pyruntime-init") and parent in (None, int(fields[1])):
            found.append(int(entry))
    return found


class Host:
    """The traces of containers of one runtime."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    def names(self) -> list[str]:
        """What lies in the runtime's root, hidden or not; the cache of filters aside."""
        if not self.runtime.root.is_dir():
            return []
        return sorted(set(os.listdir(self.runtime.root)) - {"~seccomp"})

    def clean(self, container: Container) -> None:
        """Assert that nothing of a container is left: no state, cgroup, mount, process."""
        wait_for(
            lambda: not any(line.startswith("process: ") for line in self.leftovers(container)),
            f"the end of the processes of {container.id}",
        )
        found = self.leftovers(container)
        assert found == [], found
        assert [name for name in self.names() if container.id in name] == []
        wait_for(lambda: not self.inits(container), f"the end of the init of {container.id}")

    def inits(self, container: Container) -> list[int]:
        """Inits whose root file system, or working directory, is the container's bundle."""
        reap()
        found = []
        for pid in init_processes():
            try:
                mounts = Path(f"/proc/{pid}/mountinfo").read_text(errors="replace")
                place = os.readlink(f"/proc/{pid}/cwd")
            except OSError:
                continue
            if str(container.bundle.path) in mounts + place:
                found.append(pid)
        return found

    def leftovers(self, container: Container) -> list[str]:
        """What is left of a container, as texts."""
        return leftovers(self.runtime, container.id, container.bundle)


def plan_of(container: Container) -> list[dict[str, Any]]:
    """The operations of the container's create, as objects."""
    container.bundle.save()
    result = container.runtime.ok("plan", "--json", "--bundle", str(container.bundle.path))
    operations = result.json()
    assert isinstance(operations, list)
    return operations
