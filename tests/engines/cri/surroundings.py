"""Steps of what a container shares with others: namespaces, mounts, devices."""

from __future__ import annotations

import os
import subprocess

from tests.engines.cri.node import (
    FOREVER,
    Container,
    Node,
    eventually,
    refused,
)
from tests.engines.cri.steps import step

NAMESPACES = "for n in net pid ipc uts mnt cgroup; do readlink /proc/self/ns/$n; done"

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
    kinds = ("net", "pid", "ipc", "uts", "mnt", "cgroup")
    return {name: os.readlink(f"/proc/self/ns/{name}") for name in kinds}


@step
def namespaces_default(node: Node) -> None:
    options = {"namespace_options": {"pid": "CONTAINER"}}
    made = [node.shared.start(FOREVER, security=options) for _ in range(2)]
    one, two = (names(container) for container in made)
    print("both", shared_names(one, two))
    print("with the host", shared_names(one, own_names()))
    for container in made:
        container.remove()


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
        mount = {"container_path": "/data", "host_path": str(volume)}
        mount["propagation"] = f"PROPAGATION_{propagation}"
        container = node.shared.start(FOREVER, mounts=[mount])
        (volume / propagation).mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", volume / propagation], check=True)
        container.print_exec(f"grep -c ' /data/{propagation} ' /proc/mounts")
        container.print_exec("grep ' /data ' /proc/self/mountinfo | grep -oE 'shared|master'")
        container.remove()
        subprocess.run(["umount", volume / propagation], check=True)
    subprocess.run(["umount", volume], check=True)


@step
def mount_missing(node: Node) -> None:
    mount = {"container_path": "/data", "host_path": "/proc/no/such"}
    with refused():
        node.shared.start(["true"], mounts=[mount])


@step
def devices(node: Node) -> None:
    device = {"container_path": "/dev/brim", "host_path": "/dev/full", "permissions": "rw"}
    node.shared.show("ls -l /dev/brim | cut -c1-10; echo x >/dev/brim; echo $?", devices=[device])
    node.shared.show("ls -l /dev | awk '{print $1, $3, $4, $5, $NF}'")
    security = {"capabilities": {"add_capabilities": ["MKNOD", "SYSLOG"]}}
    node.shared.show("mknod /kmsg c 1 11 && : </kmsg; echo $?", security=security)
