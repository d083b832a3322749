"""What one invocation asks for."""

from __future__ import annotations

import posix
import sys

from pyruntime.errors import PyruntimeError
from pyruntime.log import Log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_CGROUP_MANAGERS = ("cgroupfs", "systemd", "disabled")
_WHOLE_ID_RANGE = b"4294967295"


class Request:
    """One verb with its options and arguments, and the options of pyruntime itself.

    `options` holds every option of the verb, given or not, under its long name with
    "-" turned into "_". `root` is absolute.
    """

    __slots__ = (
        "arguments",
        "cgroup_manager",
        "command",
        "log",
        "options",
        "root",
        "root_is_default",
        "rootless",
        "systemd_cgroup",
    )

    def __init__(
        self,
        command: str,
        options: dict[str, Any],
        arguments: list[str],
        settings: dict[str, Any],
    ) -> None:
        self.command = command
        self.options = options
        self.arguments = arguments
        self.log = Log(settings["log"], settings["log_format"], settings["debug"])
        self.root_is_default = not settings["root"]
        self.root = absolute(settings["root"]) if settings["root"] else default_root()
        self.cgroup_manager: str = settings["cgroup_manager"]
        if settings["systemd_cgroup"]:
            self.cgroup_manager = "systemd"
        self.systemd_cgroup = self.cgroup_manager == "systemd"
        self.rootless: str = settings["rootless"]

    def prepare(self) -> None:
        """Open the log and make sure that the settings can be used.

        Raises PyruntimeError.
        """
        self.log.open()
        if self.root == "/":
            raise PyruntimeError("Option --root argument should not be set to /")
        if self.cgroup_manager not in _CGROUP_MANAGERS:
            raise PyruntimeError(f"invalid cgroup-manager: {self.cgroup_manager}")
        if self.root_is_default and self.root != _SYSTEM_ROOT:
            _make_sticky(self.root)


_SYSTEM_ROOT = "/run/pyruntime"


def default_root() -> str:
    """The root directory when --root is not given, by runc's rules.

    $XDG_RUNTIME_DIR counts for a user without privileges; an empty one is as good
    as none (XDG base directory specification).
    """
    directory = posix.environ.get(b"XDG_RUNTIME_DIR", b"")
    if directory and _is_unprivileged():
        text = directory.decode(sys.getfilesystemencoding(), "surrogateescape")
        return absolute(text + "/pyruntime")
    return _SYSTEM_ROOT


def _is_unprivileged() -> bool:
    """Whether this is not root, or only the root of a user namespace.

    Inside a user namespace USER=root tells that somebody set up a whole system there.
    """
    if posix.geteuid() != 0:
        return True
    return _is_in_user_namespace() and posix.environ.get(b"USER") != b"root"


def _is_in_user_namespace() -> bool:
    """Whether /proc/self/uid_map is anything but the initial mapping of all ids."""
    try:
        fd = posix.open("/proc/self/uid_map", posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return False
    try:
        return posix.read(fd, 4096).split() != [b"0", b"0", _WHOLE_ID_RANGE]
    finally:
        posix.close(fd)


def _make_sticky(directory: str) -> None:
    """Make the directory, private and sticky: sticky ones are not pruned from XDG_RUNTIME_DIR."""
    from pyruntime.state import make_directories

    try:
        make_directories(directory, 0o700, 0o700)
        posix.chmod(directory, 0o1700)
    except OSError as error:
        raise PyruntimeError(
            "the path in $XDG_RUNTIME_DIR must be writable by the user: "
            f"mkdir {directory}: {posix.strerror(error.errno or 0).lower()}"
        ) from error


def absolute(path: str) -> str:
    """The path from "/", without ".", ".." and double slashes; links are not followed."""
    return clean(path if path[:1] == "/" else posix.getcwd() + "/" + path)


def clean(path: str) -> str:
    """An absolute path without empty, `.` and `..` parts; `..` at the root stays there."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)
