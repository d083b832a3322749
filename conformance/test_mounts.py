"""Mounts: their order, destinations, sources and types; cgroup mounts; the read-only root."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from conformance.bundle import Bundle
from conformance.conftest import MakeContainer
from conformance.runtime import Container, mounts_below
from conformance.test_mount_options import (
    MOUNTINFO,
    Mount,
    host_mount,
    host_mountinfo,
    mount_at,
    mounts_of,
    parse_mounts,
)


def reads(container: Container, source: Path, destination: str, path: str) -> str:
    """Bind `source` to `destination`; what `cat path` says inside."""
    container.bundle.mount(destination, "bind", str(source), ["rbind"])
    container.bundle.sh(f"cat {path}")
    return container.finish()


# order


@pytest.mark.rows("R90")
def test_mounts_are_made_in_order(container: Container) -> None:
    """The container's table lists them as the config does."""
    names = ["/z", "/a", "/m/inner", "/b"]
    for name in names:
        container.bundle.mount(name, "tmpfs", "tmpfs")
    targets = [mount.target for mount in mounts_of(container)]
    assert [target for target in targets if target in names] == names


@pytest.mark.rows("R90")
def test_later_mount_on_an_earlier_one(container: Container, source: Path) -> None:
    """A destination may lie in a file system that was mounted before."""
    container.bundle.mount("/data", "tmpfs", "tmpfs")
    assert reads(container, source, "/data/a/b", "/data/a/b/file") == "content of the source\n"
    assert not (container.bundle.rootfs / "data/a").exists()


@pytest.mark.rows("R90")
def test_later_mount_covers_an_earlier_one(container: Container, source: Path) -> None:
    """A mount on a parent hides what was mounted below it."""
    container.bundle.mount("/data/inner", "bind", str(source), ["bind"])
    container.bundle.mount("/data", "tmpfs", "tmpfs")
    container.bundle.sh("ls -A /data; echo end")
    assert container.finish() == "end\n"


@pytest.mark.rows("R90")
def test_the_same_destination_twice(container: Container, source: Path) -> None:
    """The later mount is on top."""
    container.bundle.mount("/data", "tmpfs", "tmpfs")
    assert reads(container, source, "/data", "/data/file") == "content of the source\n"


@pytest.mark.rows("R90", "R92")
def test_source_inside_an_earlier_mount(container: Container, source: Path) -> None:
    """A source in the container's root shows what the mounts before have put there."""
    container.bundle.mount("/first", "bind", str(source), ["rbind"])
    first = container.bundle.rootfs / "first"
    assert reads(container, first, "/second", "/second/file") == "content of the source\n"


# destinations


@pytest.mark.rows("R91")
@pytest.mark.parametrize("destination", ["data", "a/b/data"])
def test_relative_destination(container: Container, source: Path, destination: str) -> None:
    """A relative destination is relative to the root, not to the working directory."""
    container.bundle.process["cwd"] = "/tmp"
    path = f"/{destination}/file"
    assert reads(container, source, destination, path) == "content of the source\n"


@pytest.mark.rows("R91")
@pytest.mark.parametrize("destination", ["/data/", "//data", "/a/../data", "/data/./"])
def test_destination_that_is_not_clean(
    container: Container, source: Path, destination: str
) -> None:
    """Slashes and dots are taken for what they are."""
    assert reads(container, source, destination, "/data/file") == "content of the source\n"


@pytest.mark.rows("R91")
@pytest.mark.departs("runc", "R91: the caller's umask narrows the mode in 1.1")
def test_missing_directory_is_made(container: Container) -> None:
    """A missing destination becomes a directory that everybody may enter."""
    container.bundle.mount("/a/b/c", "tmpfs", "tmpfs")
    container.bundle.sh("stat -c '%a %u:%g' /a /a/b")
    assert container.finish(umask=0o077).splitlines() == ["755 0:0"] * 2


@pytest.mark.rows("R91")
def test_missing_file_is_made(container: Container, source: Path) -> None:
    """For a source that is no directory the destination becomes an empty file."""
    output = reads(container, source / "file", "/a/b", "/a/b")
    assert output == "content of the source\n"
    assert (container.bundle.rootfs / "a/b").read_text() == ""


@pytest.mark.rows("R91")
def test_link_to_a_directory(container: Container, source: Path) -> None:
    """An absolute link in the image is followed inside the root."""
    (container.bundle.rootfs / "real").mkdir()
    (container.bundle.rootfs / "link").symlink_to("/real")
    assert reads(container, source, "/link", "/real/file") == "content of the source\n"


