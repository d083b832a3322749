"""linux.resources on cgroup v2: each limit is read back from the file that keeps it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conformance.bundle import Bundle
from conformance.runtime import Container, cgroup_directories
from conformance.unified import (
    controllers,
    directory,
    kernel_has,
    mount_point,
    need,
    need_file,
    path_in,
    setting,
)

MIB = 1 << 20
MEMORY = 64 * MIB
IGNORED = pytest.mark.departs("runc", "R174 to R178, R184, R189, R193: silently ignored on v2")
WEIGHTS = pytest.mark.departs("runc<1.3.2", "R180: another formula")
OLD_WEIGHTS = pytest.mark.departs("crun<1.23", "R180: another formula")
NO_BURST = pytest.mark.departs("runc<1.2", "R183, R186: not yet known")
NO_FLAG = pytest.mark.departs("crun", "R294: update has no such option")


@pytest.fixture(autouse=True)
def unified() -> Path:
    """Skip where the controllers are not on v2."""
    return mount_point()


def create(container: Container, **resources: Any) -> Container:
    """Create the container with these resources."""
    container.bundle.resources.update(resources)
    return container.create()


def refused(container: Container, **resources: Any) -> str:
    """Create with these resources, which must fail and leave nothing; the error."""
    container.bundle.resources.update(resources)
    return container.refused()


def update(container: Container, resources: dict[str, Any]) -> None:
    """Update by a document, which must succeed."""
    container.runtime.ok("update", "-r", "-", container.id, stdin=json.dumps(resources))


@pytest.mark.rows("R162")
def test_no_limits(container: Container) -> None:
    container.create()
    for file, value in (
        ("memory.max", "max"),
        ("memory.swap.max", "max"),
        ("memory.low", "0"),
        ("memory.high", "max"),
        ("cpu.max", "max 100000"),
        ("cpu.weight", "100"),
        ("cpuset.cpus", ""),
        ("cpuset.mems", ""),
        ("pids.max", "max"),
        ("io.max", ""),
    ):
        if kernel_has(file):
            assert (file, setting(container, file)) == (file, value)


# memory

LIMIT_OF_NOUGHT = pytest.mark.departs("crun", "R171: sets 0, and the container is killed")
NO_LIMIT = pytest.mark.departs("runc", "R173: wants a limit of the memory, too")


@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        pytest.param(memory, expected, marks=[pytest.mark.rows(*rows.split()), *marks])
        for memory, expected, rows, marks in [
            ({"limit": MEMORY}, {"max": MEMORY, "swap.max": "max"}, "R171", []),
            ({"limit": -1}, {"max": "max", "swap.max": "max"}, "R171", []),
            ({"limit": 0}, {"max": "max"}, "R171", [LIMIT_OF_NOUGHT]),
            ({"limit": MEMORY + 5}, {"max": MEMORY}, "R171", []),  # the kernel counts in pages
            ({"reservation": MEMORY}, {"low": MEMORY, "max": "max"}, "R172", []),
            ({"limit": MEMORY, "swap": 3 * MEMORY}, {"swap.max": 2 * MEMORY}, "R173", []),
            ({"limit": MEMORY, "swap": MEMORY}, {"swap.max": 0, "max": MEMORY}, "R173", []),
            ({"limit": MEMORY, "swap": -1}, {"swap.max": "max", "max": MEMORY}, "R173", []),
            ({"limit": -1, "swap": -1}, {"swap.max": "max", "max": "max"}, "R173", []),
            ({"limit": -1, "swap": MEMORY}, {"swap.max": MEMORY, "max": "max"}, "R173", [NO_LIMIT]),
            ({"limit": MEMORY, "disableOOMKiller": False}, {"max": MEMORY}, "R177", []),
            ({"limit": MEMORY, "checkBeforeUpdate": True}, {"max": MEMORY}, "R179", []),
        ]
    ],
)
def test_memory(container: Container, memory: dict[str, Any], expected: dict[str, Any]) -> None:
    need("memory")
    for file in expected:
        need_file(f"memory.{file}")
    create(container, memory=memory)
    found = {file: setting(container, f"memory.{file}") for file in expected}
    assert found == {file: str(value) for file, value in expected.items()}


@pytest.mark.rows("R172")
@pytest.mark.departs("crun", "R172: writes -1 as an unsigned number")
def test_unlimited_reservation(container: Container) -> None:
    need("memory")
    create(container, memory={"reservation": -1})
    assert setting(container, "memory.low") == "max"


@pytest.mark.rows("R178")
@pytest.mark.departs("crun", "R178: refuses what v2 always does")
def test_hierarchy_is_what_v2_has(container: Container) -> None:
    need("memory")
    create(container, memory={"limit": MEMORY, "useHierarchy": True})
    assert setting(container, "memory.max") == str(MEMORY)


BELOW_NOUGHT = pytest.mark.departs("crun", "R171: every negative number is no limit")


@pytest.mark.rows("R36", "R4")
@pytest.mark.parametrize(
    "memory",
    [
        pytest.param({"swap": MEMORY}, marks=pytest.mark.rows("R173")),
        pytest.param({"limit": 2 * MEMORY, "swap": MEMORY}, marks=pytest.mark.rows("R173")),
        pytest.param({"limit": -5}, marks=[pytest.mark.rows("R171"), BELOW_NOUGHT]),
        pytest.param({"kernel": MEMORY}, marks=[pytest.mark.rows("R174"), IGNORED]),
        pytest.param({"kernelTCP": MEMORY}, marks=[pytest.mark.rows("R175"), IGNORED]),
        pytest.param({"swappiness": 60}, marks=[pytest.mark.rows("R176"), IGNORED]),
        pytest.param({"swappiness": 0}, marks=[pytest.mark.rows("R176"), IGNORED]),
        pytest.param({"disableOOMKiller": True}, marks=[pytest.mark.rows("R177"), IGNORED]),
        pytest.param({"useHierarchy": False}, marks=[pytest.mark.rows("R178"), IGNORED]),
    ],
)
def test_invalid_memory(container: Container, memory: dict[str, Any]) -> None:
    """What contradicts itself, or what only v1 has."""
    need("memory")
    error = refused(container, memory=memory)
    if container.runtime.name == "pyruntime":
        assert "memory." in error


@pytest.mark.rows("R171")
def test_memory_limit_holds(container: Container) -> None:
    """A process that takes more is killed, and the file of events tells."""
    need("memory")
    container.bundle.args("/bin/dd", "if=/dev/zero", "of=/dev/null", "bs=512M", "count=1")
    create(container, memory={"limit": 16 * MIB, "swap": 16 * MIB}).start()
    assert container.exit_status() == 128 + 9
    assert "oom_kill 1" in setting(container, "memory.events").splitlines()


@pytest.mark.rows("R173")
def test_swap_limit_holds(container: Container) -> None:
    """On a host that swaps, what does not fit into memory is in swap, up to the limit."""
    need_file("memory.swap.max")
    if len(Path("/proc/swaps").read_text().splitlines()) < 2:
        pytest.skip("the host has no swap")
    container.bundle.args("/bin/dd", "if=/dev/zero", "of=/dev/null", "bs=24M", "count=1")
    create(container, memory={"limit": 16 * MIB, "swap": 64 * MIB}).start()
    assert container.exit_status() == 0
    assert int(setting(container, "memory.swap.peak")) > 4 * MIB


@pytest.mark.rows("R179", "R294", "R1")
@pytest.mark.departs("crun", "R179: not in every version")
@pytest.mark.departs("runc", "R179: best effort")
def test_a_limit_below_what_is_in_use(container: Container) -> None:
    """With checkBeforeUpdate the update is refused, and changes nothing."""
    need("memory")
    container.bundle.sh("head -c 20000000 /dev/zero >/dev/shm/file; echo ready; sleep 1000")
    create(container, memory={"limit": MEMORY}).start()
    container.wait_output("ready")
    asked = {"memory": {"limit": 10 * MIB, "checkBeforeUpdate": True}, "pids": {"limit": 7}}
    result = container.runtime.refused("update", "-r", "-", container.id, stdin=json.dumps(asked))
    assert "memory.limit" in result.stderr
    assert setting(container, "memory.max") == str(MEMORY)
    assert setting(container, "pids.max") == "max"
    assert container.status() == "running"


# cpu and cpuset

SHARES = {2: 1, 10: 4, 100: 17, 128: 21, 256: 35, 512: 59, 1024: 100, 2048: 174, 4096: 303}
LARGE_SHARES = {8192: 532, 65536: 3023, 262143: 10000, 262144: 10000}


@WEIGHTS
@OLD_WEIGHTS
@pytest.mark.rows("R180", "R294")
def test_every_weight(container: Container) -> None:
    """Shares of v1 become the weight of the same rank on v2; by create, then by update."""
    need("cpu")
    create(container, cpu={"shares": 2})
    found = {2: int(setting(container, "cpu.weight"))}
    expected = SHARES | LARGE_SHARES
    for shares in expected:
        update(container, {"cpu": {"shares": shares}})
        found[shares] = int(setting(container, "cpu.weight"))
    assert found == expected


@pytest.mark.parametrize(
    ("cpu", "file", "value"),
    [
        pytest.param(*case, marks=[pytest.mark.rows(row), *marks])
        for *case, row, marks in [
            ({"shares": 0}, "cpu.weight", "100", "R180", []),
            ({"quota": 50000}, "cpu.max", "50000 100000", "R181", []),
            ({"quota": -1}, "cpu.max", "max 100000", "R181", []),
            ({"quota": 0, "period": 50000}, "cpu.max", "max 50000", "R182", []),
            ({"quota": -1, "period": 50000}, "cpu.max", "max 50000", "R182", []),
            ({"quota": 500000, "period": 1000000}, "cpu.max", "500000 1000000", "R182", []),
            ({"quota": 2000, "period": 1000}, "cpu.max", "2000 1000", "R182", []),
            ({"quota": 50000, "burst": 20000}, "cpu.max.burst", "20000", "R183", [NO_BURST]),
            ({"quota": 50000, "burst": 0}, "cpu.max.burst", "0", "R183", [NO_BURST]),
            ({"idle": 1}, "cpu.idle", "1", "R186", [NO_BURST]),
            ({"idle": 0, "shares": 2048}, "cpu.weight", "174", "R186", [WEIGHTS, OLD_WEIGHTS]),
            ({"cpus": "0"}, "cpuset.cpus", "0", "R185", []),
            ({"cpus": "0"}, "cpuset.cpus.effective", "0", "R185", []),
            ({"mems": "0"}, "cpuset.mems", "0", "R185", []),
        ]
    ],
)
def test_cpu(container: Container, cpu: dict[str, Any], file: str, value: str) -> None:
    need_file(file)
    create(container, cpu=cpu)
    assert setting(container, file) == value


@pytest.mark.rows("R183", "R294")
@NO_BURST
@pytest.mark.departs("crun", "R183: writes the quota first, always")
def test_burst_rises_and_falls_with_its_quota(container: Container) -> None:
    """Neither may be written first in every case: a burst never exceeds the quota."""
    need_file("cpu.max.burst")
    create(container, cpu={"quota": 20000, "burst": 10000})
    for quota, burst in ((50000, 40000), (5000, 4000), (60000, 0)):
        update(container, {"cpu": {"quota": quota, "burst": burst}})
        assert setting(container, "cpu.max") == f"{quota} 100000"
        assert setting(container, "cpu.max.burst") == str(burst)


@pytest.mark.rows("R186", "R294")
@NO_BURST
@pytest.mark.departs("crun", "R186: writes the weight first, always")
def test_idle_comes_and_goes(container: Container) -> None:
    """While a cgroup is idle its weight cannot be written: that is left for later."""
    need_file("cpu.idle")
    create(container, cpu={"shares": 2048})
    weight = setting(container, "cpu.weight")
    update(container, {"cpu": {"idle": 1}})
    assert setting(container, "cpu.idle") == "1"
    update(container, {"cpu": {"idle": 0, "shares": 2048}})
    assert (setting(container, "cpu.idle"), setting(container, "cpu.weight")) == ("0", weight)


@pytest.mark.rows("R36", "R4")
@pytest.mark.parametrize(
    "cpu",
    [
        pytest.param({"period": 999}, marks=pytest.mark.rows("R182")),
        pytest.param({"period": 1000001}, marks=pytest.mark.rows("R182")),
        pytest.param({"quota": 1}, marks=pytest.mark.rows("R181")),
        pytest.param({"quota": 10000, "burst": 20000}, marks=[pytest.mark.rows("R183"), NO_BURST]),
        pytest.param({"cpus": "5000"}, marks=pytest.mark.rows("R185")),
        pytest.param({"cpus": "x"}, marks=pytest.mark.rows("R185")),
        pytest.param({"mems": "900"}, marks=pytest.mark.rows("R185")),
        pytest.param({"idle": 7}, marks=[pytest.mark.rows("R186"), NO_BURST]),
        pytest.param({"realtimeRuntime": 9000}, marks=[pytest.mark.rows("R184"), IGNORED]),
        pytest.param({"realtimePeriod": 900000}, marks=[pytest.mark.rows("R184"), IGNORED]),
    ],
)
def test_invalid_cpu(container: Container, cpu: dict[str, Any]) -> None:
    need("cpu")
    need("cpuset")
    error = refused(container, cpu=cpu)
    if container.runtime.name == "pyruntime":
        assert f"linux.resources.cpu.{list(cpu)[-1]}" in error, error


@pytest.mark.rows("R185")
def test_cpuset_holds(container: Container) -> None:
    need("cpuset")
    container.bundle.sh("grep -E '(Cpus|Mems)_allowed_list' /proc/self/status")
    container.bundle.resources["cpu"] = {"cpus": "0", "mems": "0"}
    assert container.finish().split()[1::2] == ["0", "0"]


# pids


@pytest.mark.rows("R187")
@pytest.mark.parametrize(("limit", "value"), [(100, "100"), (-1, "max")])
def test_pids(container: Container, limit: int, value: str) -> None:
    need("pids")
    create(container, pids={"limit": limit})
    assert setting(container, "pids.max") == value


@pytest.mark.rows("R187")
@pytest.mark.departs("runc<1.4", "R187: 0 is no limit")
@pytest.mark.departs("crun", "R187: 0 is no limit")
def test_no_pids(container: Container) -> None:
    """0 is a limit: the process runs, and cannot fork."""
    need("pids")
    container.bundle.config["ociVersion"] = "1.3.0"
    container.bundle.sh("(true) && echo forked; sleep 1000")
    create(container, pids={"limit": 0})
    assert setting(container, "pids.max") == "0"
    container.start().wait_stopped()
    assert container.output() == ""


@pytest.mark.rows("R187")
def test_pids_limit_holds(container: Container) -> None:
    need("pids")
    container.bundle.sh(
        "i=0; while [ $i -lt 40 ]; do sleep 1000 & i=$((i + 1)); done; echo all are there"
    )
    create(container, pids={"limit": 20}).start().wait_stopped()
    assert "all are there" not in container.output()
    assert setting(container, "pids.events").split()[1] != "0"


# block devices


def a_disk() -> tuple[int, int]:
    """The numbers of a whole disk of the host."""
    for disk in sorted(Path("/sys/block").iterdir()):
        if not disk.name.startswith(("loop", "ram", "zram", "sr")):
            major, _, minor = (disk / "dev").read_text().strip().partition(":")
            return int(major), int(minor)
    pytest.skip("the host has no disk but loop and memory devices")


@pytest.mark.rows("R191")
def test_throttles_share_a_line(container: Container) -> None:
    """Four lists become the four keys of the device's one line."""
    need("io")
    device = "{}:{}".format(*a_disk())
    create(container, blockIO=throttles(read=300))
    line = f"{device} rbps=1048576 wbps=2097152 riops=300 wiops=400"
    assert setting(container, "io.max") == line


