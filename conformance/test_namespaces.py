"""Namespaces: new ones, absent ones and joined ones; user mappings, time offsets, host names."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conformance.bundle import Bundle
from conformance.conftest import MakeContainer
from conformance.runtime import Container, Runtime, wait_for
from conformance.test_mount_options import host_mount

# Names of config.json, and names of /proc/PID/ns.
KINDS = {
    "pid": "pid",
    "network": "net",
    "mount": "mnt",
    "ipc": "ipc",
    "uts": "uts",
    "cgroup": "cgroup",
    "user": "user",
    "time": "time",
}
NO_TIME = pytest.mark.departs("runc", "R130: time namespaces came with 1.2")
CRUN_NO_TIME = pytest.mark.departs("crun", "R130: time namespaces came later than 1.8")
ALL_KINDS = [
    pytest.param(kind, marks=[NO_TIME, CRUN_NO_TIME] if kind == "time" else ()) for kind in KINDS
]


def namespace_of(pid: int | str, kind: str) -> str:
    """Which namespace of that type a process is in, such as "net:[4026531840]"."""
    return os.readlink(f"/proc/{pid}/ns/{KINDS[kind]}")


def mapping(inside: int, outside: int, size: int) -> dict[str, int]:
    """One LinuxIDMapping."""
    return {"containerID": inside, "hostID": outside, "size": size}


def with_user(bundle: Bundle, first: int = 100000) -> Bundle:
    """Add a user namespace whose ids begin at `first` on the host; the image belongs to it."""
    bundle.namespace("user")
    bundle.linux["uidMappings"] = [mapping(0, first, 65536)]
    bundle.linux["gidMappings"] = [mapping(0, first, 65536)]
    give_image_to(bundle, first)
    return bundle


def give_image_to(bundle: Bundle, owner: int) -> None:
    """Change the owner of all of the image's directories."""
    for directory, _, _ in os.walk(bundle.rootfs):
        os.chown(directory, owner, owner)


def absent(bundle: Bundle, kind: str) -> Bundle:
    """Take a namespace out, with what depends on it."""
    if kind == "uts":
        del bundle.config["hostname"]
    return bundle.without_namespace(kind)


@pytest.mark.rows("R130")
@pytest.mark.parametrize("kind", ALL_KINDS)
def test_new_namespace(container: Container, kind: str) -> None:
    """A listed namespace without a path is a new one."""
    if kind == "user":
        with_user(container.bundle)
    else:
        container.bundle.namespace(kind)
    container.create()
    assert namespace_of(container.pid, kind) != namespace_of("self", kind)


@pytest.mark.rows("R130")
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "mount"])
def test_absent_namespace(container: Container, kind: str) -> None:
    """A namespace that is not listed is the one of the runtime."""
    absent(container.bundle, kind).sh("echo works; sleep 1000")
    container.create().start().wait_output("works")
    assert namespace_of(container.pid, kind) == namespace_of("self", kind)


@pytest.fixture
def own_mounts(runtime: Runtime) -> Iterator[Path]:
    """Let the runtime run in a mount namespace of its own; a file that holds its name."""
    name = runtime.workplace / "mount-namespace"
    wrapper = runtime.workplace / "in-own-mounts"
    program = runtime.program
    inner = f'readlink /proc/self/ns/mnt >{name}; exec {program} "$@"'
    wrapper.write_text(f"#!/bin/sh\nexec unshare --mount sh -c '{inner}' sh \"$@\"\n")
    wrapper.chmod(0o755)
    runtime.program = str(wrapper)
    yield name
    runtime.program = program


@pytest.mark.rows("R134", "R130")
def test_absent_mount_namespace(container: Container, own_mounts: Path) -> None:
    """Without a mount namespace the container sees its root, in the runtime's namespace."""
    container.bundle.without_namespace("mount")
    container.bundle.config["mounts"] = [{"destination": "/proc", "type": "proc", "source": "p"}]
    container.bundle.sh("ls /; sleep 1000")
    container.create()
    assert namespace_of(container.pid, "mount") == own_mounts.read_text().strip()
    container.start().wait_output("proc")
    assert "work" not in container.output().split()


