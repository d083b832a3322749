"""The plans of mounts add and mounts remove: the order that protects host and container."""

from __future__ import annotations

from typing import Any

import pytest

from pyruntime.facts import Facts
from pyruntime.plan import live_mounts
from pyruntime.plan.exec import ExecSettings
from tests.plan.compiled import Rows

BIND = {"destination": "/a/../b/", "source": "/src", "options": ["bind", "ro"]}
TMPFS = {"destination": "/fresh", "type": "tmpfs"}
PROC = {"destination": "/second", "type": "proc"}
JOINED = ["mount", "pid", "network", "ipc"]


def settings(mounts: list[dict[str, Any]], joins: list[str], facts: Facts) -> ExecSettings:
    """Settings for a container in those namespaces."""
    result = ExecSettings({"mounts": mounts, "linux": {}}, facts, joins)
    result.rootfs = "/bundle/rootfs"
    return result


def added(*mounts: dict[str, Any], joins: list[str] | None = None, euid: int = 0) -> Rows:
    """The rows of the plan that adds mounts."""
    return Rows(live_mounts.add(settings(list(mounts), joins or JOINED, Facts(euid))))


def removed(*mounts: dict[str, Any], joins: list[str] | None = None) -> Rows:
    """The rows of the plan that removes mounts."""
    return Rows(live_mounts.remove(settings(list(mounts), joins or JOINED, Facts())))


@pytest.mark.parametrize("source", ["/src", "/bundle/rootfs/src"])
def test_sources_are_opened_before_anything_is_joined(source: str) -> None:
    """Inside the path would mean another file."""
    rows = added({**BIND, "source": source})
    assert rows.index("open_tree", path=source) < rows.index("setns")
    assert rows.index("setns") < rows.index("make_path", path="b") < rows.index("move_mount")


def test_attributes_come_before_the_mount_can_be_seen() -> None:
    rows = added(BIND)
    read_only = rows.index("mount_setattr", attributes="+MOUNT_ATTR_RDONLY")
    assert read_only < rows.index("move_mount")


@pytest.mark.parametrize("rows", [added(BIND), removed(BIND)], ids=["add", "remove"])
def test_nobody_may_look_at_the_process_inside(rows: Rows) -> None:
    """CVE-2016-9962."""
    assert rows.index("prctl", option="PR_SET_DUMPABLE") < rows.index("setns")


@pytest.mark.parametrize(
    ("mount", "flags"),
    [(BIND, "CLONE_NEWNS"), (TMPFS, "CLONE_NEWNS"), (PROC, "CLONE_NEWNS|CLONE_NEWPID")],
)
def test_only_what_is_shown_is_joined(mount: dict[str, Any], flags: str) -> None:
    rows = added(mount)
    assert rows.arguments("setns")["type"] == flags
    assert rows.has("clone") == ("PID" in flags)


def test_the_user_namespace_is_joined_last_by_root() -> None:
    rows = added(BIND, TMPFS, joins=[*JOINED, "user"])
    user = rows.index("setns", type="CLONE_NEWUSER")
    assert rows.index("setns", type="CLONE_NEWNS") < user < rows.index("fsopen")


def test_the_user_namespace_is_joined_first_by_others() -> None:
    """Their rights are there; a copy of the host's mounts makes their sources theirs to clone."""
    rows = added(BIND, joins=[*JOINED, "user"], euid=1000)
    user, copy = rows.index("setns", type="CLONE_NEWUSER"), rows.index("unshare")
    source, inside = rows.index("open_tree"), rows.index("setns", type="CLONE_NEWNS")
    assert user < copy < source < inside


def test_mounts_are_removed_by_descriptor_the_last_first() -> None:
    """No path of the image is given to umount2(2)."""
    rows = removed(BIND, TMPFS)
    assert {rows.rows[i]["arguments"]["path"] for i in rows.indexes("umount2")} == {"self/fd/200"}
    first, second = (rows.index("openat2", path=path) for path in ("fresh", "b"))
    assert first < second
    for index in (first, second):
        assert rows.rows[index]["arguments"]["resolve"] == (
            "RESOLVE_NO_MAGICLINKS|RESOLVE_IN_ROOT"
        )
        names = [row["operation"] for row in rows.rows[index + 1 : index + 3]]
        assert names == ["dup3", "umount2"]


def test_the_procfs_is_the_hosts() -> None:
    rows = removed(BIND)
    assert rows.index("expect_filesystem") < rows.index("setns") < rows.index("fchdir")
