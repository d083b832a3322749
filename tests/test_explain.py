"""explain: every fault with its place, and the same answer as the generated checker."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from pyruntime import config, explain
from pyruntime.errors import ConfigError

TESTS = Path(__file__).resolve().parent
SPEC = TESTS.parent / "spec"
SCHEMA_TESTS = TESTS / "data" / "schema"
EXAMPLE = json.loads((SCHEMA_TESTS / "config" / "good" / "spec-example.json").read_bytes())

# Documents that get another answer than in the specification's own tests, and why.
EXCEPTIONS = {
    "config/good/freebsd-example.json": "the prose requires process.user on every platform (R280)",
    "config/bad/freebsd-vnet-disable.json": "a Linux runtime ignores the freebsd section (R3)",
}


def minimal(**members: Any) -> dict[str, Any]:
    return {"ociVersion": "1.3.0", "root": {"path": "r"}, **members}


def lines(document: object, definition: str = "") -> list[str]:
    return [fault.line() for fault in explain.faults(document, definition)]


def schema_documents() -> list[Path]:
    return sorted(SCHEMA_TESTS.glob("*/*/*.json"))


@pytest.mark.rows("R3", "R260", "R261", "R280", "R30")
@pytest.mark.parametrize(
    "path", schema_documents(), ids=lambda path: str(path.relative_to(SCHEMA_TESTS))
)
def test_the_specifications_own_documents(path: Path) -> None:
    name = str(path.relative_to(SCHEMA_TESTS))
    kind, expected, _ = name.split("/")
    if "invalid-json" in name:
        with pytest.raises(ValueError, match="property name"):
            json.loads(path.read_bytes())
        return
    schema = json.loads((SPEC / f"{kind}.schema.json").read_bytes())
    passes = Draft7Validator(schema).is_valid(json.loads(path.read_bytes()))
    assert passes == ((expected == "good") != (name in EXCEPTIONS)), EXCEPTIONS.get(name)


@pytest.mark.parametrize("name", ["config", "state", "features"])
def test_schemas_are_schemas_and_every_property_is_described(name: str) -> None:
    schema = json.loads((SPEC / f"{name}.schema.json").read_bytes())
    Draft7Validator.check_schema(schema)
    for place, part in _properties(schema):
        assert "$ref" in part or part.get("description"), f"{place} has no description"


def _properties(schema: Any, place: str = "") -> Any:
    if isinstance(schema, dict):
        for name, part in schema.get("properties", {}).items():
            if place.endswith("/if"):
                continue
            yield f"{place}.{name}", part
        for name, part in schema.items():
            yield from _properties(part, f"{place}/{name}")


@pytest.mark.rows("R3")
def test_no_object_is_closed() -> None:
    for name in ("config", "state", "features"):
        assert '"additionalProperties": false' not in (SPEC / f"{name}.schema.json").read_text()


@pytest.mark.rows("R30", "R286")
@pytest.mark.parametrize(
    ("change", "valid"),
    [
        ({}, True),
        ({"status": "paused"}, True),
        ({"status": "stopped", "pid": 0}, True),
        ({"pid": -1}, False),
        ({"bundle": "relative"}, False),
        ({"annotations": {"a": 1}}, False),
        ({"more": None}, True),
    ],
    ids=str,
)
def test_state(change: dict[str, Any], valid: bool) -> None:
    schema = json.loads((SPEC / "state.schema.json").read_bytes())
    state = {"ociVersion": "1.3.0", "id": "c", "status": "running", "pid": 1, "bundle": "/b"}
    assert Draft7Validator(schema).is_valid({**state, **change}) == valid


@pytest.mark.rows("R30")
def test_state_of_a_live_container_needs_a_pid() -> None:
    schema = json.loads((SPEC / "state.schema.json").read_bytes())
    state = {"ociVersion": "1.3.0", "id": "c", "status": "created", "bundle": "/b"}
    assert not Draft7Validator(schema).is_valid(state)
    assert Draft7Validator(schema).is_valid({**state, "status": "stopped"})


FAULTS = [
    ({"ociVersion": 1}, ".ociVersion: 1 has the wrong type; it must be a string"),
    ({"root": {}}, ".root.path: missing; it is required"),
    ({"process": {"cwd": "/", "args": ["a"]}}, ".process.user: missing; it is required"),
    ({"linux": {"namespaces": [{"type": "pid"}, {"type": "utss"}]}},
     '.linux.namespaces[1].type: "utss" is unknown; it must be one of pid, network'),
    ({"hooks": {"prestart": [{"path": "/x", "timeout": 0}]}},
     ".hooks.prestart[0].timeout: 0 is out of range; it must be from 1 to"),
    ({"linux": {"intelRdt": {"memBwSchema": "L3:0"}}},
     '.linux.intelRdt.memBwSchema: "L3:0" has the wrong form; it must match ^MB:'),
    ({"linux": {"personality": {"domain": "LINUX", "flags": ["X"]}}},
     '.linux.personality.flags: ["X"] is not supported; it must be empty'),
    ({"annotations": {"a.b": 1}}, '.annotations["a.b"]: 1 has the wrong type; it must be a string'),
    ({"annotations": {"a": None}}, ".annotations.a: null has the wrong type; it must be a string"),
    ({"mounts": ["x"]}, '.mounts[0]: "x" has the wrong type; it must be an object'),
    ({"mounts": [{"destination": ""}]}, ".mounts[0].destination: empty; it must not be"),
    ({"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": [], "action": "SCMP_ACT_LOG"}]}}},
     ".linux.seccomp.syscalls[0].names: empty; it must have at least 1 entry"),
]


@pytest.mark.rows("R4", "R56", "R130", "R202", "R219", "R236", "R250", "R280")
@pytest.mark.parametrize(("members", "line"), FAULTS, ids=[line[:40] for _, line in FAULTS])
def test_says_where_and_what(members: dict[str, Any], line: str) -> None:
    found = lines(minimal(**members))
    assert len(found) == 1
    assert found[0].startswith(line)


def within(path: str, value: object) -> dict[str, Any]:
    """A sound document with a value at a place."""
    document: dict[str, Any] = minimal(
        process={"cwd": "/", "args": ["a"], "user": {"uid": 0, "gid": 0}}
    )
    part = document
    *parents, last = path.split(".")
    for parent in parents:
        part = part.setdefault(parent, {})
    part[last] = value
    return document


def _device(mode: int) -> dict[str, Any]:
    return {"path": "/dev/x", "type": "c", "major": 1, "minor": 3, "fileMode": mode}


def _allow(kind: str, access: str) -> dict[str, Any]:
    return {"allow": True, "type": kind, "access": access}


def _rate(rate: int | None) -> dict[str, Any]:
    place = {"major": 8, "minor": 0}
    return place if rate is None else {**place, "rate": rate}


def _huge(size: str) -> dict[str, Any]:
    return {"pageSize": size, "limit": 1}


def _filter(**members: Any) -> dict[str, Any]:
    return {"defaultAction": "SCMP_ACT_ALLOW", **members}


def _rule(**members: Any) -> dict[str, Any]:
    return {"names": ["getcwd"], "action": "SCMP_ACT_LOG", **members}


def _compare(index: int, value: int, operator: str) -> dict[str, Any]:
    condition = {"index": index, "value": value, "op": f"SCMP_CMP_{operator}"}
    return _filter(syscalls=[_rule(args=[condition])])


SCHEMA_RULES: list[tuple[str, str, object, object]] = [
    ("R66", "process.args", ["a"], []),
    ("R67", "process.user.uid", 2**32 - 1, 2**32),
    ("R68", "process.user.umask", 0o777, 0o1000),
    ("R69", "process.user.additionalGids", [0], [-1]),
    ("R74", "process.oomScoreAdj", -1000, 1001),
    ("R75", "process.scheduler", {"policy": "SCHED_RR"}, {"policy": "SCHED_NONE"}),
    (
        "R77",
        "process.scheduler",
        {"policy": "SCHED_RR", "flags": ["SCHED_FLAG_UTIL_CLAMP_MAX"]},
        {"policy": "SCHED_RR", "flags": ["SCHED_FLAG_X"]},
    ),
    (
        "R78",
        "process.ioPriority",
        {"class": "IOPRIO_CLASS_RT", "priority": 7},
        {"class": "IOPRIO_CLASS_RT", "priority": 8},
    ),
    ("R78 R280", "process.ioPriority", {"class": "IOPRIO_CLASS_RT", "priority": 0}, {}),
    ("R61", "process.capabilities", {"bounding": ["CAP_NEWER"]}, {"bounding": "CAP_KILL"}),
    ("R151 R282", "linux.devices", [_device(0o100666)], [_device(-1)]),
    ("R170", "linux.resources.devices", [_allow("c", "rm")], [_allow("p", "rm")]),
    ("R170", "linux.resources.devices", [_allow("a", "")], [_allow("a", "rx")]),
    ("R176", "linux.resources.memory.swappiness", 100, 101),
    ("R187 R281", "linux.resources.pids", {}, {"limit": -2}),
    ("R187", "linux.resources.pids.limit", 0, "0"),
    ("R188", "linux.resources.blockIO.weight", 1000, 1001),
    ("R191 R280", "linux.resources.blockIO.throttleReadBpsDevice", [_rate(0)], [_rate(None)]),
    ("R192", "linux.resources.hugepageLimits", [_huge("64KB")], [_huge("../1KB")]),
    ("R192", "linux.resources.hugepageLimits", [_huge("10GB")], [_huge("02MB")]),
    ("R193", "linux.resources.network.classID", 2**32 - 1, 2**32),
    ("R202", "linux.intelRdt.memBwSchema", "MB:0=50", "L3:0=50"),
    ("R202", "linux.intelRdt.l3CacheSchema", "L3:0=f", "L3:0=f\n"),
    ("R202", "linux.intelRdt.schemata", ["MB:0=50"], ["MB:0=50\nL3:0=f"]),
    ("R210", "linux.memoryPolicy", {"mode": "MPOL_LOCAL"}, {"mode": "MPOL_X"}),
    ("R210 R280", "linux.memoryPolicy", {"mode": "MPOL_LOCAL"}, {"nodes": "0"}),
    ("R214 R285", "linux.rootfsPropagation", "rslave", "private,slave"),
    ("R218", "linux.personality", {"domain": "LINUX32"}, {"domain": "BSD"}),
    ("R218 R280", "linux.personality", {"domain": "LINUX"}, {}),
    (
        "R219",
        "linux.personality",
        {"domain": "LINUX", "flags": []},
        {"domain": "LINUX", "flags": [""]},
    ),
    ("R137", "linux.timeOffsets.monotonic.nanosecs", 999999999, 1000000000),
    ("R230", "linux.seccomp", {"defaultAction": "SCMP_ACT_LOG"}, {"syscalls": []}),
    (
        "R232",
        "linux.seccomp",
        _filter(architectures=["SCMP_ARCH_SHEB"]),
        _filter(architectures=["X"]),
    ),
    ("R233", "linux.seccomp", _filter(flags=[]), _filter(flags=["SECCOMP_FILTER_FLAG_X"])),
    (
        "R237",
        "linux.seccomp",
        _filter(defaultAction="SCMP_ACT_TRAP"),
        _filter(defaultAction="TRAP"),
    ),
    ("R236", "linux.seccomp", _filter(syscalls=[]), _filter(syscalls=[_rule(names=[])])),
    ("R239", "linux.seccomp", _compare(5, 2**64 - 1, "EQ"), _compare(6, 0, "EQ")),
    ("R239", "linux.seccomp", _compare(0, 0, "MASKED_EQ"), _compare(0, 0, "XX")),
]


@pytest.mark.parametrize(
    ("path", "right", "wrong"),
    [
        pytest.param(*rule[1:], marks=pytest.mark.rows(*rule[0].split()), id=f"{i}-{rule[0]}")
        for i, rule in enumerate(SCHEMA_RULES)
    ],
)
def test_limits_of_single_values(path: str, right: object, wrong: object) -> None:
    """Said by the generated checker and by jsonschema alike."""
    assert config.checked(within(path, right)) == within(path, right)
    with pytest.raises(ConfigError) as caught:
        config.checked(within(path, wrong))
    assert caught.value.faults[0].startswith(f".{path}")


def test_every_fault_is_told() -> None:
    document = {"process": {"cwd": 1, "args": [], "user": {"uid": "0"}}, "mounts": [{}, {}]}
    assert [line.split(": ")[0] for line in lines(document)] == [
        ".mounts[0].destination",
        ".mounts[1].destination",
        ".ociVersion",
        ".process.args",
        ".process.cwd",
        ".process.user.gid",
        ".process.user.uid",
    ]
    assert lines([]) == [".: [] has the wrong type; it must be an object (" + _about() + ")"]


def _about() -> str:
    schema = json.loads((SPEC / "config.schema.json").read_bytes())
    return str(schema["description"]).rstrip(".")


def test_parts_of_the_schema() -> None:
    assert lines({"cwd": "/", "args": ["a"], "user": {"uid": 0, "gid": 0}}, "process") == []
    assert lines({"pids": {"limit": "1"}}, "resources")[0].startswith(".pids.limit: ")


def test_values_at_fault_are_taken_out_with_their_lists() -> None:
    document = minimal(mounts=["x", {}], hooks=1, annotations={"a": 1, "b": "c"})
    found = explain.faults(document)
    sound = explain.without(document, found)
    assert sound == minimal(annotations={"b": "c"})
    assert document["mounts"] == ["x", {}]


# The same question to the generated checker and to jsonschema.

VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 9, 10, 1.0, 0.5, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63,
    2**64 - 1, 2**64, -(2**63), -(2**63) - 1, "", "x", "x\n", "MB:\n", "2MB", "0MB", "2MB\n", "MB",
    "\u0662MB", "rw", "rx", "0-3, 7\n", "shared", [], [1], ["x"], [{}], {}, {"x": 1}, {"x": {}},
]  # fmt: skip


def _places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Places in a document; of a list, the first two entries only."""
    found = [place]
    if isinstance(value, dict):
        found += [x for name in value for x in _places(value[name], (*place, name))]
    elif isinstance(value, list):
        found += [x for i, entry in enumerate(value[:2]) for x in _places(entry, (*place, i))]
    return found


