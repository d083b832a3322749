"""A server of Kubernetes's interface, here containerd, and the pods of a kubelet on it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from tests.engines import image
from tests.engines.cri.client import Client
from tests.engines.cri.steps import CGROUPS

DEADLINE = 60  # seconds, for whatever is waited for
PAUSE_NAME = "localhost/engine-pause:latest"
PAUSE = ["/bin/sh", "-c", "trap exit TERM; while :; do sleep 3600 & wait; done"]
HANDLER = "under-test"
RUNTIME_ROOT = Path("/run/runtime-root")  # --root of HANDLER; the default handler has its own
CGROUP_PARENT = "/kubepods"
BRIDGE = "cni0"
FOREVER = ["sleep", "600"]
READY = 'trap "exit 5" TERM; echo ready; while :; do sleep 0.05; done'
HEX_ID = re.compile(r"\b[0-9a-f]{64}\b")
# What the runtimes put before the same words: their names, and runc a phrase more.
PHRASES = re.compile(r"\b(runc|pyruntime) create failed: |unable to start container process: ")
ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}\b")
# CRI-O passes on what the runtime has logged; runc has warnings beside an error.
LOGGED = re.compile(r'time="\S+" level=(?:warning msg=.*?"\n|error )')

CONFIG = """version = 2
root = "{work}/root"
state = "{work}/state"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "{work}/net.d"
[plugins."io.containerd.grpc.v1.cri".containerd]
  default_runtime_name = "default"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.default]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.default.options]
  BinaryName = "{runtime}"
  SystemdCgroup = {systemd}
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.{handler}]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.{handler}.options]
  BinaryName = "{runtime}"
  Root = "{root}"
  SystemdCgroup = {systemd}
"""
BRIDGE_PLUGIN = {
    "type": "bridge",
    "bridge": BRIDGE,
    "isGateway": True,
    "ipMasq": True,
}
PORT_PLUGIN = {"type": "portmap", "capabilities": {"portMappings": True}}


class Unable(Exception):
    """The server cannot be tried on this machine; the text says why."""


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Wait until the condition holds. Raises TimeoutError after DEADLINE seconds."""
    end = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"gave up after {DEADLINE} s: {what}")
        time.sleep(0.02)


def plain(text: str) -> str:
    """A text without what differs from run to run, or between runtimes."""
    text = LOGGED.sub("", HEX_ID.sub("ID", text))
    return PHRASES.sub("", ADDRESS.sub("ADDRESS", text))


