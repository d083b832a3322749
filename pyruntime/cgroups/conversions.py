"""linux.resources as writes to cgroup files, for both versions (rows R171 to R196).

Pure: nothing here touches the host. Docker and others send zeros for what they leave unset;
where the kernel has no use for a zero it means "unset" here too.
"""

from __future__ import annotations

from pyruntime.errors import CgroupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Section = dict[str, Any]

_R = "linux.resources."


class Write:
    """One value for one file.

    `controller` is named as its version names it, `path` is the JSON path that asked.
    An `optional` write is left out if the file is missing; `otherwise` replaces it then.
    """

    __slots__ = ("controller", "file", "optional", "otherwise", "path", "value")

    def __init__(
        self,
        controller: str,
        file: str,
        value: str,
        path: str,
        optional: bool = False,
        otherwise: Write | None = None,
    ) -> None:
        self.controller = controller
        self.file = file
        self.value = value
        self.path = path
        self.optional = optional
        self.otherwise = otherwise

    def __repr__(self) -> str:
        return f"Write({self.file!r}, {self.value!r}, {self.path!r})"


def writes(resources: Section | None, version: Callable[[str], int]) -> list[Write]:
    """What to write for `resources`, devices left out, in order.

    `version` says for a controller (in v1's words) whether it is of version 1 or 2 here.
    A write that the kernel refuses with EINVAL or EBUSY may succeed after those behind it.
    Raises CgroupError, naming the JSON path, for what cannot be had.
    """
    resources = resources or {}
    result: list[Write] = []
    for section, controller, v1, v2 in _SECTIONS:
        asked = resources.get(section)
        if asked:
            result += (v2 if version(controller) == 2 else v1)(asked)
    return result


def merge(old: Section | None, new: Section | None) -> Section:
    """The resources after an update: what `new` sets over what `old` had.

    Devices are never changed by an update. Lists and maps that `new` gives replace the old.
    """
    result = dict(old or {})
    for name, section in (new or {}).items():
        if name == "devices" or section is None:
            continue
        if isinstance(section, dict):
            given = _given(name, section)
            if name == "memory" and given.get("limit") == -1:
                given.setdefault("swap", -1)
            section = {**(result.get(name) or {}), **given}
        result[name] = section
    return result


def changed(merged: Section, new: Section | None) -> Section:
    """The part of `merged` that an update by `new` has to write.

    Settings that the kernel or the conversion ties together come together.
    """
    result: Section = {}
    for name, section in (new or {}).items():
        if name == "devices" or section is None:
            continue
        if isinstance(section, dict):
            keys = set(_given(name, section))
            for group in _TIED.get(name, ()):
                if keys & group:
                    keys |= group
            whole = merged[name]
            section = {key: whole[key] for key in whole if key in keys}
        result[name] = section
    return result


_TIED = {
    "memory": (frozenset(("limit", "swap")),),
    "cpu": (frozenset(("quota", "period", "burst")),),
}


def as_of(resources: Section | None, oci_version: str) -> Section:
    """The resources as the text of `oci_version` meant them, in the terms of 1.3.

    Until 1.3 a pids.limit of 0 could not be told from none, and podman 4 sends it for "no
    limit"; since 1.3 it is a limit (R187).
    """
    resources = resources or {}
    earlier = oci_version.startswith(("1.0.", "1.1.", "1.2."))
    if not earlier or (resources.get("pids") or {}).get("limit") != 0:
        return resources
    return {name: value for name, value in resources.items() if name != "pids"}


# Settings whose zero is a value of its own.
_REAL_ZEROS = frozenset(("swappiness", "disableOOMKiller", "idle", "burst", "classID"))


def _given(name: str, section: Section) -> Section:
    return {
        key: value
        for key, value in section.items()
        if value is not None and (value or key in _REAL_ZEROS or name in ("pids", "unified"))
    }


# memory