@pytest.mark.rows("R191", "R294")
@pytest.mark.departs("runc<1.4", "R294: an update has only the weight of blockIO")
def test_an_update_changes_one_throttle(container: Container) -> None:
    need("io")
    device = "{}:{}".format(*a_disk())
    create(container, blockIO=throttles(read=300))
    changed = {"throttleReadIOPSDevice": throttles(read=500)["throttleReadIOPSDevice"]}
    update(container, {"blockIO": changed})
    line = f"{device} rbps=1048576 wbps=2097152 riops=500 wiops=400"
    assert setting(container, "io.max") == line


def throttles(read: int) -> dict[str, Any]:
    """All four of the disk; `read` are the reads in a second."""
    major, minor = a_disk()
    device = {"major": major, "minor": minor}
    return {
        "throttleReadBpsDevice": [{**device, "rate": 1048576}],
        "throttleWriteBpsDevice": [{**device, "rate": 2097152}],
        "throttleReadIOPSDevice": [{**device, "rate": read}],
        "throttleWriteIOPSDevice": [{**device, "rate": 400}],
    }


@pytest.mark.rows("R191")
@pytest.mark.departs("runc", "R191: 0 is refused by the kernel")
@pytest.mark.departs("crun", "R191: 0 is refused by the kernel")
def test_a_rate_of_nought_is_none(container: Container) -> None:
    """As on v1, where it takes the limit away."""
    need("io")
    major, minor = a_disk()
    entry = {"major": major, "minor": minor, "rate": 0}
    create(container, blockIO={"throttleReadBpsDevice": [entry]})
    assert setting(container, "io.max") == ""


