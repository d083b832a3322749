"""Engines that let systemd make cgroups: units, files and ends are the same with any runtime.

Each test runs with pyruntime, with runc and with crun: what it asserts holds for all three.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conformance.runtime import wait_for
from tests.engines import image
from tests.systemd.conftest import Unit, systemctl
from tests.systemd.engines import (
    FOREVER,
    RUN,
    RUNTIMES,
    SERVICE,
    Containerd,
    Podman,
    frozen,
    metric,
    need,
    nothing_left,
    processes_in,
    program_of,
    run,
    write_image,
)

MIB = 1 << 20

# What differs from container to container.
THEIR_OWN = re.compile(
    "Id|Names|Description|ControlGroup|InvocationID|FragmentPath|DropInPaths|.*Timestamp"
    "|.*(Current|Peak|NSec|Bytes|Operations|Packets|Available)$"
)
# What differs from runtime to runtime. Theirs tell systemd of devices too, and of swap something
# else than the file says: runc nothing where there is to be none, crun the sum with memory.
DIFFERENT = {
    "runc": {"CollectMode", "DeviceAllow", "DevicePolicy", "MemorySwapMax"},
    "crun": {"CollectMode", "DeviceAllow", "DevicePolicy", "MemorySwapMax", "IOAccounting"},
}


def name_of() -> str:
    """A name that no other container has."""
    return f"pyrt{os.getpid()}x{os.urandom(3).hex()}"


def expect(unit: Unit, properties: dict[str, str], files: dict[str, str]) -> None:
    """What systemd knows, what the kernel does; and both again after systemd has written anew."""
    for _ in range(2):
        shown = dict(zip(properties, unit.show(*properties), strict=True))
        assert shown == properties
        assert {name: unit.read(name) for name in files} == files
        systemctl("daemon-reload")


@pytest.fixture(params=RUNTIMES)
def podman(request: pytest.FixtureRequest, workplace: Path) -> Iterator[Podman]:
    """Podman on each runtime."""
    made = Podman(workplace, request.param)
    yield made
    made.clean()


# Podman


@pytest.mark.rows("R160", "R161", "R171", "R172", "R187")
def test_podman_limits_and_update(podman: Podman) -> None:
    name = name_of()
    identifier = podman.start(
        "--name", name, "--network", "none", "--memory", "64m", "--memory-swap", "96m",
        "--memory-reservation", "32m", "--pids-limit", "44", "--cpus", "0.5",
        "--cpuset-cpus", "0",
    )  # fmt: skip
    unit = Unit(f"libpod-{identifier}.scope")
    place = {
        "Slice": "machine.slice",
        "ControlGroup": f"/machine.slice/{unit.name}",
        "Delegate": "yes",
        "ActiveState": "active",
    }
    limits = {
        "MemoryMax": str(64 * MIB),
        "MemorySwapMax": str(32 * MIB),
        "MemoryLow": str(32 * MIB),
        "TasksMax": "44",
        "CPUQuotaPerSecUSec": "500ms",
        "AllowedCPUs": "0",
    }
    if podman.runtime == "crun":  # tells systemd the sum of memory and swap
        del limits["MemorySwapMax"]
    expect(
        unit,
        place | limits,
        {"memory.max": str(64 * MIB), "pids.max": "44", "cpu.max": "50000 100000"},
    )
    podman.run("update", "--memory", "128m", "--pids-limit", "55", "--cpus", "0.25", name)
    expect(
        unit,
        place | {"MemoryMax": str(128 * MIB), "TasksMax": "55", "CPUQuotaPerSecUSec": "250ms"},
        {"memory.max": str(128 * MIB), "pids.max": "55", "cpu.max": "25000 100000"},
    )
    podman.run("rm", "--force", "--time", "0", name)
    nothing_left(podman.root, identifier)


@pytest.mark.rows("R160")
@pytest.mark.parametrize("other", RUNTIMES[1:])
def test_podman_units_are_those_of_another_runtime(workplace: Path, other: str) -> None:
    """All that `systemctl show` knows of two containers, but for names, times and figures."""
    program_of(other)
    options = [
        "--network", "none", "--memory", "64m", "--memory-swap", "64m", "--pids-limit", "44",
        "--cpus", "0.5", "--cpuset-cpus", "0",
    ]  # fmt: skip
    shown = []
    for runtime in ("pyruntime", other):
        (workplace / runtime).mkdir()
        podman = Podman(workplace / runtime, runtime)
        try:
            identifier = podman.start(*options)
            shown.append(properties(Unit(f"libpod-{identifier}.scope")))
        finally:
            podman.clean()
    ours, theirs = shown
    names = [name for name in {**ours, **theirs} if not THEIR_OWN.match(name)]
    found = {
        name: (ours.get(name), theirs.get(name))
        for name in names
        if ours.get(name) != theirs.get(name)
    }
    assert set(found) <= DIFFERENT[other], found


def properties(unit: Unit) -> dict[str, str]:
    """All of a unit's properties, as text."""
    lines = systemctl("show", "--all", unit.name).splitlines()
    return dict(line.partition("=")[::2] for line in lines)


