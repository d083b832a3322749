"""Cgroups: paths and limits, read back from the host's cgroup v1 hierarchies.

What has no v1 hierarchy on the host is skipped, with the name of what is missing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conformance.conftest import MakeContainer
from conformance.runtime import Container, cgroup_directories, wait_for
from conformance.test_mount_options import host_mountinfo, parse_mounts

UNLIMITED = 1 << 62


def hierarchies() -> dict[str, Path]:
    """Where the host has mounted each v1 controller."""
    found = {}
    for mount in parse_mounts(host_mountinfo()):
        if mount.kind == "cgroup":
            for controller in mount.data - {"rw", "ro", "xattr", "noprefix", "clone_children"}:
                found[controller.removeprefix("name=")] = Path(mount.target)
    return found


def hierarchy(controller: str) -> Path:
    """Where the controller is mounted; skips without it."""
    found = hierarchies()
    if controller not in found:
        pytest.skip(f"no cgroup v1 hierarchy with the controller {controller} on this host")
    return found[controller]


def unified_controllers() -> list[str]:
    """The controllers of cgroup v2, wherever that is mounted."""
    mounts = [mount for mount in parse_mounts(host_mountinfo()) if mount.kind == "cgroup2"]
    if not mounts:
        return []
    return (Path(mounts[0].target) / "cgroup.controllers").read_text().split()


def cgroups_of(pid: int | str) -> dict[str, str]:
    """The path of a process in the hierarchy of each v1 controller; "" is cgroup v2."""
    return parse_cgroups(Path(f"/proc/{pid}/cgroup").read_text())


def parse_cgroups(text: str) -> dict[str, str]:
    """The same of a text like that of /proc/self/cgroup."""
    paths = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            paths[controller.removeprefix("name=")] = path
    return paths


def joined(pid: int | str) -> dict[str, str]:
    """The same without v2 where that is not mounted: then a runtime cannot know of it."""
    return mounted(Path(f"/proc/{pid}/cgroup").read_text())


def mounted(text: str) -> dict[str, str]:
    """The same of a text like that of /proc/self/cgroup."""
    paths = parse_cgroups(text)
    if not any(mount.kind == "cgroup2" for mount in parse_mounts(host_mountinfo())):
        paths.pop("", None)
    return paths


def main_path(pid: int | str) -> str:
    """The path of a process where processes are counted: v1's pids, or v2."""
    paths = cgroups_of(pid)
    return paths.get("pids", paths.get("", ""))


def processes_file(container: Container) -> Path:
    """The list of processes where they are frozen: v1's freezer, or v2."""
    mounts = [mount for mount in parse_mounts(host_mountinfo()) if mount.kind == "cgroup2"]
    root = hierarchies().get("freezer") or Path(mounts[0].target)
    return root / container.bundle.cgroups_path.lstrip("/") / "cgroup.procs"


def setting_file(container: Container, name: str) -> Path:
    """The file of a setting in the container's cgroup; skips if the kernel has none such."""
    directory = hierarchy(name.split(".")[0])
    if not kernel_has(directory, name):
        pytest.skip(f"the kernel has no {name} in {directory}")
    return directory / container.bundle.cgroups_path.lstrip("/") / name


def kernel_has(directory: Path, name: str) -> bool:
    """Whether cgroups below the root of a hierarchy have the file: a new one tells."""
    if (directory / name).exists():
        return True
    probe = directory / f"conformance-probe-{os.getpid()}"
    probe.mkdir()
    try:
        return (probe / name).exists()
    finally:
        probe.rmdir()


def setting(container: Container, name: str) -> str:
    """Create the container; what the file says then."""
    file = setting_file(container, name)
    container.create()
    return file.read_text().strip()


# paths and membership


@pytest.mark.rows("R160", "R161", "R166")
def test_absolute_path(container: Container) -> None:
    """An absolute path is below the mount point, in every hierarchy; in that of v2, too."""
    container.create()
    paths = joined(container.pid)
    assert set(paths.values()) == {container.bundle.cgroups_path}
    assert set(hierarchies()) <= set(paths)


