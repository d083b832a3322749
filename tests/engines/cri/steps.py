"""What a kubelet does with containerd, step by step; started by cri.sh in its private world.

Writes the same results as steps.sh: what each step printed, its exit status, its time.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import grpc

from tests.engines import image
from tests.engines.cri.node import (
    BRIDGE,
    CGROUP_PARENT,
    HANDLER,
    RUNTIME_ROOT,
    Container,
    Node,
    Pod,
    Unable,
    eventually,
    plain,
    refused,
)

Step = Callable[[Node], None]
STEPS: list[tuple[str, Step, str]] = []
CGROUPS = Path("/sys/fs/cgroup")
# Prints those of the files that there are: of cgroup version 1, or of version 2.
GROUP = "g() { for f in $@; do cat /sys/fs/cgroup/$f 2>/dev/null; done; true; }; g"
NAMESPACES = "for n in net pid ipc uts mnt cgroup; do readlink /proc/self/ns/$n; done"
READY = 'trap "exit 5" TERM; echo ready; while :; do sleep 0.05; done'
FOREVER = ["sleep", "600"]


def step(function: Step) -> Step:
    """Make a function a step, which has its name with dashes."""
    STEPS.append((function.__name__.replace("_", "-"), function, ""))
    return function


def skip(name: str, reason: str) -> None:
    """In place of a step that cannot be tried."""
    STEPS.append((name, lambda node: None, reason))


def has_controller(name: str) -> bool:
    """Whether the cgroups of this world can limit that."""
    controllers = CGROUPS / "cgroup.controllers"
    return (CGROUPS / name).is_dir() or (
        controllers.exists() and name in controllers.read_text().split()
    )


# ---- the server and its pods


@step
def version(node: Node) -> None:
    answer = node.call("Version")
    print(answer.runtime_name, answer.runtime_api_version)
    for condition in node.call("Status").status.conditions:
        print(condition.type, condition.status)


@step
def run(node: Node) -> None:
    node.shared.show("echo hello; echo trouble >&2; exit 7")


@step
def pod_status(node: Node) -> None:
    words = {"labels": {"app": "test"}, "annotations": {"note/one": "text"}}
    with node.pod("status", **words) as pod:
        status = pod.status()
        print(pod.state(), dict(status.labels), dict(status.annotations))
        print("address", status.network.ip.rpartition(".")[0], "created", status.created_at > 0)
        print("listed", pod.id in [item.id for item in node.call("ListPodSandbox").items])
        pod.stop()
        print(pod.state(), repr(pod.status().network.ip))
    with refused():
        pod.status()


@step
def pod_network(node: Node) -> None:
    with node.pod("network") as pod:
        ip = pod.status().network.ip
        container = pod.start(FOREVER)
        container.print_exec("ip -o link | cut -d: -f2; ip route | cut -d' ' -f1-3; hostname")
        found = container.exec("ip", "-4", "-o", "addr", "show", "eth0").stdout.decode()
        print("its address", f" {ip}/16 " in found)
        container.print_exec("ping -c 1 -W 10 10.85.0.1 | grep -c '1 packets received'")


@step
def pod_to_pod(node: Node) -> None:
    with node.pod("server") as server:
        server.start(["sh", "-c", "mkdir /www; echo served >/www/index.html; httpd -f -h /www"])
        url = f"http://{server.status().network.ip}/"
        client = node.shared.start(FOREVER)
        eventually(lambda: client.exec("wget", "-q", "-O", "-", url).exit_code == 0, "served")
        client.print_exec(f"wget -q -O - {url}")
        client.remove()


@step
def pod_port(node: Node) -> None:
    port = {"container_port": 80, "host_port": 18080}
    with node.pod("port", port_mappings=[port]) as pod:
        pod.start(["sh", "-c", "mkdir /www; echo served >/www/index.html; httpd -f -h /www"])
        url = f"http://{pod.status().network.ip}/"
        reader = ["timeout", "10", os.environ["BUSYBOX"], "wget", "-q", "-O", "-"]
        eventually(lambda: subprocess.run([*reader, url], capture_output=True).returncode == 0, url)
        rules = subprocess.run(["iptables", "-t", "nat", "-S"], capture_output=True, text=True)
        print("forwarded", "--dport 18080" in rules.stdout)


@step
def pod_files(node: Node) -> None:
    dns = {"servers": ["10.0.0.10"], "searches": ["pods.local"], "options": ["ndots:5"]}
    with node.pod("files", dns_config=dns) as pod:
        pod.show("cat /etc/resolv.conf /etc/hostname; echo $HOSTNAME; df -k /dev/shm | tail -n 1")


@step
def pod_sysctls(node: Node) -> None:
    sysctls = {"net.ipv4.ip_unprivileged_port_start": "80", "kernel.msgmax": "1000"}
    with node.pod("sysctls", linux={"sysctls": sysctls}) as pod:
        pod.show("cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/msgmax")


@step
def pod_cgroups(node: Node) -> None:
    with node.pod("grouped") as pod:
        container = pod.start(FOREVER)
        for name, pid, id in (
            ("sandbox", pod.pid(), pod.id),
            ("container", container.pid(), container.id),
        ):
            paths = {
                line.split(":", 2)[2]
                for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()
            }
            print(name, sorted(plain(path) for path in paths if path.endswith(id)))


@step
def runtime_handler(node: Node) -> None:
    with node.pod("handled", handler=HANDLER) as pod:
        print(pod.status().runtime_handler)
        container = pod.start(FOREVER)
        states = {path.name for path in (RUNTIME_ROOT / "k8s.io").iterdir()}
        print("state in its root", {pod.id, container.id} <= states)
    with refused():
        Pod(node, "unhandled", handler="no-such-handler")


skip("pod-userns", "containerd 1.6 has no user namespaces for pods")


# ---- a container's life


@step
def life(node: Node) -> None:
    container = node.shared.create(["sh", "-c", READY], labels={"a": "b"}, annotations={"c": "d"})
    print(container.state())
    node.call("StartContainer", container_id=container.id)
    container.wait_for_line("ready")
    status = container.status()
    print(container.state(), dict(status.labels), dict(status.annotations))
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
    node.shared.show("tty; test -t 0 && test -t 1 && echo terminal; ls -l /dev/console | cut -c1", tty=True, stdin=True)


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
        print(len(answer.containers), {container.id for container in answer.containers} == {c.id for c in made})
        made[0].stop(30)
        print([container.state() for container in made])


# ---- exec


@step
def exec_output(node: Node) -> None:
    container = node.shared.start(FOREVER)
    container.print_exec("echo out; echo err >&2; exit 3")
    container.print_exec("cat /proc/1/comm; id; pwd; grep -E 'Cap|NoNew' /proc/self/status")
    container.print_exec("kill -TERM $$")
    container.print_exec("yes | head -c 1000000 | wc -c; head -c 100000 /dev/zero | tr '\\0' x | md5sum")
    print(len(container.exec("sh", "-c", "yes | head -c 1000000").stdout))
    with refused():
        container.exec("/no/such/program")
    with refused():
        container.exec("/etc/passwd")
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
def exec_stopped(node: Node) -> None:
    container = node.shared.start(["true"])
    container.wait()
    with refused():
        container.exec("true")
    container.remove()
    with refused():
        container.exec("true")


# ---- limits and numbers

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
    resources = {"cpu_period": 100000, "cpu_quota": 50000, "cpu_shares": 512, "memory_limit_in_bytes": 64 << 20}
    container = node.shared.start(FOREVER, resources=resources)
    node.call(
        "UpdateContainerResources",
        container_id=container.id,
        linux={"cpu_quota": 20000, "cpu_shares": 256, "memory_limit_in_bytes": 128 << 20},
    )
    container.print_exec(f"{GROUP} {LIMITS}; echo x >/dev/null && echo devices")
    node.call("UpdateContainerResources", container_id=container.id, linux={"cpuset_cpus": "0"})
    container.print_exec(f"{GROUP} {LIMITS}; grep Cpus_allowed_list /proc/1/status")
    with refused("numerical result out of range"):
        node.call("UpdateContainerResources", container_id=container.id, linux={"cpuset_cpus": "999"})
    container.print_exec(f"{GROUP} {LIMITS}")
    container.remove()


@step
def update_created(node: Node) -> None:
    container = node.shared.create(["sh", "-c", f"{GROUP} memory/memory.limit_in_bytes memory.max"])
    node.call(
        "UpdateContainerResources", container_id=container.id, linux={"memory_limit_in_bytes": 32 << 20}
    )
    node.call("StartContainer", container_id=container.id)
    container.wait()
    container.print_log()
    container.remove()


@step
def stats(node: Node) -> None:
    with node.pod("counted") as pod:
        busy = ["sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo ready; sleep 600"]
        container = pod.start(busy, name="busy", labels={"a": "b"})
        container.wait_for_line("ready")
        one = node.call("ContainerStats", container_id=container.id).stats
        print(one.attributes.metadata.name, dict(one.attributes.labels))
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
        print("cpu", answer.linux.cpu.usage_core_nano_seconds.value > 0, answer.attributes.id == pod.id)
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


# ---- security context

STATUS = "grep -E 'Cap|NoNewPrivs|Seccomp:' /proc/self/status"


@step
def security_default(node: Node) -> None:
    node.shared.show(STATUS)


@step
def security_user(node: Node) -> None:
    node.shared.show("id", security={"run_as_user": {"value": "1000"}})
    groups = {"run_as_group": {"value": "3000"}, "supplemental_groups": ["4000", "5000"]}
    node.shared.show("id", security={"run_as_user": {"value": "1234"}, **groups})
    node.shared.show(f"id; {STATUS}; touch /file", security={"run_as_username": "guest"})
    with refused("no users found"):
        node.shared.start(["id"], security={"run_as_username": "nobody-here"})


@step
def security_capabilities(node: Node) -> None:
    for capabilities in (
        {"add_capabilities": ["NET_ADMIN", "SYS_TIME"]},
        {"drop_capabilities": ["ALL"]},
        {"drop_capabilities": ["ALL"], "add_capabilities": ["NET_BIND_SERVICE"]},
        {"drop_capabilities": ["CHOWN"]},
    ):
        node.shared.show("grep Cap /proc/self/status", security={"capabilities": capabilities})


@step
def security_read_only(node: Node) -> None:
    script = "touch /file; echo $?; touch /dev/shm/file; echo $?; grep -o ' / / r[ow]' /proc/self/mountinfo"
    node.shared.show(script, security={"readonly_rootfs": True})


@step
def security_paths(node: Node) -> None:
    masked = {"masked_paths": ["/proc/timer_list", "/proc/acpi", "/etc/passwd", "/no/such"]}
    fixed = {"readonly_paths": ["/proc/sys", "/home", "/no/such"]}
    node.shared.show(
        "wc -c </etc/passwd; ls /proc/acpi | wc -l; touch /home/file; echo $?;"
        "echo x >/proc/sys/kernel/hostname; echo $?; echo x >/proc/sysrq-trigger || echo $?",
        security=masked | fixed,
    )


@step
def security_no_new_privileges(node: Node) -> None:
    node.shared.show("grep NoNewPrivs /proc/self/status", security={"no_new_privs": True})
    container = node.shared.start(FOREVER, security={"no_new_privs": True})
    container.print_exec("grep NoNewPrivs /proc/self/status")
    container.remove()


@step
def security_seccomp(node: Node) -> None:
    script = "grep Seccomp: /proc/self/status; mount -t tmpfs none /tmp; unshare -m true; mkdir /a; chmod 700 /a; echo $?"
    profile = node.work / "profile.json"
    profile.write_text(
        '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["chmod", "fchmodat"],'
        ' "action": "SCMP_ACT_ERRNO"}]}'
    )
    for seccomp in (
        {"profile_type": "RuntimeDefault"},
        {"profile_type": "Unconfined"},
        {"profile_type": "Localhost", "localhost_ref": str(profile)},
    ):
        node.shared.show(script, security={"seccomp": seccomp})
    container = node.shared.start(FOREVER, security={"seccomp": {"profile_type": "RuntimeDefault"}})
    container.print_exec("grep Seccomp: /proc/self/status")
    container.remove()


@step
def security_privileged(node: Node) -> None:
    # Not compared: runc shows /sys read-only where the sandbox's is, as one file system is
    # behind both; ours is writable, as the configuration has it.
    linux = {"security_context": {"privileged": True}}
    script = (
        "grep -E 'CapEff|Seccomp:' /proc/self/status; mount -t tmpfs none /tmp && echo mounted;"
        "mkdir /new && mount -t proc proc /new && echo proc; ls /dev | grep -cE '^(kmsg|loop|full)';"
        "grep -E ' /(proc|sys/fs/cgroup) ' /proc/self/mounts | cut -d' ' -f2,3,4 | cut -d, -f1"
    )
    with node.pod("privileged", linux=linux) as pod:
        container = pod.create(["sh", "-c", script], security={"privileged": True})
        try:
            node.call("StartContainer", container_id=container.id)
            container.wait()
        except grpc.RpcError as error:
            print(error.code().name, plain(error.details() or ""))
        container.print_log()
        container.print_status()
    with refused():
        node.shared.start(FOREVER, security={"privileged": True})


# ---- namespaces


def names(container: Container) -> dict[str, str]:
    """The namespaces of a container's program."""
    links = container.exec("sh", "-c", NAMESPACES).stdout.decode().split()
    return {link.partition(":")[0]: link for link in links}


