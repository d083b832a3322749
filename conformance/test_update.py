"""update: every flag and the document, read back from the cgroup; what is refused changes nothing.

Limits are read from cgroup v1; what the host does not have is skipped, with its name.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conformance.bundle import Bundle
from conformance.peer import runc_container
from conformance.runtime import Container, Result
from conformance.test_cgroups import UNLIMITED, hierarchy, setting_file

MIB = 1 << 20
RUNC_OLD = pytest.mark.departs("runc", "R294 1.1 does not know the option")
CRUN_OLD = pytest.mark.departs("crun", "R294 1.8 does not know the option")
CRUN_MAX = pytest.mark.departs("crun", "R181 R187 1.8 cannot take a limit away on v1")
CRUN_BFQ = pytest.mark.departs("crun", "R188 1.8 does not know the name on v1")
CRUN_SIZES = pytest.mark.departs("crun", "R294 1.8 takes plain numbers only")


def update(container: Container, *flags: str, **settings: Any) -> Result:
    """Update, which must succeed without a word."""
    result = container.runtime.ok("update", *flags, container.id, **settings)
    assert result.stdout == ""
    return result


def document(container: Container, resources: object, **settings: Any) -> Result:
    """Update by a document on standard input, which must succeed."""
    return update(container, "-r", "-", stdin=json.dumps(resources), **settings)


def value(container: Container, name: str) -> int | str:
    """A setting of the container's cgroup; an absurdly high one is "max"."""
    text = setting_file(container, name).read_text().strip()
    if not text.removeprefix("-").isdigit():
        return text
    return "max" if int(text) >= UNLIMITED else int(text)


# flags


@pytest.mark.rows("R294")
@pytest.mark.parametrize(
    ("flags", "name", "expected"),
    [
        pytest.param(*case, marks=[pytest.mark.rows(row), *marks])
        for *case, row, marks in [
            ("--memory 67108864", "memory.limit_in_bytes", 64 * MIB, "R171", []),
            ("--memory 64M", "memory.limit_in_bytes", 64 * MIB, "R171", [CRUN_SIZES]),
            ("--memory 65536kb", "memory.limit_in_bytes", 64 * MIB, "R171", [CRUN_SIZES]),
            ("--memory=0.5GiB", "memory.limit_in_bytes", 512 * MIB, "R171", [CRUN_SIZES]),
            ("--memory=-1", "memory.limit_in_bytes", "max", "R171", []),
            (
                "--memory-reservation 16M",
                "memory.soft_limit_in_bytes",
                16 * MIB,
                "R172",
                [CRUN_SIZES],
            ),
            (
                "--memory 64M --memory-swap 96M",
                "memory.memsw.limit_in_bytes",
                96 * MIB,
                "R173",
                [CRUN_SIZES],
            ),
            (
                "--memory 64M --memory-swap=-1",
                "memory.memsw.limit_in_bytes",
                "max",
                "R173",
                [CRUN_SIZES],
            ),
            ("--memory=-1", "memory.memsw.limit_in_bytes", "max", "R173", []),
            ("--cpu-share 300", "cpu.shares", 300, "R180", []),
            ("--cpu-quota 20000", "cpu.cfs_quota_us", 20000, "R181", []),
            ("--cpu-quota=-1", "cpu.cfs_quota_us", -1, "R181", [CRUN_MAX]),
            ("--cpu-period 50000", "cpu.cfs_period_us", 50000, "R182", []),
            (
                "--cpu-quota 20000 --cpu-burst 1000",
                "cpu.cfs_burst_us",
                1000,
                "R183",
                [RUNC_OLD, CRUN_OLD],
            ),
            ("--cpu-rt-period 900000", "cpu.rt_period_us", 900000, "R184", []),
            ("--cpuset-cpus 0", "cpuset.cpus", 0, "R185", []),
            ("--cpuset-mems 0", "cpuset.mems", 0, "R185", []),
            ("--cpu-idle 1", "cpu.idle", 1, "R186", [RUNC_OLD, CRUN_OLD]),
            ("--pids-limit 30", "pids.max", 30, "R187", []),
            ("--pids-limit=-1", "pids.max", "max", "R187", [CRUN_MAX]),
            ("--blkio-weight 300", "blkio.weight", 300, "R188", []),
            ("--blkio-weight 300", "blkio.bfq.weight", 300, "R188", [CRUN_BFQ]),
        ]
    ],
)
def test_a_flag(container: Container, flags: str, name: str, expected: int | str) -> None:
    container.bundle.resources["pids"] = {"limit": 100}
    setting_file(container, name)
    container.create()
    update(container, *flags.split())
    assert value(container, name) == expected