@pytest.mark.rows("R160", "R292", "R293")
def test_podman_exec_pause_stats_stop(podman: Podman) -> None:
    name = name_of()
    identifier = podman.start("--name", name, "--network", "none", "--pids-limit", "44")
    unit = Unit(f"libpod-{identifier}.scope")
    assert podman.run("exec", name, "sh", "-c", "echo in; cat /proc/1/comm") == "in\nsleep"
    wait_for(lambda: len(processes_in(unit)) == 1, "the end of the shell in the scope")
    podman.run("exec", "--detach", name, *FOREVER)
    wait_for(lambda: len(processes_in(unit)) == 2, "both processes in the scope")
    assert podman.run("stats", "--no-stream", "--format", "{{.PIDS}}", name) == "2"
    podman.run("pause", name)
    wait_for(lambda: frozen(unit), "the scope is frozen")
    assert podman.inspect(name, "{{.State.Status}}") == "paused"
    podman.run("unpause", name)
    wait_for(lambda: not frozen(unit), "the scope is thawed")
    podman.run("stop", "--time", "1", name)
    assert podman.inspect(name, "{{.State.Status}} {{.State.ExitCode}}") == "exited 137"
    unit.gone()
    podman.run("start", name)  # the unit's name is used again
    assert len(processes_in(unit)) == 1
    podman.run("kill", name)
    podman.run("wait", name)
    podman.run("rm", name)
    nothing_left(podman.root, identifier)


@pytest.mark.rows("R160", "R39")
def test_podman_out_of_memory(podman: Podman) -> None:
    name = name_of()
    limits = ("--memory", "16m", "--memory-swap", "16m")
    command = ["tail", "/dev/zero"]
    identifier = podman.start("--name", name, "--network", "none", *limits, command=command)
    podman.run("wait", name)
    # Not {{.State.OOMKilled}}: conmon may stop watching before memory has run out.
    assert podman.inspect(name, "{{.State.ExitCode}}") == "137"
    Unit(f"libpod-{identifier}.scope").gone()
    podman.run("rm", name)
    nothing_left(podman.root, identifier)


@pytest.mark.rows("R160")
def test_podman_pod(podman: Podman) -> None:
    """The pod's slice is Podman's, with limits of its own; containers are scopes in it."""
    name = name_of()
    pod = podman.run(
        "pod", "create", "--name", name, "--network", "none", "--memory", "200m",
        "--infra-image", image.NAME, "--infra-command", " ".join(FOREVER),
    )  # fmt: skip
    identifier = podman.start(
        "--pod", name, "--memory", "64m", "--health-cmd", "test -e /tmp/well",
        "--health-interval", "disable",
    )  # fmt: skip
    infra = podman.run("pod", "inspect", "--format", "{{.InfraContainerID}}", name)
    group = Unit(f"machine-libpod_pod_{pod}.slice")
    place = f"/machine.slice/{group.name}"
    assert group.show("ControlGroup", "MemoryMax") == [place, str(200 * MIB)]
    assert group.read("memory.max") == str(200 * MIB)
    for each in (identifier, infra):
        unit = Unit(f"libpod-{each}.scope")
        shown = unit.show("Slice", "ControlGroup")
        assert shown == [group.name, f"{place}/{unit.name}"]
        assert len(processes_in(unit)) == 1
    unit = Unit(f"libpod-{identifier}.scope")
    expect(unit, {"MemoryMax": str(64 * MIB)}, {"memory.max": str(64 * MIB)})
    podman.run("healthcheck", "run", identifier, status=1)
    podman.run("exec", identifier, "touch", "/tmp/well")
    podman.run("healthcheck", "run", identifier)
    podman.run("pod", "pause", name)
    wait_for(lambda: frozen(unit), "the scope is frozen")
    podman.run("pod", "unpause", name)
    podman.run("pod", "stop", "--time", "0", name)
    podman.run("pod", "rm", name)
    for each in (identifier, infra, pod):
        nothing_left(podman.root, each)