@pytest.mark.rows("R160")
def test_nested_path(container: Container) -> None:
    """Groups on the way are made; deletion takes away the last of them."""
    outer = container.bundle.cgroups_path
    container.bundle.linux["cgroupsPath"] = f"{outer}/middle/inner"
    try:
        container.create()
        assert main_path(container.pid) == f"{outer}/middle/inner"
        container.stop().delete()
        assert cgroup_directories(f"{outer}/middle/inner") == []
    finally:
        container.clean()
        container.bundle.linux["cgroupsPath"] = outer


@pytest.mark.rows("R160")
@pytest.mark.departs("crun", "R160: leaves the dots to the kernel")
def test_path_that_is_not_clean(container: Container) -> None:
    """Dots do not lead out of where the path belongs."""
    path = container.bundle.cgroups_path
    container.bundle.linux["cgroupsPath"] = f"/../x/../..{path}/."
    try:
        container.create()
        assert main_path(container.pid) == path
    finally:
        container.clean()
        container.bundle.linux["cgroupsPath"] = path


@pytest.mark.rows("R160")
@pytest.mark.parametrize("configured", [False, True], ids=["absent", "relative"])
def test_path_that_the_runtime_chooses(make_container: MakeContainer, configured: bool) -> None:
    """The same id, or the same relative path, leads to the same cgroup each time."""
    container = make_container()
    name = container.bundle.cgroups_path.lstrip("/")
    del container.bundle.linux["cgroupsPath"]
    if configured:
        container.bundle.linux["cgroupsPath"] = name
    seen = []
    for _ in range(2):
        container.create()
        seen.append(set(joined(container.pid).values()) | {main_path(container.pid)})
        path = main_path(container.pid)
        container.stop().delete()
    assert seen[0] == seen[1]
    assert (name if configured else container.id) in path
    assert [cgroup_directories(each) for each in seen[0]] == [[]] * len(seen[0])


@pytest.mark.rows("R161")
def test_the_process_begins_in_its_cgroup(container: Container) -> None:
    """The first that the process can see of itself is its cgroup."""
    container.bundle.sh("cat /proc/self/cgroup")
    paths = mounted(container.finish())
    assert set(paths.values()) == {container.bundle.cgroups_path}


@pytest.mark.rows("R161", "R291")
def test_exec_is_in_the_cgroup(container: Container) -> None:
    """A process of exec is in the same groups."""
    container.create().start()
    result = container.exec("cat", "/proc/self/cgroup")
    assert result.status == 0, str(result)
    paths = mounted(result.stdout)
    assert set(paths.values()) == {container.bundle.cgroups_path}


@pytest.mark.rows("R161")
def test_no_other_process_is_in_the_cgroup(container: Container) -> None:
    """After create only the init is in the group: nothing of the runtime stays."""
    container.create()
    for directory in cgroup_directories(container.bundle.cgroups_path):
        processes = (directory / "cgroup.procs").read_text().split()
        assert processes in ([str(container.pid)], []), directory


@pytest.mark.rows("R39", "R160")
def test_delete_removes_the_cgroup(container: Container) -> None:
    """And what the container has made below it."""
    container.create()
    for directory in cgroup_directories(container.bundle.cgroups_path):
        (directory / "below/more").mkdir(parents=True)
    container.stop().delete()
    assert cgroup_directories(container.bundle.cgroups_path) == []


@pytest.fixture
def frozen(container: Container) -> Iterator[Path]:
    """The container's cgroup, frozen before the container is there."""
    path = hierarchy("freezer") / container.bundle.cgroups_path.lstrip("/")
    path.mkdir()
    (path / "freezer.state").write_text("FROZEN")
    yield path
    if path.exists():
        (path / "freezer.state").write_text("THAWED")


@pytest.mark.rows("R163", "R36")
@pytest.mark.departs("crun", "R163: no such check, it waits")
def test_frozen_cgroup(container: Container, frozen: Path) -> None:
    """In a frozen cgroup nothing could run: an error, not a wait without end."""
    result = container.try_create()
    assert result.status == 1, str(result)
    assert result.stderr.strip()


@pytest.mark.rows("R164")
def test_owner_on_v1(container: Container) -> None:
    """The groups of v1 belong to root, whoever the process is."""
    container.bundle.process["user"] = {"uid": 1000, "gid": 1000}
    container.bundle.namespace("cgroup")
    container.bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", ["nosuid"])
    container.create()
    for mount in hierarchies().values():
        path = mount / container.bundle.cgroups_path.lstrip("/")
        assert [path.stat().st_uid, (path / "cgroup.procs").stat().st_uid] == [0, 0]


