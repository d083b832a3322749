"""Steps of failures and ends: of containers, pods, shims and the daemon."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from tests.engines.cri.node import (
    FOREVER,
    READY,
    Node,
    Pod,
    eventually,
    refused,
)
from tests.engines.cri.steps import SERVER, skip, step

STOP_AT_ONCE = {"containerd": (137,), "crio": (5, 137)}  # exit codes

# ---- failures


@step
def start_fails(node: Node) -> None:
    for command in (["/no/such/program"], ["no-such-program"], ["/etc/passwd"]):
        made = []
        with refused():  # by CRI-O already when it shall be made
            made.append(node.shared.create(command))
            node.call("StartContainer", container_id=made[0].id)
        for container in made:
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
    # CRI-O asks it to end all the same, and then kills it at once.
    print(container.state(), container.status().exit_code in STOP_AT_ONCE[SERVER])
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
        container.wait()  # its processes were in the sandbox's pid namespace
        container.print_status()
        with refused():
            pod.start(["true"])


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


if SERVER == "containerd":
    step(shim_killed)
else:
    skip("shim-killed", f"{SERVER} has no shims")


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
        exits = pod.start(["sh", "-c", READY.replace("exit 5", "exit 9")])
        for container in (lives, exits):
            container.wait_for_line("ready")
        pid = exits.pid()
        node.end(signal.SIGKILL)
        os.kill(pid, signal.SIGTERM)
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


@step
def nothing_left(node: Node) -> None:
    print({name: bool(found) for name, found in node.left().items()} if node.shared_pod else "")
    node.shared.remove()
    node.shared_pod = None
    eventually(lambda: not any(node.left().values()), f"nothing is left: {node.left()}")
    print(node.left())
