"""A container's directory under the root: its state, its config, its lock (R30 to R39).

    ROOT/ID/state.json   written by temp + rename
    ROOT/ID/config.json  the snapshot of R6
    ROOT/ID/verbs        what the launcher does in place of Python (stored.py)
    ROOT/ID/start        fifo: one byte in it lets the init go on
    ROOT/ID/report       fifo: the init's failures after that; closed by a successful exec
    ROOT/ID/notify       directory, if NOTIFY_SOCKET is set: what notify.py says

The lock is flock(2) on the directory itself, so that it goes with it.
"""

from __future__ import annotations

import errno
import fcntl
import posix
import time

from pyruntime import documents, processes
from pyruntime.errors import CorruptState, PyruntimeError, StateError, UnknownContainer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyruntime.cgroups.manager import Cgroup, NoCgroup

LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+.-")
LONGEST_ID = 255
HIDDEN = "~"  # begins the names that are no containers: no id may have it
DIRECTORY_MODE = 0o711
REQUIRED = ("ociVersion", "rootfs", "created")
TYPES: dict[str, type] = {
    "ociVersion": str,
    "id": str,
    "pid": int,
    "pid_start": int,
    "creator": list,
    "bundle": str,
    "rootfs": str,
    "created": str,
    "annotations": dict,
    "owner": int,
    "status": str,
    "tail": dict,
    "cgroup_paths": dict,
    "cgroup_made": list,
    "resctrl_made": list,
    "resctrl_tasks": list,
    "external_descriptors": list,
}
CREATING = "creating"
CREATED = "created"
RUNNING = "running"
PAUSED = "paused"
STOPPED = "stopped"


def check_identifier(identifier: str) -> None:
    """Refuse what cannot be a directory's name. Raises PyruntimeError with runc's words."""
    if not identifier:
        raise PyruntimeError("container id cannot be empty")
    good = set(identifier) <= LETTERS and identifier not in (".", "..")
    if not good or len(identifier) > LONGEST_ID:
        raise PyruntimeError(f"invalid container ID format: {identifier}")


