"""The container's scope: what systemd knows of it, and what the cgroup's files say."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from conformance.conftest import MakeContainer
from conformance.runtime import Container, Runtime, wait_for
from tests.systemd.conftest import UnderSystemd, Unit, clean, systemctl, unit_of

MIB = 1 << 20
RESOURCES = {
    "pids": {"limit": 55},
    "memory": {"limit": 100 * MIB, "swap": 150 * MIB, "reservation": 50 * MIB},
    "cpu": {"quota": 12345, "period": 50000, "cpus": "0", "mems": "0"},
    "unified": {"memory.high": str(90 * MIB)},
}
FILES = """memory.max memory.swap.max memory.low memory.high cpu.max cpu.weight pids.max cpuset.cpus
cpuset.mems io.weight""".split()
PROPERTIES = {
    "MemoryMax": str(100 * MIB),
    "MemorySwapMax": str(50 * MIB),
    "MemoryLow": str(50 * MIB),
    "MemoryHigh": str(90 * MIB),
    "CPUQuotaPerSecUSec": "250ms",
    "CPUQuotaPeriodUSec": "50ms",
    "TasksMax": "55",
    "AllowedCPUs": "0",
    "AllowedMemoryNodes": "0",
    "Delegate": "yes",
    "DefaultDependencies": "no",
    "Slice": "system.slice",
    "ActiveState": "active",
    "MemoryAccounting": "yes",
    "TasksAccounting": "yes",
    "OOMPolicy": "continue",
}


def files(unit: Unit) -> dict[str, str]:
    return {name: unit.read(name) for name in FILES if (unit.directory / name).exists()}


def names(runtime: Runtime) -> list[str]:
    """What lies in the runtime's root."""
    return os.listdir(runtime.root) if runtime.root.exists() else []


@pytest.mark.rows("R160", "R161", "R171", "R172", "R173", "R181", "R185", "R187", "R196")
def test_limits_are_properties_and_files(container: Container, unit: Unit) -> None:
    container.bundle.linux["resources"] = RESOURCES
    container.create()
    shown = dict(zip(PROPERTIES, unit.show(*PROPERTIES), strict=True))
    assert shown == PROPERTIES
    found = files(unit)
    assert found["memory.max"] == str(100 * MIB)
    assert found["cpu.max"] == "12345 50000"  # what systemd rounds is exact here
    assert found["pids.max"] == "55"
    assert unit.read("cgroup.procs") == str(container.pid)
    assert Path(f"/proc/{container.pid}/cgroup").read_text().endswith(f"/{unit.name}\n")
    status = systemctl("status", unit.name)
    assert f"pyruntime container {container.id}" in status
    assert str(container.pid) in status


@pytest.mark.rows("R160", "R196")
def test_limits_survive_systemd(container: Container, unit: Unit) -> None:
    """A reload, and a property set by the administrator, for which systemd writes files anew."""
    container.bundle.linux["resources"] = RESOURCES
    container.create().start()
    before = files(unit)
    systemctl("daemon-reload")
    assert files(unit) == before
    systemctl("set-property", "--runtime", unit.name, "CPUWeight=77", "IOWeight=88")
    after = files(unit)
    assert after["cpu.weight"] == "77"
    for changed in ("cpu.weight", "cpu.max", "io.weight"):
        before.pop(changed, None)
        after.pop(changed, None)
    assert after == before
    # All of the controller cpu is written: the quota as systemd keeps it, never a smaller one.
    assert unit.read("cpu.max") in ("12345 50000", "12500 50000")


@pytest.mark.rows("R160", "R186", "R188", "R196")
def test_limits_of_other_kinds_survive_systemd(container: Container, unit: Unit) -> None:
    """An idle cgroup has a weight of its own for systemd; `unified` counts as its files."""
    unified = {
        "memory.min": str(MIB),
        "io.weight": "default 77",
    }
    container.bundle.linux["resources"] = {"cpu": {"idle": 1}, "unified": unified}
    container.create().start()
    expected = {"cpu.idle": "1", **unified}
    for _ in range(2):
        assert {name: unit.read(name) for name in expected} == expected
        assert unit.show("MemoryMin", "IOWeight") == [str(MIB), "77"]
        assert unit.show("CPUWeight")[0] in ("idle", "0")
        systemctl("daemon-reload")