@pytest.mark.rows("R134", "R215", "R216")
@pytest.mark.parametrize("name", ["maskedPaths", "readonlyPaths"])
def test_paths_to_cover_need_a_mount_namespace(
    container: Container, own_mounts: Path, name: str
) -> None:
    """Masking without a mount namespace would mask on the host: an error."""
    container.bundle.without_namespace("mount")
    container.bundle.config["mounts"] = [{"destination": "/proc", "type": "proc", "source": "p"}]
    container.bundle.linux[name] = ["/etc/passwd"]
    result = container.try_create()
    assert result.status == 1, str(result)
    assert Path("/etc/passwd").read_text()


# joined by path


Pair = tuple[Container, Container]


@pytest.fixture
def pair(make_container: MakeContainer) -> Iterator[Pair]:
    """A container that is to join, and the one that holds the namespaces.

    The one that joined is reaped first: the init of a pid namespace ends only when all others
    in it have been.
    """
    container, holder = make_container(), make_container()
    yield container, holder
    reap(container)


def reap(container: Container) -> None:
    """Kill the container's init and collect it, if it is our child."""
    try:
        if container.pid and os.waitpid(container.pid, os.WNOHANG)[0] == 0:
            os.kill(container.pid, signal.SIGKILL)
            os.waitpid(container.pid, 0)
    except ChildProcessError:
        pass


@pytest.mark.rows("R131")
@pytest.mark.parametrize("kind", ["pid", "network", "ipc", "uts", "cgroup"])
def test_joined_namespace(pair: Pair, kind: str) -> None:
    """A namespace with a path is that one."""
    container, holder = pair
    holder.bundle.namespace("cgroup")
    holder.create()
    path = f"/proc/{holder.pid}/ns/{KINDS[kind]}"
    if kind == "uts":
        del container.bundle.config["hostname"]
    container.bundle.namespace(kind, path).sh("echo works; sleep 1000")
    container.create().start().wait_output("works")
    assert namespace_of(container.pid, kind) == namespace_of(holder.pid, kind)
    assert namespace_of(container.pid, kind) != namespace_of("self", kind)


@pytest.mark.rows("R131", "R132")
def test_all_namespaces_joined_at_once(pair: Pair) -> None:
    """As the containers of a pod do it: every namespace but the mounts from the first."""
    container, holder = pair
    holder.bundle.namespace("cgroup")
    holder.create().start()
    kinds = ("pid", "network", "ipc", "uts", "cgroup")
    del container.bundle.config["hostname"]
    for kind in kinds:
        container.bundle.namespace(kind, f"/proc/{holder.pid}/ns/{KINDS[kind]}")
    container.bundle.sh("ps; sleep 1000")
    container.create().start().wait_output("ps")
    assert "sleep 1000" in container.output()
    for kind in kinds:
        assert namespace_of(container.pid, kind) == namespace_of(holder.pid, kind)


@pytest.mark.rows("R131")
def test_joined_network_by_a_bind_mount(pair: Pair, workplace: Path) -> None:
    """The path may be a bind mount, which is how engines keep network namespaces."""
    container, holder = pair
    holder.create()
    expected = namespace_of(holder.pid, "network")
    (workplace / "netns").touch()
    host_mount("--bind", f"/proc/{holder.pid}/ns/net", workplace / "netns")
    holder.stop().delete()
    container.bundle.namespace("network", str(workplace / "netns"))
    container.create()
    assert namespace_of(container.pid, "network") == expected


@pytest.mark.rows("R131", "R132", "R133")
@pytest.mark.departs("runc", "R136: 1.1 wants mappings beside a path")
def test_joined_user_namespace(pair: Pair) -> None:
    """A joined user namespace owns the new ones."""
    container, holder = pair
    with_user(holder.bundle)
    holder.create()
    give_image_to(container.bundle, 100000)
    container.bundle.namespace("user", f"/proc/{holder.pid}/ns/user")
    container.bundle.sh("cat /proc/self/uid_map; hostname inner && hostname; sleep 1000")
    container.bundle.capability("CAP_SYS_ADMIN")
    container.create().start().wait_output("inner")
    assert container.output().split() == ["0", "100000", "65536", "inner"]
    assert namespace_of(container.pid, "user") == namespace_of(holder.pid, "user")
    assert namespace_of(container.pid, "uts") != namespace_of(holder.pid, "uts")


