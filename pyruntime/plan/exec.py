"""The plan of exec: one more process in a container that is there already (R291)."""

from __future__ import annotations

from pyruntime.plan import constants as c
from pyruntime.plan import namespaces, process, terminal
from pyruntime.plan import operations as op
from pyruntime.plan.builder import AT_FDCWD, Plan
from pyruntime.plan.settings import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyruntime.facts import Facts

EBUSY = 16
EOPNOTSUPP = 95
NOTHING = -1


class ExecSettings(Settings):
    """The container's config with the process to execute in place of its own.

    `joins` are the types of the namespaces that the container does not share
    with the runtime. `cgroups` are the groups to enter, as in Settings, and
    `own_cgroup` is the v2 directory of the container's first process, where it
    is another one. The descriptor `init` is a pidfd of that process.
    """

    def __init__(self, config: dict[str, Any], facts: Facts, joins: list[str]) -> None:
        super().__init__(config, facts)
        self.joins = joins
        self.own_cgroup = ""


def execute(settings: ExecSettings) -> Plan:
    """The plan of a process in a running container, from its first instruction to execve."""
    plan = Plan()
    _on_the_host(plan, settings)
    _make_member(plan, settings)  # from here on: the process that will be the program
    _enter(plan, settings)
    _become_process(plan, settings)
    plan.at = ""
    plan.add(op.sync(namespaces.SYNC_READY, 0))
    process.execute(plan, settings)
    return plan


def _on_the_host(plan: Plan, settings: ExecSettings) -> None:
    """With the caller's rights and view: open what cannot be reached from inside.

    Nobody in the container may look at this process once it is there, so from
    the moment before it is not dumpable (CVE-2016-9962).
    """
    plan.add(op.load_fd(plan.slot("init"), settings.number("init")))
    if settings.process.get("terminal"):
        plan.at = ".process.terminal"
        plan.add(op.load_fd(plan.slot("console"), settings.number("console")))
    if _writes_proc(settings):
        process.open_proc(plan)
    process.prepare(plan, settings)
    plan.at = ""
    plan.add(op.prctl(c.PR_SET_DUMPABLE, 0, 0, 0, 0))
    namespaces.open_cgroups(plan, settings)
    if settings.own_cgroup:
        flags = c.O_PATH | c.O_DIRECTORY
        plan.add(op.openat2(plan.slot("own cgroup"), AT_FDCWD, settings.own_cgroup, flags, 0, 0))
    if "mount" not in settings.joins:
        plan.at = ".root.path"
        flags = c.O_PATH | c.O_DIRECTORY
        root = plan.slot("root")
        plan.add(op.openat2(root, AT_FDCWD, settings.rootfs, flags, 0, c.RESOLVE_NO_SYMLINKS))
    _set_affinity(plan, settings, "initial")


def _make_member(plan: Plan, settings: ExecSettings) -> None:
    """Join the namespaces and clone.

    The pid namespace holds only for children. CLONE_PARENT makes the process the
    runtime's child, which whoever called the runtime inherits and waits for;
    otherwise the end of this process would give it to the container's first.
    The user namespace comes last, for the host's root has every right on the
    others; anybody else has rights only within it.
    """
    if not settings.facts.privileged:
        join_user_namespace(plan, settings)
    join(plan, settings, "mount", "pid", "network", "ipc", "uts", "time")
    plan.at = ".linux.namespaces"
    unified = plan.slots.get("unified", NOTHING)
    if "own cgroup" in plan.slots:
        # The container may have divided its cgroup, which then takes no process itself (R161).
        fallback = op.clone(c.CLONE_PARENT, plan.slot("own cgroup"))
        plan.either((EBUSY, EOPNOTSUPP), [op.clone(c.CLONE_PARENT, unified)], [fallback])
    else:
        plan.add(op.clone(c.CLONE_PARENT, unified))
    plan.add(op.setsid())


def _enter(plan: Plan, settings: ExecSettings) -> None:
    """The cgroup while the host's is still in view, then the rest of the namespaces, the root."""
    plan.at = ".linux.cgroupsPath"
    namespaces.enter_cgroups(plan)
    join(plan, settings, "cgroup")
    if settings.facts.privileged:
        join_user_namespace(plan, settings)
    namespaces.join_keyring(plan, settings)
    _find_root(plan, settings)
    terminal.open_another(plan, settings)
    plan.at = ".linux.devices"
    plan.add(op.null_stdio(plan.slot("root")))


def _become_process(plan: Plan, settings: ExecSettings) -> None:
    """As create does it: everything is closed before the working directory is entered."""
    _set_affinity(plan, settings, "final")
    process.apply(plan, settings)
    plan.at = ".process"
    plan.add(op.close_from(3 + settings.preserve, NOTHING, NOTHING, NOTHING))
    process.become_user(plan, settings)


def join(plan: Plan, settings: ExecSettings, *kinds: str) -> None:
    """setns(2) by pidfd: all at once, and never into those of a process that took over the pid."""
    flags = sum(c.NAMESPACES[kind] for kind in kinds if kind in settings.joins)
    if flags:
        plan.at = ".linux.namespaces"
        plan.add(op.setns(plan.slot("init"), flags))


def join_user_namespace(plan: Plan, settings: ExecSettings) -> None:
    """Be root of the container's user namespace, if it has one."""
    if "user" in settings.joins:
        join(plan, settings, "user")
        namespaces.become_root(plan, settings)


def _find_root(plan: Plan, settings: ExecSettings) -> None:
    """The root directory: that of the mount namespace just joined, or the rootfs by chroot."""
    plan.at = ".root.path"
    root = plan.slot("root")
    if "mount" in settings.joins:
        plan.add(op.openat2(root, AT_FDCWD, "/", c.O_PATH | c.O_DIRECTORY, 0, 0))
        return
    plan.add(op.fchdir(root))
    plan.add(op.chroot("."))


def _set_affinity(plan: Plan, settings: ExecSettings, when: str) -> None:
    """execCPUAffinity (R79): `initial` until the cgroup is entered, `final` from then on.

    Without either the runtime's own affinity is not handed down; with only
    `initial`, the cgroup decides what is left of it.
    """
    affinity = settings.process.get("execCPUAffinity") or {}
    if affinity.get(when):
        plan.at = f".process.execCPUAffinity.{when}"
        plan.add(op.sched_setaffinity(process.node_mask(affinity[when])))
    elif when == "final" and not affinity.get("initial"):
        process.use_all_cpus(plan)


def _writes_proc(settings: ExecSettings) -> bool:
    own = settings.process
    if own.get("oomScoreAdj") is not None:
        return True
    return bool(own.get("apparmorProfile") or own.get("selinuxLabel"))
