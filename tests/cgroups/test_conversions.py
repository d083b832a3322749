"""linux.resources as writes: values, files and refusals on both versions."""

from __future__ import annotations

from typing import Any

import pytest

from pyruntime.cgroups.conversions import (
    Write,
    as_of,
    changed,
    cpu_weight,
    io_weight,
    merge,
    writes,
)
from pyruntime.errors import CgroupError

Resources = dict[str, Any]


def pairs(resources: Resources, version: int) -> list[tuple[str, str]]:
    return [(one.file, one.value) for one in writes(resources, lambda _: version)]


def only(resources: Resources, version: int) -> Write:
    (write,) = writes(resources, lambda _: version)
    return write


@pytest.mark.rows("R180")
@pytest.mark.parametrize(
    ("shares", "weight"),
    [
        (0, 0),
        (1, 1),
        (2, 1),
        (10, 4),
        (100, 17),
        (128, 21),
        (256, 35),
        (512, 59),
        (1024, 100),
        (2048, 174),
        (4096, 303),
        (8192, 532),
        (65536, 3023),
        (262143, 10000),
        (262144, 10000),
        (1 << 40, 10000),
    ],
)
def test_cpu_weight(shares: int, weight: int) -> None:
    assert cpu_weight(shares) == weight


@pytest.mark.rows("R180")
def test_cpu_weight_never_falls() -> None:
    weights = [cpu_weight(shares) for shares in range(2, 262145, 37)]
    assert weights == sorted(weights)
    assert weights[0] == 1


@pytest.mark.rows("R188")
@pytest.mark.parametrize(("weight", "io"), [(10, 1), (100, 910), (500, 4950), (1000, 10000)])
def test_io_weight(weight: int, io: int) -> None:
    assert io_weight(weight) == io


