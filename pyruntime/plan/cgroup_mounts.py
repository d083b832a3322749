"""Mounts of type cgroup (R93, R122): cgroup2, or a tmpfs with a directory per v1 hierarchy.

In a new cgroup namespace a new instance shows the container's own cgroup. Without one, what
the host has mounted is cloned: a new instance of cgroup2 would have default options, and in the
first cgroup namespace the kernel takes those for the whole host's (nsdelegate would be lost).
"""

from __future__ import annotations

from pyruntime.plan import constants as c
from pyruntime.plan import operations as op
from pyruntime.plan.attributes import attach, change
from pyruntime.plan.builder import AT_FDCWD, Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyruntime.plan.mount_options import MountOptions
    from pyruntime.plan.operation import Operation
    from pyruntime.plan.settings import Settings

DIRECTORY_MODE = 0o755
UNIFIED = ""  # the name of the v2 hierarchy in Settings.cgroups


def mount_cgroup(plan: Plan, settings: Settings, path: str, options: MountOptions) -> None:
    """Show the container cgroups at a path: its own, or the host's (see open_shown)."""
    hierarchies = settings.cgroups | settings.staying
    if set(hierarchies) <= {UNIFIED}:
        _mount_hierarchy(plan, settings, UNIFIED, path, options.set)
        return
    _mount_tmpfs(plan, path)
    seen: dict[str, str] = {}
    for controller, (mountpoint, _) in hierarchies.items():
        name = mountpoint.rsplit("/", 1)[-1]
        if mountpoint not in seen:
            _mount_hierarchy(plan, settings, controller, path + "/" + name, options.set)
        elif controller != name:
            plan.add(op.symlinkat(name, plan.slot("cgroup root"), controller))
        seen[mountpoint] = controller
    if options.set & c.MOUNT_ATTR_RDONLY:
        plan.add(change(plan.slot("cgroup root"), c.MOUNT_ATTR_RDONLY, 0))
    plan.close("cgroup root")


def open_shown(plan: Plan, settings: Settings) -> None:
    """Clone the cgroup directories to be shown while the host's paths can be seen."""
    if settings.shows_cgroups() and not settings.is_new("cgroup"):
        plan.at = ".mounts"
        for controller, _, path in shown(settings):
            slot = plan.slot("cgroup " + controller)
            plan.add(op.open_tree(slot, AT_FDCWD, path, c.OPEN_TREE_CLONE))


def shown(settings: Settings) -> list[tuple[str, str, str]]:
    """(controller, mount point on the host, directory to be shown) of each hierarchy.

    For a container without a cgroup namespace of its own.
    """
    hierarchies = settings.cgroups | settings.staying
    whole = _shows_the_host(settings, hierarchies)
    found: dict[str, tuple[str, str, str]] = {}
    for controller, (mountpoint, directory) in hierarchies.items():
        found.setdefault(mountpoint, (controller, mountpoint, mountpoint if whole else directory))
    return list(found.values())


def _shows_the_host(settings: Settings, hierarchies: dict[str, tuple[str, str]]) -> bool:
    """On v2 alone, a container in the host's cgroup namespace sees what the namespace has.

    So do node agents and privileged pods expect it, of runc and of crun. Not so with a user
    namespace: what is let into the container there was not the host's root (CVE-2023-25809).
    """
    return (
        set(hierarchies) == {UNIFIED}
        and not {"cgroup", "user"} & set(settings.namespaces())
        and settings.facts.privileged
    )


def _mount_tmpfs(plan: Plan, path: str) -> None:
    context, slot, target = plan.slot("context"), plan.slot("cgroup root"), plan.slot("target")
    plan.add(op.fsopen(context, "tmpfs"))
    plan.add(op.fsconfig(context, c.FSCONFIG_SET_STRING, "source", "tmpfs", 0))
    plan.add(op.fsconfig(context, c.FSCONFIG_SET_STRING, "mode", "755", 0))
    plan.add(op.fsconfig(context, c.FSCONFIG_CMD_CREATE, None, None, 0))
    safe = c.MOUNT_ATTR_NOSUID | c.MOUNT_ATTR_NODEV | c.MOUNT_ATTR_NOEXEC
    plan.add(op.fsmount(slot, context, safe))
    plan.add(op.make_path(target, plan.slot("root"), path, DIRECTORY_MODE, -1))
    plan.add(attach(slot, target))


def _mount_hierarchy(
    plan: Plan, settings: Settings, controller: str, path: str, attributes: int
) -> None:
    slot, target = plan.slot("hierarchy"), plan.slot("target")
    plan.add(op.make_path(target, plan.slot("root"), path, DIRECTORY_MODE, -1))
    own = plan.slots.get("cgroup " + controller)
    if own is not None:
        plan.add(change(own, attributes, 0))
        plan.add(attach(own, target))
        plan.add(op.close(own))
        return
    for operation in _new_instance(plan.slot("context"), slot, controller, attributes):
        plan.add(operation)
    plan.add(attach(slot, target))


def _new_instance(context: int, slot: int, controller: str, attributes: int) -> list[Operation]:
    """A mount whose root is the cgroup namespace's: the container's own cgroup."""
    calls = [op.fsopen(context, "cgroup" if controller else "cgroup2")]
    if controller.startswith("name="):
        calls.append(op.fsconfig(context, c.FSCONFIG_SET_FLAG, "none", None, 0))
        name = controller.removeprefix("name=")
        calls.append(op.fsconfig(context, c.FSCONFIG_SET_STRING, "name", name, 0))
    elif controller:
        calls.append(op.fsconfig(context, c.FSCONFIG_SET_FLAG, controller, None, 0))
    calls.append(op.fsconfig(context, c.FSCONFIG_SET_STRING, "source", "cgroup", 0))
    calls.append(op.fsconfig(context, c.FSCONFIG_CMD_CREATE, None, None, 0))
    return [*calls, op.fsmount(slot, context, attributes)]