# limits

MEMORY = 64 << 20


@pytest.mark.rows("R162")
def test_no_resources(container: Container) -> None:
    """Without resources nothing is limited."""
    container.create()
    assert setting_file(container, "pids.max").read_text().strip() == "max"
    assert int(setting_file(container, "memory.limit_in_bytes").read_text()) > UNLIMITED
    assert setting_file(container, "cpu.shares").read_text().strip() == "1024"
    assert setting_file(container, "cpu.cfs_quota_us").read_text().strip() == "-1"


@pytest.mark.rows("R162")
@pytest.mark.parametrize("section", ["memory", "cpu", "pids", "blockIO"])
def test_empty_section(container: Container, section: str) -> None:
    """An empty section limits nothing."""
    container.bundle.resources[section] = {} if section != "pids" else {"limit": -1}
    assert setting(container, "pids.max") == "max"
    assert int(setting_file(container, "memory.limit_in_bytes").read_text()) > UNLIMITED


MEMORY_SETTINGS = [
    pytest.param(
        {"limit": MEMORY}, "memory.limit_in_bytes", MEMORY, marks=pytest.mark.rows("R171")
    ),
    pytest.param(
        {"reservation": MEMORY},
        "memory.soft_limit_in_bytes",
        MEMORY,
        marks=pytest.mark.rows("R172"),
    ),
    pytest.param(
        {"limit": MEMORY, "swap": 2 * MEMORY},
        "memory.memsw.limit_in_bytes",
        2 * MEMORY,
        marks=pytest.mark.rows("R173"),
    ),
    pytest.param(
        {"limit": MEMORY, "swap": MEMORY},
        "memory.memsw.limit_in_bytes",
        MEMORY,
        marks=pytest.mark.rows("R173"),
    ),
    pytest.param({"swappiness": 0}, "memory.swappiness", 0, marks=pytest.mark.rows("R176")),
    pytest.param({"swappiness": 60}, "memory.swappiness", 60, marks=pytest.mark.rows("R176")),
    pytest.param({"swappiness": 100}, "memory.swappiness", 100, marks=pytest.mark.rows("R176")),
    pytest.param({"useHierarchy": True}, "memory.use_hierarchy", 1, marks=pytest.mark.rows("R178")),
    pytest.param(
        {"limit": MEMORY, "checkBeforeUpdate": True},
        "memory.limit_in_bytes",
        MEMORY,
        marks=pytest.mark.rows("R179"),
    ),
]


@pytest.mark.parametrize(("memory", "name", "value"), MEMORY_SETTINGS)
def test_memory(container: Container, memory: dict[str, Any], name: str, value: int) -> None:
    """The limits are in the files of the memory controller."""
    container.bundle.resources["memory"] = memory
    assert int(setting(container, name)) == value


@pytest.mark.parametrize(
    ("memory", "name"),
    [
        pytest.param({"limit": -1}, "memory.limit_in_bytes", marks=pytest.mark.rows("R171")),
        pytest.param(
            {"reservation": -1}, "memory.soft_limit_in_bytes", marks=pytest.mark.rows("R172")
        ),
        pytest.param(
            {"limit": -1, "swap": -1},
            "memory.memsw.limit_in_bytes",
            marks=pytest.mark.rows("R173"),
        ),
        pytest.param(
            {"limit": MEMORY, "swap": -1},
            "memory.memsw.limit_in_bytes",
            marks=pytest.mark.rows("R173"),
        ),
    ],
)
def test_unlimited_memory(container: Container, memory: dict[str, Any], name: str) -> None:
    """-1 is no limit."""
    container.bundle.resources["memory"] = memory
    assert int(setting(container, name)) > UNLIMITED


@pytest.mark.rows("R171", "R7")
def test_large_limit(container: Container) -> None:
    """A number of more than 53 bits arrives as it is."""
    container.bundle.resources["memory"] = {"reservation": 9007199254744992 + 4096}
    file = setting_file(container, "memory.soft_limit_in_bytes")
    container.create()
    page = os.sysconf("SC_PAGE_SIZE")
    assert int(file.read_text()) == (9007199254744992 + 4096) // page * page


