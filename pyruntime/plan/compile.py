"""The order of a container's steps, and why it is so."""

from __future__ import annotations

from pyruntime.plan import (
    cgroup_mounts,
    devices,
    hooks,
    kernel,
    mounts,
    namespaces,
    paths,
    process,
    rootfs,
    terminal,
)
from pyruntime.plan import constants as c
from pyruntime.plan import operations as op
from pyruntime.plan.builder import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyruntime.plan.settings import Settings


def create(settings: Settings) -> Plan:
    """The plan of a container's init, from its first instruction to execve."""
    plan = Plan()
    _on_the_host(plan, settings)
    namespaces.make(plan, settings)  # from here on: the container's first process
    namespaces.after_clone(plan, settings)
    _build_root(plan, settings)
    _enter_root(plan, settings)
    _become_process(plan, settings)
    _wait_and_execute(plan, settings)
    return plan


def _on_the_host(plan: Plan, settings: Settings) -> None:
    """With the caller's rights and view: open what the container will not be able to reach."""
    plan.at = ""
    _take_descriptors(plan, settings)
    plan.at = ".process"
    if settings.facts.privileged:
        plan.add(op.prctl(c.PR_SET_DUMPABLE, 0, 0, 0, 0))  # CVE-2016-9962
    plan.add(op.umask(0))  # modes of nodes and directories are exact (R68)
    process.open_proc(plan)
    process.prepare(plan, settings)
    namespaces.open_given(plan, settings)
    if settings.facts.privileged:
        _open_sources(plan, settings)
    namespaces.make_early(plan, settings)
    namespaces.await_cgroups(plan, settings)
    namespaces.open_cgroups(plan, settings)
    namespaces.limit_devices(plan, settings)
    if settings.facts.privileged:
        cgroup_mounts.open_shown(plan, settings)
    namespaces.join_given(plan, settings)


def _open_sources(plan: Plan, settings: Settings) -> None:
    rootfs.open_root(plan, settings)
    mounts.open_sources(plan, settings)
    devices.open_host_nodes(plan, settings)


def _build_root(plan: Plan, settings: Settings) -> None:
    """Mounts, devices and links below the root, still seen from outside of it."""
    if not settings.facts.privileged:
        _open_sources(plan, settings)
        cgroup_mounts.open_shown(plan, settings)
    rootfs.attach_root(plan, settings)
    mounts.mount_all(plan, settings)
    devices.make_all(plan, settings)
    process.make_cwd(plan, settings)
    namespaces.make_cgroup_namespace(plan, settings)
    if settings.hooks("prestart") or settings.hooks("createRuntime"):
        plan.at = ".hooks"
        plan.add(op.sync(namespaces.SYNC_HOOKS, 0))
    # Their path is the runtime's, so before the old root is left (R52).
    hooks.run(plan, settings, "createContainer", [])


def _enter_root(plan: Plan, settings: Settings) -> None:
    """Leave the old root, then cover and protect: now every path means what the program sees."""
    rootfs.enter_root(plan, settings)
    rootfs.propagate_root(plan, settings)
    terminal.open_terminal(plan, settings)
    plan.at = ".linux.devices"
    plan.add(op.null_stdio(plan.slot("root")))
    mounts.finish(plan, settings)
    kernel.set_parameters(plan, settings)
    paths.make_read_only(plan, settings)
    paths.mask(plan, settings)
    rootfs.make_read_only(plan, settings)


def _become_process(plan: Plan, settings: Settings) -> None:
    """Give up everything that the program is not to have."""
    process.use_all_cpus(plan)
    process.apply(plan, settings)
    plan.at = ".process"
    kept = [plan.slots.get(name, -1) for name in ("start", "report", "state startContainer")]
    plan.add(op.close_from(3 + settings.preserve, *kept))
    process.become_user(plan, settings)


def _wait_and_execute(plan: Plan, settings: Settings) -> None:
    """Tell the runtime that all is ready; go on when start says so."""
    plan.at = ""
    plan.add(op.sync(namespaces.SYNC_READY, 0))
    plan.add(op.wait_start(plan.slot("start"), plan.slot("report")))
    env = process.environment(settings)
    hooks.run(plan, settings, "startContainer", env)
    process.execute(plan, settings)


def _take_descriptors(plan: Plan, settings: Settings) -> None:
    for name in ("start", "report"):
        plan.add(op.load_fd(plan.slot(name), settings.number(name)))
    if settings.process.get("terminal"):
        plan.at = ".process.terminal"
        plan.add(op.load_fd(plan.slot("console"), settings.number("console")))
    hooks.load(plan, settings)
    for index, mount in enumerate(settings.config.get("mounts") or ()):
        if mounts.idmapped(mount):
            plan.at = f".mounts[{index}]"
            name = f"idmap {index}"
            plan.add(op.load_fd(plan.slot(name), settings.number(name)))
