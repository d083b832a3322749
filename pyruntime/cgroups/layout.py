"""Which cgroup hierarchies this host has and where they are mounted.

The mount table is the only source: compiled-in paths are wrong in nested containers and
on hosts that co-mount controllers.
"""

from __future__ import annotations

from pyruntime.cgroups.directory import read_text

USUAL_PLACE = "/sys/fs/cgroup"

# Mount options that stand beside the controllers in the super options of a v1 mount.
_FLAGS = frozenset(
    (
        "rw",
        "ro",
        "noprefix",
        "xattr",
        "clone_children",
        "cpuset_v2_mode",
        "favordynmods",
        "nofavordynmods",
        "none",
    )
)


class Layout:
    """The hierarchies of a host.

    `mode` is "v1", "hybrid", "v2" or "none". `v1` maps each controller to its mount point
    (co-mounted controllers to the same one, a named hierarchy as "name=NAME"). `v2` is the
    mount point of the unified hierarchy, or None.
    """

    __slots__ = ("mode", "v1", "v2")

    def __init__(self, v1: dict[str, str], v2: str | None) -> None:
        self.v1 = v1
        self.v2 = v2
        if v1:
            self.mode = "hybrid" if v2 else "v1"
        else:
            self.mode = "v2" if v2 else "none"

    def roots(self) -> dict[str, str]:
        """Controller -> mount point of its hierarchy; "" is the v2 hierarchy."""
        return dict(self.v1) | ({"": self.v2} if self.v2 else {})

    def __repr__(self) -> str:
        return f"Layout(mode={self.mode!r}, v1={self.v1!r}, v2={self.v2!r})"


class _Mount:
    __slots__ = ("kind", "options", "point", "root")

    def __init__(self, kind: str, root: str, point: str, options: str) -> None:
        self.kind = kind
        self.root = root
        self.point = point
        self.options = options


def detect() -> Layout:
    """The layout that the calling process sees.

    Raises OSError if /proc/self/mountinfo cannot be read.
    """
    return parse(read_text("/proc/self/mountinfo"))


def parse(mountinfo: str) -> Layout:
    """The layout that a text in the form of /proc/self/mountinfo describes.

    Where v2 lies at the usual place, hierarchies of v1 elsewhere are left to those who made
    them: net_cls of a VPN's, or what CRIU mounts while it works.
    """
    v1: dict[str, _Mount] = {}
    v2: _Mount | None = None
    for mount in _visible(mountinfo):
        if mount.kind == "cgroup2":
            v2 = _better(v2, mount)
            continue
        for controller in _controllers(mount.options):
            v1[controller] = _better(v1.get(controller), mount)
    if v2 is not None and v2.point == USUAL_PLACE:
        return Layout({}, v2.point)
    return Layout({name: mount.point for name, mount in v1.items()}, v2.point if v2 else None)


def own_paths(text: str) -> dict[str, str]:
    """Controller -> cgroup path out of a text like /proc/PID/cgroup; "" is the v2 hierarchy."""
    paths = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            paths[controller] = path
    return paths


def own_directories(found: Layout) -> dict[str, tuple[str, str]]:
    """Controller -> (mount point, directory) of the calling process's own cgroups.

    Raises OSError if /proc/self/cgroup cannot be read.
    """
    paths = own_paths(read_text("/proc/self/cgroup"))
    return {
        name: (root, root.rstrip("/") + paths[name].rstrip("/"))
        for name, root in found.roots().items()
        if name in paths
    }


def _visible(mountinfo: str) -> list[_Mount]:
    """The cgroup mounts that no later mount covers."""
    found: list[_Mount] = []
    for line in mountinfo.splitlines():
        head, separator, tail = line.partition(" - ")
        fields = head.split(" ")
        if not separator or len(fields) < 5:
            continue
        point = unescape(fields[4])
        if found:
            found = [mount for mount in found if not _covers(point, mount.point)]
        if tail.startswith(("cgroup ", "cgroup2 ")):
            kind, _, rest = tail.partition(" ")
            found.append(_Mount(kind, unescape(fields[3]), point, rest.rpartition(" ")[2]))
    return found


def _covers(upper: str, lower: str) -> bool:
    return upper == "/" or upper == lower or lower.startswith(upper + "/")


def _better(old: _Mount | None, new: _Mount) -> _Mount:
    """The first mount wins, but one at the usual place beats those elsewhere, and one of a
    whole hierarchy a bind of a part of it."""
    return old if old is not None and _rank(old) >= _rank(new) else new


def _rank(mount: _Mount) -> tuple[bool, bool]:
    return mount.root == "/", (mount.point + "/").startswith(USUAL_PLACE + "/")


def _controllers(options: str) -> list[str]:
    return [
        option
        for option in options.split(",")
        if option not in _FLAGS and (option.startswith("name=") or "=" not in option)
    ]


def unescape(field: str) -> str:
    """A path field of mountinfo, where the kernel writes space, tab, newline, \\ in octal."""
    if "\\" not in field:
        return field
    first, *rest = field.split("\\")
    return first + "".join(chr(int(part[:3], 8)) + part[3:] for part in rest)
