"""events: the figures, compared with the cgroup's files and with runc's; out of memory; the end."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conformance.bundle import Bundle
from conformance.peer import runc_container
from conformance.runtime import Container, Runtime, wait_for
from conformance.test_cgroups import (
    hierarchies,
    hierarchy,
    kernel_has,
    setting_file,
    unified_controllers,
)

MIB = 1 << 20
OUTLIVES = pytest.mark.departs("runc", "R295 on cgroup v1 it ends with the cgroup, at delete")


@pytest.fixture(autouse=True)
def has_events(runtime: Runtime) -> None:
    """Skip on a runtime that has no such command."""
    if not runtime.lists_verb("events"):
        pytest.skip(f"{runtime.name} has no command events")


def stats(container: Container, *flags: str) -> dict[str, Any]:
    """The figures of one moment."""
    result = container.runtime.ok("events", "--stats", *flags, container.id)
    assert result.stdout.count("\n") == 1
    assert result.stdout.endswith("}\n")
    event = result.json()
    assert list(event) == ["type", "id", "data"]
    assert (event["type"], event["id"]) == ("stats", container.id)
    data = event["data"]
    assert isinstance(data, dict)
    return data


class Events:
    """A command `events` that runs; `lines()` is what it has printed so far."""

    def __init__(self, container: Container, *flags: str) -> None:
        place = container.runtime.workplace
        self.file = place / f"{container.id}.events"
        self.errors = place / f"{container.id}.events-errors"
        command = container.runtime.command("events", *flags, container.id)
        with open(self.file, "wb") as out, open(self.errors, "wb") as err:
            self.process = subprocess.Popen(command, stdout=out, stderr=err)

    def lines(self) -> list[dict[str, Any]]:
        """Every whole line, as JSON."""
        text = self.file.read_text()
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The events of one type."""
        return [event for event in self.lines() if event["type"] == kind]

    def wait(self, kind: str, count: int = 1) -> list[dict[str, Any]]:
        """Wait until there are `count` events of a type."""
        return wait_for(
            lambda: events if len(events := self.of(kind)) >= count else [],
            f"{count} events {kind}; so far {self.errors.read_text()!r}",
        )

    def ended(self) -> int:
        """Wait for the end of the command; its status."""
        wait_for(lambda: self.process.poll() is not None, "the end of events")
        return self.process.returncode


@pytest.fixture
def watch() -> Iterator[Any]:
    """Start `events` on a container; whatever is still running in the end is killed."""
    started: list[Events] = []

    def start(container: Container, *flags: str) -> Events:
        started.append(Events(container, *flags))
        return started[-1]

    yield start
    for events in started:
        events.process.kill()
        events.process.wait()


# figures


@pytest.mark.rows("R295")
def test_sections(container: Container) -> None:
    container.create().start()
    data = stats(container)
    assert list(data) == [
        "cpu",
        "cpuset",
        "memory",
        "pids",
        "blkio",
        "hugetlb",
        "intel_rdt",
        "network_interfaces",
    ]
    assert data["network_interfaces"] is None
    assert data["intel_rdt"] == {}
    assert list(data["cpu"]["usage"])[-2:] == ["kernel", "user"]


@pytest.mark.rows("R295")
def test_figures_are_those_of_the_files(container: Container, bundle: Bundle) -> None:
    """On version 1; those of version 2 are in test_v2_processes."""
    for controller in ("cpuset", "memory", "pids"):
        hierarchy(controller)
    bundle.sh("sleep 1000 & sleep 1000 & echo both; wait")
    bundle.resources.update(
        memory={"limit": 64 * MIB}, pids={"limit": 50}, cpu={"cpus": "0", "mems": "0"}
    )
    container.create().start()
    container.wait_output("both")
    container.runtime.ok("pause", container.id)
    data = stats(container)
    assert data["pids"] == {"current": 3, "limit": 50}
    assert data["cpuset"]["cpus"] == [0]
    assert data["cpuset"]["mems"] == [0]
    assert data["cpuset"]["sched_load_balance"] == 1
    assert data["cpuset"]["sched_relax_domain_level"] == -1
    memory = data["memory"]
    assert memory["usage"]["limit"] == 64 * MIB
    assert 0 < memory["usage"]["usage"] <= memory["usage"]["max"] <= 64 * MIB
    assert memory["usage"]["failcnt"] == 0
    names = setting_file(container, "memory.stat").read_text().split()[::2]
    assert list(memory["raw"]) == sorted(names)
    assert memory["raw"]["hierarchical_memory_limit"] == 64 * MIB
    usage = data["cpu"]["usage"]
    assert sum(usage["percpu"]) == usage["total"]
    assert usage["total"] == int(setting_file(container, "cpuacct.usage").read_text())


