"""What of a container is not CRIU's to save: mounts that come from outside, and namespaces.

CRIU knows an external mount by a name. Ours are the destinations as config.json has them, so
that restore finds them again without looking at the image; runc names them so too, unless a
link is in the way.
"""

from __future__ import annotations

import posix

from pyruntime import facts
from pyruntime.cgroups.directory import read_text
from pyruntime.cgroups.layout import unescape
from pyruntime.plan import cgroup_mounts, mount_options, mounts
from pyruntime.plan.devices import DEFAULT_DEVICES
from pyruntime.plan.restore import source_place
from pyruntime.request import clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyruntime.plan.settings import Settings

    Config = dict[str, Any]
    Pairs = list[dict[str, str]]

CGROUP_TYPES = ("cgroup", "cgroup2")
LINKS_LIMIT = 40
TYPE_MASK = 0o170000
REGULAR = 0o100000
PIPE = "pipe:["
FILE = "file["
# Namespaces that CRIU takes as they are, by name; others given by path are joined at restore.
BY_NAME = {"network": "extRootNetNS", "pid": "extRootPidNS"}
# What CRIU calls the others.
JOINED = {"ipc": "ipc", "uts": "uts", "user": "user", "time": "time"}


class Mount:
    """One line of mountinfo, proc_pid_mountinfo(5)."""

    __slots__ = ("device", "identifier", "kind", "point", "root")

    def __init__(self, line: str) -> None:
        head, _, tail = line.partition(" - ")
        fields = head.split(" ")
        self.identifier = int(fields[0])
        self.device, self.root, self.point = fields[2], unescape(fields[3]), unescape(fields[4])
        self.kind = tail.partition(" ")[0]


def mount_table(pid: int | str) -> list[Mount]:
    """The mounts that a process sees, in their order."""
    text = read_text(f"/proc/{pid}/mountinfo")
    return [Mount(line) for line in text.splitlines() if " - " in line]


def binds(config: Config) -> list[tuple[str, int, Config]]:
    """(destination, number, mount) of every bind mount that config.json asks for."""
    found = []
    for index, mount in enumerate(config.get("mounts") or ()):
        options = mount_options.parse(mount.get("options") or [])
        if options.bind and not options.remount:
            found.append(("/" + mounts.destination(mount), index, mount))
    return found


def resolve(rootfs: str, path: str) -> str:
    """Where a path leads, seen from the root, links followed; missing parts stay as they are.

    Only for a name: nothing is opened there.
    """
    parts, done, links = path.strip("/").split("/"), "", 0
    while parts:
        part = parts.pop(0)
        if part in ("", "."):
            continue
        if part == "..":
            done = done.rpartition("/")[0]
            continue
        try:
            target = posix.readlink(f"{rootfs}{done}/{part}")
        except OSError:
            done += "/" + part
            continue
        links += 1
        if links > LINKS_LIMIT:
            break
        done = "" if target.startswith("/") else done
        parts = [*target.split("/"), *parts]
    return done or "/"


def saved_mounts(config: Config, bundle: str, rootfs: str, pid: int) -> Pairs:
    """For a dump: the mount points of the container that come from outside, with their names."""
    table = mount_table(pid)
    points = {mount.point for mount in table}
    found = {path: path for path in _device_paths(config) if path in points}
    for destination, _, mount in binds(config):
        point = destination if destination in points else resolve(rootfs, destination)
        found[point] = destination
        for below in _below(table, point, found):
            if _is_submount(below, _source(mount, bundle), point):
                found[below.point] = destination + below.point[len(point) :]
    for mount in config.get("mounts") or ():
        if mount.get("type") in CGROUP_TYPES and not _is_new(config, "cgroup"):
            found.update(_saved_cgroups(table, "/" + mounts.destination(mount), rootfs))
    return [{"key": point, "val": name} for point, name in found.items()]


def _below(table: list[Mount], point: str, known: dict[str, str]) -> list[Mount]:
    return [
        each for each in table if each.point.startswith(point + "/") and each.point not in known
    ]


def _is_submount(below: Mount, source: str, point: str) -> bool:
    """Did it come with the source, by rbind? Then the same is mounted there on the host."""
    place = source + below.point[len(point) :]
    return any(
        (each.point, each.device, each.root) == (place, below.device, below.root)
        for each in mount_table("self")
    )