@pytest.mark.rows("R91")
def test_link_in_the_middle(container: Container, source: Path) -> None:
    """So is one in the middle of the destination."""
    (container.bundle.rootfs / "real").mkdir()
    (container.bundle.rootfs / "link").symlink_to("/real")
    assert reads(container, source, "/link/data", "/real/data/file") == "content of the source\n"


@pytest.mark.rows("R91")
def test_link_that_climbs(container: Container, source: Path, workplace: Path) -> None:
    """`..` at the root of the container is the root, whatever the link says."""
    outside = workplace / "outside"
    outside.mkdir()
    up = "../" * 20
    (container.bundle.rootfs / "link").symlink_to(f"{up}{str(outside).lstrip('/')}")
    path = f"{outside}/inner/file"
    assert reads(container, source, "/link/inner", path) == "content of the source\n"
    assert list(outside.iterdir()) == []
    assert (container.bundle.rootfs / str(outside).lstrip("/") / "inner").is_dir()


@pytest.mark.rows("R91")
@pytest.mark.parametrize("what", ["directory", "file"])
def test_dangling_link(container: Container, source: Path, workplace: Path, what: str) -> None:
    """What a dangling link points to is made inside the root, and nothing on the host."""
    target = workplace / "dangling/target"
    (container.bundle.rootfs / "link").symlink_to(target)
    wanted = source if what == "directory" else source / "file"
    path = "/link/file" if what == "directory" else "/link"
    assert reads(container, wanted, "/link", path) == "content of the source\n"
    assert not target.parent.exists()
    assert (container.bundle.rootfs / str(target).lstrip("/")).exists()


@pytest.mark.rows("R91", "R36")
def test_directory_onto_a_file(container: Container, source: Path) -> None:
    """A directory cannot be mounted on a file."""
    container.bundle.file("/data", "a file\n")
    container.bundle.mount("/data", "bind", str(source), ["bind"])
    container.refused()
    assert (container.bundle.rootfs / "data").read_text() == "a file\n"


@pytest.mark.rows("R91", "R36")
def test_file_onto_a_directory(container: Container, source: Path) -> None:
    """A file cannot be mounted on a directory."""
    (container.bundle.rootfs / "data").mkdir()
    container.bundle.mount("/data", "bind", str(source / "file"), ["bind"])
    container.refused()


@pytest.mark.rows("R91", "R36")
def test_tmpfs_onto_a_file(container: Container) -> None:
    """A file system cannot be mounted on a file."""
    container.bundle.file("/data")
    container.bundle.mount("/data", "tmpfs", "tmpfs")
    container.refused()


@pytest.mark.rows("R91", "R36")
def test_destination_below_a_file(container: Container) -> None:
    """Nor below one."""
    container.bundle.file("/data")
    container.bundle.mount("/data/inner", "tmpfs", "tmpfs")
    container.refused()


@pytest.mark.rows("R91")
@pytest.mark.parametrize("destination", [None, 7, "/data\0/x"])
def test_invalid_destination(container: Container, destination: object) -> None:
    """A mount needs a destination that is a path."""
    entry = {"type": "tmpfs", "source": "tmpfs"}
    container.bundle.config["mounts"].append(
        entry if destination is None else {"destination": destination, **entry}
    )
    container.refused()


@pytest.mark.rows("R91")
@pytest.mark.parametrize("name", ["cpuinfo", "meminfo", "uptime", "stat", "loadavg"])
def test_files_of_proc_that_may_be_covered(container: Container, source: Path, name: str) -> None:
    """Engines put files of their own over a few of /proc."""
    output = reads(container, source / "file", f"/proc/{name}", f"/proc/{name}")
    assert output == "content of the source\n"


@pytest.mark.rows("R303", "R90")
def test_the_host_sees_none_of_it(container: Container, source: Path) -> None:
    """While the container is there, the host's table of mounts is as before."""
    container.bundle.mount("/data", "bind", str(source), ["rbind"])
    container.create()
    assert mounts_below(container.bundle.path) == []
    container.start()
    assert mounts_below(container.bundle.path) == []


@pytest.mark.rows("R303")
def test_the_container_sees_none_of_the_host(container: Container, workplace: Path) -> None:
    """Only the root and the configured mounts are in the container's table."""
    mounts = mounts_of(container)
    configured = {entry["destination"] for entry in container.bundle.config["mounts"]}
    assert {mount.target for mount in mounts} <= configured | {"/"}
    assert [mount.target for mount in mounts].count("/") == 1


# sources


