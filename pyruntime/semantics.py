"""What a schema cannot say about config.json: rules between properties, and forms of text.

Every function is pure and yields lines of the form `JSON path: what is wrong; what would
be right`. The rules hold on every host: what depends on the kernel, the cgroup version or
on files is found out by those who use it. The types have been checked before, or values
of a wrong type have been taken out, so any property may be absent here.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    Rule = Callable[[dict[str, Any], str], Iterator[str]]

# Files of procfs that engines such as LXCFS cover. Anything else below /proc could hide
# what LSM labels and sysctls are written to (CVE-2019-16884, CVE-2025-52881).
_PROC_FILES = frozenset(
    "/proc/" + name
    for name in (
        "cpuinfo",
        "diskstats",
        "loadavg",
        "meminfo",
        "slabinfo",
        "stat",
        "swaps",
        "uptime",
        "sys/crypto/fips_enabled",
        "sys/kernel/ns_last_pid",
    )
)
_RLIMITS = frozenset(
    "RLIMIT_" + name
    for name in (
        "AS",
        "CORE",
        "CPU",
        "DATA",
        "FSIZE",
        "LOCKS",
        "MEMLOCK",
        "MSGQUEUE",
        "NICE",
        "NOFILE",
        "NPROC",
        "RSS",
        "RTPRIO",
        "RTTIME",
        "SIGPENDING",
        "STACK",
    )
)
_IPC_SYSCTLS = frozenset(
    "kernel." + name
    for name in (
        "msgmax",
        "msgmnb",
        "msgmni",
        "sem",
        "shm_rmid_forced",
        "shmall",
        "shmmax",
        "shmmni",
    )
)
_HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
_ERRNO_ACTIONS = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
_ID_LIMIT = 1 << 32
_ID_MAPPINGS = 340  # UID_GID_MAP_MAX_EXTENTS of the kernel, since 4.15
_MAX_ERRNO = 4095
_HIGHEST_NODE = 65535
_INTERFACE_NAME = 15  # IFNAMSIZ without the closing NUL


def faults(document: dict[str, Any]) -> list[str]:
    """Every fault of a config.json that has the right shape."""
    found: list[str] = []
    for rule in _DOCUMENT_RULES:
        found.extend(rule(document, ""))
    if "process" in document:
        found += process_faults(document["process"])
    for name, member_rules in _MEMBER_RULES:
        if name in document:
            for rule in member_rules:
                found.extend(rule(document[name], "." + name))
    if "linux" in document:
        found += _linux_faults(document["linux"])
    return found


def process_faults(process: dict[str, Any], path: str = ".process") -> list[str]:
    """Every fault of a process, of config.json or of exec (R61 to R80)."""
    return [line for rule in _PROCESS_RULES for line in rule(process, path)]


def resources_faults(resources: dict[str, Any], path: str = ".linux.resources") -> list[str]:
    """Every fault of resources that no version of cgroups can take (R170 to R196)."""
    return [line for rule in _RESOURCES_RULES for line in rule(resources, path)]


def nul_faults(value: object, path: str = "") -> list[str]:
    """Text with a NUL character, which ends a string for the kernel: names included."""
    if isinstance(value, str):
        return [f"{path or '.'}: has a NUL character; remove it"] if "\0" in value else []
    found: list[str] = []
    if isinstance(value, list):
        for index, element in enumerate(value):
            found += nul_faults(element, f"{path}[{index}]")
    if isinstance(value, dict):
        for name, member in value.items():
            if "\0" in name:
                found.append(f"{path}{_key(name)}: the name has a NUL character; remove it")
            found += nul_faults(member, path + _key(name))
    return found


def _linux_faults(linux: dict[str, Any]) -> list[str]:
    found = [line for rule in _LINUX_RULES for line in rule(linux, ".linux")]
    for name, rules in _LINUX_MEMBER_RULES:
        if name in linux:
            for rule in rules:
                found.extend(rule(linux[name], ".linux." + name))
    if "resources" in linux:
        found += resources_faults(linux["resources"])
    return found


def _key(name: str) -> str:
    """A name as a step of a path: `.name`, or quoted if it is not a plain word."""
    if name and _PLAIN.issuperset(name) and not name[0].isdigit():
        return "." + name
    text = "".join(_key_character(character) for character in name)
    return f'["{text}"]'


def _key_character(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    return character if character >= " " else f"\\u{ord(character):04x}"


def _namespaces(document: dict[str, Any]) -> dict[str, str]:
    """The listed namespaces and their paths; "" for those that are made (as runc reads "")."""
    listed = document.get("linux", {}).get("namespaces", [])
    return {entry["type"]: entry.get("path", "") for entry in listed if "type" in entry}


# The whole document


def _version(document: dict[str, Any], path: str) -> Iterator[str]:
    """R11. Minor versions do not matter: unknown properties are ignored anyway."""
    version = document.get("ociVersion")
    if version is None:
        return
    if not _is_semantic_version(version):
        yield f"{path}.ociVersion: {version!r} is no version; use SemVer 2.0.0, such as 1.3.0"
    elif int(version.partition(".")[0]) > 1:
        yield f"{path}.ociVersion: version {version} is not supported; use 1.3.0 or another 1.x"


def _is_semantic_version(version: str) -> bool:
    rest, plus, build = version.partition("+")
    core, minus, release = rest.partition("-")
    numbers = core.split(".")
    return (
        len(numbers) == 3
        and all(_is_number(number) for number in numbers)
        and (not minus or all(_is_identifier(part, True) for part in release.split(".")))
        and (not plus or all(_is_identifier(part, False) for part in build.split(".")))
    )


def _is_number(text: str) -> bool:
    """A decimal number without leading zeros."""
    return text.isascii() and text.isdigit() and (text == "0" or text[0] != "0")


def _is_identifier(text: str, strict: bool) -> bool:
    """An identifier of SemVer: `strict` ones are not numbers with leading zeros."""
    plain = text.replace("-", "0")
    if not plain or not plain.isascii() or not plain.isalnum():
        return False
    return not strict or not text.isdigit() or _is_number(text)


def _root(document: dict[str, Any], path: str) -> Iterator[str]:
    """R12: required on Linux by the prose only."""
    if "root" not in document:
        yield f"{path}.root: missing; it is required, with the path of the root file system"


def _names(document: dict[str, Any], path: str) -> Iterator[str]:
    """R15, R16: without a namespace of its own the container would rename the host."""
    for name in ("hostname", "domainname"):
        if document.get(name) and "uts" not in _namespaces(document):
            yield f"{path}.{name}: needs a uts namespace; add one to .linux.namespaces"


def _hooks(document: dict[str, Any], path: str) -> Iterator[str]:
    """R56. That a timeout is above 0 is in the schema."""
    hooks = document.get("hooks")
    if not hooks:
        return
    for name in _HOOKS:
        for index, hook in enumerate(hooks.get(name, ())):
            place, program = f"{path}.hooks.{name}[{index}].path", hook.get("path", "/")
            if program[:1] != "/":
                yield f"{place}: {program!r} is relative; make it absolute"


def _masks(document: dict[str, Any], path: str) -> Iterator[str]:
    """R215, R216, and R134: without a mount namespace the host's paths would be covered."""
    linux = document.get("linux", {})
    for name in ("maskedPaths", "readonlyPaths"):
        paths = linux.get(name)
        if not paths:
            continue
        if "mount" not in _namespaces(document):
            yield f"{path}.linux.{name}: needs a mount namespace; add one to .linux.namespaces"
        for index, masked in enumerate(paths):
            if masked[:1] != "/":
                yield f"{path}.linux.{name}[{index}]: {masked!r} is relative; make it absolute"


