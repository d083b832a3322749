"""Reading the numbers of cgroup files, as the statistics need them."""

from __future__ import annotations

import errno

from pyruntime.cgroups.directory import failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyruntime.cgroups.directory import Directory

UNLIMITED = (1 << 64) - 1  # what "max" is reported as
_MISSING = (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP)


def text(directory: Directory, file: str) -> str | None:
    """The text of a file, None if the kernel has none or the cgroup is gone.

    Raises CgroupError for any other refusal.
    """
    try:
        return directory.read(file)
    except OSError as error:
        if error.errno in _MISSING:
            return None
        raise failed("", f"read {directory.path}/{file}", error) from error


def value(word: str) -> int:
    """A number of a cgroup file: "max" is UNLIMITED, a negative one 0."""
    return UNLIMITED if word == "max" else max(int(word), 0)


def number(directory: Directory, file: str) -> int | None:
    """The only number of a file, None if there is no such file or nothing in it."""
    content = (text(directory, file) or "").strip()
    return value(content) if content else None


def pairs(directory: Directory, file: str) -> dict[str, int]:
    """The lines `name number` of a file, none if there is no such file."""
    lines = (text(directory, file) or "").splitlines()
    return {fields[0]: value(fields[1]) for line in lines if len(fields := line.split()) == 2}


def present(members: dict[str, Any], always: tuple[str, ...] = ()) -> dict[str, Any]:
    """The members that are neither 0 nor empty, as runc prints them, and those of `always`."""
    return {name: member for name, member in members.items() if member or name in always}


def memory_entry(limit: int, usage: int, peak: int, failures: int) -> dict[str, int]:
    """One of memory's usage, swap, kernel and kernelTCP; all in bytes but the last."""
    entry = {"limit": limit, "usage": usage, "max": peak, "failcnt": failures}
    return present(entry, always=("limit", "failcnt"))


def huge_page_sizes(names: list[str]) -> list[str]:
    """The sizes as hugetlb files name them (2MB), of names such as hugepages-2048kB."""
    sizes = []
    for name in names:
        kilobytes = name.removeprefix("hugepages-").removesuffix("kB")
        if kilobytes.isdigit():
            sizes.append(_short(int(kilobytes)))
    return sorted(sizes)


def _short(size: int) -> str:
    unit = 0
    while size >= 1024 and size % 1024 == 0 and unit < 2:
        size //= 1024
        unit += 1
    return f"{size}{'KMG'[unit]}B"
