"""Device nodes and the links of /dev (requirements R42, R150 to R154)."""

from __future__ import annotations

from pyruntime.plan import constants as c
from pyruntime.plan import operations as op
from pyruntime.plan.attributes import attach
from pyruntime.plan.builder import AT_FDCWD, Plan
from pyruntime.plan.mounts import destination

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyruntime.plan.settings import Settings

EPERM = 1
ENOENT = 2
EEXIST = 17
DEFAULT_MODE = 0o666
DIRECTORY_MODE = 0o755
TYPES = {"c": c.S_IFCHR, "u": c.S_IFCHR, "b": c.S_IFBLK, "p": c.S_IFIFO}
DEFAULT_DEVICES = {
    "/dev/null": (1, 3),
    "/dev/zero": (1, 5),
    "/dev/full": (1, 7),
    "/dev/random": (1, 8),
    "/dev/urandom": (1, 9),
    "/dev/tty": (5, 0),
}
LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
}


def device_number(major: int, minor: int) -> int:
    """The kernel's packed form of a device number, makedev(3)."""
    return (minor & 0xFF) | (major & 0xFFF) << 8 | (minor & ~0xFF) << 12


def wanted(settings: Settings) -> list[tuple[str, dict[str, Any]]]:
    """Every device to make, with the JSON path that asks for it; the config's own entry wins."""
    named = settings.linux.get("devices") or []
    paths = {each["path"].rstrip("/") for each in named}
    result = [
        (".linux.devices", {"path": path, "type": "c", "major": major, "minor": minor})
        for path, (major, minor) in DEFAULT_DEVICES.items()
        if path not in paths and not dev_is_bound(settings)
    ]
    return result + [(f".linux.devices[{i}]", each) for i, each in enumerate(named)]


def dev_is_bound(settings: Settings) -> bool:
    """Is /dev itself a bind mount? Then it is somebody else's and stays as it is (R42, R154)."""
    return any(
        destination(mount) == "dev" and {"bind", "rbind"} & set(mount.get("options") or ())
        for mount in settings.config.get("mounts") or ()
    )


def open_host_nodes(plan: Plan, settings: Settings) -> None:
    """A user namespace may not make nodes: take the host's, by bind mount (R150)."""
    if _may_make_nodes(settings):
        return
    for at, device in wanted(settings):
        if device["type"] != "p":
            plan.at = at
            slot = plan.slot("device " + device["path"])
            plan.add(op.open_tree(slot, AT_FDCWD, device["path"], c.OPEN_TREE_CLONE))
            plan.add(
                op.expect_device(slot, TYPES[device["type"]], device["major"], device["minor"])
            )


def make_all(plan: Plan, settings: Settings) -> None:
    """Make the nodes, then the links that engines and shells rely on."""
    for at, device in wanted(settings):
        plan.at = at
        _make(plan, device)
    if not dev_is_bound(settings):
        plan.at = ".linux.devices"
        _make_links(plan, settings)


def _may_make_nodes(settings: Settings) -> bool:
    return settings.facts.privileged and "user" not in settings.namespaces()


def _make(plan: Plan, device: dict[str, Any]) -> None:
    directory, _, name = device["path"].strip("/").rpartition("/")
    root, parent, node = plan.slot("root"), plan.slot("parent"), plan.slot("node")
    bound = plan.slots.get("device " + device["path"])
    if bound is not None:
        target = plan.slot("target")
        plan.add(op.make_path(target, root, device["path"], DIRECTORY_MODE, bound))
        plan.add(attach(bound, target))
        plan.add(op.close(bound))
        return
    plan.add(op.make_path(parent, root, directory, DIRECTORY_MODE, -1))
    kind = TYPES[device["type"]]
    mode = device.get("fileMode", DEFAULT_MODE) & 0o7777
    number = device_number(device.get("major", 0), device.get("minor", 0))
    uid, gid = device.get("uid") or 0, device.get("gid") or 0
    owner = op.fchownat(parent, name, uid, gid, c.AT_SYMLINK_NOFOLLOW)
    plan.attempt((EEXIST,), op.mknodat(parent, name, kind | mode, number), owner)
    if kind != c.S_IFIFO:  # what was there already must be this very device (R150, CVE-2025-31133)
        flags = c.O_PATH | c.O_NOFOLLOW
        plan.add(op.openat2(node, parent, name, flags, 0, c.IN_ROOT))
        plan.add(op.expect_device(node, kind, device["major"], device["minor"]))


def _make_links(plan: Plan, settings: Settings) -> None:
    """The links are made where /dev really is, below the root (CVE-2026-41579).

    The ones to /proc only if /proc is there (R42).
    """
    dev, proc = plan.slot("dev"), plan.slot("node")
    root = plan.slot("root")
    plan.add(op.make_path(dev, root, "dev", DIRECTORY_MODE, -1))
    links = [op.symlinkat(target, dev, name) for name, target in LINKS.items()]
    plan.add(op.openat2(proc, root, "proc/self/fd", c.O_PATH, 0, c.IN_ROOT), (ENOENT, len(links)))
    for link in links:
        plan.add(link, (EEXIST, 0))
    # An image's own /dev/ptmx, or a devtmpfs's, is the host's multiplexer: replace it (R154).
    plan.add(op.unlinkat(dev, "ptmx", 0), (ENOENT, 0))
    plan.add(op.symlinkat("pts/ptmx", dev, "ptmx"))