def _mounts_with_user_namespace(document: dict[str, Any], path: str) -> Iterator[str]:
    """R116: an id-mapped mount takes its mappings from itself or from the user namespace."""
    if "user" in _namespaces(document):
        return
    for index, mount in enumerate(document.get("mounts", ())):
        options = mount.get("options", ())
        if "idmap" not in options and "ridmap" not in options:
            continue
        if not mount.get("uidMappings") and not mount.get("gidMappings"):
            yield (
                f"{path}.mounts[{index}].options: an id-mapped mount needs mappings; "
                "add uidMappings and gidMappings, or a user namespace"
            )


def _sysctls(document: dict[str, Any], path: str) -> Iterator[str]:
    """R213: only what belongs to a namespace of the container may be set."""
    sysctls = document.get("linux", {}).get("sysctl")
    if not sysctls:
        return
    namespaces = _namespaces(document)
    domain = document.get("domainname")
    for name, value in sysctls.items():
        fault = _sysctl_fault(_dotted(name), namespaces)
        if not fault and _dotted(name) == "kernel.domainname" and domain and domain != value:
            fault = "is not the same as .domainname; set one of the two"
        if fault:
            yield f"{path}.linux.sysctl{_key(name)}: {fault}"


def _dotted(name: str) -> str:
    """The name with dots: in one that has a slash first, slashes separate (sysctl.d(5))."""
    slash, dot = name.find("/"), name.find(".")
    if slash < 0 or 0 <= dot < slash:
        return name
    return name.translate({ord("/"): ".", ord("."): "/"})


