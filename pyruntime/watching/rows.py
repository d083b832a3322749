"""The rows of the live table, out of two successive figures of `cgroups.stats`. Pure."""

from __future__ import annotations

from pyruntime.cgroups.figures import UNLIMITED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Figures = dict[str, Any]
    Row = tuple[str, str, str]  # what is counted, how much now, of how much or since when

_NANOSECONDS = 1_000_000_000
_PAGE_ROUNDED = 1 << 62  # version 1 reports "no limit" as the greatest multiple of a page


def rows(now: Figures, before: Figures | None, seconds: float, kills: int) -> list[Row]:
    """What to show. `before` is from `seconds` ago; None if there is nothing to compare with."""
    return [
        _cpu(now, before, seconds),
        *_throttling(now),
        *_memory(now),
        _processes(now),
        *_disk(now, before, seconds),
        *_huge_pages(now),
        *_pressure(now),
        ("out of memory", f"{kills} killed" if kills else "none", "since events began"),
    ]


def _cpu(now: Figures, before: Figures | None, seconds: float) -> Row:
    total = _get(now, "cpu", "usage", "total")
    share = "-"
    if before is not None and seconds > 0:
        used = total - _get(before, "cpu", "usage", "total")
        share = f"{100 * max(used, 0) / _NANOSECONDS / seconds:.1f} %"
    return ("cpu", share, f"{total / _NANOSECONDS:.2f} s in all")


def _throttling(now: Figures) -> list[Row]:
    periods = _get(now, "cpu", "throttling", "throttledPeriods")
    if not periods:
        return []
    held = _get(now, "cpu", "throttling", "throttledTime") / _NANOSECONDS
    return [("cpu held back", f"{periods} times", f"{held:.2f} s in all")]


def _memory(now: Figures) -> list[Row]:
    used, limit = _get(now, "memory", "usage", "usage"), _get(now, "memory", "usage", "limit")
    found = [("memory", size(used), _of_limit(used, limit))]
    if peak := _get(now, "memory", "usage", "max"):
        found.append(("memory, most", size(peak), "since the start"))
    swapped = _get(now, "memory", "swap", "usage") - used
    if swapped > 0:
        found.append(("swap", size(swapped), ""))
    return found


def _of_limit(used: int, limit: int) -> str:
    if not limit or limit >= _PAGE_ROUNDED:
        return "no limit"
    return f"{100 * used / limit:.0f} % of {size(limit)}"


def _processes(now: Figures) -> Row:
    limit = _get(now, "pids", "limit")
    current = _get(now, "pids", "current")
    return ("tasks", str(current), f"of {limit}" if 0 < limit < UNLIMITED else "no limit")


def _disk(now: Figures, before: Figures | None, seconds: float) -> list[Row]:
    found = []
    for name, operation in (("read", "Read"), ("written", "Write")):
        total = _blocks(now, operation)
        rate = "-"
        if before is not None and seconds > 0:
            rate = size(max(total - _blocks(before, operation), 0) / seconds) + "/s"
        if total or rate != "-":
            found.append((f"disk {name}", rate, f"{size(total)} in all"))
    return found


def _blocks(figures: Figures, operation: str) -> int:
    entries = figures.get("blkio", {}).get("ioServiceBytesRecursive") or []
    return sum(entry.get("value", 0) for entry in entries if entry.get("op") == operation)


def _huge_pages(now: Figures) -> list[Row]:
    sizes = now.get("hugetlb") or {}
    return [
        (f"huge pages of {page}", size(entry["usage"]), "")
        for page, entry in sizes.items()
        if entry.get("usage")
    ]


def _pressure(now: Figures) -> list[Row]:
    """The share of the last ten seconds in which some task had to wait (version 2 only)."""
    found = []
    for name, section in (("cpu", "cpu"), ("memory", "memory"), ("disk", "blkio")):
        some = now.get(section, {}).get("psi", {}).get("some")
        if some:
            found.append((f"waits for {name}", f"{some.get('avg10', 0):.1f} %", "last 10 s"))
    return found


def _get(figures: Figures, *names: str) -> int:
    """A number some members deep; 0 where figures that are 0 are left out."""
    found: Any = figures
    for name in names:
        found = found.get(name) or {}
    return found or 0


def size(amount: float) -> str:
    """Bytes as people read them: 512 B, 1.5 KiB, 20 MiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if amount >= 10 or unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"
