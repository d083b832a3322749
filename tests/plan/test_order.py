"""The safe order of steps (R300 to R304), and rows that need no container."""

from __future__ import annotations

import errno

import pytest

from pyruntime import failures, semantics
from tests.plan.compiled import config, rows


@pytest.mark.rows("R300", "R301", "R302")
def test_host_then_cgroup_then_namespaces_then_network() -> None:
    found = rows(config())
    order = [
        found.index("load_fd", slot="start"),
        found.index("sync", kind="DIRECTORIES"),
        found.index("clone"),
        found.index("setsid"),
        found.index("interface_up", name="lo"),
        found.index("sync", kind="CGROUP"),
        found.index("pivot_root"),
    ]
    assert order == sorted(order)


@pytest.mark.rows("R304", "R213", "R215", "R216")
def test_inside_the_new_root() -> None:
    linux = {"sysctl": {"net.a": "1"}, "readonlyPaths": ["/r"], "maskedPaths": ["/m"]}
    found = rows(config(linux=linux, root={"path": "rootfs", "readonly": True}))
    order = [
        found.index("pivot_root"),
        found.index("write_file", path="sys/net/a"),
        found.index("openat2", path="/r"),
        found.indexes("openat2", path="/m")[0],
        found.index("drop_bounding"),
    ]
    assert order == sorted(order)


@pytest.mark.rows("R80", "R251", "R3")
def test_what_belongs_to_others_is_no_fault() -> None:
    document = config(process={"commandLine": "x", "user": {"uid": 0, "gid": 0, "username": "u"}})
    document["annotations"] = {"org.opencontainers.image.os": "linux", "org.opencontainers.x": ""}
    assert semantics.faults(document) == []
    assert rows(document).rows == rows(config()).rows


@pytest.mark.rows("R96")
def test_a_file_system_that_cannot_be_idmapped_is_named_as_such() -> None:
    error = failures.describe("mount_setattr", ".mounts[0]", (1,), errno.EOPNOTSUPP, 0)
    assert "cannot be idmapped" in str(error)


@pytest.mark.rows("R118", "R284")
def test_options_of_others_are_data_and_rnodev_is_recursive() -> None:
    options = ["rnodev", "huge=never"]
    mount = {"destination": "/m", "type": "tmpfs", "source": "t", "options": options}
    found = rows(config(mounts=[mount]))
    assert found.has("fsconfig", key="huge", value="never")
    flags = [row["arguments"].get("flags", "") for row in found.rows]
    assert any("AT_RECURSIVE" in str(text) for text in flags)