@pytest.mark.rows("R295")
def test_throttling(container: Container, bundle: Bundle, watch: Any) -> None:
    bundle.sh("while :; do :; done")
    bundle.resources["cpu"] = {"quota": 2000, "period": 10000}
    if "cpu" not in {*hierarchies(), *unified_controllers()}:
        pytest.skip("nothing limits the CPU time on this host")
    container.create().start()
    found = wait_for(
        lambda: (
            stats(container)["cpu"].get("throttling", {}).get("throttledTime") and stats(container)
        ),
        "throttling",
    )
    assert set(found["cpu"]["throttling"]) == {"periods", "throttledPeriods", "throttledTime"}
    assert found["cpu"]["usage"]["user"] + found["cpu"]["usage"]["kernel"] >= 0


@pytest.mark.rows("R295")
def test_no_limit_of_processes(container: Container) -> None:
    container.create()
    assert "limit" not in stats(container)["pids"]


@pytest.mark.rows("R295")
@pytest.mark.parametrize("state", ["created", "running", "paused"])
def test_every_living_container_has_figures(container: Container, state: str) -> None:
    container.create()
    if state != "created":
        container.start()
    if state == "paused":
        container.runtime.ok("pause", container.id)
    assert stats(container)["memory"]["usage"]["usage"] > 0


@pytest.mark.rows("R295")
def test_the_same_members_as_runc(container: Container, workplace: Path, busybox: Path) -> None:
    """Names, order and types; and the values of what does not vary."""
    with runc_container(workplace, busybox) as peer:
        for one in (container, peer):
            one.bundle.resources.update(memory={"limit": 64 * MIB}, pids={"limit": 50})
            one.bundle.sh("echo ready; sleep 1000")
            one.create().start()
            one.wait_output("ready")
        ours, theirs = stats(container), stats(peer)
    assert list(ours) == list(theirs)
    for name in ("cpuset", "intel_rdt", "network_interfaces"):
        assert ours[name] == theirs[name]
    assert list(ours["cpuset"]) == list(theirs["cpuset"])
    assert ours["pids"]["limit"] == theirs["pids"]["limit"]
    assert list(ours["memory"]["raw"]) == list(theirs["memory"]["raw"])
    for name in ("usage", "swap", "kernel", "kernelTCP"):
        mine, other = ours["memory"][name], theirs["memory"][name]
        assert {"limit", "failcnt"} <= set(mine) <= {"limit", "usage", "max", "failcnt"}
        assert (mine["limit"], mine["failcnt"]) == (other["limit"], other["failcnt"])
    assert list(ours["cpu"]["usage"]) == list(theirs["cpu"]["usage"])
    for name in ("percpu", "percpu_kernel", "percpu_user"):
        mine, other = ours["cpu"]["usage"].get(name), theirs["cpu"]["usage"].get(name)
        assert len(mine or []) == len(other or [])  # version 2 has none


# as time goes by


@OUTLIVES
@pytest.mark.rows("R295")
def test_figures_at_intervals_until_the_end(container: Container, watch: Any) -> None:
    container.create().start()
    events = watch(container, "--interval", "20ms")
    found = events.wait("stats", 3)
    assert all(event["id"] == container.id for event in found)
    container.stop()
    assert events.ended() == 0
    assert {event["type"] for event in events.lines()} == {"stats"}