def v1_memory(memory: Section) -> list[Write]:
    """Limit before swap, which is right for a fresh cgroup and for lowering (R173)."""
    limit, swap = _memory_limits(memory)
    result: list[Write] = []

    def add(name: str, file: str, value: object, optional: bool = False) -> None:
        path = _R + "memory." + name
        result.append(Write("memory", "memory." + file, str(value), path, optional))

    if limit:
        add("limit", "limit_in_bytes", limit)
    if swap:
        add("swap", "memsw.limit_in_bytes", swap, optional=swap == -1)
    for name, file in _V1_LIMITS:
        if memory.get(name):
            add(name, file, _amount(memory[name], "memory." + name))
    swappiness = _swappiness(memory)
    if swappiness is not None:
        add("swappiness", "swappiness", swappiness)
    if memory.get("disableOOMKiller"):
        add("disableOOMKiller", "oom_control", 1)
    if memory.get("useHierarchy") is not None:
        # The kernel dropped the file's meaning: always on, and 0 is refused (R178).
        add("useHierarchy", "use_hierarchy", int(memory["useHierarchy"]))
    return result


_V1_LIMITS = (
    ("reservation", "soft_limit_in_bytes"),
    ("kernel", "kmem.limit_in_bytes"),
    ("kernelTCP", "kmem.tcp.limit_in_bytes"),
)


def v2_memory(memory: Section) -> list[Write]:
    """memory.max, memory.low and memory.swap.max, which counts swap alone (R171 to R178)."""
    limit, swap = _memory_limits(memory)
    _refuse(memory, "memory.", ("kernel", "kernelTCP", "disableOOMKiller"))
    if _swappiness(memory) is not None:
        raise _v1_only("memory.swappiness")
    if memory.get("useHierarchy") is False:
        raise CgroupError(_R + "memory.useHierarchy: cgroup v2 is always hierarchical")
    result = []
    if limit:
        result.append(Write("memory", "memory.max", _or_max(limit), _R + "memory.limit"))
    if swap:
        value = _swap_alone(limit, swap)
        # A kernel without swap accounting cannot swap more than 0 or account "max".
        optional = value in ("0", "max")
        path = _R + "memory.swap"
        result.append(Write("memory", "memory.swap.max", value, path, optional))
    reservation = _amount(memory.get("reservation") or 0, "memory.reservation")
    if reservation:
        value = _or_max(reservation)
        result.append(Write("memory", "memory.low", value, _R + "memory.reservation"))
    return result


def _memory_limits(memory: Section) -> tuple[int, int]:
    """(limit, swap) with 0 for unset; an unlimited limit without swap frees swap as well."""
    limit = _amount(memory.get("limit") or 0, "memory.limit")
    swap = _amount(memory.get("swap") or 0, "memory.swap")
    if limit == -1 and not swap:
        return limit, -1
    if swap > 0 and not limit:
        raise CgroupError(_R + "memory.swap: is a sum of memory and swap: it needs memory.limit")
    if 0 < swap < limit:
        raise CgroupError(f"{_R}memory.swap: {swap} is less than memory.limit {limit}")
    return limit, swap


def _swap_alone(limit: int, swap: int) -> str:
    if swap == -1:
        return "max"
    return str(swap if limit == -1 else swap - limit)


def _swappiness(memory: Section) -> int | None:
    """0 to 100, or None: older callers send -1, in 64 bits or 32, for "unset" (R176)."""
    value: int | None = memory.get("swappiness")
    if value is None or value in (-1, (1 << 32) - 1, (1 << 64) - 1):
        return None
    if not 0 <= value <= 100:
        raise CgroupError(f"{_R}memory.swappiness: {value} is not between 0 and 100")
    return value


def _amount(value: int, name: str) -> int:
    if value < -1:
        raise CgroupError(f"{_R}{name}: {value} is negative, and only -1 means unlimited")
    return value


def _or_max(value: int) -> str:
    return "max" if value < 0 else str(value)


# cpu and cpuset


def v1_cpu(cpu: Section) -> list[Write]:
    """Shares, bandwidth and real-time bandwidth (R180 to R184, R186)."""
    _check_cpu(cpu)
    shares = cpu.get("shares") or 0
    if shares and not 2 <= shares <= 1 << 18:
        raise CgroupError(f"{_R}cpu.shares: {shares} is not between 2 and 262144")
    result = []
    for name, file in _V1_CPU:
        if cpu.get(name):
            result.append(Write("cpu", "cpu." + file, str(cpu[name]), _R + "cpu." + name))
    return result + _burst(cpu, "cpu.cfs_burst_us") + _idle(cpu)


