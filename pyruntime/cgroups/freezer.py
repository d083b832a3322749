"""Stopping every process of a cgroup at once: freezer.state on v1, cgroup.freeze on v2."""

from __future__ import annotations

import errno
import posix
import select
import time

from pyruntime.cgroups.directory import PATIENCE, failed, pauses, read_all
from pyruntime.errors import CgroupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyruntime.cgroups.directory import Directory

THAWED = ("0", "THAWED")


class Freezer:
    """The freezer of one cgroup: `unified` says whether the directory is one of v2."""

    __slots__ = ("directory", "unified")

    def __init__(self, directory: Directory, unified: bool) -> None:
        self.directory = directory
        self.unified = unified

    def frozen(self) -> bool:
        """Whether the cgroup was told to freeze; False if it is gone. Raises CgroupError."""
        file = "cgroup.freeze" if self.unified else "freezer.state"
        try:
            return self.directory.read(file).strip() not in THAWED
        except OSError as error:
            return _not_frozen(f"{self.directory.path}/{file}", error)

    def blocks(self) -> bool:
        """Whether a process that joins would stop, be it for an ancestor's sake."""
        if not self.unified:
            return self.frozen()
        # The file is missing in the root cgroup and before Linux 5.2.
        try:
            return "frozen 1" in self.directory.read("cgroup.events")
        except FileNotFoundError:
            return False

    def freeze(self) -> None:
        """Stop every process, and return when all have stopped.

        Raises CgroupError, with the cgroup thawed, if they have not in PATIENCE seconds.
        """
        try:
            if self.unified:
                self._freeze_v2()
            else:
                self._freeze_v1()
        except OSError as error:
            self.thaw()
            raise failed("", f"freeze {self.directory.path}", error) from error
        except CgroupError:
            self.thaw()
            raise

    def thaw(self) -> None:
        """Let the processes run again. A cgroup that is gone is thawed. Raises CgroupError."""
        if self.unified:
            self._set("cgroup.freeze", "0")
        else:
            self._set("freezer.state", "THAWED")

    def _freeze_v1(self) -> None:
        # FREEZING can last: a task that forks or waits in the kernel is only caught when
        # the request is repeated.
        for _ in pauses():
            self._set("freezer.state", "FROZEN")
            if self.directory.read("freezer.state").strip() == "FROZEN":
                return
        raise CgroupError(f"freeze {self.directory.path}: some processes do not stop")

    def _freeze_v2(self) -> None:
        self._set("cgroup.freeze", "1")
        fd = self.directory.open("cgroup.events", posix.O_RDONLY)
        try:
            self._wait(fd)
        finally:
            posix.close(fd)

    def _wait(self, fd: int) -> None:
        """Until cgroup.events says so; the kernel marks a change with POLLPRI."""
        poll = select.poll()
        poll.register(fd, select.POLLPRI)
        end = time.monotonic() + PATIENCE
        while "frozen 1" not in _reread(fd):
            if time.monotonic() > end:
                raise CgroupError(f"freeze {self.directory.path}: some processes do not stop")
            poll.poll(20)

    def _set(self, file: str, value: str) -> None:
        try:
            self.directory.write(file, value)
        except OSError as error:
            if value in ("0", "THAWED") and error.errno in (errno.ENOENT, errno.ENODEV):
                return
            act = f'write "{value}" to {self.directory.path}/{file}'
            raise failed("", act, error) from error


def is_frozen(paths: dict[str, str]) -> bool:
    """`Cgroup.frozen` for the paths of a cgroup, by one file alone: list asks it of many."""
    for controller, file in (("freezer", "freezer.state"), ("", "cgroup.freeze")):
        if controller in paths:
            path = f"{paths[controller]}/{file}"
            try:
                return _word(path) not in THAWED
            except OSError as error:
                return _not_frozen(path, error)
    return False


def _word(path: str) -> str:
    """The word that a small file holds. Raises OSError."""
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        return posix.read(fd, 64).decode().strip()
    finally:
        posix.close(fd)


def _not_frozen(path: str, error: OSError) -> bool:
    """A cgroup that is gone is not frozen; raises CgroupError for any other error."""
    if error.errno in (errno.ENOENT, errno.ENODEV):
        return False
    raise failed("", f"read {path}", error) from error


def _reread(fd: int) -> str:
    posix.lseek(fd, 0, 0)
    return read_all(fd)
