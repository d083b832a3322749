"""Every mount option of the specification's table, and what it turns into."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from pyruntime.plan import constants as c
from pyruntime.plan import mount_options
from tests.plan import compiled

# option: (bits set, bits cleared), from mount_setattr(2)
ATTRIBUTES = {
    "ro": (0x1, 0),
    "rw": (0, 0x1),
    "nosuid": (0x2, 0),
    "suid": (0, 0x2),
    "nodev": (0x4, 0),
    "dev": (0, 0x4),
    "noexec": (0x8, 0),
    "exec": (0, 0x8),
    "noatime": (0x10, 0x70),
    "atime": (0, 0x70),
    "relatime": (0, 0x70),
    "norelatime": (0x20, 0x70),
    "strictatime": (0x20, 0x70),
    "nostrictatime": (0, 0x70),
    "nodiratime": (0x80, 0),
    "diratime": (0, 0x80),
    "nosymfollow": (0x200000, 0),
    "symfollow": (0, 0x200000),
}
PROPAGATION = {
    "unbindable": 1 << 17,
    "private": 1 << 18,
    "slave": 1 << 19,
    "shared": 1 << 20,
}
SUPERBLOCK = ("async sync dirsync mand nomand lazytime nolazytime iversion noiversion").split()


@pytest.mark.rows("R102", "R103", "R104", "R105", "R113")
@pytest.mark.parametrize("option", ATTRIBUTES)
def test_attribute(option: str) -> None:
    options = mount_options.parse([option])
    assert (options.set, options.clear) == ATTRIBUTES[option]
    assert (options.recursive_set, options.recursive_clear) == (0, 0)
    assert options.data == []


@pytest.mark.rows("R115")
@pytest.mark.parametrize("option", ATTRIBUTES)
def test_recursive_attribute(option: str) -> None:
    options = mount_options.parse(["r" + option])
    assert (options.recursive_set, options.recursive_clear) == ATTRIBUTES[option]
    assert (options.set, options.clear) == (0, 0)
    assert options.data == []


@pytest.mark.rows("R94", "R105")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("ro rw", (0, 1)),
        ("rw ro", (1, 0)),
        ("nosuid suid nosuid", (2, 0)),
        ("ro nodev dev", (1, 4)),
        ("noatime strictatime", (0x20, 0x70)),
        ("strictatime relatime", (0, 0x70)),
        ("noatime nodiratime", (0x90, 0x70)),
    ],
)
def test_a_later_option_wins(words: str, expected: tuple[int, int]) -> None:
    options = mount_options.parse(words.split())
    assert (options.set, options.clear) == expected


@pytest.mark.rows("R115")
def test_plain_and_recursive_ones_do_not_mix() -> None:
    options = mount_options.parse(["rbind", "ro", "rnosuid", "rsuid"])
    assert (options.set, options.clear) == (1, 0)
    assert (options.recursive_set, options.recursive_clear) == (0, 2)


@pytest.mark.rows("R114")
@pytest.mark.parametrize("option", PROPAGATION)
def test_propagation(option: str) -> None:
    options = mount_options.parse([option, "r" + option])
    assert options.propagation == [(PROPAGATION[option], False), (PROPAGATION[option], True)]
    assert (options.set, options.clear, options.data) == (0, 0, [])


@pytest.mark.rows("R100", "R101", "R109", "R110", "R112")
@pytest.mark.parametrize("option", SUPERBLOCK)
def test_flag_of_the_superblock(option: str) -> None:
    options = mount_options.parse([option])
    assert list(options.superblock.values()) == [option]
    assert (options.set, options.clear, options.data) == (0, 0, [])


@pytest.mark.rows("R100", "R110")
def test_a_later_flag_of_the_superblock_wins() -> None:
    options = mount_options.parse(["sync", "lazytime", "dirsync", "async", "nolazytime"])
    assert sorted(options.superblock.values()) == ["async", "dirsync", "nolazytime"]


@pytest.mark.rows("R106", "R111")
@pytest.mark.parametrize("option", ["defaults", "silent", "loud"])
def test_option_without_effect_is_no_data(option: str) -> None:
    options = mount_options.parse(["ro", option])
    assert (options.set, options.clear) == (1, 0)
    assert options.data == []
    assert options.superblock == {}


@pytest.mark.rows("R107")
def test_bind_and_rbind() -> None:
    bind, rbind = mount_options.parse(["bind"]), mount_options.parse(["rbind"])
    assert (bind.bind, bind.recursive_bind) == (True, False)
    assert (rbind.bind, rbind.recursive_bind) == (True, True)
    assert not mount_options.parse(["ro"]).bind


@pytest.mark.rows("R108", "R116", "R117")
def test_actions() -> None:
    assert mount_options.parse(["remount", "ro"]).remount
    assert mount_options.parse(["tmpcopyup"]).tmpcopyup
    assert mount_options.parse(["idmap"]).idmap == "idmap"
    assert mount_options.parse(["ridmap"]).idmap == "ridmap"
    assert mount_options.parse(["remount", "tmpcopyup", "idmap"]).data == []


@pytest.mark.rows("R119")
@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("size=64k", [("size", "64k")]),
        ("newinstance", [("newinstance", None)]),
        ("size=1m,mode=700,huge", [("size", "1m"), ("mode", "700"), ("huge", None)]),
        ("lowerdir=/a:/b", [("lowerdir", "/a:/b")]),
        ("key=a=b", [("key", "a=b")]),
        ("empty=", [("empty", "")]),
        (
            'context="system_u:object_r:x_t:s0:c1,c2"',
            [("context", "system_u:object_r:x_t:s0:c1,c2")],
        ),
        ('context="a,b",size=1k', [("context", "a,b"), ("size", "1k")]),
        (",,", []),
        ("", []),
    ],
)
def test_the_rest_is_data_for_the_file_system(
    option: str, expected: list[tuple[str, str | None]]
) -> None:
    assert mount_options.parse([option]).data == expected


@pytest.mark.rows("R119")
def test_data_stays_in_order() -> None:
    options = mount_options.parse(["size=1k", "ro", "mode=1777", "size=2k"])
    assert options.data == [("size", "1k"), ("mode", "1777"), ("size", "2k")]


def test_no_option_is_in_two_tables() -> None:
    tables: list[Iterable[str]] = [
        mount_options.ATTRIBUTES,
        mount_options.RECURSIVE,
        mount_options.PROPAGATION,
        mount_options.SUPERBLOCK,
        mount_options.NOTHING,
    ]
    names = [name for table in tables for name in table]
    assert len(names) == len(set(names))


# --- what they become in a plan ---------------------------------------------


def mounted(options: list[str], kind: str = "tmpfs", path: str = "/m") -> compiled.Rows:
    mount = {"destination": path, "type": kind, "source": "/src", "options": options}
    return compiled.rows(compiled.config(mounts=[mount]))


@pytest.mark.rows("R105")
def test_attributes_of_a_new_file_system_are_set_before_it_is_visible() -> None:
    rows = mounted(["nosuid", "noexec"])
    assert rows.arguments("fsmount", slot="new mount")["attributes"] == (
        "MOUNT_ATTR_NOSUID|MOUNT_ATTR_NOEXEC"
    )
    assert rows.index("fsmount", slot="new mount") < rows.index("move_mount", mount="new mount")


@pytest.mark.rows("R105", "R107")
def test_attributes_of_a_bind_mount_are_set_before_it_is_visible() -> None:
    rows = mounted(["bind", "ro", "exec"], "bind")
    change = rows.index(
        "mount_setattr", attributes="+MOUNT_ATTR_RDONLY -MOUNT_ATTR_NOEXEC", flags="AT_EMPTY_PATH"
    )
    assert change < rows.index("move_mount", mount="mount 0")


@pytest.mark.rows("R105")
@pytest.mark.parametrize(("kind", "path"), [("tmpfs", "/m"), ("tmpfs", "/dev")])
def test_read_only_waits_until_the_content_is_there(kind: str, path: str) -> None:
    rows = mounted(["ro", "nosuid"], kind, path)
    assert rows.arguments("fsmount", slot="new mount")["attributes"] == "MOUNT_ATTR_NOSUID"
    late = rows.index("mount_setattr", attributes="+MOUNT_ATTR_RDONLY", at=".mounts[0]")
    assert late > rows.index("pivot_root")
    assert late > max(rows.indexes("mknodat"))


@pytest.mark.rows("R115")
def test_recursive_attributes_reach_the_whole_tree() -> None:
    rows = mounted(["rbind", "rro"], "bind")
    assert rows.has(
        "mount_setattr", attributes="+MOUNT_ATTR_RDONLY", flags="AT_EMPTY_PATH|AT_RECURSIVE"
    )
    tree = rows.arguments("open_tree", path="/src")
    assert tree["flags"] == "AT_RECURSIVE|OPEN_TREE_CLONE"


@pytest.mark.rows("R107")
def test_bind_takes_one_mount_only() -> None:
    assert mounted(["bind"], "bind").arguments("open_tree", path="/src")["flags"] == (
        "OPEN_TREE_CLONE"
    )


@pytest.mark.rows("R93", "R107")
def test_the_option_decides_and_not_the_type() -> None:
    assert mounted(["bind"], "tmpfs").has("open_tree", path="/src")
    assert not mounted(["bind"], "tmpfs").has("fsopen", type="tmpfs", at=".mounts[0]")


@pytest.mark.rows("R114")
def test_propagation_is_changed_in_order_after_the_mount_is_visible() -> None:
    rows = mounted(["bind", "shared", "rslave"], "bind")
    shared = rows.index("mount_setattr", attributes="MS_SHARED", flags="AT_EMPTY_PATH")
    slave = rows.indexes("mount_setattr", attributes="MS_SLAVE", at=".mounts[0]")[-1]
    assert rows.index("move_mount", mount="mount 0") < shared < slave


@pytest.mark.rows("R100", "R109", "R110")
def test_flags_of_the_superblock_go_to_the_file_system() -> None:
    rows = mounted(["sync", "lazytime", "iversion"])
    for flag in ("sync", "lazytime"):
        assert rows.has("fsconfig", command="FSCONFIG_SET_FLAG", key=flag, at=".mounts[0]")
    assert not rows.has("fsconfig", key="iversion")


@pytest.mark.rows("R119")
def test_data_goes_to_the_file_system_key_by_key() -> None:
    rows = mounted(["size=1k,mode=700", "inode64"])
    create = rows.index("fsconfig", command="FSCONFIG_CMD_CREATE", at=".mounts[0]")
    for key, value in (("size", "1k"), ("mode", "700")):
        set_ = rows.index("fsconfig", command="FSCONFIG_SET_STRING", key=key, at=".mounts[0]")
        assert rows.rows[set_]["arguments"]["value"] == value
        assert set_ < create
    assert rows.has("fsconfig", command="FSCONFIG_SET_FLAG", key="inode64")


@pytest.mark.rows("R108")
def test_remount_changes_only_what_is_named() -> None:
    first = {"destination": "/m", "type": "tmpfs", "options": ["nosuid"]}
    again = {"destination": "/m", "options": ["remount", "ro"]}
    rows = compiled.rows(compiled.config(mounts=[first, again]))
    assert rows.arguments("mount_setattr", at=".mounts[1]")["attributes"] == "+MOUNT_ATTR_RDONLY"
    assert not rows.has("fsopen", at=".mounts[1]")


@pytest.mark.rows("R117", "R120")
def test_tmpcopyup_copies_from_the_mount_point_that_is_covered() -> None:
    rows = mounted(["tmpcopyup"])
    view = rows.index("open_tree", slot="copy", directory="point")
    copy = rows.index("copy_tree", source="copy", target="new mount")
    assert view < copy
    assert copy > rows.index("make_path", slot="point", path="m")
    assert rows.has("copy_mode", context="context", directory="point")


@pytest.mark.rows("R120")
def test_a_mode_that_is_given_is_not_taken_from_the_mount_point() -> None:
    assert not mounted(["mode=700"]).has("copy_mode")


def test_numbers_are_those_of_the_kernel() -> None:
    assert c.MOUNT_ATTR__ATIME == 0x70
    assert (c.MS_SHARED, c.MS_PRIVATE, c.MS_SLAVE, c.MS_UNBINDABLE) == (
        1 << 20,
        1 << 18,
        1 << 19,
        1 << 17,
    )
