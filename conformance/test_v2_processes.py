"""Processes in a cgroup of v2: how they get in, are stopped, killed and counted; who owns it."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from conformance.bundle import Bundle
from conformance.conftest import MakeContainer
from conformance.runtime import Container, alive, wait_for
from conformance.test_cgroups import cgroups_of
from conformance.test_mount_options import Mount, host_mountinfo, parse_mounts
from conformance.test_namespaces import with_user
from conformance.test_v2_limits import Occupied
from conformance.unified import controllers, directory, mount_point, need, path_in, setting

MIB = 1 << 20
OURS = pytest.mark.departs
FITNESS = pytest.mark.departs("crun", "R163: no such check")
OLD_FITNESS = pytest.mark.departs("runc<1.2", "R163: a warning only")
DELEGATE = Path("/sys/kernel/cgroup/delegate")
IN_MODIFY = 2  # inotify(7)


@pytest.fixture(autouse=True)
def unified() -> Path:
    """Skip where the controllers are not on v2."""
    return mount_point()


def procs(path: Path) -> list[int]:
    """The processes of a cgroup."""
    return [int(word) for word in (path / "cgroup.procs").read_text().split()]


@contextmanager
def watched(path: Path) -> Iterator[Callable[[], bool]]:
    """A function that says whether anybody has written to the file since it was last asked."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if fd < 0 or libc.inotify_add_watch(fd, os.fsencode(path), IN_MODIFY) < 0:
        raise OSError(ctypes.get_errno(), f"inotify on {path}")

    def written() -> bool:
        try:
            return bool(os.read(fd, 4096))
        except BlockingIOError:
            return False

    try:
        yield written
    finally:
        os.close(fd)


@pytest.fixture
def outer(container: Container) -> Iterator[Path]:
    """A cgroup with the container's in it; both are gone afterwards."""
    bundle = container.bundle
    path = bundle.cgroups_path
    place = mount_point() / path.lstrip("/")
    place.mkdir()
    bundle.linux["cgroupsPath"] = f"{path}/inner"
    yield place
    container.clean()
    for each in sorted(place.rglob("*/"), reverse=True):
        each.rmdir()
    bundle.linux["cgroupsPath"] = path
    place.rmdir()


# making it


@pytest.mark.rows("R165", "R160")
@OURS("crun", "R165: does not enable rdma")
def test_controllers_are_enabled_all_the_way_down(container: Container, outer: Path) -> None:
    """In every cgroup above the container's, and not in its own: it may hold processes."""
    container.bundle.linux["cgroupsPath"] += "/a/b"
    container.create()
    everything = set(controllers())
    for above in (outer, outer / "inner", outer / "inner/a"):
        assert set((above / "cgroup.subtree_control").read_text().split()) == everything, above
    own = outer / "inner/a/b"
    assert set((own / "cgroup.controllers").read_text().split()) == everything
    assert (own / "cgroup.subtree_control").read_text().strip() == ""
    assert procs(own) == [container.pid]


@pytest.mark.rows("R161")
def test_the_process_is_born_there(container: Container) -> None:
    """And what it takes of the memory is charged there."""
    container.create()
    assert procs(directory(container)) == [container.pid]
    assert cgroups_of(container.pid)[""] == container.bundle.cgroups_path
    if "memory" in controllers():
        assert int(setting(container, "memory.current")) > 0


@pytest.mark.rows("R161")
@OURS("runc", "R161: moves the process, by cgroup.procs")
@OURS("crun", "R161: moves the process, by cgroup.procs")
def test_nobody_moves_the_process(container: Container) -> None:
    """CLONE_INTO_CGROUP, of init and exec: neither is ever written to cgroup.procs."""
    place = directory(container)
    place.mkdir()
    with watched(place / "cgroup.procs") as written:
        container.create().start()
        assert procs(place) == [container.pid]
        result = container.exec("cat", "/proc/self/cgroup")
        assert path_in(result.stdout) == container.bundle.cgroups_path, str(result)
        assert not written()
        with Occupied(place):
            assert written()  # the watch sees those who come in the other way
    container.stop().delete()
    place.rmdir()


