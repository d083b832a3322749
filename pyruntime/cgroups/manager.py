"""A container's cgroup in every hierarchy of the host: made, limited, joined, removed."""

from __future__ import annotations

import errno
import posix

from pyruntime.cgroups.directory import Directory, failed, pauses, processes, remove, unmake
from pyruntime.errors import CgroupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyruntime.cgroups.freezer import Freezer
    from pyruntime.cgroups.layout import Layout

_SIGKILL = 9


class Cgroup:
    """One cgroup, which has the same path in every hierarchy.

    `paths()` and `made` are what to keep in order to have the object again in another
    process. Where `rootless`, a hierarchy that may not be written to is left out.
    Every method raises CgroupError, whose text names file, value and the kernel's reason.
    """

    __slots__ = ("directories", "made", "new", "rootless", "roots")

    def __init__(self, layout: Layout, path: str, rootless: bool = False) -> None:
        roots = layout.roots()
        if not path.startswith("/") or path == "/" or "/../" in path + "/":
            raise CgroupError(f"{path!r} is not the path of a container's cgroup")
        if not roots and not rootless:
            raise CgroupError("no cgroup hierarchy is mounted")
        shared: dict[str, Directory] = {}
        for root in roots.values():
            shared.setdefault(root, Directory(root.rstrip("/") + path))
        self.roots = roots
        self.directories = {name: shared[root] for name, root in roots.items()}
        self.new: list[str] = []
        self.made: list[str] = []
        self.rootless = rootless

    @classmethod
    def from_paths(cls, paths: dict[str, str], made: list[str] | None = None) -> Cgroup:
        """The cgroup that another process made; `made` unset means that it made all."""
        cgroup = cls.__new__(cls)
        shared = {path: Directory(path) for path in paths.values()}
        cgroup.roots = {}
        cgroup.directories = {name: shared[path] for name, path in paths.items()}
        cgroup.new = []
        cgroup.made = list(shared) if made is None else made
        cgroup.rootless = False
        return cgroup

    def paths(self) -> dict[str, str]:
        """Controller -> absolute directory; "" is the v2 hierarchy."""
        return {name: directory.path for name, directory in self.directories.items()}

    def close(self) -> None:
        """Close the descriptors of the directories; they open again when needed."""
        for directory in self.each():
            directory.close()

    # Making. What only `create` and `update` need is imported there: the other commands
    # are run more often, and each import costs them time.

    def create(self, resources: dict[str, Any] | None = None) -> None:
        """Make the directories in every hierarchy, ready for a process to join.

        An existing cgroup is used if it is empty and runs (row R163). On an error what was
        made is removed again.
        """
        from pyruntime.cgroups import creation

        try:
            creation.create(self, resources)
        except CgroupError:
            self.undo()
            raise

    def undo(self) -> None:
        """Remove every directory that `create` made, those above the container's too.

        Raises nothing: an earlier error is the one to tell.
        """
        try:
            self.delete()
        except CgroupError:
            pass
        unmake(self.new)
        self.new = []
        self.made = []

    def apply(self, resources: dict[str, Any] | None) -> None:
        """Write the limits and, on v1, the device rules (which hold even if none are given)."""
        from pyruntime.cgroups import limits

        limits.apply(self, resources or {})

    def update(
        self,
        old: dict[str, Any] | None,
        new: dict[str, Any] | None,
        keep: Callable[[dict[str, Any]], None] | None = None,
    ) -> dict[str, Any]:
        """Change the limits, all or none; the resources that hold afterwards are returned.

        `old` are those in force: half of a pair such as quota and period may be given alone.
        Devices are left as they are. `keep` gets what holds, to write it down. Raises
        CgroupError, or what `keep` raises, after putting back what was written.
        """
        from pyruntime.cgroups import limits

        return limits.update(self, old or {}, new or {}, keep)

    # Processes

    def join(self, pid: int) -> None:
        """Move a process into the cgroup, in every hierarchy.

        On v1 each write can wait for an RCU grace period of the kernel, 5 to 15 ms.
        """
        for directory in self.each():
            join(directory, pid)

    def open_procs(self) -> list[int]:
        """Descriptors of every cgroup.procs: who writes "0" to each joins the cgroup itself."""
        return _open_each(self.each(), "cgroup.procs")

    def open_tasks(self) -> list[int]:
        """Descriptors of v1's `tasks`: a process of one thread joins by writing "0" to each.

        That is what the kernel does without the lock for whole processes, whose first use
        after a while waits for an RCU grace period: 0.1 ms for all, where `join` takes 5 to
        20. The v2 hierarchy is not among them; clone3 enters it by `directory_fd`.
        """
        unified = self.directories.get("")
        return _open_each([one for one in self.each() if one is not unified], "tasks")

    def directory_fd(self) -> int:
        """The descriptor of the v2 directory, for clone3 with CLONE_INTO_CGROUP."""
        directory = self.directories.get("")
        if directory is None:
            raise CgroupError("the host has no cgroup v2 hierarchy")
        try:
            return directory.fileno()
        except OSError as error:
            raise failed("", f"open cgroup {directory.path}", error) from error

    def processes(self) -> list[int]:
        """The pids in the cgroup and in all below it; none if it is gone."""
        directory = self.main()
        if directory is None:
            return []
        try:
            return processes(directory)
        except OSError as error:
            raise failed("", f"read {directory.path}/cgroup.procs", error) from error

    def signal(self, number: int) -> None:
        """Send a signal to every process, while none of them can fork."""
        freezer = self.freezer()
        if freezer is None:
            self._signal(number)
            return
        was_frozen = freezer.frozen()
        try:
            if not was_frozen and self.processes():
                freezer.freeze()
        except CgroupError:
            pass  # somebody does not stop: signal them all the same, running
        try:
            self._signal(number)
        finally:
            if not was_frozen or number == _SIGKILL:
                freezer.thaw()

    def kill(self) -> None:
        """Send SIGKILL to every process, frozen or not; they may take a while to be gone."""
        unified = self.directories.get("")
        if unified is None or not _kill_all(unified):
            self.signal(_SIGKILL)
            return
        if len(self.directories) > 1:
            self._kill_strays(unified)

    def _kill_strays(self, unified: Directory) -> None:
        """Beside v1, whoever left the v2 cgroup was missed; and v1's freezer holds the dying."""
        freezer = self.freezer()
        if freezer and freezer.frozen():
            freezer.thaw()
        try:
            known = processes(unified)
        except OSError as error:
            raise failed("", f"read {unified.path}/cgroup.procs", error) from error
        if any(pid not in known for pid in self.processes()):
            self.signal(_SIGKILL)

    def _signal(self, number: int) -> None:
        for pid in self.processes():
            try:
                posix.kill(pid, number)
            except ProcessLookupError:
                pass
            except OSError as error:
                raise failed("", f"send signal {number} to process {pid}", error) from error

    def freeze(self) -> None:
        """Stop every process; on an error they run again."""
        self._need_freezer().freeze()

    def thaw(self) -> None:
        """Let every process run again."""
        self._need_freezer().thaw()

    def frozen(self) -> bool:
        """Whether the cgroup was told to freeze."""
        freezer = self.freezer()
        return freezer is not None and freezer.frozen()

    def chown(self, uid: int) -> None:
        """Give the v2 cgroup, and those of its files that may be given, to a user (R164)."""
        from pyruntime.cgroups import ownership

        directory = self.directories.get("")
        if directory is None:
            return
        try:
            for file in (".", *ownership.delegated_files()):
                directory.chown(file, uid)
        except OSError as error:
            raise failed("", f"chown cgroup {directory.path} to {uid}", error) from error

    # Removing

    def delete(self) -> None:
        """Remove what `create` made, and all below; waits for dying processes to leave.

        A cgroup that was there before stays. Kills nobody.
        """
        self.close()
        remove(self.made)
        self.made = []

    # Which directory

    def each(self) -> list[Directory]:
        """Every directory once, though co-mounted controllers share it."""
        return list({one.path: one for one in self.directories.values()}.values())

    def main(self) -> Directory | None:
        """The directory whose list of processes counts: v1's freezer, for it stops them."""
        for name in ("freezer", "", "devices"):
            if name in self.directories:
                return self.directories[name]
        return next(iter(self.directories.values()), None)

    def freezer(self) -> Freezer | None:
        """What stops the processes here: v1's freezer if there is one, or v2's."""
        from pyruntime.cgroups.freezer import Freezer

        for name in ("freezer", ""):
            if name in self.directories:
                return Freezer(self.directories[name], unified=name == "")
        return None

    def _need_freezer(self) -> Freezer:
        freezer = self.freezer()
        if freezer is None:
            raise CgroupError("there is no cgroup freezer")
        return freezer


