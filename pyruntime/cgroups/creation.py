"""Making a container's cgroup in every hierarchy, so that a process can join it."""

from __future__ import annotations

import errno

from pyruntime.cgroups.directory import Directory, failed, make, processes
from pyruntime.errors import CgroupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyruntime.cgroups.manager import Cgroup

_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)

_CONTROLLERS = (
    ("memory", "memory"),
    ("cpu", "cpu"),
    ("pids", "pids"),
    ("blockIO", "io"),
    ("hugepageLimits", "hugetlb"),
    ("rdma", "rdma"),
)

# Controllers of v2 that know threads as well; all others know processes only.
_THREADED = frozenset(("cpu", "cpuset", "perf_event", "pids"))

# What cannot be limited in a threaded cgroup, by the section that asks for it.
_DOMAIN_ONLY = (("memory", "memory"), ("blockIO", "io"), ("hugepageLimits", "hugetlb"))


def create(cgroup: Cgroup, resources: dict[str, Any] | None) -> None:
    """Make every directory; `cgroup.new` and `cgroup.made` grow by what was made.

    Raises CgroupError for the first that fails, is not empty, or is frozen (row R163).
    """
    for directory in cgroup.each():
        names = [name for name, one in cgroup.directories.items() if one is directory]
        try:
            _make(cgroup, directory, names, resources or {})
        except OSError as error:
            if not cgroup.rootless or error.errno not in _REFUSED:
                raise failed("", f"make cgroup {directory.path}", error) from error
            for name in names:
                del cgroup.directories[name]
    check_thawed(cgroup)


def _make(
    cgroup: Cgroup, directory: Directory, names: list[str], resources: dict[str, Any]
) -> None:
    root = cgroup.roots[names[0]]
    make(root, directory.path, cgroup.new)
    if directory.path in cgroup.new:
        cgroup.made.append(directory.path)
    else:
        check_empty(directory)
        if "" in names:
            _check_leaf(directory)
    if "" in names:
        alone = len(cgroup.directories) == 1
        asked = needed(resources)
        enable(root, directory.path, asked, None if alone else _beside_v1(resources))
        _make_threaded(directory, resources)
    if "cpuset" in names:
        fill_cpuset(root, directory.path)


def _beside_v1(resources: dict[str, Any]) -> set[str]:
    """The v2 controllers to enable on a hybrid host: only what is asked for."""
    return {"hugetlb"} if resources.get("hugepageLimits") else set()


def needed(resources: dict[str, Any]) -> set[str]:
    """The v2 controllers without which some limit cannot be kept (pure)."""
    found = {name for section, name in _CONTROLLERS if resources.get(section)}
    cpu = resources.get("cpu") or {}
    sets = {key for key in ("cpus", "mems") if cpu.get(key)}
    if sets:
        found.add("cpuset")
    if not any(value is not None for key, value in cpu.items() if key not in sets):
        found.discard("cpu")
    for file in resources.get("unified") or ():
        found.add(file.partition(".")[0])
    return found - {"cgroup"}


def _make_threaded(directory: Directory, resources: dict[str, Any]) -> None:
    """Below a threaded cgroup a new one takes no process until it is threaded too (R165)."""
    try:
        kind = directory.read("cgroup.type").strip()
    except FileNotFoundError:
        return
    if kind != "domain invalid":
        return
    for section, controller in _DOMAIN_ONLY:
        if resources.get(section):
            raise CgroupError(
                f"linux.resources.{section}: controller {controller} does not work in"
                f" {directory.path}, which is below a threaded cgroup"
            )
    directory.write("cgroup.type", "threaded")


def check_empty(directory: Directory) -> None:
    """Raises CgroupError if an existing cgroup has processes (row R163)."""
    listed = processes(directory)
    if listed:
        shown = " ".join(map(str, listed[:10]))
        raise CgroupError(f"cgroup {directory.path} is not empty: processes {shown}")


def check_thawed(cgroup: Cgroup) -> None:
    """Raises CgroupError if a process that joins would stop (row R163)."""
    freezer = cgroup.freezer()
    if freezer and freezer.blocks():
        path = freezer.directory.path
        raise CgroupError(f"cgroup {path} is frozen: a container could not start in it")


def _check_leaf(directory: Directory) -> None:
    """Raises CgroupError if an existing v2 cgroup takes no process: it passes controllers on."""
    passed = set(directory.read("cgroup.subtree_control").split()) - _THREADED
    if passed:
        raise CgroupError(
            f"cgroup {directory.path} takes no process: its cgroup.subtree_control has"
            f" {' '.join(sorted(passed))} enabled for cgroups below it"
        )


def fill_cpuset(root: str, path: str) -> None:
    """Give every cpuset from the root down the parent's cpus and mems where it has none.

    A v1 cpuset without both takes no process. Raises OSError.
    """
    parent = Directory(root)
    prefix = "cpuset." if parent.has("cpuset.cpus") else ""
    for below in _chain(root, path):
        child = Directory(below)
        for file in (prefix + "cpus", prefix + "mems"):
            if not child.read(file).strip():
                child.write(file, parent.read(file).strip())
        parent.close()
        parent = child
    parent.close()


def enable(root: str, path: str, asked: set[str], wanted: set[str] | None) -> None:
    """Enable controllers for a v2 cgroup in every one above it (row R165). Raises OSError.

    `wanted` are those to enable (None: all that there are), `asked` those that a limit needs.

    One that cannot be enabled is missing later only if somebody asks for its limits.
    """
    if wanted is not None and not wanted:
        return
    for above in [root, *_chain(root, path)[:-1]]:
        directory = Directory(above)
        try:
            _enable_in(directory, asked, wanted)
        finally:
            directory.close()


def _enable_in(directory: Directory, asked: set[str], wanted: set[str] | None) -> None:
    there = set(directory.read("cgroup.controllers").split())
    missing = there - set(directory.read("cgroup.subtree_control").split())
    if wanted is not None:
        missing &= wanted
    if not missing:
        return
    names = ["+" + name for name in sorted(missing)]
    try:
        directory.write("cgroup.subtree_control", " ".join(names))
    except OSError as error:
        if error.errno == errno.EBUSY:
            names = _for_a_busy_one(missing & asked)
        for name in names:
            try:
                directory.write("cgroup.subtree_control", name)
            except OSError:
                continue


def _for_a_busy_one(asked: set[str]) -> list[str]:
    """What to enable in a cgroup that has processes of its own: what is asked for, if it helps.

    The kernel lets such a cgroup enable controllers of threads, and makes it the root of
    threaded ones then, where nothing else can be limited. Nobody's cgroup is changed so
    unless a limit needs it, and can be had.
    """
    return ["+" + name for name in sorted(asked)] if asked <= _THREADED else []


def _chain(root: str, path: str) -> list[str]:
    """The directories from below the root down to the path, outermost first."""
    root = root.rstrip("/")
    chain, at = [], root
    for part in path[len(root) :].split("/"):
        if part:
            at += "/" + part
            chain.append(at)
    return chain