def shared_names(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """Which namespaces both have."""
    return sorted(name for name in one if one[name] == other[name])


def sleepers(container: Container) -> list[str]:
    """The command lines that the container sees of those that this program started."""
    lines = container.exec("ps", "-o", "args").stdout.decode().splitlines()
    return sorted(line for line in lines if line.startswith("sleep 6"))


def own_names() -> dict[str, str]:
    """The namespaces of this process."""
    return {name: os.readlink(f"/proc/self/ns/{name}") for name in ("net", "pid", "ipc", "uts", "mnt", "cgroup")}


@step
def namespaces_default(node: Node) -> None:
    options = {"namespace_options": {"pid": "CONTAINER"}}
    one, two = (names(node.shared.start(FOREVER, security=options)) for _ in range(2))
    print("both", shared_names(one, two))
    print("with the host", shared_names(one, own_names()))


@step
def namespaces_pid_shared(node: Node) -> None:
    options = {"namespace_options": {"pid": "POD"}}
    with node.pod("pids", linux={"security_context": options}) as pod:
        one, two = (pod.start(FOREVER, security=options) for _ in range(2))
        print("both", shared_names(names(one), names(two)))
        print(sleepers(one))
        pod.show("sleep 0.01 & exit 3", security=options)
        two.stop(0)
        two.print_status()
        eventually(lambda: len(sleepers(one)) == 1, "the other is gone")


@step
def namespaces_host(node: Node) -> None:
    options = {"namespace_options": {"network": "NODE", "pid": "NODE", "ipc": "NODE"}}
    with node.pod("host", hostname="", linux={"security_context": options}) as pod:
        print(repr(pod.status().network.ip))
        container = pod.start(FOREVER, security=options)
        print("with the host", shared_names(names(container), own_names()))
        container.print_exec("ip -o link | grep -c lo:; test -d /proc/1/fd && echo 'first process'")
        container.stop(1)
        container.print_status()


@step
def namespaces_target(node: Node) -> None:
    """As kubectl debug joins a container."""
    own = {"namespace_options": {"pid": "CONTAINER"}}
    target = node.shared.start(["sleep", "654"], security=own)
    option = {"namespace_options": {"pid": "TARGET", "target_id": target.id}}
    debugger = node.shared.start(FOREVER, security=option)
    print("both", shared_names(names(target), names(debugger)))
    print(sleepers(debugger))
    debugger.remove()
    print(target.state())
    target.remove()


# ---- mounts and devices


@step
def mounts(node: Node) -> None:
    volume = node.work / "volume"
    volume.mkdir()
    (volume / "file").write_text("content\n")
    node.shared.show(
        "cat /data/file; echo new >/data/new; touch /fixed/other; cat /etc/one; ls /fixed",
        mounts=[
            {"container_path": "/data", "host_path": str(volume)},
            {"container_path": "/fixed", "host_path": str(volume), "readonly": True},
            {"container_path": "/etc/one", "host_path": str(volume / "file")},
        ],
    )
    node.shared.show("cut -d' ' -f2,3 /proc/mounts | sort | grep -v unified")


@step
def mount_propagation(node: Node) -> None:
    volume = node.work / "propagated"
    volume.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", volume], check=True)
    subprocess.run(["mount", "--make-rshared", volume], check=True)
    for propagation in ("PRIVATE", "HOST_TO_CONTAINER", "BIDIRECTIONAL"):
        mount = {"container_path": "/data", "host_path": str(volume), "propagation": f"PROPAGATION_{propagation}"}
        container = node.shared.start(FOREVER, mounts=[mount])
        (volume / propagation).mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", volume / propagation], check=True)
        container.print_exec(f"grep -c ' /data/{propagation} ' /proc/mounts; grep ' /data ' /proc/self/mountinfo | grep -oE 'shared|master' | sort -u")
        container.remove()
        subprocess.run(["umount", volume / propagation], check=True)
    subprocess.run(["umount", volume], check=True)


@step
def mount_missing(node: Node) -> None:
    with refused():
        node.shared.start(["true"], mounts=[{"container_path": "/data", "host_path": "/proc/no/such"}])


@step
def devices(node: Node) -> None:
    device = {"container_path": "/dev/brim", "host_path": "/dev/full", "permissions": "rw"}
    node.shared.show("ls -l /dev/brim | cut -c1-10; echo x >/dev/brim; echo $?", devices=[device])
    node.shared.show("ls -l /dev | awk '{print $1, $3, $4, $5, $NF}'")
    security = {"capabilities": {"add_capabilities": ["MKNOD", "SYSLOG"]}}
    node.shared.show("mknod /kmsg c 1 11 && : </kmsg; echo $?", security=security)


# ---- failures


@step
def start_fails(node: Node) -> None:
    for command in (["/no/such/program"], ["no-such-program"], ["/etc/passwd"]):
        container = node.shared.create(command)
        with refused():
            node.call("StartContainer", container_id=container.id)
        container.print_status()
        container.remove()
    with refused("not a directory"):
        node.shared.start(["true"], working_dir="/etc/passwd")
    with refused("OCI runtime create failed"):
        node.shared.start(["true"], resources={"memory_limit_in_bytes": 1})


# ---- ends


@step
def stop_by_kill(node: Node) -> None:
    deaf = node.shared.start(["sh", "-c", 'trap "" TERM; echo ready; while :; do sleep 0.05; done'])
    deaf.wait_for_line("ready")
    deaf.stop(1)
    deaf.print_status()
    deaf.remove()


@step
def stop_at_once(node: Node) -> None:
    container = node.shared.start(["sh", "-c", READY])
    container.wait_for_line("ready")
    container.stop(0)
    container.print_status()
    container.remove()


@step
def remove_running(node: Node) -> None:
    container = node.shared.start(FOREVER)
    pid = container.pid()
    container.remove()
    eventually(lambda: not Path(f"/proc/{pid}").exists(), "the process is killed")
    with refused():
        container.status()


@step
def remove_pod_running(node: Node) -> None:
    pod = Pod(node, "crowded")
    made = [pod.start(["sh", "-c", "sleep 600 & sleep 600"]) for _ in range(3)]
    pids = [container.pid() for container in made]
    pod.stop()
    print(pod.state(), [container.state() for container in made])
    pod.remove()
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "all are killed")
    for container in made:
        with refused():
            container.status()