def _sysctl_fault(name: str, namespaces: dict[str, str]) -> str:
    if any(part in ("", "/", "//") for part in name.split(".")):  # "", ".", ".." of the path
        return "is not the name of a kernel parameter; name the parts between dots"
    if name == "kernel.hostname":
        return "would be in conflict with .hostname; set that instead"
    needed = _sysctl_namespace(name)
    if not needed:
        return "is not of a namespace, so it would change the host; remove it"
    if needed not in namespaces:
        return f"needs a {needed} namespace, or it would change the host; add one or remove it"
    return ""


def _sysctl_namespace(name: str) -> str:
    if name in _IPC_SYSCTLS or name.startswith("fs.mqueue."):
        return "ipc"
    if name.startswith("net."):
        return "network"
    if name.startswith("user."):
        return "user"
    return "uts" if name == "kernel.domainname" else ""


# Mounts


def _mounts(mounts: list[dict[str, Any]], path: str) -> Iterator[str]:
    for index, mount in enumerate(mounts):
        place = f"{path}[{index}]"
        yield from _mount_type(mount, place)
        yield from _mount_destination(mount, place)
        if "uidMappings" in mount or "gidMappings" in mount:
            yield from _mount_mappings(mount, place)


def _mount_type(mount: dict[str, Any], path: str) -> Iterator[str]:
    """R93: the option makes a bind mount, not the type."""
    options = mount.get("options", ())
    if "bind" in options or "rbind" in options:
        if not mount.get("source"):
            yield f"{path}.source: missing; a bind mount needs the path of what to mount"
    elif not mount.get("type"):
        if "remount" not in options:
            yield f"{path}.type: missing; give a file system, or the option bind or rbind"
    elif mount["type"] == "bind":
        yield f"{path}.type: bind alone makes no bind mount; add the option bind or rbind"


def _mount_destination(mount: dict[str, Any], path: str) -> Iterator[str]:
    """R91, CVE-2019-16884. The plan also looks at what is found there, after links."""
    destination = _clean(mount.get("destination", ""))
    if destination == "/proc":
        options = mount.get("options", ())
        if mount.get("type") != "proc" and "bind" not in options and "rbind" not in options:
            yield f"{path}.destination: only procfs may be mounted on /proc; use the type proc"
    elif destination.startswith("/proc/") and destination not in _PROC_FILES:
        yield (
            f"{path}.destination: {destination} cannot be covered because it is inside /proc; "
            f"mount elsewhere, or on one of {', '.join(sorted(_PROC_FILES))}"
        )