@pytest.mark.rows("R131", "R132", "R133")
@pytest.mark.departs("runc", "R136: 1.1 wants mappings beside a path")
def test_joined_user_and_network_namespace(pair: Pair) -> None:
    """A network namespace that the joined user namespace owns can be joined with it."""
    container, holder = pair
    with_user(holder.bundle)
    holder.create()
    give_image_to(container.bundle, 100000)
    container.bundle.namespace("user", f"/proc/{holder.pid}/ns/user")
    container.bundle.namespace("network", f"/proc/{holder.pid}/ns/net")
    container.create()
    for kind in ("user", "network"):
        assert namespace_of(container.pid, kind) == namespace_of(holder.pid, kind)


@pytest.mark.rows("R136", "R131")
def test_joined_user_namespace_with_its_own_mappings(pair: Pair) -> None:
    """The same mappings beside the path are what some engines write."""
    container, holder = pair
    with_user(holder.bundle)
    holder.create()
    with_user(container.bundle).namespace("user", f"/proc/{holder.pid}/ns/user")
    container.create()
    assert namespace_of(container.pid, "user") == namespace_of(holder.pid, "user")


@pytest.mark.rows("R131")
@NO_TIME
@CRUN_NO_TIME
def test_joined_time_namespace(pair: Pair) -> None:
    """A time namespace can be joined too."""
    container, holder = pair
    holder.bundle.namespace("time")
    holder.create()
    container.bundle.namespace("time", f"/proc/{holder.pid}/ns/time")
    container.create()
    assert namespace_of(container.pid, "time") == namespace_of(holder.pid, "time")


@pytest.mark.rows("R131")
@pytest.mark.departs("crun", 'R131: opens the path ""')
def test_empty_path(container: Container) -> None:
    """An empty path is none."""
    container.bundle.without_namespace("ipc")
    container.bundle.linux["namespaces"].append({"type": "ipc", "path": ""})
    container.create()
    assert namespace_of(container.pid, "ipc") != namespace_of("self", "ipc")


@pytest.mark.rows("R131", "R36")
@pytest.mark.parametrize("wrong", ["net", "uts"])
@pytest.mark.parametrize("kind", KINDS)
def test_path_of_another_type(container: Container, kind: str, wrong: str) -> None:
    """A namespace of another type is an error."""
    if KINDS[kind] == wrong:
        wrong = "ipc"
    absent(container.bundle, kind)
    if kind == "mount":
        container.bundle.without_namespace(kind)
    container.bundle.linux["namespaces"].append({"type": kind, "path": f"/proc/self/ns/{wrong}"})
    container.refused()


@pytest.mark.rows("R131", "R36")
@pytest.mark.parametrize("path", ["/etc/passwd", "/missing/namespace", "/dev/null", "/proc"])
def test_path_that_is_no_namespace(container: Container, path: str) -> None:
    """A path that is no namespace is an error."""
    container.bundle.namespace("network", path)
    container.refused()


@pytest.mark.rows("R131", "R36")
@pytest.mark.departs("crun", "R131: takes a relative path from its working directory")
def test_relative_path(container: Container) -> None:
    """The path must be absolute."""
    container.bundle.namespace("network", "proc/self/ns/net")
    container.refused(cwd=Path("/"))


@pytest.mark.rows("R130", "R36")
@pytest.mark.departs("crun", "R130: no check before 1.18")
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("user", "time")])
def test_the_same_type_twice(container: Container, kind: str) -> None:
    """A type may be listed once."""
    container.bundle.namespace(kind)
    container.bundle.linux["namespaces"].append({"type": kind})
    container.refused()


@pytest.mark.rows("R130", "R36")
@pytest.mark.parametrize("entry", [{"type": "nosuch"}, {"type": ""}, {}, {"type": 3}])
def test_unknown_type(container: Container, entry: dict[str, Any]) -> None:
    """An unknown type is an error."""
    container.bundle.linux["namespaces"].append(entry)
    container.refused()


@pytest.mark.rows("R133")
def test_cgroup_namespace_is_made_inside_the_cgroup(container: Container) -> None:
    """Inside a new cgroup namespace the container's cgroup is the root."""
    container.bundle.namespace("cgroup").sh("cat /proc/self/cgroup")
    paths = {line.split(":", 2)[2] for line in container.finish().splitlines()}
    assert paths == {"/"}