@pytest.mark.rows("R72")
def test_podman_under_apparmor(podman: Podman) -> None:
    """Podman's own profile, for what a container begins with and for what is executed in it."""
    enabled = Path("/sys/module/apparmor/parameters/enabled")
    if not enabled.exists() or not enabled.read_text().startswith("Y"):
        pytest.skip("AppArmor is not enabled on this host")
    need("apparmor_parser")
    for options, wanted in (
        ((), r"containers-default-\S+ \(enforce\)"),
        (("--security-opt", "apparmor=unconfined"), "unconfined"),
    ):
        identifier = podman.start("--network", "none", *options)
        pid = podman.inspect(identifier, "{{.State.Pid}}")
        first = Path(f"/proc/{pid}/attr/apparmor/current").read_text().strip()
        assert re.fullmatch(wanted, first), first
        shown = podman.run("exec", identifier, "cat", "/proc/self/attr/apparmor/current")
        assert shown == first
        podman.run("rm", "--force", "--time", "0", identifier)


@pytest.mark.rows("R160", "R171")
def test_podman_in_a_service(podman: Podman) -> None:
    """As a unit that Quadlet wrote runs it: below the service's cgroup, by files alone.

    In the host's cgroup namespace runc and crun show all cgroups, pyruntime the container's.
    """
    service = Unit(f"{name_of()}.service")
    script = (
        "read path </proc/self/cgroup; echo $path; cd /sys/fs/cgroup"
        " && if cd ./${path#0::} 2>/dev/null; then :; fi; cat memory.max"
    )
    printed = run(
        [
            *podman.command, "run", "--rm", "--cgroups", "split", "--cgroupns", "host",
            "--network", "none", "--memory", "64m", image.NAME, "sh", "-c", script,
        ],
        prefix=[*RUN, "--unit", service.name, "-p", "Delegate=yes"],
    )  # fmt: skip
    path, limit = printed.split()
    assert path.startswith(f"0::/system.slice/{service.name}/libpod-payload-"), printed
    assert limit == str(64 * MIB)
    service.gone()


# containerd, by ctr


@pytest.fixture(params=RUNTIMES)
def containerd(request: pytest.FixtureRequest, workplace: Path) -> Iterator[Containerd]:
    """A containerd on each runtime."""
    made = Containerd(workplace, request.param)
    yield made
    made.clean()


@pytest.mark.rows("R160", "R171", "R172", "R292", "R293")
def test_ctr(containerd: Containerd) -> None:
    name = name_of()
    limits = ["--memory-limit", str(64 * MIB), "--cpu-quota", "50000", "--cpu-period", "100000"]
    containerd.start(name, f"system.slice:ctr:{name}", *limits)
    unit = Unit(f"ctr-{name}.scope")
    pid = containerd.task(name)[0]
    assert processes_in(unit) == [pid]
    expect(
        unit,
        {
            "Slice": "system.slice",
            "Delegate": "yes",
            "MemoryMax": str(64 * MIB),
            "CPUQuotaPerSecUSec": "500ms",
        },
        {"memory.max": str(64 * MIB), "cpu.max": "50000 100000"},
    )
    assert containerd.run("task", "exec", "--exec-id", "1", name, "cat", "/proc/1/comm") == "sleep"
    containerd.run("task", "exec", "--detach", "--exec-id", "two", name, *FOREVER)
    wait_for(lambda: len(processes_in(unit)) == 2, "both processes in the scope")
    text = containerd.run("task", "metrics", "--format", "json", name)
    assert metric(text, "usage_limit") == 64 * MIB
    containerd.run("task", "pause", name)
    wait_for(lambda: frozen(unit), "the scope is frozen")
    assert containerd.state(name) == "PAUSED"
    containerd.run("task", "resume", name)
    wait_for(lambda: not frozen(unit), "the scope is thawed")
    containerd.run("task", "kill", "--signal", "SIGKILL", name)
    wait_for(lambda: containerd.state(name) == "STOPPED", f"the end of {name}")
    containerd.run("task", "rm", name)
    containerd.run("container", "rm", name)
    nothing_left("/run/containerd/runc/default", name)


