"""The state of a container: what `state` prints, and the statuses a container goes through."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from conformance.bundle import Bundle
from conformance.runtime import Container, Runtime, wait_for

STATUSES = {"creating", "created", "running", "stopped"}


def check_state(state: dict[str, Any]) -> None:
    """What the schema of a state demands."""
    assert re.fullmatch(r"\d+\.\d+\.\d+([-+].*)?", state["ociVersion"]), state
    assert isinstance(state["id"], str)
    assert state["status"] in STATUSES
    assert isinstance(state["bundle"], str) and state["bundle"].startswith("/")
    pid = state.get("pid", 0)
    assert type(pid) is int and pid >= 0
    annotations = state.get("annotations", {})
    assert all(type(value) is str for value in annotations.values()), state


@pytest.mark.rows("R30", "R32", "R33")
def test_state_of_each_status(container: Container, bundle: Bundle) -> None:
    bundle.args("cat")
    seen = []
    container.create()
    seen.append(container.state())
    container.start(stdin="")
    seen.append(container.wait_stopped().state())
    assert [state["status"] for state in seen] == ["created", "stopped"]
    for state in seen:
        check_state(state)
        assert state["id"] == container.id
        assert state["bundle"] == str(bundle.path)
    assert seen[0]["pid"] == container.pid
    assert seen[1].get("pid", 0) == 0


@pytest.mark.rows("R30", "R33", "R34")
def test_state_of_a_running_container(container: Container) -> None:
    container.create().start()
    state = container.state()
    check_state(state)
    assert state["status"] == "running"
    assert state["pid"] == container.pid
    assert Path(f"/proc/{container.pid}/cmdline").read_text() == "/bin/sleep\x001000\x00"


@pytest.mark.rows("R33")
def test_running_as_soon_as_start_returns(container: Container) -> None:
    container.create().start()
    assert container.status() == "running"


@pytest.mark.rows("R33")
def test_zombie_is_stopped(container: Container, bundle: Bundle) -> None:
    bundle.args("true")
    container.create().start()
    wait_for(lambda: b"Z (zombie)" in status_file(container), "the init is a zombie")
    assert container.status() == "stopped"
    assert container.exit_status() == 0
    assert container.status() == "stopped"


def status_file(container: Container) -> bytes:
    """/proc/PID/status of the init, which the test has not waited for."""
    return Path(f"/proc/{container.pid}/status").read_bytes()


@pytest.mark.rows("R30")
@pytest.mark.departs("crun", "R30 gives the root as it is in the config")
def test_extra_fields_that_engines_show(container: Container, bundle: Bundle) -> None:
    state = container.create().state()
    assert state["rootfs"] == str(bundle.rootfs)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", state["created"])
    assert "owner" in state


@pytest.mark.rows("R30", "R250")
def test_annotations(container: Container, bundle: Bundle) -> None:
    annotations = {
        "com.example.key": "value",
        "com.example.empty": "",
        "com.example.text": 'quote " backslash \\ newline \n tab \t é 語 😀 </script> \x01',
        "org.opencontainers.image.stopSignal": "SIGQUIT",
        "org.example.largest": "9223372036854772000",
    }
    bundle.config["annotations"] = annotations
    assert container.create().state()["annotations"] == annotations


@pytest.mark.rows("R30", "R250")
def test_no_annotations(container: Container) -> None:
    assert container.create().state().get("annotations", {}) == {}


@pytest.mark.rows("R30")
def test_paused(runtime: Runtime, container: Container) -> None:
    container.create().start()
    runtime.ok("pause", container.id)
    assert container.status() == "paused"
    assert container.state()["pid"] == container.pid
    runtime.ok("resume", container.id)
    assert container.status() == "running"


@pytest.mark.rows("R30", "R38")
def test_kill_of_a_paused_container(runtime: Runtime, container: Container) -> None:
    container.create().start()
    runtime.ok("pause", container.id)
    container.kill("KILL")
    runtime.run("resume", container.id)
    assert container.exit_status() == 137
    container.wait_stopped().delete()


@pytest.mark.rows("R30")
def test_forced_delete_of_a_paused_container(runtime: Runtime, container: Container) -> None:
    container.create().start()
    runtime.ok("pause", container.id)
    container.delete("--force")
    assert container.exit_status() == 137


@pytest.mark.rows("R35")
def test_state_writes_nothing_but_the_document(runtime: Runtime, container: Container) -> None:
    container.create()
    result = runtime.ok("state", container.id)
    assert result.stderr == ""
    assert result.stdout.startswith("{")
    assert result.stdout.rstrip().endswith("}")


@pytest.mark.rows("R35")
def test_state_of_a_container_of_another_root(
    runtime: Runtime, container: Container, workplace: Path
) -> None:
    container.create()
    other = Runtime(runtime.program, runtime.name, workplace / "other")
    other.workplace.mkdir()
    other.refused("state", container.id)


@pytest.mark.rows("R35", "R295")
def test_list_knows_the_container(runtime: Runtime, container: Container) -> None:
    container.create()
    documents = runtime.ok("list", "--format", "json").json()
    assert [document["id"] for document in documents] == [container.id]
    assert documents[0]["status"] == "created"
    assert documents[0]["pid"] == container.pid
    assert runtime.ok("list", "--quiet").stdout == f"{container.id}\n"
