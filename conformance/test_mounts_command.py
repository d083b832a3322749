"""mounts add and mounts remove: mounts of a container that runs already."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conformance.bundle import Bundle
from conformance.conftest import MakeContainer
from conformance.runtime import Container, Result, mounts_below
from conformance.test_mount_options import need_idmap

Mount = dict[str, Any]


@pytest.fixture(autouse=True)
def _verb(request: pytest.FixtureRequest) -> None:
    runtime = request.getfixturevalue("runtime")
    if not runtime.lists_verb("mounts"):
        pytest.skip(f"{runtime.name} has no verb mounts")


@pytest.fixture
def running(container: Container) -> Container:
    """A container that sleeps."""
    return container.create().start()


def change(container: Container, action: str, *mounts: Mount) -> Result:
    """Run `mounts ACTION` with a file of those mounts."""
    path = container.runtime.workplace / f"{container.id}.mounts"
    path.write_text(json.dumps({"mounts": mounts}))
    return container.runtime.run("mounts", action, container.id, str(path))


def add(container: Container, *mounts: Mount) -> None:
    """Add mounts, which must succeed."""
    result = change(container, "add", *mounts)
    assert result.status == 0, str(result)


def remove(container: Container, *destinations: str) -> None:
    """Remove mounts, which must succeed."""
    result = change(container, "remove", *({"destination": each} for each in destinations))
    assert result.status == 0, str(result)


def bind(source: Path, destination: str, *options: str) -> Mount:
    """A bind mount."""
    return {"destination": destination, "source": str(source), "options": ["bind", *options]}


def tmpfs(destination: str, *options: str) -> Mount:
    """A new tmpfs."""
    return {
        "destination": destination, "type": "tmpfs", "source": "tmpfs", "options": list(options)
    }


def inside(container: Container, script: str) -> str:
    """What a script says in the container."""
    result = container.exec("/bin/sh", "-c", script)
    assert result.status == 0, str(result)
    return result.stdout


def table(container: Container) -> dict[str, str]:
    """The mount points of the container and their options."""
    lines = Path(f"/proc/{container.pid}/mountinfo").read_text().splitlines()
    return {line.split()[4]: line.split()[5] for line in lines}


def test_a_directory_is_added_and_removed(running: Container, source: Path) -> None:
    """The mount point is made; afterwards it is there and empty."""
    before = table(running)
    add(running, bind(source, "/data/inner"))
    assert inside(running, "cat /data/inner/file") == "content of the source\n"
    remove(running, "/data/inner")
    assert inside(running, "ls -A /data/inner") == ""
    assert table(running) == before


def test_a_file_is_added_and_removed(running: Container, source: Path) -> None:
    """A file is mounted on a file."""
    add(running, bind(source / "file", "/etc/added"))
    assert inside(running, "cat /etc/added") == "content of the source\n"
    remove(running, "/etc/added")
    assert inside(running, "cat /etc/added") == ""


def test_the_host_sees_nothing_of_it(running: Container, source: Path) -> None:
    """Nothing is mounted on the host, and the source keeps its content."""
    add(running, bind(source, "/data"), tmpfs("/fresh"))
    assert mounts_below(running.runtime.workplace) == []
    remove(running, "/data", "/fresh")
    assert (source / "file").read_text() == "content of the source\n"


def test_options_hold(running: Container, source: Path) -> None:
    """Attributes of the mount, and options of the file system."""
    add(running, bind(source, "/data", "ro", "noexec"), tmpfs("/fresh", "nosuid", "mode=0710"))
    mounted = table(running)
    assert {"ro", "noexec"} <= set(mounted["/data"].split(","))
    assert "nosuid" in mounted["/fresh"].split(",")
    assert inside(running, "stat -c %a /fresh") == "710\n"


def test_one_mount_on_another(running: Container, source: Path) -> None:
    """They are made in order and removed in the other."""
    before = table(running)
    add(running, tmpfs("/data"), bind(source, "/data/inner"))
    assert inside(running, "cat /data/inner/file") == "content of the source\n"
    remove(running, "/data", "/data/inner")
    assert table(running) == before


def test_a_mount_changes_its_options(running: Container, source: Path) -> None:
    """remount changes what is there."""
    add(running, bind(source, "/data"))
    add(running, bind(source, "/data", "remount", "ro"))
    assert "ro" in table(running)["/data"].split(",")


def test_proc_is_the_containers(running: Container) -> None:
    """A new procfs shows the container's processes."""
    add(running, {"destination": "/second", "type": "proc", "source": "proc"})
    assert inside(running, "cat /second/1/comm") == "sleep\n"