@step
def init_killed(node: Node) -> None:
    container = node.shared.start(FOREVER)
    os.kill(container.pid(), signal.SIGKILL)
    container.wait()
    container.print_status()
    container.remove()


@step
def sandbox_killed(node: Node) -> None:
    """The pod is then not ready, and a kubelet makes another."""
    with node.pod("doomed") as pod:
        container = pod.start(FOREVER)
        os.kill(pod.pid(), signal.SIGKILL)
        eventually(lambda: pod.state() == "SANDBOX_NOTREADY", "the pod is not ready")
        print(container.state())
        with refused():
            pod.start(["true"])


@step
def shim_killed(node: Node) -> None:
    """One shim holds a whole pod: containerd cleans up behind it with the runtime's help."""
    pod = Pod(node, "orphaned")
    container = pod.start(FOREVER)
    pids = [pod.pid(), container.pid()]
    found = subprocess.run(
        ["pgrep", "-f", f"containerd-shim.* -id {pod.id}"], capture_output=True, text=True
    )
    os.kill(int(found.stdout), signal.SIGKILL)
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "all are killed")
    container.wait()
    print(pod.state(), container.state(), container.status().exit_code)
    pod.remove()


# ---- the daemon ends, and the pods live on


@step
def daemon_restart(node: Node) -> None:
    with node.pod("survivor") as pod:
        container = pod.start(["sh", "-c", READY])
        container.wait_for_line("ready")
        node.end(signal.SIGTERM)
        node.start()
        print(pod.state(), container.state())
        container.print_exec("echo still here")
        pod.show("echo another; exit 4")
        container.stop(30)
        container.print_status()


