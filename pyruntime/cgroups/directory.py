"""One cgroup directory: its files by descriptor, and errors that name file and value."""

from __future__ import annotations

import errno
import posix
import time

from pyruntime.errors import CgroupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# O_PATH alone gives neither read nor write access, only an anchor for the calls below.
_ANCHOR = posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC | posix.O_NOFOLLOW
_GONE = (errno.ENOENT, errno.ENODEV)
_BUSY = (errno.EBUSY, errno.ENOTEMPTY)

# How long a loop that waits for the kernel goes on, in seconds.
PATIENCE = 10.0


class Directory:
    """A cgroup directory, opened once at first use; every file is opened relative to it."""

    __slots__ = ("_fd", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd = -1

    def fileno(self) -> int:
        """A close-on-exec O_PATH descriptor of the directory. Raises OSError."""
        if self._fd < 0:
            self._fd = posix.open(self.path, _ANCHOR)
        return self._fd

    def close(self) -> None:
        """Forget the descriptor; the next use opens the directory again."""
        if self._fd >= 0:
            posix.close(self._fd)
            self._fd = -1

    def open(self, file: str, flags: int) -> int:
        """A close-on-exec descriptor of a file in the directory. Raises OSError."""
        flags |= posix.O_CLOEXEC | posix.O_NOFOLLOW
        return posix.open(file, flags, dir_fd=self.fileno())

    def has(self, file: str) -> bool:
        """Whether the directory and the file in it exist."""
        try:
            posix.stat(file, dir_fd=self.fileno(), follow_symlinks=False)
        except OSError:
            return False
        return True

    def read(self, file: str) -> str:
        """The text of a file. Raises OSError."""
        fd = self.open(file, posix.O_RDONLY)
        try:
            return read_all(fd)
        finally:
            posix.close(fd)

    def write(self, file: str, value: str) -> None:
        """Write a value in one call. Raises OSError."""
        fd = self.open(file, posix.O_WRONLY)
        try:
            put(fd, value)
        finally:
            posix.close(fd)

    def chown(self, file: str, uid: int) -> None:
        """Give a file to a user; a missing one is fine. Raises OSError."""
        try:
            posix.chown(file, uid, -1, dir_fd=self.fileno(), follow_symlinks=False)
        except FileNotFoundError:
            pass

    def names(self) -> list[str]:
        """The names of the cgroups directly below this one; none if it is gone."""
        try:
            fd = self.open(".", posix.O_RDONLY | posix.O_DIRECTORY)
        except OSError as error:
            if error.errno in _GONE:
                return []
            raise
        try:
            return [entry.name for entry in posix.scandir(fd) if entry.is_dir()]
        finally:
            posix.close(fd)


def read_text(path: str) -> str:
    """The whole of a small file of /proc or of a cgroup. Raises OSError."""
    fd = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        return read_all(fd)
    finally:
        posix.close(fd)


def read_all(fd: int) -> str:
    """Everything that can still be read from a descriptor, as text. Raises OSError."""
    chunks: list[bytes] = []
    while True:
        chunk = posix.read(fd, 65536)
        if not chunk:
            return b"".join(chunks).decode("utf-8", "surrogateescape")
        chunks.append(chunk)


def put(fd: int, value: str) -> None:
    """One write(2) of a value. Raises OSError."""
    posix.write(fd, value.encode())


def failed(path: str, act: str, error: OSError) -> CgroupError:
    """The error for a refused act; `path` is the JSON path that asked, or empty."""
    reason = posix.strerror(error.errno or 0).lower()
    return CgroupError((path + ": " if path else "") + act + ": " + reason)


def pauses() -> Iterator[None]:
    """Sleep between the turns of a loop, ever longer, and end after PATIENCE seconds."""
    end = time.monotonic() + PATIENCE
    wait = 0.0005
    while True:
        yield
        if time.monotonic() >= end:
            return
        time.sleep(wait)
        wait = min(wait * 1.5, 0.02)


def make(root: str, path: str, made: list[str]) -> None:
    """Make a directory and those above it, up to the root, that are missing.

    `made` gets the new ones, outermost first, also if a later one fails. Raises OSError.
    """
    for turn in range(8):
        try:
            posix.mkdir(path, 0o755)
            made.append(path)
            return
        except FileExistsError:
            return
        except FileNotFoundError:
            # Somebody may be removing the parent at the same time: hence another turn.
            parent = path.rpartition("/")[0]
            if turn == 7 or not parent.startswith(root.rstrip("/") + "/"):
                raise
            make(root, parent, made)


def unmake(made: list[str]) -> None:
    """Remove directories, innermost first, as far as the kernel lets us."""
    for path in reversed(made):
        try:
            posix.rmdir(path)
        except OSError:
            pass


def remove(paths: list[str]) -> None:
    """Remove cgroups and all below them, waiting for dying processes to leave.

    A missing one is fine. Raises CgroupError if one is still busy after PATIENCE seconds.
    """
    pending = list(paths)
    for _ in pauses():
        pending, error = _remove_some(pending)
        if error is None:
            return
        if error.errno not in _BUSY:
            break
    if pending and error:
        raise failed("", f"remove cgroup {pending[0]}{_occupants(pending[0])}", error)


def _remove_some(paths: list[str]) -> tuple[list[str], OSError | None]:
    """Those that could not be removed, and why the first could not."""
    left: list[str] = []
    first: OSError | None = None
    for path in paths:
        try:
            _remove_tree(path)
        except OSError as error:
            left.append(path)
            first = first or error
    return left, first


def _remove_tree(path: str) -> None:
    try:
        posix.rmdir(path)
        return
    except OSError as error:
        if error.errno in _GONE:
            return
        if error.errno not in _BUSY:
            raise
    directory = Directory(path)
    try:
        names = directory.names()
    finally:
        directory.close()
    for name in names:
        _remove_tree(path + "/" + name)
    try:
        posix.rmdir(path)
    except OSError as error:
        if error.errno not in _GONE:
            raise


def _occupants(path: str) -> str:
    directory = Directory(path)
    try:
        listed = processes(directory)
    except OSError:
        return ""
    finally:
        directory.close()
    return f" (processes {' '.join(map(str, listed[:10]))})" if listed else ""


def processes(directory: Directory) -> list[int]:
    """The pids in a cgroup and in all below it; none if it is gone. Raises OSError."""
    try:
        text = directory.read("cgroup.procs")
    except OSError as error:
        if error.errno in _GONE:
            return []
        # In a threaded cgroup of v2 only the threads can be listed.
        if error.errno != errno.EOPNOTSUPP:
            raise
        text = directory.read("cgroup.threads")
    # A process outside our pid namespace is listed as 0: nobody can signal that.
    found = [int(word) for word in text.split() if word != "0"]
    for name in directory.names():
        child = Directory(directory.path + "/" + name)
        try:
            found += processes(child)
        finally:
            child.close()
    return found