@OUTLIVES
@pytest.mark.rows("R295")
def test_nothing_but_the_end_in_a_long_interval(container: Container, watch: Any) -> None:
    """The end comes at once, not when the interval is over."""
    container.create().start()
    events = watch(container, "--interval", "1h")
    container.stop()
    assert events.ended() in (0, 1)  # 1: the container was gone before events looked at it
    assert events.lines() == []


def little_memory(container: Container, script: str) -> None:
    """A container that runs a script with 16 MiB of memory and no swap, once /go is there."""
    memory = {"limit": 16 * MIB}
    if "memory" in unified_controllers() or kernel_has(
        hierarchy("memory"), "memory.memsw.limit_in_bytes"
    ):
        memory["swap"] = 16 * MIB
    container.bundle.resources["memory"] = memory
    container.bundle.sh(f"while [ ! -e /go ]; do sleep 0.05; done; {script}")


@pytest.mark.rows("R295")
def test_out_of_memory(container: Container, watch: Any) -> None:
    """A child is killed and the container lives on; an event for each time."""
    little_memory(container, "tail /dev/zero; echo one; tail /dev/zero; echo two; sleep 1000")
    container.create().start()
    events = watch(container, "--interval", "50ms")
    events.wait("stats")
    (container.bundle.rootfs / "go").touch()
    container.wait_output("two")
    found = events.wait("oom", 2)
    assert all(event == {"type": "oom", "id": container.id} for event in found)
    assert container.status() == "running"
    after = len(events.of("stats"))
    events.wait("stats", after + 1)


@OUTLIVES
@pytest.mark.rows("R295")
def test_out_of_memory_is_the_end(container: Container, watch: Any) -> None:
    little_memory(container, "exec tail /dev/zero")
    container.create().start()
    events = watch(container, "--interval", "50ms")
    events.wait("stats")
    (container.bundle.rootfs / "go").touch()
    assert container.exit_status() == 137
    assert events.ended() == 0
    assert events.of("oom")


@pytest.mark.rows("R295")
def test_delete_is_the_end_and_no_lack_of_memory(container: Container, watch: Any) -> None:
    container.create().start()
    events = watch(container, "--interval", "50ms")
    events.wait("stats")
    container.delete("--force")
    assert events.ended() == 0
    assert events.of("oom") == []


# flags and refusals


@pytest.mark.rows("R295")
@pytest.mark.parametrize("interval", ["1h2m3.5s", "100ms", "1.5h", "+5s", "7us", "9ns", ".5m"])
def test_durations(container: Container, interval: str) -> None:
    container.create()
    stats(container, "--interval", interval)


@pytest.mark.rows("R4", "R295")
@pytest.mark.parametrize("interval", ["0", "0s", "-1s", "-1h5m"])
def test_an_interval_that_is_none(container: Container, interval: str) -> None:
    container.create()
    result = container.runtime.refused("events", f"--interval={interval}", container.id)
    assert "duration interval must be greater than 0" in result.stderr


@pytest.mark.rows("R4", "R295")
@pytest.mark.parametrize("interval", ["5", "5x", "s", "5s5", "1.2.3s", "one", "5 s", "-"])
def test_an_interval_that_is_no_duration(container: Container, interval: str) -> None:
    container.create()
    result = container.runtime.refused("events", f"--interval={interval}", container.id)
    assert "for flag -interval: parse error" in result.stdout + result.stderr


@pytest.mark.rows("R295")
@pytest.mark.parametrize("flags", [["--stats"], []])
def test_a_stopped_container_is_refused(container: Container, flags: list[str]) -> None:
    container.create().start().stop()
    result = container.runtime.refused("events", *flags, container.id)
    assert f"container with id {container.id} is not running" in result.stderr


@pytest.mark.rows("R295")
def test_an_unknown_container_is_refused(runtime: Runtime) -> None:
    assert "does not exist" in runtime.refused("events", "--stats", "nosuch").stderr