@pytest.mark.departs("runc", "R187 1.1 takes 0 for unset, later ones write 1")
@pytest.mark.departs("crun", "R187 takes 0 for unset")
@pytest.mark.rows("R187", "R294")
def test_no_process_more(container: Container) -> None:
    container.create().start()
    update(container, "--pids-limit", "0")
    assert value(container, "pids.max") == 0


@pytest.mark.rows("R294")
@pytest.mark.parametrize("state", ["created", "running", "paused"])
def test_in_every_state_of_a_living_container(container: Container, state: str) -> None:
    container.create()
    if state != "created":
        container.start()
    if state == "paused":
        container.runtime.ok("pause", container.id)
    update(container, "--memory", str(64 * MIB), "--pids-limit", "30")
    assert value(container, "memory.limit_in_bytes") == 64 * MIB
    assert value(container, "pids.max") == 30
    assert container.status() == state


@pytest.mark.departs("crun", "R294 1.8 sets nothing of a container that has a limit for pids")
@pytest.mark.rows("R294")
def test_what_is_not_given_stays(container: Container) -> None:
    container.bundle.resources.update(
        memory={"limit": 64 * MIB}, cpu={"shares": 300, "quota": 20000}, pids={"limit": 50}
    )
    container.create()
    update(container, "--cpu-share", "400")
    update(container)
    assert value(container, "cpu.shares") == 400
    assert value(container, "cpu.cfs_quota_us") == 20000
    assert value(container, "memory.limit_in_bytes") == 64 * MIB
    assert value(container, "pids.max") == 50


@pytest.mark.rows("R181", "R182", "R294")
def test_half_of_a_pair_leaves_the_other_half(container: Container) -> None:
    container.bundle.resources["cpu"] = {"quota": 20000, "period": 40000}
    container.create()
    update(container, "--cpu-quota", "30000")
    assert value(container, "cpu.cfs_period_us") == 40000
    update(container, "--cpu-period", "60000")
    assert value(container, "cpu.cfs_quota_us") == 30000
    assert value(container, "cpu.cfs_period_us") == 60000


@pytest.mark.rows("R173", "R294")
def test_memory_and_swap_up_and_down(container: Container) -> None:
    """The kernel wants them in one order on the way up and in the other on the way down."""
    container.bundle.resources["memory"] = {"limit": 32 * MIB, "swap": 32 * MIB}
    setting_file(container, "memory.memsw.limit_in_bytes")
    container.create()
    for amount in (128 * MIB, 64 * MIB):
        update(container, "--memory", str(amount), "--memory-swap", str(amount))
        assert value(container, "memory.limit_in_bytes") == amount
        assert value(container, "memory.memsw.limit_in_bytes") == amount


@pytest.mark.rows("R173", "R294")
def test_memory_beyond_memory_and_swap_is_refused(container: Container) -> None:
    """The old limit of both together is known, also if an update set it."""
    setting_file(container, "memory.memsw.limit_in_bytes")
    container.create()
    update(container, "--memory", str(32 * MIB), "--memory-swap", str(48 * MIB))
    refused(container, "--memory", str(64 * MIB))
    assert value(container, "memory.limit_in_bytes") == 32 * MIB
    assert value(container, "memory.memsw.limit_in_bytes") == 48 * MIB


