"""Device nodes and links in /dev: the default ones, and those of linux.devices."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from conformance.bundle import Bundle
from conformance.runtime import Container
from conformance.test_namespaces import with_user

DEFAULT_DEVICES = {
    "null": (1, 3),
    "zero": (1, 5),
    "full": (1, 7),
    "random": (1, 8),
    "urandom": (1, 9),
    "tty": (5, 0),
}
LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
}
DESCRIBE = "stat -c '%F %t:%T %a %u:%g'"


def device(path: str, kind: str, numbers: tuple[int, int] | None, **fields: int) -> dict[str, Any]:
    """One entry of linux.devices."""
    entry: dict[str, Any] = {"path": path, "type": kind, **fields}
    if numbers is not None:
        entry["major"], entry["minor"] = numbers
    return entry


def described(container: Container, *paths: str) -> list[str]:
    """What each path is inside: type, device number in hexadecimal, mode, owner."""
    container.bundle.sh("; ".join(f"{DESCRIBE} {path}" for path in paths))
    return container.finish().splitlines()


def add(bundle: Bundle, *devices: dict[str, Any]) -> None:
    """Append to linux.devices."""
    bundle.linux.setdefault("devices", []).extend(devices)


@pytest.mark.rows("R154")
@pytest.mark.parametrize("umask", [0, 0o077])
def test_default_devices(container: Container, umask: int) -> None:
    """Six character devices, for everybody, whatever the caller's umask is."""
    container.bundle.sh("; ".join(f"{DESCRIBE} /dev/{name}" for name in DEFAULT_DEVICES))
    lines = container.finish(umask=umask).splitlines()
    assert lines == [
        f"character special file {major:x}:{minor:x} 666 0:0"
        for major, minor in DEFAULT_DEVICES.values()
    ]


@pytest.mark.rows("R154", "R153")
def test_default_devices_work(container: Container) -> None:
    """They can be read and written, as the device cgroup goes."""
    container.bundle.resources["devices"] = [{"allow": False, "access": "rwm"}]
    container.bundle.sh(
        "cd /dev; echo x >null; cat null; head -c 3 zero | od -An -tx1; head -c 2 random | wc -c;"
        " head -c 2 urandom | wc -c; echo x >full || echo is full; ls pts"
    )
    lines = [line.strip() for line in container.finish().splitlines()]
    assert lines == ["00 00 00", "2", "2", "is full", "ptmx"]


@pytest.mark.rows("R154", "R18")
def test_default_devices_without_a_mount_on_dev(container: Container) -> None:
    """The devices are due when the image's own /dev is used, too."""
    bundle = container.bundle
    for path in ("/dev/shm", "/dev/pts", "/dev"):
        bundle.without_mount(path)
    lines = described(container, *(f"/dev/{name}" for name in DEFAULT_DEVICES))
    assert [line.split()[3] for line in lines] == [
        f"{major:x}:{minor:x}" for major, minor in DEFAULT_DEVICES.values()
    ]


@pytest.mark.rows("R154", "R152")
def test_default_devices_in_a_user_namespace(container: Container) -> None:
    """Where mknod is not possible the devices are there all the same, and work."""
    with_user(container.bundle)
    container.bundle.sh(
        "cd /dev; for i in null zero full random urandom tty; do stat -c '%F %t:%T' $i; done;"
        " echo x >null && head -c 1 zero | od -An -tx1"
    )
    lines = container.finish().splitlines()
    assert lines[:6] == [
        f"character special file {major:x}:{minor:x}" for major, minor in DEFAULT_DEVICES.values()
    ]
    assert lines[6].strip() == "00"


@pytest.mark.rows("R154")
def test_ptmx(container: Container) -> None:
    """/dev/ptmx is the multiplexer of the container's own /dev/pts."""
    container.bundle.sh("stat -L -c '%F %t:%T' /dev/ptmx; stat -L -c %d:%i /dev/ptmx /dev/pts/ptmx")
    lines = container.finish().splitlines()
    assert lines[0] == "character special file 5:2"
    assert lines[1] == lines[2]


@pytest.mark.rows("R154")
@pytest.mark.parametrize("what", ["file", "link"])
def test_ptmx_of_the_image_is_replaced(container: Container, what: str) -> None:
    """An image's own /dev/ptmx gives way."""
    bundle = container.bundle
    bundle.without_mount("/dev/shm").without_mount("/dev")
    (bundle.rootfs / "dev/pts").mkdir()
    if what == "file":
        bundle.file("/dev/ptmx", "of the image\n")
    else:
        (bundle.rootfs / "dev/ptmx").symlink_to("/etc/passwd")
    bundle.sh("stat -L -c '%F %t:%T' /dev/ptmx; cat /etc/passwd")
    lines = container.finish().splitlines()
    assert lines[0] == "character special file 5:2"
    assert lines[1].startswith("root:")