class Node:
    """The server, its client, and the directories of both.

    `systemd` is whether systemd makes the cgroups; `prefix` is put before the server's command.
    """

    server = "containerd"
    # Where the runtime has the states of containers: of the default handler, and of HANDLER.
    states = (Path("/run/containerd/runc/k8s.io"), RUNTIME_ROOT / "k8s.io")
    monitor = "containerd-shim"
    removal_kills = True  # RemoveContainer does not first ask a program to end

    def __init__(
        self,
        work: Path,
        results: Path,
        runtime: str,
        systemd: bool = False,
        prefix: Sequence[str] = (),
    ) -> None:
        self.work, self.results = work, results
        self.socket = f"{work}/server.sock"
        self.client = Client(self.socket)
        self.call = self.client.call
        self.daemon: subprocess.Popen[bytes] | None = None
        self.shared_pod: Pod | None = None
        self.command = [*prefix, *self._configure(runtime, systemd)]
        self._configure_network()

    def _configure(self, runtime: str, systemd: bool) -> list[str]:
        """Write the server's configuration; the command that starts it."""
        values = {"work": self.work, "socket": self.socket, "pause": PAUSE_NAME}
        values |= {"runtime": runtime, "systemd": "true" if systemd else "false"}
        text = CONFIG.format(handler=HANDLER, root=RUNTIME_ROOT, **values)
        (self.work / "containerd.toml").write_text(text)
        return ["containerd", "--config", f"{self.work}/containerd.toml"]

    def _configure_network(self) -> None:
        (self.work / "net.d").mkdir()
        ipam = {
            "type": "host-local",
            "ranges": [[{"subnet": "10.85.0.0/16"}]],
            "routes": [{"dst": "0.0.0.0/0"}],
            "dataDir": f"{self.work}/leases",
        }
        plugins = [{**BRIDGE_PLUGIN, "ipam": ipam}, PORT_PLUGIN]
        network = {"cniVersion": "0.4.0", "name": "pods", "plugins": plugins}
        (self.work / "net.d/10-pods.conflist").write_text(json.dumps(network))

    def start(self) -> None:
        """Start the server, and wait until it answers. Raises Unable with its last words."""
        log = self.results / f"{self.server}.log"
        with log.open("ab") as file:
            self.daemon = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=file, stderr=file
            )
        try:
            eventually(self._answers, f"{self.server} answers")
        except TimeoutError:
            last = log.read_text(errors="replace").splitlines()[-1:]
            raise Unable(f"{self.server} does not start: {''.join(last)}") from None

    def _answers(self) -> bool:
        assert self.daemon is not None
        if self.daemon.poll() is not None:
            raise TimeoutError
        try:
            status = self.call("Status").status
        except grpc.RpcError:
            return False
        return all(condition.status for condition in status.conditions)

    def end(self, number: signal.Signals) -> None:
        """End the server by a signal; its containers live on."""
        assert self.daemon is not None
        self.daemon.send_signal(number)
        self.daemon.wait(DEADLINE)

    def ctr(self, *words: str) -> str:
        """Run containerd's own command in Kubernetes's namespace; what it prints."""
        command = ["ctr", "-a", self.socket, "-n", "k8s.io", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def load_images(self, archive: str) -> None:
        """Import the image of the tests, and the same with a program that waits."""
        pause = self.work / "pause.tar"
        image.write(pause, PAUSE_NAME, PAUSE)
        try:
            for path in (archive, str(pause)):
                self.load(path)
        except subprocess.CalledProcessError as error:
            raise Unable(f"{self.server} cannot import an image: {error.stderr.strip()}") from None

    def load(self, archive: str) -> None:
        """Import an image. Raises subprocess.CalledProcessError."""
        self.ctr("image", "import", archive)

    def left(self) -> dict[str, list[str]]:
        """What pods leave where, while they are there; a kubelet removes their parent cgroups."""
        states = [path for root in self.states if root.exists() for path in root.iterdir()]
        links = subprocess.run(
            ["ip", "-o", "link", "show", "master", BRIDGE], capture_output=True, text=True
        )
        monitors = subprocess.run(["pgrep", "-f", self.monitor], capture_output=True, text=True)
        groups = [Path(at) for at, _, _ in os.walk(CGROUPS) if CGROUP_PARENT in at]
        return {
            "runtime's state": [path.name for path in states if path.name != "~seccomp"],
            "interfaces": links.stdout.splitlines(),
            "monitors": monitors.stdout.split(),
            "cgroups": [str(path) for path in groups if HEX_ID.search(path.name)],
            "leases": [path.name for path in self.work.glob("leases/pods/10.*")],
            **self._left_of_server(),
        }

    def _left_of_server(self) -> dict[str, list[str]]:
        mounted = Path("/proc/self/mounts").read_text().splitlines()
        points = [line.split()[1] for line in mounted]
        bundles = self.work.glob("state/io.containerd.runtime.v2.task/k8s.io/*")
        return {
            "mounts": [p for p in points if p.startswith((f"{self.work}/state", "/run/netns/"))],
            "namespaces": [path.name for path in Path("/run/netns").iterdir()],
            "tasks": self.ctr("task", "ls", "-q").split(),
            "containers": self.ctr("container", "ls", "-q").split(),
            "bundles": [str(path) for path in bundles],
        }

    @contextmanager
    def pod(self, name: str, **options: Any) -> Iterator[Pod]:
        """A pod, which is stopped and removed at the end."""
        pod = Pod(self, name, **options)
        try:
            yield pod
        finally:
            pod.remove()

    @property
    def shared(self) -> Pod:
        """A pod for all steps that need nothing special of theirs."""
        if self.shared_pod is None:
            self.shared_pod = Pod(self, "shared")
        return self.shared_pod


class Pod:
    """A sandbox, and the containers in it."""

    def __init__(
        self,
        node: Node,
        name: str,
        handler: str = "",
        linux: dict[str, Any] | None = None,
        **config: Any,
    ) -> None:
        self.node, self.call, self.name = node, node.call, name
        self.made = 0
        self.logs = node.work / "logs" / name
        self.logs.mkdir(parents=True, exist_ok=True)
        self.config = {
            "metadata": {"name": name, "uid": f"uid-{name}", "namespace": "default"},
            "hostname": name,
            "log_directory": str(self.logs),
            "linux": {"cgroup_parent": f"{CGROUP_PARENT}/{name}", **(linux or {})},
            **config,
        }
        answer = self.call("RunPodSandbox", config=self.config, runtime_handler=handler)
        self.id = answer.pod_sandbox_id

    def status(self) -> Any:
        """The server's PodSandboxStatus."""
        return self.call("PodSandboxStatus", pod_sandbox_id=self.id).status

    def state(self) -> str:
        """Such as SANDBOX_READY."""
        return self.node.client.name_of(self.status(), "state")

    def pid(self) -> int:
        """The sandbox's own process."""
        info = self.call("PodSandboxStatus", pod_sandbox_id=self.id, verbose=True).info
        return int(json.loads(info["info"])["pid"])

    def create(
        self,
        command: list[str],
        security: dict[str, Any] | None = None,
        resources: dict[str, Any] | None = None,
        **config: Any,
    ) -> Container:
        """A container that is not yet started."""
        self.made += 1
        name = config.pop("name", f"c{self.made}")
        linux = {"security_context": security or {}, "resources": resources or {}}
        config = {
            "metadata": {"name": name, "attempt": config.pop("attempt", 0)},
            "image": {"image": image.NAME, "user_specified_image": image.NAME},
            "command": command,
            "log_path": f"{name}.log",
            "linux": linux,
            **config,
        }
        fields = {"pod_sandbox_id": self.id, "config": config, "sandbox_config": self.config}
        return Container(self, self.call("CreateContainer", **fields).container_id, name)

    def start(self, command: list[str], **options: Any) -> Container:
        """A container that runs. Raises grpc.RpcError if it cannot."""
        container = self.create(command, **options)
        self.call("StartContainer", container_id=container.id)
        return container

    def show(self, script: str, **options: Any) -> None:
        """Run a shell script in a container of its own; print its log and how it ended."""
        container = self.start(["sh", "-c", script], **options)
        container.wait()
        container.print_log()
        container.print_status()
        container.remove()

    def stop(self) -> None:
        """End all containers and the sandbox."""
        self.call("StopPodSandbox", pod_sandbox_id=self.id)

    def remove(self) -> None:
        """Stop and remove all; no error if it is gone."""
        self.stop()
        self.call("RemovePodSandbox", pod_sandbox_id=self.id)


class Container:
    """One container of a pod."""

    def __init__(self, pod: Pod, id: str, name: str) -> None:
        self.pod, self.call, self.id, self.name = pod, pod.call, id, name

    def status(self) -> Any:
        """The server's ContainerStatus."""
        return self.call("ContainerStatus", container_id=self.id).status

    def state(self) -> str:
        """Such as CONTAINER_RUNNING."""
        return self.pod.node.client.name_of(self.status(), "state")

    def pid(self) -> int:
        """The first process, seen from outside."""
        info = self.call("ContainerStatus", container_id=self.id, verbose=True).info
        return int(json.loads(info["info"])["pid"])

    def wait(self) -> None:
        """Until it has exited."""
        eventually(lambda: self.state() == "CONTAINER_EXITED", f"{self.name} exits")

    def wait_for_line(self, text: str) -> None:
        """Until its log has a line of this text."""
        eventually(lambda: text in self.log(), f"{self.name} prints {text}")

    def log(self) -> list[str]:
        """The lines it has printed, without times and names of streams."""
        return [line.split(" ", 3)[3] for line in self._log_lines()]

    def _log_lines(self) -> list[str]:
        path = self.pod.logs / f"{self.name}.log"
        return path.read_text().splitlines() if path.exists() else []

    def print_log(self) -> None:
        """What it printed and to which stream; first all of one, then all of the other."""
        streams: dict[str, list[str]] = {"stdout": [], "stderr": []}
        parts = dict.fromkeys(streams, "")
        for line in self._log_lines():
            _, stream, tag, text = line.split(" ", 3)
            parts[stream] += text
            if tag != "P":  # not a part of a line only
                streams[stream].append(parts[stream])
                parts[stream] = ""
        for stream, lines in streams.items():
            for text in lines + [parts[stream]] * bool(parts[stream]):
                print(stream, text)

    def print_runtime_log(self) -> None:
        """What the runtime has written to its log of JSON lines, without the times."""
        bundles = self.pod.node.work / "state/io.containerd.runtime.v2.task/k8s.io"
        for line in (bundles / self.id / "log.json").read_text().splitlines():
            entry = json.loads(line)
            print("logged", sorted(entry), entry["level"], plain(entry["msg"]))

    def print_status(self) -> None:
        """Its state, exit code, the reason and the message."""
        status = self.status()
        print(self.state(), status.exit_code, status.reason, plain(status.message))

    def exec(self, *command: str, timeout: int = 0) -> Any:
        """ExecSync. Raises grpc.RpcError if it cannot be started or takes too long."""
        return self.call("ExecSync", container_id=self.id, cmd=command, timeout=timeout)

    def print_exec(self, script: str) -> None:
        """Run a shell script inside; print what it prints, and its exit code unless 0."""
        answer = self.exec("sh", "-c", script)
        print(answer.stdout.decode(), end="")
        if answer.stderr:
            print(f"stderr: {answer.stderr.decode()}", end="")
        if answer.exit_code:
            print("exit code", answer.exit_code)

    def update(self, **resources: Any) -> None:
        """Change its limits."""
        self.call("UpdateContainerResources", container_id=self.id, linux=resources)

    def stop(self, grace: int) -> None:
        """Ask it to end, and kill it after so many seconds."""
        self.call("StopContainer", container_id=self.id, timeout=grace)

    def remove(self) -> None:
        """Kill it if it runs, and remove it."""
        if not self.pod.node.removal_kills:
            self.stop(0)
        self.call("RemoveContainer", container_id=self.id)
        (self.pod.logs / f"{self.name}.log").unlink(missing_ok=True)


@contextmanager
def refused(saying: str = "") -> Iterator[None]:
    """What is done here must be refused; prints the server's words, or whether they say this."""
    try:
        yield
    except grpc.RpcError as error:
        words = plain(error.details() or "")
        print(error.code().name, f"{saying}: {saying in words}" if saying else words)
    else:
        print("was not refused")