def _clean(path: str) -> str:
    """The path from /, without empty, "." and ".." parts: a relative one counts from / (R91)."""
    if path[:1] == "/" and "//" not in path and "/." not in path:
        return path.rstrip("/") or "/"
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part and part != ".":
            parts.append(part)
    return "/" + "/".join(parts)


def _mount_mappings(mount: dict[str, Any], path: str) -> Iterator[str]:
    """R95."""
    for name, other in (("uidMappings", "gidMappings"), ("gidMappings", "uidMappings")):
        if mount.get(name) and not mount.get(other):
            yield f"{path}.{other}: missing; {name} needs it"
        yield from _mapping_faults(mount.get(name, ()), f"{path}.{name}")


def _mapping_faults(mappings: list[dict[str, Any]], path: str) -> Iterator[str]:
    """R136: what the kernel refuses in uid_map and gid_map."""
    if len(mappings) > _ID_MAPPINGS:
        yield f"{path}: has {len(mappings)} entries; the kernel takes at most {_ID_MAPPINGS}"
    for index, mapping in enumerate(mappings):
        size = mapping.get("size", 1)
        if size == 0:
            yield f"{path}[{index}].size: 0 maps nothing; use at least 1"
        for name in ("containerID", "hostID"):
            if mapping.get(name, 0) + size > _ID_LIMIT:
                yield f"{path}[{index}].size: goes beyond the last id, 4294967295; use less"
                break
    for name in ("containerID", "hostID"):
        yield from _overlaps(mappings, name, path)


def _overlaps(mappings: list[dict[str, Any]], name: str, path: str) -> Iterator[str]:
    ranges = sorted(
        (entry.get(name, 0), entry.get("size", 0), index)
        for index, entry in enumerate(mappings)
        if name in entry
    )
    for index in range(1, len(ranges)):
        first, size, earlier = ranges[index - 1]
        second, _, later = ranges[index]
        if first + size > second:
            high, low = max(earlier, later), min(earlier, later)
            yield f"{path}[{high}].{name}: overlaps entry {low}; map each id once"


# The process


def _working_directory(process: dict[str, Any], path: str) -> Iterator[str]:
    """R64."""
    directory = process.get("cwd", "/")
    if directory[:1] != "/":
        yield f"{path}.cwd: {directory!r} is relative; make it absolute"


def _environment(process: dict[str, Any], path: str) -> Iterator[str]:
    """R65: what runc refuses."""
    for index, entry in enumerate(process.get("env", ())):
        if "=" not in entry:
            yield f"{path}.env[{index}]: {entry!r} has no value; use NAME=value"
        elif entry[0] == "=":
            yield f"{path}.env[{index}]: {entry!r} has no name; use NAME=value"


def _console(process: dict[str, Any], path: str) -> Iterator[str]:
    """R63. The kernel's struct winsize has 16 bits for each."""
    if not process.get("terminal"):
        return
    for name, size in process.get("consoleSize", {}).items():
        if name in ("height", "width") and size > 65535:
            yield f"{path}.consoleSize.{name}: {size} is too much; use at most 65535"


def _rlimits(process: dict[str, Any], path: str) -> Iterator[str]:
    """R70."""
    seen: set[str] = set()
    for index, limit in enumerate(process.get("rlimits", ())):
        place, kind = f"{path}.rlimits[{index}]", limit.get("type")
        if kind in seen:
            yield f"{place}.type: {kind} is there twice; keep one"
        elif kind is not None and kind not in _RLIMITS:
            yield f"{place}.type: {kind!r} is unknown; use one of {', '.join(sorted(_RLIMITS))}"
        if kind is not None:
            seen.add(kind)
        if "hard" in limit and limit.get("soft", 0) > limit["hard"]:
            yield f"{place}.soft: {limit['soft']} is above hard; use at most {limit['hard']}"