@pytest.mark.rows("R154")
def test_no_console_without_a_terminal(container: Container) -> None:
    """Only with a terminal is there a /dev/console."""
    container.bundle.sh("ls /dev")
    assert "console" not in container.finish().split()


@pytest.mark.rows("R42")
@pytest.mark.parametrize("name", LINKS)
def test_links(container: Container, name: str) -> None:
    """/dev/fd and the three standard streams lead to /proc/self/fd."""
    container.bundle.sh(f"readlink /dev/{name}")
    assert container.finish().strip() == LINKS[name]


@pytest.mark.rows("R42")
def test_links_work(container: Container) -> None:
    """What is written to /dev/stdout arrives."""
    container.bundle.sh(
        "{ echo one | cat /dev/stdin; echo two >/dev/stdout; echo three >/dev/fd/1; } | cat"
    )
    assert container.finish().split() == ["one", "two", "three"]


@pytest.mark.rows("R42")
def test_links_of_the_image_stay(container: Container) -> None:
    """What the image has under these names is left."""
    bundle = container.bundle
    for path in ("/dev/shm", "/dev/pts", "/dev"):
        bundle.without_mount(path)
    bundle.file("/dev/stdin", "of the image\n")
    bundle.sh("cat /dev/stdin; readlink /dev/stdout")
    assert container.finish().splitlines() == ["of the image", "/proc/self/fd/1"]


@pytest.mark.rows("R42", "R154")
@pytest.mark.parametrize("option", ["bind", "rbind"])
def test_a_bound_dev_is_left_alone(container: Container, workplace: Path, option: str) -> None:
    """When /dev is a bind mount of a directory of the host, nothing is made in it."""
    directory = workplace / "dev"
    directory.mkdir()
    os.mknod(directory / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    bundle = container.bundle
    for path in ("/dev/shm", "/dev/pts", "/dev"):
        bundle.without_mount(path)
    bundle.mount("/dev", "bind", str(directory), [option])
    bundle.sh("ls /dev")
    assert container.finish().split() == ["null"]
    assert [path.name for path in directory.iterdir()] == ["null"]


# linux.devices


@pytest.mark.rows("R150", "R151", "R152")
@pytest.mark.parametrize("umask", [0o022, 0o077])
@pytest.mark.parametrize(
    ("kind", "numbers", "word"),
    [
        ("c", (10, 229), "character special file a:e5"),
        ("u", (10, 229), "character special file a:e5"),
        ("b", (7, 300), "block special file 7:12c"),
        ("p", None, "fifo 0:0"),
    ],
)
def test_device(
    container: Container, kind: str, numbers: tuple[int, int] | None, word: str, umask: int
) -> None:
    """A node with the configured type, numbers, mode and owner."""
    add(container.bundle, device("/dev/probe", kind, numbers, fileMode=0o624, uid=12, gid=34))
    container.bundle.sh(f"{DESCRIBE} /dev/probe")
    assert container.finish(umask=umask).splitlines() == [f"{word} 624 12:34"]


@pytest.mark.rows("R151", "R152")
def test_defaults_of_a_device(container: Container) -> None:
    """Without a mode and an owner: 0666 and root."""
    add(container.bundle, device("/dev/probe", "c", (10, 229)))
    assert described(container, "/dev/probe") == ["character special file a:e5 666 0:0"]


@pytest.mark.rows("R151")
@pytest.mark.parametrize("mode", [0, 0o400])
def test_mode_of_a_device(container: Container, mode: int) -> None:
    """A mode of 0 is one, too."""
    add(container.bundle, device("/dev/probe", "c", (10, 229), fileMode=mode))
    assert described(container, "/dev/probe") == [f"character special file a:e5 {mode:o} 0:0"]


@pytest.mark.rows("R150")
@pytest.mark.parametrize("path", ["/node", "/opt/a/b/node", "/dev/net/tun"])
def test_device_at_any_place(container: Container, path: str) -> None:
    """A node may be anywhere; directories on the way are made."""
    add(container.bundle, device(path, "c", (10, 200), fileMode=0o600))
    assert described(container, path) == ["character special file a:c8 600 0:0"]


@pytest.mark.rows("R150")
def test_large_numbers(container: Container) -> None:
    """Major and minor numbers of more than 8 bits."""
    add(container.bundle, device("/dev/probe", "b", (259, 65537), fileMode=0o600))
    assert described(container, "/dev/probe") == ["block special file 103:10001 600 0:0"]


@pytest.mark.rows("R150")
def test_several_names_of_a_device(container: Container) -> None:
    """The same numbers at two paths should not be, but are no error."""
    add(container.bundle, device("/dev/one", "c", (1, 5)), device("/dev/two", "c", (1, 5)))
    lines = described(container, "/dev/one", "/dev/two", "/dev/zero")
    assert [line.split()[3] for line in lines] == ["1:5"] * 3


@pytest.mark.rows("R154", "R151")
def test_an_entry_for_a_default_device(container: Container) -> None:
    """An entry with the path of a default device is what counts."""
    add(container.bundle, device("/dev/full", "c", (1, 7), fileMode=0o600, uid=7, gid=8))
    assert described(container, "/dev/full") == ["character special file 1:7 600 7:8"]


@pytest.mark.rows("R150")
def test_the_node_is_there_already(container: Container) -> None:
    """A node of the image that is what the entry says is used."""
    path = container.bundle.rootfs / "probe"
    os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(10, 229))
    add(container.bundle, device("/probe", "c", (10, 229), fileMode=0o600))
    assert described(container, "/probe") == ["character special file a:e5 600 0:0"]


