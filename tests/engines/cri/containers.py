"""Steps of containers: life, exec, limits and numbers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import grpc

from tests.engines.cri.node import (
    FOREVER,
    READY,
    Node,
    eventually,
    plain,
    refused,
)
from tests.engines.cri.steps import CGROUPS, has_controller, skip, step

# ---- a container's life


@step
def life(node: Node) -> None:
    container = node.shared.create(["sh", "-c", READY], labels={"a": "b"}, annotations={"c": "d"})
    print(container.state())
    node.call("StartContainer", container_id=container.id)
    container.wait_for_line("ready")
    status = container.status()
    print(container.state(), sorted(status.labels.items()), sorted(status.annotations.items()))
    print("times", 0 < status.created_at <= status.started_at, status.finished_at)
    with refused():
        node.call("StartContainer", container_id=container.id)
    container.stop(30)
    container.print_status()
    print("finished", container.status().finished_at >= status.started_at)
    container.stop(30)
    container.remove()
    with refused():
        container.status()
    container.remove()


@step
def environment(node: Node) -> None:
    node.shared.show(
        "echo $COLOUR; pwd; hostname; env | cut -d= -f1 | sort",
        envs=[{"key": "COLOUR", "value": "red"}],
        working_dir="/var/new",
    )


@step
def started_at_once(node: Node) -> None:
    with node.pod("busy") as pod:
        made = [pod.create(["sh", "-c", f"echo {number}; exit {number}"]) for number in range(8)]
        with ThreadPoolExecutor(8) as pool:
            for container in made:
                pool.submit(node.call, "StartContainer", container_id=container.id)
        for container in made:
            container.wait()
            print(container.log(), container.status().exit_code)


@step
def log_again(node: Node) -> None:
    container = node.shared.start(["sh", "-c", READY])
    container.wait_for_line("ready")
    path = node.shared.logs / f"{container.name}.log"
    path.rename(path.with_suffix(".old"))
    node.call("ReopenContainerLog", container_id=container.id)
    print("new", path.exists())
    container.remove()


@step
def terminal(node: Node) -> None:
    script = "tty; test -t 0 && test -t 1 && echo terminal; ls -l /dev/console | cut -c1"
    node.shared.show(script, tty=True, stdin=True)


@step
def restarts(node: Node) -> None:
    for attempt in range(3):
        node.shared.show("echo again; exit 1", name="again", attempt=attempt)


@step
def several(node: Node) -> None:
    with node.pod("several") as pod:
        made = [pod.start(["sh", "-c", READY]) for _ in range(4)]
        for container in made:
            container.wait_for_line("ready")
        answer = node.call("ListContainers", filter={"pod_sandbox_id": pod.id})
        listed = {container.id for container in answer.containers}
        print(len(answer.containers), listed == {container.id for container in made})
        made[0].stop(30)
        print([container.state() for container in made])


# ---- exec


@step
def exec_output(node: Node) -> None:
    container = node.shared.start(FOREVER)
    container.print_exec("echo out; echo err >&2; exit 3")
    container.print_exec("cat /proc/1/comm; id; pwd; grep -E 'Cap|NoNew' /proc/self/status")
    container.print_exec("kill -TERM $$")
    container.print_exec("yes | head -c 1000000 | md5sum")
    print(len(container.exec("sh", "-c", "yes | head -c 1000000").stdout))
    with refused():
        container.exec("/no/such/program")
    with refused():
        container.exec("/etc/passwd")
    container.print_runtime_log()
    container.remove()


@step
def exec_timeout(node: Node) -> None:
    container = node.shared.start(FOREVER)
    with refused():
        container.exec("sleep", "987", timeout=1)
    eventually(lambda: "sleep 987" not in container.exec("ps").stdout.decode(), "sleep is ended")
    print(container.state(), container.exec("true", timeout=30).exit_code)
    container.remove()


@step
def exec_probes(node: Node) -> None:
    """As a kubelet's probe does, again and again: no process may be left."""
    alone = {"namespace_options": {"pid": "CONTAINER"}}
    script = "touch /tmp/well; echo ready; exec sleep 600"
    container = node.shared.start(["sh", "-c", script], security=alone)
    container.wait_for_line("ready")
    codes = [container.exec("cat", "/tmp/well", timeout=30).exit_code for _ in range(20)]
    container.exec("rm", "/tmp/well")
    codes.append(container.exec("cat", "/tmp/well", timeout=30).exit_code)
    print(codes)
    container.print_exec("set -- /proc/[0-9]*; echo $# processes")
    container.remove()


@step
def exec_at_once(node: Node) -> None:
    container = node.shared.start(FOREVER)
    with ThreadPoolExecutor(8) as pool:
        found = [
            pool.submit(container.exec, "sh", "-c", f"echo {number}; exit {number}")
            for number in range(16)
        ]
    print([(answer.result().exit_code, answer.result().stdout.decode()) for answer in found])
    container.remove()


