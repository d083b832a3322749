"""Groups below a container's own: `exec --cgroup [controller[,controller...]:]path` (R291)."""

from __future__ import annotations

import posix

from pyruntime.errors import CgroupError

ALL = ""


def parse(arguments: list[str]) -> dict[str, str]:
    """Controller -> path below the container's cgroup; the key "" is for every controller.

    Raises CgroupError for what cannot be understood, and for `..`, which would lead
    out of the container's cgroup.
    """
    wanted: dict[str, str] = {}
    for argument in arguments:
        controllers, colon, path = argument.rpartition(":")
        if not colon and len(arguments) > 1:
            missing = "(missing <controller>: prefix)"
            raise CgroupError(f"invalid --cgroup argument: {argument} {missing}")
        if ".." in path.split("/") or ":" in controllers:
            raise CgroupError(f"invalid --cgroup argument: {argument}: bad sub cgroup path")
        for controller in controllers.split(","):
            if controller in wanted or (colon and not controller):
                raise CgroupError(f"invalid --cgroup argument: {argument}")
            wanted[controller] = path
    return wanted


def directories(paths: dict[str, str], arguments: list[str]) -> dict[str, str]:
    """Controller -> directory to enter, out of the container's own directories.

    Raises CgroupError for a controller that there is not, and a group that does not exist.
    """
    wanted = parse(arguments)
    for controller in wanted:
        if controller != ALL and controller not in paths:
            raise CgroupError(f"--cgroup: unknown controller {controller}")
    return {
        controller: _below(directory, wanted.get(controller, wanted.get(ALL, "")))
        for controller, directory in paths.items()
    }


def _below(directory: str, path: str) -> str:
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not parts:
        return directory
    result = "/".join([directory, *parts])
    try:
        posix.stat(result)
    except OSError as error:
        reason = posix.strerror(error.errno or 0).lower()
        raise CgroupError(f"--cgroup {path}: {result}: {reason}") from None
    return result