_V1_CPU = (
    ("realtimePeriod", "rt_period_us"),
    ("realtimeRuntime", "rt_runtime_us"),
    ("shares", "shares"),
    ("period", "cfs_period_us"),
    ("quota", "cfs_quota_us"),
)


def v2_cpu(cpu: Section) -> list[Write]:
    """cpu.weight, cpu.max, cpu.max.burst and cpu.idle (R180 to R184, R186)."""
    _check_cpu(cpu)
    _refuse(cpu, "cpu.", ("realtimeRuntime", "realtimePeriod"))
    result = []
    weight = cpu_weight(cpu.get("shares") or 0)
    if weight:
        result.append(Write("cpu", "cpu.weight", str(weight), _R + "cpu.shares"))
    quota, period = cpu.get("quota") or 0, cpu.get("period") or 0
    if quota or period:
        value = f"{quota if quota > 0 else 'max'} {period or 100000}"
        path = _R + ("cpu.quota" if quota else "cpu.period")
        result.append(Write("cpu", "cpu.max", value, path))
    return result + _burst(cpu, "cpu.max.burst") + _idle(cpu)


def v1_cpuset(cpu: Section) -> list[Write]:
    """cpuset.cpus and cpuset.mems, by their short names on a noprefix mount (R185)."""
    result = []
    for name in ("cpus", "mems"):
        if cpu.get(name):
            short = Write("cpuset", name, cpu[name], _R + "cpu." + name)
            long = Write("cpuset", "cpuset." + name, cpu[name], _R + "cpu." + name)
            long.otherwise = short
            result.append(long)
    return result


def v2_cpuset(cpu: Section) -> list[Write]:
    """cpuset.cpus and cpuset.mems (R185)."""
    return [
        Write("cpuset", "cpuset." + name, cpu[name], _R + "cpu." + name)
        for name in ("cpus", "mems")
        if cpu.get(name)
    ]


