"""The properties of a container's systemd unit: what it is, its limits, its annotations.

Pure. Limits are made from the very writes that the cgroup's files get (conversions.py), so
that a unit never says something else than the files do. It matters that it says them: systemd
writes its own idea of a unit's limits again whenever it sees fit (`systemctl daemon-reload`,
`set-property`), over whatever a runtime has written beside it. So `unified` counts too (R196).
"""

from __future__ import annotations

from pyruntime.cgroups import gvariant
from pyruntime.cgroups.devices import ANY, BITS
from pyruntime.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyruntime.cgroups.conversions import Write
    from pyruntime.cgroups.devices import Access
    from pyruntime.cgroups.paths import Unit

INFINITY = (1 << 64) - 1
PREFIX = "org.systemd.property."
ANNOTATION = "annotation"
LIMIT = "limit"  # also in a file of the cgroup
UNIT = "unit"

# Whoever names these in an annotation would take the container out of its cgroup.
_OURS = ("PIDs", "Slice")
_MOST_CPUS = 1 << 14
_UNITS = {"K": 10, "M": 20, "G": 30, "T": 40}


class Property:
    """`name` with a `value` of D-Bus type `signature`; `origin` is ANNOTATION, LIMIT or UNIT."""

    __slots__ = ("name", "origin", "signature", "value")

    def __init__(self, name: str, signature: str, value: Any, origin: str = LIMIT) -> None:
        self.name = name
        self.signature = signature
        self.value = value
        self.origin = origin

    def __repr__(self) -> str:
        return f"Property({self.name!r}, {self.signature!r}, {self.value!r})"

    def pair(self) -> tuple[str, tuple[str, Any]]:
        """As an element of a(sv)."""
        return self.name, (self.signature, self.value)


def combined(*groups: list[Property]) -> list[Property]:
    """Every property once; that of a later group wins and stands in the earlier one's place."""
    found: dict[str, Property] = {}
    for group in groups:
        for each in group:
            found[each.name] = each
    return list(found.values())


def of_unit(unit: Unit, identifier: str, pid: int) -> list[Property]:
    """What makes the unit: where it is, its first process, and that its inside is not systemd's.

    A slice takes no processes by itself and cannot be delegated. CollectMode lets systemd
    forget the unit also if it has failed, as it does when memory ran out.
    """
    accounting = ("MemoryAccounting", "CPUAccounting", "IOAccounting", "TasksAccounting")
    found = [
        ("Description", "s", f"pyruntime container {identifier}"),
        ("DefaultDependencies", "b", False),
        ("CollectMode", "s", "inactive-or-failed"),
        *((name, "b", True) for name in accounting),
    ]
    if unit.name.endswith(".slice"):
        found.append(("Wants", "as", [unit.slice]))
    else:
        found += [("Slice", "s", unit.slice), ("Delegate", "b", True), ("PIDs", "au", [pid])]
    return [Property(name, signature, value, UNIT) for name, signature, value in found]


# Limits


def of_writes(writes: list[Write]) -> list[Property]:
    """The limits that systemd knows, of the writes to the files; the last of a file counts."""
    found: dict[str, tuple[str, Any]] = {}
    for write in writes:
        while write.file not in _FILES and write.otherwise is not None:
            write = write.otherwise
        convert = _FILES.get(write.file)
        if convert is not None:
            found.update(convert(write.value))
    _join_quota(found)
    return [Property(name, kind, value) for name, (kind, value) in found.items()]


def _amount(name: str) -> Callable[[str], dict[str, tuple[str, Any]]]:
    """A number of bytes, tasks or shares; max is no limit."""

    def convert(value: str) -> dict[str, tuple[str, Any]]:
        number = _number(value)
        return {} if number is None else {name: ("t", number)}

    return convert


def _number(value: str) -> int | None:
    """What the kernel would take, None for what is to be left to it."""
    value = value.strip()
    if value in ("max", "-1"):
        return INFINITY
    digits, shift = value, 0
    if value[-1:].upper() in _UNITS:
        digits, shift = value[:-1], _UNITS[value[-1].upper()]
    if not (digits.isascii() and digits.isdigit()):
        return None
    return min(int(digits) << shift, INFINITY)


def _tasks(value: str) -> dict[str, tuple[str, Any]]:
    """systemd has no limit of 0 tasks; the file has."""
    number = _number(value)
    return {"TasksMax": ("t", number)} if number else {}


def _weight(value: str) -> dict[str, tuple[str, Any]]:
    number = _number(value)
    return {"CPUWeight": ("t", number)} if number and number <= 10000 else {}


def _idle(value: str) -> dict[str, tuple[str, Any]]:
    """Since systemd 252 a weight of 0 stands for cpu.idle (R186)."""
    return {"CPUWeight": ("t", 0)} if value.strip() == "1" else {}


def _io_weight(value: str) -> dict[str, tuple[str, Any]]:
    """The weight of all devices; those of single devices stay in the file."""
    number = _number(value.removeprefix("default "))
    return {"IOWeight": ("t", number)} if number and number <= 10000 else {}


def _cpu_max(value: str) -> dict[str, tuple[str, Any]]:
    quota, _, period = value.strip().partition(" ")
    found: dict[str, tuple[str, Any]] = {"quota": ("", quota)}
    if period:
        found["CPUQuotaPeriodUSec"] = ("t", _number(period) or 100000)
    return found


