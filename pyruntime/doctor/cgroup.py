"""The cgroup hierarchies, their controllers, and what may be done in them."""

from __future__ import annotations

import os

from pyruntime import facts as host
from pyruntime.cgroups import bus, devices, layout
from pyruntime.cgroups.directory import remove
from pyruntime.cgroups.layout import Layout
from pyruntime.cgroups.systemd import of_user
from pyruntime.doctor import probe
from pyruntime.doctor.finding import NO, UNKNOWN, YES, Finding
from pyruntime.errors import CgroupError
from pyruntime.plan import constants as c
from pyruntime.plan import operations as op
from pyruntime.plan.builder import AT_FDCWD, Plan

# The controller, its name in v1, and the members of linux.resources that are refused without.
CONTROLLERS = (
    ("memory", "memory", "memory"),
    ("cpu", "cpu", "cpu.shares, quota and period"),
    ("cpuset", "cpuset", "cpu.cpus and mems"),
    ("pids", "pids", "pids"),
    ("io", "blkio", "blockIO"),
    ("hugetlb", "hugetlb", "hugepageLimits"),
    ("rdma", "rdma", "rdma"),
)
ONLY_V1 = (
    ("devices", "linux.resources.devices is refused: every device can be used"),
    ("freezer", "pause and resume are refused"),
    ("net_cls", "linux.resources.network.classID is refused"),
    ("net_prio", "linux.resources.network.priorities is refused"),
)


def findings() -> list[Finding]:
    """The layout, the controllers, a group of our own, and what is quick in it."""
    found = layout.detect()
    result = [_layout(found), *_controllers(found)]
    if found.mode != "none":
        result += [*_groups(found), _favordynmods()]
    return [*result, _systemd()]


def _systemd() -> Finding:
    """Whether systemd can be asked for cgroups, and which of its managers is."""
    cost = "--systemd-cgroup and --cgroup-manager systemd are refused; cgroupfs does without"
    user = of_user(host.gather())
    try:
        connection = bus.connect(user)
        try:
            version, place = connection.get("Version"), connection.get("ControlGroup")
        finally:
            connection.close()
    except CgroupError as error:
        return Finding("systemd", NO, str(error), cost)
    manager = "the user's" if user else "the system's"
    return Finding("systemd", YES, f"{version}, {manager} manager at {place or '/'}", cost)


def _layout(found: Layout) -> Finding:
    cost = "no limits, statistics, pause or update: use --cgroup-manager disabled"
    if found.mode == "none":
        return Finding("cgroups", NO, "no hierarchy is mounted", cost)
    places = sorted({*found.v1.values(), *([found.v2] if found.v2 else [])})
    return Finding("cgroups", YES, f"{found.mode}: {' '.join(places)}", cost)


def _controllers(found: Layout) -> list[Finding]:
    unified = host.read(f"{found.v2}/cgroup.controllers").split() if found.v2 else []
    result = []
    for name, old, members in CONTROLLERS:
        cost = f"linux.resources: {members} is refused"
        if old in found.v1:
            result.append(Finding(f"controller {name}", YES, found.v1[old], cost))
        elif name in unified:
            result.append(Finding(f"controller {name}", YES, str(found.v2), cost))
        else:
            result.append(Finding(f"controller {name}", NO, "", cost))
    if found.v1:
        for name, cost in ONLY_V1:
            place = found.v1.get(name, "")
            result.append(Finding(f"controller {name}", YES if place else NO, place, cost))
    return result


def _groups(found: Layout) -> list[Finding]:
    """Make a group in the unified hierarchy, or else in the first of the others."""
    cost = "no limits unless the group is delegated, or systemd makes it"
    top = found.v2 or next(iter(found.v1.values()))
    directory = f"{top}{_own(found)}/pyruntime-doctor-{os.getpid()}"
    try:
        os.mkdir(directory)
    except OSError as error:
        return [Finding("groups of our own", NO, f"{directory}: {error.strerror}", cost)]
    try:
        result = [Finding("groups of our own", YES, "", cost)]
        return result + (_unified(directory) if found.v2 else [])
    finally:
        remove([directory])


def _own(found: Layout) -> str:
    """The group of this process, below which whoever is not root may have rights."""
    if os.geteuid() == 0:
        return ""
    name = "" if found.v2 else next(iter(found.v1))
    return layout.own_paths(host.read("/proc/self/cgroup")).get(name, "").rstrip("/")


def _unified(directory: str) -> list[Finding]:
    """CLONE_INTO_CGROUP, programs that decide over devices, and cgroup.kill."""
    plan = Plan()
    flags = c.O_PATH | c.O_DIRECTORY
    plan.add(op.openat2(plan.slot("group"), AT_FDCWD, directory, flags, 0, 0))
    born = probe.attempt(
        "CLONE_INTO_CGROUP",
        plan,
        [op.clone(c.CLONE_PARENT, 0)],
        "containers cannot be created or executed in where cgroup v2 is used",
    )
    has_kill = os.path.exists(f"{directory}/cgroup.kill")
    cost = "kill --all and delete --force signal one process after the other"
    return [
        born,
        _device_program(directory),
        Finding("cgroup.kill", YES if has_kill else NO, "", cost),
    ]


def _device_program(directory: str) -> Finding:
    """Attached to the group, it goes with that."""
    plan = Plan()
    flags = c.O_RDONLY | c.O_DIRECTORY
    plan.add(op.openat2(plan.slot("group"), AT_FDCWD, directory, flags, 0, 0))
    attach = op.bpf_attach_device(0, devices.program(None))
    cost = "linux.resources.devices is refused where cgroup v2 has no devices controller beside it"
    return probe.attempt("device programs", plan, [attach], cost)


def _favordynmods() -> Finding:
    """A mount option since Linux 6.0: moving processes waits for no grace period."""
    cost = "whoever writes to cgroup.procs waits 5 to 15 ms; the init does so in v2 user namespaces"
    lines = host.read("/proc/self/mountinfo", 1 << 20).splitlines()
    mounts = [line for line in lines if " - cgroup" in line]
    with_it = [line.split()[4] for line in mounts if "favordynmods" in line.rpartition(" ")[2]]
    if not mounts:
        return Finding("favordynmods", UNKNOWN, "", cost)
    state = YES if len(with_it) == len(mounts) else NO
    return Finding("favordynmods", state, " ".join(with_it), cost)
