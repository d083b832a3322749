"""The order of a plan's operations: each test names what would go wrong otherwise."""

from __future__ import annotations

from typing import Any

import pytest

from pyruntime.plan import operations as op
from pyruntime.plan.builder import Plan
from tests.plan.compiled import HostFacts, config, namespaces, plan, rows

MAPPINGS: dict[str, Any] = {
    "uidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}],
    "gidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}],
}
ALL_NEW = ("pid", "network", "mount", "ipc", "uts", "cgroup")


def bind(source: str, destination: str, *options: str) -> dict[str, Any]:
    return {"destination": destination, "source": source, "options": ["bind", *options]}


def hook(path: str, **fields: Any) -> dict[str, Any]:
    return {"path": path, **fields}


# --- cgroups ---------------------------------------------


@pytest.mark.rows("R93", "R133", "R161")
def test_the_process_is_in_its_cgroup_before_the_namespace_shows_where_it_is() -> None:
    mount = {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"}
    found = rows(config(mounts=[mount]))
    sync = found.index("sync", kind="CGROUP")
    unshare = found.index("unshare", flags="CLONE_NEWCGROUP")
    mounts = found.indexes("fsopen", type="cgroup")
    assert mounts
    assert sync < unshare < min(mounts)


@pytest.mark.rows("R161")
def test_the_process_joins_its_cgroup_once_before_the_program() -> None:
    for document in (config(), config(linux={"namespaces": []})):
        found = rows(document)
        assert found.index("sync", kind="CGROUP") < found.index("sync", kind="READY")


@pytest.mark.rows("R51", "R161")
def test_hooks_find_the_process_in_its_cgroup() -> None:
    found = rows(config(hooks={"createRuntime": [hook("/h")]}))
    assert found.index("sync", kind="CGROUP") < found.index("sync", kind="HOOKS")


@pytest.mark.rows("R93", "R122")
def test_without_a_cgroup_namespace_the_own_directory_is_shown() -> None:
    """Its path is the host's, so it is opened before the clone."""
    mount = {"destination": "/sys/fs/cgroup", "type": "cgroup", "options": ["ro"]}
    document = config(
        mounts=[mount], linux={"namespaces": namespaces("pid", "mount", "network", "ipc", "uts")}
    )
    found = rows(document)
    opened = found.index("open_tree", slot="cgroup memory", path="/sys/fs/cgroup/memory/c")
    assert opened < found.index("clone")
    assert found.has("mount_setattr", directory="cgroup memory", attributes="+MOUNT_ATTR_RDONLY")
    assert not found.has("fsopen", type="cgroup")


@pytest.mark.rows("R122")
@pytest.mark.parametrize("kinds, shown", [((), ""), (("user",), "/c"), (("cgroup",), None)])
def test_which_cgroup_of_v2_is_shown(kinds: tuple[str, ...], shown: str | None) -> None:
    """The host's root, the own directory, or a new instance."""
    mount = {"destination": "/sys/fs/cgroup", "type": "cgroup"}
    document = config(mounts=[mount], linux={"namespaces": namespaces("mount", *kinds)})
    found = rows(document, cgroups={"": ("/sys/fs/cgroup", "/sys/fs/cgroup/c")})
    assert found.has("fsopen", type="cgroup2") == (shown is None)
    if shown is not None:
        assert found.has("open_tree", slot="cgroup ", path="/sys/fs/cgroup" + shown)


@pytest.mark.rows("R93")
def test_controllers_that_share_a_hierarchy_get_a_link() -> None:
    mount = {"destination": "/sys/fs/cgroup", "type": "cgroup"}
    both = ("/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct/c")
    found = rows(config(mounts=[mount]), cgroups={"cpu": both, "cpuacct": both})
    assert found.has("make_path", path="sys/fs/cgroup/cpu,cpuacct")
    assert found.has("symlinkat", target="cpu,cpuacct", path="cpuacct")
    assert len(found.indexes("fsopen", type="cgroup")) == 1


@pytest.mark.rows("R93")
def test_on_v2_a_cgroup_mount_is_cgroup2() -> None:
    mount = {"destination": "/sys/fs/cgroup", "type": "cgroup"}
    found = rows(config(mounts=[mount]), cgroups={"": ("/sys/fs/cgroup", "/sys/fs/cgroup/c")})
    assert found.has("fsopen", type="cgroup2")
    assert not found.has("fsopen", type="tmpfs")


# --- mounts ---------------------------------------------


@pytest.mark.rows("R90")
def test_mounts_are_attached_in_the_listed_order() -> None:
    mounts = [
        {"destination": "/a", "type": "tmpfs"},
        bind("/src", "/a/b"),
        {"destination": "/proc", "type": "proc"},
    ]
    found = rows(config(mounts=mounts))
    order = [found.index("move_mount", at=f".mounts[{number}]") for number in range(3)]
    assert order == sorted(order)


@pytest.mark.rows("R92")
def test_sources_are_opened_with_the_rights_of_the_caller() -> None:
    linux = {"namespaces": namespaces(*ALL_NEW, "user"), **MAPPINGS}
    found = rows(config(mounts=[bind("/private", "/m"), bind("beside", "/n")], linux=linux))
    for path in ("/private", "/bundle/beside"):
        assert found.index("open_tree", path=path) < found.index("unshare", flags="CLONE_NEWUSER")


@pytest.mark.rows("R90")
@pytest.mark.parametrize("source", ["/bundle/rootfs/data", "rootfs/data", "/bundle/rootfs"])
def test_a_source_inside_of_the_rootfs_may_lie_on_an_earlier_mount(source: str) -> None:
    """Such a source waits for its turn: the one cloned on the host would lack that mount."""
    mounts = [{"destination": "/data", "type": "tmpfs"}, bind(source, "/copy")]
    found = rows(config(mounts=mounts))
    opened = found.index("open_tree", slot="mount 1")
    assert opened > found.index("move_mount", at=".mounts[0]")
    assert opened > found.index("clone")


@pytest.mark.rows("R90")
def test_sources_wait_for_their_turn() -> None:
    """The kernel lists mounts in the order in which they were made."""
    tmpfs = {"destination": "/t", "type": "tmpfs", "source": "tmpfs"}
    found = rows(config(mounts=[tmpfs, bind("/src", "/copy")]))
    assert found.index("fsopen", type="tmpfs") < found.index("open_tree", slot="mount 1")


@pytest.mark.rows("R90", "R92")
def test_a_source_beside_the_rootfs_is_not_inside_of_it() -> None:
    linux = {"namespaces": namespaces(*ALL_NEW, "user"), **MAPPINGS}
    found = rows(config(mounts=[bind("/bundle/rootfs2/x", "/copy")], linux=linux))
    assert found.index("open_tree", slot="mount 0") < found.index("clone")


@pytest.mark.rows("R92")
def test_somebody_without_privileges_opens_sources_in_his_user_namespace() -> None:
    linux = {"namespaces": namespaces(*ALL_NEW, "user"), **MAPPINGS}
    document = config(mounts=[bind("/src", "/m")], linux=linux)
    found = rows(document, HostFacts(euid=1000))
    assert found.index("open_tree", path="/src") > found.index("unshare", flags="CLONE_NEWUSER")
    assert found.index("open_tree", slot="root") > found.index("clone")


@pytest.mark.rows("R303")
def test_nothing_that_is_mounted_reaches_the_host() -> None:
    found = rows(config(mounts=[{"destination": "/a", "type": "tmpfs"}]))
    slave = found.index("mount_setattr", path="/", attributes="MS_SLAVE", flags="AT_RECURSIVE")
    assert found.index("clone") < slave < min(found.indexes("move_mount"))


@pytest.mark.rows("R91")
@pytest.mark.parametrize(
    ("destination", "expected"),
    [
        ("/a", "a"),
        ("a/b", "a/b"),
        ("/a//b/", "a/b"),
        ("/a/./b", "a/b"),
        ("/a/../b", "b"),
        ("/../../b", "b"),
        ("/a/b/../..", ""),
    ],
)
def test_a_destination_is_below_the_root(destination: str, expected: str) -> None:
    found = rows(config(mounts=[{"destination": destination, "type": "tmpfs"}]))
    assert found.arguments("make_path", at=".mounts[0]") == {
        "slot": "point",
        "root": "root",
        "path": expected,
        "mode": "0o755",
        "like": None,
    }


@pytest.mark.rows("R91")
@pytest.mark.parametrize("kind", ["proc", "sysfs"])
def test_the_places_of_proc_and_sys_must_not_be_links(kind: str) -> None:
    """An image could send them elsewhere (CVE-2019-19921)."""
    found = rows(config(mounts=[{"destination": "/" + kind, "type": kind}]))
    assert "RESOLVE_NO_SYMLINKS" in found.arguments("openat2", path=kind)["resolve"]


@pytest.mark.rows("R95", "R116")
@pytest.mark.parametrize(
    ("option", "flags"),
    [("idmap", "AT_EMPTY_PATH"), ("ridmap", "AT_EMPTY_PATH|AT_RECURSIVE")],
)
def test_owners_are_mapped_before_the_mount_is_visible(option: str, flags: str) -> None:
    mount = {**bind("/src", "/m", option), **MAPPINGS}
    found = rows(config(mounts=[mount]))
    change = found.index("mount_setattr", attributes="+MOUNT_ATTR_IDMAP", flags=flags)
    assert found.rows[change]["arguments"]["user_namespace"] == "idmap 0"
    assert found.index("open_tree", slot="mount 0") < change
    assert change < found.index("move_mount", mount="mount 0")


@pytest.mark.rows("R121")
def test_in_a_user_namespace_a_new_sysfs_may_be_refused() -> None:
    linux = {"namespaces": namespaces("mount", "user"), **MAPPINGS}
    mount = {"destination": "/sys", "type": "sysfs", "options": ["ro", "nosuid"]}
    compiled = plan(config(mounts=[mount], linux=linux))
    found = rows(config(mounts=[mount], linux=linux))
    make = found.index("fsopen", type="sysfs")
    instead = found.index("open_tree", path="/sys")
    for errno, count in compiled.operations[make].pardons:
        assert errno in (1, 16)
        assert make + 1 + count == instead
    change = found.rows[instead + 1]
    assert change["arguments"]["attributes"] == "+MOUNT_ATTR_RDONLY|MOUNT_ATTR_NOSUID"


# --- the root ---------------------------------------------


@pytest.mark.rows("R215", "R216")
def test_paths_are_covered_after_sysctls_are_written() -> None:
    linux = {
        "sysctl": {"net.ipv4.ip_forward": "1"},
        "readonlyPaths": ["/proc/sys"],
        "maskedPaths": ["/proc/kcore"],
    }
    found = rows(config(linux=linux))
    sysctl = found.index("write_file", path="sys/net/ipv4/ip_forward")
    read_only = found.index("open_tree", at=".linux.readonlyPaths[0]")
    assert sysctl < read_only < min(found.indexes("move_mount", at=".linux.maskedPaths[0]"))


@pytest.mark.rows("R215", "R216")
def test_paths_are_covered_after_the_old_root_is_left() -> None:
    found = rows(config(linux={"maskedPaths": ["/a"], "readonlyPaths": ["/b"]}))
    left = found.index("umount2", path=".", flags="MNT_DETACH")
    assert left < min(found.indexes("openat2", path="/a") + found.indexes("openat2", path="/b"))


@pytest.mark.rows("R154", "R216")
def test_the_null_device_is_checked_before_it_covers_anything() -> None:
    """An image may bring another file in its place (CVE-2025-31133)."""
    found = rows(config(linux={"maskedPaths": ["/proc/kcore"]}))
    check = found.index("expect_device", descriptor="null", type="S_IFCHR", major=1, minor=3)
    assert check < found.index("open_tree", directory="null")


@pytest.mark.rows("R14")
def test_the_root_becomes_read_only_after_all_that_writes_to_it() -> None:
    document = config(
        process={"cwd": "/work/dir", "terminal": True},
        root={"path": "rootfs", "readonly": True},
        mounts=[{"destination": "/a", "type": "tmpfs"}],
        linux={"maskedPaths": ["/a"]},
        hooks={"createRuntime": [hook("/h")], "createContainer": [hook("/h")]},
    )
    found = rows(document)
    late = found.index("mount_setattr", at=".root.readonly", attributes="+MOUNT_ATTR_RDONLY")
    for name in ("make_path", "mknodat", "symlinkat", "unlinkat", "move_mount", "run_hook"):
        assert max(found.indexes(name)) < late, name
    assert found.index("sync", kind="HOOKS") < late
    assert "AT_RECURSIVE" not in found.rows[late]["arguments"]["flags"]


@pytest.mark.rows("R13", "R303")
def test_the_old_root_is_left_by_descriptor() -> None:
    found = rows(config())
    assert found.has("pivot_root", new_root=".", put_old=".")
    assert (
        found.index("fchdir", directory="root")
        < found.index("pivot_root")
        < found.index("umount2", path=".", flags="MNT_DETACH")
        < found.indexes("chdir", path="/")[0]
    )
    assert not found.has("chroot")


@pytest.mark.rows("R134")
def test_without_a_mount_namespace_the_root_is_only_entered() -> None:
    found = rows(config(linux={"namespaces": namespaces("pid")}))
    assert found.has("chroot", path=".")
    assert not found.has("pivot_root")
    assert not found.has("mount_setattr", path="/")
    assert not found.has("open_tree", slot="root")


@pytest.mark.rows("R290")
def test_no_pivot_leaves_no_proc_or_sys_of_the_host_below() -> None:
    found = rows(config(), no_pivot=True)
    moved = found.index("move_mount", mount="root", directory="AT_FDCWD", path="/")
    assert found.index("umount2", path="/proc") < moved
    assert found.index("umount2", path="/sys") < moved < found.index("chroot", path=".")
    assert not found.has("pivot_root")


@pytest.mark.rows("R214")
@pytest.mark.parametrize(
    ("wanted", "kind", "flags"),
    [
        ("shared", "MS_SHARED", "AT_EMPTY_PATH"),
        ("rshared", "MS_SHARED", "AT_EMPTY_PATH|AT_RECURSIVE"),
        ("private", "MS_PRIVATE", "AT_EMPTY_PATH"),
        ("slave", "MS_SLAVE", "AT_EMPTY_PATH"),
        ("unbindable", "MS_UNBINDABLE", "AT_EMPTY_PATH"),
    ],
)
def test_rootfs_propagation_applies_to_the_new_root(wanted: str, kind: str, flags: str) -> None:
    found = rows(config(linux={"rootfsPropagation": wanted}))
    change = found.index(
        "mount_setattr", directory="root", path="", attributes=kind, flags=flags,
        at=".linux.rootfsPropagation",
    )  # fmt: skip
    assert change > found.index("pivot_root")


# --- namespaces ---------------------------------------------


@pytest.mark.rows("R130", "R133")
def test_new_namespaces_come_in_one_clone_owned_by_the_user_namespace() -> None:
    linux = {"namespaces": namespaces(*ALL_NEW, "user"), **MAPPINGS}
    found = rows(config(linux=linux))
    assert set(found.arguments("clone")["flags"].split("|")) == {
        "CLONE_PARENT",
        "CLONE_NEWPID",
        "CLONE_NEWNET",
        "CLONE_NEWNS",
        "CLONE_NEWIPC",
        "CLONE_NEWUTS",
    }
    user = found.index("unshare", flags="CLONE_NEWUSER")
    maps = found.index("sync", kind="MAPS")
    assert user < maps < min(found.indexes("setresuid", uid=0)) < found.index("clone")


@pytest.mark.rows("R130")
def test_what_is_not_listed_is_not_new() -> None:
    found = rows(config(linux={"namespaces": namespaces("pid")}))
    assert found.arguments("clone")["flags"] == "CLONE_PARENT|CLONE_NEWPID"
    assert not found.has("unshare")
    assert not found.has("interface_up")


@pytest.mark.rows("R18")
def test_without_the_section_linux_there_are_still_devices() -> None:
    document = config()
    del document["linux"]
    found = rows(document)
    assert found.arguments("clone")["flags"] == "CLONE_PARENT"
    assert len(found.indexes("mknodat")) == 6


@pytest.mark.rows("R131", "R132")
def test_given_namespaces_are_all_opened_before_any_is_joined() -> None:
    """Joining a mount or user namespace would change what the other paths mean."""
    given = namespaces("pid", mount="/m", user="/u", network="/n")
    found = rows(config(linux={"namespaces": given}))
    opened = [found.index("openat2", path=path) for path in ("/m", "/u", "/n")]
    joined = found.indexes("setns")
    assert max(opened) < min(joined)
    assert found.index("setns", type="CLONE_NEWUSER") == max(joined)
    assert max(joined) < found.index("clone")


@pytest.mark.rows("R132")
def test_without_privileges_the_user_namespace_is_joined_first() -> None:
    given = namespaces("pid", "mount", network="/n", user="/u")
    found = rows(config(linux={"namespaces": given}), HostFacts(euid=1000))
    assert found.index("setns", type="CLONE_NEWUSER") == min(found.indexes("setns"))


@pytest.mark.rows("R131")
def test_the_kernel_checks_the_type_of_a_given_namespace() -> None:
    kinds = {
        "pid": "CLONE_NEWPID",
        "network": "CLONE_NEWNET",
        "mount": "CLONE_NEWNS",
        "ipc": "CLONE_NEWIPC",
        "uts": "CLONE_NEWUTS",
        "user": "CLONE_NEWUSER",
        "cgroup": "CLONE_NEWCGROUP",
        "time": "CLONE_NEWTIME",
    }
    given = namespaces(**{kind: "/ns/" + kind for kind in kinds})
    found = rows(config(linux={"namespaces": given}))
    for kind, flag in kinds.items():
        assert found.has("setns", namespace="namespace " + kind, type=flag)


@pytest.mark.rows("R137")
def test_time_offsets_are_written_in_one_piece_before_anybody_enters() -> None:
    offsets = {"monotonic": {"secs": 86400}, "boottime": {"secs": -2, "nanosecs": 7}}
    linux = {"namespaces": namespaces("time", "pid", "mount"), "timeOffsets": offsets}
    found = rows(config(linux=linux))
    write = found.index("write_file", path="self/timens_offsets")
    assert found.rows[write]["arguments"]["content"] == "monotonic 86400 0\nboottime -2 7\n"
    assert found.index("unshare", flags="CLONE_NEWTIME") < write < found.index("clone")


@pytest.mark.rows("R135")
def test_loopback_goes_up_in_a_new_network_only() -> None:
    assert rows(config()).index("interface_up", name="lo") > rows(config()).index("clone")
    shared = config(linux={"namespaces": namespaces("mount", network="/n")})
    assert not rows(shared).has("interface_up")


@pytest.mark.rows("R15", "R16")
def test_names_are_set_in_the_containers_namespace() -> None:
    found = rows(config(hostname="host", domainname="domain"))
    assert found.index("sethostname", name="host") > found.index("clone")
    assert found.index("setdomainname", name="domain") > found.index("clone")
    assert not rows(config(hostname="")).has("sethostname")


# --- hooks ---------------------------------------------


@pytest.mark.rows("R50", "R51", "R52", "R53", "R60")
def test_hooks_run_between_the_mounts_and_the_new_root() -> None:
    document = config(
        hooks={
            "prestart": [hook("/p")],
            "createContainer": [hook("/c")],
            "startContainer": [hook("/s")],
        },
        mounts=[{"destination": "/a", "type": "tmpfs"}],
    )
    found = rows(document)
    runtime = found.index("sync", kind="HOOKS")
    container = found.index("run_hook", path="/c")
    assert found.index("move_mount", at=".mounts[0]") < runtime < container
    assert container < found.index("pivot_root")
    start = found.index("run_hook", path="/s")
    assert found.index("wait_start") < start < found.index("execve")


@pytest.mark.rows("R56", "R57", "R59")
def test_fields_of_a_hook() -> None:
    given = [hook("/a"), hook("/b", args=["b", "-x"], env=["A=1"], timeout=3), hook("/c", env=[])]
    found = rows(config(hooks={"createContainer": given, "startContainer": given[:1]}))
    at = ".hooks.createContainer"
    assert found.arguments("run_hook", at=at + "[0]") == {
        "path": "/a",
        "args": ["/a"],
        "env": [],
        "stdin": "state createContainer",
        "timeout": 0,
    }
    second = found.arguments("run_hook", at=at + "[1]")
    assert (second["args"], second["env"], second["timeout"]) == (["b", "-x"], ["A=1"], 3000)
    indexes = [found.index("run_hook", at=f"{at}[{number}]") for number in range(3)]
    assert indexes == sorted(indexes)
    inherits = found.arguments("run_hook", at=".hooks.startContainer[0]")
    assert inherits["env"] == ["PATH=/bin", "HOME=/"]


# --- the process ---------------------------------------------


@pytest.mark.rows("R41")
def test_descriptors_are_closed_before_the_working_directory_is_entered() -> None:
    """A leaked descriptor of the host could be entered as /proc/self/fd/N (CVE-2024-21626)."""
    found = rows(config(process={"cwd": "/work"}), preserve=2)
    closed = found.index("close_from", first=5)
    assert closed < found.index("chdir", path="/work") < found.index("check_cwd")
    assert closed < found.index("execve")


@pytest.mark.rows("R41", "R53")
def test_what_is_needed_after_start_stays_open() -> None:
    kept = rows(config(hooks={"startContainer": [hook("/h")]})).arguments("close_from")
    assert list(kept.values()) == [3, "start", "report", "state startContainer"]
    assert rows(config()).arguments("close_from")["c"] is None


@pytest.mark.rows("R71", "R240")
@pytest.mark.parametrize("set_", [True, False])
def test_place_of_the_seccomp_filter(set_: bool) -> None:
    """Loading needs CAP_SYS_ADMIN or no_new_privs; the later the better."""
    process = {"noNewPrivileges": set_, "user": {"uid": 1, "gid": 1}}
    linux = {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}}
    found = rows(config(process=process, linux=linux))
    load = found.index("seccomp")
    given_up = found.indexes("capset")[-1]
    assert found.index("setresuid", uid=1) < found.index("find_executable") < load
    if set_:
        assert found.index("prctl", option="PR_SET_NO_NEW_PRIVS", arg2=1) < load
        assert load == given_up + 1
    else:
        assert not found.has("prctl", option="PR_SET_NO_NEW_PRIVS")
        assert load == given_up - 1
        held = found.rows[load - 1]
        assert held["operation"] == "capset"
        assert held["arguments"]["effective"] == "all"
    # Whatever else came after the filter, a strict profile might forbid.
    ready = found.index("sync", kind="READY")
    assert {row["operation"] for row in found.rows[load + 1 : ready]} <= {"capset"}