def _period(value: str) -> dict[str, tuple[str, Any]]:
    number = _number(value)
    return {"CPUQuotaPeriodUSec": ("t", number)} if number else {}


def _quota(value: str) -> dict[str, tuple[str, Any]]:
    return {"quota": ("", value)}


def _join_quota(found: dict[str, tuple[str, Any]]) -> None:
    """Quota and period as the time per second that systemd counts in.

    It keeps whole percents in the unit's file, so a fraction is rounded up: what it writes
    after a reload must not be less than was asked for.
    """
    quota = _number(found.pop("quota", ("", ""))[1])
    if quota is None:
        return
    if quota == INFINITY:
        found["CPUQuotaPerSecUSec"] = ("t", INFINITY)
        return
    period = found.get("CPUQuotaPeriodUSec", ("t", 100000))[1]
    found["CPUQuotaPerSecUSec"] = ("t", -(-quota * 1_000_000 // (period * 10000)) * 10000)


def _set_of(name: str) -> Callable[[str], dict[str, tuple[str, Any]]]:
    def convert(value: str) -> dict[str, tuple[str, Any]]:
        mask = bit_set(value)
        return {} if mask is None else {name: ("ay", mask)}

    return convert


def bit_set(text: str) -> bytes | None:
    """`0-3,9` as bits, the lowest numbers in the first byte (R185); None for what is no list."""
    mask = 0
    for part in text.strip().split(","):
        first, dash, last = part.strip().partition("-")
        last = last if dash else first
        if not (first.isascii() and first.isdigit() and last.isascii() and last.isdigit()):
            return None
        low, high = int(first), int(last)
        if not low <= high < _MOST_CPUS:
            return None
        mask |= (1 << (high + 1)) - (1 << low)
    return mask.to_bytes((mask.bit_length() + 7) // 8, "little")


_FILES: dict[str, Callable[[str], dict[str, tuple[str, Any]]]] = {
    # Version 2
    "memory.max": _amount("MemoryMax"),
    "memory.high": _amount("MemoryHigh"),
    "memory.low": _amount("MemoryLow"),
    "memory.min": _amount("MemoryMin"),
    "memory.swap.max": _amount("MemorySwapMax"),
    "memory.zswap.max": _amount("MemoryZSwapMax"),
    "cpu.weight": _weight,
    "cpu.idle": _idle,
    "cpu.max": _cpu_max,
    "cpuset.cpus": _set_of("AllowedCPUs"),
    "cpuset.mems": _set_of("AllowedMemoryNodes"),
    "pids.max": _tasks,
    "io.weight": _io_weight,
    # Version 1
    "memory.limit_in_bytes": _amount("MemoryLimit"),
    "cpu.shares": _amount("CPUShares"),
    "cpu.cfs_period_us": _period,
    "cpu.cfs_quota_us": _quota,
    "blkio.weight": _amount("BlockIOWeight"),
}


# Devices


def of_devices(access: Access) -> list[Property]:
    """The device rules, where v1's controller has them: systemd writes them anew as well.

    It cannot hold exceptions from "everything is allowed"; then it is left at that, and only
    the files have them. In v2 a program of ours decides, and systemd is told nothing.
    """
    if access.default:
        return [Property("DevicePolicy", "s", "auto"), Property("DeviceAllow", "a(ss)", [])]
    allowed = [
        (node, "".join(letter for letter in "rwm" if bits & BITS[letter]))
        for device, bits in access.exceptions.items()
        if (node := _node(*device))
    ]
    return [Property("DevicePolicy", "s", "strict"), Property("DeviceAllow", "a(ss)", allowed)]


def _node(kind: str, major: int, minor: int) -> str:
    """As systemd names devices; nothing for any major of one minor, which it cannot say."""
    word = {"b": "block", "c": "char"}[kind]
    if minor == ANY:
        return f"{word}-{'*' if major == ANY else major}"
    return "" if major == ANY else f"/dev/{word}/{major}:{minor}"


# Annotations


def of_annotations(annotations: dict[str, str] | None) -> list[Property]:
    """`org.systemd.property.NAME` with a value in GVariant's text form (R252).

    A name ends in Sec for seconds: systemd knows only the one in USec. Raises ConfigError.
    """
    found = []
    for key, text in (annotations or {}).items():
        if not key.startswith(PREFIX):
            continue
        name = key[len(PREFIX) :]
        if len(name) < 3 or not (name.isascii() and name.isalpha()):
            raise _wrong(key, "the name of a property has three letters or more, and only those")
        if name in _OURS:
            raise _wrong(key, "is for the runtime to set")
        try:
            signature, value = gvariant.parse(text)
        except gvariant.Malformed as error:
            why = f"{text[:80]!r} is not a value in GVariant's text form: {error}"
            raise _wrong(key, why) from None
        if name.endswith("Sec") and name[-4:-3].islower():
            name, signature, value = _microseconds(key, name, signature, value)
        found.append(Property(name, signature, value, ANNOTATION))
    return found


def _microseconds(key: str, name: str, signature: str, value: Any) -> tuple[str, str, int]:
    if signature not in ("y", "n", "q", "i", "u", "x", "t", "d"):
        raise _wrong(key, "is a number of seconds")
    if not 0 <= value <= INFINITY // 1_000_000:
        raise _wrong(key, f"{value} seconds cannot be")
    return name[: -len("Sec")] + "USec", "t", round(value * 1_000_000)


def _wrong(key: str, why: str) -> ConfigError:
    return ConfigError([f".annotations[{key}]: {why}"])