def _scheduler(process: dict[str, Any], path: str) -> Iterator[str]:
    """R75, R76: what sched_setattr(2) refuses whatever the privileges."""
    scheduler = process.get("scheduler")
    if not scheduler:
        return
    path += ".scheduler"
    policy = scheduler.get("policy")
    if policy == "SCHED_ISO":
        yield f"{path}.policy: no kernel implements SCHED_ISO; use another policy"
    if policy in ("SCHED_OTHER", "SCHED_BATCH") and not -20 <= scheduler.get("nice", 0) <= 19:
        yield f"{path}.nice: {scheduler['nice']} is out of range; use -20 to 19"
    yield from _static_priority(scheduler, path)
    if policy == "SCHED_DEADLINE":
        yield from _deadline(scheduler, path)
    elif policy is not None:
        for name in ("runtime", "deadline", "period"):
            if scheduler.get(name):
                yield f"{path}.{name}: is for SCHED_DEADLINE only; remove it"


def _static_priority(scheduler: dict[str, Any], path: str) -> Iterator[str]:
    policy, priority = scheduler.get("policy"), scheduler.get("priority", 0)
    if policy in ("SCHED_FIFO", "SCHED_RR"):
        if not 1 <= priority <= 99:
            yield f"{path}.priority: {priority} is out of range; {policy} needs 1 to 99"
    elif priority and policy is not None:
        yield f"{path}.priority: is for SCHED_FIFO and SCHED_RR only; remove it"


def _deadline(scheduler: dict[str, Any], path: str) -> Iterator[str]:
    """sched_deadline(7): 1024 ns <= runtime <= deadline <= period, all below 2**63."""
    runtime, deadline = scheduler.get("runtime", 0), scheduler.get("deadline", 0)
    period = scheduler.get("period", 0) or deadline
    if runtime < 1024:
        yield f"{path}.runtime: {runtime} is too short; use at least 1024 nanoseconds"
    if runtime > deadline:
        yield f"{path}.deadline: {deadline} is below runtime; use at least {runtime}"
    if deadline > period:
        yield f"{path}.period: {period} is below deadline; use at least {deadline}, or 0"
    for name in ("runtime", "deadline", "period"):
        if scheduler.get(name, 0) >= 1 << 63:
            yield f"{path}.{name}: is too long; use less than 2**63 nanoseconds"


def _affinity(process: dict[str, Any], path: str) -> Iterator[str]:
    """R79."""
    for name, cpus in process.get("execCPUAffinity", {}).items():
        if name in ("initial", "final") and cpus and _numbers(cpus.replace(" ", "")) is None:
            yield f"{path}.execCPUAffinity.{name}: {cpus!r} is no list of CPUs; use such as 0-3,7"


def _numbers(text: str) -> list[tuple[int, int]] | None:
    """The ranges of a list such as 0-3,7; None if it is not one."""
    ranges = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        last = last if dash else first
        if not (first.isascii() and first.isdigit() and last.isascii() and last.isdigit()):
            return None
        if len(first) > 9 or len(last) > 9 or int(first) > int(last):
            return None
        ranges.append((int(first), int(last)))
    return ranges


# Namespaces, devices and the rest of linux


def _namespace_list(linux: dict[str, Any], path: str) -> Iterator[str]:
    """R130, R131."""
    seen: set[str] = set()
    for index, entry in enumerate(linux.get("namespaces", ())):
        kind, file = entry.get("type"), entry.get("path", "")
        if kind in seen:
            yield f"{path}.namespaces[{index}].type: {kind} is there twice; keep one"
        if kind is not None:
            seen.add(kind)
        if file and file[0] != "/":
            yield f"{path}.namespaces[{index}].path: {file!r} is relative; make it absolute"


def _id_mappings(linux: dict[str, Any], path: str) -> Iterator[str]:
    """R136. A joined user namespace may come with its mappings: containerd gives both."""
    namespaces = _namespaces({"linux": linux})
    for name in ("uidMappings", "gidMappings"):
        mappings = linux.get(name)
        if mappings:
            if "user" not in namespaces:
                yield f"{path}.{name}: needs a user namespace; add one to .linux.namespaces"
            yield from _mapping_faults(mappings, f"{path}.{name}")
        elif namespaces.get("user") == "":
            yield f"{path}.{name}: missing; a new user namespace needs it"


