"""What version 2 counts, in the form of runc's events, which is that of version 1."""

from __future__ import annotations

from pyruntime.cgroups import figures
from pyruntime.cgroups.figures import UNLIMITED, number, pairs, present, text, value
from pyruntime.cgroups.stats_v1 import block_entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyruntime.cgroups.directory import Directory

    Section = dict[str, Any]

_MICRO = 1000  # nanoseconds


def cpu(directory: Directory) -> Section:
    """CPU time and throttling in nanoseconds, and pressure."""
    found = pairs(directory, "cpu.stat")
    usage = {
        "total": found.get("usage_usec", 0) * _MICRO,
        "kernel": found.get("system_usec", 0) * _MICRO,
        "user": found.get("user_usec", 0) * _MICRO,
    }
    throttling = {
        "periods": found.get("nr_periods"),
        "throttledPeriods": found.get("nr_throttled"),
        "throttledTime": found.get("throttled_usec", 0) * _MICRO,
    }
    section = {
        "usage": present(usage, always=("kernel", "user")),
        "throttling": present(throttling),
    }
    return {**section, **_with_pressure(directory, "cpu.pressure")}


def memory(directory: Directory) -> Section:
    """Bytes in use; `swap` is memory and swap together, as on version 1."""
    raw = pairs(directory, "memory.stat")
    limit, usage = _limit(directory, "memory"), number(directory, "memory.current") or 0
    swap_limit = _limit(directory, "memory.swap")
    both = UNLIMITED if swap_limit == UNLIMITED else min(limit + swap_limit, UNLIMITED)
    both_usage = usage + (number(directory, "memory.swap.current") or 0)
    section = {
        "cache": raw.get("file"),
        "usage": figures.memory_entry(limit, usage, number(directory, "memory.peak") or 0, 0),
        "swap": figures.memory_entry(both, both_usage, 0, 0),
        "kernel": figures.memory_entry(0, 0, 0, 0),
        "kernelTCP": figures.memory_entry(0, 0, 0, 0),
        "raw": dict(sorted(raw.items())),
    }
    return {**present(section), **_with_pressure(directory, "memory.pressure")}


def _limit(directory: Directory, name: str) -> int:
    return number(directory, name + ".max") or 0


def pids(directory: Directory) -> tuple[int, int]:
    """Current number and limit; without the controller the processes are counted."""
    current = number(directory, "pids.current")
    if current is not None:
        return current, number(directory, "pids.max") or 0
    listed = text(directory, "cgroup.procs")
    if listed is None:  # what a threaded cgroup answers
        listed = text(directory, "cgroup.threads") or ""
    return len(listed.split()), 0


def block_io(directory: Directory) -> Section:
    """Bytes and requests by device, out of io.stat, and pressure."""
    found: dict[str, list[Section]] = {"ioServiceBytesRecursive": [], "ioServicedRecursive": []}
    for line in (text(directory, "io.stat") or "").splitlines():
        node, *fields = line.split() or [""]
        major, colon, minor = node.partition(":")
        for field in fields if colon else ():
            name, _, amount = field.partition("=")
            if name in _BLOCK_KEYS:
                member, operation = _BLOCK_KEYS[name]
                found[member].append(block_entry(major, minor, operation, amount))
    return {**present(found), **_with_pressure(directory, "io.pressure")}


_BLOCK_KEYS = {
    "rbytes": ("ioServiceBytesRecursive", "Read"),
    "wbytes": ("ioServiceBytesRecursive", "Write"),
    "rios": ("ioServicedRecursive", "Read"),
    "wios": ("ioServicedRecursive", "Write"),
}


def huge_pages(directory: Directory, sizes: list[str]) -> Section:
    """Bytes by page size: reservations if the kernel counts them, else faults."""
    found = {}
    for size in sizes:
        for file in (f"hugetlb.{size}.rsvd.current", f"hugetlb.{size}.current"):
            usage = number(directory, file)
            if usage is not None:
                failures = pairs(directory, f"hugetlb.{size}.events").get("max", 0)
                entry = {"usage": usage, "failcnt": failures}
                found[size] = present(entry, always=("failcnt",))
                break
    return found


def _with_pressure(directory: Directory, file: str) -> Section:
    """The member `psi`; none if the kernel does not tell, or was told not to."""
    content = text(directory, file)
    return {} if content is None else {"psi": pressure(content)}


def pressure(content: str) -> Section:
    """The lines `some avg10=0.12 avg60=0.00 avg300=0.00 total=345` of a pressure file.

    Averages are percentages, `total` is in microseconds.
    """
    found = {}
    for line in content.splitlines():
        kind, *fields = line.split() or [""]
        if kind in ("some", "full"):
            values = dict(field.partition("=")[::2] for field in fields)
            found[kind] = {name: _figure(name, word) for name, word in values.items()}
    return found


def _figure(name: str, word: str) -> int | float:
    """Without a fraction where there is none, as Go writes it."""
    if name == "total":
        return value(word)
    average = float(word)
    return int(average) if average == int(average) else average
