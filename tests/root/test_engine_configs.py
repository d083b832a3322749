"""The configs of real engines, run for real: paths of their machine replaced by ones of this one.

What is replaced: sources of bind mounts, namespaces given by path, the cgroup's path, hooks of
the engine, the program. What is kept: everything else, namely mounts, masks, devices, limits,
capabilities, sysctls, ids and seccomp.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conformance.runtime import Container, wait_for
from tests.root.host import Host, can_make_user_namespace, map_ids

CONFIGS = Path(__file__).resolve().parents[1] / "data" / "configs"
NAMES = sorted(path.stem for path in CONFIGS.glob("*.json"))
SCRIPT = "echo running; id; cat /proc/self/status; exit 0"
# These were written in a user namespace of the engine's, which this test does not have.
NEEDS_ROOTLESS = ("podman-rootless", "podman-rootless-slirp")


@pytest.fixture
def neighbour() -> Iterator[subprocess.Popen[bytes]]:
    """A process in namespaces of its own, to be joined as engines join a pod's."""
    command = ["unshare", "--net", "--ipc", "--uts", "--pid", "--fork", "--kill-child"]
    process = subprocess.Popen([*command, "sleep", "1000"], stdin=subprocess.DEVNULL)
    yield process
    process.kill()
    process.wait()


def namespace_path(kind: str, neighbour: subprocess.Popen[bytes]) -> str:
    """A namespace of that type which is not our own."""
    file = {"network": "net"}.get(kind, kind)
    if kind == "pid":
        children = Path(f"/proc/{neighbour.pid}/task/{neighbour.pid}/children")
        child = wait_for(children.read_text, "the neighbour's child").split()[0]
        return f"/proc/{child}/ns/pid"
    own, path = os.readlink(f"/proc/self/ns/{file}"), f"/proc/{neighbour.pid}/ns/{file}"
    wait_for(lambda: os.readlink(path) != own, f"the neighbour's {kind} namespace")
    return path


def source(path: str, destination: str, directory: Path) -> str:
    """Something of the same kind for the source of a bind mount, unless it exists here."""
    if os.path.exists(path):
        return path
    name = directory / destination.strip("/").replace("/", "-")
    if destination in ("/dev/shm", "/mnt", "/x"):
        name.mkdir()
        (name / "f").write_text("content\n")
    elif destination == "/sbin/docker-init":
        name.write_text('#!/bin/sh\nshift; exec "$@"\n')
        name.chmod(0o755)
    else:
        name.write_text(f"{destination} of the host\n")
    return str(name)


def adapt(config: dict[str, Any], container: Container, neighbour: subprocess.Popen[bytes]) -> None:
    """Put the engine's config into the bundle."""
    bundle, directory = container.bundle, container.bundle.path / "sources"
    directory.mkdir()
    original = bundle.linux["cgroupsPath"]
    bundle.config = config
    bundle.linux["cgroupsPath"] = original
    config["root"]["path"] = "rootfs"
    for mount in config["mounts"]:
        if mount.get("type") == "bind" or {"bind", "rbind"} & set(mount.get("options") or ()):
            mount["source"] = source(mount["source"], mount["destination"], directory)
    for each in bundle.linux["namespaces"]:
        if each.get("path"):
            each["path"] = namespace_path(each["type"], neighbour)
    if config.get("hooks"):
        config["hooks"] = {}
        bundle.hook("prestart", "cat >/dev/null")
    if bundle.linux.get("uidMappings"):
        map_ids(bundle, bundle.linux["uidMappings"][0]["hostID"])
    prefix = bundle.process["args"][:2] if "docker-init" in bundle.process["args"][0] else []
    bundle.process["args"] = [*prefix, "/bin/sh", "-c", SCRIPT]
    bundle.process["env"] = ["PATH=/bin"]


