"""Device nodes and the links of /dev, as operations."""

from __future__ import annotations

import os
from typing import Any

import pytest

from pyruntime.plan.devices import device_number
from tests.plan.compiled import HostFacts, Rows, config, namespaces, rows

DEFAULTS = {
    "null": (1, 3),
    "zero": (1, 5),
    "full": (1, 7),
    "random": (1, 8),
    "urandom": (1, 9),
    "tty": (5, 0),
}
MAPPING = [{"containerID": 0, "hostID": 100000, "size": 65536}]


def with_device(**device: Any) -> Rows:
    return rows(config(linux={"devices": [device]}))


@pytest.mark.rows("R150")
@pytest.mark.parametrize(
    ("major", "minor"), [(1, 3), (0, 0), (4095, 0), (8, 255), (8, 256), (10, 1048575)]
)
def test_device_number_is_packed_as_makedev_does(major: int, minor: int) -> None:
    assert device_number(major, minor) == os.makedev(major, minor)


@pytest.mark.rows("R154")
@pytest.mark.parametrize("name", DEFAULTS)
def test_default_device(name: str) -> None:
    found = rows(config())
    major, minor = DEFAULTS[name]
    node = found.index("mknodat", directory="parent", path=name)
    assert found.rows[node]["arguments"]["mode"] == "0o20666"
    assert found.rows[node]["arguments"]["device"] == os.makedev(major, minor)
    assert found.rows[node + 1]["operation"] == "fchownat"
    assert found.rows[node + 3]["arguments"] == {
        "descriptor": "node",
        "type": "S_IFCHR",
        "major": major,
        "minor": minor,
    }


@pytest.mark.rows("R154")
def test_an_entry_of_the_config_takes_the_place_of_a_default() -> None:
    found = with_device(path="/dev/null", type="c", major=1, minor=3, fileMode=0o600, uid=7)
    assert found.arguments("mknodat", path="null")["mode"] == "0o20600"
    assert found.arguments("fchownat", path="null")["uid"] == 7
    assert len(found.indexes("mknodat")) == 6


@pytest.mark.rows("R150")
@pytest.mark.parametrize(
    ("kind", "bits"), [("c", 0o020000), ("u", 0o020000), ("b", 0o060000), ("p", 0o010000)]
)
def test_types(kind: str, bits: int) -> None:
    device: dict[str, Any] = {"path": "/opt/deep/node", "type": kind}
    if kind != "p":
        device.update(major=250, minor=300)
    found = with_device(**device)
    node = found.arguments("mknodat", path="node")
    assert int(node["mode"], 8) == bits | 0o666
    assert node["device"] == (os.makedev(250, 300) if kind != "p" else 0)
    assert found.has("make_path", slot="parent", path="opt/deep")
    assert found.has("expect_device", major=250) == (kind != "p")


@pytest.mark.rows("R151")
@pytest.mark.parametrize(
    ("mode", "shown"), [(0o666, "0o20666"), (0, "0o20000"), (0o100640, "0o20640"), (511, "0o20777")]
)
def test_file_mode_has_no_type_bits(mode: int, shown: str) -> None:
    found = with_device(path="/dev/x", type="c", major=1, minor=3, fileMode=mode)
    assert found.arguments("mknodat", path="x")["mode"] == shown


@pytest.mark.rows("R152")
def test_owner() -> None:
    found = with_device(path="/dev/x", type="c", major=1, minor=3, uid=10, gid=20)
    assert found.arguments("fchownat", path="x") == {
        "descriptor": "parent",
        "path": "x",
        "uid": 10,
        "gid": 20,
        "flags": "AT_SYMLINK_NOFOLLOW",
    }


@pytest.mark.rows("R150")
def test_a_file_that_is_there_already_must_be_this_device_and_stays_as_it_is() -> None:
    found = with_device(path="/dev/x", type="b", major=8, minor=1)
    node = found.index("mknodat", path="x")
    assert found.rows[node]["pardons"] == {"EEXIST": 1}  # its owner is not changed
    look, check = found.rows[node + 2 : node + 4]
    assert look["operation"] == "openat2"
    assert "O_NOFOLLOW" in look["arguments"]["flags"]
    assert check["operation"] == "expect_device"
    assert "pardons" not in check


@pytest.mark.rows("R150")
def test_a_user_namespace_gets_the_nodes_of_the_host() -> None:
    linux = {
        "namespaces": namespaces("mount", "user"),
        "uidMappings": MAPPING,
        "gidMappings": MAPPING,
        "devices": [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}],
    }
    found = rows(config(linux=linux))
    assert not found.has("mknodat")
    for path in ("/dev/null", "/dev/tty", "/dev/fuse"):
        opened = found.index("open_tree", path=path)
        assert opened < found.index("unshare", flags="CLONE_NEWUSER")
        assert found.rows[opened + 1]["operation"] == "expect_device"
        assert found.has("make_path", path=path, like="device " + path)


@pytest.mark.rows("R150")
def test_so_does_somebody_without_privileges() -> None:
    found = rows(config(), HostFacts(euid=1000))
    assert not found.has("mknodat")
    assert found.has("open_tree", path="/dev/null")


@pytest.mark.rows("R42", "R154")
@pytest.mark.parametrize("option", ["bind", "rbind"])
def test_a_dev_that_is_bound_is_somebody_elses(option: str) -> None:
    mount = {"destination": "/dev/", "source": "/dev", "options": [option]}
    found = rows(config(mounts=[mount]))
    assert not found.has("mknodat")
    assert not found.has("symlinkat")
    assert not found.has("unlinkat")


@pytest.mark.rows("R42")
def test_links() -> None:
    found = rows(config())
    links = {
        "fd": "/proc/self/fd",
        "stdin": "/proc/self/fd/0",
        "stdout": "/proc/self/fd/1",
        "stderr": "/proc/self/fd/2",
    }
    for name, target in links.items():
        index = found.index("symlinkat", directory="dev", path=name, target=target)
        assert found.rows[index]["pardons"] == {"EEXIST": 0}


@pytest.mark.rows("R42")
def test_links_to_proc_are_left_out_when_it_is_missing() -> None:
    found = rows(config())
    look = found.index("openat2", path="proc/self/fd")
    after = look + 1 + found.rows[look]["pardons"]["ENOENT"]
    assert found.rows[after - 1]["arguments"]["path"] == "stderr"
    assert found.rows[after]["operation"] == "unlinkat"


@pytest.mark.rows("R154")
def test_ptmx_is_the_containers_own() -> None:
    found = rows(config())
    removed = found.index("unlinkat", directory="dev", path="ptmx")
    assert found.rows[removed]["pardons"] == {"ENOENT": 0}
    assert removed < found.index("symlinkat", directory="dev", path="ptmx", target="pts/ptmx")


@pytest.mark.rows("R154")
def test_devices_come_after_the_mounts() -> None:
    found = rows(config(mounts=[{"destination": "/dev", "type": "tmpfs"}]))
    assert found.index("move_mount", at=".mounts[0]") < min(found.indexes("mknodat"))


@pytest.mark.rows("R154")
def test_streams_on_the_hosts_null_device_are_replaced_inside() -> None:
    found = rows(config())
    assert found.index("null_stdio") > found.index("pivot_root")
