"""The options of mounts: config.md, "Linux mount options", read back in the container.

`mounts_of` gives what /proc/self/mountinfo says inside; other modules use it too.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from conformance.bundle import Bundle
from conformance.runtime import Container

MOUNTINFO = "cat /proc/self/mountinfo"


@dataclass(frozen=True)
class Mount:
    """One line of mountinfo."""

    root: str
    target: str
    options: frozenset[str]
    propagation: frozenset[str]
    kind: str
    source: str
    data: frozenset[str]

    @classmethod
    def parse(cls, line: str) -> Mount:
        """Read one line, as proc_pid_mountinfo(5) explains it; the numbers of peers are dropped."""
        fields = line.split()
        dash = fields.index("-")
        kind, source, data = fields[dash + 1 :]
        return cls(
            root=fields[3],
            target=fields[4],
            options=frozenset(fields[5].split(",")),
            propagation=frozenset(field.split(":")[0] for field in fields[6:dash]),
            kind=kind,
            source=source,
            data=frozenset(data.split(",")),
        )


def parse_mounts(text: str) -> list[Mount]:
    """All lines of a mountinfo, in order."""
    return [Mount.parse(line) for line in text.splitlines() if " - " in line]


def mounts_of(container: Container) -> list[Mount]:
    """Run the container to its end; its mounts, in order."""
    container.bundle.sh(MOUNTINFO)
    return parse_mounts(container.finish())


def mount_at(mounts: list[Mount], target: str) -> Mount:
    """The uppermost mount at `target`."""
    found = [mount for mount in mounts if mount.target == target]
    assert found, f"no mount at {target}: {[mount.target for mount in mounts]}"
    return found[-1]


def tmpfs_with(container: Container, *options: str) -> Mount:
    """A container with a tmpfs at /data: that mount."""
    container.bundle.mount("/data", "tmpfs", "tmpfs", list(options))
    return mount_at(mounts_of(container), "/data")


@pytest.fixture
def tree(source: Path) -> Path:
    """The same directory as a mount of its own, with another mount below it."""
    subprocess.run(["mount", "--bind", source, source], check=True)
    (source / "below").mkdir()
    host_mount("-t", "tmpfs", "tmpfs", source / "below")
    return source


def host_mount(*arguments: str | Path) -> None:
    """Run mount(8) on the host; the fixture `workplace` takes the mounts away."""
    subprocess.run(["mount", *arguments], check=True)


def bind_with(container: Container, source: Path, *options: str) -> Mount:
    """A container with a bind mount of `source` at /data: that mount."""
    container.bundle.mount("/data", "bind", str(source), ["bind", *options])
    return mount_at(mounts_of(container), "/data")


def tree_with(container: Container, tree: Path, *options: str) -> tuple[Mount, Mount]:
    """A container with a recursive bind mount of `tree` at /data: both its mounts."""
    container.bundle.mount("/data", "bind", str(tree), ["rbind", *options])
    mounts = mounts_of(container)
    return mount_at(mounts, "/data"), mount_at(mounts, "/data/below")


FLAGS = [
    pytest.param("ro", marks=pytest.mark.rows("R105")),
    pytest.param("nosuid", marks=pytest.mark.rows("R105")),
    pytest.param("nodev", marks=pytest.mark.rows("R105")),
    pytest.param("noexec", marks=pytest.mark.rows("R105")),
    pytest.param("noatime", marks=pytest.mark.rows("R102")),
    pytest.param("nodiratime", marks=pytest.mark.rows("R103")),
    pytest.param(
        "nosymfollow",
        marks=[pytest.mark.rows("R113"), pytest.mark.departs("crun", "R113: no such option")],
    ),
]


@pytest.mark.parametrize("option", FLAGS)
def test_flag_of_a_new_mount(container: Container, option: str) -> None:
    """The option shows up in the mount's flags, and alone."""
    mount = tmpfs_with(container, option)
    assert option in mount.options
    others = {"ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "nosymfollow"} - {option}
    assert not others & mount.options


def flags_of(path: Path) -> set[str]:
    """The flags of the mount that a path lies on: a bind mount of it begins with them."""
    found = os.statvfs(path).f_flag
    names = {"ro": os.ST_RDONLY, "nosuid": os.ST_NOSUID, "nodev": os.ST_NODEV}
    return {name for name, bit in (names | {"noexec": os.ST_NOEXEC}).items() if found & bit}


@pytest.mark.parametrize("option", FLAGS)
def test_flag_of_a_bind_mount(container: Container, source: Path, option: str) -> None:
    """A bind mount takes flags too, and they stay in the container."""
    mount = bind_with(container, source, option)
    assert option in mount.options
    others = {"ro", "nosuid", "nodev", "noexec"} - {option}
    assert not others & mount.options - flags_of(source)
    (source / "written by the host").write_text("the source is as it was")


@pytest.mark.rows("R102", "R104")
@pytest.mark.parametrize("option", ["relatime", "strictatime", "noatime"])
@pytest.mark.parametrize("kind", ["tmpfs", "bind"])
def test_access_time(container: Container, source: Path, option: str, kind: str) -> None:
    """The three modes of access times exclude each other; strictatime shows as neither."""
    if kind == "tmpfs":
        mount = tmpfs_with(container, option)
    else:
        mount = bind_with(container, source, option)
    expected = set() if option == "strictatime" else {option}
    assert mount.options & {"relatime", "noatime"} == expected


@pytest.mark.rows("R104")
def test_relatime_is_the_default(container: Container) -> None:
    """Without an option the kernel's default holds."""
    assert "relatime" in tmpfs_with(container).options


@pytest.mark.rows("R102", "R104")
def test_the_last_access_time_wins(container: Container) -> None:
    """noatime, then relatime: relatime."""
    mount = tmpfs_with(container, "noatime", "atime", "relatime")
    assert "noatime" not in mount.options
    assert "relatime" in mount.options


@pytest.mark.parametrize(
    "option",
    [
        pytest.param("sync", marks=pytest.mark.rows("R100")),
        pytest.param("dirsync", marks=pytest.mark.rows("R101")),
        pytest.param(
            "lazytime",
            marks=[pytest.mark.rows("R110"), pytest.mark.departs("crun", "R110: no such option")],
        ),
    ],
)
def test_flag_of_the_superblock(container: Container, option: str) -> None:
    """The option shows up in the superblock's flags."""
    assert option in tmpfs_with(container, option).data


@pytest.mark.rows("R94", "R105")
@pytest.mark.departs("crun", "R94: options that clear do not clear")
@pytest.mark.parametrize(
    ("options", "gone"),
    [
        (["ro", "rw"], "ro"),
        (["nosuid", "suid"], "nosuid"),
        (["nodev", "dev"], "nodev"),
        (["noexec", "exec"], "noexec"),
        (["nodiratime", "diratime"], "nodiratime"),
        (["noatime", "atime"], "noatime"),
        (["sync", "async"], "sync"),
        pytest.param(
            ["lazytime", "nolazytime"],
            "lazytime",
            marks=pytest.mark.rows("R110"),
        ),
        pytest.param(
            ["nosymfollow", "symfollow"],
            "nosymfollow",
            marks=pytest.mark.rows("R113"),
        ),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, list) else "",
)
def test_the_later_option_wins(container: Container, options: list[str], gone: str) -> None:
    """An option that clears a flag clears it when it comes later."""
    mount = tmpfs_with(container, *options)
    assert gone not in mount.options | mount.data


@pytest.mark.rows("R94", "R105")
@pytest.mark.parametrize("order", [["rw", "ro"], ["exec", "noexec"], ["suid", "nosuid"]])
def test_the_later_option_sets(container: Container, order: list[str]) -> None:
    """And one that sets a flag sets it when it comes later."""
    assert order[1] in tmpfs_with(container, *order).options


@pytest.mark.rows("R105")
@pytest.mark.parametrize("flag", ["nosuid", "nodev", "noexec", "ro"])
def test_bind_keeps_what_the_source_has(container: Container, source: Path, flag: str) -> None:
    """A bind mount with one more flag may not lose the flag of a mount below the source."""
    host_mount("-t", "tmpfs", "-o", flag, "tmpfs", source)
    container.bundle.mount("/data", "bind", str(source), ["rbind", "noatime"])
    mount = mount_at(mounts_of(container), "/data")
    assert "noatime" in mount.options
    assert mount.kind == "tmpfs"


@pytest.mark.parametrize(
    "option",
    [
        pytest.param("silent", marks=pytest.mark.rows("R111")),
        pytest.param("loud", marks=pytest.mark.rows("R111")),
        pytest.param("iversion", marks=pytest.mark.rows("R109")),
        pytest.param("noiversion", marks=pytest.mark.rows("R109")),
        pytest.param("nolazytime", marks=pytest.mark.rows("R110")),
        pytest.param("mand", marks=pytest.mark.rows("R112")),
        pytest.param("nomand", marks=pytest.mark.rows("R112")),
        pytest.param("async", marks=pytest.mark.rows("R100")),
        pytest.param("atime", marks=pytest.mark.rows("R102")),
        pytest.param("diratime", marks=pytest.mark.rows("R103")),
        pytest.param("norelatime", marks=pytest.mark.rows("R104")),
        pytest.param("nostrictatime", marks=pytest.mark.rows("R104")),
        pytest.param("rw", marks=pytest.mark.rows("R105")),
        pytest.param("suid", marks=pytest.mark.rows("R105")),
        pytest.param("dev", marks=pytest.mark.rows("R105")),
        pytest.param("exec", marks=pytest.mark.rows("R105")),
        pytest.param("symfollow", marks=pytest.mark.rows("R113")),
        pytest.param(
            "defaults",
            marks=[pytest.mark.rows("R106"), pytest.mark.departs("runc", "R106: goes to data")],
        ),
    ],
)
@pytest.mark.departs("crun", "R109-R113: its table lacks some options")
def test_option_without_a_visible_effect(container: Container, option: str) -> None:
    """The option is known: it does not reach the file system, which would refuse it."""
    mount = tmpfs_with(container, option)
    assert mount.kind == "tmpfs"
    assert "rw" in mount.options
    assert option not in mount.data - {"rw", "mand"}


@pytest.mark.rows("R106")
def test_defaults_of_a_bind_mount(container: Container, source: Path) -> None:
    """`defaults` does nothing, and in particular clears nothing."""
    assert "nosuid" in bind_with(container, source, "nosuid", "defaults").options


@pytest.mark.rows("R107", "R93")
@pytest.mark.parametrize("option", ["bind", "rbind"])
@pytest.mark.parametrize("kind", ["bind", "none", "tmpfs", ""])
def test_the_option_makes_the_bind(
    container: Container, source: Path, option: str, kind: str
) -> None:
    """The type says nothing when there is `bind` or `rbind`."""
    container.bundle.mount("/data", kind, str(source), [option])
    container.bundle.sh("cat /data/file")
    assert container.finish() == "content of the source\n"


@pytest.mark.rows("R107")
def test_bind_is_not_recursive(container: Container, tree: Path) -> None:
    """`bind` leaves out what is mounted below the source."""
    container.bundle.mount("/data", "bind", str(tree), ["bind"])
    assert "/data/below" not in [mount.target for mount in mounts_of(container)]


@pytest.mark.rows("R107")
def test_rbind_is_recursive(container: Container, tree: Path) -> None:
    """`rbind` brings what is mounted below the source."""
    upper, below = tree_with(container, tree)
    assert below.kind == "tmpfs"
    assert upper.kind != "tmpfs" or upper.root.endswith("source")


@pytest.mark.rows("R115")
def test_ro_is_not_recursive(container: Container, tree: Path) -> None:
    """`rbind,ro` makes only the upper mount read-only."""
    upper, below = tree_with(container, tree, "ro")
    assert "ro" in upper.options
    assert "rw" in below.options


RECURSIVE_SET = {
    "rro": "ro",
    "rnosuid": "nosuid",
    "rnodev": "nodev",
    "rnoexec": "noexec",
    "rnoatime": "noatime",
    "rnodiratime": "nodiratime",
    "rrelatime": "relatime",
    "rnosymfollow": "nosymfollow",
}


@pytest.mark.rows("R115")
@pytest.mark.parametrize("option", RECURSIVE_SET)
def test_recursive_attribute(container: Container, tree: Path, option: str) -> None:
    """The attribute holds for the mount and for the one below it."""
    for mount in tree_with(container, tree, option):
        assert RECURSIVE_SET[option] in mount.options, mount


@pytest.mark.rows("R115", "R102")
def test_recursive_strictatime(container: Container, tree: Path) -> None:
    """rstrictatime leaves neither noatime nor relatime, on either mount."""
    for mount in tree_with(container, tree, "rstrictatime"):
        assert not {"noatime", "relatime"} & mount.options, mount


RECURSIVE_CLEAR = {
    "rrw": "ro",
    "rsuid": "nosuid",
    "rdev": "nodev",
    "rexec": "noexec",
    "ratime": "noatime",
    "rdiratime": "nodiratime",
    "rsymfollow": "nosymfollow",
}
RUNC_ATIME = pytest.mark.departs("runc", "R102: 1.1 does not clear the mode of access times first")


@pytest.mark.rows("R115")
@pytest.mark.parametrize(
    "option",
    [
        pytest.param(option, marks=RUNC_ATIME if option == "ratime" else ())
        for option in RECURSIVE_CLEAR
    ],
)
def test_recursive_attribute_clears(container: Container, source: Path, option: str) -> None:
    """The attribute goes from both mounts, which had it on the host."""
    flag = RECURSIVE_CLEAR[option]
    (source / "below").mkdir()
    host_mount("--bind", source, source)
    host_mount("-t", "tmpfs", "tmpfs", source / "below")
    for path in (source / "below", source):
        host_mount("-o", f"remount,bind,{flag}", path)
    before = [m for m in parse_mounts(host_mountinfo()) if m.target == f"{source}/below"]
    if not before or flag not in before[0].options:
        pytest.skip(f"mount(8) cannot set {flag}")
    for mount in tree_with(container, source, option):
        assert flag not in mount.options, mount


def host_mountinfo() -> str:
    """The mount table of the host."""
    return Path("/proc/self/mountinfo").read_text()


@pytest.mark.rows("R115")
@pytest.mark.parametrize(
    "option", ["rnorelatime", pytest.param("rnostrictatime", marks=RUNC_ATIME)]
)
def test_recursive_option_without_a_visible_effect(
    container: Container, tree: Path, option: str
) -> None:
    """The option is known, and does not make the mount fail."""
    for mount in tree_with(container, tree, option):
        assert "rw" in mount.options


@pytest.mark.rows("R115")
def test_recursive_attribute_of_a_file(container: Container, source: Path) -> None:
    """A bind mount of a file takes a recursive attribute."""
    container.bundle.mount("/data", "bind", str(source / "file"), ["rbind", "rro"])
    container.bundle.sh(f"{MOUNTINFO}; echo x >/data; cat /data")
    output = container.finish()
    assert "ro" in mount_at(parse_mounts(output), "/data").options
    assert output.endswith("content of the source\n")


@pytest.mark.rows("R115")
@pytest.mark.departs("runc", "R115: only for bind mounts in 1.1")
def test_recursive_attribute_of_a_tmpfs(container: Container) -> None:
    """A new file system takes one too."""
    assert "ro" in tmpfs_with(container, "rro").options


PROPAGATION = {
    "private": set(),
    "shared": {"shared"},
    "unbindable": {"unbindable"},
}


def as_option(mount: Mount) -> set[str]:
    """The propagation, without what a shared mount has of its source.

    Where the host's own mount is shared, the container's is its slave, and shared besides.
    """
    found = set(mount.propagation)
    return found - {"master"} if "shared" in found else found



@pytest.mark.rows("R114")
@pytest.mark.parametrize("option", PROPAGATION)
@pytest.mark.parametrize("kind", ["tmpfs", "bind"])
def test_propagation(container: Container, source: Path, option: str, kind: str) -> None:
    """The mount has the propagation that the option names."""
    if kind == "tmpfs":
        mount = tmpfs_with(container, option)
    else:
        mount = bind_with(container, source, option)
    assert as_option(mount) == PROPAGATION[option]


@pytest.mark.rows("R114")
@pytest.mark.parametrize("option", PROPAGATION)
def test_recursive_propagation(container: Container, tree: Path, option: str) -> None:
    """With an r in front it reaches the mount below."""
    for mount in tree_with(container, tree, f"r{option}"):
        assert as_option(mount) == PROPAGATION[option], mount


@pytest.mark.rows("R114")
@pytest.mark.parametrize("option", PROPAGATION)
def test_propagation_is_not_recursive(container: Container, tree: Path, option: str) -> None:
    """Without the r the mount below stays as it was: private here."""
    upper, below = tree_with(container, tree, option)
    assert as_option(upper) == PROPAGATION[option]
    assert not below.propagation & {"shared", "unbindable"}


@pytest.mark.rows("R114")
@pytest.mark.parametrize("option", ["slave", "rslave"])
def test_slave_of_the_host(container: Container, tree: Path, option: str) -> None:
    """What the host mounts below a shared source later arrives in the container."""
    host_mount("--make-shared", tree)
    (tree / "late").mkdir()
    container.bundle.mount("/data", "bind", str(tree), ["rbind", option])
    container.bundle.sh(f"{MOUNTINFO}; until [ -e /data/go ]; do sleep 0.02; done; {MOUNTINFO}")
    container.create().start()
    container.wait_output(" /data ")
    host_mount("-t", "tmpfs", "tmpfs", tree / "late")
    (tree / "go").touch()
    container.wait_stopped()
    mounts = parse_mounts(container.output())
    assert "master" in mount_at(mounts, "/data").propagation
    assert "shared" not in mount_at(mounts, "/data").propagation
    assert mount_at(mounts, "/data/late").kind == "tmpfs"


@pytest.mark.rows("R114")
def test_shared_with_the_host(container: Container, tree: Path) -> None:
    """What the container mounts below a shared bind mount arrives on the host."""
    host_mount("--make-rprivate", tree)
    host_mount("--make-shared", tree)
    (tree / "late").mkdir()
    container.bundle.mount("/data", "bind", str(tree), ["rbind", "rshared"])
    container.bundle.linux["rootfsPropagation"] = "shared"
    container.bundle.capability("CAP_SYS_ADMIN")
    container.bundle.sh("mount -t tmpfs late /data/late && echo mounted; sleep 1000")
    container.create().start().wait_output("mounted")
    host = [mount.target for mount in parse_mounts(host_mountinfo())]
    assert f"{tree}/late" in host


@pytest.mark.rows("R114")
def test_propagation_options_in_order(container: Container, tree: Path) -> None:
    """slave, then shared: a slave of the host's mount, and shared inside."""
    host_mount("--make-shared", tree)
    container.bundle.mount("/data", "bind", str(tree), ["rbind", "slave", "shared"])
    mount = mount_at(mounts_of(container), "/data")
    assert mount.propagation == {"master", "shared"}


@pytest.mark.rows("R108", "R105")
def test_remount_of_a_bind_mount(container: Container, source: Path) -> None:
    """A later entry with `remount` changes the flags of the mount that is there."""
    container.bundle.mount("/data", "bind", str(source), ["bind", "nosuid"])
    container.bundle.mount("/data", "bind", str(source), ["bind", "remount", "ro", "nosuid"])
    mounts = [mount for mount in mounts_of(container) if mount.target == "/data"]
    assert {"ro", "nosuid"} <= mounts[-1].options
    assert len(mounts) == 1


def shadowed(bundle: Bundle) -> Path:
    """A directory /data in the image with a file, a link and a directory."""
    data = bundle.rootfs / "data"
    (data / "inner").mkdir(parents=True)
    (data / "inner/deep").write_text("deep\n")
    (data / "file").write_text("shadowed\n")
    (data / "file").chmod(0o604)
    os.chown(data / "file", 1000, 1001)
    (data / "link").symlink_to("/etc/passwd")
    (data / "inner").chmod(0o1777)
    return data


@pytest.mark.rows("R117")
@pytest.mark.departs("runc", "R117: the umask narrows the modes in 1.1")
def test_tmpcopyup(container: Container) -> None:
    """The tmpfs begins with what it covers; owners, modes and links included."""
    data = shadowed(container.bundle)
    container.bundle.mount("/data", "tmpfs", "tmpfs", ["tmpcopyup", "mode=0755"])
    container.bundle.sh(
        "cd /data; cat file inner/deep; readlink link; stat -c '%n %a %u:%g' file inner;"
        " echo new >file; grep ' /data ' /proc/self/mountinfo"
    )
    output = container.finish().splitlines()
    assert output[:3] == ["shadowed", "deep", "/etc/passwd"]
    assert output[3:5] == ["file 604 1000:1001", "inner 1777 0:0"]
    assert Mount.parse(output[5]).kind == "tmpfs"
    assert (data / "file").read_text() == "shadowed\n"


@pytest.mark.rows("R117")
def test_tmpcopyup_read_only(container: Container) -> None:
    """A read-only tmpfs is filled before it becomes read-only."""
    shadowed(container.bundle)
    container.bundle.mount("/data", "tmpfs", "tmpfs", ["tmpcopyup", "ro"])
    container.bundle.sh("cat /data/file; echo x >/data/new || echo refused")
    assert container.finish().splitlines() == ["shadowed", "refused"]


@pytest.mark.rows("R120")
@pytest.mark.parametrize("mode", [0o1777, 0o700, 0o2755])
def test_tmpfs_inherits_the_mode(container: Container, mode: int) -> None:
    """Without mode= a tmpfs has the mode of the directory that it covers."""
    (container.bundle.rootfs / "data").mkdir()
    (container.bundle.rootfs / "data").chmod(mode)
    container.bundle.mount("/data", "tmpfs", "tmpfs", ["nosuid"])
    container.bundle.sh("stat -c %a /data")
    assert container.finish().split() == [f"{mode:o}"]


@pytest.mark.rows("R120")
@pytest.mark.departs("runc", "R120: the mode of the directory wins in 1.1")
def test_tmpfs_mode_option(container: Container) -> None:
    """With mode= that is the mode, whatever the directory has."""
    (container.bundle.rootfs / "data").mkdir(mode=0o700)
    container.bundle.mount("/data", "tmpfs", "tmpfs", ["mode=1750", "uid=7", "gid=8"])
    container.bundle.sh("stat -c '%a %u:%g' /data")
    assert container.finish().split() == ["1750", "7:8"]


@pytest.mark.rows("R119", "R94")
def test_unknown_options_are_data(container: Container) -> None:
    """What is no option of the list goes to the file system."""
    mount = tmpfs_with(container, "nosuid", "size=64k", "noexec", "nr_inodes=100")
    assert {"size=64k", "nr_inodes=100"} <= mount.data
    assert {"nosuid", "noexec"} <= mount.options


@pytest.mark.rows("R119")
def test_data_of_another_file_system(container: Container) -> None:
    """hidepid reaches procfs."""
    container.bundle.mount("/data", "proc", "proc", ["hidepid=2", "nosuid"])
    mount = mount_at(mounts_of(container), "/data")
    assert mount.data & {"hidepid=2", "hidepid=invisible"}


@pytest.mark.rows("R119", "R36")
@pytest.mark.parametrize("option", ["nosuchoption", "size=much", "nosuch=1"])
def test_an_option_that_the_file_system_refuses(container: Container, option: str) -> None:
    """The kernel's refusal makes the create fail."""
    container.bundle.mount("/data", "tmpfs", "tmpfs", [option])
    container.refused()


@pytest.mark.rows("R94")
@pytest.mark.parametrize("options", [None, []])
def test_no_options(container: Container, options: list[str] | None) -> None:
    """Neither absent nor empty options are an error."""
    container.bundle.mount("/data", "tmpfs", "tmpfs", options)
    mount = mount_at(mounts_of(container), "/data")
    assert {"rw", "relatime"} <= mount.options


def owner_in(container: Container, mount: dict[str, Any]) -> list[str]:
    """Add the mount; the owner of /data/file inside the container."""
    container.bundle.config["mounts"].append(mount)
    container.bundle.sh("stat -c %u:%g /data/file")
    return container.finish().split()


def mapping(inside: int, outside: int, size: int = 1) -> list[dict[str, int]]:
    """One LinuxIDMapping."""
    return [{"containerID": inside, "hostID": outside, "size": size}]


def idmapped(source: Path, *options: str) -> dict[str, Any]:
    """A bind mount of `source` whose uid 1000 and gid 1001 show as 2000 and 2001."""
    os.chown(source / "file", 1000, 1001)
    return {
        "destination": "/data",
        "type": "bind",
        "source": str(source),
        "options": ["rbind", *options],
        "uidMappings": mapping(1000, 2000),
        "gidMappings": mapping(1001, 2001),
    }


def need_idmap(source: Path) -> None:
    """Skip where the file system of a directory cannot be mounted with other owners."""
    command = ["stat", "--file-system", "--format", "%T", str(source)]
    kind = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    major, minor = map(int, os.uname().release.split(".")[:2])
    if kind == "tmpfs" and (major, minor) < (6, 3):
        pytest.skip(f"{source} is on tmpfs, which can be idmapped since Linux 6.3")


@pytest.mark.rows("R95", "R116")
@pytest.mark.parametrize("option", ["idmap", "ridmap"])
@pytest.mark.departs("runc", "R95: came with 1.2")
@pytest.mark.departs("crun<1.21", "R95: has the direction inverted")
def test_idmapped_mount(container: Container, source: Path, option: str) -> None:
    """containerID is the id on the file system, hostID the one that the mount shows."""
    need_idmap(source)
    assert owner_in(container, idmapped(source, option)) == ["2000:2001"]


@pytest.mark.rows("R116", "R95")
@pytest.mark.parametrize("option", ["idmap", "ridmap"])
@pytest.mark.departs("runc", "R116: came with 1.2")
def test_idmap_without_mappings(container: Container, source: Path, option: str) -> None:
    """Neither mappings nor a user namespace to take them from: an error."""
    container.bundle.mount("/data", "bind", str(source), ["bind", option])
    container.refused()


@pytest.mark.rows("R95")
@pytest.mark.parametrize("kept", ["uidMappings", "gidMappings"])
@pytest.mark.departs("runc", "R95: came with 1.2")
def test_one_sort_of_mappings(container: Container, source: Path, kept: str) -> None:
    """uidMappings without gidMappings, or the reverse, are an error."""
    mount = idmapped(source, "idmap")
    other = {"uidMappings": "gidMappings", "gidMappings": "uidMappings"}[kept]
    del mount[other]
    container.bundle.config["mounts"].append(mount)
    container.refused()
