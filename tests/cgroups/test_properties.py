"""From limits and annotations to the properties of a unit."""

from __future__ import annotations

from typing import Any

import pytest

from pyruntime.cgroups import conversions, devices, properties
from pyruntime.cgroups.paths import Unit
from pyruntime.cgroups.properties import INFINITY, bit_set, of_annotations, of_unit
from pyruntime.errors import ConfigError

PREFIX = "org.systemd.property."


def limits(resources: dict[str, Any], version: int = 2) -> dict[str, Any]:
    writes = conversions.writes(resources, lambda _: version)
    return {each.name: each.value for each in properties.of_writes(writes)}


GIB = 1 << 30
V2: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"memory": {"limit": GIB}}, {"MemoryMax": GIB}),
    (
        {"memory": {"limit": GIB, "swap": 3 * GIB, "reservation": 4096}},
        {"MemoryMax": GIB, "MemorySwapMax": 2 * GIB, "MemoryLow": 4096},
    ),
    ({"memory": {"limit": GIB, "swap": GIB}}, {"MemoryMax": GIB, "MemorySwapMax": 0}),
    ({"memory": {"limit": -1}}, {"MemoryMax": INFINITY, "MemorySwapMax": INFINITY}),
    ({"cpu": {"shares": 1024}}, {"CPUWeight": 100}),
    ({"cpu": {"shares": 2}}, {"CPUWeight": 1}),
    ({"cpu": {"shares": 262144}}, {"CPUWeight": 10000}),
    ({"cpu": {"idle": 1}}, {"CPUWeight": 0}),
    ({"cpu": {"shares": 1024, "idle": 1}}, {"CPUWeight": 0}),
    ({"cpu": {"shares": 1024, "idle": 0}}, {"CPUWeight": 100}),
    (
        {"cpu": {"quota": 50000, "period": 100000}},
        {"CPUQuotaPerSecUSec": 500000, "CPUQuotaPeriodUSec": 100000},
    ),
    # 24.69 %, of which systemd keeps whole percents: never less than asked for.
    (
        {"cpu": {"quota": 12345, "period": 50000}},
        {"CPUQuotaPerSecUSec": 250000, "CPUQuotaPeriodUSec": 50000},
    ),
    (
        {"cpu": {"quota": 300000}},
        {"CPUQuotaPerSecUSec": 3000000, "CPUQuotaPeriodUSec": 100000},
    ),
    (
        {"cpu": {"quota": -1, "period": 20000}},
        {"CPUQuotaPerSecUSec": INFINITY, "CPUQuotaPeriodUSec": 20000},
    ),
    (
        {"cpu": {"cpus": "0-1,9", "mems": "0"}},
        {"AllowedCPUs": b"\x03\x02", "AllowedMemoryNodes": b"\x01"},
    ),
    ({"pids": {"limit": 55}}, {"TasksMax": 55}),
    ({"pids": {"limit": -1}}, {"TasksMax": INFINITY}),
    ({"pids": {"limit": 0}}, {}),
    ({"blockIO": {"weight": 500}}, {"IOWeight": 4950}),
    ({"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "weight": 10}]}}, {}),
    (
        {"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1}]}},
        {},
    ),
    (
        {
            "unified": {
                "memory.high": "90000000",
                "memory.min": "4K",
                "memory.max": "max",
                "pids.max": "7",
                "cpu.weight": "33",
                "cpu.max": "max 100000",
                "cpuset.cpus": "0",
                "io.weight": "default 20",
                "memory.oom.group": "1",
                "hugetlb.2MB.max": "0",
            }
        },
        {
            "MemoryHigh": 90000000,
            "MemoryMin": 4096,
            "MemoryMax": INFINITY,
            "TasksMax": 7,
            "CPUWeight": 33,
            "CPUQuotaPerSecUSec": INFINITY,
            "CPUQuotaPeriodUSec": 100000,
            "AllowedCPUs": b"\x01",
            "IOWeight": 20,
        },
    ),
    # The files' order: unified overrides.
    ({"memory": {"limit": GIB}, "unified": {"memory.max": "4096"}}, {"MemoryMax": 4096}),
    # What is no number is left to the kernel, which will refuse it.
    ({"unified": {"memory.max": "much", "cpuset.cpus": "a-b", "pids.max": ""}}, {}),
    ({"unified": {"cpuset.cpus": "0-99999999"}}, {}),
]

V1: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"memory": {"limit": GIB, "swap": 2 * GIB, "reservation": 4096}}, {"MemoryLimit": GIB}),
    ({"memory": {"limit": -1}}, {"MemoryLimit": INFINITY}),
    ({"cpu": {"shares": 512}}, {"CPUShares": 512}),
    (
        {"cpu": {"quota": 50000, "period": 25000}},
        {"CPUQuotaPerSecUSec": 2000000, "CPUQuotaPeriodUSec": 25000},
    ),
    ({"cpu": {"period": 25000}}, {"CPUQuotaPeriodUSec": 25000}),
    ({"cpu": {"quota": -1}}, {"CPUQuotaPerSecUSec": INFINITY}),
    ({"pids": {"limit": 55}}, {"TasksMax": 55}),
    ({"blockIO": {"weight": 500}}, {"BlockIOWeight": 500}),
    # The file has the same name; in v1 systemd leaves that controller alone.
    ({"cpu": {"cpus": "0"}}, {"AllowedCPUs": b"\x01"}),
]