def _changed(place: tuple[Any, ...], value: Any) -> Any:
    if not place:
        return value
    document = copy.deepcopy(EVERYTHING)
    part = document
    for step in place[:-1]:
        part = part[step]
    part[place[-1]] = value
    return document


EVERYTHING = copy.deepcopy(EXAMPLE)
EVERYTHING["process"] |= {
    "scheduler": {"policy": "SCHED_FIFO", "priority": 1, "flags": ["SCHED_FLAG_RECLAIM"]},
    "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 1},
    "execCPUAffinity": {"initial": "0", "final": "0-1"},
    "consoleSize": {"height": 1, "width": 1},
    "oomScoreAdj": 1,
}
EVERYTHING["process"]["user"]["umask"] = 18
EVERYTHING["mounts"][0] |= {"uidMappings": [], "gidMappings": []}
EVERYTHING["linux"] |= {
    "netDevices": {"eth0": {"name": "x"}},
    "intelRdt": {"closID": "x", "schemata": ["L3:0=f"], "l3CacheSchema": "", "memBwSchema": "MB:"},
    "memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]},
    "personality": {"domain": "LINUX", "flags": []},
}
EVERYTHING["linux"]["resources"] |= {
    "rdma": {"mlx5": {"hcaHandles": 1}},
    "unified": {"memory.high": "1"},
}
EVERYTHING["linux"]["seccomp"] |= {
    "flags": ["SECCOMP_FILTER_FLAG_LOG"],
    "defaultErrnoRet": 1,
    "syscalls": [
        {
            "names": ["a"],
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": 1,
            "args": [{"index": 0, "value": 2**64 - 1, "valueTwo": 0, "op": "SCMP_CMP_EQ"}],
        }
    ],
}