@pytest.mark.rows("R160", "R164")
def test_delegation(container: Container, unit: Unit) -> None:
    """What a container makes of its own part of the tree is left alone by systemd."""
    bundle = container.bundle
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    bundle.namespace("cgroup")
    bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", ["nosuid", "noexec", "nodev"])
    bundle.sh(
        "cd /sys/fs/cgroup && mkdir mine && echo $$ >mine/cgroup.procs"
        " && echo +pids >cgroup.subtree_control && echo 33 >mine/pids.max"
        " && cat /proc/self/cgroup; sleep 1000"
    )
    container.create().start()
    container.wait_output("0::/mine\n")
    for _ in range(2):
        assert unit.directory.stat().st_uid == 1000
        assert (unit.directory / "cgroup.procs").stat().st_uid == 1000
        assert (unit.directory / "pids.max").stat().st_uid == 0
        assert unit.read("mine/cgroup.procs") == str(container.pid)
        assert unit.read("mine/pids.max") == "33"
        assert "pids" in unit.read("cgroup.subtree_control").split()
        result = container.exec("cat", "/proc/self/cgroup")
        assert result.stdout == "0::/mine\n", str(result)
        systemctl("daemon-reload")
        systemctl("set-property", "--runtime", unit.name, "CPUWeight=77")
    container.delete("--force")
    assert not unit.loaded()


@pytest.mark.rows("R170")
def test_devices_stay_refused_after_a_reload(container: Container, unit: Unit) -> None:
    container.bundle.linux["resources"] = {
        "devices": [
            {"allow": False, "access": "rwm"},
            {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "m"},
        ]
    }
    container.bundle.capability("CAP_MKNOD")
    container.create().start()
    script = "rm -f /dev/k; mknod /dev/k c 1 11 && cat /dev/k; cat /dev/null && echo null"
    for _ in range(2):
        result = container.exec("sh", "-c", script)
        assert "/dev/k': Operation not permitted" in result.stderr, str(result)
        assert result.stdout == "null\n"
        systemctl("daemon-reload")
        systemctl("set-property", "--runtime", unit.name, "CPUWeight=77")


@pytest.mark.rows("R192")
def test_a_controller_that_systemd_does_not_know(container: Container, unit: Unit) -> None:
    if not Path("/sys/kernel/mm/hugepages/hugepages-2048kB").exists():
        pytest.skip("no huge pages of 2 MB")
    container.bundle.resources["hugepageLimits"] = [{"pageSize": "2MB", "limit": 4 * MIB}]
    container.create()
    assert unit.read("hugetlb.2MB.max") == str(4 * MIB)
    systemctl("daemon-reload")
    assert unit.read("hugetlb.2MB.max") == str(4 * MIB)


@pytest.mark.rows("R161")
def test_the_program_is_in_the_scope_and_its_namespace_begins_there(
    container: Container, unit: Unit, workplace: Path
) -> None:
    seen = workplace / "hook"
    container.bundle.hook("createContainer", f"cat /proc/self/cgroup >{seen}")
    container.bundle.namespace("cgroup").sh("cat /proc/self/cgroup; sleep 1000")
    container.create().start()
    container.wait_output("0::/\n")
    assert seen.read_text() == "0::/\n"
    result = container.exec("cat", "/proc/self/cgroup")
    assert result.stdout == "0::/\n", str(result)


@pytest.mark.rows("R160", "R161")
def test_exec_goes_into_the_scope(container: Container, unit: Unit) -> None:
    container.create().start()
    result = container.exec("cat", "/proc/self/cgroup")
    assert result.stdout.strip().endswith(f"/system.slice/{unit.name}"), str(result)


@pytest.mark.rows("R160")
def test_without_a_path(container: Container) -> None:
    del container.bundle.linux["cgroupsPath"]
    container.create()
    unit = unit_of(container)
    assert unit.name == f"pyruntime-{container.id}.scope"
    assert unit.show("ControlGroup") == [f"/system.slice/{unit.name}"]


