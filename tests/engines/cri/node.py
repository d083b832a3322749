"""A containerd with its Kubernetes interface, and the pods that a kubelet would have on it."""

from __future__ import annotations

import json
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

DEADLINE = 60  # seconds, for whatever is waited for
PAUSE_NAME = "localhost/engine-pause:latest"
PAUSE = ["/bin/sh", "-c", "while :; do sleep 3600 & wait; done"]
HANDLER = "under-test"
RUNTIME_ROOT = Path("/run/runtime-root")  # --root of HANDLER; the default handler has its own
CGROUP_PARENT = "/kubepods"
BRIDGE = "cni0"
FOREVER = ["sleep", "600"]
READY = 'trap "exit 5" TERM; echo ready; while :; do sleep 0.05; done'
HEX_ID = re.compile(r"\b[0-9a-f]{64}\b")
# What the runtimes put before the same words: their names, and runc a phrase more.
PHRASES = re.compile(r"\b(runc|pyruntime) create failed: |unable to start container process: ")

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
    return PHRASES.sub("", HEX_ID.sub("ID", text))


class Node:
    """The server, its client, and the directories of both.

    `systemd` is whether systemd makes the cgroups; `prefix` is put before the server's command.
    """

    def __init__(
        self,
        work: Path,
        results: Path,
        runtime: str,
        systemd: bool = False,
        prefix: Sequence[str] = (),
    ) -> None:
        self.work, self.results = work, results
        self.socket = f"{work}/containerd.sock"
        self.client = Client(self.socket)
        self.call = self.client.call
        self.daemon: subprocess.Popen[bytes] | None = None
        self.shared_pod: Pod | None = None
        self.command = [*prefix, "containerd", "--config", f"{work}/containerd.toml"]
        self._configure(runtime, "true" if systemd else "false")

    def _configure(self, runtime: str, systemd: str) -> None:
        values = {"work": self.work, "socket": self.socket, "pause": PAUSE_NAME}
        values |= {"runtime": runtime, "systemd": systemd}
        text = CONFIG.format(handler=HANDLER, root=RUNTIME_ROOT, **values)
        (self.work / "containerd.toml").write_text(text)
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
        """Start containerd, and wait until it answers. Raises Unable with its last words."""
        log = self.results / "containerd.log"
        with log.open("ab") as file:
            self.daemon = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=file, stderr=file
            )
        try:
            eventually(self._answers, "containerd answers")
        except TimeoutError:
            last = log.read_text(errors="replace").splitlines()[-1:]
            raise Unable(f"containerd does not start: {''.join(last)}") from None

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
        """End containerd by a signal; its containers live on."""
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
                self.ctr("image", "import", path)
        except subprocess.CalledProcessError as error:
            raise Unable(f"containerd cannot import an image: {error.stderr.strip()}") from None

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
            "image": {"image": image.NAME},
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
        lines = (line.partition(" ")[2] for line in self._log_lines())
        for line in sorted(lines, key=lambda line: line.partition(" ")[0], reverse=True):
            print(line)

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