@pytest.mark.rows("R130", "R133")
def test_all_new_namespaces_together(container: Container) -> None:
    """Seven new namespaces at once, with an own user namespace over the rest."""
    with_user(container.bundle).namespace("cgroup")
    container.bundle.sh("id -u; hostname; ls /sys/class/net; echo end; sleep 1000")
    container.create().start().wait_output("end")
    assert container.output().split()[:2] == ["0", "conformance"]
    for kind in set(KINDS) - {"time"}:
        assert namespace_of(container.pid, kind) != namespace_of("self", kind), kind


# network


@pytest.mark.rows("R135")
def test_loopback_is_up(container: Container) -> None:
    """In a new network namespace `lo` is up, and answers."""
    container.bundle.sh(
        "cat /sys/class/net/lo/flags;"
        " nc -l -p 7 127.0.0.1 </dev/null & until echo x | nc 127.0.0.1 7; do sleep 0.02; done;"
        " echo answered"
    )
    lines = container.finish().splitlines()
    assert int(lines[0], 16) & 1
    assert lines[-1] == "answered"


@pytest.mark.rows("R135")
def test_only_loopback(container: Container) -> None:
    """None of the host's interfaces that are up is in a new network namespace."""
    container.bundle.sh("ip -o link show up | cut -d: -f2")
    assert container.finish().split() == ["lo"]


@pytest.mark.rows("R135", "R130")
def test_network_of_the_host(container: Container) -> None:
    """Without a network namespace the interfaces are those of the host."""
    container.bundle.without_namespace("network").sh("cut -d: -f1 /proc/net/dev")
    output = container.finish()
    for _, name in socket.if_nameindex():
        assert name in output


# user mappings


@pytest.mark.rows("R136")
def test_user_mappings(container: Container) -> None:
    """The maps are as configured; root inside is somebody else on the host."""
    with_user(container.bundle)
    container.bundle.process["user"] = {"uid": 5, "gid": 6}
    container.bundle.sh("id -u; id -g; cat /proc/self/uid_map /proc/self/gid_map; sleep 1000")
    container.create().start()
    wait_for(lambda: container.output().count("65536") == 2, "both maps")
    assert container.output().split() == ["5", "6", *["0", "100000", "65536"] * 2]
    status = os.stat(f"/proc/{container.pid}")
    assert (status.st_uid, status.st_gid) == (100005, 100006)


@pytest.mark.rows("R136")
def test_several_mappings(container: Container) -> None:
    """Several ranges, and more than the five of old kernels."""
    with_user(container.bundle)
    container.bundle.linux["uidMappings"] = [
        mapping(0, 100000, 10),
        *[mapping(1000 + 10 * n, 200000 + 100 * n, 5) for n in range(9)],
    ]
    container.bundle.sh("cat /proc/self/uid_map")
    numbers = [int(word) for word in container.finish().split()]
    assert numbers[:6] == [0, 100000, 10, 1000, 200000, 5]
    assert len(numbers) == 30


@pytest.mark.rows("R136")
def test_mappings_without_zero(container: Container) -> None:
    """The maps need not have the id 0, if the process runs as another."""
    with_user(container.bundle)
    container.bundle.linux["uidMappings"] = [mapping(1000, 100000, 1)]
    container.bundle.linux["gidMappings"] = [mapping(1000, 100000, 1)]
    container.bundle.process["user"] = {"uid": 1000, "gid": 1000}
    container.bundle.config["mounts"] = [{"destination": "/proc", "type": "proc", "source": "p"}]
    if container.runtime.name == "runc":
        pytest.xfail("R136: 1.1 becomes root of the new namespace")
    container.bundle.sh("id -u")
    assert container.finish().split() == ["1000"]


@pytest.mark.rows("R136", "R36")
@pytest.mark.departs("runc", "R136: 1.1 ignores the mappings")
@pytest.mark.departs("crun", "R136: takes both")
@pytest.mark.parametrize(
    "names", [["uidMappings"], ["gidMappings"], ["uidMappings", "gidMappings"]]
)
def test_mappings_without_a_user_namespace(container: Container, names: list[str]) -> None:
    """Mappings make sense only with a user namespace."""
    for name in names:
        container.bundle.linux[name] = [mapping(0, 100000, 65536)]
    container.refused()