@pytest.mark.rows("R160", "R171", "R172", "R173", "R180", "R181", "R185", "R186", "R187", "R196")
@pytest.mark.parametrize(("resources", "expected"), V2)
def test_limits_of_version_2(resources: dict[str, Any], expected: dict[str, Any]) -> None:
    assert limits(resources) == expected


@pytest.mark.rows("R160", "R171", "R180", "R181")
@pytest.mark.parametrize(("resources", "expected"), V1)
def test_limits_of_version_1(resources: dict[str, Any], expected: dict[str, Any]) -> None:
    assert limits(resources, version=1) == expected


@pytest.mark.rows("R185")
@pytest.mark.parametrize(
    ("text", "mask"),
    [
        ("0", b"\x01"),
        ("0-7", b"\xff"),
        ("8", b"\x00\x01"),
        ("0-3,7\n", b"\x8f"),
        ("1,64", b"\x02" + bytes(7) + b"\x01"),
        ("3-1", None),
        ("", None),
        ("0-", None),
        ("-1", None),
        ("0,,1", None),
        ("0x1", None),
        ("²", None),
    ],
)
def test_sets_of_cpus_begin_with_the_lowest(text: str, mask: bytes | None) -> None:
    assert bit_set(text) == mask


@pytest.mark.rows("R170")
def test_devices_of_version_1() -> None:
    rules = [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "b", "major": 8, "access": "r"},
        {"allow": True, "type": "c", "minor": 4, "access": "r"},
    ]
    found = {each.name: each.value for each in properties.of_devices(devices.access(rules))}
    assert found["DevicePolicy"] == "strict"
    assert ("block-8", "r") in found["DeviceAllow"]
    assert ("char-*", "m") in found["DeviceAllow"]
    assert ("/dev/char/1:3", "rwm") in found["DeviceAllow"]
    assert ("char-136", "rwm") in found["DeviceAllow"]
    assert len(found["DeviceAllow"]) == len(devices.IMPLICIT) + 1


@pytest.mark.rows("R170")
def test_everything_allowed_is_told_so() -> None:
    found = properties.of_devices(devices.access([{"allow": True, "access": "rwm"}]))
    assert [(each.name, each.value) for each in found] == [
        ("DevicePolicy", "auto"),
        ("DeviceAllow", []),
    ]


@pytest.mark.rows("R160", "R162")
def test_a_scope() -> None:
    found = {each.name: each.value for each in of_unit(Unit("a.slice", "b.scope"), "x", 7)}
    assert found["PIDs"] == [7]
    assert found["Slice"] == "a.slice"
    assert found["Delegate"] is True
    assert found["DefaultDependencies"] is False
    assert "Wants" not in found


@pytest.mark.rows("R160")
def test_a_slice_takes_no_process_and_is_not_delegated() -> None:
    found = {each.name: each.value for each in of_unit(Unit("a.slice", "b.slice"), "x", 7)}
    assert found["Wants"] == ["a.slice"]
    assert not {"PIDs", "Slice", "Delegate"} & set(found)


@pytest.mark.rows("R252")
@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("TimeoutStopUSec", "uint64 10000000", ("TimeoutStopUSec", "t", 10000000)),
        ("TimeoutStopSec", "10", ("TimeoutStopUSec", "t", 10000000)),
        ("TimeoutStopSec", "uint64 3", ("TimeoutStopUSec", "t", 3000000)),
        ("TimeoutStopSec", "0.25", ("TimeoutStopUSec", "t", 250000)),
        ("KillSignal", "15", ("KillSignal", "i", 15)),
        ("CollectMode", "'inactive'", ("CollectMode", "s", "inactive")),
        ("After", "['a.service']", ("After", "as", ["a.service"])),
        ("SendSIGHUP", "true", ("SendSIGHUP", "b", True)),
    ],
)
def test_annotations(name: str, text: str, expected: tuple[str, str, Any]) -> None:
    (found,) = of_annotations({PREFIX + name: text, "other": "'x'", "bundle": "/b"})
    assert (found.name, found.signature, found.value) == expected


@pytest.mark.rows("R252", "R4")
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("KillSignal", "SIGTERM"),
        ("KillSignal", ""),
        ("KillSignal", "'open"),
        ("KS", "1"),
        ("", "1"),
        ("Kill.Signal", "1"),
        ("Kill1", "1"),
        ("Größe", "1"),
        ("PIDs", "[uint32 1]"),
        ("Slice", "'a.slice'"),
        ("TimeoutStopSec", "'10'"),
        ("TimeoutStopSec", "-1"),
        ("TimeoutStopSec", "1e300"),
        ("TimeoutStopSec", "uint64 18446744073709551615"),
    ],
)
def test_annotations_that_cannot_be(name: str, text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        of_annotations({PREFIX + name: text})
    assert refused.value.faults[0].startswith(f".annotations[{PREFIX}{name}]: ")


def test_later_groups_win() -> None:
    one = properties.Property("A", "t", 1)
    two, three = properties.Property("A", "t", 2), properties.Property("B", "t", 3)
    assert [each.value for each in properties.combined([one, three], [two])] == [2, 3]
