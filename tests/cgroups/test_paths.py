"""From linux.cgroupsPath to a path below the mount points."""

from __future__ import annotations

import pytest

from pyruntime.cgroups.paths import cgroup_path, slice_path, systemd_unit
from pyruntime.errors import CgroupError
from pyruntime.request import clean


def asking(path: str | None) -> dict[str, object]:
    return {"linux": {"cgroupsPath": path}} if path is not None else {}


@pytest.mark.rows("R160")
@pytest.mark.parametrize(
    ("asked", "path"),
    [
        ("/a/b", "/a/b"),
        ("a/b", "/a/b"),
        (None, "/id"),
        ("", "/id"),
        ("/../../a", "/a"),
        ("../a/./b//c/../d/", "/a/b/d"),
        ("/a/...", "/a/..."),
    ],
)
def test_cgroup_path(asked: str | None, path: str) -> None:
    assert cgroup_path(asking(asked), "id") == path


@pytest.mark.rows("R160", "R4")
@pytest.mark.parametrize("asked", ["/", "/a/..", "..", "/a\nb", "/a\0b"])
def test_a_path_that_cannot_be(asked: str) -> None:
    with pytest.raises(CgroupError, match=r"^linux\.cgroupsPath: "):
        cgroup_path(asking(asked), "id")


def test_clean_is_idempotent() -> None:
    for path in ("/", "/a", "/a/b"):
        assert clean(path) == path


@pytest.mark.rows("R160")
@pytest.mark.parametrize(
    ("asked", "user", "slice", "name"),
    [
        ("machine.slice:libpod:abc", False, "machine.slice", "libpod-abc.scope"),
        (":docker:abc", False, "system.slice", "docker-abc.scope"),
        ("::abc", True, "user.slice", "abc.scope"),
        ("-:p:abc", False, "-.slice", "p-abc.scope"),
        ("a.slice:p:b.slice", False, "a.slice", "b.slice"),
        (None, False, "system.slice", "pyruntime-id.scope"),
    ],
)
def test_systemd_unit(asked: str | None, user: bool, slice: str, name: str) -> None:
    unit = systemd_unit(asking(asked), "id", user)
    assert (unit.slice, unit.name) == (slice, name)


@pytest.mark.rows("R160")
@pytest.mark.parametrize("asked", ["/a/b", "a:b", "a.slice:b:c:d", "a:b:c", "a.slice:b:", "::"])
def test_systemd_path_that_cannot_be(asked: str) -> None:
    with pytest.raises(CgroupError, match=r"^linux\.cgroupsPath: "):
        systemd_unit(asking(asked), "id")


@pytest.mark.rows("R160")
def test_slice_path() -> None:
    assert slice_path("a-b-c.slice") == "/a.slice/a-b.slice/a-b-c.slice"
    assert slice_path("-.slice") == slice_path("-") == "/"
    for bad in ("a", "a--b.slice", "-a.slice", "a/b.slice", ".slice"):
        with pytest.raises(CgroupError):
            slice_path(bad)
