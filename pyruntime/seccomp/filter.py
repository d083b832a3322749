"""The seccomp filter of a container (hot lane): from the cache, or compiled and stored.

Compiling costs the import of ctypes, libseccomp and some tens of milliseconds, so the
result is kept by content. Reading it back imports nothing but cheap modules.
"""

from __future__ import annotations

import posix
import struct

from pyruntime.errors import ConfigError
from pyruntime.seccomp import cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Raise this whenever the same profile would be compiled to another program or flags.
COMPILER_VERSION = 1
UNKNOWN_CALL = "is unknown to libseccomp"  # in the warnings for such a system call

_MAGIC = b"pyrbpf\x00\x01"
_HEADER = struct.Struct("=8sIIQQQQIII")
_INSTRUCTION_SIZE = 8
_INSTRUCTION_LIMIT = 4096
# listenerPath and listenerMetadata are left out: they do not change the program, and an
# engine may give each container its own.
_COMPILED_FIELDS = ("defaultAction", "defaultErrnoRet", "architectures", "flags", "syscalls")


class Filter:
    """A compiled filter, ready for seccomp(SECCOMP_SET_MODE_FILTER).

    `program` is an array of struct sock_filter (8 bytes each), `flags` goes to
    seccomp(2) as it is and has SECCOMP_FILTER_FLAG_NEW_LISTENER in it exactly if
    `listener` is true, `warnings` are lines for the log, `library` is the path of the
    libseccomp that made the program ("" if not known).
    """

    __slots__ = ("flags", "library", "listener", "program", "warnings")

    def __init__(
        self, program: bytes, flags: int, listener: bool, warnings: list[str], library: str
    ) -> None:
        self.program = program
        self.flags = flags
        self.listener = listener
        self.warnings = warnings
        self.library = library


def filter_for(seccomp: dict[str, Any], cache_directory: str) -> Filter:
    """Return the filter of a `linux.seccomp` object (R230 to R240).

    A cache directory that cannot be used costs a warning and the time to compile.
    Raises ConfigError with the JSON path of what is wrong, or PyruntimeError if
    libseccomp or its binding is missing.
    """
    try:
        directory = cache.open_directory(cache_directory)
    except OSError as error:
        found = _compile(seccomp)
        found.warnings.append(f"seccomp cache {cache_directory}: {error.strerror}: not used")
    else:
        try:
            found = _through_cache(seccomp, directory)
        finally:
            posix.close(directory)
    _check_listener(seccomp, found.listener)
    return found


def _check_listener(seccomp: dict[str, Any], needed: bool) -> None:
    """Raise ConfigError if there is nobody to notify (R234), or metadata for nobody (R235)."""
    if seccomp.get("listenerPath"):
        return
    if needed:
        raise ConfigError(["linux.seccomp.listenerPath: required by action SCMP_ACT_NOTIFY"])
    if seccomp.get("listenerMetadata"):
        raise ConfigError(["linux.seccomp.listenerMetadata: not allowed without listenerPath"])


def _through_cache(seccomp: dict[str, Any], directory: int) -> Filter:
    name = key(seccomp)
    found = decode(cache.read(directory, name) or b"")
    if found is None:
        found = _compile(seccomp)
        entry = encode(found)
        if entry:
            cache.write(directory, name, entry)
    return found


def _compile(seccomp: dict[str, Any]) -> Filter:
    from pyruntime import resumed

    resumed.leave()
    from pyruntime.seccomp.compile import compile_filter

    return compile_filter(seccomp)


def key(seccomp: dict[str, Any]) -> str:
    """Return the file name for a profile: a digest of all that decides about its program.

    That is the profile, the kernel (which flags and actions there are) and this
    compiler. libseccomp is not in the name but in the file, see `decode`. The repr of
    parsed JSON is unambiguous; another order of members only costs another entry.
    """
    system = posix.uname()
    parts = [seccomp.get(field) for field in _COMPILED_FIELDS]
    parts += [COMPILER_VERSION, system.release, system.machine]
    return cache.digest(repr(parts).encode()).hex()


def _identity(path: str) -> tuple[int, int, int, int]:
    """Return what changes when a file is replaced: a cheap stand-in for its version."""
    status = posix.stat(path)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def encode(found: Filter) -> bytes:
    """Return the cache entry of a filter; empty if the library's file cannot be told."""
    try:
        identity = _identity(found.library)
    except OSError:
        return b""
    library = found.library.encode("utf-8", "surrogateescape")
    warnings = "\n".join(found.warnings).encode("utf-8", "surrogateescape")
    lengths = len(library), len(warnings), len(found.program)
    header = _HEADER.pack(_MAGIC, found.flags, found.listener, *identity, *lengths)
    return header + library + warnings + found.program


def decode(entry: bytes) -> Filter | None:
    """Return the filter of a cache entry; None if it is damaged or libseccomp has changed."""
    if len(entry) < _HEADER.size:
        return None
    magic, flags, listener, *rest = _HEADER.unpack_from(entry)
    library_end = _HEADER.size + rest[4]
    warnings_end = library_end + rest[5]
    program = entry[warnings_end:]
    if magic != _MAGIC or len(program) != rest[6] or not is_program(program):
        return None
    library = entry[_HEADER.size : library_end].decode("utf-8", "surrogateescape")
    warnings = entry[library_end:warnings_end].decode("utf-8", "surrogateescape")
    try:
        if _identity(library) != tuple(rest[:4]):
            return None
    except OSError:
        return None
    return Filter(program, flags, bool(listener), warnings.splitlines(), library)


def is_program(program: bytes) -> bool:
    """Tell whether the kernel would take a program of this length."""
    count, rest = divmod(len(program), _INSTRUCTION_SIZE)
    return rest == 0 and 0 < count <= _INSTRUCTION_LIMIT
