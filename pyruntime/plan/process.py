"""The process section (requirements R61 to R79): who the program is, and what it is allowed."""

from __future__ import annotations

import struct

from pyruntime import capabilities
from pyruntime.errors import ConfigError
from pyruntime.plan import constants as c
from pyruntime.plan import operations as op
from pyruntime.plan.builder import AT_FDCWD, Plan
from pyruntime.plan.namespaces import SYNC_LISTENER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyruntime.plan.settings import Settings

EPERM = 1
ENOENT = 2
EACCES = 13
EINVAL = 22
EROFS = 30
DIRECTORY_MODE = 0o755
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ALL_CPUS = b"\xff" * 1024  # 8,192 processors; the kernel keeps those that exist and are allowed
ALL_CAPABILITIES = (1 << 64) - 1

LIMITS = {
    name: number
    for number, name in enumerate(
        "CPU FSIZE DATA STACK CORE RSS NPROC NOFILE MEMLOCK AS LOCKS SIGPENDING "
        "MSGQUEUE NICE RTPRIO RTTIME".split()
    )
}
# Limits that the init itself would run into; they are lowered last.
HINDERING = ("NOFILE", "NPROC", "AS", "DATA", "STACK", "FSIZE", "CPU")
POLICIES = {
    "SCHED_OTHER": 0,
    "SCHED_FIFO": 1,
    "SCHED_RR": 2,
    "SCHED_BATCH": 3,
    "SCHED_ISO": 4,
    "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}
SCHEDULER_FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01,
    "SCHED_FLAG_RECLAIM": 0x02,
    "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08,
    "SCHED_FLAG_KEEP_PARAMS": 0x10,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}
IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
IOPRIO_WHO_PGRP = 2
PERSONALITIES = {"LINUX": 0, "LINUX32": 8}
MEMORY_POLICIES = {
    "MPOL_DEFAULT": 0,
    "MPOL_PREFERRED": 1,
    "MPOL_BIND": 2,
    "MPOL_INTERLEAVE": 3,
    "MPOL_LOCAL": 4,
    "MPOL_PREFERRED_MANY": 5,
    "MPOL_WEIGHTED_INTERLEAVE": 6,
}
MEMORY_FLAGS = {
    "MPOL_F_NUMA_BALANCING": 1 << 13,
    "MPOL_F_RELATIVE_NODES": 1 << 14,
    "MPOL_F_STATIC_NODES": 1 << 15,
}


def environment(settings: Settings) -> list[str]:
    """env in order, a name's last value winning, HOME added when it is missing or empty (R65)."""
    values: dict[str, str] = {}
    for entry in settings.process.get("env") or ():
        name, _, value = entry.partition("=")
        values[name] = value
    if settings.listen_fds:
        values["LISTEN_FDS"], values["LISTEN_PID"] = str(settings.listen_fds), "1"
        if settings.listen_names:
            values["LISTEN_FDNAMES"] = settings.listen_names
    if settings.notify:
        values["NOTIFY_SOCKET"] = settings.notify
    if not values.get("HOME"):
        values["HOME"] = settings.home
    return [f"{name}={value}" for name, value in values.items()]


def prepare(plan: Plan, settings: Settings) -> None:
    """On the host, with its rights: oom_score_adj (R74), and hard limits to be raised (R70)."""
    process = settings.process
    if process.get("oomScoreAdj") is not None:
        plan.at = ".process.oomScoreAdj"
        value = str(process["oomScoreAdj"]).encode()
        plan.add(op.write_file(plan.slot("proc"), "self/oom_score_adj", value, c.IN_PROC))
    if "user" in settings.namespaces():
        for index, limit in enumerate(process.get("rlimits") or ()):
            if limit["type"].removeprefix("RLIMIT_") not in HINDERING or limit["hard"] > 1 << 16:
                plan.at = f".process.rlimits[{index}]"
                number = LIMITS[limit["type"].removeprefix("RLIMIT_")]
                plan.add(op.prlimit(number, limit["hard"], limit["hard"]))


def make_cwd(plan: Plan, settings: Settings) -> None:
    """Make the working directory if it is missing, while the root can still be written (R64)."""
    cwd = settings.process.get("cwd")
    if cwd and cwd != "/":
        plan.at = ".process.cwd"
        path = cwd.strip("/")
        look = op.openat2(
            plan.slot("target"), plan.slot("root"), path, c.O_PATH | c.O_DIRECTORY, 0, c.IN_ROOT
        )
        make = op.make_path(plan.slot("target"), plan.slot("root"), path, DIRECTORY_MODE, -1)
        plan.add(look, (ENOENT, 1))
        plan.add(op.skip(1))
        # What cannot be made here is said by chdir, which has the rights of the user.
        plan.add(make, (EACCES, 0), (EROFS, 0))


def use_all_cpus(plan: Plan) -> None:
    """The runtime's own affinity is not the container's."""
    plan.at = ".process"
    plan.add(op.sched_setaffinity(ALL_CPUS), (EINVAL, 0), (EPERM, 0))


