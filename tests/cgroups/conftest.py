"""Real cgroups for the tests: every one under its own name, and gone afterwards."""

from __future__ import annotations

import os
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator

import pytest

from pyruntime.cgroups.directory import Directory, remove
from pyruntime.cgroups.layout import Layout, detect
from pyruntime.cgroups.manager import Cgroup

Until = Callable[[Callable[[], object]], None]


@pytest.fixture
def v1() -> Layout:
    """The layout of a host whose controllers are on cgroup v1, with the right to make some."""
    layout = detect()
    if "freezer" not in layout.v1:
        pytest.skip(f"needs a cgroup v1 freezer; this host is {layout.mode}")
    probe = f"{layout.v1['freezer']}/pyruntime-test-{uuid.uuid4().hex}"
    try:
        os.mkdir(probe)
    except OSError as error:
        pytest.skip(f"needs the right to make cgroups: {error}")
    os.rmdir(probe)
    return layout


@pytest.fixture
def name() -> Iterator[str]:
    """A path that no other test has; nothing stays there in any hierarchy."""
    path = f"/pyruntime-test-{uuid.uuid4().hex}"
    yield path
    layout = detect()
    for root in {*layout.v1.values(), *([layout.v2] if layout.v2 else [])}:
        if os.path.exists(f"{root}{path}/freezer.state"):
            Directory(root + path).write("freezer.state", "THAWED")
        remove([root + path])


@pytest.fixture
def cgroup(v1: Layout, name: str) -> Iterator[Cgroup]:
    """A cgroup that is not made yet; whatever a test makes of it goes away again."""
    result = Cgroup(v1, name)
    yield result
    result.kill()
    result.undo()


@pytest.fixture
def sleeper() -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Starts processes that sleep, and ends them after the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen(["sleep", "1000"]))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def until() -> Until:
    """Waits for a condition, at most 30 seconds."""

    def wait(condition: Callable[[], object]) -> None:
        end = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < end, "the condition did not come true"
            time.sleep(0.01)

    return wait
