"""The plans of `mounts add` and `mounts remove`: mounts of a container that runs already."""

from __future__ import annotations

from pyruntime.plan import constants as c
from pyruntime.plan import mounts, process
from pyruntime.plan import operations as op
from pyruntime.plan.builder import AT_FDCWD, Plan
from pyruntime.plan.exec import join, join_user_namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyruntime.plan.exec import ExecSettings

NOTHING = -1
# A file system that shows a namespace shows that of the process which makes it.
SHOWN = {"proc": "pid", "mqueue": "ipc", "sysfs": "network"}
# umount2(2) takes a path, not a descriptor: the target gets this number, and is named by it.
# Far above the few slots of these plans, below the usual limit of open files.
TARGET_NUMBER = 200


def add(settings: ExecSettings) -> Plan:
    """Attach config["mounts"] in the container that the pidfd `init` stands for.

    Sources are opened on the host with the caller's rights, as in create (R92);
    everything else is done by the functions that create uses.
    """
    plan = _begin(settings)
    _take_owners(plan, settings)
    if settings.facts.privileged:
        mounts.open_sources(plan, settings, all_of_them=True)
    else:
        # A tree can be cloned only with rights over the mount namespace that it is in, so
        # clone it from a copy of the caller's which the container's root owns.
        join_user_namespace(plan, settings)
        plan.add(op.unshare(c.CLONE_NEWNS))
        mounts.open_sources(plan, settings, all_of_them=True)
    kinds = {SHOWN.get(mount.get("type") or "", "") for mount in settings.config["mounts"]}
    join(plan, settings, "mount", *sorted(kinds))
    if "pid" in kinds and "pid" in settings.joins:  # it holds only for children
        plan.add(op.clone(c.CLONE_PARENT, NOTHING))
    if settings.facts.privileged:
        join_user_namespace(plan, settings)
    _open_root(plan)
    mounts.mount_all(plan, settings)
    mounts.finish(plan, settings)
    plan.add(op.exit(0))
    return plan


def remove(settings: ExecSettings) -> Plan:
    """Take away what is mounted at the destinations of config["mounts"], the last one first.

    A destination is looked up below the container's root, links included, and the
    mount found is unmounted by its descriptor, through a procfs of the host's: no
    name that the image could change is looked up twice.
    """
    plan = _begin(settings)
    process.open_proc(plan)
    if not settings.facts.privileged:
        join_user_namespace(plan, settings)
    join(plan, settings, "mount")
    _open_root(plan)
    plan.add(op.fchdir(plan.slot("proc")))
    target = plan.slot("target")
    for index, mount in reversed(list(enumerate(settings.config["mounts"]))):
        plan.at = f".mounts[{index}]"
        path = mounts.destination(mount)
        plan.add(op.openat2(target, plan.slot("root"), path, c.O_PATH, 0, c.IN_ROOT))
        plan.add(op.dup3(target, TARGET_NUMBER))
        plan.add(op.umount2(f"self/fd/{TARGET_NUMBER}", c.MNT_DETACH))
    plan.add(op.exit(0))
    return plan


def _begin(settings: ExecSettings) -> Plan:
    """Nobody in the container may look at this process once it is there (CVE-2016-9962)."""
    plan = Plan()
    plan.add(op.load_fd(plan.slot("init"), settings.number("init")))
    plan.add(op.prctl(c.PR_SET_DUMPABLE, 0, 0, 0, 0))
    # Modes of mount points are what the plan says.
    plan.add(op.umask(0))
    return plan


def _take_owners(plan: Plan, settings: ExecSettings) -> None:
    for index, mount in enumerate(settings.config["mounts"]):
        if mounts.idmapped(mount):
            plan.at = f".mounts[{index}]"
            name = f"idmap {index}"
            plan.add(op.load_fd(plan.slot(name), settings.number(name)))


def _open_root(plan: Plan) -> None:
    """setns(2) has made the root of the mount namespace the root directory."""
    plan.at = ".root.path"
    root = plan.slot("root")
    plan.add(op.openat2(root, AT_FDCWD, "/", c.O_PATH | c.O_DIRECTORY, 0, 0))