def apply(plan: Plan, settings: Settings) -> None:
    """What the process is given before it loses its privileges."""
    process = settings.process
    _schedule(plan, process)
    _personality(plan, settings)
    _memory_policy(plan, settings)
    _label(plan, settings)
    if process.get("noNewPrivileges"):
        plan.at = ".process.noNewPrivileges"
        plan.add(op.prctl(c.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    uid = (process.get("user") or {}).get("uid", 0)
    plan.at = ".process.user.uid"
    for number in range(3):
        plan.add(op.own_stdio(number, uid), (9, 0))
    for index, limit in enumerate(process.get("rlimits") or ()):
        plan.at = f".process.rlimits[{index}]"
        number = LIMITS[limit["type"].removeprefix("RLIMIT_")]
        plan.add(op.prlimit(number, limit["soft"], limit["hard"]))


def become_user(plan: Plan, settings: Settings) -> None:
    """Ids, working directory, capabilities and seccomp, each while it is still allowed (R305).

    A filter may forbid whatever comes after it, so almost nothing does (R240). With
    noNewPrivileges it comes last of all. Without, loading it needs CAP_SYS_ADMIN:
    the permitted set is kept whole until then, while the effective one is already
    the program's, so that its directory and its file are looked for with its rights.
    """
    process = settings.process
    sets = capabilities.resolve(process.get("capabilities"), _grantable(settings))
    plan.warnings += sets.warnings
    plan.at = ".process.capabilities.bounding"
    plan.add(op.drop_bounding(sets.bounding, settings.facts.last_capability))
    plan.add(op.prctl(c.PR_SET_KEEPCAPS, 1, 0, 0, 0))
    _change_ids(plan, settings)
    _change_directory(plan, process)
    _set_umask(plan, settings)
    held = _held(settings)
    plan.at = ".process.capabilities"
    plan.add(op.capset(sets.effective, held, sets.inheritable))
    plan.add(op.prctl(c.PR_SET_KEEPCAPS, 0, 0, 0, 0))
    plan.at = ".process.capabilities.ambient"
    plan.add(op.raise_ambient(sets.ambient), (EINVAL, 0))
    find(plan, settings)
    if settings.seccomp is not None and not process.get("noNewPrivileges"):
        plan.at = ".linux.seccomp"
        plan.add(op.capset(held, held, sets.inheritable))
        load_filter(plan, settings)
    plan.at = ".process.capabilities"
    plan.add(op.capset(sets.effective, sets.permitted, sets.inheritable))
    if process.get("noNewPrivileges"):
        load_filter(plan, settings)


def find(plan: Plan, settings: Settings) -> None:
    """Look for the program as its user, so that create can say that there is none (R66)."""
    args = settings.process.get("args")
    if args:
        plan.at = ".process.args[0]"
        env = dict(entry.partition("=")[::2] for entry in environment(settings))
        plan.add(op.find_executable(args[0], env.get("PATH", DEFAULT_PATH)))


def _set_umask(plan: Plan, settings: Settings) -> None:
    mask = (settings.process.get("user") or {}).get("umask")
    plan.at = ".process.user.umask"
    plan.add(op.umask(settings.umask if mask is None else mask))  # unset: the caller's (R68)


def _held(settings: Settings) -> int:
    """What is permitted at this point: all of it in a user namespace that was just entered."""
    if "user" in settings.namespaces():
        return (1 << (settings.facts.last_capability + 1)) - 1
    return settings.facts.permitted


def load_filter(plan: Plan, settings: Settings) -> None:
    """seccomp(2), and what hands a listener to its agent."""
    if settings.seccomp is not None:
        plan.at = ".linux.seccomp"
        flags = settings.seccomp.flags
        plan.add(op.seccomp(flags, settings.seccomp.program, plan.slot("listener")))
        if settings.seccomp.listener:
            plan.at = ".linux.seccomp.listenerPath"
            plan.add(op.sync_slot(SYNC_LISTENER, plan.slot("listener")))
            plan.close("listener")


def execute(plan: Plan, settings: Settings) -> None:
    """Become the program."""
    plan.at = ".process.args[0]"
    args = settings.process.get("args") or []
    plan.add(op.execve(None, args, environment(settings)))


def _grantable(settings: Settings) -> int:
    bounding = settings.facts.bounding
    return _held(settings) & (-1 if "user" in settings.namespaces() else bounding)


def _change_ids(plan: Plan, settings: Settings) -> None:
    user = settings.process.get("user") or {}
    groups = user.get("additionalGids") or []
    keep = (settings.config.get("annotations") or {}).get("run.oci.keep_original_groups") == "1"
    if not keep:
        plan.at = ".process.user.additionalGids"
        # The caller's groups are not the container's. Only where a plain user maps none but
        # her own does the kernel deny setgroups(2), and she keeps them (user_namespaces(7)).
        pardons = () if groups or settings.facts.privileged else ((EPERM, 0),)
        plan.add(op.setgroups(struct.pack(f"<{len(groups)}I", *groups)), *pardons)
    plan.at = ".process.user.gid"
    plan.add(op.setresgid(user.get("gid", 0)))
    plan.at = ".process.user.uid"
    plan.add(op.setresuid(user.get("uid", 0)))
    # The change made the process dumpable again by some rules, and other uids' /proc readable.
    plan.add(op.prctl(c.PR_SET_DUMPABLE, 0, 0, 0, 0))


def _change_directory(plan: Plan, process: dict[str, Any]) -> None:
    """As the user, then make sure that it lies below the root (CVE-2024-21626)."""
    plan.at = ".process.cwd"
    cwd = process.get("cwd") or "/"
    plan.add(op.chdir(cwd))
    plan.add(op.check_cwd())


def _schedule(plan: Plan, process: dict[str, Any]) -> None:
    if process.get("scheduler"):
        plan.at = ".process.scheduler"
        plan.add(op.sched_setattr(scheduler_attributes(process["scheduler"])))
    if process.get("ioPriority"):
        plan.at = ".process.ioPriority"
        io = process["ioPriority"]
        priority = IO_CLASSES[io["class"]] << 13 | io.get("priority", 0)
        plan.add(op.ioprio_set(IOPRIO_WHO_PGRP, priority))


def scheduler_attributes(scheduler: dict[str, Any]) -> bytes:
    """struct sched_attr of 56 bytes (R75 to R77; times in ns)."""
    flags = 0
    for flag in scheduler.get("flags") or ():
        flags |= SCHEDULER_FLAGS[flag]
    return struct.pack(
        "<IIQiIQQQII",
        56,
        POLICIES[scheduler["policy"]],
        flags,
        scheduler.get("nice", 0),
        scheduler.get("priority", 0),
        scheduler.get("runtime", 0),
        scheduler.get("deadline", 0),
        scheduler.get("period", 0),
        0,
        0,
    )


def _personality(plan: Plan, settings: Settings) -> None:
    personality = settings.linux.get("personality")
    if personality:
        plan.at = ".linux.personality"
        plan.add(op.personality(PERSONALITIES[personality["domain"]]))


def _memory_policy(plan: Plan, settings: Settings) -> None:
    policy = settings.linux.get("memoryPolicy")
    if policy:
        plan.at = ".linux.memoryPolicy"
        mode = MEMORY_POLICIES[policy["mode"]]
        for flag in policy.get("flags") or ():
            mode |= MEMORY_FLAGS[flag]
        nodes = node_mask(policy.get("nodes") or "")
        # The kernel looks at one bit less than it is told (set_mempolicy(2), bugs).
        plan.add(op.set_mempolicy(mode, nodes, len(nodes) * 8 + 1 if nodes else 0))


def node_mask(nodes: str) -> bytes:
    """A list as `0-3,7` as a bit mask in whole 64-bit words."""
    mask = 0
    for part in nodes.replace(" ", "").split(","):
        first, _, last = part.partition("-")
        for number in range(int(first), int(last or first) + 1) if part else ():
            mask |= 1 << number
    words = (mask.bit_length() + 63) // 64
    return mask.to_bytes(words * 8, "little")


def _label(plan: Plan, settings: Settings) -> None:
    """LSM labels for the exec to come, through the private procfs (CVE-2019-16884, 2025-52881)."""
    profile = settings.process.get("apparmorProfile")
    label = settings.process.get("selinuxLabel")
    proc = plan.slot("proc")
    if profile:
        if not settings.facts.apparmor:
            raise ConfigError([".process.apparmorProfile: AppArmor is not enabled on this host"])
        plan.at = ".process.apparmorProfile"
        content = ("exec " + profile).encode()
        # attr/exec is that of the first security module, which need not be this one.
        plan.add(op.write_file(proc, "thread-self/attr/apparmor/exec", content, c.IN_PROC))
    if label:
        if not settings.facts.selinux:
            raise ConfigError([".process.selinuxLabel: SELinux is not enabled on this host"])
        plan.at = ".process.selinuxLabel"
        plan.add(op.write_file(proc, "thread-self/attr/exec", label.encode(), c.IN_PROC))


def open_proc(plan: Plan) -> None:
    """A procfs of our own, mounted nowhere, through which alone /proc is written (2025-52881).

    Whoever may not mount one takes the host's /proc, if it is a procfs.
    """
    plan.at = ".process"
    proc, context = plan.slot("proc"), plan.slot("context")
    plan.either(
        (EPERM, 16),
        [
            op.fsopen(context, "proc"),
            op.fsconfig(context, c.FSCONFIG_CMD_CREATE, None, None, 0),
            op.fsmount(proc, context, c.MOUNT_ATTR_NOSUID | c.MOUNT_ATTR_NOEXEC),
        ],
        [op.openat2(proc, AT_FDCWD, "/proc", c.O_PATH | c.O_DIRECTORY, 0, 0)],
    )
    plan.add(op.expect_filesystem(proc, c.PROC_SUPER_MAGIC))
