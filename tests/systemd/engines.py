"""Podman and containerd on a runtime, with stores of their own, all cgroups made by systemd.

Both are started as services, so that what they leave behind becomes a child of the first
process, as on any host. The tests themselves are a subreaper, and would have to reap it.
"""

from __future__ import annotations

import glob
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from conformance.conftest import runtime_program
from conformance.runtime import wait_for
from tests.engines import image
from tests.systemd.conftest import Unit, systemctl

RUNTIMES = ("pyruntime", "runc", "crun")
FOREVER = ["sleep", "6000"]
# For what an engine does in several steps, on a processor that may be emulated.
LIMIT = 300
# In the foreground: output and exit status are the program's.
RUN = ["systemd-run", "--quiet", "--collect", "--wait", "--pipe"]
# As Debian's unit of containerd: its shims and containers outlive it.
SERVICE = [*RUN, "-p", "Delegate=yes", "-p", "KillMode=process"]
# As at a shell's prompt. Podman in a service leaves conmon in that, for systemd to end.
COMMAND = [*RUN, "env", "--unset", "INVOCATION_ID"]


def program_of(runtime: str) -> str:
    """The path of a runtime; the test is skipped if it is not here."""
    if runtime == "pyruntime":
        return runtime_program()
    return need(runtime)


def need(name: str) -> str:
    """The path of a program, without which the test is skipped."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"no {name}")
    return found


def run(command: list[str], status: int = 0, prefix: Sequence[str] = COMMAND) -> str:
    """Run a command that must end with this status; what it wrote to standard output."""
    done = subprocess.run(
        [*prefix, *command], capture_output=True, text=True, timeout=LIMIT, check=False
    )
    assert done.returncode == status, f"{command}: {done.returncode} {done.stdout}{done.stderr}"
    return done.stdout.strip()


def write_image(directory: Path) -> Path:
    """The engines' image, as an archive. Skips where there is no busybox for it."""
    path = directory / "image.tar"
    try:
        image.write(path)
    except LookupError as error:
        pytest.skip(str(error))
    return path


def units_with(text: str) -> list[str]:
    """The units that systemd knows whose names hold this text."""
    return systemctl("list-units", "--all", "--plain", "--no-legend", f"*{text}*").splitlines()


def nothing_left(root: str, identifier: str) -> None:
    """Neither a unit, nor a cgroup, nor a process, nor state below the runtime's root."""
    wait_for(lambda: not units_with(identifier), f"the end of the units of {identifier}")
    # That of glob, for directories of other containers go while it looks.
    found = glob.glob(f"/sys/fs/cgroup/**/*{identifier}*", recursive=True)
    found += glob.glob(f"{root}/{identifier}")
    assert found == []
    wait_for(lambda: not processes_with(identifier), f"the end of the processes of {identifier}")


def processes_with(text: str) -> list[str]:
    """The processes whose command lines hold this text, as an engine's helpers do."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if text in words and int(path.parent.name) != os.getpid():
            found.append(words)
    return found


def processes_in(unit: Unit) -> list[str]:
    """The processes of a unit; crun's are in a cgroup below it."""
    found = []
    for path in sorted(unit.directory.rglob("cgroup.procs")):
        found += path.read_text().split()
    return found


def frozen(unit: Unit) -> bool:
    """Whether all its processes are frozen, wherever in it that was asked for."""
    files = [path.read_text() for path in unit.directory.rglob("cgroup.events")]
    return any("frozen 1" in text for text in files)