def _time_offsets(linux: dict[str, Any], path: str) -> Iterator[str]:
    """R137. Offsets can only be set before a process has entered the namespace."""
    offsets = linux.get("timeOffsets")
    if not offsets:
        return
    file = _namespaces({"linux": linux}).get("time")
    if file is None:
        yield f"{path}.timeOffsets: needs a time namespace; add one to .linux.namespaces"
    elif file:
        yield f"{path}.timeOffsets: cannot change a time namespace that is joined; remove one"
    for clock in offsets:
        if clock not in ("monotonic", "boottime"):
            yield f"{path}.timeOffsets{_key(clock)}: is no clock; use monotonic or boottime"


def _devices(devices: list[dict[str, Any]], path: str) -> Iterator[str]:
    """R150, R151."""
    for index, device in enumerate(devices):
        if device.get("path", "/")[:1] != "/":
            yield f"{path}[{index}].path: {device['path']!r} is relative; make it absolute"
        if device.get("type", "p") != "p":
            for name in ("major", "minor"):
                if name not in device:
                    yield f"{path}[{index}].{name}: missing; only a fifo (p) has none"
        if device.get("fileMode", 0) > 0o177777:
            yield f"{path}[{index}].fileMode: {device['fileMode']} is no mode; use such as 438"


def _network_devices(linux: dict[str, Any], path: str) -> Iterator[str]:
    """R155."""
    devices = linux.get("netDevices")
    if not devices:
        return
    path += ".netDevices"
    if "network" not in _namespaces({"linux": linux}):
        yield f"{path}: needs a network namespace; add one to .linux.namespaces"
    taken: set[str] = set()
    for name, device in devices.items():
        if not _is_interface(name, False):
            yield f"{path}{_key(name)}: {_NO_INTERFACE}"
        target = device.get("name") or name
        if not _is_interface(target, True):
            yield f"{path}{_key(name)}.name: {_NO_INTERFACE}"
        elif target in taken and "%" not in target:
            yield f"{path}{_key(name)}.name: {target} is there twice; give each its own"
        taken.add(target)


_NO_INTERFACE = "is no name of an interface; use 1 to 15 characters without /, : and space"


def _is_interface(name: str, template: bool) -> bool:
    """What the kernel's dev_valid_name() takes; `template` allows one %d, for its choice."""
    if not name or name in (".", "..") or len(name.encode("utf-8", "replace")) > _INTERFACE_NAME:
        return False
    if template and "%" in name and (name.count("%") > 1 or "%d" not in name):
        return False
    return not any(character in "/:" or character.isspace() for character in name)


def _rdt(rdt: dict[str, Any], path: str) -> Iterator[str]:
    """R201. The forms of the lines are in the schema (R202)."""
    class_id = rdt.get("closID")
    if class_id is None or class_id == "/":
        return
    if class_id in (".", "..") or "/" in class_id or "\n" in class_id:
        yield f"{path}.closID: {class_id!r} is no class; use a name without /, or / alone"


def _memory_policy(policy: dict[str, Any], path: str) -> Iterator[str]:
    """R210 to R212: what set_mempolicy(2) refuses on every machine."""
    mode, nodes = policy.get("mode", ""), policy.get("nodes", "")
    if nodes and not _is_node_list(nodes):
        yield f"{path}.nodes: {nodes!r} is no list of memory nodes; use such as 0-3,7"
    if mode in ("MPOL_DEFAULT", "MPOL_LOCAL") and nodes:
        yield f"{path}.nodes: {mode} has no nodes; remove them"
    elif mode not in ("", "MPOL_DEFAULT", "MPOL_LOCAL", "MPOL_PREFERRED") and not nodes:
        yield f"{path}.nodes: missing; {mode} needs at least one"
    yield from _memory_flags(mode, nodes, set(policy.get("flags", ())), path + ".flags")


