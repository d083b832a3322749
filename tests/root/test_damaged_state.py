"""State that somebody damaged, disks that are full, paths and descriptors of odd kinds."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conformance.runtime import Container, Runtime
from tests.root.host import Host

DAMAGES: list[tuple[str, Any]] = [
    ("pid", "x"),
    ("pid", True),
    ("pid", -1),
    ("pid", 1 << 70),
    ("pid_start", "x"),
    ("cgroup_paths", []),
    ("cgroup_paths", {"freezer": 5}),
    ("cgroup_made", 5),
    ("cgroup_made", ["relative"]),
    ("annotations", 5),
    ("bundle", None),
    ("status", []),
    ("owner", "root"),
    ("created", 0),
    ("tail", 4),
]
VERBS = [
    ["state", "ID"],
    ["kill", "ID"],
    ["start", "ID"],
    ["pause", "ID"],
    ["update", "--pids-limit", "5", "ID"],
    ["exec", "ID", "true"],
    ["ps", "ID"],
    ["events", "--stats", "ID"],
    ["delete", "ID"],
]


def state_file(container: Container) -> Path:
    return container.runtime.root / container.id / "state.json"


@pytest.mark.rows("R35", "R36")
@pytest.mark.parametrize(("name", "value"), DAMAGES, ids=[f"{n}={v}" for n, v in DAMAGES])
def test_a_value_of_the_wrong_kind(container: Container, name: str, value: Any) -> None:
    """Whoever reads it says which, acts on nothing, and the container can be mended."""
    container.bundle.args("/bin/sleep", "1000")
    container.create()
    good = state_file(container).read_text()
    state_file(container).write_text(json.dumps({**json.loads(good), name: value}))
    listed = container.runtime.ok("list")
    assert "internal error" not in listed.stderr
    for verb in (VERBS[1], VERBS[5], VERBS[8]):
        result = container.runtime.run(*[container.id if word == "ID" else word for word in verb])
        assert result.status in (1, 255), str(result)
        assert "state.json: " in result.stderr and "damaged" in result.stderr, str(result)
    state_file(container).write_text(good)
    assert container.status() == "created"


@pytest.mark.rows("R35")
def test_half_of_it(container: Container) -> None:
    container.bundle.args("/bin/sleep", "1000")
    container.create()
    good = state_file(container).read_text()
    state_file(container).write_text(good[:100])
    for verb in VERBS:
        result = container.runtime.run(*[container.id if word == "ID" else word for word in verb])
        assert result.status in (1, 255) and "state.json: line 1" in result.stderr, str(result)
    assert "state.json" in container.runtime.ok("list").stderr
    state_file(container).write_text(good)
    container.delete("--force")


@pytest.mark.rows("R39")
def test_what_is_lost_with_it_is_said(container: Container) -> None:
    """Nothing tells which processes were the container's: no one is killed on a guess."""
    container.bundle.args("/bin/sleep", "1000")
    container.create()
    good = state_file(container).read_text()
    state_file(container).write_text("{")
    result = container.runtime.ok("delete", "--force", container.id)
    assert "processes may be left in the cgroup " + container.bundle.cgroups_path in result.stderr
    directory = container.runtime.root / container.id
    assert not directory.exists()
    directory.mkdir()
    state_file(container).write_text(good)
    container.delete("--force")


@pytest.mark.rows("R35", "R39")
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_the_state_of_another_user(container: Container) -> None:
    """She could have root kill any process: root looks at it, and does nothing by it."""
    container.bundle.args("/bin/sleep", "1000")
    container.create()
    directory = container.runtime.root / container.id
    os.chown(directory, 1234, 1234)
    assert container.status() == "created"
    assert container.id in container.runtime.ok("list").stdout
    for verb in [*VERBS[1:], ["delete", "--force", "ID"]]:
        result = container.runtime.run(*[container.id if word == "ID" else word for word in verb])
        assert result.status in (1, 255), str(result)
        assert "belongs to uid 1234" in result.stderr, str(result)
    os.chown(directory, 0, 0)
    assert container.status() == "created"


@pytest.fixture
def disk(runtime: Runtime) -> Iterator[Path]:
    """A small disk of its own for the state."""
    runtime.root.mkdir(exist_ok=True)
    options = ["-o", "size=1m,nr_inodes=12"]
    command = ["mount", "-t", "tmpfs", *options, "small", str(runtime.root)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs the privilege to mount")
    yield runtime.root
    for each in runtime.containers:
        each.clean()
    subprocess.run(["umount", str(runtime.root)], check=True)


def fill(directory: Path, left: int) -> None:
    """Use inodes up until `left` are free."""
    number = 0
    while os.statvfs(directory).f_ffree > left:
        (directory / f"~fill{number}").write_text("")
        number += 1


@pytest.mark.rows("R36", "R1")
@pytest.mark.parametrize("left", range(6))
def test_a_full_disk_at_create(container: Container, host: Host, disk: Path, left: int) -> None:
    container.bundle.args("/bin/sleep", "1000")
    fill(disk, left)
    before = sorted(os.listdir(disk))
    result = container.try_create()
    if result.status == 0:
        assert left > 4
        return
    assert "no space left on device" in result.stderr and str(disk) in result.stderr, str(result)
    assert sorted(os.listdir(disk)) == before
    assert host.leftovers(container) == []


@pytest.mark.rows("R294", "R36")
def test_a_full_disk_at_update(container: Container, disk: Path) -> None:
    """What cannot be written down does not hold either: the next update would not know it."""
    container.bundle.args("/bin/sleep", "1000")
    container.bundle.resources["pids"] = {"limit": 77}
    container.create().start()
    (disk / container.id / "verbs").unlink(missing_ok=True)
    fill(disk, 0)
    result = container.runtime.refused("update", "--pids-limit", "33", container.id)
    assert "config.json" in result.stderr and "no space left on device" in result.stderr
    program = "cat /proc/self/cgroup"
    assert container.exec("sh", "-c", program).status == 0
    paths = json.loads(state_file(container).read_text())["cgroup_paths"]
    directory = Path(paths.get("pids") or paths[""])
    assert (directory / "pids.max").read_text() == "77\n"
    container.stop().delete()


@pytest.mark.rows("R37")
def test_start_where_the_state_cannot_be_written(container: Container, disk: Path) -> None:
    """The program runs: to say that it does not would leave it to nobody."""
    container.bundle.args("/bin/sleep", "1000")
    container.create()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    container.start()
    assert container.status() == "running"
    assert "already running" in container.runtime.refused("start", container.id).stderr
    message = container.runtime.refused("update", "--pids-limit", "9", container.id).stderr
    assert "read-only file system" in message
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    container.stop().delete()


@pytest.mark.rows("R6", "R30")
def test_a_bundle_whose_name_is_no_utf_8(runtime: Runtime, container: Container) -> None:
    container.bundle.args("/bin/sleep", "1000")
    container.bundle.save()
    odd = os.fsencode(container.bundle.path) + b"-\xff"
    os.rename(container.bundle.path, odd)
    try:
        command = [*runtime.command("create", "--bundle"), odd, container.id]
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
        assert subprocess.run(command, timeout=60, **streams).returncode == 0  # type: ignore[call-overload]
        container.start()
        assert container.state()["bundle"] == f"{container.bundle.path}-\ufffd"
        assert container.exec("true").status == 0
        container.delete("--force")
    finally:
        os.rename(odd, container.bundle.path)