class NoCgroup:
    """Stands for a Cgroup where cgroups are disabled: there is nothing, and nothing is done."""

    __slots__ = ("made",)

    def __init__(self) -> None:
        self.made: list[str] = []

    def paths(self) -> dict[str, str]:
        """No paths."""
        return {}

    def close(self) -> None:
        """Nothing is open."""

    def create(self, resources: dict[str, Any] | None = None) -> None:
        """Nothing is made."""

    def undo(self) -> None:
        """Nothing was made."""

    def apply(self, resources: dict[str, Any] | None) -> None:
        """Limits are left to whoever disabled cgroups."""

    def update(
        self,
        old: dict[str, Any] | None,
        new: dict[str, Any] | None,
        keep: Callable[[dict[str, Any]], None] | None = None,
    ) -> dict[str, Any]:
        """Raises CgroupError: a change that has no effect must not look like one."""
        raise CgroupError("cgroups are disabled: there are no limits to update")

    def join(self, pid: int) -> None:
        """Nothing to join."""

    def open_procs(self) -> list[int]:
        """Nothing to join."""
        return []

    def open_tasks(self) -> list[int]:
        """Nothing to join."""
        return []

    def processes(self) -> list[int]:
        """Unknown, hence none."""
        return []

    def signal(self, number: int) -> None:
        """Nobody is known."""

    def kill(self) -> None:
        """Nobody is known."""

    def freeze(self) -> None:
        """Raises CgroupError."""
        raise CgroupError("cgroups are disabled: the container cannot be paused")

    def thaw(self) -> None:
        """Raises CgroupError."""
        raise CgroupError("cgroups are disabled: the container cannot be resumed")

    def frozen(self) -> bool:
        """Never."""
        return False

    def chown(self, uid: int) -> None:
        """Nothing to give."""

    def delete(self) -> None:
        """Nothing was made."""