@step
def daemon_killed(node: Node) -> None:
    with node.pod("bereft") as pod:
        lives = pod.start(["sh", "-c", READY])
        exits = pod.start(["sh", "-c", 'trap "exit 9" USR1; echo ready; while :; do sleep 0.05; done'])
        for container in (lives, exits):
            container.wait_for_line("ready")
        pid = exits.pid()
        node.end(signal.SIGKILL)
        os.kill(pid, signal.SIGUSR1)
        eventually(lambda: not _runs(pid), "it exits")
        node.start()
        exits.wait()
        exits.print_status()
        print(pod.state(), lives.state())
        lives.print_exec("echo still here")


def _runs(pid: int) -> bool:
    """Whether a process is there, and not merely waited for by its parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


# ---- what is left


def _left(node: Node) -> dict[str, list[str]]:
    """What pods leave where, while they are there; a kubelet removes their parent cgroups."""
    roots = [Path("/run/containerd/runc/k8s.io"), RUNTIME_ROOT / "k8s.io"]
    states = [path for root in roots if root.exists() for path in root.iterdir()]
    mounted = Path("/proc/self/mounts").read_text().splitlines()
    points = [line.split()[1] for line in mounted]
    links = subprocess.run(
        ["ip", "-o", "link", "show", "master", BRIDGE], capture_output=True, text=True
    )
    shims = subprocess.run(["pgrep", "-f", "containerd-shim"], capture_output=True, text=True)
    groups = [Path(at) for at, _, _ in os.walk(CGROUPS) if CGROUP_PARENT in at]
    leases = Path(node.work / "leases/pods")
    return {
        "runtime's state": [path.name for path in states if path.name != "~seccomp"],
        "mounts": [p for p in points if p.startswith((f"{node.work}/state", "/run/netns/"))],
        "namespaces": [path.name for path in Path("/run/netns").iterdir()],
        "interfaces": links.stdout.splitlines(),
        "shims": shims.stdout.split(),
        "cgroups": [str(path) for path in groups if HEX(path.name)],
        "leases": [p.name for p in leases.glob("10.*")] if leases.exists() else [],
        "tasks": node.ctr("task", "ls", "-q").split(),
        "containers": node.ctr("container", "ls", "-q").split(),
        "bundles": [str(p) for p in node.work.glob("state/io.containerd.runtime.v2.task/k8s.io/*")],
    }


def HEX(name: str) -> bool:  # noqa: N802
    return bool(re.fullmatch("[0-9a-f]{64}", name))


@step
def nothing_left(node: Node) -> None:
    print({name: bool(found) for name, found in _left(node).items()} if node.shared_pod else "")
    node.shared.remove()
    node.shared_pod = None
    eventually(lambda: not any(_left(node).values()), f"nothing is left: {_left(node)}")
    print(_left(node))


def record(results: Path, number: int, name: str, function: Step, node: Node) -> None:
    """Run one step, and write down what it does."""
    place = results / f"{number:03}-{name}"
    place.mkdir()
    code, printed, trouble = 0, io.StringIO(), ""
    began = time.monotonic()
    try:
        with contextlib.redirect_stdout(printed):
            function(node)
    except Exception as error:
        code = 1
        print(f"{type(error).__name__}: {plain(str(error))}", file=printed)
        trouble = traceback.format_exc()
    taken = round((time.monotonic() - began) * 1e6)
    for kind, text in (("stdout", printed.getvalue()), ("stderr", trouble), ("microseconds", taken), ("code", code)):
        (place / kind).write_text(f"{text}")


def main() -> None:
    """Start the server, and run the steps that match ONLY."""
    results, work = Path(os.environ["RESULTS"]), Path(os.environ["WORK"])
    node = Node(work, results, os.environ["RUNTIME"])
    try:
        node.start()
        node.load_images(os.environ["IMAGE_FILE"])
        for number, (name, function, reason) in enumerate(STEPS, start=1):
            if not re.search(os.environ.get("ONLY") or ".", name):
                continue
            if reason:
                (results / f"{number:03}-{name}.skipped").write_text(reason)
            else:
                record(results, number, name, function, node)
        node.end(signal.SIGTERM)
    except Unable as reason:
        (results / "unable").write_text(str(reason))


if __name__ == "__main__":
    main()
