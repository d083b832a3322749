"""Every operation of an exec fails in turn: no process is left, and the container goes on."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from conformance.bundle import Bundle
from conformance.runtime import Container, processes_in
from tests.root.host import can_make_user_namespace, map_ids

EIO = 5
FAILED = 255
LONGEST_PLAN = 200


def with_much(bundle: Bundle) -> None:
    """A config whose exec has most operations."""
    bundle.namespace("cgroup")
    bundle.process["oomScoreAdj"] = 500
    bundle.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 64}]
    bundle.process["execCPUAffinity"] = {"initial": "0", "final": "0"}
    bundle.process["user"]["additionalGids"] = [5]
    bundle.process["user"]["umask"] = 0o22
    bundle.linux["personality"] = {"domain": "LINUX"}


def with_users(bundle: Bundle) -> None:
    """The same in a user namespace."""
    with_much(bundle)
    map_ids(bundle)


@pytest.mark.rows("R291", "R1")
@pytest.mark.parametrize("arrange", [with_much, with_users], ids=lambda each: each.__name__)
def test_every_operation_fails_in_turn(
    arrange: Callable[[Bundle], None], container: Container, workplace: Path
) -> None:
    if arrange is with_users and not can_make_user_namespace():
        pytest.skip("this process may not make user namespaces")
    arrange(container.bundle)
    container.create().start()
    pid_file = workplace / "pid"
    failures = 0
    for index in range(LONGEST_PLAN):
        environment = {**os.environ, "PYRUNTIME_FAIL": f"{index}:{EIO}"}
        flags = ("--pid-file", str(pid_file))
        result = container.exec("echo", "ran", flags=flags, env=environment)
        assert processes_in(container.bundle.cgroups_path) == [container.pid], str(result)
        if result.status == 0:
            assert result.stdout == "ran\n"
            pid_file.unlink()
            if not_reached(container, index):
                break
            continue
        failures += 1
        assert (result.status, result.stdout) == (FAILED, ""), str(result)
        assert "exec failed: " in result.stderr and "input/output error" in result.stderr
        assert not pid_file.exists()
    assert failures > 30
    assert container.status() == "running"


def not_reached(container: Container, index: int) -> bool:
    """Is the plan shorter than that? An operation that is skipped cannot fail either."""
    environment = {**os.environ, "PYRUNTIME_FAIL": f"{index + 1}:{EIO}"}
    later = container.exec("true", env=environment).status
    environment["PYRUNTIME_FAIL"] = f"{index + 2}:{EIO}"
    return later == 0 == container.exec("true", env=environment).status
