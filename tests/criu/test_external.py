"""Which mounts and files of a container are from outside, and by which names CRIU knows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pyruntime.criu import external
from pyruntime.facts import Facts
from pyruntime.plan.settings import Settings

INSIDE = r"""
100 90 8:1 /bundle/rootfs / rw - ext4 /dev/sda rw
101 100 0:30 / /proc rw - proc proc rw
102 100 8:1 /data /data ro - ext4 /dev/sda rw
103 102 0:31 / /data/deep rw - tmpfs tmpfs rw
104 102 0:32 / /data/own rw - tmpfs tmpfs rw
105 100 8:1 /data /run/a\040b rw - ext4 /dev/sda rw
106 100 0:40 / /sys/fs/cgroup rw - tmpfs tmpfs rw
107 106 0:41 /c /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu
108 100 0:5 /null /dev/null rw - devtmpfs devtmpfs rw
"""
OUTSIDE = """
30 1 8:1 / / rw - ext4 /dev/sda rw
31 30 0:31 / /data/deep rw - tmpfs tmpfs rw
"""


def mount(destination: str, source: str = "/data", *options: str) -> dict[str, Any]:
    return {"destination": destination, "source": source, "options": ["rbind", *options]}


CONFIG = {
    "mounts": [
        {"destination": "/proc", "type": "proc"},
        mount("/data/"),
        mount("/var/run/a b", "data"),
        mount("/data", "/data", "remount"),
        {"destination": "/data/own", "type": "tmpfs"},
        {"destination": "/sys/fs/cgroup", "type": "cgroup"},
    ]
}


@pytest.fixture(autouse=True)
def tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mount tables of a container, process 7, and of the host."""
    texts = {"/proc/7/mountinfo": INSIDE, "/proc/self/mountinfo": OUTSIDE}
    monkeypatch.setattr(external, "read_text", lambda path: texts[path])


@pytest.fixture
def rootfs(tmp_path: Path) -> str:
    """A root file system in which /var/run is a link to /run, as usual."""
    (tmp_path / "var").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "var/run").symlink_to("/run")
    (tmp_path / "up").symlink_to("../../../..")
    (tmp_path / "ring").symlink_to("ring")
    return str(tmp_path)


def pairs(found: list[dict[str, str]]) -> dict[str, str]:
    return {each["key"]: each["val"] for each in found}


def restored(config: dict[str, Any], cgroups: dict[str, tuple[str, str]]) -> dict[str, str]:
    found = Settings(config, Facts())
    found.cgroups = cgroups
    return pairs(external.restored_mounts(found, "/run/x"))


@pytest.mark.rows("R296")
def test_names_at_a_dump(rootfs: str) -> None:
    assert pairs(external.saved_mounts(CONFIG, "/", rootfs, 7)) == {
        "/dev/null": "/dev/null",
        "/data": "/data",
        "/data/deep": "/data/deep",  # came with the source; /data/own did not
        "/run/a b": "/var/run/a b",
        "/sys/fs/cgroup/cpu": "/sys/fs/cgroup/cpu",
    }


@pytest.mark.rows("R296")
def test_sources_at_a_restore() -> None:
    cgroups = {"cpu": ("/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct/c2")}
    found = restored(CONFIG, cgroups)
    assert found["/data"] == "/run/x/criu-mounts/1"
    assert found["/data/deep"] == "/run/x/criu-mounts/1/deep"
    assert found["/var/run/a b"] == "/run/x/criu-mounts/2"
    assert found["/sys/fs/cgroup/cpu,cpuacct"] == "/sys/fs/cgroup/cpu,cpuacct/c2"
    assert found["/dev/zero"] == "/dev/zero"


UNIFIED = {"": ("/sys/fs/cgroup", "/sys/fs/cgroup/c2")}


@pytest.mark.rows("R296", "R93")
@pytest.mark.parametrize(
    ("kind", "path"), [("uts", "/sys/fs/cgroup"), ("user", "/sys/fs/cgroup/c2")]
)
def test_cgroups_of_version_2(kind: str, path: str) -> None:
    """What create shows: the whole of the host's, unless there is a user namespace."""
    config = {**CONFIG, "linux": {"namespaces": [{"type": kind}]}}
    assert restored(config, UNIFIED)["/sys/fs/cgroup"] == path


@pytest.mark.rows("R296")
def test_with_a_namespace_cgroup_mounts_are_ordinary_ones(rootfs: str) -> None:
    config = {**CONFIG, "linux": {"namespaces": [{"type": "cgroup"}]}}
    saved = pairs(external.saved_mounts(config, "/", rootfs, 7))
    assert not any("cgroup" in point for point in saved)
    assert "/sys/fs/cgroup" not in restored(config, UNIFIED)


@pytest.mark.rows("R296")
@pytest.mark.parametrize(
    ("path", "real"),
    [
        ("/var/run/x", "/run/x"),
        ("/up/up/etc", "/etc"),
        ("/var/../run/./x/..", "/run"),
        ("/none/such/../x", "/none/x"),
        ("/", "/"),
    ],
)
def test_links_lead_nowhere_else(rootfs: str, path: str, real: str) -> None:
    assert external.resolve(rootfs, path) == real


@pytest.mark.rows("R296")
def test_a_ring_of_links_has_an_end(rootfs: str) -> None:
    assert external.resolve(rootfs, "/ring/x").startswith("/")


@pytest.mark.rows("R296")
def test_namespaces_by_path() -> None:
    given = [{"type": "network", "path": "/n"}, {"type": "pid"}, {"type": "uts", "path": "/u"}]
    config = {"linux": {"namespaces": given}}
    assert external.namespace_paths(config) == {"network": "/n", "uts": "/u"}
    assert external.namespace_paths({}) == {}
