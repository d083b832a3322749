"""CRI-O, in the place of containerd."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.engines.cri.node import HANDLER, PAUSE_NAME, RUNTIME_ROOT, Node

DEFAULT_ROOT = Path("/run/runtime-default")
# Nothing of it is looked up in /etc, so that a host's own CRI-O is not in the way.
CRIO_CONFIG = """[crio]
root = "{work}/storage"
runroot = "{work}/storage-run"
storage_driver = "overlay"
log_dir = "{work}/logs"
version_file = "{work}/version"
clean_shutdown_file = "{work}/clean.shutdown"
[crio.api]
listen = "{socket}"
stream_address = "127.0.0.1"
[crio.runtime]
cgroup_manager = "{manager}"
conmon_cgroup = "{conmon_cgroup}"
default_runtime = "default"
container_exits_dir = "{work}/exits"
container_attach_socket_dir = "{work}/attach"
namespaces_dir = "{work}/ns"
hooks_dir = []
irqbalance_config_restore_file = "disable"
[crio.runtime.runtimes.default]
runtime_path = "{runtime}"
runtime_root = "{default_root}"
[crio.runtime.runtimes.{handler}]
runtime_path = "{runtime}"
runtime_root = "{root}"
[crio.image]
pause_image = "{pause}"
pause_command = ""
signature_policy = "{work}/policy.json"
signature_policy_dir = "{work}/policies"
namespaced_auth_dir = "{work}/auth"
[crio.network]
network_dir = "{work}/net.d"
plugin_dirs = ["/usr/lib/cni"]
"""
# Pods ask for a score that only CAP_SYS_RESOURCE may set, and CRI-O has no option to leave it.
UNABLE_TO_LOWER = """#!/bin/sh
case " $* " in *" create "*)
    for word; do [ "$last" != --bundle ] || bundle=$word; last=$word; done
    sed -i 's/"oomScoreAdj": *-[0-9]*/"oomScoreAdj": 0/' "$bundle/config.json"
esac
exec {runtime} "$@"
"""
POLICY = {"default": [{"type": "insecureAcceptAnything"}]}


def lowers_scores() -> bool:
    """Whether a process may have the kernel kill it later than others."""
    script = "echo -1 >/proc/self/oom_score_adj"
    return subprocess.run(["sh", "-c", script], capture_output=True).returncode == 0


class Crio(Node):
    """The server, its client, and the directories of both."""

    server = "crio"
    states = (DEFAULT_ROOT, RUNTIME_ROOT)
    monitor = "^[^ ]*conmon "
    removal_kills = False

    def _configure(self, runtime: str, systemd: bool) -> list[str]:
        if not lowers_scores():
            wrapper = self.work / "runtime"
            wrapper.write_text(UNABLE_TO_LOWER.format(runtime=runtime))
            wrapper.chmod(0o755)
            runtime = str(wrapper)
        values = {"work": self.work, "socket": self.socket, "pause": PAUSE_NAME}
        values |= {"runtime": runtime, "root": RUNTIME_ROOT, "default_root": DEFAULT_ROOT}
        values["manager"] = "systemd" if systemd else "cgroupfs"
        values["conmon_cgroup"] = "system.slice" if systemd else "pod"
        text = CRIO_CONFIG.format(handler=HANDLER, **values)
        (self.work / "crio.conf").write_text(text)
        (self.work / "policy.json").write_text(json.dumps(POLICY))
        return ["crio", "--config", f"{self.work}/crio.conf", "--config-dir", ""]

    def load(self, archive: str) -> None:
        """By Podman, which has the same store. Raises subprocess.CalledProcessError."""
        store = ["--root", f"{self.work}/storage", "--runroot", f"{self.work}/storage-run"]
        tool = ["podman", *store, "--tmpdir", f"{self.work}/podman", "--storage-driver", "overlay"]
        command = [*tool, "load", "--quiet", "--input", archive]
        subprocess.run(command, check=True, capture_output=True, text=True)

    def _left_of_server(self) -> dict[str, list[str]]:
        mounted = Path("/proc/self/mounts").read_text().splitlines()
        points = [line.split()[1] for line in mounted]
        places = ("storage/overlay/", "storage-run/", "ns/")
        stores = self.work.glob("storage/overlay-containers/*containers.json")
        return {
            "mounts": [
                p for p in points if p.startswith(tuple(f"{self.work}/{n}" for n in places))
            ],
            "namespaces": [str(path) for path in self.work.glob("ns/*ns/*")],
            "containers": [one["id"] for path in stores for one in json.loads(path.read_text())],
            "exits": [path.name for path in self.work.glob("exits/*")],
        }