V1: list[tuple[Resources, list[tuple[str, str]]]] = [
    ({"memory": {"limit": 10}}, [("memory.limit_in_bytes", "10")]),
    (
        {"memory": {"limit": -1}},
        [("memory.limit_in_bytes", "-1"), ("memory.memsw.limit_in_bytes", "-1")],
    ),
    (
        {"memory": {"swap": 20, "limit": 10}},
        [("memory.limit_in_bytes", "10"), ("memory.memsw.limit_in_bytes", "20")],
    ),
    ({"memory": {"reservation": 5}}, [("memory.soft_limit_in_bytes", "5")]),
    ({"memory": {"kernel": 5}}, [("memory.kmem.limit_in_bytes", "5")]),
    ({"memory": {"kernelTCP": 5}}, [("memory.kmem.tcp.limit_in_bytes", "5")]),
    ({"memory": {"swappiness": 0}}, [("memory.swappiness", "0")]),
    ({"memory": {"disableOOMKiller": True}}, [("memory.oom_control", "1")]),
    ({"memory": {"disableOOMKiller": False}}, []),
    ({"memory": {"useHierarchy": True}}, [("memory.use_hierarchy", "1")]),
    ({"cpu": {"shares": 2}}, [("cpu.shares", "2")]),
    ({"cpu": {"quota": -1}}, [("cpu.cfs_quota_us", "-1")]),
    ({"cpu": {"period": 5000}}, [("cpu.cfs_period_us", "5000")]),
    ({"cpu": {"burst": 0}}, [("cpu.cfs_burst_us", "0")]),
    ({"cpu": {"idle": 0}}, [("cpu.idle", "0")]),
    (
        {"cpu": {"realtimeRuntime": 3, "realtimePeriod": 9}},
        [("cpu.rt_period_us", "9"), ("cpu.rt_runtime_us", "3")],
    ),
    ({"cpu": {"cpus": "0-1"}}, [("cpuset.cpus", "0-1")]),
    ({"cpu": {"cpus": "", "mems": "0"}}, [("cpuset.mems", "0")]),
    ({"pids": {"limit": 7}}, [("pids.max", "7")]),
    ({"blockIO": {"weight": 500}}, [("blkio.weight", "500")]),
    ({"blockIO": {"leafWeight": 500}}, [("blkio.leaf_weight", "500")]),
    (
        {"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "weight": 10, "leafWeight": 20}]}},
        [("blkio.weight_device", "8:0 10"), ("blkio.leaf_weight_device", "8:0 20")],
    ),
    (
        {"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 0}]}},
        [("blkio.throttle.read_bps_device", "8:0 0")],
    ),
    (
        {"hugepageLimits": [{"pageSize": "2MB", "limit": 9}]},
        [("hugetlb.2MB.limit_in_bytes", "9"), ("hugetlb.2MB.rsvd.limit_in_bytes", "9")],
    ),
    ({"network": {"classID": 1048577}}, [("net_cls.classid", "1048577")]),
    (
        {"network": {"priorities": [{"name": "eth0", "priority": 5}]}},
        [("net_prio.ifpriomap", "eth0 5")],
    ),
    ({"rdma": {"mlx5": {"hcaHandles": 3}}}, [("rdma.max", "mlx5 hca_handle=3")]),
]

V2: list[tuple[Resources, list[tuple[str, str]]]] = [
    ({"memory": {"limit": 10}}, [("memory.max", "10")]),
    ({"memory": {"limit": -1}}, [("memory.max", "max"), ("memory.swap.max", "max")]),
    (
        {"memory": {"limit": -1, "swap": 7}},
        [("memory.max", "max"), ("memory.swap.max", "7")],
    ),
    ({"memory": {"limit": 10, "swap": 30}}, [("memory.max", "10"), ("memory.swap.max", "20")]),
    ({"memory": {"limit": 10, "swap": 10}}, [("memory.max", "10"), ("memory.swap.max", "0")]),
    ({"memory": {"limit": 10, "swap": -1}}, [("memory.max", "10"), ("memory.swap.max", "max")]),
    ({"memory": {"swap": -1}}, [("memory.swap.max", "max")]),
    ({"memory": {"reservation": 5}}, [("memory.low", "5")]),
    ({"memory": {"reservation": -1}}, [("memory.low", "max")]),
    ({"memory": {"disableOOMKiller": False, "useHierarchy": True}}, []),
    ({"cpu": {"shares": 1024}}, [("cpu.weight", "100")]),
    ({"cpu": {"quota": 5000}}, [("cpu.max", "5000 100000")]),
    ({"cpu": {"quota": -1, "period": 2000}}, [("cpu.max", "max 2000")]),
    ({"cpu": {"period": 2000}}, [("cpu.max", "max 2000")]),
    ({"cpu": {"quota": 9, "burst": 9}}, [("cpu.max", "9 100000"), ("cpu.max.burst", "9")]),
    ({"cpu": {"idle": 1}}, [("cpu.idle", "1")]),
    ({"cpu": {"cpus": "0-1", "mems": "0"}}, [("cpuset.cpus", "0-1"), ("cpuset.mems", "0")]),
    ({"pids": {"limit": 7}}, [("pids.max", "7")]),
    ({"blockIO": {"weight": 100}}, [("io.bfq.weight", "100")]),
    (
        {"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "weight": 100}]}},
        [("io.bfq.weight", "8:0 100")],
    ),
    (
        {
            "blockIO": {
                "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1}],
                "throttleWriteBpsDevice": [{"major": 8, "minor": 0, "rate": 2}],
                "throttleReadIOPSDevice": [{"major": 8, "minor": 0, "rate": 3}],
                "throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": 0}],
            }
        },
        [
            ("io.max", "8:0 rbps=1"),
            ("io.max", "8:0 wbps=2"),
            ("io.max", "8:0 riops=3"),
            ("io.max", "8:0 wiops=max"),
        ],
    ),
    (
        {"hugepageLimits": [{"pageSize": "1GB", "limit": 18446744073709551615}]},
        [
            ("hugetlb.1GB.max", "18446744073709551615"),
            ("hugetlb.1GB.rsvd.max", "18446744073709551615"),
        ],
    ),
    ({"network": {"classID": 0}}, []),
    (
        {"rdma": {"mlx5": {"hcaHandles": 3, "hcaObjects": 0}}},
        [("rdma.max", "mlx5 hca_handle=3 hca_object=0")],
    ),
    (
        {
            "memory": {"limit": 10},
            "unified": {"memory.max": "5", "io.max": "8:0 rbps=1\n9:0 wbps=2"},
        },
        [
            ("memory.max", "10"),
            ("memory.max", "5"),
            ("io.max", "8:0 rbps=1"),
            ("io.max", "9:0 wbps=2"),
        ],
    ),
    ({"unified": {"cgroup.max.depth": "3", "io.max": ""}}, [("cgroup.max.depth", "3")]),
    ({"unified": {"misc.max": "res_a 1"}}, [("misc.max", "res_a 1")]),
]

ROWS = {
    "memory.limit": "R171",
    "memory.reservation": "R172",
    "memory.swap": "R173",
    "memory.kernel": "R174",
    "memory.kernelTCP": "R175",
    "memory.swappiness": "R176",
    "memory.disableOOMKiller": "R177",
    "memory.useHierarchy": "R178",
    "cpu.shares": "R180",
    "cpu.quota": "R181",
    "cpu.period": "R182",
    "cpu.burst": "R183",
    "cpu.realtimeRuntime": "R184",
    "cpu.realtimePeriod": "R184",
    "cpu.cpus": "R185",
    "cpu.mems": "R185",
    "cpu.idle": "R186",
    "pids.limit": "R187",
    "blockIO.weight": "R188",
    "blockIO.leafWeight": "R189",
    "blockIO.weightDevice": "R190",
    "network.classID": "R193",
    "network.priorities": "R194",
    "rdma.mlx5": "R195",
}


def rows(resources: Resources) -> list[str]:
    """The requirement rows of the settings in `resources`."""
    found = set()
    for section, settings in resources.items():
        if section == "hugepageLimits":
            found.add("R192")
        elif section == "unified":
            found.update(["R196", "R197"] if "misc.max" in settings else ["R196"])
        else:
            found.update(ROWS.get(f"{section}.{name}", "R191") for name in settings)
    return sorted(found)


def cases(table: list[tuple[Resources, list[tuple[str, str]]]]) -> list[Any]:
    return [
        pytest.param(resources, expected, marks=pytest.mark.rows(*rows(resources)))
        for resources, expected in table
    ]


@pytest.mark.parametrize(("resources", "expected"), cases(V1))
def test_v1(resources: Resources, expected: list[tuple[str, str]]) -> None:
    assert pairs(resources, 1) == expected


@pytest.mark.parametrize(("resources", "expected"), cases(V2))
def test_v2(resources: Resources, expected: list[tuple[str, str]]) -> None:
    assert pairs(resources, 2) == expected


V1_ONLY: list[tuple[str, Resources]] = [
    ("memory.kernel", {"memory": {"kernel": 1}}),
    ("memory.kernelTCP", {"memory": {"kernelTCP": 1}}),
    ("memory.swappiness", {"memory": {"swappiness": 0}}),
    ("memory.disableOOMKiller", {"memory": {"disableOOMKiller": True}}),
    ("memory.useHierarchy", {"memory": {"useHierarchy": False}}),
    ("cpu.realtimeRuntime", {"cpu": {"realtimeRuntime": 1}}),
    ("cpu.realtimePeriod", {"cpu": {"realtimePeriod": 1}}),
    ("blockIO.leafWeight", {"blockIO": {"leafWeight": 10}}),
    (
        "blockIO.weightDevice[0].leafWeight",
        {"blockIO": {"weightDevice": [{"major": 1, "minor": 1, "weight": 10, "leafWeight": 10}]}},
    ),
    ("network.classID", {"network": {"classID": 1}}),
    ("network.priorities", {"network": {"priorities": [{"name": "lo", "priority": 1}]}}),
]


@pytest.mark.rows(
    "R174", "R175", "R176", "R177", "R178", "R184", "R189", "R190", "R193", "R194", "R4"
)
@pytest.mark.parametrize(("path", "resources"), V1_ONLY)
def test_what_v2_does_not_have_is_refused(path: str, resources: Resources) -> None:
    with pytest.raises(CgroupError) as caught:
        pairs(resources, 2)
    assert str(caught.value).startswith(f"linux.resources.{path}: ")


WRONG: list[tuple[str, Resources]] = [
    ("memory.limit", {"memory": {"limit": -2}}),
    ("memory.swap", {"memory": {"swap": 5}}),
    ("memory.swap", {"memory": {"limit": 6, "swap": 5}}),
    ("memory.swappiness", {"memory": {"swappiness": 101}}),
    ("cpu.burst", {"cpu": {"quota": 5, "burst": 6}}),
    ("cpu.idle", {"cpu": {"idle": 2}}),
    ("blockIO.weight", {"blockIO": {"weight": 9}}),
    ("blockIO.weight", {"blockIO": {"weight": 1001}}),
    ("blockIO.weightDevice[0]", {"blockIO": {"weightDevice": [{"major": 8, "minor": 0}]}}),
    ("hugepageLimits[0].pageSize", {"hugepageLimits": [{"pageSize": "../2MB", "limit": 1}]}),
    ("hugepageLimits[0].pageSize", {"hugepageLimits": [{"pageSize": "0MB", "limit": 1}]}),
    ("hugepageLimits[0].pageSize", {"hugepageLimits": [{"pageSize": "2mb", "limit": 1}]}),
    ("rdma.mlx5", {"rdma": {"mlx5": {}}}),
]


@pytest.mark.rows("R173", "R176", "R183", "R186", "R188", "R190", "R192", "R195", "R4")
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(("path", "resources"), WRONG)
def test_values_that_cannot_be(path: str, resources: Resources, version: int) -> None:
    with pytest.raises(CgroupError) as caught:
        pairs(resources, version)
    assert str(caught.value).startswith(f"linux.resources.{path}: ")


@pytest.mark.rows("R180")
@pytest.mark.parametrize("shares", [1, 262145])
def test_v1_shares_that_the_kernel_would_clamp(shares: int) -> None:
    with pytest.raises(CgroupError, match=r"^linux\.resources\.cpu\.shares: "):
        pairs({"cpu": {"shares": shares}}, 1)


@pytest.mark.rows("R187")
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(("limit", "value"), [(0, "0"), (-1, "max"), (-9, "max"), (1, "1")])
def test_pids(version: int, limit: int, value: str) -> None:
    assert pairs({"pids": {"limit": limit}}, version) == [("pids.max", value)]


@pytest.mark.rows("R187")
@pytest.mark.parametrize(
    ("version", "kept"),
    [
        ("1.0.2-dev", False),
        ("1.2.1", False),
        ("1.3.0", True),
        ("1.3.0+dev", True),
        ("1.10.0", True),
    ],
)
def test_a_limit_of_no_pids_counts_since_the_text_has_it(version: str, kept: bool) -> None:
    zero: Resources = {"pids": {"limit": 0}, "cpu": {"shares": 5}}
    assert as_of(zero, version) == (zero if kept else {"cpu": {"shares": 5}})
    some = {"pids": {"limit": 5}}
    assert as_of(some, version) == some
    assert as_of(None, version) == {}


@pytest.mark.rows("R196")
@pytest.mark.parametrize("file", ["../memory.max", "a/b.c", "memory", ".", "..", "memory.", ""])
def test_unified_names_that_are_no_files(file: str) -> None:
    with pytest.raises(CgroupError, match=r"^linux\.resources\.unified"):
        pairs({"unified": {file: "1"}}, 2)


@pytest.mark.rows("R196")
def test_unified_needs_v2() -> None:
    with pytest.raises(CgroupError, match=r"^linux\.resources\.unified: "):
        pairs({"unified": {"memory.max": "1"}}, 1)


ENGINE_ZEROS: Resources = {
    "memory": {"limit": 0, "swap": 0, "reservation": 0, "kernel": 0, "kernelTCP": 0},
    "cpu": {"shares": 0, "quota": 0, "period": 0, "realtimeRuntime": 0, "cpus": "", "mems": ""},
    "blockIO": {"weight": 0, "leafWeight": 0, "weightDevice": None},
    "network": {"classID": 0, "priorities": []},
    "pids": None,
    "hugepageLimits": [],
}


@pytest.mark.rows("R162", "R171", "R173", "R180", "R188")
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("resources", [{}, {"memory": {}}, ENGINE_ZEROS])
def test_nothing_asked_nothing_written(version: int, resources: Resources) -> None:
    assert pairs(resources, version) == []


@pytest.mark.rows("R173")
def test_swap_may_be_missing_only_if_there_is_nothing_to_limit() -> None:
    def optional(resources: Resources, version: int) -> bool:
        return writes(resources, lambda _: version)[-1].optional

    assert optional({"memory": {"limit": 5, "swap": 5}}, 2)
    assert optional({"memory": {"limit": 5, "swap": -1}}, 2)
    assert not optional({"memory": {"limit": 5, "swap": 6}}, 2)
    assert optional({"memory": {"limit": -1}}, 1)
    assert not optional({"memory": {"limit": 5, "swap": 5}}, 1)


@pytest.mark.rows("R183", "R186", "R192")
def test_what_a_kernel_need_not_have() -> None:
    assert only({"cpu": {"burst": 0}}, 2).optional
    assert not only({"cpu": {"burst": 5}}, 2).optional
    assert only({"cpu": {"idle": 0}}, 1).optional
    assert not only({"cpu": {"idle": 1}}, 1).optional
    fault, reservation = writes({"hugepageLimits": [{"pageSize": "2MB", "limit": 1}]}, lambda _: 2)
    assert (fault.optional, reservation.optional) == (False, True)


@pytest.mark.rows("R185", "R188", "R190")
@pytest.mark.parametrize(
    ("resources", "version", "file", "value"),
    [
        ({"blockIO": {"weight": 100}}, 1, "blkio.bfq.weight", "100"),
        ({"blockIO": {"weight": 100}}, 2, "io.weight", "910"),
        (
            {"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "weight": 100}]}},
            2,
            "io.weight",
            "8:0 910",
        ),
        ({"cpu": {"cpus": "0"}}, 1, "cpus", "0"),
    ],
)
def test_another_file_where_the_first_is_missing(
    resources: Resources, version: int, file: str, value: str
) -> None:
    other = only(resources, version).otherwise
    assert other is not None
    assert (other.file, other.value) == (file, value)


def test_each_controller_is_asked_for_its_version() -> None:
    resources = {
        "cpu": {"cpus": "0", "shares": 2},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 1}],
    }
    files = [one.file for one in writes(resources, lambda name: 2 if name == "hugetlb" else 1)]
    assert files == ["cpuset.cpus", "cpu.shares", "hugetlb.2MB.max", "hugetlb.2MB.rsvd.max"]