class Podman:
    """Podman with a store, and a runtime."""

    def __init__(self, work: Path, runtime: str) -> None:
        self.runtime, self.work = runtime, work
        self.root = f"/run/{runtime}"
        # Other locks would be shared by all Podmans of the host, whatever their stores.
        settings = work / "containers.conf"
        settings.write_text('[engine]\nlock_type = "file"\n')
        self.command = [
            "env", f"CONTAINERS_CONF={settings}",
            need("podman"), "--root", f"{work}/store", "--runroot", f"{work}/run",
            "--tmpdir", f"{work}/tmp", "--runtime", program_of(runtime),
            "--cgroup-manager", "systemd", "--events-backend", "file",
        ]  # fmt: skip
        self.run("load", "--quiet", "--input", str(write_image(work)))

    def run(self, *words: str, status: int = 0) -> str:
        """What a command prints."""
        return run([*self.command, *words], status)

    def start(self, *options: str, command: list[str] = FOREVER) -> str:
        """The id of a container that runs."""
        options = ("--detach", "--log-driver", "k8s-file", *options)
        return self.run("run", *options, image.NAME, *command)

    def inspect(self, name: str, template: str) -> str:
        """Of a container or pod, by a Go template."""
        return self.run("inspect", "--format", template, name)

    def clean(self) -> None:
        """Remove all pods and containers, and what is mounted."""
        for words in ("pod rm --all --force --time 0", "rm --all --force --time 0"):
            command = [*COMMAND, *self.command, *words.split()]
            subprocess.run(command, capture_output=True, timeout=LIMIT, check=False)


class Containerd:
    """A containerd that serves ctr, and a runtime."""

    def __init__(self, work: Path, runtime: str) -> None:
        self.runtime = runtime
        self.program = program_of(runtime)
        self.unit = Unit(f"pyrt-containerd-{os.urandom(4).hex()}.service")
        self.command = [need("ctr"), "--address", f"{work}/socket"]
        archive = write_image(work)
        try:
            self._start(work)
            run([*self.command, "image", "import", str(archive)])
        except BaseException:
            self.unit.clean()
            raise

    def _start(self, work: Path) -> None:
        (work / "config.toml").write_text(
            f'version = 2\nroot = "{work}/root"\nstate = "{work}/state"\n'
            'disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]\n'
            f'[grpc]\n  address = "{work}/socket"\n'
        )
        service = [*SERVICE, "--unit", self.unit.name, need("containerd")]
        self.process = subprocess.Popen(
            [*service, "--config", f"{work}/config.toml"],
            stdin=subprocess.DEVNULL, stdout=(work / "log").open("wb"), stderr=subprocess.STDOUT,
        )  # fmt: skip
        wait_for(lambda: self._answers(work), "containerd answers", LIMIT)

    def _answers(self, work: Path) -> bool:
        assert self.process.poll() is None, (work / "log").read_text()[-1000:]
        command = [*self.command, "version"]
        return subprocess.run(command, capture_output=True, timeout=LIMIT).returncode == 0

    def run(self, *words: str, status: int = 0) -> str:
        """What a command of ctr prints."""
        return run([*self.command, *words], status)

    def start(self, name: str, cgroup: str, *options: str) -> None:
        """A container that runs."""
        self.run(
            "run", "--detach", "--runc-binary", self.program, "--runc-systemd-cgroup",
            "--cgroup", cgroup, *options, image.NAME, name, *FOREVER,
        )  # fmt: skip
        wait_for(lambda: self.state(name) == "RUNNING", f"{name} runs")

    def task(self, name: str) -> list[str]:
        """Process and state of a task, nothing if there is none."""
        for line in self.run("task", "list").splitlines():
            if line.split()[0] == name:
                return line.split()[1:]
        return []

    def state(self, name: str) -> str:
        """Such as RUNNING, empty if there is no task."""
        return (self.task(name) or ["", ""])[1]

    def shim(self, name: str) -> int:
        """The process that looks after a container."""
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if "containerd-shim" in words[0] and "-id" in words and name in words:
                return int(path.parent.name)
        raise AssertionError(f"no shim of {name}")

    def clean(self) -> None:
        """Remove all containers, then end the server."""
        for name in self.run("container", "list", "--quiet").split():
            for words in (["task", "rm", "--force", name], ["container", "rm", name]):
                subprocess.run([*COMMAND, *self.command, *words], capture_output=True)
        self.unit.clean()
        self.process.wait(LIMIT)


def metric(text: str, name: str) -> int:
    """A figure of `ctr task metrics`, whose form changed from release to release."""
    found = re.search(rf'"?\b{name}"?[: ]+"?(\d+)', text)
    assert found, f"no {name} in {text}"
    return int(found[1])
