"""pause and resume: what stands still, which states allow it, what is refused."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from conformance.bundle import Bundle
from conformance.conftest import MakeContainer
from conformance.runtime import Container, Runtime, nothing_left, wait_for
from conformance.test_cgroups import processes_file

COUNT = "i=0; while :; do i=$((i + 1)); echo $i; sleep 0.05; done"
CRUN_AGAIN = pytest.mark.departs("crun", "engines: a second pause or resume is no error in 1.8")
CRUN_TEXT = pytest.mark.departs("crun", "engines: words of its own")


def frozen(container: Container) -> str:
    """What the container's freezer says, in the words of version 1."""
    directory = processes_file(container).parent
    if (directory / "freezer.state").exists():
        return (directory / "freezer.state").read_text().strip()
    events = (directory / "cgroup.events").read_text().splitlines()
    told = (directory / "cgroup.freeze").read_text().strip()
    assert f"frozen {told}" in events
    return "FROZEN" if told == "1" else "THAWED"


def test_pause_stops_and_resume_goes_on(container: Container, bundle: Bundle) -> None:
    bundle.sh(COUNT)
    container.create().start()
    container.wait_output("3\n")
    container.runtime.ok("pause", container.id)
    before = container.output()
    for _ in range(3):
        assert container.status() == "paused"
    assert container.output() == before
    container.runtime.ok("resume", container.id)
    assert container.status() == "running"
    wait_for(lambda: container.output() != before, "output after resume")


def test_the_freezer_holds_every_process(container: Container, bundle: Bundle) -> None:
    bundle.sh("sleep 1000 & sleep 1000 & echo both; wait")
    container.create().start()
    container.wait_output("both")
    assert frozen(container) == "THAWED"
    container.runtime.ok("pause", container.id)
    assert frozen(container) == "FROZEN"
    container.runtime.ok("resume", container.id)
    assert frozen(container) == "THAWED"


def test_nothing_is_printed(container: Container) -> None:
    container.create().start()
    for verb in ("pause", "resume"):
        result = container.runtime.ok(verb, container.id)
        assert result.stdout + result.stderr == ""


def test_a_paused_container_keeps_its_pid(container: Container) -> None:
    container.create().start()
    pid = container.state()["pid"]
    container.runtime.ok("pause", container.id)
    state = container.state()
    assert (state["status"], state["pid"]) == ("paused", pid)


@pytest.mark.departs("crun", "engines: 1.8 says running of a created container that was resumed")
def test_a_created_container_can_be_paused(container: Container, bundle: Bundle) -> None:
    bundle.args("echo", "ran")
    container.create()
    container.runtime.ok("pause", container.id)
    assert container.status() == "paused"
    container.runtime.refused("start", container.id)
    container.runtime.ok("resume", container.id)
    assert container.status() == "created"
    container.start().wait_stopped()
    assert container.output() == "ran\n"


@CRUN_AGAIN
def test_a_second_pause_is_refused(container: Container) -> None:
    container.create().start()
    container.runtime.ok("pause", container.id)
    for _ in range(2):
        assert "container not running" in container.runtime.refused("pause", container.id).stderr
    assert container.status() == "paused"
    container.runtime.ok("resume", container.id)
    assert container.status() == "running"


@CRUN_AGAIN
def test_a_second_resume_is_refused(container: Container) -> None:
    container.create().start()
    for _ in range(2):
        assert "container not paused" in container.runtime.refused("resume", container.id).stderr
    assert container.status() == "running"


@CRUN_TEXT
@pytest.mark.parametrize(
    ("verb", "text"), [("pause", "container not running"), ("resume", "container not paused")]
)
def test_a_stopped_container_is_refused(container: Container, verb: str, text: str) -> None:
    container.create().start().stop()
    assert text in container.runtime.refused(verb, container.id).stderr
    assert container.status() == "stopped"


@CRUN_TEXT
@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_an_unknown_container_is_refused(runtime: Runtime, verb: str) -> None:
    assert "does not exist" in runtime.refused(verb, "nosuch").stderr


@pytest.mark.departs("crun", "R292 1.8 leaves it frozen")
@pytest.mark.rows("R292")
def test_sigkill_ends_a_paused_container(container: Container) -> None:
    container.create().start()
    container.runtime.ok("pause", container.id)
    container.kill("KILL")
    assert container.exit_status() == 137
    container.wait_stopped()


@pytest.mark.rows("R293", "R307")
def test_forced_delete_of_a_paused_container(
    runtime: Runtime, container: Container, bundle: Bundle
) -> None:
    bundle.sh("sleep 1000 & echo both; wait")
    container.create().start()
    container.wait_output("both")
    runtime.ok("pause", container.id)
    container.delete("--force")
    nothing_left(runtime, container.id, bundle)


@pytest.mark.departs("runc", "R163 1.1 only warns")
@pytest.mark.departs("crun", "R163 1.8 does not look")
@pytest.mark.rows("R163")
def test_no_container_is_made_in_the_cgroup_of_a_paused_one(
    container: Container, make_container: MakeContainer
) -> None:
    container.create().start()
    container.runtime.ok("pause", container.id)
    second = make_container()
    second.bundle.linux["cgroupsPath"] = container.bundle.cgroups_path
    result = container.runtime.check_refused(second.try_create())
    assert container.bundle.cgroups_path in result.stderr
    assert container.status() == "paused"


def test_pause_from_a_hook_of_create_is_refused(
    runtime: Runtime, container: Container, bundle: Bundle, workplace: Path
) -> None:
    """A container that is being created has nothing to pause, and nobody waits for it."""
    log = workplace / "pause.log"
    command = shlex.join(runtime.command("pause", container.id))
    bundle.hook("createRuntime", f"timeout 20 {command} >{log} 2>&1; echo $? >>{log}", env=ENV)
    container.create()
    assert log.read_text().endswith("\n1\n")
    assert container.status() == "created"


ENV = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]