def _saved_cgroups(table: list[Mount], destination: str, rootfs: str) -> dict[str, str]:
    point = resolve(rootfs, destination)
    return {
        each.point: destination + each.point[len(point) :]
        for each in table
        if each.kind in CGROUP_TYPES and (each.point + "/").startswith(point + "/")
    }


def restored_mounts(settings: Settings, directory: str) -> Pairs:
    """For a restore: the names, each with what to mount there.

    `directory` is the container's, where the plan has mounted the sources.
    """
    config = settings.config
    found: dict[str, str] = {path: path for path in _device_paths(config)}
    table = mount_table("self")
    for destination, index, mount in binds(config):
        prepared = source_place(directory, index)
        found[destination] = prepared
        source = _source(mount, settings.bundle)
        for below in table:
            if below.point.startswith(source + "/"):
                rest = below.point[len(source) :]
                found.setdefault(destination + rest, prepared + rest)
    for mount in config.get("mounts") or ():
        if mount.get("type") in CGROUP_TYPES and not _is_new(config, "cgroup"):
            found.update(_restored_cgroups("/" + mounts.destination(mount), settings))
    return [{"key": name, "val": source} for name, source in found.items()]


def _source(mount: Config, bundle: str) -> str:
    source: str = mount.get("source") or ""
    return clean(source if source.startswith("/") else f"{bundle}/{source}").rstrip("/")


def _device_paths(config: Config) -> list[str]:
    """Where a user namespace has nodes of the host, by bind mounts (R150)."""
    named = (config.get("linux") or {}).get("devices") or ()
    return [*DEFAULT_DEVICES, *(each["path"] for each in named)]


def _restored_cgroups(destination: str, settings: Settings) -> dict[str, str]:
    """As cgroup_mounts.mount_cgroup lays them out."""
    hierarchies = cgroup_mounts.shown(settings)
    if {controller for controller, _, _ in hierarchies} == {cgroup_mounts.UNIFIED}:
        return {destination: hierarchies[0][2]}
    return {
        f"{destination}/{mountpoint.rsplit('/', 1)[-1]}": path
        for _, mountpoint, path in hierarchies
    }


def namespace_paths(config: Config) -> dict[str, str]:
    """Type to path, of the namespaces that are given by path."""
    given = (config.get("linux") or {}).get("namespaces") or ()
    return {each["type"]: each["path"] for each in given if each.get("path")}


def saved_namespaces(config: Config, pid: int) -> list[str]:
    """For a dump: network and pid namespaces that the container only joined."""
    found = []
    for kind in namespace_paths(config):
        if kind in BY_NAME:
            file = facts.NAMESPACE_FILES[kind]
            inode = posix.stat(f"/proc/{pid}/ns/{file}").st_ino
            found.append(f"{file}[{inode}]:{BY_NAME[kind]}")
    return found


def saved_streams(pid: int, created: list[str]) -> list[str]:
    """For a dump: what each of the standard streams is to be known by at restore.

    `created` is what they were when the container was made: a pipe may be held by others
    of its processes alone. A file of the host that the first process still has is given the
    name that CRIU has for external files; everything else stays as it is.
    """
    mounts_inside = {mount.identifier for mount in mount_table(pid)}
    names = list(created)
    for number in range(len(names)):
        outside = _outside_file(f"/proc/{pid}", number, mounts_inside)
        if outside:
            names[number] = outside
    return names


def _outside_file(process: str, number: int, mounts_inside: set[int]) -> str:
    """CRIU's name for a regular file on none of those mounts, "" for anything else."""
    try:
        about = posix.stat(f"{process}/fd/{number}")
        lines = read_text(f"{process}/fdinfo/{number}").splitlines()
    except OSError:
        return ""
    mount = next((int(line.split()[1]) for line in lines if line.startswith("mnt_id:")), -1)
    if about.st_mode & TYPE_MASK != REGULAR or mount in mounts_inside:
        return ""
    return f"{FILE}{mount:x}:{about.st_ino:x}]"


def _is_new(config: Config, kind: str) -> bool:
    given = (config.get("linux") or {}).get("namespaces") or ()
    return any(each["type"] == kind and not each.get("path") for each in given)