class Container:
    """One container: `values` is what state.json holds."""

    __slots__ = ("directory", "identifier", "lock", "values")

    def __init__(self, root: str, identifier: str, values: dict[str, Any]) -> None:
        self.identifier = identifier
        self.directory = f"{root}/{identifier}"
        self.values = values
        self.lock = -1

    # --- files ---------------------------------------------------------------

    def path(self, name: str) -> str:
        return f"{self.directory}/{name}"

    def save(self) -> None:
        """Write state.json so that a reader sees the old one or the new one, whole.

        What was stored for the launcher was made from the old one, and goes.
        """
        self.forget_verbs()
        write_atomically(self.path("state.json"), documents.dumps(self.values).encode(), 0o600)

    def forget_verbs(self) -> None:
        """Let Python perform every verb from now on."""
        try:
            posix.unlink(self.path("verbs"))
        except FileNotFoundError:
            pass

    def config(self) -> dict[str, Any]:
        """The config as it was at create."""
        try:
            config = documents.loads(read_file(self.path("config.json")))
        except (OSError, PyruntimeError) as error:
            raise CorruptState(f"container {self.identifier}: config.json: {error}") from error
        assert isinstance(config, dict)
        return config

    def acquire(self, wait: bool = True) -> bool:
        """Take the lock. False if `wait` is not set and another command has it.

        Raises UnknownContainer if the container was deleted meanwhile.
        """
        descriptor = open_directory(self.directory, self.identifier)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            posix.close(descriptor)
            return False
        if not same_file(descriptor, self.directory):
            posix.close(descriptor)
            raise UnknownContainer(self.identifier)
        self.lock = descriptor
        return True

    def release(self) -> None:
        """Give the lock back."""
        if self.lock != -1:
            posix.close(self.lock)
            self.lock = -1

    def remove(self) -> None:
        """Remove the directory; the name goes in one step, so nobody sees half of it."""
        remove_directory(self.directory)

    # --- what it is doing ------------------------------------------------------

    @property
    def pid(self) -> int:
        return int(self.values.get("pid") or 0)

    @property
    def started(self) -> int:
        return int(self.values.get("pid_start") or 0)

    def alive(self) -> bool:
        """Is the first process there? A zombie is not, nor another process of the same pid."""
        return self.pid > 0 and processes.start_time(self.pid) == self.started != 0

    def status(self) -> str:
        """One of the statuses of the OCI text, or paused (R31 to R33)."""
        if self.values.get("status") == CREATING:
            return self._creating_status()
        if not self.alive():
            return STOPPED
        if posix.access(self.path("start"), posix.F_OK) and processes.is_init(self.pid):
            waiting = True
        else:
            waiting = False
        if self._frozen():
            return PAUSED
        return CREATED if waiting else RUNNING

    def _frozen(self) -> bool:
        """Is the cgroup frozen? Only the one file is looked at."""
        from pyruntime.cgroups.freezer import is_frozen

        return is_frozen(self.values.get("cgroup_paths") or {})

    def _creating_status(self) -> str:
        """creating while a command holds the lock; else that command has died."""
        if self.lock != -1:
            return CREATING
        if not self.acquire(wait=False):
            return CREATING
        self.release()
        return STOPPED

    def cgroup(self) -> Cgroup | NoCgroup:
        """The cgroup that the container was made in."""
        from pyruntime.cgroups.manager import Cgroup, NoCgroup

        paths = self.values.get("cgroup_paths")
        if not paths:
            return NoCgroup()
        if self.values.get("unit"):
            from pyruntime.cgroups.systemd import UnitCgroup

            return UnitCgroup.of_values(self.values, self.directory.rpartition("/")[0])
        return Cgroup.from_paths(paths, self.values.get("cgroup_made"))

    def oci_state(self, status: str, pid: int | None = None) -> dict[str, Any]:
        """The state of the OCI text (R30), as hooks and the seccomp agent get it."""
        state: dict[str, Any] = {
            "ociVersion": self.values["ociVersion"],
            "id": self.identifier,
            "status": status,
        }
        number = self.pid if pid is None else pid
        if number:
            state["pid"] = number
        state["bundle"] = self.values["bundle"]
        if self.values.get("annotations"):
            state["annotations"] = self.values["annotations"]
        return state


def new(root: str, identifier: str, values: dict[str, Any]) -> Container:
    """Take the directory of a new container, locked.

    It is made under another name and renamed, so that no reader finds it empty.
    Raises StateError if the id is in use.
    """
    check_identifier(identifier)
    make_directories(root, 0o711)
    container = Container(root, identifier, values)
    container.values["status"] = CREATING
    hidden = Container(root, f"{HIDDEN}{identifier[:200]}.{posix.getpid()}", values)
    posix.mkdir(hidden.directory, 0o700)
    try:
        posix.chmod(hidden.directory, DIRECTORY_MODE)
        write_new(hidden.path("state.json"), documents.dumps(values).encode())
        container.lock = posix.open(hidden.directory, posix.O_RDONLY | posix.O_DIRECTORY)
        fcntl.flock(container.lock, fcntl.LOCK_EX)
        if exists(container.directory):
            raise StateError(f"container with given ID already exists: {identifier}")
        posix.rename(hidden.directory, container.directory)
    except OSError as error:
        _discard(hidden, container)
        # Onto a directory with files in it rename says ENOTEMPTY: somebody was first.
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise StateError(f"container with given ID already exists: {identifier}") from error
        raise
    except StateError:
        _discard(hidden, container)
        raise
    return container


def _discard(hidden: Container, container: Container) -> None:
    container.release()
    remove_directory(hidden.directory)


