"""The plan of the process that becomes criu."""

from __future__ import annotations

from typing import Any

import pytest

from pyruntime.facts import Facts
from pyruntime.plan import restore
from tests.plan.compiled import Rows, config, namespaces, settings

BIND = {"destination": "/a/../b/", "source": "/src", "options": ["bind", "ro", "nosuid"]}
INNER = {"destination": "/b/c", "source": "/other", "options": ["rbind"]}
TMPFS = {"destination": "/run", "type": "tmpfs"}
IN_TMPFS = {"destination": "/run/x", "source": "/src", "options": ["bind"]}
PLACE = "/run/pyruntime/x"
ROOT = f"{PLACE}/criu-root"


def restored(*mounts: dict[str, Any], given: tuple[str, ...] = (), **fields: Any) -> Rows:
    """The rows of the plan for a config with those mounts."""
    found = settings(config(mounts=list(mounts)), Facts(), **fields)
    found.descriptors = {"criu": 9, **{f"namespace {kind}": 20 for kind in given}}
    found.descriptors.update(fields.get("descriptors") or {})
    environment = ["PATH=/bin"]
    plan = restore.restore(found, PLACE, "/images", "/usr/bin/criu", environment, list(given))
    return Rows(plan)


@pytest.mark.rows("R296")
def test_nothing_is_mounted_where_the_host_could_see_it() -> None:
    rows = restored(BIND)
    private = rows.index("unshare", flags="CLONE_NEWNS")
    slave = rows.indexes("mount_setattr", path="/")[0]
    assert private < slave < rows.indexes("move_mount")[0]


@pytest.mark.rows("R296")
def test_mount_points_are_made_below_the_root() -> None:
    rows = restored(BIND, INNER, TMPFS, IN_TMPFS)
    made = [row["arguments"]["path"] for row in rows.rows if row["operation"] == "make_path"]
    assert made[:3] == ["b", "b/c", "run"]  # what is in a tmpfs is in the images
    assert rows.index("make_path", path="b/c") < rows.index("umount2", path=ROOT)


@pytest.mark.rows("R296", "R94")
def test_sources_have_the_attributes_of_create() -> None:
    """CRIU forgets that the mount of one file was read-only; what it binds has not."""
    rows = restored(TMPFS, BIND)
    attributes = rows.index("mount_setattr", attributes="+MOUNT_ATTR_RDONLY|MOUNT_ATTR_NOSUID")
    assert rows.index("umount2", path=ROOT) < attributes < rows.index("make_path", path="1")
    assert restore.source_place(PLACE, 1) == f"{PLACE}/criu-mounts/1"


@pytest.mark.rows("R296", "R301")
def test_the_cgroup_is_entered_last() -> None:
    rows = restored(BIND)
    made, entered = rows.indexes("sync")
    assert max(rows.indexes("move_mount")) < made < entered < rows.index("execve")


@pytest.mark.rows("R296", "R170")
def test_devices_are_limited_before_anybody_is_in_the_cgroup() -> None:
    groups = {"": ("/sys/fs/cgroup", "/sys/fs/cgroup/c")}
    rows = restored(cgroups=groups, device_program=b"12345678")
    made, entered = rows.indexes("sync")
    assert made < rows.index("bpf_attach_device") < entered


@pytest.mark.rows("R296")
def test_criu_gets_its_socket_and_the_namespaces() -> None:
    rows = restored(given=("network", "pid"))
    numbers = [rows.rows[at]["arguments"]["number"] for at in rows.indexes("dup3")]
    assert numbers == [restore.SOCKET, restore.NAMESPACES, restore.NAMESPACES + 1]
    command = rows.arguments("execve")
    assert command["file"] == "/usr/bin/criu"
    assert command["args"] == ["criu", "swrk", str(restore.SOCKET)]


@pytest.mark.rows("R296", "R133")
def test_images_for_a_user_namespace() -> None:
    assert not restored().has("open_tree", path="/images")
    owner = {restore.IMAGES_OWNER: 30}
    rows = restored(descriptors=owner)
    clone = rows.index("open_tree", path="/images")
    mapped = rows.index("mount_setattr", attributes="+MOUNT_ATTR_IDMAP")
    assert clone < mapped < rows.index("make_path", path="images") < rows.index("execve")


@pytest.mark.rows("R296")
def test_the_loopback_is_brought_up_in_its_namespace() -> None:
    rows = Rows(restore.loopback(9))
    assert (
        rows.index("load_fd")
        < rows.index("setns")
        < rows.index("interface_up")
        < rows.index("exit")
    )


@pytest.mark.rows("R296", "R131")
def test_namespaces_that_are_given_are_not_joined_here() -> None:
    document = config(linux={"namespaces": namespaces("mount", network="/n")})
    found = settings(document)
    found.descriptors = {"criu": 9}
    rows = Rows(restore.restore(found, PLACE, "/images", "/usr/bin/criu", [], []))
    assert not rows.has("setns")