@pytest.mark.rows("R160", "R293")
def test_the_shim_is_killed(containerd: Containerd) -> None:
    """containerd deletes by the runtime what the shim leaves, unit and all."""
    name = name_of()
    containerd.start(name, f"system.slice:ctr:{name}")
    unit = Unit(f"ctr-{name}.scope")
    pid = containerd.task(name)[0]
    os.kill(containerd.shim(name), signal.SIGKILL)
    wait_for(lambda: not containerd.task(name), "the end of the task")
    wait_for(lambda: not os.path.exists(f"/proc/{pid}"), "the end of its first process")
    unit.gone()
    containerd.run("container", "rm", name)
    nothing_left("/run/containerd/runc/default", name)


# containerd's Kubernetes interface


@pytest.fixture(params=RUNTIMES)
def node(request: pytest.FixtureRequest, workplace: Path) -> Iterator[Any]:
    """A containerd as a kubelet has it, with SystemdCgroup = true."""
    need("containerd")
    pytest.importorskip("grpc", reason="no grpcio: nobody to speak as a kubelet")
    from tests.engines.cri.node import Node

    service = Unit(f"pyrt-containerd-{os.urandom(4).hex()}.service")
    prefix = [*SERVICE, "--unit", service.name]
    made = Node(workplace, workplace, program_of(request.param), True, prefix)
    try:
        made.start()
        made.load_images(str(write_image(workplace)))
        yield made
    finally:
        service.clean()


def scope_of(identifier: str) -> Unit:
    """The unit of a pod's sandbox or container."""
    return Unit(f"cri-containerd-{identifier}.scope")


@pytest.mark.rows("R160", "R161", "R171", "R172", "R294")
def test_pod_of_kubernetes(node: Any) -> None:
    from tests.engines.cri.node import FOREVER

    uid = name_of()
    slices = ["kubepods.slice", "kubepods-burstable.slice", f"kubepods-burstable-pod{uid}.slice"]
    host = {"namespace_options": {"network": "NODE"}}  # needs no plugin for networks
    linux = {"cgroup_parent": "/" + "/".join(slices), "security_context": host}
    resources = {
        "cpu_period": 100000,
        "cpu_quota": 50000,
        "cpu_shares": 512,
        "memory_limit_in_bytes": 64 * MIB,
        "cpuset_cpus": "0",
    }
    try:
        with node.pod(uid, hostname="", linux=linux) as pod:
            container = pod.start(FOREVER, security=host, resources=resources)
            check_places(pod, container, "/" + "/".join(slices))
            check_limits(container)
            check_exec(container)
            container.stop(1)
            container.remove()
            assert not scope_of(container.id).loaded()
        for identifier in (container.id, pod.id):
            nothing_left("/run/containerd/runc/k8s.io", identifier)
    finally:
        Unit(slices[-1]).clean()


def check_places(pod: Any, container: Any, place: str) -> None:
    """Sandbox and container are scopes in the pod's slice."""
    for each in (pod, container):
        unit = scope_of(each.id)
        shown = unit.show("Slice", "ControlGroup", "Delegate")
        assert shown == [place.rpartition("/")[2], f"{place}/{unit.name}", "yes"]
        assert str(each.pid()) in processes_in(unit)


def check_limits(container: Any) -> None:
    """As they were asked for, as they are changed, and unchanged if that is refused."""
    from tests.engines.cri.node import refused

    unit = scope_of(container.id)
    weight = unit.read("cpu.weight")
    expect(
        unit,
        {"MemoryMax": str(64 * MIB), "CPUQuotaPerSecUSec": "500ms", "AllowedCPUs": "0",
         "CPUWeight": weight},
        {"memory.max": str(64 * MIB), "cpu.max": "50000 100000", "cpuset.cpus": "0"},
    )  # fmt: skip
    container.update(
        cpu_period=100000, cpu_quota=20000, cpu_shares=256, memory_limit_in_bytes=128 * MIB
    )
    changed = {"memory.max": str(128 * MIB), "cpu.max": "20000 100000", "cpuset.cpus": "0"}
    lighter = unit.read("cpu.weight")
    assert 0 < int(lighter) < int(weight)
    properties = {"MemoryMax": str(128 * MIB), "CPUQuotaPerSecUSec": "200ms", "CPUWeight": lighter}
    expect(unit, properties, changed)
    with refused():
        container.update(cpuset_cpus="999")
    expect(unit, properties, changed)


def check_exec(container: Any) -> None:
    """What is executed is in the scope, and the scope is all that it sees."""
    answer = container.exec("sh", "-c", "cat /proc/self/cgroup; exit 3")
    assert (answer.exit_code, answer.stdout.decode().splitlines()[0][:4]) == (3, "0::/")
    assert container.exec("cat", "/sys/fs/cgroup/memory.max").stdout.decode() == f"{128 * MIB}\n"