def drop_what_this_machine_lacks(config: dict[str, Any]) -> list[str]:
    """Limits above the hard ones of this process, nodes that cannot exist: what was dropped."""
    import resource

    dropped = []
    limits = config["process"].get("rlimits") or []
    for limit in list(limits):
        hard = resource.getrlimit(getattr(resource, limit["type"]))[1]
        if hard != resource.RLIM_INFINITY and limit["hard"] > hard:
            limits.remove(limit)
            dropped.append(f"{limit['type']} (no CAP_SYS_RESOURCE)")
    if config["process"].get("apparmorProfile") and not has_apparmor():
        del config["process"]["apparmorProfile"]
        dropped.append("apparmorProfile")
    if config["linux"].get("seccomp") and not can_compile_seccomp():
        del config["linux"]["seccomp"]
        dropped.append("seccomp (no pyseccomp)")
    return dropped


def has_apparmor() -> bool:
    path = Path("/sys/module/apparmor/parameters/enabled")
    return path.exists() and path.read_text().startswith("Y")


def can_compile_seccomp() -> bool:
    """The runtime of a checkout finds packages where these tests do; it may lack libseccomp."""
    done = subprocess.run([sys.executable, "-c", "import pyseccomp"], capture_output=True)
    return done.returncode == 0


def check_status(text: str, config: dict[str, Any]) -> None:
    """What the program saw of itself."""
    fields = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
    user = config["process"]["user"]
    assert fields["Uid"].split() == [str(user["uid"])] * 4
    assert fields["Gid"].split() == [str(user["gid"])] * 4
    assert sorted(fields["Groups"].split()) == sorted(map(str, user.get("additionalGids") or ()))
    assert fields["NoNewPrivs"] == str(int(bool(config["process"].get("noNewPrivileges"))))
    assert fields["Seccomp"] == ("2" if config["linux"].get("seccomp") else "0")
    wanted = set((config["process"].get("capabilities") or {}).get("bounding") or ())
    assert bin(int(fields["CapBnd"], 16)).count("1") <= len(wanted)
    if "CAP_CHOWN" in wanted:
        assert int(fields["CapBnd"], 16) & 1


@pytest.mark.rows("R10", "R19", "R36", "R37", "R39")
@pytest.mark.parametrize("name", NAMES)
def test_config(
    name: str,
    container: Container,
    host: Host,
    neighbour: subprocess.Popen[bytes],
    request: pytest.FixtureRequest,
) -> None:
    if name in NEEDS_ROOTLESS:
        pytest.skip("it was written for a user namespace that the engine itself had made")
    config = json.loads((CONFIGS / f"{name}.json").read_text())
    kinds = {each["type"] for each in config["linux"]["namespaces"]}
    if "user" in kinds and not can_make_user_namespace():
        pytest.skip("no user namespace can be made here")
    adapt(config, container, neighbour)
    dropped = drop_what_this_machine_lacks(config)
    if dropped:
        request.node.add_report_section("setup", "dropped", ", ".join(dropped))
    if config["process"].get("terminal"):
        text = run_on_terminal(container)
    else:
        container.create().start()
        text = finish(container)
    assert text.startswith("running"), container.errors()
    check_status(text.replace("\r", ""), config)
    container.delete("--force")
    host.clean(container)


def finish(container: Container) -> str:
    assert container.exit_status() == 0, container.errors()
    return container.output()


def run_on_terminal(container: Container) -> str:
    """Take the terminal off a console socket, as the engines do."""
    path = container.runtime.workplace / "console"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)
        container.create("--console-socket", str(path))
        connection, _ = listener.accept()
    _, descriptors, _, _ = socket.recv_fds(connection, 100, 1)
    connection.close()
    container.start()
    text = b""
    while True:
        try:
            piece = os.read(descriptors[0], 4096)
        except OSError:  # EIO: the other end is closed
            break
        if not piece:
            break
        text += piece
    os.close(descriptors[0])
    assert container.exit_status() == 0
    return text.decode()