@pytest.mark.rows("R177")
@pytest.mark.parametrize("disabled", [False, True])
def test_oom_killer(container: Container, disabled: bool) -> None:
    """The OOM killer can be switched off."""
    container.bundle.resources["memory"] = {"limit": MEMORY, "disableOOMKiller": disabled}
    words = setting(container, "memory.oom_control").split()
    assert words[words.index("oom_kill_disable") + 1] == str(int(disabled))


@pytest.mark.rows("R174", "R175")
@pytest.mark.parametrize("name", ["kernel", "kernelTCP"])
def test_kernel_memory(container: Container, name: str) -> None:
    """The limits that are not recommended do not make a create fail on v1."""
    container.bundle.resources["memory"] = {"limit": MEMORY, name: MEMORY}
    assert int(setting(container, "memory.limit_in_bytes")) == MEMORY


CRUN_RANGES = pytest.mark.departs("crun", "R4: leaves ranges to the kernel, which takes this")
CRUN_TEXTS = pytest.mark.departs("crun", "R4: reads what it can of a text that is no number")


@pytest.mark.rows("R36")
@pytest.mark.parametrize(
    "memory",
    [
        pytest.param({"swappiness": 101}, marks=[pytest.mark.rows("R176"), CRUN_RANGES]),
        pytest.param(
            {"swap": MEMORY},
            marks=pytest.mark.rows("R173"),
        ),
        pytest.param({"limit": 2 * MEMORY, "swap": MEMORY}, marks=pytest.mark.rows("R173")),
        pytest.param({"limit": "64M"}, marks=[pytest.mark.rows("R171", "R4"), CRUN_TEXTS]),
        pytest.param({"limit": 1.5}, marks=pytest.mark.rows("R171", "R4")),
    ],
)
def test_invalid_memory(container: Container, memory: dict[str, Any]) -> None:
    """Values that contradict each other or are out of range are errors."""
    hierarchy("memory")
    container.bundle.resources["memory"] = memory
    container.refused()


@pytest.mark.rows("R171")
def test_memory_limit_holds(container: Container) -> None:
    """A process that takes more is killed."""
    setting_file(container, "memory.limit_in_bytes")
    container.bundle.resources["memory"] = {"limit": MEMORY, "swap": MEMORY}
    container.bundle.args("/bin/dd", "if=/dev/zero", "of=/dev/null", "bs=512M", "count=1")
    container.create().start()
    assert container.exit_status() == 128 + 9


NO_BURST = pytest.mark.departs("runc<1.2", "R183: not yet known")
NO_IDLE = pytest.mark.departs("runc<1.2", "R186: not yet known")


@pytest.mark.parametrize(
    ("cpu", "name", "value"),
    [
        pytest.param({"shares": 512}, "cpu.shares", "512", marks=pytest.mark.rows("R180")),
        pytest.param({"shares": 2}, "cpu.shares", "2", marks=pytest.mark.rows("R180")),
        pytest.param({"shares": 262144}, "cpu.shares", "262144", marks=pytest.mark.rows("R180")),
        pytest.param({"quota": 50000}, "cpu.cfs_quota_us", "50000", marks=pytest.mark.rows("R181")),
        pytest.param({"quota": -1}, "cpu.cfs_quota_us", "-1", marks=pytest.mark.rows("R181")),
        pytest.param(
            {"period": 50000}, "cpu.cfs_period_us", "50000", marks=pytest.mark.rows("R182")
        ),
        pytest.param(
            {"quota": 500000, "period": 1000000},
            "cpu.cfs_period_us",
            "1000000",
            marks=pytest.mark.rows("R182"),
        ),
        pytest.param(
            {"quota": 2000, "period": 1000},
            "cpu.cfs_quota_us",
            "2000",
            marks=pytest.mark.rows("R181", "R182"),
        ),
        pytest.param(
            {"quota": 50000, "burst": 20000},
            "cpu.cfs_burst_us",
            "20000",
            marks=[pytest.mark.rows("R183"), NO_BURST],
        ),
        pytest.param({"idle": 1}, "cpu.idle", "1", marks=[pytest.mark.rows("R186"), NO_IDLE]),
        pytest.param(
            {"idle": 0, "shares": 700}, "cpu.shares", "700", marks=pytest.mark.rows("R186")
        ),
        pytest.param({"cpus": "0"}, "cpuset.cpus", "0", marks=pytest.mark.rows("R185")),
        pytest.param({"mems": "0"}, "cpuset.mems", "0", marks=pytest.mark.rows("R185")),
    ],
)
def test_cpu(container: Container, cpu: dict[str, Any], name: str, value: str) -> None:
    """The limits are in the files of cpu and cpuset."""
    container.bundle.resources["cpu"] = cpu
    assert setting(container, name) == value