@pytest.mark.rows("R163", "R36")
@FITNESS
@OLD_FITNESS
def test_a_cgroup_with_processes_is_refused(container: Container) -> None:
    place = directory(container)
    place.mkdir()
    with Occupied(place) as pid:
        result = container.runtime.check_refused(container.try_create())
        assert "not empty" in result.stderr
        assert procs(place) == [pid]
    place.rmdir()


@pytest.mark.rows("R163", "R36")
@FITNESS
@OLD_FITNESS
def test_processes_further_down_count(container: Container) -> None:
    place = directory(container)
    (place / "below").mkdir(parents=True)
    with Occupied(place / "below"):
        result = container.runtime.check_refused(container.try_create())
        assert "not empty" in result.stderr
    (place / "below").rmdir()
    place.rmdir()


@pytest.mark.rows("R163")
@pytest.mark.parametrize("above", [False, True], ids=["itself", "its-parent"])
@FITNESS
def test_a_frozen_cgroup_is_refused(container: Container, outer: Path, above: bool) -> None:
    """A container could not start in it: an error, and no wait without end."""
    if above and container.runtime.name == "runc":
        pytest.skip("runc looks at the cgroup itself alone, and waits")
    own = outer / "inner"
    if not above:
        own.mkdir()
    frozen = outer if above else own
    (frozen / "cgroup.freeze").write_text("1")
    result = container.runtime.check_refused(container.try_create())
    assert "frozen" in result.stderr
    assert own.exists() is not above
    (frozen / "cgroup.freeze").write_text("0")


@pytest.mark.rows("R39", "R163")
def test_an_empty_cgroup_that_was_there_is_used(container: Container) -> None:
    place = directory(container)
    place.mkdir()
    container.create()
    assert procs(place) == [container.pid]
    container.stop().delete()
    if container.runtime.name == "pyruntime":
        assert place.is_dir()  # what create did not make, delete does not remove


# threads, and the rule of no internal processes


@pytest.mark.rows("R165", "R161")
@OURS("crun", "R165: depends on the version")
def test_below_a_threaded_cgroup(container: Container, outer: Path) -> None:
    """There the container's becomes threaded too, or nothing could run in it."""
    (outer / "threads").mkdir()
    (outer / "threads/cgroup.type").write_text("threaded")
    container.bundle.linux["cgroupsPath"] = f"{container.bundle.cgroups_path[:-6]}/threads/inner"
    container.bundle.sh("cat /proc/self/cgroup; sleep 1000")
    container.create()
    own = directory(container)
    assert (own / "cgroup.type").read_text().strip() == "threaded"
    container.start()
    container.wait_output(f"0::{container.bundle.cgroups_path}\n")
    result = container.exec("cat", "/proc/self/cgroup")
    assert path_in(result.stdout) == container.bundle.cgroups_path, str(result)
    container.runtime.ok("pause", container.id)
    assert container.status() == "paused"
    container.runtime.ok("resume", container.id)
    container.stop().delete()
    assert not own.exists()


@pytest.mark.rows("R165", "R36")
@OURS("crun", "R165: words of its own")
@OURS("runc", "R165: words of its own")
def test_what_a_threaded_cgroup_cannot_limit(container: Container, outer: Path) -> None:
    need("memory")
    (outer / "threads").mkdir()
    (outer / "threads/cgroup.type").write_text("threaded")
    container.bundle.linux["cgroupsPath"] = f"{container.bundle.cgroups_path[:-6]}/threads/inner"
    container.bundle.resources["memory"] = {"limit": 64 * MIB}
    result = container.runtime.check_refused(container.try_create())
    assert "linux.resources.memory" in result.stderr
    assert "threaded" in result.stderr
    assert not (outer / "threads/inner").exists()


@pytest.mark.rows("R161", "R165", "R36")
def test_a_cgroup_that_passes_controllers_on_takes_no_process(container: Container) -> None:
    """What was there before has controllers enabled for those below: said, and not just EBUSY."""
    need("memory")
    place = directory(container)
    place.mkdir()
    (mount_point() / "cgroup.subtree_control").write_text("+memory")
    (place / "cgroup.subtree_control").write_text("+memory")
    try:
        result = container.runtime.check_refused(container.try_create())
        if container.runtime.name == "pyruntime":
            assert str(place) in result.stderr, result.stderr
            assert "subtree_control" in result.stderr, result.stderr
            assert place.is_dir()  # what create did not make, its failure does not remove
        assert not place.exists() or procs(place) == []
    finally:
        container.clean()
        if place.exists():
            place.rmdir()