@step
def exec_stopped(node: Node) -> None:
    container = node.shared.start(["true"])
    container.wait()
    with refused():
        container.exec("true")
    container.remove()
    with refused():
        container.exec("true")


# ---- limits and numbers


# Prints those of the files that there are: of cgroup version 1, or of version 2.
GROUP = "g() { for f in $@; do cat /sys/fs/cgroup/$f 2>/dev/null; done; true; }; g"
LIMITS = (
    "memory/memory.limit_in_bytes memory.max cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us"
    " cpu/cpu.shares cpu.max cpu.weight cpuset/cpuset.cpus cpuset.cpus"
)


@step
def limits(node: Node) -> None:
    resources = {
        "cpu_period": 100000,
        "cpu_quota": 50000,
        "cpu_shares": 512,
        "memory_limit_in_bytes": 64 << 20,
        "cpuset_cpus": "0",
        "oom_score_adj": 900,
    }
    node.shared.show(f"{GROUP} {LIMITS}; cat /proc/self/oom_score_adj", resources=resources)


@step
def update(node: Node) -> None:
    container = node.shared.start(
        FOREVER,
        resources={
            "cpu_period": 100000,
            "cpu_quota": 50000,
            "cpu_shares": 512,
            "memory_limit_in_bytes": 64 << 20,
        },
    )
    container.update(cpu_quota=20000, cpu_shares=256, memory_limit_in_bytes=128 << 20)
    container.print_exec(f"{GROUP} {LIMITS}; echo x >/dev/null && echo devices")
    container.update(cpuset_cpus="0")
    container.print_exec(f"{GROUP} {LIMITS}; grep Cpus_allowed_list /proc/1/status")
    with refused("numerical result out of range"):
        container.update(cpuset_cpus="999")
    container.print_exec(f"{GROUP} {LIMITS}")
    container.remove()


def update_refused(node: Node) -> None:
    """Less memory than is in use; cgroups of version 2 would make room by killing."""
    script = "head -c 20000000 /dev/zero >/dev/shm/file; echo ready; sleep 600"
    container = node.shared.start(
        ["sh", "-c", script], resources={"memory_limit_in_bytes": 64 << 20}
    )
    container.wait_for_line("ready")
    with refused("memory"):
        container.update(memory_limit_in_bytes=1 << 20)
    container.print_exec(f"{GROUP} {LIMITS}; rm /dev/shm/file")
    container.remove()


if (CGROUPS / "memory").is_dir():
    step(update_refused)
else:
    skip("update-refused", "no memory controller of cgroup version 1")


@step
def update_created(node: Node) -> None:
    script = f"{GROUP} memory/memory.limit_in_bytes memory.max"
    container = node.shared.create(["sh", "-c", script])
    container.update(memory_limit_in_bytes=32 << 20)
    node.call("StartContainer", container_id=container.id)
    container.wait()
    container.print_log()
    container.remove()


@step
def stats(node: Node) -> None:
    with node.pod("counted") as pod:
        busy = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo ready; sleep 600"
        container = pod.start(["sh", "-c", busy], name="busy", labels={"a": "b"})
        container.wait_for_line("ready")
        one = node.call("ContainerStats", container_id=container.id).stats
        print(one.attributes.metadata.name, sorted(one.attributes.labels.items()))
        print("cpu", one.cpu.usage_core_nano_seconds.value > 0)
        print("memory", 0 < one.memory.working_set_bytes.value < 64 << 20)
        pod.start(FOREVER, name="idle")
        answer = node.call("ListContainerStats", filter={"pod_sandbox_id": pod.id})
        print(sorted(stats.attributes.metadata.name for stats in answer.stats))


@step
def pod_stats(node: Node) -> None:
    pod = node.shared
    try:
        answer = node.call("PodSandboxStats", pod_sandbox_id=pod.id).stats
        print("its own", answer.attributes.id == pod.id)
        print("cpu", answer.linux.cpu.usage_core_nano_seconds.value > 0)
    except grpc.RpcError as error:
        print(error.code().name, plain(error.details() or ""))


def oom(node: Node) -> None:
    resources = {"memory_limit_in_bytes": 16 << 20}
    node.shared.show("exec tail /dev/zero", resources=resources)


def oom_child(node: Node) -> None:
    """The program ends, the container goes on."""
    resources = {"memory_limit_in_bytes": 16 << 20}
    node.shared.show("tail /dev/zero; echo tail $?; sleep 0", resources=resources)


for out_of_memory in (oom, oom_child):
    if has_controller("memory"):
        step(out_of_memory)
    else:
        skip(out_of_memory.__name__.replace("_", "-"), "no memory controller")