@pytest.mark.rows("R160")
def test_slices_as_kubernetes_has_them(container: Container) -> None:
    pod = f"kubepods-burstable-pod{container.id.replace('-', '_')}.slice"
    container.bundle.linux["cgroupsPath"] = f"{pod}:cri-containerd:{container.id}"
    container.bundle.resources["memory"] = {"limit": 100 * MIB}
    container.create().start()
    unit = unit_of(container)
    place = f"/kubepods.slice/kubepods-burstable.slice/{pod}/cri-containerd-{container.id}.scope"
    assert unit.show("ControlGroup", "Slice") == [place, pod]
    assert unit.read("memory.max") == str(100 * MIB)
    container.delete("--force")
    unit.gone()


@pytest.mark.rows("R160")
def test_a_slice_instead_of_a_scope(container: Container) -> None:
    name = f"pyrt{container.id.replace('-', '_')}.slice"
    container.bundle.linux["cgroupsPath"] = f"-::{name}"
    container.bundle.resources["pids"] = {"limit": 20}
    container.create().start()
    unit = unit_of(container)
    assert unit.show("ControlGroup", "TasksMax") == ["/" + name, "20"]
    assert unit.read("cgroup.procs") == str(container.pid)
    container.delete("--force")
    # systemd knows every slice that could be, so this one is never forgotten.
    assert unit.show("ActiveState") == ["inactive"]
    assert not Path("/sys/fs/cgroup", name).exists()


@pytest.mark.rows("R160", "R4")
@pytest.mark.parametrize("path", ["/a/b", "a:b", "a.slice:b:", "a--b.slice:c:d", "x/y:b:c"])
def test_a_path_of_another_form(container: Container, path: str) -> None:
    container.bundle.linux["cgroupsPath"] = path
    result = container.runtime.check_refused(container.try_create())
    assert "linux.cgroupsPath: " in result.stderr
    container.bundle.linux["cgroupsPath"] = f":test:{container.id}"


@pytest.mark.rows("R187")
@pytest.mark.parametrize("limit", [0, 1, 2])
def test_a_limit_of_few_tasks(container: Container, unit: Unit, limit: int) -> None:
    container.bundle.config["ociVersion"] = "1.3.0"
    container.bundle.resources["pids"] = {"limit": limit}
    container.create()
    assert unit.read("pids.max") == str(limit)
    if limit:
        assert unit.show("TasksMax") == [str(limit)]
    systemctl("daemon-reload")
    assert unit.read("pids.max") == str(limit)
    container.start()
    assert container.status() == "running"


# Annotations


@pytest.mark.rows("R252")
def test_properties_from_annotations(container: Container, unit: Unit) -> None:
    container.bundle.config["annotations"] = {
        "org.systemd.property.TimeoutStopUSec": "uint64 10000000",
        "org.systemd.property.RuntimeMaxSec": "600",
        "org.systemd.property.KillSignal": "10",
        "org.systemd.property.SendSIGHUP": "true",
        "org.systemd.property.CollectMode": "'inactive'",
        "org.systemd.property.Documentation": "['https://example.org/']",
    }
    container.create()
    asked = "TimeoutStopUSec RuntimeMaxUSec KillSignal SendSIGHUP CollectMode Documentation"
    wanted = ["10s", "10min", "10", "yes", "inactive", "https://example.org/"]
    assert unit.show(*asked.split()) == wanted


@pytest.mark.rows("R252", "R4")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KillSignal", "SIGTERM"),
        ("KillSignal", "'x'"),
        ("KillSignal", "9999"),
        ("NoSuchProperty", "1"),
        ("KS", "1"),
        ("PIDs", "[uint32 1]"),
        ("Slice", "'user.slice'"),
    ],
)
def test_bad_annotations(container: Container, unit: Unit, name: str, value: str) -> None:
    container.bundle.config["annotations"] = {f"org.systemd.property.{name}": value}
    result = container.runtime.check_refused(container.try_create())
    assert f"annotations[org.systemd.property.{name}]: " in result.stderr, str(result)
    assert not unit.loaded()
    assert names(container.runtime) == []


# The verbs