@pytest.mark.rows("R4", "R7")
def test_the_generated_checker_gives_the_same_answer() -> None:
    """A sample of the changes, the same in every run."""
    checker = pytest.importorskip(
        "pyruntime.generated.config_checker", reason="the checker has not been generated"
    )
    assert explain.faults(EVERYTHING) == []
    checker.check(EVERYTHING)
    changes = [(place, value) for place in _places(EVERYTHING) for value in VALUES]
    for place, value in random.Random(1).sample(changes, 600):
        document = _changed(place, value)
        try:
            checker.check(document)
            refused = False
        except checker.RefusedError:
            refused = True
        assert refused == bool(explain.faults(document)), (place, value)


@pytest.mark.rows("R7")
@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("uint64", 0, 2**64 - 1),
        ("int64", -(2**63), 2**63 - 1),
    ],
)
def test_widths(name: str, least: int, most: int) -> None:
    def document(value: object) -> dict[str, Any]:
        cpu = {"shares": value} if name == "uint64" else {"quota": value}
        return minimal(linux={"resources": {"cpu": cpu}})

    for value in (least, most, 2**53 + 1):
        assert config.checked(document(value)) == document(value)
    for wrong in (least - 1, most + 1, 1.0, True, "1"):
        with pytest.raises(ConfigError):
            config.checked(document(wrong))