@pytest.mark.departs("crun", "R294 1.8 gives no warning")
@pytest.mark.rows("R174", "R175", "R294")
@pytest.mark.parametrize("flag", ["--kernel-memory", "--kernel-memory-tcp"])
def test_kernel_memory_only_warns(container: Container, flag: str) -> None:
    container.create()
    result = update(container, flag, "67108864")
    assert "level=warning" in result.stderr
    assert "Kernel memory settings are ignored" in result.stderr
    name = "memory.kmem.tcp" if flag.endswith("tcp") else "memory.kmem"
    assert value(container, name + ".limit_in_bytes") == "max"


# the document

WHOLE = {
    "memory": {"limit": 64 * MIB, "reservation": 32 * MIB},
    "cpu": {"shares": 300, "quota": 20000, "period": 50000, "cpus": "0", "mems": "0"},
    "pids": {"limit": 40},
}
READ_BACK = {
    "memory.limit_in_bytes": 64 * MIB,
    "memory.soft_limit_in_bytes": 32 * MIB,
    "cpu.shares": 300,
    "cpu.cfs_quota_us": 20000,
    "cpu.cfs_period_us": 50000,
    "cpuset.cpus": 0,
    "cpuset.mems": 0,
    "pids.max": 40,
}


def read_back(container: Container) -> dict[str, int | str]:
    """Those settings that WHOLE sets."""
    return {name: value(container, name) for name in READ_BACK}


@pytest.mark.rows("R294")
@pytest.mark.parametrize(
    "form", ["-r FILE", "--resources=FILE", "-r -", "--resources=-", "-r /dev/fd/3"]
)
def test_a_document(container: Container, form: str, workplace: Path) -> None:
    file = workplace / "resources.json"
    file.write_text(json.dumps(WHOLE))
    settings: dict[str, Any] = {}
    if form.endswith("-"):
        settings["stdin"] = json.dumps(WHOLE)
    if form.endswith("3"):
        settings["redirections"] = f"3<{file}"
    container.create()
    update(container, *form.replace("FILE", str(file)).split(), **settings)
    assert read_back(container) == READ_BACK


@pytest.mark.rows("R294")
def test_a_document_out_of_a_pipe(container: Container, workplace: Path) -> None:
    pipe = workplace / "pipe"
    container.create()
    before = f"mkfifo {pipe}; printf '%s' '{json.dumps(WHOLE)}' >{pipe} &"
    update(container, "-r", str(pipe), before=before)
    assert read_back(container) == READ_BACK


@pytest.mark.departs("crun", "R294 1.8 minds the zeros")
@pytest.mark.rows("R294")
def test_zeros_of_an_engine_mean_unchanged(container: Container) -> None:
    container.bundle.resources.update(WHOLE)
    container.create()
    document(
        container,
        {
            "memory": {"limit": 48 * MIB, "reservation": 0, "swap": 0, "kernel": 0, "kernelTCP": 0},
            "cpu": {
                "shares": 0,
                "quota": 0,
                "period": 0,
                "realtimeRuntime": 0,
                "realtimePeriod": 0,
                "cpus": "",
                "mems": "",
            },
            "blockIO": {"weight": 0},
            "pids": {"limit": 0},
        },
    )
    assert read_back(container) == {**READ_BACK, "memory.limit_in_bytes": 48 * MIB}