def test_a_created_container_takes_them(container: Container, source: Path) -> None:
    """Before start too."""
    container.bundle.sh("cat /data/file")
    container.create()
    add(container, bind(source, "/data"))
    container.start().wait_stopped()
    assert container.output() == "content of the source\n"


@pytest.mark.parametrize("link", ["../../../../..", "/", "../out"])
def test_links_of_the_image_stay_inside(running: Container, source: Path, link: str) -> None:
    """A link on the way to a destination leads to a place below the container's root."""
    (running.bundle.rootfs / "link").symlink_to(link)
    before = table(running)
    add(running, bind(source, "/link/data"))
    assert inside(running, "cat /link/data/file") == "content of the source\n"
    assert not Path("/data").exists()
    assert mounts_below(running.runtime.workplace) == []
    remove(running, "/link/data")
    assert table(running) == before


def test_nothing_is_mounted_there(running: Container) -> None:
    """To remove what is no mount is an error, and nothing changes."""
    before = table(running)
    result = change(running, "remove", {"destination": "/tmp"})
    running.runtime.check_refused(result)
    assert table(running) == before


def test_all_or_none(running: Container, source: Path) -> None:
    """If one cannot be made, those before it are taken back."""
    before = table(running)
    result = change(running, "add", bind(source, "/data"), bind(source / "file", "/tmp"))
    running.runtime.check_refused(result)
    assert table(running) == before


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ({"mounts": [{"type": "tmpfs"}]}, ".mounts[0].destination"),
        ({"mounts": [{"destination": "/a", "options": "ro"}]}, ".mounts[0].options"),
        ({"mounts": {}}, ".mounts"),
        ({}, ".mounts"),
        ("x", ".mounts"),
    ],
    ids=str,
)
def test_faults_are_told(running: Container, document: object, place: str) -> None:
    """With their place in the file."""
    path = running.runtime.workplace / "faulty"
    path.write_text(json.dumps(document))
    result = running.runtime.refused("mounts", "add", running.id, str(path))
    assert place in result.stderr


def test_a_stopped_container_takes_none(container: Container, source: Path) -> None:
    """There is no namespace any more."""
    container.create().start().stop()
    result = change(container, "add", bind(source, "/data"))
    assert "not running" in container.runtime.check_refused(result).stderr


def test_in_a_user_namespace(make_container: MakeContainer, source: Path) -> None:
    """Mount points belong to the container's root, and it owns a new tmpfs."""
    container = make_container()
    mapping = {"containerID": 0, "hostID": 100000, "size": 65536}
    bundle: Bundle = container.bundle.namespace("user")
    bundle.linux["uidMappings"] = [mapping]
    bundle.linux["gidMappings"] = [mapping]
    bundle.rootfs.chmod(0o777)
    container.create().start()
    before = table(container)
    add(container, tmpfs("/fresh", "mode=0755"), bind(source, "/data"))
    assert inside(container, "stat -c %u /fresh; cat /data/file") == "0\ncontent of the source\n"
    remove(container, "/fresh", "/data")
    assert table(container) == before


def test_owners_are_mapped(running: Container, source: Path) -> None:
    """An idmapped mount shows other owners."""
    need_idmap(source)
    mapping = {"containerID": 0, "hostID": 5000, "size": 10}
    mount = bind(source, "/data")
    mount |= {"uidMappings": [mapping], "gidMappings": [mapping]}
    add(running, mount)
    assert inside(running, "stat -c %u:%g /data/file") == "5000:5000\n"


def test_without_pivot_root(container: Container, source: Path) -> None:
    """The root directory of the mount namespace is the container's there too."""
    container.create("--no-pivot").start()
    before = table(container)
    add(container, bind(source, "/data"))
    assert inside(container, "cat /data/file") == "content of the source\n"
    remove(container, "/data")
    assert table(container) == before


def test_proc_of_the_container_is_not_used(container: Container, source: Path) -> None:
    """Whatever lies at /proc in the container, the mount that is removed is the right one."""
    container.bundle.without_mount("/proc")
    (container.bundle.rootfs / "proc/self/fd").mkdir(parents=True)
    container.create().start()
    before = table(container)
    add(container, bind(source / "file", "/etc/added"))
    remove(container, "/etc/added")
    assert table(container) == before