def cpu_weight(shares: int) -> int:
    """The cpu.weight (1 to 10000) of v1's cpu.shares; 0 for 0, which means unset (R180).

    ceil(10 ** ((l*l + 125*l) / 612 - 7/34)), l being the binary logarithm of the shares: it
    takes 2 to 1, 1024 to the default 100 and 262144 to 10000. Written over one denominator,
    so that those three come out exact.
    """
    if shares == 0:
        return 0
    if shares <= 2:
        return 1
    if shares >= 1 << 18:
        return 10000
    log = _log2(shares)
    weight: float = 10.0 ** ((log * log + 125 * log - 126) / 612)
    return -int(-weight // 1)


def _log2(number: int) -> float:
    """The binary logarithm, exact for powers of 2. (The math module is not free to import.)"""
    whole = number.bit_length() - 1
    mantissa, fraction, bit = number / (1 << whole), 0.0, 0.5
    while mantissa != 1.0 and bit > 1e-15:
        mantissa *= mantissa
        if mantissa >= 2.0:
            mantissa /= 2.0
            fraction += bit
        bit /= 2
    return whole + fraction


def _check_cpu(cpu: Section) -> None:
    quota, burst = cpu.get("quota") or 0, cpu.get("burst") or 0
    if 0 < quota < burst:
        raise CgroupError(f"{_R}cpu.burst: {burst} is more than cpu.quota {quota}")
    if cpu.get("idle") not in (None, 0, 1):
        raise CgroupError(f"{_R}cpu.idle: {cpu['idle']} is not 0 or 1")


def _burst(cpu: Section, file: str) -> list[Write]:
    """A burst of 0 is what a kernel without the file has anyway."""
    burst = cpu.get("burst")
    if burst is None:
        return []
    return [Write("cpu", file, str(burst), _R + "cpu.burst", optional=burst == 0)]


def _idle(cpu: Section) -> list[Write]:
    idle = cpu.get("idle")
    if idle is None:
        return []
    return [Write("cpu", "cpu.idle", str(idle), _R + "cpu.idle", optional=idle == 0)]


# pids


def pids(section: Section) -> list[Write]:
    """pids.max, the same on both versions: any negative limit is "max", 0 is 0 (R187)."""
    limit = section.get("limit")
    if limit is None:
        return []
    return [Write("pids", "pids.max", _or_max(limit), _R + "pids.limit")]


# blockIO


def v1_block_io(block: Section) -> list[Write]:
    """blkio weights, under the name of the scheduler that has them, and throttles."""
    result = []
    for name, file in (("weight", "weight"), ("leafWeight", "leaf_weight")):
        if block.get(name):
            value = str(_weight(block[name], "blockIO." + name))
            result.append(_blkio(file, value, "blockIO." + name))
    for index, device in enumerate(block.get("weightDevice") or ()):
        path = f"blockIO.weightDevice[{index}]"
        _needs_weight(device, path)
        for name, file in (("weight", "weight_device"), ("leafWeight", "leaf_weight_device")):
            if device.get(name):
                value = f"{_node(device)} {_weight(device[name], path + '.' + name)}"
                result.append(_blkio(file, value, path))
    for name, file, _ in _THROTTLES:
        for index, device in enumerate(block.get(name) or ()):
            value = f"{_node(device)} {device['rate']}"
            path = f"{_R}blockIO.{name}[{index}]"
            result.append(Write("blkio", "blkio.throttle." + file, value, path))
    return result


_THROTTLES = (
    ("throttleReadBpsDevice", "read_bps_device", "rbps"),
    ("throttleWriteBpsDevice", "write_bps_device", "wbps"),
    ("throttleReadIOPSDevice", "read_iops_device", "riops"),
    ("throttleWriteIOPSDevice", "write_iops_device", "wiops"),
)


def v2_block_io(block: Section) -> list[Write]:
    """io.bfq.weight or io.weight, and io.max, where a rate of 0 is "max" (R188 to R191)."""
    _refuse(block, "blockIO.", ("leafWeight",))
    result = []
    if block.get("weight"):
        weight = _weight(block["weight"], "blockIO.weight")
        result.append(_io_weight("", weight, "blockIO.weight"))
    for index, device in enumerate(block.get("weightDevice") or ()):
        path = f"blockIO.weightDevice[{index}]"
        _needs_weight(device, path)
        _refuse(device, path + ".", ("leafWeight",))
        weight = _weight(device["weight"], path + ".weight")
        result.append(_io_weight(_node(device) + " ", weight, path))
    for name, _, key in _THROTTLES:
        for index, device in enumerate(block.get(name) or ()):
            value = f"{_node(device)} {key}={device['rate'] or 'max'}"
            result.append(Write("io", "io.max", value, f"{_R}blockIO.{name}[{index}]"))
    return result


def io_weight(weight: int) -> int:
    """io.weight (1 to 10000) of blkio's weight (10 to 1000), as row R188 has it."""
    return 1 + (weight - 10) * 9999 // 990


def _io_weight(prefix: str, weight: int, path: str) -> Write:
    plain = Write("io", "io.weight", f"{prefix}{io_weight(weight)}", _R + path)
    return Write("io", "io.bfq.weight", f"{prefix}{weight}", _R + path, otherwise=plain)


def _blkio(file: str, value: str, path: str) -> Write:
    bfq = Write("blkio", "blkio.bfq." + file, value, _R + path)
    return Write("blkio", "blkio." + file, value, _R + path, otherwise=bfq)


def _weight(weight: int, name: str) -> int:
    if not 10 <= weight <= 1000:
        raise CgroupError(f"{_R}{name}: {weight} is not between 10 and 1000")
    return weight


def _needs_weight(device: Section, path: str) -> None:
    if not device.get("weight") and not device.get("leafWeight"):
        raise CgroupError(f"{_R}{path}: needs weight or leafWeight")


def _node(device: Section) -> str:
    return f"{device['major']}:{device['minor']}"


# hugetlb


def v1_hugetlb(limits: list[Section]) -> list[Write]:
    """Limit faults, and reservations where the kernel can (R192)."""
    return _hugetlb(limits, "limit_in_bytes")


def v2_hugetlb(limits: list[Section]) -> list[Write]:
    """Limit faults, and reservations where the kernel can (R192)."""
    return _hugetlb(limits, "max")


def _hugetlb(limits: list[Section], file: str) -> list[Write]:
    result = []
    for index, entry in enumerate(limits):
        path = f"{_R}hugepageLimits[{index}]"
        size, limit = entry["pageSize"], str(entry["limit"])
        if not _page_size(size):
            raise CgroupError(f"{path}.pageSize: {size!r} is not a page size such as 2MB")
        name = f"hugetlb.{size}."
        result.append(Write("hugetlb", name + file, limit, path))
        result.append(Write("hugetlb", name + "rsvd." + file, limit, path, optional=True))
    return result


def _page_size(size: str) -> bool:
    """Checked closely, for it becomes a part of a file name."""
    number = size[:-2]
    plain = number.isascii() and number.isdigit() and not number.startswith("0")
    return plain and size[-2:] in ("KB", "MB", "GB")


# network, rdma, unified


def v1_class(network: Section) -> list[Write]:
    """net_cls.classid; 0 means unset (R193)."""
    if not network.get("classID"):
        return []
    value = str(network["classID"])
    return [Write("net_cls", "net_cls.classid", value, _R + "network.classID")]


def v1_priorities(network: Section) -> list[Write]:
    """net_prio.ifpriomap, one interface a write (R194)."""
    result = []
    for index, entry in enumerate(network.get("priorities") or ()):
        path = f"{_R}network.priorities[{index}]"
        if not entry["name"] or " " in entry["name"] or "\n" in entry["name"]:
            raise CgroupError(f"{path}.name: {entry['name']!r} is not the name of an interface")
        value = f"{entry['name']} {entry['priority']}"
        result.append(Write("net_prio", "net_prio.ifpriomap", value, path))
    return result


def v2_network(network: Section) -> list[Write]:
    """Nothing of it exists on v2 (R193, R194)."""
    _refuse(network, "network.", ("classID", "priorities"))
    return []


def rdma(section: Section) -> list[Write]:
    """rdma.max, the same on both versions (R195)."""
    result = []
    for device, limits in section.items():
        path = f"{_R}rdma.{device}"
        pairs = [
            f"{key}={limits[name]}"
            for name, key in (("hcaHandles", "hca_handle"), ("hcaObjects", "hca_object"))
            if limits.get(name) is not None
        ]
        if not pairs:
            raise CgroupError(f"{path}: needs hcaHandles or hcaObjects")
        result.append(Write("rdma", "rdma.max", " ".join([device, *pairs]), path))
    return result


def v1_unified(unified: Section) -> list[Write]:
    """Files of v2 cannot be had without it (R196)."""
    raise CgroupError(_R + "unified: needs cgroup v2, and this host's controllers are on v1")


def v2_unified(unified: Section) -> list[Write]:
    """Every file as it is asked for, one write a line (R196)."""
    result = []
    for file, value in unified.items():
        path = f"{_R}unified[{file!r}]"
        if "/" in file or "\0" in file or "." not in file.strip("."):
            raise CgroupError(f"{path}: is not the name of a cgroup file")
        controller = file.partition(".")[0]
        controller = "" if controller == "cgroup" else controller
        for line in value.splitlines():
            result.append(Write(controller, file, line, path))
    return result


def _refuse(section: Section, prefix: str, names: tuple[str, ...]) -> None:
    for name in names:
        if section.get(name):
            raise _v1_only(prefix + name)


def _v1_only(name: str) -> CgroupError:
    return CgroupError(f"{_R}{name}: cgroup v2 has no such setting")


# What reads each section: its name, its controller in v1's words, and how on each version.
# Later wins where two set the same file, so "unified" is last.
if TYPE_CHECKING:
    _Reader = Callable[[Any], list[Write]]

_SECTIONS: tuple[tuple[str, str, _Reader, _Reader], ...] = (
    ("cpu", "cpuset", v1_cpuset, v2_cpuset),
    ("cpu", "cpu", v1_cpu, v2_cpu),
    ("memory", "memory", v1_memory, v2_memory),
    ("pids", "pids", pids, pids),
    ("blockIO", "blkio", v1_block_io, v2_block_io),
    ("hugepageLimits", "hugetlb", v1_hugetlb, v2_hugetlb),
    ("network", "net_cls", v1_class, v2_network),
    ("network", "net_prio", v1_priorities, v2_network),
    ("rdma", "rdma", rdma, rdma),
    ("unified", "unified", v1_unified, v2_unified),
)
