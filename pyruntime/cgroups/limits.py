"""Writing limits into the files of a cgroup, and taking them back if one is refused."""

from __future__ import annotations

import errno
import posix

from pyruntime.cgroups import conversions, devices
from pyruntime.cgroups.directory import Directory, failed, put
from pyruntime.errors import CgroupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyruntime.cgroups.conversions import Write
    from pyruntime.cgroups.manager import Cgroup

    Resources = dict[str, Any]

_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)


def apply(cgroup: Cgroup, resources: Resources) -> None:
    """Write all limits of a new container, and on v1 its device rules. Raises CgroupError."""
    limits = Limits(cgroup)
    writes = conversions.writes(resources, limits.version)
    limits.write_devices(resources.get("devices"))
    limits.check_usage(resources)
    limits.write_all(writes)


def update(
    cgroup: Cgroup, old: Resources, new: Resources, keep: Callable[[Resources], None] | None
) -> Resources:
    """Change what `new` asks for and return what holds now. Raises CgroupError, undone.

    `keep` is told what holds before it can no longer be undone: what it raises undoes it.
    """
    limits = Limits(cgroup)
    merged = conversions.merge(old, new)
    changed = conversions.changed(merged, new)
    writes = conversions.writes(changed, limits.version)
    limits.check_usage(changed)
    limits.undo = []
    try:
        limits.write_all(writes)
        if keep is not None:
            keep(merged)
    except (CgroupError, OSError, MemoryError):
        limits.put_back()
        raise
    return merged


class Limits:
    """The limits of one cgroup; `undo` collects, unless None, what brings the old ones back."""

    __slots__ = ("directories", "rootless", "undo")

    def __init__(self, cgroup: Cgroup) -> None:
        self.directories = cgroup.directories
        self.rootless = cgroup.rootless
        self.undo: list[Write] | None = None

    def version(self, controller: str) -> int:
        """Which version a controller (in v1's words) has here."""
        if "" not in self.directories or controller in self.directories:
            return 1
        if len(self.directories) == 1:
            return 2
        return 2 if controller in self._enabled(self.directories[""]) else 1

    def write_all(self, writes: list[Write]) -> None:
        """Write all; those which the kernel refuses are repeated while others succeed.

        Limits hold each other up (memory and memory + swap, quota and period and burst,
        weight and idle), and which has to go first depends on what is there now.
        Raises CgroupError for the first that stays refused.
        """
        pending = writes
        while pending:
            refused: list[Write] = []
            first: tuple[Write, OSError] | None = None
            for write in map(self._chosen, pending):
                try:
                    self._write(write)
                except OSError as error:
                    if error.errno not in (errno.EINVAL, errno.EBUSY):
                        raise self._explain(write, error) from error
                    refused.append(write)
                    first = first or (write, error)
            if first and len(refused) == len(pending):
                raise self._explain(*first) from first[1]
            pending = refused

    def put_back(self) -> None:
        """Write what was there before, last first, and go on whatever the kernel says."""
        writes = list(reversed(self.undo or ()))
        self.undo = None
        while writes:
            try:
                self.write_all(writes)
                return
            except CgroupError:
                writes = writes[1:]

    def write_devices(self, rules: list[dict[str, Any]] | None) -> None:
        """Write the device rules, with one descriptor for each of v1's two files.

        On v2 they are only checked: there a program stands for them. Raises CgroupError.
        """
        writes = devices.v1_writes(rules)
        directory = self.directories.get("devices")
        if directory is None:
            return
        fds: dict[str, int] = {}
        try:
            for file, value in writes:
                self._write_rule(directory, fds, file, value)
        finally:
            for fd in fds.values():
                posix.close(fd)

    def _write_rule(self, directory: Directory, fds: dict[str, int], file: str, value: str) -> None:
        try:
            if file not in fds:
                fds[file] = directory.open(file, posix.O_WRONLY)
            put(fds[file], value)
        except OSError as error:
            if not self.rootless or error.errno not in _REFUSED:
                act = f'write "{value}" to {directory.path}/{file}'
                raise failed("linux.resources.devices", act, error) from error

    def check_usage(self, resources: Resources) -> None:
        """Refuse a limit that is in use up, if asked to; v1's kernel does so itself (R179)."""
        memory = resources.get("memory") or {}
        if not memory.get("checkBeforeUpdate") or self.version("memory") == 1:
            return
        for write in conversions.v2_memory(memory):
            usage = _usage(self.directories[""], write.file)
            if write.value != "max" and usage is not None and int(write.value) <= usage:
                raise CgroupError(f"{write.path}: {write.value} is not above the {usage} in use")

    def _directory(self, write: Write) -> Directory | None:
        return self.directories.get(write.controller) or self.directories.get("")

    def _chosen(self, write: Write) -> Write:
        """The write itself, or what replaces it where its file is missing."""
        directory = self._directory(write)
        if write.otherwise and directory is not None and not directory.has(write.file):
            return write.otherwise
        return write

    def _write(self, write: Write) -> None:
        directory = self._directory(write)
        try:
            if directory is None:
                raise FileNotFoundError(errno.ENOENT, "no such hierarchy")
            back: list[Write] = []
            if self.undo is not None:
                back = restoring(write, _contents(directory, write.file))
            directory.write(write.file, write.value)
            if self.undo is not None:
                self.undo += back
        except FileNotFoundError:
            if not write.optional:
                raise

    def _explain(self, write: Write, error: OSError) -> CgroupError:
        directory = self._directory(write)
        if directory is None:
            return CgroupError(f"{write.path}: there is no cgroup controller {write.controller}")
        act = f'write "{write.value}" to {directory.path}/{write.file}'
        found = failed(write.path, act, error)
        absent = write.controller not in ("", *self._enabled(directory))
        if absent and error.errno in (errno.ENOENT, errno.EACCES, errno.EPERM):
            hint = f" (controller {write.controller} is not enabled there{_why(directory)})"
            return CgroupError(str(found) + hint)
        if error.errno == errno.EOPNOTSUPP and write.controller == "io":
            hint = " (nothing gives this device weights: neither BFQ nor io.cost.qos)"
            return CgroupError(str(found) + hint)
        return found

    def _enabled(self, directory: Directory) -> list[str]:
        if directory is not self.directories.get(""):
            return [name for name, one in self.directories.items() if one is directory]
        try:
            return directory.read("cgroup.controllers").split()
        except OSError:
            return []


