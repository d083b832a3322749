"""What `events` says of a container's class of cache and bandwidth, by runc's names (R295)."""

from __future__ import annotations

import posix

from pyruntime import facts, resctrl
from pyruntime.cgroups.directory import read_text
from pyruntime.cgroups.figures import present

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyruntime.state import Container

    Section = dict[str, Any]

_CACHES = ("L3", "L3CODE", "L3DATA")
_BANDWIDTH = ("MB",)


def collect(container: Container) -> Section:
    """The section intel_rdt: empty for a container that is in no class, as in runc."""
    directories = container.values.get("resctrl_tasks")
    root = resctrl.find_mount(read_text("/proc/self/mountinfo")) if directories else ""
    if not directories or not root:
        return {}
    everywhere = facts.read(root + "/schemata")
    here = facts.read(directories[0] + "/schemata")
    return present(
        {
            "l3_cache_info": _cache(root + "/info"),
            "l3_cache_schema_root": _line(everywhere, _CACHES),
            "l3_cache_schema": _line(here, _CACHES),
            "mem_bw_info": _bandwidth(root + "/info/MB"),
            "mem_bw_schema_root": _line(everywhere, _BANDWIDTH),
            "mem_bw_schema": _line(here, _BANDWIDTH),
            "schemata": [line.strip() for line in here.splitlines() if line.strip()],
            **_monitoring(directories[-1]),
        }
    )


def _cache(info: str) -> Section:
    """L3 as a whole, or its halves for code and data, which are alike (the option cdp)."""
    directory = f"{info}/L3" if facts.read(f"{info}/L3/cbm_mask") else f"{info}/L3CODE"
    return present(
        {
            "cbm_mask": facts.read(directory + "/cbm_mask").strip(),
            "min_cbm_bits": _number(directory + "/min_cbm_bits"),
            "num_closids": _number(directory + "/num_closids"),
        }
    )


def _bandwidth(info: str) -> Section:
    names = ("bandwidth_gran", "delay_linear", "min_bandwidth", "num_closids")
    return present({name: _number(f"{info}/{name}") for name in names})


def _line(schemata: str, resources: tuple[str, ...]) -> str:
    lines = [line.strip() for line in schemata.splitlines()]
    return "\n".join(line for line in lines if line.partition(":")[0] in resources)


def _monitoring(group: str) -> Section:
    """What was counted, an entry for each L3 cache: of the monitoring group, or of the class."""
    try:
        caches = sorted(name for name in posix.listdir(group + "/mon_data") if "_L3_" in name)
    except OSError:  # a processor that does not count
        return {}
    places = [f"{group}/mon_data/{name}" for name in caches]
    return {
        "mbm_stats": _each(places, ("mbm_total_bytes", "mbm_local_bytes")),
        "cmt_stats": _each(places, ("llc_occupancy",)),
    }


def _each(places: list[str], names: tuple[str, ...]) -> list[Section]:
    """Bytes of each cache; nothing where the processor counts none of these."""
    counted = [place for place in places if any(facts.read(f"{place}/{name}") for name in names)]
    return [{name: _number(f"{place}/{name}") for name in names} for place in counted]


def _number(path: str) -> int:
    """The number in a file; 0 where there is none, and for a counter that is unavailable."""
    text = facts.read(path).strip()
    return int(text) if text.isdigit() else 0
