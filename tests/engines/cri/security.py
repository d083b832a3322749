"""Steps of the security context."""

from __future__ import annotations

import grpc

from tests.engines.cri.node import (
    FOREVER,
    Node,
    plain,
    refused,
)
from tests.engines.cri.steps import SERVER, lacks_capabilities, skip, step

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
    script = "touch /file; echo $?; touch /dev/shm/file; echo $?"
    show_root = "grep -o ' / / r[ow]' /proc/self/mountinfo"
    node.shared.show(f"{script}; {show_root}", security={"readonly_rootfs": True})


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
    script = (
        "grep Seccomp: /proc/self/status; mount -t tmpfs none /tmp; unshare -m true;"
        "mkdir /a; chmod 700 /a; echo $?"
    )
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


def security_privileged(node: Node) -> None:
    # Not compared: runc shows /sys read-only where the sandbox's is, as one file system is
    # behind both; ours is writable, as the configuration has it.
    linux = {"security_context": {"privileged": True}}
    script = (
        "grep -E 'CapEff|Seccomp:' /proc/self/status; mount -t tmpfs none /tmp && echo mounted;"
        "mkdir /new && mount -t proc proc /new && echo proc;"
        "ls /dev | grep -cE '^(kmsg|loop|full)';"
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


# containerd gives those that it has itself, CRI-O all that there are: runc then refuses.
if SERVER == "containerd" or not lacks_capabilities():
    step(security_privileged)
else:
    skip("security-privileged", f"{SERVER} would give capabilities that this machine withholds")