@pytest.mark.departs("crun", "R294 1.8 applies the devices")
@pytest.mark.rows("R294")
def test_devices_are_left_alone(container: Container, bundle: Bundle) -> None:
    """A rule that denies all is what Kubernetes sends with every update."""
    bundle.sh("echo ready; while [ ! -e /go ]; do sleep 0.05; done; echo x >/dev/null && echo fine")
    listed = setting_file(container, "devices.list")
    container.create().start()
    container.wait_output("ready")
    before = listed.read_text()
    document(container, {"devices": [{"allow": False, "access": "rwm"}], "pids": {"limit": 40}})
    assert value(container, "pids.max") == 40
    assert listed.read_text() == before
    (bundle.rootfs / "go").touch()
    container.wait_output("fine")


@pytest.mark.departs("runc", "R3 1.1 crashes on a section that is null")
@pytest.mark.departs("crun", "R3 1.8 looks for the controller of an empty section")
@pytest.mark.rows("R294", "R3")
def test_unknown_members_and_nulls_are_ignored(container: Container) -> None:
    container.create()
    resources = {"unknown": [1], "memory": None, "pids": {"limit": 40, "x": 1}, "network": {}}
    document(container, resources)
    assert value(container, "pids.max") == 40


@pytest.mark.rows("R294")
def test_a_document_makes_the_flags_void(container: Container) -> None:
    container.create()
    update(container, "-r", "-", "--cpu-share", "500", stdin='{"cpu": {"shares": 300}}')
    assert value(container, "cpu.shares") == 300


@pytest.mark.departs("crun", "R196 1.8 writes what comes before it")
@pytest.mark.rows("R196", "R294")
def test_unified_on_v1_is_refused(container: Container) -> None:
    hierarchy("memory")
    container.create()
    refused_document(container, '{"pids": {"limit": 40}, "unified": {"memory.high": "1"}}')
    assert value(container, "pids.max") != 40


# refusals


def refused(container: Container, *flags: str, **settings: Any) -> str:
    """Update, which must fail; what it said."""
    return container.runtime.refused("update", *flags, container.id, **settings).stderr


def refused_document(container: Container, text: str) -> str:
    """Update by a document, which must fail; what it said."""
    return refused(container, "-r", "-", stdin=text)


@pytest.mark.departs("crun", "R294 1.8 reads what it can of a number")
@pytest.mark.rows("R4", "R294")
@pytest.mark.parametrize(
    ("flags", "text"),
    [
        ("--memory abc", "invalid value for memory: invalid size: 'abc'"),
        ("--memory=-5", "invalid value for memory: invalid size: '-5'"),
        ("--memory 1x", "invalid value for memory: invalid"),
        ("--memory-swap 1MM", "invalid value for memory-swap: invalid"),
        ("--cpu-share x", "invalid value for cpu-share: "),
        ("--cpu-share=-1", "invalid value for cpu-share: "),
        ("--cpu-period 18446744073709551616", "value out of range"),
        ("--cpu-quota 1.5", "invalid value for cpu-quota: "),
        ("--pids-limit x", "pids-limit"),
        ("--blkio-weight x", "blkio-weight"),
    ],
)
def test_a_value_that_is_none(container: Container, flags: str, text: str) -> None:
    container.create()
    result = container.runtime.refused("update", *flags.split(), container.id)
    assert text in result.stdout + result.stderr


@pytest.mark.departs("crun", "R294 1.8 does not look closely")
@pytest.mark.rows("R294")
@pytest.mark.parametrize(
    "text", ["", "{", '{"memory": {"limit": "64M"}}', '{"pids": 40}', "[]", '"text"']
)
def test_a_document_that_is_none(container: Container, text: str) -> None:
    container.create()
    refused_document(container, text)


@pytest.mark.rows("R294")
def test_a_file_that_is_missing(container: Container) -> None:
    container.create()
    assert "no such file or directory" in refused(container, "-r", "/nosuch.json").lower()


