"""The directories that CRIU works in: opened once, and only if nobody else can write there.

Whoever writes the images decides what runs as root when they are restored, and whoever can put
a link where they will be written chooses a file of the host that CRIU then overwrites.
"""

from __future__ import annotations

import posix

from pyruntime import documents, failures, state
from pyruntime.errors import CriuError, PyruntimeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MODE = 0o700
DESCRIPTORS = "descriptors.json"  # runc's name and form: what 0, 1 and 2 were
PARENT = "parent"  # CRIU's link to the images that these ones add to
LONGEST_CHAIN = 100
TOLD = 3  # lines of the log in an error's text
# What CRIU logs as errors, too: that it fails, and a wish for which it does without.
NO_REASON = ("Dumping FAILED", "Restoring FAILED", "RLIMIT_NOFILE for self")
OTHERS_WRITE = 0o002
GROUP_WRITES = 0o020
GROUP_READS = 0o040
GROUP_ENTERS = 0o050
FLAGS = posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC


def make(path: str) -> int:
    """A descriptor of a directory to write to, made if it is not there. Raises PyruntimeError."""
    try:
        state.make_directories(path, MODE)
    except OSError as error:
        raise PyruntimeError(f"mkdir {path}: {failures.reason(error.errno or 0)}") from None
    return _open(path, None)


def open_saved(path: str) -> int:
    """A descriptor of a directory of images, which are all the caller's own.

    Raises PyruntimeError, CriuError.
    """
    descriptor = _open(path, None)
    try:
        _check_files(descriptor, path)
    except BaseException:
        posix.close(descriptor)
        raise
    return descriptor


def check_parent(descriptor: int, path: str, parent: str) -> None:
    """--parent-path names images below those, by a relative path. Raises PyruntimeError."""
    if parent.startswith("/"):
        raise PyruntimeError("--parent-path must be relative")
    try:
        posix.close(_open(parent, descriptor))
    except CriuError:
        raise
    except PyruntimeError as error:
        raise PyruntimeError(f"invalid --parent-path: {path}/{error}") from None


def _open(path: str, directory: int | None) -> int:
    try:
        descriptor = posix.open(path, FLAGS, dir_fd=directory)
    except OSError as error:
        raise PyruntimeError(f"{path}: {failures.reason(error.errno or 0)}") from None
    try:
        _check(posix.fstat(descriptor), path)
    except BaseException:
        posix.close(descriptor)
        raise
    return descriptor


def _check_files(descriptor: int, path: str) -> None:
    """Every file, through links, and those of the parents. Raises CriuError."""
    for at, place in _chain(descriptor, path):
        for name in posix.listdir(at):
            try:
                about = posix.stat(name, dir_fd=at)
            except FileNotFoundError:
                raise CriuError(f"{place}/{name}: is a link to nothing") from None
            _check(about, f"{place}/{name}")


def let_group_read(descriptor: int, path: str) -> None:
    """Let the group root read the images: criu in a user namespace comes as a member of it."""
    for at, _ in _chain(descriptor, path):
        for name in (".", *posix.listdir(at)):
            about = posix.stat(name, dir_fd=at)
            if about.st_gid == 0 and name != PARENT:
                wanted = GROUP_ENTERS if name == "." else GROUP_READS
                posix.chmod(name, about.st_mode & 0o7777 | wanted, dir_fd=at)


def _chain(descriptor: int, path: str) -> Iterator[tuple[int, str]]:
    """The images, and those that they add to."""
    at = posix.dup(descriptor)
    try:
        for _ in range(LONGEST_CHAIN):
            yield at, path
            try:
                deeper = posix.open(PARENT, FLAGS, dir_fd=at)
            except FileNotFoundError:
                return
            posix.close(at)
            at, path = deeper, f"{path}/{PARENT}"
    finally:
        posix.close(at)
    raise CriuError(f"{path}: too many parents, or a ring of them")


def _check(about: posix.stat_result, path: str) -> None:
    if about.st_uid not in (0, posix.geteuid()):
        raise CriuError(
            f"{path} belongs to uid {about.st_uid}, who could change the images of the container: "
            "give it to root"
        )
    others = OTHERS_WRITE | (GROUP_WRITES if about.st_gid else 0)
    if about.st_mode & others:
        raise CriuError(
            f"{path} can be written to by others, who could change the images of the container: "
            "take that right away"
        )


def write_descriptors(directory: int, names: list[str]) -> None:
    """Keep what the standard streams were."""
    flags = posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC | posix.O_NOFOLLOW | posix.O_CLOEXEC
    descriptor = posix.open(DESCRIPTORS, flags, 0o600, dir_fd=directory)
    try:
        state.write_all(descriptor, documents.dumps(names).encode())
    finally:
        posix.close(descriptor)


def read_descriptors(directory: int, path: str) -> list[str]:
    """What the standard streams were. Raises PyruntimeError."""
    try:
        names = documents.loads(state.read_file(f"/proc/self/fd/{directory}/{DESCRIPTORS}"))
    except FileNotFoundError:
        raise CriuError(
            f"{path} has no {DESCRIPTORS}: it is no checkpoint of a container"
        ) from None
    except PyruntimeError as error:
        raise CriuError(f"{path}/{DESCRIPTORS}: {error}") from None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise CriuError(f"{path}/{DESCRIPTORS}: must be a list of texts")
    return names


def errors_in(directory: int, name: str) -> list[str]:
    """The first lines of a log of CRIU's that tell of errors, without their times.

    What follows the first is mostly its consequence. Some errors are none.
    """
    try:
        content = state.read_file(f"/proc/self/fd/{directory}/{name}")
    except OSError:
        return []
    lines = content.decode("utf-8", "replace").split("\n")
    found = [line[line.index("Error (") :].strip() for line in lines if "Error (" in line]
    return [line for line in found if not any(words in line for words in NO_REASON)][:TOLD]
