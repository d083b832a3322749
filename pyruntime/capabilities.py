"""Capability names and sets (capabilities(7), requirement R61). Pure."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NAMES = (
    "CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID CAP_KILL CAP_SETGID "
    "CAP_SETUID CAP_SETPCAP CAP_LINUX_IMMUTABLE CAP_NET_BIND_SERVICE CAP_NET_BROADCAST "
    "CAP_NET_ADMIN CAP_NET_RAW CAP_IPC_LOCK CAP_IPC_OWNER CAP_SYS_MODULE CAP_SYS_RAWIO "
    "CAP_SYS_CHROOT CAP_SYS_PTRACE CAP_SYS_PACCT CAP_SYS_ADMIN CAP_SYS_BOOT CAP_SYS_NICE "
    "CAP_SYS_RESOURCE CAP_SYS_TIME CAP_SYS_TTY_CONFIG CAP_MKNOD CAP_LEASE CAP_AUDIT_WRITE "
    "CAP_AUDIT_CONTROL CAP_SETFCAP CAP_MAC_OVERRIDE CAP_MAC_ADMIN CAP_SYSLOG CAP_WAKE_ALARM "
    "CAP_BLOCK_SUSPEND CAP_AUDIT_READ CAP_PERFMON CAP_BPF CAP_CHECKPOINT_RESTORE"
).split()
NUMBERS = {name: number for number, name in enumerate(NAMES)}
SETS = ("bounding", "effective", "permitted", "inheritable", "ambient")
ALL = (1 << len(NAMES)) - 1


class Sets:
    """The five sets as bit masks, and a warning for each name that had to be left out."""

    def __init__(self) -> None:
        self.bounding = self.effective = self.permitted = self.inheritable = self.ambient = 0
        self.warnings: list[str] = []


def resolve(capabilities: dict[str, Any] | None, grantable: int) -> Sets:
    """The sets that can be had: unknown and not grantable names are left out and reported.

    An absent object means no capabilities at all. The kernel's own rules are
    applied too: effective within permitted, ambient within permitted and
    inheritable, inheritable within bounding.
    """
    result = Sets()
    for name in SETS:
        wanted = (capabilities or {}).get(name) or []
        setattr(result, name, _mask(name, wanted, grantable, result.warnings))
    _limit(result, "effective", result.permitted, "not in the permitted set")
    _limit(result, "inheritable", result.bounding, "not in the bounding set")
    both = result.permitted & result.inheritable
    if not result.inheritable:  # engines ask for ambient ones as a matter of course; runc is silent
        result.ambient = 0
    _limit(result, "ambient", both, "not in both the permitted and the inheritable set")
    return result


def names(mask: int) -> list[str]:
    """The names of the bits in a mask."""
    return [name for number, name in enumerate(NAMES) if mask >> number & 1]


def _mask(set_: str, wanted: list[str], grantable: int, warnings: list[str]) -> int:
    unknown = [name for name in wanted if name not in NUMBERS]
    if unknown:
        warnings.append(f"capabilities.{set_}: ignored unknown {', '.join(unknown)}")
    mask = sum(1 << number for number in {NUMBERS[name] for name in wanted if name in NUMBERS})
    if mask & ~grantable:
        missing = ", ".join(names(mask & ~grantable))
        warnings.append(f"capabilities.{set_}: {missing}: this process cannot grant it, left out")
    return mask & grantable


def _limit(sets: Sets, name: str, allowed: int, reason: str) -> None:
    mask = getattr(sets, name)
    if mask & ~allowed:
        sets.warnings.append(
            f"capabilities.{name}: {', '.join(names(mask & ~allowed))}: {reason}, left out"
        )
        setattr(sets, name, mask & allowed)
