"""Real containers below a real systemd; skipped where it is not the first process."""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from conformance.conftest import MakeContainer, bundle, busybox, make_container, workplace
from conformance.runtime import Container, Runtime, wait_for
from tests.root.conftest import subreaper
from tests.root.host import PROGRAM

__all__ = ["bundle", "busybox", "make_container", "subreaper", "workplace"]


def missing() -> str:
    """Why these tests cannot run here, empty if they can."""
    if not os.path.isdir("/run/systemd/system"):
        return "systemd is not the first process here"
    done = subprocess.run(["systemctl", "show", "--property=Version"], capture_output=True)
    if done.returncode != 0:
        return f"systemctl: {done.stderr.decode(errors='replace').strip()}"
    if not os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        return "the controllers are on cgroup v1"
    return ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what lies in this directory if there is no systemd."""
    reason = missing()
    for item in items:
        if reason and item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.skip(reason=reason))


class UnderSystemd(Runtime):
    """A runtime that is told to use systemd."""

    def command(self, *arguments: str, options: Sequence[str] = ()) -> list[str]:
        return super().command(*arguments, options=["--systemd-cgroup", *options])


class Unit:
    """A unit as systemctl shows it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def show(self, *names: str) -> list[str]:
        """Properties, in the order asked for."""
        text = systemctl("show", self.name, *(f"--property={name}" for name in names))
        found = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        return [found.get(name, "") for name in names]

    def loaded(self) -> bool:
        """Whether systemd knows it."""
        return self.show("LoadState") != ["not-found"]

    @property
    def directory(self) -> Path:
        """Its cgroup."""
        return Path("/sys/fs/cgroup" + self.show("ControlGroup")[0])

    def read(self, file: str) -> str:
        """A file of its cgroup."""
        return (self.directory / file).read_text().strip()

    def gone(self) -> None:
        """Wait until systemd has forgotten it."""
        wait_for(lambda: not self.loaded(), f"the end of unit {self.name}")

    def clean(self) -> None:
        """Stop it whatever it is."""
        for verb in ("stop", "reset-failed"):
            subprocess.run(["systemctl", verb, self.name], capture_output=True, timeout=120)


def systemctl(*arguments: str) -> str:
    """What a command printed; it must succeed."""
    done = subprocess.run(
        ["systemctl", "--no-pager", *arguments], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, f"systemctl {arguments}: {done.stderr}"
    return done.stdout


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """One of these tests at a time: systemd writes to the files of all units when it reloads."""
    with open("/run/pyruntime-tests-systemd.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture
def runtime(workplace: Path) -> Iterator[Runtime]:
    """This tree's runtime, under systemd."""
    runtime = UnderSystemd(str(PROGRAM), "pyruntime", workplace)
    yield runtime
    clean(runtime)


def clean(runtime: Runtime) -> None:
    """Delete its containers, and stop what is left of their units."""
    for container in runtime.containers:
        container.clean()
        unit_of(container).clean()


@pytest.fixture
def container(make_container: MakeContainer) -> Container:
    """A container in `test-ID.scope` below system.slice."""
    made = make_container()
    made.bundle.linux["cgroupsPath"] = f"system.slice:test:{made.id}"
    return made


def unit_of(container: Container) -> Unit:
    """The unit that the container's path names."""
    path = container.bundle.linux.get("cgroupsPath") or f":pyruntime:{container.id}"
    _, prefix, name = path.split(":")
    return Unit(name if name.endswith(".slice") else f"{prefix}-{name}.scope")


@pytest.fixture
def unit(container: Container) -> Unit:
    """The container's unit."""
    return unit_of(container)