# exec

DIVIDE = (
    "mkdir /sys/fs/cgroup/leaf && echo $$ >/sys/fs/cgroup/leaf/cgroup.procs"
    " && echo +{} >/sys/fs/cgroup/cgroup.subtree_control && echo divided; sleep 1000"
)


def delegated(bundle: Bundle, *options: str) -> Bundle:
    """A cgroup namespace, and the hierarchy mounted in the container."""
    bundle.namespace("cgroup")
    usual = ["nosuid", "noexec", "nodev"]
    return bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", [*usual, *options])


@pytest.mark.rows("R161", "R291")
def test_exec_where_the_container_has_divided_its_cgroup(container: Container) -> None:
    """The container's own cgroup takes no process any more: exec joins the init's."""
    need("pids")
    delegated(container.bundle).sh(DIVIDE.format("memory"))
    container.create().start()
    container.wait_output("divided")
    result = container.exec("cat", "/proc/self/cgroup")
    assert path_in(result.stdout) == "/leaf", str(result)


@pytest.mark.rows("R291", "R161")
@OURS("crun", "R291: depends on the version")
def test_exec_into_a_group_below(container: Container) -> None:
    delegated(container.bundle)
    container.create().start()
    (directory(container) / "a/b").mkdir(parents=True)
    for path in ("a", "/a/b", "a/../a/b"):
        result = container.exec("cat", "/proc/self/cgroup", flags=("--cgroup", path))
        if result.status == 255 and ".." in path:
            continue  # it leads nowhere else, but may be refused all the same
        assert path_in(result.stdout) == os.path.normpath(f"/{path.lstrip('/')}"), str(result)
    for path in ("nosuch", "..", "../.."):
        result = container.exec("cat", "/proc/self/cgroup", flags=("--cgroup", path))
        assert (result.status, result.stdout) == (255, ""), str(result)
    assert sorted(path.name for path in directory(container).iterdir() if path.is_dir()) == ["a"]


@pytest.mark.rows("R291", "R161")
def test_exec_into_a_group_that_takes_no_process(container: Container) -> None:
    """An error that says which, and the container runs on."""
    need("memory")
    container.create().start()
    below = directory(container) / "below"
    (below / "more").mkdir(parents=True)
    if container.runtime.name != "pyruntime":
        pytest.skip("the text of the error is ours")
    (below / "cgroup.type").write_text("threaded")
    (below / "more/cgroup.type").write_text("threaded")
    result = container.exec("true", flags=("--cgroup", "below"))
    assert result.status in (0, 255), str(result)
    if result.status:
        assert "below" in result.stderr
    assert container.status() == "running"


# freezing and killing


@pytest.mark.rows("R295", "R163")
def test_pause_and_resume(container: Container) -> None:
    """The files say so, the state says so, and exec is refused meanwhile."""
    container.bundle.sh("sleep 1000 & sleep 1000 & echo both; wait")
    container.create().start()
    container.wait_output("both")
    container.runtime.ok("pause", container.id)
    assert setting(container, "cgroup.freeze") == "1"
    assert "frozen 1" in setting(container, "cgroup.events").splitlines()
    assert container.status() == "paused"
    assert container.exec("true").status != 0
    container.runtime.ok("resume", container.id)
    assert setting(container, "cgroup.freeze") == "0"
    assert "frozen 0" in setting(container, "cgroup.events").splitlines()
    assert container.status() == "running"
    assert container.exec("true").status == 0


@pytest.mark.rows("R38", "R292")
@pytest.mark.parametrize("verb", ["kill", "delete"])
def test_a_paused_container_can_be_killed(container: Container, verb: str) -> None:
    container.create().start()
    container.runtime.ok("pause", container.id)
    if verb == "kill":
        container.runtime.ok("kill", container.id, "KILL")
        wait_for(lambda: not alive(container.pid), "the end of the init")
        container.wait_stopped()
    container.runtime.ok("delete", "--force", container.id)
    assert not directory(container).exists()


