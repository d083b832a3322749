"""Steps of pods: networks, files, cgroups, handlers."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.engines.cri.node import (
    FOREVER,
    HANDLER,
    Node,
    Pod,
    eventually,
    plain,
    refused,
)
from tests.engines.cri.steps import SERVER, containerd_version, skip, step


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
        print(pod.state(), sorted(status.labels.items()), dict(status.annotations))
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
def pod_security(node: Node) -> None:
    """Of the process that holds the sandbox."""
    security = {
        "run_as_user": {"value": "1000"},
        "readonly_rootfs": True,
        "seccomp": {"profile_type": "RuntimeDefault"},
    }
    with node.pod("secure", linux={"security_context": security}) as pod:
        status = Path(f"/proc/{pod.pid()}/status").read_text().splitlines()
        wanted = ("Uid", "Gid", "Groups", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp:")
        print(*(line for line in status if line.startswith(wanted)), sep="\n")
        mounts = Path(f"/proc/{pod.pid()}/mounts").read_text().splitlines()
        print(*sorted(" ".join(line.split()[1:3]) for line in mounts), sep="\n")
        print("score", Path(f"/proc/{pod.pid()}/oom_score_adj").read_text())


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
        states = {path.name for path in node.states[1].iterdir()}
        print("state in its root", {pod.id, container.id} <= states)
    with refused():
        Pod(node, "unhandled", handler="no-such-handler")


def pod_userns(node: Node) -> None:
    mapping = {"host_id": 1000000, "container_id": 0, "length": 65536}
    userns = {"mode": "POD", "uids": [mapping], "gids": [mapping]}
    security = {"namespace_options": {"userns_options": userns}}
    with node.pod("mapped", linux={"security_context": security}) as pod:
        container = pod.start(FOREVER, security=security)
        container.print_exec("tr -s ' ' </proc/self/uid_map; cat /proc/self/setgroups; id -u")
        container.print_exec("grep CapEff /proc/self/status; touch /new && echo writable")
        container.print_exec("ip -4 -o addr show eth0 | wc -l; ls -ln /bin/busybox | cut -c1-40")
        print("outside", Path(f"/proc/{container.pid()}").stat().st_uid)
        pod.show("id; exit 3", security={**security, "run_as_user": {"value": "1000"}})
        pod.show("touch /file", security={**security, "readonly_rootfs": True})


if SERVER != "containerd" or containerd_version() >= (1, 7):
    step(pod_userns)
else:
    skip("pod-userns", "containerd before 1.7 has no user namespaces for pods")