def _why(directory: Directory) -> str:
    """What keeps the parent of a v2 cgroup from enabling controllers, if that can be seen."""
    above = Directory(directory.path.rpartition("/")[0])
    try:
        occupied = above.has("cgroup.type") and above.read("cgroup.procs")
    except OSError:
        return ""
    finally:
        above.close()
    return f", for {above.path} has processes of its own" if occupied else ""


def restoring(write: Write, before: str) -> list[Write]:
    """What to write to have a file's old text `before` back (pure).

    In files of many lines the first word of a line is the key, and a key without a line
    goes back to having no limit.
    """
    key, separator, _ = write.value.partition(" ")
    if not separator or write.file in _ONE_LINE:
        # A cpuset of v2 that was empty is emptied again by an empty line.
        value = before.strip() or ("\n" if write.controller == "cpuset" else "")
        return [_again(write, value)] if value else []
    for line in before.splitlines():
        if line.startswith(key + " "):
            return [_again(write, line)]
    if write.file == "io.max":
        return [_again(write, key + " rbps=max wbps=max riops=max wiops=max")]
    if write.file in ("io.weight", "io.bfq.weight"):
        return [_again(write, key + " default")]
    if write.file == "rdma.max":
        return [_again(write, key + " hca_handle=max hca_object=max")]
    return [_again(write, key + " 0")]


_ONE_LINE = ("cpu.max",)


def _again(write: Write, value: str) -> Write:
    return conversions.Write(write.controller, write.file, value, write.path, optional=True)


def _contents(directory: Directory, file: str) -> str:
    """A file's text, or nothing where it can only be written. Raises FileNotFoundError."""
    try:
        return directory.read(file)
    except FileNotFoundError:
        raise
    except OSError:
        return ""


def _usage(directory: Directory, limit: str) -> int | None:
    """How much of what memory.max or memory.swap.max limits is in use, if that is known."""
    files = {"memory.max": "memory.current", "memory.swap.max": "memory.swap.current"}
    if limit not in files:
        return None
    try:
        return int(directory.read(files[limit]))
    except OSError:
        return None