def _is_node_list(text: str) -> bool:
    ranges = _numbers(text)
    return ranges is not None and all(last <= _HIGHEST_NODE for _, last in ranges)


def _memory_flags(mode: str, nodes: str, flags: set[str], path: str) -> Iterator[str]:
    about_nodes = sorted(flags & {"MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"})
    if len(about_nodes) == 2:
        yield f"{path}: MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES exclude each other; keep one"
    without_nodes = mode in ("MPOL_DEFAULT", "MPOL_LOCAL") or (
        mode == "MPOL_PREFERRED" and not nodes
    )
    if about_nodes and without_nodes:
        yield f"{path}: {mode} without nodes has no {about_nodes[0]}; remove it"
    if "MPOL_F_NUMA_BALANCING" in flags and mode not in ("MPOL_BIND", "MPOL_PREFERRED_MANY", ""):
        yield (f"{path}: MPOL_F_NUMA_BALANCING is for MPOL_BIND and MPOL_PREFERRED_MANY; remove it")


# Seccomp


def _seccomp(seccomp: dict[str, Any], path: str) -> Iterator[str]:
    """R230, R231, R233 to R235."""
    action = seccomp.get("defaultAction", "SCMP_ACT_ERRNO")
    if action == "SCMP_ACT_NOTIFY":
        yield f"{path}.defaultAction: the agent cannot get every call; notify in a rule"
    if "defaultErrnoRet" in seccomp:
        yield from _errno(action, seccomp["defaultErrnoRet"], f"{path}.defaultErrnoRet")
    notifies = any(rule.get("action") == "SCMP_ACT_NOTIFY" for rule in seccomp.get("syscalls", ()))
    listener = seccomp.get("listenerPath")
    if notifies and not listener:
        yield f"{path}.listenerPath: missing; SCMP_ACT_NOTIFY needs the socket of an agent"
    if seccomp.get("listenerMetadata") and not listener:
        yield f"{path}.listenerMetadata: needs .listenerPath; add that or remove this"
    killable = "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"
    if killable in seccomp.get("flags", ()) and not notifies:
        yield f"{path}.flags: {killable} needs a rule with SCMP_ACT_NOTIFY; remove it"


def _syscall_rules(seccomp: dict[str, Any], path: str) -> Iterator[str]:
    """R238. Names, indices and comparisons are in the schema (R236, R239)."""
    for index, rule in enumerate(seccomp.get("syscalls", ())):
        if "errnoRet" in rule:
            place = f"{path}.syscalls[{index}].errnoRet"
            yield from _errno(rule.get("action", "SCMP_ACT_ERRNO"), rule["errnoRet"], place)


def _errno(action: str, number: int, path: str) -> Iterator[str]:
    if action not in _ERRNO_ACTIONS:
        yield f"{path}: {action} returns no errno; only {' and '.join(_ERRNO_ACTIONS)} do"
    elif action == "SCMP_ACT_ERRNO" and number > _MAX_ERRNO:
        yield f"{path}: {number} is no errno; use at most {_MAX_ERRNO}"
    elif number > 0xFFFF:
        yield f"{path}: {number} is too much for a tracer; use at most 65535"


# Resources


def _swap_without_limit(linux: dict[str, Any], path: str) -> Iterator[str]:
    """R173. Not a rule of resources alone: update may leave the limit as it is."""
    memory = linux.get("resources", {}).get("memory", {})
    if memory.get("swap", 0) > 0 and memory.get("limit", 0) == 0:
        yield f"{path}.resources.memory.swap: needs .limit; it limits memory and swap together"