@pytest.mark.rows("R294")
def test_update(container: Container, unit: Unit) -> None:
    container.bundle.linux["resources"] = RESOURCES
    container.create().start()
    container.runtime.ok(
        "update", "--memory", str(200 * MIB), "--memory-swap", str(300 * MIB), "--pids-limit", "66",
        "--cpu-quota", "23456", container.id,
    )  # fmt: skip
    assert unit.show("MemoryMax", "MemorySwapMax", "TasksMax", "CPUQuotaPerSecUSec") == [
        str(200 * MIB), str(100 * MIB), "66", "470ms",
    ]  # fmt: skip
    wanted = {"memory.max": str(200 * MIB), "pids.max": "66", "cpu.max": "23456 50000"}
    assert {name: unit.read(name) for name in wanted} == wanted
    systemctl("daemon-reload")
    assert {name: unit.read(name) for name in wanted} == wanted


@pytest.mark.rows("R294")
def test_an_update_that_is_refused_changes_nothing(container: Container, unit: Unit) -> None:
    container.bundle.linux["resources"] = RESOURCES
    container.create().start()
    before, shown = files(unit), unit.show(*PROPERTIES)
    document = {"pids": {"limit": 66}, "unified": {"memory.max": str(300 * MIB), "x.y": "1"}}
    result = container.runtime.run(
        "update", "--resources", "-", container.id, stdin=json.dumps(document)
    )
    assert result.status == 1, str(result)
    assert "x.y" in result.stderr
    assert files(unit) == before
    assert unit.show(*PROPERTIES) == shown


@pytest.mark.rows("R292", "R295")
def test_pause_events_and_kill(container: Container, unit: Unit) -> None:
    container.create().start()
    container.runtime.ok("pause", container.id)
    assert container.status() == "paused"
    assert unit.read("cgroup.freeze") == "1"
    container.runtime.ok("resume", container.id)
    stats = container.runtime.ok("events", "--stats", container.id).json()
    assert stats["data"]["pids"]["current"] == 1
    container.stop()
    unit.gone()
    container.delete()


@pytest.mark.rows("R39", "R293")
def test_delete_forgets_the_unit_at_once(container: Container, unit: Unit) -> None:
    for _ in range(2):  # so that the name can be used again
        container.create().start()
        container.delete("--force")
        assert not unit.loaded()
    assert names(container.runtime) == []


@pytest.mark.rows("R39")
def test_a_container_that_ends_by_itself(container: Container, unit: Unit) -> None:
    container.bundle.sh("echo done")
    assert container.finish() == "done\n"
    container.delete()
    assert not unit.loaded()


@pytest.mark.rows("R39", "R293")
def test_groups_below_are_removed_too(container: Container, unit: Unit) -> None:
    container.create().start()
    (unit.directory / "a/b").mkdir(parents=True)
    container.delete("--force")
    assert not unit.loaded()


@pytest.mark.rows("R39")
def test_out_of_memory_leaves_no_failed_unit(container: Container, unit: Unit) -> None:
    container.bundle.resources["memory"] = {"limit": 16 * MIB, "swap": 16 * MIB}
    container.bundle.sh("tail /dev/zero")
    container.create().start().wait_stopped()
    unit.gone()
    container.delete()


@pytest.mark.rows("R163", "R160")
def test_two_containers_cannot_have_one_unit(
    container: Container, unit: Unit, make_container: MakeContainer
) -> None:
    container.create().start()
    other = make_container()
    other.bundle.linux["cgroupsPath"] = container.bundle.linux["cgroupsPath"]
    result = container.runtime.check_refused(other.try_create())
    assert "is not empty: processes" in result.stderr
    assert container.status() == "running"
    assert unit.show("ActiveState") == ["active"]
    other.runtime.containers.remove(other)


# Failures


@pytest.mark.rows("R1", "R40")
@pytest.mark.parametrize("fault", ["hook", "mount", "limit", "program", "hook inside"])
def test_a_failed_create_leaves_no_unit(container: Container, unit: Unit, fault: str) -> None:
    bundle = container.bundle
    if fault == "hook":
        bundle.hook("createRuntime", "exit 3")
    elif fault == "hook inside":
        bundle.hook("createContainer", "exit 3")
    elif fault == "mount":
        bundle.mount("/x", "nosuchfs", "x")
    elif fault == "limit":
        bundle.resources["unified"] = {"memory.max": "much"}
    else:
        bundle.args("/no/such/program")
    container.runtime.check_refused(container.try_create())
    assert not unit.loaded()
    assert names(container.runtime) == []


