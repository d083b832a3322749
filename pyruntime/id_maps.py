"""Writing the id maps of a new user namespace (R136, user_namespaces(7))."""

from __future__ import annotations

import posix

from pyruntime.errors import PyruntimeError
from pyruntime.failures import reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyruntime.facts import Facts


def write(pid: int, linux: dict[str, Any], facts: Facts) -> None:
    """Write setgroups, gid_map and uid_map of a process.

    Somebody without privileges over ids may map only himself, and must give up
    setgroups first; more is given by newuidmap and newgidmap, if installed.
    """
    for kind, file, tool in (
        ("gidMappings", "gid_map", "newgidmap"),
        ("uidMappings", "uid_map", "newuidmap"),
    ):
        mappings = linux.get(kind) or []
        if not mappings:
            continue
        own = facts.euid if kind == "uidMappings" else posix.getegid()
        if facts.euid == 0:
            _write_map(pid, file, mappings, kind)
        elif _is_own(mappings, own) or not _run_tool(tool, pid, mappings):
            if file == "gid_map":
                _put(f"/proc/{pid}/setgroups", "deny", kind)
            _write_map(pid, file, mappings, kind)


def _is_own(mappings: list[dict[str, Any]], own: int) -> bool:
    """What the kernel allows to anyone. The tools ask for a user who has a name."""
    return [(m["hostID"], m["size"]) for m in mappings] == [(own, 1)]


def text(mappings: list[dict[str, Any]]) -> str:
    """The lines of a map: id inside, id outside, how many."""
    return "".join(f"{m['containerID']} {m['hostID']} {m['size']}\n" for m in mappings)


def _write_map(pid: int, file: str, mappings: list[dict[str, Any]], kind: str) -> None:
    _put(f"/proc/{pid}/{file}", text(mappings), kind)


def _put(path: str, content: str, kind: str) -> None:
    """One write(2): the kernel takes a map only whole."""
    try:
        descriptor = posix.open(path, posix.O_WRONLY | posix.O_CLOEXEC)
        try:
            posix.write(descriptor, content.encode())
        finally:
            posix.close(descriptor)
    except OSError as error:
        shown = content.strip().replace("\n", ", ")
        raise PyruntimeError(
            f"linux.{kind}: write {path}: {reason(error.errno or 0)} (tried {shown!r}; "
            "ranges must not overlap, nor exceed what this user may map)"
        ) from None


def _run_tool(tool: str, pid: int, mappings: list[dict[str, Any]]) -> bool:
    """Let a setuid helper of the distribution write the map; False if there is none."""
    numbers = [str(m[key]) for m in mappings for key in ("containerID", "hostID", "size")]
    for directory in ("/usr/bin", "/bin", "/usr/local/bin"):
        path = f"{directory}/{tool}"
        try:
            child = posix.posix_spawn(path, [tool, str(pid), *numbers], posix.environ)
        except OSError:
            continue
        if posix.waitpid(child, 0)[1] == 0:
            return True
        raise PyruntimeError(f"{tool} refused to map {', '.join(numbers)}: see /etc/subuid, subgid")
    return False