def load(root: str, identifier: str, to_act: bool = True) -> Container:
    """The container of that id. Raises UnknownContainer, CorruptState.

    Unless it is only looked at, it must not be another user's: whoever may write it would
    choose the processes and the directories that root kills and removes (StateError).
    """
    check_identifier(identifier)
    container = Container(root, identifier, {})
    try:
        values = documents.loads_own(read_file(container.path("state.json")))
    except (FileNotFoundError, NotADirectoryError) as error:
        if exists(container.directory):
            raise CorruptState(
                f"container {identifier}: state.json is missing; `delete --force` removes the rest"
            ) from error
        raise UnknownContainer(identifier) from error
    except PyruntimeError as error:
        raise CorruptState(f"container {identifier}: state.json: {error}") from error
    if not isinstance(values, dict) or "bundle" not in values:
        raise CorruptState(f"container {identifier}: state.json is not the state of a container")
    _check(identifier, values)
    container.values = values
    if to_act:
        _check_paths(identifier, values)
        _check_owner(container)
    return container


def _check_owner(container: Container) -> None:
    """The launcher leaves a container of somebody else to us, too."""
    owner = posix.stat(container.directory).st_uid
    if owner not in (0, posix.geteuid()):
        raise StateError(
            f"container {container.identifier} belongs to uid {owner}, who could send this "
            "command to any process: run it as that user"
        )


_GOOD: set[tuple[object, ...]] = set()  # names with types that have been checked: list reads many


def _check(identifier: str, values: dict[str, Any]) -> None:
    """What is used as a number, a path or a list must be one. Raises CorruptState."""
    kinds = (*values, *map(type, values.values()))
    if kinds not in _GOOD:
        _check_kinds(identifier, values)
        _GOOD.add(kinds)
    for name in ("pid", "pid_start", "owner"):
        if not 0 <= values.get(name, 0) < 1 << 63:
            raise CorruptState(f"container {identifier}: state.json: {name} is damaged")


def _check_paths(identifier: str, values: dict[str, Any]) -> None:
    """Only who acts on them needs to know."""
    paths = [*(values.get("cgroup_paths") or {}).values(), *values.get("cgroup_made", ())]
    paths += values.get("resctrl_made", ())
    paths += values.get("resctrl_tasks", ())
    for path in paths:
        if type(path) is not str or path[:1] != "/":
            raise CorruptState(f"container {identifier}: state.json: a path is damaged")


def _check_kinds(identifier: str, values: dict[str, Any]) -> None:
    for name, value in values.items():
        if type(value) is not TYPES.get(name, type(value)):
            raise CorruptState(f"container {identifier}: state.json: {name} is damaged")
    for name in REQUIRED:
        if name not in values:
            raise CorruptState(f"container {identifier}: state.json: {name} is missing")


def identifiers(root: str) -> list[str]:
    """The ids of all containers, sorted."""
    try:
        names = posix.listdir(root)
    except FileNotFoundError:
        return []
    return sorted(name for name in names if set(name) <= LETTERS)