@pytest.mark.rows("R38", "R292")
def test_kill_all_reaches_every_group_below(container: Container) -> None:
    """cgroup.kill: also those whose group is frozen, and without a pid namespace."""
    container.bundle.without_namespace("pid")
    delegated(container.bundle).sh(
        "mkdir -p /sys/fs/cgroup/a/b; sleep 1001 & echo $! >/sys/fs/cgroup/a/cgroup.procs;"
        " sleep 1001 & echo $! >/sys/fs/cgroup/a/b/cgroup.procs; echo ready; wait"
    )
    container.create().start()
    container.wait_output("ready")
    own = directory(container)
    pids = [container.pid, *procs(own / "a"), *procs(own / "a/b")]
    assert len(pids) == 3
    (own / "a/b/cgroup.freeze").write_text("1")
    container.runtime.ok("kill", "--all", container.id, "KILL")
    wait_for(lambda: not any(alive(pid) for pid in pids), f"the end of {pids}")
    container.wait_stopped()
    container.delete()
    assert not own.exists()


@pytest.mark.rows("R38", "R292")
@OURS("runc", "R292: cgroup.kill came with 1.2")
@OURS("crun", "R292: depends on the version")
def test_kill_all_is_one_write(container: Container) -> None:
    """By cgroup.kill, which no fork can escape, and not by one signal after the other."""
    container.bundle.without_namespace("pid")
    container.bundle.sh("sleep 1001 & sleep 1001 & echo ready; wait")
    container.create().start()
    container.wait_output("ready")
    kill = directory(container) / "cgroup.kill"
    if not kill.exists():
        pytest.skip("the kernel has no cgroup.kill (Linux 5.14)")
    pids = procs(directory(container))
    assert len(pids) == 3
    with watched(kill) as written:
        container.runtime.ok("kill", "--all", container.id, "KILL")
        assert written()
    wait_for(lambda: not any(alive(pid) for pid in pids), f"the end of {pids}")


@pytest.mark.rows("R292")
def test_kill_all_with_another_signal(container: Container) -> None:
    """It reaches the groups below as well."""
    container.bundle.without_namespace("pid")
    delegated(container.bundle).sh(
        "mkdir /sys/fs/cgroup/a; sh /inner & trap 'echo outer' TERM; echo ready;"
        " while :; do sleep 0.1; done"
    )
    container.bundle.file(
        "/inner",
        "trap 'echo inner' TERM\necho $$ >/sys/fs/cgroup/a/cgroup.procs\necho moved\n"
        "while :; do sleep 0.1; done\n",
    )
    container.create().start()
    container.wait_output("ready")
    container.wait_output("moved")
    container.runtime.ok("kill", "--all", container.id, "TERM")
    container.wait_output("outer")
    container.wait_output("inner")


@pytest.mark.rows("R39", "R307", "R293")
def test_delete_of_what_a_container_made_below(container: Container) -> None:
    """However deep, with controllers enabled, and with processes that outlive the init."""
    need("pids")
    container.bundle.without_namespace("pid")
    delegated(container.bundle).sh(
        "mkdir -p /sys/fs/cgroup/a/b/c /sys/fs/cgroup/d; sleep 1001 &"
        " echo $! >/sys/fs/cgroup/a/b/c/cgroup.procs; echo $$ >/sys/fs/cgroup/d/cgroup.procs;"
        " echo +pids >/sys/fs/cgroup/cgroup.subtree_control; echo ready; sleep 1000"
    )
    container.create().start()
    container.wait_output("ready")
    own = directory(container)
    [stray] = procs(own / "a/b/c")
    os.kill(container.pid, signal.SIGKILL)
    container.wait_stopped()
    container.runtime.ok("delete", "--force", container.id)
    wait_for(lambda: not alive(stray), "the end of the process that was left")
    assert not own.exists()


# what the container sees


@pytest.mark.rows("R133", "R161")
@pytest.mark.parametrize("private", [False, True], ids=["no-cgroupns", "cgroupns"])
def test_what_proc_says(container: Container, private: bool) -> None:
    if private:
        container.bundle.namespace("cgroup")
    container.bundle.sh("cat /proc/self/cgroup")
    expected = "/" if private else container.bundle.cgroups_path
    assert path_in(container.finish()) == expected


