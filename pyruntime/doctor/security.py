"""Security modules, seccomp and what compiles its filters."""

from __future__ import annotations

import struct

from pyruntime import facts as host
from pyruntime.doctor import probe
from pyruntime.doctor.finding import NO, UNKNOWN, YES, Finding
from pyruntime.errors import PyruntimeError
from pyruntime.plan import constants as c
from pyruntime.plan import operations as op
from pyruntime.plan.builder import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyruntime.facts import Facts

NEW_LISTENER = 8
FLAGS = {
    "TSYNC": 1,
    "LOG": 2,
    "SPEC_ALLOW": 4,
    "NEW_LISTENER": NEW_LISTENER,
    "WAIT_KILLABLE_RECV": 32 | NEW_LISTENER,
}
COSTS = {
    "NEW_LISTENER": "SCMP_ACT_NOTIFY is refused",
    "WAIT_KILLABLE_RECV": "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV is refused",
}
ACTIONS = "kill_process kill_thread trap errno user_notif trace log allow"
RETURN_ALLOW = struct.pack("=HBBI", 0x06, 0, 0, 0x7FFF0000)  # one struct sock_filter


def findings(facts: Facts) -> list[Finding]:
    """Security modules, then seccomp."""
    return [
        _modules(),
        _module("SELinux", facts.selinux, "process.selinuxLabel and linux.mountLabel"),
        _module("AppArmor", facts.apparmor, "process.apparmorProfile"),
        *(_flag(name, number) for name, number in FLAGS.items()),
        _actions(),
        _libseccomp(),
    ]


def _modules() -> Finding:
    listed = host.read("/sys/kernel/security/lsm").strip()
    if listed:
        return Finding("security modules", YES, listed)
    cost = "which of them are in force is not known"
    return Finding("security modules", UNKNOWN, "/sys/kernel/security is not mounted", cost)


def _module(name: str, enabled: bool, members: str) -> Finding:
    return Finding(name, YES if enabled else NO, "", f"{members} cannot be applied")


def _flag(name: str, number: int) -> Finding:
    """Load a filter that allows everything."""
    plan = Plan()
    plan.add(op.prctl(c.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    cost = COSTS.get(name, f"SECCOMP_FILTER_FLAG_{name} is refused")
    load = op.seccomp(number, RETURN_ALLOW, plan.slot("listener"))
    return probe.attempt(f"seccomp flag {name}", plan, [load], cost)


def _actions() -> Finding:
    available = host.read("/proc/sys/kernel/seccomp/actions_avail").split()
    cost = "profiles that use these actions are refused"
    if not available:
        return Finding("seccomp actions", NO, "the kernel has no seccomp filters", cost)
    missing = [action for action in ACTIONS.split() if action not in available]
    if missing:
        return Finding("seccomp actions", NO, "missing: " + " ".join(missing), cost)
    return Finding("seccomp actions", YES, " ".join(available), cost)


def _libseccomp() -> Finding:
    cost = "a config with linux.seccomp is refused; engines ask for it by default"
    try:
        from pyruntime.seccomp import compile as compiler

        compiler.load_binding()
        return Finding("libseccomp", YES, compiler.library_path(), cost)
    except PyruntimeError as error:
        return Finding("libseccomp", NO, str(error).removeprefix("linux.seccomp: "), cost)