def timestamp(nanoseconds: int) -> str:
    """RFC 3339 in UTC with the digits that are needed, as Go prints it."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    year, month, day, hour, minute, second = time.gmtime(seconds)[:6]
    # Not strftime(3): it reads /etc/localtime for a zone that is not asked for.
    text = f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"
    fraction = f".{rest:09d}".rstrip("0").rstrip(".")
    return text + fraction + "Z"


def read_file(path: str, limit: int = 1 << 26) -> bytes:
    """The content of a file, at most `limit` bytes."""
    descriptor = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        size = posix.fstat(descriptor).st_size
        content = posix.read(descriptor, size + 1)
        if 0 < len(content) <= size:  # a short read of a regular file: its end
            return content
        while len(content) < limit and (more := posix.read(descriptor, 1 << 16)):
            content += more
        return content
    finally:
        posix.close(descriptor)


def write_all(descriptor: int, content: bytes) -> None:
    """write(2) until everything is written."""
    view = memoryview(content)
    while view:
        view = view[posix.write(descriptor, view) :]


def write_new(path: str, content: bytes) -> None:
    """Write a file where nobody else looks yet."""
    flags = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_NOFOLLOW | posix.O_CLOEXEC
    descriptor = posix.open(path, flags, 0o600)
    try:
        write_all(descriptor, content)
    finally:
        posix.close(descriptor)


def write_atomically(path: str, content: bytes, mode: int) -> None:
    """Write a file under another name beside it, then rename it into place.

    Raises OSError, which names the file.
    """
    directory, _, name = path.rpartition("/")
    temporary = f"{directory or '.'}/.{name}.{posix.getpid()}"
    flags = posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC | posix.O_NOFOLLOW | posix.O_CLOEXEC
    descriptor = posix.open(temporary, flags, mode)
    try:
        try:
            write_all(descriptor, content)
        finally:
            posix.close(descriptor)
        posix.rename(temporary, path)
    except OSError as error:
        posix.unlink(temporary)
        raise OSError(error.errno, error.strerror, path) from error


def write_pid_file(path: str, pid: int) -> None:
    """Write a pid as engines read it: complete at once, without a newline (R290)."""
    from pyruntime import failures  # which most commands do without

    try:
        write_atomically(path, str(pid).encode(), 0o666)
    except OSError as error:
        raise PyruntimeError(f"pid-file {path}: {failures.reason(error.errno or 0)}") from None


def make_directories(path: str, mode: int, above: int = 0o755) -> None:
    """mkdir -p; those above get a mode of their own."""
    try:
        posix.mkdir(path, mode)
    except FileExistsError:
        return
    except FileNotFoundError:
        parent = path.rstrip("/").rpartition("/")[0]
        if not parent:
            raise
        make_directories(parent, above, above)
        make_directories(path, mode, above)


def remove_directory(path: str) -> None:
    """Remove a container's directory, its name first. One level of directories may be in it."""
    parent, _, name = path.rpartition("/")
    hidden = f"{parent}/{HIDDEN}{name[:200]}.{posix.getpid()}.gone"
    try:
        posix.rename(path, hidden)
    except FileNotFoundError:
        return
    _remove_all(hidden)


def _remove_all(path: str) -> None:
    for name in posix.listdir(path):
        try:
            posix.unlink(f"{path}/{name}")
        except IsADirectoryError:
            _remove_all(f"{path}/{name}")
    posix.rmdir(path)


def sweep(root: str, identifier: str) -> None:
    """Remove the hidden directories that commands for this id have left by being killed.

    A directory gets its name, and loses it, by a rename; whoever dies beside that
    leaves `~ID.PID`. One whose process lives, or that is locked, is in use.
    """
    try:
        names = posix.listdir(root)
    except FileNotFoundError:
        return
    for name in names:
        if name.startswith(f"{HIDDEN}{identifier[:200]}."):
            pid = name.removesuffix(".gone").rpartition(".")[2]
            if pid.isdigit() and not processes.start_time(int(pid)):
                _remove_unlocked(f"{root}/{name}")


def _remove_unlocked(path: str) -> None:
    try:
        descriptor = posix.open(path, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_NOFOLLOW)
    except OSError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _remove_all(path)
    except (BlockingIOError, FileNotFoundError):
        return  # somebody is at it
    finally:
        posix.close(descriptor)


def open_directory(path: str, identifier: str) -> int:
    """A descriptor of a container's directory. Raises UnknownContainer."""
    try:
        flags = posix.O_RDONLY | posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC
        return posix.open(path, flags)
    except FileNotFoundError as error:
        raise UnknownContainer(identifier) from error


def same_file(descriptor: int, path: str) -> bool:
    """Is the path still the name of what the descriptor has open?"""
    try:
        there = posix.stat(path)
    except FileNotFoundError:
        return False
    here = posix.fstat(descriptor)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def exists(path: str) -> bool:
    """Does the path exist?"""
    try:
        posix.lstat(path)
    except OSError:
        return False
    return True