@pytest.mark.departs("runc", "R294 1.1 stops setting back at the first refusal")
@pytest.mark.departs("crun", "R294 1.8 writes what comes before it")
@pytest.mark.rows("R294")
def test_the_first_refusal_of_the_kernel_undoes_all(container: Container) -> None:
    """On version 1; on version 2 by test_v2_limits."""
    for controller in ("memory", "cpu", "pids"):
        hierarchy(controller)
    container.bundle.resources.update(
        memory={"limit": 64 * MIB}, cpu={"shares": 300}, pids={"limit": 50}
    )
    container.create()
    flags = f"--memory {48 * MIB} --pids-limit 40 --cpu-share 400 --cpu-quota 1"
    assert "cpu.cfs_quota_us" in refused(container, *flags.split())
    assert value(container, "memory.limit_in_bytes") == 64 * MIB
    assert value(container, "cpu.shares") == 300
    assert value(container, "pids.max") == 50
    update(container, "--cpu-quota", "30000")
    assert value(container, "pids.max") == 50


@pytest.mark.rows("R171", "R294")
def test_less_memory_than_is_in_use_is_refused(container: Container, bundle: Bundle) -> None:
    bundle.sh("dd if=/dev/zero of=/dev/shm/f bs=1M count=24 2>/dev/null; echo full; sleep 1000")
    bundle.resources["memory"] = {"limit": 64 * MIB, "swap": 64 * MIB}
    setting_file(container, "memory.memsw.limit_in_bytes")
    container.create().start()
    container.wait_output("full")
    refused(container, "--memory", str(8 * MIB), "--memory-swap", str(8 * MIB))
    assert value(container, "memory.limit_in_bytes") == 64 * MIB
    assert container.status() == "running"


@pytest.mark.departs("crun", "R294 words of its own")
@pytest.mark.rows("R294")
def test_a_stopped_container_is_refused(container: Container) -> None:
    container.create().start().stop()
    assert "container not running" in refused(container, "--pids-limit", "10")


@pytest.mark.departs("crun", "R294 1.8 says nothing")
@pytest.mark.rows("R294")
@pytest.mark.parametrize("flag", ["--l3-cache-schema", "--mem-bw-schema"])
def test_resctrl_that_is_not_there(container: Container, flag: str) -> None:
    if Path("/sys/fs/resctrl/schemata").exists():
        pytest.skip("this host has resctrl")
    container.create()
    assert "schema is not enabled" in refused(container, flag, "L3:0=f")


# beside it


@pytest.mark.rows("R294", "R55")
def test_the_container_lives_on_by_its_config(
    container: Container, bundle: Bundle, workplace: Path
) -> None:
    mark = workplace / "poststop"
    bundle.hook("poststop", f"echo ran >{mark}")
    container.create()
    update(container, "--pids-limit", "40")
    container.start().stop().delete()
    assert mark.read_text() == "ran\n"


@CRUN_SIZES
@pytest.mark.rows("R294")
def test_the_same_as_runc(container: Container, workplace: Path, busybox: Path) -> None:
    """Every settable number of the cgroups is what runc makes it by the same updates."""
    updates = [
        ["--memory", "64M", "--memory-swap", "96M", "--memory-reservation", "16M"],
        ["--cpu-share", "300", "--cpu-quota", "20000"],
        ["--cpu-period", "50000", "--cpuset-cpus", "0", "--pids-limit", "30"],
        ["--memory", "-1"],
    ]
    with runc_container(workplace, busybox) as peer:
        for one in (container, peer):
            one.create().start()
            for flags in updates:
                update(one, *flags)
        assert settings(container) == settings(peer)


def settings(container: Container) -> dict[str, int | str]:
    """The settings that an update can change, and a few that it must not."""
    names = [
        *READ_BACK,
        "memory.memsw.limit_in_bytes",
        "memory.kmem.limit_in_bytes",
        "memory.swappiness",
        "cpu.cfs_burst_us",
        "cpu.idle",
        "freezer.state",
    ]
    rules = setting_file(container, "devices.list").read_text().splitlines()
    return {"devices": " ".join(sorted(rules)), **{name: value(container, name) for name in names}}