@pytest.mark.rows("R191", "R36")
def test_throttle_of_no_device(container: Container) -> None:
    need("io")
    entry = {"major": 4000, "minor": 1, "rate": 5}
    assert "4000:1" in refused(container, blockIO={"throttleReadBpsDevice": [entry]})


@pytest.mark.rows("R188")
@pytest.mark.parametrize(("weight", "converted"), [(10, 1), (100, 910), (500, 4950), (1000, 10000)])
def test_block_weight(container: Container, weight: int, converted: int) -> None:
    """BFQ has the weight as it is; io.weight has another range."""
    file = "io.bfq.weight" if kernel_has("io.bfq.weight") else "io.weight"
    need_file(file)
    create(container, blockIO={"weight": weight})
    value = weight if file == "io.bfq.weight" else converted
    assert setting(container, file).splitlines()[0] == f"default {value}"


@pytest.mark.rows("R190")
@pytest.mark.departs("runc", "R190: ignored where BFQ has no weight of a device")
@pytest.mark.departs("crun", "R190: wants BFQ")
def test_block_weight_of_a_device(container: Container) -> None:
    """By what schedules the device; where nothing does, the error names the file and the device."""
    need("io")
    major, minor = a_disk()
    entry = {"major": major, "minor": minor, "weight": 500}
    file, value = "io.weight", 4950
    if kernel_has("io.bfq.weight"):
        file, value = "io.bfq.weight", 500
    container.bundle.resources["blockIO"] = {"weightDevice": [entry]}
    result = container.try_create()
    if result.status == 0:
        assert f"{major}:{minor} {value}" in setting(container, file).splitlines()
    elif container.runtime.name == "pyruntime":
        assert f'{major}:{minor} {value}\\" to {directory(container)}/{file}' in result.stderr
        assert "BFQ" in result.stderr