@pytest.mark.rows("R185")
def test_cpuset_without_limits(container: Container) -> None:
    """A new cpuset has the parent's CPUs and nodes, or nothing could run in it."""
    container.create()
    root = hierarchy("cpuset")
    for name in ("cpuset.cpus", "cpuset.mems"):
        assert setting_file(container, name).read_text() == (root / name).read_text()


@pytest.mark.rows("R185")
def test_cpuset_holds(container: Container) -> None:
    """The process may run on the listed CPUs only."""
    hierarchy("cpuset")
    container.bundle.resources["cpu"] = {"cpus": "0"}
    container.bundle.sh("grep Cpus_allowed_list /proc/self/status")
    assert container.finish().split()[1] == "0"


@pytest.mark.rows("R185")
def test_nested_cpuset(container: Container) -> None:
    """Groups on the way get CPUs and nodes as well."""
    hierarchy("cpuset")
    outer = container.bundle.cgroups_path
    container.bundle.linux["cgroupsPath"] = f"{outer}/inner"
    container.bundle.resources["cpu"] = {"cpus": "0"}
    try:
        assert setting(container, "cpuset.cpus") == "0"
    finally:
        container.clean()
        container.bundle.linux["cgroupsPath"] = outer


@pytest.mark.rows("R184")
@pytest.mark.parametrize(
    ("name", "member", "value"),
    [("cpu.rt_period_us", "realtimePeriod", 500000), ("cpu.rt_runtime_us", "realtimeRuntime", 0)],
)
def test_realtime(container: Container, name: str, member: str, value: int) -> None:
    """Period and run time of realtime processes."""
    container.bundle.resources["cpu"] = {member: value}
    assert int(setting(container, name)) == value


@pytest.mark.rows("R36", "R4")
@pytest.mark.parametrize(
    "cpu",
    [
        pytest.param({"shares": 1}, marks=[pytest.mark.rows("R180"), CRUN_RANGES]),
        pytest.param({"shares": 999999}, marks=[pytest.mark.rows("R180"), CRUN_RANGES]),
        pytest.param({"period": 999}, marks=pytest.mark.rows("R182")),
        pytest.param({"period": 1000001}, marks=pytest.mark.rows("R182")),
        pytest.param({"quota": 1}, marks=pytest.mark.rows("R181")),
        pytest.param({"quota": 10000, "burst": 20000}, marks=[pytest.mark.rows("R183"), NO_BURST]),
        pytest.param({"cpus": "5000"}, marks=pytest.mark.rows("R185")),
        pytest.param({"cpus": "x"}, marks=pytest.mark.rows("R185")),
        pytest.param({"mems": "900"}, marks=pytest.mark.rows("R185")),
        pytest.param({"idle": 7}, marks=[pytest.mark.rows("R186"), NO_IDLE]),
        pytest.param({"shares": -1}, marks=[pytest.mark.rows("R180"), CRUN_RANGES]),
    ],
)
def test_invalid_cpu(container: Container, cpu: dict[str, Any]) -> None:
    """What the kernel refuses, or silently changes, is an error."""
    hierarchy("cpu")
    container.bundle.resources["cpu"] = cpu
    container.refused()


@pytest.mark.rows("R187")
@pytest.mark.parametrize(("limit", "value"), [(100, "100"), (-1, "max"), (1, "1")])
def test_pids(container: Container, limit: int, value: str) -> None:
    """The number of tasks; -1 is no limit."""
    container.bundle.resources["pids"] = {"limit": limit}
    if container.runtime.name == "runc" and limit == 1:
        pytest.xfail("R187: its init has threads, which count")
    assert setting(container, "pids.max") == value


