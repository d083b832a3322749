"""The plans of restore: a process that becomes criu, and one that brings up the loopback."""

from __future__ import annotations

from pyruntime.plan import constants as c
from pyruntime.plan import mounts, namespaces, rootfs
from pyruntime.plan import operations as op
from pyruntime.plan.attributes import attach, mount_attr
from pyruntime.plan.builder import AT_FDCWD, Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyruntime.plan.settings import Settings

# Where criu finds its socket, and from there on the namespaces that it is to take as they are:
# above the few descriptors of the init, below the usual limit of open files.
SOCKET = 200
NAMESPACES = SOCKET + 1
# Mount points in the container's directory.
ROOT = "criu-root"
SOURCES = "criu-mounts"
IMAGES = "images"
IMAGES_OWNER = "images owner"  # the descriptor of a user namespace
DIRECTORY_MODE = 0o755
ENODEV = 19
EINVAL = 22
EOPNOTSUPP = 95
EAFNOSUPPORT = 97


def restore(
    settings: Settings,
    directory: str,
    images: str,
    program: str,
    environment: list[str],
    given: list[str],
) -> Plan:
    """Become criu, in the container's cgroup and in a mount namespace where all is prepared.

    Below `directory` are the root (at ROOT, for CRIU wants a mount point whose parent
    nothing covers), the sources of the bind mounts (at `source_place`) and, for a user
    namespace, the directory `images` (at `images_place`). `given` are the types of the
    namespaces to be passed on. The runtime speaks with criu by the descriptor `criu`.
    """
    plan = Plan()
    for name in settings.descriptors:
        plan.add(op.load_fd(plan.slot(name), settings.number(name)))
    plan.add(op.umask(0))
    plan.add(op.unshare(c.CLONE_NEWNS))
    slave = mount_attr(propagation=c.MS_SLAVE)
    plan.add(op.mount_setattr(AT_FDCWD, "/", c.AT_RECURSIVE, slave, -1))
    _make_mount_points(plan, settings, f"{directory}/{ROOT}")
    _prepare_sources(plan, settings, f"{directory}/{SOURCES}")
    if IMAGES_OWNER in plan.slots:
        _prepare_images(plan, images)
    plan.close("sources")
    _attach_root(plan, settings, f"{directory}/{ROOT}")
    _enter_cgroup(plan, settings)
    plan.at = ""
    plan.add(op.dup3(plan.slot("criu"), SOCKET))
    for index, kind in enumerate(given):
        plan.add(op.dup3(plan.slot("namespace " + kind), NAMESPACES + index))
    plan.add(op.execve(program, ["criu", "swrk", str(SOCKET)], environment))
    return plan


def images_place(directory: str) -> str:
    """Where CRIU finds the images that the root of a user namespace can read."""
    return f"{directory}/{SOURCES}/{IMAGES}"


def source_place(directory: str, index: int) -> str:
    """Where CRIU finds the source of mounts[index]."""
    return f"{directory}/{SOURCES}/{index}"


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
    _open_place(plan, place)
    plan.add(attach(plan.slot("root"), plan.slot("target")))


def _open_place(plan: Plan, place: str) -> None:
    flags = c.O_PATH | c.O_DIRECTORY
    plan.add(op.openat2(plan.slot("target"), AT_FDCWD, place, flags, 0, 0))


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


def _bind(plan: Plan, settings: Settings, mount: dict[str, Any], path: str) -> None:
    copy, target = plan.slot("copy"), plan.slot("target")
    source = mounts.source_path(settings, mount)
    plan.add(op.open_tree(copy, AT_FDCWD, source, c.OPEN_TREE_CLONE | c.AT_RECURSIVE))
    plan.add(op.make_path(target, plan.slot("root"), path, DIRECTORY_MODE, copy))
    plan.add(attach(copy, target))
    plan.close("copy")


def _prepare_sources(plan: Plan, settings: Settings, place: str) -> None:
    """Mount each source with the attributes that create gives it, for CRIU to bind it again.

    CRIU itself forgets that the mount of a single file was read-only.
    """
    _mount_tmpfs(plan, place)
    for index, mount in enumerate(settings.config.get("mounts") or ()):
        options = mounts.options_of(settings, index, mount)
        if options.remount or not options.bind:
            continue
        plan.at = f".mounts[{index}]"
        name, target = f"mount {index}", plan.slot("target")
        mounts.open_source(plan, settings, mount, options, name)
        plan.add(
            op.make_path(target, plan.slot("sources"), str(index), DIRECTORY_MODE, plan.slot(name))
        )
        plan.add(attach(plan.slot(name), target))
        mounts.propagate_as(plan, plan.slot(name), options)
        plan.close(name)


def _prepare_images(plan: Plan, images: str) -> None:
    """The root of a user namespace reads the images, too: to it they are its group's."""
    copy, target = plan.slot("copy"), plan.slot("target")
    plan.at = ".linux.uidMappings"
    plan.add(op.open_tree(copy, AT_FDCWD, images, c.OPEN_TREE_CLONE))
    mapped = op.mount_setattr(
        copy, "", c.AT_EMPTY_PATH, mount_attr(c.MOUNT_ATTR_IDMAP), plan.slot(IMAGES_OWNER)
    )
    # A file system that cannot do it may still have images that everybody can read.
    plan.add(mapped, (EINVAL, 0), (EOPNOTSUPP, 0))
    plan.add(op.make_path(target, plan.slot("sources"), IMAGES, DIRECTORY_MODE, -1))
    plan.add(attach(copy, target))
    plan.close("copy")


def _mount_tmpfs(plan: Plan, place: str) -> None:
    context, sources = plan.slot("context"), plan.slot("sources")
    plan.at = ".mounts"
    plan.add(op.fsopen(context, "tmpfs"))
    plan.add(op.fsconfig(context, c.FSCONFIG_SET_STRING, "mode", "711", 0))
    plan.add(op.fsconfig(context, c.FSCONFIG_CMD_CREATE, None, None, 0))
    plan.add(op.fsmount(sources, context, 0))
    _open_place(plan, place)
    plan.add(attach(sources, plan.slot("target")))


def _enter_cgroup(plan: Plan, settings: Settings) -> None:
    """The runtime makes the cgroup, then moves this process into it: what criu makes is born there.

    Limits and rules for devices are in force by then (R301).
    """
    plan.at = ".linux.cgroupsPath"
    plan.add(op.sync(namespaces.SYNC_DIRECTORIES, 0))
    namespaces.limit_devices(plan, settings)
    plan.at = ".linux.cgroupsPath"
    plan.add(op.sync(namespaces.SYNC_CGROUP, 0))
