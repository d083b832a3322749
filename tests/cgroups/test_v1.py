"""Real cgroups of version 1: made, limited with values read back, joined, killed, removed."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from pyruntime.cgroups.directory import Directory
from pyruntime.cgroups.layout import Layout, own_paths
from pyruntime.cgroups.manager import Cgroup, NoCgroup
from pyruntime.errors import CgroupError
from tests.cgroups.test_devices import DENY_ALL, IMPLICIT, rule

Resources = dict[str, Any]
Sleeper = Callable[[], "subprocess.Popen[bytes]"]
Until = Callable[[Callable[[], object]], None]

MIB = 1 << 20


def read(cgroup: Cgroup, file: str) -> str:
    """The value of a file in the hierarchy that its name begins with."""
    controller = file.partition(".")[0]
    return Directory(cgroup.paths()[controller]).read(file).strip()


def need(layout: Layout, file: str) -> None:
    controller = file.partition(".")[0]
    if controller not in layout.v1:
        pytest.skip(f"needs the v1 controller {controller}")
    # The root lacks some files, so look into a cgroup: any that a file could be in.
    probe = f"{layout.v1[controller]}/pyruntime-test-probe-{os.urandom(8).hex()}"
    os.mkdir(probe)
    try:
        if not os.path.exists(f"{probe}/{file}"):
            pytest.skip(f"needs the cgroup file {file}")
    finally:
        os.rmdir(probe)


# Making and removing


@pytest.mark.rows("R160", "R166", "R307")
def test_create_makes_it_everywhere_and_delete_removes_it(cgroup: Cgroup, v1: Layout) -> None:
    cgroup.create()
    paths = cgroup.paths()
    assert set(paths) == {*v1.v1, *([""] if v1.v2 else [])}
    assert all(os.path.isdir(path) for path in paths.values())
    assert sorted(cgroup.made) == sorted(set(paths.values()))
    cgroup.delete()
    assert not any(os.path.exists(path) for path in paths.values())
    cgroup.delete()


@pytest.mark.rows("R1", "R163")
def test_a_cgroup_with_a_process_is_refused_and_left_alone(
    cgroup: Cgroup, v1: Layout, name: str, sleeper: Sleeper
) -> None:
    os.mkdir(v1.v1["pids"] + name)
    process = sleeper()
    with open(f"{v1.v1['pids']}{name}/cgroup.procs", "w") as file:
        file.write(str(process.pid))
    with pytest.raises(CgroupError, match=rf"pids{name} is not empty: processes {process.pid}"):
        cgroup.create()
    left = [root for root in v1.v1.values() if os.path.exists(root + name)]
    assert left == [v1.v1["pids"]]
    process.kill()
    process.wait()
    os.rmdir(v1.v1["pids"] + name)


@pytest.mark.rows("R163")
def test_a_process_further_down_counts(
    cgroup: Cgroup, v1: Layout, name: str, sleeper: Sleeper
) -> None:
    inner = f"{v1.v1['pids']}{name}/a/b"
    os.makedirs(inner)
    process = sleeper()
    Directory(inner).write("cgroup.procs", str(process.pid))
    with pytest.raises(CgroupError, match="is not empty"):
        cgroup.create()
    process.kill()
    process.wait()
    for path in (inner, os.path.dirname(inner), v1.v1["pids"] + name):
        os.rmdir(path)


@pytest.mark.rows("R1", "R163")
def test_a_frozen_cgroup_is_refused(cgroup: Cgroup, v1: Layout, name: str) -> None:
    frozen = Directory(v1.v1["freezer"] + name)
    os.mkdir(frozen.path)
    frozen.write("freezer.state", "FROZEN")
    with pytest.raises(CgroupError, match=f"{name} is frozen"):
        cgroup.create()
    assert not os.path.exists(v1.v1["pids"] + name)
    frozen.write("freezer.state", "THAWED")
    os.rmdir(frozen.path)


@pytest.mark.rows("R163")
def test_a_cgroup_below_a_frozen_one_is_refused(v1: Layout, name: str) -> None:
    frozen = Directory(v1.v1["freezer"] + name)
    os.mkdir(frozen.path)
    frozen.write("freezer.state", "FROZEN")
    inner = Cgroup(v1, name + "/inner")
    with pytest.raises(CgroupError, match="is frozen"):
        inner.create()
    assert inner.made == []
    os.rmdir(frozen.path)
    assert not any(os.path.exists(root + name) for root in v1.v1.values())


@pytest.mark.rows("R160")
def test_an_empty_one_that_was_there_is_used_and_stays(
    cgroup: Cgroup, v1: Layout, name: str
) -> None:
    os.mkdir(v1.v1["pids"] + name)
    cgroup.create()
    Cgroup.from_paths(cgroup.paths(), cgroup.made).delete()
    left = [root for root in v1.v1.values() if os.path.exists(root + name)]
    assert left == [v1.v1["pids"]]
    os.rmdir(v1.v1["pids"] + name)


@pytest.mark.rows("R1")
def test_undo_removes_the_parents_too_and_delete_does_not(v1: Layout, name: str) -> None:
    first, second = Cgroup(v1, name + "/a/b"), Cgroup(v1, name + "/a/c")
    first.create()
    second.create()
    second.delete()
    assert os.path.isdir(v1.v1["pids"] + name + "/a")
    first.undo()
    assert not any(os.path.exists(root + name) for root in v1.v1.values())


@pytest.mark.rows("R307")
def test_delete_removes_what_the_container_made_within(cgroup: Cgroup, v1: Layout) -> None:
    cgroup.create()
    os.makedirs(cgroup.paths()["memory"] + "/x/y")
    os.makedirs(cgroup.paths()["pids"] + "/z")
    cgroup.delete()
    assert not os.path.exists(cgroup.paths()["memory"])


@pytest.mark.rows("R307")
def test_delete_says_who_is_still_there(
    cgroup: Cgroup, sleeper: Sleeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyruntime.cgroups.directory.PATIENCE", 0.05)
    cgroup.create()
    process = sleeper()
    cgroup.join(process.pid)
    made = list(cgroup.made)
    with pytest.raises(CgroupError, match=rf"\(processes {process.pid}\): device or resource busy"):
        cgroup.delete()
    assert cgroup.made == made


@pytest.mark.parametrize("path", ["/", "relative", "/a/../b"])
def test_paths_that_no_container_may_have(v1: Layout, path: str) -> None:
    with pytest.raises(CgroupError, match="is not the path"):
        Cgroup(v1, path)


def test_descriptors_are_closed_on_exec(cgroup: Cgroup) -> None:
    cgroup.create()
    fds = [*cgroup.open_procs(), *(one.fileno() for one in cgroup.each())]
    assert fds
    assert not any(os.get_inheritable(fd) for fd in fds)
    for fd in cgroup.open_procs():
        os.close(fd)


# Joining


@pytest.mark.rows("R161", "R166")
def test_join_enters_every_hierarchy(
    cgroup: Cgroup, v1: Layout, name: str, sleeper: Sleeper
) -> None:
    cgroup.create()
    process = sleeper()
    cgroup.join(process.pid)
    with open(f"/proc/{process.pid}/cgroup") as file:
        paths = own_paths(file.read())
    assert {paths[controller] for controller in cgroup.paths()} == {name}
    assert cgroup.processes() == [process.pid]


@pytest.mark.rows("R161")
@pytest.mark.parametrize("how", ["open_procs", "open_tasks"])
def test_a_process_can_join_by_itself_through_descriptors(
    cgroup: Cgroup, v1: Layout, name: str, how: str
) -> None:
    cgroup.create()
    fds: list[int] = getattr(cgroup, how)()
    script = "for fd in $0; do echo 0 >&$fd; done; exec cat /proc/self/cgroup"
    listed = subprocess.run(
        ["bash", "-c", script, " ".join(map(str, fds))],
        pass_fds=fds,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    for fd in fds:
        os.close(fd)
    paths = own_paths(listed)
    entered = v1.v1 if how == "open_tasks" else cgroup.paths()
    assert {paths[controller] for controller in entered} == {name}


@pytest.mark.rows("R161")
def test_joining_a_process_that_is_gone(cgroup: Cgroup, sleeper: Sleeper) -> None:
    cgroup.create()
    process = sleeper()
    process.kill()
    process.wait()
    with pytest.raises(CgroupError, match=r'^write "\d+" to .*/cgroup.procs: no such process$'):
        cgroup.join(process.pid)


@pytest.mark.rows("R185")
def test_cpusets_are_filled_down_the_chain(v1: Layout, name: str, sleeper: Sleeper) -> None:
    need(v1, "cpuset.cpus")
    cgroup = Cgroup(v1, name + "/a/b")
    try:
        cgroup.create()
        root = v1.v1["cpuset"]
        for path in (name, name + "/a", name + "/a/b"):
            for file in ("cpuset.cpus", "cpuset.mems"):
                assert Directory(root + path).read(file) == Directory(root).read(file)
        process = sleeper()
        cgroup.join(process.pid)
        assert cgroup.processes() == [process.pid]
    finally:
        cgroup.kill()
        cgroup.undo()


# Limits

READ_BACK: list[tuple[str, Resources, str, str]] = [
    ("R171", {"memory": {"limit": 64 * MIB}}, "memory.limit_in_bytes", str(64 * MIB)),
    (
        "R173",
        {"memory": {"limit": 64 * MIB, "swap": 96 * MIB}},
        "memory.memsw.limit_in_bytes",
        str(96 * MIB),
    ),
    ("R172", {"memory": {"reservation": 8 * MIB}}, "memory.soft_limit_in_bytes", str(8 * MIB)),
    ("R175", {"memory": {"kernelTCP": 8 * MIB}}, "memory.kmem.tcp.limit_in_bytes", str(8 * MIB)),
    ("R176", {"memory": {"swappiness": 0}}, "memory.swappiness", "0"),
    (
        "R177",
        {"memory": {"disableOOMKiller": True}},
        "memory.oom_control",
        "oom_kill_disable 1",
    ),
    ("R178", {"memory": {"useHierarchy": True}}, "memory.use_hierarchy", "1"),
    ("R180", {"cpu": {"shares": 512}}, "cpu.shares", "512"),
    ("R181", {"cpu": {"quota": 20000}}, "cpu.cfs_quota_us", "20000"),
    ("R182", {"cpu": {"quota": 20000, "period": 50000}}, "cpu.cfs_period_us", "50000"),
    ("R183", {"cpu": {"quota": 20000, "burst": 10000}}, "cpu.cfs_burst_us", "10000"),
    ("R184", {"cpu": {"realtimePeriod": 500000}}, "cpu.rt_period_us", "500000"),
    ("R185", {"cpu": {"cpus": "0"}}, "cpuset.cpus", "0"),
    ("R185", {"cpu": {"mems": "0"}}, "cpuset.mems", "0"),
    ("R186", {"cpu": {"idle": 1}}, "cpu.idle", "1"),
    ("R187", {"pids": {"limit": 0}}, "pids.max", "0"),
    ("R187", {"pids": {"limit": -1}}, "pids.max", "max"),
    ("R187", {"pids": {"limit": 9}}, "pids.max", "9"),
    ("R188", {"blockIO": {"weight": 500}}, "blkio.bfq.weight", "500"),
    ("R189", {"blockIO": {"leafWeight": 500}}, "blkio.leaf_weight", "500"),
    (
        "R192",
        {"hugepageLimits": [{"pageSize": "2MB", "limit": 2 * MIB}]},
        "hugetlb.2MB.limit_in_bytes",
        str(2 * MIB),
    ),
    ("R193", {"network": {"classID": 1048577}}, "net_cls.classid", "1048577"),
]


@pytest.mark.parametrize(
    ("resources", "file", "value"),
    [
        pytest.param(resources, file, value, marks=pytest.mark.rows(row), id=f"{file}={value}")
        for row, resources, file, value in READ_BACK
    ],
)
def test_limits_read_back(
    cgroup: Cgroup, v1: Layout, resources: Resources, file: str, value: str
) -> None:
    need(v1, file)
    cgroup.create(resources)
    cgroup.apply(resources)
    assert read(cgroup, file).splitlines()[0] == value


@pytest.mark.rows("R162")
def test_no_resources_no_limits(cgroup: Cgroup) -> None:
    cgroup.create(None)
    files = ("memory.limit_in_bytes", "cpu.shares", "cpu.cfs_quota_us", "pids.max")
    before = [read(cgroup, file) for file in files]
    cgroup.apply(None)
    assert [read(cgroup, file) for file in files] == before


@pytest.mark.rows("R191")
def test_block_throttles_read_back(cgroup: Cgroup, v1: Layout) -> None:
    need(v1, "blkio.throttle.read_bps_device")
    disks = [
        name for name in os.listdir("/sys/block") if name.startswith(("vd", "sd", "nvme", "xvd"))
    ]
    if not disks:
        pytest.skip("needs a disk")
    with open(f"/sys/block/{disks[0]}/dev") as file:
        major, minor = file.read().strip().split(":")
    device = {"major": int(major), "minor": int(minor)}
    names = {
        "throttleReadBpsDevice": "read_bps",
        "throttleWriteBpsDevice": "write_bps",
        "throttleReadIOPSDevice": "read_iops",
        "throttleWriteIOPSDevice": "write_iops",
    }
    cgroup.create()
    cgroup.apply({"blockIO": {name: [{**device, "rate": 4096}] for name in names}})
    for name in names.values():
        assert read(cgroup, f"blkio.throttle.{name}_device") == f"{major}:{minor} 4096"
    cgroup.update({}, {"blockIO": {name: [{**device, "rate": 0}] for name in names}})
    for name in names.values():
        assert read(cgroup, f"blkio.throttle.{name}_device") == ""


@pytest.mark.rows("R188", "R189")
def test_a_weight_without_its_file_is_an_error(cgroup: Cgroup, v1: Layout) -> None:
    cgroup.create()
    path = cgroup.paths().get("blkio")
    if path is None or any(os.path.exists(f"{path}/blkio.{file}weight") for file in ("", "bfq.")):
        pytest.skip("needs a blkio controller without weights")
    with pytest.raises(
        CgroupError, match=r"^linux\.resources\.blockIO\.weight: write .*no such file"
    ):
        cgroup.apply({"blockIO": {"weight": 100}})


@pytest.mark.rows("R192", "R166")
def test_huge_pages_on_a_hybrid_host(cgroup: Cgroup, v1: Layout) -> None:
    if "hugetlb" in v1.v1 or not v1.v2:
        pytest.skip("needs hugetlb on the v2 side of a hybrid host")
    if "hugetlb" not in Directory(v1.v2).read("cgroup.controllers").split():
        pytest.skip("needs the hugetlb controller")
    resources = {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}]}
    cgroup.create(resources)
    cgroup.apply(resources)
    unified = Directory(cgroup.paths()[""])
    assert unified.read("hugetlb.2MB.max").strip() == str(4 * MIB)
    assert unified.read("hugetlb.2MB.rsvd.max").strip() == str(4 * MIB)
    with pytest.raises(
        CgroupError, match=r"^linux\.resources\.hugepageLimits\[0\]: .*hugetlb\.4KB"
    ):
        cgroup.apply({"hugepageLimits": [{"pageSize": "4KB", "limit": 1}]})


@pytest.mark.rows("R4", "R171")
def test_an_error_names_setting_file_value_and_reason(cgroup: Cgroup) -> None:
    cgroup.create()
    with pytest.raises(CgroupError) as caught:
        cgroup.apply({"cpu": {"cpus": "9999"}})
    start = 'linux.resources.cpu.cpus: write "9999" to '
    assert str(caught.value).startswith(f"{start}{cgroup.paths()['cpuset']}/cpuset.cpus: ")
    assert str(caught.value) == str(caught.value).lower()


@pytest.mark.rows("R193")
def test_a_controller_that_the_host_lacks(cgroup: Cgroup, v1: Layout) -> None:
    if "net_cls" in v1.v1:
        pytest.skip("the host has net_cls")
    cgroup.create()
    with pytest.raises(CgroupError, match=r"^linux\.resources\.network\.classID: .*net_cls"):
        cgroup.apply({"network": {"classID": 5}})


# Updating


@pytest.mark.rows("R173", "R294")
def test_memory_and_swap_go_up_and_down(cgroup: Cgroup, v1: Layout) -> None:
    need(v1, "memory.memsw.limit_in_bytes")
    held: Resources = {"memory": {"limit": 64 * MIB, "swap": 64 * MIB}}
    cgroup.create(held)
    cgroup.apply(held)
    for limit, swap in ((256, 512), (32, 32), (512, 512), (-1, -1), (64, 128)):
        asked = {"limit": max(limit * MIB, -1), "swap": max(swap * MIB, -1)}
        held = cgroup.update(held, {"memory": asked})
        for file, value in (("limit", limit), ("memsw.limit", swap)):
            got = int(read(cgroup, f"memory.{file}_in_bytes"))
            assert got == value * MIB if value > 0 else got > 1 << 60
    assert held == {"memory": {"limit": 64 * MIB, "swap": 128 * MIB}}


@pytest.mark.rows("R181", "R182", "R183", "R294")
def test_quota_period_and_burst_in_any_direction(cgroup: Cgroup, v1: Layout) -> None:
    need(v1, "cpu.cfs_burst_us")
    held: Resources = {"cpu": {"quota": 20000, "period": 100000, "burst": 20000}}
    cgroup.create(held)
    cgroup.apply(held)
    for quota, period, burst in ((5000, 50000, 5000), (90000, 100000, 80000), (2000, 2000, 0)):
        asked = {"quota": quota, "period": period, "burst": burst}
        held = cgroup.update(held, {"cpu": asked})
        got = [read(cgroup, f"cpu.cfs_{name}_us") for name in ("quota", "period", "burst")]
        assert got == [str(quota), str(period), str(burst)]


@pytest.mark.rows("R186", "R294")
def test_shares_may_come_with_the_end_of_idle(cgroup: Cgroup, v1: Layout) -> None:
    need(v1, "cpu.idle")
    held: Resources = {"cpu": {"shares": 300, "idle": 1}}
    cgroup.create(held)
    cgroup.apply(held)
    assert read(cgroup, "cpu.idle") == "1"
    held = cgroup.update(held, {"cpu": {"shares": 400, "idle": 0}})
    assert (read(cgroup, "cpu.idle"), read(cgroup, "cpu.shares")) == ("0", "400")


@pytest.mark.rows("R1", "R294")
def test_a_refused_update_changes_nothing(cgroup: Cgroup) -> None:
    held: Resources = {"memory": {"limit": 64 * MIB}, "cpu": {"shares": 300}, "pids": {"limit": 5}}
    cgroup.create(held)
    cgroup.apply(held)
    files = ("memory.limit_in_bytes", "cpu.shares", "pids.max", "cpuset.cpus", "cpu.cfs_quota_us")
    before = [read(cgroup, file) for file in files]
    new = {
        "cpu": {"shares": 700, "cpus": "0", "quota": 50000},
        "memory": {"limit": 32 * MIB},
        "pids": {"limit": 1 << 40},
    }
    with pytest.raises(CgroupError, match=r"^linux\.resources\.pids\.limit: "):
        cgroup.update(held, new)
    assert [read(cgroup, file) for file in files] == before


@pytest.mark.rows("R1", "R294")
def test_a_wrong_update_writes_nothing(cgroup: Cgroup) -> None:
    cgroup.create()
    before = read(cgroup, "pids.max")
    with pytest.raises(CgroupError, match="swappiness"):
        cgroup.update({}, {"pids": {"limit": 5}, "memory": {"swappiness": 101}})
    assert read(cgroup, "pids.max") == before


@pytest.mark.rows("R170", "R294")
def test_devices_in_an_update_are_ignored(cgroup: Cgroup) -> None:
    cgroup.create()
    cgroup.apply({"devices": [rule(True, "b", 8, 0, "r")]})
    before = read(cgroup, "devices.list")
    held = cgroup.update({}, {"devices": [DENY_ALL], "pids": {"limit": 7}})
    assert read(cgroup, "devices.list") == before
    assert held == {"pids": {"limit": 7}}


# Devices


@pytest.mark.rows("R153", "R154", "R170")
@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (None, IMPLICIT),
        ([DENY_ALL], IMPLICIT),
        ([DENY_ALL, rule(True, "b", 8, None, "rw")], [*IMPLICIT, "b 8:* rw"]),
        ([{"allow": True, "access": "rwm"}], ["a *:* rwm"]),
    ],
)
def test_devices_list(cgroup: Cgroup, rules: Any, expected: list[str]) -> None:
    cgroup.create()
    cgroup.apply({"devices": rules})
    assert sorted(read(cgroup, "devices.list").splitlines()) == sorted(expected)


@pytest.mark.rows("R153", "R170")
def test_a_process_is_held_to_the_rules(cgroup: Cgroup) -> None:
    cgroup.create()
    cgroup.apply({"devices": [DENY_ALL, rule(True, "c", 1, 11, "r")]})
    fds = cgroup.open_procs()
    script = (
        "for fd in $0; do echo 0 >&$fd; done; : </dev/null && echo null;"
        " : </dev/kmsg && echo read; : 2>/dev/null >/dev/kmsg || echo refused"
    )
    got = subprocess.run(
        ["bash", "-c", script, " ".join(map(str, fds))],
        pass_fds=fds,
        capture_output=True,
        text=True,
        check=False,
    )
    for fd in fds:
        os.close(fd)
    assert got.stdout.split() == ["null", "read", "refused"], got.stderr


# Freezing and killing


@pytest.mark.rows("R163", "R161")
def test_freeze_stops_and_thaw_lets_go(cgroup: Cgroup, sleeper: Sleeper, until: Until) -> None:
    cgroup.create()
    process = sleeper()
    cgroup.join(process.pid)
    assert not cgroup.frozen()
    cgroup.freeze()
    assert cgroup.frozen()
    assert Directory(cgroup.paths()["freezer"]).read("freezer.state").strip() == "FROZEN"
    os.kill(process.pid, signal.SIGTERM)
    assert process.poll() is None
    cgroup.thaw()
    assert not cgroup.frozen()
    assert process.wait(30) == -signal.SIGTERM


@pytest.mark.rows("R292", "R307")
@pytest.mark.parametrize("frozen", [False, True])
def test_kill_reaches_all_and_delete_waits_for_them(
    cgroup: Cgroup, sleeper: Sleeper, frozen: bool
) -> None:
    cgroup.create()
    inner = cgroup.paths()["freezer"] + "/inner"
    os.mkdir(inner)
    processes = [sleeper() for _ in range(3)]
    for process in processes:
        cgroup.join(process.pid)
    Directory(inner).write("cgroup.procs", str(processes[0].pid))
    assert sorted(cgroup.processes()) == sorted(process.pid for process in processes)
    if frozen:
        cgroup.freeze()
    other = Cgroup.from_paths(cgroup.paths(), cgroup.made)
    other.kill()
    other.delete()
    assert [process.wait(30) for process in processes] == [-signal.SIGKILL] * 3
    assert not os.path.exists(cgroup.paths()["pids"])
    assert other.processes() == []
    other.kill()


@pytest.mark.rows("R292")
def test_kill_without_the_v2_hierarchy(v1: Layout, name: str, sleeper: Sleeper) -> None:
    cgroup = Cgroup(Layout(v1.v1, None), name)
    cgroup.create()
    process = sleeper()
    cgroup.join(process.pid)
    cgroup.kill()
    assert process.wait(30) == -signal.SIGKILL
    assert not cgroup.frozen()
    cgroup.delete()


@pytest.mark.rows("R292")
def test_kill_finds_who_left_the_v2_cgroup(cgroup: Cgroup, v1: Layout, sleeper: Sleeper) -> None:
    if not v1.v2:
        pytest.skip("needs a hybrid host")
    cgroup.create()
    process = sleeper()
    cgroup.join(process.pid)
    Directory(v1.v2).write("cgroup.procs", str(process.pid))
    cgroup.kill()
    assert process.wait(30) == -signal.SIGKILL


@pytest.mark.rows("R292")
def test_another_signal_leaves_a_paused_cgroup_paused(cgroup: Cgroup, sleeper: Sleeper) -> None:
    cgroup.create()
    process = sleeper()
    cgroup.join(process.pid)
    cgroup.freeze()
    cgroup.signal(signal.SIGTERM)
    assert cgroup.frozen()
    assert process.poll() is None
    cgroup.thaw()
    assert process.wait(30) == -signal.SIGTERM


# Without cgroups


@pytest.mark.rows("R290")
def test_disabled_cgroups_do_nothing_and_promise_nothing() -> None:
    none = NoCgroup()
    none.create({"pids": {"limit": 1}})
    none.apply({"pids": {"limit": 1}})
    none.join(1)
    none.kill()
    none.delete()
    assert (none.paths(), none.processes(), none.frozen(), none.made) == ({}, [], False, [])
    for refused in (none.freeze, none.thaw, lambda: none.update({}, {})):
        with pytest.raises(CgroupError, match="disabled"):
            refused()


def test_no_hierarchy_at_all() -> None:
    with pytest.raises(CgroupError, match="no cgroup hierarchy"):
        Cgroup(Layout({}, None), "/a")
    rootless = Cgroup(Layout({}, None), "/a", rootless=True)
    rootless.create()
    assert rootless.paths() == {}
    assert rootless.processes() == []
    rootless.delete()