@pytest.mark.rows("R187")
@pytest.mark.departs("runc<1.4", "R187: 0 is no limit")
@pytest.mark.departs("crun", "R187: 0 is no limit")
def test_no_pids(container: Container) -> None:
    """0 is a limit: the process runs, and cannot fork. Before 1.3 it could mean none."""
    container.bundle.config["ociVersion"] = "1.3.0"
    container.bundle.resources["pids"] = {"limit": 0}
    assert setting(container, "pids.max") in ("0", "1")


@pytest.mark.rows("R187")
def test_pids_limit_holds(container: Container) -> None:
    """Beyond the limit no process is made."""
    setting_file(container, "pids.max")
    container.bundle.resources["pids"] = {"limit": 20}
    container.bundle.sh(
        "i=0; while [ $i -lt 40 ]; do sleep 1000 & i=$((i + 1)); done; echo all are there"
    )
    container.create().start().wait_stopped()
    assert "all are there" not in container.output()


def a_disk() -> str:
    """The numbers of a whole disk of the host, such as "254:0"."""
    for disk in sorted(Path("/sys/block").iterdir()):
        if not disk.name.startswith(("loop", "ram", "zram", "sr")):
            return (disk / "dev").read_text().strip()
    pytest.skip("the host has no disk but loop and memory devices")


THROTTLE = {
    "throttleReadBpsDevice": "blkio.throttle.read_bps_device",
    "throttleWriteBpsDevice": "blkio.throttle.write_bps_device",
    "throttleReadIOPSDevice": "blkio.throttle.read_iops_device",
    "throttleWriteIOPSDevice": "blkio.throttle.write_iops_device",
}


@pytest.mark.rows("R191")
@pytest.mark.parametrize("member", THROTTLE)
def test_throttle(container: Container, member: str) -> None:
    """Rates for one device."""
    disk = a_disk()
    major, minor = (int(number) for number in disk.split(":"))
    container.bundle.resources["blockIO"] = {
        member: [{"major": major, "minor": minor, "rate": 1048576}]
    }
    assert setting(container, THROTTLE[member]) == f"{disk} 1048576"


@pytest.mark.rows("R191", "R36")
def test_throttle_of_no_device(container: Container) -> None:
    """Numbers that no disk has are an error."""
    hierarchy("blkio")
    container.bundle.resources["blockIO"] = {
        "throttleReadBpsDevice": [{"major": 4000, "minor": 1, "rate": 1}]
    }
    container.refused()


@pytest.mark.rows("R188")
def test_block_weight(container: Container) -> None:
    """The weight is in blkio.weight, or in that of BFQ."""
    directory = hierarchy("blkio")
    names = [n for n in ("blkio.weight", "blkio.bfq.weight") if kernel_has(directory, n)]
    if not names:
        pytest.skip("the kernel has no file for weights of block devices")
    container.bundle.resources["blockIO"] = {"weight": 300}
    assert setting(container, names[0]).split()[-1] == "300"


@pytest.mark.rows("R188", "R36")
@pytest.mark.parametrize("weight", [9, 1001])
def test_invalid_block_weight(container: Container, weight: int) -> None:
    """Weights are from 10 to 1000."""
    directory = hierarchy("blkio")
    if (
        weight == 9
        and kernel_has(directory, "blkio.bfq.weight")
        and container.runtime.name in ("runc", "crun")
    ):
        pytest.xfail("R188: the kernel's BFQ takes 1 to 1000")
    container.bundle.resources["blockIO"] = {"weight": weight}
    container.refused()


@pytest.mark.rows("R190", "R36")
@pytest.mark.departs("runc", "R190: silently ignored")
@pytest.mark.departs("crun", "R190: no such check")
def test_weight_of_a_device_without_a_weight(container: Container) -> None:
    """An entry needs one of the two weights."""
    container.bundle.resources["blockIO"] = {"weightDevice": [{"major": 7, "minor": 0}]}
    container.refused()


@pytest.mark.rows("R192", "R36")
@pytest.mark.parametrize("size", ["2", "MB", "../x", "0MB", "2 MB", "-2MB", "7KB"])
def test_invalid_page_size(container: Container, size: str) -> None:
    """A page size is a number and a unit, and one that the host has."""
    container.bundle.resources["hugepageLimits"] = [{"pageSize": size, "limit": 4194304}]
    container.refused()