@pytest.mark.rows("R1", "R293")
def test_the_runtime_is_killed(container: Container, unit: Unit) -> None:
    container.bundle.hook("createRuntime", "kill -9 $PPID")
    assert container.try_create().status == -signal.SIGKILL
    container.delete("--force")
    assert not unit.loaded()
    assert names(container.runtime) == []


@pytest.mark.rows("R1", "R293")
def test_every_failing_operation_leaves_no_unit(container: Container, unit: Unit) -> None:
    """A sample of them; tests/root/ tries each one without systemd."""
    container.bundle.save()
    plan = container.runtime.ok("plan", "--json", "--bundle", str(container.bundle.path)).json()
    step = len(plan) // 6
    for index in range(step, len(plan) - 1, step):
        result = container.try_create(env={**os.environ, "PYRUNTIME_FAIL": f"{index}:5"})
        if result.status == 0:  # pardoned
            container.delete("--force")
        assert not unit.loaded(), f"operation {index}"
        assert names(container.runtime) == [], f"operation {index}"


# Others


@pytest.mark.rows("R160")
@pytest.mark.parametrize("name", ["runc", "crun"])
def test_as_other_runtimes_have_it(
    container: Container, unit: Unit, workplace: Path, name: str, make_container: MakeContainer
) -> None:
    """Properties that ours and theirs give the same container."""
    program = shutil.which(name)
    if program is None:
        pytest.skip(f"no {name}")
    container.bundle.linux["resources"] = {
        **RESOURCES,
        "memory": {"limit": 100 * MIB, "reservation": 50 * MIB},
    }
    container.create()
    theirs = UnderSystemd(program, name, workplace / name)
    (workplace / name).mkdir()
    other = Container(theirs, container.bundle, f"{container.id}-{name}")
    container.bundle.linux["cgroupsPath"] = f"system.slice:test:{other.id}"
    same = [each for each in PROPERTIES if each not in ("MemorySwapMax", "AllowedMemoryNodes")]
    try:
        other.create()
        assert unit_of(other).show(*same) == unit.show(*same)
    finally:
        clean(theirs)
        container.bundle.linux["cgroupsPath"] = f"system.slice:test:{container.id}"


@pytest.mark.rows("R160")
def test_podman(workplace: Path, busybox: Path, runtime: Runtime) -> None:
    """Podman's own choice of a manager: systemd."""
    podman = shutil.which("podman")
    if podman is None:
        pytest.skip("no podman")
    rootfs = workplace / "rootfs"
    (rootfs / "bin").mkdir(parents=True)
    shutil.copy(busybox, rootfs / "bin/sh")
    name = f"pyrt-{os.getpid()}-{os.urandom(3).hex()}"
    command = [
        podman, "--root", str(workplace / "store"), "--runroot", str(workplace / "run"),
        "--runtime", runtime.program, "--cgroup-manager", "systemd",
        "run", "--name", name, "--rm", "--network=none", "--pids-limit", "44", "--memory", "64m",
        "--rootfs", str(rootfs), "/bin/sh", "-c",
        "cat /proc/self/cgroup /sys/fs/cgroup/pids.max /sys/fs/cgroup/memory.max",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.split()
    assert lines[1:] == ["44", str(64 * MIB)], done.stdout


def test_the_bus_is_not_loaded_by_commands_that_do_not_need_it(container: Container) -> None:
    container.create()
    assert container.runtime.program
    wait_for(lambda: container.status() == "created", "the container")
    result = subprocess.run(
        [
            "/usr/bin/python3", "-IS", "-X", "importtime", container.runtime.program,
            "--root", str(container.runtime.root), "--systemd-cgroup", "state", container.id,
        ],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "jeepney" not in result.stderr
    assert "pyruntime.cgroups.bus" not in result.stderr


def test_doctor_finds_systemd(runtime: Runtime) -> None:
    found = runtime.run("doctor", "--json").json()["findings"]
    (systemd,) = [each for each in found if each["name"] == "systemd"]
    assert systemd["state"] == "yes"
    assert "the system's manager at /" in systemd["detail"]