@pytest.mark.rows("R92")
def test_source_relative_to_the_bundle(container: Container) -> None:
    """A relative source is a path below the bundle, whatever the working directory is."""
    data = container.bundle.path / "volumes/data"
    data.mkdir(parents=True)
    (data / "file").write_text("relative\n")
    container.bundle.mount("/data", "bind", "volumes/data", ["bind"])
    container.bundle.sh("cat /data/file")
    assert container.finish(cwd=Path("/")) == "relative\n"


@pytest.mark.rows("R92", "R36")
def test_missing_source(container: Container, workplace: Path) -> None:
    """A source that is not there is an error, and is not made."""
    container.bundle.mount("/data", "bind", str(workplace / "missing"), ["bind"])
    assert "missing" in container.refused()
    assert not (workplace / "missing").exists()


@pytest.mark.rows("R92")
def test_source_is_a_link(container: Container, source: Path, workplace: Path) -> None:
    """A link as the source is followed on the host."""
    (workplace / "link").symlink_to(source)
    assert reads(container, workplace / "link", "/data", "/data/file") == "content of the source\n"


@pytest.mark.rows("R92", "R91")
@pytest.mark.parametrize("kind", ["fifo", "socket"])
def test_special_source(container: Container, source: Path, kind: str) -> None:
    """Fifos and sockets can be bound, without waiting for another end."""
    path = source / kind
    if kind == "fifo":
        os.mkfifo(path)
    else:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
    container.bundle.mount("/data", "bind", str(path), ["bind"])
    container.bundle.sh("stat -c %F /data")
    assert container.finish() == f"{kind}\n"


@pytest.mark.rows("R92")
def test_device_as_source(container: Container) -> None:
    """A device node can be bound."""
    container.bundle.mount("/data", "bind", "/dev/null", ["bind"])
    container.bundle.sh("stat -c '%F %t:%T' /data")
    assert container.finish() == "character special file 1:3\n"


@pytest.mark.rows("R92")
def test_changes_reach_the_source(container: Container, source: Path) -> None:
    """A bind mount is the directory itself and no copy."""
    container.bundle.mount("/data", "bind", str(source), ["bind", "rw"])
    container.bundle.sh("echo new >/data/new; rm /data/file")
    container.finish()
    assert [path.name for path in source.iterdir()] == ["new"]


@pytest.mark.rows("R92", "R93")
def test_source_is_a_free_name(container: Container) -> None:
    """For a file system without a device the source is a name only."""
    container.bundle.mount("/data", "tmpfs", "any-name")
    assert mount_at(mounts_of(container), "/data").source == "any-name"


# types


@pytest.mark.rows("R93", "R36")
@pytest.mark.parametrize("kind", ["nosuchfs", ""])
def test_no_such_file_system(container: Container, kind: str) -> None:
    """An unknown type, or none without `bind`, is an error."""
    container.bundle.mount("/data", kind, "source", ["nosuid"])
    container.refused()


@pytest.mark.rows("R93", "R19")
@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("/proc", "proc"),
        ("/sys", "sysfs"),
        ("/dev", "tmpfs"),
        ("/dev/pts", "devpts"),
        ("/dev/shm", "tmpfs"),
    ],
)
def test_usual_file_systems(container: Container, target: str, kind: str) -> None:
    """The mounts of the usual config have the configured types and flags."""
    entry = next(e for e in container.bundle.config["mounts"] if e["destination"] == target)
    mount = mount_at(mounts_of(container), target)
    assert mount.kind == kind
    flags = {"nosuid", "noexec", "nodev", "ro"}
    assert mount.options & flags == set(entry.get("options", ())) & flags


@pytest.mark.rows("R93")
def test_mqueue(container: Container) -> None:
    """mqueue is the one of the container's IPC namespace: empty, and with its limits."""
    container.bundle.mount("/dev/mqueue", "mqueue", "mqueue", ["nosuid", "noexec", "nodev"])
    mount = mount_at(mounts_of(container), "/dev/mqueue")
    assert mount.kind == "mqueue"
    assert {"nosuid", "noexec", "nodev"} <= mount.options


@pytest.mark.rows("R93")
def test_devpts_is_a_new_instance(container: Container) -> None:
    """The terminals of the host are not in the container."""
    container.bundle.sh("ls /dev/pts")
    assert container.finish().split() == ["ptmx"]


@pytest.mark.rows("R105", "R93")
@pytest.mark.parametrize("kind", ["tmpfs", "proc", "sysfs"])
def test_read_only_file_system(container: Container, kind: str) -> None:
    """A read-only /dev, /proc or /sys is made so after all that has to be done in it."""
    target = {"tmpfs": "/dev", "proc": "/proc", "sysfs": "/sys"}[kind]
    entry = next(e for e in container.bundle.config["mounts"] if e["destination"] == target)
    entry["options"] = [*entry.get("options", []), "ro"]
    container.bundle.sh(f"{MOUNTINFO}; echo x >/dev/null && echo null; echo x >/dev/new || echo no")
    output = container.finish()
    assert "ro" in mount_at(parse_mounts(output), target).options
    assert "null\n" in output
    assert ("no\n" in output.splitlines(keepends=True)) == (kind == "tmpfs")


