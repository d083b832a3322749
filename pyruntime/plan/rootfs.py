"""The root file system: attach it, leave the old one, make it read-only (R13, R14, R214)."""

from __future__ import annotations

from pyruntime.plan import constants as c
from pyruntime.plan import operations as op
from pyruntime.plan.attributes import attach, change, mount_attr, propagate
from pyruntime.plan.builder import AT_FDCWD, Plan
from pyruntime.plan.mount_options import PROPAGATION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyruntime.plan.settings import Settings


def open_root(plan: Plan, settings: Settings) -> None:
    """Clone the tree of mounts at the rootfs, detached; without a mount namespace just open it."""
    plan.at = ".root.path"
    root = plan.slot("root")
    if not has_mount_namespace(settings):
        flags = c.O_PATH | c.O_DIRECTORY
        plan.add(op.openat2(root, AT_FDCWD, settings.rootfs, flags, 0, c.RESOLVE_NO_SYMLINKS))
        return
    flags = c.OPEN_TREE_CLONE | c.AT_RECURSIVE
    plan.add(op.open_tree(root, AT_FDCWD, settings.rootfs, flags))
    plan.add(propagate(root, c.MS_PRIVATE, True))


def attach_root(plan: Plan, settings: Settings) -> None:
    """Put the clone onto the rootfs, where pivot_root can take it as a mount point.

    The copy of the host's tree becomes a slave first: pivot_root refuses shared
    parents (R303), and nothing that is mounted here may reach the host.
    """
    if not has_mount_namespace(settings):
        return
    plan.at = ".linux.rootfsPropagation"
    slave = mount_attr(propagation=c.MS_SLAVE)
    plan.add(op.mount_setattr(AT_FDCWD, "/", c.AT_RECURSIVE, slave, -1))
    plan.at = ".root.path"
    place = plan.slot("target")
    flags = c.O_PATH | c.O_DIRECTORY
    plan.add(op.openat2(place, AT_FDCWD, settings.rootfs, flags, 0, 0))
    plan.add(attach(plan.slot("root"), place))


def enter_root(plan: Plan, settings: Settings) -> None:
    """Make it the root directory, and let go of the old one."""
    plan.at = ".root.path"
    plan.add(op.fchdir(plan.slot("root")))
    if not has_mount_namespace(settings):
        plan.add(op.chroot("."))
    elif settings.no_pivot:
        _move_root(plan)
    else:
        plan.add(op.pivot_root(".", "."))
        plan.add(op.umount2(".", c.MNT_DETACH))
    plan.add(op.chdir("/"))


def _move_root(plan: Plan) -> None:
    """Without pivot_root the old root stays below; no copy of /proc or /sys may be left in it."""
    for path in ("/proc", "/sys"):
        plan.add(op.umount2(path, c.MNT_DETACH), (22, 0), (2, 0))
    plan.add(op.move_mount(plan.slot("root"), AT_FDCWD, "/", 0))
    plan.add(op.chroot("."))


def propagate_root(plan: Plan, settings: Settings) -> None:
    """rootfsPropagation applies to the new root (R214); slave is what the clones already are."""
    wanted = settings.linux.get("rootfsPropagation")
    if wanted and has_mount_namespace(settings):
        kind, recursive = PROPAGATION[wanted]
        plan.at = ".linux.rootfsPropagation"
        plan.add(propagate(plan.slot("root"), kind, recursive))


def make_read_only(plan: Plan, settings: Settings) -> None:
    """root.readonly: only this mount, not those on it, and after all that writes to it (R14)."""
    if (settings.config.get("root") or {}).get("readonly"):
        plan.at = ".root.readonly"
        if has_mount_namespace(settings):
            plan.add(change(plan.slot("root"), c.MOUNT_ATTR_RDONLY, 0))


def has_mount_namespace(settings: Settings) -> bool:
    """Is the container in a mount namespace other than the runtime's?"""
    return "mount" in settings.namespaces()
