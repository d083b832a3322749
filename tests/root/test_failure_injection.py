"""Every operation of a create fails in turn, and nothing may be left behind (R1)."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conformance.bundle import Bundle
from conformance.runtime import Container, Result
from tests.root.host import Host, can_make_user_namespace, map_ids, plan_of

EIO = 5
# Each of the tests below fails every PARTS-th operation, so that they can run side by side.
PARTS = 10


def with_hooks(bundle: Bundle) -> None:
    bundle.args("/bin/true")
    for kind in ("prestart", "createRuntime", "createContainer"):
        bundle.hook(kind, "cat >/dev/null")
    bundle.hook("startContainer", "cat >/dev/null")


def privileged(bundle: Bundle) -> None:
    """Masked paths, limits, cgroup mounts, bind mounts, hooks, a read-only root."""
    with_hooks(bundle)
    bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", ["ro"])
    bundle.mount("/data", "bind", str(bundle.path), ["rbind", "rro"])
    bundle.mount("/tmp", "tmpfs", "tmpfs", ["tmpcopyup", "ro"])
    bundle.namespace("cgroup")
    bundle.linux["maskedPaths"] = ["/proc/kcore", "/proc/acpi"]
    bundle.linux["readonlyPaths"] = ["/proc/sys"]
    bundle.linux["sysctl"] = {"net.ipv4.ip_forward": "1"}
    bundle.config["root"]["readonly"] = True
    bundle.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 64}]
    bundle.process["cwd"] = "/made/here"


def unprivileged(bundle: Bundle) -> None:
    """A user namespace, a terminal, hooks."""
    with_hooks(bundle)
    map_ids(bundle)
    bundle.process["terminal"] = True


BUNDLES: list[Callable[[Bundle], None]] = [privileged, unprivileged]


@pytest.fixture
def console(workplace: Path) -> Iterator[Path]:
    """A socket that accepts every connection and takes no terminal off it."""
    path = workplace / "console"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1000)
        yield path


@pytest.mark.rows("R1", "R36", "R40")
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("arrange", BUNDLES, ids=lambda arrange: arrange.__name__)
def test_every_operation_fails_in_turn(
    arrange: Callable[[Bundle], None], part: int, container: Container, host: Host, console: Path
) -> None:
    if arrange is unprivileged and not can_make_user_namespace():
        pytest.skip("no user namespace can be made here")
    arrange(container.bundle)
    operations = plan_of(container)
    last = next(i for i, each in enumerate(operations) if each["operation"] == "wait_start")
    optional = passed_over(operations)
    failed = 0
    for index in range(part, last, PARTS):
        result = create_with_failure(container, index, console)
        if result.status == 0 and index in optional:  # nothing came to this operation
            container.delete("--force")
        else:
            check_refusal(result, container, index)
            failed += 1
        host.clean(container)
    assert failed > last / PARTS / 2


def create_with_failure(container: Container, index: int, console: Path) -> Result:
    """Create with that operation failing."""
    env = {**os.environ, "PYRUNTIME_FAIL": f"{index}:{EIO}"}
    options = ["--console-socket", str(console)] if container.bundle.process["terminal"] else []
    container.pid_file.unlink(missing_ok=True)
    return container.try_create(*options, env=env)


def check_refusal(result: Result, container: Container, index: int) -> None:
    assert result.status == 1, f"operation {index}: {result}"
    assert "create failed" in result.stderr, f"operation {index}: {result}"
    assert "input/output error" in result.stderr, f"operation {index}: {result}"
    assert not container.pid_file.exists(), f"operation {index} left a pid file"


def passed_over(operations: list[dict[str, Any]]) -> set[int]:
    """What is only performed if something else failed, or did not fail."""
    found: set[int] = set()
    for index, each in enumerate(operations):
        counts = list(each.get("pardons", {}).values())
        if each["operation"] == "skip":
            counts.append(each["arguments"]["count"])
            found.add(index)  # it cannot fail by itself, and may be an alternative's end
        for count in counts:
            found |= set(range(index + 1, index + 1 + count))
    return found