def with_cgroup_mount(container: Container, kind: str, option: str) -> Bundle:
    """Show cgroups at the usual place, to a container with a limit to recognize it by."""
    bundle = container.bundle
    bundle.resources["pids"] = {"limit": 77}
    return bundle.mount("/sys/fs/cgroup", kind, "cgroup", ["nosuid", "noexec", "nodev", option])


@pytest.mark.rows("R111", "R133")
@pytest.mark.parametrize("kind", ["cgroup", "cgroup2"])
def test_the_mount_shows_the_own_cgroup(container: Container, kind: str) -> None:
    """Neither the host's root nor another's can be seen."""
    need("pids")
    container.bundle.namespace("cgroup")
    with_cgroup_mount(container, kind, "ro").sh(
        "cat /sys/fs/cgroup/pids.max; head -n 1 /sys/fs/cgroup/cgroup.procs;"
        " mkdir /sys/fs/cgroup/x 2>&1; ls /sys/fs/cgroup/system.slice 2>&1;"
        " echo 5 2>&1 >/sys/fs/cgroup/pids.max"
    )
    lines = container.finish().splitlines()
    assert lines[:2] == ["77", "1"]
    assert "Read-only file system" in lines[2]
    assert "No such file" in lines[3]
    assert container.runtime.run("state", container.id).status == 0
    assert setting(container, "pids.max") == "77"


def unified_mount() -> Mount:
    """The host's mount of cgroup v2, with its options."""
    [found] = [mount for mount in parse_mounts(host_mountinfo()) if mount.kind == "cgroup2"]
    return found


@pytest.mark.rows("R122")
@pytest.mark.departs("runc", "R122: a new instance, without the options")
@pytest.mark.departs("crun<1.27", "R122: a new instance, without the options")
def test_the_host_s_mount_keeps_its_options(container: Container) -> None:
    """A new instance without options would take nsdelegate from every mount of the host."""
    before = unified_mount()
    if "nsdelegate" not in before.data:
        pytest.skip("the host's cgroup2 is mounted without nsdelegate: nothing to lose")
    with_cgroup_mount(container, "cgroup", "ro").sh("grep ' - cgroup2 ' /proc/self/mountinfo")
    [inside] = parse_mounts(container.finish())
    assert unified_mount() == before
    assert inside.data == before.data


@pytest.mark.rows("R122")
def test_without_a_namespace_the_host_s_cgroups_are_shown(container: Container) -> None:
    """The path in /proc/self/cgroup leads to the own one, as node agents rely on."""
    need("pids")
    with_cgroup_mount(container, "cgroup", "ro").sh(
        "own=/sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup); cat $own/pids.max;"
        " mkdir $own/x 2>&1; mkdir /sys/fs/cgroup/x 2>&1; ls /sys/fs/cgroup"
    )
    lines = container.finish().splitlines()
    assert lines[0] == "77"
    assert all("Read-only file system" in line for line in lines[1:3]), lines
    assert set(lines[3:]) >= {path.name for path in mount_point().glob("cgroup.*")}
    assert "cgroup.type" not in lines[3:]  # which every cgroup has but the root


@pytest.mark.rows("R122")
@pytest.mark.departs("runc", "R122: shows the host's, read only or not")
@pytest.mark.departs("crun", "R122: shows the host's, read only or not")
def test_a_user_namespace_is_shown_its_own_cgroup(container: Container) -> None:
    """The host's root is not for it to see, and not to write to."""
    need("pids")
    with_user(container.bundle)
    with_cgroup_mount(container, "cgroup", "rw").sh(
        "cat /sys/fs/cgroup/pids.max; ls /sys/fs/cgroup/system.slice 2>&1"
    )
    lines = container.finish().splitlines()
    assert lines[0] == "77"
    assert "No such file" in lines[1]


def owned(container: Container) -> tuple[int, set[str]]:
    """The owner of the container's cgroup, and the files in it that are not root's."""
    place = directory(container)
    entries = [path for path in place.iterdir() if stat.S_ISREG(path.stat().st_mode)]
    return place.stat().st_uid, {path.name for path in entries if path.stat().st_uid}


