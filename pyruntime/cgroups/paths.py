"""Where a container's cgroup is, as a pure function of its configuration (row R160)."""

from __future__ import annotations

from pyruntime.errors import CgroupError
from pyruntime.request import clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def cgroup_path(config: dict[str, Any], identifier: str) -> str:
    """The cgroup's path below the mount point of every hierarchy, for the cgroupfs driver.

    An absolute linux.cgroupsPath is relative to the mount point, a relative one is placed
    below the root as well, and an unset one means "/" + the id. `..` cannot leave the root.
    Raises CgroupError for a path that names the root itself or cannot be a path.
    """
    asked = (config.get("linux") or {}).get("cgroupsPath") or "/" + identifier
    if "\0" in asked or "\n" in asked:
        raise CgroupError(f"linux.cgroupsPath: {asked!r} has a character that no cgroup can have")
    path = clean(asked)
    if path == "/":
        raise CgroupError(f"linux.cgroupsPath: {asked!r} is the root cgroup")
    return path


class Unit:
    """What a systemd cgroupsPath names: `slice` and the `name` of the unit within it."""

    __slots__ = ("name", "slice")

    def __init__(self, slice: str, name: str) -> None:
        self.slice = slice
        self.name = name


def systemd_unit(config: dict[str, Any], identifier: str, user: bool = False) -> Unit:
    """The unit of a `slice:prefix:name` path, for the systemd driver.

    An empty slice is system.slice (user.slice for a user manager), `-` is the root slice, an
    empty prefix leaves the name bare, and a name ending in .slice is a unit name already.
    Unset means `:pyruntime:ID`. Raises CgroupError unless there are three parts.
    """
    asked = (config.get("linux") or {}).get("cgroupsPath") or ":pyruntime:" + identifier
    parts = asked.split(":")
    if len(parts) != 3 or not parts[2] or "/" in asked:
        raise CgroupError(
            f"linux.cgroupsPath: {asked!r} is not of the form slice:prefix:name,"
            " which the systemd cgroup driver needs"
        )
    slice, prefix, name = parts
    slice = slice or ("user.slice" if user else "system.slice")
    slice_path(slice)
    if not name.endswith(".slice"):
        name = (prefix + "-" if prefix else "") + name + ".scope"
    return Unit("-.slice" if slice == "-" else slice, name)


def slice_path(slice: str) -> str:
    """The directory of a slice below the systemd root: a-b.slice is /a.slice/a-b.slice.

    Raises CgroupError for a name that systemd would not take.
    """
    if slice in ("-", "-.slice"):
        return "/"
    stem = slice[: -len(".slice")]
    if not slice.endswith(".slice") or "/" in slice or "" in stem.split("-"):
        raise CgroupError(f"linux.cgroupsPath: {slice!r} is not the name of a slice")
    path, name = "", ""
    for part in stem.split("-"):
        name = name + "-" + part if name else part
        path += "/" + name + ".slice"
    return path