def _open_each(directories: list[Directory], file: str) -> list[int]:
    fds: list[int] = []
    for directory in directories:
        try:
            fds.append(directory.open(file, posix.O_WRONLY))
        except OSError as error:
            for fd in fds:
                posix.close(fd)
            raise failed("", f"open {directory.path}/{file}", error) from error
    return fds


def join(directory: Directory, pid: int) -> None:
    """Move a process into one cgroup directory. Raises CgroupError.

    A task that is just being made is refused with EINVAL for a moment (row R161).
    """
    error: OSError | None = None
    turns = 0
    for _ in pauses():
        try:
            directory.write("cgroup.procs", str(pid))
            return
        except OSError as caught:
            error = caught
            turns += 1
            if caught.errno != errno.EINVAL or turns > 30:
                break
    if error is not None:
        raise failed("", f'write "{pid}" to {directory.path}/cgroup.procs', error)


def _kill_all(unified: Directory) -> bool:
    """cgroup.kill, since Linux 5.14; False if the kernel has none."""
    if not unified.has("cgroup.procs"):
        return True
    try:
        unified.write("cgroup.kill", "1")
    except FileNotFoundError:
        return not unified.has("cgroup.procs")
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            return False
        raise failed("", f'write "1" to {unified.path}/cgroup.kill', error) from error
    return True