@pytest.mark.rows("R150", "R36")
@pytest.mark.departs("runc", "R150: takes whatever is there")
@pytest.mark.departs("crun", "R150: takes whatever is there")
@pytest.mark.parametrize("what", ["file", "numbers", "type", "directory", "link"])
def test_something_else_is_there(container: Container, what: str) -> None:
    """A file of the image that is not what the entry says is an error."""
    path = container.bundle.rootfs / "probe"
    if what == "file":
        path.touch()
    elif what == "numbers":
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(10, 228))
    elif what == "type":
        os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(10, 229))
    elif what == "directory":
        path.mkdir()
    else:
        path.symlink_to("etc/passwd")
    add(container.bundle, device("/probe", "c", (10, 229), fileMode=0o600))
    container.refused()
    assert (container.bundle.rootfs / "etc/passwd").stat().st_mode & 0o777 == 0o644


CRUN_TYPES = pytest.mark.departs("crun", "R150: looks neither at the type nor for numbers")


@pytest.mark.rows("R150", "R36")
@pytest.mark.parametrize(
    "entry",
    [
        pytest.param({"path": "/dev/probe", "type": "x", "major": 1, "minor": 3}, marks=CRUN_TYPES),
        pytest.param({"path": "/dev/probe", "type": "", "major": 1, "minor": 3}, marks=CRUN_TYPES),
        {"path": "/dev/probe", "major": 1, "minor": 3},
        pytest.param(
            {"path": "/dev/probe", "type": "c", "major": "1", "minor": 3}, marks=CRUN_TYPES
        ),
    ],
    ids=["unknown type", "empty type", "no type", "text"],
)
def test_invalid_device(container: Container, entry: dict[str, Any]) -> None:
    """A device needs one of the four types, and numbers that are numbers."""
    add(container.bundle, entry)
    container.refused()


@pytest.mark.rows("R152")
@pytest.mark.departs("runc", "R152: gives every device to root in a user namespace")
@pytest.mark.departs("crun", "R152: cannot give it to anybody")
@pytest.mark.departs("pyruntime", "R152: the host's node is bound, and keeps the host's owner")
def test_device_in_a_user_namespace(container: Container) -> None:
    """The numbers are as configured; the ids are those of the container."""
    with_user(container.bundle)
    os.mknod(container.bundle.rootfs / "node", stat.S_IFCHR | 0o600, os.makedev(10, 229))
    add(container.bundle, device("/dev/fuse", "c", (10, 229), fileMode=0o600, uid=5, gid=6))
    before = os.stat("/dev/null")
    lines = described(container, "/dev/fuse")
    assert os.stat("/dev/null").st_uid == before.st_uid
    assert lines == ["character special file a:e5 600 5:6"]


@pytest.mark.rows("R152", "R67")
@pytest.mark.departs("crun<1.24", "R67: gives its standard streams away, be they /dev/null")
def test_devices_of_the_host_stay(container: Container) -> None:
    """A user namespace does not change owner or mode of the host's nodes."""
    paths = [Path("/dev") / name for name in DEFAULT_DEVICES]
    before = [(path.stat().st_mode, path.stat().st_uid, path.stat().st_gid) for path in paths]
    with_user(container.bundle)
    container.bundle.process["user"] = {"uid": 5, "gid": 6}
    container.bundle.sh("true")
    container.finish()
    after = [(path.stat().st_mode, path.stat().st_uid, path.stat().st_gid) for path in paths]
    for path, (_, uid, gid) in zip(paths, before, strict=True):
        os.chown(path, uid, gid)
    assert after == before


