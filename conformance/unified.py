"""Cgroup v2 as the tests of it see it: where it is, what it can do, one container's files.

Everything here skips the test, with the name of what is missing, where the host's controllers
are not on cgroup v2.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import pytest

from conformance.runtime import Container
from conformance.test_mount_options import host_mountinfo, parse_mounts


@cache
def mount_point() -> Path:
    """Where cgroup v2 is mounted, on a host that has nothing else."""
    mounts = [mount for mount in parse_mounts(host_mountinfo()) if "cgroup" in mount.kind]
    if {mount.kind for mount in mounts} != {"cgroup2"}:
        pytest.skip("the host's cgroups are not v2 alone")
    return Path(mounts[0].target)


def controllers() -> list[str]:
    """What can be limited on this host."""
    return (mount_point() / "cgroup.controllers").read_text().split()


def need(controller: str) -> None:
    """Skip without the controller."""
    if controller not in controllers():
        pytest.skip(f"cgroup v2 has no controller {controller} on this host")


def directory(container: Container) -> Path:
    """The container's cgroup."""
    return mount_point() / container.bundle.cgroups_path.lstrip("/")


@cache
def kernel_has(file: str) -> bool:
    """Whether a cgroup with all controllers has the file: a new one tells."""
    root = mount_point()
    controller = file.partition(".")[0]
    if controller in controllers():
        (root / "cgroup.subtree_control").write_text(f"+{controller}")
    probe = root / f"conformance-probe-{os.getpid()}"
    probe.mkdir()
    try:
        return (probe / file).exists()
    finally:
        probe.rmdir()


def need_file(file: str) -> None:
    """Skip if the kernel has no such file in a cgroup."""
    if not kernel_has(file):
        pytest.skip(f"the kernel has no {file} in {mount_point()}")


def setting(container: Container, file: str) -> str:
    """What a file of the container's cgroup says."""
    return (directory(container) / file).read_text().strip()


def path_in(text: str) -> str:
    """The path of the v2 hierarchy in a text like that of /proc/self/cgroup."""
    return next(line[3:] for line in text.splitlines() if line.startswith("0::"))
