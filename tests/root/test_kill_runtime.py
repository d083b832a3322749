"""The runtime dies by SIGKILL in the middle of a create; `delete --force` cleans up."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from conformance.runtime import Container, wait_for
from tests.root.host import Host, can_make_user_namespace, map_ids

# The runtime is the parent of its hooks; their shell says when it has been killed.
KILL_RUNTIME = "kill -9 $PPID"


def check_cleaned(container: Container, host: Host) -> None:
    """After `delete --force` nothing is left, and the id can be used again."""
    container.delete("--force")
    host.clean(container)
    container.bundle.config.pop("hooks", None)
    container.bundle.process["terminal"] = False
    container.bundle.args("/bin/echo", "again")
    assert container.finish() == "again\n"
    container.delete()
    host.clean(container)


@pytest.mark.rows("R1", "R39", "R293")
@pytest.mark.parametrize("kind", ["prestart", "createRuntime"])
def test_killed_by_a_hook(kind: str, container: Container, host: Host) -> None:
    container.bundle.hook(kind, KILL_RUNTIME)
    assert container.try_create().status == -signal.SIGKILL
    assert not container.pid_file.exists()
    wait_for(lambda: not host.inits(container), "the end of the init without its runtime")
    check_cleaned(container, host)


@pytest.mark.rows("R1", "R293")
def test_killed_by_a_hook_with_a_user_namespace(container: Container, host: Host) -> None:
    if not can_make_user_namespace():
        pytest.skip("no user namespace can be made here")
    map_ids(container.bundle)
    container.bundle.hook("createRuntime", KILL_RUNTIME)
    assert container.try_create().status == -signal.SIGKILL
    check_cleaned(container, host)


@pytest.mark.rows("R1", "R54", "R293")
def test_killed_by_a_poststart_hook(container: Container, host: Host) -> None:
    """The program runs by then, and goes on: the runtime is not needed for that."""
    container.bundle.hook("poststart", KILL_RUNTIME)
    container.create()
    assert container.runtime.run("start", container.id).status == -signal.SIGKILL
    assert container.status() == "running"
    check_cleaned(container, host)


@pytest.mark.rows("R1", "R293")
def test_killed_while_a_hook_inside_of_the_container_runs(
    container: Container, host: Host, workplace: Path
) -> None:
    """A createContainer hook is a child of the init."""
    mark = workplace / "hook-runs"
    container.bundle.hook("createContainer", f"touch {mark}; exec sleep 1000")
    process = create_in_background(container)
    wait_for(mark.exists, "the hook")
    process.kill()
    process.wait()
    check_cleaned(container, host)


@pytest.mark.rows("R1", "R62", "R293")
def test_killed_while_nobody_takes_the_terminal(
    container: Container, host: Host, workplace: Path
) -> None:
    """The engine has connected and never reads: the create may have come to any point."""
    container.bundle.process["terminal"] = True
    path = workplace / "console"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)
        process = create_in_background(container, "--console-socket", str(path))
        connection, _ = listener.accept()
        process.kill()
        process.wait()
        connection.close()
    check_cleaned(container, host)


@pytest.mark.rows("R1", "R293")
@pytest.mark.parametrize("step", range(0, 60, 5))
def test_killed_at_some_moment(step: int, container: Container, host: Host) -> None:
    """Wherever it happens to be: what is checked does not depend on it."""
    container.bundle.args("/bin/sleep", "1000")
    process = create_in_background(container)
    try:
        process.wait(step / 1000)
    except subprocess.TimeoutExpired:
        process.kill()
    process.wait()
    check_cleaned(container, host)
    assert [name for name in host.names() if container.id in name] == []


@pytest.mark.rows("R1", "R293")
@pytest.mark.parametrize("ending", ["", ".gone"])
def test_hidden_directories_of_the_dead_are_removed(
    ending: str, container: Container, host: Host
) -> None:
    """A directory gets its name, and loses it, by a rename; the runtime may die just before."""
    with subprocess.Popen(["true"]) as process:
        pass
    hidden = container.runtime.root / f"~{container.id}.{process.pid}{ending}"
    hidden.mkdir(parents=True)
    (hidden / "state.json").write_text("{}")
    container.delete("--force")
    assert host.names() == []


@pytest.mark.rows("R37", "R39")
def test_killed_start_leaves_a_container_that_can_be_deleted(
    container: Container, host: Host, workplace: Path
) -> None:
    mark = workplace / "hook-runs"
    container.bundle.mount("/host", "bind", str(workplace), ["bind"])
    container.bundle.hook("startContainer", "touch /host/hook-runs; exec sleep 1000")
    container.create()
    process = in_background(container, "start", container.id)
    wait_for(mark.exists, "the hook")
    process.kill()
    process.wait()
    check_cleaned(container, host)


def create_in_background(container: Container, *options: str) -> subprocess.Popen[bytes]:
    container.bundle.save()
    files = ["--bundle", str(container.bundle.path), "--pid-file", str(container.pid_file)]
    return in_background(container, "create", *files, *options, container.id)


def in_background(container: Container, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        container.runtime.command(*arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=dict(os.environ),
    )