def _memory(resources: dict[str, Any], path: str) -> Iterator[str]:
    """R171 to R175: swap counts memory and swap together. 0 is the same as absent (runc)."""
    memory = resources.get("memory", {})
    limit, swap = memory.get("limit", 0), memory.get("swap", 0)
    if 0 < swap < limit:
        yield f"{path}.memory.swap: {swap} is below .limit, which it includes; use {limit} or more"
    for name in ("limit", "reservation", "swap", "kernel", "kernelTCP"):
        if memory.get(name, 0) < -1:
            yield f"{path}.memory.{name}: {memory[name]} is no size; use -1 for no limit"


def _cpu(resources: dict[str, Any], path: str) -> Iterator[str]:
    """R183, R186."""
    cpu = resources.get("cpu", {})
    quota, burst = cpu.get("quota", 0), cpu.get("burst", 0)
    if quota > 0 and burst > quota:
        yield f"{path}.cpu.burst: {burst} is above .quota; use at most {quota}"
    if cpu.get("idle", 0) not in (0, 1):
        yield f"{path}.cpu.idle: {cpu['idle']} is neither; use 0 or 1"


def _block_devices(resources: dict[str, Any], path: str) -> Iterator[str]:
    """R188, R190."""
    block = resources.get("blockIO", {})
    yield from _weights(block, f"{path}.blockIO")
    for index, device in enumerate(block.get("weightDevice", ())):
        place = f"{path}.blockIO.weightDevice[{index}]"
        if "weight" not in device and "leafWeight" not in device:
            yield f"{place}: has no weight; give weight, leafWeight or both"
        yield from _weights(device, place)


def _weights(weights: dict[str, Any], path: str) -> Iterator[str]:
    for name in ("weight", "leafWeight"):
        if 0 < weights.get(name, 0) < 10:
            yield f"{path}.{name}: {weights[name]} is too little; use 10 to 1000, or 0 for none"


def _rdma(resources: dict[str, Any], path: str) -> Iterator[str]:
    """R195."""
    for name, limits in resources.get("rdma", {}).items():
        if "hcaHandles" not in limits and "hcaObjects" not in limits:
            yield f"{path}.rdma{_key(name)}: has no limit; give hcaHandles, hcaObjects or both"
        if not name or any(character.isspace() for character in name):
            yield f"{path}.rdma{_key(name)}: is no name of a device; use one without spaces"


def _unified(resources: dict[str, Any], path: str) -> Iterator[str]:
    """R196. A file elsewhere than in the cgroup must not be reached."""
    for name in resources.get("unified", {}):
        if "/" in name:
            yield f"{path}.unified{_key(name)}: has a slash; name a file of the cgroup"
        elif "." not in name.strip("."):
            yield f"{path}.unified{_key(name)}: has no controller; use such as memory.high"


# Annotations


def _annotations(annotations: dict[str, Any], path: str) -> Iterator[str]:
    """R250."""
    if "" in annotations:
        yield f'{path}[""]: the name is empty; use a name such as org.example.key'


_DOCUMENT_RULES: tuple[Rule, ...] = (
    _version,
    _root,
    _names,
    _hooks,
    _masks,
    _mounts_with_user_namespace,
    _sysctls,
)
_MEMBER_RULES: tuple[tuple[str, tuple[Callable[[Any, str], Iterator[str]], ...]], ...] = (
    ("mounts", (_mounts,)),
    ("annotations", (_annotations,)),
)
_PROCESS_RULES: tuple[Rule, ...] = (
    _working_directory,
    _environment,
    _console,
    _rlimits,
    _scheduler,
    _affinity,
)
_LINUX_RULES: tuple[Rule, ...] = (
    _namespace_list,
    _id_mappings,
    _time_offsets,
    _network_devices,
    _swap_without_limit,
)
_LINUX_MEMBER_RULES: tuple[tuple[str, tuple[Callable[[Any, str], Iterator[str]], ...]], ...] = (
    ("devices", (_devices,)),
    ("seccomp", (_seccomp, _syscall_rules)),
    ("intelRdt", (_rdt,)),
    ("memoryPolicy", (_memory_policy,)),
)
_RESOURCES_RULES: tuple[Rule, ...] = (_memory, _cpu, _block_devices, _rdma, _unified)
