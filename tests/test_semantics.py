"""semantics: each rule refuses what it should, names the place, and lets the rest pass."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from pyruntime import semantics

CONFIGS = sorted((Path(__file__).parent / "data" / "configs").glob("*.json"))
KINDS = ["pid", "network", "mount", "ipc", "uts", "cgroup"]
ONE = [{"containerID": 0, "hostID": 1000, "size": 10}]


def document(**changes: Any) -> dict[str, Any]:
    """A sound document; `changes` are paths with "__" between names."""
    sound: dict[str, Any] = {
        "ociVersion": "1.3.0",
        "root": {"path": "rootfs"},
        "process": {"cwd": "/", "args": ["sh"], "user": {"uid": 0, "gid": 0}},
        "linux": {"namespaces": [{"type": kind} for kind in KINDS]},
    }
    for name, value in changes.items():
        part = sound
        *parents, last = name.split("__")
        for parent in parents:
            part = part.setdefault(parent, {})
        part[last] = value
    return sound


def spaces(*kinds: str) -> list[dict[str, str]]:
    return [{"type": kind} for kind in kinds]


def case(rows: str, place: str, **changes: Any) -> Any:
    """A document with one fault, at `place`."""
    names = "+".join(changes) or "none"
    return pytest.param(
        changes, place, marks=pytest.mark.rows(*rows.split()), id=f"{rows.split()[0]}-{names}"
    )


def with_user(**changes: Any) -> dict[str, Any]:
    return {
        "linux__namespaces": spaces(*KINDS, "user"),
        "linux__uidMappings": ONE,
        "linux__gidMappings": ONE,
        **changes,
    }


def mapping(container: int, host: int, size: int) -> dict[str, int]:
    return {"containerID": container, "hostID": host, "size": size}


def mount(**members: Any) -> list[dict[str, Any]]:
    return [{"destination": "/m", "type": "tmpfs", "source": "tmpfs", **members}]


def untyped(*options: str) -> list[dict[str, Any]]:
    return [{"destination": "/m", "source": "/s", "options": list(options)}]


def limit(name: str, soft: int = 1, hard: int = 2) -> dict[str, Any]:
    return {"type": f"RLIMIT_{name}", "soft": soft, "hard": hard}


def scheduler(policy: str, **members: int) -> dict[str, Any]:
    return {"policy": f"SCHED_{policy}", **members}


def rule(action: str, **members: Any) -> dict[str, Any]:
    return {"names": ["getcwd"], "action": f"SCMP_ACT_{action}", **members}


def policy(mode: str, nodes: str = "", *flags: str) -> dict[str, Any]:
    return {"mode": f"MPOL_{mode}", "nodes": nodes, "flags": [f"MPOL_F_{flag}" for flag in flags]}


FAULTS = [
    case("R11", ".ociVersion", ociVersion="invalid"),
    case("R11", ".ociVersion", ociVersion="1.0"),
    case("R11", ".ociVersion", ociVersion="1.0.01"),
    case("R11", ".ociVersion", ociVersion="1.0.0-01"),
    case("R11", ".ociVersion", ociVersion="1.0.0-"),
    case("R11", ".ociVersion", ociVersion="1.0.0+"),
    case("R11", ".ociVersion", ociVersion="1.0.0 "),
    case("R11", ".ociVersion", ociVersion="2.0.0"),
    case("R15", ".hostname", hostname="h", linux__namespaces=spaces("mount")),
    case("R16", ".domainname", domainname="d", linux__namespaces=spaces("mount")),
    case("R56", ".hooks.prestart[0].path", hooks__prestart=[{"path": "bin/true"}]),
    case("R56", ".hooks.poststop[1].path", hooks__poststop=[{"path": "/a"}, {"path": "b"}]),
    case("R64", ".process.cwd", process__cwd="tmp"),
    case("R65", ".process.env[1]", process__env=["A=", "B"]),
    case("R65", ".process.env[0]", process__env=["=b"]),
    case(
        "R63",
        ".process.consoleSize.width",
        process__terminal=True,
        process__consoleSize={"height": 1, "width": 65536},
    ),
    case("R70", ".process.rlimits[0].type", process__rlimits=[limit("DISK")]),
    case("R70", ".process.rlimits[1].type", process__rlimits=[limit("CPU"), limit("CPU")]),
    case("R70", ".process.rlimits[0].soft", process__rlimits=[limit("CPU", 3, 2)]),
    case("R75", ".process.scheduler.policy", process__scheduler=scheduler("ISO")),
    case("R76", ".process.scheduler.nice", process__scheduler=scheduler("OTHER", nice=20)),
    case("R76", ".process.scheduler.nice", process__scheduler=scheduler("BATCH", nice=-21)),
    case("R76", ".process.scheduler.priority", process__scheduler=scheduler("IDLE", priority=1)),
    case("R76", ".process.scheduler.priority", process__scheduler=scheduler("FIFO")),
    case("R76", ".process.scheduler.priority", process__scheduler=scheduler("RR", priority=100)),
    case("R76", ".process.scheduler.period", process__scheduler=scheduler("OTHER", period=1)),
    case(
        "R76",
        ".process.scheduler.runtime",
        process__scheduler=scheduler("DEADLINE", runtime=1023, deadline=2000),
    ),
    case(
        "R76",
        ".process.scheduler.deadline",
        process__scheduler=scheduler("DEADLINE", runtime=3000, deadline=2000),
    ),
    case(
        "R76",
        ".process.scheduler.period",
        process__scheduler=scheduler("DEADLINE", runtime=1024, deadline=2000, period=1500),
    ),
    case(
        "R76",
        ".process.scheduler.period",
        process__scheduler=scheduler("DEADLINE", runtime=1024, deadline=2000, period=1 << 63),
    ),
    case("R79", ".process.execCPUAffinity.final", process__execCPUAffinity={"final": "3-1"}),
    case("R79", ".process.execCPUAffinity.initial", process__execCPUAffinity={"initial": "1,,2"}),
    case("R93", ".mounts[0].type", mounts=untyped("ro")),
    case("R93", ".mounts[0].type", mounts=mount(type="bind")),
    case("R92", ".mounts[0].source", mounts=[{"destination": "/m", "options": ["rbind"]}]),
    case("R91", ".mounts[0].destination", mounts=mount(destination="/proc")),
    case("R91", ".mounts[0].destination", mounts=mount(destination="/proc/self")),
    case("R91", ".mounts[0].destination", mounts=mount(destination="proc//./sys/../self/")),
    case("R91", ".mounts[0].destination", mounts=mount(destination="/a/../proc/self/attr")),
    case("R91", ".mounts[0].destination", mounts=mount(destination="/../proc/net")),
    case("R95", ".mounts[0].gidMappings", mounts=mount(uidMappings=ONE)),
    case("R95", ".mounts[0].uidMappings", mounts=mount(gidMappings=ONE)),
    case(
        "R95 R136",
        ".mounts[0].uidMappings[0].size",
        mounts=mount(uidMappings=[mapping(0, 0, 0)], gidMappings=ONE),
    ),
    case("R116", ".mounts[0].options", mounts=mount(options=["ridmap"])),
    case("R130", ".linux.namespaces[1].type", linux__namespaces=spaces("pid", "pid")),
    case(
        "R131", ".linux.namespaces[0].path", linux__namespaces=[{"type": "pid", "path": "proc/1"}]
    ),
    case("R136", ".linux.uidMappings", linux__uidMappings=ONE),
    case("R136", ".linux.gidMappings", **with_user(linux__gidMappings=[])),
    case("R136", ".linux.uidMappings[0].size", **with_user(linux__uidMappings=[mapping(0, 0, 0)])),
    case(
        "R136",
        ".linux.uidMappings[0].size",
        **with_user(linux__uidMappings=[mapping(0, 2**32 - 1, 2)]),
    ),
    case(
        "R136",
        ".linux.uidMappings[1].containerID",
        **with_user(linux__uidMappings=[mapping(0, 100, 10), mapping(9, 200, 10)]),
    ),
    case(
        "R136",
        ".linux.gidMappings[1].hostID",
        **with_user(linux__gidMappings=[mapping(50, 109, 10), mapping(0, 100, 10)]),
    ),
    case(
        "R136",
        ".linux.uidMappings",
        **with_user(linux__uidMappings=[mapping(i, i, 1) for i in range(341)]),
    ),
    case("R137", ".linux.timeOffsets", linux__timeOffsets={"monotonic": {"secs": 1}}),
    case(
        "R137",
        ".linux.timeOffsets",
        linux__timeOffsets={"boottime": {}},
        linux__namespaces=[{"type": "time", "path": "/proc/1/ns/time"}],
    ),
    case(
        "R137 R283",
        ".linux.timeOffsets.realtime",
        linux__timeOffsets={"realtime": {}},
        linux__namespaces=spaces("time"),
    ),
    case(
        "R150", ".linux.devices[0].path", linux__devices=[{"type": "p", "path": "dev/fifo"}]
    ),
    case(
        "R150 R280",
        ".linux.devices[0].minor",
        linux__devices=[{"type": "c", "path": "/dev/x", "major": 1}],
    ),
    case(
        "R151",
        ".linux.devices[0].fileMode",
        linux__devices=[{"type": "p", "path": "/dev/x", "fileMode": 0o200000}],
    ),
    case("R155", ".linux.netDevices", linux__netDevices={"e": {}}, linux__namespaces=[]),
    case("R155", '.linux.netDevices["a/b"]', linux__netDevices={"a/b": {"name": "x"}}),
    case("R155", ".linux.netDevices.eth0.name", linux__netDevices={"eth0": {"name": "x" * 16}}),
    case("R155", ".linux.netDevices.eth0.name", linux__netDevices={"eth0": {"name": "a b"}}),
    case("R155", ".linux.netDevices.eth0.name", linux__netDevices={"eth0": {"name": "e%d%d"}}),
    case("R155", ".linux.netDevices.eth0.name", linux__netDevices={"eth0": {"name": ".."}}),
    case("R155", ".linux.netDevices.b.name", linux__netDevices={"a": {}, "b": {"name": "a"}}),
    case("R173", ".linux.resources.memory.swap", linux__resources__memory={"swap": 1}),
    case(
        "R173", ".linux.resources.memory.swap", linux__resources__memory={"limit": 2, "swap": 1}
    ),
    case("R171", ".linux.resources.memory.limit", linux__resources__memory={"limit": -2}),
    case("R183", ".linux.resources.cpu.burst", linux__resources__cpu={"quota": 5, "burst": 6}),
    case("R186", ".linux.resources.cpu.idle", linux__resources__cpu={"idle": 2}),
    case("R188", ".linux.resources.blockIO.weight", linux__resources__blockIO={"weight": 9}),
    case(
        "R190",
        ".linux.resources.blockIO.weightDevice[0]",
        linux__resources__blockIO={"weightDevice": [{"major": 8, "minor": 0}]},
    ),
    case("R195", ".linux.resources.rdma.mlx5", linux__resources__rdma={"mlx5": {}}),
    case(
        "R196",
        '.linux.resources.unified["../memory.max"]',
        linux__resources__unified={"../memory.max": "1"},
    ),
    case("R196", ".linux.resources.unified.memory", linux__resources__unified={"memory": "1"}),
    case("R201", ".linux.intelRdt.closID", linux__intelRdt={"closID": ".."}),
    case("R201", ".linux.intelRdt.closID", linux__intelRdt={"closID": "a/b"}),
    case("R211", ".linux.memoryPolicy.nodes", linux__memoryPolicy=policy("DEFAULT", "0")),
    case("R211", ".linux.memoryPolicy.nodes", linux__memoryPolicy=policy("BIND")),
    case("R211", ".linux.memoryPolicy.nodes", linux__memoryPolicy=policy("BIND", "1-0")),
    case("R211", ".linux.memoryPolicy.nodes", linux__memoryPolicy=policy("BIND", "0-99999")),
    case(
        "R212",
        ".linux.memoryPolicy.flags",
        linux__memoryPolicy=policy("BIND", "0", "STATIC_NODES", "RELATIVE_NODES"),
    ),
    case(
        "R212",
        ".linux.memoryPolicy.flags",
        linux__memoryPolicy=policy("LOCAL", "", "STATIC_NODES"),
    ),
    case(
        "R212",
        ".linux.memoryPolicy.flags",
        linux__memoryPolicy=policy("INTERLEAVE", "0", "NUMA_BALANCING"),
    ),
    case("R213", '.linux.sysctl["kernel.hostname"]', linux__sysctl={"kernel.hostname": "x"}),
    case("R213", '.linux.sysctl["vm.swappiness"]', linux__sysctl={"vm.swappiness": "1"}),
    case("R213", '.linux.sysctl["kernel/core_pattern"]', linux__sysctl={"kernel/core_pattern": ""}),
    case("R213", '.linux.sysctl["net/../vm/x"]', linux__sysctl={"net/../vm/x": "1"}),
    case("R213", '.linux.sysctl["net.//.x"]', linux__sysctl={"net.//.x": "1"}),
    case("R213", '.linux.sysctl["net..x"]', linux__sysctl={"net..x": "1"}),
    case("R213", '.linux.sysctl["/net/x"]', linux__sysctl={"/net/x": "1"}),
    case("R213", '.linux.sysctl["user.max_mnt"]', linux__sysctl={"user.max_mnt": "1"}),
    case(
        "R213",
        '.linux.sysctl["net.a"]',
        linux__sysctl={"net.a": "1"},
        linux__namespaces=spaces("ipc"),
    ),
    case(
        "R213",
        '.linux.sysctl["fs.mqueue.msg_max"]',
        linux__sysctl={"fs.mqueue.msg_max": "1"},
        linux__namespaces=spaces("network"),
    ),
    case(
        "R16 R213",
        '.linux.sysctl["kernel.domainname"]',
        linux__sysctl={"kernel.domainname": "a"},
        domainname="b",
    ),
    case("R215", ".linux.maskedPaths[1]", linux__maskedPaths=["/a", "b"]),
    case("R216", ".linux.readonlyPaths[0]", linux__readonlyPaths=[""]),
    case(
        "R134 R215",
        ".linux.maskedPaths",
        linux__maskedPaths=["/a"],
        linux__namespaces=spaces("pid"),
    ),
    case(
        "R134 R216",
        ".linux.readonlyPaths",
        linux__readonlyPaths=["/a"],
        linux__namespaces=spaces("pid"),
    ),
    case(
        "R230",
        ".linux.seccomp.defaultAction",
        linux__seccomp={"defaultAction": "SCMP_ACT_NOTIFY"},
    ),
    case(
        "R231",
        ".linux.seccomp.defaultErrnoRet",
        linux__seccomp={"defaultAction": "SCMP_ACT_KILL", "defaultErrnoRet": 1},
    ),
    case(
        "R231",
        ".linux.seccomp.defaultErrnoRet",
        linux__seccomp={"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 4096},
    ),
    case(
        "R233",
        ".linux.seccomp.flags",
        linux__seccomp={
            "defaultAction": "SCMP_ACT_ALLOW",
            "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
        },
    ),
    case(
        "R234",
        ".linux.seccomp.listenerPath",
        linux__seccomp={"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule("NOTIFY")]},
    ),
    case(
        "R235",
        ".linux.seccomp.listenerMetadata",
        linux__seccomp={"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x"},
    ),
    case(
        "R238",
        ".linux.seccomp.syscalls[1].errnoRet",
        linux__seccomp={
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [rule("ERRNO", errnoRet=0), rule("LOG", errnoRet=0)],
        },
    ),
    case("R250", '.annotations[""]', annotations={"": "x"}),
]


@pytest.mark.parametrize(("changes", "place"), FAULTS)
def test_refuses(changes: dict[str, Any], place: str) -> None:
    found = semantics.faults(document(**changes))
    assert [line.split(": ")[0] for line in found] == [place]
    assert "; " in found[0] or " only " in found[0], "a fault says what would be right"


@pytest.mark.rows("R12", "R280")
def test_root_is_required() -> None:
    sound = document()
    del sound["root"]
    assert [line.split(": ")[0] for line in semantics.faults(sound)] == [".root"]


SOUND: list[dict[str, Any]] = [
    {},
    {"ociVersion": "1.0.2-dev"},
    {"ociVersion": "0.5.0-dev.1+b-1.00"},
    {"ociVersion": "1.99.0-0a.-"},
    {"hostname": "", "linux__namespaces": []},
    {"hostname": "h", "linux__namespaces": [{"type": "uts", "path": "/proc/1/ns/uts"}]},
    {"process__terminal": False, "process__consoleSize": {"height": 70000, "width": 1}},
    {"process__env": ["A=", "B= =\n"]},
    {"process__rlimits": [limit("CPU", 2**64 - 1, 2**64 - 1), limit("NOFILE", 0, 0)]},
    {"process__scheduler": scheduler("FIFO", priority=99)},
    {"process__scheduler": scheduler("BATCH", nice=-20)},
    {"process__scheduler": scheduler("DEADLINE", runtime=1024, deadline=1024)},
    {"process__execCPUAffinity": {"initial": "0-3, 7", "final": ""}},
    {"mounts": untyped("rbind", "ro")},
    {"mounts": untyped("remount", "ro")},
    {"mounts": mount(destination="/proc", type="proc")},
    {"mounts": [{**untyped("rbind")[0], "destination": "/proc"}]},
    {"mounts": mount(destination="/proc/sys/../uptime")},
    {"mounts": mount(destination="relative")},
    {"mounts": mount(destination="/process")},
    {"mounts": mount(destination="/sys/proc/self")},
    {"mounts": mount(options=["idmap"], uidMappings=ONE, gidMappings=ONE)},
    with_user(mounts=mount(options=["idmap"])),
    with_user(linux__uidMappings=[mapping(0, 0, 2**32 - 1)]),
    with_user(linux__uidMappings=[mapping(0, 1000, 1), mapping(1, 100000, 65536)]),
    {"linux__namespaces": [{"type": "user", "path": "/proc/1/ns/user"}]},
    with_user(linux__namespaces=[{"type": "user", "path": "/proc/1/ns/user"}]),
    {"linux__namespaces": spaces("time"), "linux__timeOffsets": {"monotonic": {"secs": -1}}},
    {"linux__devices": [{"type": "p", "path": "/x"}]},
    {
        "linux__devices": [
            {"type": "c", "path": "/x", "major": 1, "minor": 3, "fileMode": 0o20666}
        ]
    },
    {"linux__netDevices": {"a": {"name": "x%d"}, "b": {"name": "x%d"}, "c": {"name": ""}}},
    {"linux__netDevices": {"a": {"name": "b"}, "b": {"name": "a"}}},
    {"linux__resources__memory": {"limit": -1, "swap": -1, "reservation": 0}},
    {"linux__resources__memory": {"limit": 5, "swap": 5}},
    {"linux__resources__cpu": {"quota": -1, "burst": 6, "idle": 1}},
    {"linux__resources__pids": {"limit": 0}},
    {"linux__resources__blockIO": {"weight": 0}},
    {"linux__resources__rdma": {"mlx5": {"hcaObjects": 0}}},
    {"linux__resources__unified": {"memory.high": "", "cgroup.freeze": "1"}},
    {"linux__intelRdt": {"closID": "/"}},
    {"linux__memoryPolicy": policy("PREFERRED")},
    {"linux__memoryPolicy": policy("BIND", "0,2-3", "NUMA_BALANCING", "STATIC_NODES")},
    {"linux__sysctl": {"net/ipv4/conf/eno2.100/rp_filter": "1", "kernel.sem": "1 2 3 4"}},
    {"linux__sysctl": {"net.ipv4.conf.eno2/100.rp_filter": "1"}},
    {"linux__sysctl": {"kernel.domainname": "d"}, "domainname": "d"},
    {"linux__maskedPaths": [], "linux__namespaces": []},
    {
        "linux__seccomp": {
            "defaultAction": "SCMP_ACT_TRACE",
            "defaultErrnoRet": 65535,
            "listenerPath": "/s",
            "listenerMetadata": "m",
            "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
            "syscalls": [rule("NOTIFY"), rule("ERRNO", errnoRet=0)],
        }
    },
    {"annotations": {"a": "", "unknown.key": "x"}},
]


@pytest.mark.rows("R3", "R68", "R95", "R116", "R136", "R187", "R213", "R250")
@pytest.mark.parametrize("changes", SOUND, ids=lambda changes: "+".join(changes) or "none")
def test_lets_pass(changes: dict[str, Any]) -> None:
    assert semantics.faults(document(**changes)) == []


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_lets_pass_what_engines_write(path: Path) -> None:
    before = json.loads(path.read_bytes())
    after = copy.deepcopy(before)
    assert semantics.faults(after) == []
    assert after == before, "rules do not change the document"


def test_all_faults_are_told_at_once() -> None:
    wrong = document(
        ociVersion="x",
        hostname="h",
        process__cwd="tmp",
        process__env=["A", "=B"],
        linux__namespaces=spaces("pid", "pid"),
        linux__sysctl={"vm.x": "1", "net.y": "1"},
    )
    assert {line.split(": ")[0] for line in semantics.faults(wrong)} == {
        ".hostname",
        '.linux.sysctl["net.y"]',
        '.linux.sysctl["vm.x"]',
        ".linux.namespaces[1].type",
        ".ociVersion",
        ".process.cwd",
        ".process.env[0]",
        ".process.env[1]",
    }


@pytest.mark.rows("R65", "R91")
def test_nul_characters_are_found_in_values_and_names() -> None:
    value = {"env": ["A=b", "C=\0"], "x\0y": 1, "plain": {"args": ["\0"]}, "": 3}
    assert [line.split(": ")[0] for line in semantics.nul_faults(value, ".process")] == [
        ".process.env[1]",
        '.process["x\\u0000y"]',
        ".process.plain.args[0]",
    ]


def test_documents_with_holes_raise_nothing() -> None:
    """Values at fault are taken out before the rules run, so anything may be missing."""
    faulty = [document(**parameters.values[0]) for parameters in FAULTS]
    engines = [json.loads(path.read_bytes()) for path in CONFIGS[:3]]
    for full in [*faulty, *engines]:
        for hollow in _hollowed(full):
            assert isinstance(semantics.faults(hollow), list)


def _hollowed(value: Any) -> Any:
    """The document without one member, for every member that it has."""
    if isinstance(value, dict):
        for name in value:
            yield {other: member for other, member in value.items() if other != name}
            for hollow in _hollowed(value[name]):
                yield {**value, name: hollow}
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for hollow in _hollowed(value[0]):
            yield [hollow, *value[1:]]