@pytest.mark.rows("R136", "R36")
@pytest.mark.departs("crun", "R136: maps the caller")
def test_user_namespace_without_mappings(container: Container) -> None:
    """A new user namespace without mappings has no user to run anything."""
    container.bundle.namespace("user")
    container.refused()


@pytest.mark.rows("R136", "R36")
@pytest.mark.parametrize(
    "mappings",
    [
        [mapping(0, 100000, 10), mapping(5, 200000, 10)],
        [mapping(0, 100000, 0)],
        [mapping(0, 100000, 10), mapping(20, 100005, 10)],
        [{"containerID": -1, "hostID": 100000, "size": 10}],
        [{"containerID": 0, "hostID": "x", "size": 10}],
    ],
    ids=["inside-overlaps", "empty", "outside-overlaps", "negative", "text"],
)
def test_invalid_mappings(container: Container, mappings: list[dict[str, Any]]) -> None:
    """Ranges that overlap or are empty are errors."""
    with_user(container.bundle)
    container.bundle.linux["uidMappings"] = mappings
    container.refused()


@pytest.mark.rows("R67", "R136")
def test_user_that_is_not_mapped(container: Container) -> None:
    """A process cannot run as an id that the namespace does not have."""
    with_user(container.bundle)
    container.bundle.process["user"] = {"uid": 70000, "gid": 0}
    result = container.try_create()
    if result.status == 0:
        assert container.runtime.run("start", container.id).status != 0


@pytest.mark.rows("R136")
def test_files_keep_their_owner(container: Container) -> None:
    """The runtime does not change the owner of what is in the image."""
    with_user(container.bundle)
    path = container.bundle.file("/owned")
    os.chown(path, 100007, 100008)
    foreign = container.bundle.file("/foreign")
    os.chown(foreign, 12, 34)
    container.bundle.sh("stat -c '%u:%g' /owned /foreign")
    assert container.finish().split() == ["7:8", "65534:65534"]
    assert (foreign.stat().st_uid, foreign.stat().st_gid) == (12, 34)


# time offsets


def with_offsets(bundle: Bundle, offsets: dict[str, Any]) -> Bundle:
    """Add a time namespace and the offsets."""
    bundle.namespace("time")
    bundle.linux["timeOffsets"] = offsets
    return bundle


@pytest.mark.rows("R137")
@NO_TIME
@CRUN_NO_TIME
def test_time_offsets(container: Container) -> None:
    """Both clocks run ahead inside as configured."""
    offsets = {"monotonic": {"secs": 1000000, "nanosecs": 7}, "boottime": {"secs": 2000000}}
    with_offsets(container.bundle, offsets).sh("cat /proc/self/timens_offsets /proc/uptime")
    output = container.finish()
    assert re.search(r"monotonic\s+1000000\s+7\n", output)
    assert re.search(r"boottime\s+2000000\s+0\n", output)
    assert float(output.splitlines()[-1].split()[0]) > 2000000


@pytest.mark.rows("R137")
@NO_TIME
@CRUN_NO_TIME
@pytest.mark.parametrize("offsets", [{}, {"monotonic": {}}, {"boottime": {"nanosecs": 1}}])
def test_parts_of_offsets(container: Container, offsets: dict[str, Any]) -> None:
    """What is absent is 0."""
    with_offsets(container.bundle, offsets).sh("cat /proc/self/timens_offsets")
    words = container.finish().split()
    nanoseconds = str(offsets.get("boottime", {}).get("nanosecs", 0))
    assert words == ["monotonic", "0", "0", "boottime", "0", nanoseconds]


@pytest.mark.rows("R137")
@NO_TIME
@CRUN_NO_TIME
def test_negative_offset(container: Container) -> None:
    """A clock may be set back, as long as it does not become negative."""
    with_offsets(container.bundle, {"boottime": {"secs": -1}}).sh("cat /proc/self/timens_offsets")
    assert container.finish().split()[4] == "-1"


@pytest.mark.rows("R137", "R36")
@pytest.mark.parametrize(
    "offsets",
    [
        {"realtime": {"secs": 1}},
        {"boottime": {"nanosecs": 1000000000}},
        {"boottime": {"secs": -(10**9)}},
        {"monotonic": {"secs": "x"}},
    ],
    ids=["clock", "nanoseconds", "negative clock", "text"],
)
def test_invalid_offsets(container: Container, offsets: dict[str, Any]) -> None:
    """An unknown clock, or an offset that the kernel refuses, is an error."""
    with_offsets(container.bundle, offsets)
    container.refused()