# the root


@pytest.mark.rows("R14")
def test_read_only_root(container: Container) -> None:
    """The root refuses writing; mount points are still made, and mounts keep their own flags."""
    container.bundle.config["root"]["readonly"] = True
    container.bundle.mount("/made/here", "tmpfs", "tmpfs")
    container.bundle.sh(f"echo x >/new || echo no; echo x >/made/here/new && echo yes; {MOUNTINFO}")
    output = container.finish()
    assert output.startswith("no\nyes\n")
    mounts = parse_mounts(output)
    assert "ro" in mount_at(mounts, "/").options
    assert "rw" in mount_at(mounts, "/made/here").options
    assert not (container.bundle.rootfs / "new").exists()


@pytest.mark.rows("R14")
@pytest.mark.parametrize("readonly", [False, None])
def test_writable_root(container: Container, readonly: bool | None) -> None:
    """The root is writable by default, and what is written is in the bundle."""
    if readonly is None:
        del container.bundle.config["root"]["readonly"]
    container.bundle.sh("echo text >/new")
    container.finish()
    assert (container.bundle.rootfs / "new").read_text() == "text\n"


@pytest.mark.rows("R14")
@pytest.mark.departs("runc", "R14: the other flags are lost in 1.1, unless they are locked")
def test_read_only_root_keeps_the_flags_of_the_mount(container: Container) -> None:
    """A root on a nosuid,nodev mount stays so when it becomes read-only."""
    rootfs = container.bundle.rootfs
    host_mount("--bind", rootfs, rootfs)
    host_mount("-o", "remount,bind,nosuid,nodev", rootfs)
    container.bundle.config["root"]["readonly"] = True
    assert {"ro", "nosuid", "nodev"} <= mount_at(mounts_of(container), "/").options


@pytest.mark.rows("R14", "R13")
def test_read_only_for_the_container_only(container: Container) -> None:
    """On the host the directory stays writable while the container runs."""
    container.bundle.config["root"]["readonly"] = True
    container.create().start()
    (container.bundle.rootfs / "from the host").write_text("x")


@pytest.mark.rows("R13", "R36")
@pytest.mark.parametrize("path", ["missing", "/nowhere/at/all", "config.json"])
def test_root_that_is_no_directory(container: Container, path: str) -> None:
    """root.path must be a directory."""
    container.bundle.config["root"]["path"] = path
    container.refused()


@pytest.mark.rows("R13")
@pytest.mark.parametrize("form", ["rootfs", "./rootfs", "absolute"])
def test_forms_of_the_root_path(container: Container, form: str) -> None:
    """root.path is absolute, or relative to the bundle."""
    path = str(container.bundle.rootfs) if form == "absolute" else form
    container.bundle.config["root"]["path"] = path
    container.bundle.file("/here", "the root\n")
    container.bundle.sh("cat /here")
    assert container.finish(cwd=Path("/")) == "the root\n"


@pytest.mark.rows("R13", "R303")
def test_root_that_is_a_mount(container: Container) -> None:
    """The root may be a mount of its own, even a shared one."""
    rootfs = container.bundle.rootfs
    host_mount("--bind", rootfs, rootfs)
    host_mount("--make-shared", rootfs)
    container.bundle.mount("/data", "tmpfs", "tmpfs")
    assert mount_at(mounts_of(container), "/data").kind == "tmpfs"
    inside = [m for m in parse_mounts(host_mountinfo()) if m.target.startswith(f"{rootfs}/")]
    assert inside == []


# cgroup mounts, on a host with cgroup v1


def v1_mounts() -> list[Mount]:
    """The v1 hierarchies which the host has mounted."""
    return [mount for mount in parse_mounts(host_mountinfo()) if mount.kind == "cgroup"]


def hierarchy(mount: Mount) -> str:
    """What tells a hierarchy from others, such as "cpu,cpuacct" or "name=systemd"."""
    return ",".join(sorted(mount.data - {"rw", "ro", "xattr", "noprefix", "clone_children"}))


@pytest.fixture
def v1() -> list[Mount]:
    """The host's v1 hierarchies."""
    mounts = v1_mounts()
    if not mounts:
        pytest.skip("no cgroup v1 hierarchy is mounted on this host")
    return mounts


