"""The home directory that the container's /etc/passwd gives a user (R65)."""

from __future__ import annotations

import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DEFAULT = "/"
LIMIT = 1 << 20


def directory(config: dict[str, Any], rootfs: str) -> str:
    """Where the user of the config is at home; `/` if passwd does not say.

    The image is not to be trusted: no link in it is followed, only a regular
    file is read, and not without bound. A file that is mounted onto
    /etc/passwd, as engines do, is read at its source.
    """
    process = config.get("process") or {}
    if any(entry.startswith("HOME=") and entry != "HOME=" for entry in process.get("env") or ()):
        return DEFAULT
    text = _mounted(config)
    if text is None:
        text = _inside(rootfs, ("etc", "passwd"))
    return _find(text, (process.get("user") or {}).get("uid", 0))


def _find(text: str, uid: int) -> str:
    for line in text.split("\n"):
        fields = line.split(":")
        if len(fields) >= 6 and fields[2] == str(uid):
            return fields[5] or DEFAULT
    return DEFAULT


def _mounted(config: dict[str, Any]) -> str | None:
    text = None
    for mount in config.get("mounts") or ():
        if mount["destination"].rstrip("/") == "/etc/passwd":
            text = _read(mount.get("source") or "", None)
    return text


def _inside(rootfs: str, parts: tuple[str, ...]) -> str:
    flags = posix.O_PATH | posix.O_CLOEXEC | posix.O_NOFOLLOW | posix.O_DIRECTORY
    try:
        at = posix.open(rootfs, posix.O_PATH | posix.O_CLOEXEC | posix.O_DIRECTORY)
    except OSError:
        return ""
    try:
        for part in parts[:-1]:
            deeper = posix.open(part, flags, dir_fd=at)
            posix.close(at)
            at = deeper
        return _read(parts[-1], at)
    except OSError:
        return ""
    finally:
        posix.close(at)


def _read(path: str, directory: int | None) -> str:
    """A regular file's text. Anything else is not even opened: to open a device has effects."""
    flags = posix.O_PATH | posix.O_CLOEXEC | posix.O_NOFOLLOW
    try:
        found = posix.open(path, flags, dir_fd=directory)
    except OSError:
        return ""
    try:
        if posix.fstat(found).st_mode & 0o170000 != 0o100000:
            return ""
        return _read_opened(f"/proc/self/fd/{found}")
    except OSError:
        return ""
    finally:
        posix.close(found)


def _read_opened(link: str) -> str:
    descriptor = posix.open(link, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK)
    try:
        return posix.read(descriptor, LIMIT).decode("utf-8", "surrogateescape")
    finally:
        posix.close(descriptor)