@pytest.mark.rows("R195", "R36")
@pytest.mark.departs("crun", "R195: ignores rdma")
def test_rdma_without_a_limit(container: Container) -> None:
    """An entry needs one of the two limits."""
    container.bundle.resources["rdma"] = {"mlx5_1": {}}
    container.refused()


MISSING_CONTROLLERS = [
    pytest.param("net_cls", {"network": {"classID": 1048577}}, marks=pytest.mark.rows("R193")),
    pytest.param(
        "net_prio",
        {"network": {"priorities": [{"name": "lo", "priority": 5}]}},
        marks=pytest.mark.rows("R194"),
    ),
    pytest.param(
        "rdma",
        {"rdma": {"mlx5_1": {"hcaHandles": 3}}},
        marks=[
            pytest.mark.rows("R195"),
            pytest.mark.departs("crun", "R195: ignores rdma"),
        ],
    ),
    pytest.param(
        "hugetlb",
        {"hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}]},
        marks=pytest.mark.rows("R192"),
    ),
]


@pytest.mark.rows("R4", "R36")
@pytest.mark.parametrize(("controller", "resources"), MISSING_CONTROLLERS)
def test_limit_without_its_controller(
    container: Container, controller: str, resources: dict[str, Any]
) -> None:
    """A limit that nothing can keep is an error."""
    if controller in hierarchies() or controller in unified_controllers():
        pytest.skip(f"this host has the controller {controller}")
    container.bundle.resources.update(resources)
    container.refused()


@pytest.mark.rows("R193")
def test_class_id(container: Container) -> None:
    """The class of network packets."""
    container.bundle.resources["network"] = {"classID": 1048577}
    assert setting(container, "net_cls.classid") == "1048577"


@pytest.mark.rows("R194")
def test_network_priorities(container: Container) -> None:
    """Priorities are of the interfaces of the runtime's network namespace."""
    container.bundle.resources["network"] = {"priorities": [{"name": "lo", "priority": 5}]}
    assert "lo 5" in setting(container, "net_prio.ifpriomap").splitlines()


@pytest.mark.rows("R196", "R36")
def test_unified_on_v1(container: Container) -> None:
    """Settings of v2 cannot be made on v1."""
    hierarchy("memory")
    container.bundle.resources["unified"] = {"memory.max": "67108864"}
    container.refused()


# devices, as the kernel lists them


@pytest.mark.rows("R170")
def test_devices_list(container: Container) -> None:
    """After "deny all" the list has the rules, and the default devices."""
    container.bundle.resources["devices"] = [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"},
        {"allow": True, "type": "b", "major": 7, "access": "r"},
    ]
    lines = setting(container, "devices.list").splitlines()
    assert {"c 10:229 rw", "b 7:* r"} <= {line.replace("wr", "rw") for line in lines}
    assert "a *:* rwm" not in lines
    for numbers in ("1:3", "1:5", "1:7", "1:8", "1:9", "5:0"):
        assert f"c {numbers} rwm" in lines


@pytest.mark.rows("R170")
@pytest.mark.parametrize("access", ["rwm", ""])
def test_all_devices(container: Container, access: str) -> None:
    """The type `a` stands for all devices, in both directions."""
    rule = {"allow": True, "type": "a", "access": access or "rwm"}
    container.bundle.resources["devices"] = [{"allow": False, "access": "rwm"}, rule]
    assert setting(container, "devices.list") == "a *:* rwm"


@pytest.mark.rows("R170", "R161")
def test_devices_of_another_container_stay(make_container: MakeContainer) -> None:
    """The rules of one container do not touch another, nor the host."""
    one, two = make_container(), make_container()
    two.bundle.resources["devices"] = [{"allow": False, "access": "rwm"}]
    one.bundle.resources["devices"] = [{"allow": True, "access": "rwm"}]
    assert setting(one, "devices.list") == "a *:* rwm"
    assert setting(two, "devices.list") != "a *:* rwm"
    wait_for(lambda: setting_file(one, "devices.list").read_text() == "a *:* rwm\n", "as before")
    assert (hierarchy("devices") / "devices.list").read_text() == "a *:* rwm\n"
