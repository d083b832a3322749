"""A private directory of checked files (hot lane): where compiled seccomp filters are kept.

A filter decides what a container may do, so a file is believed only if nobody but
the effective user can have written it and its checksum holds. Everything else counts
as not there, and is written anew.
"""

from __future__ import annotations

import _blake2
import errno
import posix
import time

from pyruntime.state import make_directories

TYPE_CHECKING = False
if TYPE_CHECKING:
    from posix import stat_result

_DIGEST_SIZE = 32
_SIZE_LIMIT = 1 << 20
_ENTRY_LIMIT = 128
_TYPE_MASK = 0o170000
_REGULAR = 0o100000
_WRITABLE_BY_OTHERS = 0o022


def digest(data: bytes) -> bytes:
    """Return 32 bytes that stand for `data`."""
    return _blake2.blake2b(data, digest_size=_DIGEST_SIZE).digest()


def open_directory(path: str) -> int:
    """Open the cache directory, made with mode 0700 if it is missing; return its descriptor.

    Raises OSError: EPERM if it belongs to somebody else or others may write to it,
    ELOOP or ENOTDIR if it is not a directory itself.
    """
    flags = posix.O_RDONLY | posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC
    try:
        descriptor = posix.open(path, flags)
    except FileNotFoundError:
        make_directories(path, 0o700, 0o700)
        descriptor = posix.open(path, flags)
    if _is_private(posix.fstat(descriptor)):
        return descriptor
    posix.close(descriptor)
    raise OSError(errno.EPERM, "not owned by this user alone", path)


def _is_private(status: stat_result) -> bool:
    return status.st_uid == posix.geteuid() and not status.st_mode & _WRITABLE_BY_OTHERS


def read(directory: int, name: str) -> bytes | None:
    """Return what was stored under `name`, or None if that cannot be had or trusted."""
    # O_NONBLOCK: a fifo put in the place of the file must not hold us.
    flags = posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_CLOEXEC
    try:
        descriptor = posix.open(name, flags, dir_fd=directory)
    except OSError:
        return None
    try:
        data = _read_private(descriptor)
    except OSError:
        return None
    finally:
        posix.close(descriptor)
    body = data[_DIGEST_SIZE:]
    return body if body and data[:_DIGEST_SIZE] == _seal(name, body) else None


def _read_private(descriptor: int) -> bytes:
    status = posix.fstat(descriptor)
    if status.st_mode & _TYPE_MASK != _REGULAR or not _is_private(status):
        return b""
    if status.st_size > _SIZE_LIMIT:
        return b""
    parts = []
    while part := posix.read(descriptor, 1 << 16):
        parts.append(part)
    return b"".join(parts)


def _seal(name: str, body: bytes) -> bytes:
    # The name is part of it: a sound file under the name of another is refused.
    return digest(name.encode() + b"\0" + body)


def write(directory: int, name: str, body: bytes) -> None:
    """Store `body` under `name`, all or nothing. A failure is silent: the cache is a help."""
    try:
        _prune(directory)
        _replace(directory, name, _seal(name, body) + body)
    except OSError:
        return


def _replace(directory: int, name: str, data: bytes) -> None:
    temporary = f"{name}.{posix.getpid()}.{time.monotonic_ns()}"
    flags = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_NOFOLLOW | posix.O_CLOEXEC
    descriptor = posix.open(temporary, flags, 0o600, dir_fd=directory)
    try:
        try:
            while data:
                data = data[posix.write(descriptor, data) :]
        finally:
            posix.close(descriptor)
        posix.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError:
        posix.unlink(temporary, dir_fd=directory)
        raise


def _prune(directory: int) -> None:
    """Empty the cache when it has grown large: what is in use comes back by itself.

    Files of killed writers go with it. A live writer whose file goes fails to rename
    it, which `write` forgives.
    """
    entries = posix.listdir(directory)
    if len(entries) < _ENTRY_LIMIT:
        return
    for entry in entries:
        try:
            posix.unlink(entry, dir_fd=directory)
        except OSError:
            continue
