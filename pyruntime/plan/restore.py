"""The plans of restore: a process that becomes criu, and one that brings up the loopback."""

from __future__ import annotations

from pyruntime.plan import constants as c
from pyruntime.plan import mounts, namespaces, rootfs
from pyruntime.plan import operations as op
from pyruntime.plan.attributes import attach, mount_attr
from pyruntime.plan.builder import AT_FDCWD, Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyruntime.plan.settings import Settings

# Where criu finds its socket, and from there on the namespaces that it is to take as they are:
# above the few descriptors of the init, below the usual limit of open files.
SOCKET = 200
NAMESPACES = SOCKET + 1
DIRECTORY_MODE = 0o755
ENODEV = 19
EAFNOSUPPORT = 97


def restore(
    settings: Settings, place: str, program: str, environment: list[str], given: list[str]
) -> Plan:
    """Become criu, in the container's cgroup and in a mount namespace where its root is prepared.

    The root is mounted at `place`, for CRIU wants a mount point whose parent nothing covers.
    `given` are the types of the namespaces to be passed on. The runtime speaks with
    criu by the descriptor `criu`.
    """
    plan = Plan()
    for name in ("criu", *("namespace " + kind for kind in given)):
        plan.add(op.load_fd(plan.slot(name), settings.number(name)))
    plan.add(op.umask(0))
    plan.add(op.unshare(c.CLONE_NEWNS))
    slave = mount_attr(propagation=c.MS_SLAVE)
    plan.add(op.mount_setattr(AT_FDCWD, "/", c.AT_RECURSIVE, slave, -1))
    _make_mount_points(plan, settings, place)
    _attach_root(plan, settings, place)
    _enter_cgroup(plan, settings)
    plan.at = ""
    plan.add(op.dup3(plan.slot("criu"), SOCKET))
    for index, kind in enumerate(given):
        plan.add(op.dup3(plan.slot("namespace " + kind), NAMESPACES + index))
    plan.add(op.execve(program, ["criu", "swrk", str(SOCKET)], environment))
    return plan


def loopback(number: int) -> Plan:
    """Bring up the loopback of the network namespace that an inherited descriptor stands for."""
    plan = Plan()
    plan.at = ".linux.namespaces"
    plan.add(op.load_fd(plan.slot("network"), number))
    plan.add(op.setns(plan.slot("network"), c.NAMESPACES["network"]))
    plan.add(op.interface_up("lo"), (ENODEV, 0), (EAFNOSUPPORT, 0))
    plan.add(op.exit(0))
    return plan


def _attach_root(plan: Plan, settings: Settings, place: str) -> None:
    rootfs.open_root(plan, settings)
    target = plan.slot("target")
    plan.add(op.openat2(target, AT_FDCWD, place, c.O_PATH | c.O_DIRECTORY, 0, 0))
    plan.add(attach(plan.slot("root"), target))


def _make_mount_points(plan: Plan, settings: Settings, place: str) -> None:
    """Make what create would make in the root file system: it may be a new one.

    What lies on another file system than those of the host is in the images. Some mount
    points lie in the source of another mount, so these are there while the points
    are made, and not any more when CRIU comes.
    """
    _attach_root(plan, settings, place)
    covered: list[str] = []
    for index, mount in enumerate(settings.config.get("mounts") or ()):
        plan.at = f".mounts[{index}]"
        path = mounts.destination(mount)
        options = mounts.options_of(settings, index, mount)
        if options.remount or any((path + "/").startswith(above + "/") for above in covered):
            continue
        if options.bind:
            _bind(plan, settings, mount, path)
        else:
            point = plan.slot("target")
            plan.add(op.make_path(point, plan.slot("root"), path, DIRECTORY_MODE, -1))
            covered.append(path)
    plan.at = ".root.path"
    plan.add(op.umount2(place, c.MNT_DETACH))
    plan.close("root")


def _bind(plan: Plan, settings: Settings, mount: dict[str, object], path: str) -> None:
    copy, target = plan.slot("copy"), plan.slot("target")
    source = mounts.source_path(settings, mount)
    plan.add(op.open_tree(copy, AT_FDCWD, source, c.OPEN_TREE_CLONE | c.AT_RECURSIVE))
    plan.add(op.make_path(target, plan.slot("root"), path, DIRECTORY_MODE, copy))
    plan.add(attach(copy, target))
    plan.close("copy")


def _enter_cgroup(plan: Plan, settings: Settings) -> None:
    """The runtime makes the cgroup, then moves this process into it: what criu makes is born there.

    Limits and rules for devices are in force by then (R301).
    """
    plan.at = ".linux.cgroupsPath"
    plan.add(op.sync(namespaces.SYNC_DIRECTORIES, 0))
    namespaces.limit_devices(plan, settings)
    plan.at = ".linux.cgroupsPath"
    plan.add(op.sync(namespaces.SYNC_CGROUP, 0))
