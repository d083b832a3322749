"""When a container's v2 cgroup is given away, and to whom."""

from __future__ import annotations

from typing import Any

import pytest

from pyruntime.cgroups.ownership import delegated_files, delegation

MOUNT: dict[str, Any] = {
    "type": "cgroup",
    "source": "cgroup",
    "destination": "/sys/fs/cgroup",
    "options": ["nosuid", "rw"],
}


def config(**changes: Any) -> dict[str, Any]:
    linux = {"namespaces": changes.get("namespaces", [{"type": "cgroup"}])}
    if "maps" in changes:
        linux["uidMappings"] = changes["maps"]
    mounts = changes.get("mounts", [MOUNT])
    return {"process": {"user": {"uid": 5}}, "linux": linux, "mounts": mounts}


USERS = [{"type": "cgroup"}, {"type": "user"}]
MAPS = [
    {"containerID": 0, "hostID": 1000, "size": 1},
    {"containerID": 1, "hostID": 100000, "size": 10},
]


@pytest.mark.rows("R164")
@pytest.mark.parametrize(
    ("changes", "uid"),
    [
        ({}, 5),
        ({"mounts": [{**MOUNT, "destination": "/sys/fs/cgroup/"}]}, 5),
        ({"mounts": [{**MOUNT, "options": ["ro"]}]}, None),
        ({"mounts": [{**MOUNT, "source": "cgroup2"}]}, None),
        ({"mounts": [{**MOUNT, "destination": "/cgroup"}]}, None),
        ({"mounts": []}, None),
        ({"namespaces": []}, None),
        ({"namespaces": [{"type": "cgroup", "path": "/proc/1/ns/cgroup"}]}, None),
        ({"namespaces": USERS, "maps": MAPS}, 100004),
        ({"namespaces": USERS, "maps": MAPS[:1]}, None),
        ({"namespaces": USERS}, None),
    ],
)
def test_delegation(changes: dict[str, Any], uid: int | None) -> None:
    assert delegation(config(**changes)) == uid


@pytest.mark.rows("R164")
def test_delegated_files_have_the_three_that_always_were() -> None:
    files = delegated_files()
    assert {"cgroup.procs", "cgroup.subtree_control", "cgroup.threads"} <= set(files)
    assert not any("/" in file for file in files)
