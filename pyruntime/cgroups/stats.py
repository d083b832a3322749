"""The figures of a container's cgroup, as `events` prints them.

Names, units and order are those of runc. A controller that the host does not have, or
has on neither version for this container, counts nothing: zeros, or an empty section.
"""

from __future__ import annotations

import posix

from pyruntime.cgroups import stats_v1, stats_v2
from pyruntime.cgroups.figures import UNLIMITED, huge_page_sizes, number, present
from pyruntime.errors import CgroupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyruntime.cgroups.directory import Directory
    from pyruntime.cgroups.manager import Cgroup, NoCgroup

    Section = dict[str, Any]

_HUGE_PAGES = "/sys/kernel/mm/hugepages"


def collect(cgroup: Cgroup | NoCgroup) -> Section:
    """All figures of one moment. Raises CgroupError if there is no cgroup, or it is unreadable."""
    paths = cgroup.paths()
    if not paths:
        raise CgroupError("cgroups are disabled: there are no statistics")
    directories: dict[str, Directory] = cgroup.directories  # type: ignore[union-attr]
    return sections(directories)


def sections(directories: dict[str, Directory]) -> Section:
    """The figures of the directories, which are named by controller ("" for version 2).

    On a hybrid host a controller may be of either version.
    """
    return {
        "cpu": _cpu(directories),
        "cpuset": _cpuset(directories),
        "memory": _memory(directories),
        "pids": _pids(directories),
        "blkio": _block_io(directories),
        "hugetlb": _huge_pages(directories),
        "intel_rdt": {},
        "network_interfaces": None,
    }


def _cpu(directories: dict[str, Directory]) -> Section:
    accounts, cpu = directories.get("cpuacct"), directories.get("cpu")
    if accounts is None and cpu is None and "" in directories:
        return stats_v2.cpu(directories[""])
    return {
        "usage": stats_v1.cpu_usage(accounts) if accounts else {"kernel": 0, "user": 0},
        "throttling": stats_v1.throttling(cpu) if cpu else {},
    }


def _cpuset(directories: dict[str, Directory]) -> Section:
    """Version 2 has none of the flags; they stand there as zeros, as runc has it."""
    if "cpuset" in directories:
        return stats_v1.cpuset(directories["cpuset"])
    return {name: 0 for name, file in stats_v1.CPUSET_FLAGS if file}


def _memory(directories: dict[str, Directory]) -> Section:
    if "memory" in directories:
        return stats_v1.memory(directories["memory"])
    return stats_v2.memory(directories[""]) if "" in directories else {}


def _pids(directories: dict[str, Directory]) -> Section:
    if "pids" in directories:
        directory = directories["pids"]
        current, limit = number(directory, "pids.current"), number(directory, "pids.max")
    elif "" in directories:
        current, limit = stats_v2.pids(directories[""])
    else:
        return {}
    return present({"current": current, "limit": 0 if limit == UNLIMITED else limit})


def _block_io(directories: dict[str, Directory]) -> Section:
    if "blkio" in directories:
        return stats_v1.block_io(directories["blkio"])
    return stats_v2.block_io(directories[""]) if "" in directories else {}


def _huge_pages(directories: dict[str, Directory]) -> Section:
    try:
        sizes = huge_page_sizes(posix.listdir(_HUGE_PAGES))
    except OSError:  # a kernel without huge pages
        return {}
    if "hugetlb" in directories:
        return stats_v1.huge_pages(directories["hugetlb"], sizes)
    return stats_v2.huge_pages(directories[""], sizes) if "" in directories else {}