# access, which resources.devices grants

NO_DEVICE = (240, 77)
REFUSED = "Operation not permitted"
NOT_THERE = "No such device or address"


def attempts(container: Container, rules: list[dict[str, Any]], script: str) -> str:
    """Run the script in a container with a node that no driver has: the messages.

    The device cgroup is asked before the driver is looked for: EPERM is its word, ENXIO
    the word of one that let us pass.
    """
    container.bundle.resources["devices"] = rules
    container.bundle.capability("CAP_MKNOD")
    add(container.bundle, device("/dev/probe", "c", NO_DEVICE, fileMode=0o666))
    container.bundle.sh(f"{{ {script}; }} 2>&1")
    return container.finish()


DENY_ALL = {"allow": False, "access": "rwm"}


@pytest.mark.rows("R170", "R153")
@pytest.mark.parametrize(
    ("access", "reading", "writing"),
    [
        ("r", NOT_THERE, REFUSED),
        ("w", REFUSED, NOT_THERE),
        ("rw", NOT_THERE, NOT_THERE),
        ("m", REFUSED, REFUSED),
    ],
)
def test_granted_access(container: Container, access: str, reading: str, writing: str) -> None:
    """Reading and writing are granted one by one."""
    rule = {"allow": True, "type": "c", "major": 240, "minor": 77, "access": access}
    lines = attempts(
        container, [DENY_ALL, rule], "cat /dev/probe; dd of=/dev/probe count=0 conv=notrunc"
    ).splitlines()
    assert reading in lines[0]
    assert writing in lines[1]


@pytest.mark.rows("R170", "R153")
def test_refused_access(container: Container) -> None:
    """An entry in linux.devices grants no access by itself."""
    assert REFUSED in attempts(container, [DENY_ALL], "cat /dev/probe")


@pytest.mark.rows("R170")
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"type": "c", "major": 240}, NOT_THERE),
        ({"type": "c"}, NOT_THERE),
        ({"type": "c", "minor": 77}, NOT_THERE),
        ({"type": "b", "major": 240, "minor": 77}, REFUSED),
        ({"type": "c", "major": 240, "minor": 78}, REFUSED),
        ({"type": "c", "major": 241}, REFUSED),
    ],
    ids=["any minor", "any device", "any major", "block", "other minor", "other major"],
)
def test_wildcards(container: Container, fields: dict[str, Any], expected: str) -> None:
    """A number that is absent stands for all."""
    rule = {"allow": True, "access": "rw", **fields}
    assert expected in attempts(container, [DENY_ALL, rule], "cat /dev/probe")


@pytest.mark.rows("R170")
@pytest.mark.parametrize("last", [True, False])
def test_rules_in_order(container: Container, last: bool) -> None:
    """The last word counts."""
    rule = {"type": "c", "major": 240, "minor": 77, "access": "rwm"}
    rules = [DENY_ALL, {"allow": not last, **rule}, {"allow": last, **rule}]
    expected = NOT_THERE if last else REFUSED
    assert expected in attempts(container, rules, "cat /dev/probe")


@pytest.mark.rows("R170", "R153")
def test_making_nodes_gives_no_access(container: Container) -> None:
    """A container may make nodes, but not use them."""
    script = "mknod /dev/disk b 7 0 && echo made; cat /dev/disk"
    output = attempts(container, [DENY_ALL], script)
    assert "made" in output
    assert REFUSED in output


@pytest.mark.rows("R170", "R36")
@pytest.mark.parametrize(
    "rule",
    [
        pytest.param(
            {"allow": True, "type": "c", "access": "x"},
            marks=pytest.mark.departs("runc", "R170: no check of the letters in 1.1"),
        ),
        {"allow": True, "type": "p", "access": "r"},
        {"allow": True, "type": "u", "access": "r"},
        {"type": "c", "major": "1", "access": "r", "allow": True},
    ],
    ids=["access", "fifo", "u", "text"],
)
@pytest.mark.departs("crun", "R170: takes any rule")
def test_invalid_rule(container: Container, rule: dict[str, Any]) -> None:
    """Only r, w and m are kinds of access; only c, b and a are types."""
    container.bundle.resources["devices"] = [DENY_ALL, rule]
    container.refused()
