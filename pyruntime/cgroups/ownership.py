"""Whether a container may manage its own v2 cgroup, and which files that takes (row R164)."""

from __future__ import annotations

from pyruntime.cgroups.directory import read_text
from pyruntime.request import clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def delegation(config: dict[str, Any]) -> int | None:
    """The host uid that the container's v2 cgroup is to belong to, or None to leave it.

    It goes to the host uid of process.user.uid, and only if the container gets a cgroup
    namespace of its own and sees the hierarchy writable at /sys/fs/cgroup.
    """
    namespaces = (config.get("linux") or {}).get("namespaces") or ()
    new = any(one.get("type") == "cgroup" and not one.get("path") for one in namespaces)
    if not new or not any(_writable(mount) for mount in config.get("mounts") or ()):
        return None
    user = (config.get("process") or {}).get("user") or {}
    return host_uid(config, user.get("uid") or 0)


def host_uid(config: dict[str, Any], uid: int) -> int | None:
    """The host's uid of a container's uid.

    None if the mappings leave it out, or if they are not in the config because the user
    namespace is joined by path.
    """
    linux = config.get("linux") or {}
    users = [one for one in linux.get("namespaces") or () if one.get("type") == "user"]
    if not users:
        return uid
    for mapping in linux.get("uidMappings") or ():
        offset: int = uid - mapping["containerID"]
        if 0 <= offset < mapping["size"]:
            host: int = mapping["hostID"]
            return host + offset
    return None


def _writable(mount: dict[str, Any]) -> bool:
    return (
        mount.get("source") == "cgroup"
        and clean(mount["destination"]) == "/sys/fs/cgroup"
        and "ro" not in (mount.get("options") or ())
    )


def delegated_files() -> list[str]:
    """The files of a cgroup that may be given away: what the kernel says, or the three of old."""
    try:
        names = read_text("/sys/kernel/cgroup/delegate").split()
    except OSError:
        return ["cgroup.procs", "cgroup.subtree_control", "cgroup.threads"]
    return [name for name in names if "/" not in name]