OLD: Resources = {
    "memory": {"limit": 10, "swap": 20, "swappiness": 3},
    "cpu": {"quota": 5, "period": 1000, "shares": 7},
    "devices": [{"allow": False, "access": "rwm"}],
    "pids": {"limit": 3},
}


@pytest.mark.rows("R294", "R182")
@pytest.mark.parametrize(
    ("new", "section", "merged", "written"),
    [
        (
            {"memory": {"limit": 12, "swap": 0}},
            "memory",
            {"limit": 12, "swap": 20, "swappiness": 3},
            {"limit": 12, "swap": 20},
        ),
        (
            {"memory": {"limit": -1}},
            "memory",
            {"limit": -1, "swap": -1, "swappiness": 3},
            {"limit": -1, "swap": -1},
        ),
        (
            {"cpu": {"quota": 9, "shares": 0}},
            "cpu",
            {"quota": 9, "period": 1000, "shares": 7},
            {"quota": 9, "period": 1000},
        ),
        ({"cpu": {"shares": 9}}, "cpu", {"quota": 5, "period": 1000, "shares": 9}, {"shares": 9}),
        ({"cpu": {"shares": 0}}, "cpu", OLD["cpu"], {}),
        ({"pids": {"limit": 0}}, "pids", {"limit": 0}, {"limit": 0}),
    ],
)
def test_update_takes_the_other_half_from_before(
    new: Resources, section: str, merged: Resources, written: Resources
) -> None:
    whole = merge(OLD, new)
    assert whole[section] == merged
    assert changed(whole, new) == {section: written}


@pytest.mark.rows("R294")
def test_update_never_changes_devices() -> None:
    new = {"devices": [{"allow": True, "access": "rwm"}], "pids": {"limit": 5}}
    whole = merge(OLD, new)
    assert whole["devices"] == OLD["devices"]
    assert changed(whole, new) == {"pids": {"limit": 5}}
    assert "devices" not in merge({}, new)