def delegatable(container: Container) -> set[str]:
    """The files that the kernel says may be given away, and that are there."""
    return {name for name in DELEGATE.read_text().split() if (directory(container) / name).exists()}


CRUN_OWNER = pytest.mark.departs("crun", "R164: to the container's root, and without conditions")
RUNC_OWNER = pytest.mark.departs("runc", "R164: only with the systemd driver")


@pytest.mark.rows("R164")
@CRUN_OWNER
@RUNC_OWNER
def test_the_process_owns_its_cgroup(container: Container) -> None:
    """With a new namespace and a writable mount: the directory and the listed files."""
    container.bundle.process["user"] = {"uid": 1000, "gid": 1000}
    delegated(container.bundle).sh(
        "cd /sys/fs/cgroup; mkdir mine && echo $$ >mine/cgroup.procs && cat /proc/self/cgroup;"
        " echo 5 >pids.max || echo refused; sleep 1000"
    )
    container.create()
    assert owned(container) == (1000, delegatable(container))
    assert {"cgroup.procs", "cgroup.subtree_control", "cgroup.threads"} <= delegatable(container)
    container.start()
    assert path_in(container.wait_output("refused")) == "/mine"


@pytest.mark.rows("R164", "R133")
@CRUN_OWNER
@RUNC_OWNER
def test_the_owner_is_the_host_s_id(container: Container) -> None:
    """Of process.user.uid, by the mapping of the user namespace."""
    with_user(container.bundle)
    [mapping] = container.bundle.linux["uidMappings"]
    container.bundle.process["user"] = {"uid": 7, "gid": 7}
    delegated(container.bundle)
    container.create()
    host = mapping["hostID"] + 7 - mapping["containerID"]
    assert owned(container) == (host, delegatable(container))


@pytest.mark.rows("R164")
@pytest.mark.parametrize("case", ["read-only", "no-mount", "no-namespace", "elsewhere", "source"])
def test_nobody_else_gets_it(container: Container, case: str) -> None:
    """Each of the conditions is needed."""
    bundle = container.bundle
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    if case != "no-namespace":
        bundle.namespace("cgroup")
    options = ["nosuid", "ro"] if case == "read-only" else ["nosuid"]
    place = "/tmp" if case == "elsewhere" else "/sys/fs/cgroup"
    if case != "no-mount":
        bundle.mount(place, "cgroup", "other" if case == "source" else "cgroup", options)
    container.create()
    assert owned(container) == (0, set())


@pytest.mark.rows("R164")
def test_the_owner_of_a_joined_namespace(container: Container, make_container: Any) -> None:
    """One given by path is not new: no owner changes."""
    other: Container = make_container()
    other.bundle.namespace("cgroup")
    other.create()
    container.bundle.process["user"] = {"uid": 1000, "gid": 1000}
    delegated(container.bundle)
    container.bundle.namespace("cgroup", f"/proc/{other.pid}/ns/cgroup")
    container.create()
    assert owned(container) == (0, set())


# figures


def stats(container: Container) -> dict[str, Any]:
    """The figures of one moment."""
    if not container.runtime.lists_verb("events"):
        pytest.skip(f"{container.runtime.name} has no command events")
    data = container.runtime.ok("events", "--stats", container.id).json()["data"]
    assert isinstance(data, dict)
    return data


