"""Hearing of it when the kernel kills a process of a cgroup because memory ran out.

Version 1 signals an eventfd that is registered for memory.oom_control; version 2 counts
in memory.events and marks a change with POLLPRI.
"""

from __future__ import annotations

import errno
import posix
import select

from pyruntime.cgroups.directory import failed, read_all
from pyruntime.errors import CgroupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyruntime.cgroups.directory import Directory
    from pyruntime.cgroups.manager import Cgroup, NoCgroup


_GONE = (errno.ENOENT, errno.ENODEV)


def watch(cgroup: Cgroup | NoCgroup) -> WatchV1 | WatchV2:
    """Begin to watch. Raises CgroupError if memory is not accounted or cannot be watched."""
    from pyruntime.cgroups.manager import Cgroup

    directories = cgroup.directories if isinstance(cgroup, Cgroup) else {}
    try:
        if "memory" in directories:
            return WatchV1(directories["memory"])
        if "" in directories and directories[""].has("memory.events"):
            return WatchV2(directories[""])
    except OSError as error:
        raise failed("", "watch for out of memory", error) from error
    raise CgroupError("memory controller missing")


class WatchV1:
    """An eventfd: poll `descriptor` for `mask`, then ask `count`."""

    __slots__ = ("descriptor", "directory", "mask")

    def __init__(self, directory: Directory) -> None:
        self.directory = directory
        self.mask = select.POLLIN
        self.descriptor = posix.eventfd(0, posix.EFD_CLOEXEC | posix.EFD_NONBLOCK)
        try:
            control = directory.open("memory.oom_control", posix.O_RDONLY)
            try:
                directory.write("cgroup.event_control", f"{self.descriptor} {control}")
            finally:
                posix.close(control)
        except OSError:
            self.close()
            raise

    def count(self) -> int:
        """How many times memory ran out since the last call."""
        try:
            signals = posix.eventfd_read(self.descriptor)
        except BlockingIOError:
            return 0
        # The kernel signals once more when the cgroup is removed.
        removed = not self.directory.has("cgroup.event_control")
        return signals - 1 if removed else signals

    def close(self) -> None:
        """Stop watching."""
        posix.close(self.descriptor)


class WatchV2:
    """memory.events, open: poll `descriptor` for `mask`, then ask `count`."""

    __slots__ = ("before", "descriptor", "mask")

    def __init__(self, directory: Directory) -> None:
        self.mask = select.POLLPRI
        self.descriptor = directory.open("memory.events", posix.O_RDONLY)
        self.before = self._kills() or 0

    def count(self) -> int:
        """How many processes were killed since the last call."""
        kills = self._kills()
        if kills is None:
            return 0
        new, self.before = kills - self.before, kills
        return max(new, 0)

    def _kills(self) -> int | None:
        """The line oom_kill; None if the cgroup is gone. Reading also arms the next POLLPRI."""
        try:
            posix.lseek(self.descriptor, 0, 0)
            lines = read_all(self.descriptor).splitlines()
        except OSError as error:
            if error.errno in _GONE:
                return None
            raise
        for line in lines:
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
        return 0

    def close(self) -> None:
        """Stop watching."""
        posix.close(self.descriptor)
