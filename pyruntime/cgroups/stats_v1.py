"""What the controllers of version 1 count; each section in the form of runc's events."""

from __future__ import annotations

from pyruntime.cgroups import figures
from pyruntime.cgroups.figures import number, pairs, present, text, value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyruntime.cgroups.directory import Directory

    Section = dict[str, Any]

_TICK = 1_000_000_000 // 100  # nanoseconds; the kernel reports in ticks of USER_HZ


def cpu_usage(cpuacct: Directory) -> Section:
    """CPU time in nanoseconds, whole and for each processor."""
    kernel, user = _modes(cpuacct)
    ticks = pairs(cpuacct, "cpuacct.stat")
    usage = {
        "total": number(cpuacct, "cpuacct.usage"),
        "percpu": [value(word) for word in (text(cpuacct, "cpuacct.usage_percpu") or "").split()],
        "percpu_kernel": kernel,
        "percpu_user": user,
        "kernel": ticks.get("system", 0) * _TICK,
        "user": ticks.get("user", 0) * _TICK,
    }
    return present(usage, always=("kernel", "user"))


def _modes(cpuacct: Directory) -> tuple[list[int], list[int]]:
    """Time in the kernel and in user mode for each processor."""
    lines = (text(cpuacct, "cpuacct.usage_all") or "").splitlines()
    rows = [fields for line in lines[1:] if len(fields := line.split()) >= 3]
    return [value(row[2]) for row in rows], [value(row[1]) for row in rows]


def throttling(cpu: Directory) -> Section:
    """How often, and for how many nanoseconds, the quota held processes up."""
    found = pairs(cpu, "cpu.stat")
    return present(
        {
            "periods": found.get("nr_periods"),
            "throttledPeriods": found.get("nr_throttled"),
            "throttledTime": found.get("throttled_time"),
        }
    )


CPUSET_FLAGS = (
    ("cpu_exclusive", "cpu_exclusive"),
    ("mems", ""),
    ("mem_hardwall", "mem_hardwall"),
    ("mem_exclusive", "mem_exclusive"),
    ("memory_migrate", "memory_migrate"),
    ("memory_spread_page", "memory_spread_page"),
    ("memory_spread_slab", "memory_spread_slab"),
    ("memory_pressure", "memory_pressure"),
    ("sched_load_balance", "sched_load_balance"),
    ("sched_relax_domain_level", "sched_relax_domain_level"),
)


def cpuset(directory: Directory) -> Section:
    """The processors and memory nodes, and the flags; without prefix on a noprefix mount."""
    prefix = "cpuset." if directory.has("cpuset.cpus") else ""
    found: Section = {"cpus": numbers(text(directory, prefix + "cpus") or "")}
    for name, file in CPUSET_FLAGS:
        if name == "mems":
            found[name] = numbers(text(directory, prefix + "mems") or "")
        else:
            # Plain int: sched_relax_domain_level is -1 unless somebody sets it.
            found[name] = int(text(directory, prefix + file) or 0)
    lists = [name for name in ("cpus", "mems") if not found[name]]
    return {name: member for name, member in found.items() if name not in lists}


def numbers(listed: str) -> list[int]:
    """The numbers of a list such as 0-2,7."""
    found: list[int] = []
    for part in listed.strip().split(","):
        first, _, last = part.partition("-")
        if first:
            found += range(int(first), int(last or first) + 1)
    return found


def memory(directory: Directory) -> Section:
    """Bytes and pages in use, with and without swap; `raw` is memory.stat."""
    raw = pairs(directory, "memory.stat")
    result = {
        "cache": raw.get("cache"),
        "usage": _entry(directory, "memory"),
        "swap": _entry(directory, "memory.memsw"),
        "kernel": _entry(directory, "memory.kmem"),
        "kernelTCP": _entry(directory, "memory.kmem.tcp"),
        "raw": dict(sorted(raw.items())),
    }
    return present(result)


def _entry(directory: Directory, name: str) -> Section:
    """Zeros for what the kernel does not account: swap, kernel memory or its limit."""
    read = [number(directory, f"{name}.{file}") or 0 for file in _ENTRY]
    return figures.memory_entry(*read)


_ENTRY = ("limit_in_bytes", "usage_in_bytes", "max_usage_in_bytes", "failcnt")


def block_io(directory: Directory) -> Section:
    """Bytes and requests by device, from the scheduler that counts, or from the throttles."""
    for prefix, suffix in _BLOCK_SOURCES:
        serviced = _block_entries(directory, f"{prefix}io_serviced{suffix}")
        if serviced:
            return _block_section(directory, prefix, suffix)
    return {}


# What counts requests, the most detailed first: BFQ, the CFQ of old, the throttles.
_BLOCK_SOURCES = (
    ("blkio.bfq.", "_recursive"),
    ("blkio.", "_recursive"),
    ("blkio.throttle.", "_recursive"),
    ("blkio.throttle.", ""),
)
_BLOCK_FILES = (
    ("ioServiceBytesRecursive", "io_service_bytes"),
    ("ioServicedRecursive", "io_serviced"),
    ("ioQueueRecursive", "io_queued"),
    ("ioServiceTimeRecursive", "io_service_time"),
    ("ioWaitTimeRecursive", "io_wait_time"),
    ("ioMergedRecursive", "io_merged"),
    ("ioTimeRecursive", "time"),
    ("sectorsRecursive", "sectors"),
)


def _block_section(directory: Directory, prefix: str, suffix: str) -> Section:
    return present(
        {name: _block_entries(directory, f"{prefix}{file}{suffix}") for name, file in _BLOCK_FILES}
    )


def _block_entries(directory: Directory, file: str) -> list[Section]:
    """The lines `8:0 Read 123` or `8:0 123`; that with the sum of all devices is left out."""
    entries = []
    for line in (text(directory, file) or "").splitlines():
        node, *fields = line.split()
        major, colon, minor = node.partition(":")
        if colon and fields:
            operation = fields[0] if len(fields) > 1 else ""
            entries.append(block_entry(major, minor, operation, fields[-1]))
    return entries


def block_entry(major: str, minor: str, operation: str, amount: str) -> Section:
    """One figure of one device."""
    return present(
        {"major": int(major), "minor": int(minor), "op": operation, "value": value(amount)}
    )


def huge_pages(directory: Directory, sizes: list[str]) -> Section:
    """Bytes by page size: reservations if the kernel counts them, else faults."""
    found = {}
    for size in sizes:
        for prefix in (f"hugetlb.{size}.rsvd.", f"hugetlb.{size}."):
            usage = number(directory, prefix + "usage_in_bytes")
            if usage is not None:
                peak = number(directory, prefix + "max_usage_in_bytes")
                failures = number(directory, prefix + "failcnt") or 0
                entry = {"usage": usage, "max": peak, "failcnt": failures}
                found[size] = present(entry, always=("failcnt",))
                break
    return found
