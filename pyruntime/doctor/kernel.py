"""The kernel's abilities, each found out by using it: versions say little of patched kernels."""

from __future__ import annotations

import os

from pyruntime import idmapped
from pyruntime.doctor import probe
from pyruntime.doctor.finding import NO, UNKNOWN, YES, Finding
from pyruntime.errors import PyruntimeError
from pyruntime.plan import constants as c
from pyruntime.plan import operations as op
from pyruntime.plan.attributes import attach, change, mount_attr
from pyruntime.plan.builder import AT_FDCWD, Plan
from pyruntime.plan.settings import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyruntime.facts import Facts
    from pyruntime.plan.operation import Operation

WHOLE_TREE = c.OPEN_TREE_CLONE | c.AT_RECURSIVE
NOTHING = -1
NAMESPACES = {
    "mount": "containers cannot run: every image would be mounted on the host",
    "pid": "containers see the host's processes; their config must not ask for a pid namespace",
    "network": "containers share the host's network",
    "ipc": "containers share the host's System V IPC and message queues",
    "uts": "containers cannot have a hostname",
    "cgroup": "containers see the host's cgroup paths",
    "time": "linux.timeOffsets and time namespaces are refused",
}


def findings(facts: Facts) -> list[Finding]:
    """The calls that the init makes, then namespaces and idmapped mounts."""
    return [
        _init(),
        *_calls(facts),
        _pidfd_getfd(),
        *(_namespace(facts, kind, cost) for kind, cost in NAMESPACES.items()),
        _idmapped(facts),
    ]


def _init() -> Finding:
    cost = "containers cannot run: the init is what makes them"
    found = probe.attempt("init from sealed memory", Plan(), [], cost, True)
    if found.state == UNKNOWN:
        found.state = NO
    return found


def _calls(facts: Facts) -> list[Finding]:
    cannot = "containers cannot run: "
    root = op.openat2(0, AT_FDCWD, "/", c.O_PATH | c.O_DIRECTORY, 0, c.RESOLVE_NO_SYMLINKS)
    tree = op.open_tree(0, AT_FDCWD, "/", WHOLE_TREE)
    clone = op.clone(c.CLONE_PARENT, NOTHING)
    close = op.close_from(3, NOTHING, NOTHING, NOTHING)
    return [
        _one(facts, "openat2", [root], cannot + "paths of an image could not be kept inside"),
        _one(facts, "open_tree", [tree], cannot + "sources of mounts could not be taken along"),
        _after_tmpfs(facts, "fsopen", [], cannot + "file systems are made by it"),
        _after_tmpfs(
            facts,
            "mount_setattr",
            [change(1, c.MOUNT_ATTR_RDONLY, 0)],
            cannot + "mounts get their attributes by it before they can be seen",
        ),
        _after_tmpfs(facts, "move_mount", _move(), cannot + "mounts are attached by it"),
        _one(facts, "clone3", [clone], cannot + "their processes are made by it"),
        _one(
            facts,
            "close_range",
            [close],
            cannot + "descriptors of the host could leak into them (CVE-2024-21626)",
        ),
    ]


def _one(facts: Facts, name: str, subjects: list[Operation], cost: str) -> Finding:
    plan = probe.begin(facts, c.CLONE_NEWNS)
    plan.slot("first")
    return probe.attempt(name, plan, subjects, cost, True)


def _tmpfs() -> list[Operation]:
    return [
        op.fsopen(0, "tmpfs"),
        op.fsconfig(0, c.FSCONFIG_CMD_CREATE, None, None, 0),
        op.fsmount(1, 0, 0),
    ]


def _after_tmpfs(facts: Facts, name: str, subjects: list[Operation], cost: str) -> Finding:
    """What needs a new mount; without subjects, whether that can be made."""
    plan = probe.begin(facts, c.CLONE_NEWNS)
    for slot in ("context", "mount", "place"):
        plan.slot(slot)
    if not subjects:
        return probe.attempt(name, plan, _tmpfs(), cost, True)
    for operation in _tmpfs():
        plan.add(operation)
    return probe.attempt(name, plan, subjects, cost, True)


def _move() -> list[Operation]:
    """Onto /, made private for it, in a mount namespace that ends with the process."""
    private = mount_attr(propagation=c.MS_PRIVATE)
    return [
        op.mount_setattr(AT_FDCWD, "/", c.AT_RECURSIVE, private, NOTHING),
        op.openat2(2, AT_FDCWD, "/", c.O_PATH | c.O_DIRECTORY, 0, 0),
        attach(1, 2),
    ]


def _pidfd_getfd() -> Finding:
    """Of this process's own descriptors, which a policy of ptrace(2) may forbid to its child."""
    plan = Plan()
    cost = "SCMP_ACT_NOTIFY is refused: the listener cannot be handed to its agent"
    own = os.pidfd_open(os.getpid())
    try:
        plan.add(op.load_fd(plan.slot("pidfd"), own))
        fetch = op.pidfd_getfd(plan.slot("copy"), 0, 0)
        return probe.attempt("pidfd_getfd", plan, [fetch], cost, inherited=[own])
    finally:
        os.close(own)


def _namespace(facts: Facts, kind: str, cost: str) -> Finding:
    make = op.unshare(c.NAMESPACES[kind])
    return probe.attempt(f"{kind} namespaces", probe.begin(facts), [make], cost, kind == "mount")


def _idmapped(facts: Facts) -> Finding:
    """Of the file system of /: not every one can do it."""
    cost = "mounts with uidMappings, idmap or ridmap are refused"
    name = "idmapped mounts of /"
    try:
        descriptors = idmapped.open_all(_mapping(facts))
    except (PyruntimeError, OSError) as error:
        return Finding(name, UNKNOWN, f"not tried: {error}", cost)
    namespace = descriptors["idmap 0"]
    plan = probe.begin(facts, c.CLONE_NEWNS)
    plan.add(op.load_fd(plan.slot("namespace"), namespace))
    plan.add(op.open_tree(plan.slot("tree"), AT_FDCWD, "/", WHOLE_TREE))
    attributes = mount_attr(c.MOUNT_ATTR_IDMAP)
    subject = op.mount_setattr(1, "", c.AT_EMPTY_PATH, attributes, 0)
    try:
        found = probe.attempt(name, plan, [subject], cost, inherited=[namespace])
    finally:
        os.close(namespace)
    if found.state == YES:
        found.detail = "tried with the file system of /; others may differ"
    return found


def _mapping(facts: Facts) -> Settings:
    mapping = [{"containerID": 0, "hostID": facts.euid, "size": 1}]
    groups = [{"containerID": 0, "hostID": os.getegid(), "size": 1}]
    mount = {"destination": "/", "uidMappings": mapping, "gidMappings": groups}
    return Settings({"mounts": [mount]}, facts)