@pytest.mark.rows("R295")
def test_figures_are_those_of_the_files(container: Container, bundle: Bundle) -> None:
    """Taken while the container is paused, so that nothing moves meanwhile."""
    for controller in ("memory", "pids", "cpu"):
        need(controller)
    bundle.sh("head -c 2000000 /dev/zero >/dev/shm/x; sleep 1000 & sleep 1000 & echo both; wait")
    bundle.resources.update(
        memory={"limit": 64 * MIB, "swap": 96 * MIB},
        pids={"limit": 50},
        cpu={"quota": 50000},
    )
    container.create().start()
    container.wait_output("both")
    container.runtime.ok("pause", container.id)
    data = stats(container)
    assert data["pids"] == {"current": 3, "limit": 50}
    memory = data["memory"]
    assert memory["usage"]["limit"] == 64 * MIB
    assert memory["swap"]["limit"] == 96 * MIB
    assert memory["usage"]["failcnt"] == 0
    assert 2000000 < memory["usage"]["usage"] <= 64 * MIB
    names = setting(container, "memory.stat").split()[::2]
    assert list(memory["raw"]) == sorted(names)
    assert memory["cache"] == memory["raw"]["file"] >= 2000000
    counts = dict(line.split() for line in setting(container, "cpu.stat").splitlines())
    usage = data["cpu"]["usage"]
    assert abs(usage["total"] - int(counts["usage_usec"]) * 1000) < 1_000_000_000
    assert usage["user"] + usage["kernel"] <= usage["total"] + 1_000_000
    assert "percpu" not in usage


@pytest.mark.rows("R295")
@OURS("runc<1.2", "R295: no pressure")
def test_pressure(container: Container) -> None:
    """Of cpu, memory and io, with the words of the kernel's files."""
    need("cpu")
    container.bundle.sh("while :; do :; done")
    container.bundle.resources["cpu"] = {"quota": 2000, "period": 10000}
    container.create().start()
    if not (directory(container) / "cpu.pressure").exists():
        pytest.skip("the kernel keeps no account of pressure")

    def waited() -> dict[str, Any]:
        found = stats(container)
        return found if found["cpu"].get("psi", {}).get("some", {}).get("total") else {}

    found = wait_for(waited, "pressure on the cpu")
    for section, file in (("cpu", "cpu"), ("memory", "memory"), ("blkio", "io")):
        for kind in ("some", "full"):
            line = found[section]["psi"][kind]
            assert list(line) == ["avg10", "avg60", "avg300", "total"]
        lines = setting(container, f"{file}.pressure").splitlines()
        words = {line.split()[0]: line.rpartition("=")[2] for line in lines}
        assert found[section]["psi"]["some"]["total"] <= int(words["some"])


@pytest.mark.rows("R295", "R171")
def test_out_of_memory(container: Container) -> None:
    """A child is killed, events tells each time, and the container lives on."""
    need("memory")
    if not container.runtime.lists_verb("events"):
        pytest.skip(f"{container.runtime.name} has no command events")
    container.bundle.resources["memory"] = {"limit": 16 * MIB, "swap": 16 * MIB}
    container.bundle.sh(
        "while [ ! -e /go ]; do sleep 0.05; done;"
        " tail /dev/zero; echo one; tail /dev/zero; echo two; sleep 1000"
    )
    container.create().start()
    out = container.runtime.workplace / f"{container.id}.events"
    command = container.runtime.command("events", "--interval", "50ms", container.id)
    with open(out, "wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file)
    try:
        wait_for(lambda: "stats" in out.read_text(), "the first figures")
        (container.bundle.rootfs / "go").touch()
        container.wait_output("two")
        wait_for(lambda: out.read_text().count('"oom"') >= 2, "two events")
        assert container.status() == "running"
    finally:
        process.kill()
        process.wait()
    lines = [json.loads(line) for line in out.read_text().splitlines()[:-1]]
    assert {"type": "oom", "id": container.id} in lines


# engines rely on this


@pytest.mark.rows("R160", "R161")
def test_two_containers_in_one_parent(make_container: MakeContainer) -> None:
    """As the containers of a pod are: each in its own, below the pod's."""
    one, two = make_container(), make_container()
    pod = one.bundle.cgroups_path
    place = mount_point() / pod.lstrip("/")
    try:
        for number, container in enumerate((one, two)):
            container.bundle.linux["cgroupsPath"] = f"{pod}/{number}"
            if "memory" in controllers():
                container.bundle.resources["memory"] = {"limit": (number + 1) * 16 * MIB}
            container.create()
            assert procs(place / str(number)) == [container.pid]
        one.stop().delete()
        assert not (place / "0").exists()
        assert procs(place / "1") == [two.pid]
        if "memory" in controllers():
            assert setting(two, "memory.max") == str(32 * MIB)
    finally:
        one.clean()
        two.clean()
        one.bundle.linux["cgroupsPath"] = pod
        place.rmdir()
