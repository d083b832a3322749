"""What compiling a plan needs to know of this process and host."""

from __future__ import annotations

import posix

INITIAL_USER_NAMESPACE = ["0", "0", "4294967295"]
DEFAULT_LAST_CAPABILITY = 40
NAMESPACE_FILES = {
    "pid": "pid",
    "network": "net",
    "mount": "mnt",
    "ipc": "ipc",
    "uts": "uts",
    "user": "user",
    "cgroup": "cgroup",
    "time": "time",
}


class Facts:
    """`bounding` and `permitted` are bit sets of capabilities; `last_capability` is a number.

    `in_user_namespace`: this process itself is in a user namespace that is not
    the initial one. `privileged`: it is root outside of any.
    """

    __slots__ = ("bounding", "euid", "in_user_namespace", "last_capability", "permitted")

    def __init__(
        self,
        euid: int = 0,
        in_user_namespace: bool = False,
        bounding: int = (1 << 41) - 1,
        permitted: int = (1 << 41) - 1,
        last_capability: int = DEFAULT_LAST_CAPABILITY,
    ) -> None:
        self.euid = euid
        self.in_user_namespace = in_user_namespace
        self.bounding = bounding
        self.permitted = permitted
        self.last_capability = last_capability

    @property
    def privileged(self) -> bool:
        return self.euid == 0 and not self.in_user_namespace

    @property
    def selinux(self) -> bool:
        """Is SELinux in force? Read only when a config asks."""
        return bool(read("/sys/fs/selinux/enforce"))

    @property
    def apparmor(self) -> bool:
        """Is AppArmor in force? Read only when a config asks."""
        return read("/sys/module/apparmor/parameters/enabled").startswith("Y")


def gather() -> Facts:
    """Read the facts from /proc."""
    status = read("/proc/self/status")
    return Facts(
        posix.geteuid(),
        read("/proc/self/uid_map").split() != INITIAL_USER_NAMESPACE,
        _mask(status, "CapBnd:"),
        _mask(status, "CapPrm:"),
        int(read("/proc/sys/kernel/cap_last_cap") or DEFAULT_LAST_CAPABILITY),
    )


def own_namespace(kind: str) -> tuple[int, int]:
    """Device and inode of a namespace of this process (namespaces(7))."""
    about = posix.stat("/proc/self/ns/" + NAMESPACE_FILES[kind])
    return about.st_dev, about.st_ino


def foreign_namespaces(pid: int) -> list[str]:
    """The types of namespace that a process has and this one is not in.

    Raises PermissionError, and FileNotFoundError or ProcessLookupError if it is gone.
    """
    return [kind for kind in NAMESPACE_FILES if _is_foreign(pid, kind)]


def _is_foreign(pid: int, kind: str) -> bool:
    about = posix.stat(f"/proc/{pid}/ns/{NAMESPACE_FILES[kind]}")
    return (about.st_dev, about.st_ino) != own_namespace(kind)


def read(path: str, limit: int = 1 << 16) -> str:
    """The text of a small file, empty if it does not exist."""
    try:
        descriptor = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    except FileNotFoundError:
        return ""
    try:
        return posix.read(descriptor, limit).decode("utf-8", "surrogateescape")
    finally:
        posix.close(descriptor)


def _mask(status: str, name: str) -> int:
    start = status.index(name) + len(name)
    return int(status[start : status.index("\n", start)], 16)
