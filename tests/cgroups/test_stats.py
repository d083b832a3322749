"""The figures of events: out of files laid down for the test, and out of real cgroups."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pyruntime.cgroups import oom, stats, stats_v1, stats_v2
from pyruntime.cgroups.directory import Directory
from pyruntime.cgroups.figures import UNLIMITED, huge_page_sizes
from pyruntime.cgroups.layout import Layout
from pyruntime.cgroups.manager import Cgroup, NoCgroup
from pyruntime.errors import CgroupError

Until = Callable[[Callable[[], object]], None]
Sleeper = Callable[[], "subprocess.Popen[bytes]"]
MAX = UNLIMITED


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Callable[..., Directory]]:
    """Lays down files, and gives the directory that they are in."""
    directory = Directory(str(tmp_path))

    def lay(contents: dict[str, str]) -> Directory:
        for name, content in contents.items():
            (tmp_path / name).write_text(content)
        return directory

    yield lay
    directory.close()


# version 1


@pytest.mark.rows("R295")
def test_v1_cpu(files: Any) -> None:
    directory = files(
        {
            "cpuacct.usage": "1000\n",
            "cpuacct.stat": "user 3\nsystem 5\n",
            "cpuacct.usage_percpu": "400 600 \n",
            "cpuacct.usage_all": "cpu user system\n0 1 2\n1 3 4\n",
            "cpu.stat": "nr_periods 7\nnr_throttled 0\nthrottled_time 9\nwait_sum 4\n",
        }
    )
    usage = {
        "total": 1000,
        "percpu": [400, 600],
        "percpu_kernel": [2, 4],
        "percpu_user": [1, 3],
        "kernel": 50_000_000,
        "user": 30_000_000,
    }
    assert stats_v1.cpu_usage(directory) == usage
    assert stats_v1.throttling(directory) == {"periods": 7, "throttledTime": 9}


@pytest.mark.rows("R295")
@pytest.mark.parametrize("prefix", ["cpuset.", ""])
def test_v1_cpuset(files: Any, prefix: str) -> None:
    flags = {name: "0\n" for _, name in stats_v1.CPUSET_FLAGS if name}
    flags.update(sched_load_balance="1\n", sched_relax_domain_level="-1\n")
    contents = {"cpus": "0-2,7\n", "mems": "\n", **flags}
    found = stats_v1.cpuset(files({prefix + name: text for name, text in contents.items()}))
    assert list(found)[:2] == ["cpus", "cpu_exclusive"]
    assert found["cpus"] == [0, 1, 2, 7]
    assert "mems" not in found
    assert (found["sched_load_balance"], found["sched_relax_domain_level"]) == (1, -1)


@pytest.mark.rows("R295")
def test_v1_memory_without_swap_accounting(files: Any) -> None:
    found = stats_v1.memory(
        files(
            {
                "memory.stat": "rss 5\ncache 4096\n",
                "memory.usage_in_bytes": "10\n",
                "memory.max_usage_in_bytes": "20\n",
                "memory.failcnt": "3\n",
                "memory.limit_in_bytes": "9223372036854771712\n",
                "memory.kmem.usage_in_bytes": "1\n",
                "memory.kmem.max_usage_in_bytes": "2\n",
                "memory.kmem.failcnt": "0\n",
            }
        )
    )
    nothing = {"limit": 0, "failcnt": 0}
    assert found == {
        "cache": 4096,
        "usage": {"limit": 9223372036854771712, "usage": 10, "max": 20, "failcnt": 3},
        "swap": nothing,
        "kernel": {"limit": 0, "usage": 1, "max": 2, "failcnt": 0},
        "kernelTCP": nothing,
        "raw": {"cache": 4096, "rss": 5},
    }
    assert list(found["raw"]) == ["cache", "rss"]


LINES = "8:0 Read {0}\n8:0 Write 0\n8:0 Total {0}\nTotal {0}\n"


@pytest.mark.rows("R295")
@pytest.mark.parametrize(
    ("contents", "expected"),
    [
        ({}, {}),
        ({"blkio.throttle.io_serviced": "Total 0\n"}, {}),
        (
            {"blkio.throttle.io_serviced": "8:0 Read 1\n", "blkio.throttle.io_service_bytes": ""},
            {"ioServicedRecursive": [(8, "Read", 1)]},
        ),
        (
            {
                "blkio.bfq.io_serviced_recursive": LINES.format(2),
                "blkio.bfq.io_service_bytes_recursive": LINES.format(3),
                "blkio.bfq.time_recursive": "8:0 4\n",
                "blkio.throttle.io_serviced_recursive": LINES.format(9),
            },
            {
                "ioServiceBytesRecursive": [(8, "Read", 3), (8, "Write", 0), (8, "Total", 3)],
                "ioServicedRecursive": [(8, "Read", 2), (8, "Write", 0), (8, "Total", 2)],
                "ioTimeRecursive": [(8, "", 4)],
            },
        ),
        (
            {
                "blkio.bfq.io_serviced_recursive": "Total 0\n",
                "blkio.throttle.io_serviced_recursive": "253:16 Sync 9\nTotal 9\n",
            },
            {"ioServicedRecursive": [(253, "Sync", 9)]},
        ),
    ],
)
def test_v1_block_io(files: Any, contents: dict[str, str], expected: Any) -> None:
    found = stats_v1.block_io(files(contents))
    short = {
        name: [(one["major"], one.get("op", ""), one.get("value", 0)) for one in entries]
        for name, entries in found.items()
    }
    assert short == expected


def test_zeros_of_a_block_entry_are_left_out() -> None:
    assert stats_v1.block_entry("8", "0", "Read", "0") == {"major": 8, "op": "Read"}


@pytest.mark.rows("R295", "R192")
def test_huge_pages(files: Any) -> None:
    directory = files(
        {
            "hugetlb.2MB.usage_in_bytes": "1\n",
            "hugetlb.2MB.rsvd.usage_in_bytes": "4096\n",
            "hugetlb.2MB.rsvd.max_usage_in_bytes": "8192\n",
            "hugetlb.2MB.rsvd.failcnt": "2\n",
            "hugetlb.1GB.usage_in_bytes": "0\n",
            "hugetlb.2MB.rsvd.current": "16\n",
            "hugetlb.2MB.events": "max 5\n",
            "hugetlb.1GB.current": "32\n",
        }
    )
    sizes = ["1GB", "2MB", "64KB"]
    v1 = {"1GB": {"failcnt": 0}, "2MB": {"usage": 4096, "max": 8192, "failcnt": 2}}
    v2 = {"1GB": {"usage": 32, "failcnt": 0}, "2MB": {"usage": 16, "failcnt": 5}}
    assert stats_v1.huge_pages(directory, sizes) == v1
    assert stats_v2.huge_pages(directory, sizes) == v2


def test_huge_page_sizes() -> None:
    names = ["hugepages-2048kB", "hugepages-1048576kB", "hugepages-64kB", "other"]
    assert huge_page_sizes(names) == ["1GB", "2MB", "64KB"]


# version 2

PRESSURE = (
    "some avg10=1.50 avg60=0.00 avg300=2.00 total=123\n"
    "full avg10=0.00 avg60=0.12 avg300=0.00 total=4\n"
)
PSI = {
    "some": {"avg10": 1.5, "avg60": 0, "avg300": 2, "total": 123},
    "full": {"avg10": 0, "avg60": 0.12, "avg300": 0, "total": 4},
}


@pytest.mark.rows("R295")
def test_v2_cpu(files: Any) -> None:
    stat = "usage_usec 10\nuser_usec 4\nsystem_usec 6\nnr_periods 3\nnr_throttled 2\n"
    directory = files({"cpu.stat": stat + "throttled_usec 5\n", "cpu.pressure": PRESSURE})
    assert stats_v2.cpu(directory) == {
        "usage": {"total": 10_000, "kernel": 6_000, "user": 4_000},
        "throttling": {"periods": 3, "throttledPeriods": 2, "throttledTime": 5_000},
        "psi": PSI,
    }


@pytest.mark.rows("R295")
@pytest.mark.parametrize(
    ("limit", "swap", "both"),
    [
        ("100", "20", 120),
        ("100", "0", 100),
        ("100", "max", MAX),
        ("max", "0", MAX),
        ("max", "20", MAX),
        ("100", None, 100),
    ],
)
def test_v2_memory(files: Any, limit: str, swap: str | None, both: int) -> None:
    contents = {"memory.stat": "file 5\nanon 6\n", "memory.current": "11", "memory.max": limit}
    if swap is not None:
        contents.update({"memory.swap.max": swap, "memory.swap.current": "2\n"})
    found = stats_v2.memory(files({**contents, "memory.peak": "12"}))
    nothing = {"limit": 0, "failcnt": 0}
    assert found == {
        "cache": 5,
        "usage": {
            "limit": MAX if limit == "max" else 100,
            "usage": 11,
            "max": 12,
            "failcnt": 0,
        },
        "swap": {"limit": both, "usage": 11 if swap is None else 13, "failcnt": 0},
        "kernel": nothing,
        "kernelTCP": nothing,
        "raw": {"anon": 6, "file": 5},
    }


@pytest.mark.rows("R295")
def test_v2_block_io(files: Any) -> None:
    line = "8:16 rbytes=1 wbytes=2 rios=3 wios=0 dbytes=5 dios=6\n\n(unknown) rbytes=7\n"
    device = {"major": 8, "minor": 16}
    assert stats_v2.block_io(files({"io.stat": line, "io.pressure": PRESSURE})) == {
        "ioServiceBytesRecursive": [
            {**device, "op": "Read", "value": 1},
            {**device, "op": "Write", "value": 2},
        ],
        "ioServicedRecursive": [{**device, "op": "Read", "value": 3}, {**device, "op": "Write"}],
        "psi": PSI,
    }


@pytest.mark.rows("R295")
@pytest.mark.parametrize(
    ("contents", "expected"),
    [
        ({"pids.current": "3\n", "pids.max": "max\n"}, {"current": 3}),
        ({"pids.current": "3\n", "pids.max": "9\n"}, {"current": 3, "limit": 9}),
        ({"cgroup.procs": "11\n12\n"}, {"current": 2}),
    ],
)
def test_v2_pids(files: Any, contents: dict[str, str], expected: Any) -> None:
    assert stats.sections({"": files(contents)})["pids"] == expected


@pytest.mark.rows("R295")
def test_v2_has_every_section(files: Any) -> None:
    found = stats.sections({"": files({})})
    assert found["cpu"] == {"usage": {"kernel": 0, "user": 0}, "throttling": {}}
    assert set(found["cpuset"].values()) == {0}
    assert found["blkio"] == found["hugetlb"] == found["intel_rdt"] == found["pids"] == {}
    assert found["network_interfaces"] is None


def test_no_cgroup_has_no_figures() -> None:
    with pytest.raises(CgroupError, match="no statistics"):
        stats.collect(NoCgroup())


# real cgroups


@pytest.mark.rows("R295")
def test_a_removed_cgroup_counts_nothing(cgroup: Cgroup) -> None:
    cgroup.create()
    before = stats.collect(cgroup)
    cgroup.delete()
    after = stats.collect(cgroup)
    assert list(after) == list(before)
    assert after["memory"]["usage"]["limit"] == 0


@pytest.mark.rows("R295", "R166")
def test_pressure_of_a_hybrid_host(cgroup: Cgroup, v1: Layout) -> None:
    """What the kernel writes is what the parser takes."""
    if v1.v2 is None:
        pytest.skip("needs a cgroup v2 hierarchy")
    cgroup.create()
    directory = cgroup.directories[""]
    if not directory.has("cpu.pressure"):
        pytest.skip("needs a kernel with pressure stall information")
    found = stats_v2.cpu(directory)
    assert set(found["psi"]["some"]) == {"avg10", "avg60", "avg300", "total"}


@pytest.mark.rows("R295")
def test_figures_are_those_of_runc(
    v1: Layout, name: str, sleeper: Sleeper, until: Until, tmp_path: Path
) -> None:
    """runc's events and ours on one container of runc, which is paused: every figure."""
    runc = shutil.which("runc")
    if runc is None:
        pytest.skip("runc is not installed")
    command = [runc, "--root", str(tmp_path / "root")]
    identifier = name.removeprefix("/")
    make_bundle(tmp_path, name)
    with open(tmp_path / "output", "wb") as output:
        subprocess.run(
            [*command, "run", "-d", "-b", str(tmp_path), identifier],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        subprocess.run([*command, "pause", identifier], check=True)
        directories = {one: Directory(root + name) for one, root in v1.v1.items()}

        def same() -> bool:
            # The kernel settles some accounts late, so two looks may differ at first.
            ours = stats.sections(directories)
            done = subprocess.run(
                [*command, "events", "--stats", identifier], capture_output=True, check=True
            )
            theirs = json.loads(done.stdout)["data"]
            assert text_without_empty(ours).keys() == text_without_empty(theirs).keys()
            return json.dumps(ours) == json.dumps(theirs)

        until(same)
    finally:
        subprocess.run([*command, "delete", "--force", identifier], check=True)


def text_without_empty(data: dict[str, Any]) -> dict[str, Any]:
    return {key: member for key, member in data.items() if member}


def make_bundle(path: Path, cgroup: str) -> None:
    """A bundle with a shell that uses some time and memory, and then sleeps."""
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("needs busybox")
    (path / "rootfs/bin").mkdir(parents=True)
    (path / "rootfs/proc").mkdir()
    shutil.copy(busybox, path / "rootfs/bin/busybox")
    script = (
        "dd if=/dev/zero of=/f bs=64k count=64; i=0; while [ $i -lt 9999 ]; do i=$((i+1)); done"
    )
    config = {
        "ociVersion": "1.0.2",
        "process": {
            "args": ["/bin/busybox", "sh", "-c", script + "; exec /bin/busybox sleep 1000"],
            "cwd": "/",
            "user": {"uid": 0, "gid": 0},
            "env": ["PATH=/bin"],
        },
        "root": {"path": "rootfs"},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {
            "cgroupsPath": cgroup,
            "namespaces": [{"type": "pid"}, {"type": "mount"}],
            "resources": {
                "memory": {"limit": 64 << 20},
                "pids": {"limit": 30},
                "cpu": {"quota": 90000, "period": 100000},
            },
        },
    }
    (path / "config.json").write_text(json.dumps(config))


# out of memory


def readable(watch: oom.WatchV1 | oom.WatchV2) -> bool:
    poll = select.poll()
    poll.register(watch.descriptor, watch.mask)
    return bool(poll.poll(0))


@pytest.mark.rows("R295")
def test_v1_hears_of_a_lack_of_memory(cgroup: Cgroup, until: Until) -> None:
    if "memory" not in cgroup.directories:
        pytest.skip("needs the v1 controller memory")
    cgroup.create()
    memory = {"limit": 8 << 20}
    if cgroup.directories["memory"].has("memory.memsw.limit_in_bytes"):
        memory["swap"] = 8 << 20
    cgroup.apply({"memory": memory})
    watch = oom.watch(cgroup)
    assert isinstance(watch, oom.WatchV1)
    assert not readable(watch)
    assert watch.count() == 0
    hungry = subprocess.Popen(
        ["sh", "-c", "read go; exec tail /dev/zero"],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    cgroup.join(hungry.pid)
    hungry.communicate(b"\n")
    assert hungry.returncode == -9
    assert readable(watch)
    assert watch.count() >= 1
    assert watch.count() == 0
    cgroup.delete()
    until(lambda: readable(watch))
    assert watch.count() == 0
    watch.close()


@pytest.mark.rows("R295")
def test_v2_counts_what_was_killed(files: Any, tmp_path: Path) -> None:
    directory = files({"memory.events": "low 0\noom 4\noom_kill 3\noom_group_kill 0\n"})
    watch = oom.WatchV2(directory)
    assert watch.mask == select.POLLPRI
    assert watch.count() == 0
    for text, expected in [("oom_kill 5\n", 2), ("oom_kill 5\n", 0), ("max 1\noom_kill 6\n", 1)]:
        (tmp_path / "memory.events").write_text(text)
        assert watch.count() == expected
    watch.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(watch.descriptor)


def test_nothing_to_watch(tmp_path: Path) -> None:
    with pytest.raises(CgroupError, match="memory controller missing"):
        oom.watch(NoCgroup())
    with pytest.raises(CgroupError, match="memory controller missing"):
        oom.watch(Cgroup.from_paths({"": str(tmp_path)}))