def with_cgroup_mount(bundle: Bundle, *options: str) -> Bundle:
    """Add the usual mount of type cgroup."""
    usual = ["nosuid", "noexec", "nodev", "relatime"]
    return bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", [*usual, *options])


@pytest.mark.rows("R93", "R122")
@pytest.mark.parametrize("private", [False, True], ids=["no-cgroupns", "cgroupns"])
def test_v1_cgroup_mount(container: Container, v1: list[Mount], private: bool) -> None:
    """A tmpfs with one directory for each hierarchy, at the name that it has on the host."""
    if private:
        container.bundle.namespace("cgroup")
    with_cgroup_mount(container.bundle)
    mounts = mounts_of(container)
    assert mount_at(mounts, "/sys/fs/cgroup").kind == "tmpfs"
    inside = {hierarchy(m): m for m in mounts if m.kind == "cgroup"}
    assert set(inside) == {hierarchy(mount) for mount in v1}
    for mount in v1:
        below = inside[hierarchy(mount)]
        assert below.target == f"/sys/fs/cgroup/{Path(mount.target).name}"
        assert {"nosuid", "noexec", "nodev"} <= below.options


@pytest.mark.rows("R122")
@pytest.mark.parametrize("private", [False, True], ids=["no-cgroupns", "cgroupns"])
def test_v1_cgroup_mount_shows_the_own_cgroup(
    container: Container, v1: list[Mount], private: bool
) -> None:
    """Neither the host's root nor other cgroups can be seen."""
    if private:
        container.bundle.namespace("cgroup")
    pids = [mount for mount in v1 if hierarchy(mount) == "pids"]
    if not pids:
        pytest.skip("no v1 hierarchy for pids on this host")
    container.bundle.resources["pids"] = {"limit": 777}
    with_cgroup_mount(container.bundle)
    path = f"/sys/fs/cgroup/{Path(pids[0].target).name}"
    container.bundle.sh(f"cat {path}/pids.max; cat {path}/cgroup.procs; {MOUNTINFO}")
    lines = container.finish().splitlines()
    assert lines[0] == "777"
    assert lines[1] == "1"
    root = mount_at(parse_mounts("\n".join(lines)), path).root
    assert root == ("/" if private else container.bundle.cgroups_path)


@pytest.mark.rows("R122")
@pytest.mark.parametrize("private", [False, True], ids=["no-cgroupns", "cgroupns"])
def test_v1_read_only_cgroup_mount(container: Container, v1: list[Mount], private: bool) -> None:
    """`ro` holds for every hierarchy."""
    if private:
        container.bundle.namespace("cgroup")
    with_cgroup_mount(container.bundle, "ro")
    for mount in mounts_of(container):
        if mount.kind == "cgroup":
            assert "ro" in mount.options, mount


@pytest.mark.rows("R122")
def test_v1_cgroup_mount_is_writable(container: Container, v1: list[Mount]) -> None:
    """Without `ro` the container can make cgroups of its own below."""
    container.bundle.namespace("cgroup")
    with_cgroup_mount(container.bundle)
    name = Path(v1[0].target).name
    container.bundle.sh(
        f"cd /sys/fs/cgroup/{name} && mkdir new && ls -d new && rm -r new; rmdir new"
    )
    assert container.finish().splitlines()[0] == "new"


@pytest.mark.rows("R93", "R122")
def test_v1_links_for_controllers_mounted_together(container: Container, v1: list[Mount]) -> None:
    """Where one hierarchy has several controllers, each of them is a link to it."""
    together = [mount for mount in v1 if "," in Path(mount.target).name]
    if not together:
        pytest.skip("no hierarchy of this host has two controllers in its name")
    with_cgroup_mount(container.bundle)
    container.bundle.sh("cd /sys/fs/cgroup; for i in *; do readlink $i && echo $i; done; true")
    output = container.finish().split()
    for mount in together:
        name = Path(mount.target).name
        for controller in name.split(","):
            assert output[output.index(controller) - 1].strip("/") == name


@pytest.mark.rows("R92", "R91")
def test_nothing_of_a_refused_create_is_left(make_container: MakeContainer) -> None:
    """A mount that fails after others leaves none of them, nor a mode changed on the host."""
    container = make_container()
    container.bundle.mount("/one", "tmpfs", "tmpfs").mount("/two", "tmpfs", "tmpfs", ["nosuch=1"])
    container.refused()
    assert stat.S_ISDIR(os.lstat(container.bundle.rootfs / "dev").st_mode)
    assert list((container.bundle.rootfs / "dev").iterdir()) == []