@pytest.fixture
def scheduled(workplace: Path) -> Iterator[tuple[int, int]]:
    """The numbers of a disk that BFQ schedules: a loop device of the test's own."""
    file = workplace / "disk"
    with file.open("wb") as made:
        made.truncate(1 << 24)
    done = subprocess.run(["losetup", "-f", "--show", file], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no loop device: {done.stderr.strip()}")
    disk = done.stdout.strip()
    try:
        subprocess.run(["modprobe", "-q", "bfq"], check=False)
        place = Path("/sys/block", Path(disk).name)
        try:
            (place / "queue/scheduler").write_text("bfq")
        except OSError as error:
            pytest.skip(f"the kernel has no BFQ: {error}")
        major, _, minor = (place / "dev").read_text().strip().partition(":")
        yield int(major), int(minor)
    finally:
        subprocess.run(["losetup", "-d", disk], check=True)


@pytest.mark.rows("R190", "R294")
@pytest.mark.departs("crun", "R190: depends on the version")
@pytest.mark.departs("runc", "R190: depends on the version")
def test_weight_of_a_disk_that_is_scheduled(
    container: Container, scheduled: tuple[int, int]
) -> None:
    """By create and by update; the weight of all others stays."""
    need_file("io.bfq.weight")
    major, minor = scheduled
    device = {"major": major, "minor": minor}
    create(container, blockIO={"weight": 300, "weightDevice": [{**device, "weight": 500}]})
    found = setting(container, "io.bfq.weight").splitlines()
    assert found == ["default 300", f"{major}:{minor} 500"]
    update(container, {"blockIO": {"weightDevice": [{**device, "weight": 700}]}})
    found = setting(container, "io.bfq.weight").splitlines()
    assert found == ["default 300", f"{major}:{minor} 700"]


@pytest.mark.rows("R188", "R189", "R190", "R36")
@pytest.mark.parametrize(
    "block",
    [
        {"weight": 9},
        {"weight": 1001},
        pytest.param({"leafWeight": 500}, marks=IGNORED),
        pytest.param({"weightDevice": [{"major": 7, "minor": 0}]}, marks=IGNORED),
    ],
)
def test_invalid_block_weight(container: Container, block: dict[str, Any]) -> None:
    need("io")
    if block.get("weight") == 9 and container.runtime.name != "pyruntime":
        pytest.xfail("R188: 9 becomes a number that the kernel takes")
    refused(container, blockIO=block)


# huge pages, rdma, network


@pytest.mark.rows("R192")
@pytest.mark.departs("crun", "R192: does not limit reservations")
def test_huge_pages(container: Container) -> None:
    """Both what is reserved and what is used is limited, for each size that the host has."""
    need("hugetlb")
    sizes = [
        f"{kilobytes // 1024}MB" if kilobytes < 1 << 20 else f"{kilobytes >> 20}GB"
        for kilobytes in (
            int(path.name.removeprefix("hugepages-").removesuffix("kB"))
            for path in Path("/sys/kernel/mm/hugepages").iterdir()
        )
        if kilobytes >= 1024
    ]
    limits = [{"pageSize": size, "limit": 2 << 30} for size in sizes]
    create(container, hugepageLimits=limits)
    for size in sizes:
        assert setting(container, f"hugetlb.{size}.max") == str(2 << 30)
        assert setting(container, f"hugetlb.{size}.rsvd.max") == str(2 << 30)
    assert sizes


@pytest.mark.rows("R192", "R36")
def test_page_size_that_the_host_has_not(container: Container) -> None:
    need("hugetlb")
    error = refused(container, hugepageLimits=[{"pageSize": "8MB", "limit": 4194304}])
    if container.runtime.name == "pyruntime":
        assert "linux.resources.hugepageLimits[0]" in error
        assert "8MB" in error


@pytest.mark.rows("R195", "R36")
@pytest.mark.departs("crun", "R195: ignores rdma")
def test_rdma_device_that_the_host_has_not(container: Container) -> None:
    """The limit gets as far as the kernel, which knows no such device."""
    need("rdma")
    error = refused(container, rdma={"none_0": {"hcaHandles": 3, "hcaObjects": 4}})
    if container.runtime.name == "pyruntime":
        assert "none_0 hca_handle=3 hca_object=4" in error


@pytest.mark.rows("R195", "R294")
@pytest.mark.departs("crun", "R195: ignores rdma")
def test_rdma(container: Container) -> None:
    need("rdma")
    places = Path("/sys/class/infiniband")
    devices = sorted(path.name for path in places.iterdir()) if places.is_dir() else []
    if not devices:
        pytest.skip("the host has no rdma device")
    create(container, rdma={devices[0]: {"hcaHandles": 3}})
    assert setting(container, "rdma.max") == f"{devices[0]} hca_handle=3 hca_object=max"


@pytest.mark.rows("R193", "R194", "R36")
@pytest.mark.parametrize(
    "network",
    [{"classID": 1048577}, {"priorities": [{"name": "lo", "priority": 5}]}],
    ids=["class", "priorities"],
)
@IGNORED
def test_network(container: Container, network: dict[str, Any]) -> None:
    """Nothing marks packets on v2."""
    error = refused(container, network=network)
    if container.runtime.name == "pyruntime":
        assert f"linux.resources.network.{next(iter(network))}" in error


# unified


@pytest.mark.rows("R196", "R197")
def test_unified(container: Container) -> None:
    """Any file, and those for which there is no other setting."""
    for controller in ("memory", "pids", "cpu"):
        need(controller)
    files = {
        "memory.high": "33554432",
        "memory.min": "1048576",
        "memory.oom.group": "1",
        "pids.max": "55",
        "cpu.max": "50000 200000",
        "cgroup.max.descendants": "7",
    }
    if "misc" in controllers() and (mount_point() / "misc.capacity").read_text().strip():
        name = (mount_point() / "misc.capacity").read_text().split()[0]
        files["misc.max"] = f"{name} 3"
    create(container, unified=files)
    assert {file: setting(container, file) for file in files} == files


@pytest.mark.rows("R196", "R36")
def test_misc_without_a_resource(container: Container) -> None:
    """The controller is enabled, and the kernel knows no such resource."""
    need("misc")
    if container.runtime.name != "pyruntime":
        pytest.skip("the text of the error is ours")
    error = refused(container, unified={"misc.max": "none_0 3"})
    assert "linux.resources.unified['misc.max']" in error
    assert "none_0 3" in error
    assert "not enabled" not in error


@pytest.mark.rows("R196", "R171", "R187")
def test_unified_comes_last(container: Container) -> None:
    need("memory")
    need("pids")
    create(
        container,
        memory={"limit": MEMORY, "swap": MEMORY},
        pids={"limit": 5},
        unified={"memory.max": "33554432", "memory.swap.max": "4194304", "pids.max": "max"},
    )
    assert setting(container, "memory.max") == "33554432"
    assert setting(container, "memory.swap.max") == "4194304"
    assert setting(container, "pids.max") == "max"


@pytest.mark.rows("R196")
@pytest.mark.departs("runc<1.2", "R196: writes all the lines at once")
def test_unified_of_several_lines(container: Container) -> None:
    """One write a line: the kernel takes only one device at a time."""
    need("io")
    major, minor = a_disk()
    lines = f"{major}:{minor} rbps=1048576\n{major}:{minor} wiops=77\n"
    create(container, unified={"io.max": lines})
    expected = f"{major}:{minor} rbps=1048576 wbps=max riops=max wiops=77"
    assert setting(container, "io.max") == expected


@pytest.mark.rows("R196", "R294")
def test_update_of_unified(container: Container) -> None:
    need("memory")
    create(container, unified={"memory.high": "33554432"})
    update(container, {"unified": {"memory.high": "max", "memory.low": "1048576"}})
    assert setting(container, "memory.high") == "max"
    assert setting(container, "memory.low") == "1048576"


@pytest.mark.rows("R196", "R36")
@pytest.mark.parametrize(
    ("file", "value"),
    [
        ("nosuch.max", "5"),
        ("memory.nosuch", "5"),
        ("memory", "5"),
        ("../pids.max", "5"),
        ("memory/../pids.max", "5"),
        ("memory.max", "much"),
        ("memory.current", "5"),
        (".", "5"),
        ("..", "5"),
        ("", "5"),
    ],
)
def test_invalid_unified(container: Container, file: str, value: str) -> None:
    """A file that there is not, that is none, or that does not take the value."""
    need("memory")
    error = refused(container, unified={file: value})
    if container.runtime.name == "pyruntime":
        assert "linux.resources.unified" in error


@pytest.mark.rows("R196", "R165", "R36")
def test_a_controller_that_the_parent_does_not_pass_on(container: Container) -> None:
    """A parent with processes cannot enable one: what needs it is refused, and says why."""
    need("memory")
    bundle = container.bundle
    parent = bundle.cgroups_path
    outer = mount_point() / parent.lstrip("/")
    outer.mkdir()
    try:
        with Occupied(outer):
            bundle.linux["cgroupsPath"] = f"{parent}/inner"
            for resources in ({"memory": {"limit": MEMORY}}, {"unified": {"memory.max": "max"}}):
                bundle.linux["resources"] = resources
                result = container.runtime.check_refused(container.try_create())
                if container.runtime.name == "pyruntime":
                    assert "controller memory is not enabled" in result.stderr, result.stderr
                    assert f"{outer} has processes" in result.stderr, result.stderr
                    # Others enable there what threads can share, and leave it so.
                    assert (outer / "cgroup.subtree_control").read_text().strip() == ""
                container.bear_the_cgroup_of_crun()
                assert not (outer / "inner").exists()
    finally:
        container.clean()
        bundle.linux["cgroupsPath"] = parent
        outer.rmdir()


@pytest.mark.rows("R165", "R161")
def test_without_limits_such_a_parent_will_do(container: Container) -> None:
    """Nothing is asked for that needs a controller."""
    bundle = container.bundle
    parent = bundle.cgroups_path
    outer = mount_point() / parent.lstrip("/")
    outer.mkdir()
    try:
        with Occupied(outer):
            bundle.linux["cgroupsPath"] = f"{parent}/inner"
            bundle.sh("cat /proc/self/cgroup")
            assert path_in(container.finish()) == f"{parent}/inner"
            container.delete()
    finally:
        container.clean()
        bundle.linux["cgroupsPath"] = parent
        outer.rmdir()


class Occupied:
    """A process in a cgroup, for as long as the block lasts."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __enter__(self) -> int:
        self.process = subprocess.Popen(["sleep", "1000"])
        (self.directory / "cgroup.procs").write_text(str(self.process.pid))
        return self.process.pid

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


# update


@pytest.mark.rows("R294", "R1")
def test_a_refused_update_changes_nothing(container: Container) -> None:
    """What was written before the refusal is put back."""
    for controller in ("memory", "cpu", "pids"):
        need(controller)
    files = ("memory.max", "memory.swap.max", "memory.low", "cpu.weight", "cpu.max", "pids.max")
    create(
        container,
        memory={"limit": MEMORY, "swap": 2 * MEMORY, "reservation": MIB},
        cpu={"shares": 2048, "quota": 50000},
        pids={"limit": 50},
    )
    before = {file: setting(container, file) for file in files}
    asked = {
        "memory": {"limit": 2 * MEMORY, "swap": 3 * MEMORY, "reservation": 2 * MIB},
        "cpu": {"shares": 512, "quota": 20000, "period": 50000},
        "pids": {"limit": 20},
        "unified": {"memory.high": "nonsense"},
    }
    if container.runtime.name != "pyruntime":
        pytest.skip("others leave what they have written")
    container.runtime.refused("update", "-r", "-", container.id, stdin=json.dumps(asked))
    assert {file: setting(container, file) for file in files} == before


@pytest.mark.rows("R294")
@pytest.mark.parametrize(
    ("flags", "file", "value"),
    [
        pytest.param(*case, marks=[pytest.mark.rows(row), *marks])
        for *case, row, marks in [
            ("--memory 67108864", "memory.max", str(MEMORY), "R171", []),
            ("--memory=-1", "memory.max", "max", "R171", []),
            (
                "--memory 67108864 --memory-swap 100663296",
                "memory.swap.max",
                "33554432",
                "R173",
                [],
            ),
            ("--memory 67108864 --memory-swap=-1", "memory.swap.max", "max", "R173", []),
            ("--memory-reservation 16777216", "memory.low", "16777216", "R172", []),
            ("--cpu-quota 20000", "cpu.max", "20000 100000", "R181", []),
            ("--cpu-quota 20000 --cpu-period 50000", "cpu.max", "20000 50000", "R182", []),
            ("--cpuset-cpus 0", "cpuset.cpus", "0", "R185", []),
            ("--cpuset-mems 0", "cpuset.mems", "0", "R185", []),
            ("--cpu-share 1024", "cpu.weight", "100", "R180", [WEIGHTS, OLD_WEIGHTS]),
            ("--cpu-idle 1", "cpu.idle", "1", "R186", [NO_BURST, NO_FLAG]),
            (
                "--cpu-quota 20000 --cpu-burst 1000",
                "cpu.max.burst",
                "1000",
                "R183",
                [NO_BURST, NO_FLAG],
            ),
            ("--pids-limit 30", "pids.max", "30", "R187", []),
            ("--pids-limit=-1", "pids.max", "max", "R187", []),
        ]
    ],
)
def test_update_by_flags(container: Container, flags: str, file: str, value: str) -> None:
    need_file(file)
    create(container, memory={"limit": 2 * MEMORY}, pids={"limit": 100})
    container.runtime.ok("update", *flags.split(), container.id)
    assert setting(container, file) == value


@pytest.mark.rows("R294", "R180")
@WEIGHTS
@OLD_WEIGHTS
def test_update_leaves_the_rest(container: Container) -> None:
    for controller in ("memory", "cpu", "pids"):
        need(controller)
    create(container, memory={"limit": MEMORY}, cpu={"quota": 50000, "period": 200000})
    update(container, {"cpu": {"shares": 512}, "pids": {"limit": 9}})
    assert setting(container, "memory.max") == str(MEMORY)
    assert setting(container, "cpu.max") == "50000 200000"
    assert setting(container, "cpu.weight") == "59"
    update(container, {"cpu": {"quota": 30000}})
    assert setting(container, "cpu.max") == "30000 200000"
    assert setting(container, "pids.max") == "9"


@pytest.mark.rows("R36", "R1")
def test_a_refused_limit_leaves_no_cgroup(container: Container, bundle: Bundle) -> None:
    """Nor any above it that was made on the way."""
    need("memory")
    path = bundle.cgroups_path
    bundle.linux["cgroupsPath"] = f"{path}/a/b"
    bundle.resources["unified"] = {"memory.max": "nonsense"}
    container.refused()
    if container.runtime.name == "pyruntime":
        assert cgroup_directories(path) == []
    else:
        for each in (f"{path}/a", path):
            for found in cgroup_directories(each):
                found.rmdir()
    assert not directory(container).exists()
