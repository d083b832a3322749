"""What the mount table says about cgroups."""

from __future__ import annotations

import pytest

from pyruntime.cgroups.layout import detect, own_paths, parse

CO_MOUNTED = """\
24 1 0:22 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
25 24 0:23 / /sys/fs/cgroup/systemd rw shared:9 - cgroup cgroup rw,xattr,name=systemd
26 24 0:24 / /sys/fs/cgroup/cpu,cpuacct rw shared:10 - cgroup cgroup rw,cpu,cpuacct
27 24 0:25 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,noprefix,cpuset,clone_children
28 24 0:26 / /sys/fs/cgroup/net_cls,net_prio rw - cgroup cgroup rw,net_cls,net_prio
"""
UNIFIED = "29 24 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n"
V2 = "30 1 0:27 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate,favordynmods\n"


@pytest.mark.rows("R160", "R194")
def test_co_mounted_controllers_share_a_mount_point() -> None:
    layout = parse(CO_MOUNTED)
    assert layout.mode == "v1"
    assert layout.v2 is None
    assert layout.v1 == {
        "name=systemd": "/sys/fs/cgroup/systemd",
        "cpu": "/sys/fs/cgroup/cpu,cpuacct",
        "cpuacct": "/sys/fs/cgroup/cpu,cpuacct",
        "cpuset": "/sys/fs/cgroup/cpuset",
        "net_cls": "/sys/fs/cgroup/net_cls,net_prio",
        "net_prio": "/sys/fs/cgroup/net_cls,net_prio",
    }


@pytest.mark.rows("R166")
def test_v1_beside_a_host_of_v2_is_somebody_else_s() -> None:
    """As a VPN has net_cls for itself, or CRIU all of them while it dumps."""
    stray = "20 1 0:28 / /opt/vpn/net_cls rw - cgroup cgroup rw,net_cls\n"
    again = "21 1 0:27 / /mnt/unified rw - cgroup2 cgroup2 rw\n"
    layout = parse(stray + again + V2)
    assert (layout.mode, layout.v1, layout.v2) == ("v2", {}, "/sys/fs/cgroup")


@pytest.mark.rows("R166")
@pytest.mark.parametrize(
    ("text", "mode", "v2"),
    [
        (CO_MOUNTED + UNIFIED, "hybrid", "/sys/fs/cgroup/unified"),
        (V2, "v2", "/sys/fs/cgroup"),
        ("1 0 8:1 / / rw - ext4 /dev/root rw\n", "none", None),
        ("", "none", None),
    ],
)
def test_modes(text: str, mode: str, v2: str | None) -> None:
    layout = parse(text)
    assert (layout.mode, layout.v2) == (mode, v2)


def test_a_mount_over_others_hides_them() -> None:
    layout = parse(CO_MOUNTED + UNIFIED + V2)
    assert (layout.mode, layout.v1, layout.v2) == ("v2", {}, "/sys/fs/cgroup")


def test_a_whole_hierarchy_is_preferred_and_the_first_of_them() -> None:
    part = "40 1 0:24 /docker/x /var/lib/x/cgroup/memory rw - cgroup cgroup rw,memory\n"
    whole = "41 1 0:24 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    again = "42 1 0:24 / /mnt/memory rw - cgroup cgroup rw,memory\n"
    assert parse(part).v1["memory"] == "/var/lib/x/cgroup/memory"
    assert parse(part + whole + again).v1["memory"] == "/sys/fs/cgroup/memory"


def test_octal_escapes_in_a_mount_point() -> None:
    text = "30 1 0:27 / /with\\040space\\134 rw - cgroup2 cgroup2 rw\n"
    assert parse(text).v2 == "/with space\\"


def test_own_paths() -> None:
    text = "9:name=systemd:/\n4:cpu,cpuacct:/a:b\n0::/c\n"
    assert own_paths(text) == {"name=systemd": "/", "cpu": "/a:b", "cpuacct": "/a:b", "": "/c"}


def test_this_host_has_what_it_says() -> None:
    layout = detect()
    if layout.mode == "none":
        pytest.skip("no cgroup is mounted")
    for root in [*layout.v1.values(), *([layout.v2] if layout.v2 else [])]:
        with open(root + "/cgroup.procs", "rb"):
            pass
