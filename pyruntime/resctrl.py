"""linux.intelRdt: a container's class of cache and memory bandwidth (R200 to R205).

resctrl is a file system: a directory in its root is a class, whose `schemata` says what
it may use and whose `tasks` says who is in it; a directory in a class's `mon_groups` is
a group that is measured by itself. Source: the kernel's filesystems/resctrl text.
"""

from __future__ import annotations

import errno
import fcntl
import posix

from pyruntime import facts, failures
from pyruntime.cgroups.directory import read_text
from pyruntime.errors import OperationError
from pyruntime.state import exists, write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

AT = ".linux.intelRdt"
DIRECTORY_MODE = 0o755
# Resources whose values are decimal; those of the caches are bit masks in hexadecimal.
BANDWIDTHS = ("MB", "SMBA")


class Allocation:
    """Where a container's processes go: its class, and its monitoring group if it has one.

    `created` lists the directories that were made, a parent before its child;
    `removable` those of them that delete is to remove (R201, R205).
    """

    __slots__ = ("created", "directory", "group", "rdt", "removable", "root")

    def __init__(self, root: str, rdt: dict[str, Any], identifier: str) -> None:
        self.root = root
        self.rdt = rdt
        name = rdt.get("closID") or identifier
        self.directory = root if name == "/" else f"{root}/{name}"
        monitored = rdt.get("enableMonitoring")
        self.group = f"{self.directory}/mon_groups/{identifier}" if monitored else ""
        own = [] if rdt.get("closID") else [self.directory]
        self.removable = [path for path in [*own, self.group] if path and not exists(path)]
        self.created: list[str] = []

    def tasks(self) -> list[str]:
        """The directories that a process joins; the kernel wants the class first."""
        return [self.directory, self.group] if self.group else [self.directory]

    def create(self) -> None:
        """Make what is missing, compare what is there. Raises OperationError.

        The lock on the root is the one that the kernel's text names, so that no other
        runtime compares a class that has not been filled yet.
        """
        lock = posix.open(self.root, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._take_class()
            if self.group and not exists(self.group):
                self._make(self.group, ".enableMonitoring")
        finally:
            posix.close(lock)
        self.removable = [path for path in self.removable if path in self.created]

    def _take_class(self) -> None:
        wanted = any(self.rdt.get(name) for name in ("l3CacheSchema", "memBwSchema", "schemata"))
        if exists(self.directory):
            if not exists(self.directory + "/tasks"):
                raise OperationError(f"{AT[1:]}.closID: {self.directory} is no class", AT)
            if wanted:
                self._compare()
        elif wanted or not self.rdt.get("closID"):
            self._make(self.directory, ".closID")
            self._fill()
        else:
            raise OperationError(
                f"{AT[1:]}.closID: {self.directory} does not exist (without a schema, the "
                "class must be there already)",
                AT + ".closID",
                errno.ENOENT,
            )

    def _make(self, directory: str, name: str) -> None:
        try:
            posix.mkdir(directory, DIRECTORY_MODE)
        except OSError as error:
            raise _failure(self.root, AT + name, f"mkdir {directory}", error) from None
        self.created.append(directory)

    def _fill(self) -> None:
        """The L3 and MB lines in one write, then the free lines, which may change them (R202)."""
        first = [self.rdt[name] for name in ("l3CacheSchema", "memBwSchema") if self.rdt.get(name)]
        at = AT + (".l3CacheSchema" if self.rdt.get("l3CacheSchema") else ".memBwSchema")
        self._write_schemata(first, at)
        self._write_schemata(self.rdt.get("schemata") or [], AT + ".schemata")

    def _write_schemata(self, lines: list[str], at: str) -> None:
        if lines:
            content = "".join(line + "\n" for line in lines)
            write_file(self.root, at, self.directory + "/schemata", content)

    def _compare(self) -> None:
        """An existing class must already have what is asked for (R203)."""
        current = parse(facts.read(self.directory + "/schemata"))
        step = _bandwidth_step(self.root)
        for name in ("l3CacheSchema", "memBwSchema", "schemata"):
            asked = self.rdt.get(name) or []
            for line in [asked] if isinstance(asked, str) else asked:
                if not matches(parse(line), current, step):
                    raise OperationError(
                        f"{AT[1:]}.{name}: {line} is not what the class {self.directory} has: "
                        + "; ".join(facts.read(self.directory + "/schemata").split()),
                        f"{AT}.{name}",
                    )


def prepare(rdt: dict[str, Any], identifier: str) -> Allocation:
    """The allocation that a config asks for; nothing is made yet.

    Raises OperationError if resctrl is not mounted here (R200).
    """
    root = find_mount(read_text("/proc/self/mountinfo"))
    if not root:
        raise OperationError(
            f"{AT[1:]}: resctrl is not mounted (mount -t resctrl resctrl /sys/fs/resctrl; it "
            "needs a processor with cache or bandwidth allocation)",
            AT,
            errno.ENOENT,
        )
    return Allocation(root, rdt, identifier)


def find_mount(mountinfo: str) -> str:
    """Where resctrl is mounted as a whole, by a text like /proc/self/mountinfo; or empty."""
    for line in mountinfo.splitlines():
        head, _, tail = line.partition(" - ")
        fields = head.split(" ")
        if tail.startswith("resctrl ") and fields[3] == "/":
            return fields[4].replace("\\040", " ").replace("\\134", "\\")
    return ""


def join(directories: list[str], pid: int) -> None:
    """Put a process into a class, and into its monitoring group. Raises OperationError."""
    for directory in directories:
        write_file("", AT, directory + "/tasks", f"{pid}\n")


def remove(directories: list[str]) -> None:
    """Remove directories that were made for a container, a child before its parent.

    The processes in one, if any, fall back to its parent. Raises OperationError.
    """
    for directory in reversed(directories):
        try:
            posix.rmdir(directory)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise _failure("", AT, f"rmdir {directory}", error) from None


def undo(allocation: Allocation) -> None:
    """Take back what create has made, but no class that somebody else uses meanwhile."""
    for directory in reversed(allocation.created):
        if directory in allocation.removable or not facts.read(directory + "/tasks").strip():
            try:
                remove([directory])
            except OperationError:
                continue  # what made create fail is the error to tell


def parse(schemata: str) -> dict[str, dict[str, str]]:
    """Lines like `L3:0=ff;1=0f` as resource -> id -> value; ids are without leading zeros."""
    found: dict[str, dict[str, str]] = {}
    for line in schemata.splitlines():
        name, _, values = line.strip().partition(":")
        for each in values.split(";"):
            key, _, value = each.strip().partition("=")
            key = key.strip()
            if key:
                number = key.lstrip("0") or "0"
                found.setdefault(name.strip(), {})[number] = value.strip()
    return found


def matches(
    asked: dict[str, dict[str, str]], current: dict[str, dict[str, str]], step: int = 1
) -> bool:
    """Does a class already have what is asked for? `step`: bandwidths are rounded up to it."""
    return all(
        value_of(name, current.get(name, {}).get(key, "")) in _accepted(name, value, step)
        for name, values in asked.items()
        for key, value in values.items()
    )


def _accepted(name: str, value: str, step: int) -> tuple[int | str, ...]:
    number = value_of(name, value)
    if name in BANDWIDTHS and isinstance(number, int):
        return (number, -(-number // step) * step)
    return (number,)


def value_of(name: str, value: str) -> int | str:
    """A value as a number, so that `0ff` and `ff` are the same; else the text itself."""
    try:
        return int(value, 10 if name in BANDWIDTHS else 16)
    except ValueError:
        return value


def _bandwidth_step(root: str) -> int:
    text = facts.read(root + "/info/MB/bandwidth_gran").strip()
    return int(text) if text.isdigit() and int(text) else 1


def write_file(root: str, at: str, path: str, content: str) -> None:
    """Write to a file of resctrl in one go. Raises OperationError with what the kernel says."""
    try:
        descriptor = posix.open(path, posix.O_WRONLY | posix.O_CLOEXEC)
        try:
            write_all(descriptor, content.encode())
        finally:
            posix.close(descriptor)
    except OSError as error:
        what = f"write {' '.join(content.split())} to {path}"
        raise _failure(root, at, what, error) from None


def _failure(root: str, at: str, what: str, error: OSError) -> OperationError:
    """The error, with what the kernel says of it in last_cmd_status."""
    number = error.errno or 0
    said = facts.read(root + "/info/last_cmd_status").strip() if root else ""
    hint = f" ({said})" if said and said != "ok" else ""
    return OperationError(f"{at[1:]}: {what}: {failures.reason(number)}{hint}", at, number)