@pytest.mark.rows("R137", "R36")
@NO_TIME
@CRUN_NO_TIME
def test_offsets_without_a_time_namespace(container: Container) -> None:
    """Offsets make sense only with a new time namespace."""
    container.bundle.linux["timeOffsets"] = {"boottime": {"secs": 1}}
    container.refused()


@pytest.mark.rows("R137", "R36")
@NO_TIME
@CRUN_NO_TIME
def test_offsets_with_a_joined_time_namespace(pair: Pair) -> None:
    """Those of a joined one cannot be changed."""
    container, holder = pair
    holder.bundle.namespace("time")
    holder.create()
    container.bundle.namespace("time", f"/proc/{holder.pid}/ns/time")
    container.bundle.linux["timeOffsets"] = {"boottime": {"secs": 1}}
    container.refused()


# host name and domain name


@pytest.mark.rows("R15")
def test_hostname(container: Container) -> None:
    """The name inside is the configured one; that of the host stays."""
    before = socket.gethostname()
    container.bundle.config["hostname"] = "a-name.of-its.own"
    container.bundle.sh("hostname")
    assert container.finish() == "a-name.of-its.own\n"
    assert socket.gethostname() == before


@pytest.mark.rows("R15")
@pytest.mark.parametrize("name", [None, ""])
def test_no_hostname(container: Container, name: str | None) -> None:
    """Without a name (an empty one is none) the new namespace keeps that of the host."""
    if name is None:
        del container.bundle.config["hostname"]
    else:
        container.bundle.config["hostname"] = name
    container.bundle.sh("hostname")
    assert container.finish() == socket.gethostname() + "\n"


@pytest.mark.rows("R15", "R36")
@pytest.mark.parametrize("name", ["hostname", "domainname"])
def test_name_without_an_own_uts_namespace(container: Container, name: str) -> None:
    """Without a uts namespace it would rename the host: an error."""
    if (container.runtime.name, name) == ("runc", "domainname"):
        pytest.xfail("R16: came with 1.2")
    before = names_of("self")
    absent(container.bundle, "uts").config[name] = "conformance-test"
    container.refused()
    assert names_of("self") == before


def names_of(_: str) -> tuple[str, str]:
    """The host name and the domain name of the host."""
    kernel = Path("/proc/sys/kernel")
    return (kernel / "hostname").read_text(), (kernel / "domainname").read_text()


@pytest.mark.rows("R15", "R131")
def test_hostname_of_a_joined_namespace(pair: Pair) -> None:
    """A joined uts namespace gets the name, for all that are in it."""
    container, holder = pair
    holder.bundle.sh("until [ $(hostname) = renamed ]; do sleep 0.02; done; hostname")
    holder.create().start()
    container.bundle.config["hostname"] = "renamed"
    container.bundle.namespace("uts", f"/proc/{holder.pid}/ns/uts")
    container.create()
    assert holder.wait_stopped().output() == "renamed\n"


@pytest.mark.rows("R15", "R36")
def test_hostname_that_is_too_long(container: Container) -> None:
    """The kernel takes 64 characters."""
    container.bundle.config["hostname"] = "x" * 65
    container.refused()


@pytest.mark.rows("R16")
@pytest.mark.departs("runc", "R16: came with 1.2")
def test_domainname(container: Container) -> None:
    """The domain name inside is the configured one; that of the host stays."""
    before = names_of("self")
    container.bundle.config["domainname"] = "example.org"
    container.bundle.sh("cat /proc/sys/kernel/domainname")
    assert container.finish() == "example.org\n"
    assert names_of("self") == before


@pytest.mark.rows("R130", "R135")
def test_joined_namespace_that_iproute_made(container: Container) -> None:
    """A namespace of `ip netns add`, with its own settings, is taken as it is."""
    name = container.id
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if made.returncode != 0:
        pytest.skip(f"ip netns add: {made.stderr.strip()}")
    try:
        container.bundle.namespace("network", f"/run/netns/{name}")
        container.create()
        inode = os.stat(f"/run/netns/{name}").st_ino
        assert namespace_of(container.pid, "network") == f"net:[{inode}]"
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)