@pytest.mark.rows("R234")
@pytest.mark.parametrize("set_", [True, False])
def test_the_listener_is_handed_over_before_the_container_is_ready(set_: bool) -> None:
    linux = {"seccomp": {"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/s"}}
    found = rows(config(process={"noNewPrivileges": set_}, linux=linux))
    load = found.index("seccomp", listener="listener")
    assert found.rows[load + 1]["operation"] == "sync_slot"
    assert found.rows[load + 1]["arguments"] == {"kind": "LISTENER", "descriptor": "listener"}
    assert found.index("close", slot="listener") < found.index("sync", kind="READY")
    without = rows(config(linux={"seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}}))
    assert not without.has("sync_slot")


@pytest.mark.rows("R61", "R67", "R305")
def test_privileges_are_given_up_in_an_order_in_which_each_step_is_still_allowed() -> None:
    process = {"user": {"uid": 5, "gid": 6, "additionalGids": [7]}, "noNewPrivileges": True}
    found = rows(config(process=process))
    order = [
        found.index("drop_bounding"),
        found.index("prctl", option="PR_SET_KEEPCAPS", arg2=1),
        found.index("setgroups"),
        found.index("setresgid", gid=6),
        found.index("setresuid", uid=5),
        found.indexes("capset")[0],
        found.index("prctl", option="PR_SET_KEEPCAPS", arg2=0),
        found.index("raise_ambient"),
        found.indexes("capset")[-1],
        found.index("sync", kind="READY"),
        found.index("execve"),
    ]
    assert order == sorted(order)


@pytest.mark.rows("R32", "R36")
def test_everything_but_the_program_happens_before_start() -> None:
    found = rows(config(hooks={"startContainer": [hook("/h")]}))
    ready = found.index("sync", kind="READY")
    names = [row["operation"] for row in found.rows[ready:]]
    assert names == ["sync", "wait_start", "run_hook", "execve"]
    assert found.index("find_executable", file="sh") < ready


@pytest.mark.rows("R68")
def test_modes_are_exact_while_the_root_is_made() -> None:
    found = rows(config(process={"user": {"uid": 0, "gid": 0, "umask": 0o27}}))
    first, last = found.indexes("umask")
    assert found.rows[first]["arguments"]["mask"] == "0"
    assert first < min(found.indexes("mknodat") + found.indexes("make_path"))
    assert found.rows[last]["arguments"]["mask"] == "0o27"
    assert last > max(found.indexes("mknodat") + found.indexes("make_path"))


@pytest.mark.rows("R64")
def test_a_missing_working_directory_is_made_while_the_root_can_be_written() -> None:
    found = rows(config(process={"cwd": "/work"}, root={"path": "rootfs", "readonly": True}))
    make = found.index("make_path", path="work")
    assert make < found.index("mount_setattr", at=".root.readonly")
    assert not rows(config()).has("make_path", at=".process.cwd")


@pytest.mark.rows("R62")
def test_the_terminal_is_opened_inside_of_the_new_root_without_following_links() -> None:
    """By path it could be any file that the image puts there (CVE-2025-52565)."""
    found = rows(config(process={"terminal": True}))
    master = found.index("openat2", slot="master")
    arguments = found.rows[master]["arguments"]
    assert arguments["directory"] == "root"
    assert {"RESOLVE_IN_ROOT", "RESOLVE_NO_SYMLINKS"} <= set(arguments["resolve"].split("|"))
    assert found.index("pivot_root") < master
    assert master < found.index("expect_filesystem", descriptor="master")
    assert found.index("expect_filesystem", descriptor="master") < found.index("tiocgptpeer")
    assert found.index("send_fd") < found.index("ioctl_value", request="0x540e")
    assert [found.rows[i]["arguments"]["number"] for i in found.indexes("dup3")] == [0, 1, 2]


@pytest.mark.rows("R62")
def test_without_a_terminal_there_is_none() -> None:
    found = rows(config(process={"consoleSize": {"height": 5, "width": 5}}))
    for name in ("tiocgptpeer", "send_fd", "dup3", "ioctl", "ioctl_value"):
        assert not found.has(name)


@pytest.mark.rows("R63")
@pytest.mark.parametrize(
    ("size", "content"),
    [((24, 80), "1800500000000000"), ((70000, 3), "ffff030000000000"), ((0, 80), None)],
)
def test_console_size(size: tuple[int, int], content: str | None) -> None:
    process = {"terminal": True, "consoleSize": {"height": size[0], "width": size[1]}}
    found = rows(config(process=process))
    if content is None:
        assert not found.has("ioctl")
    else:
        assert found.arguments("ioctl")["argument"] == content


@pytest.mark.rows("R17")
def test_a_config_without_process_can_be_created() -> None:
    document = config()
    del document["process"]
    found = rows(document)
    assert not found.has("find_executable")
    assert found.index("sync", kind="READY") < found.index("wait_start")


@pytest.mark.rows("R213")
@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("net.ipv4.ip_forward", "sys/net/ipv4/ip_forward"),
        ("net/ipv4/conf/eno2.100/rp_filter", "sys/net/ipv4/conf/eno2.100/rp_filter"),
        ("net.ipv4.conf.eno2/100.rp_filter", "sys/net/ipv4/conf/eno2.100/rp_filter"),
        ("kernel.domainname", "sys/kernel/domainname"),
    ],
)
def test_parameters_are_written_through_a_procfs_of_our_own(key: str, path: str) -> None:
    found = rows(config(linux={"sysctl": {key: "1"}}))
    write = found.arguments("write_file", at=f".linux.sysctl[{key}]")
    assert (write["directory"], write["path"], write["content"]) == ("proc", path, "1")
    assert set(write["resolve"].split("|")) == {
        "RESOLVE_BENEATH",
        "RESOLVE_NO_XDEV",
        "RESOLVE_NO_MAGICLINKS",
    }


# --- every plan ---------------------------------------------


def everything() -> dict[str, Any]:
    hooks = {kind: [hook("/h")] for kind in ("prestart", "createContainer", "startContainer")}
    mounts = [
        {"destination": "/proc", "type": "proc"},
        {"destination": "/dev", "type": "tmpfs", "options": ["ro", "tmpcopyup"]},
        {"destination": "/sys", "type": "sysfs"},
        {"destination": "/sys/fs/cgroup", "type": "cgroup"},
        bind("/a", "/b", "ro", "shared"),
    ]
    linux = {
        "namespaces": namespaces(*ALL_NEW, "user", "time"),
        "maskedPaths": ["/x", "/y"],
        "readonlyPaths": ["/x", "/y"],
        "seccomp": {"defaultAction": "SCMP_ACT_ALLOW"},
        **MAPPINGS,
    }
    process = {"terminal": True, "cwd": "/c", "noNewPrivileges": True, "apparmorProfile": "p"}
    return config(hooks=hooks, mounts=mounts, linux=linux, process=process, hostname="h")


@pytest.mark.parametrize("euid", [0, 1000])
def test_pardons_and_skips_stay_within_the_plan(euid: int) -> None:
    compiled = plan(everything(), HostFacts(apparmor=True, euid=euid))
    for index, operation in enumerate(compiled.operations):
        counts = [count for _, count in operation.pardons]
        if op.NAMES[operation.number] == "skip":
            counts.append(int(str(operation.arguments[0])))
        assert len(operation.pardons) <= 2
        for count in counts:
            assert index + 1 + count < len(compiled.operations)


@pytest.mark.parametrize("euid", [0, 1000])
def test_no_slot_is_read_before_it_is_filled(euid: int) -> None:
    compiled = plan(everything(), HostFacts(apparmor=True, euid=euid))
    filled: set[int] = set()
    for operation in compiled.operations:
        kinds = op.KINDS[operation.number].replace("bn", "b")
        for kind, value in zip(kinds, operation.arguments, strict=True):
            if kind == "s" and value != -1:
                assert value in filled, (op.NAMES[operation.number], operation.at, value)
        filled |= {
            value
            for kind, value in zip(kinds, operation.arguments, strict=True)
            if kind == "o" and isinstance(value, int)
        }


def test_every_operation_says_where_it_comes_from() -> None:
    compiled = plan(everything(), HostFacts(apparmor=True))
    for operation in compiled.operations:
        assert operation.at == "" or operation.at.startswith("."), operation.at


def test_compiling_twice_gives_the_same_plan() -> None:
    first, second = (
        rows(everything(), HostFacts(apparmor=True)).rows,
        rows(everything(), HostFacts(apparmor=True)).rows,
    )
    assert first == second


def test_either_goes_on_to_the_alternative_from_every_operation_of_the_first() -> None:
    compiled = Plan()
    compiled.either((1, 2), [op.setsid(), op.umask(0)], [op.chdir("/a"), op.chdir("/b")])
    names = [op.NAMES[each.number] for each in compiled.operations]
    assert names == ["setsid", "umask", "skip", "chdir", "chdir"]
    for index in (0, 1):
        assert compiled.operations[index].pardons == ((1, 2 - index), (2, 2 - index))
    assert compiled.operations[2].arguments == (2,)


def test_attempt_leaves_out_the_rest() -> None:
    compiled = Plan()
    compiled.attempt((2,), op.setsid(), op.chdir("/a"), op.chdir("/b"))
    assert compiled.operations[0].pardons == ((2, 2),)
    assert compiled.operations[1].pardons == ()
