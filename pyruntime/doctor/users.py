"""User namespaces: whether they can be made, how many, and with which ids."""

from __future__ import annotations

import os
import shutil
import stat

from pyruntime import facts as host
from pyruntime.doctor import probe
from pyruntime.doctor.finding import NO, UNKNOWN, YES, Finding
from pyruntime.plan import constants as c
from pyruntime.plan import operations as op
from pyruntime.plan.builder import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyruntime.facts import Facts

LIMITS = "user mnt pid net ipc uts cgroup time"
SWITCHES = {
    "/proc/sys/kernel/unprivileged_userns_clone": "0",
    "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1",
}


def findings(facts: Facts) -> list[Finding]:
    """Whoever is not root needs a user namespace for every container."""
    needed = not facts.privileged
    return [
        _namespaces(needed),
        _unprivileged(),
        _limits(),
        *(_tool(name) for name in ("newuidmap", "newgidmap")),
        *(_ranges(path) for path in ("/etc/subuid", "/etc/subgid")),
    ]


def _namespaces(needed: bool) -> Finding:
    cost = "containers without root cannot run" if needed else "user namespaces are refused"
    make = op.unshare(c.CLONE_NEWUSER)
    return probe.attempt("user namespaces", Plan(), [make], cost, needed)


def _unprivileged() -> Finding:
    """Root is not asked: two kernels have a switch for the others."""
    name, cost = "unprivileged user namespaces", "users who are not root cannot run containers"
    for path, closed in SWITCHES.items():
        if host.read(path).strip() == closed:
            return Finding(name, NO, f"{path} is {closed}", cost)
    return Finding(name, YES, "", cost)


def _limits() -> Finding:
    """The smallest of /proc/sys/user/max_*_namespaces."""
    values = {kind: host.read(f"/proc/sys/user/max_{kind}_namespaces") for kind in LIMITS.split()}
    numbers = {kind: int(text) for kind, text in values.items() if text}
    cost = "containers with that namespace fail once the limit is reached"
    if not numbers:
        return Finding("namespace limits", UNKNOWN, "", cost)
    shown = " ".join(f"{kind} {number}" for kind, number in numbers.items())
    return Finding("namespace limits", YES if min(numbers.values()) else NO, shown, cost)


def _tool(name: str) -> Finding:
    """newuidmap(1) works only with rights of its own: set-user-id or a file capability."""
    cost = "containers without root get one user and one group id"
    path = shutil.which(name, path="/usr/bin:/bin:/usr/local/bin")
    if path is None:
        return Finding(name, NO, "not installed", cost)
    if not os.stat(path).st_mode & stat.S_ISUID and not _has_capability(path):
        return Finding(name, NO, f"{path} has neither set-user-id nor a file capability", cost)
    return Finding(name, YES, path, cost)


def _has_capability(path: str) -> bool:
    try:
        return "security.capability" in os.listxattr(path)
    except OSError:
        return False


def _ranges(path: str) -> Finding:
    """Ranges of ids that belong to users, one a line."""
    cost = "containers without root get one id; engines refuse automatic user namespaces"
    lines = [line for line in host.read(path).splitlines() if line.count(":") == 2]
    if not lines:
        return Finding(path, NO, "no range", cost)
    return Finding(path, YES, f"{len(lines)} range" + "s" * (len(lines) > 1), cost)
