"""What a compile is given: the config, and what the host side has decided."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyruntime.facts import Facts
    from pyruntime.plan.mount_options import MountOptions


class Settings:
    """The input of a compile. Nothing in here is read from the host during it.

    `bundle` and `rootfs` are absolute paths. `cgroups` maps each controller to
    (mount point, absolute directory of the container), `staying` the hierarchies in which it
    gets none to the cgroup of the runtime, in which it stays. `descriptors` maps names
    (fifo, report, console, pidfd, hook:N) to the numbers that the init
    inherits; a plan made only to be printed has none. `home` is the HOME that
    the image's /etc/passwd gives (R65). `preserve` counts the descriptors from 3
    upward that the container keeps, of which `listen_fds`, named by `listen_names`,
    come from socket activation. `notify` is the address in the container of the
    socket for its readiness, if there is one. `umask` is the caller's. `seccomp` is the
    compiled filter, if any; `device_program` what decides over devices in a v2 cgroup.
    """

    def __init__(self, config: dict[str, Any], facts: Facts) -> None:
        self.config = config
        self.facts = facts
        self.identifier = "container"
        self.bundle = "/"
        self.rootfs = "/rootfs"
        self.cgroups: dict[str, tuple[str, str]] = {}
        self.staying: dict[str, tuple[str, str]] = {}
        self.descriptors: dict[str, int] = {}
        self.home = "/"
        self.preserve = 0
        self.listen_fds = 0
        self.listen_names = ""
        self.notify = ""
        self.no_pivot = False
        self.no_new_keyring = False
        self.umask = 0o022
        self.seccomp: Any = None
        self.device_program = b""
        # What has been worked out of the config, which stays as it is during a compile.
        self.mount_options: dict[int, MountOptions] = {}
        self._namespaces: dict[str, str] | None = None

    @property
    def linux(self) -> dict[str, Any]:
        linux: dict[str, Any] = self.config.get("linux") or {}
        return linux

    @property
    def process(self) -> dict[str, Any]:
        process: dict[str, Any] = self.config.get("process") or {}
        return process

    def namespaces(self) -> dict[str, str]:
        """Type to path; the empty path means a new namespace (R130, R131)."""
        if self._namespaces is None:
            given = self.linux.get("namespaces") or ()
            self._namespaces = {each["type"]: each.get("path") or "" for each in given}
        return self._namespaces

    def is_new(self, kind: str) -> bool:
        """Does the container get a new namespace of this type?"""
        return self.namespaces().get(kind) == ""

    def shows_cgroups(self) -> bool:
        """Is there a mount in which the container sees its cgroups?"""
        mounts = self.config.get("mounts") or ()
        return any(mount.get("type") in ("cgroup", "cgroup2") for mount in mounts)

    def hooks(self, kind: str) -> list[dict[str, Any]]:
        hooks: list[dict[str, Any]] = (self.config.get("hooks") or {}).get(kind) or []
        return hooks

    def number(self, name: str) -> int:
        """The inherited descriptor of that name, -1 in a plan that is only printed."""
        return self.descriptors.get(name, -1)

    def maps(self, kind: str, identifier: int) -> bool:
        """Does the new user namespace map this container id? kind: uidMappings, gidMappings."""
        return any(
            each["containerID"] <= identifier < each["containerID"] + each["size"]
            for each in self.linux.get(kind) or ()
        )
