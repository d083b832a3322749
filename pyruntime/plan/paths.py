"""maskedPaths and readonlyPaths (requirements R215, R216)."""

from __future__ import annotations

from pyruntime.plan import constants as c
from pyruntime.plan import operations as op
from pyruntime.plan.attributes import attach, change
from pyruntime.plan.builder import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyruntime.plan.operation import Operation
    from pyruntime.plan.settings import Settings

ENOENT = 2
EACCES = 13
ENOTDIR = 20
EMPTY_CLONE = c.OPEN_TREE_CLONE | c.AT_EMPTY_PATH


def make_read_only(plan: Plan, settings: Settings) -> None:
    """Cover each path with a read-only mount of itself; missing ones are passed over."""
    for index, path in enumerate(settings.linux.get("readonlyPaths") or ()):
        plan.at = f".linux.readonlyPaths[{index}]"
        target, copy = plan.slot("target"), plan.slot("copy")
        plan.attempt(
            (ENOENT, ENOTDIR),
            op.openat2(target, plan.slot("root"), path, c.O_PATH, 0, c.IN_ROOT),
            op.open_tree(copy, target, "", EMPTY_CLONE | c.AT_RECURSIVE),
            change(copy, c.MOUNT_ATTR_RDONLY, 0),
            attach(copy, target),
        )


def mask(plan: Plan, settings: Settings) -> None:
    """Cover files with the null device and directories with an empty read-only tmpfs.

    The null device is the container's, which may come from the image, so it must
    be char 1:3 (CVE-2025-31133).
    """
    masked = settings.linux.get("maskedPaths") or ()
    if not masked:
        return
    plan.at = ".linux.maskedPaths"
    null = plan.slot("null")
    flags = c.O_PATH | c.O_NOFOLLOW
    plan.add(op.openat2(null, plan.slot("root"), "dev/null", flags, 0, c.IN_ROOT))
    plan.add(op.expect_device(null, c.S_IFCHR, 1, 3))
    for index, path in enumerate(masked):
        plan.at = f".linux.maskedPaths[{index}]"
        _mask_one(plan, path)


def _mask_one(plan: Plan, path: str) -> None:
    """Directory or not is known only there: ENOTDIR goes on to the operations for a file."""
    target, root, cover = plan.slot("target"), plan.slot("root"), plan.slot("cover")
    directory = [*_empty_tmpfs(plan, cover), attach(cover, target)]
    file = [
        op.openat2(target, root, path, c.O_PATH, 0, c.IN_ROOT),
        op.open_tree(cover, plan.slot("null"), "", EMPTY_CLONE),
        attach(cover, target),
    ]
    plan.add(
        op.openat2(target, root, path, c.O_PATH | c.O_DIRECTORY, 0, c.IN_ROOT),
        (ENOENT, len(directory) + 1 + len(file)),
        (ENOTDIR, len(directory) + 1),
    )
    for operation in (*directory, op.skip(len(file))):
        plan.add(operation)
    plan.add(file[0], (ENOENT, 2), (ENOTDIR, 2))  # a file below a file is not there either
    plan.add(file[1])
    plan.add(file[2])


def _empty_tmpfs(plan: Plan, cover: int) -> list[Operation]:
    context = plan.slot("context")
    attributes = c.MOUNT_ATTR_RDONLY | c.MOUNT_ATTR_NOSUID
    attributes |= c.MOUNT_ATTR_NODEV | c.MOUNT_ATTR_NOEXEC
    return [
        op.fsopen(context, "tmpfs"),
        op.fsconfig(context, c.FSCONFIG_SET_STRING, "nr_blocks", "1", 0),
        op.fsconfig(context, c.FSCONFIG_SET_STRING, "nr_inodes", "1", 0),
        op.fsconfig(context, c.FSCONFIG_SET_STRING, "mode", "755", 0),
        op.fsconfig(context, c.FSCONFIG_CMD_CREATE, None, None, 0),
        op.fsmount(cover, context, attributes),
    ]
